"""Check the arguments of `share.share`, which is called with plain arrays, and bring them into the compiled types."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ints(*shape: int) -> NDArray[np.int32]:
    """Return zeros of the compiled integer type."""
    return np.zeros(shape, np.int32)


def gaps(nodes: int, unbalance_a: ArrayLike | None, load_a: ArrayLike | None) -> NDArray[np.float64]:
    """Return by how much the chargers below each node may load one phase more than another (M, 3, 3)."""
    limit = np.full(nodes, np.inf) if unbalance_a is None else np.asarray(unbalance_a, dtype=np.float64)
    load = np.zeros((nodes, 3)) if load_a is None else np.asarray(load_a, dtype=np.float64)
    if limit.shape != (nodes,) or not (limit >= 0.0).all():
        raise ValueError(f"unbalance_a: {limit.tolist()}; {nodes} numbers from 0 are needed")
    if load.shape != (nodes, 3) or not np.isfinite(load).all():
        raise ValueError(f"load_a: shape {load.shape}; finite numbers of shape {(nodes, 3)} are needed")
    return np.maximum(limit[:, None, None] - (load[:, :, None] - load[:, None, :]), 0.0)


def checked(*given: Any) -> tuple[Any, ...]:
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
