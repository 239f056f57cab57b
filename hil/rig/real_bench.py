"""Couple a bench of real instruments to the world: the feeder's volts go out to it, its measured amps come back."""

import time

import numpy as np

from controller.runtime.bench_images import MEAS_NAME, SET_NAME, MeasuredView, WantedWriter
from controller.runtime.site import Site
from controller.runtime.store import StoreError
from hil.rig.assembler import Assembly
from hil.rig.world import World


class RealBench:
    """Stand where the twins of source, load and adapter would be; serves no socket."""

    __slots__ = ("_dut", "_view", "_wanted", "_world")

    def __init__(self, assembly: Assembly, world: World) -> None:
        self._world = world
        self._dut = assembly.dut
        self._wanted: WantedWriter | None = None
        self._view: MeasuredView | None = None

    async def start(self) -> dict[str, tuple[str, int | None]]:
        """Return no address: nothing listens here."""
        return {}

    async def stop(self) -> None:
        """Do nothing: there is no socket to close."""

    def step(self, t_s: float, dt_s: float, site: Site | None) -> None:
        """Put the amps that the source was read to deliver at the device's node of the feeder."""
        if self._view is None and site is not None:
            try:
                self._view = MeasuredView(site.store(MEAS_NAME))
            except StoreError:  # the bench has not made it yet: the next step looks again
                return
        measured = None if self._view is None else self._view.read()
        if measured is None:
            return
        if self._dut in self._world.dc:
            self._world.drive_dc(measured)
        else:
            on = bool(measured["source_on"])
            self._world.bench_terminal_v = np.nan_to_num(measured["volt_v"])
            self._world.bench_feeder_a = np.nan_to_num(measured["amp_a"]) if on else np.zeros(3)

    def publish(self, site: Site | None) -> None:
        """Write the volts that the source shall play: those of the device's node in the feeder."""
        if site is None:
            return
        if self._wanted is None:
            self._wanted = WantedWriter(site.store(SET_NAME))
        self._wanted.write(self._world.bench_node_v(), True, time.monotonic_ns(), self._world.bench_soc())

    async def follow_supply(self) -> None:
        """Do nothing: the mains of real instruments are not ours."""

    def outputs(self) -> dict[str, bool]:
        """Return nothing: the instruments are not ours."""
        return {}
