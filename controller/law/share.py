"""Step 8, share: the weighted max-min split among the admitted, from their floors up.

The optimum is the lexicographic maximum of the sorted amps / weight: nobody can get more without someone who has
less, or as little, getting less. Higher priority classes are filled first, above the floors of all. What a car does
not take goes to the others in the same scan. Source: facts E1; algorithm in `fill`.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.law.fill import fill
from controller.law.kernel import Array, Stage, entry
from controller.law.names import Reason, Step
from controller.law.tree import arrange

HEADROOM = int(Reason.HEADROOM)
SHARE = int(Step.SHARE)
HAIR = 1e-9
ARRANGE, FILL = entry(arrange.function), entry(fill)


@Stage
def split(
    weight: Array,
    priority: Array,
    volts_v: Array,
    last_a: Array,
    base_a: Array,
    target_a: Array,
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
    entry: Array,
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
    why: Array,
    why_a: Array,
    why_node: Array,
    chain: Array,
) -> None:
    """Split the room, one priority class after the other."""
    chargers = cap_a.shape[0]
    lowest_rank, rank = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for i in range(chargers):
        target_a[i] = base_a[i]
        tight_node[i] = -1
        if member[i] == 1:
            lowest_rank = min(lowest_rank, int(priority[i]))
            rank = max(rank, int(priority[i]))
    while rank >= lowest_rank:
        below = np.iinfo(np.int64).min  # the class after this one
        for i in range(chargers):
            if member[i] == 1:
                if priority[i] == rank:
                    member[i] = 2
                elif priority[i] < rank:
                    below = max(below, int(priority[i]))
        fill(tree_node, tree_up, tree_end, tree_plain, own_from, own_to, order, entry_of, entry_from, entry_to, uses,
             phase_count, member, volts_v, weight, base_a, cap_a, room, target_a, fill_level, load, load_hi, lowest,
             tight, line, entry, tight_node, tight_col)  # fmt: skip
        rank = below
    for i in range(chargers):
        if member[i] == 0:  # only a charger out of reach still has a cap: what it holds is already out of the room
            target_a[i] = min(cap_a[i], last_a[i])
        elif target_a[i] < cap_a[i] - HAIR and tight_node[i] >= 0:
            why[i] = node_cap_why[tight_node[i], tight_col[i]]
            why_a[i] = target_a[i]
            why_node[i] = tight_node[i]
        chain[i, SHARE] = target_a[i]


def share(
    parent: ArrayLike,
    node: ArrayLike,
    phases: ArrayLike,
    weight: ArrayLike,
    floor_a: ArrayLike,
    cap_a: ArrayLike,
    headroom_a: ArrayLike,
) -> NDArray[np.float64]:
    """Return the weighted max-min split: amps per phase of each charger (N).

    `parent` (M) is the node above, -1 at a root; parents stand before their children. `node` (N) is where each
    charger is connected, `phases` (N, 3) is 1 where it uses the grid's phase a, b, c, `weight` (N) is positive,
    `floor_a` and `cap_a` (N) bound it [A], and `headroom_a` (M, 3) is what each node can carry per phase [A], +inf
    for no limit. All chargers passed are admitted. The optimum is the lexicographic maximum of the sorted
    amps / weight within the bounds (facts E1). Raises ValueError where a shape or value is wrong, where the floors do
    not fit, or where nothing bounds a charger.
    """
    tree, place, use, share_of, base, cap, limit = _checked(parent, node, phases, weight, floor_a, cap_a, headroom_a)
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
    order = _ints(chargers)
    up, end, at, own_from, own_to = (_ints(nodes) for _ in range(5))
    lists = _ints(4, chargers), _ints(nodes, 4), _ints(nodes, 4)
    plain, counts = np.zeros(1, np.uint8), np.zeros(chargers, np.uint8)
    terminals = np.where(use == 1, np.arange(3), -1).astype(np.int8)
    ARRANGE(
        tree, place, terminals, np.full(nodes, -2, np.int32), place - 1, np.zeros((chargers, 3), np.int8), plain, at,
        _ints(nodes), up, end, own_from, own_to, order, *lists, use, counts, np.zeros((nodes, 3), np.uint8),
    )  # fmt: skip
    FILL(
        at, up, end, plain, own_from, own_to, order, *lists, use, counts, np.full(chargers, 2, np.uint8),
        np.zeros(chargers), share_of, base, cap, room, x, *(np.zeros((nodes, 4)) for _ in range(4)), _ints(nodes, 4),
        np.zeros((nodes, 4, 8)), np.zeros((4, chargers, 3)), _ints(chargers), np.zeros(chargers, np.int8),
    )  # fmt: skip
    return x


def _ints(*shape: int) -> NDArray[np.int32]:
    """Return zeros of the compiled integer type."""
    return np.zeros(shape, np.int32)


def _checked(*given: Any) -> tuple[Any, ...]:
    """Return the arguments of `share` as arrays of the compiled types; refuse what is wrong with its name."""
    parent, node, phases, weight, floor, cap, head = given
    tree = np.asarray(parent, dtype=np.int32).reshape(-1)
    place = np.asarray(node, dtype=np.int32).reshape(-1)
    nodes, chargers = len(tree), len(place)
    uses = np.asarray(phases, dtype=np.float64)
    share_of, base, ceiling = (np.array(a, dtype=np.float64).reshape(-1) for a in (weight, floor, cap))
    limit = np.asarray(head, dtype=np.float64)
    for name, array, shape in (
        ("phases", uses, (chargers, 3)),
        ("weight", share_of, (chargers,)),
        ("floor_a", base, (chargers,)),
        ("cap_a", ceiling, (chargers,)),
        ("headroom_a", limit, (nodes, 3)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name}: shape {array.shape}, expected {shape}")
        if np.isnan(array).any():
            raise ValueError(f"{name}: NaN at {np.argwhere(np.isnan(array))[0].tolist()}; a number is needed")
    rules: tuple[tuple[str, Any, Any, str], ...] = (
        ("parent", tree, (tree >= -1) & (tree < np.arange(nodes)), "-1 or a node before it"),
        ("node", place, (place >= 0) & (place < nodes), f"0 to {nodes - 1}"),
        ("phases", uses, (uses == 0) | (uses == 1), "0 or 1"),
        ("weight", share_of, (share_of > 0) & np.isfinite(share_of), "a finite positive number"),
        ("floor_a", base, (base >= 0) & (base <= ceiling), "0 A to cap_a"),
    )
    for name, array, fine, allowed in rules:
        if not fine.all():
            at = tuple(int(k) for k in np.argwhere(~fine)[0])
            raise ValueError(f"{name}: {array[at]} at {list(at)}; allowed is {allowed}")
    reach = np.minimum.reduce([np.where(uses > 0, _path(limit, tree)[place], np.inf).min(axis=1), ceiling])
    if np.isinf(reach).any():
        raise ValueError(f"cap_a: nothing bounds charger {int(np.argmax(np.isinf(reach)))}; give it a cap [A]")
    ceiling = np.minimum(ceiling, np.maximum(reach, base))
    return tree, place, uses.astype(np.uint8), share_of, base, ceiling, limit


def _path(limit: NDArray[np.float64], tree: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the lowest limit between each node and its root (M, 3)."""
    lowest = limit.copy()
    for m, up in enumerate(tree):
        if up >= 0:
            lowest[m] = np.minimum(lowest[m], lowest[up])
    return lowest
