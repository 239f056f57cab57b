"""Command one OCPP charge point as `instruments.charger_port.ChargerPort`: orders are charging profiles, and read back.

The point dials us (`ocpp_csms`). After each connection the first message is the fail-safe floor, then the order: a
point that restarted may have forgotten both. One call is outstanding at a time. What the point applies is taken from
its composite schedule and from measured amps, never from its Accepted.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from instruments.catalog import Model, charger_of, ocpp_of
from instruments.faults import FaultKind, PortFault
from instruments.ocpp_inbox import Inbox
from instruments.ocpp_profiles import Order, PointLimits, ProfileWriter, amps_of, composite, order_level, order_of
from instruments.ocpp_reading import BAD, PointReading, PointReadingBuilder
from instruments.ocpp_rpc import OcppRpc
from instruments.ocpp_setup import ask_limits, configure, trigger
from instruments.ocpp_watch import DrawnWatch, above_order, drawing_phases

NS = 1_000_000_000
NEVER_NS = 2**62
TICK_S = 0.1
OPEN_S = 30.0  # a point dials again with back-off: so long it may take until it does
BOOT_S = 3.0  # a point that only lost its link sends no BootNotification
VERIFY_S = 5.0  # between two looks at the composite schedule
SETTLE_S = 1.0
DRIFT = 0.01  # a limit in W is sent again when the volts moved it by this share
DOUBT_NS = 10 * NS  # a second point under our identity: so long nothing is believed
FAULT_SHOWN_NS = 10 * NS
LEAST_READ_S = 1.0


class Server(Protocol):
    """Name what a port needs of the CSMS."""

    url: str

    async def start(self) -> None:
        """Listen, if nobody did before."""

    async def leave(self, identity: str) -> None:
        """Stop serving an identity; the last one closes the socket."""

    def seen(self) -> str:
        """Say who dialled and was refused, for messages."""


class OcppCharger:
    """Own what is known of one charge point and what it is told; `reading` is what is known.

    Parameters
    ----------
    name: of the charger in the site file, for faults
    model: its catalog record
    identity: last part of the URL that the point dials
    server: the CSMS
    clock_ns, utc_ns: monotonic clock and UTC, ns
    failsafe_a: current to which the point must fall by itself, A
    failsafe_s: time without us after which it must, s
    phases: of its connection, 1 or 3
    read_only: ask and listen, set nothing: neither profiles nor meter values
    """

    __slots__ = ("_builder", "_clock_ns", "_close", "_doubt_ns", "_failsafe_a", "_failsafe_s", "_floor_ns", "_gap_ns",
                 "_inbox", "_limits", "_meter_ns", "_part", "_phases", "_read_only", "_rpc", "_sent",
                 "_sent_ns", "_server", "_setup", "_shown_ns", "_silent", "_unit", "_up", "_utc_ns", "_verify_ns",
                 "_wake", "_watch", "_watt_phases", "_writes_ns", "identity", "model", "name")  # fmt: skip

    def __init__(
        self,
        name: str,
        model: Model,
        identity: str,
        server: Server,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        utc_ns: Callable[[], int] = time.time_ns,
        failsafe_a: float,
        failsafe_s: float,
        phases: int = 3,
        read_only: bool = False,
    ) -> None:
        self._read_only = read_only
        self.name, self.identity = name, identity
        self.model, self._part, self._server = model, ocpp_of(model), server
        self._clock_ns, self._utc_ns = clock_ns, utc_ns
        self._failsafe_a, self._failsafe_s, self._phases = failsafe_a, failsafe_s, phases
        self._builder = PointReadingBuilder(phases)
        self._inbox = Inbox(self._part, self._builder, clock_ns, utc_ns)
        self._watch = DrawnWatch(charger_of(model).obey_s)
        self._gap_ns = round(charger_of(model).timing.write_gap_s * NS)
        self._limits: PointLimits | None = None
        self._unit = 0  # index among the units that the point takes
        self._watt_phases = phases
        self._sent: Order | None = None  # None: what the point holds is not known
        self._sent_ns = self._writes_ns = self._verify_ns = self._meter_ns = 0
        self._doubt_ns = self._shown_ns = self._floor_ns = 0
        self._setup: list[Callable[[], Awaitable[None]]] = []
        self._rpc: OcppRpc | None = None
        self._close: Callable[[], Awaitable[None]] | None = None
        self._silent = False
        self._up = asyncio.Event()
        self._wake = asyncio.Event()

    @property
    def reading(self) -> PointReading:
        """Return what is known of the point now."""
        return self._builder.reading

    @property
    def silent(self) -> bool:
        """Say whether nothing may be sent now, so that the CSMS takes no connection."""
        return self._silent

    def attach(self, rpc_of: Callable[[Any], OcppRpc], close: Callable[[], Awaitable[None]]) -> OcppRpc:
        """Take a new connection over and return its message layer; `rpc_of` makes it from our call handler."""
        self._rpc = rpc_of(self._inbox.handle)
        self._close = close
        self._sent = None
        self._setup = [self._ask_now] if self._read_only else [self._no_foreign, self._sample, self._ask_now]
        self._floor_ns = NEVER_NS if self._read_only else 0
        self.reading.failsafe_a = self.reading.failsafe_s = math.nan
        self.reading.link = True
        self._up.set()
        self._wake.set()
        return self._rpc

    def detach(self, rpc: OcppRpc) -> None:
        """Note that a connection ended, unless another one took its place."""
        rpc.close()
        if rpc is self._rpc:
            self._rpc = self._close = None
            self._up.clear()
            self._builder.lost()
            self._sent = None

    def doubt(self, who: str) -> None:
        """Note that a second point uses our identity: for a while nothing that either says is believed."""
        self._doubt_ns = self._clock_ns() + DOUBT_NS
        self.reading.quality = BAD
        detail = f"{who} dialled as {self.identity} while the first connection lives"
        self._note(PortFault(FaultKind.WRONG_IDENTITY, self.name, "", detail, "give each point its own identity"))

    async def open(self) -> str:
        """Wait for the point to dial and return what it is; PortFault REFUSED or WRONG_IDENTITY otherwise."""
        await self._server.start()
        try:
            async with asyncio.timeout(OPEN_S):
                await self._up.wait()
        except TimeoutError as error:
            detail = (
                f"no charge point dialled {self._server.url}/{self.identity} within {OPEN_S:g} s{self._server.seen()}"
            )
            hint = "set this URL in the point, and check its identity and password"
            raise PortFault(FaultKind.REFUSED, self.name, "", detail, hint) from error
        until = time.monotonic() + BOOT_S
        while not self._inbox.identity and time.monotonic() < until:
            await asyncio.sleep(TICK_S)
        if self._inbox.wrong:
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, "BootNotification", self._inbox.wrong)
        version = self._rpc.version if self._rpc is not None else "link lost"
        return f"{self._inbox.identity or 'no BootNotification, as after a lost link'} ({version})"

    async def program_failsafe(self) -> None:
        """Set the floor profile that rules when an order is not renewed, unless the family keeps orders for ever."""
        if self._part.failsafe != "latched" and not 3.0 <= self._failsafe_s < 86400.0:
            detail = f"failsafe_s {self._failsafe_s:g} s; allowed: 3..86400 s"
            raise PortFault(FaultKind.RANGE, self.name, "failsafe_s", detail)
        if not self._read_only:
            await self._floor()

    async def run(self, want_a: Callable[[], float], may_talk: Callable[[], bool]) -> None:
        """Command and read until cancelled; while `may_talk` is False no connection is kept, so that orders run out."""
        while True:
            self._silent = not may_talk()
            if self._silent:
                await self.drop()
            elif self._rpc is not None:
                try:
                    await self._turn(want_a())
                except PortFault as fault:
                    self._note(fault)
            self._tell_notes()
            try:
                async with asyncio.timeout(TICK_S):  # wait_for of Python 3.11 may swallow a cancellation
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    def wake(self) -> None:
        """Look at the order now."""
        self._wake.set()

    async def drop(self) -> None:
        """Close the connection; the point dials again."""
        if self._close is not None:
            await self._close()

    async def close(self) -> None:
        """Drop the connection and serve the identity no more; the point's own profiles take over."""
        await self.drop()
        await self._server.leave(self.identity)
        self.reading.link = False

    async def _turn(self, want_a: float) -> None:
        """Send at most one call: floor, order, what is left of the set-up, then what must be read."""
        now_ns = self._clock_ns()
        if now_ns >= self._floor_ns:
            self._floor_ns = now_ns + 2 * self._gap_ns
            await self._floor()
        elif not math.isnan(want_a) and self._due(order := self._order(want_a), now_ns):
            await self._send(order, want_a)
        elif self._setup:
            await self._next_step()
        elif now_ns >= self._verify_ns and self._sent is not None and not self._part.quirks.silent_composite:
            await self._verify()
        elif now_ns - max(self.reading.change_ns, self._meter_ns) > 2 * self._part.meter_interval_s * NS:
            self._meter_ns = now_ns
            if not self._part.quirks.no_trigger:
                await trigger(self._read, self._part, self._version, "MeterValues")
        self._watch_drawn(now_ns)

    async def _next_step(self) -> None:
        """Do one step of the set-up; a refused one is told and not repeated before the next connection."""
        step = self._setup[0]
        try:
            await step()
        except PortFault as fault:
            if fault.kind is FaultKind.TIMEOUT:
                raise
            self._note(fault)
        if self._setup and self._setup[0] == step:
            self._setup.pop(0)

    def _order(self, want_a: float) -> Order:
        """Return an order as it goes onto the wire; a PortFault RANGE refuses what the family does not take."""
        part = charger_of(self.model)
        if not math.isfinite(want_a) or (want_a != 0.0 and not part.min_a <= want_a <= part.max_a):
            detail = f"{want_a:g} A; allowed: 0 or {part.min_a:g}..{part.max_a:g} A"
            raise PortFault(FaultKind.RANGE, self.name, self._part.purpose, detail)
        return self._as_order(want_a, self.reading.volt_v)

    def _as_order(self, amp_a: float, volt_v: Any) -> Order:
        units = self._limits.units if self._limits else tuple(self._part.rate_units)
        unit = units[self._unit % len(units)]
        return order_of(amp_a, unit, volt_v, self._phases if unit == "A" else self._watt_phases)

    def _due(self, order: Order, now_ns: int) -> bool:
        """Say whether an order has to go out now: it changed, or has to be renewed, and the gap is over."""
        if self._read_only or self._limits is None or now_ns - self._writes_ns < self._gap_ns:
            return False
        if self._part.purpose == "TxProfile" and self._builder.transaction is None:
            return False  # would be refused: the floor rules until a transaction runs
        sent = self._sent
        if sent is None or sent.unit != order.unit or sent.phases != order.phases:
            return True
        if self._part.failsafe == "expiring" and now_ns - self._sent_ns >= round(self._failsafe_s / 3 * NS):
            return True
        slack = DRIFT * sent.limit if order.unit == "W" and order.limit > 0.0 else 0.05
        return abs(order.limit - sent.limit) > slack

    async def _send(self, order: Order, want_a: float) -> None:
        """Send one order; only an Accepted makes it known."""
        self._sent, self._writes_ns = None, self._clock_ns()
        payload = self._writer.order(order, self._utc_ns(), self._builder.transaction)
        await self._set_profile(payload)
        self._sent, self._sent_ns = order, self._clock_ns()
        self.reading.sent_a, self.reading.sent_ns = want_a, self._sent_ns
        self.reading.round_trip_ns = self._sent_ns - self._writes_ns
        self._verify_ns = self._sent_ns + round(SETTLE_S * NS)

    async def _set_profile(self, payload: dict[str, Any]) -> None:
        """Send SetChargingProfile; a refusal is a PortFault, and the next try takes the point's other unit."""
        answer = await self._call("SetChargingProfile", payload)
        if answer["status"] != "Accepted":
            self._unit += 1
            info = (answer.get("statusInfo") or {}).get("reasonCode", "")
            detail = f"{answer['status']} {info}".strip()
            raise PortFault(FaultKind.REJECTED, self.name, "SetChargingProfile", detail)

    async def _floor(self) -> None:
        """Set the fail-safe floor, below the level of the orders, and learn what the point can do before it."""
        if self._limits is None:
            self._limits = await ask_limits(self._call, self._part, self._version)
        if self._part.failsafe == "latched":
            self._floor_ns = NEVER_NS
            return
        if order_level(self._part, self._limits) < 1:
            detail = "its highest stack level is 0: no room for a floor below the order"
            hint = "use a record with failsafe = latched, which the plan counts in full"
            raise PortFault(FaultKind.INTERLOCK, self.name, "ChargeProfileMaxStackLevel", detail, hint)
        floor = self._as_order(self._failsafe_a, ())  # it stands for ever: in watts at the lowest volts
        await self._set_profile(self._writer.floor(floor, self._utc_ns()))
        self._floor_ns = NEVER_NS
        self.reading.failsafe_a, self.reading.failsafe_s = self._failsafe_a, float(int(self._failsafe_s))

    async def _no_foreign(self) -> None:
        """Clear profiles of a transaction, which would rule instead of ours; ours of that purpose comes again."""
        if self._part.purpose != "TxDefaultProfile":
            return
        purpose = {"chargingProfilePurpose": "TxProfile"}
        old = self._version == "ocpp1.6"
        await self._call("ClearChargingProfile", purpose if old else {"chargingProfileCriteria": purpose})

    async def _sample(self) -> None:
        """Configure meter values; what the point refuses is told."""
        for text in await configure(self._call, self._part, self._version):
            self._note(PortFault(FaultKind.REJECTED, self.name, "meter values", text))

    async def _ask_now(self) -> None:
        """Ask for the state, which the point need not send again after a lost link."""
        if not self._part.quirks.no_trigger:
            await trigger(self._call, self._part, self._version, "StatusNotification")

    async def _verify(self) -> None:
        """Compare the composite schedule with the order."""
        self._verify_ns = self._clock_ns() + round(VERIFY_S * NS)
        sent = self._sent
        evse = "connectorId" if self._version == "ocpp1.6" else "evseId"
        ask: dict[str, Any] = {evse: self._part.connector, "duration": 60}
        if sent is not None:
            ask["chargingRateUnit"] = sent.unit
        found = composite(self._version, await self._read("GetCompositeSchedule", ask))
        if found is None:
            self.reading.limit_a = math.nan
            detail = "no composite schedule: what it applies is known from measured amps only"
            self._note(PortFault(FaultKind.READBACK, self.name, "GetCompositeSchedule", detail))
            return
        phases = found.phases or (self._phases if found.unit == "A" else self._watt_phases)
        self.reading.limit_a = amps_of(found.limit, found.unit, self.reading.volt_v, phases)
        if sent is not None and above_order(self.reading.limit_a, self.reading.sent_a, sent.unit):
            self._overwritten(self.reading.limit_a, "GetCompositeSchedule", "in force")

    def _watch_drawn(self, now_ns: int) -> None:
        """Compare measured amps with the order: a point may accept what it does not apply."""
        if now_ns < self._doubt_ns:
            self.reading.quality = BAD
        drawn_a = self._watch.drawn_a(self.reading, now_ns)
        if math.isfinite(drawn_a):
            # it shares the watts over the car's phases, not over its own
            phases = max(1, min(self._watt_phases, drawing_phases(self.reading)))
            if phases < self._watt_phases and not self._read_only:
                self._floor_ns = 0  # the floor's watts were for more phases, too
            self._watt_phases = phases
            self._overwritten(drawn_a, "Current.Import", "drawn")

    def _overwritten(self, amp_a: float, channel: str, how: str) -> None:
        """Tell of amps above the order, and send it again."""
        self.reading.overwritten_a = amp_a
        self._sent = None
        detail = f"{amp_a:.1f} A {how}, {self.reading.sent_a:g} A ordered and accepted"
        self._note(PortFault(FaultKind.READBACK, self.name, channel, detail, "check who else limits or commands it"))

    @property
    def _version(self) -> str:
        if self._rpc is None:
            raise PortFault(FaultKind.CLOSED, self.name, "", "no connection")
        return self._rpc.version

    @property
    def _writer(self) -> ProfileWriter:
        limits = self._limits or PointLimits(tuple(self._part.rate_units), self._part.max_stack_level)
        return ProfileWriter(self._part, self._version, limits, self._failsafe_s)

    async def _call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        if self._rpc is None:
            raise PortFault(FaultKind.CLOSED, self.name, action, "no connection")
        return await self._rpc.call(action, payload)

    async def _read(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Call something that may wait: within the gap after an order it ends with the gap, so that none comes late."""
        left_s = (self._writes_ns + self._gap_ns - self._clock_ns()) / NS
        if left_s <= 0.0:
            return await self._call(action, payload)
        try:
            async with asyncio.timeout(max(left_s, LEAST_READ_S)):
                return await self._call(action, payload)
        except TimeoutError as error:
            raise PortFault(FaultKind.TIMEOUT, self.name, action, f"no answer within {left_s:.1f} s") from error

    def _note(self, fault: PortFault) -> None:
        """Count a fault and tell it."""
        if str(fault) != self.reading.fault:
            self.reading.errors += 1
        self.reading.fault, self._shown_ns = str(fault), self._clock_ns()

    def _tell_notes(self) -> None:
        """Show what the point told as a fault, once a kind; take faults away that are over."""
        for text in self._inbox.notes:
            self._note(PortFault(FaultKind.PROTOCOL, self.name, "", text))
        self._inbox.notes.clear()
        if self.reading.fault and self._clock_ns() - self._shown_ns > FAULT_SHOWN_NS:
            self.reading.fault = ""
