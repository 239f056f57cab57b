"""Step 11, ramp: down at once; up slowly, after a random delay, and only from amps that nobody holds.

A paused charger waits the random delay drawn at its pause, starts at its floor (one without a floor at 0 A) and then
rises by `ramp_up_a_per_s`.
A raise smaller than `raise_band_a` is skipped, so that noise moves nothing. At last every raise is paid: the sum over
each node of max(allowed, reserved) must stay within its headroom (break before make, see `reserve.reserve`).
"""

import math

import numpy as np

from controller.law.fill import fill
from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason
from controller.law.start import floor_to

RAMP, RESERVED = int(Reason.RAMP), int(Reason.RESERVED)
WATTS = 3
HAIR = 1e-9


@Stage
def rise(
    first: int,
    end: int,
    now_ns: Array,
    hard_max_a: Array,
    step_a: Array,
    ramp_up_a_per_s: Array,
    raise_band_a: Array,
    wish_exempt: Array,
    dt_s: Array,
    off_ns: Array,
    want_ns: Array,
    delay_s: Array,
    floor_q_a: Array,
    last_a: Array,
    ramp_a: Array,
    target_a: Array,
    why: Array,
    why_a: Array,
    why_node: Array,
) -> None:
    """Limit every raise to the ramp, after the random delay."""
    now, dt = now_ns[0], dt_s[0]
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        target, last, step, exempt = target_a[i], last_a[i], step_a[i], wish_exempt[i] == 1
        rate, floor, from_a, wanted = ramp_up_a_per_s[i], floor_q_a[i], ramp_a[i], want_ns[i]
        old, old_a, old_node = why[i], why_a[i], why_node[i]
        at_once = exempt | math.isinf(rate)
        up = target > last
        starts = up & (last == 0.0)
        wanted = 0 if target <= 0.0 else wanted
        wanted = now if starts & (wanted == 0) else wanted
        waits = (off_ns[i] > 0) & ((now - wanted) * 1e-9 < delay_s[i])
        small = (target - last < raise_band_a[i]) & (target < hard_max_a[i] - step)
        small &= up & (not starts) & (not exempt)
        stride = (0.0 if at_once else rate) * dt
        position = min(target, min(max(from_a, last) + stride, last + max(stride, step)))
        stepped = max(floor_to(position, step), last)
        climbs = floor <= 0.0  # without a floor it rises from 0, else it starts there
        begun = 0.0 if waits else target if at_once else stepped if climbs else floor
        new = begun if starts else target if at_once else stepped
        reached = begun if starts & (waits | (not climbs)) else target if at_once else position
        want_ns[i] = wanted
        ramp_a[i] = target if not up else from_a if small else reached
        slow = up & (not small) & (new < target)
        target_a[i] = last if small else new if slow else target
        why[i] = RAMP if slow else old
        why_a[i] = new if slow else old_a
        why_node[i] = -1 if slow else old_node


@kernel
def short_of(i: int, extra: float, m: int, parent: Array, uses: Array, volts_v: Array, free: Array) -> int:
    """Return the first node from the charger upwards that cannot pay `extra` amps; -1 where all can."""
    while m >= 0:
        for c in range(4):
            each = volts_v[i] if c == WATTS else float(uses[i, c])
            if each > 0.0 and free[m, c] - extra * each < -HAIR * (1.0 + abs(free[m, c])):
                return m
        m = parent[m]
    return -1


@kernel
def look_up(parent: Array, node_ready: Array, free: Array, overdrawn: Array, waits: Array) -> None:
    """Note for each node the first one from it upwards that is overdrawn in a column, and whose load is not proven."""
    for m in range(parent.shape[0]):  # parents stand before their children
        up = parent[m]
        waits[m] = m if node_ready[m] == 0 else waits[up] if up >= 0 else -1
        for c in range(4):
            over = free[m, c] < -HAIR * (1.0 + abs(free[m, c]))
            overdrawn[m, c] = m if over else overdrawn[up, c] if up >= 0 else -1


@kernel
def noted(i: int, m: int, uses: Array, volts_v: Array, overdrawn: Array) -> int:
    """Return what `short_of` would for no amps, from the notes of `look_up`: the nearest of those in its columns."""
    short = overdrawn[m, WATTS] if volts_v[i] > 0.0 else -1
    for p in range(3):
        node = overdrawn[m, p]
        short = max(short, node if uses[i, p] == 1 else -1)
    return int(short)


@kernel
def list_asking(
    count: int,
    queue: Array,
    member: Array,
    charger_node: Array,
    tree_place: Array,
    uses: Array,
    ask_from: Array,
    ask_to: Array,
    ask_order: Array,
    ask_of: Array,
    ask_entry_from: Array,
    ask_entry_to: Array,
) -> None:
    """List who of the queue is a member by place, and by column and place, as `tree.list_chargers` does for all."""
    places = ask_to.shape[0]
    for j in range(places):
        ask_to[j] = 0
    for k in range(count):
        i = np.uint32(queue[k])
        ask_to[tree_place[charger_node[i]]] += 1 if member[i] == 2 else 0
    begin = 0
    for j in range(places):
        ask_from[j] = begin
        begin += ask_to[j]
        ask_to[j] = ask_from[j]
    for k in range(count):
        i = np.uint32(queue[k])
        if member[i] == 2:
            j = tree_place[charger_node[i]]
            ask_order[ask_to[j]] = i
            ask_to[j] += 1
    at_a, at_b, at_c = 0, 0, 0
    for j in range(places):
        ask_entry_from[j, 0], ask_entry_from[j, 1], ask_entry_from[j, 2] = at_a, at_b, at_c
        for k in range(np.uint64(ask_from[j]), np.uint64(ask_to[j])):
            i = np.uint32(ask_order[k])
            ask_of[0, at_a], ask_of[1, at_b], ask_of[2, at_c], ask_of[WATTS, k] = i, i, i, i
            at_a += uses[i, 0]  # no branch, as above: what does not use the phase is written over
            at_b += uses[i, 1]
            at_c += uses[i, 2]
        ask_entry_to[j, 0], ask_entry_to[j, 1], ask_entry_to[j, 2] = at_a, at_b, at_c
        ask_entry_from[j, WATTS], ask_entry_to[j, WATTS] = ask_from[j], ask_to[j]


