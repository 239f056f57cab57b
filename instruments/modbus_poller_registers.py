"""Reach one charger's registers by name: within its pacing, its identity checked, its settings programmed.

What a charger client decides is not in here (`modbus_charger`); these are its hands.
"""

import asyncio
import math
import zlib
from collections.abc import Callable

from instruments.catalog import Model, charger_of, modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_catalog import Register
from instruments.modbus_codec import decode_words, encode_value
from instruments.modbus_identity import check_identity
from instruments.modbus_link import ModbusLink, split_address
from instruments.modbus_pacing import PollPlan, Write, WriteGate, rewrite_s
from instruments.modbus_poller import Buses
from instruments.modbus_poller_frames import read_pdu
from instruments.modbus_poller_probe import other_unit
from instruments.modbus_reading import ChargerReading, ReadingBuilder


class ChargerRegisters:
    """Hold link, pacing and reading of one charger. The base of `ModbusCharger`, which says what the arguments are."""

    __slots__ = ("_builder", "_clock_ns", "_failsafe_a", "_failsafe_s", "_gate", "_link", "_modbus", "_model", "_part",
                 "_plan", "_probed", "_read_only", "_sleeper", "name", "reading")  # fmt: skip

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
        self.name = name
        self._read_only = read_only
        self._model = model
        self._part = charger_of(model)
        self._modbus = modbus_of(model)
        self._clock_ns = clock_ns
        self._failsafe_a = failsafe_a
        self._failsafe_s = failsafe_s
        bus = buses.at(*split_address(name, address)) if buses else None
        self._link = ModbusLink(
            name, self._modbus, address, clock_ns, read_only=read_only, bus=bus, opening_s=opening_s
        )
        polls = self._modbus.polls
        phase = zlib.crc32(name.encode()) / 2**32  # not all of a street in one moment
        self._plan = PollPlan(
            len(polls.core), len(polls.rare), self._modbus.read_gap_s, self._modbus.read_period_s, phase
        )
        self._gate = WriteGate(self._part, rewrite_s(self._part, failsafe_s))
        self._builder = ReadingBuilder(self._modbus, self._part.dc)
        self._sleeper: asyncio.Future[None] | None = None
        self._probed = False
        self.reading: ChargerReading = self._builder.reading

    def wake(self) -> None:
        """Look at the order and the permission to talk now."""
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def _sleep(self, wait_s: float) -> None:
        """Wait, or less where `wake` is called."""
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(wait_s, self.wake)
        try:
            await self._sleeper
        finally:
            timer.cancel()

    def _settings(self) -> list[tuple[str, str, float]]:
        """Return what must stand in the device after every connection: register to read, to write, value."""
        dog, part = self._part.watchdog, self._modbus
        rows = [(name if "r" in part.register(name).access else "", name, v) for name, v in self._part.prepare.items()]
        if dog.current_get or dog.current_set:
            rows.append((dog.current_get, dog.current_set, self._failsafe_a))
        if dog.timeout_get or dog.timeout_set:
            rows.append((dog.timeout_get, dog.timeout_set, self._failsafe_s))
        if dog.arm_set:
            rows.append((dog.arm_set if "r" in part.register(dog.arm_set).access else "", dog.arm_set, 1.0))
        return rows

    async def _settle(self, get: str, put: str, wanted: float) -> None:
        """Write a value once: where it cannot be read, or where it differs."""
        if get:
            await self._programmed(get, put, wanted)
        elif put:
            await self._put(put, wanted)

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

    async def _other_unit(self, fault: PortFault) -> PortFault:
        """Look once whether a device that gives no answer listens under another of the catalog's unit ids."""
        if self._probed or fault.kind is not FaultKind.TIMEOUT or self.reading.change_ns:
            return fault
        self._probed = True
        register = self._modbus.register(self._modbus.identity.register_name)
        pdu = read_pdu(self._modbus.function([register.name]), register.address, register.count)
        found = await other_unit(self._link, register.unit_id, pdu)
        if found is None:
            return fault
        detail = f"{fault.detail}; it answers under unit {found}"
        return PortFault(fault.kind, fault.device, fault.channel, detail, "correct model or unit in the site file")

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
            function = self._modbus.function([register.name])
            words = await self._link.read(register.name, register.unit_id, register.address, register.count, function)
        finally:
            self._plan.pace(self._clock_ns())
        self.reading.round_trip_ns = self._link.round_trip_ns
        return decode_words(self._modbus, register, words)

    async def _get(self, name: str) -> float:
        value = await self._value(self._modbus.register(name))
        if not isinstance(value, float):
            raise PortFault(FaultKind.PROTOCOL, self.name, name, f"{value!r} is not a number")
        return value

    def _order_of(self, write: Write) -> tuple[int, bytes]:
        """Return the ready request of a write: unit id and PDU."""
        register = self._modbus.register(write.register)
        coil = self._modbus.table_of(register) == "coil"
        words = self._words(register, write.value)
        return register.unit_id, self._link.order(register.name, register.address, words, coil=coil)

    def _words(self, register: Register, value: float) -> list[int]:
        try:
            return encode_value(self._modbus, register, register.to_wire(value))
        except ValueError as error:
            raise PortFault(FaultKind.RANGE, self.name, register.name, str(error)) from error

    async def _put(self, name: str, value: float) -> None:
        """Write one register within the write pacing."""
        register = self._modbus.register(name)
        words = self._words(register, value)
        while (wait_s := self._gate.wait_s(self._clock_ns())) > 0.0:
            await asyncio.sleep(wait_s)
        try:
            coil = self._modbus.table_of(register) == "coil"
            await self._link.write(name, register.unit_id, register.address, words, coil=coil)
        finally:
            self._gate.pace(self._clock_ns())
        self.reading.round_trip_ns = self._link.round_trip_ns
