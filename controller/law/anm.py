"""Step 6, groups: share a capacity among connections that are no branch of the tree, or by a rule of their own.

A group is some nodes, none below another, and a limit on the sum of what is drawn (given) there: a cluster of stations
of several connections under one contract, or active network management (ANM) behind one constraint. What the group may
have is cut into a share a member, after the tree's room is known and before anybody is admitted; the tree then keeps
each share like any other limit of a node.

* cluster: max-min among the members; whose share does not reach a charger's floor takes turns, clock-aligned
* last in, first out: the member with the highest place in the stack is curtailed first, its firm part last of all
* pro rata: all the same share of what they could use beyond their firm part

A share that is too small to charge with goes on to the next. The sum is kept while shares move: what a member still
holds (break before make, `reserve`) is out of what others are paid from, so that sum of max(share paid, held) never
rises over the limit. Needs no meter at the constraint; with `group_node` the room of that node bounds the group too.
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Group, Reason

GROUP = int(Reason.GROUP)
CLUSTER, LIFO, PRO_RATA = int(Group.CLUSTER), int(Group.LIFO), int(Group.PRO_RATA)
WATTS = 3
HAIR = 1e-9


@kernel
def list_members(group_of: Array, parent: Array, group_member: Array) -> int:
    """Write for every node the member of a group at or above it, -1 none; return how many members there are."""
    highest = -1
    for m in range(parent.shape[0]):  # most sites have no group
        highest = max(highest, group_of[m])
    if highest < 0:
        return 0
    count = 0
    for m in range(parent.shape[0]):
        group_member[m] = group_member[parent[m]] if parent[m] >= 0 else -1
        if group_of[m] >= 0:
            group_member[m] = m
            count += 1
    return count


@kernel
def in_line(g: int, rule: int, turn: int, group_of: Array, anm_stack: Array, group_line: Array) -> int:
    """List the members of group g in the order of service: by the stack, or in turns; return how many."""
    count = 0
    for m in range(group_of.shape[0]):
        if group_of[m] != g:
            continue
        k = count
        while rule == LIFO and k > 0 and anm_stack[group_line[k - 1]] > anm_stack[m]:
            group_line[k] = group_line[k - 1]
            k -= 1
        group_line[k] = m
        count += 1
    if rule != LIFO and count > 1:
        reverse(0, turn % count, group_line)  # three reversals turn the line
        reverse(turn % count, count, group_line)
        reverse(0, count, group_line)
    return count


@kernel
def reverse(first: int, end: int, line: Array) -> None:
    """Reverse a part of a line in place."""
    for k in range((end - first) // 2):
        line[first + k], line[end - 1 - k] = line[end - 1 - k], line[first + k]


@kernel
def share_out(
    rule: int, count: int, left_w: float, firm_w: Array, line: Array, want_w: Array, floor_w: Array, share_w: Array
) -> None:
    """Share `left_w` among the first `count` members in line; a share is 0 or reaches the member's floor."""
    begin_w = left_w
    for k in range(count):
        m = line[k]
        share_w[m] = 0.0
        if rule != CLUSTER:
            share_w[m] = min(want_w[m], firm_w[m], left_w)
            left_w -= share_w[m]
    if rule == PRO_RATA:
        asked_w = 0.0
        for k in range(count):
            asked_w += want_w[line[k]] - share_w[line[k]]
        part = min(left_w / asked_w, 1.0) if asked_w > 0.0 else 0.0
        for k in range(count):
            share_w[line[k]] += part * (want_w[line[k]] - share_w[line[k]])
    if rule == LIFO:
        for k in range(count):
            m = line[k]
            more_w = min(want_w[m] - share_w[m], left_w)
            share_w[m] += more_w
            left_w -= more_w
    left_w = begin_w
    for k in range(count):
        m = line[k]
        if share_w[m] < floor_w[m]:
            share_w[m] = 0.0
        left_w -= share_w[m]
    for k in range(count):  # floors in line, as far as what is left goes
        m = line[k]
        if share_w[m] == 0.0 and want_w[m] >= floor_w[m] > 0.0 and floor_w[m] <= left_w * (1.0 + HAIR):
            share_w[m] = floor_w[m]
            left_w -= floor_w[m]
    if rule == CLUSTER:
        level(count, left_w, line, want_w, share_w)
        return
    for k in range(count):
        m = line[k]
        if share_w[m] > 0.0:
            more_w = max(min(want_w[m] - share_w[m], left_w), 0.0)
            share_w[m] += more_w
            left_w -= more_w


