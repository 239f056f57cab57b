"""Share one TCP connection among all devices behind one address: gateways, stations with two sockets, controllers.

One request is out at a time. A write goes before the reads that wait, a few writes before a read. The bus keeps its
silence between requests and its back-off between connections. A time-out costs the connection only where nobody else
answers on it: the transaction ids keep a late answer from being taken for another one.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence

from instruments.faults import FaultKind, PortFault
from instruments.modbus_poller_frames import Done, Wire

NS = 1_000_000_000
BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 5.0
JITTER = 0.25  # of the back-off, so that a street does not come back in one moment
EARLY_S = 1e-3  # a timer of the loop may come this much early
URGENT_ROW = 3  # so many writes in a row while a read waits: orders of many devices must not keep readings away
SILENT_UNITS = 3  # time-outs in a row, whoever was asked, after which the connection counts as dead


Requests = Sequence[tuple[int, bytes]]  # unit id, PDU


class Bus:
    """Own the connection to one address. Use it from one event loop.

    Attributes: `members` number of devices behind it; `generation` counts connections, so that a device notices a new
    one; `late` counts answers that came after their time-out.
    """

    __slots__ = ("_backoff_s", "_busy", "_done", "_due_s", "_gap_ns", "_last_ns", "_opening", "_own", "_queue",
                 "_refused", "_retry_ns", "_row", "_silent", "_timer", "_timer_loop", "_urgent", "_wire", "generation",
                 "host", "late", "members", "port")  # fmt: skip

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.members = 0
        self.generation = 0
        self.late = 0
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()
        self._busy = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._row = 0  # turns that urgent ones had since the last other one
        self._gap_ns = 0
        self._last_ns = 0
        self._silent = 0
        self._backoff_s = 0.0
        self._retry_ns = 0
        self._refused = ""
        self._done: Done | None = None  # who hears of the exchange that is out
        self._own = False  # that exchange was started by `start`, and ends the turn itself
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_loop: asyncio.AbstractEventLoop | None = None

    @property
    def up(self) -> bool:
        """Return whether the connection stands as far as we know."""
        return self._wire is not None and self._wire.up

    def join(self, frame_gap_s: float) -> None:
        """Count a device in; the longest silence that any of them needs holds for all."""
        self.members += 1
        self._gap_ns = max(self._gap_ns, round(frame_gap_s * NS))

    async def open(self, timeout_s: float) -> str:
        """Connect where there is no connection; return why not, or an empty text. Back-off is kept among members."""
        async with self._opening:
            if self.up:
                return ""
            if self.members > 1 and time.monotonic_ns() < self._retry_ns:
                return self._refused
            self.close()
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(timeout_s):
                    _, wire = await loop.create_connection(lambda: Wire(self._ended), self.host, self.port)
            except (OSError, TimeoutError) as error:
                self._backoff_s = min(max(2 * self._backoff_s, BACKOFF_FIRST_S), BACKOFF_LAST_S)
                self._retry_ns = time.monotonic_ns() + round(jittered(self._backoff_s) * NS)
                self._refused = str(error) or "no connection in time"
                return self._refused
            self._wire, self._backoff_s, self._silent = wire, 0.0, 0
            self.generation += 1
            return ""

    def close(self) -> None:
        """Drop the connection for all members."""
        if self._wire is not None:
            self.late += self._wire.strays
            wire, self._wire = self._wire, None
            wire.close()

    def leave(self) -> None:
        """Count a device out; the last one drops the connection."""
        self.members = max(self.members - 1, 0)
        if self.members == 0:
            self.close()

    async def ask(self, unit_id: int, pdu: bytes, timeout_s: float, *, urgent: bool = False) -> bytes:
        """Send one request and return the answer PDU; `urgent` goes before what is not.

        Errors: TimeoutError (the connection may be gone after it), ConnectionError.
        """
        return (await self.ask_all([(unit_id, pdu)], timeout_s, urgent=urgent))[0]

    async def ask_all(self, requests: Requests, timeout_s: float, *, urgent: bool = False) -> list[bytes]:
        """Send requests (unit id, PDU) in one segment and return the answer PDUs, in the order of the requests."""
        if self._busy or self._queue or self._urgent:
            await self._turn(urgent)
        self._busy = True
        try:
            if self._gap_ns and (wait_ns := self._last_ns + self._gap_ns - time.monotonic_ns()) > 0:
                await asyncio.sleep(wait_ns / NS)
            return await self._exchange(requests, timeout_s)
        finally:
            if self._gap_ns:
                self._last_ns = time.monotonic_ns()
            self._next()

    def start(self, requests: Requests, timeout_s: float, done: Done) -> bool:
        """Send requests in one segment now; `done` hears of the answers, without a task that waits for them.

        Return False, and do nothing, where others wait for the connection too, or it needs its silence, or is gone.
        """
        if self._busy or self._queue or self._urgent or self._gap_ns or self._wire is None:
            return False
        self._busy = self._own = True
        try:
            self._send(requests, timeout_s, done)
        except ConnectionError:
            self._busy = self._own = False
            return False
        return True

    def abandon(self) -> None:
        """Wait no longer for what `start` sent."""
        if self._own:
            self._own, self._done = False, None
            if self._wire is not None:
                self._wire.forget()
            self._next()

    async def _exchange(self, requests: Requests, timeout_s: float) -> list[bytes]:
        future: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        wire = self._wire

        def done(answers: list[bytes], error: Exception | None) -> None:
            if future.done():
                return  # cancelled a moment ago
            if error is None:
                future.set_result(answers)
            else:
                future.set_exception(error)

        self._send(requests, timeout_s, done)
        try:
            return await future
        except asyncio.CancelledError:
            self._done = None
            if wire is not None:
                wire.forget()
            raise

    def _send(self, requests: Requests, timeout_s: float, done: Done) -> None:
        if self._wire is None:
            raise ConnectionResetError("the connection ended")
        self._wire.send(requests, self._over)
        self._done = done
        self._watch(timeout_s)

    def _over(self, answers: list[bytes], error: Exception | None) -> None:
        """Hear how the exchange that is out ended and pass it on."""
        done, self._done = self._done, None
        if error is None:
            self._silent = 0
        elif isinstance(error, TimeoutError):
            self._silent += 1
            if self._silent >= min(self.members, SILENT_UNITS):
                self.close()
        if self._own:
            self._own = False
            self._next()
        if done is not None:
            done(answers, error)

    def _watch(self, timeout_s: float) -> None:
        """End the wait in time. One timer serves many requests: it looks again where the wait is a younger one."""
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + timeout_s
        if self._timer is None or self._timer.when() > self._due_s or self._timer_loop is not loop:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_loop = loop.call_at(self._due_s, self._overdue), loop

    def _overdue(self) -> None:
        self._timer = None
        if self._done is not None and self._wire is not None and self._timer_loop is not None:
            if self._timer_loop.time() < self._due_s - EARLY_S:
                self._timer = self._timer_loop.call_at(self._due_s, self._overdue)
            else:
                self._wire.expire()

    async def _turn(self, urgent: bool) -> None:
        """Wait until nobody else's request is out."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._queue).append(mine)
        if not self._busy:
            self._next()
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._next()
            raise

    def _next(self) -> None:
        while self._queue or self._urgent:
            urgent = bool(self._urgent) and not (self._queue and self._row >= URGENT_ROW)
            future = (self._urgent if urgent else self._queue).popleft()
            if not future.done():
                self._row = self._row + 1 if urgent else 0
                self._busy = True
                future.set_result(None)
                return
        self._busy, self._row = False, 0

    def _ended(self) -> None:
        """Hear that the connection ended."""


class Buses:
    """Find the bus of an address: devices that name the same one share it."""

    __slots__ = ("_buses",)

    def __init__(self) -> None:
        self._buses: dict[tuple[str, int], Bus] = {}

    def at(self, host: str, port: int) -> Bus:
        """Return the bus of an address, a new one at the first call."""
        return self._buses.setdefault((host, port), Bus(host, port))


def jittered(wait_s: float, draw: Callable[[], float] = random.random) -> float:
    """Return a wait spread by `JITTER` to both sides; `draw` gives 0..1."""
    return wait_s * (1.0 + JITTER * (2.0 * draw() - 1.0))


def refusal(device: str, address: str, why: str) -> PortFault:
    """Return the fault of a connection that did not come about."""
    return PortFault(FaultKind.REFUSED, device, "", f"no connection to {address} ({why})")
