"""Step 7, admit: who runs at all. A charger gets nothing or at least its floor (6 A; 9.2 A for some cars).

Where the floors of all candidates fit, all run. Otherwise they are admitted in this order, each if its floor still
fits at every node and phase above it: cars that must not be paused, guaranteed energy, priority class, grace after
plug-in and minimum on-time, least laxity, place in the rotation. The rotation moves those who wait to the front at
clock-aligned times, so nobody waits longer than the slots that the others need. Node limits and orders are in `room`
and beat every comfort rule. Source: facts E1-E3; with equal floors on a tree the greedy choice is optimal (laminar
matroid), with mixed one- and three-phase cars it is a heuristic.
"""

import numpy as np

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason
from controller.law.pairs import add, excess, sum_pairs, unbalanced_at
from controller.law.phases import one_fits, one_floor
from controller.law.start import floor_to

HEADROOM, ADMIT, FLOOR = int(Reason.HEADROOM), int(Reason.ADMIT), int(Reason.FLOOR)
UNTRUSTED, LINK_LOST, DWELL = int(Reason.UNTRUSTED), int(Reason.LINK_LOST), int(Reason.DWELL)
OVERRULED = int(Reason.OVERRULED)
WISH, QUANTISE, UNBALANCE = int(Reason.WISH), int(Reason.QUANTISE), int(Reason.UNBALANCE)
NO_LAXITY = 1e15
COMFORT = -1e15
WATTS = 3
HAIR = 1e-9


@kernel
def before(i: int, j: int, key: Array, rank: Array) -> bool:
    """Say whether charger i is admitted before charger j; the rank is unique, so the order is total."""
    for k in range(3):
        if key[i, k] != key[j, k]:
            return key[i, k] < key[j, k]
    return rank[i] < rank[j]


