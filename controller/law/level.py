"""Find the level at which a subtree's load reaches a limit: the search inside `fill`, in one column.

A subtree is described by one line of numbers and, where it grows unevenly, by its entries (its own chargers). What
they took at the level they were last read at is kept: up to the next level at which one of them stops or begins to
grow, they are not read again.
"""

import math

import numpy as np

from controller.law.kernel import Array, kernel

TOLERANCE = 1e-13
STEPS = 300
# rows of `grow`, a column a charger: load per unit of level (0 of who does not grow), the same in watts, level at which
# it leaves its base and at which it meets its cap
GAIN, GAIN_W, BASE, CAP = range(4)
WATTS = 3
NO_LEVEL = -1e300  # of who does not grow: under every level, and times 0 it is 0
# of a subtree and column: load at the bases and at most; load per unit of level while it grows evenly, from the level
# LAST to FIRST; levels up to which it is at its bases, from which it is at its most, and at which its node is full
LOW, FULL, GROWTH, LAST, FIRST, BOTTOM, TOP, LEVEL = range(8)
# of its own chargers, when last read: at which level, their load and its growth, and from where to where they grow so
READ_AT, READ_LOAD, READ_GAIN, READ_FROM, READ_TO = range(8, 13)


@kernel
def describe(
    metered: bool,
    count: int,
    member: Array,
    phase_count: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    grow: Array,
) -> tuple[bool, bool]:
    """Describe how each charger grows; say whether any active one is on several phases, and whether any is fixed."""
    several, some_fixed, uneven = 0, 0, 0
    for i in range(np.uint64(count)):  # loops without branches, a row each: the compiler takes several at once
        active, each = member[i] == 2, weight[i]
        several |= 1 if active & (phase_count[i] != 1) else 0
        some_fixed |= 1 if member[i] == 1 else 0
        uneven |= 1 if active & (each != 1.0) else 0
        grow[GAIN, i] = each if active else 0.0
    for i in range(np.uint64(count)):
        low = base[i]
        grow[BASE, i] = low if member[i] == 2 else NO_LEVEL
    for i in range(np.uint64(count)):
        high = cap[i]
        grow[CAP, i] = high if member[i] == 2 else NO_LEVEL
    if metered:
        for i in range(np.uint64(count)):
            grow[GAIN_W, i] = watts[i] * grow[GAIN, i]
    if uneven == 1:
        for i in range(np.uint64(count)):
            if member[i] == 2:
                grow[BASE, i] = grow[BASE, i] / weight[i]
                grow[CAP, i] = grow[CAP, i] / weight[i]
    return several == 1, some_fixed == 1


@kernel
def full_at(
    j: int,
    c: int,
    limit: float,
    guess: float,
    tree_end: Array,
    line: Array,
    grow: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
) -> float:
    """Return the level at which the load of a subtree is `limit`: Newton steps within a bracket, every third halved.

    A step that stays within the piece on which the load was found to be straight needs no proof.
    """
    level = limit / line[j, c, GROWTH]
    if line[j, c, LAST] <= level <= line[j, c, FIRST]:
        return level
    # no load grows faster than with all of them: not yet full below, more than full above
    under = line[j, c, BOTTOM] + (limit - line[j, c, LOW]) / line[j, c, GROWTH]
    over = line[j, c, TOP] - ((line[j, c, FULL] - limit) / line[j, c, GROWTH] if line[j, c, TOP] < math.inf else 0.0)
    if not under < over:
        return under
    level, seen = min(max(guess, under), over), False
    close_to = TOLERANCE * (1.0 + abs(limit))
    for step in range(STEPS):
        load, gain, least, most = load_at(j, c, level, tree_end, line, grow, entry_of, entry_from, entry_to)
        gap = limit - load
        if abs(gap) <= close_to:
            return level
        if gap > 0.0:
            under, seen = level, True
        else:
            over = level
        half = 0.5 * (under + over) if over < math.inf else 2.0 * level + 1.0
        level = level + gap / gain if gain > 0.0 else half
        if gain > 0.0 and least <= level <= most:
            return level
        if step % 3 == 2 or not under < level < over:
            level, seen = half if seen else under, True
        if not under <= level <= over:  # two neighbouring numbers
            return under
    return under


@kernel
def load_at(
    j: int,
    c: int,
    level: float,
    tree_end: Array,
    line: Array,
    grow: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
) -> tuple[float, float, float, float]:
    """Return load and growth of a subtree at a level, and from where to where it grows so."""
    load, gain, least, most = 0.0, 0.0, -math.inf, math.inf
    place, end = j, tree_end[j]
    while place < end:
        if place > j:
            if level >= line[place, c, TOP]:
                load += line[place, c, FULL]
                least = max(least, line[place, c, TOP])
                place = tree_end[place]
                continue
            if level <= line[place, c, BOTTOM]:
                load += line[place, c, LOW]
                most = min(most, line[place, c, BOTTOM])
                place = tree_end[place]
                continue
            if line[place, c, LAST] <= level <= line[place, c, FIRST]:
                load += line[place, c, GROWTH] * level
                gain += line[place, c, GROWTH]
                least, most = max(least, line[place, c, LAST]), min(most, line[place, c, FIRST])
                place = tree_end[place]
                continue
        most = min(most, line[place, c, TOP])  # of a full node: above it the subtree grows no more
        if not line[place, c, READ_FROM] <= level < line[place, c, READ_TO]:
            read_own(place, c, level, line, grow, entry_of, entry_from[place, c], entry_to[place, c])
        load += line[place, c, READ_LOAD] + line[place, c, READ_GAIN] * (level - line[place, c, READ_AT])
        gain += line[place, c, READ_GAIN]
        least, most = max(least, line[place, c, READ_FROM]), min(most, line[place, c, READ_TO])
        place += 1
    return load, gain, least, most


@kernel
def read_own(place: int, c: int, level: float, line: Array, grow: Array, entry_of: Array, begin: int, end: int) -> None:
    """Read what a place's own chargers take at a level, and from where to where their load grows as it does there."""
    load, gain, least, most = 0.0, 0.0, -math.inf, math.inf
    row = GAIN_W if c == WATTS else GAIN
    for e in range(np.uint64(begin), np.uint64(end)):
        i = np.uint32(entry_of[c, e])  # saves the compiler's test for an index from the end
        each, low, high = grow[row, i], grow[BASE, i], grow[CAP, i]
        begun, ended = level >= low, level >= high  # no branches: at random they cost more than the rest
        load += each * min(max(level, low), high)
        gain += (each if begun else 0.0) - (each if ended else 0.0)
        least = max(least, max(low if begun else -math.inf, high if ended else -math.inf))
        most = min(most, min(math.inf if begun else low, math.inf if ended else high))
    line[place, c, READ_AT], line[place, c, READ_LOAD], line[place, c, READ_GAIN] = level, load, gain
    line[place, c, READ_FROM], line[place, c, READ_TO] = least, most
