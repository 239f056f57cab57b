"""Play a year of a contract on call: a DSO that calls, the law, the street; judge hours, notice and the limit kept.

`voltbench run tdtr` (`--for 14d` for less; `contract_job`). The run is in virtual time, in steps of 900 s, the
interval by which large connections are metered: what is drawn follows a step after it was decided, so the rig issues
limits a step early (`lead_s`). Faster than that nothing is shown here; the street rigs show seconds.
"""

import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.law.decide import warm
from controller.runtime.contract_book import ContractBook
from controller.runtime.contract_plan import plan_contracts
from controller.runtime.order import Order
from hil.rig.assembler import Assembly, assemble
from hil.rig.calls_part import CallsPart
from hil.rig.contracts import bind_contracts
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import LoadedRig
from hil.runs.promises import FAILED, NOT_EXERCISED, PASSED, Verdict
from profiles.contract_calls import Called

STEP_S = 900.0


def _local_s(day: date, hour: int, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp()


def calls_of(part: CallsPart, contract: str, first: date, days: int, zone: ZoneInfo) -> list[tuple[float, Order]]:
    """Return (UTC epoch s at which it is made, call) for every weekday after the first, in order."""
    found: list[tuple[float, Order]] = []
    for k in range(1, days):
        day = first + timedelta(days=k)
        if day.weekday() >= 5:
            continue
        late = part.late_every > 0 and len(found) % part.late_every == part.late_every - 1
        told_s = _local_s(day - timedelta(days=1), part.told_h + late, zone)
        start_s, end_s = _local_s(day, part.from_h, zone), _local_s(day, part.to_h, zone)
        call = Order("dso", day.isoformat(), 0, "cap", contract, "import", part.limit_w, start_s, end_s)
        found.append((told_s, call))
    return found


@dataclass(frozen=True, slots=True)
class Year:
    """Hold what a run gave: the account, watts (T,) at the connection with and without control, limit (T,), CPU s."""

    account: dict[str, Any]
    refused: int
    head_w: np.ndarray
    free_w: np.ndarray
    limit_w: np.ndarray
    cpu_s: float
    chargers: int


def run_year(loaded: LoadedRig, part: CallsPart, days: int, seed: int | None = None) -> Year:
    """Run `days` of the first contract of a rig, which must be one on call, with and without control."""
    contract = loaded.contracts[0]
    if not isinstance(contract, Called):
        raise ValueError(f"contract[0] is {contract.kind}: give a rig whose first contract is on call")
    assembly = assemble(loaded, seed, days * 86400.0)
    book = _book(loaded, assembly)
    warm(assembly.dims)
    begin_s = time.process_time()
    head_w, limit_w, refused = _controlled(assembly, book, part, contract, days)
    cpu_s = time.process_time() - begin_s
    free = Lockstep(assembly, 0.0, controlled=False)
    free_w = np.zeros(len(head_w))
    for k in range(len(free_w)):
        free.run((k + 1) * STEP_S, STEP_S)
        free_w[k] = free.world.head_w
    account = book.accounts[contract.name].state(loaded.rig.scenario.start.year)
    return Year(account, refused, head_w, free_w, limit_w, cpu_s, len(assembly.charger_names))


def judge_year(year: Year, contract: Called, tolerance_w: float) -> list[Verdict]:
    """Return the verdicts: hours within the allowance, calls with notice, watts under the limit in every call."""
    share = contract.allowance.max_share_of_year or 1.0
    most_h = share * year.account["hours_of_year"]
    hours, late = year.account["hours"], year.account["late_calls"]
    called = np.isfinite(year.limit_w)
    over_w = float(np.max(year.head_w[called] - year.limit_w[called], initial=-np.inf)) if called.any() else np.nan
    tested = bool((year.free_w[called] > year.limit_w[called] + tolerance_w).any())
    state = PASSED if over_w <= tolerance_w else FAILED
    return [
        Verdict("hours", _passed(hours <= most_h), hours, most_h, "h", f"called {hours:.1f} h of {most_h:.0f} h"),
        Verdict("notice", _passed(late == 0), late, 0, "1", f"{late} of {year.account['calls']} calls came late"),
        Verdict(
            "limit", state if tested else NOT_EXERCISED, over_w, tolerance_w, "W", f"{over_w:.0f} W over it at most"
        ),
    ]


def _passed(kept: bool) -> str:
    return PASSED if kept else FAILED


def _book(loaded: LoadedRig, assembly: Assembly) -> ContractBook:
    site = assembly.site
    bindings = bind_contracts(loaded.rig.contract, loaded.contracts, site.chargers, site.nodes)
    rows = plan_contracts(bindings, site.chargers, loaded.rig.scenario.start.date()).rows
    return ContractBook(bindings, rows, loaded.rig.rig.timezone, lambda *_, **__: 0)


def _controlled(
    assembly: Assembly, book: ContractBook, part: CallsPart, contract: Called, days: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return watts and limit (T,) at the ends of the steps, and how many calls were refused."""
    zone = ZoneInfo(assembly.rig.rig.timezone)
    calls = calls_of(part, contract.name, assembly.rig.scenario.start.date(), days, zone)
    run, refused = Lockstep(assembly, 0.0), 0
    run.fill = book.fill
    steps = round(days * 86400.0 / STEP_S)
    ends_s = assembly.start_utc_s + STEP_S * np.arange(1, steps + 1)
    head_w, limit_w = np.zeros(steps), np.full(steps, np.inf)
    for k, now_s in enumerate(ends_s.tolist()):
        while calls and calls[0][0] <= now_s:
            told_s, order = calls.pop(0)
            if book.offer(order, told_s).obeyed:  # the limit as it was called, in steps that lie in the call whole
                within = (ends_s - STEP_S >= order.from_s) & (ends_s <= order.to_s)
                limit_w[within] = np.minimum(limit_w[within], order.value_w)
            else:
                refused += 1
        run.run((k + 1) * STEP_S, STEP_S)
        book.count(run.links.inp, run.out, STEP_S, now_s)
        head_w[k] = run.world.head_w
    return head_w, limit_w, refused
