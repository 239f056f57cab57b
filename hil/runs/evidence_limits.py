"""Say which limit a contract set at which measuring point and when, from its file and the site's clock alone.

Nothing that the controller decided is read here: the limit that proves it right or wrong is reckoned anew, of a
contract on call from the calls that the journal holds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.runtime.contract_account import Call
from controller.runtime.contract_book import ContractBook
from controller.runtime.contract_plan import Binding, below, connection_of
from controller.runtime.journal import Entry
from hil.rig.assembler import Assembly
from hil.rig.rigfile import LoadedRig
from hil.runs.evidence import Limit
from profiles.contract import AnyContract
from profiles.contract_calls import Called, FullyVariable
from profiles.contract_common import Span
from profiles.contract_windows import StaticProfile, TimeBlock, Windowed

DAY_S = 86400.0
HOUR_S = 3600.0
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Point:
    """Name a measuring point and the chargers behind it (indices); `node` where it is a node of the plan, else -1."""

    name: str
    chargers: tuple[int, ...]
    node: int = -1


@dataclass(frozen=True, slots=True)
class Held:
    """Hold one contract of a run, how early it is told (s), its zone, its points, and the calls that were accepted."""

    contract: AnyContract
    lead_s: float
    zone: ZoneInfo
    points: tuple[Point, ...]
    calls: tuple[Call, ...] = ()

    @property
    def name(self) -> str:
        """Return the contract's id."""
        return self.contract.name

    def members(self) -> list[int]:
        """Return the chargers behind all points, sorted."""
        return sorted({i for point in self.points for i in point.chargers})


def contracts_of(loaded: LoadedRig, assembly: Assembly) -> list[Held]:
    """Return the contracts of a rig with their measuring points, in the order of the rig file."""
    plan = assembly.plan()
    worst_obey_s = max(float(charger.obey_s) for charger in assembly.site.chargers)
    found = []
    for part, contract in zip(loaded.rig.contract, loaded.contracts, strict=True):
        chosen = [assembly.charger_names.index(name) for name in part.chargers]
        lead_s = worst_obey_s if part.lead_s is None else part.lead_s
        zone = ZoneInfo(contract.timezone or loaded.rig.rig.timezone)
        at = [assembly.nodes.index(name) for name in part.nodes]
        whole = [Point(assembly.nodes[m], below(m, assembly.site.nodes, assembly.site.chargers), m) for m in at]
        found.append(Held(contract, lead_s, zone, tuple(whole or _points(contract, chosen, assembly, plan))))
    return found


def with_calls(held: Held, entries: Iterable[Entry]) -> tuple[Held, dict[str, Any]]:
    """Return a contract with the calls that a journal holds, and its account; as it is where nobody can call on it."""
    if not isinstance(held.contract, Called):
        return held, {}
    kept = list(entries)
    book = ContractBook([Binding(held.contract)], {}, held.zone.key, lambda *_, **__: 0)
    book.restore(entry for entry in kept if entry.subject == held.name or entry.kind == "accepted")
    account = book.accounts[held.name]
    calls = tuple(call for call in account.all_calls() if call.to_s > call.from_s)
    years = sorted({account.year(call.from_s) for call in calls})
    states = [account.state(year) for year in years]
    return replace(held, calls=calls), {f"{s['year']} {k}": v for s in states for k, v in s.items() if k != "year"}


def _points(contract: AnyContract, chosen: list[int], assembly: Assembly, plan: Any) -> list[Point]:
    """Group chargers by where the contract measures: each alone, those of a station, or those of a connection."""
    each = isinstance(contract, StaticProfile) and contract.other_socket == "each"
    where = contract.limit.point
    if each or where in ("connector", "par14a_device"):
        return [Point(assembly.charger_names[i], (i,)) for i in chosen]
    groups: dict[int, list[int]] = {}
    for i in chosen:
        node = int(plan.charger_node[i])
        at = node if where == "station" else metered_node(plan, connection_of(node, assembly.site.nodes))
        groups.setdefault(at, []).append(i)
    return [Point(assembly.nodes[node], tuple(members)) for node, members in groups.items()]


