"""Cycle the DC bench: a bidirectional supply plays the vehicle's battery before a DC charger.

The supply holds the battery's terminal volts; the amps that the charger drives into it are read back and counted. What
a car would ask for over its charging plug (CCS, CHAdeMO) goes to an emulated charger through the bench's image; a real
charger needs an adapter that speaks for the car, which is not part of this bench.
"""

from dataclasses import dataclass
from math import isfinite

from controller.runtime.bench_base import NS, BenchLoop
from controller.runtime.bench_images import BenchState
from controller.runtime.played_battery import PlayedBattery
from controller.runtime.played_car import CP_A, CP_B, CP_C
from instruments.dc_supply import BidirectionalSupply, DcReading
from instruments.faults import FaultKind, PortFault

OPEN_S = 5.0  # longest wait for the charger's current to stop: a parameter
TICK_S = 0.1
STILL_A = 0.5  # under it the charger has stopped: offset and noise of a supply are smaller
VOLT_TOLERANCE, VOLT_TOLERANCE_MIN_V = 0.02, 2.0
VOLTS_WITHIN_S = 3.0


@dataclass(slots=True, kw_only=True)
class DcBench(BenchLoop):
    """Hold the supply, and the battery that it plays.

    `source_a`, `sink_a`: the largest amps that the supply may deliver and take in, magnitudes.
    """

    supply: BidirectionalSupply
    battery: PlayedBattery
    source_a: float
    sink_a: float
    _amp_a: float = 0.0
    _then_ns: int = 0
    _plugged: bool = False

    @property
    def energiser(self) -> BidirectionalSupply:
        """Return the supply."""
        return self.supply

    def prepare(self) -> None:
        """Bring the supply into its mode at 0 V, limits programmed and read back, nothing energised."""
        self.supply.prepare()
        if self.analyzer is not None:
            self.analyzer.prepare()
        self.publish(BenchState.READY)
        self.tell("bench_ready", supply=self.supply.port.identity)

    def start(self) -> None:
        """Energise in order: the battery's volts written, output on, its volts seen; the car plugs in after that."""
        self.publish(BenchState.STARTING)
        if isfinite(self.wanted.soc):
            self.battery.plug_in(self.wanted.soc)
        volts = self.battery.terminal_v(0.0)
        self.supply.set_and_measure(volts, self.source_a, self.sink_a)
        self.measured.set(source_on=True)
        self.supply.output(True)
        seen = self._volts_seen(volts)
        self._tell_supply(seen)
        self._then_ns = self.clock_ns()
        self.publish(BenchState.RUNNING)
        self.tell("bench_energised", volt_v=round(seen.volt_v, 2), soc=round(self.battery.soc, 4))

    def _volts_seen(self, volts: float) -> DcReading:
        """Return the first reading that shows the written volts; a fault where they do not come in time."""
        tolerance_v = max(VOLT_TOLERANCE * volts, VOLT_TOLERANCE_MIN_V)
        until_ns = self.clock_ns() + round(VOLTS_WITHIN_S * NS)
        while True:
            self.pause(self.period_s)
            seen = self.supply.set_and_measure(volts, self.source_a, self.sink_a)
            self.publish(BenchState.STARTING)
            if abs(seen.volt_v - volts) <= tolerance_v:
                return seen
            if self.clock_ns() > until_ns:
                detail = f"{seen.volt_v:g} V after output on, written {volts:g} V"
                raise self.supply.fault(FaultKind.READBACK, "volt", detail, "check range, wiring and sense leads")

    def cycle(self) -> None:
        """Do one cycle: the battery's volts out, the charger's amps in, charge counted, the next demand published."""
        start_ns = self.clock_ns()
        self.wanted.read()
        volts = self.supply.reachable(self.battery.terminal_v(self._amp_a))
        seen = self.supply.set_and_measure(volts, self.source_a, self.sink_a)
        now_ns = self.clock_ns()
        self.count_loop()
        self.battery.step((now_ns - self._then_ns) / NS, seen.amp_a)
        self._then_ns, self._amp_a = now_ns, seen.amp_a
        self._follow_car()
        self._tell_supply(seen)
        self.timings["supply"].add_ns(self.supply.port.round_trip_ns)
        self.publish(BenchState.RUNNING)
        self.analyze()
        self.count_cycle(start_ns)

    def _follow_car(self) -> None:
        """Plug in and out as the plant says, and ask for what the battery takes now."""
        if self.wanted.plugged != self._plugged:
            self._plugged = self.wanted.plugged
            if self._plugged and isfinite(self.wanted.soc) and not self._amp_a > STILL_A:
                self.battery.plug_in(self.wanted.soc)
        demand_a = self.battery.ask() if self._plugged else 0.0
        self.show(CP_A if not self._plugged else CP_C if demand_a > 0.0 else CP_B, demand_a)

    def show(self, state: int, demand_a: float) -> None:
        """Say what the car shows the charger: 0 A away, 1 B there, 2 C asking for `demand_a`."""
        if state != self.measured.record["cp"]:
            self.tell("bench_cp", state="ABC"[state])
        self.measured.set(cp=state, demand_a=demand_a)

    def _tell_supply(self, seen: DcReading) -> None:
        self.measured.set(
            dc_v=seen.volt_v,
            dc_a=seen.amp_a,
            dc_w=seen.power_w,
            source_on=seen.on,
            soc=self.battery.soc,
            supply_ns=self.supply.port.round_trip_ns,
        )

    def stop_planned(self) -> None:
        """Ask for no current, wait until the charger stopped, leave so that its contactor opens, then the supply off.

        A charger that goes on is told, and the supply goes off anyway. A step that fails raises its PortFault.
        """
        self.publish(BenchState.STOPPING)
        if self.measured.record["source_on"]:
            self.show(CP_B, 0.0)
            stopped = self._wait_until_still()
            self.show(CP_A, 0.0)
            self.publish(BenchState.STOPPING)
            self.tell("bench_contactor", opened=stopped, allowed_s=OPEN_S)
        self.supply.safe_off()
        self.measured.set(source_on=False, dc_a=0.0, dc_w=0.0)
        self.publish(BenchState.OFF)
        self.tell("bench_off", confirmed=True)
        try:
            self.supply.release()  # an armed watchdog would latch its trip for the next run
        except PortFault as error:
            self.tell("bench_not_confirmed", instrument="supply", text=str(error))

    def _wait_until_still(self) -> bool:
        """Wait until the supply reads no current; a scan or plant that falls silent meanwhile raises its fault."""
        for _ in range(round(OPEN_S / TICK_S)):
            self.wanted.read()
            silence = self.silent()
            if silence is not None:
                raise silence
            volts = self.supply.reachable(self.battery.terminal_v(self._amp_a))
            seen = self.supply.set_and_measure(volts, self.source_a, self.sink_a)
            self._amp_a = seen.amp_a
            self._tell_supply(seen)
            self.publish(BenchState.STOPPING)
            if abs(seen.amp_a) < STILL_A:
                return True
            self.pause(TICK_S)
        return False

    def stop_at_once(self, fault: PortFault) -> None:
        """Switch the supply off at once; nothing waits."""
        confirmed = True
        try:
            self.supply.safe_off()
        except PortFault as error:
            confirmed = False
            self.tell("bench_not_confirmed", instrument="supply", text=str(error))
        self.show(CP_A, 0.0)
        self.measured.set(fault=int(fault.kind), source_on=not confirmed)
        self.publish(BenchState.FAULT)
        self.tell("fault", text=str(fault), device=fault.device, source_off_confirmed=confirmed)
