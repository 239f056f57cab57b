"""Serve Modbus TCP as the specification wants it (Modbus Messaging on TCP/IP V1.0b, Application Protocol V1.1b3).

pymodbus's server loses the second of two requests in one segment and answers malformed ones with function code
0x80, so the twins stand on this one. It knows frames and exceptions; what the registers mean is the handler's.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from enum import IntEnum

HEADER = struct.Struct(">HHHB")  # transaction, protocol, length of what follows it, unit id
MAX_LENGTH = 254  # unit id and a PDU of 253 bytes
MAX_READ = 125
MAX_WRITE = 123
MAX_READ_BITS = 2000
MAX_WRITE_BITS = 1968
COIL = {0x0000: 0, 0xFF00: 1}  # Application Protocol V1.1b3, 6.5: any other value is exception 3


class ExceptionCode(IntEnum):
    """Number the exceptions of Application Protocol V1.1b3, section 7."""

    FUNCTION = 1
    ADDRESS = 2
    VALUE = 3
    FAILURE = 4
    BUSY = 6
    NO_TARGET = 11


class ModbusException(Exception):
    """Answer the request with an exception code."""

    def __init__(self, code: ExceptionCode) -> None:
        self.code = code
        super().__init__(f"Modbus exception {int(code)}")


class NoAnswer(Exception):
    """Leave the request without an answer: the device has no supply, or is not this unit."""


# unit id, function, address, count, values of a write (None: a read) -> values of a read (None: a write); a coil's
# or discrete input's value is 0 or 1
Handler = Callable[[int, int, int, int, list[int] | None], list[int] | None]
# unit id, function: raises NoAnswer where this is not the unit, ModbusException 1 for a function it does not take
Admit = Callable[[int, int], None]


def answer_pdu(handler: Handler, unit_id: int, pdu: bytes, admit: Admit | None = None) -> bytes:
    """Return the answer PDU of a request PDU (at least the function code).

    Unit and function are looked at before the form of the request: the order of the state diagrams in Application
    Protocol V1.1b3, section 6.
    """
    function = pdu[0]
    try:
        if admit is not None:
            admit(unit_id, function)
        if function in (3, 4):
            return _read(handler, unit_id, pdu)
        if function in (1, 2):
            return _read_bits(handler, unit_id, pdu)
        if function == 5:
            return _write_coil(handler, unit_id, pdu)
        if function == 15:
            return _write_coils(handler, unit_id, pdu)
        if function == 6:
            return _write_one(handler, unit_id, pdu)
        if function == 16:
            return _write_many(handler, unit_id, pdu)
        raise ModbusException(ExceptionCode.FUNCTION)
    except ModbusException as error:
        return bytes((function | 0x80, error.code))


def _read(handler: Handler, unit_id: int, pdu: bytes) -> bytes:
    if len(pdu) != 5:
        raise ModbusException(ExceptionCode.VALUE)
    address, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= MAX_READ:
        raise ModbusException(ExceptionCode.VALUE)
    _check_range(address, count)
    values = handler(unit_id, pdu[0], address, count, None)
    if values is None or len(values) != count:
        raise ModbusException(ExceptionCode.FAILURE)
    return struct.pack(f">BB{count}H", pdu[0], 2 * count, *values)


def _read_bits(handler: Handler, unit_id: int, pdu: bytes) -> bytes:
    if len(pdu) != 5:
        raise ModbusException(ExceptionCode.VALUE)
    address, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= MAX_READ_BITS:
        raise ModbusException(ExceptionCode.VALUE)
    _check_range(address, count)
    values = handler(unit_id, pdu[0], address, count, None)
    if values is None or len(values) != count:
        raise ModbusException(ExceptionCode.FAILURE)
    size = (count + 7) // 8
    packed = sum(bool(value) << k for k, value in enumerate(values))
    return bytes((pdu[0], size)) + packed.to_bytes(size, "little")


def _write_coil(handler: Handler, unit_id: int, pdu: bytes) -> bytes:
    if len(pdu) != 5:
        raise ModbusException(ExceptionCode.VALUE)
    address, value = struct.unpack(">HH", pdu[1:])
    if value not in COIL:
        raise ModbusException(ExceptionCode.VALUE)
    handler(unit_id, 5, address, 1, [COIL[value]])
    return pdu


def _write_coils(handler: Handler, unit_id: int, pdu: bytes) -> bytes:
    if len(pdu) < 6:
        raise ModbusException(ExceptionCode.VALUE)
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= MAX_WRITE_BITS or size != (count + 7) // 8 or len(pdu) != 6 + size:
        raise ModbusException(ExceptionCode.VALUE)
    _check_range(address, count)
    packed = int.from_bytes(pdu[6:], "little")
    handler(unit_id, 15, address, count, [packed >> k & 1 for k in range(count)])
    return pdu[:5]


def _write_one(handler: Handler, unit_id: int, pdu: bytes) -> bytes:
    if len(pdu) != 5:
        raise ModbusException(ExceptionCode.VALUE)
    address, value = struct.unpack(">HH", pdu[1:])
    handler(unit_id, 6, address, 1, [value])
    return pdu


def _write_many(handler: Handler, unit_id: int, pdu: bytes) -> bytes:
    if len(pdu) < 6:
        raise ModbusException(ExceptionCode.VALUE)
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= MAX_WRITE or size != 2 * count or len(pdu) != 6 + size:
        raise ModbusException(ExceptionCode.VALUE)
    _check_range(address, count)
    handler(unit_id, 16, address, count, list(struct.unpack(f">{count}H", pdu[6:])))
    return pdu[:5]


def _check_range(address: int, count: int) -> None:
    if address + count > 65536:
        raise ModbusException(ExceptionCode.ADDRESS)


class ModbusServer:
    """Serve one device on one TCP port.

    Parameters
    ----------
    handler: answers reads and takes writes; raises ModbusException or NoAnswer
    max_clients: a further connection is closed at once
    admit: refuses a unit id or a function before the request is read further; None leaves it to the handler
    idle_close_s: a connection that is silent for so long is closed; 0 never

    Attributes `delay_s` (time before every answer) and `stalled` (requests are taken, never answered) inject faults.
    """

    __slots__ = ("_connections", "_host", "_placeholder", "_port", "_server", "admit", "delay_s", "handler",
                 "idle_close_s", "max_clients", "requests", "stalled")  # fmt: skip

    def __init__(
        self, handler: Handler, *, max_clients: int = 4, idle_close_s: float = 0.0, admit: Admit | None = None
    ) -> None:
        self.handler = handler
        self.admit = admit
        self.max_clients = max_clients
        self.idle_close_s = idle_close_s
        self.delay_s = 0.0
        self.stalled = False
        self.requests = 0
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None
        self._host = ""
        self._port = 0

    @property
    def clients(self) -> int:
        """Return the number of open connections."""
        return len(self._connections)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port; an OSError tells a port in use."""
        self._host = host
        await self._listen(_bound(host, port))
        return self._port

    async def stop(self) -> None:
        """End all connections and give the port back."""
        await self._close_listener()
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    async def cut(self) -> None:
        """Cut the link: reset all connections and refuse new ones, but keep the port for `restore`."""
        await self._close_listener()
        if self._placeholder is None:
            self._placeholder = _bound(self._host, self._port)  # bound and not listening: connections are refused

    async def restore(self) -> None:
        """Listen again on the same port after a `cut`."""
        if self._placeholder is not None:
            sock, self._placeholder = self._placeholder, None
            await self._listen(sock)

    async def _listen(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), sock=sock, backlog=64)
        self._port = int(sock.getsockname()[1])

    async def _close_listener(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)  # lets the transports close their sockets

    def register(self, connection: "_Connection") -> bool:
        """Take a new connection; False where there are too many."""
        if len(self._connections) >= self.max_clients:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: "_Connection") -> None:
        """Drop a connection that ended."""
        self._connections.discard(connection)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


