"""Step 4, voltage: a cap from the filtered volts, as a share of the charger's ceiling.

The volts of each phase pass a first-order filter (`droop_tau_s`); the lowest used phase, behind a dead band, enters
a piecewise-linear curve. On the way up the volts must first recover by the hysteresis: the cap c is kept within
curve(u - h) <= c <= curve(u) (a play operator), so that it rests anywhere in between. Below `droop_pause_pu` the
charger is paused until `droop_resume_pu`; in between the curve leaves at least the floor.

Fairness (facts A6): *local*, everybody by his own volts; *common*, the curve is read at the lowest volts of the group
(a member that falls silent counts with its last volts); *equalised*, `droop_shift_pu` moves the curve's start by the
nominal drop. Pause and resume always go by own, unshifted volts.

Export has a curve of its own over the highest used phase (volt-watt), with a filter of its own.

Volts that are not believed raise nothing: the cap rests for `hold_s`, then falls to the floor; export then ends. Volts
that were never believed since the start are met the same way, and what is allowed now is the cap that rests.
Source: facts A3-A5 (IEEE 1547-2018 volt-watt, AS/NZS 4777.2 charging curve, Jahangiri/Aliprantis filtered update).
"""

import math

from controller.law.kernel import Array, Stage, entry, kernel
from controller.law.names import Alarm, Reason, Step, Trust, VoltSource

BELIEVED = int(Trust.BELIEVED)
OWN, NONE = int(VoltSource.OWN), int(VoltSource.NONE)
LOW = int(Reason.VOLTAGE)
HYSTERESIS, UNTRUSTED = int(Reason.HYSTERESIS), int(Reason.UNTRUSTED)
VOLTAGE = int(Step.VOLTAGE)
ALARM_LOW = int(Alarm.VOLTAGE_LOW)
IMPLAUSIBLE_PU = 1.5
NAN = math.nan


@entry
def share_at(volt_pu: float, curve_pu: Array, curve_share: Array) -> float:
    """Return the share of the ceiling at `volt_pu` on a curve of rising points, level outside them."""
    last = curve_pu.shape[0] - 1
    if last < 0 or volt_pu >= curve_pu[last]:
        return curve_share[last] if last >= 0 else 1.0
    if volt_pu <= curve_pu[0]:
        return curve_share[0]
    k = 1
    while volt_pu > curve_pu[k]:
        k += 1
    width = curve_pu[k] - curve_pu[k - 1]
    return curve_share[k - 1] + (curve_share[k] - curve_share[k - 1]) * (volt_pu - curve_pu[k - 1]) / width


@Stage
def groups(droop_group: Array, plan_kept: Array, grouped: Array, volts_read: Array, group_pu: Array) -> None:
    """Begin the scan's groups; note whether anybody is in one."""
    volts_read[0] = 0
    for m in range(group_pu.shape[0]):
        group_pu[m] = math.inf
    if plan_kept[0] == 1:
        return
    any_one = 0
    for i in range(droop_group.shape[0]):
        any_one |= 1 if droop_group[i] >= 0 else 0
    grouped[0] = any_one


@Stage
def all_read(volts_read: Array) -> None:
    """Take note that the lowest volts of every group are known."""
    volts_read[0] = 1


