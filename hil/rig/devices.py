"""Serve a rig's emulated devices on real sockets, and couple them to the world once a plant step.

A device with a real address has no twin here; nothing else about the rig changes by that.
"""

import errno
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from controller.runtime.bench_images import MEAS_NAME, SET_NAME, BenchState, MeasuredView, WantedWriter
from controller.runtime.site import Site
from controller.runtime.store import StoreError
from hil.plant.bench import flow
from hil.rig.assembler import Assembly
from hil.rig.real_bench import RealBench
from hil.rig.rigfile import devices as listed_devices
from hil.rig.world import ActiveOrder, World
from hil.twins.modbus_adapter import ModbusAdapterTwin
from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.scpi_load import AcLoadTwin
from hil.twins.scpi_server import ScpiServer
from hil.twins.scpi_source import AcSourceTwin
from hil.twins.substation import SubstationTwin
from instruments.catalog import Model, charger_of, load_model, modbus_of
from instruments.scpi_catalog import ScpiPart

HOST = "127.0.0.1"
NS = 1_000_000_000
BEAT_S = 1.0
EPS_S = 1e-3  # step times are sums
CP_B = 1


class PortInUse(RuntimeError):
    """Report a twin that cannot listen: its device, the port and what to do."""


async def listen(device: str, port: int, started: Awaitable[int]) -> int:
    """Wait for a twin of `device` to open its socket and return the port; PortInUse names the device."""
    try:
        return await started
    except OSError as error:
        place = f"port {port}" if port else "a free port"
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
        advice = "end what listens there, or give another port in the rig (0: a free one)"
        raise PortInUse(f"{device}: {place} on {HOST} {reason}; {advice}") from error


class Pace:
    """Say when something that happens every `period_s` is due, also after a clock that was set back."""

    __slots__ = ("_last_s", "_period_s")

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._last_s = -np.inf

    def due(self, t_s: float) -> bool:
        """Say whether it is due at `t_s`, and count from there if so.

        The plant idles on a clock of its own until the scenario's begins, which may lie earlier: who waited for the
        old time to come again would be silent meanwhile, and the controller would start on stale values.
        """
        if 0.0 <= t_s - self._last_s < self._period_s - EPS_S:
            return False
        self._last_s = t_s
        return True


class Devices:
    """Hold the twins of a rig: `start` them, call `before` and `after` around each world step, `stop` them."""

    def __init__(self, assembly: Assembly, world: World, clock_s: Callable[[], float]) -> None:
        self.assembly = assembly
        self.world = world
        rig = assembly.rig
        self.chargers = {
            i: ModbusChargerTwin(assembly.models[i], world.view(i), clock_s)
            for i, part in enumerate(rig.charger)
            if part.twin
        }
        groups = {"transformer": 1, "head": 1, "poc": len(rig.charger)}
        self.substation = SubstationTwin(groups, utc_ns=self._utc_ns) if rig.substation.twin else None
        self._clock_s = clock_s
        self.bench: BenchTwins | RealBench | None = None
        if rig.bench is not None:
            real = rig.bench.source.real is not None
            self.bench = RealBench(assembly, world) if real else BenchTwins(assembly, world, clock_s)
        self._cut = np.zeros(len(rig.charger), dtype=bool)
        self._frozen: set[tuple[str, str]] = set()
        self._told: ActiveOrder | None = None
        self._beat = Pace(BEAT_S)
        self._publish = Pace(rig.substation.publish_period_s)

    def _utc_ns(self) -> int:
        return round((self.assembly.start_utc_s + self._clock_s()) * NS)

    async def start(self) -> dict[str, dict[str, Any]]:
        """Open every socket and return {device: {model, role, address, unit}}; PortInUse where one cannot be had."""
        rig = self.assembly.rig
        found: dict[str, dict[str, Any]] = {}
        ports: dict[str, tuple[str, int | None]] = {}
        for i, twin in self.chargers.items():
            part = rig.charger[i]
            unit = _setpoint_unit(self.assembly.models[i])
            port = await listen(part.name, part.port, twin.start(HOST, part.port))
            ports[part.name] = (f"modbus+tcp://{HOST}:{port}", unit)
        if self.substation is not None:
            wanted = rig.substation.port
            port = await listen(rig.substation.name, wanted, self.substation.start(wanted))
            ports[rig.substation.name] = (f"opc.tcp://{HOST}:{port}", None)
        if self.bench is not None:
            ports |= await self.bench.start()
        for _, name, role, device in listed_devices(rig):
            if device.real is None:
                address, unit_id = ports[name]
                found[name] = {"model": device.model, "role": role, "address": address, "unit": unit_id}
        return found

    async def stop(self) -> None:
        """Close every socket."""
        for twin in self.chargers.values():
            await twin.stop()
        if self.bench is not None:
            await self.bench.stop()
        if self.substation is not None:
            await self.substation.stop()

    def before(self, t_s: float, dt_s: float, site: Site | None) -> None:
        """Let the bench's instruments act on the device under test before the world steps."""
        if self.bench is not None:
            self.bench.step(t_s, dt_s, site)

    async def after(self, t_s: float, site: Site | None) -> None:
        """Publish the substation's values and carry out what the scenario did to the links."""
        if self.bench is not None:
            self.bench.publish(site)
        for i in np.flatnonzero(self.world.link_cut != self._cut):
            self._cut[i] = self.world.link_cut[i]
            if int(i) in self.chargers:
                server = self.chargers[int(i)].server
                await (server.cut() if self._cut[i] else server.restore())
        if self.substation is not None:
            await self._substation(self.substation, t_s)

    async def _substation(self, twin: SubstationTwin, t_s: float) -> None:
        for name, quantity in self.world.frozen ^ self._frozen:
            twin.freeze(name, quantity, (name, quantity) in self.world.frozen)
        self._frozen = set(self.world.frozen)
        order = self.world.order
        if order is not None and order is not self._told:
            self._told = order
            await twin.set_order("head" if order.node else "transformer", 0, order.limit_w, order.from_s, order.to_s)
        if self._beat.due(t_s) and self.world.beats:
            await twin.beat()
        if self._publish.due(t_s):
            volts, amps, watts = self.world.node_values()
            stamp_ns = round((self.assembly.start_utc_s + t_s) * NS)
            for name, rows in (("transformer", slice(0, 1)), ("head", slice(1, 2)), ("poc", slice(2, None))):
                await twin.publish(name, volts[rows], amps[rows], watts[rows], stamp_ns)
            await twin.set_temperature(self.world.temperature_c, stamp_ns)

    def outputs(self) -> dict[str, bool]:
        """Say which energising twin still has its output on."""
        return {} if self.bench is None else self.bench.outputs()


