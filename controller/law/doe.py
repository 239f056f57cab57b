"""Step 5, contract: limits that are handed in for each node and run out: operating envelopes and energy guards.

A dynamic operating envelope gives a node an import and an export limit for an interval. What an energy guard's state
machine (`lpc`) has in force is handed in the same way. It must be renewed: one that is older than `doe_max_age_s` is
lost, and the lower of it and the subscribed capacity holds until its interval is over; after that, or where none ever
came, the subscribed capacity holds alone. So a lost input lifts nothing, and the end of an interval does what was
agreed. Combines with orders and windows by the lowest.

Source: OpenADR 3.1 User Guide 8.10.1: SUBSCRIPTION is the default once the schedule has run out (facts D3, V).
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Alarm, Reason

ORDER, ORDER_LOST = int(Reason.ORDER), int(Reason.ORDER_LOST)
ALARM_LOST = int(Alarm.ORDER_LOST)
WATTS = 3


@Stage
def bind_nodes(
    now_ns: Array,
    utc_ns: Array,
    doe_w: Array,
    doe_export_w: Array,
    doe_to_s: Array,
    doe_ns: Array,
    doe_max_age_s: Array,
    doe_subscribed_w: Array,
    doe_subscribed_export_w: Array,
    doe_held_w: Array,
    doe_held_export_w: Array,
    doe_held_to_s: Array,
    doe_held_ns: Array,
    node_cap: Array,
    node_cap_why: Array,
    node_back_cap: Array,
    node_back_why: Array,
    alarm: Array,
) -> None:
    """Lower each node that is handed limits (`doe_max_age_s` finite) to what is in force, or to the fall-back."""
    utc_s = utc_ns[0] * 1e-9
    for m in range(doe_w.shape[0]):
        if doe_max_age_s[m] == math.inf:
            continue
        read = doe_ns[m] > 0 and not math.isnan(doe_w[m]) and not math.isnan(doe_export_w[m])
        if read and doe_ns[m] != doe_held_ns[m]:
            doe_held_w[m] = max(doe_w[m], 0.0)
            doe_held_export_w[m] = max(doe_export_w[m], 0.0)
            doe_held_to_s[m] = doe_to_s[m]
            doe_held_ns[m] = doe_ns[m]
        age_ns = now_ns[0] - doe_held_ns[m]
        fresh = doe_held_ns[m] > 0 and 0 <= age_ns <= int(doe_max_age_s[m] * 1e9)
        over = doe_held_ns[m] == 0 or utc_s >= doe_held_to_s[m]  # false on NaN: until another one comes
        cap, back, code = doe_held_w[m], doe_held_export_w[m], ORDER
        if over:
            cap, back = math.inf, math.inf
        if over or not fresh:
            cap, back, code = min(cap, doe_subscribed_w[m]), min(back, doe_subscribed_export_w[m]), ORDER_LOST
            alarm[0] = alarm[0] | ALARM_LOST
        if cap < node_cap[m, WATTS]:
            node_cap[m, WATTS] = cap
            node_cap_why[m, WATTS] = code
        if back < node_back_cap[m, WATTS]:
            node_back_cap[m, WATTS] = back
            node_back_why[m, WATTS] = code
