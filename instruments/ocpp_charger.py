"""Command one OCPP charge point as `instruments.charger_port.ChargerPort`: orders are charging profiles, and read back.

The point dials us (`ocpp_csms`). Nothing is sent before its boot is accepted. Then, after each connection and each
boot, comes the fail-safe floor, then the order: a point that restarted may have forgotten both. One call is outstanding
at a time. What the point applies is taken from
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
from instruments.ocpp_orders import OrderKeeper
from instruments.ocpp_profiles import amps_of, composite
from instruments.ocpp_reading import BAD, PointReading, PointReadingBuilder
from instruments.ocpp_rpc import OcppRpc
from instruments.ocpp_setup import configure, trigger
from instruments.ocpp_watch import DrawnWatch, above_order

NS = 1_000_000_000
TICK_S = 0.1
OPEN_S = 30.0  # a point dials again with back-off: so long it may take until it does
BOOT_S = 3.0  # a point that only lost its link sends no BootNotification
VERIFY_S = 5.0  # between two looks at the composite schedule
SETTLE_S = 1.0
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

    __slots__ = ("_boots", "_builder", "_clock_ns", "_close", "_doubt_ns", "_failsafe_s", "_gap_ns", "_inbox",
                 "_keeper", "_linked_ns", "_meter_ns", "_part", "_phases", "_read_only", "_rpc", "_server", "_setup",
                 "_shown_ns", "_silent", "_up", "_verify_ns", "_wake", "_watch", "identity", "model",
                 "name")  # fmt: skip

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
        self._clock_ns, self._failsafe_s, self._phases = clock_ns, failsafe_s, phases
        self._builder = PointReadingBuilder(phases)
        self._keeper = OrderKeeper(
            name, model, self._builder.reading, clock_ns, utc_ns,
            failsafe_a=failsafe_a, failsafe_s=failsafe_s, phases=phases, read_only=read_only,
        )  # fmt: skip
        self._inbox = Inbox(self._part, self._builder, clock_ns, utc_ns, self._keeper.schedule_update)
        self._watch = DrawnWatch(charger_of(model).obey_s)
        self._gap_ns = round(charger_of(model).timing.write_gap_s * NS)
        self._boots = 0  # that were seen when floor and order were last begun
        self._linked_ns = self._verify_ns = self._meter_ns = self._doubt_ns = self._shown_ns = 0
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
        self._linked_ns = self._clock_ns()
        self._inbox.connected()
        self._begin()
        self.reading.link = True
        self._up.set()
        self._wake.set()
        return self._rpc

    def _begin(self) -> None:
        """Begin anew with a point of which nothing is known but that it is there."""
        self._boots = self._inbox.boots
        self._keeper.begin()
        self.reading.phases = self._keeper.in_use(0)
        self._setup = [self._ask_now] if self._read_only else [self._no_foreign, self._sample, self._ask_now]

    def detach(self, rpc: OcppRpc) -> None:
        """Note that a connection ended, unless another one took its place."""
        rpc.close()
        if rpc is self._rpc:
            self._rpc = self._close = None
            self._up.clear()
            self._builder.lost()
            self._keeper.sent = None

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
        until = time.monotonic() + OPEN_S
        while self._rpc is not None and not self._inbox.wrong and not self._known() and time.monotonic() < until:
            await asyncio.sleep(TICK_S)
        if self._inbox.wrong:
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, "BootNotification", self._inbox.wrong)
        self._boots = self._inbox.boots  # nothing was sent before: there is nothing to begin again
        version = self._rpc.version if self._rpc is not None else "link lost"
        return f"{self._inbox.identity or 'no BootNotification, as after a lost link'} ({version})"

    async def program_failsafe(self) -> None:
        """Set the floor profile that rules when an order is not renewed, unless the family keeps orders for ever."""
        if self._part.failsafe != "latched" and not 3.0 <= self._failsafe_s < 86400.0:
            detail = f"failsafe_s {self._failsafe_s:g} s; allowed: 3..86400 s"
            raise PortFault(FaultKind.RANGE, self.name, "failsafe_s", detail)
        if not self._read_only:
            await self._keeper.floor(self._call, self._version)

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

    def ask_phases(self, number: int) -> None:
        """Take the number of phases to charge on: 1 or 3, 0 no request; it goes out with the next order."""
        if self._keeper.ask_phases(number):
            self.reading.phases = self._keeper.in_use(self.reading.phases)
            self.wake()

    async def drop(self) -> None:
        """Close the connection; the point dials again."""
        if self._close is not None:
            await self._close()

    async def close(self) -> None:
        """Drop the connection and serve the identity no more; the point's own profiles take over."""
        await self.drop()
        await self._server.leave(self.identity)
        self.reading.link = False

    def _known(self) -> bool:
        """Say whether the point may be commanded: its boot is accepted, or it shows that it was before this connection.

        A point that is not accepted sends nothing but BootNotification; one that only lost its link may send nothing.
        """
        standing = self._inbox.standing
        if standing:
            return standing == "Accepted"
        return self._clock_ns() - self._linked_ns >= BOOT_S * NS

    async def _turn(self, want_a: float) -> None:
        """Send at most one call: floor, order, what is left of the set-up, then what must be read."""
        now_ns, keeper = self._clock_ns(), self._keeper
        if not self._known():
            if self._inbox.wrong:
                self.reading.quality = BAD
                self._note(PortFault(FaultKind.WRONG_IDENTITY, self.name, "BootNotification", self._inbox.wrong))
            return
        if self._boots != self._inbox.boots:
            self._begin()
        keeper.follow_car()
        if now_ns >= keeper.floor_ns:
            await keeper.floor(self._call, self._version)
        elif not math.isnan(want_a) and keeper.due(order := keeper.order(want_a), now_ns, self._builder.transaction):
            await keeper.send(self._call, self._version, order, want_a, self._builder.transaction)
            self._verify_ns = self._clock_ns() + round(SETTLE_S * NS)
            if why := keeper.held_back(want_a):
                self._note(PortFault(FaultKind.REJECTED, self.name, "SetChargingProfile", why))
        elif self._setup:
            await self._next_step()
        elif self._verify_due(now_ns):
            await self._verify()
        elif now_ns - max(self.reading.change_ns, self._meter_ns) > 2 * self._part.meter_interval_s * NS:
            self._meter_ns = now_ns
            if not self._part.quirks.no_trigger:
                await trigger(self._read, self._part, self._version, "MeterValues")
        self._watch_drawn(now_ns)

    def _verify_due(self, now_ns: int) -> bool:
        if self._part.quirks.silent_composite or self._keeper.sent is None:
            return False
        if self._inbox.limit_moved:
            self._inbox.limit_moved = False
            return True
        return now_ns >= self._verify_ns

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
        sent = self._keeper.sent
        evse = "connectorId" if self._version == "ocpp1.6" else "evseId"
        ask: dict[str, Any] = {evse: self._part.connector, "duration": 60}
        if sent is not None:
            ask["chargingRateUnit"] = sent.unit
        found = composite(self._version, await self._read("GetCompositeSchedule", ask))
        self.reading.phases = self._keeper.in_use(0 if found is None else found.phases)
        if found is None:
            self.reading.limit_a = math.nan
            detail = "no composite schedule: what it applies is known from measured amps only"
            self._note(PortFault(FaultKind.READBACK, self.name, "GetCompositeSchedule", detail))
            return
        phases = found.phases or self._phases
        if found.unit == "W":
            phases = min(phases, self._keeper.phases_sent)  # what was reckoned over so many comes back over so many
        said_a = amps_of(found.limit, found.unit, self.reading.volt_v, phases)
        self.reading.limit_a = said_a
        self._builder.own_limit()
        if sent is not None and above_order(self.reading.limit_a, self.reading.sent_a, sent.unit):
            self._overwritten(self.reading.limit_a, "GetCompositeSchedule", "in force")

    def _watch_drawn(self, now_ns: int) -> None:
        """Compare measured amps with the order: a point may accept what it does not apply."""
        if now_ns < self._doubt_ns:
            self.reading.quality = BAD
        drawn_a = self._watch.drawn_a(self.reading, now_ns)
        if math.isfinite(drawn_a):
            self._overwritten(drawn_a, "Current.Import", "drawn")

    def _overwritten(self, amp_a: float, channel: str, how: str) -> None:
        """Tell of amps above the order, and send it again."""
        self.reading.overwritten_a = amp_a
        self._keeper.sent = None
        detail = f"{amp_a:.1f} A {how}, {self.reading.sent_a:g} A ordered and accepted"
        self._note(PortFault(FaultKind.READBACK, self.name, channel, detail, "check who else limits or commands it"))

    @property
    def _version(self) -> str:
        if self._rpc is None:
            raise PortFault(FaultKind.CLOSED, self.name, "", "no connection")
        return self._rpc.version

    async def _call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        if self._rpc is None:
            raise PortFault(FaultKind.CLOSED, self.name, action, "no connection")
        if not self._known():
            raise PortFault(FaultKind.CLOSED, self.name, action, "not sent: its BootNotification is not accepted yet")
        return await self._rpc.call(action, payload)

    async def _read(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Call something that may wait: within the gap after an order it ends with the gap, so that none comes late."""
        left_s = (self._keeper.writes_ns + self._gap_ns - self._clock_ns()) / NS
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