@kernel
def level(count: int, left_w: float, line: Array, want_w: Array, share_w: Array) -> None:
    """Raise the lowest shares of who is served to one level, none over what it wants (max-min)."""
    low_w, high_w, held_w = 0.0, 0.0, 0.0
    for k in range(count):
        if share_w[line[k]] > 0.0:
            high_w = max(high_w, want_w[line[k]])
            held_w += share_w[line[k]]
    for _ in range(60):  # halvings: to the last bit of a watt
        middle_w = 0.5 * (low_w + high_w)
        sum_w = 0.0
        for k in range(count):
            m = line[k]
            if share_w[m] > 0.0:
                sum_w += max(share_w[m], min(want_w[m], middle_w))
        if sum_w <= held_w + left_w:
            low_w = middle_w
        else:
            high_w = middle_w
    for k in range(count):
        m = line[k]
        if share_w[m] > 0.0:
            share_w[m] = max(share_w[m], min(want_w[m], low_w))


@kernel
def bind_group(
    count: int,
    left_w: float,
    line: Array,
    want_w: Array,
    floor_w: Array,
    held_w: Array,
    share_w: Array,
    room: Array,
    free: Array,
    cap_why: Array,
) -> None:
    """Lower the room of the members to their shares, and pay raises from what no member holds of the limit."""
    for k in range(count):
        left_w -= held_w[line[k]]
    for k in range(count):
        m = line[k]
        if share_w[m] < want_w[m] and share_w[m] < room[m, WATTS]:
            cap_why[m, WATTS] = GROUP
        room[m, WATTS] = min(room[m, WATTS], share_w[m])
        paid_w = share_w[m] - held_w[m]
        if paid_w > 0.0:
            paid_w = max(min(paid_w, left_w), 0.0)
            if held_w[m] == 0.0 and paid_w < floor_w[m] * (1.0 - HAIR):
                paid_w = 0.0
            left_w -= paid_w
        free[m, WATTS] = min(free[m, WATTS], paid_w)


