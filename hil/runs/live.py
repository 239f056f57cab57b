"""Run a rig in real time: start the processes, keep the traces, end everything in order."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller.law import image
from controller.runtime import stores
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events, read_events
from controller.runtime.figures import write_timing
from controller.runtime.guarding import require_guards
from controller.runtime.processes import controller_processes
from controller.runtime.site import Site
from controller.runtime.store import Store
from controller.runtime.supervisor import Outcome, ProcessSpec, Supervisor
from hil.rig import realtime
from hil.rig.assembler import Assembly, local_text
from hil.rig.truth import truth_dtype
from hil.runs.bench_trace import BenchRecorder
from hil.runs.fast import PREROLL_S, settle
from hil.runs.metered import fill_metered
from hil.runs.operator import Operator
from hil.runs.recorder import TraceRecorder
from hil.runs.trace import CONTROLLED, Trace

NS = 1_000_000_000
BOOT_S = 14.0  # from the site file to the start of the scenario: connect, read every charger once, settle
SAMPLES_PER_S = 25


@dataclass(frozen=True)
class LiveRun:
    """Hold a run in real time: how it ended, its trace, its timing and what the plant wrote down."""

    outcome: Outcome
    trace: Trace | None
    timing: dict[str, Any] | None
    log: list[dict[str, Any]]


class Sampler:
    """Copy the plant's truth and the scan's images whenever the plant has published a new step.

    Where no plant runs, every scan is a sample and the meters are all there is (`metered`).
    """

    def __init__(self, assembly: Assembly, site: Site, recorder: TraceRecorder, *, metered: bool) -> None:
        dtype = truth_dtype(len(assembly.evse), len(assembly.customer_names))
        self.truth = np.zeros(1, dtype=dtype)
        self._assembly, self._metered = assembly, metered
        self._bytes = self.truth.view(np.uint8)
        self._store = stores.attach(site, "output.img") if metered else _truth_store(site, dtype.itemsize)
        self._latched = stores.attach(site, "latched.img")
        self._output = stores.attach(site, "output.img")
        self._in_bytes, self.inp = image.allocate("input", assembly.dims)
        self._out_bytes, self.out = image.allocate("output", assembly.dims)
        self._recorder = recorder
        self._seen = 0

    def sample(self) -> None:
        """Take a sample where there is a new one; only what lies in the pre-roll or the scenario is kept."""
        if self._store.sequence == self._seen:
            return
        self._seen = self._store.sequence if self._metered else self._store.read(self._bytes)
        if not self._latched.read(self._in_bytes) or not self._output.read(self._out_bytes):
            return
        if self._metered:
            t_s = float(self.inp.utc_ns[0]) / NS - self._assembly.start_utc_s
            fill_metered(self.truth[0:1].reshape(()), t_s, self.inp, self._assembly.customer_of)
        if self.truth[0]["t_s"] >= -PREROLL_S:
            self._recorder.add(self.truth[0], self.inp, self.out)

    @property
    def t_s(self) -> float:
        """Return the scenario time of the last sample, s."""
        return float(self.truth[0]["t_s"])


def _truth_store(site: Site, nbytes: int) -> Store:
    return Store.attach(site.store(realtime.TRUTH), nbytes)


def run_live(
    assembly: Assembly, run_dir: Path, for_s: float, *, desk: bool, say: Callable[[str], None], bar: Callable[..., None]
) -> LiveRun:
    """Run the scenario for `for_s` seconds of real time and return what happened.

    `say` gets a line of narration, `bar(t_s, for_s, text)` the progress.
    """
    store_dir = realtime.make_store_dir()
    events = Events(run_dir / EVENTS, "supervisor")
    seed: realtime.PlantSeed | None = None
    if realtime.emulates(assembly):
        say("settling the rig in virtual time")
        warm = settle(assembly)
        seed = realtime.PlantSeed(assembly, warm.world.fleet.snapshot(), warm.t_s, str(store_dir), str(run_dir))
    try:
        with Supervisor(run_dir, events) as supervisor:
            return _supervised(supervisor, assembly, seed, store_dir, run_dir, for_s, desk, say, bar)
    finally:
        events.close()
        shutil.rmtree(store_dir, ignore_errors=True)


def _supervised(
    supervisor: Supervisor,
    assembly: Assembly,
    seed: realtime.PlantSeed | None,
    store_dir: Path,
    run_dir: Path,
    for_s: float,
    desk: bool,
    say: Callable[[str], None],
    bar: Callable[..., None],
) -> LiveRun:
    """Start plant and controller one after the other, watch them, and stop them in order."""
    addresses = {}
    if seed is not None:
        say("starting the twins: every device on a socket of its own")
        failed = supervisor.start([realtime.plant_spec(realtime.write_seed(seed))])
        if failed is not None:
            return LiveRun(failed, None, None, [])
        addresses = realtime.read_addresses(store_dir)
    else:
        say("every device is real: no plant runs, and the scenario's events are left to the world")
    start_utc_ns = round(assembly.start_utc_s * NS)
    clock_ns = start_utc_ns - time.monotonic_ns() - round(BOOT_S * NS)
    site = realtime.write_site(assembly, addresses, store_dir, run_dir, clock_ns)
    require_guards(site)  # nothing is energised that nothing would switch off
    supervisor.beat_on(site.store(stores.BEAT))
    say(f"starting scan, wires, bench, guard and ledger; the scenario begins in {BOOT_S:.0f} s")
    specs = controller_processes(site.store(realtime.SITE), site)
    if seed is None and assembly.rig.bench is not None:
        specs.append(realtime.volts_spec(site, assembly.rig.bench))
    with Operator(site, say):
        return _watched(
            supervisor, assembly, specs, site, run_dir, for_s, clock_ns, desk, say, bar, metered=seed is None
        )


def _watched(
    supervisor: Supervisor,
    assembly: Assembly,
    specs: list[ProcessSpec],
    site: Site,
    run_dir: Path,
    for_s: float,
    clock_ns: int,
    desk: bool,
    say: Callable[[str], None],
    bar: Callable[..., None],
    *,
    metered: bool,
) -> LiveRun:
    """Start the controller, sample until the scenario is over, and stop everything in order."""
    failed = supervisor.start(specs)
    if failed is not None:
        supervisor.stop()
        return LiveRun(supervisor.outcome or failed, None, None, plant_log(run_dir))
    start_utc_ns = round(assembly.start_utc_s * NS)
    late_s = (time.monotonic_ns() + clock_ns - start_utc_ns) / NS
    if late_s > 0.0:  # the verdicts will say that this was not seen
        say(f"the controller was ready {late_s:.1f} s after the scenario began: this host is too busy, run it again")
    if desk:
        supervisor.start([realtime.desk_spec(site)])
    recorder = TraceRecorder(assembly, CONTROLLED, int((for_s + PREROLL_S) * SAMPLES_PER_S) + 10)
    sampler = Sampler(assembly, site, recorder, metered=metered)
    bench = BenchRecorder(site, assembly.start_utc_s)

    def tick() -> None:
        sampler.sample()
        bench.sample()
        clock = local_text(assembly.start_utc_s + sampler.t_s, assembly.utc_offset_s)
        truth = sampler.truth[0]
        volts = truth["customer_v"][np.isfinite(truth["customer_v"])]
        low_v = float(volts.min()) if truth["t_s"] and volts.size else float("nan")
        bar(sampler.t_s, for_s, f"{clock}  head {float(truth['head_w']) / 1e3:5.1f} kW  lowest {low_v:5.1f} V")

    outcome = supervisor.watch(lambda: sampler.t_s >= for_s, tick)
    supervisor.stop()
    outcome = supervisor.outcome or outcome  # outputs that were not confirmed off make it a fault
    timing = write_timing(site)
    bench.save(run_dir)
    trace = recorder.trace() if recorder.count else None
    log = plant_log(run_dir) + controller_log(run_dir, start_utc_ns - clock_ns)
    return LiveRun(outcome, trace, timing, sorted(log, key=lambda entry: float(entry["t_s"])))


def plant_log(run_dir: Path) -> list[dict[str, Any]]:
    """Return what the plant wrote down of the scenario, from the run's events."""
    return [event for event in read_events(run_dir / EVENTS) if event.get("kind") == "scenario"]


def controller_log(run_dir: Path, start_mono_ns: int) -> list[dict[str, Any]]:
    """Return what the controller wrote down of its energy guard, as the scenario's log has it in virtual time."""
    found = []
    for event in read_events(run_dir / EVENTS):
        if event.get("kind") in ("lpc", "lpc_write"):
            told = event | {"event": event["kind"], "t_s": (event["mono_ns"] - start_mono_ns) / NS, "wanted": None}
            found.append(told | {"limit_w": None if event["limit_w"] == "inf" else event["limit_w"]})
    return found
