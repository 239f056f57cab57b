"""Tell the windows of a contract by the clock of its site, where the contract's own clock is another zone's.

The law knows one local clock, the site's. So each window of each date is worked out on the contract's clock, summer
time of both zones included, and cut into parts of the site's dates; parts that are alike on several dates are one row.
Where a clock repeats an hour in autumn, a window that begins or ends in it holds both times: a limit is never shorter
than the contract says.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import numpy as np

from controller.runtime.contract_calendar import DAY_S, HORIZON_DAYS, pack

Row = tuple[float, float, float, int, bytes]  # from, until (s of the local day), limit, days of the week, dates
MARGIN_DAYS = 3  # at both ends of the calendars: what begins on another date over there


def translated(rows: Iterable[Row], first: date, own: ZoneInfo, site: ZoneInfo) -> list[Row]:
    """Return rows by the clock of `site` that hold when `rows` do by the clock of `own`.

    Calendars of `rows` begin MARGIN_DAYS before `first`, those that are returned on it.
    """
    found: dict[tuple[float, float, float], set[int]] = {}
    for from_s, to_s, limit, days, dates in rows:
        length_s = (to_s - from_s) % DAY_S or DAY_S
        bits = np.unpackbits(np.frombuffer(dates, dtype=np.uint8), bitorder="little")
        for k in range(-MARGIN_DAYS, HORIZON_DAYS + MARGIN_DAYS):
            day, place = first + timedelta(days=k), k + MARGIN_DAYS
            if not days >> day.weekday() & 1 or (place < len(bits) and not bits[place]):
                continue
            begin_s, end_s = at_clock(day, from_s, own, late=False), at_clock(day, from_s + length_s, own, late=True)
            for on, part_from_s, part_s in _parts(begin_s, end_s, site):
                number = (on - first).days
                if 0 <= number < HORIZON_DAYS:
                    found.setdefault((part_from_s, (part_from_s + part_s) % DAY_S, limit), set()).add(number)
    return [(*part, *_dated(numbers, first)) for part, numbers in found.items()]


def at_clock(day: date, second: float, zone: tzinfo, *, late: bool) -> float:
    """Return when (UTC epoch s) a clock shows so many seconds of a date; of two times the earlier, or the `late` one.

    A time that spring skips is the moment of the change.
    """
    wall = datetime.combine(day, time()) + timedelta(seconds=second)
    first_s, last_s = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if last_s < first_s:  # it is skipped
        return change_s(last_s, first_s, zone)
    return last_s if late else first_s


def change_s(from_s: float, to_s: float, zone: tzinfo) -> float:
    """Return when (UTC epoch s, to the second) the clock of a zone changes between two times at which it differs."""
    low, high = int(from_s), int(to_s) + 1
    before = _offset_s(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset_s(middle, zone) == before else (low, middle)
    return float(high)


def _parts(begin_s: float, end_s: float, zone: ZoneInfo) -> Iterator[tuple[date, float, float]]:
    """Yield the local date, its second and the length (s) of the parts of an interval with one date and one offset."""
    while begin_s < end_s:
        here = datetime.fromtimestamp(begin_s, zone)
        second = (here.replace(tzinfo=None) - datetime.combine(here.date(), time())).total_seconds()
        until_s = min(end_s, begin_s + DAY_S - second)
        if _offset_s(until_s, zone) != _offset_s(begin_s, zone):
            until_s = min(change_s(begin_s, until_s, zone), until_s)
        yield here.date(), second, until_s - begin_s
        begin_s = until_s


def _offset_s(utc_s: float, zone: tzinfo) -> float:
    offset = datetime.fromtimestamp(utc_s, UTC).astimezone(zone).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


def _dated(numbers: set[int], first: date) -> tuple[int, bytes]:
    """Return the days of the week and the dates (none where the days say it all) of days counted from `first`.

    On the last dates the row holds: what begins after the calendars' end is not known.
    """
    weekdays = {(first.weekday() + number) % 7 for number in numbers}
    last = HORIZON_DAYS - MARGIN_DAYS
    whole = all(k in numbers for k in range(last) if (first.weekday() + k) % 7 in weekdays)
    if whole and min(numbers) < last:
        return sum(1 << weekday for weekday in weekdays), b""
    return 127, pack(k in numbers or k >= last for k in range(HORIZON_DAYS))
