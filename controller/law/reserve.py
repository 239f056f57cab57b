"""Break before make: what each charger may still draw, whatever it was just told.

A charger reserves max(allowed now, any limit within its obey time, drawn); with its link lost also its fail-safe, until
it must have fallen to that. `pay.pay` grants raises from unreserved amps only. The same history tells by how much a
reading may be off the present amps: the swing of the limits until readings must show them. Exports are reserved apart.

A charger that says it applies more than any order that it may still be following (another master, its own fail-safe,
or it ignores us) reserves what it says, until an order of ours is read back and an obey time has passed. What of it is
above its order is taken out of the others' room (`headroom`).
"""

import math

import numpy as np

from controller.law.image import BUCKETS
from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Alarm, Trust

BELIEVED, DESIGN = int(Trust.BELIEVED), int(Trust.DESIGN)
ALARM_OVER = int(Alarm.CHARGER_OVER)


@Stage
def reserve(
    first: int,
    end: int,
    now_ns: Array,
    charger_limit_a: Array,
    hard_max_a: Array,
    limit_slack_a: Array,
    failsafe_a: Array,
    failsafe_s: Array,
    obey_s: Array,
    max_age_s: Array,
    hold_s: Array,
    uses: Array,
    seen_a: Array,
    linked: Array,
    contact_ns: Array,
    lost_a: Array,
    over_a: Array,
    over_ns: Array,
    taken_a: Array,
    last_a: Array,
    hist_hi_a: Array,
    hist_lo_a: Array,
    hist_now_hi_a: Array,
    hist_now_lo_a: Array,
    hist_slot: Array,
    hist_end_ns: Array,
    last_ns: Array,
    clock_ok: Array,
    obey_hi_a: Array,
    span_hi_a: Array,
    span_lo_a: Array,
    swing_a: Array,
    fell_ns: Array,
    drop_a: Array,
    alarm: Array,
    charger_trust: Array,
    reserved_a: Array,
) -> None:
    """Keep the history of limits in buckets of time, and reserve what each charger may still draw.

    The buckets cover the obey time and the age of a reading; one bucket more is looked at than would be needed, so
    that a limit is never forgotten early. Chargers begin their buckets one after the other, so that no scan has to
    look at all of them.
    """
    now = now_ns[0]
    stepped = clock_ok[0] == 0  # how long ago a limit was sent is not known then: all of them count as new
    forward = now >= last_ns[0]
    buckets = hist_hi_a.shape[1]
    longer = buckets / (buckets - 1)
    for i in range(first, end):  # loops without branches: the compiler takes several chargers at once
        last = last_a[i]
        hist_now_hi_a[i] = max(hist_now_hi_a[i], last)
        hist_now_lo_a[i] = min(hist_now_lo_a[i], last)
        span_hi_a[i] = max(span_hi_a[i], last)
        span_lo_a[i] = min(span_lo_a[i], last)
        obey_hi_a[i] = max(obey_hi_a[i], last)
    due = 0
    for i in range(first, end):
        due |= 0 if forward & (now < hist_end_ns[i]) else 1
    for i in range(first, end if due == 1 else first):
        if not (forward and now < hist_end_ns[i]):  # not only the last scan's limit is new
            begin_bucket(np.int64(i), now, last_a[i], obey_s[i], max_age_s[i], stepped, hist_hi_a, hist_lo_a,
                         hist_now_hi_a, hist_now_lo_a, hist_slot, hist_end_ns, obey_hi_a, span_hi_a,
                         span_lo_a)  # fmt: skip
    if says_more(first, end, charger_limit_a, limit_slack_a, charger_trust, span_hi_a, over_a):
        alarm[0] = alarm[0] | follow_more(first, end, now, charger_limit_a, hard_max_a, limit_slack_a, obey_s, hold_s,
                                          uses, seen_a, over_a, over_ns, taken_a, last_a, obey_hi_a, span_hi_a,
                                          charger_trust)  # fmt: skip
    if stepped:
        for i in range(first, end):
            fell_ns[i] = now if fell_ns[i] > 0 else 0
    out = 0
    for i in range(first, end):
        swing = max(span_hi_a[i], over_a[i]) - span_lo_a[i]
        span_s = longer * max(obey_s[i] + max_age_s[i], 0.001)
        fell = (fell_ns[i] > 0) & ((now - fell_ns[i]) * 1e-9 <= span_s)
        swing_a[i] = swing
        drop_a[i] = swing if fell else 0.0  # a limit that only rose leaves no doubt below
        heard = charger_trust[i] != DESIGN
        held = obey_hi_a[i]
        for p in range(3):
            seen = seen_a[i, p]
            held = max(held, seen if heard & (uses[i, p] == 1) else held)
        out |= 0 if linked[i] == 1 else 1
        reserved_a[i] = held
    if out == 0:
        return
    for i in range(first, end):
        if linked[i] == 0:
            lost, failsafe = lost_a[i], failsafe_a[i]
            waits = (now - contact_ns[i]) * 1e-9 <= failsafe_s[i] + obey_s[i]
            reserved_a[i] = max(lost, failsafe) if waits else failsafe


