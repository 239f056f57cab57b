"""Time virtual time: one step of the world, one of world, links and law, one recorded sample, on the street.

Run: pytest benches/bench_fast.py. p50, p99, p99.9 and maximum go to extra_info, and how long a day of such steps is.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from controller.runtime.ledger import LedgerWriter
from hil.rig.assembler import Assembly, assemble
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import load_rig
from hil.runs.recorder import TraceRecorder

STEPS = 3_000
DAY_STEPS = 86_400
BUDGET_US = 300.0  # a day of one-second steps in under half a minute


@pytest.fixture(scope="module")
def assembly() -> Assembly:
    return assemble(load_rig("street"), horizon_s=float(DAY_STEPS))


def settled(assembly: Assembly, *, controlled: bool) -> Lockstep:
    """Return a run some minutes in, everything compiled, every car charging."""
    run = Lockstep(assembly, -assembly.rig.scenario.settle_s, controlled=controlled)
    run.run(-assembly.rig.scenario.settle_s + 300.0, 1.0)
    return run


def timed(benchmark: Any, step: Callable[[], None]) -> None:
    """Time single steps and note their percentiles."""
    took_us = np.empty(STEPS)

    def steps() -> None:
        for k in range(STEPS):
            begin_ns = time.perf_counter_ns()
            step()
            took_us[k] = (time.perf_counter_ns() - begin_ns) * 1e-3

    benchmark.pedantic(steps, rounds=1, iterations=1)
    p50, p99, p999 = np.percentile(took_us, [50.0, 99.0, 99.9])
    benchmark.extra_info |= {
        "p50_us": p50,
        "p99_us": p99,
        "p999_us": p999,
        "max_us": took_us.max(),
        "misses": int((took_us > BUDGET_US).sum()),
        "budget_us": BUDGET_US,
        "day_s": took_us.sum() * 1e-6 * DAY_STEPS / STEPS,
    }


def test_world(benchmark: Any, assembly: Assembly) -> None:
    """Step households, cars, chargers and feeder by a second."""
    run = settled(assembly, controlled=False)

    def step() -> None:
        run.t_s += 1.0
        run.world.step(run.t_s, 1.0)

    timed(benchmark, step)
    assert run.world.converged
    assert run.world.drawn_a.max() > 6.0  # what was timed is a charging street


@pytest.mark.parametrize("kept", [False, True], ids=["bare", "kept"])
def test_lockstep(benchmark: Any, assembly: Assembly, tmp_path: Any, kept: bool) -> None:
    """Step world, links and law by a second; `kept` writes the ledger and records the sample as a run does."""
    run = settled(assembly, controlled=True)
    recorder = TraceRecorder(assembly, "controlled", STEPS + 1) if kept else None
    if kept:
        run.ledger = LedgerWriter(tmp_path, assembly.dims, assembly.plan_bytes)
    timed(benchmark, lambda: run.run(run.t_s + 1.0, 1.0, recorder))
    if run.ledger is not None and recorder is not None:
        run.ledger.close()
        assert recorder.count == STEPS
    assert run.world.drawn_a.max() > 6.0
