"""Fill a capacity tree: weighted max-min, exact to 1e-9, over three phases and watts.

An active charger at level L takes clamp(weight * L, base, cap). Within one column (a phase, or the watts) the nodes'
sets are nested, so one sweep from the leaves to the root solves it: every node finds the level at which it is full,
its inner nodes being full already where that is lower; whoever is under it stops there. A node that can carry
everything below costs one comparison, and a subtree that is wholly at its caps, at its bases or growing evenly counts
as one number in the search of the node above.

Columns meet in chargers of several phases and in watts. A level of one column alone is a lower bound, since a charger
that another column stops leaves more to the rest. So after a sweep of each column, a full node is settled where no
charger below it was stopped earlier by another column; at the least the lowest level of all is. What is settled is
fixed, and rounds go on until all are: one round where each charger meets one column only, at most one a bottleneck.
Source: Bertsekas and Gallager, Data Networks (1992), 6.5.2, for the bottleneck argument [R+].
"""

import math

import numpy as np

from controller.law.kernel import Array, kernel
from controller.law.level import (
    BASE,
    BOTTOM,
    CAP,
    FIRST,
    FULL,
    GAIN,
    GAIN_W,
    GROWTH,
    LAST,
    LEVEL,
    LOW,
    READ_FROM,
    TOP,
    describe,
    full_at,
)

WATTS = 3
EVEN = 1e-10  # columns as near as this stop a charger at once


@kernel
def fill(
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    uses: Array,
    phase_count: Array,
    member: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    room: Array,
    x: Array,
    start: Array,
    fixed: Array,
    mark: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    tight_node: Array,
    tight_col: Array,
) -> int:
    """Raise the chargers whose `member` is 2 from `base` (N) towards `cap` (N) within `room` (M, 4).

    The first seven are as `tree.arrange` makes them; `entry_of` may list some chargers only, the first ones. `x` (N)
    holds what all chargers take; those with `member` 1 stay, those with 0 do not count. `start` (M, 4) keeps levels
    from call to call, from where the next search begins. `fixed`, `mark`, `lowest` and `tight` (M, 4) and `line`
    (M, 4, 16) are scratch by place in the tree, `grow` (4, N) is too.
    `tight_node` and `tight_col` (N) tell what stopped a charger, -1 its cap. Returns the number of rounds.
    """
    rounds = 0
    left = 1
    while left > 0:
        rounds += 1
        several = sweep(tree_node, tree_up, tree_end, tree_plain, entry_of, entry_from, entry_to,
                        phase_count, member, watts, weight, base, cap, room, x, start, fixed, line, grow)  # fmt: skip
        descend(tree_up, lowest, tight, line)
        if several:
            stop(tree_node, entry_of, entry_from, entry_to, member, uses, watts, weight, base, cap, x, mark, lowest,
                 tight, tight_node, tight_col)  # fmt: skip
            left = settle(tree_up, tree_node, member, mark, tight_node, tight_col)
        else:
            stop_all(tree_node, member, weight, base, cap, x, lowest, tight, grow, entry_of, entry_from, entry_to,
                     tight_node, tight_col)  # fmt: skip
            left = 0
    return rounds


