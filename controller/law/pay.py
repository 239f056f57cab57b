"""Step 11, pay: every raise is paid from amps that nobody holds.

The sum over each node of max(allowed, reserved) must stay within its headroom (break before make, see
`reserve.reserve`). Who asks for less than it holds already has paid; the rest is split like the room itself (`fill`).
"""

import numpy as np

from controller.law.fill import fill
from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason
from controller.law.start import floor_to

RESERVED = int(Reason.RESERVED)
WATTS = 3
HAIR = 1e-9


@kernel
def short_of(i: int, extra: float, m: int, parent: Array, uses: Array, volts_v: Array, free: Array) -> int:
    """Return the first node from the charger upwards that cannot pay `extra` amps; -1 where all can."""
    while m >= 0:
        for c in range(4):
            each = volts_v[i] if c == WATTS else float(uses[i, c])
            if each > 0.0 and free[m, c] - extra * each < -HAIR * (1.0 + abs(free[m, c])):
                return m
        m = parent[m]
    return -1


@kernel
def take(i: int, extra: float, m: int, parent: Array, uses: Array, volts_v: Array, free: Array) -> None:
    """Take `extra` amps of charger i from what is free at the nodes above it."""
    while m >= 0:
        for p in range(3):
            free[m, p] -= extra * uses[i, p]
        free[m, WATTS] -= extra * volts_v[i]
        m = parent[m]


@kernel
def look_up(parent: Array, node_ready: Array, free: Array, overdrawn: Array, waits: Array) -> None:
    """Note for each node the first one from it upwards that is overdrawn in a column, and whose load is not proven."""
    for m in range(parent.shape[0]):  # parents stand before their children
        up = parent[m]
        waits[m] = m if node_ready[m] == 0 else waits[up] if up >= 0 else -1
        for c in range(4):
            over = free[m, c] < -HAIR * (1.0 + abs(free[m, c]))
            overdrawn[m, c] = m if over else overdrawn[up, c] if up >= 0 else -1


@kernel
def noted(i: int, m: int, uses: Array, volts_v: Array, overdrawn: Array) -> int:
    """Return what `short_of` would for no amps, from the notes of `look_up`: the nearest of those in its columns."""
    short = overdrawn[m, WATTS] if volts_v[i] > 0.0 else -1
    for p in range(3):
        node = overdrawn[m, p]
        short = max(short, node if uses[i, p] == 1 else -1)
    return int(short)


@kernel
def list_asking(
    count: int,
    queue: Array,
    charger_node: Array,
    tree_place: Array,
    uses: Array,
    ask_from: Array,
    ask_to: Array,
    ask_order: Array,
    ask_of: Array,
    ask_entry_from: Array,
    ask_entry_to: Array,
) -> None:
    """List the queue by place in `ask_order`, and the positions there by column and place in `ask_of`."""
    places = ask_to.shape[0]
    for j in range(places):
        ask_to[j] = 0
    for k in range(np.uint64(count)):
        ask_to[tree_place[charger_node[np.uint32(queue[k])]]] += 1
    begin = 0
    for j in range(places):
        ask_from[j] = begin
        begin += ask_to[j]
        ask_to[j] = ask_from[j]
    for k in range(np.uint64(count)):
        i = np.uint32(queue[k])
        j = tree_place[charger_node[i]]
        ask_order[ask_to[j]] = i
        ask_to[j] += 1
    at_a, at_b, at_c = 0, 0, 0
    for j in range(places):
        ask_entry_from[j, 0], ask_entry_from[j, 1], ask_entry_from[j, 2] = at_a, at_b, at_c
        for k in range(np.uint64(ask_from[j]), np.uint64(ask_to[j])):
            i = np.uint32(ask_order[k])
            ask_of[0, at_a], ask_of[1, at_b], ask_of[2, at_c], ask_of[WATTS, k] = k, k, k, k
            at_a += int(uses[i, 0])  # no branch, as above: what does not use the phase is written over
            at_b += int(uses[i, 1])
            at_c += int(uses[i, 2])
        ask_entry_to[j, 0], ask_entry_to[j, 1], ask_entry_to[j, 2] = at_a, at_b, at_c
        ask_entry_from[j, WATTS], ask_entry_to[j, WATTS] = ask_from[j], ask_to[j]