def metered_node(plan: Any, node: int) -> int:
    """Return the nearest node with a meter at or above `node`; -1 where there is none."""
    while node >= 0 and not plan.node_metered[node]:
        node = int(plan.parent[node])
    return node


def limit_of(held: Held, utc_s: np.ndarray, tolerance_a: float, tolerance_w: float) -> Limit:
    """Return the limit of a contract at (T,) UTC times; a tolerance is the greater of the site's and the contract's.

    Volt-amperes are taken as watts: cars charge at unity power factor.
    """
    contract = held.contract
    value = np.full(len(utc_s), np.inf)
    if contract.limit.direction == "import":
        if isinstance(contract, Windowed):
            value = window_limits(contract, utc_s, held.zone)
        elif isinstance(contract, Called):
            value = called_limits(contract, held.calls, utc_s)
    none = np.full(len(utc_s), np.inf)
    top = float(np.min(value, initial=np.inf))
    allowed = contract.limit.tolerance * top if np.isfinite(top) else 0.0
    in_amps = contract.limit.quantity == "A"
    return Limit(
        amp_a=value if in_amps else none,
        watt_w=none if in_amps else value,
        averaging_s=contract.limit.averaging_s,
        tolerance_a=max(tolerance_a, allowed) if in_amps else tolerance_a,
        tolerance_w=tolerance_w if in_amps else max(tolerance_w, allowed),
    )


def called_limits(contract: Called, calls: Iterable[Call], utc_s: np.ndarray) -> np.ndarray:
    """Return what a contract on call allows at (T,) UTC times, W: the lowest call, else its capacity."""
    most_w = contract.max_w if isinstance(contract, FullyVariable) else contract.capacity_w
    lowest = np.full(len(utc_s), np.inf)
    for call in calls:
        holds = (utc_s >= call.from_s) & (utc_s < call.to_s)
        lowest[holds] = np.minimum(lowest[holds], min(max(call.value_w, contract.floor_w), most_w))
    return np.where(np.isfinite(lowest), lowest, contract.capacity_w)


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
    if not span.day_bits >> day.weekday() & 1 and not (holiday and span.holidays == "only"):
        return False
    if span.dates is not None and not span.dates.start <= day <= span.dates.until:
        return False
    if span.season is None:
        return True
    mark, start, until = day.strftime("%m-%d"), span.season.start, span.season.until
    return start <= mark <= until if start <= until else mark >= start or mark <= until


def local_clock(utc_s: np.ndarray, zone: ZoneInfo) -> tuple[np.ndarray, np.ndarray]:
    """Return day number since 1970-01-01 and second of the day on the local clock, (T,) each; zone changes included."""
    hours, place = np.unique(np.floor(utc_s / HOUR_S), return_inverse=True)
    offsets = [datetime.fromtimestamp(float(hour) * HOUR_S, UTC).astimezone(zone).utcoffset() for hour in hours]
    local_s = utc_s + np.array([0.0 if o is None else o.total_seconds() for o in offsets])[place]
    day = np.floor(local_s / DAY_S)
    return day.astype(np.int64), local_s - day * DAY_S


def periods(utc_s: np.ndarray, zone: ZoneInfo, by: str) -> list[tuple[str, np.ndarray]]:
    """Return (name, samples (T,) bool) of each local day, week (ISO), month or year, or of the whole run ("run")."""
    if by == "run":
        return [("run", np.ones(len(utc_s), dtype=bool))]
    day, _ = local_clock(utc_s, zone)
    days, place = np.unique(day, return_inverse=True)
    forms = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
    names = np.array([(EPOCH + timedelta(days=int(d))).strftime(forms[by]) for d in days])[place]
    return [(str(name), names == name) for name in dict.fromkeys(names.tolist())]
