"""Keep the two clocks of a run: the machine's monotonic clock and the scenario's UTC derived from it.

The scenario's UTC is the monotonic clock plus one constant of the site file. So a step of the machine's wall clock
cannot move a contract window, and a street may start at 16:59:50 whatever the time is.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

NS = 1_000_000_000
LOOK_NS = 60 * NS  # zones change on whole minutes of UTC
AHEAD_MIN = 720  # no window is issued earlier than that


@dataclass(frozen=True, slots=True)
class SiteClock:
    """Derive UTC (ns of the Unix epoch) from the monotonic clock by `utc_minus_mono_ns`."""

    utc_minus_mono_ns: int
    monotonic_ns: Callable[[], int] = time.monotonic_ns

    def utc_ns(self) -> int:
        """Return the scenario's UTC now, ns."""
        return self.monotonic_ns() + self.utc_minus_mono_ns


class LocalTime:
    """Tell how far local time is ahead of UTC, also across a change to or from summer time.

    `zone` is an IANA name; an empty one keeps `offset_s` for ever. ZoneInfoNotFoundError for one that is not there.
    """

    __slots__ = ("_change_ns", "_next_s", "_offset_s", "_until_ns", "_zone")

    def __init__(self, zone: str, offset_s: float) -> None:
        self._zone = ZoneInfo(zone) if zone else None
        self._offset_s = offset_s
        self._until_ns = -1
        self._change_ns, self._next_s = 0, offset_s

    def offset_s(self, utc_ns: int) -> float:
        """Return local time minus UTC at `utc_ns`, s; the zone is asked once a minute."""
        if self._zone is not None and not 0 < self._until_ns - utc_ns <= LOOK_NS:
            minute = utc_ns // LOOK_NS
            self._offset_s = self._at(minute)
            self._until_ns = (minute + 1) * LOOK_NS
            self._look_ahead(minute)
        return self._offset_s

    def next_change(self, utc_ns: int) -> tuple[int, float]:
        """Return UTC ns of the next change and local time minus UTC after it, s; 0 where none is within 12 hours."""
        self.offset_s(utc_ns)
        return self._change_ns, self._next_s

    def _at(self, minute: int) -> float:
        offset = datetime.fromtimestamp(minute * 60, UTC).astimezone(self._zone).utcoffset()
        return offset.total_seconds() if offset is not None else self._offset_s

    def _look_ahead(self, minute: int) -> None:
        low, high = minute, minute + AHEAD_MIN
        self._next_s = self._at(high)
        if self._next_s == self._offset_s:
            self._change_ns = 0
            return
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._at(middle) == self._offset_s else (low, middle)
        self._change_ns = high * LOOK_NS


def sleep_until(deadline_ns: int) -> None:
    """Sleep to an absolute deadline of the monotonic clock, ns; return at once where it has passed.

    Python 3.11 sleeps by clock_nanosleep to an absolute deadline made from the difference, so a preemption between
    the two lines lengthens one sleep and never shifts the deadlines after it.
    """
    left_ns = deadline_ns - time.monotonic_ns()
    if left_ns > 0:
        time.sleep(left_ns / NS)


@dataclass(slots=True)
class Deadlines:
    """Walk along absolute deadlines one period apart; skip whole periods after an overrun and count them.

    All times are ns of the monotonic clock. `next_ns` is the deadline to sleep to.
    """

    period_ns: int
    next_ns: int
    skipped: int = 0

    def advance(self, now_ns: int) -> int:
        """Move to the first deadline after `now_ns` and return how many whole periods were skipped."""
        self.next_ns += self.period_ns
        late_ns = now_ns - self.next_ns
        if late_ns < 0:
            return 0
        lost = late_ns // self.period_ns + 1
        self.next_ns += lost * self.period_ns
        self.skipped += lost
        return lost
