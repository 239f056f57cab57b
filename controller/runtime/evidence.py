"""Follow what becomes of each order, scan by scan: decided, sent, accepted by the devices, obeyed by the meter.

The ledger process feeds it, so that no scan is left out; it writes to the journal on changes only. Orders that the
substation shows (an array of limits, no message) get their journal entry here, and so do limits that were handed in
(energy guards, envelopes, dimmed groups): of kind `limit`, from source `handed`. Pure but for the journal that it is
given: its clocks are those of the scans.

Seconds count from the receipt of an order, or from its start or ours where that is later; negative: early, by the
lead time.
"""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controller.law.names import Quality
from controller.runtime import wires_status
from controller.runtime.evidence_handed import EXPORT, IMPORT, HandedLimit, HandedLimits
from controller.runtime.journal import Journal, JournalError
from controller.runtime.site import Site
from controller.runtime.store import Store

NS = 1_000_000_000
SOURCE, STATION, HANDED = "evidence", "substation", "handed"
SHARE, LEAST_W = 0.02, 250.0  # tolerance of the measured watts: 2 %, at least 250 W (own choice)
SLACK_A = 0.5  # a set-point or a reading may be so much above without counting
MEASURED_S = 2.0  # a meter may be so much later than the device
MOST_V = 253.0  # 230 V + 10 %: what a charger that is not heard may draw its amps at
PENDING = 1000  # entries that wait for room on the disk

Sent = Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclass(slots=True)
class Watch:
    """Follow one limit at one node: which order, what must change, and how far it has come."""

    node: int
    direction: str
    number: int
    limit_w: float
    base_utc_ns: int
    begun_ns: int  # monotonic, the first scan that had it
    facts: dict[str, str]
    needed: np.ndarray  # (N,) chargers that had to change
    allowed_a: np.ndarray  # (N,) what they were allowed then
    rows: np.ndarray  # (N,) chargers that it binds
    group: int = -1  # of nodes, whose limit it is
    done: set[str] = field(default_factory=set)
    over_ns: int = 0  # since when it has been over the limit; 0 it is not


