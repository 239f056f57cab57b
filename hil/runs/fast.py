"""Run a rig in virtual time, with and without control, and hold both traces."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.ledger import LedgerWriter
from hil.rig.assembler import Assembly
from hil.rig.lockstep import Lockstep
from hil.runs.recorder import TraceRecorder
from hil.runs.trace import CONTROLLED, UNCONTROLLED, Trace

PREROLL_S = 10.0
SETTLE_STEP_S = 1.0
LONG_S = 600.0  # a run longer than this steps by a second where nothing else is asked for


@dataclass(frozen=True)
class FastRun:
    """Hold one run in virtual time and what the world wrote down in it."""

    trace: Trace
    log: list[dict[str, Any]]
    scans: int


def default_step_s(assembly: Assembly, for_s: float) -> float:
    """Return the step of a run: the scan period, or a second for a long one."""
    return assembly.rig.rig.scan_period_s if for_s <= LONG_S else max(1.0, assembly.rig.rig.scan_period_s)


def settle(assembly: Assembly, *, controlled: bool = True) -> Lockstep:
    """Return a run that has settled up to the pre-roll: every car charges at the equilibrium of the droop."""
    run = Lockstep(assembly, -assembly.rig.scenario.settle_s - PREROLL_S, controlled=controlled)
    run.run(-PREROLL_S, SETTLE_STEP_S)
    return run


def run_fast(
    assembly: Assembly, for_s: float, step_s: float, *, controlled: bool = True, ledger_dir: Path | None = None
) -> FastRun:
    """Run the scenario in virtual time; `ledger_dir` is the run folder that keeps its scans."""
    run = settle(assembly, controlled=controlled)
    if ledger_dir is not None and controlled:
        run.ledger = LedgerWriter(ledger_dir, assembly.dims, assembly.plan_bytes)
    name = CONTROLLED if controlled else UNCONTROLLED
    recorder = TraceRecorder(assembly, name, int(np.ceil((for_s + PREROLL_S) / step_s)) + 2)
    try:
        run.run(for_s, step_s, recorder)
    finally:
        if run.ledger is not None:
            run.ledger.close()
    return FastRun(recorder.trace(), run.world.log, run.scan)


def write_log(path: Path, log: list[dict[str, Any]]) -> None:
    """Write what the world wrote down as events, one line each."""
    lines = [json.dumps({"kind": "scenario", "process": "plant"} | entry) for entry in log]
    path.write_text("".join(line + "\n" for line in lines))
