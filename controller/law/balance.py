"""Step 8, balance: keep the phases of a connection alike (20 A, that is 4.6 kVA: VDE-AR-N 4100, 5.5.2; facts B1).

For every two phases p and q at a node with a limit, what the chargers add on p and not on q, less what they surely add
on q and not on p, is at most gap = max(limit - (uncontrolled load on p - that on q), 0). So the phases differ by no
more than the limit, or, where the uncontrolled load alone breaks it, by no more than that does: the chargers never make
it worse, and pausing all of them always keeps it. A car on all three phases cancels out.

Surely added is the lesser of what a charger is allowed and what it is seen to draw: a full car that is still allowed
16 A holds no other phase up. A charger out of reach adds what it reserves and nothing surely.
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason, Trust
from controller.law.pairs import add, excess, sum_pairs
from controller.law.start import floor_to

BELIEVED = int(Trust.BELIEVED)
UNBALANCE = int(Reason.UNBALANCE)
LOADED_A = 1.0  # a car that draws this much shows which phases it loads
HAIR = 1e-9


@kernel
def given(i: int, linked: Array, charger_trust: Array, seen_a: Array, pair_uses: Array) -> float:
    """Return the amps that charger i is surely seen to export on each phase that it loads, from 0."""
    least = math.inf
    for p in range(3):
        if pair_uses[i, p] == 1:
            least = min(least, -seen_a[i, p])
    sure = linked[i] == 1 and charger_trust[i] == BELIEVED and 0.0 < least < math.inf  # false on NaN
    return least if sure else 0.0


@Stage
def gaps(
    parent: Array,
    node_unbalance_a: Array,
    charger_node: Array,
    uses: Array,
    seen_a: Array,
    linked: Array,
    taken_a: Array,
    charger_trust: Array,
    v2g: Array,
    last_min_a: Array,
    node_other_a: Array,
    reserved_a: Array,
    export_reserved_a: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
) -> None:
    """Find for every node and pair of phases what the chargers may add to the first and not to the second."""
    pair_on[0] = 0
    for m in range(parent.shape[0]):
        if node_unbalance_a[m] < math.inf:
            pair_on[0] = 1
    if pair_on[0] == 0:
        return
    pair_gap_a[:] = 0.0
    pair_a[:] = 0.0  # what exports may still add
    for i in range(charger_node.shape[0]):
        most, sure = 0.0, math.inf
        for p in range(3):
            pair_uses[i, p] = uses[i, p]
            if charger_trust[i] == BELIEVED and uses[i, p] == 1:
                most = max(most, abs(seen_a[i, p]))
        for p in range(3):
            if most >= LOADED_A and abs(seen_a[i, p]) < 0.5 * most:
                pair_uses[i, p] = 0  # a car on fewer phases than its charger
            if pair_uses[i, p] == 1:
                sure = min(sure, seen_a[i, p])
        pair_lift_a[i] = max(sure, 0.0) if most > 0.0 and linked[i] == 1 else 0.0
        gone_a = reserved_a[i] if linked[i] == 0 else taken_a[i]
        if gone_a > 0.0:
            add(charger_node[i], i, gone_a, 0.0, parent, pair_uses, pair_gap_a)
        if v2g[0] == 1 and export_reserved_a[i] > 0.0:
            sure = min(given(i, linked, charger_trust, seen_a, pair_uses), -last_min_a[i])
            add(charger_node[i], i, export_reserved_a[i], sure, parent, pair_uses, pair_a)
    for m in range(parent.shape[0]):
        for p in range(3):
            for q in range(3):
                other_a = node_other_a[m, p] - node_other_a[m, q]
                gap = node_unbalance_a[m] - other_a - max(pair_gap_a[m, p, q], 0.0)
                gap -= max(pair_a[m, q, p], 0.0)  # an export on q leaves p so much higher
                pair_gap_a[m, p, q] = gap if gap > 0.0 else 0.0  # NaN is none


@Stage
def settle(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    priority: Array,
    no_pause: Array,
    floor_q_a: Array,
    last_a: Array,
    base_a: Array,
    spare_a: Array,
    allowed_a: Array,
    linked: Array,
    rank: Array,
    tree_place: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    reserved_a: Array,
) -> None:
    """Keep the balance after rounding, brake and ramp: raises wait until those who fall have fallen, then all give way.

    A raise counts on what others may still draw (break before make). `spare_a` and `base_a` are scratch: what each
    charger may draw at most, and what it is not lowered under.
    """
    if pair_on[0] == 0:
        return
    for turn in range(2):
        for i in range(allowed_a.shape[0]):
            spare_a[i] = allowed_a[i] if turn == 1 else max(allowed_a[i], reserved_a[i])
            base_a[i] = 0.0 if turn == 1 else max(last_a[i], reserved_a[i])
        sum_pairs(parent, charger_node, linked, pair_uses, pair_lift_a, spare_a, allowed_a, pair_a)
        busy = True
        while busy:  # every lowering is one step of a device at the least: it ends
            busy = False
            for m in range(parent.shape[0] - 1, -1, -1):
                for p in range(3):
                    for q in range(3):
                        over = excess(m, p, q, pair_a, pair_gap_a)
                        i = -1
                        if over > 0.0:
                            place = tree_place[m]
                            i = first_to_fall(p, q, own_from[place], own_to[tree_end[place] - 1], weight, priority,
                                              no_pause, floor_q_a, base_a, allowed_a, linked, rank, order, pair_uses,
                                              turn)  # fmt: skip
                        if i < 0:
                            continue
                        busy = True
                        old, sure = spare_a[i], min(allowed_a[i], pair_lift_a[i])
                        least = last_a[i] if turn == 0 else floor_q_a[i]
                        new = floor_to(max(allowed_a[i] - over - HAIR, 0.0), step_a[i])
                        if allowed_a[i] <= floor_q_a[i]:
                            new = 0.0
                        elif new < max(least, floor_q_a[i]):
                            new = least
                        allowed_a[i] = min(new, max(allowed_a[i] - step_a[i], 0.0), allowed_a[i])
                        spare_a[i] = allowed_a[i] if turn == 1 else max(allowed_a[i], reserved_a[i])
                        add(charger_node[i], i, spare_a[i] - old, min(allowed_a[i], pair_lift_a[i]) - sure, parent,
                            pair_uses, pair_a)  # fmt: skip
                        reason[i], reason_a[i], reason_node[i] = UNBALANCE, allowed_a[i], m


@kernel
def first_to_fall(
    p: int,
    q: int,
    begin: int,
    end: int,
    weight: Array,
    priority: Array,
    no_pause: Array,
    floor_q_a: Array,
    base: Array,
    x: Array,
    linked: Array,
    rank: Array,
    order: Array,
    pair_uses: Array,
    turn: int,
) -> int:
    """Return who on phase p and not on q is lowered first; -1 nobody.

    In turn 0 only raises, the highest first. In turn 1 the highest over its floor, of the lowest class; then those at
    their floors pause: who may be paused, the lowest class, the last in the rotation.
    """
    found, best = -1, 0.0
    for k in range(begin, end):
        i = order[k]
        if linked[i] == 0 or pair_uses[i, p] == 0 or pair_uses[i, q] == 1 or x[i] <= base[i] + HAIR:
            continue
        if found < 0:
            better = True
        elif turn == 0:
            better = x[i] / weight[i] > best
        else:
            high, high_found = x[i] > floor_q_a[i] + HAIR, x[found] > floor_q_a[found] + HAIR
            if high != high_found:
                better = high
            elif not high and no_pause[i] != no_pause[found]:
                better = no_pause[i] == 0
            elif priority[i] != priority[found]:
                better = priority[i] < priority[found]
            else:
                better = x[i] / weight[i] > best if high else rank[i] > rank[found]
        if better:
            found, best = i, x[i] / weight[i]
    return found
