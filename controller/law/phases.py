"""Step 7, phases: a charger that can go from all its phases to one, and back, where only the one fits.

Asked for one phase where the floors do not fit on all of them but on one (three times 6 A are 4.14 kW, over the
4.2 kW that a German connection keeps at 240 V; facts B1). Asked for all again once the floors of all have had room on
them, and `switch_margin_w` more, for `switch_dwell_s`. At most one switch in `switch_dwell_s`.

A switch passes through 0 A: the limit is 0 until it must be obeyed and nothing is seen to be drawn; then the number is
asked for, and 0 A goes on for `switch_pause_s`, and until the charger reports it. Until all that is done the charger
counts on every phase that it has: the worse of both. So it does whenever it reports, or is seen to draw on, more than
the one, and while its link is lost. One that reports the old number for `LATE_S` longer is taken by its word.

Source: pause 10 s, dwell 600 s before one to three and none the other way, 200 W of hysteresis (EVerest, V, facts C2);
out of step for 60 s is borne (evcc, V). The dwell after a switch holds in both directions here.
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Quality, Reason, Step
from controller.law.start import floor_up

GOOD = int(Quality.GOOD)
SWITCH = int(Reason.SWITCH)
VOLTAGE = int(Step.VOLTAGE)
LATE_S = 60.0
DRAWN_A = 1.0
WATTS = 3
HAIR = 1e-9


@Stage
def follow(
    now_ns: Array,
    charger_a: Array,
    charger_phases: Array,
    charger_quality: Array,
    charger_link: Array,
    phase_map: Array,
    switch_phases: Array,
    switch_dwell_s: Array,
    switch_pause_s: Array,
    plan_kept: Array,
    can_switch: Array,
    known: Array,
    last_a: Array,
    obey_hi_a: Array,
    seen_a: Array,
    live_map: Array,
    phases_asked: Array,
    switch_to: Array,
    switch_ns: Array,
    one_ready: Array,
    one_asked: Array,
    number_phases: Array,
) -> None:
    """Carry a switch on, and take the terminals in use: all, unless the one is sure."""
    if plan_kept[0] == 1 and can_switch[0] == 0:
        return
    now = now_ns[0]
    any_can = 0
    for i in range(last_a.shape[0]):  # without branches: the compiler takes several chargers at once
        one, two, three = phase_map[i, 0], phase_map[i, 1], phase_map[i, 2]
        live_map[i, 0], live_map[i, 1], live_map[i, 2] = one, two, three
        number_phases[i] = (1 if one >= 0 else 0) + (1 if two >= 0 else 0) + (1 if three >= 0 else 0)
        one_ready[i], one_asked[i] = 0, 0
        any_can |= switch_phases[i] | switch_to[i]
    can_switch[0] = 1 if any_can != 0 else 0
    if any_can == 0:
        return
    for i in range(last_a.shape[0]):
        full, first = int(number_phases[i]), -1
        for t in range(3):
            if phase_map[i, t] >= 0:
                first = t if first < 0 else first
        if switch_phases[i] == 0 or full < 2:
            continue
        good = charger_link[i] == 1 and charger_quality[i] == GOOD
        reported = int(charger_phases[i]) if good and charger_phases[i] > 0 else 0
        drawn, beyond = 0.0, 0.0
        for t in range(3):
            if good and phase_map[i, t] >= 0 and charger_a[i, t] > DRAWN_A:  # false on NaN
                drawn = max(drawn, charger_a[i, t])
                beyond = max(beyond, charger_a[i, t] if t != first else 0.0)
        asked, to = int(phases_asked[i]), int(switch_to[i])
        if asked == 0:
            if known[i] == 1 or reported == 1:  # a restart switches nothing
                asked = 1 if reported == 1 else full
        elif to > 0 and asked != to:
            if good and last_a[i] == 0.0 and obey_hi_a[i] == 0.0 and drawn == 0.0:
                asked, switch_ns[i] = to, now
        elif to > 0:
            waited_s = (now - switch_ns[i]) * 1e-9
            if charger_link[i] != 1:
                switch_ns[i] = now  # it may not have heard
            elif waited_s >= switch_pause_s[i] and (reported == to or reported == 0):
                to = 0
            elif waited_s >= switch_pause_s[i] + LATE_S:
                asked, to = 1 if reported == 1 else full, 0
        phases_asked[i], switch_to[i] = asked, to
        number_phases[i] = asked
        rested = switch_ns[i] == 0 or (now - switch_ns[i]) * 1e-9 >= switch_dwell_s[i]
        # out of reach it may have restarted, and then stands on all of its phases
        if asked == 1 and to == 0 and charger_link[i] == 1 and reported < 2 and beyond == 0.0:
            for t in range(3):
                if t != first and phase_map[i, t] >= 0:
                    live_map[i, t] = -1
                    seen_a[i, phase_map[i, t]] = 0.0
        elif asked == full and to == 0 and good and rested:
            one_ready[i] = 1


@kernel
def one_floor(i: int, floor_a: Array, switch_floor_a: Array, step_a: Array) -> float:
    """Return the floor of charger i on one phase."""
    return floor_up(switch_floor_a[i] if switch_floor_a[i] > 0.0 else floor_a[i], step_a[i])


@Stage
def floors(
    first: int,
    end: int,
    floor_a: Array,
    step_a: Array,
    switch_phases: Array,
    switch_floor_a: Array,
    plan_kept: Array,
    can_switch: Array,
    live_map: Array,
    phases_asked: Array,
    floor_q_a: Array,
) -> None:
    """Take each charger's floor on the device's grid: on one phase its own, the higher one where that is not sure."""
    if plan_kept[0] == 1 and can_switch[0] == 0:
        return
    for i in range(first, end):
        floor_q_a[i] = floor_up(floor_a[i], step_a[i])
    for i in range(first, end):
        if switch_phases[i] == 0 or switch_floor_a[i] <= 0.0 or phases_asked[i] > 1:
            continue
        one_a = one_floor(i, floor_a, switch_floor_a, step_a)
        count = 0
        for t in range(3):
            count += 1 if live_map[i, t] >= 0 else 0
        if phases_asked[i] == 0:  # not heard yet: what it reports is adopted on either
            floor_q_a[i] = min(floor_q_a[i], one_a)
        else:
            floor_q_a[i] = one_a if count == 1 else max(floor_q_a[i], one_a)


@Stage
def hold(
    can_switch: Array, switch_to: Array, off_ns: Array, cap_a: Array, reason: Array, reason_a: Array, reason_node: Array
) -> None:
    """Keep a charger that switches at 0 A; that is no pause that the minimum off time is for."""
    if can_switch[0] == 0:
        return
    for i in range(cap_a.shape[0]):
        if switch_to[i] > 0:
            off_ns[i] = 0
            if cap_a[i] > 0.0:
                cap_a[i], reason[i], reason_a[i], reason_node[i] = 0.0, SWITCH, 0.0, -1


@kernel
def one_fits(
    i: int,
    parent: Array,
    charger_node: Array,
    phase_map: Array,
    phase_count: Array,
    volts_v: Array,
    floor_a: float,
    room: Array,
    load: Array,
    pair_on: Array,
    pair_gap_a: Array,
    pair_a: Array,
) -> bool:
    """Say whether a floor of charger i fits on its first phase alone, and take that room in `load` where it does."""
    p = first_phase(i, phase_map)
    floor_w = floor_a * volts_v[i] / max(int(phase_count[i]), 1)
    m = charger_node[i]
    while m >= 0:
        if load[m, p] + floor_a > room[m, p] + HAIR * (1.0 + abs(room[m, p])):
            return False
        if load[m, WATTS] + floor_w > room[m, WATTS] + HAIR * (1.0 + abs(room[m, WATTS])):
            return False
        for q in range(3):
            if pair_on[0] == 1 and q != p and pair_a[m, p, q] + floor_a > pair_gap_a[m, p, q]:
                return False
        m = parent[m]
    m = charger_node[i]
    while m >= 0:
        load[m, p] += floor_a
        load[m, WATTS] += floor_w
        for q in range(3):
            if pair_on[0] == 1 and q != p:
                pair_a[m, p, q] += floor_a
        m = parent[m]
    return True


@kernel
def first_phase(i: int, phase_map: Array) -> int:
    """Return the grid's phase at the first terminal in use of charger i."""
    for t in range(3):
        if phase_map[i, t] >= 0:
            return int(phase_map[i, t])
    return 0


