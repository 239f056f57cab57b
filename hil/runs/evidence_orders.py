"""Say which limits were told in a run, to whom and for how long, from what was received: journal and scenario.

What the controller did about an order is not asked here. An order that was refused tells nothing, one that was
replaced or withdrawn ends then.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from controller.runtime.journal import Entry
from controller.runtime.journal_orders import OrderLife
from hil.runs.evidence_handed import handed_to, use_case_of
from hil.runs.evidence_limits import Held, Told
from profiles.contract_calls import Called
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a

NS = 1e9
DAY_S = 86400.0  # a call without an end is taken for a day, as the contract's account does


def with_told(
    held: Held,
    lives: Sequence[OrderLife],
    log: Iterable[dict[str, Any]],
    start_utc_s: float,
    handed: Sequence[Entry] = (),
) -> Held:
    """Return a contract with the limits that were told to it: calls, envelopes, dimmings, an energy guard's writes.

    `handed` are a journal's entries of what was handed in; where they tell nothing the scenario's log does.
    """
    contract, came = held.contract, handed_to(held, handed)
    if isinstance(contract, Called):
        return replace(held, told=tuple(_orders(lives, {contract.name}, contract.limit.direction, DAY_S)))
    if isinstance(contract, OperatingEnvelope):
        nodes = {point.name for point in held.points}
        return replace(held, told=(*_orders(lives, nodes, contract.limit.direction, math.inf), *came))
    if isinstance(contract, Par14a):
        return replace(held, told=tuple(came or _dims(log, start_utc_s)))
    if isinstance(contract, Lpc):
        return replace(held, told=tuple(came or _writes(log, start_utc_s, contract)))
    return held


def _orders(lives: Sequence[OrderLife], subjects: set[str], direction: str, endless_s: float) -> list[Told]:
    """Return what the orders to these nodes or contracts told; NaN watts and times are none."""
    found: list[Told] = []
    for k, life in enumerate(lives):
        if life.subject not in subjects or life.kind != "cap" or life.state.startswith("refused"):
            continue
        if life.direction != direction or math.isnan(life.value_w):
            continue
        heard_s = life.received_utc_ns / NS
        from_s = heard_s if math.isnan(life.from_s) else max(life.from_s, heard_s)
        to_s = from_s + endless_s if math.isnan(life.to_s) else life.to_s
        after = [
            other.received_utc_ns / NS
            for other in lives[k + 1 :]
            if (other.source, other.order_id) == (life.source, life.order_id) and not other.state.startswith("refused")
        ]
        found.append(Told(from_s, min([to_s, *after]), life.value_w, life.subject))
    return [told for told in found if told.to_s > told.from_s]


def _dims(log: Iterable[dict[str, Any]], start_utc_s: float) -> list[Told]:
    """Return when a scenario dimmed; the floor is that of each point."""
    dims = [entry for entry in log if entry.get("event") == "dim"]
    return [
        Told(start_utc_s + float(entry["t_s"]), start_utc_s + float(entry["t_s"] + entry["for_s"]), math.nan)
        for entry in dims
    ]


def _writes(log: Iterable[dict[str, Any]], start_utc_s: float, contract: Lpc) -> list[Told]:
    """Return the steps of an energy guard's limit, as the state machine of the rig told them."""
    case = use_case_of(contract)
    said = [e for e in log if e.get("event") in ("lpc", "lpc_write") and e.get("use_case") == case]
    at_s = [start_utc_s + float(entry["t_s"]) for entry in said] + [math.inf]
    return [
        Told(at_s[k], at_s[k + 1], float(entry["limit_w"]))
        for k, entry in enumerate(said)
        if entry["limit_w"] is not None and at_s[k + 1] > at_s[k]
    ]
