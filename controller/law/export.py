"""Export (V2G): the lower bound of every charger, by the same split and payment as import, with all signs turned.

The steps before brought the wished export (`low_a`, 0 or negative) up towards 0. Here amps count from 0. A node's room
is its export limit plus the least uncontrolled load (`uncontrolled`: a household takes up what a car gives); one that
is not believed has no more than when it last was. A charger exports nothing or at least its `export_min_a`; where not
all of these fit, those who export go first, then the place in the rotation. The room is shared weighted max-min
(`fill`) and rounded down to the device's step.

Exports do not make room for imports, nor the other way round: each direction holds without the other.
Break before make holds in this direction too: what was just allowed may still flow for the obey time, so more is only
paid from what nobody holds (`pay.grant_raises`), and nothing more is given before the node's load is proven after a
start. Down at once. A restart adopts the export that a charger reports as a negative limit (`start`).
"""

import math

from controller.law.fill import fill
from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason, Trust
from controller.law.pairs import trim
from controller.law.quantise import COARSE_A, hand_out
from controller.law.share import alone
from controller.law.start import floor_to

BELIEVED = int(Trust.BELIEVED)
WISH, FREQUENCY = int(Reason.WISH), int(Reason.FREQUENCY)
UNTRUSTED, LINK_LOST, FLOOR = int(Reason.UNTRUSTED), int(Reason.LINK_LOST), int(Reason.FLOOR)
UNBALANCE = int(Reason.UNBALANCE)
WATTS = 3
HAIR = 1e-9
REFILLS = 8


@kernel
def add(table: Array, m: int, amps: float, i: int, uses: Array, volts_v: Array) -> None:
    """Add the amps of charger i to its node's row."""
    for p in range(3):
        table[m, p] += amps * uses[i, p]
    table[m, WATTS] += amps * volts_v[i]


@Stage
def candidates(
    now_ns: Array,
    parent: Array,
    node_metered: Array,
    charger_node: Array,
    uses: Array,
    volts_v: Array,
    linked: Array,
    contact_ns: Array,
    failsafe_s: Array,
    obey_s: Array,
    step_a: Array,
    export_min_a: Array,
    no_raise: Array,
    v2g: Array,
    last_min_a: Array,
    low_a: Array,
    low_why: Array,
    give_a: Array,
    gave_a: Array,
    give_cap_a: Array,
    base_a: Array,
    member: Array,
    node_back_cap: Array,
    node_taken: Array,
    back_head_seen: Array,
    load: Array,
    load_hi: Array,
    room: Array,
    free: Array,
    node_trust: Array,
    export_reserved_a: Array,
    allowed_a: Array,
) -> None:
    """Take what each charger may export at most, and the room of every node: `room` to share, `free` to pay from."""
    if v2g[0] == 0:
        return
    load[:] = 0.0
    load_hi[:] = 0.0
    for i in range(low_a.shape[0]):
        amps, code = -low_a[i], int(low_why[i])
        last = -last_min_a[i]
        gave_a[i] = last
        if allowed_a[i] > 0.0:
            amps = 0.0  # it charges
        if amps > last and no_raise[i] == 1:
            amps, code = last, UNTRUSTED
        if linked[i] == 0:
            fallen = (now_ns[0] - contact_ns[i]) * 1e-9 > failsafe_s[i] + obey_s[i]
            amps, code = 0.0 if fallen else min(amps, last), LINK_LOST
            amps = alone(i, amps, parent, charger_node, uses, volts_v, node_back_cap)
            add(load, charger_node[i], export_reserved_a[i], i, uses, volts_v)
        add(load_hi, charger_node[i], export_reserved_a[i], i, uses, volts_v)
        least = -floor_to(-export_min_a[i] + 2e-9 * step_a[i], step_a[i])
        amps = floor_to(amps, step_a[i])
        if 0.0 < amps < least:
            amps, code = 0.0, FLOOR
        give_a[i] = amps if linked[i] == 0 else 0.0
        give_cap_a[i] = amps
        base_a[i] = least
        low_why[i] = code
        member[i] = 1 if linked[i] == 1 and amps > 0.0 else 0
    for m in range(parent.shape[0] - 1, -1, -1):
        for c in range(4):
            if parent[m] >= 0:
                load[parent[m], c] += load[m, c]
                load_hi[parent[m], c] += load_hi[m, c]
            head = node_back_cap[m, c] + node_taken[m, c]
            head = 0.0 if math.isnan(head) else head
            if node_metered[m] == 1:
                if node_trust[m] == BELIEVED:
                    back_head_seen[m, c] = head
                else:
                    head = min(head, back_head_seen[m, c])
            room[m, c] = head - load[m, c]
            free[m, c] = head - load_hi[m, c]


@kernel
def full(i: int, m: int, parent: Array, uses: Array, volts_v: Array, base_a: Array, load: Array, room: Array) -> int:
    """Return the first node from the charger upwards that has no room for its least export; -1 where all have."""
    while m >= 0:
        for c in range(4):
            need = base_a[i] * (volts_v[i] if c == WATTS else float(uses[i, c]))
            if need > 0.0 and load[m, c] + need > room[m, c] + HAIR * (1.0 + abs(room[m, c])):
                return m
        m = parent[m]
    return -1


