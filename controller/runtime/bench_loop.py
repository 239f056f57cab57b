"""Cycle the AC bench: volts out, amps in, duty, the car's step, the loads.

Everything is told by the charger's terminals L1, L2, L3, (3,); `phase_map` says which output of the source leads to
which terminal. With three phases the wiring is proven before the first amp: three different volts are played, and each
load has to see its own.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from controller.runtime.bench_base import NS, BenchLoop
from controller.runtime.bench_images import BenchState
from controller.runtime.bench_stop import fault_stop, planned_stop
from controller.runtime.load_bank import LoadBank
from controller.runtime.played_car import CP_A, LIVE_V, PlayedCar
from instruments.ac_source import AcSource, SourceReading
from instruments.faults import FaultKind, PortFault

VOLT_TOLERANCE, VOLT_TOLERANCE_MIN_V = 0.05, 2.0  # of the written volts, at the check after output on
VOLTS_WITHIN_S = 2.0
PROBE_V = np.array([4.0, 0.0, -4.0])  # around the mean, while the phase map is proven: 1.7 % of 230 V
PROBE_WITHIN_V = 2.0  # half of the distance between two of them
PROBE_WITHIN_S = 3.0
NOT_AVAILABLE = (4, 5)  # control-pilot states E and F


class Adapter(Protocol):
    """Name what the bench needs of an ev_adapter; its failures are PortFaults.

    `shown` is the state that it is known to show, `seen` the state on the line where it looks; -1 unknown.
    """

    @property
    def shown(self) -> int:
        """Return the state that it is known to show, 0 A .. 3 D; -1 none yet."""

    @property
    def seen(self) -> int:
        """Return the state on the line, 0 A .. 5 F; -1 where it does not look."""

    def read_duty(self) -> float:
        """Return the measured duty cycle, share 0..1; NaN where nobody knows it now."""

    def assert_cp(self, state: int) -> None:
        """Show a control-pilot state, 0 A .. 3 D, or have it shown."""

    def set_cable(self, amps: float) -> None:
        """Show the proximity resistor of a cable for so many amps."""

    def hurry(self) -> None:
        """Wait no longer for an answer than while energised."""

    def close(self) -> None:
        """Close the connection."""


@dataclass(slots=True, kw_only=True)
class Bench(BenchLoop):
    """Hold source, loads and pilot adapter around an AC charger, and the car that is played."""

    source: AcSource
    load: LoadBank
    adapter: Adapter
    car: PlayedCar
    phase_map: tuple[int, ...] = (0, 1, 2)
    frequency_hz: float | None = None  # None: what the source's record sets up
    angles_deg: tuple[float, float] | None = None
    cable_a: float | None = None  # None: the adapter's proximity resistor stays as it is
    _seen: int = -1
    _cp: int = -1
    _proven: bool = False
    _probe_ns: int = 0

    @property
    def energiser(self) -> AcSource:
        """Return the source."""
        return self.source

    def prepare(self) -> None:
        """Bring source, loads and analyzer into their modes, limits programmed and read back, nothing energised."""
        self.source.prepare()
        if self.frequency_hz is not None:
            self.source.set_frequency(self.frequency_hz)
        if self.angles_deg is not None:
            self.source.set_angles(*self.angles_deg)
        elif self.source.phases == 3 and self.source.role.can.angle:
            self.source.set_angles(120.0, 240.0)  # b lags a by 120 degrees: the order of rotation that the map rests on
        self.load.prepare()
        if self.analyzer is not None:
            self.analyzer.prepare()
        if self.cable_a is not None:
            self.adapter.set_cable(self.cable_a)
        self.measured.set(duty=self.adapter.read_duty())
        self.publish(BenchState.READY)
        self.tell("bench_ready", source=self.source.port.identity, load=self.load.identity)

    def start(self) -> None:
        """Energise in order: no vehicle shown, volts written, output on and seen, loads on at 0 A; then the car."""
        if not self._no_vehicle():
            return  # a stop was asked for
        self.publish(BenchState.STARTING)
        volts = self.wanted.volt_v.copy()
        self.play(volts)
        self.measured.set(source_on=True)
        self.source.output(True)
        seen = self._volts_seen(volts)
        self.measured.set(source_on=seen.output_on, volt_v=seen.volt_v, amp_a=seen.amp_a)
        self.load.input(True)
        self.measured.set(load_on=True)
        self.publish(BenchState.RUNNING)
        self.tell("bench_energised", volt_v=[round(float(volt), 2) for volt in seen.volt_v])

    def _no_vehicle(self) -> bool:
        """Show state A and wait, nothing energised, until it is confirmed; False where a stop was asked for before."""
        self.show(CP_A)
        while self.adapter.shown != CP_A:
            if self.stop_asked():
                return False
            self.wanted.read()
            silence = self.silent()
            if silence is not None:
                raise silence
            self.adapter.read_duty()  # of an operator: here the answer comes in, or the time runs out
            self.publish(BenchState.READY)
            self.pause(self.period_s)
        self.show(CP_A)
        return True

    @property
    def used(self) -> slice:
        """Return the terminals in use, of (3,)."""
        return slice(0, self.source.phases)

    def at_outputs(self, volt_v: np.ndarray) -> np.ndarray:
        """Return volts (3,) by terminal as volts by output of the source."""
        volts = np.zeros(3)
        volts[list(self.phase_map[self.used])] = volt_v[self.used]
        return volts

    def at_terminals(self, row: np.ndarray) -> np.ndarray:
        """Return a row (3,) by output of the source as one by terminal; a terminal not in use is 0."""
        found = np.zeros(3)
        found[self.used] = row[list(self.phase_map[self.used])]
        return found

    def play(self, volt_v: np.ndarray) -> SourceReading:
        """Write volts (3,) and return what the source reads back, both by terminal."""
        seen = self.source.set_and_measure(self.at_outputs(volt_v))
        return SourceReading(
            amp_a=self.at_terminals(seen.amp_a),
            volt_v=self.at_terminals(seen.volt_v),
            output_on=seen.output_on,
            power_w=self.at_terminals(seen.power_w),
        )

    def _volts_seen(self, volt_v: np.ndarray) -> SourceReading:
        """Return the first reading that shows the written volts; a fault where they do not come in time."""
        used = self.used
        until_ns = self.clock_ns() + round(VOLTS_WITHIN_S * NS)
        while True:
            self.pause(self.period_s)
            seen = self.play(volt_v)
            self.publish(BenchState.STARTING)
            tolerance_v = np.maximum(VOLT_TOLERANCE * volt_v[used], VOLT_TOLERANCE_MIN_V)
            if np.all(np.abs(seen.volt_v[used] - volt_v[used]) <= tolerance_v):
                return seen
            if self.clock_ns() > until_ns:
                detail = f"{seen.volt_v[used]} V after output on, written {volt_v[used]} V"
                raise self.source.fault(FaultKind.READBACK, "volt", detail, "check range, wiring and sense leads")

    def cycle(self) -> None:
        """Do one cycle: volts out and amps in, published at once; then duty, the car's step and the loads."""
        start_ns = self.clock_ns()
        self.wanted.read()
        wanted_v = self._probe(self.wanted.volt_v) if self._probe_ns else self.wanted.volt_v
        volts = self.at_terminals(self.source.reachable(self.at_outputs(wanted_v)))
        if not np.array_equal(volts[self.used], wanted_v[self.used]):
            self.measured.count("slewing")
        seen = self.play(volts)
        self.count_loop()
        self.measured.set(
            amp_a=seen.amp_a,
            volt_v=seen.volt_v,
            power_w=seen.power_w,
            source_on=seen.output_on,
            source_ns=self.source.port.round_trip_ns,
        )
        self.timings["source"].add_ns(self.source.port.round_trip_ns)
        self.publish(BenchState.RUNNING)
        self._follow_duty()
        self.analyze()
        self.publish(BenchState.RUNNING)
        self.count_cycle(start_ns)

    def _follow_duty(self) -> None:
        """Read the pilot, let the car decide, show its state and program the loads."""
        before_ns = self.clock_ns()
        duty = self.adapter.read_duty()
        adapter_ns = self.clock_ns() - before_ns
        if self.adapter.seen != self._seen:
            self._seen = self.adapter.seen
            self.tell("bench_cp_seen", state="ABCDEF"[self._seen])
        if self._seen in NOT_AVAILABLE:
            duty = float("nan")  # the charger has no supply or a fault: whatever the line shows is no duty cycle
        if self.wanted.plugged:
            self.car.plugged = True
        elif self.car.plugged:
            self.car.unplug()
        proven = self._proven or self.source.phases == 1
        volts = float(np.min(self.measured.record["load_v"][self.load.used])) if proven else 0.0
        amp_a = self.car.step(before_ns / NS, duty, volts)  # 0 V: it asks, and draws nothing yet
        self.show(self.car.cp)
        seen = self.load.set_and_measure(amp_a)
        self.measured.set(
            duty=duty,
            load_set_a=amp_a,
            load_a=seen.amps,
            load_v=seen.volts,
            load_on=seen.input_on,
            adapter_ns=adapter_ns,
            load_ns=self.load.round_trip_ns,
        )
        self.timings["adapter"].add_ns(adapter_ns)
        self.timings["load"].add_ns(self.load.round_trip_ns)
        if not proven:
            self._prove_map(seen.volts)

    def _probe(self, volt_v: np.ndarray) -> np.ndarray:
        """Return three volts that differ, around the mean of the wanted ones, (3,)."""
        return np.asarray(np.mean(volt_v) + PROBE_V)

    def _prove_map(self, load_v: np.ndarray) -> None:
        """Compare, at 0 A, what each load sees with what its terminal is played; a fault where one sees another's.

        It begins with the first contact of the charger's contactor and ends with the first match.
        """
        used, played_v = self.load.used, self.measured.record["volt_v"]
        if not np.all(load_v[used] > LIVE_V):
            self._probe_ns = 0  # the contactor is open: nothing to see yet
            return
        if not self._probe_ns:
            self._probe_ns = self.clock_ns()
            return
        stands = np.allclose(played_v, self._probe(self.wanted.volt_v), atol=PROBE_WITHIN_V / 2)
        if stands and np.all(np.abs(load_v[used] - played_v[used]) < PROBE_WITHIN_V):
            self._proven, self._probe_ns = True, 0
            self.tell("bench_phases", load_v=np.round(load_v, 1).tolist(), played_v=np.round(played_v, 1).tolist())
        elif self.clock_ns() - self._probe_ns > PROBE_WITHIN_S * NS:
            text = ", ".join(f"L{k + 1} sees {load_v[k]:.1f} V of {played_v[k]:.1f} V" for k in range(3)[used])
            hint = "correct phase_map or the wires between source, charger and loads"
            raise self.source.fault(FaultKind.READBACK, "phase_map", text, hint)

    def show(self, state: int) -> None:
        """Have the control-pilot state shown where it differs from the last one, and tell which one is."""
        if state != self._cp:
            self.adapter.assert_cp(state)
            self._cp = state
        if self.adapter.shown != self.measured.record["cp"]:
            self.measured.set(cp=self.adapter.shown)
            self.tell("bench_cp", state="ABCD"[self.adapter.shown])

    def stop_planned(self) -> None:
        """Take the current to 0, let the contactor open, then source and loads; see `bench_stop`."""
        planned_stop(self)

    def stop_at_once(self, fault: PortFault) -> None:
        """Switch the source off first; see `bench_stop`."""
        fault_stop(self, fault)
