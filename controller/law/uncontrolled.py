"""Step 6, headroom, first half: the uncontrolled load of every node, from what its meter and the chargers below say.

The load is the node's amps minus what the believed chargers below draw. While a charger's limit moves, its reading may
be off by the swing of its limit, so the load is only known to lie in an interval: the estimate rests while it is
inside, else moves towards the nearer edge through the node's filter. Hence a car on its way up or down is not taken for
a household. A limit that only rose leaves no doubt about the least. A reading is late by no more than its `max_age`:
what lies over the estimate for longer is load, whatever the chargers do; and the estimate falls only to what the load
stayed under for longer, since node and chargers are not read at the same time: a car that leaves is seen by the node
first, and is no household that did.

A charger that cannot be heard draws anything from 0 to what it reserves; so does one whose reading is held. Its
reservation is no load too: it would be counted twice. One whose reading is not known any more explains nothing.

After a start the first estimate is not proven: cars may be on their way to limits that nobody remembers. A node is
ready once readings that were taken an obey time later have come from everybody below; the estimate then covers what
they leave. Until then nobody below is raised (`pay.pay`). A meter that comes back is met the same way, without the
wait: what was estimated before it fell silent says nothing about now.

The estimate errs towards more load, so that imports fit. Exports fit into the *least* load (a household takes up what a
car gives): the same estimate with all signs turned, made only where somebody may export.
"""

import math

import numpy as np

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Trust
from controller.law.trust import HIGH_PU, LOW_PU, MOST_PU

BELIEVED, HELD, DESIGN = int(Trust.BELIEVED), int(Trust.HELD), int(Trust.DESIGN)
WATTS = 3
SETTLED = 0.01  # A or W: the estimate has come up to what was proven


@Stage
def estimate(
    now_ns: Array,
    node_a: Array,
    node_v: Array,
    node_w: Array,
    u_nom_v: Array,
    parent: Array,
    node_metered: Array,
    node_design_a: Array,
    node_design_export_a: Array,
    node_growth_a_per_s: Array,
    node_tau_s: Array,
    node_max_age_s: Array,
    max_age_s: Array,
    node_obey_s: Array,
    start_ns: Array,
    dt_s: Array,
    seen_a: Array,
    seen_w: Array,
    seen_ns: Array,
    volts_v: Array,
    linked: Array,
    swing_a: Array,
    drop_a: Array,
    obey_hi_a: Array,
    back_swing_a: Array,
    back_drop_a: Array,
    v2g: Array,
    node_v_ok: Array,
    node_a_seen_ns: Array,
    node_first_ns: Array,
    node_heard: Array,
    node_ready: Array,
    node_other: Array,
    node_over_ns: Array,
    node_over: Array,
    node_under_ns: Array,
    node_under: Array,
    back_other: Array,
    back_over_ns: Array,
    back_over: Array,
    back_under_ns: Array,
    back_under: Array,
    node_taken: Array,
    load: Array,
    load_hi: Array,
    slope: Array,
    free: Array,
    room: Array,
    tree_place: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    charger_trust: Array,
    reserved_a: Array,
    export_reserved_a: Array,
    node_trust: Array,
    node_other_a: Array,
) -> None:
    """Estimate each node's uncontrolled load: measured, held with growth, or the declared design load.

    `load`, `load_hi`, `free`, `room` and `slope` are scratch here, see `explained`.
    """
    explained(now_ns, v2g, parent, max_age_s, seen_a, seen_w, seen_ns, volts_v, linked, swing_a, drop_a, obey_hi_a,
              back_swing_a, back_drop_a, tree_place, own_from, own_to, order, entry_of, entry_from, entry_to,
              charger_trust, reserved_a, export_reserved_a, load, load_hi, free, room, slope)  # fmt: skip
    high_v = HIGH_PU * u_nom_v[0]  # volts that are not known count high
    least_v, most_v = LOW_PU * u_nom_v[0], MOST_PU * u_nom_v[0]
    for m in range(parent.shape[0]):
        weight = dt_s[0] / (node_tau_s[m] + dt_s[0]) if dt_s[0] > 0.0 else 0.0
        late_s = (now_ns[0] - node_a_seen_ns[m]) * 1e-9 - node_max_age_s[m]
        grown_a = node_growth_a_per_s[m] * max(late_s, 0.0)
        lag_ns = int(slope[m, 0] * 1e9)
        late_ns = int(max(slope[m, 1], node_max_age_s[m]) * 1e9)
        believed = node_trust[m] == BELIEVED
        at_once = believed and node_heard[m] == 0  # an estimate from before the silence says nothing about now
        node_heard[m] = 1 if believed else 0
        if prove(m, now_ns[0], start_ns[0], int(slope[m, 2] * 1e9), believed, node_metered, node_obey_s,
                 node_a_seen_ns, node_first_ns, node_ready):  # fmt: skip
            at_once = believed
        watts, apparent, design_w, generated_w = 0.0, 0.0, 0.0, 0.0
        for p in range(3):
            design_w += node_design_a[m, p] * high_v
            generated_w += node_design_export_a[m, p] * high_v
            if math.isfinite(node_a[m, p]):
                volt = node_v[m, p] if node_v_ok[m] == 1 and least_v <= node_v[m, p] <= most_v else high_v
                watts += node_a[m, p] * volt
                apparent += abs(node_a[m, p]) * max(volt, high_v)  # more watts than that are a broken meter's
        for c in range(4):
            grown = grown_a if c < WATTS else 3.0 * grown_a * high_v
            if node_metered[m] == 0 or node_trust[m] == DESIGN:
                node_under_ns[m, c], back_under_ns[m, c] = 0, 0
                other = node_design_a[m, c] if c < WATTS else design_w
                taken = -(node_design_export_a[m, c] if c < WATTS else generated_w)
            elif node_trust[m] == HELD:
                node_under_ns[m, c], back_under_ns[m, c] = 0, 0
                other, taken = node_other[m, c] + grown, back_other[m, c] - grown
            else:
                known = c < WATTS or -apparent <= node_w[m] <= apparent  # false on NaN
                if c < WATTS:
                    seen = node_a[m, c] if math.isfinite(node_a[m, c]) else 0.0
                else:
                    seen = node_w[m] if known else max(watts, 0.0)
                raw, low, high = seen - free[m, c] - room[m, c], seen - load_hi[m, c], seen - load[m, c]
                first = seen - free[m, c]
                other = follow(m, c, node_other[m, c], raw, low, high, first, at_once, weight, now_ns[0], lag_ns,
                               late_ns, node_over_ns, node_over, node_under_ns, node_under)  # fmt: skip
                node_other[m, c] = other
                taken = other
                if v2g[0] == 1:
                    less = 0.0 if known else max(watts, 0.0) - min(watts, 0.0)
                    taken = -follow(m, c, -back_other[m, c], less - first, less - high, less - low, less - low, at_once,
                                    weight, now_ns[0], lag_ns, late_ns, back_over_ns, back_over, back_under_ns,
                                    back_under)  # fmt: skip
                back_other[m, c] = taken
            load[m, c] = other
            node_taken[m, c] = taken
            if c < WATTS:
                node_other_a[m, c] = other


