"""Do days or a year of a contract on call as a run: folder, verdicts, account, steps and report, CPU time told."""

import argparse
import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hil.rig.assembler import assemble
from hil.rig.precheck import precheck
from hil.rig.references import Problem
from hil.rig.rigfile import LoadedRig, RigError
from hil.runs.contract_year import STEP_S, Year, judge_year, run_year
from hil.runs.folder import make_run_dir, write_manifest
from hil.runs.junit import write_junit
from hil.runs.page import Raw, badge, number, page, section, table, tiles
from hil.runs.promises import Verdict
from hil.runs.summary import finite, save_verdicts, summary, summary_json
from hil.runs.verdict import exit_code
from profiles.contract_calls import Called

DAY_S = 86_400.0
ACCOUNT, STEPS = "account.json", "steps.csv"


def plays_calls(loaded: LoadedRig, for_s: float) -> bool:
    """Say whether a run of this length is one of days of calls: the rig has `[calls]`, and it is a day or more."""
    return loaded.rig.calls is not None and for_s >= DAY_S


def run_calls(arguments: argparse.Namespace, say: Console, loaded: LoadedRig, for_s: float) -> int:
    """Play whole days of calls in virtual time, judge them, write the run folder and return the exit code."""
    contract, calls, days = loaded.contracts[0] if loaded.contracts else None, loaded.rig.calls, int(for_s // DAY_S)
    if not isinstance(contract, Called) or calls is None:
        text = "[calls] plays the DSO of the first contract, which must be one on call"
        raise RigError([Problem(f"{loaded.path.name}:calls", "", text)])
    if arguments.step_s not in (None, STEP_S):
        raise RigError([Problem("--step", f"{arguments.step_s:g} s", f"days of calls go in steps of {STEP_S:g} s")])
    assembly = assemble(loaded, arguments.seed, DAY_S)
    for line in precheck(assembly):
        say.print(line)
    run_dir = make_run_dir(arguments.out, loaded.rig.rig.name)
    facts = {"stage": "fast", "for_s": days * DAY_S, "step_s": STEP_S, "calls": calls.model_dump()}
    write_manifest(run_dir, loaded, assembly, facts)
    say.print(f"virtual time: {days} days in steps of {STEP_S:g} s, with and without control")
    year = run_year(loaded, calls, days, arguments.seed, run_dir)
    verdicts = judge_year(year, contract, loaded.rig.verdict.tolerance_w)
    code = exit_code(verdicts)
    save_verdicts(run_dir, code, verdicts, [])
    write_junit(run_dir, loaded.rig.rig.name, verdicts, days * DAY_S, {"seed": assembly.rig.rig.seed})
    told = figures(year, days)
    (run_dir / ACCOUNT).write_text(json.dumps(finite(told), indent=1, allow_nan=False) + "\n")
    write_steps(run_dir / STEPS, year, assembly.start_utc_s)
    title = loaded.rig.rig.title or loaded.rig.rig.name
    (run_dir / "report.html").write_text(report(title, contract, told, verdicts), encoding="utf-8")
    if arguments.json:
        print(json.dumps(summary_json(run_dir, code, verdicts, None) | {"figures": finite(told)}))
        say.print(summary(run_dir, verdicts, None))
    else:
        out = Console(highlight=False, soft_wrap=True)
        out.print(summary(run_dir, verdicts, None))
        out.print(cpu_line(told))
    return code


def figures(year: Year, days: int) -> dict[str, Any]:
    """Return the account and what the run was: steps, connections, CPU seconds (of this process, controlled run)."""
    called = np.isfinite(year.limit_w)
    return {
        "account": year.account,
        "refused": year.refused,
        "days": days,
        "step_s": STEP_S,
        "connections": year.chargers,
        "called_steps": int(called.sum()),
        "mean_head_w_in_calls": float(year.head_w[called].mean()) if called.any() else float("nan"),
        "mean_uncontrolled_w_in_calls": float(year.free_w[called].mean()) if called.any() else float("nan"),
        "cpu_s": round(year.cpu_s, 2),
        "proof_cpu_s": round(year.proof_cpu_s, 2),
        "cpu_s_per_100_connections": round(year.cpu_s * 100 / year.chargers, 2),
        "cpu_s_per_100_connections_year": round(year.cpu_s * 100 / year.chargers * 365 / days, 2),
    }


def cpu_line(told: dict[str, Any]) -> str:
    """Return what the controlled run cost in one line."""
    return (
        f"cpu     {told['cpu_s']:.1f} s for {told['days']} days of {told['connections']} connections: "
        f"{told['cpu_s_per_100_connections_year']:.1f} s a year per 100 connections (world, links and law; "
        f"proof {told['proof_cpu_s']:.1f} s)"
    )


def write_steps(path: Path, year: Year, start_utc_s: float) -> None:
    """Write one row a step: its end, W at the connection with and without control, W called (empty: no call)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("end_utc", "head_w", "uncontrolled_w", "called_w"))
        for k, (head_w, free_w, limit_w) in enumerate(zip(year.head_w, year.free_w, year.limit_w, strict=True)):
            end = datetime.fromtimestamp(start_utc_s + (k + 1) * STEP_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            writer.writerow((end, f"{head_w:.0f}", f"{free_w:.0f}", f"{limit_w:.0f}" if np.isfinite(limit_w) else ""))


def report(title: str, contract: Called, told: dict[str, Any], verdicts: list[Verdict]) -> str:
    """Return the page: verdicts, account, what the run cost, the contract as it stands."""
    account = told["account"]
    head = tiles(
        [
            ("hours called", number(account["hours"], 1, "h"), f"of {account['hours_of_year']} h of the year"),
            ("calls", str(account["calls"]), f"{account['late_calls']} late, {account['calls_beyond']} beyond"),
            ("curtailed", number(account["curtailed_kwh"], 0, "kWh"), "estimate, upper bound"),
            ("CPU", number(told["cpu_s_per_100_connections_year"], 1, "s"), "a year per 100 connections"),
        ]
    )
    judged = [(v.name, badge(v.state), number(v.value), number(v.limit), v.unit, v.text) for v in verdicts]
    worst = next((v.state for v in verdicts if v.state != "passed"), "passed")
    fields = [(key, str(value)) for key, value in contract.model_dump(mode="json", by_alias=True).items()]
    plain = [(key, str(value)) for key, value in told.items() if key != "account"]
    return page(
        title,
        badge(worst),
        [
            Raw(f"<section>{head}</section>"),
            section("Verdicts", table(("verdict", "", "value", "limit", "unit", "found"), judged, (2, 3))),
            section("Run", f"Every step of {STEP_S:g} s is in {STEPS}.", table(("figure", "value"), plain)),
            section("Contract", table(("key", "value"), fields)),
        ],
    )
