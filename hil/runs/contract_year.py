"""Play a year of a contract on call: a DSO that calls, the law, the street; judge hours, notice and the limit kept.

`python -m hil.runs.contract_year tdtr` (`--days 14` for less). The run is in virtual time, in steps of 900 s, the
interval by which large connections are metered: what is drawn follows a step after it was decided, so the rig issues
limits a step early (`lead_s`). Faster than that nothing is shown here; the street rigs show seconds.
"""

import argparse
import json
import sys
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
from hil.rig.contracts import bind_contracts
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import LoadedRig, load_rig
from hil.runs.promises import FAILED, NOT_EXERCISED, PASSED, Verdict
from profiles.contract_calls import Called

STEP_S = 900.0
HOUR_S = 3600.0


def _local_s(day: date, hour: int, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, hour, tzinfo=zone).timestamp()


@dataclass(frozen=True, slots=True)
class Caller:
    """Say when the DSO calls: on weekdays, between two local hours, for a limit in W, at a local hour the day before.

    Every `late_every`-th call is made an hour late; 0 none.
    """

    from_h: int = 16
    to_h: int = 21
    limit_w: float = 45_000.0
    told_h: int = 8
    late_every: int = 0

    def calls(self, contract: str, first: date, days: int, zone: ZoneInfo) -> list[tuple[float, Order]]:
        """Return (UTC epoch s at which it is made, call) for every weekday after the first, in order."""
        found: list[tuple[float, Order]] = []
        for k in range(1, days):
            day = first + timedelta(days=k)
            if day.weekday() >= 5:
                continue
            start, end = (
                datetime(day.year, day.month, day.day, h, tzinfo=zone).timestamp() for h in (self.from_h, self.to_h)
            )
            before = day - timedelta(days=1)
            late_h = 1 if self.late_every and len(found) % self.late_every == self.late_every - 1 else 0
            told_s = datetime(before.year, before.month, before.day, self.told_h + late_h, tzinfo=zone).timestamp()
            found.append(
                (told_s, Order("dso", day.isoformat(), 0, "cap", contract, "import", self.limit_w, start, end))
            )
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


def run_year(loaded: LoadedRig, caller: Caller, days: int) -> Year:
    """Run `days` of the first contract of a rig, which must be one on call, with and without control."""
    contract = loaded.contracts[0]
    if not isinstance(contract, Called):
        raise ValueError(f"contract[0] is {contract.kind}: give a rig whose first contract is on call")
    assembly = assemble(loaded, None, days * 86400.0)
    book = _book(loaded, assembly)
    warm(assembly.dims)
    begin_s = time.process_time()
    head_w, limit_w, refused = _controlled(assembly, book, caller, contract, days)
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
    assembly: Assembly, book: ContractBook, caller: Caller, contract: Called, days: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return watts and limit (T,) at the ends of the steps, and how many calls were refused."""
    zone = ZoneInfo(assembly.rig.rig.timezone)
    calls = caller.calls(contract.name, assembly.rig.scenario.start.date(), days, zone)
    run, refused = Lockstep(assembly, 0.0), 0
    run.fill = book.fill
    steps = round(days * 86400.0 / STEP_S)
    head_w, limit_w = np.zeros(steps), np.full(steps, np.inf)
    for k in range(steps):
        now_s = assembly.start_utc_s + (k + 1) * STEP_S
        while calls and calls[0][0] <= now_s:
            told_s, order = calls.pop(0)
            refused += not book.offer(order, told_s).obeyed
        run.run((k + 1) * STEP_S, STEP_S)
        book.count(run.links.inp, run.out, STEP_S, now_s)
        head_w[k] = run.world.head_w
        limit_w[k] = _held_w(book, now_s)
    return head_w, limit_w, refused


def _held_w(book: ContractBook, end_s: float) -> float:
    """Return the lowest limit called for the whole step that ends at `end_s`, W, as it was called."""
    begin_s = end_s - STEP_S
    held = [o.value_w for o in book.orders.orders(begin_s) if o.from_s <= begin_s and end_s <= o.to_s]
    return min(held, default=np.inf)


def main(arguments: list[str]) -> int:
    """Run, print the figures as JSON on stdout, and return the exit code."""
    parser = argparse.ArgumentParser(prog="contract_year", description=__doc__)
    parser.add_argument("rig")
    parser.add_argument("--days", type=int, default=365)
    given = parser.parse_args(arguments)
    loaded = load_rig(given.rig)
    year = run_year(loaded, Caller(), given.days)
    contract = loaded.contracts[0]
    assert isinstance(contract, Called)
    verdicts = judge_year(year, contract, loaded.rig.verdict.tolerance_w)
    said = {
        "account": year.account,
        "refused": year.refused,
        "step_s": STEP_S,
        "cpu_s": round(year.cpu_s, 1),
        "cpu_s_per_100_connections": round(year.cpu_s * 100 / year.chargers, 1),
        "verdicts": [
            {"name": v.name, "state": v.state, "value": v.value, "limit": v.limit, "unit": v.unit} for v in verdicts
        ],
    }
    print(json.dumps(said, indent=1))
    return 1 if any(v.state == FAILED for v in verdicts) else 4 if any(v.state != PASSED for v in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
