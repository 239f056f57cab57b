"""Time the communication watchdog of a charger: what feeds it, and what happens when nobody does.

Four families are found in real register maps (KEBA and Heidelberg: any valid request; Alfen: only the set-point
itself; Webasto and Vestel: a life bit; Mennekes and eSolutions: a magic token).
"""

import math
from typing import Any

from hil.plant.kernel import kernel

WATCHDOGS = ("none", "any_traffic", "per_setpoint", "life_bit", "token")
NONE, ANY_TRAFFIC, PER_SETPOINT, LIFE_BIT, TOKEN = range(len(WATCHDOGS))
EPS_S = 1e-6  # a timer that ends within a microsecond of the step has ended


def feed(s: Any, now_s: float) -> None:
    """Re-arm the watchdog of one state record; an expired one releases the last set-point at once."""
    s["armed_at_s"] = now_s
    s["failsafe_active"] = False
    s["failsafe_remaining_s"] = s["failsafe_s"] if s["failsafe_s"] > 0.0 else math.inf


@kernel
def watch(p: Any, s: Any, now_s: float) -> None:
    """Expire the watchdog of one charger where its time is over."""
    if math.isnan(s.armed_at_s):
        s.armed_at_s = now_s
    off = p.watchdog == NONE or s.failsafe_s <= 0.0 or s.failsafe_s == math.inf
    if off:
        s.failsafe_remaining_s = math.inf
        if p.watchdog != PER_SETPOINT:  # that one also waits for its first set-point after a boot
            s.failsafe_active = False
        return
    left_s = s.armed_at_s + s.failsafe_s - now_s
    if left_s <= EPS_S:
        s.failsafe_active = True
    s.failsafe_remaining_s = 0.0 if s.failsafe_active else max(left_s, 0.0)
