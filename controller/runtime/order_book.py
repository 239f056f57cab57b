"""Keep the orders that reach the controller: check, number, journal, answer, and say what holds now.

An order is a signed, numbered thing. Messages may be lost, doubled, late or in another order: what holds in the end
depends on the newest sequence number of each order alone, not on the way it came. An order is acknowledged once it is
on the disk and not before. A lower limit that cannot be kept (disk full) is obeyed and not acknowledged. Several
orders on one node combine by the lowest. No clock is read in here.
"""

import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from controller.runtime.journal import Entry, JournalError

INF, NAN = math.inf, math.nan
REMEMBERED = 10_000  # orders that are over and still known, so that a late double of one is not taken for new
MAX_TEXT = 64

Kind = Literal["cap", "setpoint", "withdraw"]
Direction = Literal["import", "export"]


class OrderError(ValueError):
    """Report an order that says something impossible: which field, its value, what is allowed."""


@dataclass(frozen=True, slots=True)
class Order:
    """Hold one message about an order.

    Parameters
    ----------
    source: who sends it; order_id: its name there; sequence: counts the messages about it, a later one replaces
    subject: node that a cap binds, or charger that a set-point drives; empty in a withdrawal
    value_w: W. A cap is 0 or more in its direction; a set-point is signed, + from the grid into the charger
    from_s, to_s: UTC epoch s; NaN at once, NaN until withdrawn
    signature: hexadecimal HMAC-SHA256 of `message()` under the source's key
    """

    source: str
    order_id: str
    sequence: int
    kind: Kind
    subject: str = ""
    direction: Direction = "import"
    value_w: float = NAN
    from_s: float = NAN
    to_s: float = NAN
    signature: str = ""

    def message(self) -> bytes:
        """Return the bytes that are signed: all fields but the signature, in a fixed form."""
        fields = asdict(self)
        del fields["signature"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    def signed(self, key: bytes) -> "Order":
        """Return the order with its signature under `key`."""
        return replace(self, signature=hmac.new(key, self.message(), hashlib.sha256).hexdigest())


@dataclass(frozen=True, slots=True)
class Answer:
    """Say what became of an order: `accepted` (kept and in the book), else why not; `obeyed` may hold without."""

    accepted: bool
    why: str = ""
    obeyed: bool = False


class OrderBook:
    """Hold the orders of one controller.

    Parameters
    ----------
    nodes, chargers: names in the plan's order
    keep: writes a journal entry (`kind`, then fields) and returns once it is on the disk; JournalError where it fails
    keys: source -> secret; a source that has one must sign, one that is not named in `sources` is refused
    sources: who may send orders; None anybody (a local command, protected by the file's permissions)
    lead_s: (M,) an order is in force early by this time, the worst obey time below its node
    """

    __slots__ = ("_answers", "_chargers", "_keep", "_keys", "_latest", "_lead_s", "_nodes", "_sources")

    def __init__(
        self,
        nodes: Sequence[str],
        chargers: Sequence[str],
        keep: Callable[..., object],
        *,
        keys: Mapping[str, bytes] | None = None,
        sources: Iterable[str] | None = None,
        lead_s: np.ndarray | None = None,
    ) -> None:
        self._nodes = {name: index for index, name in enumerate(nodes)}
        self._chargers = {name: index for index, name in enumerate(chargers)}
        self._keep = keep
        self._keys = dict(keys or {})
        self._sources = None if sources is None else set(sources)
        self._lead_s = np.zeros(len(nodes)) if lead_s is None else lead_s
        self._latest: dict[tuple[str, str], Order] = {}
        self._answers: dict[tuple[str, str], Answer] = {}

    def offer(self, order: Order, now_s: float) -> Answer:
        """Take an order in and answer it; `now_s` is UTC epoch s. A doubled order gets its first answer again."""
        name = (order.source, order.order_id)
        known = self._latest.get(name)
        if why := self._forged(order):
            return self._refuse(order, why)
        if known is not None and known.message() == order.message():
            return self._answers[name]
        if why := self._impossible(order, now_s):
            return self._refuse(order, why)
        if known is not None and order.sequence <= known.sequence:
            late = f"sequence {order.sequence} came after {known.sequence}"
            return self._refuse(order, f"{late}; number each message about an order higher than the one before")
        return self._take(name, order, known, now_s)

    def restore(self, entries: Iterable[Entry]) -> int:
        """Take over the orders that a journal says were accepted, oldest first; return how many. None is judged."""
        count = 0
        for entry in entries:
            if entry.kind != "accepted" or entry.body is None or "order" not in entry.body:
                continue
            order = _from_fields(entry.body["order"])
            name = (order.source, order.order_id)
            known = self._latest.get(name)
            if known is None or order.sequence > known.sequence:
                self._latest[name], self._answers[name] = order, Answer(True, obeyed=True)
                count += 1
        return count

    def in_force(self, now_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return import and export caps per node, (M,) W from 0, +inf none, and set-points per charger, (N,) W."""
        caps = {"import": np.full(len(self._nodes), INF), "export": np.full(len(self._nodes), INF)}
        wish = np.full(len(self._chargers), INF)
        for order in self._latest.values():
            if order.kind == "withdraw" or now_s >= order.to_s:
                continue
            if order.kind == "setpoint":
                if not now_s < order.from_s:
                    i = self._chargers[order.subject]
                    wish[i] = min(wish[i], order.value_w)
                continue
            m = self._nodes[order.subject]
            if not now_s < order.from_s - self._lead_s[m]:
                caps[order.direction][m] = min(caps[order.direction][m], order.value_w)
        return caps["import"], caps["export"], wish

    def orders(self, now_s: float) -> list[Order]:
        """Return the orders that hold now or will, in the order of their arrival."""
        return [order for order in self._latest.values() if order.kind != "withdraw" and not now_s >= order.to_s]

    def _take(self, name: tuple[str, str], order: Order, known: Order | None, now_s: float) -> Answer:
        answer = Answer(True, obeyed=True)
        try:
            self._write("accepted", order)
        except JournalError as error:
            if not self._lowers(order, known, now_s):
                return Answer(False, f"cannot be kept, so it is not obeyed: {error}")
            answer = Answer(False, f"obeyed, but cannot be kept, so it is not acknowledged: {error}", obeyed=True)
        self._latest.pop(name, None)
        self._latest[name], self._answers[name] = order, answer
        self._forget(now_s)
        return answer

    def _lowers(self, order: Order, known: Order | None, now_s: float) -> bool:
        """Say whether the order only lowers: a new cap, or one that replaces a cap of its node and is not above it."""
        if order.kind != "cap":
            return False
        if known is None or known.kind == "withdraw" or now_s >= known.to_s:
            return True
        same = (known.subject, known.direction) == (order.subject, order.direction)
        covers = not order.from_s > known.from_s and not order.to_s < known.to_s
        return same and covers and order.value_w <= known.value_w

    def _refuse(self, order: Order, why: str) -> Answer:
        try:
            self._write("refused", order, why=why)
        except JournalError as error:
            why = f"{why}; nor could that be kept: {error}"
        return Answer(False, why)

    def _write(self, kind: str, order: Order, **fields: Any) -> None:
        named = {"source": order.source, "order_id": order.order_id, "subject": order.subject}
        self._keep(kind, **named, order=asdict(order), **fields)

    def _forged(self, order: Order) -> str:
        if self._sources is not None and order.source not in self._sources:
            return f"source {order.source!r} is not known here"
        key = self._keys.get(order.source)
        if key is not None and not hmac.compare_digest(order.signed(key).signature, order.signature):
            return f"its signature is not that of {order.source}"
        return ""

    def _impossible(self, order: Order, now_s: float) -> str:
        for field in ("source", "order_id"):
            if not 0 < len(getattr(order, field)) <= MAX_TEXT:
                return f"{field} {getattr(order, field)!r}: give a name of 1 to {MAX_TEXT} characters"
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
        if math.isinf(order.from_s) or math.isinf(order.to_s) or order.to_s <= order.from_s:
            return f"valid from {order.from_s:g} to {order.to_s:g} s: give UTC epoch times, the end after the start"
        if now_s >= order.to_s:
            return f"its time was over {now_s - order.to_s:.0f} s ago"
        return ""

    def _forget(self, now_s: float) -> None:
        """Drop the oldest orders that are over once there are too many of them."""
        surplus = len(self._latest) - REMEMBERED
        if surplus <= 0:
            return
        over = [name for name, order in self._latest.items() if order.kind == "withdraw" or now_s >= order.to_s]
        for name in over[:surplus]:
            del self._latest[name], self._answers[name]


def parse_order(fields: Mapping[str, Any]) -> Order:
    """Return the order that a JSON object holds; an OrderError names the field that is missing, unknown or wrong."""
    known = set(Order.__dataclass_fields__)
    if unknown := sorted(set(fields) - known):
        raise OrderError(f"unknown fields {', '.join(unknown)}; allowed are {', '.join(sorted(known))}")
    if missing := [name for name in ("source", "order_id", "sequence", "kind") if name not in fields]:
        raise OrderError(f"{', '.join(missing)} is missing")
    for name, allowed in (("kind", ("cap", "setpoint", "withdraw")), ("direction", ("import", "export"))):
        if fields.get(name, allowed[0]) not in allowed:
            raise OrderError(f"{name} = {fields[name]!r}: allowed are {', '.join(allowed)}")
    try:
        return _from_fields(fields)
    except (TypeError, ValueError) as error:
        raise OrderError(f"a number of the order cannot be read: {error}") from error


def _from_fields(fields: Mapping[str, Any]) -> Order:
    return Order(
        source=str(fields["source"]),
        order_id=str(fields["order_id"]),
        sequence=int(fields["sequence"]),
        kind=fields["kind"],
        subject=str(fields.get("subject", "")),
        direction=fields.get("direction", "import"),
        value_w=float(fields.get("value_w", NAN)),
        from_s=float(fields.get("from_s", NAN)),
        to_s=float(fields.get("to_s", NAN)),
        signature=str(fields.get("signature", "")),
    )
