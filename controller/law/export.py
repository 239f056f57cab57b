"""Export (V2G): the lower bound of every charger, shared apart from import by a proportional scale-back.

The steps before brought the wished export (`low_a`, 0 or negative) up towards 0. Here a node's export headroom is its
limit plus the uncontrolled load that it measures (a household takes up what a car gives); a node that is not believed
takes up nothing, and its design generation is in the way. Where the exports below do not fit, all of them are scaled
by the same factor; a charger takes the smallest factor between it and the root. Nothing is passed on: the rule is
simple and never over a limit, but not max-min.

Exports do not make room for imports, nor the other way round: each direction holds without the other.
Break before make holds in this direction too: what was just allowed may still flow for the obey time, so more is only
allowed out of what nobody holds. Down at once.
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Reason, Trust
from controller.law.start import floor_to

BELIEVED = int(Trust.BELIEVED)
WISH, FREQUENCY = int(Reason.WISH), int(Reason.FREQUENCY)
UNTRUSTED, LINK_LOST = int(Reason.UNTRUSTED), int(Reason.LINK_LOST)
WATTS = 3
HIGH_PU = 1.1  # volts that are not known count high: no more watts than amps at these volts
HAIR = 1e-9


@Stage
def reserve(
    first: int,
    end: int,
    now_ns: Array,
    obey_s: Array,
    max_age_s: Array,
    failsafe_s: Array,
    uses: Array,
    seen_a: Array,
    linked: Array,
    contact_ns: Array,
    v2g: Array,
    last_min_a: Array,
    back_now_a: Array,
    back_old_a: Array,
    back_slot: Array,
    back_lost_a: Array,
    back_swing_a: Array,
    swing_a: Array,
    charger_trust: Array,
    export_reserved_a: Array,
) -> None:
    """Reserve what each charger may still export: the highest of this bucket of obey time and reading age, the one
    before, and the amps it gives; widen its swing by it, so that a late reading is not taken for a household."""
    if v2g[0] == 0:
        return
    for i in range(first, end):
        span_ns = max(int((obey_s[i] + max_age_s[i]) * 1e9), 1)
        slot = now_ns[0] // span_ns
        last = -last_min_a[i]
        if slot == back_slot[i] + 1:
            back_old_a[i] = back_now_a[i]
            back_now_a[i] = last
        elif slot > back_slot[i]:
            back_old_a[i] = last
            back_now_a[i] = last
        else:  # the same, or a clock that went back: nothing is forgotten
            back_now_a[i] = max(back_now_a[i], last)
        back_slot[i] = max(back_slot[i], slot)
        held = max(back_now_a[i], back_old_a[i])
        if charger_trust[i] == BELIEVED:
            for p in range(3):
                if uses[i, p] == 1:
                    held = max(held, -seen_a[i, p])
        if linked[i] == 1:
            back_lost_a[i] = held
        elif (now_ns[0] - contact_ns[i]) * 1e-9 <= failsafe_s[i] + obey_s[i]:
            held = max(held, back_lost_a[i])
        else:
            held = 0.0  # a charger's own fail-safe does not export
        back_swing_a[i] = held
        swing_a[i] += held
        export_reserved_a[i] = held


@kernel
def factor_of(i: int, m: int, parent: Array, uses: Array, volts_v: Array, factor: Array) -> tuple[float, int, int]:
    """Return the smallest factor between charger i and the root, its node and its column (-1, -1: none under 1)."""
    least, node, column = 1.0, -1, -1
    while m >= 0:
        for c in range(4):
            if (volts_v[i] > 0.0 if c == WATTS else uses[i, c] == 1) and factor[m, c] < least:
                least, node, column = factor[m, c], m, c
        m = parent[m]
    return least, node, column


@kernel
def factors(parent: Array, asked: Array, room: Array, factor: Array) -> None:
    """Sum what is asked (M, 4) up the tree; the factor is what fits of it at every node and column."""
    for m in range(parent.shape[0] - 1, -1, -1):
        for c in range(4):
            if parent[m] >= 0:
                asked[parent[m], c] += asked[m, c]
            fits = max(room[m, c], 0.0)
            factor[m, c] = 1.0 if asked[m, c] <= fits else fits / asked[m, c]


@kernel
def give(table: Array, m: int, amps: float, i: int, uses: Array, volts_v: Array) -> None:
    """Add the amps of charger i to its node's row."""
    for p in range(3):
        table[m, p] += amps * uses[i, p]
    table[m, WATTS] += amps * volts_v[i]