class Evidence:
    """Follow the orders of one site; `scan` takes every scan.

    Parameters
    ----------
    nodes: names in the plan's order; plan: PLAN views
    journal: where it is written
    sent: returns the last acknowledged set-point of each charger, (N,) A, and when, (N,) monotonic ns
    """

    __slots__ = (
        "_back_w", "_below", "_binding", "_handed", "_handed_watches", "_journal", "_most_w", "_nodes", "_obey_s",
        "_pending", "_plan", "_retry_ns", "_sent", "_station", "_station_no", "_utc_minus_mono_ns", "_watches",
        "dropped", "started_utc_ns",
    )  # fmt: skip

    def __init__(self, nodes: list[str], plan: Any, journal: Journal, sent: Sent) -> None:
        self._nodes, self._plan, self._journal, self._sent = nodes, plan, journal, sent
        self._below = below(plan.parent, plan.charger_node)
        self._obey_s = plan.node_obey_s + MEASURED_S
        phases = (plan.phase_map >= 0).sum(axis=1)
        self._most_w, self._back_w = (
            amps * MOST_V * np.where(phases > 0, phases, 3) for amps in (plan.hard_max_a, plan.export_max_a)
        )
        m = len(nodes)
        self._binding: dict[str, np.ndarray] = {d: np.zeros(m, dtype=np.int64) for d in (IMPORT, EXPORT)}
        self._station = np.full((m, 4), [math.inf, math.inf, math.nan, math.nan])
        self._station_no = np.zeros(m, dtype=np.int64)
        self._watches: dict[tuple[int, str], Watch] = {}
        self._handed = HandedLimits(plan)
        self._handed_watches: dict[tuple[int, int, str], Watch] = {}
        self._pending: deque[tuple[str, dict[str, Any]]] = deque(maxlen=PENDING)
        self.dropped = 0
        self.started_utc_ns = self._utc_minus_mono_ns = self._retry_ns = 0

    def scan(self, inp: Any, out: Any) -> None:
        """Take one scan: INPUT and OUTPUT views."""
        now_ns, utc_ns = int(inp.now_ns[0]), int(inp.utc_ns[0])
        self._utc_minus_mono_ns = utc_ns - now_ns
        if not self.started_utc_ns:
            self.started_utc_ns = utc_ns
        if self._pending and now_ns >= self._retry_ns:
            self._retry_ns = now_ns + NS
            self._flush()
        self._follow_station(inp, utc_ns)
        for node, direction, number, limit_w in self._changes(inp, utc_ns):
            self._begin(node, direction, number, limit_w, inp)
        for handed in self._handed.changes(inp):
            self._begin_handed(handed, inp)
        for watch in (*self._watches.values(), *self._handed_watches.values()):
            self._look(watch, inp, out)

    def _follow_station(self, inp: Any, utc_ns: int) -> None:
        """Journal an order that the substation shows, when it changes at good quality."""
        shown = np.column_stack((inp.order_w, inp.order_export_w, inp.order_from_s, inp.order_to_s))
        same = (shown == self._station) | (np.isnan(shown) & np.isnan(self._station))
        changed = ~same.all(axis=1) & (inp.order_quality == Quality.GOOD) & ~np.isnan(inp.order_w)
        for m in np.flatnonzero(changed).tolist():
            self._station[m] = shown[m]
            before, name = int(self._station_no[m]), f"{self._nodes[m]}-{utc_ns // 1_000_000}"
            named = {"source": STATION, "subject": self._nodes[m], "mono_ns": int(inp.now_ns[0])}
            if before:
                self._keep("ended", **named, order_id="", order_no=before)
            self._station_no[m] = 0
            for direction, value_w in zip((IMPORT, EXPORT), shown[m, :2].tolist(), strict=True):
                if math.isfinite(value_w) and not self._station_no[m]:
                    order = {"source": STATION, "order_id": name, "sequence": 0, "kind": "cap", "direction": direction,
                             "subject": self._nodes[m], "value_w": value_w, "from_s": shown[m, 2], "to_s": shown[m, 3],
                             "other_w": shown[m, 1]}  # fmt: skip
                    self._station_no[m] = self._keep("received", **named, order_id=name, order=order)

    def _changes(self, inp: Any, utc_ns: int) -> Iterator[tuple[int, str, int, float]]:
        """Yield node, direction, journal number and limit where another order binds now; number 0: none does."""
        utc_s = utc_ns / NS
        open_ = ~(utc_s < self._station[:, 2] - self._plan.node_obey_s) & ~(utc_s >= self._station[:, 3])
        for k, (direction, cap_w, number) in enumerate(
            ((IMPORT, inp.book_w, inp.book_no), (EXPORT, inp.book_export_w, inp.book_export_no))
        ):
            station_w = np.where(open_, self._station[:, k], math.inf)
            lowest_w = np.minimum(cap_w, station_w)
            binds = np.where(station_w < cap_w, self._station_no, number)
            binds = np.where(np.isfinite(lowest_w), np.where(binds == 0, -1, binds), 0)  # -1: one that is not kept
            for m in np.flatnonzero(binds != self._binding[direction]).tolist():
                yield m, direction, int(binds[m]), float(lowest_w[m])
            self._binding[direction] = binds

    def _begin(self, node: int, direction: str, number: int, limit_w: float, inp: Any) -> None:
        """Begin to follow the order that binds now in the place of the last one."""
        now_ns, utc_ns = int(inp.now_ns[0]), int(inp.utc_ns[0])
        before = self._watches.pop((node, direction), None)
        if number == 0:
            facts = {} if before is None else before.facts
            self._keep("decided", subject=self._nodes[node], mono_ns=now_ns, direction=direction, limit_w=math.inf,
                       order_no=0, **facts)  # fmt: skip
            return
        base_utc_ns, facts = self._base(number, utc_ns)
        none, no_a = np.zeros(0, dtype=bool), np.zeros(0)
        rows = self._below[node]
        self._watches[node, direction] = Watch(node, direction, number, limit_w, base_utc_ns, now_ns, facts, none, no_a,
                                               rows)  # fmt: skip

    def _begin_handed(self, found: HandedLimit, inp: Any) -> None:
        """Journal a limit that is handed in as an order, and begin to follow it in the place of the one before it."""
        now_ns, utc_ns = int(inp.now_ns[0]), int(inp.utc_ns[0])
        key, subject = (found.node, found.group, found.direction), self._nodes[found.node]
        named = {"source": HANDED, "subject": subject, "mono_ns": now_ns}
        before = self._handed_watches.pop(key, None)
        if before is not None and before.number:
            self._keep("ended", **named, order_id=before.facts["order_id"], order_no=before.number)
        if math.isinf(found.limit_w):
            return
        nodes = [found.node] if found.group < 0 else self._handed.members(found.group).tolist()
        what = subject if found.group < 0 else f"{subject}-group{found.group}"  # a guard may be at the same node
        facts = {"order_id": f"{what}-{found.direction}-{utc_ns // 1_000_000}", "source": HANDED}
        order = {**facts, "sequence": 0, "kind": "limit", "direction": found.direction, "subject": subject,
                 "value_w": found.limit_w, "from_s": math.nan, "to_s": math.nan}  # fmt: skip
        members = {} if found.group < 0 else {"nodes": [self._nodes[m] for m in nodes]}
        number = self._keep("received", **named, order_id=facts["order_id"], order=order, **members)
        none, no_a, rows = np.zeros(0, dtype=bool), np.zeros(0), np.logical_or.reduce(self._below[nodes])
        self._handed_watches[key] = Watch(found.node, found.direction, number, found.limit_w, utc_ns, now_ns, facts,
                                          none, no_a, rows, found.group)  # fmt: skip

    def _base(self, number: int, utc_ns: int) -> tuple[int, dict[str, str]]:
        """Return when the seconds of an order begin (UTC ns), and its source and name."""
        entry = self._journal.entry(number) if number > 0 else None
        if entry is None or entry.body is None or "order" not in entry.body:
            return utc_ns, {}
        received_ns = entry.mono_ns - int(entry.body.get("received_mono_ns") or entry.mono_ns)
        times = [entry.utc_ns - max(received_ns, 0), self.started_utc_ns]
        from_s = float(entry.body["order"]["from_s"])
        if not math.isnan(from_s):
            times.append(round(from_s * NS))
        return max(times), {"order_id": entry.order_id, "source": entry.source}

    def _look(self, watch: Watch, inp: Any, out: Any) -> None:
        """Journal the next steps that this scan shows."""
        now_ns = int(inp.now_ns[0])
        if "decided" not in watch.done:
            self._decide(watch, inp, out)
            if "decided" not in watch.done:
                return
        if "sent" not in watch.done:
            self._send(watch, now_ns)
        elif "accepted" not in watch.done:
            self._accept(watch, inp, now_ns)
        self._measure(watch, inp, now_ns)

    def _decide(self, watch: Watch, inp: Any, out: Any) -> None:
        """See whether the law's cap is at the limit now, and who below has to change for it."""
        capped = watch.group < 0 and watch.direction == IMPORT  # a group's sum has no cap of its own in OUTPUT
        if capped and not out.node_cap_w[watch.node] <= watch.limit_w + 1.0:
            return
        rows = watch.rows
        high_a = np.maximum(np.nan_to_num(inp.charger_limit_a), np.nan_to_num(inp.charger_a).max(axis=1))
        low_a = out.allowed_a if watch.direction == IMPORT else -out.allowed_min_a
        watch.needed = rows & (high_a > low_a + SLACK_A)  # one that is not heard too: it has not acknowledged
        watch.allowed_a = out.allowed_a.copy()
        cap_w = float(out.node_cap_w[watch.node]) if watch.group < 0 else watch.limit_w
        self._step(watch, "decided", int(inp.now_ns[0]), cap_w=cap_w, chargers=int(watch.needed.sum()))

    def _send(self, watch: Watch, now_ns: int) -> None:
        """See whether every charger that had to change has acknowledged a set-point since."""
        sent_a, sent_ns = self._sent()
        rows = watch.needed
        lower = (sent_ns >= watch.begun_ns) | (sent_a <= watch.allowed_a + SLACK_A)
        if lower[rows].all():
            at_ns = int(max(sent_ns[rows].max(initial=0), watch.begun_ns))
            self._step(watch, "sent", at_ns)

    def _accept(self, watch: Watch, inp: Any, now_ns: int) -> None:
        """See whether every charger that had to change, and tells its limit, applies the set-point."""
        rows = watch.needed & ~np.isnan(inp.charger_limit_a)
        if (rows.any() or not watch.needed.any()) and (inp.charger_limit_a <= watch.allowed_a + SLACK_A)[rows].all():
            self._step(watch, "accepted", now_ns, told=int(rows.sum()))

    def _measure(self, watch: Watch, inp: Any, now_ns: int) -> None:
        """See whether measured watts are within the limit, and have been in the time allowed."""
        measured_w, by, less_w, more_w = self._measured_w(watch, inp)
        if watch.direction == EXPORT:
            less_w, more_w = more_w, less_w
        over_w = (measured_w if watch.direction == IMPORT else -measured_w) - watch.limit_w
        within_w = max(SHARE * watch.limit_w, LEAST_W)
        if not (over_w + more_w <= within_w or over_w - less_w > within_w):
            return  # nobody knows
        if over_w + more_w <= within_w:
            watch.over_ns = 0
            if "obeyed" not in watch.done:
                watch.done.discard("missed")
                self._step(watch, "obeyed", now_ns, measured_w=measured_w, by=by)
            return
        if not watch.over_ns:
            watch.over_ns = now_ns
        late_s = (now_ns - watch.over_ns) / NS
        if late_s > self._obey_s[watch.node] and "missed" not in watch.done:
            watch.done.discard("obeyed")
            self._step(watch, "missed", now_ns, measured_w=measured_w, by=by, over_w=over_w, over_for_s=late_s)

    def _measured_w(self, watch: Watch, inp: Any) -> tuple[float, str, float, float]:
        """Return the watts at the node, by what, and by how much less and more they may be; NaN unknown.

        Its own meter's, or the sum of the chargers' where it has none: of those that are not heard nobody knows what
        they draw, between all that they may feed in and all that they may take.
        """
        m = watch.node
        if watch.group < 0 and self._plan.node_metered[m] == 1:
            age_s = (int(inp.now_ns[0]) - int(inp.node_a_change_ns[m])) / NS
            good = inp.node_a_quality[m] == Quality.GOOD and age_s <= self._plan.node_max_age_s[m]
            return (float(inp.node_w[m]) if good else math.nan), "meter", 0.0, 0.0
        heard = inp.charger_link == 1
        mute = watch.rows & ~heard
        by = f"chargers, {mute.sum()} not heard" if mute.any() else "chargers"
        heard_w = float(inp.charger_w[watch.rows & heard].sum())
        return heard_w, by, float(self._back_w[mute].sum()), float(self._most_w[mute].sum())

    def _step(self, watch: Watch, kind: str, at_ns: int, **body: Any) -> None:
        watch.done.add(kind)
        after_s = (at_ns + self._utc_minus_mono_ns - watch.base_utc_ns) / NS
        self._keep(kind, subject=self._nodes[watch.node], mono_ns=at_ns, order_no=max(watch.number, 0),
                   direction=watch.direction, limit_w=watch.limit_w, after_s=round(after_s, 3),
                   **{"source": SOURCE, **watch.facts}, **body)  # fmt: skip

    def _keep(self, kind: str, **body: Any) -> int:
        """Write an entry and return its number; 0 where it has to wait for room."""
        body.setdefault("source", SOURCE)
        try:
            return self._journal.append(kind, **body)
        except JournalError:
            if len(self._pending) == PENDING:
                self.dropped += 1
            self._pending.append((kind, body))
            return 0

    def _flush(self) -> None:
        """Write what waits for room, oldest first, until it fails again."""
        with contextlib.suppress(JournalError):
            while self._pending:
                kind, body = self._pending[0]
                self._journal.append(kind, **body)
                self._pending.popleft()


def below(parent: np.ndarray, charger_node: np.ndarray) -> np.ndarray:
    """Return (M, N): whether a charger is at or below a node; `parent` (M,) stands before its children, -1 the root."""
    found = np.zeros((parent.size, charger_node.size), dtype=bool)
    found[charger_node, np.arange(charger_node.size)] = True
    for m in range(parent.size - 1, 0, -1):
        if parent[m] >= 0:
            found[parent[m]] |= found[m]
    return found


def acknowledged(site: Site) -> Sent:
    """Return a reader of what the chargers acknowledged last, from the wires' status."""
    layout = wires_status.dtype(wires_status.ports(site))
    store = Store.attach(site.store(wires_status.NAME), layout.itemsize)
    buffer = np.zeros(layout.itemsize, dtype=np.uint8)
    ports = buffer.view(layout)[0]["ports"][: len(site.chargers)]
    seen = 0

    def read() -> tuple[np.ndarray, np.ndarray]:
        nonlocal seen
        if store.sequence != seen:
            seen = store.read(buffer)
        return ports["sent_a"], ports["sent_ns"]

    return read