@kernel
def grant_raises(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    volts_v: Array,
    floor_q_a: Array,
    last_a: Array,
    base_a: Array,
    target_a: Array,
    spare_a: Array,
    ask_a: Array,
    grant_a: Array,
    queue: Array,
    member: Array,
    tight_node: Array,
    tight_col: Array,
    load: Array,
    load_hi: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    pay_level: Array,
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    tree_place: Array,
    ask_from: Array,
    ask_to: Array,
    ask_order: Array,
    ask_of: Array,
    ask_entry_from: Array,
    ask_entry_to: Array,
    uses: Array,
    phase_count: Array,
    free: Array,
    node_ready: Array,
    why: Array,
    why_a: Array,
    why_node: Array,
    reserved_a: Array,
) -> None:
    """Grant raises from what no charger holds; who starts needs its whole floor at once.

    After a start of the controller nothing is raised before the obey time has passed and the load of every node above
    is proven (`uncontrolled`): what the one before it sent last is unknown.
    """
    asking, count = 0, 0
    for n in range(target_a.shape[0]):  # without a branch: who asks is at random, and a wrong guess costs more
        member[n] = 0
        queue[asking] = n
        asking += 0 if target_a[n] <= last_a[n] else 1
    look_up(parent, node_ready, free, tight, ask_to)
    fresh = True  # what was noted still holds: nobody has started
    for k in range(np.uint64(asking)):
        i = np.uint32(queue[k])
        held, last, m = reserved_a[i], last_a[i], charger_node[i]
        start = max(floor_q_a[i] - held, 0.0) if last == 0.0 else 0.0
        short = ask_to[m]
        if short < 0:
            short = (
                noted(i, m, uses, volts_v, tight)
                if fresh and start == 0.0
                else short_of(i, start, m, parent, uses, volts_v, free)
            )
        if short >= 0:
            target_a[i], why[i], why_a[i], why_node[i] = last, RESERVED, last, short
            continue
        while m >= 0 and start > 0.0:
            fresh = False
            for p in range(3):
                free[m, p] -= start * uses[i, p]
            free[m, WATTS] -= start * volts_v[i]
            m = parent[m]
        spare_a[i] = held + start
        ask_a[i] = max(target_a[i] - spare_a[i], 0.0)
        grant_a[i] = 0.0
        base_a[i] = 0.0
        member[i] = 2
        count += 1
    if count == 0:
        return
    list_asking(asking, queue, member, charger_node, tree_place, uses, ask_from, ask_to, ask_order, ask_of,
                ask_entry_from, ask_entry_to)  # fmt: skip
    fill(tree_node, tree_up, tree_end, tree_plain, ask_from, ask_to, ask_order, ask_of, ask_entry_from, ask_entry_to,
         uses, phase_count, member, volts_v, weight, base_a, ask_a, free, grant_a, pay_level, load, load_hi, lowest,
         tight, line, grow, tight_node, tight_col)  # fmt: skip
    for k in range(np.uint64(asking)):
        i = np.uint32(queue[k])
        if member[i] == 1:
            target, node = target_a[i], tight_node[i]
            old, old_a, old_node = why[i], why_a[i], why_node[i]
            new = max(floor_to(min(target, spare_a[i] + grant_a[i]), step_a[i]), last_a[i])
            short = new < target - HAIR
            why[i] = RESERVED if short else old
            why_a[i] = new if short else old_a
            why_node[i] = node if short else old_node
            target_a[i] = min(new, target)


@Stage
def pay(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    volts_v: Array,
    floor_q_a: Array,
    last_a: Array,
    base_a: Array,
    target_a: Array,
    spare_a: Array,
    ask_a: Array,
    grant_a: Array,
    queue: Array,
    member: Array,
    tight_node: Array,
    tight_col: Array,
    load: Array,
    load_hi: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    pay_level: Array,
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    tree_place: Array,
    ask_from: Array,
    ask_to: Array,
    ask_order: Array,
    ask_of: Array,
    ask_entry_from: Array,
    ask_entry_to: Array,
    uses: Array,
    phase_count: Array,
    free: Array,
    node_ready: Array,
    why: Array,
    why_a: Array,
    why_node: Array,
    reserved_a: Array,
) -> None:
    """Grant raises from what no charger holds, see `grant_raises`."""
    grant_raises(parent, charger_node, step_a, weight, volts_v, floor_q_a, last_a, base_a, target_a, spare_a, ask_a,
                 grant_a, queue, member, tight_node, tight_col, load, load_hi, lowest, tight, line, grow, pay_level,
                 tree_node, tree_up, tree_end, tree_plain, tree_place, ask_from, ask_to, ask_order, ask_of,
                 ask_entry_from, ask_entry_to, uses, phase_count, free, node_ready, why, why_a, why_node,
                 reserved_a)  # fmt: skip
