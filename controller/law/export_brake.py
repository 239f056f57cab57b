"""Step 10, brake, second half: the last resort for exports, with delays of the brake; it only lowers.

A node that gives back more than `brake_over` times its export limit, or a charger whose volts are over `brake_high_pu`,
for `brake_delay_s` ends the exports concerned: a car that gives nothing needs no floor. So does a metered node that is
not believed for `brake_lost_s`. Released charger by charger between one and two `brake_release_s` after the condition
has gone. A reading that is not believed neither starts nor releases it.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Alarm, Reason, Trust

BELIEVED = int(Trust.BELIEVED)
REASON = int(Reason.BRAKE)
ALARM = int(Alarm.BRAKE)
WATTS = 3


@Stage
def watch_exports(
    now_ns: Array,
    node_a: Array,
    node_w: Array,
    parent: Array,
    node_metered: Array,
    brake_over: Array,
    brake_delay_s: Array,
    brake_lost_s: Array,
    start_ns: Array,
    node_uses: Array,
    node_a_seen_ns: Array,
    node_known: Array,
    node_back_cap: Array,
    back_brake_ns: Array,
    back_brake_node: Array,
    v2g: Array,
    node_trust: Array,
) -> None:
    """Time each node's excess of export or silence; a node above stops those below too."""
    if v2g[0] == 0:
        return
    for m in range(parent.shape[0]):
        stop = False
        if node_trust[m] == BELIEVED:
            over = -node_w[m] > brake_over[0] * node_back_cap[m, WATTS]
            for p in range(3):
                over = over or (node_uses[m, p] == 1 and -node_a[m, p] > brake_over[0] * node_back_cap[m, p])
            if not over:
                back_brake_ns[m] = 0
            elif back_brake_ns[m] == 0:
                back_brake_ns[m] = now_ns[0]
        elif node_metered[m] == 1:
            since_ns = node_a_seen_ns[m] if node_known[m] == 1 else start_ns[0]
            stop = (now_ns[0] - since_ns) * 1e-9 > brake_lost_s[0]
        if back_brake_ns[m] > 0:
            stop = stop or (now_ns[0] - back_brake_ns[m]) * 1e-9 >= brake_delay_s[0]
        above = parent[m] >= 0 and back_brake_node[parent[m]] == 1
        back_brake_node[m] = 1 if stop or above else 0


@Stage
def stop(
    now_ns: Array,
    charger_v: Array,
    u_nom_v: Array,
    charger_node: Array,
    phase_map: Array,
    brake_high_pu: Array,
    brake_delay_s: Array,
    brake_release_s: Array,
    back_brake_node: Array,
    back_brake: Array,
    back_high_ns: Array,
    back_clear_ns: Array,
    v2g: Array,
    low_a: Array,
    give_a: Array,
    low_why: Array,
    low_why_a: Array,
    low_node: Array,
    alarm: Array,
    charger_trust: Array,
) -> None:
    """End the exports of braked chargers."""
    if v2g[0] == 0:
        return
    now = now_ns[0]
    chargers = give_a.shape[0]
    for i in range(chargers):
        if charger_trust[i] == BELIEVED:
            highest = -math.inf
            for t in range(3):
                if phase_map[i, t] >= 0 and charger_v[i, t] >= 0.0:  # false on NaN
                    highest = max(highest, charger_v[i, t])
            if not highest > brake_high_pu[0] * u_nom_v[0]:
                back_high_ns[i] = 0
            elif back_high_ns[i] == 0:
                back_high_ns[i] = now
        high = back_high_ns[i] > 0 and (now - back_high_ns[i]) * 1e-9 >= brake_delay_s[0]
        by_node = back_brake_node[charger_node[i]] == 1
        if high or by_node:
            back_brake[i] = 1
            back_clear_ns[i] = 0
        elif back_brake[i] == 1:
            if back_clear_ns[i] == 0:
                back_clear_ns[i] = now
            elif (now - back_clear_ns[i]) * 1e-9 >= brake_release_s[0] * (1.0 + i / chargers):
                back_brake[i] = 0
        if back_brake[i] == 1 and low_a[i] < 0.0:
            alarm[0] = alarm[0] | ALARM
            give_a[i] = 0.0
            low_why[i] = REASON
            low_why_a[i] = 0.0
            low_node[i] = charger_node[i] if by_node else -1
