"""Keep the orders that reach the controller: check, number, journal, answer, and say what holds now.

An order is a signed, numbered thing. Messages may be lost, doubled, late or in another order: what holds in the end
depends on the newest sequence number of each order alone, not on the way it came. An order is acknowledged once it is
on the disk and not before. A lower limit that cannot be kept (disk full) is obeyed and not acknowledged. Several
orders on one node combine by the lowest. No clock is read in here.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from controller.runtime.journal import Entry, JournalError
from controller.runtime.order import Answer, Order, OrderError, from_fields, parse_order
from controller.runtime.order_keys import Key

__all__ = ["Answer", "Force", "Order", "OrderBook", "OrderError", "parse_order"]

INF = math.inf
UNKEPT = Answer(False, "obeyed by one before us, but not kept, so it is not acknowledged", obeyed=True)
REMEMBERED = 10_000  # orders that are over and still known, so that a late double of one is not taken for new
MAX_TEXT = 64
LAST_S = 4_102_444_800.0  # 2100-01-01: a time after it is a mistake, and no calendar is asked about it


class Force(NamedTuple):
    """Hold what is in force: caps per node, (M,) W from 0, +inf none; set-points per charger, (N,) W, +inf none.

    `import_no` and `export_no`, (M,), are the journal entries of the orders that set the caps; 0 none or not kept.
    """

    import_w: np.ndarray
    export_w: np.ndarray
    wish_w: np.ndarray
    import_no: np.ndarray
    export_no: np.ndarray


@dataclass(frozen=True, slots=True)
class Held:
    """Hold the newest message about an order, its answer and the number of its journal entry (0 not kept)."""

    order: Order
    answer: Answer
    number: int

    def over(self, now_s: float) -> bool:
        """Say whether it can no longer hold."""
        return self.order.kind == "withdraw" or now_s >= self.order.to_s


class OrderBook:
    """Hold the orders of one controller.

    Parameters
    ----------
    nodes, chargers: names in the plan's order, the root first
    keep: writes a journal entry (`kind`, then fields) and returns its number once it is on the disk; JournalError
    keys: source -> key or shared secret; a source that has one must sign
    sources: who may send orders; None anybody (a local command, protected by the file's permissions)
    lead_s: (M,) an order is in force early by this time, the worst obey time below its node
    free_w: (M,) cap that holds at a node while no order does, W; an order above it raises, so it is not early at its
        start but at its end; left out: +inf, every order lowers
    judge: says why an order that is possible is refused all the same, by a contract; empty: it is not
    """

    __slots__ = (
        "_chargers", "_ended", "_force", "_free_w", "_held", "_judge", "_keep", "_keys", "_lead_s", "_nodes",
        "_sources", "strangers",
    )  # fmt: skip

    def __init__(
        self,
        nodes: Sequence[str],
        chargers: Sequence[str],
        keep: Callable[..., int | None],
        *,
        keys: Mapping[str, Key | bytes] | None = None,
        sources: Iterable[str] | None = None,
        lead_s: np.ndarray | None = None,
        free_w: np.ndarray | None = None,
        judge: Callable[[Order, float], str] | None = None,
    ) -> None:
        self._judge = judge
        self._nodes = {name: index for index, name in enumerate(nodes)}
        self._chargers = {name: index for index, name in enumerate(chargers)}
        self._keep = keep
        given = (keys or {}).items()
        self._keys = {source: Key(secret=key) if isinstance(key, bytes) else key for source, key in given}
        self._sources = None if sources is None else set(sources)
        self._lead_s = np.zeros(len(nodes)) if lead_s is None else lead_s
        self._free_w = np.full(len(nodes), INF) if free_w is None else free_w
        self._held: dict[tuple[str, str], Held] = {}
        self._ended: set[tuple[str, str]] = set()  # whose end has been journaled
        self._force: tuple[float, float, Force] | None = None  # what holds from a time until another, UTC epoch s
        self.strangers: list[Order] = []  # restored for a node that is not there any more: they bind the root

    def offer(self, order: Order, now_s: float, **fields: Any) -> Answer:
        """Take an order in and answer it; `now_s` is UTC epoch s, `fields` go to its journal entry.

        A doubled order gets its first answer again; one that could not be kept is kept now if that is possible.
        """
        name = (order.source, order.order_id)
        known = self._held.get(name)
        if why := self._forged(order):
            return self._refuse(order, why, fields)
        double = known is not None and known.order.message() == order.message()
        if known is not None and double and known.answer.accepted:
            return known.answer
        if why := self._impossible(order, now_s) or self._unjust(order, now_s):
            return self._refuse(order, why, fields)
        if known is not None and order.sequence <= known.order.sequence and not double:
            late = f"sequence {order.sequence} came after {known.order.sequence}"
            return self._refuse(order, f"{late}; number each message about an order higher than the one before", fields)
        return self._take(name, order, known, now_s, fields)

    def fault(self, order: Order, now_s: float) -> str:
        """Return what is wrong with an order whatever a contract says of it: forged or impossible; empty: nothing."""
        return self._forged(order) or self._impossible(order, now_s)

    def restore(self, entries: Iterable[Entry]) -> int:
        """Take over the orders that a journal says were accepted, oldest first; return how many. None is judged."""
        count, self._force = 0, None
        for entry in entries:
            if entry.kind == "ended":
                self._ended.add((entry.source, entry.order_id))
            if entry.kind != "accepted" or entry.body is None or "order" not in entry.body:
                continue
            order = from_fields(entry.body["order"])
            name = (order.source, order.order_id)
            known = self._held.get(name)
            if known is None or order.sequence > known.order.sequence:
                self._held[name] = Held(order, Answer(True, obeyed=True), entry.no)
                self._ended.discard(name)
                count += 1
        known_places = self._nodes.keys() | self._chargers.keys() | {""}
        self.strangers = [held.order for held in self._held.values() if held.order.subject not in known_places]
        return count

    def carry(self, order: Order) -> bool:
        """Take over an order that one before us obeyed and could not keep; return whether nothing newer is known."""
        name = (order.source, order.order_id)
        known = self._held.get(name)
        if known is not None and order.sequence <= known.order.sequence:
            return False
        self._held[name], self._force = Held(order, UNKEPT, 0), None
        return True

    def unkept(self, now_s: float) -> list[Order]:
        """Return the orders that are obeyed now or will be, and are not on the disk."""
        return [held.order for held in self._held.values() if not held.answer.accepted and not held.over(now_s)]

    def newest(self, source: str, order_id: str) -> Order | None:
        """Return the newest message about an order; None where nothing is known of it."""
        known = self._held.get((source, order_id))
        return None if known is None else known.order

    def force(self, now_s: float) -> Force:
        """Return what is in force at `now_s` (UTC epoch s), in arrays of the caller's own.

        It is worked out anew only where an order came, begins or ends: a year has hundreds of them, and is asked at
        every step.
        """
        if self._force is None or not self._force[0] <= now_s < self._force[1]:
            self._force = now_s, self.next_change_s(now_s), self._work_out(now_s)
        return Force(*(part.copy() for part in self._force[2]))

    def _work_out(self, now_s: float) -> Force:
        m, n = len(self._nodes), len(self._chargers)
        found = Force(np.full(m, INF), np.full(m, INF), np.full(n, INF), np.zeros(m, np.int64), np.zeros(m, np.int64))
        spans: dict[tuple[str, int], list[tuple[float, float]]] = {}  # of the caps by direction and node
        for held in self._held.values():
            order = held.order
            if held.over(now_s):
                continue
            if order.kind == "setpoint":
                i = self._chargers.get(order.subject, -1)
                if i >= 0 and not now_s < order.from_s:
                    found.wish_w[i] = min(found.wish_w[i], order.value_w)
                continue
            at = self._nodes.get(order.subject, 0)  # of a node that is gone: the root, so that nothing is lifted
            if now_s < order.from_s - self._lead_s[at]:
                continue
            spans.setdefault((order.direction, at), []).append((order.from_s, order.to_s))
            cap_w, number = (
                (found.import_w, found.import_no) if order.direction == "import" else (found.export_w, found.export_no)
            )
            if order.value_w < cap_w[at]:
                cap_w[at], number[at] = order.value_w, held.number
        for (direction, at), given in spans.items():
            cap_w = found.import_w if direction == "import" else found.export_w
            if self._free_w[at] < cap_w[at] and _gap(given, now_s, float(self._lead_s[at])):
                cap_w[at] = self._free_w[at]
        return found

    def in_force(self, now_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return import and export caps per node, (M,) W from 0, +inf none, and set-points per charger, (N,) W."""
        found = self.force(now_s)
        return found.import_w, found.export_w, found.wish_w

    def next_change_s(self, now_s: float) -> float:
        """Return when what is in force changes next without a message, UTC epoch s; +inf never."""
        soonest_s = INF
        for held in self._held.values():
            if held.over(now_s):
                continue
            order = held.order
            lead_s = self._lead_s[self._nodes.get(order.subject, 0)] if order.kind == "cap" else 0.0
            for at_s in (order.from_s - lead_s, order.from_s, order.to_s - lead_s, order.to_s):
                if now_s < at_s < soonest_s:
                    soonest_s = at_s
        return soonest_s

    def orders(self, now_s: float) -> list[Order]:
        """Return the orders that hold now or will, in the order of their arrival."""
        return [held.order for held in self._held.values() if not held.over(now_s)]

    def close_ended(self, now_s: float) -> int:
        """Journal the end of orders whose time is over, once each; return how many. JournalError: try again later."""
        count = 0
        for name, held in self._held.items():
            if held.order.kind == "withdraw" or name in self._ended or not held.over(now_s):
                continue
            source, order_id = name
            self._keep("ended", source=source, order_id=order_id, subject=held.order.subject, order_no=held.number)
            self._ended.add(name)
            count += 1
        return count

    def _take(
        self, name: tuple[str, str], order: Order, known: Held | None, now_s: float, fields: Mapping[str, Any]
    ) -> Answer:
        answer, number = Answer(True, obeyed=True), 0
        try:
            number = self._write("accepted", order, fields)
        except JournalError as error:
            if not self._lowers(order, known, now_s):
                return Answer(False, f"cannot be kept, so it is not obeyed: {error}")
            answer = Answer(False, f"obeyed, but cannot be kept, so it is not acknowledged: {error}", obeyed=True)
        self._held.pop(name, None)
        self._held[name] = Held(order, answer, number)
        self._force = None
        self._ended.discard(name)
        self._forget(now_s)
        return answer

    def _lowers(self, order: Order, known: Held | None, now_s: float) -> bool:
        """Say whether the order only lowers: a new cap, or one that replaces a cap of its node and is not above it."""
        if order.kind != "cap" or order.value_w > self._free_w[self._nodes.get(order.subject, 0)]:
            return False
        if known is None or known.over(now_s):
            return True
        was = known.order
        same = (was.kind, was.subject, was.direction) == (order.kind, order.subject, order.direction)
        covers = not order.from_s > was.from_s and not order.to_s < was.to_s
        covers = covers and (math.isnan(order.from_s) or not math.isnan(was.from_s))
        covers = covers and (math.isnan(order.to_s) or not math.isnan(was.to_s))
        return same and covers and order.value_w <= was.value_w

    def _refuse(self, order: Order, why: str, fields: Mapping[str, Any]) -> Answer:
        try:
            self._write("refused", order, {**fields, "why": why})
        except JournalError as error:
            why = f"{why}; nor could that be kept: {error}"
        return Answer(False, why)

    def _write(self, kind: str, order: Order, fields: Mapping[str, Any]) -> int:
        named = {"source": order.source, "order_id": order.order_id, "subject": order.subject}
        return self._keep(kind, **named, order=asdict(order), **fields) or 0

    def _forged(self, order: Order) -> str:
        if self._sources is not None and order.source not in self._sources:
            return f"source {order.source!r} is not known here"
        key = self._keys.get(order.source)
        if key is not None and not key.signed(order):
            return f"its signature is not that of {order.source}"
        return ""

    def _impossible(self, order: Order, now_s: float) -> str:
        for field in ("source", "order_id"):
            text = getattr(order, field)
            if not 0 < len(text) <= MAX_TEXT or not text.isprintable():
                return f"{field} {text!r}: give a name of 1 to {MAX_TEXT} characters that can be printed"
        if order.sequence < 0:
            return f"sequence {order.sequence}: it counts from 0"
        if order.kind == "withdraw":
            return ""
        places = self._nodes if order.kind == "cap" else self._chargers
        if order.subject not in places:
            what = "node" if order.kind == "cap" else "charger"
            return f"{what} {order.subject!r}: there are {', '.join(places)}"
        if not math.isfinite(order.value_w) or (order.kind == "cap" and order.value_w < 0.0):
            allowed = "0 W or more" if order.kind == "cap" else "a finite number of W, + from the grid"
            return f"{order.kind} of {order.value_w:g} W: allowed {allowed}"
        times = [at_s for at_s in (order.from_s, order.to_s) if not math.isnan(at_s)]
        if any(not 0.0 <= at_s <= LAST_S for at_s in times) or order.to_s <= order.from_s:
            span = f"valid from {order.from_s:g} to {order.to_s:g} s"
            return f"{span}: give UTC epoch times before the year 2100, the end after the start"
        if now_s >= order.to_s:
            return f"its time was over {now_s - order.to_s:.0f} s ago"
        return ""

    def _unjust(self, order: Order, now_s: float) -> str:
        return "" if self._judge is None or order.kind == "withdraw" else self._judge(order, now_s)

    def _forget(self, now_s: float) -> None:
        """Drop the oldest orders that are over once there are too many of them."""
        surplus = len(self._held) - REMEMBERED
        if surplus <= 0:
            return
        for name in [name for name, held in self._held.items() if held.over(now_s)][:surplus]:
            del self._held[name]
            self._ended.discard(name)


def _gap(spans: list[tuple[float, float]], now_s: float, lead_s: float) -> bool:
    """Say whether spans (NaN: at once, or for ever) leave a moment from now to the end of the lead without one."""
    moments = [now_s, *(to_s for _, to_s in spans if to_s - lead_s <= now_s < to_s)]
    return any(all(at_s < begin_s or at_s >= end_s for begin_s, end_s in spans) for at_s in moments)
