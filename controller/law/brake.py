"""Step 10, brake: the last resort, with thresholds and delays of its own; it only lowers.

A node that carries more than `brake_over` times its limit, or a charger whose volts are under `brake_pu`, for
`brake_delay_s` brings the chargers concerned down to their floor; lasting another delay and the obey time, to 0.
The brake is released charger by charger between one and two `brake_release_s` after the condition has gone.
A reading that is not believed neither starts nor releases it; but a metered node that is not believed for
`brake_lost_s` (a lost substation) brings everybody below it down to the floor, until it is believed again.
In the spirit of GridShield (facts A2).
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Alarm, Reason, Step, Trust

BELIEVED = int(Trust.BELIEVED)
REASON, BRAKE = int(Reason.BRAKE), int(Step.BRAKE)
ALARM = int(Alarm.BRAKE)
FREE, DOWN, PAUSED = 0, 1, 2
WATTS = 3


@Stage
def watch_nodes(
    now_ns: Array,
    node_a: Array,
    node_w: Array,
    parent: Array,
    node_metered: Array,
    node_obey_s: Array,
    brake_over: Array,
    brake_delay_s: Array,
    brake_lost_s: Array,
    start_ns: Array,
    node_uses: Array,
    node_a_seen_ns: Array,
    node_known: Array,
    node_cap: Array,
    node_brake_level: Array,
    node_brake_ns: Array,
    node_brake_own: Array,
    node_trust: Array,
) -> None:
    """Time each node's overload or silence; a node takes the level of the node above where that is higher."""
    for m in range(parent.shape[0]):
        if node_trust[m] == BELIEVED:
            over = node_w[m] > brake_over[0] * node_cap[m, WATTS]
            for p in range(3):
                over = over or (node_uses[m, p] == 1 and node_a[m, p] > brake_over[0] * node_cap[m, p])
            if not over:
                node_brake_ns[m] = 0
                node_brake_own[m] = FREE
            elif node_brake_ns[m] == 0:
                node_brake_ns[m] = now_ns[0]
            else:
                lasted_s = (now_ns[0] - node_brake_ns[m]) * 1e-9
                if lasted_s >= 2.0 * brake_delay_s[0] + node_obey_s[m]:
                    node_brake_own[m] = PAUSED
                elif lasted_s >= brake_delay_s[0]:
                    node_brake_own[m] = DOWN
        elif node_metered[m] == 1:
            since_ns = node_a_seen_ns[m] if node_known[m] == 1 else start_ns[0]
            if (now_ns[0] - since_ns) * 1e-9 > brake_lost_s[0]:
                node_brake_own[m] = max(DOWN, int(node_brake_own[m]))
        above = node_brake_level[parent[m]] if parent[m] >= 0 else FREE
        node_brake_level[m] = max(node_brake_own[m], above)


@kernel
def all_free(
    first: int, end: int, brake_pu: Array, node_brake_level: Array, brake_level: Array, brake_ns: Array
) -> bool:
    """Say whether no charger is braked or about to be, and none can be: no node brakes, and no volts are too low."""
    braked = 0 if brake_pu[0] <= 0.0 else 1
    for m in range(node_brake_level.shape[0]):
        braked |= node_brake_level[m]
    for i in range(first, end):
        braked |= brake_level[i] | (1 if brake_ns[i] != 0 else 0)
    return braked == 0


@Stage
def brake(
    first: int,
    end: int,
    now_ns: Array,
    charger_v: Array,
    u_nom_v: Array,
    charger_node: Array,
    phase_map: Array,
    obey_s: Array,
    brake_pu: Array,
    brake_delay_s: Array,
    brake_release_s: Array,
    brake_level: Array,
    brake_ns: Array,
    brake_clear_ns: Array,
    node_brake_level: Array,
    floor_q_a: Array,
    allowed_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    alarm: Array,
    charger_trust: Array,
    chain: Array,
) -> None:
    """Lower the shares of braked chargers."""
    now = now_ns[0]
    chargers = allowed_a.shape[0]
    if all_free(first, end, brake_pu, node_brake_level, brake_level, brake_ns):
        for i in range(first, end):
            chain[i, BRAKE] = allowed_a[i]
        return
    for i in range(first, end):
        level = int(node_brake_level[charger_node[i]])
        lowest = math.inf
        for t in range(3):
            if charger_trust[i] == BELIEVED and phase_map[i, t] >= 0 and charger_v[i, t] >= 0.0:
                lowest = min(lowest, charger_v[i, t])
        if charger_trust[i] == BELIEVED:
            if not lowest < brake_pu[0] * u_nom_v[0]:
                brake_ns[i] = 0
            elif brake_ns[i] == 0:
                brake_ns[i] = now
        if brake_ns[i] > 0:
            lasted_s = (now - brake_ns[i]) * 1e-9
            if lasted_s >= 2.0 * brake_delay_s[0] + obey_s[i]:
                level = PAUSED
            elif lasted_s >= brake_delay_s[0]:
                level = max(level, DOWN)
        if level > FREE:
            brake_level[i] = max(level, int(brake_level[i]))
            brake_clear_ns[i] = 0
        elif brake_level[i] > FREE:
            if brake_clear_ns[i] == 0:
                brake_clear_ns[i] = now
            elif (now - brake_clear_ns[i]) * 1e-9 >= brake_release_s[0] * (1.0 + i / chargers):
                brake_level[i] = FREE
        if brake_level[i] > FREE:
            alarm[0] = alarm[0] | ALARM
            limit = floor_q_a[i] if brake_level[i] == DOWN else 0.0
            if limit < allowed_a[i]:
                allowed_a[i] = limit
                reason[i] = REASON
                reason_a[i] = limit
                reason_node[i] = charger_node[i] if node_brake_level[charger_node[i]] > FREE else -1
        chain[i, BRAKE] = allowed_a[i]