@kernel
def sort(queue: Array, count: int, key: Array, rank: Array) -> None:
    """Sort the first `count` chargers of the queue in place (heap sort: no allocation, no worst case)."""
    for end in range(count + count // 2 - 1, 0, -1):
        top = end - count
        size = count
        if top < 0:  # the heap stands: take its last off
            queue[0], queue[end] = queue[end], queue[0]
            top, size = 0, end
        while True:
            child = 2 * top + 1
            if child >= size:
                break
            if child + 1 < size and before(queue[child], queue[child + 1], key, rank):
                child += 1
            if not before(queue[top], queue[child], key, rank):
                break
            queue[top], queue[child] = queue[child], queue[top]
            top = child


@Stage
def candidates(
    first: int,
    end: int,
    now_ns: Array,
    step_a: Array,
    no_pause: Array,
    min_off_s: Array,
    failsafe_a: Array,
    failsafe_s: Array,
    obey_s: Array,
    linked: Array,
    contact_ns: Array,
    over_a: Array,
    off_ns: Array,
    last_a: Array,
    no_raise: Array,
    floor_q_a: Array,
    base_a: Array,
    member: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    reserved_a: Array,
) -> None:
    """Apply what forbids a raise, round the cap to the device's step, and take out who cannot run."""
    now, any_lost = now_ns[0], 0
    for i in range(first, end):
        any_lost |= 1 if linked[i] == 0 else 0
    if any_lost == 1:
        fall_back(first, end, now, failsafe_a, failsafe_s, obey_s, linked, contact_ns, over_a, last_a, no_raise, cap_a,
                  reason, reason_a, reason_node, reserved_a)  # fmt: skip
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        last, floor, cap, code = last_a[i], floor_q_a[i], cap_a[i], int(reason[i])
        overruled, lost = over_a[i] > 0.0, linked[i] == 0
        capped = ((no_raise[i] == 1) | overruled) & (last < cap) & (not lost)
        limit = last if capped else cap
        off_s = (now - off_ns[i]) * 1e-9
        rests = (last == 0.0) & (off_ns[i] > 0) & (no_pause[i] == 0) & (limit >= floor)
        rests &= (off_s >= 0.0) & (off_s < min_off_s[0]) & (not lost)
        limit = 0.0 if rests else limit
        kept = OVERRULED if overruled else UNTRUSTED
        new = DWELL if rests else kept if capped else code
        changed = new != code
        cap = limit if changed else cap
        old_a, old_node = reason_a[i], reason_node[i]
        reason_a[i] = limit if changed else old_a
        reason_node[i] = -1 if changed else old_node
        rounded = floor_to(cap, step_a[i])
        reason[i] = QUANTISE if (rounded < cap) & (new == WISH) else new
        out = (rounded < floor) | (rounded <= 0.0)
        cap_a[i] = 0.0 if out else rounded
        member[i] = 0 if out | lost else 1
        base_a[i] = 0.0 if out | lost else floor


@kernel
def fall_back(
    first: int,
    end: int,
    now: int,
    failsafe_a: Array,
    failsafe_s: Array,
    obey_s: Array,
    linked: Array,
    contact_ns: Array,
    over_a: Array,
    last_a: Array,
    no_raise: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    reserved_a: Array,
) -> None:
    """Hold those out of reach to what they had, and to their fail-safe once they must have fallen to it."""
    for i in range(first, end):
        if linked[i] == 1:
            continue
        capped = (no_raise[i] == 1 or over_a[i] > 0.0) and last_a[i] < cap_a[i]
        limit = last_a[i] if capped else cap_a[i]
        if (now - contact_ns[i]) * 1e-9 > failsafe_s[i] + obey_s[i]:
            limit = min(limit, failsafe_a[i])
        if reason[i] != LINK_LOST:
            cap_a[i], reason[i], reason_a[i], reason_node[i] = limit, LINK_LOST, reserved_a[i], -1


@Stage
def rotate(
    utc_ns: Array, rotation_s: Array, rotation_no: Array, rank: Array, waiting: Array, last_a: Array, queue: Array
) -> None:
    """Move those who wait to the front when a new clock-aligned slot begins."""
    number = utc_ns[0] // max(int(rotation_s[0] * 1e9), 1)
    if number == rotation_no[0]:
        return
    first = rotation_no[0] == -1
    rotation_no[0] = number
    count = rank.shape[0]
    for i in range(count):
        queue[rank[i]] = i
    place = 0
    for front in range(1, -1, -1):
        for r in range(count):
            i = queue[r]
            ahead = last_a[i] > 0.0 if first else waiting[i] == 1
            if ahead == (front == 1):
                rank[i] = place
                place += 1


@Stage
def admit(
    now_ns: Array,
    utc_ns: Array,
    departure_s: Array,
    need_wh: Array,
    parent: Array,
    charger_node: Array,
    priority: Array,
    no_pause: Array,
    rotation_s: Array,
    min_on_s: Array,
    grace_s: Array,
    uses: Array,
    volts_v: Array,
    session_ns: Array,
    on_ns: Array,
    last_a: Array,
    rank: Array,
    waiting: Array,
    base_a: Array,
    member: Array,
    queue: Array,
    key: Array,
    node_cap_why: Array,
    room: Array,
    load: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
    phase_map: Array,
    floor_a: Array,
    step_a: Array,
    switch_floor_a: Array,
    phase_count: Array,
    tree_place: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    one_ready: Array,
    one_asked: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    admitted: Array,
) -> None:
    """Admit every candidate whose floor fits, in the order of the module's text where not all do."""
    for i in range(cap_a.shape[0]):
        admitted[i], waiting[i] = member[i], 0
    for m in range(parent.shape[0]):
        j = tree_place[m]
        on_a, on_b, on_c, watts = 0.0, 0.0, 0.0, 0.0
        for k in range(np.uint64(own_from[j]), np.uint64(own_to[j])):
            n = np.uint32(order[k])  # saves the compiler's test for an index from the end
            floor = base_a[n]  # 0 of who is none
            on_a += floor * uses[n, 0]
            on_b += floor * uses[n, 1]
            on_c += floor * uses[n, 2]
            watts += floor * volts_v[n]
        load[m, 0], load[m, 1], load[m, 2], load[m, WATTS] = on_a, on_b, on_c, watts
    if fit(parent, charger_node, base_a, member, room, load, pair_on, pair_uses, pair_lift_a, pair_gap_a, pair_a):
        return
    count = 0
    for i in range(cap_a.shape[0]):
        if member[i] == 1:
            queue[count] = i
            count += 1
    for k in range(count):
        i = queue[k]
        running = last_a[i] > 0.0
        kept = no_pause[i] == 1 and running
        key[i, 0] = (0.0 if kept else 2.0) + (0.0 if need_wh[i] > 0.0 else 1.0)
        key[i, 1] = -float(priority[i])
        key[i, 2] = NO_LAXITY
        slack_s = departure_s[i] - utc_ns[0] * 1e-9 - need_wh[i] * 3600.0 / (cap_a[i] * volts_v[i])
        hurry = need_wh[i] > 0.0 and slack_s < 2.0 * rotation_s[0]  # false on NaN; who needs nothing is in no hurry
        if hurry:
            key[i, 2] = max(slack_s, COMFORT)
        grace = session_ns[i] > 0 and (now_ns[0] - session_ns[i]) * 1e-9 < grace_s[0]
        dwell = running and on_ns[i] > 0 and (now_ns[0] - on_ns[i]) * 1e-9 < min_on_s[0]
        if grace or dwell:
            key[i, 2] = COMFORT
    sort(queue, count, key, rank)
    load[:] = 0.0
    pair_a[:] = 0.0
    grown = True
    while grown:  # who is on a phase too high waits until somebody on another one is admitted
        grown = False
        for k in range(count):
            i = queue[k]
            if i < 0:
                continue
            m = charger_node[i]
            short, code = shortage(i, parent, charger_node, base_a, volts_v, uses, node_cap_why, room, load)
            if short < 0 and pair_on[0] == 1:
                short, code = unbalanced_at(i, base_a[i], m, parent, pair_uses, pair_a, pair_gap_a), UNBALANCE
            if short >= 0:
                reason[i], reason_a[i], reason_node[i] = code, base_a[i], short
                if one_ready[i] == 1 and one_asked[i] == 0 and code != UNBALANCE:
                    one_a = one_floor(i, floor_a, switch_floor_a, step_a)
                    fits = one_fits(i, parent, charger_node, phase_map, phase_count, volts_v, one_a, room, load,
                                    pair_on, pair_gap_a, pair_a)  # fmt: skip
                    one_asked[i] = 1 if fits else 0
                queue[k] = i if code == UNBALANCE else -1 - i
                continue
            queue[k] = -1 - i
            member[i] = 2  # for now
            if pair_on[0] == 1:
                add(m, i, base_a[i], min(base_a[i], pair_lift_a[i]), parent, pair_uses, pair_a)
                grown = True
            while m >= 0:
                for p in range(3):
                    load[m, p] += base_a[i] * uses[i, p]
                load[m, WATTS] += base_a[i] * volts_v[i]
                m = parent[m]
    for k in range(count):
        i = queue[k] if queue[k] >= 0 else -1 - queue[k]
        admitted[i] = member[i] // 2
        member[i] = admitted[i]
        if admitted[i] == 0:
            waiting[i] = 1
            cap_a[i] = 0.0
            base_a[i] = 0.0


@kernel
def fit(
    parent: Array,
    charger_node: Array,
    base_a: Array,
    member: Array,
    room: Array,
    load: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
) -> bool:
    """Sum the floors in `load` (M, 4) up the tree; say whether all fit, and leave the phases alike enough."""
    fits = True
    for m in range(parent.shape[0] - 1, -1, -1):
        for c in range(4):
            if load[m, c] > 0.0 and load[m, c] > room[m, c] + HAIR * (1.0 + abs(room[m, c])):
                fits = False
            if parent[m] >= 0:
                load[parent[m], c] += load[m, c]
    if fits and pair_on[0] == 1:
        sum_pairs(parent, charger_node, member, pair_uses, pair_lift_a, base_a, base_a, pair_a)
        for m in range(parent.shape[0]):
            for p in range(3):
                for q in range(3):
                    fits = fits and excess(m, p, q, pair_a, pair_gap_a) == 0.0
    return fits


@kernel
def shortage(
    i: int,
    parent: Array,
    charger_node: Array,
    base_a: Array,
    volts_v: Array,
    uses: Array,
    node_cap_why: Array,
    room: Array,
    load: Array,
) -> tuple[int, int]:
    """Return the last node up to the root at which the floor of charger i does not fit, -1 none, and the reason."""
    short, code, m = -1, ADMIT, charger_node[i]
    while m >= 0:
        for c in range(4):
            need = base_a[i] * (volts_v[i] if c == WATTS else float(uses[i, c]))
            limit = room[m, c] + HAIR * (1.0 + abs(room[m, c]))
            if need > 0.0 and load[m, c] + need > limit:
                short = m
                if need > limit:
                    code = int(node_cap_why[m, c]) if node_cap_why[m, c] != HEADROOM else FLOOR
        m = parent[m]
    return short, code
