"""Serve an emulated SCPI device on a raw TCP socket, as an instrument's LAN port behaves, and break on demand.

Lines end with LF, a CR before it is taken off. A client may drop the connection in the middle of anything. As on a
real raw socket, nobody can see that a reply was never read: it stays in the stream and shifts every later one.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hil.twins.scpi_grammar import message_end
from instruments.scpi_catalog import Transport

LINE_MAX = 65536  # a line without an end is thrown away beyond it
CHUNK = 4096
HISTORY = 256


class Sessions(Protocol):
    """Say what a device wants to know of its connections."""

    def enter(self, client: int, deliver: Callable[[bytes], None]) -> None:
        """Hear that the next message comes from `client`, and where its late answers go."""

    def leave(self, client: int) -> None:
        """Hear that a connection has ended."""


class ScpiServer:
    """Listen for one device; `answer` takes a message and returns the reply line or None.

    `sessions` is the device itself where it keeps something per connection: an answer that waits for an overlapped
    command, a queue of its own.

    Faults for tests and scenarios: `cut` and `restore` the link, `stall` the answers, `lose_reply` swallows the next
    one, `half_reply` drops the connection in the middle of it. `heard` keeps the last messages as
    (client number, bytes).
    """

    __slots__ = (
        "_answer",
        "_clients",
        "_half",
        "_lose",
        "_number",
        "_server",
        "_sessions",
        "_stalled",
        "_transport",
        "address",
        "heard",
    )

    def __init__(
        self, answer: Callable[[bytes], bytes | None], transport: Transport, sessions: Sessions | None = None
    ) -> None:
        self._answer = answer
        self._sessions = sessions
        self._transport = transport
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._number = 0
        self._half = self._lose = False
        self._stalled = asyncio.Event()
        self._stalled.set()
        self.address: tuple[str, int] = ("", 0)
        self.heard: deque[tuple[int, bytes]] = deque(maxlen=HISTORY)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen on the address and return the port; OSError where it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=LINE_MAX)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self.address[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        clients = dict(self._clients)
        for writer in clients.values():
            writer.transport.abort()  # the tasks see the end of their streams; cancelled ones would be logged
        stalled = not self._stalled.is_set()
        self._stalled.set()
        await asyncio.gather(*clients, return_exceptions=True)
        self.stall(stalled)

    async def cut(self) -> None:
        """Cut the link: connections are reset and new ones refused until `restore`."""
        await self.stop()

    async def restore(self) -> None:
        """Listen again on the same address."""
        await self.start(*self.address)

    def stall(self, stalled: bool) -> None:
        """Hold back every answer, or let them go."""
        if stalled:
            self._stalled.clear()
        else:
            self._stalled.set()

    def lose_reply(self) -> None:
        """Execute the next message, but lose its reply."""
        self._lose = True

    def half_reply(self) -> None:
        """Send half of the next reply and drop the connection."""
        self._half = True

    @property
    def clients(self) -> int:
        """Return how many connections are open."""
        return len(self._clients)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        task = asyncio.current_task()
        if task is None or len(self._clients) >= self._transport.max_clients:
            writer.transport.abort()
            return
        self._clients[task] = writer
        self._number += 1
        number = self._number
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._lines(number, reader, writer)
        except (ConnectionError, TimeoutError):
            return  # the client went away or stayed idle too long: a device notices neither
        finally:
            if self._sessions is not None:
                self._sessions.leave(number)
            self._clients.pop(task, None)
            writer.close()

    async def _lines(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Cut the stream into lines and answer them in order."""
        buffer = bytearray()
        idle_s = self._transport.idle_close_s or None
        while True:
            async with asyncio.timeout(idle_s):
                chunk = await reader.read(CHUNK)
            if not chunk:
                return  # a partial line is never executed
            buffer += chunk
            while (end := message_end(buffer.decode("latin-1"))) >= 0:
                line = bytes(buffer[:end]).rstrip(b"\r")
                del buffer[: end + 1]
                if line.strip():
                    await self._reply(number, line, writer)
            if len(buffer) > LINE_MAX:
                buffer.clear()

    async def _reply(self, number: int, line: bytes, writer: asyncio.StreamWriter) -> None:
        """Execute one message and send its reply."""
        self.heard.append((number, line))
        if self._sessions is not None:
            self._sessions.enter(number, writer.write)
        reply = self._answer(line)
        if reply is None:
            return
        if self._lose:
            self._lose = False
            return
        if self._transport.reply_s:
            await asyncio.sleep(self._transport.reply_s)
        await self._stalled.wait()
        if self._half:
            self._half = False
            writer.write(reply[: len(reply) // 2])
            await writer.drain()
            raise ConnectionResetError("half a reply was asked for")
        writer.write(reply)
        await writer.drain()
