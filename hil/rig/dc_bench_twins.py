"""Serve the supply that plays a vehicle's battery, and join it to the output of the emulated DC charger."""

from collections.abc import Callable

from controller.runtime.bench_images import BenchState
from controller.runtime.site import Site
from hil.plant.dc import DcOutput
from hil.plant.dc_wire import Device, Regulator, operate
from hil.rig.assembler import Assembly
from hil.rig.bench_twins import FREQUENCY_HZ, BenchTwins
from hil.rig.world import World
from hil.twins.scpi_dc import DcTwin


class DcBenchTwins(BenchTwins):
    """Hold the supply and one pair of wires: the converter drives its amps into the volts that the supply holds."""

    def __init__(self, assembly: Assembly, world: World, clock_s: Callable[[], float]) -> None:
        super().__init__(assembly, world, clock_s)
        self.supply: DcTwin = self.twins["supply"]
        self._driven = False

    def step(self, t_s: float, dt_s: float, site: Site | None) -> None:
        """Find the operating point of the wires, show it to the instruments, and hand the charger its volts.

        Until the bench has energised the supply once, the battery model of the plant stands in.
        """
        for twin in self.twins.values():
            twin.step(t_s, dt_s)
        measured = self.measured(site)
        self._driven |= self.supply.output_on or (measured is not None and measured["state"] == BenchState.RUNNING)
        if not self._driven:
            return
        output = self.world.dc[self.dut].output
        volts, delivered_a = self._wire(output)
        self.supply.set_measured(volts, delivered_a)
        if "analyzer" in self.twins:
            rows = ([value, 0.0, 0.0] for value in (volts, -delivered_a, -delivered_a * volts))
            self.twins["analyzer"].set_measured(*rows, FREQUENCY_HZ)
        if measured is not None:  # else somebody else's controller drives the supply: the plant's own car goes on
            self.world.drive_dc(measured, volts)

    def _wire(self, output: DcOutput) -> tuple[float, float]:
        """Return the volts between the wires and the amps that the supply delivers (- takes in).

        A supply that can hold its volts does. One that cannot leaves them to the converter, which drives them up to
        its own limit: what the supply's over-voltage protection is for.
        """
        terminal = self.supply.terminal()
        if terminal is not None:
            low, high = terminal.delivered(terminal.knee_v)
            if low <= -output.amp_a <= high:
                return terminal.knee_v, -output.amp_a
        converter = Regulator(set_v=output.spec.max_v, source_a=output.amp_a)
        joined: list[Device] = [converter] if terminal is None else [terminal, converter]
        node = operate(joined) if output.amp_a > 0.0 else operate(joined[:-1])
        return node.volt_v, node.amp_a[0] if terminal is not None else 0.0

    def outputs(self) -> dict[str, bool]:
        """Say, by device name, whether the supply is on."""
        return {self.rig.parts()["supply"].name: self.supply.output_on}
