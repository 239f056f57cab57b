"""Compare the phases two by two: what chargers add to one and not to another, and how it is brought down.

The rule is that of `balance`; a table of pairs (M, 3, 3) holds for every node what is added at most to the first phase
and not to the second, less what is surely added to the second and not to the first.
"""

import math

import numpy as np

from controller.law.kernel import Array, kernel

HAIR = 1e-9
TURNS = 50
HALVINGS = 60
NO_RANK = np.iinfo(np.int64).max


@kernel
def add(m: int, i: int, more: float, surely: float, parent: Array, pair_uses: Array, pair: Array) -> None:
    """Add to node m and those above what charger i adds at most, and surely, on a phase and not on another."""
    while m >= 0:
        for p in range(3):
            for q in range(3):
                if pair_uses[i, p] == 1 and pair_uses[i, q] == 0:
                    pair[m, p, q] += more
                    pair[m, q, p] -= surely
        m = parent[m]


@kernel
def sum_pairs(
    parent: Array,
    charger_node: Array,
    member: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    most_a: Array,
    sure_a: Array,
    pair: Array,
) -> None:
    """Sum over the chargers in reach below every node: at most `most_a` on p, surely `sure_a` as far as seen, on q."""
    pair[:] = 0.0
    for i in range(charger_node.shape[0]):
        m = charger_node[i]
        if member[i] == 0:
            continue
        for p in range(3):
            for q in range(3):
                if pair_uses[i, p] == 1 and pair_uses[i, q] == 0:
                    pair[m, p, q] += most_a[i]
                    pair[m, q, p] -= min(sure_a[i], pair_lift_a[i])
    for m in range(parent.shape[0] - 1, 0, -1):
        if parent[m] >= 0:
            for p in range(3):
                for q in range(3):
                    pair[parent[m], p, q] += pair[m, p, q]


@kernel
def excess(m: int, p: int, q: int, pair: Array, pair_gap_a: Array) -> float:
    """Return how far phase p of a node lies over phase q beyond what is allowed; 0 where it does not."""
    over = pair[m, p, q] - pair_gap_a[m, p, q]
    return over if over > HAIR * (1.0 + pair_gap_a[m, p, q]) else 0.0


@kernel
def trim(
    parent: Array,
    charger_node: Array,
    weight: Array,
    priority: Array,
    member: Array,
    base: Array,
    cap: Array,
    x: Array,
    tree_place: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_node: Array,
    pair: Array,
) -> bool:
    """Lower `x` and `cap` (N) where phases differ too much; say whether anything was lowered.

    Those on the higher phase come down to one level of amps / weight, the lowest class first, nobody under his base.
    The bases must be balanced themselves (`admit` sees to it). Cars of two phases can ask for one lowering after the
    other without end: after `TURNS` of them all come down to their bases.
    """
    lowered = False
    for turn in range(TURNS + 1):
        sum_pairs(parent, charger_node, member, pair_uses, pair_lift_a, x, x, pair)
        found = False
        for m in range(parent.shape[0] - 1, -1, -1):
            for p in range(3):
                for q in range(3):
                    over = excess(m, p, q, pair, pair_gap_a)
                    if over > 0.0:
                        found = True
                        cut(m, p, q, math.inf if turn == TURNS else over, parent, charger_node, weight, priority,
                            member, base, cap, x, tree_place, tree_end, own_from, own_to, order, pair_uses, pair_lift_a,
                            pair_node, pair)  # fmt: skip
        if not found:
            return lowered
        lowered = True
    for i in range(charger_node.shape[0]):
        if member[i] == 1 and pair_uses[i, 0] + pair_uses[i, 1] + pair_uses[i, 2] < 3:
            x[i] = min(x[i], base[i])
            cap[i] = x[i]
    return lowered


@kernel
def cut(
    m: int,
    p: int,
    q: int,
    over: float,
    parent: Array,
    charger_node: Array,
    weight: Array,
    priority: Array,
    member: Array,
    base: Array,
    cap: Array,
    x: Array,
    tree_place: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_node: Array,
    pair: Array,
) -> None:
    """Take `over` amps from those below node m that load phase p and not q, the highest of the lowest class first."""
    place = tree_place[m]
    begin, end = own_from[place], own_to[tree_end[place] - 1]
    while over > 0.0:
        rank, above, high = NO_RANK, 0.0, 0.0
        for k in range(begin, end):
            i = order[k]
            if pair_uses[i, p] == 1 and pair_uses[i, q] == 0 and member[i] == 1 and x[i] > base[i] + HAIR:
                if priority[i] < rank:
                    rank, above, high = int(priority[i]), 0.0, 0.0
                if priority[i] == rank:
                    above += x[i] - base[i]
                    high = max(high, x[i] / weight[i])
        if rank == NO_RANK:
            return
        low = 0.0
        for _ in range(HALVINGS if above > over else 0):
            level = 0.5 * (low + high)
            taken = 0.0
            for k in range(begin, end):
                i = order[k]
                if pair_uses[i, p] == 1 and pair_uses[i, q] == 0 and member[i] == 1 and priority[i] == rank:
                    taken += max(x[i] - max(base[i], level * weight[i]), 0.0)
            if taken >= over:
                low = level
            else:
                high = level
        for k in range(begin, end):
            i = order[k]
            if pair_uses[i, p] == 1 and pair_uses[i, q] == 0 and member[i] == 1 and priority[i] == rank:
                new = max(base[i], low * weight[i])
                if new < x[i]:
                    kept = min(x[i], pair_lift_a[i]) - min(new, pair_lift_a[i])
                    add(charger_node[i], i, new - x[i], -kept, parent, pair_uses, pair)
                    x[i] = new
                    cap[i] = new
                    pair_node[i] = m
        over = over - above if above < over else 0.0


@kernel
def unbalanced_at(i: int, more: float, m: int, parent: Array, pair_uses: Array, pair: Array, pair_gap_a: Array) -> int:
    """Return the first node from m upwards where `more` amps of charger i would put phases too far apart; -1 none."""
    while m >= 0:
        for p in range(3):
            for q in range(3):
                if pair_uses[i, p] == 1 and pair_uses[i, q] == 0:
                    gap = pair_gap_a[m, p, q]
                    if pair[m, p, q] + more > gap + HAIR * (1.0 + gap):
                        return m
        m = parent[m]
    return -1
