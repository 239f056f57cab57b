"""Declare the sessions of a rig file: who comes when, with which car, from tables or from a file of transactions."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hil.rig.key_types import Strict
from profiles.session import KINDS


class FleetShare(Strict):
    """Say how many of the cars that come are of one class."""

    vehicle: str
    share: Annotated[float, Field(gt=0, le=1)]


class SessionsPart(Strict):
    """Let cars come and go for days, instead of one at each charger from the start.

    Either `profile`, tables of arrival, stay and energy, or `file`, transactions of a known format. The class of each
    car is drawn from `fleet`; without one it is by the highest power of the transaction where the file has it, else
    each charger's own `vehicle`.
    """

    profile: Literal["private", "public", "workplace"] | None = None
    file: str | None = Field(default=None, description="transactions, beside the rig file; ElaadNL or Trondheim")
    draw: Literal["as_is", "resample"] = Field(
        default="as_is",
        description="as_is: plug by plug, in time; resample: any transaction of a like day at any charger",
    )
    first_day: date | None = Field(default=None, description="as_is: day of the file that the scenario begins on")
    per_day: Annotated[float, Field(gt=0, le=1, description="share of days with a session at a charger")] = 0.8
    fleet: list[FleetShare] = Field(default=[])

    @model_validator(mode="after")
    def one_source(self) -> "SessionsPart":
        """Refuse two sources of sessions or none, and shares that are not a whole."""
        if (self.profile is None) == (self.file is None):
            raise ValueError(f"give either profile ({', '.join(KINDS)}) or file, a file of transactions")
        if self.first_day is not None and (self.file is None or self.draw != "as_is"):
            raise ValueError('first_day belongs to a file with draw = "as_is"')
        total = sum(part.share for part in self.fleet)
        if self.fleet and abs(total - 1.0) > 1e-6:
            raise ValueError(f"fleet: the shares add up to {total:g}: allowed 1")
        return self
