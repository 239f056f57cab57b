"""Model the car: how it follows the pilot, when it asks for energy, when it stops.

Marks of the numbers as in `evse`; dead time and ramps are suggestions without a source [R?].
"""

import math
from dataclasses import dataclass
from typing import Any

from hil.plant.evse import U_NOM_V
from hil.plant.kernel import kernel
from hil.plant.watchdog import EPS_S

TAIL_A = 1.0  # the smallest charging current at the end of the taper [R?]


@dataclass(frozen=True, slots=True)
class EvSpec:
    """Describe a car: phases, current, battery, taper, reaction to the pilot, under-voltage trip.

    It charges at max_a up to taper_soc and from there linearly less. s2_open_s: at the latest this long after PWM
    off it has stopped [R+]. Under trip_pu of 230 V on a used phase it stops at once and waits retry_s [R?].
    ValueError where a number is outside what is allowed.
    """

    name: str
    phases: int = 1
    max_a: float = 32.0
    floor_a: float = 6.0
    battery_wh: float = 60_000.0
    taper_soc: float = 0.9
    dead_time_s: float = 1.0
    fall_a_per_s: float = 10.0
    rise_a_per_s: float = 5.0
    trip_pu: float = 0.85
    retry_s: float = 30.0
    s2_open_s: float = 3.0
    cable_a: float = 63.0
    efficiency: float = 0.9
    resumes: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that no car can have."""
        where = f"EV {self.name!r}"
        if self.phases not in (1, 2, 3):
            raise ValueError(f"{where}: phases {self.phases!r}: allowed 1, 2 or 3")
        if not 0.0 <= self.floor_a <= self.max_a < math.inf:
            raise ValueError(f"{where}: floor_a {self.floor_a!r} A: allowed 0..max_a ({self.max_a!r} A, finite)")
        for key, unit in (("battery_wh", "Wh"), ("fall_a_per_s", "A/s"), ("rise_a_per_s", "A/s"), ("cable_a", "A")):
            if not getattr(self, key) > 0.0:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r} {unit}: allowed more than 0")
        for key in ("dead_time_s", "retry_s", "s2_open_s"):
            if not 0.0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r} s: allowed 0 or more, finite")
        for key in ("taper_soc", "trip_pu", "efficiency"):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r}: allowed 0..1")


@kernel
def read_pilot(p: Any, s: Any, now_s: float) -> None:
    """Let one car act upon the pilot, dead_time_s after the first change it has not yet followed."""
    if s.seen_a == s.pwm_a:
        s.notice_at_s = math.nan
        return
    if math.isnan(s.notice_at_s):
        s.notice_at_s = s.pwm_at_s
    if now_s - s.notice_at_s >= p.ev_dead_time_s - EPS_S:
        if s.pwm_a == 0.0 and not p.ev_resumes:
            s.sleeping = True
        s.seen_a = s.pwm_a
        s.notice_at_s = math.nan


@kernel
def wish_a(p: Any, s: Any) -> float:
    """Return the amps per phase one car would draw now: pilot, own rating, taper; 0 below its floor or when done."""
    if not s.plugged or s.sleeping or s.need_wh <= 0.0 or s.soc >= 1.0 or s.seen_a < p.ev_floor_a:
        return 0.0
    seen_a: float = s.seen_a
    own_a: float = p.ev_max_a
    if s.soc > p.ev_taper_soc:
        own_a = max(own_a * (1.0 - s.soc) / (1.0 - p.ev_taper_soc), TAIL_A)
    return min(seen_a, own_a)


@kernel
def ask(p: Any, s: Any, now_s: float, volt_min_v: float) -> float:
    """Close or open S2 of one car and return its wish, A; `volt_min_v` is the lowest of its phases, NaN no supply."""
    read_pilot(p, s, now_s)
    if s.s2 and s.contactor and not volt_min_v >= p.ev_trip_pu * U_NOM_V:
        s.retry_at_s = now_s + p.ev_retry_s
        s.amp_a = 0.0
    target_a: float = wish_a(p, s) if now_s >= s.retry_at_s - EPS_S else 0.0
    if s.external_cp >= 0:
        s.s2 = s.external_cp >= 2
    elif target_a > 0.0:
        s.s2 = True
    elif s.amp_a <= 0.0 or (s.pwm_a == 0.0 and now_s - s.pwm_at_s >= p.ev_s2_open_s - EPS_S):
        s.s2 = False
    return target_a


@kernel
def draw(p: Any, s: Any, target_a: float, dt_s: float) -> None:
    """Ramp the current of one car towards its wish; nothing flows past an open S2 or contactor."""
    if not (s.s2 and s.contactor and s.plugged):
        s.amp_a = 0.0
        return
    rise_a, fall_a = p.ev_rise_a_per_s * dt_s, p.ev_fall_a_per_s * dt_s
    s.amp_a += min(max(target_a - s.amp_a, -fall_a), rise_a)
