"""Play a year of a contract on call: a DSO that calls, the law, the street; judge hours, notice and the limit kept.

`voltbench run tdtr` (`--for 14d` for less; `contract_job`). The run is in virtual time, in steps of 900 s, the
interval by which large connections are metered: what is drawn follows a step after it was decided, so the rig issues
limits a step early (`lead_s`). Faster than that nothing is shown here; the street rigs show seconds. In its folder the
run keeps every call with its answer and the account (journal) and what the meters said in each step: the contract's
report proves it from these alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.law.decide import warm
from controller.runtime.contract_book import ContractBook
from controller.runtime.contract_plan import plan_contracts
from controller.runtime.contract_terms import bounds_w
from controller.runtime.journal import NAME as JOURNAL
from controller.runtime.journal import Journal
from controller.runtime.order import Order
from hil.rig.assembler import Assembly, assemble
from hil.rig.calls_part import CallsPart
from hil.rig.contracts import bind_contracts
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import LoadedRig
from hil.runs.evidence_meters import MeterTable
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
    """Hold what a run gave: the account, watts (T,) at the connection with and without control, limit (T,).

    `cpu_s` is of the controlled run, `proof_cpu_s` of what it keeps of journal and meters.
    """

    account: dict[str, Any]
    refused: int
    head_w: np.ndarray
    free_w: np.ndarray
    limit_w: np.ndarray
    cpu_s: float
    proof_cpu_s: float
    chargers: int


class Proof:
    """Keep a run's calls and meters in its folder, in virtual time; without a folder nothing is kept."""

    __slots__ = ("_journal", "_meters", "cpu_s", "now_s")

    def __init__(self, run_dir: Path | None, plan: Any) -> None:
        self.now_s = self.cpu_s = 0.0  # of virtual time; of the processor, for the proof
        self._journal, self._meters = None, None
        if run_dir is not None:
            self._journal = Journal(run_dir / JOURNAL, utc_ns=lambda: round(self.now_s * 1e9))
            self._meters = MeterTable(run_dir, plan)

    def keep(self, kind: str, **entry: Any) -> int:
        """Journal an entry at `now_s`."""
        return 0 if self._journal is None else self._journal.append(kind, **entry)

    def step(self, begin_s: float, inp: Any, out: Any) -> None:
        """Keep what the meters said of the step that began then."""
        if self._meters is not None:
            from_s = time.process_time()
            self._meters.add(begin_s, inp, out)
            self.cpu_s += time.process_time() - from_s

    def close(self, now_s: float, name: str, account: dict[str, Any]) -> None:
        """Journal the account and close the files."""
        from_s, self.now_s = time.process_time(), now_s
        self.keep("account", source="orders", subject=name, **account)
        if self._journal is not None and self._meters is not None:
            self._journal.close()
            self._meters.close()
        self.cpu_s += time.process_time() - from_s


def run_year(
    loaded: LoadedRig, part: CallsPart, days: int, seed: int | None = None, run_dir: Path | None = None
) -> Year:
    """Run `days` of the first contract of a rig, which must be one on call, with and without control.

    `run_dir` gets the journal of the calls and `meters.parquet`.
    """
    contract = loaded.contracts[0]
    if not isinstance(contract, Called):
        raise ValueError(f"contract[0] is {contract.kind}: give a rig whose first contract is on call")
    assembly = assemble(loaded, seed, days * 86400.0)
    proof = Proof(run_dir, assembly.plan())
    book = _book(loaded, assembly, proof.keep)
    warm(assembly.dims)
    begin_s = time.process_time()
    head_w, limit_w, refused = _controlled(assembly, book, part, contract, days, proof)
    cpu_s = time.process_time() - begin_s - proof.cpu_s
    account = book.accounts[contract.name].state(loaded.rig.scenario.start.year)
    proof.close(assembly.start_utc_s + days * 86400.0, contract.name, account)
    free = Lockstep(assembly, 0.0, controlled=False)
    free_w = np.zeros(len(head_w))
    for k in range(len(free_w)):
        free.run((k + 1) * STEP_S, STEP_S)
        free_w[k] = free.world.head_w
    return Year(account, refused, head_w, free_w, limit_w, cpu_s, proof.cpu_s, len(assembly.charger_names))


def judge_year(year: Year, contract: Called, tolerance_w: float) -> list[Verdict]:
    """Return the verdicts: hours within the allowance, calls with notice, watts under the limit in every call."""
    share = contract.allowance.max_share_of_year or 1.0
    most_h = share * year.account["hours_of_year"]
    hours, late = year.account["hours"], year.account["late_calls"]
    called = np.isfinite(year.limit_w)
    lowest_w = float(np.min(year.limit_w, initial=np.inf))
    tolerance_w = max(tolerance_w, contract.limit.tolerance * lowest_w if called.any() else 0.0)  # as the report does
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


def _book(loaded: LoadedRig, assembly: Assembly, keep: Callable[..., int]) -> ContractBook:
    site, zone, first = assembly.site, loaded.rig.rig.timezone, loaded.rig.scenario.start.date()
    bindings = bind_contracts(loaded.rig.contract, loaded.contracts, site.chargers, site.nodes)
    rows = plan_contracts(bindings, site.chargers, first, site.nodes, zone).rows
    return ContractBook(bindings, rows, zone, keep)


def _controlled(
    assembly: Assembly, book: ContractBook, part: CallsPart, contract: Called, days: int, proof: Proof
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return watts and limit (T,) at the ends of the steps, and how many calls were refused."""
    zone = ZoneInfo(contract.timezone or assembly.rig.rig.timezone)
    calls = calls_of(part, contract.name, assembly.rig.scenario.start.date(), days, zone)
    run, refused = Lockstep(assembly, 0.0), 0
    run.fill = book.fill
    least_w, most_w = bounds_w(contract)
    steps = round(days * 86400.0 / STEP_S)
    ends_s = assembly.start_utc_s + STEP_S * np.arange(1, steps + 1)
    head_w, limit_w = np.zeros(steps), np.full(steps, np.inf)
    for k, now_s in enumerate(ends_s.tolist()):
        while calls and calls[0][0] <= now_s:
            told_s, order = calls.pop(0)
            proof.now_s = told_s
            if book.offer(order, told_s).obeyed:  # the limit as it was called, in steps that lie in the call whole
                within = (ends_s - STEP_S >= order.from_s) & (ends_s <= order.to_s)
                limit_w[within] = np.minimum(limit_w[within], min(max(order.value_w, least_w), most_w))
            else:
                refused += 1
        run.run((k + 1) * STEP_S, STEP_S)
        book.count(run.links.inp, run.out, STEP_S, now_s)
        head_w[k] = run.world.head_w
        proof.step(now_s - STEP_S, run.links.inp, run.out)
    return head_w, limit_w, refused
