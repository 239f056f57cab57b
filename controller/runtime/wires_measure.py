"""Keep the ports' figures: round trips, ages, obey times, links that fell or came back, chargers that are overwritten.

All chargers at once, in arrays: at 1,000 of them a loop of Python over every field would cost more than the wires.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from controller.law.names import VoltSource
from controller.runtime.compose import ObeyClock, OutputTap
from controller.runtime.events import Events
from controller.runtime.histogram import BINS, LOWEST_NS, PER_DECADE, Histogram


def unseen_phases(plan: Any, inp: Any) -> Iterator[tuple[int, str, str]]:
    """Yield chargers whose node has volts, but not on their phases: index, their phases without, phases with volts.

    The law believes no volts of theirs then and pauses them: a wrong phase_map, of charger or meter, or a dead phase.
    """
    for i in np.flatnonzero(plan.volt_source == VoltSource.NODE):
        known = np.isfinite(inp.node_v[plan.charger_node[i]])
        own = [int(phase) for phase in plan.phase_map[i] if phase >= 0]
        if known.any() and not known[own].all():
            yield int(i), _letters(p for p in own if not known[p]), _letters(np.flatnonzero(known))


def _letters(phases: Iterable[Any]) -> str:
    return "".join("abc"[phase] for phase in phases)


class PortMeter:
    """Fill the rows of `wires.img` (`rows`, a record array of `wires_status.PORT`) from the ports' readings."""

    __slots__ = (
        "_errors",
        "_events",
        "_faults",
        "_limit_a",
        "_links",
        "_overwritten",
        "_ports",
        "_trips",
        "obey",
        "rows",
    )  # fmt: skip

    def __init__(self, rows: np.ndarray, ports: Sequence[Any], obeying: int, events: Events) -> None:
        """Take the ports in the order of the rows; the first `obeying` of them are chargers."""
        count = len(ports)
        self.rows = rows
        self.obey = [ObeyClock(Histogram(row["obey"])) for row in rows[:obeying]]
        self._ports = ports
        self._events = events
        self._links = np.ones(count, dtype=bool)
        self._trips = np.zeros(count, dtype=np.int64)
        self._errors: list[int] = []
        self._faults: list[str] = []
        self._limit_a = np.full(obeying, np.inf)
        self._overwritten: list[bool] = [False] * obeying

    def update(self, tap: OutputTap, readings: Sequence[Any], changed_ns: np.ndarray, now_ns: int) -> None:
        """Count what the readings say at `now_ns`; `changed_ns` (ports,) dates them, 0 never."""
        rows = self.rows
        links = np.fromiter(map(attrgetter("link"), readings), dtype=bool, count=len(readings))
        trips = np.fromiter((getattr(r, "round_trip_ns", 0) for r in readings), dtype=np.int64, count=len(readings))
        rows["link"] = links
        rows["sent_a"] = [getattr(r, "sent_a", math.nan) for r in readings]
        rows["skew_s"] = [getattr(r, "skew_s", math.nan) for r in readings]
        rows["sent_ns"] = [getattr(r, "sent_ns", 0) for r in readings]
        rows["errors"] = [getattr(r, "errors", 0) for r in readings]
        self._tell_faults([getattr(r, "fault", "") or "" for r in readings])
        count_ns(rows["round_trip"], trips, (trips > 0) & (trips != self._trips))
        self._trips = trips
        count_ns(rows["age"], now_ns - changed_ns, changed_ns > 0)
        for k in np.flatnonzero(links != self._links).tolist():
            kind = "link_up" if links[k] else "link_lost"
            self._events.write(kind, device=self._ports[k].name, fault=rows[k]["fault"].decode())
        self._links = links
        self._obeyed(tap, readings, links, changed_ns)
        self._tell_overwritten(readings)

    def _tell_faults(self, faults: list[str]) -> None:
        if faults != self._faults:
            self.rows["fault"] = [str(fault).encode()[:240] for fault in faults]
            self._faults = faults

    def _obeyed(self, tap: OutputTap, readings: Sequence[Any], links: np.ndarray, changed_ns: np.ndarray) -> None:
        """Move the clocks that run or whose limit changed; for all others an update would change nothing."""
        allowed_a = tap.allowed_a
        running = np.fromiter((clock.since_ns > 0 for clock in self.obey), dtype=bool, count=len(self.obey))
        count = len(self.obey)
        for i in np.flatnonzero(links[:count] & (running | (allowed_a != self._limit_a))).tolist():
            self.obey[i].update(float(allowed_a[i]), tap.decided_ns, most_a(readings[i].amp_a), int(changed_ns[i]))
            self._limit_a[i] = allowed_a[i]

    def _tell_overwritten(self, readings: Sequence[Any]) -> None:
        """Tell a charger that another master commands, once when it is seen and once when it has ended."""
        over_a = [getattr(r, "overwritten_a", math.nan) for r in readings[: len(self.obey)]]
        over = [amps == amps for amps in over_a]  # NaN is not itself: nobody overwrites
        if over == self._overwritten:
            return
        for i, (now, before) in enumerate(zip(over, self._overwritten, strict=True)):
            if now and not before:
                sent_a = float(readings[i].sent_a)
                self._events.write("overwritten", device=self._ports[i].name, over_a=over_a[i], ordered_a=sent_a)
            elif before and not now:
                self._events.write("overwritten_ended", device=self._ports[i].name)
        self._overwritten = over
        self.rows["overwritten_a"][: len(over_a)] = over_a


def most_a(amp_a: Any) -> float:
    """Return the largest of the known amps; NaN where none is."""
    known = [float(amps) for amps in amp_a if math.isfinite(amps)]
    return max(known) if known else math.nan


def count_ns(histograms: np.ndarray, durations_ns: np.ndarray, where: np.ndarray) -> None:
    """Count one duration (K,) in ns in each of the K histograms (records of `HISTOGRAM`) that `where` chooses."""
    rows = np.flatnonzero(where)
    if rows.size == 0:
        return
    durations = durations_ns[rows]
    scaled = np.maximum(durations, LOWEST_NS) / LOWEST_NS
    bins = np.minimum(1 + (PER_DECADE * np.log10(scaled) + 1e-9).astype(np.int64), BINS - 1)
    histograms["counts"][rows, np.where(durations < LOWEST_NS, 0, bins)] += 1
    histograms["max_ns"][rows] = np.maximum(histograms["max_ns"][rows], durations)
