"""Hold one Modbus TCP connection of our own: requests in, words or a `PortFault` out.

pymodbus does the framing. What it leaves open is closed here: a peer that ends the connection ends the waiting
request at once (pymodbus waits for its time-out), and after a time-out the connection is given up, because a late
answer would be taken for the next one.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from instruments.faults import FaultKind, PortFault
from instruments.modbus_catalog import ModbusPart

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


def check_answer(device: str, channel: str, answer: ModbusPDU, count: int | None) -> list[int]:
    """Return the registers of an answer; a PortFault for an exception or a wrong number of them."""
    if isinstance(answer, ExceptionResponse):
        code = answer.exception_code
        kind = FaultKind.BUSY if code in (5, 6) else FaultKind.REJECTED
        raise PortFault(kind, device, channel, f"exception {code} ({EXCEPTIONS.get(code, 'unknown')})")
    registers = list(answer.registers or [])
    if count is not None and len(registers) != count:
        detail = f"{len(registers)} registers in the answer, {count} asked for"
        raise PortFault(FaultKind.PROTOCOL, device, channel, detail)
    return registers


class ModbusLink:
    """Hold one connection to one device. One request at a time; use it from one task."""

    __slots__ = ("_client", "_clock_ns", "_device", "_gone", "_part", "_read_only", "address", "host", "port",
                 "round_trip_ns")  # fmt: skip

    def __init__(
        self, device: str, part: ModbusPart, address: str, clock_ns: Callable[[], int], *, read_only: bool = False
    ) -> None:
        self.address = address
        self._read_only = read_only
        self.host, self.port = split_address(device, address)
        self.round_trip_ns = 0
        self._device = device
        self._part = part
        self._clock_ns = clock_ns
        self._client: AsyncModbusTcpClient | None = None
        self._gone: asyncio.Future[None] | None = None

    @property
    def connected(self) -> bool:
        """Return whether the connection stands as far as we know."""
        return self._client is not None and self._client.connected

    async def open(self) -> None:
        """Connect; a PortFault REFUSED where nothing listens or no connection comes about in time."""
        self.close()
        gone = asyncio.get_running_loop().create_future()

        def traced(connected: bool) -> None:
            if not connected and not gone.done():
                gone.set_result(None)

        client = AsyncModbusTcpClient(
            self.host,
            port=self.port,
            name=self._device,
            timeout=self._part.timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_connect=traced,
        )
        if not await client.connect():
            client.close()
            raise PortFault(FaultKind.REFUSED, self._device, "", f"no connection to {self.address}")
        self._client, self._gone = client, gone

    def close(self) -> None:
        """Drop the connection."""
        if self._client is not None:
            self._client.close()
        self._client = self._gone = None

    async def read(self, channel: str, unit_id: int, address: int, count: int) -> list[int]:
        """Read registers, `channel` names them in faults; return `count` words (0..65535)."""
        client = self._need(channel)
        read = client.read_holding_registers if self._part.read_function == 3 else client.read_input_registers
        answer = await self._ask(channel, read(address, count=count, device_id=unit_id))
        return check_answer(self._device, channel, answer, count)

    async def write(self, channel: str, unit_id: int, address: int, words: list[int]) -> None:
        """Write all words of one value in one request: function 6 where one word and the family allow it, else 16.

        A link that only reads sends nothing and says so: a PortFault INTERLOCK.
        """
        if self._read_only:
            raise PortFault(FaultKind.INTERLOCK, self._device, channel, "this run reads only; nothing was sent")
        client = self._need(channel)
        if len(words) == 1 and 6 in self._part.write_functions:
            answer = await self._ask(channel, client.write_register(address, words[0], device_id=unit_id))
        elif 16 in self._part.write_functions:
            answer = await self._ask(channel, client.write_registers(address, words, device_id=unit_id))
        else:
            detail = f"{len(words)} registers in one write; the family takes function 6 only"
            raise PortFault(FaultKind.RANGE, self._device, channel, detail)
        check_answer(self._device, channel, answer, None)

    def _need(self, channel: str) -> AsyncModbusTcpClient:
        if self._client is None or not self._client.connected:
            self.close()
            raise PortFault(FaultKind.CLOSED, self._device, channel, f"connection to {self.address} is gone")
        return self._client

    async def _ask(self, channel: str, request: Awaitable[ModbusPDU]) -> ModbusPDU:
        """Wait for the answer, the end of the connection or the time-out, whichever comes first."""
        assert self._gone is not None
        start_ns = self._clock_ns()
        task = asyncio.ensure_future(request)
        waiters: set[asyncio.Future[Any]] = {task, self._gone}
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.close()
                raise PortFault(FaultKind.CLOSED, self._device, channel, f"{self.address} ended the connection")
            answer = task.result()
        except ModbusException as error:
            self.close()
            detail = f"no answer from {self.address} within {self._part.timeout_s:g} s ({error})"
            raise PortFault(FaultKind.TIMEOUT, self._device, channel, detail) from error
        finally:
            task.cancel()
        self.round_trip_ns = self._clock_ns() - start_ns
        return answer
