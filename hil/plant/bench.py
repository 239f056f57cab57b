"""Tell what flows on the bench: programmable source, charger under test, programmable load, one wire between them.

Quasi-static: every call is the steady state of that moment. A load in constant-current mode takes exactly what it is
set to, so nothing here limits the current; who may trip on it (the source, the load, the charger) is told the truth.
"""

import math
from typing import NamedTuple

import numpy as np

PHASES = 3


class BenchFlow(NamedTuple):
    """Give the steady state of the wire: amps (3,) through it, volts (3,) at the load, and whether it is sound.

    collapsed: the wire cannot carry the set current at these volts; the load then takes what its input still yields.
    """

    amp_a: np.ndarray
    load_v: np.ndarray
    collapsed: bool


def flow(
    source_v: np.ndarray,
    *,
    source_on: bool,
    contactor: bool,
    load_on: bool | np.ndarray,
    load_set_a: float | np.ndarray,
    load_min_v: float = 0.0,
    wire_ohm: float = 0.0,
    phases: int = PHASES,
) -> BenchFlow:
    """Return the amps and load volts for `source_v` (3,), V line to neutral, and loads set to `load_set_a`.

    `load_set_a` and `load_on` are one for all phases, or (3,) by phase. A phase whose load volts are under
    `load_min_v` takes no current (the load's own under-voltage stop). Only the first `phases` terminals are loaded.
    `wire_ohm` is the resistance of source, wire and contactor per phase. ValueError for unknown or negative volts,
    amps or ohms: a wire has no NaN.
    """
    volts = np.asarray(source_v, dtype=float)
    if volts.shape != (PHASES,) or not np.all(np.isfinite(volts)) or np.any(volts < 0.0):
        raise ValueError(f"bench source: {volts.tolist()} V: allowed three finite values, 0 or more")
    for what, value, unit in (("load", load_set_a, "A"), ("load_min", load_min_v, "V"), ("wire", wire_ohm, "ohm")):
        if not np.all((np.asarray(value) >= 0.0) & (np.asarray(value) < math.inf)):
            raise ValueError(f"bench {what}: {value!r} {unit}: allowed finite, 0 or more")
    if phases not in (1, 2, 3):
        raise ValueError(f"bench load: {phases!r} phases: allowed 1, 2 or 3")
    amps, load_v = np.zeros(PHASES), np.zeros(PHASES)
    if not (source_on and contactor):
        return BenchFlow(amps, load_v, False)
    load_v[:] = volts
    set_a = np.where(load_on, load_set_a, 0.0) * np.ones(PHASES)
    under_v = volts - wire_ohm * set_a
    drawing = (np.arange(PHASES) < phases) & (set_a > 0.0) & (volts > 0.0) & (volts >= load_min_v)
    collapsed = drawing & ((under_v <= 0.0) | (under_v < load_min_v))
    carries = drawing & ~collapsed
    amps[carries] = set_a[carries]
    load_v[carries] = under_v[carries]
    if wire_ohm > 0.0:
        amps[collapsed] = (volts[collapsed] - load_min_v) / wire_ohm
        load_v[collapsed] = load_min_v
    return BenchFlow(amps, load_v, bool(collapsed.any()))
