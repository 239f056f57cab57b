"""Model the charger (EVSE) of IEC 61851-1 mode 3: supply, set-point, control pilot, contactor, supervision.

Marks of the numbers: [V] read in the named source, [R+] and [R?] from memory with high and low confidence; all are
parameters.
"""

import math
from dataclasses import dataclass
from typing import Any

from hil.plant.kernel import kernel
from hil.plant.phases import start_phases, switch_phases, switching
from hil.plant.pilot import MAX_PILOT_A, MIN_PILOT_A, Pilot
from hil.plant.watchdog import EPS_S, PER_SETPOINT, WATCHDOGS, watch

U_NOM_V = 230.0
SUPPLY_PU = 0.5  # below this share of 230 V the electronics of the EVSE are off [R?]
OVERCURRENT, EMERGENCY_STOP, RCD = 1, 2, 3  # error codes: more drawn than the pilot allows, button, residual current
OVER_FACTOR, OVER_MARGIN_A = 1.1, 0.5  # tolerance of that supervision [V: EVerest]
WAKE_S = 4.0  # time in state F of a wake-up toggle, T_step_EF [V: EVerest]
A, B, C, D, E, F = (int(state) for state in Pilot)


TIMES = (
    "pwm_gap_s", "failsafe_s", "contactor_close_s", "contactor_open_s", "load_open_s", "boot_s", "restart_delay_s",
    "fault_hold_s", "wake_up_s", "switch_pause_s", "switch_dwell_s", "digital_gap_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class EvseSpec:
    """Describe a charger: rating, pilot timing, watchdog, contactor, meter resolution and behaviour after black-out.

    pwm_gap_s 5 s between changes of the pilot [V: EVerest]; contactor_close_s up to 3 s [R+], contactor_open_s up to
    0.1 s [V: EVerest, Table A.6 seq. 8.1]; load_open_s: after PWM off it may open under load [V: EVerest seq. 10.2];
    overcurrent_s [V: EVerest]; boot_s [R?]; restart_delay_s up to 600 s after a black-out [V: UK smart charge point
    regulations]; fault_hold_s state F for 0.3 s at least, wake_up_s 30 s until a car that takes nothing is woken by a
    toggle, +inf never [V: EVerest]; switch_phases and its times: `phases`; discharge_max_a: most that it lets a car
    give back, digital_gap_s between two limits told over ISO 15118-20 [V: loop time-out]. ValueError where a number is
    outside what is allowed.
    """

    name: str
    phases: int = 1
    hard_max_a: float = 32.0
    pwm_gap_s: float = 5.0
    watchdog: str = "none"
    failsafe_a: float = 0.0
    failsafe_s: float = 0.0
    min_setpoint_a: float = MIN_PILOT_A
    contactor_close_s: float = 0.5
    contactor_open_s: float = 0.1
    load_open_s: float = 6.0
    restart_after_blackout: bool = True
    boot_s: float = 30.0
    boot_limit_a: float = 0.0
    overcurrent_s: float = 7.0
    restart_delay_s: float = 0.0
    fault_hold_s: float = 0.3
    wake_up_s: float = math.inf
    ventilated: bool = False
    switch_phases: bool = False
    switch_pause_s: float = 10.0
    switch_dwell_s: float = 0.0
    discharge_max_a: float = 0.0
    digital_gap_s: float = 0.5
    meter_v_step_v: float = 0.0
    meter_a_step_a: float = 0.0
    token: int = 0x55AA
    serial: str = ""
    firmware: str = "1.0"

    def __post_init__(self) -> None:
        """Refuse numbers that no charger can have."""
        where = f"EVSE {self.name!r}"
        if self.phases not in (1, 2, 3):
            raise ValueError(f"{where}: phases {self.phases!r}: allowed 1, 2 or 3")
        if self.watchdog not in WATCHDOGS:
            raise ValueError(f"{where}: watchdog {self.watchdog!r}: allowed {', '.join(WATCHDOGS)}")
        if not MIN_PILOT_A <= self.hard_max_a <= MAX_PILOT_A:
            raise ValueError(f"{where}: hard_max_a {self.hard_max_a!r} A: allowed {MIN_PILOT_A:g}..{MAX_PILOT_A:g} A")
        if not MIN_PILOT_A <= self.min_setpoint_a <= self.hard_max_a:
            raise ValueError(f"{where}: min_setpoint_a {self.min_setpoint_a!r} A: allowed 6..{self.hard_max_a:g} A")
        for key in ("failsafe_a", "boot_limit_a"):
            if not 0.0 <= getattr(self, key) <= self.hard_max_a:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r} A: allowed 0..{self.hard_max_a:g} A")
        if not 0.0 <= self.discharge_max_a <= self.hard_max_a:
            allowed = f"allowed 0 (none)..{self.hard_max_a:g} A"
            raise ValueError(f"{where}: discharge_max_a {self.discharge_max_a!r} A: {allowed}")
        if self.switch_phases and self.phases == 1:
            raise ValueError(f"{where}: switch_phases: allowed with 2 or 3 phases, it has 1")
        for key in TIMES:
            if not getattr(self, key) >= 0.0:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r} s: allowed 0 or more")
        for key in ("meter_v_step_v", "meter_a_step_a"):
            if not 0.0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{where}: {key} {getattr(self, key)!r}: allowed 0 (exact) or a finite step")


