"""Serve the twins of a bench and be the wires between them and the device under test."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from controller.runtime.bench_images import MEAS_NAME, SET_NAME, BenchState, MeasuredView, WantedWriter
from controller.runtime.site import Site
from controller.runtime.store import StoreError
from hil.plant.bench import flow
from hil.rig.assembler import Assembly
from hil.rig.listening import HOST, listen
from hil.rig.schema import BENCH_ROLES, AdapterPart, BenchPart
from hil.rig.world import World
from hil.twins.modbus_adapter import ModbusAdapterTwin
from hil.twins.relay_pilot import RelayPilotTwin
from hil.twins.scpi_load import AcLoadTwin
from hil.twins.scpi_server import ScpiServer
from hil.twins.scpi_source import AcSourceTwin
from hil.twins.scpi_twins import make_twin, serve
from instruments.catalog import load_model
from instruments.scpi_role import scpi_of

PHASES = 3
LOADS = ("load", "load_l2", "load_l3")
CP_B = 1
FREQUENCY_HZ = 50.0
Address = tuple[str, int | None]


class BenchTwins:
    """Hold what every emulated bench has: SCPI servers by key, and the two images that it shares with the bench."""

    def __init__(self, assembly: Assembly, world: World, clock_s: Callable[[], float]) -> None:
        if assembly.rig.bench is None:
            raise ValueError("this rig has no bench")
        self.rig: BenchPart = assembly.rig.bench
        self.world = world
        self.dut = assembly.dut
        self.clock_s = clock_s
        self.servers: dict[str, ScpiServer] = {}
        self.twins: dict[str, Any] = {}
        for key, part in self.rig.parts().items():
            if BENCH_ROLES[key] != "ev_adapter":
                record = scpi_of(load_model(part.model), BENCH_ROLES[key])
                self.twins[key] = make_twin(record, clock_s, BENCH_ROLES[key])
                self.servers[key] = serve(self.twins[key])
        self._wanted: WantedWriter | None = None
        self._view: MeasuredView | None = None

    async def start(self) -> dict[str, Address]:
        """Open the sockets and return the addresses by device name."""
        found: dict[str, Address] = {}
        for key, server in self.servers.items():
            part = self.rig.parts()[key]
            port = await listen(part.name, part.port, server.start(HOST, part.port))
            found[part.name] = (f"TCPIP::{HOST}::{port}::SOCKET", None)
        return found

    async def stop(self) -> None:
        """Close the sockets."""
        for server in self.servers.values():
            await server.stop()

    def step(self, t_s: float, dt_s: float, site: Site | None) -> None:
        """Step the instruments and hand volts and amps to the device under test."""
        raise NotImplementedError

    def outputs(self) -> dict[str, bool]:
        """Say, by device name, which energising twin is on."""
        raise NotImplementedError

    def measured(self, site: Site | None) -> Any:
        """Return what the bench process measured last; None while there is nothing."""
        if self._view is None:
            if site is None:
                return None
            try:
                self._view = MeasuredView(site.store(MEAS_NAME))
            except StoreError:  # the bench has not made it yet, or is just making it: the next step looks again
                return None
        return self._view.read()

    def publish(self, site: Site | None, now_ns: int | None = None) -> None:
        """Write what the bench shall play: the volts of the device's node in the feeder, and the car's charge."""
        if site is None:
            return
        if self._wanted is None:
            self._wanted = WantedWriter(site.store(SET_NAME))
        world = self.world
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        self._wanted.write(world.bench_node_v(), world.bench_plugged(), now_ns, world.bench_soc())


class AcBenchTwins(BenchTwins):
    """Hold source, loads and pilot adapter around an AC charger, and the wires between them.

    `wires` says which output of the source leads to L1, L2, L3: what the rig's phase_map promises, unless a test
    crosses two of them.
    """

    def __init__(self, assembly: Assembly, world: World, clock_s: Callable[[], float]) -> None:
        super().__init__(assembly, world, clock_s)
        rig = self.rig
        if rig.source is None or rig.load is None or rig.adapter is None:
            raise ValueError("an AC bench has source, load and adapter")
        self.wires = (
            np.array(["abc".index(letter) for letter in rig.phase_map]) if rig.phases == PHASES else np.arange(3)
        )
        self.source: AcSourceTwin = self.twins["source"]
        self.loads: list[AcLoadTwin] = [self.twins[key] for key in LOADS if key in self.twins]
        self.adapter = self._pilot(rig.adapter)
        self._driven = False
        self._cp = CP_B

    @property
    def load(self) -> AcLoadTwin:
        """Return the load at L1."""
        return self.loads[0]

    async def start(self) -> dict[str, Address]:
        """Open the sockets of source, loads and adapter."""
        found = await super().start()
        part = self.rig.adapter
        if self.adapter is None or part is None:
            return found
        port = await listen(part.name, part.port, self.adapter.start(HOST, part.port))
        return found | {part.name: (f"modbus+tcp://{HOST}:{port}", self.adapter.unit_id)}

    async def stop(self) -> None:
        """Close the sockets."""
        await super().stop()
        if self.adapter is not None:
            await self.adapter.stop()

    def _pilot(self, part: AdapterPart) -> ModbusAdapterTwin | RelayPilotTwin | None:
        """Return what plays the control pilot; None for an operator, whose confirmed state the bench tells."""
        if part.by == "hand":
            return None
        model = load_model(part.model)
        if model.relay is None:
            return ModbusAdapterTwin(model, self._duty, self._assert_cp)
        return RelayPilotTwin(model, self._duty, self._assert_cp, dict(part.coils))

    def _duty(self) -> float:
        return self.world.fleet.duty(self.dut)

    def _assert_cp(self, state: int) -> None:
        self._cp = state

    def step(self, t_s: float, dt_s: float, site: Site | None) -> None:
        """Step the instruments and hand volts and amps to the device under test.

        Until the bench has energised the source once, the car model stands in, so that the street keeps its load.
        """
        for twin in self.twins.values():
            twin.step(t_s, dt_s)
        measured = self.measured(site)
        self._driven |= self.source.output_on or (measured is not None and measured["state"] == BenchState.RUNNING)
        if not self._driven:
            return
        fleet, world = self.world.fleet, self.world
        terminal_v = np.where(np.arange(PHASES) < self.rig.phases, self.source.actual_v[self.wires], 0.0)
        now = self._flow(terminal_v, bool(fleet.contactor[self.dut]))
        outputs_a = np.zeros(PHASES)
        outputs_a[self.wires] = now.amp_a
        self.source.set_measured(outputs_a)
        for k, load in enumerate(self.loads):
            load.set_measured(float(now.load_v[k]), float(now.amp_a[k]))
        if "analyzer" in self.twins:
            self.twins["analyzer"].set_measured(terminal_v, now.amp_a, terminal_v * now.amp_a, FREQUENCY_HZ)
        if self.adapter is None and measured is not None:
            self._cp = max(int(measured["cp"]), 0)
        fleet.external_cp[self.dut] = self._cp
        fleet.external_a[self.dut] = now.amp_a
        world.bench_terminal_v = terminal_v
        if measured is None:  # somebody else's controller drives the twins: what flows is what the feeder gives
            world.bench_feeder_a = now.amp_a
        else:
            world.bench_feeder_a = np.nan_to_num(measured["amp_a"]) if measured["source_on"] else np.zeros(PHASES)

    def _flow(self, terminal_v: np.ndarray, contactor: bool) -> Any:
        """Return what flows to the loads."""
        set_a, on = np.zeros(PHASES), np.zeros(PHASES, dtype=bool)
        for k, load in enumerate(self.loads):
            set_a[k], on[k] = load.set_a, load.input_on
        return flow(
            terminal_v,
            source_on=self.source.output_on,
            contactor=contactor,
            load_on=on,
            load_set_a=set_a,
            phases=len(self.loads),
        )

    def outputs(self) -> dict[str, bool]:
        """Say, by device name, what is still on."""
        parts = self.rig.parts()
        loads = {parts[key].name: self.twins[key].input_on for key in LOADS if key in self.twins}
        return {parts["source"].name: self.source.output_on} | loads
