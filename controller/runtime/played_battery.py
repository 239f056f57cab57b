"""Play a vehicle battery: charge, open-circuit volts, inner resistance, and what its management asks the charger for.

On a DC bench a bidirectional supply shows these volts and takes the charger's amps. The model is the plain one of an
equivalent circuit of order zero, V = OCV(SoC) + R I with + into the battery; the management asks for constant current,
then constant volts (CC-CV), under a curve of watts over the state of charge. Pure: time steps are handed in.
"""

import itertools
import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatterySpec:
    """Describe a battery as it is seen at the charging socket.

    soc, ocv_v: points of the open-circuit volts over the state of charge, both rising
    power_soc, power_w: points of the largest watts that it takes over the state of charge
    tail_a: under this demand it is full. ValueError where a number is outside what is allowed.
    """

    name: str
    capacity_ah: float
    soc: tuple[float, ...]
    ocv_v: tuple[float, ...]
    resistance_ohm: float
    max_v: float
    max_a: float
    power_soc: tuple[float, ...]
    power_w: tuple[float, ...]
    tail_a: float

    def __post_init__(self) -> None:
        """Refuse curves that are none and numbers that no battery can have."""
        for what, at, value in (("ocv_v", self.soc, self.ocv_v), ("power_w", self.power_soc, self.power_w)):
            rising = all(a < b for a, b in itertools.pairwise(at))
            if len(at) != len(value) or len(at) < 2 or not rising or at[0] != 0.0 or at[-1] != 1.0:
                raise ValueError(
                    f"battery {self.name}: {what}: allowed two or more points, the charge rising from 0 to 1"
                )
        if not all(a < b for a, b in itertools.pairwise(self.ocv_v)) or not self.ocv_v[0] > 0.0:
            raise ValueError(f"battery {self.name}: ocv_v {self.ocv_v}: allowed rising volts over 0")
        if not self.max_v >= self.ocv_v[-1]:
            raise ValueError(f"battery {self.name}: max_v {self.max_v!r} V: allowed {self.ocv_v[-1]:g} V or more")
        for key in ("capacity_ah", "resistance_ohm", "max_a", "tail_a"):
            if not 0.0 < getattr(self, key) < math.inf:
                raise ValueError(f"battery {self.name}: {key} {getattr(self, key)!r}: allowed more than 0, finite")


class PlayedBattery:
    """Hold one battery in a session; `soc` 0..1, `demand_a` A what the car asks for after `ask`."""

    __slots__ = ("_full", "demand_a", "soc", "spec")

    def __init__(self, spec: BatterySpec, soc: float = 0.5) -> None:
        self.spec = spec
        self.plug_in(soc)

    def plug_in(self, soc: float) -> None:
        """Begin a session at a state of charge, 0..1."""
        if not 0.0 <= soc <= 1.0:
            raise ValueError(f"battery {self.spec.name}: soc {soc!r}: allowed 0..1")
        self.soc = soc
        self.demand_a = 0.0
        self._full = False

    @property
    def open_v(self) -> float:
        """Return the open-circuit volts."""
        return _at(self.soc, self.spec.soc, self.spec.ocv_v)

    def terminal_v(self, amp_a: float) -> float:
        """Return the volts at the terminals with `amp_a` flowing in, A; - flows out."""
        return self.open_v + self.spec.resistance_ohm * amp_a

    def amps_of_watts(self, power_w: float) -> float:
        """Return the amps at which the terminals take `power_w`: the root of V(I) I = P."""
        volts, ohms = self.open_v, self.spec.resistance_ohm
        return (math.sqrt(volts * volts + 4.0 * ohms * max(power_w, 0.0)) - volts) / (2.0 * ohms)

    def ask(self) -> float:
        """Return what the battery's management asks for now, A; once full it asks for nothing any more."""
        spec = self.spec
        constant_v_a = (spec.max_v - self.open_v) / spec.resistance_ohm
        curve_a = self.amps_of_watts(_at(self.soc, spec.power_soc, spec.power_w))
        demand_a = min(spec.max_a, constant_v_a, curve_a)
        self._full = self._full or self.soc >= 1.0 or demand_a < spec.tail_a
        self.demand_a = 0.0 if self._full else demand_a
        return self.demand_a

    def step(self, dt_s: float, amp_a: float) -> None:
        """Count `amp_a` that flowed in for `dt_s` s; an unknown current counts as none."""
        if math.isfinite(amp_a):
            self.soc = min(max(self.soc + amp_a * dt_s / (3600.0 * self.spec.capacity_ah), 0.0), 1.0)


def _at(x: float, points: tuple[float, ...], values: tuple[float, ...]) -> float:
    """Interpolate linearly; `x` lies within the points."""
    for k in range(1, len(points)):
        if x <= points[k]:
            share = (x - points[k - 1]) / (points[k] - points[k - 1])
            return values[k - 1] + share * (values[k] - values[k - 1])
    return values[-1]
