"""Step 11, ramp: down at once; up slowly, after a random delay.

A paused charger waits the random delay drawn at its pause, starts at its floor (one without a floor at 0 A) and then
rises by `ramp_up_a_per_s`.
A raise smaller than `raise_band_a` is skipped, so that noise moves nothing. What is left of a raise must be paid
(`pay`).
"""

import math

from controller.law.kernel import Array, Stage
from controller.law.names import Reason
from controller.law.start import floor_to

RAMP = int(Reason.RAMP)


@Stage
def rise(
    first: int,
    end: int,
    now_ns: Array,
    hard_max_a: Array,
    step_a: Array,
    ramp_up_a_per_s: Array,
    raise_band_a: Array,
    wish_exempt: Array,
    dt_s: Array,
    off_ns: Array,
    want_ns: Array,
    delay_s: Array,
    floor_q_a: Array,
    last_a: Array,
    ramp_a: Array,
    allowed_a: Array,
    reason: Array,
    reason_a: Array,
    reason_node: Array,
) -> None:
    """Limit every raise to the ramp, after the random delay."""
    now, dt = now_ns[0], dt_s[0]
    for i in range(first, end):  # without branches: the compiler takes several chargers at once
        target, last, step, exempt = allowed_a[i], last_a[i], step_a[i], wish_exempt[i] == 1
        rate, floor, from_a, wanted = ramp_up_a_per_s[i], floor_q_a[i], ramp_a[i], want_ns[i]
        old, old_a, old_node = reason[i], reason_a[i], reason_node[i]
        at_once = exempt | math.isinf(rate)
        up = target > last
        starts = up & (last == 0.0)
        wanted = 0 if target <= 0.0 else wanted
        wanted = now if starts & (wanted == 0) else wanted
        waits = (off_ns[i] > 0) & ((now - wanted) * 1e-9 < delay_s[i])
        small = (target - last < raise_band_a[i]) & (target < hard_max_a[i] - step)
        small &= up & (not starts) & (not exempt)
        stride = (0.0 if at_once else rate) * dt
        position = min(target, min(max(from_a, last) + stride, last + max(stride, step)))
        stepped = max(floor_to(position, step), last)
        climbs = floor <= 0.0  # without a floor it rises from 0, else it starts there
        begun = 0.0 if waits else target if at_once else stepped if climbs else floor
        new = begun if starts else target if at_once else stepped
        reached = begun if starts & (waits | (not climbs)) else target if at_once else position
        want_ns[i] = wanted
        ramp_a[i] = target if not up else from_a if small else reached
        slow = up & (not small) & (new < target)
        allowed_a[i] = last if small else new if slow else target
        reason[i] = RAMP if slow else old
        reason_a[i] = new if slow else old_a
        reason_node[i] = -1 if slow else old_node
