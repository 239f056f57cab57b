"""Model the converter of a DC charger: what it gives under its limit, and what that is on its mains side.

Quasi-static with ramps: the battery (or the supply that plays it) sets the volts, the converter the amps. + flows from
the charger into the battery, and from the mains into the charger.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class DcSpec:
    """Describe the converter: its range, its slopes, one flat efficiency, and the watts that a mains amp stands for.

    watts_per_amp: DC watts of the limit for each amp per phase that the charger was told. ValueError where a number
    is outside what is allowed.
    """

    efficiency: float
    watts_per_amp: float
    min_v: float
    max_v: float
    max_a: float
    max_w: float
    rise_a_per_s: float
    fall_a_per_s: float

    def __post_init__(self) -> None:
        """Refuse numbers that no converter can have."""
        if not 0.0 < self.efficiency <= 1.0:
            raise ValueError(f"DC charger: efficiency {self.efficiency!r}: allowed more than 0, at most 1")
        if not 0.0 <= self.min_v < self.max_v < math.inf:
            raise ValueError(f"DC charger: min_v {self.min_v!r} V, max_v {self.max_v!r} V: allowed 0 <= min_v < max_v")
        for key in ("watts_per_amp", "max_a", "max_w", "rise_a_per_s", "fall_a_per_s"):
            if not 0.0 < getattr(self, key) < math.inf:
                raise ValueError(f"DC charger: {key} {getattr(self, key)!r}: allowed more than 0, finite")


class DcOutput:
    """Hold the output of one converter: `volt_v` and `amp_a` at its terminals, `power_w` what it gives."""

    __slots__ = ("amp_a", "spec", "volt_v")

    def __init__(self, spec: DcSpec) -> None:
        self.spec = spec
        self.volt_v = 0.0
        self.amp_a = 0.0

    @property
    def power_w(self) -> float:
        """Return the watts given to the battery."""
        return self.volt_v * self.amp_a

    @property
    def mains_w(self) -> float:
        """Return the watts taken from the mains."""
        return self.power_w / self.spec.efficiency

    def limit_w(self, limit_a: float) -> float:
        """Return the DC watts that a limit in amps per mains phase stands for."""
        return limit_a * self.spec.watts_per_amp

    def step(self, dt_s: float, terminal_v: float, demand_a: float, limit_a: float, *, closed: bool) -> float:
        """Advance by `dt_s` s and return the amps given.

        terminal_v: volts that the battery or the supply holds; demand_a: amps that the car asks for; limit_a: amps
        per mains phase that the charger was told; closed: its contactor. Volts outside its range and an open
        contactor stop it at once; a lower limit is followed with the converter's own slope.
        """
        spec = self.spec
        if not (closed and spec.min_v <= terminal_v <= spec.max_v and demand_a > 0.0 and limit_a > 0.0):
            self.volt_v, self.amp_a = (terminal_v if closed and terminal_v > 0.0 else 0.0), 0.0
            return 0.0
        self.volt_v = terminal_v
        wanted_a = min(demand_a, spec.max_a, min(self.limit_w(limit_a), spec.max_w) / terminal_v)
        change_a = min(max(wanted_a - self.amp_a, -spec.fall_a_per_s * dt_s), spec.rise_a_per_s * dt_s)
        self.amp_a += change_a
        return self.amp_a

    def mains_a(self, volt_v: np.ndarray) -> np.ndarray:
        """Return the amps of each mains phase, (3,), at `volt_v` (3,) line to neutral: equal, at unity power factor."""
        known = np.where(np.isfinite(volt_v) & (volt_v > 0.0), volt_v, 0.0)
        total_v = float(known.sum())
        return np.where(known > 0.0, self.mains_w / total_v, 0.0) if total_v > 0.0 else np.zeros(3)