class BenchTwins:
    """Hold source, load and pilot adapter around the device under test, and the wire between them."""

    def __init__(self, assembly: Assembly, world: World, clock_s: Callable[[], float]) -> None:
        bench = assembly.rig.bench
        if bench is None:
            raise ValueError("this rig has no bench")
        self.rig = bench
        self.world = world
        self.dut = assembly.dut
        source, load = _scpi(bench.source.model), _scpi(bench.load.model)
        self.source = AcSourceTwin(source, clock_s)
        self.load = AcLoadTwin(load, clock_s)
        self._adapter_model = load_model(bench.adapter.model)
        self.adapter = ModbusAdapterTwin(self._adapter_model, self._duty, self._assert_cp)
        self._source_server = ScpiServer(self.source.answer, source.transport)
        self._load_server = ScpiServer(self.load.answer, load.transport)
        self._wanted: WantedWriter | None = None
        self._view: MeasuredView | None = None
        self._driven = False
        self._cp = CP_B

    async def start(self) -> dict[str, tuple[str, int | None]]:
        """Open the sockets of source, load and adapter."""
        rig = self.rig
        source = await listen(rig.source.name, rig.source.port, self._source_server.start(HOST, rig.source.port))
        load = await listen(rig.load.name, rig.load.port, self._load_server.start(HOST, rig.load.port))
        adapter = await listen(rig.adapter.name, rig.adapter.port, self.adapter.start(HOST, rig.adapter.port))
        return {
            self.rig.source.name: (f"TCPIP::{HOST}::{source}::SOCKET", None),
            self.rig.load.name: (f"TCPIP::{HOST}::{load}::SOCKET", None),
            self.rig.adapter.name: (
                f"modbus+tcp://{HOST}:{adapter}",
                modbus_of(self._adapter_model).registers[0].unit_id,
            ),
        }

    async def stop(self) -> None:
        """Close the sockets."""
        await self._source_server.stop()
        await self._load_server.stop()
        await self.adapter.stop()

    def _duty(self) -> float:
        return self.world.fleet.duty(self.dut)

    def _assert_cp(self, state: int) -> None:
        self._cp = state

    def step(self, t_s: float, dt_s: float, site: Site | None) -> None:
        """Step the instruments and hand volts and amps to the device under test.

        Until the bench has energised the source once, the car model stands in, so that the street keeps its load.
        """
        self.source.step(t_s, dt_s)
        self.load.step(t_s, dt_s)
        measured = self._measured(site)
        self._driven |= self.source.output_on or (measured is not None and measured["state"] == BenchState.RUNNING)
        if not self._driven:
            return
        fleet = self.world.fleet
        now = flow(
            self.source.actual_v,
            source_on=self.source.output_on,
            contactor=bool(fleet.contactor[self.dut]),
            load_on=self.load.input_on,
            load_set_a=self.load.set_a,
            phases=1,
        )
        self.source.set_measured(now.amp_a)
        self.load.set_measured(float(now.load_v[0]), float(now.amp_a[0]))
        fleet.external_cp[self.dut] = self._cp
        fleet.external_a[self.dut] = now.amp_a
        self.world.bench_terminal_v = float(self.source.actual_v[0])
        if measured is None:  # somebody else's controller drives the twins: what flows is what the feeder gives
            self.world.bench_feeder_a = float(now.amp_a[0])
        else:
            self.world.bench_feeder_a = float(np.nan_to_num(measured["amp_a"][0])) if measured["source_on"] else 0.0

    def _measured(self, site: Site | None) -> Any:
        """Return what the bench process measured last; None while there is nothing."""
        if self._view is None:
            if site is None:
                return None
            try:
                self._view = MeasuredView(site.store(MEAS_NAME))
            except StoreError:  # the bench has not made it yet, or is just making it: the next step looks again
                return None
        return self._view.read()

    def publish(self, site: Site | None) -> None:
        """Write the volts that the source shall play: those of the device's node in the feeder."""
        if site is None:
            return
        if self._wanted is None:
            self._wanted = WantedWriter(site.store(SET_NAME))
        volts = np.array([self.world.customer_v[self.world.customer_of[self.dut]], 0.0, 0.0])
        self._wanted.write(volts, True, time.monotonic_ns())

    def outputs(self) -> dict[str, bool]:
        """Say which of the two is still on."""
        return {self.rig.source.name: self.source.output_on, self.rig.load.name: self.load.input_on}


def _setpoint_unit(model: Model) -> int:
    """Return the unit id under which a charger takes its set-point."""
    return modbus_of(model).register(charger_of(model).setpoint.register_name).unit_id


def _scpi(name: str) -> ScpiPart:
    part = load_model(name).scpi
    if part is None:
        raise ValueError(f"{name}: speaks no SCPI")
    return part
