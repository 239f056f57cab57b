"""Share a law of a few lines whose decisions are easy to foresee, and a bounded wait."""

import threading
import time
from collections.abc import Callable
from typing import Any


def allow_override(inp: Any, plan: Any, state: Any, out: Any) -> None:
    """Allow each charger its override, 16 A at most, and count the scans in STATE."""
    state.last_ns[0] += 1
    out.scan[0] = inp.scan[0]
    out.now_ns[0] = inp.now_ns[0]
    out.allowed_a[:] = inp.override_a.clip(0.0, 16.0)
    out.reason_a[:] = inp.random_u + state.last_ns[0]


def wait_for(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Poll a condition; the bound is there only so that a broken test ends, no verdict hangs on it."""
    until_s = time.monotonic() + seconds
    pause = threading.Event()
    while not true():
        assert time.monotonic() < until_s, "waited in vain"
        pause.wait(0.005)
