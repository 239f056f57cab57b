"""Read and command one Modbus charger under its own pacing: catalog record in, readings in SI units out.

Obligations to the runtime: a reading is dated by its oldest part; nothing is sent, reads included, while the runtime
may not talk, so that the charger's own fail-safe can act; an order that cannot be sent exactly is refused, and while
it stands nothing is sent either.
"""

import asyncio
import math
from collections.abc import Callable

from instruments.catalog import Model, charger_of, modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_catalog import Register
from instruments.modbus_codec import decode_words, encode_value
from instruments.modbus_identity import check_identity
from instruments.modbus_link import ModbusLink
from instruments.modbus_pacing import NS, PollPlan, Write, WriteGate, rewrite_s
from instruments.modbus_reading import ChargerReading, ReadingBuilder

__all__ = ["ChargerReading", "ModbusCharger"]

TICK_S = 0.05  # how soon a new order or a silence is noticed
BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 5.0
KEEP_LINK = (FaultKind.REJECTED, FaultKind.BUSY, FaultKind.RANGE, FaultKind.READBACK)
SAFE_CURRENT_A = 0.05  # a float register may show the site's value a hair above itself
VALIDITY_S = 2.0
FAULT_SHOWN_S = 10.0
DOG_TRIES = 2  # writes of a fail-safe value before its read-back is a fault
DOG_AGAIN_S = 30.0  # after such a fault


