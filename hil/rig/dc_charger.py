"""Step a DC charger with its car: the fleet keeps limit, contactor and supervision, the converter gives the current.

In virtual time the car's battery is the one that the bench plays (`controller.runtime.played_battery`); on the bench
it is the bidirectional supply, and volts and demand are handed in.
"""

from dataclasses import dataclass

import numpy as np

from controller.runtime.played_battery import BatterySpec, PlayedBattery
from hil.plant.dc import DcOutput, DcSpec
from hil.plant.fleet import Fleet
from instruments.catalog import Model, charger_of
from profiles.vehicle import Vehicle

CP_A, CP_B, CP_C = 0, 1, 2


@dataclass(frozen=True, slots=True)
class DcPart:
    """Hold what a DC charger's converter is, and the battery of the car that stands at it."""

    converter: DcSpec
    battery: BatterySpec


def dc_part(model: Model, car: Vehicle) -> DcPart | None:
    """Return the DC side of a charger and its car; None for one that gives alternating current."""
    stage, battery = charger_of(model).dc, car.dc
    if stage is None or battery is None:
        return None
    return DcPart(
        converter=DcSpec(
            efficiency=stage.efficiency,
            watts_per_amp=stage.watts_per_amp,
            min_v=stage.min_v,
            max_v=stage.max_v,
            max_a=stage.max_a,
            max_w=stage.max_w,
            rise_a_per_s=stage.rise_a_per_s,
            fall_a_per_s=stage.fall_a_per_s,
        ),
        battery=BatterySpec(
            name=car.name,
            capacity_ah=battery.capacity_ah,
            soc=tuple(battery.soc),
            ocv_v=tuple(battery.ocv_v),
            resistance_ohm=battery.resistance_ohm,
            max_v=battery.max_v,
            max_a=battery.max_a,
            power_soc=tuple(battery.power_soc),
            power_w=tuple(battery.power_w),
            tail_a=battery.tail_a,
        ),
    )


@dataclass(frozen=True, slots=True)
class Driven:
    """Hold what the bench says of the battery: volts at the supply, A that are asked for, state of charge 0..1."""

    volt_v: float
    demand_a: float
    soc: float


class DcCharger:
    """Hold charger i of a fleet; `output` is what its registers show. `driven` is set while the bench runs."""

    __slots__ = ("_battery", "_fleet", "_i", "demand_a", "driven", "output", "plugged")

    def __init__(self, part: DcPart, fleet: Fleet, i: int) -> None:
        self.output = DcOutput(part.converter)
        self._battery = PlayedBattery(part.battery)
        self._fleet, self._i = fleet, i
        self.demand_a = 0.0
        self.plugged = False
        self.driven: Driven | None = None

    def plug(self, soc: float | None) -> None:
        """Plug a car in with this state of charge, or out (None)."""
        self.plugged = soc is not None
        if soc is not None:
            self._battery.plug_in(soc)

    def before(self, dt_s: float, terminal_v: np.ndarray) -> None:
        """Step the converter and tell the fleet its mains amps; `terminal_v` (3,) are the volts of the mains side."""
        fleet, i, battery = self._fleet, self._i, self._battery
        battery.soc = float(fleet.soc[i])  # one truth: a snapshot of the fleet holds it too
        if self.driven is not None:
            volts, self.demand_a = self.driven.volt_v, self.driven.demand_a
        else:
            self.demand_a = battery.ask() if self.plugged else 0.0
            volts = battery.terminal_v(self.output.amp_a)
        fleet.external_cp[i] = CP_A if not self.plugged else CP_C if self.demand_a > 0.0 else CP_B
        limit_a = float(fleet.applied_a[i])
        self.output.step(dt_s, volts, self.demand_a, limit_a, closed=bool(fleet.contactor[i]))
        fleet.external_a[i] = self.output.mains_a(terminal_v)

    def after(self, dt_s: float) -> None:
        """Count the charge once the fleet has stepped."""
        if self.driven is not None:
            soc = self.driven.soc
        else:
            self._battery.step(dt_s, self.output.amp_a)
            soc = self._battery.soc
        self._fleet.soc[self._i] = soc
