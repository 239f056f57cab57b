"""Read and command one Modbus charger under its own pacing: catalog record in, readings in SI units out.

Obligations to the runtime: a reading is dated by its oldest part; nothing is sent, reads included, while the runtime
may not talk, so that the charger's own fail-safe can act; an order that cannot be sent exactly is refused, and while
it stands nothing is sent either.
"""

import asyncio
import math
from collections.abc import Callable

from instruments.catalog import Model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_cruise import Act, Asked, Cruise, Due
from instruments.modbus_failsafe import VALIDITY_S, ChargerFailsafe
from instruments.modbus_pacing import NS, Write
from instruments.modbus_phases import PhaseSwitching
from instruments.modbus_poller import BACKOFF_FIRST_S, BACKOFF_LAST_S, Buses, jittered
from instruments.modbus_poller_frames import read_pdu
from instruments.modbus_poller_master import MasterWatch
from instruments.modbus_reading import ChargerReading, most_a

__all__ = ["BACKOFF_FIRST_S", "BACKOFF_LAST_S", "ChargerReading", "ModbusCharger"]

TICK_S = 0.1  # how soon a new order or a silence is noticed where nobody calls `wake`
JOIN_S = 0.1  # an order waits at most so long for a read that may go in its segment: nothing beside a PWM's 5 s
ORDERS_KEPT = 128
STARVED_S = 0.5  # a read that is late by this goes even before an order that lowers: no new order without new readings
FAULT_SHOWN_S = 10.0
DOG_EVERY_S = 300.0  # a device behind a gateway may restart unseen: its fail-safe is compared again


