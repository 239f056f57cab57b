"""Limit how fast a written value may move while an output is on; a step beyond it is refused, never clipped."""

import math
from collections.abc import Callable, Sequence

import numpy as np


class Slew:
    """Remember the last values written, (n,), and when.

    Parameters
    ----------
    per_s: fastest change, units of the value per s; +inf no limit
    clock_s: monotonic clock, s
    """

    __slots__ = ("_clock_s", "_last_s", "last", "per_s")

    def __init__(self, count: int, per_s: float, clock_s: Callable[[], float]) -> None:
        self.per_s = per_s
        self.last = np.full(count, np.nan)
        self._clock_s = clock_s
        self._last_s = -math.inf

    def forget(self) -> None:
        """Forget the last values: the next ones are free."""
        self.last[:] = np.nan

    def reach(self) -> float:
        """Return how far a value may move from the last one now."""
        return self.per_s * max(self._clock_s() - self._last_s, 0.0)

    def excess(self, k: int, value: float) -> float:
        """Return by how much a value moves further than it may; 0 where it may."""
        change = abs(value - self.last[k])
        return float(change) if change > self.reach() + 1e-9 else 0.0

    def wrote(self, values: Sequence[float] | np.ndarray) -> None:
        """Keep the values as the last ones written; longer rows are cut."""
        self.last[:] = values[: len(self.last)]
        self._last_s = self._clock_s()

    def toward(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the values on the way to the wanted ones that may be written now, as many as were given."""
        wanted = np.array(values, dtype=float)
        if math.isfinite(self.per_s):
            used = wanted[: len(self.last)]
            last = np.where(np.isfinite(self.last), self.last, used)
            used[:] = last + np.clip(used - last, -self.reach(), self.reach())
        return wanted
