"""Step 11, ramp, for exports: less at once; more slowly, only from what nobody holds, and with the phases alike.

The page is that of `ramp` and `balance` with all signs turned: an export rises by `ramp_up_a_per_s`, a rise under
`raise_band_a` is skipped, and one that begins starts at its least. It waits for no random delay: there is no pause
that it follows.

At a node with `node_unbalance_a` exports on q and not on p leave p higher, as imports on p and not on q do. Whoever
holds comes first: imports get what the exports of the last scan leave, exports then what the imports of this one leave
over. Neither counts on the other one to make room for it.
"""

import math

from controller.law.balance import given, settle
from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason
from controller.law.pairs import add, sum_pairs
from controller.law.pay import grant_raises
from controller.law.start import floor_to

RAMP = int(Reason.RAMP)

settle_pairs = kernel(settle.function)


@Stage
def gaps(
    parent: Array,
    node_unbalance_a: Array,
    charger_node: Array,
    seen_a: Array,
    linked: Array,
    charger_trust: Array,
    v2g: Array,
    node_other_a: Array,
    allowed_a: Array,
    spare_a: Array,
    member: Array,
    reserved_a: Array,
    export_reserved_a: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
) -> None:
    """Find for every node and pair of phases what exports may take from the first and not from the second."""
    if v2g[0] == 0 or pair_on[0] == 0:
        return
    for i in range(allowed_a.shape[0]):
        spare_a[i] = max(allowed_a[i], reserved_a[i])
        member[i] = 1
    sum_pairs(parent, charger_node, member, pair_uses, pair_lift_a, spare_a, allowed_a, pair_a)
    pair_gap_a[:] = 0.0
    for i in range(allowed_a.shape[0]):
        pair_lift_a[i] = given(i, linked, charger_trust, seen_a, pair_uses)
        if linked[i] == 0:
            add(charger_node[i], i, export_reserved_a[i], 0.0, parent, pair_uses, pair_gap_a)
    for m in range(parent.shape[0]):
        for p in range(3):
            for q in range(3):
                other_a = node_other_a[m, q] - node_other_a[m, p]
                gap = node_unbalance_a[m] - other_a - max(pair_gap_a[m, p, q], 0.0) - max(pair_a[m, q, p], 0.0)
                pair_gap_a[m, p, q] = gap if gap > 0.0 else 0.0  # NaN is none


@Stage
def rise(
    export_max_a: Array,
    step_a: Array,
    ramp_up_a_per_s: Array,
    raise_band_a: Array,
    wish_exempt: Array,
    v2g: Array,
    dt_s: Array,
    gave_a: Array,
    give_a: Array,
    base_a: Array,
    back_ramp_a: Array,
    low_why: Array,
    low_why_a: Array,
    low_node: Array,
) -> None:
    """Limit every rise of an export to the ramp."""
    if v2g[0] == 0:
        return
    for i in range(give_a.shape[0]):
        target, last, step, exempt = give_a[i], gave_a[i], step_a[i], wish_exempt[i] == 1
        if target <= last or exempt:
            back_ramp_a[i] = target
            continue
        if last > 0.0 and target - last < raise_band_a[i] and target < export_max_a[i] - step:
            give_a[i] = last
            continue
        if math.isinf(ramp_up_a_per_s[i]):
            back_ramp_a[i] = target
            continue
        stride = ramp_up_a_per_s[i] * dt_s[0]
        position = min(target, min(max(back_ramp_a[i], last) + stride, last + max(stride, step)))
        new = min(target, max(floor_to(position, step), max(last, base_a[i])))
        back_ramp_a[i] = max(position, new)
        if new < target:
            give_a[i] = new
            low_why[i], low_why_a[i], low_node[i] = RAMP, new, -1


@Stage
def grant(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    volts_v: Array,
    v2g: Array,
    gave_a: Array,
    give_a: Array,
    give_cap_a: Array,
    base_a: Array,
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
    back_pay_level: Array,
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
    ask_weight: Array,
    ask_volts: Array,
    ask_count: Array,
    ask_uses: Array,
    uses: Array,
    phase_count: Array,
    free: Array,
    node_ready: Array,
    low_why: Array,
    low_why_a: Array,
    low_node: Array,
    export_reserved_a: Array,
) -> None:
    """Pay what goes beyond the last scan from what nobody holds."""
    if v2g[0] == 0:
        return
    for i in range(give_a.shape[0]):
        give_cap_a[i] = base_a[i]  # `grant_raises` takes the least export as the floor, and the base as scratch
    grant_raises(parent, charger_node, step_a, weight, volts_v, give_cap_a, gave_a, base_a, give_a, spare_a, ask_a,
                 grant_a, queue, member, tight_node, tight_col, load, load_hi, lowest, tight, line, grow,
                 back_pay_level, tree_node, tree_up, tree_end, tree_plain, tree_place, ask_from, ask_to, ask_order,
                 ask_of, ask_entry_from, ask_entry_to, ask_weight, ask_volts, ask_count, ask_uses, uses, phase_count,
                 free, node_ready, low_why, low_why_a, low_node, export_reserved_a)  # fmt: skip


@Stage
def balance(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    weight: Array,
    priority: Array,
    no_pause: Array,
    v2g: Array,
    gave_a: Array,
    give_a: Array,
    give_cap_a: Array,
    base_a: Array,
    spare_a: Array,
    linked: Array,
    rank: Array,
    tree_place: Array,
    tree_end: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
    low_why: Array,
    low_why_a: Array,
    low_node: Array,
    export_reserved_a: Array,
) -> None:
    """Keep the balance after rounding, brake and ramp as `balance.settle` does; `give_cap_a` is the least export."""
    if v2g[0] == 1:
        settle_pairs(parent, charger_node, step_a, weight, priority, no_pause, give_cap_a, gave_a, base_a, spare_a,
                     give_a, linked, rank, tree_place, tree_end, own_from, own_to, order, pair_on, pair_uses,
                     pair_lift_a, pair_gap_a, pair_a, low_why, low_why_a, low_node, export_reserved_a)  # fmt: skip
