"""Declare the energy guard of a rig file: which contract, at which node, and what it says when."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hil.rig.key_types import Seconds, Strict


class GuardAct(Strict):
    """Let the guard do something, once, or for heartbeats every `every_s` for `for_s`."""

    at_s: Seconds
    do: Literal["heartbeats", "limit", "failsafe_limit", "failsafe_duration", "restart"] = Field(
        description="restart: of the controllable system, not of the guard; in virtual time only"
    )
    every_s: Annotated[float, Field(gt=0, le=60, description="heartbeats: at least every 60 s (rule 005)")] = 30.0
    for_s: Seconds = Field(default=0.0, description="heartbeats: 0 a single one")
    value_w: float | None = Field(default=None, description="as on the wire: production is negative")
    active: bool = True
    duration_s: float | None = None
    applicable: bool = Field(default=True, description="false: the system answers that it cannot apply it now")
    ack: bool | None = Field(default=None, description="the answer that the verdict asks for")

    @model_validator(mode="after")
    def complete(self) -> "GuardAct":
        """Refuse an act that lacks its number."""
        if self.do in ("limit", "failsafe_limit") and self.value_w is None:
            raise ValueError(f'do = "{self.do}" needs value_w (W)')
        if self.do == "failsafe_duration" and self.duration_s is None:
            raise ValueError('do = "failsafe_duration" needs duration_s (s)')
        return self


class GuardPart(Strict):
    """Play an energy guard; a restart of the controllable system in virtual time only."""

    contract: Annotated[str, Field(description='a contract of kind "lpc", bundled or a file')]
    node: Literal["transformer", "head"] = "head"
    every_transition: bool = Field(default=False, description="the verdict fails where one was not walked")
    act: Annotated[list[GuardAct], Field(min_length=1)]
