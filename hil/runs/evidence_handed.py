"""Say which limits were handed in from outside the order book, from the journal: guards, contacts, schedules.

The `handed` process of a running controller writes down what came and the limit that was in force after it. What the
law did about it is not asked here.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from controller.runtime.journal import Entry
from hil.runs.evidence_limits import Held, Told
from profiles.contract import AnyContract
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a

NS = 1e9
DIM, ENVELOPE = "dim", "envelope"
SOURCES = (DIM, ENVELOPE, "lpc", "lpp")


def handed_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of a journal that tell what was handed in, oldest first."""
    return [entry for entry in entries if entry.source in SOURCES and entry.body is not None]


def handed_to(held: Held, entries: Sequence[Entry]) -> list[Told]:
    """Return the limits that were handed in for a contract at its points; none for a kind that nobody hands in."""
    contract, names = held.contract, {point.name for point in held.points}
    if isinstance(contract, Par14a):
        return _dims([entry for entry in entries if entry.source == DIM and entry.kind == "decided"])
    found: list[Told] = []
    for name in sorted(names):
        mine = [entry for entry in entries if entry.subject == name]
        if isinstance(contract, Lpc):
            found += _steps([entry for entry in mine if entry.source == use_case_of(contract)], name)
        elif isinstance(contract, OperatingEnvelope):
            found += _schedules([entry for entry in mine if entry.source == ENVELOPE], name, contract)
    return found


def use_case_of(contract: AnyContract) -> str:
    """Return the use case of an energy guard's contract."""
    return "lpc" if contract.limit.direction == "import" else "lpp"


def _at_s(entry: Entry) -> float:
    return entry.utc_ns / NS


def _ends_s(entries: Sequence[Entry]) -> list[float]:
    """Return when each entry's word is over by that of the next one."""
    return [*(_at_s(entry) for entry in entries[1:]), math.inf] if entries else []


def _dims(entries: Sequence[Entry]) -> list[Told]:
    """Return when the contact had dimmed; the floor is that of each point."""
    found = []
    for entry, over_s in zip(entries, _ends_s(entries), strict=True):
        until_s = min(float((entry.body or {}).get("until_utc_s", math.inf)), over_s)
        if until_s > _at_s(entry):
            found.append(Told(_at_s(entry), until_s, math.nan))
    return found


def _steps(entries: Sequence[Entry], node: str) -> list[Told]:
    """Return the steps of a guard's limit at a node, as its state machine had it; no limit is no step."""
    said = [entry for entry in entries if "limit_w" in (entry.body or {})]
    found = []
    for entry, over_s in zip(said, _ends_s(said), strict=True):
        limit_w = float((entry.body or {})["limit_w"])
        if math.isfinite(limit_w) and over_s > _at_s(entry):
            found.append(Told(_at_s(entry), over_s, limit_w, node))
    return found


def _schedules(entries: Sequence[Entry], node: str, contract: OperatingEnvelope) -> list[Told]:
    """Return the intervals of the schedules for a node, each until the next schedule came.

    From the age on at which one is lost, the lower of its limit and the subscribed capacity is told.
    """
    export = contract.limit.direction == "export"
    key, subscribed_w = ("export_w", contract.subscribed_export_w) if export else ("import_w", contract.subscribed_w)
    batches: list[list[Entry]] = []
    for entry in entries:
        if not batches or entry.mono_ns != batches[-1][0].mono_ns:  # a schedule's entries have one stamp
            batches.append([])
        batches[-1].append(entry)
    found = []
    for batch, over_s in zip(batches, _ends_s([batch[0] for batch in batches]), strict=True):
        came_s = _at_s(batch[0])
        for entry in batch:
            body: dict[str, Any] = entry.body or {}
            if key not in body:
                continue  # a schedule that says nothing of the node
            value_w, lost_s = float(body[key]), float(body.get("renewed_s", came_s)) + contract.max_age_s
            from_s, to_s = max(float(body["from_s"]), came_s), min(float(body["to_s"]), over_s)
            pieces = ((from_s, min(to_s, lost_s), value_w), (max(from_s, lost_s), to_s, min(value_w, subscribed_w)))
            found += [Told(a_s, b_s, w, node) for a_s, b_s, w in pieces if b_s > a_s]
    return found
