"""Keep what was taken of a contract: hours and calls of the local day and year, notice, energy curtailed.

Hours and calls follow from the accepted calls alone, which the journal keeps, so they survive a restart; hours are
those of the union of the calls, each clipped to the year or day in question. The energy curtailed is measured and
written to the journal now and then (`account`); a restart goes on from the last entry. It is an estimate and an upper
bound: what the chargers that the contract held back were allowed before it, less what they are allowed with it.
"""

import calendar
import math
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

HOUR_S = 3600.0
Interval = tuple[float, float]
Name = tuple[str, str]


@dataclass(slots=True)
class Call:
    """Hold one accepted call: when it was made, for when (UTC epoch s), its watts, and what was not as agreed."""

    told_s: float
    from_s: float
    to_s: float
    value_w: float
    late: bool = False
    beyond: str = ""


@dataclass(slots=True)
class Account:
    """Hold the calls of one contract by (source, order id), and the energy curtailed by local year, Wh."""

    zone: ZoneInfo
    calls: dict[Name, list[Call]] = field(default_factory=dict)
    curtailed_wh: dict[int, float] = field(default_factory=dict)

    def all_calls(self) -> list[Call]:
        """Return every call, replaced ones too."""
        return [call for calls in self.calls.values() for call in calls]

    def with_call(self, name: Name, call: Call) -> "Account":
        """Return the account as it would be with one call more; this one stays as it is."""
        found = self.until(math.inf)
        found.take(name, call)
        return found

    def until(self, now_s: float) -> "Account":
        """Return what was taken until now (UTC epoch s), as an account of its own: an end to come may come sooner."""
        calls = {
            key: [replace(each, to_s=max(min(each.to_s, now_s), each.from_s)) for each in made]
            for key, made in self.calls.items()
        }
        return Account(self.zone, calls, self.curtailed_wh)

    def take(self, name: Name, call: Call) -> None:
        """Add a call; one of the same name before it ends now."""
        self.end(name, call.told_s)
        self.calls.setdefault(name, []).append(call)

    def end(self, name: Name, now_s: float) -> None:
        """Withdraw a call: what has not begun is gone, what has begun ends now."""
        for call in self.calls.get(name, [])[-1:]:
            call.to_s = max(min(call.to_s, now_s), call.from_s)

    def hours(self, start_s: float, end_s: float) -> float:
        """Return the hours between two UTC times that calls cover."""
        spans = [(call.from_s, call.to_s) for call in self.all_calls()]
        clipped = sorted((max(a, start_s), min(b, end_s)) for a, b in spans if b > start_s and a < end_s)
        total_s, reached_s = 0.0, start_s
        for begin_s, until_s in clipped:
            total_s += max(until_s - max(begin_s, reached_s), 0.0)
            reached_s = max(reached_s, until_s)
        return total_s / HOUR_S

    def year(self, now_s: float) -> int:
        """Return the local year of a UTC time."""
        return datetime.fromtimestamp(now_s, self.zone).year

    def year_span(self, year: int) -> Interval:
        """Return the UTC times at which a local year begins and ends."""
        return self._midnight(date(year, 1, 1)), self._midnight(date(year + 1, 1, 1))

    def day_spans(self, start_s: float, end_s: float) -> list[Interval]:
        """Return the UTC spans of the local days that an interval touches."""
        day, spans = datetime.fromtimestamp(start_s, self.zone).date(), []
        while self._midnight(day) < end_s:
            spans.append((self._midnight(day), self._midnight(day + timedelta(days=1))))
            day += timedelta(days=1)
        return spans

    def calls_in(self, year: int) -> int:
        """Return how many calls were made for a time that begins in a local year.

        One that replaces another before that is over is not another; the same name again after it is.
        """
        count = 0
        for calls in self.calls.values():
            over_s, counted = -math.inf, False
            for call in calls:
                counted = counted and not over_s < call.told_s
                if not counted and self.year(call.from_s) == year:
                    count, counted = count + 1, True
                over_s = call.to_s
        return count

    def curtail(self, now_s: float, energy_wh: float) -> None:
        """Add energy curtailed."""
        year = self.year(now_s)
        self.curtailed_wh[year] = self.curtailed_wh.get(year, 0.0) + energy_wh

    def state(self, year: int) -> dict[str, Any]:
        """Return the figures of a local year, for journal and reports; future calls count."""
        made = [call for call in self.all_calls() if self.year(call.from_s) == year]
        return {
            "year": year,
            "hours": self.hours(*self.year_span(year)),
            "hours_of_year": (8784 if calendar.isleap(year) else 8760),
            "calls": self.calls_in(year),
            "late_calls": sum(call.late for call in made),
            "calls_beyond": sum(bool(call.beyond) for call in made),
            "shortest_notice_s": min((call.from_s - call.told_s for call in made), default=None),
            "curtailed_kwh": self.curtailed_wh.get(year, 0.0) / 1e3,
        }

    def _midnight(self, day: date) -> float:
        return datetime.combine(day, time(), self.zone).timestamp()
