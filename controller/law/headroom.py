"""Step 6, headroom: what is left at each node for the chargers below it, and what they already hold of it.

headroom = limit in force - uncontrolled load (`uncontrolled`), per phase in amps and over all phases in watts. Chargers
out of reach take no part in the split: what they reserve (`reserve`) is out of the room; so is what a charger applies
beyond its order, which others have to make room for. What no charger holds is `free`: raises are paid from it.
"""

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
    charger_node: Array,
    uses: Array,
    volts_v: Array,
    linked: Array,
    taken_a: Array,
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
    load[:] = 0.0  # reserved by chargers out of reach, and what others take beyond their order
    load_hi[:] = 0.0  # reserved by all
    for i in range(charger_node.shape[0]):
        m = charger_node[i]
        for c in range(4):
            each = volts_v[i] if c == WATTS else float(uses[i, c])
            load_hi[m, c] += reserved_a[i] * each
            load[m, c] += (reserved_a[i] if linked[i] == 0 else taken_a[i]) * each
    for m in range(nodes - 1, -1, -1):
        for c in range(4):
            if parent[m] >= 0:
                load[parent[m], c] += load[m, c]
                load_hi[parent[m], c] += load_hi[m, c]
            free[m, c] = room[m, c] - load_hi[m, c]
            room[m, c] -= load[m, c]
            if c < WATTS:
                node_reserved_a[m, c] = load_hi[m, c]
