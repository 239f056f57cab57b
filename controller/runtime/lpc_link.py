"""Listen to an energy guard: the abstract transport of LPC and LPP, and one over a local socket.

EEBUS speaks SHIP (TLS, WebSocket, mDNS) and SPINE. No kept Python library offers either, so a transport of that kind
is a program beside this one (in Go: eebus-go) that passes messages on over the local socket: one JSON object a line,
`heartbeat` and `write` in, `result`, `heartbeat` and `state` out. The socket is a file that only its owner may open.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from controller.runtime.lpc_system import ControllableSystem

MAX_LINE = 4096
TICK_S = 1.0


class Transport(Protocol):
    """Carry messages between an energy guard and a controllable system."""

    async def open(self, take: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        """Begin to listen; `take` is called with every message and returns the answer, None where there is none."""

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message to the guard, if one is connected."""

    async def close(self) -> None:
        """End the transport; nothing is lifted by it."""


class LocalSocket:
    """Carry messages over a Unix socket, one guard at a time: a second one is turned away."""

    __slots__ = ("_on_guard", "_path", "_server", "_writer")

    def __init__(self, path: Path, on_guard: Callable[[], None] | None = None) -> None:
        self._path, self._on_guard = path, on_guard
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, take: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        """Listen at the path; OSError where it cannot be."""

        async def guard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._writer is not None:
                writer.write(_line({"type": "result", "ack": False, "why": "another energy guard is connected"}))
                await _shut(writer)
                return
            self._writer = writer
            if self._on_guard is not None:
                self._on_guard()
            try:
                await self._serve(reader, writer, take)
            finally:
                self._writer = None
                await _shut(writer)

        self._path.unlink(missing_ok=True)
        mask = os.umask(0o177)  # nobody else may open it from its first moment on
        try:
            self._server = await asyncio.start_unix_server(guard, self._path, limit=MAX_LINE)
        finally:
            os.umask(mask)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        take: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> None:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            except asyncio.LimitOverrunError:
                writer.write(_line({"type": "result", "ack": False, "why": f"a message over {MAX_LINE} bytes"}))
                return
            answer = take(_message(line))
            if answer is not None:
                writer.write(_line(answer))
                await writer.drain()

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message to the guard, if one is connected; a lost one is found by the reader."""
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        writer.write(_line(message))
        try:
            await writer.drain()
        except ConnectionError:
            writer.close()

    async def close(self) -> None:
        """Stop listening and let the guard go."""
        if self._server is not None:
            self._server.close()
        if self._writer is not None:
            await _shut(self._writer)
        self._path.unlink(missing_ok=True)


class Listener:
    """Run a controllable system behind a transport: answers, its own heartbeats, and its state when that changes.

    `answered` takes each message with its answer and returns the answer that is sent; a `mute` one answers only.
    """

    __slots__ = ("_answered", "_beat_s", "_clock_ns", "_mute", "_state", "_task", "system", "transport")

    def __init__(
        self,
        system: ControllableSystem,
        transport: Transport,
        *,
        beat_s: float = 60.0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        answered: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] = lambda _, answer: answer,
        mute: bool = False,
    ) -> None:
        self.system, self.transport = system, transport
        self._beat_s, self._clock_ns = beat_s, clock_ns
        self._answered, self._mute = answered, mute
        self._task: asyncio.Task[None] | None = None
        self._state: dict[str, Any] = {}

    async def start(self) -> None:
        """Open the transport and begin to send."""
        await self.transport.open(self._take)
        self._task = asyncio.create_task(self._run())

    def _take(self, message: dict[str, Any]) -> dict[str, Any] | None:
        answer = self.system.take(message, self._clock_ns())
        return None if answer is None else self._answered(message, answer)

    async def _run(self) -> None:
        while not self._mute:
            await self.tell()
            await asyncio.sleep(TICK_S)

    async def tell(self) -> None:
        """Send what is due now: our heartbeat, and the state where it has changed."""
        now_ns = self._clock_ns()
        self.system.advance(now_ns)
        if self.system.heartbeat_due(now_ns, self._beat_s):
            await self.transport.send({"type": "heartbeat"})
        state = self.system.report()
        if state != self._state:
            self._state = state
            await self.transport.send(state)

    async def stop(self) -> None:
        """End it; the limits in force stay what they are until somebody else lifts them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.transport.close()


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, allow_nan=False).encode() + b"\n"


def _message(line: bytes) -> dict[str, Any]:
    """Return the JSON object of a line; an empty one, which nobody takes for a message, where it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def _shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        return
