"""Dial a CSMS and exchange OCPP-J messages: one own call at a time, calls of the CSMS answered in their order.

OCPP-J 1.6 chapter 4: [2, id, action, payload], [3, id, payload], [4, id, code, description, details].
"""

import asyncio
import base64
import contextlib
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from hil.twins.ocpp_faults import Faults

CALL, RESULT, ERROR = 2, 3, 4
FIRST_RETRY_S, LAST_RETRY_S = 0.2, 2.0
CALL_TIMEOUT_S = 10.0
STORM_S = 1.0

Payload = dict[str, Any]


class CallError(Exception):
    """Answer a call with an error, or report that ours was: `code` is OCPP's, the text says why."""

    def __init__(self, code: str, text: str = "") -> None:
        self.code = code
        super().__init__(f"{code}: {text}")


class LinkLost(Exception):
    """Say that a call of ours has no answer: the connection ended, or nobody answered in time."""


class Link:
    """Hold the connection of one charge point: dials for ever, also after each loss.

    `handle` answers a call of the CSMS; `opened` is awaited after each connection, `closed` told of each end.
    Attributes: `protocol` is what was agreed ("" none), `dials` counts attempts, `connected` says whether it stands.
    """

    def __init__(
        self,
        versions: list[str],
        faults: Faults,
        handle: Callable[[str, Payload], Payload],
        opened: Callable[[], Awaitable[None]],
        closed: Callable[[], None],
    ) -> None:
        self._versions = versions
        self._faults = faults
        self._handle, self._opened, self._closed = handle, opened, closed
        self._socket: ClientConnection | None = None
        self.call_timeout_s = CALL_TIMEOUT_S
        self._answers: dict[str, asyncio.Future[Payload]] = {}
        self._turn = asyncio.Lock()  # one call of ours at a time, OCPP-J 4.1.1
        self._task: asyncio.Task[None] | None = None
        self._may_dial = asyncio.Event()
        self._may_dial.set()
        self.ping_s: float | None = None
        self.protocol = ""
        self.dials = 0
        self.refusal = ""

    @property
    def connected(self) -> bool:
        """Say whether the connection stands."""
        return self._socket is not None

    def start(self, url: str, password: str = "", ca: str = "") -> None:
        """Begin to dial `url`; a `password` makes basic authentication, wss trusts the PEM file `ca`."""
        identity = url.rsplit("/", 1)[-1]
        headers = {}
        if password:
            token = base64.b64encode(f"{identity}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        context = ssl.create_default_context(cafile=ca or None) if url.startswith("wss:") else None
        self._task = asyncio.create_task(self._run(url, headers, context))

    async def stop(self) -> None:
        """End the connection and dial no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.drop()

    async def cut(self) -> None:
        """Drop the connection and do not dial until `restore`."""
        self._may_dial.clear()
        await self.drop()

    def restore(self) -> None:
        """Dial again."""
        self._may_dial.set()

    async def drop(self) -> None:
        """End the socket without the closing handshake."""
        if self._socket is not None:
            self._socket.transport.abort()
            await asyncio.sleep(0)

    async def call(self, action: str, payload: Payload) -> Payload:
        """Send a call and return its result; CallError where the CSMS refuses, LinkLost where no answer comes."""
        async with self._turn:
            socket = self._socket
            if socket is None:
                raise LinkLost(f"{action}: not connected")
            key = str(uuid.uuid4())
            answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
            self._answers[key] = answer
            text = json.dumps([CALL, key, action, payload])
            try:
                for _ in range(2 if self._faults.duplicate else 1):
                    await socket.send(text)
                async with asyncio.timeout(self.call_timeout_s):  # wait_for of Python 3.11 can swallow a cancellation
                    return await answer
            except (TimeoutError, WebSocketException, OSError) as error:
                if isinstance(error, TimeoutError):
                    socket.transport.abort()  # a line that does not answer is dialled anew
                raise LinkLost(f"{action}: {error!r}") from error
            finally:
                self._answers.pop(key, None)

    async def _run(self, url: str, headers: dict[str, str], context: ssl.SSLContext | None) -> None:
        pause_s = FIRST_RETRY_S
        while True:
            await self._may_dial.wait()
            self.dials += 1
            try:
                async with connect(
                    url,
                    subprotocols=[Subprotocol(version) for version in self._versions],
                    additional_headers=headers,
                    ssl=context,
                    proxy=None,
                    open_timeout=CALL_TIMEOUT_S,
                    ping_interval=self.ping_s,
                    close_timeout=1.0,
                ) as socket:
                    if socket.subprotocol is None:
                        raise WebSocketException(f"no subprotocol of {', '.join(self._versions)} was agreed")
                    pause_s = FIRST_RETRY_S
                    await self._serve(socket)
            except (OSError, TimeoutError, WebSocketException) as error:
                self.refusal = str(error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_RETRY_S)

    async def _serve(self, socket: ClientConnection) -> None:
        self._socket, self.protocol, self.refusal = socket, str(socket.subprotocol), ""
        calls: asyncio.Queue[tuple[str, str, Payload]] = asyncio.Queue()
        tasks = [asyncio.create_task(self._answer(socket, calls)), asyncio.create_task(self._begin())]
        if self._faults.storm:
            tasks.append(asyncio.create_task(self._end_soon(socket)))
        try:
            async for text in socket:
                self._receive(text, calls)
        finally:
            self._socket = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(WebSocketException("connection lost"))
            self._closed()

    async def _begin(self) -> None:
        await self._opened()

    async def _end_soon(self, socket: ClientConnection) -> None:
        await asyncio.sleep(STORM_S)
        socket.transport.abort()

    def _receive(self, text: str | bytes, calls: asyncio.Queue[tuple[str, str, Payload]]) -> None:
        """Sort one message; what is not OCPP-J is ignored, as nobody could be told which call failed."""
        try:
            message = json.loads(text)
            kind, key = message[0], message[1]
            if kind == CALL:
                calls.put_nowait((key, message[2], message[3]))
                return
            answer = self._answers.get(key)
            if answer is None or answer.done():
                return  # too late, or the second answer to a duplicate
            if kind == RESULT:
                answer.set_result(message[2])
            elif kind == ERROR:
                answer.set_exception(CallError(str(message[2]), str(message[3])))
        except (ValueError, TypeError, IndexError, KeyError):
            return

    async def _answer(self, socket: ClientConnection, calls: asyncio.Queue[tuple[str, str, Payload]]) -> None:
        while True:
            key, action, payload = await calls.get()
            if self._faults.drop_in_call:
                self._faults.drop_in_call = False
                socket.transport.abort()
                return
            try:
                reply: list[Any] = [RESULT, key, self._handle(action, payload)]
            except CallError as error:
                reply = [ERROR, key, error.code, str(error)[:255], {}]
            if self._faults.late_s > 0.0:
                await asyncio.sleep(self._faults.late_s)
            if self._faults.bad_result and reply[0] == RESULT:
                reply[2] = {"status": 42, "unexpected": None}
            with contextlib.suppress(WebSocketException):  # the reader sees the end of the connection too
                await socket.send(json.dumps(reply))