class ModbusCharger:
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
    """

    __slots__ = ("_builder", "_clock_ns", "_dog", "_dog_ns", "_dog_tries", "_failsafe_a", "_failsafe_s", "_gate",
                 "_link", "_modbus", "_model", "_part", "_plan", "_polls", "_read_only", "_shown_ns", "name",
                 "reading")  # fmt: skip

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
    ) -> None:
        self.name = name
        self._read_only = read_only
        self._model = model
        self._part = charger_of(model)
        self._modbus = modbus_of(model)
        self._clock_ns = clock_ns
        self._failsafe_a = failsafe_a
        self._failsafe_s = failsafe_s
        self._link = ModbusLink(name, self._modbus, address, clock_ns, read_only=read_only)
        polls = self._modbus.polls
        self._polls = [(names[0], *self._modbus.span(names)) for names in [*polls.core, *polls.rare]]
        self._plan = PollPlan(len(polls.core), len(polls.rare), self._modbus.read_gap_s)
        self._gate = WriteGate(self._part, rewrite_s(self._part, failsafe_s))
        self._builder = ReadingBuilder(self._modbus, self._part.dc)
        self._shown_ns = 0
        self._dog: list[tuple[str, str, float]] = []  # fail-safe values to compare again: read, write, wanted
        self._dog_ns = self._dog_tries = 0
        self.reading: ChargerReading = self._builder.reading

    async def open(self) -> str:
        """Connect, identify and return what answered; a PortFault REFUSED or WRONG_IDENTITY otherwise."""
        await self._link.open()
        try:
            what = await self._identify()
        except PortFault:
            self._link.close()
            raise
        self.reading.link = True
        return what

    async def program_failsafe(self) -> None:
        """Make the charger's own fail-safe what the site wants, and read it back.

        What already stands is not written again (pacing, and memory wears). Where the family does not take the
        current by Modbus, the one in the device must not be above the site's.
        Errors: PortFault RANGE, READBACK, or of the link.
        """
        self._check_failsafe()
        dog = self._part.watchdog
        if self._read_only:
            await self._look_at_failsafe()
            return
        if dog.current_get:
            self.reading.failsafe_a = await self._programmed(dog.current_get, dog.current_set, self._failsafe_a)
            if not self.reading.failsafe_a <= self._failsafe_a + SAFE_CURRENT_A:
                detail = f"{self.reading.failsafe_a:g} A in the device; allowed: at most {self._failsafe_a:g} A"
                hint = "set it with the maker's installer tool, or correct failsafe_a"
                raise PortFault(FaultKind.READBACK, self.name, dog.current_get, detail, hint)
        if dog.timeout_get:
            self.reading.failsafe_s = await self._programmed(dog.timeout_get, dog.timeout_set, self._failsafe_s)

    async def _look_at_failsafe(self) -> None:
        """Read the fail-safe and tell where it is not the site's: a run that only reads has to live with it."""
        dog, reading = self._part.watchdog, self.reading
        if dog.current_get:
            reading.failsafe_a = await self._get(dog.current_get)
        if dog.timeout_get:
            reading.failsafe_s = await self._get(dog.timeout_get)
        if reading.failsafe_a > self._failsafe_a + SAFE_CURRENT_A or reading.failsafe_s > self._failsafe_s + VALIDITY_S:
            detail = f"{reading.failsafe_a:g} A after {reading.failsafe_s:g} s in the device; the site says"
            detail += f" {self._failsafe_a:g} A after {self._failsafe_s:g} s"
            self._note(PortFault(FaultKind.READBACK, self.name, dog.current_get or dog.timeout_get, detail))

    async def run(self, want_a: Callable[[], float], may_talk: Callable[[], bool]) -> None:
        """Poll and write until cancelled.

        `want_a` returns the amps per phase to allow, 0 pauses, NaN nothing to write yet; `may_talk` False stops all
        I/O. After a fault it connects and identifies anew with back-off; the first message after that is the order,
        then the fail-safe is compared again: a device that restarted may have forgotten it.
        """
        backoff_s = BACKOFF_FIRST_S
        while True:
            wait_s = TICK_S
            if may_talk():
                try:
                    if not self._link.connected:
                        await self._reopen()
                    wait_s = await self._turn(math.nan if self._read_only else want_a())
                    backoff_s = BACKOFF_FIRST_S
                except PortFault as fault:
                    self._note(fault)
                    if fault.kind is not FaultKind.RANGE:  # a wrong order is no fault of the link: look again soon
                        wait_s = backoff_s
                        backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Drop the connection; the charger's own fail-safe takes over."""
        self._link.close()
        self.reading.link = False

    async def _turn(self, want_a: float) -> float:
        """Send at most one request and return the time until the next turn, s."""
        now_ns = self._clock_ns()
        write = None
        if not math.isnan(want_a):
            if why := self._gate.check(want_a):
                raise PortFault(FaultKind.RANGE, self.name, self._part.setpoint.register_name, why)
            write = self._gate.next(want_a, now_ns)
        lowers = write is not None and not write.value >= self._gate.sent_a  # NaN: the first order of a connection
        if self._dog and not lowers and now_ns >= self._dog_ns and self._free(now_ns):
            await self._watch_dog()
            return 0.0
        if write is not None:
            await self._order(write)
            return 0.0
        poll = self._plan.next(now_ns)
        if poll is None:
            return min(self._plan.wait_s(now_ns), TICK_S)
        await self._read_poll(poll)
        return 0.0

    def _free(self, now_ns: int) -> bool:
        """Say whether the pacing lets a read and a write out now."""
        return self._plan.wait_s(now_ns) <= 0.0 and self._gate.wait_s(now_ns) <= 0.0

    async def _order(self, write: Write) -> None:
        """Send one part of the order; its pacing runs from the answer, or from the fault."""
        await self._put(write.register, write.value)
        self._gate.done(write, self._clock_ns())
        self.reading.sent_a = self._gate.sent_a
        self.reading.sent_ns = self._clock_ns()

    async def _watch_dog(self) -> None:
        """Compare one value of the fail-safe with the site's and write it where it differs, a step a turn."""
        get, put, wanted = self._dog[0]
        held = await self._get(get)
        kept = math.isclose(held, wanted, abs_tol=1e-3)
        if kept or (not put and held <= wanted + SAFE_CURRENT_A):
            self._dog.pop(0)
            self._dog_tries = 0
        elif put and self._dog_tries < DOG_TRIES:
            self._dog_tries += 1
            await self._put(put, wanted)
        else:
            self._dog_tries, self._dog_ns = 0, self._clock_ns() + round(DOG_AGAIN_S * NS)
            detail = f"{held:g} in the device after the link came back; the site says {wanted:g}"
            self._note(PortFault(FaultKind.READBACK, self.name, get, detail))

    async def _read_poll(self, poll: int) -> None:
        """Read one request's values into the reading and compare what is in force with what was ordered."""
        sent_ns = self._clock_ns()
        try:
            words = await self._link.read(*self._polls[poll])
        finally:
            self._plan.done(self._clock_ns())
        reading = self.reading
        reading.round_trip_ns = self._link.round_trip_ns
        limit_a, reading.limit_a = reading.limit_a, math.nan
        self._builder.take(poll, words, sent_ns)
        if math.isnan(reading.limit_a):
            reading.limit_a = limit_a
        elif self._gate.observe(reading.limit_a, self._clock_ns()):
            detail = f"{reading.limit_a:g} A in force, {reading.sent_a:g} A ordered"
            self._note(PortFault(FaultKind.READBACK, self.name, self._part.setpoint.applied, detail))
        if reading.valid_s > self._failsafe_s + VALIDITY_S:
            detail = f"{reading.valid_s:g} s of validity left; the site says {self._failsafe_s:g} s in all"
            self._note(PortFault(FaultKind.READBACK, self.name, "valid", detail))
        if reading.fault and self._clock_ns() - self._shown_ns > FAULT_SHOWN_S * NS:
            reading.fault = ""

    def _note(self, fault: PortFault) -> None:
        """Count a fault and tell it; one of the link ends the connection and the trust in the reading."""
        if str(fault) != self.reading.fault:
            self.reading.errors += 1
        self.reading.fault = str(fault)
        self._shown_ns = self._clock_ns()
        if fault.kind not in KEEP_LINK:
            self._link.close()
            self._builder.restart()
            self.reading.link = False

    async def _reopen(self) -> None:
        """Connect and identify anew; what the device was told before counts as unknown from here."""
        if self.reading.link:
            self._note(PortFault(FaultKind.CLOSED, self.name, "", f"{self._link.address} ended the connection"))
        await self._link.open()
        self._gate.forget()
        self._plan.restart()
        self._builder.restart()
        dog = self._part.watchdog
        values = (
            (dog.current_get, dog.current_set, self._failsafe_a),
            (dog.timeout_get, dog.timeout_set, self._failsafe_s),
        )
        self._dog = [] if self._read_only else [row for row in values if row[0]]
        self._dog_ns = self._dog_tries = 0
        await self._identify()
        self.reading.link = True
        self.reading.fault = ""

    async def _identify(self) -> str:
        """Compare the identity register with the record; name both families where they differ."""
        name = self._modbus.identity.register_name
        try:
            value = await self._value(self._modbus.register(name))
        except PortFault as fault:
            if fault.kind is not FaultKind.REJECTED:
                raise
            detail = f"{self._link.address} has none ({fault.detail}); expected {self._model.model.name}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, name, detail) from fault
        return check_identity(self.name, self._model, self._link.address, value)

    async def _programmed(self, get: str, put: str, wanted: float) -> float:
        """Write a value where it is not the wanted one already; return what the device holds then."""
        now = await self._get(get)
        if put and not math.isclose(now, wanted, abs_tol=1e-3):
            await self._put(put, wanted)
            now = await self._get(get)
            if not math.isclose(now, wanted, abs_tol=1e-3):
                raise PortFault(FaultKind.READBACK, self.name, get, f"{now:g} read back, {wanted:g} written")
        return now

    async def _value(self, register: Register) -> float | str:
        """Read one register within the read pacing."""
        while (wait_s := self._plan.wait_s(self._clock_ns())) > 0.0:
            await asyncio.sleep(wait_s)
        try:
            words = await self._link.read(register.name, register.unit_id, register.address, register.count)
        finally:
            self._plan.pace(self._clock_ns())
        self.reading.round_trip_ns = self._link.round_trip_ns
        return decode_words(self._modbus, register, words)

    async def _get(self, name: str) -> float:
        value = await self._value(self._modbus.register(name))
        if not isinstance(value, float):
            raise PortFault(FaultKind.PROTOCOL, self.name, name, f"{value!r} is not a number")
        return value

    async def _put(self, name: str, value: float) -> None:
        """Write one register within the write pacing."""
        register = self._modbus.register(name)
        try:
            words = encode_value(self._modbus, register, value)
        except ValueError as error:
            raise PortFault(FaultKind.RANGE, self.name, name, str(error)) from error
        while (wait_s := self._gate.wait_s(self._clock_ns())) > 0.0:
            await asyncio.sleep(wait_s)
        try:
            await self._link.write(name, register.unit_id, register.address, words)
        finally:
            self._gate.pace(self._clock_ns())
        self.reading.round_trip_ns = self._link.round_trip_ns

    def _check_failsafe(self) -> None:
        """Refuse a fail-safe that the family does not take, before anything is written."""
        dog, part = self._part.watchdog, self._part
        if dog.timeout_set and not dog.min_s <= self._failsafe_s <= dog.max_s:
            detail = f"failsafe_s {self._failsafe_s:g} s; allowed: {dog.min_s:g}..{dog.max_s:g} s"
            raise PortFault(FaultKind.RANGE, self.name, dog.timeout_set, detail)
        if self._failsafe_a != 0.0 and not part.min_a <= self._failsafe_a <= part.max_a:
            detail = f"failsafe_a {self._failsafe_a:g} A; allowed: 0 or {part.min_a:g}..{part.max_a:g} A"
            raise PortFault(FaultKind.RANGE, self.name, dog.current_set, detail)
