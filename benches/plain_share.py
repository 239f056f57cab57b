"""Decide droop and fair share the plain way: lists, floats and one Python loop over chargers and nodes.

A reference for the bench, and an oracle of its own: single-phase chargers of equal weight on a tree, every node filled
by sorting, from the leaves to the root.
"""

from bisect import bisect_right


def curve(volts_pu: float, points: list[float], shares: list[float]) -> float:
    """Return the share of a piecewise-linear curve at `volts_pu`."""
    k = bisect_right(points, volts_pu)
    if k == 0 or k == len(points):
        return shares[0 if k == 0 else -1]
    width = points[k] - points[k - 1]
    return shares[k - 1] + (shares[k] - shares[k - 1]) * (volts_pu - points[k - 1]) / width


def level_of(caps: list[float], room: float) -> float:
    """Return the level at which the sum of min(level, cap) is `room`."""
    left, count = room, len(caps)
    for cap in sorted(caps):
        if cap * count >= left:
            return left / count
        left -= cap
        count -= 1
    return float("inf")


def decide(
    volts_v: list[float],
    points: list[float],
    shares: list[float],
    ceiling_a: float,
    parent: list[int],
    node: list[int],
    phase: list[int],
    limit_a: list[list[float]],
    other_a: float,
) -> tuple[list[float], list[float]]:
    """Return cap and fair share [A] of every charger; nodes carry `limit_a` (M x 3) minus `other_a` per phase."""
    cap = [curve(volts / 230.0, points, shares) * ceiling_a for volts in volts_v]
    amps = cap.copy()
    below: list[list[list[int]]] = [[[], [], []] for _ in parent]
    for i, m in enumerate(node):
        below[m][phase[i]].append(i)
    for m in range(len(parent) - 1, -1, -1):
        for p in range(3):
            members = below[m][p]
            level = level_of([amps[i] for i in members], limit_a[m][p] - other_a)
            for i in members:
                amps[i] = min(amps[i], level)
            if parent[m] >= 0:
                below[parent[m]][p] += members
    return cap, amps
