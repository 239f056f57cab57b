"""Step 12, reason: write down what each charger is allowed, what bound it, and remember both for the next scan."""

from controller.law.kernel import Array, Stage
from controller.law.names import Reason, Step

NO_CAR = int(Reason.NO_CAR)
RAMP = int(Step.RAMP)


@Stage
def conclude(
    first: int,
    end: int,
    now_ns: Array,
    utc_ns: Array,
    random_u: Array,
    random_delay_s: Array,
    started: Array,
    last_ns: Array,
    last_utc_ns: Array,
    linked: Array,
    sent_a: Array,
    lost_a: Array,
    on_ns: Array,
    off_ns: Array,
    want_ns: Array,
    delay_s: Array,
    last_a: Array,
    fell_ns: Array,
    target_a: Array,
    why: Array,
    why_a: Array,
    why_node: Array,
    allowed_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
    chain: Array,
) -> None:
    """Publish the decision; keep pauses and clocks."""
    for i in range(first, end):
        new = target_a[i]
        allowed_a[i] = new
        reason[i] = why[i]
        reason_a[i] = why_a[i]
        reason_node[i] = why_node[i]
        chain[i, RAMP] = new
        if new > 0.0 and last_a[i] == 0.0:
            on_ns[i] = now_ns[0]
            off_ns[i] = 0
            want_ns[i] = 0
        elif new == 0.0 and last_a[i] > 0.0:
            want_ns[i] = 0
            if why[i] != NO_CAR:
                off_ns[i] = now_ns[0]
                delay_s[i] = random_u[i] * random_delay_s[i]
        if new < last_a[i]:
            fell_ns[i] = now_ns[0]
        if linked[i] == 1:
            sent_a[i] = new
            lost_a[i] = max(lost_a[i], new)
        last_a[i] = new
    started[0] = 1
    last_ns[0] = now_ns[0]
    last_utc_ns[0] = utc_ns[0]