class ModbusCharger(ChargerFailsafe):
    """Own the connection to one charger; `reading` is what is known of it.

    Parameters
    ----------
    name: of the charger in the site file, for faults
    model: its catalog record
    address: ``modbus+tcp://host:port``
    clock_ns: monotonic clock, ns
    failsafe_a: current that the charger itself must fall to, A
    failsafe_s: time without us after which it must, s
    read_only: never write: fail-safe and set-points are only read and compared
    buses: connections that devices behind one address share; None: one of its own
    opening_s: longest wait for an answer until `run`, s: nothing is ordered before; by default that of the record
    """

    __slots__ = ("_checked_a", "_cruise", "_fed_ns", "_feed_ns", "_join_s", "_master", "_may_talk", "_orders",
                 "_phases", "_polls", "_sent_from", "_want_a", "_wrote")  # fmt: skip

    def __init__(
        self,
        name: str,
        model: Model,
        address: str,
        *,
        clock_ns: Callable[[], int],
        failsafe_a: float,
        failsafe_s: float,
        read_only: bool = False,
        buses: Buses | None = None,
        opening_s: float = 0.0,
    ) -> None:
        super().__init__(
            name,
            model,
            address,
            clock_ns=clock_ns,
            failsafe_a=failsafe_a,
            failsafe_s=failsafe_s,
            read_only=read_only,
            buses=buses,
            opening_s=opening_s,
        )
        polls = self._modbus.polls
        self._polls = [self._request(names) for names in [*polls.core, *polls.rare]]
        self._master = MasterWatch(self._part.obey_s, self._part.setpoint.applied_slack_a)
        self._phases = PhaseSwitching(self._part.phase_switch, self._part.timing.write_gap_s)
        self._cruise = Cruise(self._asking, self._answered, self._link, clock_ns)
        self._join_s = min(JOIN_S, self._modbus.read_every_s)
        self._feed_ns = 0 if read_only else round(self._part.watchdog.feed_s * NS)
        self._sent_from = self._modbus.transactions > 1  # its pacing runs from what was sent, not from the answer
        self._fed_ns = 0
        self._checked_a = math.nan  # an order that was found to be one that may be sent
        self._orders: dict[Write, tuple[int, bytes]] = {}
        self._wrote = False  # in the newest exchange
        self._want_a: Callable[[], float]
        self._may_talk: Callable[[], bool]

    def _request(self, names: list[str]) -> tuple[str, int, bytes, int]:
        """Return the ready request of a poll: channel, unit id, PDU, count."""
        unit_id, address, count = self._modbus.span(names)
        return names[0], unit_id, read_pdu(self._modbus.function(names), address, count), count

    async def open(self) -> str:
        """Connect, identify and return what answered; a PortFault REFUSED or WRONG_IDENTITY otherwise."""
        await self._link.open()
        try:
            what = await self._identify()
        except PortFault as fault:
            fault = await self._other_unit(fault)
            self._link.close()
            raise fault from None
        self.reading.link = True
        return what

    async def run(self, want_a: Callable[[], float], may_talk: Callable[[], bool]) -> None:
        """Poll and write until cancelled.

        `want_a` returns the amps per phase to allow, 0 pauses, NaN nothing to write yet; `may_talk` False stops all
        I/O. After a fault it connects and identifies anew with back-off; the first message after that is the order,
        then the fail-safe is compared again: a device that restarted may have forgotten it.
        """
        self._link.hurry()
        self._want_a, self._may_talk = want_a, may_talk
        backoff_s = BACKOFF_FIRST_S
        while True:
            wait_s = TICK_S
            if may_talk():
                try:
                    if not self._link.connected:
                        await self._reopen()
                    if not self._link.shared:
                        await self._cruise.go(self._due)
                    if may_talk():
                        wait_s = await self._turn(math.nan if self._read_only else want_a())
                        backoff_s = BACKOFF_FIRST_S
                except PortFault as fault:
                    if self._cruise.worked:
                        backoff_s, self._cruise.worked = BACKOFF_FIRST_S, False
                    self._note(await self._other_unit(fault))
                    if fault.kind is not FaultKind.RANGE:  # a wrong order is no fault of the link: look again soon
                        await asyncio.sleep(jittered(backoff_s))
                        backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)
                        continue
            if wait_s > 0.0:
                await self._sleep(wait_s)

    def wake(self) -> None:
        """Look at the order and the permission to talk now."""
        if not self._cruise.look():
            super().wake()

    def ask_phases(self, number: int) -> None:
        """Take the number of phases to charge on: 1 or 3, 0 no request. Without effect where the family has none."""
        if self._phases.ask(number):
            self.wake()

    def _due(self, now_ns: int) -> Due | None:
        """Return what is due now; None where nothing may be sent."""
        if not self._may_talk():
            return None
        return self._choose(math.nan if self._read_only else self._want_a(), now_ns)

    async def close(self) -> None:
        """Drop the connection; the charger's own fail-safe takes over."""
        self._link.leave()
        self.reading.link = False

    async def _turn(self, want_a: float) -> float:
        """Do what is due now, in one exchange, and return the time until the next turn, s."""
        act, write, poll, wait_s = self._choose(want_a, self._clock_ns())
        if act is Act.FEED:
            await self._feed()
        elif act is Act.DOG:
            await self._watch_dog()
        elif act is Act.PHASES:
            await self._phases.step(self._put, self._get, self._clock_ns())
            self.reading.phases = self._phases.in_use
        elif act is Act.ASK:
            await self._ask(write, poll)
        return wait_s

    def _choose(self, want_a: float, now_ns: int) -> Due:
        """Return what is due now: the act, the write and the poll of an ASK, the time to wait where nothing is, s."""
        write = None
        if want_a == want_a:  # false on NaN
            if want_a != self._checked_a:
                if why := self._gate.check(want_a):
                    raise PortFault(FaultKind.RANGE, self.name, self._part.setpoint.register_name, why)
                self._checked_a = want_a
            write = self._gate.next(want_a, now_ns)
        lowers = write is not None and not write.value >= self._gate.sent_a  # NaN: the first order of a connection
        if self._feed_ns and not lowers and self._hungry(now_ns):
            return Act.FEED, None, None, 0.0
        if self._dog and not lowers and now_ns >= self._dog_ns and self._free(now_ns):
            return Act.DOG, None, None, 0.0
        if not lowers and self._phases.due(now_ns) and self._free(now_ns) and not self._read_only:
            return Act.PHASES, None, None, 0.0
        poll = self._plan.next(now_ns)
        if write is not None:
            if self._modbus.transactions == 1:
                starved = poll is not None and self._wrote and not (lowers and self._plan.late_s(now_ns) < STARVED_S)
                return Act.ASK, None if starved else write, poll if starved else None, 0.0
            if poll is None and (wait_s := self._plan.wait_s(now_ns)) <= self._join_s:
                return Act.WAIT, None, None, wait_s
            return Act.ASK, write, poll, 0.0
        if poll is None:
            return Act.WAIT, None, None, min(self._plan.wait_s(now_ns), TICK_S)
        if not self._dog and now_ns - self._dog_ns > DOG_EVERY_S * NS and not self._read_only:
            self._dog, self._dog_ns = self._kept(), now_ns
        return Act.ASK, None, poll, 0.0

    def _hungry(self, now_ns: int) -> bool:
        """Say whether the watchdog is to be fed now: a life bit or a token, within the write pacing."""
        return self._feed_ns <= now_ns - self._fed_ns and self._gate.wait_s(now_ns) <= 0.0

    async def _feed(self) -> None:
        """Feed the watchdog once; after a fault the next try is due at once."""
        await self._put(self._part.watchdog.feed, self._part.watchdog.feed_value)
        self._fed_ns = self._clock_ns()

    async def _ask(self, write: Write | None, poll: int | None) -> None:
        """Send an order, a poll or both in one segment, and take the answers."""
        ask = self._asking(write, poll)
        error: Exception | None = None
        answers: list[bytes] = []
        try:
            answers = await self._link.ask_all(ask.channel, ask.requests, urgent=write is not None)
        except PortFault as fault:
            error = fault
        self._answered(ask, answers, error)

    def _asking(self, write: Write | None, poll: int | None) -> Asked:
        """Return what is sent for an order, a poll or both; the order goes first."""
        requests: list[tuple[int, bytes]] = []
        channel = ""
        if write is not None:
            channel = write.register
            self._link.may_write(channel)
            requests.append(self._orders.get(write) or self._keep(write))
        if poll is not None:
            name, unit_id, pdu, _ = self._polls[poll]
            channel = channel or name
            requests.append((unit_id, pdu))
        return Asked(write, poll, channel, requests, self._clock_ns())

    def _keep(self, write: Write) -> tuple[int, bytes]:
        """Return the ready request of a write, and keep it: the same orders come again and again."""
        if len(self._orders) >= ORDERS_KEPT:
            self._orders.clear()
        self._orders[write] = request = self._order_of(write)
        return request

    def _answered(self, ask: Asked, answers: list[bytes], error: Exception | None) -> None:
        """Take the end of an exchange: pacing runs from the answer, or from the fault. Errors: PortFault."""
        now_ns = self._clock_ns()
        write, poll, channel, requests, sent_ns = ask
        if poll is not None:
            self._plan.done(sent_ns if self._sent_from else now_ns)
        self._wrote = write is not None
        if write is not None:
            self._gate.pace(now_ns)
        if error is not None:
            if isinstance(error, PortFault):
                raise error
            raise self._link.fault_of(channel, requests[0][0], error) from error
        self.reading.round_trip_ns = now_ns - sent_ns
        refused = None
        if write is not None:
            try:
                self._link.acknowledge(channel, requests[0][1], answers[0])
                self._ordered(write, now_ns)
            except PortFault as fault:
                refused = fault  # the read stands for itself
        if poll is not None:
            channel, _, pdu, count = self._polls[poll]
            self._take(poll, self._link.payload(channel, pdu, count, answers[-1]), sent_ns, now_ns)
        if refused is not None:
            raise refused

    def _ordered(self, write: Write, now_ns: int) -> None:
        self._gate.done(write, now_ns)
        self.reading.sent_a = sent_a = self._gate.sent_a
        self.reading.sent_ns = now_ns
        self._master.ordered(sent_a, now_ns)

    def _take(self, poll: int, payload: bytes, sent_ns: int, now_ns: int) -> None:
        """Take a poll's values into the reading and compare what is in force with what was ordered."""
        reading = self.reading
        limit_a, reading.limit_a = reading.limit_a, math.nan
        self._builder.take_bytes(poll, payload, sent_ns)
        if math.isnan(reading.limit_a):
            reading.limit_a = limit_a
        else:
            reading.limit_a = self._gate.in_force(reading.limit_a)
            self._compare(now_ns)
        if self._master.drawn(most_a(reading.amp_a), now_ns):
            self._gate.forget()  # told again: it may have forgotten the order, or the pause
            self._note_master(f"{self._master.over_a:g} A drawn, {reading.sent_a:g} A ordered", "current")
        reading.overwritten_a = self._master.over_a
        if reading.valid_s > self._failsafe_s + VALIDITY_S:
            detail = f"{reading.valid_s:g} s of validity left; the site says {self._failsafe_s:g} s in all"
            self._note(PortFault(FaultKind.READBACK, self.name, "valid", detail))
        if reading.fault and now_ns - self._shown_ns > FAULT_SHOWN_S * NS:
            reading.fault = ""

    def _compare(self, now_ns: int) -> None:
        """Compare the limit in force with the order; send the order again where it is too high."""
        limit_a, order_a = self.reading.limit_a, self.reading.sent_a
        overwritten, above = self._master.limit(limit_a, now_ns), self._gate.observe(limit_a, now_ns)
        if not (overwritten or above):
            return
        told = f"{limit_a:g} A in force, {order_a:g} A ordered"
        if overwritten:
            self._note_master(told, self._part.setpoint.applied)
        if above:
            self._note(PortFault(FaultKind.READBACK, self.name, self._part.setpoint.applied, told))

    def _note_master(self, told: str, channel: str) -> None:
        hint = "find the other master: operator backend, local balancer, or a person at the charger"
        self._note(PortFault(FaultKind.READBACK, self.name, channel, f"overwritten: {told}", hint))

    async def _reopen(self) -> None:
        """Connect and identify anew; what the device was told before counts as unknown from here."""
        if self.reading.link:
            self._note(PortFault(FaultKind.CLOSED, self.name, "", f"{self._link.address} ended the connection"))
        await self._link.open()
        self._gate.forget()
        self._master.ordered(math.nan, self._clock_ns())
        self._plan.restart()
        self._builder.restart()
        self._dog = [] if self._read_only else self._settings()
        self._dog_ns = self._dog_tries = self._fed_ns = 0
        self._phases.forget()
        self.reading.phases = self._phases.in_use
        await self._identify()
        self.reading.link = True
        self.reading.fault = ""
