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
    # control pilot and contactor
    Field("connected", "?", "1", 0, "the EVSE sees a vehicle"),
    Field("state", "i1", "1", 0, "control pilot, pilot.Pilot"),
    Field("applied_a", "f8", "A", 0, "limit in force at the EVSE; follows the set-point after the PWM gap"),
    Field("pwm_a", "f8", "A", 0, "amps the pilot advertises; 0 no PWM"),
    Field("pwm_at_s", "f8", "s", LONG_AGO, "the pilot changed last at"),
    Field("contactor", "?", "1", 0, "contactor closed"),
    Field("contactor_at_s", "f8", "s", NAN, "asked to move at; NaN while it need not move"),
    Field("over_at_s", "f8", "s", NAN, "the car draws too much since; NaN while it does not"),
    # car
    Field("plugged", "?", "1", 0, "a car is plugged in"),
    Field("seen_a", "f8", "A", 0, "pilot current the car acts upon, after its dead time"),
    Field("notice_at_s", "f8", "s", NAN, "it noticed a change of the pilot at; NaN when it has followed"),
    Field("s2", "?", "1", 0, "the car asks for energy (S2 closed)"),
    Field("amp_a", "f8", "A", 0, "amps per phase the car model draws"),
    Field("retry_at_s", "f8", "s", LONG_AGO, "not before this time after an under-voltage trip"),
    Field("sleeping", "?", "1", 0, "a car that does not resume after a pause"),
    Field("soc", "f8", "1", 0, "state of charge"),
    Field("need_wh", "f8", "Wh", 0, "energy at the plug that the car still takes"),
    # meter and adapter
    Field("session_no", "i4", "1", 0, "counts plug-ins"),
    Field("session_wh", "f8", "Wh", 0, "energy of the session"),
    Field("energy_wh", "f8", "Wh", 0, "energy of the meter's life"),
    Field("external_cp", "i1", "1", -1, "pilot state asserted by an adapter, 0 A, 1 B, 2 C; -1 the car model"),
)


def state_table(count: int) -> Any:
    """Return a record array (count,) filled with the values of the start."""
    table = np.zeros(count, dtype=[(f.name, f.dtype) for f in STATE_FIELDS]).view(np.recarray)
    for field in STATE_FIELDS:
        table[field.name] = field.fill
    return table


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
