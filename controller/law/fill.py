"""Fill a capacity tree: weighted max-min by progressive filling, exact to 1e-9, over three phases and watts.

All active chargers rise together, x = clamp(weight * level, base, cap), until a node and phase is full; those below
it stop there and the others go on. Between two bottlenecks the load is piecewise linear in the level and, but for
bases (which are events of their own), concave: a step along its tangent never passes the bottleneck, so every
intermediate state is feasible.
"""

import math

from controller.law.kernel import Array, kernel

WATTS = 3
HAIR = 1e-9
STALL = 1e-14


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
    tight: Array,
    tight_node: Array,
    tight_col: Array,
) -> int:
    """Raise the first `count` chargers of `active` from `base` (N) towards `cap` (N) within `room` (M, 4).

    `x` (N) holds what all chargers take; those of `active` have `member` 2, and the others stay. `fixed`, `load`,
    `slope` and `tight` (M, 4) are scratch. `tight_node` and `tight_col` (N) tell what stopped a charger, -1 its cap.
    Returns the number of steps taken.
    """
    nodes = parent.shape[0]
    fixed[:] = 0.0
    for i in range(x.shape[0]):
        if member[i] == 1:
            stay(fixed, charger_node[i], uses, watts, i, x[i])
    level = 0.0
    steps = 0
    while count > 0 and steps < 16 + 8 * (count + nodes):
        steps += 1
        event = measure(
            active, count, charger_node, parent, uses, watts, weight, base, cap, level, x, fixed, load, slope
        )
        step, full = nearest(room, load, slope, parent, tight, level)
        left = 0
        for k in range(count):
            i = active[k]
            if level >= cap[i] / weight[i]:
                tight_node[i] = -1
            elif not (full and blocked(i, charger_node[i], uses, watts, tight, tight_node, tight_col)):
                active[left] = i
                left += 1
                continue
            member[i] = 1
            stay(fixed, charger_node[i], uses, watts, i, x[i])
        if not full:
            if math.isinf(step) and math.isinf(event):  # nothing is in the way: up to the highest cap
                event = level
                for k in range(left):
                    event = max(event, cap[active[k]] / weight[active[k]])
            level = min(level + step, event)
        count = left
    for k in range(count):
        member[active[k]] = 1
    return steps


@kernel
def stay(fixed: Array, m: int, uses: Array, watts: Array, i: int, amps: float) -> None:
    """Add the amps of a charger that rises no more to its own node; `measure` sums them up the tree."""
    for p in range(3):
        if uses[i, p] == 1:
            fixed[m, p] += amps
    fixed[m, WATTS] += amps * watts[i]


@kernel
def measure(
    active: Array,
    count: int,
    charger_node: Array,
    parent: Array,
    uses: Array,
    watts: Array,
    weight: Array,
    base: Array,
    cap: Array,
    level: float,
    x: Array,
    fixed: Array,
    load: Array,
    slope: Array,
) -> float:
    """Set x, each node's load and its slope at a level; return the next level at which a charger leaves its base."""
    event = math.inf
    for m in range(parent.shape[0]):
        for c in range(4):
            load[m, c] = fixed[m, c]
            slope[m, c] = 0.0
    for k in range(count):
        i = active[k]
        m = charger_node[i]
        growth = 0.0
        leave = base[i] / weight[i]
        if level >= cap[i] / weight[i]:
            x[i] = cap[i]
        elif level >= leave:
            x[i] = min(max(weight[i] * level, base[i]), cap[i])
            growth = weight[i]
        else:
            x[i] = base[i]
            event = min(event, leave)
        for p in range(3):
            if uses[i, p] == 1:
                load[m, p] += x[i]
                slope[m, p] += growth
        load[m, WATTS] += x[i] * watts[i]
        slope[m, WATTS] += growth * watts[i]
    for m in range(parent.shape[0] - 1, 0, -1):
        up = parent[m]
        if up >= 0:
            for c in range(4):
                load[up, c] += load[m, c]
                slope[up, c] += slope[m, c]
    return event


@kernel
def nearest(room: Array, load: Array, slope: Array, parent: Array, tight: Array, level: float) -> tuple[float, bool]:
    """Return the step of the level to the nearest bottleneck and whether one is reached; mark what is tight below."""
    step = math.inf
    full = False
    for m in range(room.shape[0]):
        for c in range(4):
            tight[m, c] = tight[parent[m], c] if parent[m] >= 0 else -1
            slack = room[m, c] - load[m, c]
            if math.isinf(slack) and slack > 0.0:
                continue
            if slack <= HAIR * (1.0 + abs(room[m, c])) or (slope[m, c] > 0.0 and slack <= STALL * slope[m, c] * level):
                tight[m, c] = m
                full = full or slope[m, c] > 0.0
            elif slope[m, c] > 0.0:
                step = min(step, slack / slope[m, c])
    return step, full


@kernel
def blocked(i: int, m: int, uses: Array, watts: Array, tight: Array, tight_node: Array, tight_col: Array) -> bool:
    """Say whether a tight node stops charger i, and keep which one."""
    for c in range(4):
        if tight[m, c] >= 0 and (watts[i] > 0.0 if c == WATTS else uses[i, c] == 1):
            tight_node[i] = tight[m, c]
            tight_col[i] = c
            return True
    return False
