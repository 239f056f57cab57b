"""Step 2, wish: the set-point asked for. Full power (+inf) unless an order or a planner asks for something else.

An ordered set-point in watts (steering contract, redispatch) stands before the planner's amps; measured volts make
amps of it. An unknown wish (NaN) keeps what is allowed now: an input that vanishes raises nothing. A negative wish
asks for export: the upper bound is 0 and the lower one is the wish, which the steps behind bring up towards 0.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Reason, Step

REASON, WISH = int(Reason.WISH), int(Step.WISH)


@Stage
def ask(
    first: int,
    end: int,
    wish_a: Array,
    wish_w: Array,
    volts_v: Array,
    asked_a: Array,
    export_max_a: Array,
    last_a: Array,
    v2g_next: Array,
    last_min_a: Array,
    cap_a: Array,
    why: Array,
    why_a: Array,
    why_node: Array,
    low_a: Array,
    low_why: Array,
    chain: Array,
    export_reserved_a: Array,
) -> None:
    """Start the chain of caps with the wish; notice whether there is anybody who may export."""
    if first == 0:
        v2g_next[0] = 0
    exports = 0
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        order_w, volts, last, last_min = wish_w[i], volts_v[i], last_a[i], last_min_a[i]
        wish = wish_a[i]
        ordered = order_w / volts if volts > 0.0 else min(order_w, 0.0)
        wish = ordered if order_w != math.inf else wish  # NaN goes on as a wish that is not known
        asked_a[i] = wish
        may = (export_max_a[i] > 0.0) | (last_min < 0.0) | (export_reserved_a[i] > 0.0)
        exports |= 1 if may else 0
        unknown = math.isnan(wish)
        low = last_min if unknown else min(wish, 0.0)
        low_a[i] = low if may else 0.0
        low_why[i] = REASON
        wish = wish if wish >= 0.0 else last if unknown else 0.0
        cap_a[i] = wish
        why[i] = REASON
        why_a[i] = wish
        why_node[i] = -1
        chain[i, WISH] = wish
    v2g_next[0] = v2g_next[0] | exports


@Stage
def notice(v2g: Array, v2g_next: Array) -> None:
    """Take note whether anybody may export, once all have been asked: until then it says so of the last scan."""
    v2g[0] = v2g_next[0]
