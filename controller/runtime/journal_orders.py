"""Tell the life of each order from a journal: received, answered, decided, sent, accepted by devices, obeyed, ended."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from controller.runtime.journal import Entry

NAN = math.nan
STEPS = ("decided", "sent", "accepted", "obeyed", "missed")


@dataclass(slots=True)
class OrderLife:
    """Hold what became of one message about an order; seconds count from its receipt, or from its start if later.

    `decided_s`: a scan had a cap at or below it; `sent_s`: every charger below that had to change has acknowledged
    its set-point; `accepted_s`: those that tell their limit apply it; `obeyed_s`: measured watts within tolerance.
    NaN: not seen. `state` is received, accepted, refused, obeyed, missed, replaced, withdrawn or ended.
    """

    no: int
    source: str
    order_id: str
    sequence: int
    kind: str
    subject: str
    direction: str
    value_w: float
    from_s: float
    to_s: float
    received_utc_ns: int
    state: str
    why: str = ""
    decided_s: float = NAN
    sent_s: float = NAN
    accepted_s: float = NAN
    obeyed_s: float = NAN
    missed_s: float = NAN
    misses: int = 0
    over: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def lives(entries: Iterable[Entry]) -> list[OrderLife]:
    """Return the messages about orders of a journal with what became of them, in the order of their entries."""
    by_no: dict[int, OrderLife] = {}
    newest: dict[tuple[str, str], OrderLife] = {}
    for entry in entries:
        body = entry.body or {}
        if entry.kind in ("received", "accepted", "refused") and "order" in body:
            life = _begin(entry, body)
            by_no[entry.no] = life
            if entry.kind != "refused":
                before = newest.get((entry.source, entry.order_id))
                if before is not None and not before.over:
                    before.over = True
                    before.state = "withdrawn" if life.kind == "withdraw" else "replaced"
                newest[entry.source, entry.order_id] = life
        elif entry.kind == "ended" and int(body.get("order_no", 0)) in by_no:
            found = by_no[int(body["order_no"])]
            found.over, found.state = True, "ended" if found.state == "accepted" else f"{found.state}, ended"
        elif entry.kind in STEPS and int(body.get("order_no", 0)) in by_no:
            _step(by_no[int(body["order_no"])], entry.kind, float(body.get("after_s", NAN)))
    return list(by_no.values())


def _begin(entry: Entry, body: dict[str, Any]) -> OrderLife:
    order = body["order"]
    return OrderLife(
        no=entry.no,
        source=entry.source,
        order_id=entry.order_id,
        sequence=int(order["sequence"]),
        kind=order["kind"],
        subject=entry.subject,
        direction=order["direction"],
        value_w=float(order["value_w"]),
        from_s=float(order["from_s"]),
        to_s=float(order["to_s"]),
        received_utc_ns=entry.utc_ns - max(entry.mono_ns - int(body.get("received_mono_ns") or entry.mono_ns), 0),
        state=entry.kind,
        why=str(body.get("why", "")),
        over=entry.kind == "refused" or order["kind"] == "withdraw",
    )


def _step(life: OrderLife, kind: str, after_s: float) -> None:
    """Keep the first time of a step; a limit that was passed again later is counted."""
    name = f"{kind}_s"
    if math.isnan(getattr(life, name)):
        setattr(life, name, after_s)
    life.misses += kind == "missed"
    if not life.over and kind in ("obeyed", "missed"):
        life.state = kind