@kernel
def line_up(
    parent: Array,
    charger_node: Array,
    volts_v: Array,
    floor_q_a: Array,
    last_a: Array,
    allowed_a: Array,
    queue: Array,
    tight_node: Array,
    tight: Array,
    ask_to: Array,
    ask_order: Array,
    uses: Array,
    free: Array,
    node_ready: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    reserved_a: Array,
) -> int:
    """Line up who may rise in the queue, floors of those who start taken from `free`; return how many they are.

    The others stay where they are, and the node that cannot pay is the reason. `ask_order`, `tight_node`, `tight` and
    `ask_to` are scratch.
    """
    asking, count, lacking = 0, 0, 0
    for n in range(allowed_a.shape[0]):  # without a branch: who asks is at random, and a wrong guess costs more
        queue[asking] = n
        asking += 0 if allowed_a[n] <= last_a[n] else 1
    look_up(parent, node_ready, free, tight, ask_to)
    fresh = True  # what was noted still holds: nobody has started
    for k in range(np.uint64(asking)):  # nor who may rise: two lists, for the same reason
        i = np.uint32(queue[k])
        m = charger_node[i]
        start = max(floor_q_a[i] - reserved_a[i], 0.0) if last_a[i] == 0.0 else 0.0
        if fresh and start == 0.0:
            short = noted(i, m, uses, volts_v, tight)
        else:
            short = short_of(i, start, m, parent, uses, volts_v, free)
        short = ask_to[m] if ask_to[m] >= 0 else short
        if start > 0.0 and short < 0:
            fresh = False
            take(i, start, m, parent, uses, volts_v, free)
        ask_order[lacking], tight_node[lacking] = i, short
        lacking += 1 if short >= 0 else 0
        queue[count] = i
        count += 1 if short < 0 else 0
    for k in range(np.uint64(lacking)):
        i = np.uint32(ask_order[k])
        last = last_a[i]
        allowed_a[i], reason[i], reason_a[i], reason_node[i] = last, RESERVED, last, tight_node[k]
    return count


@kernel
def lay_out(
    count: int,
    weight: Array,
    volts_v: Array,
    floor_q_a: Array,
    last_a: Array,
    base_a: Array,
    allowed_a: Array,
    spare_a: Array,
    ask_a: Array,
    grant_a: Array,
    member: Array,
    ask_order: Array,
    ask_weight: Array,
    ask_volts: Array,
    ask_count: Array,
    ask_uses: Array,
    uses: Array,
    phase_count: Array,
    reserved_a: Array,
) -> None:
    """Lay out what `fill` needs of those in `ask_order` side by side: a few of many lie far apart."""
    for k in range(np.uint64(count)):
        i = np.uint32(ask_order[k])
        held, start = reserved_a[i], max(floor_q_a[i] - reserved_a[i], 0.0) if last_a[i] == 0.0 else 0.0
        spare_a[k] = held + start
        ask_a[k] = max(allowed_a[i] - (held + start), 0.0)
        grant_a[k], base_a[k], member[k] = 0.0, 0.0, 2
        ask_weight[k], ask_volts[k], ask_count[k] = weight[i], volts_v[i], phase_count[i]
        for p in range(3):
            ask_uses[k, p] = uses[i, p]


