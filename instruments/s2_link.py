"""Carry S2 messages over a websocket, as a client of the energy manager. Foreign errors become PortFaults."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import websockets

from instruments.faults import FaultKind, PortFault

MOST_BYTES = 1 << 20
OPEN_S = 5.0
LOCAL = ("127.0.0.1", "localhost", "::1")


class S2Link:
    """Hold one open link; `open_link` makes it."""

    def __init__(self, name: str, url: str, socket: Any) -> None:
        self._name, self._url, self._socket = name, url, socket

    async def send(self, text: str) -> None:
        """Send one message; PortFault where the link ended."""
        try:
            await self._socket.send(text)
        except websockets.ConnectionClosed as error:
            raise PortFault(FaultKind.CLOSED, self._name, self._url, str(error)) from error

    async def receive(self, timeout_s: float) -> str | None:
        """Return the next message; None where none came in time. PortFault where the link ended."""
        try:
            async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 may swallow a cancellation
                message = await self._socket.recv()
        except TimeoutError:
            return None
        except websockets.ConnectionClosed as error:
            raise PortFault(FaultKind.CLOSED, self._name, self._url, str(error)) from error
        return message if isinstance(message, str) else bytes(message).decode(errors="replace")


@contextlib.asynccontextmanager
async def open_link(name: str, url: str) -> AsyncIterator[S2Link]:
    """Connect to the energy manager at `url` (wss://…; plain ws for this machine only); PortFault says what failed."""
    parts = urlsplit(url)
    if parts.scheme != "wss" and not (parts.scheme == "ws" and parts.hostname in LOCAL):
        raise PortFault(FaultKind.REJECTED, name, url, "give a wss address; plain ws for this machine only")
    try:
        socket = await websockets.connect(url, max_size=MOST_BYTES, open_timeout=OPEN_S, proxy=None)
    except TimeoutError as error:
        raise PortFault(FaultKind.TIMEOUT, name, url, f"no answer in {OPEN_S:g} s") from error
    except (OSError, websockets.WebSocketException) as error:
        raise PortFault(FaultKind.REFUSED, name, url, str(error)) from error
    try:
        yield S2Link(name, url, socket)
    finally:
        await socket.close()
