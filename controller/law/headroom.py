"""Step 6, headroom: what is left at each node for the chargers below it, and what they already hold of it.

headroom = limit in force - uncontrolled load, per phase in amps and over all phases in watts.

The uncontrolled load is what the node's meter sees minus what the believed chargers below say they draw; a charger
that is not believed subtracts 0. While a charger's limit moves, its reading may be off by the swing of its limit, so
the load is only known to lie in an interval: the estimate rests while it is inside, else moves towards the nearer edge
through the node's filter. Hence a car on its way up or down is not taken for a household. A limit that only rose leaves
no doubt about the least. A reading is late by no more than its `max_age`: what lies over the estimate for longer is
load, whatever the chargers do; and the estimate falls only to what the load stayed under for longer, since node and
chargers are not read at the same time: a car that leaves is seen by the node first, and is no household that did.

Break before make: a charger reserves max(allowed now, any limit within its obey time, drawn); with its link lost also
its fail-safe, until it must have fallen to that. `ramp.pay` grants raises from unreserved amps only.
"""

import math

from controller.law.image import BUCKETS
from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Alarm, Trust

BELIEVED, HELD, DESIGN = int(Trust.BELIEVED), int(Trust.HELD), int(Trust.DESIGN)
ALARM_OVER = int(Alarm.NODE_OVER)
WATTS = 3
HIGH_PU = 1.1  # volts that are not known count high: no more watts than amps at these volts
SETTLED = 0.01  # A or W: the estimate has come up to what was proven
OVER = 1.001  # a meter's last digit is no overload


@Stage
def reserve(
    now_ns: Array,
    failsafe_a: Array,
    failsafe_s: Array,
    obey_s: Array,
    max_age_s: Array,
    uses: Array,
    seen_a: Array,
    linked: Array,
    contact_ns: Array,
    lost_a: Array,
    last_a: Array,
    hist_hi_a: Array,
    hist_lo_a: Array,
    hist_now_hi_a: Array,
    hist_now_lo_a: Array,
    hist_slot: Array,
    hist_end_ns: Array,
    last_ns: Array,
    obey_hi_a: Array,
    span_hi_a: Array,
    span_lo_a: Array,
    swing_a: Array,
    fell_ns: Array,
    drop_a: Array,
    charger_trust: Array,
    reserved_a: Array,
) -> None:
    """Keep the history of limits in buckets of time, and reserve what each charger may still draw.

    The buckets cover the obey time and the age of a reading; one bucket more is looked at than would be needed, so
    that a limit is never forgotten early. Chargers begin their buckets one after the other, so that no scan has to
    look at all of them.
    """
    now = now_ns[0]
    forward = now >= last_ns[0]
    buckets = hist_hi_a.shape[1]
    longer = buckets / (buckets - 1)
    for i in range(last_a.shape[0]):
        hist_now_hi_a[i] = max(hist_now_hi_a[i], last_a[i])
        hist_now_lo_a[i] = min(hist_now_lo_a[i], last_a[i])
        if forward and now < hist_end_ns[i] and hist_slot[i] >= 0:  # only the last scan's limit is new
            span_hi_a[i] = max(span_hi_a[i], last_a[i])
            span_lo_a[i] = min(span_lo_a[i], last_a[i])
            obey_hi_a[i] = max(obey_hi_a[i], last_a[i])
        else:
            begin_bucket(i, now, last_a[i], obey_s[i], max_age_s[i], hist_hi_a, hist_lo_a, hist_now_hi_a,
                         hist_now_lo_a, hist_slot, hist_end_ns, obey_hi_a, span_hi_a, span_lo_a)  # fmt: skip
        swing_a[i] = span_hi_a[i] - span_lo_a[i]
        fell = fell_ns[i] > 0 and (now - fell_ns[i]) * 1e-9 <= longer * max(obey_s[i] + max_age_s[i], 0.001)
        drop_a[i] = swing_a[i] if fell else 0.0  # a limit that only rose leaves no doubt below
        held = obey_hi_a[i]
        if charger_trust[i] != DESIGN:
            for p in range(3):
                if uses[i, p] == 1:
                    held = max(held, seen_a[i, p])
        if linked[i] == 1:
            lost_a[i] = held
        elif (now_ns[0] - contact_ns[i]) * 1e-9 <= failsafe_s[i] + obey_s[i]:
            held = max(lost_a[i], failsafe_a[i])
        else:
            held = failsafe_a[i]
        reserved_a[i] = held


