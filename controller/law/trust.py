"""Step 1, trust: which inputs may be believed, and what stands in for those that may not.

An input is believed while its quality is Good, its value finite and plausible, and its age within the device's
`max_age`. The age counts from the last change of its source stamp, on our own monotonic clock; a stamp from the
future is Bad. After that the last value is held for `hold_s`, then the declared design load stands in. Nothing is
raised on an input that is not believed.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Alarm, Quality, Trust

GOOD = int(Quality.GOOD)
BELIEVED, HELD, DESIGN = int(Trust.BELIEVED), int(Trust.HELD), int(Trust.DESIGN)
CLOCK_STEP, CHARGER_UNTRUSTED = int(Alarm.CLOCK_STEP), int(Alarm.CHARGER_UNTRUSTED)
NODE_UNTRUSTED, LINK_LOST = int(Alarm.NODE_UNTRUSTED), int(Alarm.LINK_LOST)

FUTURE_NS = 2_000_000_000  # margin for the substation's clock; NTP-kept clocks differ by milliseconds
EARLY_NS = -100_000_000  # a reading may be latched a moment after the clock of the scan was read
UTC_STEP_S = 2.0
PLAUSIBLE = 2.0  # a meter that says more than twice the ceiling would hide uncontrolled load
NODE_PLAUSIBLE = 10.0  # times the node's limit: more is a broken meter, and its negative would be headroom
LOW_PU, MOST_PU = 0.8, 1.5  # range of volts that converts watts; outside it the volts are a fault, not a basis
HIGH_PU = 1.1  # stands in for volts that are not known, or the last known where they were more: fewer amps


@Stage
def clock(
    now_ns: Array,
    utc_ns: Array,
    started: Array,
    last_ns: Array,
    last_utc_ns: Array,
    start_ns: Array,
    dt_s: Array,
    clock_ok: Array,
    alarm: Array,
) -> None:
    """Take the time since the last scan; a clock that stepped is an alarm and forbids raises in this scan."""
    alarm[0] = 0
    dt_s[0] = 0.0
    clock_ok[0] = 1
    if started[0] == 0:
        start_ns[0] = now_ns[0]
        return
    passed_s = (now_ns[0] - last_ns[0]) * 1e-9
    drift_s = (utc_ns[0] - last_utc_ns[0]) * 1e-9 - passed_s
    if passed_s < 0.0 or drift_s > UTC_STEP_S or drift_s < -UTC_STEP_S:
        clock_ok[0] = 0
        alarm[0] = CLOCK_STEP
        start_ns[0] = now_ns[0]  # what waits for an obey time after the start waits for it anew
    if passed_s > 0.0:
        dt_s[0] = passed_s


@Stage
def chargers(
    first: int,
    end: int,
    now_ns: Array,
    charger_a: Array,
    charger_v: Array,
    charger_w: Array,
    charger_state: Array,
    charger_quality: Array,
    charger_change_ns: Array,
    charger_link: Array,
    charger_node: Array,
    hard_max_a: Array,
    max_age_s: Array,
    hold_s: Array,
    u_nom_v: Array,
    live_map: Array,
    known: Array,
    seen_a: Array,
    seen_w: Array,
    seen_ns: Array,
    seen_state: Array,
    volts_v: Array,
    stand_v: Array,
    node_hold: Array,
    no_raise: Array,
    clock_ok: Array,
    alarm: Array,
    charger_trust: Array,
) -> None:
    """Believe a charger's reading, or hold the last one; it may rise only where node and clock are believed too."""
    now = now_ns[0]
    lowest_v, most_v, high_v = LOW_PU * u_nom_v[0], MOST_PU * u_nom_v[0], HIGH_PU * u_nom_v[0]
    stepped, missed, lost = clock_ok[0] == 0, 0, 0
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        one, two, three = live_map[i, 0], live_map[i, 1], live_map[i, 2]
        amps, amps_two, amps_three = charger_a[i, 0], charger_a[i, 1], charger_a[i, 2]
        limit_a = PLAUSIBLE * hard_max_a[i]
        age_ns = now - charger_change_ns[i]
        linked = charger_link[i] == 1
        good = (charger_quality[i] == GOOD) & linked & (age_ns >= EARLY_NS) & (age_ns * 1e-9 <= max_age_s[i])
        good &= (one < 0) | ((-limit_a <= amps) & (amps <= limit_a))  # false on NaN
        good &= (two < 0) | ((-limit_a <= amps_two) & (amps_two <= limit_a))
        good &= (three < 0) | ((-limit_a <= amps_three) & (amps_three <= limit_a))
        missed |= 0 if good else 1
        lost |= 0 if linked else 1
        volts, watts, metered, highest, stand = 0.0, 0.0, True, 0.0, max(high_v, stand_v[i])
        for t in range(3):
            volt, used = charger_v[i, t], live_map[i, t] >= 0
            fine = good & (lowest_v <= volt) & (volt <= most_v)
            volt = volt if fine else stand
            metered &= fine | (not used)
            highest = max(highest, volt) if used else highest
            volts += volt if used else 0.0
            watts += volt * charger_a[i, t] if good & used else 0.0
        volts_v[i] = volts
        stand_v[i] = highest  # where they are not known, no less than what stood in
        limit_w = limit_a * volts
        new_w, old_w, new_ns, before_ns = charger_w[i], seen_w[i], charger_change_ns[i], seen_ns[i]
        state, old_state = charger_state[i], seen_state[i]
        told = (-limit_w <= new_w) & (new_w <= limit_w)  # false on NaN
        new_w = new_w if told else watts if metered else 0.0  # what is not known must not hide uncontrolled load
        seen_w[i] = new_w if good else old_w
        held = (known[i] == 1) & (now >= before_ns) & ((now - before_ns) * 1e-9 <= max_age_s[i] + hold_s[i])
        seen_ns[i] = new_ns if good else before_ns
        seen_state[i] = state if good else old_state
        charger_trust[i] = BELIEVED if good else HELD if held else DESIGN
        no_raise[i] = 0 if good & (not stepped) else 1
    for t in range(3):
        used = 0
        for i in range(first, end):
            used |= 1 if live_map[i, t] >= 0 else 0
        for p in range(3 if used == 1 else 0):  # mostly nobody uses the second and third
            for i in range(first, end):
                amps, seen = charger_a[i, t], seen_a[i, p]
                seen_a[i, p] = amps if (charger_trust[i] == BELIEVED) & (live_map[i, t] == p) else seen
    alarm[0] = alarm[0] | (CHARGER_UNTRUSTED if missed == 1 else 0) | (LINK_LOST if lost == 1 else 0)
    held_down = 0
    for m in range(node_hold.shape[0]):
        held_down |= node_hold[m]
    if held_down == 0:
        return
    for i in range(first, end):
        no_raise[i] |= node_hold[charger_node[i]]