@Stage
def volts(
    first: int,
    end: int,
    now_ns: Array,
    charger_v: Array,
    node_v: Array,
    charger_node: Array,
    phase_map: Array,
    u_nom_v: Array,
    alarm_pu: Array,
    volt_source: Array,
    droop_tau_s: Array,
    droop_deadband_pu: Array,
    droop_group: Array,
    dt_s: Array,
    node_v_ok: Array,
    volt_f_pu: Array,
    volt_used_pu: Array,
    volt_ns: Array,
    grouped: Array,
    group_pu: Array,
    spare_a: Array,
    ask_a: Array,
    grant_a: Array,
    member: Array,
    alarm: Array,
    charger_trust: Array,
    volt_pu: Array,
) -> None:
    """Filter the volts of the used phases and take the lowest, behind the dead band; and the lowest of each group.

    `spare_a`, `ask_a`, `grant_a` and `member` are scratch of one block: filter weight, volts of a terminal, lowest
    phase, 1 where the volts are believed.
    """
    now, dt, u_nom, highest = now_ns[0], dt_s[0], u_nom_v[0], IMPLAUSIBLE_PU * u_nom_v[0]
    of_node = believe_volts(first, end, now, highest, charger_v, node_v, charger_node, phase_map, volt_source,
                            node_v_ok, volt_ns, charger_trust, member)  # fmt: skip
    for i in range(first, end):  # loops without branches: the compiler takes several chargers at once
        spare_a[i - first] = dt / (droop_tau_s[i] + dt) if dt > 0.0 else 0.0
        grant_a[i - first] = math.inf
    for t in range(3):
        used = 0
        for i in range(first, end):
            used |= 1 if phase_map[i, t] >= 0 else 0
        if used == 0:
            continue
        for i in range(first, end):
            ask_a[i - first] = charger_v[i, t] / u_nom
        if of_node:
            read_nodes(first, end, t, u_nom, node_v, charger_node, phase_map, volt_source, ask_a)
        low = 0
        for i in range(first, end):
            fresh = (member[i - first] == 1) & (phase_map[i, t] >= 0)
            pu, old, lowest, weight = ask_a[i - first], volt_f_pu[i, t], grant_a[i - first], spare_a[i - first]
            new = pu if math.isnan(old) else old + weight * (pu - old)
            volt_f_pu[i, t] = new if fresh else old
            grant_a[i - first] = min(lowest, new) if fresh else lowest
            low |= 1 if fresh & (pu < alarm_pu[0]) else 0
        alarm[0] = alarm[0] | (ALARM_LOW if low == 1 else 0)
    for i in range(first, end):
        lowest, held, band = grant_a[i - first], volt_used_pu[i], droop_deadband_pu[i]
        moved = not abs(lowest - held) < band  # true on NaN: the first value
        held = lowest if (member[i - first] == 1) & moved else held
        volt_used_pu[i] = held
        volt_pu[i] = held
    if grouped[0] == 0:
        return
    for i in range(first, end):
        group = droop_group[i]
        if group >= 0 and volt_source[i] != NONE and volt_used_pu[i] < group_pu[group]:  # false on NaN
            group_pu[group] = volt_used_pu[i]


@kernel
def believe_volts(
    first: int,
    end: int,
    now: int,
    highest: float,
    charger_v: Array,
    node_v: Array,
    charger_node: Array,
    phase_map: Array,
    volt_source: Array,
    node_v_ok: Array,
    volt_ns: Array,
    charger_trust: Array,
    member: Array,
) -> bool:
    """Stamp those whose volts are believed and plausible on every phase in use; say whether any reads a node's."""
    others = 0
    for i in range(first, end):
        one, two, three = charger_v[i, 0], charger_v[i, 1], charger_v[i, 2]
        ok = (volt_source[i] == OWN) & (charger_trust[i] == BELIEVED)
        ok &= (phase_map[i, 0] < 0) | ((one >= 0.0) & (one <= highest))  # false on NaN
        ok &= (phase_map[i, 1] < 0) | ((two >= 0.0) & (two <= highest))
        ok &= (phase_map[i, 2] < 0) | ((three >= 0.0) & (three <= highest))
        old = volt_ns[i]
        volt_ns[i] = now if ok else old
        member[i - first] = 1 if ok else 0
        others |= 1 if (volt_source[i] != OWN) & (volt_source[i] != NONE) else 0
    if others == 0:
        return False
    for i in range(first, end):
        if volt_source[i] != OWN and volt_source[i] != NONE:
            node = charger_node[i]
            ok = node_v_ok[node] == 1
            for t in range(3):
                p = int(phase_map[i, t])
                if ok and p >= 0:
                    ok = 0.0 <= node_v[node, p] <= highest  # false on NaN
            if ok:
                volt_ns[i] = now
                member[i - first] = 1
    return True


@kernel
def read_nodes(
    first: int,
    end: int,
    t: int,
    u_nom_v: float,
    node_v: Array,
    charger_node: Array,
    phase_map: Array,
    volt_source: Array,
    volts: Array,
) -> None:
    """Take the volts of the node, of the phase at terminal t, for those who read them there."""
    for i in range(first, end):
        if volt_source[i] != OWN and phase_map[i, t] >= 0:
            volts[i - first] = node_v[charger_node[i], phase_map[i, t]] / u_nom_v


