"""Read contract windows off the clock on the wall, and cut a run into local days, weeks, months and years. Pure.

Written apart from what the controller plans its windows with, so that the one proves the other.
"""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from profiles.contract_common import Span
from profiles.contract_windows import TimeBlock, Windowed

DAY_S = 86400.0
HOUR_S = 3600.0
QUARTER_S = 900.0  # clocks of all zones change at a quarter of an hour of UTC
EPOCH = date(1970, 1, 1)


def window_limits(contract: Windowed, utc_s: np.ndarray, zone: ZoneInfo) -> np.ndarray:
    """Return the limit of a contract of windows at (T,) UTC times, in its own quantity, +inf where none is open.

    Where several are open the lowest holds; in time blocks the highest, and `outside` at all other times.
    """
    blocks = isinstance(contract, TimeBlock)
    found = np.full(len(utc_s), -np.inf if blocks else np.inf)
    for window in contract.window:
        value = window.value(contract.limit.quantity)
        is_open = open_at(window, contract.holidays, utc_s, zone)
        known = np.inf if value is None else value
        found[is_open] = np.maximum(found[is_open], known) if blocks else np.minimum(found[is_open], known)
    return np.where(np.isneginf(found), contract.outside, found) if isinstance(contract, TimeBlock) else found


def open_at(span: Span, holidays: list[date], utc_s: np.ndarray, zone: ZoneInfo) -> np.ndarray:
    """Return where a span of the local day is open, (T,) bool: by clock, weekday, season, dates and holidays.

    A span over midnight belongs to the day on which it begins.
    """
    day, second = local_clock(utc_s, zone)
    length_s = span.to_s - span.from_s
    length_s += DAY_S if length_s <= 0.0 else 0.0
    is_open = np.zeros(len(utc_s), dtype=bool)
    for shift in (0, 1):  # of today, or begun yesterday
        since_s = second + shift * DAY_S - span.from_s
        days, place = np.unique(day - shift, return_inverse=True)
        named = np.array([_begins_on(span, holidays, EPOCH + timedelta(days=int(d))) for d in days], dtype=bool)
        is_open |= (since_s >= 0.0) & (since_s < length_s) & named[place]
    return is_open


def _begins_on(span: Span, holidays: list[date], day: date) -> bool:
    holiday = day in holidays
    if (holiday and span.holidays == "never") or (not holiday and span.holidays == "only"):
        return False
    if not span.day_bits >> day.weekday() & 1:
        return False
    if span.dates is not None and not span.dates.start <= day <= span.dates.until:
        return False
    if span.season is None:
        return True
    mark, start, until = day.strftime("%m-%d"), span.season.start, span.season.until
    return start <= mark <= until if start <= until else mark >= start or mark <= until


def local_clock(utc_s: np.ndarray, zone: ZoneInfo) -> tuple[np.ndarray, np.ndarray]:
    """Return day number since 1970-01-01 and second of the day on the local clock, (T,) each; zone changes included."""
    parts, place = np.unique(np.floor(utc_s / QUARTER_S), return_inverse=True)
    offsets = [datetime.fromtimestamp(float(part) * QUARTER_S, UTC).astimezone(zone).utcoffset() for part in parts]
    local_s = utc_s + np.array([0.0 if o is None else o.total_seconds() for o in offsets])[place]
    day = np.floor(local_s / DAY_S)
    return day.astype(np.int64), local_s - day * DAY_S


def intervals(utc_s: np.ndarray, averaging_s: float, zone: ZoneInfo) -> np.ndarray:
    """Return the number of the averaging interval of each of (T,) rising UTC times, by the local clock.

    Intervals of an hour and less are not those of the hour before where autumn repeats it.
    """
    if averaging_s <= 0.0 or not len(utc_s):
        return np.zeros(len(utc_s), dtype=np.int64)
    day, second = local_clock(utc_s, zone)
    local_s = day * DAY_S + second
    changed = np.diff(np.floor(local_s / averaging_s)) != 0.0
    if averaging_s <= HOUR_S:
        changed |= np.abs(np.diff(local_s - utc_s)) > 1.0
    return np.concatenate([[0], np.cumsum(changed)])


def periods(utc_s: np.ndarray, zone: ZoneInfo, by: str) -> list[tuple[str, np.ndarray]]:
    """Return (name, samples (T,) bool) of each local day, week (ISO), month or year, or of the whole run ("run")."""
    if by == "run":
        return [("run", np.ones(len(utc_s), dtype=bool))]
    day, _ = local_clock(utc_s, zone)
    days, place = np.unique(day, return_inverse=True)
    forms = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
    names = np.array([(EPOCH + timedelta(days=int(d))).strftime(forms[by]) for d in days])[place]
    return [(str(name), names == name) for name in dict.fromkeys(names.tolist())]
