"""The max-min split by linear programs (HiGHS), independent of the law: slow, and right."""

from itertools import permutations

import numpy as np
from scipy.optimize import linprog


def lexicographic(
    parent: np.ndarray,
    node: np.ndarray,
    phases: np.ndarray,
    weight: np.ndarray,
    floor: np.ndarray,
    cap: np.ndarray,
    head: np.ndarray,
    gap: np.ndarray | None = None,
    watts: np.ndarray | None = None,
    volts: np.ndarray | None = None,
) -> np.ndarray:
    """Solve the max-min split (N): raise the least, fix who cannot rise, repeat.

    `gap` (M, 3, 3) is what the chargers below a node may add to one phase more than to another [A], `watts` (M) what
    they may draw together, with `volts` (N) the sum of the volts on each one's phases. What is fixed is fixed within
    1e-9 A.
    """
    n = len(node)
    rows, limits = [], []
    for k in range(len(parent)):
        below = np.array([_is_below(at, k, parent) for at in node], float)
        for p in range(3):
            rows.append(np.append(below * phases[:, p], 0.0))
            limits.append(head[k, p])
        if watts is not None and np.isfinite(watts[k]):
            rows.append(np.append(below * volts / 690.0, 0.0))
            limits.append(watts[k] / 690.0)
        for p, q in permutations(range(3), 2):
            if gap is not None and np.isfinite(gap[k, p, q]):
                rows.append(np.append(below * (phases[:, p] - phases[:, q]), 0.0))
                limits.append(gap[k, p, q])
    slack = 1e-10 if gap is None else 1e-9
    fixed = np.full(n, np.nan)
    while np.isnan(fixed).any():
        free = np.flatnonzero(np.isnan(fixed))
        bounds = [
            (floor[i], cap[i]) if np.isnan(fixed[i]) else (fixed[i] - slack, fixed[i] + (0.0 if gap is None else slack))
            for i in range(n)
        ]
        least = [np.append(-np.eye(n)[i] / weight[i], 1.0) for i in free]
        ab, bb = np.array(rows + least), np.append(limits, np.zeros(len(free)))
        top = linprog(np.append(np.zeros(n), -1.0), A_ub=ab, b_ub=bb, bounds=[*bounds, (0, None)], method="highs")
        level = -top.fun
        bounds.append((level - slack, level))
        stuck = False
        for i in free:
            best = linprog(-np.append(np.eye(n)[i], 0.0), A_ub=ab, b_ub=bb, bounds=bounds, method="highs")
            if -best.fun <= weight[i] * level + 100 * slack:
                fixed[i] = weight[i] * level
                stuck = True
        assert stuck
    return fixed


def by_class(rank: np.ndarray, floor: np.ndarray, cap: np.ndarray, case: tuple, **more: np.ndarray) -> np.ndarray:
    """Solve the split (N) class by class: a higher rank is filled first, above the floors of all."""
    low, high = floor.copy(), floor.copy()
    for level in np.unique(rank)[::-1]:
        high[rank == level] = cap[rank == level]
        parent, node, phases, weight, head = case
        low = lexicographic(parent, node, phases, weight, low, high, head, **more)
        high = low.copy()
    return low


def _is_below(at: int, k: int, parent: np.ndarray) -> bool:
    """Say whether node `at` is node k or below it."""
    while at >= 0:
        if at == k:
            return True
        at = int(parent[at])
    return False
