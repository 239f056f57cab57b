"""Talk to chargers and substation: one asyncio process that fills `input.img` and carries out `output.img`.

`python -m controller.runtime.wires SITE_JSON`, started by the supervisor. It decides nothing. When the scan's
heartbeat is older than `HEARTBEAT_S` all I/O stops, reads included: a charger's fail-safe timer runs on silence, and
polling alone would keep it quiet.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from controller.law import image
from controller.law.names import Quality
from controller.runtime import stores, wires_status
from controller.runtime.charger_ports import charger_ports
from controller.runtime.clock import SiteClock
from controller.runtime.compose import OutputTap, put_chargers, put_meter, put_nodes
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.meter_log import MeterLog
from controller.runtime.meter_ports import meter_ports
from controller.runtime.process import die_with_parent, ignore_sigint, open_files
from controller.runtime.site import Site, read_site
from controller.runtime.store import Store
from controller.runtime.wires_measure import PortMeter, unseen_phases
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_poller import Buses
from instruments.opcua_substation import SubstationClient

HEARTBEAT_S = 1.0
DARK = (FaultKind.REFUSED, FaultKind.TIMEOUT, FaultKind.CLOSED)  # how a device without supply does not answer
PUBLISH_S = 0.04
LOOK_S = 0.01  # how soon a port hears of a new order
MEASURE_S = 0.1  # between two looks at the ports' figures
STATUS_S = 0.5
FIRST_READINGS_S = 15.0


class PortsFailed(Exception):
    """Report the faults of the devices that could not be opened."""

    def __init__(self, faults: list[PortFault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class Wires:
    """Own the ports of one site: `chargers` in the plan's order, the substation where there is one, its meters."""

    def __init__(
        self, site: Site, chargers: list[Any], substation: Any | None, events: Events, meters: Sequence[Any] = ()
    ) -> None:
        dims = site.image_dims()
        self.site = site
        self.chargers = chargers
        self.substation = substation
        self.meters = list(meters)
        self._log = MeterLog(site)
        self.dut: Any = None if site.bench is None else chargers[site.bench.charger]
        self.events = events
        plan = image.views("plan", dims, site.load_plan())
        self._max_age_s = plan.node_max_age_s
        self._plan = plan
        self.buffer, self.input = image.allocate("input", dims)
        self.input_store = stores.attach(site, "input.img")
        limit_s = max(HEARTBEAT_S, 5 * site.period_s)
        self.tap = OutputTap(stores.attach(site, "output.img"), dims, limit_s)
        names = wires_status.ports(site)
        layout = wires_status.dtype(names)
        self.status = np.zeros(1, dtype=layout)
        self.status_store = Store.attach(site.store(wires_status.NAME), layout.itemsize)
        self.ports = self.status[0]["ports"]
        self.ports["name"] = [name.encode()[:48] for name in names]
        self._fed = [(port.node, meter) for port, meter in zip(site.meters, meters, strict=True) if port.use == "law"]
        self.meter = PortMeter(self.ports, self.every, len(chargers), events)
        self._readings = [charger.reading for charger in chargers]  # the same objects for the life of the ports
        self._want_a = np.full(len(chargers), np.nan)
        self._wants: list[float] = self._want_a.tolist()
        self._looked_ns = 0
        self._phases = np.zeros(len(chargers), dtype=np.uint8)  # asked for
        switching = plan.switch_phases == 1
        self._switching = {i for i, port in enumerate(chargers) if switching[i] and hasattr(port, "ask_phases")}
        self._talk = True
        self._told = (self._talk, self._want_a)  # what the ports were woken for last

    @property
    def every(self) -> list[Any]:
        """Return all ports, in the order of `wires.img`."""
        return [*self.chargers, *([self.substation] if self.substation is not None else []), *self.meters]

    def may_talk(self) -> bool:
        """Say whether any I/O is allowed now."""
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns > 2 * LOOK_S * 1e9:  # this process was held up: what it saw before counts no more
            self._see(now_ns)
        return self._talk

    def want_a(self, i: int) -> float:
        """Return what charger `i` may draw, A; NaN while nothing may be written. Ask `may_talk` before."""
        return self._wants[i]

    async def open(self) -> None:
        """Connect to every device, identify it and program its fail-safe; PortsFailed names all that failed.

        The device under test gets its supply from the bench's source: one that is dark now is met when it is on.
        """
        ports = self.every
        answers = await _all(self._open(port) for port in ports)
        awake = [(port, answer) for port, answer in zip(ports, answers, strict=True) if answer is not None]
        for port, answer in awake:
            self.events.write("identified", device=port.name, identity=answer)
        await _all(port.program_failsafe() for port, _ in awake if port in self.chargers)

    async def _open(self, port: Any) -> str | None:
        """Open one port and return what answered; None for a device under test that has no supply yet."""
        try:
            return str(await port.open())
        except PortFault as fault:
            if port is not self.dut or fault.kind not in DARK:
                raise
            self.events.write("dut_dark", device=port.name, text=str(fault))
            return None

    async def run(self, ended: asyncio.Event) -> None:
        """Poll, write and publish until `ended`; an exception of any task ends all of them."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._publish_forever()), group.create_task(self._look_forever())]
            for i, charger in enumerate(self.chargers):
                tasks.append(group.create_task(charger.run(lambda i=i: self.want_a(i), self.may_talk)))
            if self.substation:
                tasks.append(group.create_task(self.substation.run(self.may_talk)))
            tasks += [group.create_task(meter.run(self.may_talk)) for meter in self.meters]
            await ended.wait()
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        """Close every port; what cannot be closed is told and left."""
        for result in await asyncio.gather(*(port.close() for port in self.every), return_exceptions=True):
            if isinstance(result, BaseException):
                self.events.write("close_failed", text=str(result))
        self._log.close()

    def compose(self) -> None:
        """Write the newest readings into the INPUT image."""
        put_chargers(self.input, self._readings)
        if self.substation:
            put_nodes(self.input, self.substation.reading)
        self._log.take([meter.reading for meter in self.meters], time.monotonic_ns())
        for node, meter in self._fed:
            put_meter(self.input, node, meter.reading, self.site.utc_minus_mono_ns)

    def look(self, now_ns: int) -> None:
        """Wake the ports whose order changed; all of them where the permission to talk did."""
        talk, before_a = self._told
        self._see(now_ns)
        self._told = (self._talk, self._want_a)
        changed = self._want_a != before_a
        changed &= ~(np.isnan(self._want_a) & np.isnan(before_a))
        if talk != self._talk:
            changed[:] = True
        for i in np.flatnonzero(changed).tolist():
            self.chargers[i].wake()
        for i in np.flatnonzero(self.tap.number_phases != self._phases).tolist():
            self._phases[i] = self.tap.number_phases[i]
            if i in self._switching:
                self.chargers[i].ask_phases(int(self._phases[i]))

    def _see(self, now_ns: int) -> None:
        """Take the scan's newest orders and whether it lives: once for all ports, each of which asks in every turn."""
        self._talk = self.tap.may_talk(now_ns)
        self._want_a = self.tap.wants_a(now_ns)
        self._wants = self._want_a.tolist()
        self._looked_ns = now_ns

    def complete(self, now_ns: int) -> bool:
        """Say whether every device has delivered a good reading that is not stale, so that the law starts bumplessly.

        One missing or stale node at the first scan would send the cars below it to their floor.
        """
        awake = [charger for charger in self.chargers if charger is not self.dut or charger.reading.link]
        if not all(charger.reading.quality == Quality.GOOD for charger in awake):
            return False
        inp, nodes = self.input, [node for node, _ in self._fed]
        if self.substation is not None and self.site.substation is not None:
            nodes += [m for rows in self.site.substation.points.values() for m in rows]
        fresh = (inp.node_v_quality[nodes] == Quality.GOOD) & (inp.node_a_quality[nodes] == Quality.GOOD)
        oldest_ns = np.minimum(inp.node_v_change_ns[nodes], inp.node_a_change_ns[nodes])
        fresh &= (now_ns - oldest_ns) / 1e9 <= self._max_age_s[nodes]
        return bool(fresh.all())

    def measure(self, now_ns: int) -> None:
        """Count round trips, slot ages and obey times, and tell links that fell or came back."""
        self.tap.refresh()
        readings = list(self._readings)
        changed_ns = [reading.change_ns for reading in readings]
        if self.substation:
            readings.append(self.substation.reading)
            changed_ns.append(int(np.max(self.substation.reading.node_a_change_ns)))
        readings += [meter.reading for meter in self.meters]
        changed_ns += [meter.reading.change_ns for meter in self.meters]
        self.meter.update(self.tap, readings, np.array(changed_ns, dtype=np.int64), now_ns)

    def publish_status(self, now_ns: int) -> None:
        """Write `wires.img`."""
        self.status_store.write(self.status.view(np.uint8), now_ns)

    async def _look_forever(self) -> None:
        """Follow the scan's orders and its heartbeat."""
        while True:
            self.look(time.monotonic_ns())
            await asyncio.sleep(LOOK_S)

    async def _publish_forever(self) -> None:
        """Publish INPUT at a fixed rate, from the first complete set of readings on (or when that is overdue)."""
        overdue_s = time.monotonic() + FIRST_READINGS_S
        status_s = measure_s = 0.0
        started = False
        while True:
            now_ns = time.monotonic_ns()
            self.compose()
            if not started and (self.complete(now_ns) or time.monotonic() > overdue_s):
                started = True
                self.status[0]["ready"] = 1
                self.events.write("wires_ready", complete=self.complete(now_ns))
                for i, phases, seen in unseen_phases(self._plan, self.input):
                    node = self.site.node_names[self._plan.charger_node[i]]
                    self.events.write("volts_unseen", device=self.chargers[i].name, node=node, phases=phases, seen=seen)
            if started:
                self.input_store.write(self.buffer, now_ns)
                if now_ns >= measure_s * 1e9:
                    measure_s = now_ns * 1e-9 + MEASURE_S
                    self.measure(now_ns)
            if time.monotonic() >= status_s:
                status_s = time.monotonic() + STATUS_S
                self.publish_status(now_ns)
            await asyncio.sleep(PUBLISH_S)


