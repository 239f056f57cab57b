"""Write what a contract's evidence says of orders: received, answered, obeyed, notice, and the allowance taken."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from controller.runtime.journal_orders import OrderLife
from hil.runs.evidence_journal import STEPS
from hil.runs.page import Raw, number, section, table

if TYPE_CHECKING:
    from hil.runs.contract_report import Evidence

MOST_ROWS = 200
NS = 1e9


def journal_sections(evidence: Evidence) -> list[Raw]:
    """Return the sections on the journal and on the allowance."""
    return [part for part in (_orders(evidence), _calls(evidence), _allowance(evidence)) if part]


def _orders(evidence: Evidence) -> Raw:
    found, title = evidence.journal, "Orders"
    if found.path is None:
        return section(title, "The run kept no journal: nothing was ordered over a link, or it ran in virtual time.")
    if found.why:
        return section(title, f"The journal cannot be read: {found.why}")
    whole = f"{found.entries} entries, " + ("nothing wrong" if not found.faults else "; ".join(found.faults))
    counts = ", ".join(f"{value} {name}" for name, value in found.counts().items())
    note = (
        f"Journal {found.path.name}: {whole} (the chain of hashes, followed from the first entry to the last). "
        f"To the contract, its nodes and those above them: {counts}. Seconds from the receipt of an order, or from its "
        "start where that is later; negative: early."
    )
    if not found.orders:
        return section(title, note)
    zone = evidence.held.zone
    rows = [
        (
            f"{life.source} {life.order_id}", life.subject, _limit(life),
            datetime.fromtimestamp(life.received_utc_ns / NS, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
            *(number(getattr(life, step), 2) for step in STEPS),
            f"{life.state}{': ' + life.why if life.why else ''}",
        )
        for life in found.orders[:MOST_ROWS]
    ]  # fmt: skip
    headers = ("order", "at", "limit", "received", "decided (s)", "sent (s)", "accepted (s)", "obeyed (s)", "state")
    spans = [(step.removesuffix("_s"), *(number(s, 2) for s in found.spans_s(step))) for step in STEPS]
    rest = len(found.orders) - len(rows)
    more = [f"{rest} more are in the JSON file."] if rest > 0 else []
    return section(
        title, note, table(("step", "p50 (s)", "p99 (s)", "max (s)"), spans, range(1, 4)),
        table(headers, rows, (2, 4, 5, 6, 7)), *more,
    )  # fmt: skip


def _limit(life: OrderLife) -> str:
    if life.kind == "withdraw":
        return "withdraws"
    sign = "=" if life.kind == "setpoint" else "<=" if life.direction == "import" else "export <="
    return f"{sign} {number(life.value_w / 1e3, 1, 'kW')}"


def _calls(evidence: Evidence) -> Raw:
    calls = evidence.journal.calls
    if not calls:
        return Raw("")
    rows = [
        (
            f"{call.life.source} {call.life.order_id}", number(call.life.value_w / 1e3, 1),
            number(call.notice_s / 3600, 2), number((call.life.to_s - call.life.from_s) / 3600, 2),
            call.flags or "as agreed", call.life.state,
        )
        for call in calls[:MOST_ROWS]
    ]  # fmt: skip
    headers = ("call", "limit (kW)", "notice (h)", "length (h)", "as agreed", "state")
    return section("Calls and their notice", table(headers, rows, (1, 2, 3)))


def _allowance(evidence: Evidence) -> Raw:
    if not evidence.taken:
        return Raw("")
    rows = [
        (
            row.what, _amount(row.value, row.unit),
            _amount(row.allowed, row.unit) if math.isfinite(row.allowed) else "not bounded",
            "yes" if row.within else "no", row.source,
        )
        for row in evidence.taken
    ]  # fmt: skip
    return section(
        "Account, against the allowance", table(("what", "taken", "allowed", "within", "from"), rows, (1, 2))
    )


def _amount(value: float, unit: str) -> str:
    return number(value, 0) if unit == "1" else number(value, 2, unit)
