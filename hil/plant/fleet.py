"""Step every charger and its car together: N chargers, one record each, one compiled loop.

The fleet knows volts and amps at the chargers' own terminals L1..L3; which grid phase they are is the rig's business.
Currents are in phase with the voltage (unity power factor). + flows from the grid into the charger.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from hil.plant import ev as car
from hil.plant import evse as charger
from hil.plant.ev import EvSpec
from hil.plant.evse import EvseSpec
from hil.plant.faults import clear_fault, set_fault
from hil.plant.kernel import kernel
from hil.plant.meter import show
from hil.plant.pilot import DIGITAL_DUTY, Pilot, amps_of_duty, duty_of_amps
from hil.plant.table import spec_table, state_table, write_car
from hil.plant.view import EvseView
from hil.plant.watchdog import ANY_TRAFFIC

__all__ = ["EvSpec", "EvseSpec", "EvseView", "Fleet", "Pilot", "amps_of_duty", "duty_of_amps"]

PHASES = 3
CARRIED = ("drawn_a", "shown_v", "shown_a", "external_a")  # arrays of a snapshot beside the states
WH_PER_WS = 1.0 / 3600.0


@kernel
def account(p: Any, s: Any, watts: float, dt_s: float) -> None:
    """Add one step's energy to meter, session and battery of one charger."""
    energy_wh = watts * dt_s * WH_PER_WS
    if energy_wh < 0.0:
        s.export_wh -= energy_wh
        if s.plugged:  # what it gave has to come back
            s.need_wh -= energy_wh / (p.ev_efficiency * p.ev_discharge_efficiency)
            s.soc = max(s.soc + energy_wh / (p.ev_discharge_efficiency * p.ev_battery_wh), 0.0)
        return
    s.energy_wh += energy_wh
    if s.connected:
        s.session_wh += energy_wh
    if s.plugged:
        s.need_wh = max(s.need_wh - energy_wh, 0.0)
        s.soc = min(s.soc + energy_wh * p.ev_efficiency / p.ev_battery_wh, 1.0)


@kernel
def step_all(
    specs: Any, states: Any, now_s: float, dt_s: float, volt_v: Any, external_a: Any, drawn_a: Any, shown_v: Any,
    shown_a: Any,
) -> None:  # fmt: skip
    """Advance every charger and car by one step; `drawn_a`, and `shown_v` and `shown_a` of the registers, are written.

    All are (N, 3).
    """
    for i in range(len(states)):
        p, s = specs[i], states[i]
        used = min(p.phases, p.ev_phases, s.phases_in_use)
        low_v, high_v = math.inf, 0.0
        for k in range(p.phases):
            volt = volt_v[i, k]
            high_v = volt if volt > high_v else high_v
            if k < used and not volt >= low_v:  # a NaN goes through and counts as no supply
                low_v = volt
        alive = charger.control(p, s, now_s, high_v)
        target_a = car.ask(p, s, now_s, low_v, used)
        if alive:
            charger.switch(p, s, now_s, dt_s)
        car.draw(p, s, target_a, now_s, dt_s)
        watts, top_a = 0.0, 0.0
        for k in range(3):
            volt, amps = volt_v[i, k], external_a[i, k]
            if math.isnan(amps):
                amps = s.amp_a if k < used else 0.0
            drawn_a[i, k] = amps
            top_a = max(top_a, abs(amps))
            if volt > 0.0:
                watts += volt * amps
        charger.supervise(p, s, now_s, top_a)
        account(p, s, watts, dt_s)
        show(s, volt_v[i], drawn_a[i], shown_v[i], shown_a[i])


