"""Tell from a run's journal what was ordered and what became of it, and whether the journal itself is whole."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.runtime.journal import NAME, Entry, JournalError, read_entries, verify
from controller.runtime.journal_orders import OrderLife, lives
from controller.runtime.site import read_site
from hil.rig.store_dir import SITE
from hil.runs.evidence import percentile_s
from hil.runs.evidence_handed import handed_entries

STEPS = ("decided_s", "sent_s", "accepted_s", "obeyed_s")
REFUSED = "refused"
NS = 1e9


@dataclass(frozen=True, slots=True)
class Notice:
    """Hold one call on a contract: the order, how long before its start it was made (s), and what was not as agreed."""

    life: OrderLife
    notice_s: float
    flags: str


@dataclass(frozen=True, slots=True)
class JournalFigures:
    """Hold what a journal says that touches a contract: orders, calls, the last row of its account, faults.

    `path` is the journal; `faults` are what `verify` found, by entry; `handed` are its entries of what was handed in;
    `why` says why nothing could be read.
    """

    path: Path | None = None
    entries: int = 0
    faults: tuple[str, ...] = ()
    orders: tuple[OrderLife, ...] = ()
    calls: tuple[Notice, ...] = ()
    account: dict[str, Any] = field(default_factory=dict)
    handed: tuple[Entry, ...] = ()
    why: str = ""

    def spans_s(self, step: str) -> tuple[float, float, float]:
        """Return p50, p99 and the longest of a step's seconds over all orders that reached it; NaN without any."""
        took = [float(getattr(life, step)) for life in self.orders if not math.isnan(getattr(life, step))]
        return percentile_s(took, 0.5), percentile_s(took, 0.99), max(took, default=math.nan)

    def counts(self) -> dict[str, int]:
        """Return how many orders were received, refused, decided, obeyed, missed; calls, late ones and beyond."""
        return {
            "received": len(self.orders),
            "refused": sum(life.state.startswith(REFUSED) for life in self.orders),
            "decided": sum(not math.isnan(life.decided_s) for life in self.orders),
            "obeyed": sum(not math.isnan(life.obeyed_s) for life in self.orders),
            "missed": sum(life.misses > 0 for life in self.orders),
            "calls": len(self.calls),
            "not as agreed": sum(bool(call.flags) for call in self.calls),
        }


def journal_path(run_dir: Path) -> Path | None:
    """Return the journal of a run: in its folder, or where its site says; None where it kept none."""
    if (run_dir / NAME).is_file():
        return run_dir / NAME
    if not (run_dir / SITE).is_file():
        return None
    kept = read_site(run_dir / SITE).journal()
    return kept if kept.is_file() else None


def read_figures(
    run_dir: Path, contract: str, nodes: Sequence[str], span_s: tuple[float, float]
) -> tuple[JournalFigures, list[OrderLife]]:
    """Return the figures of a run's journal about a contract and the orders of all subjects in it.

    `nodes` are the measuring points and the nodes above them; `span_s` are the UTC times of the run: the journal of a
    site lies beside its runs and has those of others too.
    """
    path = journal_path(run_dir)
    if path is None:
        return JournalFigures(), []
    try:
        entries = list(read_entries(path))
        count, found = verify(path)
    except JournalError as error:
        return JournalFigures(path, why=str(error)), []
    everything = lives(entries)
    mine = [life for life in everything if life.subject in {contract, *nodes} and _within(life, span_s)]
    return JournalFigures(
        path=path,
        entries=count,
        faults=tuple(f"entry {fault.no}: {fault.what}" for fault in found),
        orders=tuple(mine),
        calls=tuple(_calls(entries, [life for life in mine if life.subject == contract and life.kind != "withdraw"])),
        account=_account(entries, contract, span_s[1]),
        handed=tuple(handed_entries(entries)),
    ), everything


def _within(life: OrderLife, span_s: tuple[float, float]) -> bool:
    """Tell whether an order was received, or held, within the run."""
    heard_s = life.received_utc_ns / NS
    until_s = math.inf if math.isnan(life.to_s) else life.to_s
    return heard_s <= span_s[1] and max(heard_s, until_s) >= span_s[0]


def _calls(entries: Sequence[Entry], calls: Sequence[OrderLife]) -> list[Notice]:
    bodies = {entry.no: entry.body or {} for entry in entries}
    found = []
    for life in calls:
        heard_s = life.received_utc_ns / NS
        notice_s = 0.0 if math.isnan(life.from_s) else max(life.from_s - heard_s, 0.0)
        body = bodies.get(life.no, {})
        flags = str(
            body.get("flags")
            or "; ".join(filter(None, ("late" if body.get("late") else "", str(body.get("beyond", "")))))
        )
        found.append(Notice(life, notice_s, flags))
    return found


def _account(entries: Sequence[Entry], contract: str, until_s: float) -> dict[str, Any]:
    """Return the last row of the contract's account that was written until then; empty without one."""
    rows = [
        e.body for e in entries if e.kind == "account" and e.subject == contract and e.utc_ns / NS <= until_s + 60.0
    ]
    return dict(rows[-1] or {}) if rows else {}


def figures_json(figures: JournalFigures) -> dict[str, Any]:
    """Return the figures as plain objects; an empty object where the run kept no journal."""
    if figures.path is None:
        return {}
    spans = {step: dict(zip(("p50_s", "p99_s", "max_s"), figures.spans_s(step), strict=True)) for step in STEPS}
    return {
        "journal": figures.path.name,
        "entries": figures.entries,
        "faults": list(figures.faults),
        "why": figures.why,
        "counts": figures.counts(),
        "seconds": spans,
        "orders": [life.to_dict() for life in figures.orders],
        "calls": [
            {"order_id": call.life.order_id, "source": call.life.source, "value_w": call.life.value_w,
             "notice_s": call.notice_s, "flags": call.flags, "state": call.life.state} for call in figures.calls
        ],
        "account": figures.account,
    }  # fmt: skip
