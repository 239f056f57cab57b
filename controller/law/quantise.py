"""Step 9, quantise: down to the device's step, then left-over steps to those who were rounded.

Left-over steps go first to those who already have theirs (so that noise does not pass them around), then in
argument order, one step each, never past a node, a cap or the balance of the phases. Steps under 0.1 A are not worth
handing out.
"""

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Step
from controller.law.pairs import add, sum_pairs, unbalanced_at
from controller.law.start import floor_to

QUANTISE = int(Step.QUANTISE)
WATTS = 3
HAIR = 1e-9
COARSE_A = 0.1


@kernel
def hand_out(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    uses: Array,
    volts_v: Array,
    last_a: Array,
    allowed_a: Array,
    spare_a: Array,
    member: Array,
    room: Array,
    load: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
) -> None:
    """Hand out the left-over steps `spare_a` (N) to rounded shares `allowed_a` (N); `load` (M, 4) is scratch."""
    chargers = allowed_a.shape[0]
    load[:] = 0.0
    for i in range(chargers):
        if member[i] == 1:
            m = charger_node[i]
            for p in range(3):
                load[m, p] += allowed_a[i] * uses[i, p]
            load[m, WATTS] += allowed_a[i] * volts_v[i]
    for m in range(parent.shape[0] - 1, 0, -1):
        if parent[m] >= 0:
            for c in range(4):
                load[parent[m], c] += load[m, c]
    if pair_on[0] == 1:
        sum_pairs(parent, charger_node, member, pair_uses, pair_lift_a, allowed_a, allowed_a, pair_a)
    for turn in range(2):
        for i in range(chargers):
            more = spare_a[i]
            if more <= 0.0 or (turn == 0 and last_a[i] < allowed_a[i] + more - HAIR):
                continue
            spare_a[i] = 0.0
            fits = True
            m = charger_node[i]
            while m >= 0:
                for c in range(4):
                    need = more * (volts_v[i] if c == WATTS else float(uses[i, c]))
                    fits = fits and (need == 0.0 or load[m, c] + need <= room[m, c] + HAIR)
                m = parent[m]
            m = charger_node[i]
            if pair_on[0] == 1 and fits:
                fits = unbalanced_at(i, more, m, parent, pair_uses, pair_a, pair_gap_a) < 0
            if not fits:
                continue
            if pair_on[0] == 1:
                sure = min(allowed_a[i] + more, pair_lift_a[i]) - min(allowed_a[i], pair_lift_a[i])
                add(m, i, more, sure, parent, pair_uses, pair_a)
            allowed_a[i] = floor_to(allowed_a[i] + more, step_a[i])
            m = charger_node[i]
            while m >= 0:
                for p in range(3):
                    load[m, p] += more * uses[i, p]
                load[m, WATTS] += more * volts_v[i]
                m = parent[m]


@Stage
def quantise(
    parent: Array,
    charger_node: Array,
    step_a: Array,
    uses: Array,
    volts_v: Array,
    last_a: Array,
    allowed_a: Array,
    spare_a: Array,
    member: Array,
    room: Array,
    load: Array,
    pair_on: Array,
    pair_uses: Array,
    pair_lift_a: Array,
    pair_gap_a: Array,
    pair_a: Array,
    chain: Array,
) -> None:
    """Round the shares down and hand out the left-over steps."""
    chargers = allowed_a.shape[0]
    coarse, left = 0, 0
    for i in range(chargers):  # loops without branches: the compiler takes several chargers at once
        coarse |= 1 if step_a[i] >= COARSE_A else 0
    for i in range(chargers if coarse == 1 else 0):
        target, step = allowed_a[i], step_a[i]
        over = (member[i] == 1) & (step >= COARSE_A) & (target - floor_to(target, step) > HAIR)
        spare_a[i] = step if over else 0.0
        left += 1 if over else 0
    for i in range(chargers):
        target, rounded = allowed_a[i], floor_to(allowed_a[i], step_a[i])
        allowed_a[i] = rounded if member[i] == 1 else target
    if left > 0:
        hand_out(parent, charger_node, step_a, uses, volts_v, last_a, allowed_a, spare_a, member, room, load, pair_on,
                 pair_uses, pair_lift_a, pair_gap_a, pair_a)  # fmt: skip
    for i in range(chargers):
        chain[i, QUANTISE] = allowed_a[i]