@kernel
def prove(
    m: int,
    now: int,
    start: int,
    oldest_age_ns: int,
    believed: bool,
    node_metered: Array,
    node_obey_s: Array,
    node_a_seen_ns: Array,
    node_first_ns: Array,
    node_ready: Array,
) -> bool:
    """Say whether readings of an obey time after the start have come for the first time from everybody below."""
    if believed and node_first_ns[m] == 0:
        node_first_ns[m] = now
    if node_ready[m] == 1:
        return False
    metered = node_metered[m] == 1
    since_ns = max(node_first_ns[m], start) if metered and node_first_ns[m] <= now else start  # the clock may jump
    oldest_ns = min(node_a_seen_ns[m], now - oldest_age_ns) if metered else now
    if since_ns > 0 and (oldest_ns - since_ns) * 1e-9 >= node_obey_s[m]:
        node_ready[m] = 1
        return True
    return False


@kernel
def follow(
    m: int,
    c: int,
    held: float,
    raw: float,
    low: float,
    high: float,
    first: float,
    at_once: bool,
    weight: float,
    now: int,
    lag_ns: int,
    late_ns: int,
    over_ns: Array,
    over: Array,
    under_ns: Array,
    under: Array,
) -> float:
    """Return the estimate (`held`, NaN begins at `first`) after a measurement that leaves `low` to `high` possible.

    It rises towards `low`, and to what `raw` stayed over for `lag_ns`; it falls to what was proven for `late_ns`. With
    all signs turned it is the least load, which makes the room for exports.
    """
    if math.isnan(held):
        held = first
    if raw <= held:
        over_ns[m, c] = 0
    elif over_ns[m, c] == 0 or held >= over[m, c] - SETTLED:
        over_ns[m, c] = now
        over[m, c] = raw
    over[m, c] = min(over[m, c], raw)
    edge = min(max(held, low), high)
    if over_ns[m, c] > 0 and now - over_ns[m, c] >= lag_ns:
        edge = max(edge, over[m, c])
    if at_once:
        edge = max(edge, raw)
    if edge >= held:
        under_ns[m, c] = 0
    else:
        if under_ns[m, c] == 0 or held <= under[m, c] + SETTLED:
            under_ns[m, c] = now
            under[m, c] = edge
        under[m, c] = max(under[m, c], edge)
        edge = under[m, c] if now - under_ns[m, c] >= late_ns else held
    return held + (1.0 if at_once and edge > held else weight) * (edge - held)


