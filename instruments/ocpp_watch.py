"""Compare what a charge point draws and says it applies with what it accepted: pure, the clock is handed in."""

import math

import numpy as np

from instruments.ocpp_reading import BAD, PointReading

NS = 1_000_000_000
TAKEN_A, TAKEN_SHARE = 0.25, 0.02  # by which a composite limit may be above the order; the share where it is in W
DRAWN_A, DRAWN_SHARE = 0.5, 0.1  # drawn amps: tolerance of the over-current trip in EVerest's EvseManager


def above_order(limit_a: float, ordered_a: float, unit: str) -> bool:
    """Say whether a limit in force is above the order, A; NaN says nothing."""
    return limit_a > ordered_a + TAKEN_A + (TAKEN_SHARE * ordered_a if unit == "W" else 0.0)


class DrawnWatch:
    """Watch measured amps for a point that accepts orders and does not apply them."""

    __slots__ = ("_obey_ns", "_since_ns")

    def __init__(self, obey_s: float) -> None:
        """Take the time in which a limit must be obeyed, s."""
        self._obey_ns = round(obey_s * NS)
        self._since_ns = 0

    def drawn_a(self, reading: PointReading, now_ns: int) -> float:
        """Return the largest phase amps where they stayed above the order for longer than it may take; NaN otherwise.

        Takes `overwritten_a` back where neither drawn amps nor the limit in force are above the order any more.
        """
        allowed_a = reading.sent_a * (1.0 + DRAWN_SHARE) + DRAWN_A
        if reading.quality == BAD or not bool(np.any(reading.amp_a > allowed_a)):
            self._since_ns = 0
            if not reading.limit_a > reading.sent_a + TAKEN_A:
                reading.overwritten_a = math.nan
            return math.nan
        self._since_ns = self._since_ns or max(now_ns, reading.sent_ns)
        if now_ns - self._since_ns <= self._obey_ns:
            return math.nan
        self._since_ns = now_ns
        return float(np.nanmax(reading.amp_a))


def drawing_phases(reading: PointReading) -> int:
    """Return on how many phases current is drawn."""
    return int(np.sum(reading.amp_a > DRAWN_A))