@kernel
def boot(p: Any, s: Any, now_s: float) -> None:
    """Start one charger into its boot limit; a watchdog per set-point waits for the first one in fail-safe."""
    s.power_on = True
    s.supplied_at_s = math.nan
    s.setpoint_a = p.boot_limit_a
    s.applied_a = p.boot_limit_a
    s.enabled = True
    if s.error_code != EMERGENCY_STOP:  # a pressed button stays pressed
        s.error_code = 0
    s.armed_at_s = now_s
    s.failsafe_active = p.watchdog == PER_SETPOINT
    start_phases(p, s)
    if not s.failsafe_persist:
        s.failsafe_a = p.failsafe_a
        s.failsafe_s = p.failsafe_s


@kernel
def supply(p: Any, s: Any, now_s: float, volt_max_v: float) -> bool:
    """Follow the supply of one charger through black-out and boot; return True where it works.

    A NaN voltage is no supply.
    """
    if s.rebooting:
        s.rebooting = s.power_on = False
        s.supplied_at_s = math.nan
    if not volt_max_v >= SUPPLY_PU * U_NOM_V:
        if s.power_on and s.connected and not p.restart_after_blackout:
            s.held = True
        s.power_on = False
        s.supplied_at_s = math.nan
        s.restart_at_s = math.inf
    elif not s.power_on:
        if math.isnan(s.supplied_at_s):
            s.supplied_at_s = now_s
        if now_s - s.supplied_at_s >= p.boot_s - EPS_S:
            boot(p, s, now_s)
            s.restart_at_s = now_s + p.restart_delay_s if s.restart_at_s == math.inf else s.restart_at_s
    if not s.power_on:
        s.state = E
        s.contactor = False
        s.contactor_at_s = math.nan
        s.over_at_s = s.wake_at_s = s.idle_at_s = math.nan
        s.failsafe_remaining_s = math.nan
        if s.pwm_a != 0.0:
            s.pwm_a = 0.0
            s.pwm_at_s = now_s
    return bool(s.power_on)


@kernel
def digital(p: Any) -> bool:
    """Say whether charger and car speak ISO 15118 and both can give power back: limits need no PWM then."""
    return bool(p.discharge_max_a > 0.0 and p.ev_discharge_max_a > 0.0)


@kernel
def wanted_a(p: Any, s: Any, now_s: float) -> float:
    """Return the limit one charger wants to advertise: set-point or fail-safe within rating and cable, 0 a pause."""
    if s.held or not s.enabled or s.error_code != 0 or now_s < s.restart_at_s or switching(p, s, now_s):
        return 0.0
    own_a: float = s.applied_a if s.ignoring else s.setpoint_a
    limit_a: float = s.failsafe_a if s.failsafe_active else own_a
    if limit_a < 0.0:
        return max(limit_a, -p.discharge_max_a, -p.ev_cable_a) if digital(p) else 0.0
    limit_a = min(limit_a, p.hard_max_a, p.ev_cable_a)
    return limit_a if limit_a >= p.min_setpoint_a else 0.0