@kernel
def sweep(
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    phase_count: Array,
    member: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    room: Array,
    x: Array,
    start: Array,
    fixed: Array,
    line: Array,
    grow: Array,
) -> bool:
    """Find for every node and column the level at which it is full; say whether any charger meets several columns."""
    places = tree_node.shape[0]
    metered = False  # whether watts are limited anywhere
    for j in range(places):
        metered = metered or room[j, WATTS] < math.inf
        for c in range(4):
            fixed[j, c] = 0.0
            line[j, c, LOW], line[j, c, FULL], line[j, c, GROWTH] = 0.0, 0.0, 0.0
            line[j, c, LAST], line[j, c, FIRST] = -math.inf, math.inf
            line[j, c, BOTTOM], line[j, c, TOP], line[j, c, LEVEL] = math.inf, -math.inf, math.inf
            line[j, c, READ_FROM] = math.inf  # nothing was read yet
    columns = 4 if metered else 3
    wide, some_fixed = describe(
        metered, entry_to[places - 1, WATTS], member, phase_count, watts, weight, base, cap, grow
    )
    for j in range(places - 1, -1, -1):
        up = tree_up[j]
        for c in range(columns):
            add_own(j, c, line, grow, entry_of, entry_from[j, c], entry_to[j, c])
            if some_fixed:
                fixed[j, c] += held(c, member, watts, x, entry_of, entry_from[j, c], entry_to[j, c])
            if line[j, c, TOP] > -math.inf:
                close(j, c, room[tree_node[j], c] - fixed[j, c], tree_end, line, grow, entry_of, entry_from, entry_to,
                      start)  # fmt: skip
            if up >= 0:
                fixed[up, c] += fixed[j, c]
                join(j, up, c, line)
    return metered or tree_plain[0] == 0 or wide


@kernel
def add_own(j: int, c: int, line: Array, grow: Array, entry_of: Array, begin: int, end: int) -> None:
    """Add a place's own chargers to what its subtree already holds."""
    low_sum, high_sum, growth = line[j, c, LOW], line[j, c, FULL], line[j, c, GROWTH]
    last, first, bottom, top = line[j, c, LAST], line[j, c, FIRST], line[j, c, BOTTOM], line[j, c, TOP]
    row = GAIN_W if c == WATTS else GAIN
    for e in range(np.uint64(begin), np.uint64(end)):
        i = np.uint32(entry_of[c, e])  # saves the compiler's test for an index from the end
        each, low, high = grow[row, i], grow[BASE, i], grow[CAP, i]
        if each > 0.0:
            low_sum += each * low
            high_sum += each * high
            growth += each
            last, bottom = max(last, low), min(bottom, low)
            first, top = min(first, high), max(top, high)
    line[j, c, LOW], line[j, c, FULL], line[j, c, GROWTH] = low_sum, high_sum, growth
    line[j, c, LAST], line[j, c, FIRST], line[j, c, BOTTOM], line[j, c, TOP] = last, first, bottom, top


@kernel
def held(c: int, member: Array, watts: Array, x: Array, entry_of: Array, begin: int, end: int) -> float:
    """Return what those of a place's own chargers take that are fixed."""
    total = 0.0
    for e in range(np.uint64(begin), np.uint64(end)):
        i = np.uint32(entry_of[c, e])
        if member[i] == 1:
            total += (watts[i] if c == WATTS else 1.0) * x[i]
    return total


@kernel
def join(j: int, up: int, c: int, line: Array) -> None:
    """Add a subtree to the place above it."""
    line[up, c, LOW] += line[j, c, LOW]
    line[up, c, FULL] += line[j, c, FULL]
    line[up, c, GROWTH] += line[j, c, GROWTH]
    line[up, c, LAST] = max(line[up, c, LAST], line[j, c, LAST])
    line[up, c, FIRST] = min(line[up, c, FIRST], line[j, c, FIRST])
    line[up, c, BOTTOM] = min(line[up, c, BOTTOM], line[j, c, BOTTOM])
    line[up, c, TOP] = max(line[up, c, TOP], line[j, c, TOP])


@kernel
def close(
    j: int,
    c: int,
    limit: float,
    tree_end: Array,
    line: Array,
    grow: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    start: Array,
) -> None:
    """Limit a subtree to what its node can carry; a limit that is not a number carries the bases only."""
    if line[j, c, FULL] <= limit:
        return
    level = 0.0
    if limit > line[j, c, LOW]:
        level = full_at(j, c, limit, start[j, c], tree_end, line, grow, entry_of, entry_from, entry_to)
        line[j, c, FULL] = limit
        start[j, c] = level
    else:
        line[j, c, FULL] = line[j, c, LOW]
    line[j, c, LEVEL] = level
    line[j, c, TOP] = level
    line[j, c, FIRST] = min(line[j, c, FIRST], level)