@kernel
def says_more(
    first: int,
    end: int,
    charger_limit_a: Array,
    limit_slack_a: Array,
    charger_trust: Array,
    span_hi_a: Array,
    over_a: Array,
) -> bool:
    """Say whether any charger applies more than it was told, or is still held to what it said: mostly none does."""
    any_more = 0
    for i in range(first, end):
        more = charger_limit_a[i] > span_hi_a[i] + limit_slack_a[i]  # false on NaN
        any_more |= 1 if ((charger_trust[i] == BELIEVED) & more) | (over_a[i] > 0.0) else 0
    return any_more == 1


@kernel
def follow_more(
    first: int,
    end: int,
    now: int,
    charger_limit_a: Array,
    hard_max_a: Array,
    limit_slack_a: Array,
    obey_s: Array,
    hold_s: Array,
    uses: Array,
    seen_a: Array,
    over_a: Array,
    over_ns: Array,
    taken_a: Array,
    last_a: Array,
    obey_hi_a: Array,
    span_hi_a: Array,
    charger_trust: Array,
) -> int:
    """Keep what each charger says it applies beyond its orders, and for how long; return the alarm of it."""
    disobeyed = 0
    for i in range(first, end):
        limit, sure, drawn, since, before = charger_limit_a[i], charger_trust[i] == BELIEVED, 0.0, over_ns[i], over_a[i]
        for p in range(3):
            drawn = max(drawn, seen_a[i, p] if uses[i, p] == 1 else 0.0)
        over = sure & (limit > span_hi_a[i] + limit_slack_a[i])  # false on NaN
        since = now if over | (not sure) else since  # a reading that is lost ends nothing
        back_s = obey_s[i] + (hold_s[i] if math.isnan(limit) else 0.0)
        ended = (now - since) * 1e-9 > back_s
        held = max(min(limit, hard_max_a[i]), drawn) if over else 0.0 if ended else before
        over_a[i], over_ns[i] = held, since
        taken_a[i] = max(held - last_a[i], 0.0)
        obey_hi_a[i] = max(obey_hi_a[i], held)
        disobeyed |= 1 if held > 0.0 else 0
    return ALARM_OVER if disobeyed == 1 else 0


@kernel
def begin_bucket(
    i: int,
    now: int,
    last: float,
    obey_s: float,
    max_age_s: float,
    stepped: bool,
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
    if stepped or hist_slot[i] < 0 or passed < 0 or passed >= BUCKETS:
        back = hist_slot[i] >= 0 and (stepped or passed < 0)  # a clock that jumped must not make us forget
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
def reserve_exports(
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
    clock_ok: Array,
    last_min_a: Array,
    back_now_a: Array,
    back_old_a: Array,
    back_now_lo_a: Array,
    back_old_lo_a: Array,
    back_slot: Array,
    back_lost_a: Array,
    back_swing_a: Array,
    back_drop_a: Array,
    back_fell_ns: Array,
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
        if clock_ok[0] == 0:  # it all counts as new
            back_old_a[i] = max(back_now_a[i], back_old_a[i])
            back_old_lo_a[i] = min(back_now_lo_a[i], back_old_lo_a[i])
            back_now_a[i], back_now_lo_a[i] = max(back_old_a[i], last), min(back_old_lo_a[i], last)
            back_fell_ns[i] = now_ns[0] if back_fell_ns[i] > 0 else 0
            back_slot[i] = slot
        elif slot == back_slot[i] + 1:
            back_old_a[i], back_old_lo_a[i] = back_now_a[i], back_now_lo_a[i]
            back_now_a[i], back_now_lo_a[i] = last, last
        elif slot > back_slot[i]:
            back_old_a[i], back_old_lo_a[i] = last, last
            back_now_a[i], back_now_lo_a[i] = last, last
        else:  # the same, or a clock that went back: nothing is forgotten
            back_now_a[i], back_now_lo_a[i] = max(back_now_a[i], last), min(back_now_lo_a[i], last)
        back_slot[i] = max(back_slot[i], slot)
        held = max(back_now_a[i], back_old_a[i])
        back_swing_a[i] = held - min(back_now_lo_a[i], back_old_lo_a[i])
        fell = back_fell_ns[i] > 0 and now_ns[0] - back_fell_ns[i] <= 2 * span_ns
        back_drop_a[i] = back_swing_a[i] if fell else 0.0  # an export that only rose leaves no doubt about the most
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
        swing_a[i] += back_swing_a[i]
        export_reserved_a[i] = held