@Stage
def share_import(
    utc_ns: Array,
    group_w: Array,
    rotation_s: Array,
    parent: Array,
    charger_node: Array,
    group_of: Array,
    group_rule: Array,
    group_limit_w: Array,
    group_node: Array,
    group_whole: Array,
    anm_stack: Array,
    anm_firm_w: Array,
    u_nom_v: Array,
    volts_v: Array,
    linked: Array,
    taken_a: Array,
    switch_phases: Array,
    phase_count: Array,
    floor_q_a: Array,
    cap_a: Array,
    node_cap_why: Array,
    group_member: Array,
    group_line: Array,
    group_want_w: Array,
    group_floor_w: Array,
    group_held_w: Array,
    group_lost_w: Array,
    group_share_w: Array,
    room: Array,
    free: Array,
    reserved_a: Array,
    node_other_a: Array,
) -> None:
    """Cut every group's import limit into shares of its members."""
    if list_members(group_of, parent, group_member) == 0:
        return
    for m in range(parent.shape[0]):
        group_want_w[m], group_floor_w[m], group_held_w[m], group_lost_w[m] = 0.0, math.inf, 0.0, 0.0
        group_share_w[m] = math.inf
    for i in range(charger_node.shape[0]):
        m = group_member[charger_node[i]]
        if m < 0:
            continue
        if linked[i] == 0:
            group_lost_w[m] += reserved_a[i] * volts_v[i]
            continue
        group_lost_w[m] += taken_a[i] * volts_v[i]
        group_held_w[m] += (reserved_a[i] - taken_a[i]) * volts_v[i]
        if cap_a[i] >= floor_q_a[i] and cap_a[i] > 0.0:
            group_want_w[m] += cap_a[i] * volts_v[i]
            floor_w = floor_q_a[i] * volts_v[i]
            if switch_phases[i] == 1 and phase_count[i] > 1:
                floor_w /= float(phase_count[i])  # it can go to one phase, see `phases`
            group_floor_w[m] = min(group_floor_w[m], floor_w)
    turn = int(utc_ns[0] // max(int(rotation_s[0] * 1e9), 1))
    for g in range(parent.shape[0]):
        count = in_line(g, int(group_rule[g]), turn, group_of, anm_stack, group_line)
        if count == 0:
            continue
        left_w = group_limit_w[g]
        if not group_w[g] >= left_w:  # NaN, which nobody says, allows nothing
            left_w = group_w[g] if group_w[g] > 0.0 else 0.0
        for k in range(count):
            m = group_line[k]
            group_want_w[m] = min(group_want_w[m], max(room[m, WATTS], 0.0))
            left_w -= group_lost_w[m]
            if group_whole[g] == 1:  # the limit is on whole connections: what else they draw, at high volts
                for p in range(3):
                    left_w -= node_other_a[m, p] * (1.1 if node_other_a[m, p] > 0.0 else 0.9) * u_nom_v[0]
        if group_node[g] >= 0:
            left_w = min(left_w, room[group_node[g], WATTS])
        if left_w == math.inf:
            continue
        left_w = max(left_w, 0.0)
        share_out(int(group_rule[g]), count, left_w, anm_firm_w, group_line, group_want_w, group_floor_w,
                  group_share_w)  # fmt: skip
        bind_group(count, left_w, group_line, group_want_w, group_floor_w, group_held_w, group_share_w, room, free,
                   node_cap_why)  # fmt: skip


@Stage
def share_export(
    utc_ns: Array,
    rotation_s: Array,
    parent: Array,
    charger_node: Array,
    group_of: Array,
    group_rule: Array,
    group_export_w: Array,
    group_node: Array,
    group_whole: Array,
    anm_stack: Array,
    anm_firm_w: Array,
    volts_v: Array,
    linked: Array,
    v2g: Array,
    give_cap_a: Array,
    base_a: Array,
    node_back_why: Array,
    node_taken: Array,
    group_member: Array,
    group_line: Array,
    group_want_w: Array,
    group_floor_w: Array,
    group_held_w: Array,
    group_lost_w: Array,
    group_share_w: Array,
    room: Array,
    free: Array,
    export_reserved_a: Array,
) -> None:
    """Cut every group's export limit into shares of its members, with the same rules."""
    if v2g[0] == 0 or list_members(group_of, parent, group_member) == 0:
        return
    for m in range(parent.shape[0]):
        group_want_w[m], group_floor_w[m], group_held_w[m], group_lost_w[m] = 0.0, math.inf, 0.0, 0.0
        group_share_w[m] = math.inf
    for i in range(charger_node.shape[0]):
        m = group_member[charger_node[i]]
        if m < 0:
            continue
        if linked[i] == 0:
            group_lost_w[m] += export_reserved_a[i] * volts_v[i]
            continue
        group_held_w[m] += export_reserved_a[i] * volts_v[i]
        if give_cap_a[i] > 0.0:
            group_want_w[m] += give_cap_a[i] * volts_v[i]
            group_floor_w[m] = min(group_floor_w[m], max(base_a[i] * volts_v[i], 1.0))
    turn = int(utc_ns[0] // max(int(rotation_s[0] * 1e9), 1))
    for g in range(parent.shape[0]):
        count = in_line(g, int(group_rule[g]), turn, group_of, anm_stack, group_line)
        if count == 0:
            continue
        left_w = group_export_w[g]
        for k in range(count):
            m = group_line[k]
            group_want_w[m] = min(group_want_w[m], max(room[m, WATTS], 0.0))
            left_w -= group_lost_w[m]
            if group_whole[g] == 1:
                left_w += node_taken[m, WATTS]
        if group_node[g] >= 0:
            left_w = min(left_w, room[group_node[g], WATTS])
        if left_w == math.inf:
            continue
        left_w = max(left_w, 0.0)
        share_out(int(group_rule[g]), count, left_w, anm_firm_w, group_line, group_want_w, group_floor_w,
                  group_share_w)  # fmt: skip
        bind_group(count, left_w, group_line, group_want_w, group_floor_w, group_held_w, group_share_w, room, free,
                   node_back_why)  # fmt: skip
