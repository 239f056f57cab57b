"""Declare the sender of operating envelopes that a rig file plays: its limits interval by interval, and its silence."""

from typing import Annotated

from pydantic import Field, model_validator

from hil.rig.key_types import Strict, Watts


class SilentPart(Strict):
    """Let the sender send nothing from one scenario time to another."""

    from_s: float
    until_s: float

    @model_validator(mode="after")
    def in_order(self) -> "SilentPart":
        """Refuse a silence that ends before it begins."""
        if self.until_s <= self.from_s:
            raise ValueError(f"until_s = {self.until_s:g}: allowed is more than from_s, {self.from_s:g}")
        return self


class EnvelopePart(Strict):
    """Play who sends the envelopes of the rig's contract of kind `operating_envelope`.

    Every `every_s` a schedule of `ahead` intervals of that length goes out. Before the first of `import_w` its limit
    holds, after the last one that.
    """

    every_s: Annotated[float, Field(gt=0, description="length of an interval, and time from schedule to schedule")]
    ahead: Annotated[int, Field(ge=1, description="intervals in each schedule, the present one first")] = 2
    import_w: Annotated[list[Watts], Field(min_length=1, description="limit of each interval from scenario time 0 on")]
    silent: Annotated[list[SilentPart], Field(default=[], description="when nothing is sent")]