@Stage
def nodes(
    now_ns: Array,
    utc_ns: Array,
    node_v_quality: Array,
    node_v_change_ns: Array,
    node_v_stamp_utc_ns: Array,
    node_a: Array,
    node_a_quality: Array,
    node_a_change_ns: Array,
    node_a_stamp_utc_ns: Array,
    parent: Array,
    node_limit_a: Array,
    node_metered: Array,
    node_max_age_s: Array,
    node_hold_s: Array,
    node_uses: Array,
    node_v_ok: Array,
    node_a_seen_ns: Array,
    node_known: Array,
    node_hold: Array,
    alarm: Array,
    node_trust: Array,
) -> None:
    """Believe a node's amps and volts; hold down all below a metered node that is not believed."""
    now = now_ns[0]
    utc = utc_ns[0]
    for m in range(parent.shape[0]):
        age_ns = now - node_v_change_ns[m]
        good = node_v_quality[m] == GOOD and node_v_stamp_utc_ns[m] <= utc + FUTURE_NS
        good = good and age_ns >= EARLY_NS and age_ns * 1e-9 <= node_max_age_s[m]
        node_v_ok[m] = 1 if good else 0
        age_ns = now - node_a_change_ns[m]
        good = node_metered[m] == 1 and node_a_quality[m] == GOOD and node_a_stamp_utc_ns[m] <= utc + FUTURE_NS
        good = good and age_ns >= EARLY_NS and age_ns * 1e-9 <= node_max_age_s[m]
        for p in range(3):
            limit_a = NODE_PLAUSIBLE * node_limit_a[m, p]
            fine = math.isfinite(node_a[m, p]) and -limit_a <= node_a[m, p] <= limit_a
            good = good and (node_uses[m, p] == 0 or fine)
        node_hold[m] = node_hold[parent[m]] if parent[m] >= 0 else 0
        if good:
            node_trust[m] = BELIEVED
            node_a_seen_ns[m] = node_a_change_ns[m]
            node_known[m] = 1
            continue
        held_ns = now - node_a_seen_ns[m]
        held = node_known[m] == 1 and held_ns >= 0 and held_ns * 1e-9 <= node_max_age_s[m] + node_hold_s[m]
        node_trust[m] = HELD if held else DESIGN
        if node_metered[m] == 1:
            node_hold[m] = 1
            alarm[0] = alarm[0] | NODE_UNTRUSTED
