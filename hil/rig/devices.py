"""Serve a rig's emulated devices on real sockets, and couple them to the world once a plant step.

A device with a real address has no twin here; nothing else about the rig changes by that.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.site import Site
from hil.rig.assembler import Assembly
from hil.rig.bench_twins import AcBenchTwins, BenchTwins
from hil.rig.csms_part import speaks_ocpp
from hil.rig.dc_bench_twins import DcBenchTwins
from hil.rig.estop_twin import EstopTwin
from hil.rig.listening import HOST, PortInUse, listen
from hil.rig.meter_twins import MeterTwins
from hil.rig.ocpp_points import OcppPoints
from hil.rig.opcua_part import make_link
from hil.rig.real_bench import RealBench
from hil.rig.rigfile import devices as listed_devices
from hil.rig.world import ActiveOrder, World
from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.substation import SubstationTwin
from instruments.catalog import Model, charger_of, modbus_of

__all__ = ["Devices", "PortInUse"]

NS = 1_000_000_000
BEAT_S = 1.0
EPS_S = 1e-3  # step times are sums


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

    def __init__(
        self, assembly: Assembly, world: World, clock_s: Callable[[], float], store_dir: Path | None = None
    ) -> None:
        self.assembly = assembly
        self.world = world
        rig = assembly.rig
        self.chargers = {
            i: ModbusChargerTwin(assembly.models[i], world.view(i), clock_s)
            for i, part in enumerate(rig.charger)
            if part.twin and not speaks_ocpp(assembly.models[i])
        }
        self.points = OcppPoints(assembly, world, clock_s, self._utc_ns)
        self.meters = MeterTwins(assembly, world)
        groups = {name: len(rows) for name, rows in assembly.tree.groups.items()}
        self.substation = self._station(groups, store_dir) if rig.substation.twin else None
        self._clock_s = clock_s
        self.bench: BenchTwins | RealBench | None = None
        if rig.bench is not None:
            energising = rig.bench.source or rig.bench.supply
            if energising is not None and energising.real is not None:
                self.bench = RealBench(assembly, world)
            else:
                kind = AcBenchTwins if rig.bench.supply is None else DcBenchTwins
                self.bench = kind(assembly, world, clock_s)
        part = rig.safety.estop
        self.estop: EstopTwin | None = None
        if part is not None and part.twin and isinstance(self.bench, BenchTwins):
            self.estop = EstopTwin(part, self.bench)
        self._cut = np.zeros(len(rig.charger), dtype=bool)
        self._frozen: set[tuple[str, str]] = set()
        self._told: ActiveOrder | None = None
        self._beat = Pace(BEAT_S)
        self._publish = Pace(rig.substation.publish_period_s)

    def _station(self, groups: dict[str, int], store_dir: Path | None) -> SubstationTwin:
        """Return the emulated substation; its certificates, and ours for it, are made in the run's folder."""
        part = self.assembly.rig.substation
        if store_dir is None or part.security == "none":
            return SubstationTwin(groups, utc_ns=self._utc_ns)
        link = make_link(store_dir, [HOST])
        return SubstationTwin(
            groups, utc_ns=self._utc_ns, security=link.station, password=link.password, plain=part.plain
        )

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
        ports |= await self.points.start()
        ports |= await self.meters.start()
        if self.substation is not None:
            wanted = rig.substation.port
            port = await listen(rig.substation.name, wanted, self.substation.start(wanted))
            ports[rig.substation.name] = (f"opc.tcp://{HOST}:{port}", None)
        if self.bench is not None:
            ports |= await self.bench.start()
        if self.estop is not None:
            ports |= await self.estop.start()
        for _, name, role, device in listed_devices(rig):
            if device.real is None:
                address, unit_id = ports[name]
                found[name] = {"model": device.model, "role": role, "address": address, "unit": unit_id}
        return found

    async def stop(self) -> None:
        """Close every socket."""
        for twin in self.chargers.values():
            await twin.stop()
        await self.points.stop()
        await self.meters.stop()
        if self.bench is not None:
            await self.bench.stop()
        if self.estop is not None:
            await self.estop.stop()
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
        if self.estop is not None:
            await self.estop.follow()
        for i in np.flatnonzero(self.world.link_cut != self._cut):
            self._cut[i] = self.world.link_cut[i]
            if int(i) in self.chargers:
                server = self.chargers[int(i)].server
                await (server.cut() if self._cut[i] else server.restore())
            await self.points.cut(int(i), cut=bool(self._cut[i]))
        self.points.follow(self.world)
        await self.meters.follow(t_s)
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
            for name, rows in self.assembly.tree.groups.items():
                await twin.publish(name, volts[rows], amps[rows], watts[rows], stamp_ns)
            await twin.set_temperature(self.world.temperature_c, stamp_ns)
            await twin.set_frequency(self.world.frequency_hz, stamp_ns)

    def outputs(self) -> dict[str, bool]:
        """Say which energising twin still has its output on."""
        return {} if self.bench is None else self.bench.outputs()


def _setpoint_unit(model: Model) -> int:
    """Return the unit id under which a charger takes its set-point."""
    return modbus_of(model).register(charger_of(model).setpoint.register_name).unit_id
