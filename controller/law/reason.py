"""Step 12, reason: write down what each charger is allowed, what bound it, and remember both for the next scan.

A pause that a node, an order, a window, the volts or the brake asks for may break a comfort rule (DESIGN, precedence).
Which, stands beside the reason: that it must not be paused, minimum on-time and grace from the moment of the pause
until it runs again; guaranteed energy while the car needs it and waits for more than its way up.
"""

from controller.law.kernel import Array, Stage, kernel
from controller.law.names import Comfort, Reason, Step

NO_CAR, WISH, HARDWARE, CAR = int(Reason.NO_CAR), int(Reason.WISH), int(Reason.HARDWARE), int(Reason.CAR)
SWITCH, FREQUENCY = int(Reason.SWITCH), int(Reason.FREQUENCY)
WAY_UP, RESERVED, DWELL = int(Reason.RAMP), int(Reason.RESERVED), int(Reason.DWELL)
UNTRUSTED = int(Reason.UNTRUSTED)
NO_PAUSE, ENERGY, GRACE, MIN_ON = int(Comfort.NO_PAUSE), int(Comfort.ENERGY), int(Comfort.GRACE), int(Comfort.MIN_ON)
RAMP = int(Step.RAMP)


@kernel
def at_pause(now: int, no_pause: int, session_ns: int, on_ns: int, grace_s: float, min_on_s: float) -> int:
    """Return the comfort rules that a pause of a running charger breaks now."""
    rules = NO_PAUSE if no_pause == 1 else 0
    if session_ns > 0 and (now - session_ns) * 1e-9 < grace_s:
        rules |= GRACE
    if on_ns > 0 and (now - on_ns) * 1e-9 < min_on_s:
        rules |= MIN_ON
    return rules


@kernel
def turn(
    first: int,
    end: int,
    now: int,
    random_u: Array,
    no_pause: Array,
    random_delay_s: Array,
    min_on_s: float,
    grace_s: float,
    session_ns: Array,
    on_ns: Array,
    off_ns: Array,
    want_ns: Array,
    delay_s: Array,
    broke: Array,
    last_a: Array,
    allowed_a: Array,
    reason: Array,
) -> None:
    """Set the clocks of those who are switched on or off, and note which comfort rules a pause breaks."""
    for i in range(first, end):
        new, code = allowed_a[i], reason[i]
        if not new > 0.0 and last_a[i] > 0.0:
            broke[i] = at_pause(now, int(no_pause[i]), session_ns[i], on_ns[i], grace_s, min_on_s)
        if new > 0.0 and last_a[i] == 0.0:
            on_ns[i] = now
            off_ns[i] = 0
            want_ns[i] = 0
        elif new == 0.0 and last_a[i] > 0.0:
            want_ns[i] = 0
            if code != NO_CAR:
                off_ns[i] = now
                delay_s[i] = random_u[i] * random_delay_s[i]


@Stage
def conclude(
    first: int,
    end: int,
    now_ns: Array,
    utc_ns: Array,
    need_wh: Array,
    random_u: Array,
    no_pause: Array,
    random_delay_s: Array,
    min_on_s: Array,
    grace_s: Array,
    session_ns: Array,
    started: Array,
    last_ns: Array,
    last_utc_ns: Array,
    linked: Array,
    lost_a: Array,
    on_ns: Array,
    off_ns: Array,
    want_ns: Array,
    delay_s: Array,
    broke: Array,
    last_a: Array,
    fell_ns: Array,
    allowed_a: Array,
    reason: Array,
    broken: Array,
    chain: Array,
    reserved_a: Array,
) -> None:
    """Remember the decision; keep pauses and clocks, and which rules a pause breaks."""
    now, turned = now_ns[0], 0
    for i in range(first, end):  # loops without branches: the compiler takes several chargers at once
        turned |= 1 if (allowed_a[i] > 0.0) != (last_a[i] > 0.0) else 0
    if turned == 1:
        turn(first, end, now, random_u, no_pause, random_delay_s, min_on_s[0], grace_s[0], session_ns, on_ns, off_ns,
             want_ns, delay_s, broke, last_a, allowed_a, reason)  # fmt: skip
    for i in range(first, end):
        new, last, code, kept = allowed_a[i], last_a[i], reason[i], broke[i]
        chain[i, RAMP] = new
        own = (code == NO_CAR) | (code == WISH) | (code == HARDWARE) | (code == CAR) | (code == SWITCH)
        asked = not (own | (code == FREQUENCY))  # its own side did not end it
        waits = (code == WAY_UP) | (code == RESERVED) | (code == DWELL) | (code == UNTRUSTED)
        rules = 0 if (new > 0.0) | (not asked) else int(kept)
        broke[i] = rules
        broken[i] = rules | (ENERGY if asked & (new == 0.0) & (need_wh[i] > 0.0) & (not waits) else 0)
        fell = fell_ns[i]
        fell_ns[i] = now if new < last else fell
        held, lost, link = max(reserved_a[i], new), lost_a[i], linked[i] == 1
        lost_a[i] = held if link else lost
        last_a[i] = new
    started[0] = 1
    last_ns[0] = now_ns[0]
    last_utc_ns[0] = utc_ns[0]