@kernel
def descend(tree_up: Array, lowest: Array, tight: Array, line: Array) -> None:
    """Find for every place and column the lowest level at or above it, and whose it is."""
    for j in range(tree_up.shape[0]):
        up = tree_up[j]
        for c in range(4):
            lowest[j, c] = line[j, c, LEVEL]
            tight[j, c] = j
            if up >= 0 and lowest[up, c] <= lowest[j, c]:
                lowest[j, c] = lowest[up, c]
                tight[j, c] = tight[up, c]


@kernel
def stop_all(
    tree_node: Array,
    member: Array,
    weight: Array,
    base: Array,
    cap: Array,
    x: Array,
    lowest: Array,
    tight: Array,
    grow: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    tight_node: Array,
    tight_col: Array,
) -> None:
    """Stop every active charger at the lowest level above it, where each meets one column only."""
    for j in range(tree_node.shape[0] - 1, -1, -1):
        for c in range(WATTS):  # watts are a second column to everybody
            level, place = lowest[j, c], tree_node[tight[j, c]]
            for e in range(np.uint64(entry_from[j, c]), np.uint64(entry_to[j, c])):
                i = np.uint32(entry_of[c, e])
                if member[i] != 2:
                    continue
                member[i] = 1
                tight_col[i] = c
                most, full = cap[i], level >= grow[CAP, i]
                shared = min(max(weight[i] * level, base[i]), most)
                x[i] = most if full else shared
                tight_node[i] = -1 if full else place


@kernel
def stop(
    tree_node: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    member: Array,
    uses: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    x: Array,
    mark: Array,
    lowest: Array,
    tight: Array,
    tight_node: Array,
    tight_col: Array,
) -> None:
    """Stop every active charger at the lowest level above it, and mark nodes whose level counted on more of it.

    `tight_node` is left as a place for `settle`.
    """
    for j in range(tree_node.shape[0]):
        for c in range(4):
            mark[j, c] = 0.0
        for e in range(np.uint64(entry_from[j, WATTS]), np.uint64(entry_to[j, WATTS])):
            i = np.uint32(entry_of[WATTS, e])
            if member[i] != 2:
                continue
            level, column = math.inf, -1
            for c in range(4):
                if lowest[j, c] < level and (watts[i] > 0.0 if c == WATTS else uses[i, c] == 1):
                    level, column = lowest[j, c], c
            if level * weight[i] >= cap[i]:
                x[i] = cap[i]
                tight_node[i] = -1
                member[i] = 1
                continue
            x[i] = max(weight[i] * level, base[i])
            tight_col[i] = column
            tight_node[i] = tight[j, column]
            for c in range(4):
                more = min(lowest[j, c] * weight[i], cap[i]) > x[i] + EVEN * (1.0 + x[i])
                if more and (watts[i] > 0.0 if c == WATTS else uses[i, c] == 1):
                    mark[j, c] = 1.0


@kernel
def settle(
    tree_up: Array,
    tree_node: Array,
    member: Array,
    mark: Array,
    tight_node: Array,
    tight_col: Array,
) -> int:
    """Fix the chargers whose node and column is settled; return how many are left."""
    for j in range(tree_node.shape[0] - 1, -1, -1):
        if tree_up[j] >= 0:
            for c in range(4):
                mark[tree_up[j], c] = max(mark[tree_up[j], c], mark[j, c])
    left = 0
    for i in range(member.shape[0]):
        if member[i] == 2:
            if mark[tight_node[i], tight_col[i]] == 0.0:
                member[i] = 1
                tight_node[i] = tree_node[tight_node[i]]
            else:
                left += 1
    return left