@Stage
def share(
    u_nom_v: Array,
    parent: Array,
    node_metered: Array,
    node_design_export_a: Array,
    charger_node: Array,
    uses: Array,
    volts_v: Array,
    linked: Array,
    contact_ns: Array,
    now_ns: Array,
    failsafe_s: Array,
    obey_s: Array,
    step_a: Array,
    no_raise: Array,
    node_other: Array,
    v2g: Array,
    last_min_a: Array,
    low_a: Array,
    low_why: Array,
    node_back_cap: Array,
    node_back_why: Array,
    load: Array,
    load_hi: Array,
    slope: Array,
    room: Array,
    node_trust: Array,
    export_reserved_a: Array,
    allowed_min_a: Array,
    export_reason: Array,
    target_a: Array,
) -> None:
    """Scale the exports back to the nodes' headroom, pay what goes beyond the reserved, and publish the lower bounds.

    `load`, `load_hi`, `slope` and `room` are scratch here: asked, held, factor and headroom of every node.
    """
    if v2g[0] == 0:
        return
    chargers = low_a.shape[0]
    for m in range(parent.shape[0]):
        design_w = 0.0
        for p in range(3):
            design_w += node_design_export_a[m, p] * HIGH_PU * u_nom_v[0]
        for c in range(4):
            taken = -(design_w if c == WATTS else node_design_export_a[m, c])
            if node_metered[m] == 1 and node_trust[m] == BELIEVED and not math.isnan(node_other[m, c]):
                taken = node_other[m, c]
            room[m, c] = node_back_cap[m, c] + taken
            load[m, c], load_hi[m, c] = 0.0, 0.0
    for i in range(chargers):
        amps, code = -low_a[i], int(low_why[i])
        last = -last_min_a[i]
        if target_a[i] > 0.0:
            amps = 0.0  # it charges
        if amps > last and no_raise[i] == 1:
            amps, code = last, UNTRUSTED
        if linked[i] == 0:
            fallen = (now_ns[0] - contact_ns[i]) * 1e-9 > failsafe_s[i] + obey_s[i]
            amps, code = 0.0 if fallen else min(amps, last), LINK_LOST
        low_a[i] = amps
        low_why[i] = code
        give(load, charger_node[i], amps, i, uses, volts_v)
        give(load_hi, charger_node[i], export_reserved_a[i], i, uses, volts_v)
    factors(parent, load, room, slope)
    for i in range(chargers):
        least, m, c = factor_of(i, charger_node[i], parent, uses, volts_v, slope)
        if least < 1.0 and low_a[i] > 0.0:
            low_a[i] *= least
            low_why[i] = node_back_why[m, c]
    for m in range(parent.shape[0] - 1, -1, -1):
        for c in range(4):
            if parent[m] >= 0:
                load_hi[parent[m], c] += load_hi[m, c]
            room[m, c] -= load_hi[m, c]
            load[m, c] = 0.0
    for i in range(chargers):
        give(load, charger_node[i], max(low_a[i] - export_reserved_a[i], 0.0), i, uses, volts_v)
    factors(parent, load, room, slope)
    for i in range(chargers):
        amps, held = low_a[i], export_reserved_a[i]
        if amps > held:
            least, m, c = factor_of(i, charger_node[i], parent, uses, volts_v, slope)
            amps = held + (amps - held) * least
        amps = floor_to(amps, step_a[i])
        allowed_min_a[i] = -amps if amps > 0.0 else 0.0
        export_reason[i] = low_why[i]
        last_min_a[i] = allowed_min_a[i]


@Stage
def settle(
    first: int, end: int, wish_exempt: Array, off_ns: Array, last_min_a: Array, why: Array, target_a: Array
) -> None:
    """Take no pause for one where the charger exports, or where the wish of an exempt service was the reason."""
    for i in range(first, end):
        if target_a[i] <= 0.0 and (
            last_min_a[i] < 0.0 or (wish_exempt[i] == 1 and (why[i] == WISH or why[i] == FREQUENCY))
        ):
            off_ns[i] = 0
