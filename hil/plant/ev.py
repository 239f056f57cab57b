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
ROUND_TRIP = 0.9  # of a V2G car, plug to plug, at best [R?]
STOP_SOC = 0.001  # it ends its export this much over its floor: its ramp takes the rest [R?]


@dataclass(frozen=True, slots=True)
class EvSpec:
    """Describe a car: phases, current, battery, taper, reaction to the pilot, under-voltage trip.

    It charges at max_a (max_1p_a on one phase, 0 the same; floors alike) up to taper_soc and from there linearly less.
    s2_open_s: at the latest this long after PWM off it has stopped [R+]. Under trip_pu of 230 V on a used phase it
    stops at once and waits retry_s [R?]. below_a: it stays this much under the pilot (0.3-1.5 A), step_a: in whole
    steps, start_ramp_s: its first rise takes so long (3-10 s) [R?]. After a pause of sleep_after_s it sleeps until a
    new plug-in, or, where it `wakes`, the charger's toggle. discharge_max_a: what it gives back at most, down to
    soc_floor. ValueError where a number is outside what is allowed.
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
    max_1p_a: float = 0.0
    floor_1p_a: float = 0.0
    below_a: float = 0.0
    step_a: float = 0.0
    start_ramp_s: float = 0.0
    sleep_after_s: float = math.inf
    wakes: bool = False
    ventilation: bool = False
    discharge_max_a: float = 0.0
    discharge_min_a: float = 0.0
    discharge_efficiency: float = 0.9
    soc_floor: float = 0.3

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
        for key in (
            "max_1p_a",
            "floor_1p_a",
            "below_a",
            "step_a",
            "start_ramp_s",
            "discharge_max_a",
            "discharge_min_a",
        ):
            if not 0.0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r}: allowed 0 or more, finite")
        if not self.sleep_after_s >= 0.0:
            raise ValueError(f"{where}: sleep_after_s {self.sleep_after_s!r} s: allowed 0 or more, +inf never")
        for key in ("taper_soc", "trip_pu", "efficiency", "discharge_efficiency", "soc_floor"):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r}: allowed 0..1")
        if self.discharge_max_a > 0.0 and not 0.0 < self.efficiency * self.discharge_efficiency <= ROUND_TRIP + EPS_S:
            raise ValueError(
                f"{where}: efficiency x discharge_efficiency {self.efficiency * self.discharge_efficiency:.3g}: "
                f"allowed up to {ROUND_TRIP:g}, with export"
            )


@kernel
def sleep(p: Any, s: Any, now_s: float) -> None:
    """Let one car fall asleep in a long pause, and wake where the charger toggles its pilot."""
    if not s.plugged or s.seen_a != 0.0:
        s.paused_at_s = math.nan
    elif math.isnan(s.paused_at_s):
        s.paused_at_s = now_s
    elif now_s - s.paused_at_s >= p.ev_sleep_after_s - EPS_S and s.drew:
        s.sleeping = True
    if s.sleeping and p.ev_wakes and not math.isnan(s.wake_at_s):
        s.sleeping = s.drew = False


@kernel
def read_pilot(p: Any, s: Any, now_s: float) -> None:
    """Let one car act upon the pilot, dead_time_s after the first change it has not yet followed."""
    sleep(p, s, now_s)
    if s.seen_a == s.pwm_a:
        s.notice_at_s = math.nan
        return
    if math.isnan(s.notice_at_s):
        s.notice_at_s = s.pwm_at_s
    if now_s - s.notice_at_s >= p.ev_dead_time_s - EPS_S:
        s.seen_a = s.pwm_a
        s.notice_at_s = math.nan


@kernel
def wish_a(p: Any, s: Any, used: int) -> float:
    """Return the amps per phase one car would draw now on `used` phases: pilot, own rating, taper.

    0 below its floor or when done; negative where it is asked to give back, until its own floor of charge.
    """
    if not s.plugged or s.sleeping:
        return 0.0
    seen_a: float = s.seen_a
    if seen_a < 0.0:
        give_a = min(-seen_a, p.ev_discharge_max_a)
        return -give_a if give_a >= p.ev_discharge_min_a and s.soc > p.ev_soc_floor + STOP_SOC else 0.0
    floor_a: float = p.ev_floor_1p_a if used == 1 and p.ev_floor_1p_a > 0.0 else p.ev_floor_a
    own_a: float = p.ev_max_1p_a if used == 1 and p.ev_max_1p_a > 0.0 else p.ev_max_a
    if s.need_wh <= 0.0 or s.soc >= 1.0 or seen_a < floor_a:
        return 0.0
    seen_a = max(seen_a - p.ev_below_a, floor_a)
    if p.ev_step_a > 0.0:
        seen_a = max(math.floor(seen_a / p.ev_step_a + EPS_S) * p.ev_step_a, floor_a)
    if s.soc > p.ev_taper_soc:
        own_a = max(own_a * (1.0 - s.soc) / (1.0 - p.ev_taper_soc), TAIL_A)
    return min(seen_a, own_a)


@kernel
def ask(p: Any, s: Any, now_s: float, volt_min_v: float, used: int) -> float:
    """Close or open S2 of one car and return its wish, A; `volt_min_v` is the lowest of its `used` phases.

    NaN volts are no supply.
    """
    read_pilot(p, s, now_s)
    if s.s2 and s.contactor and not volt_min_v >= p.ev_trip_pu * U_NOM_V:
        s.retry_at_s = now_s + p.ev_retry_s
        s.amp_a = 0.0
    target_a: float = wish_a(p, s, used) if now_s >= s.retry_at_s - EPS_S else 0.0
    if s.external_cp >= 0:
        s.s2 = s.external_cp >= 2
    elif target_a != 0.0:
        s.s2 = True
    elif s.amp_a == 0.0 or (s.pwm_a == 0.0 and now_s - s.pwm_at_s >= p.ev_s2_open_s - EPS_S):
        s.s2 = False
    return target_a


@kernel
def draw(p: Any, s: Any, target_a: float, now_s: float, dt_s: float) -> None:
    """Ramp the current of one car towards its wish; nothing flows past an open S2 or contactor."""
    if not (s.s2 and s.contactor and s.plugged):
        s.amp_a = 0.0
        s.start_at_s = math.nan
        return
    if math.isnan(s.start_at_s):
        s.start_at_s = now_s - dt_s
    rise_a, fall_a = p.ev_rise_a_per_s * dt_s, p.ev_fall_a_per_s * dt_s
    if now_s - s.start_at_s < p.ev_start_ramp_s - EPS_S:
        rise_a = min(rise_a, p.ev_max_a / p.ev_start_ramp_s * dt_s)
    s.amp_a += min(max(target_a - s.amp_a, -fall_a), rise_a)
    s.drew = s.drew or s.amp_a != 0.0
