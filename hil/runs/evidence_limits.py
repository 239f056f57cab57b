"""Say which limit a contract set at which measuring point and when, from its file and the site's clock alone.

Nothing that the controller decided is read here: the limit that proves it right or wrong is reckoned anew.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from hil.rig.assembler import Assembly
from hil.rig.rigfile import LoadedRig

DAY_S = 86400.0
HOUR_S = 3600.0
WORDS = {"connector": "connector", "station": "station", "connection": "connection", "poc": "connection"}


@dataclass(frozen=True, slots=True)
class Point:
    """Name a measuring point and the chargers behind it (indices)."""

    name: str
    chargers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """Hold one contract of a run: its words, where it measures, the points, the windows of the local day."""

    name: str
    kind: str
    title: str
    source: str
    measure: str
    averaging_s: float
    lead_s: float
    points: tuple[Point, ...]
    windows: tuple["Window", ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Hold one window: seconds of the local day, A per phase, W over all (+inf none), days as bits from Monday."""

    from_s: float
    to_s: float
    limit_a: float
    limit_w: float
    days: int


def contracts_of(loaded: LoadedRig, assembly: Assembly) -> list[Held]:
    """Return the contracts of a rig with their measuring points, in the order of the rig file."""
    plan = assembly.plan()
    worst_obey_s = max(float(charger.obey_s) for charger in assembly.site.chargers)
    found = []
    for part, contract in zip(loaded.rig.contract, loaded.contracts, strict=True):
        measure = WORDS.get(getattr(contract, "measure", "connector"), "connector")
        chosen = [assembly.charger_names.index(name) for name in part.chargers]
        found.append(
            Held(
                name=contract.name,
                kind=contract.kind,
                title=contract.title,
                source=contract.source,
                measure=measure,
                averaging_s=float(getattr(contract, "averaging_s", 0.0)),
                lead_s=worst_obey_s if part.lead_s is None else part.lead_s,
                points=tuple(_points(measure, chosen, assembly, plan)),
                windows=tuple(
                    Window(w.from_s, w.to_s, w.limit_a, float(getattr(w, "limit_w", np.inf)), w.days)
                    for w in contract.windows
                ),
            )
        )
    return found


def _points(measure: str, chosen: list[int], assembly: Assembly, plan: object) -> list[Point]:
    """Group chargers by where the contract measures: each alone, those of a station, or those of a connection."""
    if measure == "connector":
        return [Point(assembly.charger_names[i], (i,)) for i in chosen]
    groups: dict[int, list[int]] = {}
    for i in chosen:
        node = int(plan.charger_node[i])  # type: ignore[attr-defined]
        groups.setdefault(node if measure == "station" else metered_node(plan, node), []).append(i)
    return [Point(assembly.nodes[node], tuple(members)) for node, members in groups.items()]


def metered_node(plan: object, node: int) -> int:
    """Return the nearest node with a meter at or above `node`; -1 where there is none."""
    while node >= 0 and not plan.node_metered[node]:  # type: ignore[attr-defined]
        node = int(plan.parent[node])  # type: ignore[attr-defined]
    return node


def local_clock(utc_s: np.ndarray, zone: ZoneInfo) -> tuple[np.ndarray, np.ndarray]:
    """Return day number since 1970-01-01 and second of the day on the local clock, (T,) each; zone changes included."""
    hours, place = np.unique(np.floor(utc_s / HOUR_S), return_inverse=True)
    offsets = [datetime.fromtimestamp(float(hour) * HOUR_S, UTC).astimezone(zone).utcoffset() for hour in hours]
    local_s = utc_s + np.array([0.0 if o is None else o.total_seconds() for o in offsets])[place]
    day = np.floor(local_s / DAY_S)
    return day.astype(np.int64), local_s - day * DAY_S


def window_limits(windows: tuple[Window, ...], utc_s: np.ndarray, zone: ZoneInfo) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest limit of the open windows (T,) in A per phase and (T,) in W, +inf where none is open."""
    day, second = local_clock(utc_s, zone)
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
    amp_a, watt_w = np.full(len(utc_s), np.inf), np.full(len(utc_s), np.inf)
    for window in windows:
        length_s = window.to_s - window.from_s
        length_s += DAY_S if length_s <= 0.0 else 0.0
        for shift in (0, 1):  # of today, or begun yesterday
            since_s = second + shift * DAY_S - window.from_s
            named = (window.days >> ((weekday - shift) % 7)) & 1 == 1
            is_open = named & (since_s >= 0.0) & (since_s < length_s)
            amp_a[is_open] = np.minimum(amp_a[is_open], window.limit_a)
            watt_w[is_open] = np.minimum(watt_w[is_open], window.limit_w)
    return amp_a, watt_w


def periods(utc_s: np.ndarray, zone: ZoneInfo, by: str) -> list[tuple[str, np.ndarray]]:
    """Return (name, samples (T,) bool) of each local day, week (ISO), month or year, or of the whole run ("run")."""
    if by == "run":
        return [("run", np.ones(len(utc_s), dtype=bool))]
    day, _ = local_clock(utc_s, zone)
    days, place = np.unique(day, return_inverse=True)
    forms = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
    names = np.array([datetime.fromtimestamp(float(d) * DAY_S, UTC).strftime(forms[by]) for d in days])[place]
    return [(str(name), names == name) for name in dict.fromkeys(names.tolist())]