async def _all(steps: Any) -> list[Any]:
    """Await all and return their results; PortsFailed holds every fault, any other exception is raised as it is."""
    faults = []
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, PortFault):
            faults.append(result)
        elif isinstance(result, BaseException):
            raise result
    if faults:
        raise PortsFailed(faults)
    return results


def build_ports(
    site: Site, tell: Callable[..., None] | None = None, buses: Buses | None = None
) -> tuple[list[Any], Any | None]:
    """Return the charger clients and the substation client (or None) that a site file names.

    `tell` takes events of ports that others dial; `buses` holds connections that meters share. Errors: PortFault
    where an extra is not installed.
    """
    clock = SiteClock(site.utc_minus_mono_ns)
    chargers = charger_ports(site, tell, buses)
    if site.substation is None:
        return chargers, None
    station = site.substation
    substation = SubstationClient(
        station.name,
        load_model(station.model),
        station.address,
        station.points,
        site.dims[1],
        clock_ns=time.monotonic_ns,
        utc_ns=clock.utc_ns,
        security=station.opcua(),
        tell=tell,
    )
    return chargers, substation


async def serve(wires: Wires) -> int:
    """Open, run until SIGTERM, close; return the exit code (3: a device failed at its opening, named on stderr)."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    try:
        await _unless(ended, wires.open)
        if not ended.is_set():
            await wires.run(ended)
    except PortsFailed as failed:
        wires.status[0]["failed"] = 1
        for fault in failed.faults:
            wires.events.write("fault", device=fault.device, fault=fault.kind.name.lower(), text=str(fault))
        print(failed, file=sys.stderr)
        return 3
    finally:
        wires.publish_status(time.monotonic_ns())
        await wires.close()
    return 0


async def _unless(ended: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    """Await `act()` but leave it when `ended` is set first."""
    task = asyncio.ensure_future(act())
    waiter = asyncio.ensure_future(ended.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if not task.done():
        task.cancel()
        return
    await task


def main(site_json: Path) -> int:
    """Run the wires of a site until SIGTERM; return the exit code."""
    ignore_sigint()
    die_with_parent()
    open_files()
    site = read_site(site_json)
    events = Events(Path(site.run_dir) / EVENTS, "wires")
    try:
        buses = Buses()
        chargers, substation = build_ports(site, events.write, buses)
        meters = meter_ports(site, buses)
    except PortFault as fault:
        print(fault, file=sys.stderr)
        return 3
    return asyncio.run(serve(Wires(site, chargers, substation, events, meters)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
