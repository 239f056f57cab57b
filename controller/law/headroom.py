"""Step 6, headroom: what is left at each node for the chargers below it, and what they already hold of it.

headroom = limit in force - uncontrolled load (`uncontrolled`), per phase in amps and over all phases in watts. Chargers
out of reach take no part in the split: what they reserve (`reserve`) is out of the room; so is what a charger applies
beyond its order, which others have to make room for. What no charger holds is `free`: raises are paid from it.
"""

import numpy as np

from controller.law.kernel import Array, Stage
from controller.law.names import Alarm, Trust

BELIEVED = int(Trust.BELIEVED)
ALARM_OVER = int(Alarm.NODE_OVER)
WATTS = 3
OVER = 1.001  # a meter's last digit is no overload


@Stage
def capacity(
    node_a: Array,
    node_w: Array,
    parent: Array,
    node_metered: Array,
    uses: Array,
    volts_v: Array,
    linked: Array,
    taken_a: Array,
    tree_place: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    node_uses: Array,
    node_cap: Array,
    node_head_seen: Array,
    load: Array,
    load_hi: Array,
    room: Array,
    free: Array,
    alarm: Array,
    reserved_a: Array,
    node_trust: Array,
    node_reserved_a: Array,
    node_headroom_a: Array,
) -> None:
    """Take the headroom of every node, the room that chargers out of reach or out of hand leave, and what is free.

    A metered node that is not believed has no more headroom than when it last was.
    """
    nodes = parent.shape[0]
    for m in range(nodes):
        for c in range(4):
            head = node_cap[m, c] - load[m, c]
            if node_metered[m] == 1:
                if node_trust[m] == BELIEVED:
                    node_head_seen[m, c] = head
                    seen = node_a[m, c] if c < WATTS else node_w[m]
                    if (c == WATTS or node_uses[m, c] == 1) and seen > OVER * node_cap[m, c]:
                        alarm[0] = alarm[0] | ALARM_OVER
                else:
                    head = min(head, node_head_seen[m, c])
            room[m, c] = head
            if c < WATTS:
                node_headroom_a[m, c] = head
    for m in range(nodes):
        j = tree_place[m]
        out_a, out_b, out_c, out_w = 0.0, 0.0, 0.0, 0.0  # reserved out of reach, and taken beyond an order
        all_a, all_b, all_c, all_w = 0.0, 0.0, 0.0, 0.0  # reserved by all
        for k in range(np.uint64(own_from[j]), np.uint64(own_to[j])):
            i = np.uint32(order[k])  # saves the compiler's test for an index from the end
            held, volts = reserved_a[i], volts_v[i]
            out = held if linked[i] == 0 else taken_a[i]
            on_a, on_b, on_c = float(uses[i, 0]), float(uses[i, 1]), float(uses[i, 2])
            all_a += held * on_a
            all_b += held * on_b
            all_c += held * on_c
            all_w += held * volts
            out_a += out * on_a
            out_b += out * on_b
            out_c += out * on_c
            out_w += out * volts
        load[m, 0], load[m, 1], load[m, 2], load[m, WATTS] = out_a, out_b, out_c, out_w
        load_hi[m, 0], load_hi[m, 1], load_hi[m, 2], load_hi[m, WATTS] = all_a, all_b, all_c, all_w
    for m in range(nodes - 1, -1, -1):
        for c in range(4):
            if parent[m] >= 0:
                load[parent[m], c] += load[m, c]
                load_hi[parent[m], c] += load_hi[m, c]
            free[m, c] = room[m, c] - load_hi[m, c]
            room[m, c] -= load[m, c]
            if c < WATTS:
                node_reserved_a[m, c] = load_hi[m, c]