class _Connection(asyncio.Protocol):
    """Cut the byte stream of one client into frames and answer them in order."""

    __slots__ = ("_buffer", "_idle", "_server", "_transport")

    def __init__(self, server: ModbusServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._server.register(self):
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rearm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        self._rearm()
        self._buffer += data
        answers = bytearray()
        while len(self._buffer) >= HEADER.size:
            transaction, protocol, length, unit_id = HEADER.unpack_from(self._buffer)
            if not 2 <= length <= MAX_LENGTH:
                self.abort()  # the frame boundary is lost, so nothing behind it can be believed
                return
            end = HEADER.size - 1 + length
            if len(self._buffer) < end:
                break
            pdu = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            if protocol == 0:  # another protocol is not ours to answer
                self._server.requests += 1
                try:
                    answer = answer_pdu(self._server.handler, unit_id, pdu, self._server.admit)
                except NoAnswer:
                    continue
                answers += HEADER.pack(transaction, 0, len(answer) + 1, unit_id) + answer
        if answers and not self._server.stalled:
            self._send(bytes(answers))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self, answers: bytes) -> None:
        if self._server.delay_s > 0:  # equal delays keep the order
            asyncio.get_running_loop().call_later(self._server.delay_s, self._write, answers)
        else:
            self._write(answers)

    def _write(self, answers: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answers)

    def _rearm(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._server.idle_close_s > 0:
            self._idle = asyncio.get_running_loop().call_later(self._server.idle_close_s, self.abort)