@Stage
def admit(
    parent: Array,
    charger_node: Array,
    uses: Array,
    volts_v: Array,
    rank: Array,
    v2g: Array,
    gave_a: Array,
    give_a: Array,
    base_a: Array,
    member: Array,
    queue: Array,
    load: Array,
    room: Array,
    low_why: Array,
) -> None:
    """Leave out those whose least export does not fit: who exports goes first, then the place in the rotation."""
    if v2g[0] == 0:
        return
    chargers = member.shape[0]
    load[:] = 0.0
    for i in range(chargers):
        queue[rank[i]] = i
    for turn in range(2):
        for k in range(chargers):
            i = queue[k]
            if member[i] == 0 or (gave_a[i] > 0.0) != (turn == 0):
                continue
            m = charger_node[i]
            if full(i, m, parent, uses, volts_v, base_a, load, room) >= 0:
                member[i] = 0
                low_why[i] = FLOOR
                continue
            give_a[i] = base_a[i]
            while m >= 0:
                add(load, m, base_a[i], i, uses, volts_v)
                m = parent[m]


@Stage
def share(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    priority: Array,
    volts_v: Array,
    v2g: Array,
    gave_a: Array,
    give_a: Array,
    give_cap_a: Array,
    base_a: Array,
    member: Array,
    low_why: Array,
    low_why_a: Array,
    low_node: Array,
    node_back_why: Array,
    tight_node: Array,
    tight_col: Array,
    room: Array,
    load: Array,
    load_hi: Array,
    lowest: Array,
    tight: Array,
    line: Array,
    grow: Array,
    back_level: Array,
    tree_node: Array,
    tree_up: Array,
    tree_end: Array,
    tree_plain: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    uses: Array,
    phase_count: Array,
    spare_a: Array,
    tree_place: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_node: Array,
    pair_a: Array,
) -> None:
    """Split the room weighted max-min among those who may export, keep the phases alike, round down to the step."""
    if v2g[0] == 0:
        return
    chargers = member.shape[0]
    for i in range(chargers):
        low_node[i], pair_node[i] = -1, -1
        low_why_a[i] = give_cap_a[i]
    for _ in range(REFILLS):
        for i in range(chargers):
            member[i] = 2 if member[i] == 1 else 0
        fill(tree_node, tree_up, tree_end, tree_plain, entry_of, entry_from, entry_to, uses,
             phase_count, member, volts_v, weight, base_a, give_cap_a, room, give_a, back_level, load, load_hi, lowest,
             tight, line, grow, tight_node, tight_col)  # fmt: skip
        if pair_on[0] == 0 or not trim(parent, charger_node, weight, priority, member, base_a, give_cap_a, give_a,
                                       tree_place, tree_end, own_from, own_to, order, pair_uses, pair_lift_a,
                                       pair_gap_a, pair_node, pair_a):  # fmt: skip
            break
    left = 0
    for i in range(chargers):
        spare_a[i] = 0.0
        if member[i] == 0:
            continue
        if pair_node[i] >= 0 and give_a[i] >= give_cap_a[i] - HAIR:
            low_why[i], low_why_a[i], low_node[i] = UNBALANCE, give_a[i], pair_node[i]
        elif give_a[i] < give_cap_a[i] - HAIR and tight_node[i] >= 0:
            low_why[i], low_why_a[i] = node_back_why[tight_node[i], tight_col[i]], give_a[i]
            low_node[i] = tight_node[i]
        rounded = floor_to(give_a[i], step_a[i])
        if step_a[i] >= COARSE_A and give_a[i] - rounded > HAIR:
            spare_a[i] = step_a[i]
            left += 1
        give_a[i] = rounded
    if left > 0:
        hand_out(parent, charger_node, step_a, uses, volts_v, gave_a, give_a, spare_a, member, room, load, pair_on,
                 pair_uses, pair_lift_a, pair_gap_a, pair_a)  # fmt: skip


@Stage
def publish(
    now_ns: Array,
    v2g: Array,
    last_min_a: Array,
    back_fell_ns: Array,
    gave_a: Array,
    give_a: Array,
    low_why: Array,
    allowed_min_a: Array,
    export_reason: Array,
) -> None:
    """Publish the lower bounds and their reasons."""
    if v2g[0] == 0:
        return
    for i in range(give_a.shape[0]):
        amps = give_a[i]
        if amps < gave_a[i]:
            back_fell_ns[i] = now_ns[0]
        allowed_min_a[i] = -amps if amps > 0.0 else 0.0
        export_reason[i] = low_why[i]
        last_min_a[i] = allowed_min_a[i]


@Stage
def settle(
    first: int,
    end: int,
    wish_exempt: Array,
    off_ns: Array,
    v2g: Array,
    last_min_a: Array,
    reason: Array,
    allowed_a: Array,
) -> None:
    """Take no pause for one where the charger exports, or where the wish of an exempt service was the reason."""
    excused = 0
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        excused |= 1 if (allowed_a[i] <= 0.0) & (wish_exempt[i] == 1) else 0
    for i in range(first, end if v2g[0] == 1 else first):
        excused |= 1 if (allowed_a[i] <= 0.0) & (last_min_a[i] < 0.0) else 0
    for i in range(first, end if excused == 1 else first):
        if allowed_a[i] <= 0.0 and (
            last_min_a[i] < 0.0 or (wish_exempt[i] == 1 and (reason[i] == WISH or reason[i] == FREQUENCY))
        ):
            off_ns[i] = 0
