"""Drive emulated charge points in tests: a fleet of one, and a central system made of the ocpp library."""

import asyncio
import contextlib
import datetime
import time
from types import SimpleNamespace

import numpy as np
from ocpp.routing import on
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call_result as result16
from ocpp.v21 import ChargePoint as ChargePoint21
from ocpp.v21 import call_result as result21
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call_result as result201
from websockets.asyncio.server import serve

from hil.plant.fleet import EvseSpec, EvSpec, Fleet
from hil.twins.ocpp_charger import OcppChargerTwin
from instruments.catalog import load_model

NS = 1_000_000_000
DT_S = 0.05
WAIT_S = 30.0  # ends a broken test; no verdict hangs on it


def stamp() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()


class Log:
    """Keep every call of the charge point as (action, payload) and let the test wait for one."""

    def __init__(self):
        self.calls = []
        self.interval = 60
        self.boot_status = ["Accepted"]  # one a boot; the last one stays

    def add(self, action, payload):
        self.calls.append((action, payload))

    def of(self, action):
        return [payload for name, payload in self.calls if name == action]

    def boot(self):
        return self.boot_status.pop(0) if len(self.boot_status) > 1 else self.boot_status[0]


class Central16(ChargePoint16):
    def __init__(self, key, connection, log):
        super().__init__(key, connection, response_timeout=WAIT_S)
        self.log = log

    @on("BootNotification")
    def on_boot(self, **given):
        self.log.add("BootNotification", given)
        return result16.BootNotification(current_time=stamp(), interval=self.log.interval, status=self.log.boot())

    @on("Heartbeat")
    def on_heartbeat(self):
        self.log.add("Heartbeat", {})
        return result16.Heartbeat(current_time=stamp())

    @on("StatusNotification")
    def on_status(self, **given):
        self.log.add("StatusNotification", given)
        return result16.StatusNotification()

    @on("MeterValues")
    def on_meter(self, **given):
        self.log.add("MeterValues", given)
        return result16.MeterValues()

    @on("StartTransaction")
    def on_start(self, **given):
        self.log.add("StartTransaction", given)
        number = len(self.log.of("StartTransaction"))
        return result16.StartTransaction(transaction_id=number, id_tag_info={"status": "Accepted"})

    @on("StopTransaction")
    def on_stop(self, **given):
        self.log.add("StopTransaction", given)
        return result16.StopTransaction()


class _Central2:
    results = result201

    def __init__(self, key, connection, log):
        super().__init__(key, connection, response_timeout=WAIT_S)
        self.log = log

    @on("BootNotification")
    def on_boot(self, **given):
        self.log.add("BootNotification", given)
        answer = {"current_time": stamp(), "interval": self.log.interval, "status": self.log.boot()}
        return self.results.BootNotification(**answer)

    @on("Heartbeat")
    def on_heartbeat(self, **given):
        self.log.add("Heartbeat", given)
        return self.results.Heartbeat(current_time=stamp())

    @on("StatusNotification")
    def on_status(self, **given):
        self.log.add("StatusNotification", given)
        return self.results.StatusNotification()

    @on("MeterValues")
    def on_meter(self, **given):
        self.log.add("MeterValues", given)
        return self.results.MeterValues()

    @on("TransactionEvent")
    def on_event(self, **given):
        self.log.add("TransactionEvent", given)
        return self.results.TransactionEvent()

    @on("NotifyChargingLimit")
    def on_limit(self, **given):
        self.log.add("NotifyChargingLimit", given)
        return self.results.NotifyChargingLimit()

    @on("ClearedChargingLimit")
    def on_cleared(self, **given):
        self.log.add("ClearedChargingLimit", given)
        return self.results.ClearedChargingLimit()

    @on("ReportChargingProfiles")
    def on_report(self, **given):
        self.log.add("ReportChargingProfiles", given)
        return self.results.ReportChargingProfiles()


class Central201(_Central2, ChargePoint201):
    pass


class Central21(_Central2, ChargePoint21):
    results = result21


CENTRALS = {"ocpp1.6": Central16, "ocpp2.0.1": Central201, "ocpp2.1": Central21}


class Bench:
    """Hold one emulated charge point, its EVSE and car, and the central system that it dials."""

    def __init__(self, fleet, log):
        self.fleet, self.log = fleet, log
        self.twin = None
        self.central = None
        self.connections = []
        self.started = time.monotonic()
        self.ahead_s = 0.0  # of the point's clock: what ends in an hour need not be waited for
        self.volt_v = np.full((1, 3), 230.0)
        fleet.step(0.0, DT_S, self.volt_v)  # compiles the kernel before anything waits for it

    def clock_s(self):
        return time.monotonic() - self.started

    def utc_ns(self):
        return time.time_ns() + round(self.ahead_s * NS)

    @property
    def amps(self):
        return float(self.fleet.drawn_a[0].max())

    async def physics(self):
        while True:
            self.fleet.step(self.clock_s(), DT_S, self.volt_v)
            await asyncio.sleep(DT_S)

    async def until(self, condition, what):
        """Wait until `condition()` holds and return what it gave; AssertionError names what did not come."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            found = condition()
            if found:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"{what}: not within {WAIT_S:g} s; got {[name for name, _ in self.log.calls]}")

    async def call(self, request):
        return await self.central.call(request, suppress=False)

    def plug(self):
        self.fleet.plug_in(0, self.clock_s(), 0.2, float("inf"))


def changed(name, **quirks):
    """Return a catalog record with some of its quirks set."""
    model = load_model(name)
    part = model.ocpp.model_copy(update={"quirks": model.ocpp.quirks.model_copy(update=quirks)})
    return model.model_copy(update={"ocpp": part})


@contextlib.asynccontextmanager
async def bench(model="ocpp16-generic", *, phases=3, log=None, server=None, client=None, plugged=True, **quirks):
    """Serve a central system, start a charge point that dials it, and wait until it has booted."""
    spec = EvseSpec("cp1", phases=phases, hard_max_a=32.0, pwm_gap_s=0.1, contactor_close_s=0.1)
    fleet = Fleet(
        [spec], [EvSpec("car", phases=phases, max_a=32.0, dead_time_s=0.1, fall_a_per_s=100.0, rise_a_per_s=100.0)]
    )
    found = Bench(fleet, log or Log())
    record = changed(model, **quirks)

    async def handle(connection):
        found.connections.append(connection)
        central = CENTRALS[connection.subprotocol](connection.request.path.rsplit("/", 1)[-1], connection, found.log)
        found.central = central
        with contextlib.suppress(Exception):
            await central.start()

    if plugged:
        found.plug()
    physics = asyncio.create_task(found.physics())
    found.twin = OcppChargerTwin(record, fleet.view(0), found.clock_s, identity="cp1", utc_ns=found.utc_ns)
    try:
        async with serve(handle, "127.0.0.1", 0, subprotocols=list(CENTRALS), **(server or {})) as listening:
            port = listening.sockets[0].getsockname()[1]
            given = SimpleNamespace(scheme="ws", **{"password": "", "ca": "", **(client or {})})
            scheme = "wss" if given.ca else "ws"
            await found.twin.start(f"{scheme}://127.0.0.1:{port}/cp1", password=given.password, ca=given.ca)
            if (log or found.log).boot_status[-1] == "Accepted":
                await found.until(lambda: found.twin.boots, "boot")
            yield found
            await found.twin.stop()
    finally:
        await found.twin.stop()
        physics.cancel()
        await asyncio.gather(physics, return_exceptions=True)
