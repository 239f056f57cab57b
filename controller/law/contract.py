"""Step 5, contract: the limits in force now, from DSO orders (here) and from contracts (`contract_windows.py`).

An order is a limit in watts at a node; 0 W is 0 W. It stays in force when its quality
goes Bad or its heartbeat stops. Without heartbeat for `node_beat_timeout_s` the node falls to `node_failsafe_w`; it
leaves that only when the heartbeat is back *and* the order reads Good again (after EEBUS LPC rules 911, 916-920: a
heartbeat alone lifts nothing). A known future order is issued early by the worst obey time below its node.
The limits of the order book (`book_w`) are orders too: the book has applied validity and lead time already.

Export has limits of its own beside those of import, all written as numbers from 0: capacity, order, fail-safe and
window. A negative export limit (a sign taken over from another convention) allows none.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Alarm, Quality, Reason

GOOD = int(Quality.GOOD)
ORDER, ORDER_LOST = int(Reason.ORDER), int(Reason.ORDER_LOST)
HEADROOM, EXPORT = int(Reason.HEADROOM), int(Reason.EXPORT)
ALARM_LOST = int(Alarm.ORDER_LOST)
WATTS = 3


@Stage
def orders(
    now_ns: Array,
    utc_ns: Array,
    order_w: Array,
    order_export_w: Array,
    order_from_s: Array,
    order_to_s: Array,
    order_quality: Array,
    order_beat_ns: Array,
    book_w: Array,
    book_export_w: Array,
    node_limit_a: Array,
    node_limit_w: Array,
    node_failsafe_w: Array,
    node_failsafe_export_w: Array,
    node_export_a: Array,
    node_export_w: Array,
    node_beat_timeout_s: Array,
    node_obey_s: Array,
    node_cap: Array,
    node_cap_why: Array,
    order_held_w: Array,
    order_held_export_w: Array,
    order_held_from_s: Array,
    order_held_to_s: Array,
    order_lost: Array,
    node_back_cap: Array,
    node_back_why: Array,
    alarm: Array,
) -> None:
    """Set each node's limits to its capacity, then lower its watts to the order or the fail-safe in force."""
    utc_s = utc_ns[0] * 1e-9
    for m in range(order_w.shape[0]):
        for p in range(3):
            node_cap[m, p] = node_limit_a[m, p]
            node_cap_why[m, p] = HEADROOM
            node_back_cap[m, p] = min(node_export_a[m, p], node_limit_a[m, p])
            node_back_why[m, p] = EXPORT
        back, back_code = min(node_export_w[m], node_limit_w[m]), EXPORT
        cap, code = node_limit_w[m], HEADROOM
        read = order_quality[m] == GOOD and not math.isnan(order_w[m])
        if read:
            order_held_w[m] = max(order_w[m], 0.0)
            if not math.isnan(order_export_w[m]):
                order_held_export_w[m] = max(order_export_w[m], 0.0)
            order_held_from_s[m] = order_from_s[m]
            order_held_to_s[m] = order_to_s[m]
        begun = not utc_s < order_held_from_s[m] - node_obey_s[m]  # true on NaN: at once
        ended = utc_s >= order_held_to_s[m]  # false on NaN: until withdrawn
        if begun and not ended:
            if order_held_w[m] < cap:
                cap, code = order_held_w[m], ORDER
            if order_held_export_w[m] < back:
                back, back_code = order_held_export_w[m], ORDER
        if not book_w[m] >= cap:  # NaN, which no book says, allows nothing
            cap, code = book_w[m] if book_w[m] > 0.0 else 0.0, ORDER
        if not book_export_w[m] >= back:
            back, back_code = book_export_w[m] if book_export_w[m] > 0.0 else 0.0, ORDER
        if node_beat_timeout_s[m] < math.inf:
            silent_ns = now_ns[0] - order_beat_ns[m]
            silent = order_beat_ns[m] == 0 or silent_ns < 0 or silent_ns * 1e-9 > node_beat_timeout_s[m]
            if silent:
                order_lost[m] = 1
            elif read:
                order_lost[m] = 0
            if order_lost[m] == 1:
                alarm[0] = alarm[0] | ALARM_LOST
                if node_failsafe_w[m] < cap:
                    cap, code = node_failsafe_w[m], ORDER_LOST
                if node_failsafe_export_w[m] < back:
                    back, back_code = node_failsafe_export_w[m], ORDER_LOST
        else:
            order_lost[m] = 0
        node_cap[m, WATTS] = cap
        node_cap_why[m, WATTS] = code
        node_back_cap[m, WATTS] = back
        node_back_why[m, WATTS] = back_code
