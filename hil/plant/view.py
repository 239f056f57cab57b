"""Show one charger as its registers see it: named quantities in SI units, and the few that may be written."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hil.plant.dc import DcOutput
from hil.plant.ev import EvSpec
from hil.plant.evse import EvseSpec
from hil.plant.pilot import Pilot
from hil.plant.watchdog import ANY_TRAFFIC, LIFE_BIT, PER_SETPOINT, TOKEN, WATCHDOGS, feed

FREQUENCY_HZ = 50.0
ROUNDING_A = 1e-3  # a float32 register may carry the rating a hair above itself


def quantise(value: float, step: float) -> float:
    """Round to the meter's resolution; a step of 0 is exact, NaN stays."""
    return round(value / step) * step if step > 0.0 and math.isfinite(value) else value


class EvseView:
    """Read and write one charger the way its communication interface can.

    While the device has no supply (see `powered`) writes and touches have no effect: nobody is there to answer.
    """

    __slots__ = ("_amp_a", "_ev", "_index", "_kind", "_row", "_spec", "_state", "_volt_v", "dc")

    def __init__(
        self, spec: EvseSpec, ev: EvSpec, state: Any, row: Any, amp_a: np.ndarray, volt_v: np.ndarray, index: int
    ) -> None:
        """Bind the view to one record of the fleet and its rows (3,) of amps and volts; a DC charger sets `dc`.

        `row` is the same memory as `state`, as a plain numpy.void: ten times as fast as a numpy.record.
        """
        self._row = row
        self.dc: DcOutput | None = None
        self._spec, self._ev, self._state, self._index = spec, ev, state, index
        self._amp_a, self._volt_v = amp_a, volt_v
        self._kind = WATCHDOGS.index(spec.watchdog)

    @property
    def powered(self) -> bool:
        """Say whether the device has supply and has booted."""
        return bool(self._row["power_on"])

    def get(self, quantity: str) -> float | str:
        """Return one quantity, SI units as its name says. ValueError names the known ones."""
        read = READS.get(quantity)
        if read is None:
            raise ValueError(f"{self._spec.name}: quantity {quantity!r}: allowed {', '.join(sorted(READS))}")
        return read(self)

    def set(self, quantity: str, value: float, now_s: float) -> None:
        """Write one quantity at plant time `now_s`, s. ValueError says what is allowed; nothing is clipped."""
        write = WRITES.get(quantity)
        if write is None:
            raise ValueError(f"{self._spec.name}: write of {quantity!r}: allowed {', '.join(sorted(WRITES))}")
        if not math.isfinite(value):
            raise ValueError(f"{self._spec.name}: {quantity} {value!r}: allowed finite values")
        write(self, float(value))
        if not self.powered:
            return
        fed = (
            self._kind == ANY_TRAFFIC
            or (self._kind == PER_SETPOINT and quantity == "setpoint_a")
            or (self._kind == LIFE_BIT and quantity == "life_bit" and value == 1.0)
            or (self._kind == TOKEN and quantity == "token" and value == self._spec.token)
        )
        if fed:
            feed(self._row, now_s)

    def touch(self, now_s: float) -> None:
        """Tell the watchdog of a valid request at plant time `now_s`, s, whatever it read or wrote."""
        if self._kind == ANY_TRAFFIC and self.powered:
            feed(self._row, now_s)

    def volts(self, phase: int) -> float:
        """Return the metered volts of a terminal (0..2); 0 where nothing is connected."""
        volt = float(self._volt_v[phase])
        return 0.0 if math.isnan(volt) else quantise(volt, self._spec.meter_v_step_v)

    def amps(self, phase: int) -> float:
        """Return the metered amps of a terminal (0..2)."""
        return quantise(float(self._amp_a[phase]), self._spec.meter_a_step_a)

    def mode3_state(self) -> str:
        """Write the pilot state as A, B1, B2, C1, C2, E, F: 1 no PWM, 2 PWM."""
        pilot = Pilot(int(self._state.shown_state))
        if pilot in (Pilot.B, Pilot.C, Pilot.D):
            return pilot.name + ("2" if self._state.shown_pwm else "1")
        return pilot.name

    def _write_setpoint_a(self, value: float) -> None:
        low, high = -self._spec.discharge_max_a, self._spec.hard_max_a
        if not low - ROUNDING_A * (low < 0.0) <= value <= high + ROUNDING_A:
            raise ValueError(f"{self._spec.name}: setpoint_a {value!r} A: allowed {low or 0:g}..{high:g} A")
        if self.powered:
            self._row["setpoint_a"] = max(min(value, high), low)

    def _write_phases_set(self, value: float) -> None:
        allowed = {1.0, float(self._spec.phases)} if self._spec.switch_phases else {float(self._spec.phases)}
        if value not in allowed:
            text = " or ".join(f"{phases:g}" for phases in sorted(allowed))
            raise ValueError(f"{self._spec.name}: phases_set {value!r}: allowed {text}")
        if self.powered:
            self._state.phases_set = int(value)

    def _write_failsafe_a(self, value: float) -> None:
        low, high = self._spec.min_setpoint_a, self._spec.hard_max_a
        if value != 0.0 and not low <= value <= high + ROUNDING_A:
            raise ValueError(f"{self._spec.name}: failsafe_a {value!r} A: allowed 0 or {low:g}..{high:g} A")
        if self.powered:
            self._state.failsafe_a = min(value, high)

    def _write_failsafe_s(self, value: float) -> None:
        if value < 0.0:
            raise ValueError(f"{self._spec.name}: failsafe_s {value!r} s: allowed 0 (off) or more")
        if self.powered:
            self._state.failsafe_s = value

    def _write_flag(self, name: str, field: str, value: float) -> None:
        if value not in (0.0, 1.0):
            raise ValueError(f"{self._spec.name}: {name} {value!r}: allowed 0 or 1")
        if self.powered and field:
            self._state[field] = bool(value)


