"""Fill a capacity tree: weighted max-min by local bottlenecks, exact to 1e-9, over three phases and watts.

An active charger at level L takes clamp(weight * L, base, cap). Every node and phase, taken alone, is full at a level
of its own; where that is the lowest for every active charger below it, it is a bottleneck: those chargers stop there,
whatever the others do, since stopping somebody only lifts the other levels. Many bottlenecks stop in one round (a
phase of each street, say), at the latest the lowest of all; rounds go on until everybody has stopped.

Alone, the load is piecewise linear in the level and concave between two bases, so Newton steps along its tangent
never pass the limit. Source: Bertsekas and Gallager, Data Networks (1992), 6.5.2, for the bottleneck argument [R+].
"""

import math

from controller.law.kernel import Array, kernel

WATTS = 3
HAIR = 1e-9
STALL = 1e-14
STEPS = 1000


@kernel
def fill(
    active: Array,
    count: int,
    member: Array,
    charger_node: Array,
    parent: Array,
    uses: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    room: Array,
    x: Array,
    fixed: Array,
    load: Array,
    slope: Array,
    level: Array,
    lowest: Array,
    tight: Array,
    tight_node: Array,
    tight_col: Array,
) -> int:
    """Raise the first `count` chargers of `active` from `base` (N) towards `cap` (N) within `room` (M, 4).

    `x` (N) holds what all chargers take; those of `active` have `member` 2, those with 1 stay, the others do not
    count. `fixed`, `load`, `slope`, `level`, `lowest` and `tight` (M, 4) are scratch. `tight_node` and `tight_col` (N)
    tell what stopped a charger, -1 its cap. Returns the number of rounds.
    """
    nodes = parent.shape[0]
    for m in range(nodes):
        for c in range(4):
            fixed[m, c] = 0.0
            level[m, c] = 0.0
    for i in range(x.shape[0]):
        if member[i] == 1:
            add_up(fixed, charger_node[i], parent, uses, watts, i, x[i])
    rounds = 0
    while count > 0:
        rounds += 1
        steps = 0
        while steps < STEPS and advance(active, count, charger_node, parent, uses, watts, weight, base, cap, room,
                                        fixed, load, slope, level, lowest, tight, steps == 0):  # fmt: skip
            steps += 1
        for m in range(nodes):  # the lowest level between a node and its root, and whose it is
            for c in range(4):
                lowest[m, c] = level[m, c]
                tight[m, c] = m
                if parent[m] >= 0 and lowest[parent[m], c] <= lowest[m, c]:
                    lowest[m, c] = lowest[parent[m], c]
                    tight[m, c] = tight[parent[m], c]
                load[m, c] = 1.0  # a bottleneck, until a charger below it is found that stops earlier
        for k in range(count):
            i = active[k]
            m = charger_node[i]
            c = first_column(i, m, uses, watts, lowest)
            stop = math.inf if c < 0 else lowest[m, c]
            tight_node[i] = tight[m, c] if c >= 0 else -1
            tight_col[i] = c
            x[i] = stop
            if stop * weight[i] < cap[i]:
                while m >= 0:
                    for c in range(4):
                        if level[m, c] > stop and (watts[i] > 0.0 if c == WATTS else uses[i, c] == 1):
                            load[m, c] = 0.0
                    m = parent[m]
        left = 0
        for k in range(count):
            i = active[k]
            if x[i] * weight[i] >= cap[i]:
                x[i] = cap[i]
                tight_node[i] = -1
            elif load[tight_node[i], tight_col[i]] == 1.0:
                x[i] = min(max(weight[i] * x[i], base[i]), cap[i])
            else:
                active[left] = i
                left += 1
                continue
            member[i] = 1
            add_up(fixed, charger_node[i], parent, uses, watts, i, x[i])
        count = left
    return rounds


@kernel
def add_up(fixed: Array, m: int, parent: Array, uses: Array, watts: Array, i: int, amps: float) -> None:
    """Add the amps of a charger that rises no more to every node above it."""
    while m >= 0:
        for p in range(3):
            if uses[i, p] == 1:
                fixed[m, p] += amps
        fixed[m, WATTS] += amps * watts[i]
        m = parent[m]


@kernel
def first_column(i: int, m: int, uses: Array, watts: Array, lowest: Array) -> int:
    """Return the column that stops charger i first; -1 where none does."""
    column = -1
    stop = math.inf
    for c in range(4):
        if lowest[m, c] < stop and (watts[i] > 0.0 if c == WATTS else uses[i, c] == 1):
            stop = lowest[m, c]
            column = c
    return column


@kernel
def advance(
    active: Array,
    count: int,
    charger_node: Array,
    parent: Array,
    uses: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    room: Array,
    fixed: Array,
    load: Array,
    slope: Array,
    level: Array,
    event: Array,
    done: Array,
    first: bool,
) -> bool:
    """Move every node's level one Newton step towards the one at which it, alone, is full; say whether any moved.

    `event` (M, 4) is scratch: the next level at which a charger below leaves its base. `done` is kept between steps.
    """
    nodes = parent.shape[0]
    for m in range(nodes):
        for c in range(4):
            if first:
                done[m, c] = 0
                if math.isinf(room[m, c]) and room[m, c] > 0.0:
                    done[m, c] = 1
                    level[m, c] = math.inf
            load[m, c] = fixed[m, c]
            slope[m, c] = 0.0
            event[m, c] = math.inf
    for k in range(count):
        i = active[k]
        leave = base[i] / weight[i]
        full = cap[i] / weight[i]
        m = charger_node[i]
        while m >= 0:
            for c in range(4):
                each = watts[i] if c == WATTS else float(uses[i, c])
                if done[m, c] == 1 or each == 0.0:
                    continue
                if level[m, c] >= full:
                    load[m, c] += each * cap[i]
                elif level[m, c] >= leave:
                    load[m, c] += each * weight[i] * level[m, c]
                    slope[m, c] += each * weight[i]
                else:
                    load[m, c] += each * base[i]
                    event[m, c] = min(event[m, c], leave)
            m = parent[m]
    moved = False
    for m in range(nodes):
        for c in range(4):
            if done[m, c] == 1:
                continue
            slack = room[m, c] - load[m, c]
            reach = event[m, c]
            if slope[m, c] > 0.0:
                reach = min(reach, level[m, c] + slack / slope[m, c])
            if slack <= HAIR * (1.0 + abs(room[m, c])) or reach <= level[m, c] * (1.0 + STALL):
                done[m, c] = 1
            elif math.isinf(reach):
                done[m, c] = 1
                level[m, c] = math.inf
            else:
                level[m, c] = reach
                moved = True
    return moved
