"""Step 8, share: the weighted max-min split among the admitted, from their floors up.

The optimum is the lexicographic maximum of the sorted amps / weight: nobody can get more without someone who has
less, or as little, getting less. Higher priority classes are filled first, above the floors of all. What a car does
not take goes to the others in the same scan. Source: facts E1; algorithm in `fill`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.law.fill import fill
from controller.law.image import LINE
from controller.law.kernel import Array, Stage, entry, kernel
from controller.law.names import Reason, Step
from controller.law.pairs import sum_pairs, trim
from controller.law.share_check import checked, gaps, ints
from controller.law.start import floor_to
from controller.law.tree import arrange

HEADROOM, UNBALANCE = int(Reason.HEADROOM), int(Reason.UNBALANCE)
SHARE = int(Step.SHARE)
HAIR = 1e-9
REFILLS = 8
FIRST_RANK, LAST_RANK = -(2**40), 2**40  # under and over every class
WATTS = 3
ARRANGE, FILL = entry(arrange.function), entry(fill)
SUM_PAIRS, TRIM = entry(sum_pairs), entry(trim)


@kernel
def alone(i: int, amps: float, parent: Array, charger_node: Array, uses: Array, volts_v: Array, caps: Array) -> float:
    """Return how much of `amps` the limits (M, 4) of the nodes above charger i would leave to it alone."""
    m = charger_node[i]
    while m >= 0:
        for c in range(4):
            each = volts_v[i] if c == WATTS else float(uses[i, c])
            if each > 0.0 and not caps[m, c] >= amps * each:  # NaN allows nothing
                amps = caps[m, c] / each if caps[m, c] > 0.0 else 0.0
        m = parent[m]
    return amps


@Stage
def lower_lost(
    parent: Array,
    charger_node: Array,
    uses: Array,
    volts_v: Array,
    linked: Array,
    last_a: Array,
    floor_q_a: Array,
    step_a: Array,
    node_cap: Array,
    cap_a: Array,
) -> None:
    """Hold a charger out of reach to the limits above it, as if it were alone: it may still hear us, 0 W is 0 W.

    It takes no part in the split; what it holds stays reserved.
    """
    for i in range(cap_a.shape[0]):
        if linked[i] == 0 and cap_a[i] > 0.0:
            most_a = min(cap_a[i], last_a[i])
            amps = alone(i, most_a, parent, charger_node, uses, volts_v, node_cap)
            if amps < most_a:
                rounded = floor_to(amps, step_a[i])
                cap_a[i] = rounded if rounded >= floor_q_a[i] else 0.0


@Stage
def split(
    weight: Array,
    priority: Array,
    volts_v: Array,
    last_a: Array,
    base_a: Array,
    allowed_a: Array,
    member: Array,
    tight_node: Array,
    tight_col: Array,
    node_cap_why: Array,
    room: Array,
    load: Array,
    load_hi: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    fill_level: Array,
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    uses: Array,
    phase_count: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    chain: Array,
) -> None:
    """Split the room, one priority class after the other."""
    chargers = cap_a.shape[0]
    lowest_rank, rank = LAST_RANK, FIRST_RANK
    for i in range(chargers):  # loops without branches: the compiler takes several chargers at once
        allowed_a[i] = base_a[i]
        tight_node[i] = -1
        lowest_rank = min(lowest_rank, int(priority[i]) if member[i] == 1 else LAST_RANK)
        rank = max(rank, int(priority[i]) if member[i] == 1 else FIRST_RANK)
    while rank >= lowest_rank:
        below = FIRST_RANK  # the class after this one
        for i in range(chargers):
            part, own = member[i], int(priority[i])
            waits = part == 1
            member[i] = 2 if waits & (own == rank) else part
            below = max(below, own if waits & (own < rank) else FIRST_RANK)
        fill(tree_node, tree_up, tree_end, tree_plain, entry_of, entry_from, entry_to, uses,
             phase_count, member, volts_v, weight, base_a, cap_a, room, allowed_a, fill_level, load, load_hi, lowest,
             tight, line, grow, tight_node, tight_col)  # fmt: skip
        rank = below
    for i in range(chargers):
        target, cap, last, node, out = allowed_a[i], cap_a[i], last_a[i], tight_node[i], member[i] == 0
        old, old_a, old_node = reason[i], reason_a[i], reason_node[i]
        bound = (not out) & (target < cap - HAIR) & (node >= 0)
        code = node_cap_why[max(node, 0), tight_col[i]]
        # only a charger out of reach still has a cap: what it holds is already out of the room
        held = min(cap, last)
        shared = held if out else target
        allowed_a[i] = shared
        reason[i] = code if bound else old
        reason_a[i] = target if bound else old_a
        reason_node[i] = node if bound else old_node
        chain[i, SHARE] = shared


split_room = kernel(split.function)


@Stage
def balance(
    parent: Array,
    charger_node: Array,
    tree_place: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_node: Array,
    pair_a: Array,
    pair_why: Array,
    pair_why_a: Array,
    pair_why_node: Array,
    weight: Array,
    priority: Array,
    volts_v: Array,
    last_a: Array,
    base_a: Array,
    allowed_a: Array,
    member: Array,
    tight_node: Array,
    tight_col: Array,
    node_cap_why: Array,
    room: Array,
    load: Array,
    load_hi: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    fill_level: Array,
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    uses: Array,
    phase_count: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    chain: Array,
) -> None:
    """Lower the caps of those on a phase too far over another, and split what that leaves anew."""
    if pair_on[0] == 0:
        return
    for turn in range(REFILLS):
        if not trim(parent, charger_node, weight, priority, member, base_a, cap_a, allowed_a, tree_place, tree_end,
                    own_from, own_to, order, pair_uses, pair_lift_a, pair_gap_a, pair_node, pair_a):  # fmt: skip
            break
        if turn == REFILLS - 1:
            break
        for i in range(reason.shape[0]):
            reason[i], reason_a[i], reason_node[i] = pair_why[i], pair_why_a[i], pair_why_node[i]
        split_room(
            weight, priority, volts_v, last_a, base_a, allowed_a, member, tight_node, tight_col, node_cap_why, room,
            load, load_hi, lowest, tight, line, grow, fill_level, tree_node, tree_up, tree_end, tree_plain, entry_of,
            entry_from, entry_to, uses, phase_count, cap_a, reason, reason_a, reason_node, chain,
        )  # fmt: skip
    for i in range(reason.shape[0]):
        if pair_node[i] >= 0 and member[i] == 1 and allowed_a[i] >= cap_a[i] - HAIR:
            reason[i], reason_a[i], reason_node[i] = UNBALANCE, allowed_a[i], pair_node[i]
        chain[i, SHARE] = allowed_a[i]


@Stage
def remember(
    pair_on: Array,
    pair_node: Array,
    pair_why: Array,
    pair_why_a: Array,
    pair_why_node: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
) -> None:
    """Keep the reasons before the split, where it may have to be made anew."""
    if pair_on[0] == 0:
        return
    for i in range(reason.shape[0]):
        pair_node[i] = -1
        pair_why[i], pair_why_a[i], pair_why_node[i] = reason[i], reason_a[i], reason_node[i]


def share(
    parent: ArrayLike,
    node: ArrayLike,
    phases: ArrayLike,
    weight: ArrayLike,
    floor_a: ArrayLike,
    cap_a: ArrayLike,
    headroom_a: ArrayLike,
    *,
    unbalance_a: ArrayLike | None = None,
    load_a: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Return the weighted max-min split: amps per phase of each charger (N).

    `parent` (M) is the node above, -1 at a root; parents stand before their children. `node` (N) is where each
    charger is connected, `phases` (N, 3) is 1 where it uses the grid's phase a, b, c, `weight` (N) is positive,
    `floor_a` and `cap_a` (N) bound it [A], and `headroom_a` (M, 3) is what each node can carry per phase [A], +inf
    for no limit. All chargers passed are admitted. The optimum is the lexicographic maximum of the sorted
    amps / weight within the bounds (facts E1). `unbalance_a` (M) is by how much two phases of a node may differ [A],
    +inf for no limit, with what is not controlled, `load_a` (M, 3) [A], 0 if not given; such a limit is kept, and the
    split is then near that optimum (docs/law.md says how near). Raises ValueError where a shape or value is wrong,
    where the floors do not fit, or where nothing bounds a charger.
    """
    tree, place, use, share_of, base, cap, limit = checked(parent, node, phases, weight, floor_a, cap_a, headroom_a)
    nodes, chargers = len(tree), len(place)
    room = np.full((nodes, 4), np.inf)
    room[:, :3] = limit
    x = base.copy()
    load = np.zeros((nodes, 4))
    np.add.at(load[:, :3], place, use * base[:, None])
    for m in range(nodes - 1, -1, -1):
        if tree[m] >= 0:
            load[tree[m]] += load[m]
    over = load > room + HAIR * (1.0 + np.abs(room))
    if (over & (load > 0)).any():
        m, c = (int(k) for k in np.argwhere(over)[0])
        raise ValueError(
            f"floor_a: floors of {load[m, c]:.3f} A below node {m}, phase {'abc'[c]}, over its headroom_a of"
            f" {room[m, c]:.3f} A; admit fewer chargers"
        )
    order = ints(chargers)
    up, end, at, tree_place, own_from, own_to = (ints(nodes) for _ in range(6))
    lists = ints(4, chargers), ints(nodes, 4), ints(nodes, 4)
    plain, counts = np.zeros(1, np.uint8), np.zeros(chargers, np.uint8)
    terminals = np.where(use == 1, np.arange(3), -1).astype(np.int8)
    changed = np.zeros(1, np.uint8), np.ones(1, np.uint8)
    ARRANGE(
        tree, place, *changed, terminals, np.full(nodes, -2, np.int32), place - 1, np.zeros((chargers, 3), np.int8),
        plain, at, tree_place, up, end, own_from, own_to, order, *lists, use, counts, np.zeros((nodes, 3), np.uint8),
    )  # fmt: skip
    gap = gaps(nodes, unbalance_a, load_a)
    ones, lift, pair = np.ones(chargers, np.uint8), np.full(chargers, np.inf), np.zeros((nodes, 3, 3))
    SUM_PAIRS(tree, place, ones, use, lift, base, base, pair)
    if (pair > gap + HAIR * (1.0 + gap)).any():
        m, p, q = (int(k) for k in np.argwhere(pair > gap + HAIR * (1.0 + gap))[0])
        raise ValueError(
            f"floor_a: floors add {pair[m, p, q]:.3f} A more to phase {'abc'[p]} than to {'abc'[q]} below node {m},"
            f" allowed by its unbalance_a are {gap[m, p, q]:.3f} A; admit others"
        )
    for _ in range(REFILLS):
        x[:] = base
        FILL(
            at, up, end, plain, *lists, use, counts, np.full(chargers, 2, np.uint8),
            np.zeros(chargers), share_of, base, cap, room, x, *(np.zeros((nodes, 4)) for _ in range(4)),
            ints(nodes, 4), np.zeros((nodes, 4, LINE)), np.zeros((4, chargers)), ints(chargers),
            np.zeros(chargers, np.int8),
        )  # fmt: skip
        if not TRIM(
            tree, place, share_of, ints(chargers), ones, base, cap, x, tree_place, end, own_from, own_to, order, use,
            lift, gap, ints(chargers), pair,
        ):  # fmt: skip
            break
    return x