READS: dict[str, Callable[[EvseView], float | str]] = {
    "state": lambda v: float(v._state.shown_state),
    "mode3_state": EvseView.mode3_state,
    "cable_connected": lambda v: float(v._state.shown_connected),
    "charging": lambda v: float(v._state.shown_contactor and v._state.shown_state == Pilot.C),
    "current_l1_a": lambda v: v.amps(0),
    "current_l2_a": lambda v: v.amps(1),
    "current_l3_a": lambda v: v.amps(2),
    "voltage_l1_v": lambda v: v.volts(0),
    "voltage_l2_v": lambda v: v.volts(1),
    "voltage_l3_v": lambda v: v.volts(2),
    "power_w": lambda v: sum(v.volts(k) * v.amps(k) for k in range(3)),
    "power_l1_w": lambda v: v.volts(0) * v.amps(0),
    "power_l2_w": lambda v: v.volts(1) * v.amps(1),
    "power_l3_w": lambda v: v.volts(2) * v.amps(2),
    "dc_voltage_v": lambda v: 0.0 if v.dc is None else v.dc.volt_v,
    "dc_current_a": lambda v: 0.0 if v.dc is None else v.dc.amp_a,
    "dc_power_w": lambda v: 0.0 if v.dc is None else v.dc.power_w,
    "soc": lambda v: float(v._state.shown_soc),
    "energy_wh": lambda v: float(v._state.shown_energy_wh),
    "session_wh": lambda v: float(v._state.shown_session_wh),
    "session_no": lambda v: float(v._state.shown_session_no),
    "limit_a": lambda v: float(v._state.shown_applied_a),
    "hardware_max_a": lambda v: min(v._spec.hard_max_a, v._ev.cable_a) if v._state.connected else v._spec.hard_max_a,
    "setpoint_a": lambda v: float(v._state.setpoint_a),
    "enable": lambda v: float(v._state.enabled),
    "failsafe_a": lambda v: float(v._state.failsafe_a),
    "failsafe_s": lambda v: float(v._state.failsafe_s),
    "failsafe_persist": lambda v: float(v._state.failsafe_persist),
    "failsafe_active": lambda v: float(v._state.failsafe_active),
    "remaining_valid_s": lambda v: float(v._state.failsafe_remaining_s),
    "life_bit": lambda v: 0.0,  # the device clears it as soon as it has seen it
    "error_code": lambda v: float(v._state.error_code),
    "frequency_hz": lambda v: FREQUENCY_HZ,
    "power_factor": lambda v: 1.0,
    "phases": lambda v: float(v._spec.phases),
    "can_switch_phases": lambda v: float(v._spec.switch_phases),
    "phases_set": lambda v: float(v._state.phases_set),
    "phases_in_use": lambda v: float(v._state.shown_phases),
    "export_wh": lambda v: float(v._state.export_wh),
    "serial": lambda v: v._spec.serial or str(10_000_000 + v._index),
    "firmware": lambda v: v._spec.firmware,
}

WRITES: dict[str, Callable[[EvseView, float], None]] = {
    "setpoint_a": EvseView._write_setpoint_a,
    "phases_set": EvseView._write_phases_set,
    "enable": lambda v, value: v._write_flag("enable", "enabled", value),
    "failsafe_a": EvseView._write_failsafe_a,
    "failsafe_s": EvseView._write_failsafe_s,
    "failsafe_persist": lambda v, value: v._write_flag("failsafe_persist", "failsafe_persist", value),
    "life_bit": lambda v, value: v._write_flag("life_bit", "", value),
    "token": lambda v, value: None,  # a wrong token is a valid write that feeds nothing
}