@kernel
def all_fit(
    i: int,
    floor_a: float,
    margin_w: float,
    parent: Array,
    charger_node: Array,
    phase_map: Array,
    uses: Array,
    volts_v: Array,
    base_a: Array,
    room: Array,
    load: Array,
) -> bool:
    """Say whether charger i, admitted on one phase, has its floor on all and the margin on every phase of it."""
    count = 0
    for t in range(3):
        count += 1 if phase_map[i, t] >= 0 else 0
    more_a = floor_a + margin_w / (count * volts_v[i]) if volts_v[i] > 0.0 else math.inf
    m = charger_node[i]
    while m >= 0:
        if load[m, WATTS] + (count * more_a - base_a[i]) * volts_v[i] > room[m, WATTS]:
            return False
        for t in range(3):
            p = int(phase_map[i, t])
            if p >= 0 and load[m, p] + more_a - base_a[i] * uses[i, p] > room[m, p]:
                return False
        m = parent[m]
    return True


@Stage
def choose(
    now_ns: Array,
    parent: Array,
    charger_node: Array,
    phase_map: Array,
    floor_a: Array,
    step_a: Array,
    no_pause: Array,
    car_margin_a: Array,
    switch_phases: Array,
    switch_floor_a: Array,
    switch_dwell_s: Array,
    switch_margin_w: Array,
    can_switch: Array,
    uses: Array,
    phase_count: Array,
    seen_a: Array,
    volts_v: Array,
    no_raise: Array,
    waiting: Array,
    last_a: Array,
    off_ns: Array,
    floor_q_a: Array,
    base_a: Array,
    member: Array,
    room: Array,
    load: Array,
    window_cap_w: Array,
    phases_asked: Array,
    switch_to: Array,
    switch_ns: Array,
    three_ns: Array,
    one_ready: Array,
    one_asked: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    chain: Array,
    admitted: Array,
) -> None:
    """Begin the switches: to one phase for who cannot run on all, to all for who had room there for the dwell."""
    if can_switch[0] == 0:
        return
    any_can, crowded = False, False
    for i in range(cap_a.shape[0]):
        any_can = any_can or switch_phases[i] == 1
        crowded = crowded or (waiting[i] == 1 and one_asked[i] == 0)
    if not any_can:
        return
    sum_floors(parent, charger_node, uses, volts_v, base_a, member, load)
    for i in range(cap_a.shape[0]):
        if switch_phases[i] == 0 or switch_to[i] > 0:
            three_ns[i] = 0
            continue
        if one_ready[i] == 1:
            three_ns[i] = 0
            # watts of a window of its own are fewer amps on three phases than on one
            own_a = min(chain[i, VOLTAGE], window_cap_w[i] * phase_count[i] / volts_v[i] if volts_v[i] > 0.0 else 0.0)
            all_a = window_cap_w[i] / volts_v[i] if volts_v[i] > 0.0 else 0.0
            starved = all_a < floor_q_a[i] and own_a >= one_floor(i, floor_a, switch_floor_a, step_a)
            if one_asked[i] == 1 or starved:
                switch_to[i] = 1
        elif phases_asked[i] == 1 and phase_count[i] == 1:
            count = 0
            for t in range(3):
                count += 1 if phase_map[i, t] >= 0 else 0
            p = first_phase(i, phase_map)
            takes = member[i] == 1 and last_a[i] > 0.0 and seen_a[i, p] >= last_a[i] - car_margin_a[i]
            free = no_raise[i] == 0 and no_pause[i] == 0 and not crowded
            all_a = floor_up(floor_a[i], step_a[i])
            fits = takes and free and count * volts_v[i] * all_a + switch_margin_w[0] <= window_cap_w[i]
            fits = fits and all_fit(i, all_a, switch_margin_w[0], parent, charger_node, phase_map, uses, volts_v,
                                    base_a, room, load)  # fmt: skip
            rested = switch_ns[i] == 0 or (now_ns[0] - switch_ns[i]) * 1e-9 >= switch_dwell_s[i]
            if not fits:
                three_ns[i] = 0
            elif three_ns[i] == 0:
                three_ns[i] = now_ns[0]
            elif rested and (now_ns[0] - three_ns[i]) * 1e-9 >= switch_dwell_s[i]:
                switch_to[i] = count
                crowded = True  # one at a time: the next one sees what it leaves
        if switch_to[i] > 0:
            three_ns[i], off_ns[i] = 0, 0
            member[i], admitted[i], waiting[i] = 0, 0, 0
            base_a[i], cap_a[i] = 0.0, 0.0
            reason[i], reason_a[i], reason_node[i] = SWITCH, 0.0, -1


@kernel
def sum_floors(
    parent: Array, charger_node: Array, uses: Array, volts_v: Array, base_a: Array, member: Array, load: Array
) -> None:
    """Sum the floors of the admitted below every node (M, 4)."""
    load[:] = 0.0
    for i in range(charger_node.shape[0]):
        if member[i] == 1:
            m = charger_node[i]
            for p in range(3):
                load[m, p] += base_a[i] * uses[i, p]
            load[m, WATTS] += base_a[i] * volts_v[i]
    for m in range(parent.shape[0] - 1, 0, -1):
        if parent[m] >= 0:
            for c in range(4):
                load[parent[m], c] += load[m, c]
