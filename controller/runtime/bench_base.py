"""Live the life of a bench: prepare, wait for plant and scan, energise, cycle, stop; watch who has to be alive.

One thread owns all ports: one cycle is a few short exchanges, and one owner keeps their order. A new record of the
plant starts a cycle at once. What a cycle is, and how the bench stops, say `bench_loop` (AC) and `bench_dc` (DC).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from controller.runtime.bench_images import BenchState, Measured, Wanted
from controller.runtime.histogram import Histogram
from instruments.analyzer import Analyzer
from instruments.faults import FaultKind, PortFault
from instruments.scpi_role import ScpiRole

NS = 1_000_000_000
POLL_S = 0.002
SCAN_SILENT_S = 1.0  # source off after it; the guard has the same patience
PLANT_SILENT_S = 3.0  # the volts of an emulated feeder may stand still for so long
TIMEOUTS_IN_A_ROW = 3  # tolerated: each has opened its port anew
EXIT_FAULT = 3
TIMED = ("source", "load", "adapter", "analyzer", "supply", "loop", "cycle")


@dataclass(slots=True, kw_only=True)
class BenchLoop:
    """Hold the images, who is watched and what was timed; `run` is the whole life of the bench.

    `scan_age_s` says how long the scan has been silent, NaN before its first beat.
    """

    wanted: Wanted
    measured: Measured
    period_s: float
    scan_age_s: Callable[[], float]
    tell: Callable[..., None]
    stop_asked: Callable[[], bool]
    analyzer: Analyzer | None = None
    opened: list[Any] = field(default_factory=list)  # ports to close at the end
    pause: Callable[[float], None] = time.sleep
    clock_ns: Callable[[], int] = time.monotonic_ns
    timings: dict[str, Histogram] = field(default_factory=lambda: {name: Histogram.empty() for name in TIMED})
    _timeouts: int = 0

    @property
    def energiser(self) -> ScpiRole:
        """Return the instrument that is switched off first, for faults of the bench itself."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Bring every instrument into its mode, limits programmed and read back, nothing energised."""
        raise NotImplementedError

    def start(self) -> None:
        """Energise in order."""
        raise NotImplementedError

    def cycle(self) -> None:
        """Do one cycle."""
        raise NotImplementedError

    def stop_planned(self) -> None:
        """Stop in order, each step read back; a PortFault where one fails."""
        raise NotImplementedError

    def stop_at_once(self, fault: PortFault) -> None:
        """Stop after a fault: what energises goes off first, nothing waits."""
        raise NotImplementedError

    def run(self) -> int:
        """Prepare, wait for plant and scan, energise, cycle until asked to stop; return the exit code (0 or 3)."""
        switched_off = False
        try:
            self.prepare()
            if self._wait_for_both():
                for port in self.opened:
                    port.hurry()  # nothing was energised until here
                self.start()
                self._cycles()
            self.stop_planned()
            switched_off = True
        except PortFault as fault:
            switched_off = True
            self.stop_at_once(fault)
            return EXIT_FAULT
        finally:
            if not switched_off:  # an error of ours: its trace goes on after the output is off
                what = "the bench process failed"
                self.stop_at_once(self.energiser.fault(FaultKind.INTERLOCK, "bench", what, "see its log"))
        return 0

    def publish(self, state: BenchState) -> None:
        """Write `bench_meas.img`, which is also this process's heartbeat."""
        self.measured.publish(state, self.clock_ns())

    def silent(self) -> PortFault | None:
        """Return the fault of a scan or a plant that has gone silent, or None."""
        scan_s = self.scan_age_s()
        if scan_s > SCAN_SILENT_S:
            return self._silent("scan", scan_s, SCAN_SILENT_S)
        set_s = (self.clock_ns() - self.wanted.stamp_ns) / NS
        return self._silent("plant", set_s, PLANT_SILENT_S) if set_s > PLANT_SILENT_S else None

    def analyze(self) -> None:
        """Read the analyzer where there is one; a lost one is told, and its numbers are unknown from then on.

        It only looks: nothing is switched off for it.
        """
        if self.analyzer is None:
            return
        try:
            seen = self.analyzer.measure()
        except PortFault as fault:
            self.tell("bench_analyzer_lost", text=str(fault))
            self.analyzer = None
            self.measured.set(analyzer_v=float("nan"), analyzer_a=float("nan"), analyzer_w=float("nan"))
            return
        self.measured.set(analyzer_v=seen.volt_v, analyzer_a=seen.amp_a, analyzer_w=seen.power_w)
        self.timings["analyzer"].add_ns(self.analyzer.port.round_trip_ns)

    def count_cycle(self, start_ns: int) -> None:
        """Count a cycle that began at `start_ns` and has just ended."""
        busy_ns = self.clock_ns() - start_ns
        self.timings["cycle"].add_ns(busy_ns)
        self.measured.count("cycles")
        if busy_ns > self.period_s * NS:
            self.measured.count("late")
        self._timeouts = 0

    def count_loop(self) -> None:
        """Time the way from the plant's record to the values read back; a record used twice is not counted again."""
        loop_ns = self.clock_ns() - self.wanted.stamp_ns
        if self.wanted.seq != self.measured.record["set_seq"]:
            self.timings["loop"].add_ns(loop_ns)
        self.measured.set(set_seq=self.wanted.seq, set_stamp_ns=self.wanted.stamp_ns, loop_ns=loop_ns)

    def _silent(self, who: str, age_s: float, allowed_s: float) -> PortFault:
        detail = f"the {who} has been silent for {age_s:.2f} s, allowed {allowed_s:g} s"
        return self.energiser.fault(FaultKind.INTERLOCK, who, detail, "it is switched off")

    def _wait_for_both(self) -> bool:
        """Wait, nothing energised, until plant and scan beat; return False where a stop was asked for before."""
        while not self.stop_asked():
            self.wanted.read()
            if self.wanted.seq and self.scan_age_s() <= SCAN_SILENT_S and self.silent() is None:
                return True
            self.publish(BenchState.READY)
            self.pause(self.period_s)
        return False

    def _cycles(self) -> None:
        """Cycle on every new record of the plant, at the latest a period after the last, until asked to stop."""
        while not self.stop_asked():
            begin_ns = self.clock_ns()
            silence = self.silent()
            if silence is not None:
                raise silence  # all I/O ends here, reads too: only the switching off is left
            try:
                self.cycle()
            except PortFault as fault:
                self._tolerate(fault)
            while not (self.stop_asked() or self.wanted.is_new()):
                if self.clock_ns() - begin_ns >= self.period_s * NS:
                    break
                self.pause(POLL_S)

    def _tolerate(self, fault: PortFault) -> None:
        """Go on after a few time-outs, each of which has opened its port anew; raise everything else."""
        self._timeouts += 1
        if fault.kind != FaultKind.TIMEOUT or self._timeouts > TIMEOUTS_IN_A_ROW:
            raise fault
        self.measured.count("timeouts")
        self.tell("bench_timeout", text=str(fault))
        self.publish(BenchState.RUNNING)
