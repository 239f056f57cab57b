"""Step 5, contract: the limits in force now, from windows of the day and from DSO orders.

A window binds a charger or a node, in amps per phase or watts over all phases, between two times of the local day,
issued early by its lead time. An order is a limit in watts at a node; 0 W is 0 W. It stays in force when its quality
goes Bad or its heartbeat stops. Without heartbeat for `node_beat_timeout_s` the node falls to `node_failsafe_w`; it
leaves that only when the heartbeat is back *and* the order reads Good again (after EEBUS LPC rules 911, 916-920: a
heartbeat alone lifts nothing). A known future order is issued early by the worst obey time below its node.
The limits of the order book (`book_w`) are orders too: the book has applied validity and lead time already.

Export has limits of its own beside those of import, all written as numbers from 0: capacity, order, fail-safe and
window. A negative export limit (a sign taken over from another convention) allows none.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Alarm, Quality, Reason, Step

GOOD = int(Quality.GOOD)
WINDOW, ORDER, ORDER_LOST = int(Reason.WINDOW), int(Reason.ORDER), int(Reason.ORDER_LOST)
HEADROOM, EXPORT = int(Reason.HEADROOM), int(Reason.EXPORT)
CONTRACT = int(Step.CONTRACT)
ALARM_LOST = int(Alarm.ORDER_LOST)
DAY_NS = 86_400_000_000_000
DAY_S = 86_400.0
THURSDAY = 3  # the weekday of 1970-01-01, Monday 0
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


@Stage
def windows(
    utc_ns: Array,
    utc_offset_s: Array,
    window_charger: Array,
    window_node: Array,
    window_from_s: Array,
    window_to_s: Array,
    window_days: Array,
    window_a: Array,
    window_w: Array,
    window_export_w: Array,
    window_lead_s: Array,
    volts_v: Array,
    node_cap: Array,
    node_cap_why: Array,
    window_cap_w: Array,
    cap_a: Array,
    why: Array,
    why_a: Array,
    why_node: Array,
    low_a: Array,
    low_why: Array,
    node_back_cap: Array,
    node_back_why: Array,
    chain: Array,
    node_cap_w: Array,
) -> None:
    """Lower nodes and chargers to the windows that are open; the source of a charger's limit is the window."""
    local_ns = utc_ns[0] + int(utc_offset_s[0] * 1e9)
    day = local_ns // DAY_NS
    second = (local_ns - day * DAY_NS) * 1e-9
    for i in range(cap_a.shape[0]):
        window_cap_w[i] = math.inf
    for w in range(window_a.shape[0]):
        length = window_to_s[w] - window_from_s[w]
        if length <= 0.0:
            length += DAY_S
        is_open = False
        for shift in range(-1, 2):  # a window of yesterday may still be open, one of tomorrow is issued early
            start = window_from_s[w] + shift * DAY_S
            weekday = int((day + shift + THURSDAY) % 7)
            if (int(window_days[w]) >> weekday) & 1 == 1:
                is_open = is_open or start - window_lead_s[w] <= second < start + length
        if not is_open:
            continue
        m, i = window_node[w], window_charger[w]
        if m >= 0:
            for p in range(3):
                if window_a[w] < node_cap[m, p]:
                    node_cap[m, p] = window_a[w]
                    node_cap_why[m, p] = WINDOW
            if window_w[w] < node_cap[m, WATTS]:
                node_cap[m, WATTS] = window_w[w]
                node_cap_why[m, WATTS] = WINDOW
            if window_export_w[w] < node_back_cap[m, WATTS]:
                node_back_cap[m, WATTS] = max(window_export_w[w], 0.0)
                node_back_why[m, WATTS] = WINDOW
        elif i >= 0:
            window_cap_w[i] = min(window_cap_w[i], window_w[w])
            limit = min(window_a[w], window_w[w] / volts_v[i] if volts_v[i] > 0.0 else 0.0)
            if limit < cap_a[i]:
                cap_a[i] = limit
                why[i] = WINDOW
                why_a[i] = limit
                why_node[i] = w
            low = -max(window_export_w[w], 0.0) / volts_v[i] if volts_v[i] > 0.0 else 0.0
            if low > low_a[i]:
                low_a[i] = low
                low_why[i] = WINDOW
    for i in range(cap_a.shape[0]):
        chain[i, CONTRACT] = cap_a[i]
    for m in range(node_cap_w.shape[0]):
        node_cap_w[m] = node_cap[m, WATTS]