@kernel
def silent_ns(now_ns: int, volt_ns: int, start_ns: int) -> int:
    """Return for how long the volts have not been believed; since the start where they never were."""
    return now_ns - (volt_ns if volt_ns > 0 else start_ns)


@Stage
def droop(
    first: int,
    end: int,
    now_ns: Array,
    hard_max_a: Array,
    hold_s: Array,
    droop_pu: Array,
    droop_share: Array,
    droop_hysteresis_pu: Array,
    droop_pause_pu: Array,
    droop_resume_pu: Array,
    droop_shift_pu: Array,
    droop_group: Array,
    volt_source: Array,
    start_ns: Array,
    floor_q_a: Array,
    last_a: Array,
    volt_used_pu: Array,
    volt_ns: Array,
    droop_a: Array,
    droop_paused: Array,
    grouped: Array,
    volts_read: Array,
    group_pu: Array,
    spare_a: Array,
    ask_a: Array,
    grant_a: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    chain: Array,
) -> None:
    """Lower the running cap to the curve: at once, or where there are groups, when all their volts are read.

    `spare_a`, `ask_a` and `grant_a` are scratch of one block: volts on the curve, its shares a hysteresis lower and
    there.
    """
    if grouped[0] != volts_read[0]:
        return
    now, start = now_ns[0], start_ns[0]
    plays = 0
    for i in range(first, end):
        used = volt_used_pu[i]
        fresh = (volt_source[i] != NONE) & (volt_ns[i] == now)
        before = droop_paused[i]
        paused = 1 if used < droop_pause_pu[i] else 0 if used >= droop_resume_pu[i] else before
        droop_paused[i] = paused if fresh else before
        plays += 1 if droop_hysteresis_pu[i] != 0.0 else 0
        spare_a[i - first] = used + droop_shift_pu[i]
    for i in range(first, end if grouped[0] == 1 else first):
        if droop_group[i] >= 0:
            spare_a[i - first] = group_pu[droop_group[i]] + droop_shift_pu[i]
    read_curves(first, end, spare_a, droop_pu, droop_share, grant_a)
    if plays > 0:
        for i in range(first, end):
            spare_a[i - first] = spare_a[i - first] - droop_hysteresis_pu[i]
        read_curves(first, end, spare_a, droop_pu, droop_share, ask_a)
    for i in range(first, end):
        droops, last, floor, held = volt_source[i] != NONE, last_a[i], floor_q_a[i], droop_a[i]
        high = grant_a[i - first] * hard_max_a[i]
        low = ask_a[i - first] * hard_max_a[i] if plays > 0 else high
        floored = droop_pause_pu[i] > 0.0
        high = max(high, floor) if floored else high
        low = max(low, floor) if floored else low
        followed = min(max(last if math.isnan(held) else held, low), high)
        fresh = (volt_ns[i] == now) & (not math.isnan(volt_used_pu[i]))
        since = now - (volt_ns[i] if volt_ns[i] > 0 else start)
        silent = (since < 0) | (since * 1e-9 > hold_s[i])
        fallen = floor if math.isnan(held) else min(floor, held)
        new = followed if fresh else fallen if silent else held
        droop_a[i] = new if droops else held
        paused, unknown = droop_paused[i] == 1, math.isnan(new)
        limit = 0.0 if paused else last if unknown else new
        code = UNTRUSTED if unknown & (not paused) else HYSTERESIS if fresh & (followed < high) else LOW
        cap, old, old_a = cap_a[i], reason[i], reason_a[i]
        lower = droops & (limit < cap)
        cap_a[i] = limit if lower else cap
        reason[i] = code if lower else old
        reason_a[i] = limit if lower else old_a
        chain[i, VOLTAGE] = limit if lower else cap


