"""Emulate an OCPP charge point from its catalog record and the plant's view of its EVSE.

It dials the CSMS and keeps dialling, steps by itself on a tick of its own, and does what its profiles say, with or
without a connection. Free vending: a transaction starts when a car is plugged in.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable

from hil.twins.ocpp_16 import Dialect16
from hil.twins.ocpp_201 import Dialect201
from hil.twins.ocpp_dialect import HARD, SOFT, Dialect
from hil.twins.ocpp_faults import faults_of
from hil.twins.ocpp_link import CallError, Link, LinkLost, Payload
from hil.twins.ocpp_point import Message, Point, View
from hil.twins.ocpp_profiles import ProfileStore, Rules
from hil.twins.ocpp_schedule import Kind, Period, Profile, Purpose, Schedule
from instruments.catalog import Model

TICK_S = 0.1
BOOT_S = 2.0  # time from a reset until it dials again, assumption
LOCAL_ID = -1  # K01: ids of local constraints are negative
ATTEMPTS = 3  # of a message that the CSMS answers with an error, TransactionMessageAttempts


class OcppChargerTwin:
    """Serve one charge point.

    Attributes: `faults` are the switches of its misbehaviour, `point` its state, `link` its connection, `dialect` what
    it speaks; `boots` counts the answered BootNotifications, `ticks` its own steps.
    """

    def __init__(
        self, model: Model, view: View, clock_s: Callable[[], float], *, identity: str, utc_ns: Callable[[], int]
    ) -> None:
        """Take a model with an [ocpp] part, the plant's view, a running clock, s, and the wall clock, ns of UTC."""
        part = model.ocpp
        if part is None:
            raise ValueError(f"{model.model.name}: no [ocpp] part: give a model whose protocol is ocpp")
        self.identity = identity
        self.faults = faults_of(part.quirks)
        rules = Rules(
            version="1.6" if part.versions[0] == "ocpp1.6" else "2.0.1",
            units=("W",) if self.faults.only_watts else tuple(part.rate_units),
            max_stack_level=part.max_stack_level,
            max_periods=part.max_periods,
            max_profiles=part.max_profiles,
            connectors=part.connector,
            phase_switching=float(view.get("can_switch_phases")) == 1.0,
            external_from_csms=part.purpose == "ChargingStationExternalConstraints",
        )
        self.point = Point(view, clock_s, utc_ns, ProfileStore(rules), self.faults, connector=part.connector)
        kind = Dialect16 if rules.version == "1.6" else Dialect201
        names = (part.vendor or model.model.vendor)[:20], (part.point_model or model.model.family)[:20]
        self.dialect: Dialect = kind(self.point, *names, self.reboot)
        family: list[str] = [v for v in part.versions if (v == "ocpp1.6") == (rules.version == "1.6")]
        self.link = Link(family, self.faults, self.dialect.handle, self._opened, self._closed)
        self.boots = 0
        self.ticks = 0
        self._reason = "PowerUp"
        self._booted = asyncio.Event()
        self._powered = True
        self._cut = False
        self._session = math.nan
        self._task: asyncio.Task[None] | None = None

    async def start(self, url: str, *, password: str = "", ca: str = "") -> None:
        """Begin to dial `url` (ws or wss, host, port, identity) and to step; returns at once."""
        self.link.start(url, password, ca)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the connection and the steps."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.link.stop()

    async def cut(self) -> None:
        """Cut the link: the socket is gone and it does not dial until `restore`."""
        self._cut = True
        await self.link.cut()

    async def restore(self) -> None:
        """Mend the link; a point that restarts or has no supply dials only when it is up."""
        self._cut = False
        if self._powered and not self._rebooting():
            self.link.restore()

    def reboot(self, kind: str) -> None:
        """Restart: "Soft" ends the transaction first and tells so, "Hard" just restarts. Profiles stay or are lost."""
        self.dialect.end("SoftReset" if kind == SOFT else "HardReset")
        if kind == HARD:
            self.point.forget_passing()
        if self.faults.forgets_on_reboot:
            self.point.store.profiles.clear()
            self.point.store.raw.clear()
        self._reason = "RemoteReset"
        self._session = math.nan
        self.point.rebooting_until_s = self.point.clock_s() + BOOT_S

    def constrain(self, limit_a: float | None) -> None:
        """Set a limit that comes from the site, not from the CSMS (amps per phase), or take it away with None."""
        profile = None
        if limit_a is not None:
            schedule = Schedule("A", (Period(0.0, limit_a),), start_s=0.0)
            profile = Profile(LOCAL_ID, 0, 0, Purpose.EXTERNAL, Kind.ABSOLUTE, (schedule,))
        self.point.store.constrain(profile)
        self.dialect.constrained(limit_a)

    async def _run(self) -> None:
        sender = asyncio.create_task(self._send())
        try:
            while True:
                await self._tick()
                await asyncio.sleep(TICK_S)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _tick(self) -> None:
        """Step once: supply, connection, transaction, limit, messages."""
        self.ticks += 1
        point = self.point
        if not point.view.powered:
            if self._powered:
                self.dialect.end("PowerLoss")
                self._powered = False
                await self.link.cut()
            return
        if not self._powered:
            self._powered = True
            self.reboot(HARD)
            self._reason = "PowerUp"
        await self._reset()
        point.age(connected=self.link.connected)
        if not self._booted.is_set():
            point.forget_passing()
        if not self._rebooting():
            self._follow_car()
        point.obey()
        if not self._rebooting():
            self.dialect.tick()

    def _rebooting(self) -> bool:
        left_s = self.point.rebooting_until_s - self.point.clock_s()
        return 0.0 < left_s <= BOOT_S  # a clock that was set back ends it

    async def _reset(self) -> None:
        """Keep the link down while it restarts; begin a restart that waited for the transaction's end."""
        point = self.point
        if point.reset_when_idle and point.charging is None:
            point.reset_when_idle = False
            self.reboot(SOFT)
        told = not any(m.kept for m in point.outbox) or not self.link.connected
        if self._rebooting():
            if told or point.rebooting_until_s - point.clock_s() < BOOT_S / 2:  # what it had to tell is told
                await self.link.cut()
        elif math.isfinite(point.rebooting_until_s):
            point.rebooting_until_s = -math.inf
            if not self._cut:
                self.link.restore()

    def _follow_car(self) -> None:
        """Start a transaction with each session of the plant and end it with the car's departure."""
        session = float(self.point.view.get("session_no"))
        if self.point.transaction is not None and (not self.point.plugged or session > self._session):
            self.dialect.end("EVDisconnected")
        if self.point.plugged and self.point.transaction is None and self.point.operative:
            self.dialect.begin("")
        self._session = session

    async def _opened(self) -> None:
        """Boot at the CSMS until it accepts, then tell everything and let the queue go."""
        while True:
            try:
                answer = await self.link.call("BootNotification", self.dialect.boot(self._reason))
            except (CallError, LinkLost):
                await asyncio.sleep(1.0)
                continue
            interval_s = int(answer.get("interval", 0))
            if answer.get("status") == "Accepted":
                break
            await asyncio.sleep(interval_s or 1.0)
        self.point.set_clock(str(answer.get("currentTime", "")))
        if interval_s > 0:
            self.dialect.set_heartbeat(interval_s)
        if self.link.protocol == "ocpp2.1":
            self.dialect.version = "2.1"
        self.dialect.heartbeat.begin(self.point.clock_s())
        self.boots += 1
        self.point.forget_passing()
        self.dialect.tell_station()
        self.dialect.said = ""
        self._booted.set()

    def _closed(self) -> None:
        self._booted.clear()
        self.link.ping_s = self.dialect.ping_s() or None
        self.point.forget_passing()

    async def _send(self) -> None:
        """Send what waits, in its order; what must not be lost stays at the head until it was answered."""
        outbox = self.point
        while True:
            await self._booted.wait()
            if not outbox.outbox:
                await asyncio.sleep(TICK_S / 4)
                continue
            message = outbox.outbox[0]
            try:
                answer = await self.link.call(message.action, message.build())
            except LinkLost:
                if not message.kept:
                    self._remove(message)
                await asyncio.sleep(TICK_S)
                continue
            except CallError:
                message.attempts += 1
                if message.kept and message.attempts < ATTEMPTS:
                    await asyncio.sleep(self.point.number("TransactionMessageRetryInterval"))
                    continue
                answer = None
            self._remove(message)
            self._take(message, answer)

    def _take(self, message: Message, answer: Payload | None) -> None:
        if message.done is not None and answer is not None:
            with contextlib.suppress(KeyError, TypeError):  # an answer that breaks the schema changes nothing here
                message.done(answer)

    def _remove(self, message: Message) -> None:
        if message in self.point.outbox:
            self.point.outbox.remove(message)
