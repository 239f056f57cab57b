"""Declare the fleet's two tables: what a charger and its car are (fixed), and what they do (state).

Both are arrays of records, one record a charger, so that a kernel reads like the story of one charger. Names ending
in ``_at_s`` are moments on the plant's clock; -inf is "long ago", NaN "not running".
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from hil.plant.ev import EvSpec
from hil.plant.evse import EvseSpec
from hil.plant.watchdog import WATCHDOGS

NAN = float("nan")
LONG_AGO = float("-inf")
EV = "ev_"  # prefix of the car's columns
DTYPES = {float: "f8", int: "i8", bool: "?"}


class Field(NamedTuple):
    """Describe one column of the state: name, dtype, unit, value at the start and meaning."""

    name: str
    dtype: str
    unit: str
    fill: float
    meaning: str


STATE_FIELDS: tuple[Field, ...] = (
    # supply of the EVSE
    Field("power_on", "?", "1", 1, "the EVSE has supply and has booted"),
    Field("supplied_at_s", "f8", "s", NAN, "supply came back at, while it boots; NaN otherwise"),
    Field("held", "?", "1", 0, "session ended by a black-out: needs a new plug-in"),
    Field("rebooting", "?", "1", 0, "it is to boot anew"),
    Field("restart_at_s", "f8", "s", LONG_AGO, "charges again after a black-out at, its random delay included"),
    # remote control
    Field("setpoint_a", "f8", "A", 0, "last set-point received"),
    Field("enabled", "?", "1", 1, "0: paused by command, whatever the set-point"),
    Field("armed_at_s", "f8", "s", NAN, "the watchdog was fed last at; NaN before the first step"),
    Field("failsafe_active", "?", "1", 0, "the watchdog has expired"),
    Field("failsafe_a", "f8", "A", 0, "limit while it has"),
    Field("failsafe_s", "f8", "s", 0, "its time-out; 0 or +inf switches it off"),
    Field("failsafe_remaining_s", "f8", "s", NAN, "time until it expires; +inf never"),
    Field("failsafe_persist", "?", "1", 0, "1: failsafe_a and failsafe_s survive a reboot"),
    Field("error_code", "i4", "1", 0, "0 none; a fault puts the pilot to F"),
    Field("fault_at_s", "f8", "s", LONG_AGO, "the fault began at; F stays for fault_hold_s at least"),
    Field("ignoring", "?", "1", 0, "set-points are acknowledged and not applied"),
    # phases
    Field("phases_set", "u1", "1", 0, "number of phases asked for"),
    Field("phases_in_use", "u1", "1", 0, "number of phases switched on"),
    Field("switch_at_s", "f8", "s", NAN, "the pause of a switch of phases began at; NaN none"),
    Field("switched_at_s", "f8", "s", LONG_AGO, "phases were switched last at"),
    # control pilot and contactor
    Field("connected", "?", "1", 0, "the EVSE sees a vehicle"),
    Field("state", "i1", "1", 0, "control pilot, pilot.Pilot"),
    Field("applied_a", "f8", "A", 0, "limit in force at the EVSE; follows the set-point after the PWM gap"),
    Field("pwm_a", "f8", "A", 0, "amps the pilot advertises; 0 no PWM; negative: export asked for over ISO 15118"),
    Field("pwm_at_s", "f8", "s", LONG_AGO, "the pilot changed last at"),
    Field("contactor", "?", "1", 0, "contactor closed"),
    Field("contactor_at_s", "f8", "s", NAN, "asked to move at; NaN while it need not move"),
    Field("idle_at_s", "f8", "s", NAN, "the car leaves an offer alone since; NaN it does not"),
    Field("wake_at_s", "f8", "s", NAN, "the wake-up toggle began at; NaN none"),
    Field("woken", "?", "1", 0, "it was tried since the car last drew"),
    Field("over_at_s", "f8", "s", NAN, "the car draws too much since; NaN while it does not"),
    # car
    Field("plugged", "?", "1", 0, "a car is plugged in"),
    Field("seen_a", "f8", "A", 0, "pilot current the car acts upon, after its dead time"),
    Field("notice_at_s", "f8", "s", NAN, "it noticed a change of the pilot at; NaN when it has followed"),
    Field("s2", "?", "1", 0, "the car asks for energy (S2 closed)"),
    Field("amp_a", "f8", "A", 0, "amps per phase the car model draws; negative: gives back"),
    Field("start_at_s", "f8", "s", NAN, "its current could begin at; NaN it cannot flow"),
    Field("paused_at_s", "f8", "s", NAN, "it sees a pause since; NaN it does not"),
    Field("retry_at_s", "f8", "s", LONG_AGO, "not before this time after an under-voltage trip"),
    Field("drew", "?", "1", 0, "it has charged in this session, or since it was woken"),
    Field("sleeping", "?", "1", 0, "asleep after a pause: takes nothing until it is woken"),
    Field("soc", "f8", "1", 0, "state of charge"),
    Field("need_wh", "f8", "Wh", 0, "energy at the plug that the car still takes"),
    # meter and adapter
    Field("session_no", "i4", "1", 0, "counts plug-ins"),
    Field("session_wh", "f8", "Wh", 0, "energy of the session"),
    Field("energy_wh", "f8", "Wh", 0, "energy of the meter's life"),
    Field("export_wh", "f8", "Wh", 0, "energy given back in the meter's life"),
    Field("meter_scale", "f8", "1", 1, "its amps are wrong by this factor"),
    Field("meter_offset_a", "f8", "A", 0, "its amps are wrong by this much"),
    Field("stuck", "?", "1", 0, "its amps stand still"),
    Field("volts_fixed", "?", "1", 0, "it reports 230 V, whatever they are"),
    # registers, which may stand still
    Field("frozen", "?", "1", 0, "all registers stand still"),
    Field("shown_state", "i1", "1", 0, "state as reported"),
    Field("shown_pwm", "?", "1", 0, "PWM on, as reported"),
    Field("shown_contactor", "?", "1", 0, "contactor as reported"),
    Field("shown_connected", "?", "1", 0, "vehicle as reported"),
    Field("shown_applied_a", "f8", "A", 0, "limit in force as reported"),
    Field("shown_phases", "u1", "1", 0, "phases in use as reported"),
    Field("shown_session_no", "i4", "1", 0, "plug-ins as reported"),
    Field("shown_session_wh", "f8", "Wh", 0, "energy of the session as reported"),
    Field("shown_energy_wh", "f8", "Wh", 0, "energy of the meter as reported"),
    Field("shown_soc", "f8", "1", 0, "state of charge as reported"),
    Field("external_cp", "i1", "1", -1, "pilot state asserted by an adapter, 0 A .. 3 D; -1 the car model"),
)


def state_table(count: int) -> Any:
    """Return a record array (count,) filled with the values of the start."""
    table = np.zeros(count, dtype=[(f.name, f.dtype) for f in STATE_FIELDS]).view(np.recarray)
    for field in STATE_FIELDS:
        table[field.name] = field.fill
    return table


def write_car(table: Any, i: int, ev: EvSpec) -> None:
    """Put another car into row i of a table of `spec_table`."""
    for field in fields(EvSpec):
        if field.type in DTYPES:
            table[EV + field.name][i] = getattr(ev, field.name)


def spec_table(evse: Sequence[EvseSpec], ev: Sequence[EvSpec]) -> Any:
    """Return a record array (N,) of every number of the specs; the car's columns carry the prefix ``ev_``."""
    columns: list[tuple[str, str, list[Any]]] = [("watchdog", "i8", [WATCHDOGS.index(spec.watchdog) for spec in evse])]
    for prefix, specs, kind in (("", evse, EvseSpec), (EV, ev, EvSpec)):
        columns += [
            (prefix + field.name, DTYPES[field.type], [getattr(spec, field.name) for spec in specs])
            for field in fields(kind)
            if field.type in DTYPES
        ]
    table = np.zeros(len(evse), dtype=[(name, dtype) for name, dtype, _ in columns]).view(np.recarray)
    for name, _, values in columns:
        table[name] = values
    return table
