"""Cut a Modbus TCP byte stream into answers and match each with its request (Messaging on TCP/IP V1.0b, 3.1.3).

An answer counts only under the transaction id of a request that still waits, from the unit that was asked, with its
function code. A late or foreign one is counted and dropped, so that it is never taken for the next one.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence

HEADER = struct.Struct(">HHHB")  # transaction, protocol, length of what follows it, unit id
MAX_LENGTH = 254  # unit id and a PDU of 253 bytes
READ = struct.Struct(">BHH")  # function, address, count (or value)
HEADER_BYTES = HEADER.size
Done = Callable[[list[bytes], Exception | None], None]
PACK, UNPACK = HEADER.pack, HEADER.unpack_from


def read_pdu(function: int, address: int, count: int) -> bytes:
    """Return the request that reads `count` registers or bits (function 1..4)."""
    return READ.pack(function, address, count)


def write_pdu(function: int, address: int, words: list[int]) -> bytes:
    """Return the request that writes a coil (5, words 0 or 1), one register (6) or several (16)."""
    if function == 16:
        return struct.pack(f">BHHB{len(words)}H", 16, address, len(words), 2 * len(words), *words)
    return READ.pack(function, address, (0xFF00 if words[0] else 0) if function == 5 else words[0])


def words_of(payload: bytes) -> list[int]:
    """Return the registers of a read's answer."""
    return list(struct.unpack(f">{len(payload) // 2}H", payload))


class Wire(asyncio.Protocol):
    """Hold one TCP connection: requests out, one segment after the other, with an exchange that gets their answers.

    Attributes: `strays` counts answers that nobody waited for; `broken` says why the stream cannot be believed.
    `lost` is called once when the connection ends.

    The requests of a segment have transaction ids that follow on each other: the first one's and the requests tell
    which answers are waited for. Who waits is called once, with the answer PDUs in the order of the requests, or with
    none and why.
    """

    __slots__ = ("_answers", "_buffer", "_done", "_first", "_left", "_lost", "_requests", "_transaction", "_transport",
                 "broken", "strays")  # fmt: skip

    def __init__(self, lost: Callable[[], None]) -> None:
        self._buffer = b""
        self._done: Done | None = None
        self._requests: Sequence[tuple[int, bytes]] = ()
        self._answers: list[bytes] = []
        self._left = 0
        self._first = 0
        self._lost = lost
        self._transaction = 0
        self._transport: asyncio.Transport | None = None
        self.broken = ""
        self.strays = 0

    @property
    def up(self) -> bool:
        """Return whether the connection stands as far as we know."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; small requests leave at once."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """End every waiting request at once."""
        self.close()

    def close(self) -> None:
        """Drop the connection; an exchange that waits ends with a ConnectionError."""
        if self._transport is None:
            return
        transport, self._transport = self._transport, None
        transport.abort()
        done = self._done
        self.forget()
        self._lost()
        if done is not None:
            done([], ConnectionResetError(self.broken or "the connection ended"))

    def send(self, requests: Sequence[tuple[int, bytes]], done: Done) -> None:
        """Send requests (unit id, PDU) in one segment; `done` hears of their answers. One exchange is out at a time."""
        transport = self._transport
        if transport is None:
            raise ConnectionResetError("the connection ended")
        transaction = self._transaction
        self._first = transaction + 1
        self._requests, self._done = requests, done
        self._left = len(requests)
        self._answers = [b""] * self._left
        frames = b""
        for unit_id, pdu in requests:
            transaction = (transaction + 1) & 0xFFFF
            frames += PACK(transaction, 0, len(pdu) + 1, unit_id) + pdu
        self._transaction = transaction
        transport.write(frames)

    def expire(self) -> None:
        """End the wait with a TimeoutError; what still comes is dropped."""
        done = self._done
        self.forget()
        if done is not None:
            done([], TimeoutError())

    def forget(self) -> None:
        """Wait no longer and tell nobody: what still comes is dropped."""
        self._done = None
        self._requests = ()

    def data_received(self, data: bytes) -> None:
        """Take whole frames off the stream; a header that cannot be ends the connection."""
        if self._buffer:
            data = self._buffer + data
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            transaction, protocol, length, unit_id = UNPACK(data, at)
            if protocol != 0 or not 2 <= length <= MAX_LENGTH:
                self.broken = f"no Modbus frame: protocol id {protocol}, length {length}"
                self.close()
                return
            end = at + HEADER_BYTES - 1 + length
            if end > size:
                break
            self._answer(transaction, unit_id, data[at + HEADER_BYTES : end])
            at = end
        self._buffer = data[at:]

    def _answer(self, transaction: int, unit_id: int, pdu: bytes) -> None:
        place, requests = (transaction - self._first) & 0xFFFF, self._requests
        if place >= len(requests) or self._answers[place]:
            self.strays += 1
            return
        asked_id, asked = requests[place]
        if asked_id != unit_id or asked[0] != pdu[0] & 0x7F:
            self.strays += 1
            return
        self._answers[place] = pdu
        self._left -= 1
        done = self._done
        if self._left == 0 and done is not None:
            answers = self._answers
            self._done, self._requests = None, ()
            done(answers, None)