@kernel
def explained(
    now_ns: Array,
    v2g: Array,
    parent: Array,
    max_age_s: Array,
    seen_a: Array,
    seen_w: Array,
    seen_ns: Array,
    volts_v: Array,
    linked: Array,
    swing_a: Array,
    drop_a: Array,
    obey_hi_a: Array,
    back_swing_a: Array,
    back_drop_a: Array,
    tree_place: Array,
    own_from: Array,
    own_to: Array,
    order: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    charger_trust: Array,
    reserved_a: Array,
    export_reserved_a: Array,
    least: Array,
    most: Array,
    said: Array,
    unheard: Array,
    lag_s: Array,
) -> None:
    """Sum below every node (M, 4) what believed chargers say they draw, the least and most that they and those that
    cannot be heard can draw, and the most of the latter alone. `lag_s`: how late the readings of those whose limits
    move (column 0), and of all of them (column 1), can be, and how old the oldest one is (column 2), s."""
    now = now_ns[0]
    for m in range(parent.shape[0]):
        j = tree_place[m]
        moving_s, late_s, oldest_ns, others = 0.0, 0.0, 0, 0
        for k in range(np.uint64(own_from[j]), np.uint64(own_to[j])):
            i = np.uint32(order[k])  # saves the compiler's test for an index from the end
            if charger_trust[i] == BELIEVED:
                age_s = max_age_s[i]
                if age_s > late_s:  # branches that are hardly ever taken
                    late_s = age_s
                if age_s > moving_s and swing_a[i] > 0.0:
                    moving_s = age_s
                oldest_ns = max(oldest_ns, now - seen_ns[i])
            else:
                others += 1
        lag_s[m, 0], lag_s[m, 1], lag_s[m, 2], lag_s[m, 3] = moving_s, late_s, oldest_ns * 1e-9, 0.0
        if v2g[0] == 0 and others == 0:
            sum_heard(m, j, seen_a, seen_w, volts_v, swing_a, drop_a, obey_hi_a, entry_of, entry_from, entry_to, least,
                      most, said, unheard)  # fmt: skip
            continue
        for c in range(4):
            least_sum, most_sum, said_sum, unheard_sum = 0.0, 0.0, 0.0, 0.0
            for e in range(np.uint64(entry_from[j, c]), np.uint64(entry_to[j, c])):
                i = np.uint32(entry_of[c, e])
                each = volts_v[i] if c == WATTS else 1.0
                drawn = seen_w[i] if c == WATTS else seen_a[i, c]
                given_a = export_reserved_a[i]
                if charger_trust[i] == BELIEVED:
                    fall_a = drop_a[i] + back_swing_a[i]
                    rise_a = swing_a[i] - back_swing_a[i] + back_drop_a[i]
                    said_sum += drawn
                    least_sum += max(drawn - fall_a * each, min(drawn, -given_a * each))
                    most_sum += max(drawn, min(drawn + rise_a * each, obey_hi_a[i] * each))
                    continue
                most_a = reserved_a[i] if linked[i] == 0 or charger_trust[i] == HELD else 0.0
                if most_a == 0.0 and given_a == 0.0:
                    continue
                given = min(drawn, 0.0)  # its export must not pass for somebody's generation: that would be headroom
                said_sum += given
                least_sum += min(given, -given_a * each)
                most_sum += most_a * each
                unheard_sum += most_a * each
            least[m, c], most[m, c], said[m, c], unheard[m, c] = least_sum, most_sum, said_sum, unheard_sum
    for m in range(parent.shape[0] - 1, 0, -1):
        up = parent[m]
        if up >= 0:
            for c in range(3):
                lag_s[up, c] = max(lag_s[up, c], lag_s[m, c])
            for c in range(4):
                least[up, c] += least[m, c]
                most[up, c] += most[m, c]
                said[up, c] += said[m, c]
                unheard[up, c] += unheard[m, c]


@kernel
def sum_heard(
    m: int,
    j: int,
    seen_a: Array,
    seen_w: Array,
    volts_v: Array,
    swing_a: Array,
    drop_a: Array,
    obey_hi_a: Array,
    entry_of: Array,
    entry_from: Array,
    entry_to: Array,
    least: Array,
    most: Array,
    said: Array,
    unheard: Array,
) -> None:
    """Take these sums where all of a node's own chargers are believed and nobody may export: nearly always."""
    for c in range(WATTS):
        least_sum, most_sum, said_sum = 0.0, 0.0, 0.0
        for e in range(np.uint64(entry_from[j, c]), np.uint64(entry_to[j, c])):
            i = np.uint32(entry_of[c, e])
            drawn = seen_a[i, c]
            said_sum += drawn
            least_sum += max(drawn - drop_a[i], min(drawn, 0.0))
            most_sum += max(drawn, min(drawn + swing_a[i], obey_hi_a[i]))
        least[m, c], most[m, c], said[m, c], unheard[m, c] = least_sum, most_sum, said_sum, 0.0
    least_sum, most_sum, said_sum = 0.0, 0.0, 0.0
    for e in range(np.uint64(entry_from[j, WATTS]), np.uint64(entry_to[j, WATTS])):
        i = np.uint32(entry_of[WATTS, e])
        drawn, volts = seen_w[i], volts_v[i]
        said_sum += drawn
        least_sum += max(drawn - drop_a[i] * volts, min(drawn, 0.0))
        most_sum += max(drawn, min(drawn + swing_a[i] * volts, obey_hi_a[i] * volts))
    least[m, WATTS], most[m, WATTS], said[m, WATTS], unheard[m, WATTS] = least_sum, most_sum, said_sum, 0.0
