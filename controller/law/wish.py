"""Step 2, wish: the set-point asked for. Full power (+inf) unless an order or a planner asks for something else.

An ordered set-point in watts (steering contract, redispatch) stands before the planner's amps; measured volts make
amps of it. An unknown wish (NaN) keeps what is allowed now: an input that vanishes raises nothing. A negative wish
asks for export: the upper bound is 0 and the lower one is the wish, which the steps behind bring up towards 0.
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason, Step

REASON, WISH = int(Reason.WISH), int(Step.WISH)


@kernel
def asked(wish_a: float, wish_w: float, volts_v: float) -> float:
    """Return the set-point asked for in amps; NaN goes on as a wish that is not known."""
    ordered = wish_w / volts_v if volts_v > 0.0 else min(wish_w, 0.0)
    return ordered if wish_w != math.inf else wish_a


@kernel
def in_amps(first: int, end: int, wish_a: Array, wish_w: Array, volts_v: Array, amps: Array) -> None:
    """Take the set-points of a block in amps; mostly nobody has one in watts, and a division takes its time."""
    ordered = 0
    for i in range(first, end):
        ordered |= 1 if wish_w[i] != math.inf else 0
        amps[i - first] = wish_a[i]
    for i in range(first, end if ordered == 1 else first):
        amps[i - first] = asked(wish_a[i], wish_w[i], volts_v[i])


@Stage
def ask(
    first: int,
    end: int,
    wish_a: Array,
    wish_w: Array,
    volts_v: Array,
    export_max_a: Array,
    last_a: Array,
    v2g: Array,
    export_heard: Array,
    v2g_next: Array,
    last_min_a: Array,
    cap_a: Array,
    low_a: Array,
    low_why: Array,
    spare_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    chain: Array,
    export_reserved_a: Array,
) -> None:
    """Start the chain of caps with the wish; notice whether there is anybody who may export.

    `spare_a` is scratch of one block: the set-point asked for.
    """
    if first == 0:
        v2g_next[0] = 0
    in_amps(first, end, wish_a, wish_w, volts_v, spare_a)
    exports = 0
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        wish, last = spare_a[i - first], last_a[i]
        exports |= 1 if export_max_a[i] > 0.0 else 0
        wish = wish if wish >= 0.0 else last if math.isnan(wish) else 0.0
        cap_a[i] = wish
        reason[i] = REASON
        reason_a[i] = wish
        reason_node[i] = -1
        chain[i, WISH] = wish
    if exports == 0 and v2g[0] == 0 and export_heard[0] == 0:
        return  # nobody here may export, and nobody did in the last scan: their lower bounds rest at 0
    for i in range(first, end):
        wish, last_min = spare_a[i - first], last_min_a[i]
        may = (export_max_a[i] > 0.0) | (last_min < 0.0) | (export_reserved_a[i] > 0.0)
        exports |= 1 if may else 0
        low = last_min if math.isnan(wish) else min(wish, 0.0)
        low_a[i] = low if may else 0.0
        low_why[i] = REASON
    v2g_next[0] = v2g_next[0] | exports


@Stage
def notice(v2g: Array, export_heard: Array, v2g_next: Array) -> None:
    """Take note whether anybody may export, once all have been asked: until then it says so of the last scan."""
    v2g[0] = v2g_next[0]
    export_heard[0] = 0
