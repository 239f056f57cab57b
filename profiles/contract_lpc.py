"""Declare limits by an energy guard: limitation of power consumption (LPC) and production (LPP) of EEBUS."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from profiles.contract_common import ContractBase, Value

Choice = Literal["stay", "release"]


class Lpc(ContractBase):
    """A controllable system under an energy guard; `limit.direction` "import" is LPC, "export" LPP.

    Times are those of the LPC High Level Test Specification V1.0.1. The three `on_` keys say what is done where it
    says MAY: "stay" keeps the limit, "release" goes to Unlimited/autonomous.
    """

    kind: Literal["lpc"]
    failsafe_w: Value
    failsafe_min_s: Annotated[float, Field(ge=7200, le=86_400, description="2 to 24 h")] = 7200.0
    max_w: Annotated[float, Field(gt=0)] | None = Field(default=None, description="nominal maximum; clips limits")
    max_duration_s: Annotated[float, Field(gt=0)] = 86_400.0
    heartbeat_s: Annotated[float, Field(gt=0, le=60, description="our own heartbeat")] = 60.0
    heartbeat_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    write_wait_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0
    write_window_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    on_init_expiry: Choice = Field(default="stay", description="rule 906")
    on_beat_without_write: Choice = Field(default="stay", description="rule 921")
    on_failsafe_expiry: Choice = Field(default="stay", description="rule 922")

    @model_validator(mode="after")
    def in_watts(self) -> "Lpc":
        """Refuse a limit that is not in watts, and a fail-safe over the maximum."""
        if self.limit.quantity != "W":
            raise ValueError(f'limit.quantity = "{self.limit.quantity}": an energy guard writes "W"')
        if self.max_w is not None and self.failsafe_w > self.max_w:
            raise ValueError(f"failsafe_w = {self.failsafe_w:g} W: allowed up to max_w, {self.max_w:g} W")
        return self


Kinds = Lpc
