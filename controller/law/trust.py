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
    for i in range(first, end):
        age_ns = now - charger_change_ns[i]
        good = charger_quality[i] == GOOD and charger_link[i] == 1
        good = good and age_ns >= EARLY_NS and age_ns * 1e-9 <= max_age_s[i]
        limit_a = PLAUSIBLE * hard_max_a[i]
        for t in range(3):
            p = int(live_map[i, t])
            if p >= 0:
                good = good and -limit_a <= charger_a[i, t] <= limit_a  # false on NaN
        volts, highest = 0.0, 0.0
        watts = 0.0
        metered = True
        stand = max(HIGH_PU * u_nom_v[0], stand_v[i])
        for t in range(3):
            p = int(live_map[i, t])
            if p >= 0:
                volt = charger_v[i, t]
                if not (good and LOW_PU * u_nom_v[0] <= volt <= MOST_PU * u_nom_v[0]):
                    volt = stand
                    metered = False
                volts += volt
                highest = max(highest, volt)
                if good:
                    seen_a[i, p] = charger_a[i, t]
                    watts += volt * charger_a[i, t]
        volts_v[i] = volts
        stand_v[i] = highest  # where they are not known, no less than what stood in
        if good:
            if -limit_a * volts <= charger_w[i] <= limit_a * volts:  # false on NaN
                seen_w[i] = charger_w[i]
            else:
                seen_w[i] = watts if metered else 0.0  # what is not known must not hide uncontrolled load
            seen_ns[i] = charger_change_ns[i]
            seen_state[i] = charger_state[i]
            charger_trust[i] = BELIEVED
        elif known[i] == 1 and now >= seen_ns[i] and (now - seen_ns[i]) * 1e-9 <= max_age_s[i] + hold_s[i]:
            charger_trust[i] = HELD
        else:
            charger_trust[i] = DESIGN
        no_raise[i] = 0 if good and clock_ok[0] == 1 and node_hold[charger_node[i]] == 0 else 1
        if not good:
            alarm[0] = alarm[0] | CHARGER_UNTRUSTED
        if charger_link[i] != 1:
            alarm[0] = alarm[0] | LINK_LOST


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
