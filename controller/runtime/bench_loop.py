"""Cycle the bench: volts out, amps in, duty, the car's step, the load; watch who has to be alive meanwhile.

One thread owns all three ports: one cycle is three short exchanges, and one owner keeps their order. A new record of
the plant starts a cycle at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from controller.runtime.bench_images import BenchState, Measured, Wanted
from controller.runtime.bench_stop import fault_stop, planned_stop
from controller.runtime.histogram import Histogram
from controller.runtime.played_car import PlayedCar
from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource, SourceReading
from instruments.faults import FaultKind, PortFault

NS = 1_000_000_000
POLL_S = 0.002
SCAN_SILENT_S = 1.0  # source off after it; the guard has the same patience
PLANT_SILENT_S = 3.0  # the volts of an emulated feeder may stand still for so long
TIMEOUTS_IN_A_ROW = 3  # tolerated: each has opened its port anew
VOLT_TOLERANCE, VOLT_TOLERANCE_MIN_V = 0.05, 2.0  # of the written volts, at the check after output on
VOLTS_WITHIN_S = 2.0
EXIT_FAULT = 3


class Adapter(Protocol):
    """Name what the bench needs of an ev_adapter; its failures are PortFaults."""

    def read_duty(self) -> float:
        """Return the measured duty cycle, share 0..1."""

    def assert_cp(self, state: int) -> None:
        """Show a control-pilot state: 0 A, 1 B, 2 C."""

    def close(self) -> None:
        """Close the connection."""


@dataclass(slots=True)
class Bench:
    """Hold the three instruments, the images and what was measured; `run` is the whole life of the bench.

    `scan_age_s` says how long the scan has been silent, NaN before its first beat.
    """

    source: AcSource
    load: AcLoad
    adapter: Adapter
    wanted: Wanted
    measured: Measured
    car: PlayedCar
    period_s: float
    scan_age_s: Callable[[], float]
    tell: Callable[..., None]
    stop_asked: Callable[[], bool]
    pause: Callable[[float], None] = time.sleep
    clock_ns: Callable[[], int] = time.monotonic_ns
    timings: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram.empty() for name in ("source", "load", "adapter", "loop", "cycle")}
    )
    _timeouts: int = 0
    _cp: int = -1

    def run(self) -> int:
        """Prepare, wait for plant and scan, energise, cycle until asked to stop; return the exit code (0 or 3)."""
        switched_off = False
        try:
            self.prepare()
            if self._wait_for_both():
                self.start()
                self._cycles()
            planned_stop(self)
            switched_off = True
        except PortFault as fault:
            switched_off = True
            fault_stop(self, fault)
            return EXIT_FAULT
        finally:
            if not switched_off:  # an error of ours: its trace goes on after the output is off
                fault_stop(
                    self, self.source.fault(FaultKind.INTERLOCK, "bench", "the bench process failed", "see its log")
                )
        return 0

    def prepare(self) -> None:
        """Bring source and load into their modes, limits programmed and read back, nothing energised."""
        self.source.prepare()
        self.load.prepare()
        self.measured.set(duty=self.adapter.read_duty())
        self.publish(BenchState.READY)
        self.tell("bench_ready", source=self.source.port.identity, load=self.load.port.identity)

    def start(self) -> None:
        """Energise in order: volts written, output on, its volts seen, load on at 0 A; the car plugs in after that."""
        self.publish(BenchState.STARTING)
        volts = self.wanted.volt_v.copy()
        self.source.set_and_measure(volts)
        self.measured.set(source_on=True)
        self.source.output(True)
        seen = self._volts_seen(volts)
        self.measured.set(source_on=seen.output_on, volt_v=seen.volt_v, amp_a=seen.amp_a)
        self.load.input(True)
        self.measured.set(load_on=True)
        self.publish(BenchState.RUNNING)
        self.tell("bench_energised", volt_v=[round(float(volt), 2) for volt in seen.volt_v])

    def _volts_seen(self, volt_v: np.ndarray) -> SourceReading:
        """Return the first reading that shows the written volts; a fault where they do not come in time."""
        used = slice(0, self.source.phases)
        until_ns = self.clock_ns() + round(VOLTS_WITHIN_S * NS)
        while True:
            self.pause(self.period_s)
            seen = self.source.set_and_measure(volt_v)
            self.publish(BenchState.STARTING)
            tolerance_v = np.maximum(VOLT_TOLERANCE * volt_v[used], VOLT_TOLERANCE_MIN_V)
            if np.all(np.abs(seen.volt_v[used] - volt_v[used]) <= tolerance_v):
                return seen
            if self.clock_ns() > until_ns:
                detail = f"{seen.volt_v[used]} V after output on, written {volt_v[used]} V"
                raise self.source.fault(FaultKind.READBACK, "volt", detail, "check range, wiring and sense leads")

    def cycle(self) -> None:
        """Do one cycle: volts out and amps in, published at once; then duty, the car's step and the load."""
        start_ns = self.clock_ns()
        self.wanted.read()
        volts = self.source.reachable(self.wanted.volt_v)
        used = slice(0, self.source.phases)
        if not np.array_equal(volts[used], self.wanted.volt_v[used]):
            self.measured.count("slewing")
        seen = self.source.set_and_measure(volts)
        done_ns = self.clock_ns()
        loop_ns = done_ns - self.wanted.stamp_ns
        if self.wanted.seq != self.measured.record["set_seq"]:
            self.timings["loop"].add_ns(loop_ns)  # a record used twice would count the plant's pause as ours
        self.measured.set(
            amp_a=seen.amp_a,
            volt_v=seen.volt_v,
            source_on=seen.output_on,
            set_seq=self.wanted.seq,
            set_stamp_ns=self.wanted.stamp_ns,
            loop_ns=loop_ns,
            source_ns=self.source.port.round_trip_ns,
        )
        self.timings["source"].add_ns(self.source.port.round_trip_ns)
        self.publish(BenchState.RUNNING)
        self._follow_duty()
        busy_ns = self.clock_ns() - start_ns
        self.timings["cycle"].add_ns(busy_ns)
        self.measured.count("cycles")
        if busy_ns > self.period_s * NS:
            self.measured.count("late")
        self._timeouts = 0

    def _follow_duty(self) -> None:
        """Read the pilot, let the car decide, show its state and program the load."""
        before_ns = self.clock_ns()
        duty = self.adapter.read_duty()
        adapter_ns = self.clock_ns() - before_ns
        if self.wanted.plugged:
            self.car.plugged = True
        elif self.car.plugged:
            self.car.unplug()
        amp_a = self.car.step(before_ns / NS, duty, float(self.measured.record["load_v"]))
        self.show(self.car.cp)
        seen = self.load.set_and_measure(amp_a)
        self.measured.set(
            duty=duty,
            load_set_a=amp_a,
            load_a=seen.amp_a,
            load_v=seen.volt_v,
            load_on=seen.input_on,
            adapter_ns=adapter_ns,
            load_ns=self.load.port.round_trip_ns,
        )
        self.timings["adapter"].add_ns(adapter_ns)
        self.timings["load"].add_ns(self.load.port.round_trip_ns)
        self.publish(BenchState.RUNNING)

    def show(self, state: int) -> None:
        """Write the control-pilot state where it differs from the one shown."""
        if state != self._cp:
            self.adapter.assert_cp(state)
            self._cp = state
            self.measured.set(cp=state)
            self.tell("bench_cp", state="ABC"[state])

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

    def _silent(self, who: str, age_s: float, allowed_s: float) -> PortFault:
        detail = f"the {who} has been silent for {age_s:.2f} s, allowed {allowed_s:g} s"
        return self.source.fault(FaultKind.INTERLOCK, who, detail, "the source is switched off")

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
