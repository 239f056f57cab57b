"""Be one device's side of a Modbus TCP connection: requests in, words or a `PortFault` out.

The connection itself may be shared (`modbus_poller`). pymodbus is the peer that tests compare with, and the client of
the blocking bench devices; at 1,000 chargers its client costs a multiple (docs/real-time.md).
"""

import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from pymodbus.client import ModbusTcpClient
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from instruments.faults import FaultKind, PortFault
from instruments.modbus_catalog import ModbusPart
from instruments.modbus_poller import Bus, Requests, refusal
from instruments.modbus_poller_frames import Done, read_pdu, words_of, write_pdu

logging.getLogger("pymodbus").addHandler(logging.NullHandler())  # its errors reach the operator as PortFaults

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge, not done yet",
    6: "device busy",
    10: "gateway path unavailable",
    11: "gateway target does not answer",
}


def split_address(device: str, address: str) -> tuple[str, int]:
    """Return host and port of ``modbus+tcp://host:port``; a PortFault says what is wrong with another form."""
    try:
        parts = urlsplit(address)
        if parts.scheme == "modbus+tcp" and parts.hostname and parts.port:
            return parts.hostname, parts.port
    except ValueError as error:
        raise PortFault(FaultKind.RANGE, device, "", f"address {address!r}: {error}") from error
    raise PortFault(FaultKind.RANGE, device, "", f"address {address!r}; allowed: modbus+tcp://host:port")


def wait_at_most(client: ModbusTcpClient, timeout_s: float) -> None:
    """Change a blocking client's longest wait for an answer, s; pymodbus 3.16 keeps it twice."""
    client.comm_params.timeout_connect = client.transaction.comm_params.timeout_connect = timeout_s


def check_answer(device: str, channel: str, answer: ModbusPDU, count: int | None) -> list[int]:
    """Return the registers of an answer; a PortFault for an exception or a wrong number of them."""
    if isinstance(answer, ExceptionResponse):
        raise exception_fault(device, channel, answer.exception_code)
    registers = list(answer.registers or [])
    if count is not None and len(registers) != count:
        detail = f"{len(registers)} registers in the answer, {count} asked for"
        raise PortFault(FaultKind.PROTOCOL, device, channel, detail)
    return registers


def exception_fault(device: str, channel: str, code: int) -> PortFault:
    """Return the fault of an exception code; a gateway that cannot reach its device is a time-out of the device."""
    kind = FaultKind.BUSY if code in (5, 6) else FaultKind.TIMEOUT if code in (10, 11) else FaultKind.REJECTED
    return PortFault(kind, device, channel, f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})")


