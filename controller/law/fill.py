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

from controller.law.kernel import Array, kernel

WATTS = 3
TOLERANCE = 1e-13
EVEN = 1e-10  # columns as near as this stop a charger at once
STEPS = 300
GAIN, BASE, CAP = 0, 1, 2  # of an entry: load per unit of level, level at which it leaves its base and meets its cap
# of a subtree and column: load at the bases and at most; load per unit of level while it grows evenly, from the level
# LAST to FIRST; levels up to which it is at its bases, from which it is at its most, and at which its node is full
LOW, FULL, GROWTH, LAST, FIRST, BOTTOM, TOP, LEVEL = range(8)


@kernel
def fill(
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    member: Array,
    uses: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    room: Array,
    x: Array,
    fixed: Array,
    mark: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    entry: Array,
    entry_from: Array,
    entry_to: Array,
    tight_node: Array,
    tight_col: Array,
) -> int:
    """Raise the chargers whose `member` is 2 from `base` (N) towards `cap` (N) within `room` (M, 4).

    `x` (N) holds what all chargers take; those with `member` 1 stay, those with 0 do not count. The first six come from
    `tree.arrange`. `tight_node` and `tight_col` (N) tell what stopped a charger, -1 its cap. `fixed`, `mark`, `lowest`,
    `tight`, `entry_from`, `entry_to` (M, 4), `line` (M, 4, 8) and `entry` (4, N, 3) are scratch, by place in the tree.
    Returns the number of rounds.
    """
    rounds = 0
    left = 1
    while left > 0:
        rounds += 1
        several = sweep(tree_node, tree_up, tree_end, own_from, own_to, order, member, uses, watts, weight, base, cap,
                        room, x, fixed, line, entry, entry_from, entry_to)  # fmt: skip
        stop(tree_up, tree_node, own_from, own_to, order, member, uses, watts, weight, base, cap, x, mark, lowest,
             tight, line, tight_node, tight_col, several)  # fmt: skip
        left = 0
        if several:
            left = settle(tree_up, tree_node, own_from, own_to, order, member, mark, tight_node, tight_col)
    return rounds


@kernel
def sweep(
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    member: Array,
    uses: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    room: Array,
    x: Array,
    fixed: Array,
    line: Array,
    entry: Array,
    entry_from: Array,
    entry_to: Array,
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
    columns = 4 if metered else 3
    several = False
    at_a, at_b, at_c, at_w = 0, 0, 0, 0
    for j in range(places - 1, -1, -1):
        entry_from[j, 0], entry_from[j, 1], entry_from[j, 2], entry_from[j, WATTS] = at_a, at_b, at_c, at_w
        for k in range(own_from[j], own_to[j]):
            i = order[k]
            if member[i] == 2:
                low, high = base[i] / weight[i], cap[i] / weight[i]
                if uses[i, 0] == 1:
                    enter(j, 0, at_a, weight[i], low, high, line, entry)
                    at_a += 1
                if uses[i, 1] == 1:
                    enter(j, 1, at_b, weight[i], low, high, line, entry)
                    at_b += 1
                if uses[i, 2] == 1:
                    enter(j, 2, at_c, weight[i], low, high, line, entry)
                    at_c += 1
                if metered and watts[i] > 0.0:
                    enter(j, WATTS, at_w, weight[i] * watts[i], low, high, line, entry)
                    at_w += 1
                several = several or metered or uses[i, 0] + uses[i, 1] + uses[i, 2] > 1
            elif member[i] == 1:
                for c in range(3):
                    fixed[j, c] += x[i] * uses[i, c]
                fixed[j, WATTS] += x[i] * watts[i]
        entry_to[j, 0], entry_to[j, 1], entry_to[j, 2], entry_to[j, WATTS] = at_a, at_b, at_c, at_w
        up = tree_up[j]
        for c in range(columns):
            if line[j, c, TOP] > -math.inf:
                close(j, c, room[tree_node[j], c] - fixed[j, c], tree_end, line, entry, entry_from, entry_to)
            if up >= 0:
                fixed[up, c] += fixed[j, c]
                join(j, up, c, line)
    return several


@kernel
def enter(j: int, c: int, at: int, gain: float, low: float, high: float, line: Array, entry: Array) -> None:
    """Note a charger at a place and column."""
    entry[c, at, GAIN], entry[c, at, BASE], entry[c, at, CAP] = gain, low, high
    line[j, c, LOW] += gain * low
    line[j, c, FULL] += gain * high
    line[j, c, GROWTH] += gain
    line[j, c, LAST] = max(line[j, c, LAST], low)
    line[j, c, FIRST] = min(line[j, c, FIRST], high)
    line[j, c, BOTTOM] = min(line[j, c, BOTTOM], low)
    line[j, c, TOP] = max(line[j, c, TOP], high)


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
    j: int, c: int, limit: float, tree_end: Array, line: Array, entry: Array, entry_from: Array, entry_to: Array
) -> None:
    """Limit a subtree to what its node can carry; a limit that is not a number carries the bases only."""
    if line[j, c, FULL] <= limit:
        return
    level = 0.0
    if limit > line[j, c, LOW]:
        level = full_at(j, c, limit, tree_end, line, entry, entry_from, entry_to)
        line[j, c, FULL] = limit
    else:
        line[j, c, FULL] = line[j, c, LOW]
    line[j, c, LEVEL] = level
    line[j, c, TOP] = level
    line[j, c, FIRST] = min(line[j, c, FIRST], level)


