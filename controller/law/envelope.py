"""Step 3, envelope: the ceiling of one charger: hardware and cable, the car, an operator's override.

Amps that a car was seen not to take go to others: where it draws less than it may for `car_shrink_s`, its ceiling
becomes what it draws plus `car_margin_a`; once it draws more than half of that margin over, the ceiling is lifted
(Tinkerforge WARP charge manager: 60 s and 3 A, facts E2). An override may only lower; an unknown one (NaN) keeps what
is allowed now; it binds export too.

Export ends at `soc_floor` and begins again `soc_band` over it; a state of charge that is not known, like a reading that
is not believed, allows none that was not allowed before.
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Cp, Reason, Step, Trust

BELIEVED = int(Trust.BELIEVED)
HARDWARE, CAR, OVERRIDE, NO_CAR = int(Reason.HARDWARE), int(Reason.CAR), int(Reason.OVERRIDE), int(Reason.NO_CAR)
ENVELOPE, SOC = int(Step.ENVELOPE), int(Reason.SOC)
CP_A, CP_C, CP_D, CP_E, CP_F = int(Cp.A), int(Cp.C), int(Cp.D), int(Cp.E), int(Cp.F)
UNKNOWN = int(Cp.UNKNOWN)


@Stage
def car(
    first: int,
    end: int,
    now_ns: Array,
    floor_q_a: Array,
    car_margin_a: Array,
    car_shrink_s: Array,
    seen_a: Array,
    last_a: Array,
    swing_a: Array,
    car_a: Array,
    car_ns: Array,
    charger_trust: Array,
) -> None:
    """Learn what the car takes, while its limit rests and its reading is believed."""
    now = now_ns[0]
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        on = (charger_trust[i] == BELIEVED) & (last_a[i] > 0.0)
        last, taken, since_ns, margin, floor = last_a[i], car_a[i], car_ns[i], car_margin_a[i], floor_q_a[i]
        drawn = max(seen_a[i, 0], seen_a[i, 1], seen_a[i, 2], 0.0)
        taken = math.inf if on & (drawn > taken - 0.5 * margin) else taken
        ceiling_a = max(drawn + margin, floor)  # never 0: what is allowed nothing cannot show what it takes
        less = on & (not swing_a[i] > 0.0) & (not ceiling_a >= min(last, taken))
        learnt = less & (since_ns != 0) & ((now - since_ns) * 1e-9 >= car_shrink_s[i])
        since_ns = now if since_ns == 0 else since_ns
        car_a[i] = ceiling_a if learnt else taken
        car_ns[i] = since_ns if less & (not learnt) else 0


@Stage
def ceiling(
    first: int,
    end: int,
    utc_ns: Array,
    hard_max_a: Array,
    override_a: Array,
    override_until_s: Array,
    seen_state: Array,
    last_a: Array,
    car_a: Array,
    cap_a: Array,
    reason: Array,
    reason_a: Array,
    chain: Array,
) -> None:
    """Lower the running cap to hardware, car and override; no car, or a faulted one, is allowed nothing."""
    utc_s = utc_ns[0] * 1e-9
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        asked, old, old_a, state = cap_a[i], reason[i], reason_a[i], seen_state[i]
        code = int(old)
        hard, taken, last, override = hard_max_a[i], car_a[i], last_a[i], override_a[i]
        cap = hard if hard < asked else asked
        code = HARDWARE if hard < asked else code
        code = CAR if taken < cap else code
        cap = taken if taken < cap else cap
        override = last if math.isnan(override) else max(override, 0.0)
        lower = (not override_until_s[i] < utc_s) & (override < cap)  # NaN: it never ends
        code = OVERRIDE if lower else code
        cap = override if lower else cap
        gone = (state == CP_A) | (state == CP_E) | (state == CP_F)
        code = NO_CAR if gone else code
        cap = 0.0 if gone else cap
        less = cap < asked
        cap_a[i] = cap if less else asked
        reason[i] = code if less else old
        reason_a[i] = cap if less else old_a
        chain[i, ENVELOPE] = cap


@Stage
def discharge(
    first: int,
    end: int,
    utc_ns: Array,
    charger_soc: Array,
    override_a: Array,
    override_until_s: Array,
    export_max_a: Array,
    soc_floor: Array,
    soc_band: Array,
    seen_state: Array,
    v2g: Array,
    last_min_a: Array,
    soc_low: Array,
    low_a: Array,
    low_why: Array,
    charger_trust: Array,
) -> None:
    """Raise the lower bound towards 0: discharge ceiling, battery floor, override, no car."""
    if v2g[0] == 0:
        return
    utc_s = utc_ns[0] * 1e-9
    for i in range(first, end):
        low, code = low_a[i], int(low_why[i])
        if -export_max_a[i] > low:
            low, code = -export_max_a[i], HARDWARE
        if charger_trust[i] == BELIEVED:
            if charger_soc[i] >= soc_floor[i] + soc_band[i]:
                soc_low[i] = 0
            elif not charger_soc[i] > soc_floor[i]:  # true on NaN: not known is empty
                soc_low[i] = 1
        if soc_low[i] == 1 and low < 0.0:
            low, code = 0.0, SOC
        ended = override_until_s[i] < utc_s  # false on NaN: it never ends
        if not ended:
            override = last_min_a[i] if math.isnan(override_a[i]) else -max(override_a[i], 0.0)
            if override > low:
                low, code = override, OVERRIDE
        state = seen_state[i]
        if state in (UNKNOWN, CP_A, CP_E, CP_F) and low < 0.0:
            low, code = 0.0, NO_CAR
        low_a[i] = low
        low_why[i] = code