class ModbusLink:
    """Ask one device over a connection that it may share with others. Use it from one task.

    Parameters
    ----------
    device: name in the site file, for faults
    part: how the family speaks
    address: ``modbus+tcp://host:port``
    clock_ns: monotonic clock, ns
    read_only: refuse every write
    bus: the connection of the address; None: one of its own
    opening_s: longest wait for an answer until `hurry`, s; by default that of the record
    """

    __slots__ = ("_bus", "_clock_ns", "_device", "_generation", "_member", "_part", "_read_only", "_timeout_s",
                 "address", "round_trip_ns")  # fmt: skip

    def __init__(
        self,
        device: str,
        part: ModbusPart,
        address: str,
        clock_ns: Callable[[], int],
        *,
        read_only: bool = False,
        bus: Bus | None = None,
        opening_s: float = 0.0,
    ) -> None:
        self.address = address
        self._timeout_s = max(part.timeout_s, opening_s)
        self._read_only = read_only
        self._bus = bus or Bus(*split_address(device, address))
        self.round_trip_ns = 0
        self._device = device
        self._part = part
        self._clock_ns = clock_ns
        self._generation = 0
        self._member = False

    @property
    def connected(self) -> bool:
        """Return whether the connection on which the device was opened still stands as far as we know."""
        return self._generation == self._bus.generation and self._generation > 0 and self._bus.up

    @property
    def shared(self) -> bool:
        """Return whether other devices use the connection too."""
        return self._bus.members > 1

    async def open(self) -> None:
        """Connect, or join the connection that stands; a PortFault REFUSED where none comes about in time."""
        self._join()
        if why := await self._bus.open(self._timeout_s):
            raise refusal(self._device, self.address, why)
        self._generation = self._bus.generation

    def hurry(self) -> None:
        """Wait no longer than the record says from here on: called before anything is ordered."""
        self._timeout_s = self._part.timeout_s

    def close(self) -> None:
        """Leave the connection after a fault of this device: it ends where nobody else uses it."""
        self._generation = 0
        if self._bus.members <= 1:
            self._bus.close()

    def leave(self) -> None:
        """Leave for good; the last device ends the connection."""
        self._generation = 0
        if self._member:
            self._member = False
            self._bus.leave()

    async def read(self, channel: str, unit_id: int, address: int, count: int, function: int = 0) -> list[int]:
        """Read registers, `channel` names them in faults; return `count` words (0..65535), of bits 0 or 1 each.

        `function` 1..4; 0: that of the family.
        """
        function = function or self._part.read_function
        payload = await self.fetch(channel, unit_id, read_pdu(function, address, count), count)
        if function > 2:
            return words_of(payload)
        return [payload[k >> 3] >> (k & 7) & 1 for k in range(count)]

    async def fetch(self, channel: str, unit_id: int, pdu: bytes, count: int) -> bytes:
        """Send a ready request that reads `count` values and return the answer's bytes."""
        return self._payload(channel, pdu, count, await self._ask(channel, unit_id, pdu))

    async def ask_all(self, channel: str, requests: Requests, *, urgent: bool = False) -> list[bytes]:
        """Send ready requests (unit id, PDU) in one segment and return the answers, as they came."""
        return await self._ask_all(channel, requests, urgent=urgent)

    def start(self, channel: str, requests: Requests, done: Done) -> bool:
        """Send ready requests in one segment now and let `done` hear of the answers; False where it has to wait.

        Errors: PortFault CLOSED.
        """
        self._stands(channel)
        return self._bus.start(requests, self._timeout_s, done)

    def abandon(self) -> None:
        """Wait no longer for what `start` sent."""
        self._bus.abandon()

    def fault_of(self, channel: str, unit_id: int, error: Exception) -> PortFault:
        """Return the fault of an exchange that ended in a TimeoutError or ConnectionError, and give the link up."""
        self._generation = 0
        if isinstance(error, TimeoutError):
            detail = f"no answer from {self.address} unit {unit_id} within {self._timeout_s:g} s"
            return PortFault(FaultKind.TIMEOUT, self._device, channel, detail)
        return PortFault(FaultKind.CLOSED, self._device, channel, f"{self.address} ended the connection ({error})")

    def acknowledge(self, channel: str, pdu: bytes, answer: bytes) -> None:
        """Compare the answer of a write; a PortFault says what is wrong with it."""
        self._acknowledged(channel, pdu, self._checked(channel, answer))

    def payload(self, channel: str, pdu: bytes, count: int, answer: bytes) -> bytes:
        """Return the bytes of a read's answer, two a register; of bits two each too. Errors: PortFault."""
        payload = self._payload(channel, pdu, count, self._checked(channel, answer))
        if pdu[0] > 2:
            return payload
        return bytes(byte for k in range(count) for byte in (0, payload[k >> 3] >> (k & 7) & 1))

    def _payload(self, channel: str, pdu: bytes, count: int, answer: bytes) -> bytes:
        size = 2 * count if pdu[0] > 2 else (count + 7) // 8
        if len(answer) != size + 2 or answer[1] != size:
            detail = f"{len(answer) - 2} bytes in the answer, {size} asked for"
            raise PortFault(FaultKind.PROTOCOL, self._device, channel, detail)
        return answer[2:]

    async def write(self, channel: str, unit_id: int, address: int, words: list[int], *, coil: bool = False) -> None:
        """Write all words of one value in one request: function 6 where one word and the family allow it, else 16.

        A coil is written by function 5. Errors: a link that only reads sends nothing and says so (INTERLOCK); an
        acknowledgement of something else is PROTOCOL.
        """
        pdu = self.order(channel, address, words, coil=coil)
        self.may_write(channel)
        self._acknowledged(channel, pdu, await self._ask(channel, unit_id, pdu, urgent=True))

    def order(self, channel: str, address: int, words: list[int], *, coil: bool = False) -> bytes:
        """Return the request that writes all words of one value; a PortFault RANGE where the family has none."""
        taken = self._part.write_functions
        function = 5 if coil else 6 if len(words) == 1 and 6 in taken else 16
        if function == 16 and 16 not in taken:
            detail = f"{len(words)} registers in one write; the family takes function 6 only"
            raise PortFault(FaultKind.RANGE, self._device, channel, detail)
        return write_pdu(function, address, words)

    def may_write(self, channel: str) -> None:
        """Refuse a write where this run only reads (INTERLOCK)."""
        if self._read_only:
            raise PortFault(FaultKind.INTERLOCK, self._device, channel, "this run reads only; nothing was sent")

    def _acknowledged(self, channel: str, pdu: bytes, answer: bytes) -> None:
        if answer != pdu[:5]:
            detail = f"acknowledged {answer.hex(' ')}, asked {pdu[:5].hex(' ')}"
            raise PortFault(FaultKind.PROTOCOL, self._device, channel, detail)

    async def answers(self, unit_id: int, pdu: bytes, timeout_s: float) -> bool:
        """Return whether anything answers under a unit id; a gateway's "no target" is no answer."""
        try:
            answer = await self._bus.ask(unit_id, pdu, timeout_s)
        except (TimeoutError, ConnectionError):
            return False
        return not (answer[0] & 0x80 and len(answer) > 1 and answer[1] in (10, 11))

    async def reconnect(self) -> bool:
        """Connect again after a probe that cost the connection; return whether it stands."""
        return not await self._bus.open(self._timeout_s)

    def _join(self) -> None:
        if not self._member:
            self._member = True
            self._bus.join(self._part.frame_gap_s)

    def _stands(self, channel: str) -> None:
        if self._generation != self._bus.generation or not self._bus.up:
            self._generation = 0
            raise PortFault(FaultKind.CLOSED, self._device, channel, f"connection to {self.address} is gone")

    async def _ask(self, channel: str, unit_id: int, pdu: bytes, *, urgent: bool = False) -> bytes:
        return self._checked(channel, (await self._ask_all(channel, [(unit_id, pdu)], urgent=urgent))[0])

    def _checked(self, channel: str, answer: bytes) -> bytes:
        if answer[0] & 0x80:
            raise exception_fault(self._device, channel, answer[1] if len(answer) > 1 else 0)
        return answer

    async def _ask_all(self, channel: str, requests: Requests, *, urgent: bool = False) -> list[bytes]:
        """Wait for the answer, the end of the connection or the time-out, whichever comes first."""
        self._stands(channel)
        start_ns = self._clock_ns()
        try:
            answers = await self._bus.ask_all(requests, self._timeout_s, urgent=urgent)
        except (TimeoutError, ConnectionError) as error:
            raise self.fault_of(channel, requests[0][0], error) from error
        self.round_trip_ns = self._clock_ns() - start_ns
        return answers