@kernel
def read_curves(first: int, end: int, volts: Array, curve_pu: Array, curve_share: Array, shares: Array) -> None:
    """Read every charger's curve at its volts, as `share_at` does: point after point, which needs no branches."""
    last = curve_pu.shape[1] - 1
    if last < 0:
        for i in range(first, end):
            shares[i - first] = 1.0
        return
    if last == 3:
        read_four(first, end, volts, curve_pu, curve_share, shares)
        return
    for i in range(first, end):
        under = (volts[i - first] <= curve_pu[i, 0]) & (not volts[i - first] >= curve_pu[i, last])
        begin, stop = curve_share[i, 0], curve_share[i, last]
        shares[i - first] = begin if under else stop
    for k in range(1, last + 1):
        for i in range(first, end):
            volt, left, right = volts[i - first], curve_pu[i, k - 1], curve_pu[i, k]
            begin = curve_share[i, k - 1]
            inside = (volt > left) & (volt <= right) & (volt < curve_pu[i, last])
            before, stop = shares[i - first], curve_share[i, k]
            share = begin + (stop - begin) * (volt - left) / (right - left if right > left else 1.0)
            shares[i - first] = share if inside else before


@kernel
def read_four(first: int, end: int, volts: Array, curve_pu: Array, curve_share: Array, shares: Array) -> None:
    """Read curves of four points in one go: the piece is looked for first, since a division takes longer than that."""
    for i in range(first, end):
        volt, one, two, three, four = volts[i - first], curve_pu[i, 0], curve_pu[i, 1], curve_pu[i, 2], curve_pu[i, 3]
        low, lower, higher, high = curve_share[i, 0], curve_share[i, 1], curve_share[i, 2], curve_share[i, 3]
        second, third = volt > two, volt > three
        left, right, begin, stop = one, two, low, lower
        left, right = two if second else left, three if second else right
        begin, stop = lower if second else begin, higher if second else stop
        left, right = three if third else left, four if third else right
        begin, stop = higher if third else begin, high if third else stop
        share = begin + (stop - begin) * (volt - left) / (right - left if right > left else 1.0)
        share = low if volt <= one else share
        shares[i - first] = share if volt < four else high


@Stage
def volt_watt(
    first: int,
    end: int,
    now_ns: Array,
    charger_v: Array,
    node_v: Array,
    charger_node: Array,
    phase_map: Array,
    hold_s: Array,
    u_nom_v: Array,
    export_max_a: Array,
    export_pu: Array,
    export_share: Array,
    export_tau_s: Array,
    volt_source: Array,
    start_ns: Array,
    dt_s: Array,
    volt_ns: Array,
    volt_e_pu: Array,
    volt_high_pu: Array,
    export_cap_a: Array,
    v2g: Array,
    last_min_a: Array,
    low_a: Array,
    low_why: Array,
) -> None:
    """Raise the lower bound towards 0 to the export curve at the highest phase, without hysteresis (IEEE 1547-2018)."""
    if v2g[0] == 0:
        return
    for i in range(first, end):
        if volt_source[i] == NONE or export_max_a[i] <= 0.0:
            continue
        since = silent_ns(now_ns[0], volt_ns[i], start_ns[0])
        if volt_ns[i] == now_ns[0]:  # `volts` believed them in this scan
            highest = -math.inf
            weight = dt_s[0] / (export_tau_s[i] + dt_s[0]) if dt_s[0] > 0.0 else 0.0
            for t in range(3):
                p = int(phase_map[i, t])
                if p >= 0:
                    volt = charger_v[i, t] if volt_source[i] == OWN else node_v[charger_node[i], p]
                    held = volt_e_pu[i, p]
                    pu = volt / u_nom_v[0]
                    held = pu if math.isnan(held) else held + weight * (pu - held)
                    volt_e_pu[i, p] = held
                    highest = max(highest, held)
            volt_high_pu[i] = highest
            export_cap_a[i] = share_at(highest, export_pu[i], export_share[i]) * export_max_a[i]
        elif since < 0 or since * 1e-9 > hold_s[i]:
            export_cap_a[i] = 0.0
        unknown = math.isnan(export_cap_a[i])
        bound = last_min_a[i] if unknown else -export_cap_a[i]
        if bound > low_a[i]:
            low_a[i] = bound
            low_why[i] = UNTRUSTED if unknown else LOW