class Fleet:
    """Hold N chargers with one car each and step them.

    Public arrays are live views: drawn_a (N, 3) A, negative where a car gives back; shown_v, shown_a (N, 3) and the
    shown_* (N,) what the registers say; phases_in_use (N,); pwm_a, setpoint_a, applied_a (N,) A; state (N,) Pilot;
    contactor, power_on, failsafe_active (N,) bool; failsafe_remaining_s (N,) s, +inf never; soc (N,) 0..1; session_wh,
    energy_wh (N,) Wh; session_no, error_code (N,). A device under test is told through external_a (N, 3), measured
    amps or NaN for the car model, and external_cp (N,), the pilot state that an adapter asserts (0 A, 1 B, 2 C) or
    -1; writing error_code injects a fault (0 clears it).
    """

    __slots__ = (
        "_armed_at_s",
        "_failsafe_s",
        "_fed_by_traffic",
        "_specs",
        "_states",
        "applied_a",
        "contactor",
        "drawn_a",
        "energy_wh",
        "error_code",
        "ev",
        "evse",
        "external_a",
        "external_cp",
        "failsafe_active",
        "failsafe_remaining_s",
        "n",
        "now_s",
        "phases_in_use",
        "power_on",
        "pwm_a",
        "session_no",
        "session_wh",
        "setpoint_a",
        "shown_a",
        "shown_applied_a",
        "shown_phases",
        "shown_session_no",
        "shown_session_wh",
        "shown_soc",
        "shown_state",
        "shown_v",
        "soc",
        "state",
    )

    def __init__(self, evse: Sequence[EvseSpec], ev: Sequence[EvSpec]) -> None:
        """Build the fleet with every charger supplied, booted into its boot limit, and no car plugged in.

        ValueError where the numbers of chargers and cars differ or are 0.
        """
        if not evse or len(evse) != len(ev):
            raise ValueError(f"fleet: {len(evse)} chargers and {len(ev)} cars: allowed one car a charger, at least one")
        self.evse, self.ev = tuple(evse), list(ev)
        self.n = len(self.evse)
        self.now_s = 0.0
        self._specs, self._states = spec_table(self.evse, self.ev), state_table(self.n)
        self._fed_by_traffic: np.ndarray = self._specs["watchdog"] == ANY_TRAFFIC
        self.drawn_a = np.zeros((self.n, PHASES))
        self.shown_v = np.full((self.n, PHASES), np.nan)
        self.shown_a = np.zeros((self.n, PHASES))
        self.external_a = np.full((self.n, PHASES), np.nan)
        states = self._states
        self._armed_at_s: np.ndarray = states["armed_at_s"]
        self._failsafe_s: np.ndarray = states["failsafe_s"]
        self.external_cp: np.ndarray = states["external_cp"]
        self.pwm_a: np.ndarray = states["pwm_a"]
        self.state: np.ndarray = states["state"]
        self.contactor: np.ndarray = states["contactor"]
        self.setpoint_a: np.ndarray = states["setpoint_a"]
        self.applied_a: np.ndarray = states["applied_a"]
        self.soc: np.ndarray = states["soc"]
        self.session_wh: np.ndarray = states["session_wh"]
        self.energy_wh: np.ndarray = states["energy_wh"]
        self.session_no: np.ndarray = states["session_no"]
        self.failsafe_active: np.ndarray = states["failsafe_active"]
        self.failsafe_remaining_s: np.ndarray = states["failsafe_remaining_s"]
        self.phases_in_use: np.ndarray = states["phases_in_use"]
        self.shown_state: np.ndarray = states["shown_state"]
        self.shown_applied_a: np.ndarray = states["shown_applied_a"]
        self.shown_phases: np.ndarray = states["shown_phases"]
        self.shown_session_no: np.ndarray = states["shown_session_no"]
        self.shown_session_wh: np.ndarray = states["shown_session_wh"]
        self.shown_soc: np.ndarray = states["shown_soc"]
        self.power_on: np.ndarray = states["power_on"]
        self.error_code: np.ndarray = states["error_code"]
        for spec, state in zip(self._specs, states, strict=True):
            charger.boot(spec, state, math.nan)
            state["shown_applied_a"], state["shown_phases"] = state["applied_a"], state["phases_in_use"]

    def bring(self, i: int, ev: EvSpec) -> None:
        """Let another car be the one that plugs into charger i; the present one is gone before."""
        self.ev[i] = ev
        write_car(self._specs, i, ev)

    def plug_in(self, i: int, now_s: float, soc: float, need_wh: float) -> None:
        """Plug a car with state of charge `soc` (0..1) into charger i; it takes `need_wh` at most (+inf: until full).

        A car that was still there is taken as gone. The charger sees it, and counts a session, at the next step.
        """
        if not 0.0 <= soc <= 1.0:
            raise ValueError(f"{self.evse[i].name}: soc {soc!r}: allowed 0..1")
        if not need_wh >= 0.0:
            raise ValueError(f"{self.evse[i].name}: need_wh {need_wh!r} Wh: allowed 0 or more, +inf until full")
        self.unplug(i, now_s)
        s = self._states[i]
        s.plugged = True
        s.soc = soc
        s.need_wh = need_wh
        s.sleeping = s.drew = False
        s.retry_at_s = -math.inf

    def unplug(self, i: int, now_s: float) -> None:
        """Take the car away from charger i; its current is gone at once."""
        s = self._states[i]
        if s.pwm_a != 0.0:
            s.pwm_a = 0.0
            s.pwm_at_s = now_s
        s.plugged = s.connected = s.held = s.s2 = False
        s.amp_a = s.seen_a = 0.0
        s.notice_at_s = s.wake_at_s = math.nan

    def step(self, now_s: float, dt_s: float, volt_v: np.ndarray) -> np.ndarray:
        """Advance all by `dt_s` to `now_s` under `volt_v` (N, 3) at the terminals; return amps drawn (N, 3).

        The result is `drawn_a`, a buffer that the next step overwrites. NaN volts: terminal without supply.
        ValueError for another shape or a time that is not finite.
        """
        if volt_v.shape != (self.n, PHASES) or not (math.isfinite(now_s) and 0.0 <= dt_s < math.inf):
            raise ValueError(
                f"fleet step: volts {volt_v.shape}, now {now_s!r} s, step {dt_s!r} s: "
                f"allowed volts ({self.n}, {PHASES}), finite times, step 0 or more"
            )
        step_all(self._specs, self._states, now_s, dt_s, volt_v, self.external_a, self.drawn_a, self.shown_v,
                 self.shown_a)  # fmt: skip
        self.now_s = now_s
        return self.drawn_a

    def touch(self, rows: np.ndarray, now_s: float) -> None:
        """Tell the watchdogs of the chargers `rows` (N,) bool of a valid request at `now_s`, s; see EvseView.touch."""
        fed = rows & self._fed_by_traffic & self.power_on
        self._armed_at_s[fed] = now_s
        self.failsafe_active[fed] = False
        time_out_s = self._failsafe_s[fed]
        self.failsafe_remaining_s[fed] = np.where(time_out_s > 0.0, time_out_s, math.inf)

    def view(self, i: int) -> EvseView:
        """Return what the registers of charger i are made of."""
        plain = self._states.view(np.dtype((np.void, self._states.dtype)), np.ndarray)
        return EvseView(self.evse[i], self.ev[i], self._states[i], plain[i], self.shown_a[i], self.shown_v[i], i)

    def fail(self, i: int, kind: str, value: float = math.nan) -> None:
        """Let a fault of `faults.FAULTS` begin at charger i. ValueError for an unknown one."""
        set_fault(self._states[i], kind, value)

    def mend(self, i: int, kind: str) -> None:
        """End a fault of charger i."""
        clear_fault(self._states[i], kind)

    def duty(self, i: int) -> float:
        """Return the duty cycle (share 0..1) on the control pilot of charger i: 1 steady +, 0 no supply or fault."""
        s = self._states[i]
        if s.state in (Pilot.E, Pilot.F):
            return 0.0
        if s.pwm_a < 0.0 or (s.pwm_a > 0.0 and charger.digital(self._specs[i])):
            return DIGITAL_DUTY
        return duty_of_amps(float(s.pwm_a))

    def snapshot(self) -> dict[str, np.ndarray]:
        """Return copies of everything that changes, by name."""
        copies = {name: np.array(self._states[name]) for name in self._states.dtype.names}
        copies |= {name: getattr(self, name).copy() for name in CARRIED}
        copies["now_s"] = np.array(self.now_s)
        return copies

    def restore(self, snapshot: dict[str, np.ndarray], shift_s: float = 0.0) -> None:
        """Put a snapshot back, all its moments moved by `shift_s` seconds. ValueError for one of another fleet."""
        known = {*self._states.dtype.names, *CARRIED, "now_s"}
        if known != set(snapshot):
            raise ValueError(
                f"snapshot: names differ by {sorted(known ^ set(snapshot))}: allowed one of Fleet.snapshot"
            )
        if len(snapshot["soc"]) != self.n:
            raise ValueError(f"snapshot: {len(snapshot['soc'])} chargers: allowed {self.n}, those of this fleet")
        for name in self._states.dtype.names:
            self._states[name] = snapshot[name] + shift_s if name.endswith("_at_s") else snapshot[name]
        for name in CARRIED:
            getattr(self, name)[...] = snapshot[name]
        self.now_s = float(snapshot["now_s"]) + shift_s