@kernel
def begin_bucket(
    i: int,
    now: int,
    last: float,
    obey_s: float,
    max_age_s: float,
    hist_hi_a: Array,
    hist_lo_a: Array,
    hist_now_hi_a: Array,
    hist_now_lo_a: Array,
    hist_slot: Array,
    hist_end_ns: Array,
    obey_hi_a: Array,
    span_hi_a: Array,
    span_lo_a: Array,
) -> None:
    """Put the present bucket of a charger away, begin the one of `now`, and look at all of them."""
    width_ns = int(max(obey_s + max_age_s, 0.001) * 1e9 / (BUCKETS - 1)) + 1
    shift_ns = (i % BUCKETS) * (width_ns // BUCKETS)
    slot = (now + shift_ns) // width_ns
    passed = slot - hist_slot[i]
    if hist_slot[i] < 0 or passed < 0 or passed >= BUCKETS:
        back = hist_slot[i] >= 0 and passed < 0  # a clock that went back must not make us forget
        for b in range(BUCKETS):
            hist_hi_a[i, b] = max(span_hi_a[i], last) if back else last
            hist_lo_a[i, b] = min(span_lo_a[i], last) if back else last
    else:
        b = hist_slot[i] % BUCKETS
        hist_hi_a[i, b], hist_lo_a[i, b] = hist_now_hi_a[i], hist_now_lo_a[i]
        for k in range(1, passed + 1):
            b = (hist_slot[i] + k) % BUCKETS
            hist_hi_a[i, b], hist_lo_a[i, b] = last, last
    near = int(obey_s * 1e9 / width_ns) + 2
    hist_slot[i] = slot
    hist_end_ns[i] = (slot + 1) * width_ns - shift_ns
    span_hi_a[i], span_lo_a[i] = last, last
    for k in range(BUCKETS):
        b = (slot - k) % BUCKETS
        span_hi_a[i] = max(span_hi_a[i], hist_hi_a[i, b])
        span_lo_a[i] = min(span_lo_a[i], hist_lo_a[i, b])
        if k < near:
            obey_hi_a[i] = span_hi_a[i]
    b = slot % BUCKETS
    hist_now_hi_a[i], hist_now_lo_a[i] = hist_hi_a[i, b], hist_lo_a[i, b]


@Stage
def uncontrolled(
    now_ns: Array,
    node_a: Array,
    node_v: Array,
    node_w: Array,
    u_nom_v: Array,
    parent: Array,
    node_metered: Array,
    node_design_a: Array,
    node_growth_a_per_s: Array,
    node_tau_s: Array,
    node_max_age_s: Array,
    charger_node: Array,
    max_age_s: Array,
    dt_s: Array,
    uses: Array,
    seen_a: Array,
    seen_w: Array,
    volts_v: Array,
    swing_a: Array,
    drop_a: Array,
    obey_hi_a: Array,
    back_swing_a: Array,
    node_v_ok: Array,
    node_a_seen_ns: Array,
    node_other: Array,
    node_over_ns: Array,
    node_over: Array,
    node_under_ns: Array,
    node_under: Array,
    load: Array,
    load_hi: Array,
    slope: Array,
    free: Array,
    charger_trust: Array,
    node_trust: Array,
    node_other_a: Array,
) -> None:
    """Estimate each node's uncontrolled load: measured, held with growth, or the declared design load."""
    nodes = parent.shape[0]
    explained(charger_node, parent, max_age_s, uses, seen_a, seen_w, volts_v, swing_a, drop_a, obey_hi_a, back_swing_a,
              charger_trust, load, load_hi, free, slope)  # fmt: skip
    high_v = HIGH_PU * u_nom_v[0]
    for m in range(nodes):
        weight = dt_s[0] / (node_tau_s[m] + dt_s[0]) if dt_s[0] > 0.0 else 0.0
        late_s = (now_ns[0] - node_a_seen_ns[m]) * 1e-9 - node_max_age_s[m]
        grown_a = node_growth_a_per_s[m] * max(late_s, 0.0)
        lag_ns = int(slope[m, 0] * 1e9)
        late_ns = int(max(slope[m, 1], node_max_age_s[m]) * 1e9)
        watts, apparent, design_w = 0.0, 0.0, 0.0
        for p in range(3):
            design_w += node_design_a[m, p] * high_v
            if math.isfinite(node_a[m, p]):
                volt = node_v[m, p] if node_v_ok[m] == 1 and 0.0 < node_v[m, p] < high_v else high_v
                watts += node_a[m, p] * volt
                apparent += abs(node_a[m, p]) * high_v
        for c in range(4):
            held = node_other[m, c]
            if node_trust[m] != BELIEVED:
                node_under_ns[m, c] = 0
            if node_metered[m] == 0 or node_trust[m] == DESIGN:
                other = node_design_a[m, c] if c < WATTS else design_w
            elif node_trust[m] == HELD:
                other = held + (grown_a if c < WATTS else 3.0 * grown_a * high_v)
            else:
                if c < WATTS:
                    seen = node_a[m, c] if math.isfinite(node_a[m, c]) else 0.0
                else:
                    seen = node_w[m] if -apparent <= node_w[m] <= apparent else max(watts, 0.0)  # false on NaN
                raw = seen - free[m, c]
                if math.isnan(held):
                    held = raw
                if raw <= held:
                    node_over_ns[m, c] = 0
                elif node_over_ns[m, c] == 0 or held >= node_over[m, c] - SETTLED:
                    node_over_ns[m, c] = now_ns[0]
                    node_over[m, c] = raw
                node_over[m, c] = min(node_over[m, c], raw)
                edge = min(max(held, seen - load_hi[m, c]), seen - load[m, c])
                if node_over_ns[m, c] > 0 and now_ns[0] - node_over_ns[m, c] >= lag_ns:
                    edge = max(edge, node_over[m, c])
                if edge >= held:
                    node_under_ns[m, c] = 0
                else:
                    if node_under_ns[m, c] == 0 or held <= node_under[m, c] + SETTLED:
                        node_under_ns[m, c] = now_ns[0]
                        node_under[m, c] = edge
                    node_under[m, c] = max(node_under[m, c], edge)
                    edge = node_under[m, c] if now_ns[0] - node_under_ns[m, c] >= late_ns else held
                held += weight * (edge - held)
                node_other[m, c] = held
                other = held
            load[m, c] = other
            if c < WATTS:
                node_other_a[m, c] = other


@kernel
def explained(
    charger_node: Array,
    parent: Array,
    max_age_s: Array,
    uses: Array,
    seen_a: Array,
    seen_w: Array,
    volts_v: Array,
    swing_a: Array,
    drop_a: Array,
    obey_hi_a: Array,
    back_swing_a: Array,
    charger_trust: Array,
    least: Array,
    most: Array,
    said: Array,
    lag_s: Array,
) -> None:
    """Sum below every node (M, 4) what believed chargers say they draw, the least and most that can mean, and how
    late the readings of those whose limits move (column 0), and of all of them (column 1), can be."""
    for m in range(parent.shape[0]):
        for c in range(4):
            least[m, c], most[m, c], said[m, c], lag_s[m, c] = 0.0, 0.0, 0.0, 0.0
    for i in range(charger_node.shape[0]):
        believed = charger_trust[i] == BELIEVED
        if not believed and back_swing_a[i] == 0.0:
            continue
        m = charger_node[i]
        if believed:
            lag_s[m, 1] = max(lag_s[m, 1], max_age_s[i])
        if believed and swing_a[i] > 0.0:
            lag_s[m, 0] = max(lag_s[m, 0], max_age_s[i])
        for c in range(4):
            if c < WATTS and uses[i, c] == 0:
                continue
            each = volts_v[i] if c == WATTS else 1.0
            drawn = seen_w[i] if c == WATTS else seen_a[i, c]
            swing, fall = swing_a[i] * each, drop_a[i] * each
            if not believed:  # its export must not pass for somebody's generation, which would be headroom
                drawn, swing, fall = min(drawn, 0.0), 0.0, 0.0
            said[m, c] += drawn
            least[m, c] += max(drawn - fall, min(drawn, -back_swing_a[i] * each))
            most[m, c] += max(drawn, min(drawn + swing, obey_hi_a[i] * each))
    for m in range(parent.shape[0] - 1, 0, -1):
        up = parent[m]
        if up >= 0:
            lag_s[up, 0] = max(lag_s[up, 0], lag_s[m, 0])
            lag_s[up, 1] = max(lag_s[up, 1], lag_s[m, 1])
            for c in range(4):
                least[up, c] += least[m, c]
                most[up, c] += most[m, c]
                said[up, c] += said[m, c]


@Stage
def capacity(
    node_a: Array,
    node_w: Array,
    parent: Array,
    node_metered: Array,
    charger_node: Array,
    uses: Array,
    volts_v: Array,
    linked: Array,
    node_uses: Array,
    node_cap: Array,
    node_head_seen: Array,
    load: Array,
    load_hi: Array,
    room: Array,
    free: Array,
    alarm: Array,
    reserved_a: Array,
    node_trust: Array,
    node_reserved_a: Array,
    node_headroom_a: Array,
) -> None:
    """Take the headroom of every node, the room left by chargers out of reach, and what no charger holds.

    A metered node that is not believed has no more headroom than when it last was.
    """
    nodes = parent.shape[0]
    for m in range(nodes):
        for c in range(4):
            head = node_cap[m, c] - load[m, c]
            if node_metered[m] == 1:
                if node_trust[m] == BELIEVED:
                    node_head_seen[m, c] = head
                    seen = node_a[m, c] if c < WATTS else node_w[m]
                    if (c == WATTS or node_uses[m, c] == 1) and seen > OVER * node_cap[m, c]:
                        alarm[0] = alarm[0] | ALARM_OVER
                else:
                    head = min(head, node_head_seen[m, c])
            room[m, c] = head
            if c < WATTS:
                node_headroom_a[m, c] = head
    load[:] = 0.0  # reserved by chargers out of reach
    load_hi[:] = 0.0  # reserved by all
    for i in range(charger_node.shape[0]):
        m = charger_node[i]
        for c in range(4):
            held = reserved_a[i] * (volts_v[i] if c == WATTS else float(uses[i, c]))
            load_hi[m, c] += held
            if linked[i] == 0:
                load[m, c] += held
    for m in range(nodes - 1, -1, -1):
        for c in range(4):
            if parent[m] >= 0:
                load[parent[m], c] += load[m, c]
                load_hi[parent[m], c] += load_hi[m, c]
            free[m, c] = room[m, c] - load_hi[m, c]
            room[m, c] -= load[m, c]
            if c < WATTS:
                node_reserved_a[m, c] = load_hi[m, c]
