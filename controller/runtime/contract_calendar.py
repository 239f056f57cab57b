"""Work out on which local dates the windows of a contract begin: days of the week, seasons, dates, holidays.

The law knows days by number and dates as bits (PLAN `calendar_bits`), made here once with the plan for the 1,024 days
from the day before its start. On a later date every window holds that its day of the week permits.
"""

import itertools
from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np

from controller.law.image import CALENDAR_BYTES
from profiles.contract_common import ContractBase, Span
from profiles.contract_windows import TimeBlock

HORIZON_DAYS = 8 * CALENDAR_BYTES
EPOCH = date(1970, 1, 1)
DAY_S = 86_400.0


def day_number(day: date) -> int:
    """Return a date in days since 1970-01-01."""
    return (day - EPOCH).days


def horizon(first: date) -> list[date]:
    """Return the dates that a plan's calendars cover."""
    return [first + timedelta(days=k) for k in range(HORIZON_DAYS)]


def begins_on(span: Span, day: date, holidays: frozenset[date]) -> bool:
    """Say whether a window begins on a local date."""
    if span.holidays != "as_any" and (span.holidays == "only") != (day in holidays):
        return False
    if span.dates is not None and not span.dates.start <= day <= span.dates.until:
        return False
    if span.season is not None:
        text, start, until = day.strftime("%m-%d"), span.season.start, span.season.until
        inside = start <= text <= until if start <= until else text >= start or text <= until
        if not inside:
            return False
    return span.day_bits >> day.weekday() & 1 == 1


def pack(days: Iterable[bool]) -> bytes:
    """Return a bit a date, lowest first."""
    return np.packbits(np.fromiter(days, dtype=bool), bitorder="little").tobytes()


def dates_of(span: Span, contract: ContractBase, first: date) -> bytes:
    """Return the bits of the dates on which a window begins; empty where the days of the week say it all."""
    if span.holidays == "as_any" and span.dates is None and span.season is None:
        return b""
    closed = frozenset(contract.holidays)
    return pack(begins_on(span, day, closed) for day in horizon(first))


def outside_blocks(contract: TimeBlock, first: date) -> list[tuple[float, float, float, bytes]]:
    """Return when a time-block contract limits, and to what: (from_s, to_s, limit, dates) in the unit of its quantity.

    Every date is cut at the ends of the blocks that are open on it; outside all of them its `outside` holds, inside
    the highest capacity of those that are open. Parts that are alike on several dates are one entry.
    """
    closed = frozenset(contract.holidays)
    days = horizon(first)
    found: dict[tuple[float, float, float], list[int]] = {}
    for k, day in enumerate(days):
        for part in _parts(contract, day, closed):
            found.setdefault(part, []).append(k)
    rows = []
    for (start_s, end_s, limit), on in found.items():
        chosen = set(on)
        dates = b"" if len(on) == len(days) else pack(k in chosen for k in range(len(days)))
        rows.append((start_s, end_s % DAY_S, limit, dates))
    return rows


def _parts(contract: TimeBlock, day: date, closed: frozenset[date]) -> list[tuple[float, float, float]]:
    """Return the parts (from_s, to_s, limit) of one local date, neighbours that are alike made one."""
    blocks = []
    for window in contract.window:
        length_s = (window.to_s - window.from_s) % DAY_S or DAY_S
        for shift in (-1, 0):  # begun yesterday, or today
            if begins_on(window, day + timedelta(days=shift), closed):
                start_s = window.from_s + shift * DAY_S
                blocks.append((start_s, start_s + length_s, window.value(contract.limit.quantity) or 0.0))
    cuts = sorted({0.0, DAY_S, *(min(max(edge, 0.0), DAY_S) for start, end, _ in blocks for edge in (start, end))})
    parts: list[tuple[float, float, float]] = []
    for start_s, end_s in itertools.pairwise(cuts):
        limit = max((value for start, end, value in blocks if start <= start_s < end), default=contract.outside)
        if parts and parts[-1][2] == limit:
            parts[-1] = (parts[-1][0], end_s, limit)
        else:
            parts.append((start_s, end_s, limit))
    return parts