@kernel
def full_at(
    j: int, c: int, limit: float, tree_end: Array, line: Array, entry: Array, entry_from: Array, entry_to: Array
) -> float:
    """Return the level at which the load of a subtree is `limit`: Newton steps within a bracket, every third halved."""
    level = limit / line[j, c, GROWTH]
    if line[j, c, LAST] <= level <= line[j, c, FIRST]:
        return level
    under, over = line[j, c, BOTTOM], line[j, c, TOP]
    level = min(max(level, under), over)
    close_to = TOLERANCE * (1.0 + abs(limit))
    for step in range(STEPS):
        load, gain = 0.0, 0.0
        place, end = j, tree_end[j]
        while place < end:
            if place > j:
                if level >= line[place, c, TOP]:
                    load += line[place, c, FULL]
                    place = tree_end[place]
                    continue
                if level <= line[place, c, BOTTOM]:
                    load += line[place, c, LOW]
                    place = tree_end[place]
                    continue
                if line[place, c, LAST] <= level <= line[place, c, FIRST]:
                    load += line[place, c, GROWTH] * level
                    gain += line[place, c, GROWTH]
                    place = tree_end[place]
                    continue
            for e in range(entry_from[place, c], entry_to[place, c]):
                each, low, high = entry[c, e, GAIN], entry[c, e, BASE], entry[c, e, CAP]
                load += each * min(max(level, low), high)
                gain += each if (low <= level) & (level < high) else 0.0
            place += 1
        gap = limit - load
        if abs(gap) <= close_to:
            return level
        if gap > 0.0:
            under = level
        else:
            over = level
        half = 0.5 * (under + over) if over < math.inf else 2.0 * level + 1.0
        level = level + gap / gain if gain > 0.0 else half
        if step % 3 == 2 or not under < level < over:
            level = half
        if not under < level < over:  # two neighbouring numbers
            return under
    return under


@kernel
def stop(
    tree_up: Array,
    tree_node: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
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
    line: Array,
    tight_node: Array,
    tight_col: Array,
    several: bool,
) -> None:
    """Stop every active charger at the lowest level above it, and mark nodes whose level counted on more of it.

    Where chargers meet one column each, that is the end of it; otherwise `tight_node` is left as a place for `settle`.
    """
    for j in range(tree_node.shape[0]):
        up = tree_up[j]
        for c in range(4):
            mark[j, c] = 0.0
            lowest[j, c] = line[j, c, LEVEL]
            tight[j, c] = j
            if up >= 0 and lowest[up, c] <= lowest[j, c]:
                lowest[j, c] = lowest[up, c]
                tight[j, c] = tight[up, c]
        for k in range(own_from[j], own_to[j]):
            i = order[k]
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
            if not several:
                tight_node[i] = tree_node[tight[j, column]]
                member[i] = 1
                continue
            tight_node[i] = tight[j, column]
            for c in range(4):
                more = min(lowest[j, c] * weight[i], cap[i]) > x[i] + EVEN * (1.0 + x[i])
                if more and (watts[i] > 0.0 if c == WATTS else uses[i, c] == 1):
                    mark[j, c] = 1.0


@kernel
def settle(
    tree_up: Array,
    tree_node: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
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
