"""Read OpenADR 3 events as capacity limits over time: which limit holds when, at which priority. Pure.

Definitions 3.1 of the OpenADR Alliance: IMPORT/EXPORT_CAPACITY_LIMIT hold for the site within their intervals;
IMPORT/EXPORT_CAPACITY_SUBSCRIPTION is what the customer has bought and holds where no LIMIT does (User Guide 8.10.1).
DISPATCH_SETPOINT asks for a set-point, signed, + from the grid (`direction` "setpoint").
Of events that overlap the one of the highest priority holds (0 highest, none the lowest), of equal ones the lowest.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

INF = math.inf
DIRECTIONS = ("import", "export")
SETPOINT = "DISPATCH_SETPOINT"
UNITS_W = {"KW": 1e3, "W": 1.0, "MW": 1e6, "": 1e3}  # limits are in kW where nothing is said (User Guide 8.10.1)
DURATION = re.compile(
    r"P(?:(?P<Y>\d+)Y)?(?:(?P<M>\d+)M)?(?:(?P<W>\d+)W)?(?:(?P<D>\d+)D)?"
    r"(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)
SECONDS = {"Y": 365.25 * 86400, "M": 30.44 * 86400, "W": 604800.0, "D": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
FOREVER_S = 1000 * SECONDS["Y"]  # P9999Y stands for ever
NOW_YEAR = 1  # a start in the year 1 stands for now
NO_PRIORITY = 1 << 30


class EventError(ValueError):
    """Report an event that cannot be read: which one, what, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Hold one limit of an event: W from `from_s` to `to_s` (UTC epoch s; -inf, +inf open)."""

    direction: str
    subscription: bool
    value_w: float
    from_s: float
    to_s: float
    priority: int
    event: str


@dataclass(frozen=True, slots=True)
class Segment:
    """Say what holds from `from_s` to `to_s` in one direction: W, and the event that says so."""

    direction: str
    value_w: float
    from_s: float
    to_s: float
    event: str


def told_s(event: Mapping[str, Any]) -> float:
    """Return when the server last changed an event, UTC epoch s; NaN where it does not say so in a readable way."""
    text = str(event.get("modificationDateTime") or event.get("createdDateTime") or "")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def read_event(event: Mapping[str, Any], now_s: float) -> list[Limit]:
    """Return the capacity limits and set-points of an event, a JSON object of ``GET /events``.

    EventError where one of them is not clear.
    """
    name = str(event.get("id") or event.get("eventName") or "?")
    try:
        return _limits(event, name, now_s)
    except EventError:
        raise
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise EventError(f"event {name}: is not built as an event is: {error}") from error


def _limits(event: Mapping[str, Any], name: str, now_s: float) -> list[Limit]:
    changed_s = told_s(event)
    now_s = changed_s if changed_s < now_s else now_s  # `now` is when it was said, also after a restart of ours
    units = {str(d.get("payloadType")): str(d.get("units") or "") for d in event.get("payloadDescriptors") or []}
    priority = event.get("priority")
    found, start_s = [], _start_s(event.get("intervalPeriod"), name, now_s)
    for interval in event.get("intervals") or []:
        period = interval.get("intervalPeriod") or event.get("intervalPeriod")
        own = bool((interval.get("intervalPeriod") or {}).get("start"))
        from_s, lasts_s = (
            _start_s(period, name, now_s) if own else start_s,
            _duration_s((period or {}).get("duration"), name),
        )
        if math.isinf(from_s) and math.isfinite(lasts_s):
            from_s = now_s  # nobody said from when: it lasts from when it was said, or it would be over before it began
        to_s = from_s + lasts_s
        start_s = to_s
        for payload in interval.get("payloads") or []:
            kind = str(payload.get("type"))
            direction, _, what = kind.partition("_CAPACITY_")
            rank = int(priority) if priority is not None else NO_PRIORITY
            if kind == SETPOINT:
                value_w = _watts(payload.get("values"), units.get(kind, ""), f"event {name}: {kind}", least_w=-INF)
                found.append(Limit("setpoint", False, value_w, from_s, to_s, rank, name))
            if direction not in ("IMPORT", "EXPORT") or what not in ("LIMIT", "SUBSCRIPTION"):
                continue
            value_w = _watts(payload.get("values"), units.get(kind, ""), f"event {name}: {kind}")
            found.append(Limit(direction.lower(), what == "SUBSCRIPTION", value_w, from_s, to_s, rank, name))
    return found


def schedule(limits: Iterable[Limit], now_s: float, subscription_w: Mapping[str, float]) -> list[Segment]:
    """Return what holds from now on, without gaps where a subscription is known; equal neighbours are one segment.

    `subscription_w` is the contract's own, W by direction: it holds where the server says none.
    """
    given, found = list(limits), []
    for direction in DIRECTIONS:
        mine = [limit for limit in given if limit.direction == direction]
        edges = sorted({now_s, *(t for limit in mine for t in (limit.from_s, limit.to_s) if now_s < t < INF)})
        for from_s, to_s in zip(edges, [*edges[1:], INF], strict=True):
            covering = [limit for limit in mine if limit.from_s <= from_s < limit.to_s]
            held = _first([limit for limit in covering if not limit.subscription])
            held = held or _first([limit for limit in covering if limit.subscription])
            if held is not None:
                found.append(Segment(direction, held.value_w, from_s, to_s, held.event))
            elif direction in subscription_w:
                found.append(Segment(direction, subscription_w[direction], from_s, to_s, "subscription"))
    return _joined(found)


def _first(limits: list[Limit]) -> Limit | None:
    return min(limits, key=lambda limit: (limit.priority, limit.value_w), default=None)


def _joined(segments: list[Segment]) -> list[Segment]:
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        same = last is not None and (last.direction, last.value_w, last.event) == (
            segment.direction, segment.value_w, segment.event
        )  # fmt: skip
        if last is not None and same and last.to_s == segment.from_s:
            joined[-1] = Segment(last.direction, last.value_w, last.from_s, segment.to_s, last.event)
        else:
            joined.append(segment)
    return joined


def _start_s(period: Mapping[str, Any] | None, name: str, now_s: float) -> float:
    text = str((period or {}).get("start") or "")
    if not text or text.startswith(f"{NOW_YEAR:04}-"):
        return -INF if not text else now_s
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise EventError(f"event {name}: start {text!r} is not an ISO 8601 time") from error
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _duration_s(text: Any, name: str) -> float:
    if text in (None, ""):
        return INF
    found = DURATION.fullmatch(str(text))
    if found is None or not any(found.groupdict().values()):
        raise EventError(f"event {name}: duration {text!r} is not an ISO 8601 duration like PT1H")
    total_s = sum(float(value) * SECONDS[key] for key, value in found.groupdict().items() if value)
    return INF if total_s >= FOREVER_S else total_s


def _watts(values: Any, unit: str, where: str, least_w: float = 0.0) -> float:
    if unit.upper() not in UNITS_W:
        raise EventError(f"{where}: unit {unit!r}; allowed are {', '.join(key for key in UNITS_W if key)}")
    if not isinstance(values, list) or len(values) != 1 or isinstance(values[0], bool):
        raise EventError(f"{where}: values {values!r}; exactly one number is allowed")
    try:
        value = float(values[0])
    except (TypeError, ValueError) as error:
        raise EventError(f"{where}: value {values[0]!r} is not a number") from error
    if not (math.isfinite(value) and value >= least_w):
        allowed = "0 or more" if least_w == 0.0 else "a finite number"
        raise EventError(f"{where}: value {value:g}; allowed {allowed}")
    return value * UNITS_W[unit.upper()]