@kernel
def grant_raises(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    volts_v: Array,
    floor_q_a: Array,
    last_a: Array,
    base_a: Array,
    allowed_a: Array,
    spare_a: Array,
    ask_a: Array,
    grant_a: Array,
    queue: Array,
    member: Array,
    tight_node: Array,
    tight_col: Array,
    load: Array,
    load_hi: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    pay_level: Array,
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    tree_place: Array,
    ask_from: Array,
    ask_to: Array,
    ask_order: Array,
    ask_of: Array,
    ask_entry_from: Array,
    ask_entry_to: Array,
    ask_weight: Array,
    ask_volts: Array,
    ask_count: Array,
    ask_uses: Array,
    uses: Array,
    phase_count: Array,
    free: Array,
    node_ready: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    reserved_a: Array,
) -> None:
    """Grant raises from what no charger holds; who starts needs its whole floor at once.

    `spare_a`, `ask_a`, `grant_a`, `base_a`, `member`, `tight_node` and `tight_col` are scratch by position in
    `ask_order`. After a start of the controller nothing is raised before the obey time has passed and the load of every
    node above is proven (`uncontrolled`): what the one before it sent last is unknown.
    """
    count = line_up(parent, charger_node, volts_v, floor_q_a, last_a, allowed_a, queue, tight_node, tight, ask_to,
                    ask_order, uses, free, node_ready, reason, reason_a, reason_node, reserved_a)  # fmt: skip
    if count == 0:
        return
    list_asking(count, queue, charger_node, tree_place, uses, ask_from, ask_to, ask_order, ask_of, ask_entry_from,
                ask_entry_to)  # fmt: skip
    lay_out(count, weight, volts_v, floor_q_a, last_a, base_a, allowed_a, spare_a, ask_a, grant_a, member, ask_order,
            ask_weight, ask_volts, ask_count, ask_uses, uses, phase_count, reserved_a)  # fmt: skip
    fill(tree_node, tree_up, tree_end, tree_plain, ask_of, ask_entry_from, ask_entry_to, ask_uses, ask_count, member,
         ask_volts, ask_weight, base_a, ask_a, free, grant_a, pay_level, load, load_hi, lowest, tight, line, grow,
         tight_node, tight_col)  # fmt: skip
    for k in range(np.uint64(count)):
        i = np.uint32(ask_order[k])
        target, node = allowed_a[i], tight_node[k]
        old, old_a, old_node = reason[i], reason_a[i], reason_node[i]
        new = max(floor_to(min(target, spare_a[k] + grant_a[k]), step_a[i]), last_a[i])
        short = new < target - HAIR
        reason[i] = RESERVED if short else old
        reason_a[i] = new if short else old_a
        reason_node[i] = node if short else old_node
        allowed_a[i] = min(new, target)


@Stage
def pay(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    volts_v: Array,
    floor_q_a: Array,
    last_a: Array,
    base_a: Array,
    allowed_a: Array,
    spare_a: Array,
    ask_a: Array,
    grant_a: Array,
    queue: Array,
    member: Array,
    tight_node: Array,
    tight_col: Array,
    load: Array,
    load_hi: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    pay_level: Array,
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    tree_place: Array,
    ask_from: Array,
    ask_to: Array,
    ask_order: Array,
    ask_of: Array,
    ask_entry_from: Array,
    ask_entry_to: Array,
    ask_weight: Array,
    ask_volts: Array,
    ask_count: Array,
    ask_uses: Array,
    uses: Array,
    phase_count: Array,
    free: Array,
    node_ready: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    reserved_a: Array,
) -> None:
    """Grant raises from what no charger holds, see `grant_raises`."""
    grant_raises(parent, charger_node, step_a, weight, volts_v, floor_q_a, last_a, base_a, allowed_a, spare_a, ask_a,
                 grant_a, queue, member, tight_node, tight_col, load, load_hi, lowest, tight, line, grow, pay_level,
                 tree_node, tree_up, tree_end, tree_plain, tree_place, ask_from, ask_to, ask_order, ask_of,
                 ask_entry_from, ask_entry_to, ask_weight, ask_volts, ask_count, ask_uses, uses, phase_count, free,
                 node_ready, reason, reason_a, reason_node, reserved_a)  # fmt: skip
