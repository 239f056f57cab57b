"""Declare the scenario of a rig file: when it starts, how long it lasts, what happens in it."""

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from hil.rig.key_types import Seconds, Share, Strict, Watts

# faults of chargers, which an event lets happen to those that it names
ChargerFault = Literal[
    "black_out", "emergency_stop", "rcd_trip", "reboot", "ignore_setpoint", "freeze_registers", "constant_volts",
    "meter_error", "swap_phases", "reject_profiles",
]  # fmt: skip
CHARGER_FAULTS: tuple[str, ...] = get_args(ChargerFault)


class Event(Strict):
    """Let something happen in the scenario."""

    at_s: Seconds
    kind: Literal["order", "cut_link", "cut_meter", "freeze", "silence", "frequency", "dim", ChargerFault] = Field(
        description="DSO order; a charger's link is cut; that of meters; a substation value stands still; the DSO's"
        " heartbeat stops; the grid's frequency moves; section 14a is dimmed; a fault of the chargers named"
        " (docs/emulation.md)"
    )
    for_s: Annotated[float, Field(gt=0, description="it ends after this time: order, cut link or frozen value")] = (
        3600.0
    )
    node: Literal["transformer", "head"] = "head"
    hz: Annotated[float, Field(ge=45, le=65)] | None = Field(default=None, description="of the grid, virtual time only")
    limit_w: Watts | None = None
    chargers: list[str] = Field(
        default=[], description="cut_link: the first of these that still charges; faults: all of these"
    )
    meter: Literal["offset", "scale", "nan", "stuck"] | None = Field(
        default=None, description="meter_error: what is wrong with the amps of the charger's meter"
    )
    value: float | None = Field(default=None, description="meter_error: A of the offset, factor of the scale")
    quantity: Literal["PhV", "A"] = "A"
    meters: list[str] = Field(default=[], description="cut_meter: names of [[meter]]")

    @model_validator(mode="after")
    def complete(self) -> "Event":
        """Refuse an event that lacks what its kind needs."""
        if self.kind == "order" and self.limit_w is None:
            raise ValueError("an order needs limit_w (W; 0 means 0 W)")
        if self.kind == "frequency" and self.hz is None:
            raise ValueError("a frequency needs hz (Hz)")
        if self.kind in ("cut_link", *CHARGER_FAULTS) and not self.chargers:
            raise ValueError(f"{self.kind} needs chargers, a list of names")
        if (self.kind == "cut_meter") != bool(self.meters):
            raise ValueError("meters, a list of names, belongs to cut_meter, which needs it")
        if (self.kind == "meter_error") != (self.meter is not None):
            raise ValueError('meter = "offset", "scale", "nan" or "stuck" belongs to a meter_error, which needs it')
        if (self.meter in ("offset", "scale")) != (self.value is not None):
            raise ValueError("value (A of an offset, factor of a scale) belongs to these two, which need it")
        return self


class ScenarioPart(Strict):
    """Say when the scenario starts (local time of the site), how long it lasts and what happens in it."""

    start: datetime
    for_s: Annotated[float, Field(gt=0)] = 60.0
    settle_s: Annotated[float, Field(ge=0, le=7200)] = 900.0
    arrival_soc: Share = 0.4
    events: list[Event] = Field(default=[])