@kernel
def drive_pilot(p: Any, s: Any, now_s: float) -> None:
    """Set limit and pilot of one charger: at most one change a pwm_gap_s, a pause included; a fault acts at once."""
    target_a = wanted_a(p, s, now_s)
    gap_s: float = p.digital_gap_s if digital(p) else p.pwm_gap_s
    due = not s.connected or s.error_code != 0 or now_s - s.pwm_at_s >= gap_s - EPS_S
    if due:
        s.applied_a = target_a
    pwm_a = s.applied_a if s.connected and math.isnan(s.wake_at_s) else 0.0
    if pwm_a != s.pwm_a:
        s.pwm_a = pwm_a
        s.pwm_at_s = now_s


@kernel
def switch(p: Any, s: Any, now_s: float, dt_s: float) -> None:
    """Derive the pilot state of one charger and move its contactor."""
    if s.error_code != 0 and s.state != F:
        s.fault_at_s = now_s
    if now_s - s.fault_at_s < p.fault_hold_s - EPS_S or s.error_code != 0 or not math.isnan(s.wake_at_s):
        s.state = F
        s.contactor = False
        s.contactor_at_s = math.nan
        return
    s.state = A if not s.connected else (B if not s.s2 else (D if p.ev_ventilation else C))
    wants = s.state == C or (s.state == D and p.ventilated)
    close = wants and s.pwm_a != 0.0
    if s.contactor and wants and s.pwm_a == 0.0:  # the car was told to stop: open under load only later
        close = now_s - s.pwm_at_s < p.load_open_s - EPS_S
    if close == s.contactor:
        s.contactor_at_s = math.nan
        return
    if math.isnan(s.contactor_at_s):
        s.contactor_at_s = now_s - dt_s  # the cause lies somewhere in this step
    if now_s - s.contactor_at_s >= (p.contactor_close_s if close else p.contactor_open_s) - EPS_S:
        s.contactor = close
        s.contactor_at_s = math.nan


@kernel
def see_vehicle(s: Any) -> None:
    """Let one charger notice a plug-in, which starts a session, or an unplug, which clears its over-current fault."""
    present = s.external_cp >= 1 if s.external_cp >= 0 else s.plugged
    if not present:
        s.held = False
        if s.error_code == OVERCURRENT:
            s.error_code = 0
    if present and s.power_on and not s.connected:
        s.session_no += 1
        s.session_wh = 0.0
        s.woken = False
    s.connected = present and (s.power_on or s.connected)


@kernel
def supervise(p: Any, s: Any, now_s: float, amp_max_a: float) -> None:
    """Trip one charger whose car draws more than the pilot allows for overcurrent_s (a lowered pilot included)."""
    over = s.contactor and amp_max_a > OVER_FACTOR * abs(s.pwm_a) + OVER_MARGIN_A
    if not over:
        s.over_at_s = math.nan
    elif math.isnan(s.over_at_s):
        s.over_at_s = now_s
    elif now_s - s.over_at_s >= p.overcurrent_s - EPS_S:
        s.error_code = OVERCURRENT


@kernel
def wake(p: Any, s: Any, now_s: float) -> None:
    """Toggle the pilot of one charger through F, once, where a car leaves its offer alone for `wake_up_s`."""
    if not math.isnan(s.wake_at_s):
        if now_s - s.wake_at_s >= WAKE_S - EPS_S:
            s.wake_at_s = math.nan
        return
    if s.s2:
        s.woken = False
    if not (s.connected and s.pwm_a > 0.0) or s.s2 or s.woken or p.wake_up_s == math.inf:
        s.idle_at_s = math.nan
    elif math.isnan(s.idle_at_s):
        s.idle_at_s = now_s
    elif now_s - s.idle_at_s >= p.wake_up_s - EPS_S:
        s.woken = True
        s.wake_at_s = now_s
        s.idle_at_s = math.nan


@kernel
def control(p: Any, s: Any, now_s: float, volt_max_v: float) -> bool:
    """Step one charger's supply, watchdog and pilot; return True where it has supply."""
    alive: bool = supply(p, s, now_s, volt_max_v)
    see_vehicle(s)
    if alive:
        watch(p, s, now_s)
        switch_phases(p, s, now_s)
        wake(p, s, now_s)
        drive_pilot(p, s, now_s)
    return alive
