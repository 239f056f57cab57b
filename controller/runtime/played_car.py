"""Play the car's side of IEC 61851-1 on the bench: what current a duty cycle allows and how a car follows it.

The load follows the *measured* duty, never our own order: so a fault between order and pilot shows in the amps. The
table is that of IEC 61851-1 Annex A as printed in the Fluke FEV300 manual p11-12 (read there, the standard was not).
"""

import math
from dataclasses import dataclass

MIN_PILOT_A = 6.0
CP_A, CP_B, CP_C = 0, 1, 2  # no vehicle, vehicle, vehicle wants energy
TRIP_V = 0.85 * 230.0  # a parameter: cars stop somewhere below 0.85 of 230 V
LIVE_V = 50.0  # more volts at the load than this: the charger's contactor is closed


def amps_of_duty(duty: float) -> float:
    """Return the amps per phase that a duty cycle, share 0..1, allows; 0 where it allows none or is no duty cycle."""
    if not (math.isfinite(duty) and 0.08 <= duty <= 0.97):
        return 0.0
    if duty < 0.10:
        return MIN_PILOT_A
    if duty <= 0.85:
        return 60.0 * duty
    if duty <= 0.96:
        return 250.0 * (duty - 0.64)
    return 80.0


@dataclass(frozen=True, slots=True)
class CarSpec:
    """Describe the played car. The times and slopes are parameters; IEC 61851-1 gives a car 5 s in all."""

    max_a: float
    floor_a: float = MIN_PILOT_A
    dead_time_s: float = 1.0
    rise_a_per_s: float = 5.0
    fall_a_per_s: float = 10.0
    trip_v: float = TRIP_V
    retry_s: float = 30.0


class PlayedCar:
    """Follow the duty cycle as a car does: a dead time, then a ramp; stop at once under the trip volts.

    `amp_a` is the current that the load has to draw now, `cp` the control-pilot state that the adapter has to show.
    """

    __slots__ = ("_noticed_s", "_retry_s", "_target_a", "_then_s", "amp_a", "plugged", "spec")

    def __init__(self, spec: CarSpec) -> None:
        self.spec = spec
        self.plugged = False
        self.amp_a = 0.0
        self._target_a = 0.0
        self._noticed_s = math.inf  # when the first change was seen that is not followed yet
        self._then_s = self._retry_s = -math.inf

    @property
    def cp(self) -> int:
        """Return the control-pilot state: A unplugged, B nothing to draw, C drawing or about to."""
        if not self.plugged:
            return CP_A
        return CP_C if self._target_a > 0.0 or self.amp_a > 0.0 else CP_B

    def step(self, now_s: float, duty: float, volt_v: float) -> float:
        """Return the amps to draw, A, after the measured duty and the volts at the load; `now_s` is monotonic."""
        if not math.isfinite(duty):
            self._target_a = self.amp_a = 0.0  # nobody knows what is allowed: nothing is drawn, without a dead time
        dt_s = max(now_s - self._then_s, 0.0) if math.isfinite(self._then_s) else 0.0
        self._then_s = now_s
        wanted_a = self._wanted(duty) if now_s >= self._retry_s else 0.0
        self._noticed_s = math.inf if wanted_a == self._target_a else min(self._noticed_s, now_s)
        if now_s - self._noticed_s >= self.spec.dead_time_s:
            self._target_a, self._noticed_s = wanted_a, math.inf
        if self.amp_a > 0.0 and LIVE_V < volt_v < self.spec.trip_v:
            self._retry_s = now_s + self.spec.retry_s
            self._target_a = self.amp_a = 0.0
        if not volt_v > LIVE_V:
            self.amp_a = 0.0  # the contactor is open (or its volts unknown): nothing to draw from
        elif self._target_a < self.amp_a:
            self.amp_a = max(self._target_a, self.amp_a - self.spec.fall_a_per_s * dt_s)
        else:
            self.amp_a = min(self._target_a, self.amp_a + self.spec.rise_a_per_s * dt_s)
        return self.amp_a

    def unplug(self) -> None:
        """Stop drawing and leave at once."""
        self.plugged = False
        self.amp_a = self._target_a = 0.0

    def _wanted(self, duty: float) -> float:
        """Return what the car takes of what the pilot allows; below its floor nothing."""
        wanted_a = min(amps_of_duty(duty), self.spec.max_a)
        return wanted_a if self.plugged and wanted_a >= self.spec.floor_a else 0.0
