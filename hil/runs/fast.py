"""Run a rig in virtual time, with and without control, and hold both traces."""

import json
import multiprocessing
import os
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.ledger import LedgerWriter
from controller.runtime.process import die_with_parent, ignore_sigint
from hil.rig.assembler import Assembly, assemble
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import LoadedRig
from hil.runs.recorder import TraceRecorder
from hil.runs.trace import CONTROLLED, UNCONTROLLED, Trace
from profiles.contract import load_contract

PREROLL_S = 10.0
SETTLE_STEP_S = 1.0
BESIDE_STEPS = 5_000  # from here on a process of its own for the uncontrolled run is worth its start of two seconds
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
    run.run(-PREROLL_S, max(SETTLE_STEP_S, assembly.rig.rig.scan_period_s))  # no finer than the run itself
    return run


def run_fast(
    assembly: Assembly,
    for_s: float,
    step_s: float,
    *,
    controlled: bool = True,
    ledger_dir: Path | None = None,
    reference: Assembly | None = None,
) -> FastRun:
    """Run the scenario in virtual time; `ledger_dir` is the run folder that keeps its scans.

    An uncontrolled run of a rig with a `reference` is a controlled run of that one.
    """
    if reference is not None and not controlled:
        found = run_fast(reference, for_s, step_s)
        return replace(found, trace=replace(found.trace, name=UNCONTROLLED))
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


class UncontrolledTwin:
    """Run the scenario without control beside the controlled run: in a process of its own where that pays.

    Use it as a context: leaving it before `trace` was asked for ends the process.
    """

    __slots__ = ("_assembly", "_for_s", "_process", "_receive", "_reference", "_step_s")

    def __init__(self, assembly: Assembly, for_s: float, step_s: float, reference: Assembly | None = None) -> None:
        self._assembly, self._for_s, self._step_s = assembly, for_s, step_s
        self._reference = reference
        self._process: multiprocessing.process.BaseProcess | None = None
        self._receive: Connection | None = None

    def __enter__(self) -> "UncontrolledTwin":
        """Start the process for a long run; a short one is over before a process has imported what it needs."""
        if self._for_s / self._step_s >= BESIDE_STEPS and (os.cpu_count() or 1) > 1:
            context = multiprocessing.get_context("spawn")
            self._receive, send = context.Pipe(duplex=False)
            self._process = context.Process(
                target=_run_beside, args=(send, self._assembly, self._for_s, self._step_s, self._reference), daemon=True
            )
            self._process.start()
            send.close()
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        if self._process is not None and self._receive is not None:
            self._receive.close()
            self._process.terminate()
            self._process.join()

    def trace(self) -> Trace:
        """Return the uncontrolled run; it is run now where it has no process. RuntimeError where that died."""
        if self._receive is None:
            kept = self._reference
            return run_fast(self._assembly, self._for_s, self._step_s, controlled=False, reference=kept).trace
        try:
            found: Trace = self._receive.recv()
        except EOFError as error:
            raise RuntimeError("the uncontrolled run ended early; its own words are above") from error
        return found


def _run_beside(send: Connection, assembly: Assembly, for_s: float, step_s: float, reference: Assembly | None) -> None:
    """Run without control and send the trace back."""
    ignore_sigint()
    die_with_parent()
    send.send(run_fast(assembly, for_s, step_s, controlled=False, reference=reference).trace)


def reference_of(loaded: LoadedRig, seed: int, for_s: float) -> Assembly | None:
    """Return the rig with the contracts to compare with in the place of its own; None where it names none."""
    parts = loaded.rig.contract
    if not any(part.reference for part in parts):
        return None
    own = zip(parts, loaded.contracts, strict=True)
    contracts = tuple(load_contract(part.reference) if part.reference else contract for part, contract in own)
    return assemble(replace(loaded, contracts=contracts), seed, for_s)


def write_log(path: Path, log: list[dict[str, Any]]) -> None:
    """Write what the world wrote down as events, one line each."""
    lines = [json.dumps({"kind": "scenario", "process": "plant"} | entry) for entry in log]
    path.write_text("".join(line + "\n" for line in lines))
