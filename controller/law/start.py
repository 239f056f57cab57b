"""Adopt what the chargers report: a restart of the controller must not move a single amp.

The first believed reading of a charger gives the amps allowed now. What was never heard of is allowed nothing, and
its fail-safe current is reserved.
"""

import math

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Trust

BELIEVED = int(Trust.BELIEVED)


@kernel
def floor_to(value: float, step: float) -> float:
    """Round down to a multiple of the device's step; a hair's breadth under a multiple counts as that multiple."""
    if step <= 0.0:
        return value
    return math.floor(value / step + 1e-9) * step


@kernel
def floor_up(floor_a: float, step_a: float) -> float:
    """Round a smallest current up to a multiple of the device's step."""
    return -floor_to(-floor_a + 2e-9 * step_a, step_a) if step_a > 0.0 else floor_a


@Stage
def adopt(
    first: int,
    end: int,
    now_ns: Array,
    charger_limit_a: Array,
    charger_link: Array,
    session_no: Array,
    hard_max_a: Array,
    step_a: Array,
    failsafe_a: Array,
    export_max_a: Array,
    started: Array,
    last_ns: Array,
    clock_ok: Array,
    known: Array,
    session_seen: Array,
    session_ns: Array,
    on_ns: Array,
    off_ns: Array,
    car_a: Array,
    car_ns: Array,
    floor_q_a: Array,
    last_a: Array,
    hist_now_hi_a: Array,
    hist_slot: Array,
    hist_end_ns: Array,
    obey_hi_a: Array,
    span_hi_a: Array,
    export_heard: Array,
    last_min_a: Array,
    soc_low: Array,
    linked: Array,
    contact_ns: Array,
    sent_a: Array,
    lost_a: Array,
    ramp_a: Array,
    rank: Array,
    charger_trust: Array,
) -> None:
    """Adopt the reported limit of a charger heard for the first time; begin a new session's timers."""
    now = now_ns[0]
    news = 1 if started[0] == 0 else 0
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        believed, link = charger_trust[i] == BELIEVED, charger_link[i] == 1
        news |= 1 if believed & ((known[i] == 0) | (session_no[i] != session_seen[i])) else 0
        news |= 1 if link != (linked[i] == 1) else 0
    for i in range(first, end if clock_ok[0] == 0 else first):
        contact_ns[i] = now  # since when who is out of reach is so is not known any more
    if news == 0:
        return
    for i in range(first, end):
        if linked[i] == 1 and charger_link[i] != 1:
            sent_a[i] = last_a[i]
            contact_ns[i] = last_ns[0] if clock_ok[0] == 1 else now
        if started[0] == 0:
            contact_ns[i] = now
            lost_a[i] = failsafe_a[i]
            rank[i] = i
        if charger_trust[i] == BELIEVED:
            if known[i] == 0:
                known[i] = 1
                session_seen[i] = session_no[i]
                limit = charger_limit_a[i]
                if limit > 0.0:  # false on NaN
                    limit = floor_to(min(limit, hard_max_a[i]), step_a[i])
                    if limit >= floor_q_a[i] and limit > last_a[i]:
                        last_a[i] = limit
                        on_ns[i] = now
                        ramp_a[i] = limit
                        hist_slot[i], hist_end_ns[i] = -1, 0  # the history starts here
                elif limit < 0.0:  # it exports
                    last_min_a[i] = -floor_to(min(-limit, export_max_a[i]), step_a[i])
                    export_heard[0] = 1
                    soc_low[i] = 0  # whether it may go on, `envelope.discharge` says
            elif session_no[i] != session_seen[i]:
                session_seen[i] = session_no[i]
                session_ns[i] = now
                off_ns[i] = 0
                car_a[i] = math.inf
                car_ns[i] = 0
        if charger_link[i] == 1 and linked[i] == 0 and hist_slot[i] >= 0:
            # its fail-safe ends with the first telegram: it goes back to the set-point it last heard
            hist_now_hi_a[i] = max(hist_now_hi_a[i], sent_a[i])
            span_hi_a[i] = max(span_hi_a[i], sent_a[i])
            obey_hi_a[i] = max(obey_hi_a[i], sent_a[i])
        linked[i] = 1 if charger_link[i] == 1 else 0
