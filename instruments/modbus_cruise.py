"""Keep the plain cycle of one charger going by callbacks: order and poll out, answers in, the next ones in time.

At 1,000 chargers a task that sleeps and wakes twice a cycle costs more than the exchange itself. What is not plain
(feeding a watchdog, comparing a fail-safe, a fault, a connection in use by others) ends the cruise: the task goes on.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from instruments.faults import PortFault
from instruments.modbus_link import ModbusLink
from instruments.modbus_pacing import Write
from instruments.modbus_wheel import PER_S, Wheel, wheel_of


class Act(Enum):
    """Say what is due."""

    WAIT = 0
    ASK = 1
    FEED = 2
    DOG = 3
    PHASES = 4


Due = tuple[Act, Write | None, int | None, float]  # what, the order, the poll, else the time to wait, s


class Asked(NamedTuple):
    """Hold what was sent in one segment: an order, a poll (its number in the plan) or both, the order first."""

    write: Write | None
    poll: int | None
    channel: str
    requests: list[tuple[int, bytes]]
    sent_ns: int


class Cruise:
    """Send and receive without a task. Use it from one event loop.

    Parameters
    ----------
    asking: makes the requests of an order, a poll or both
    answered: takes the answers, or what ended the wait; both may raise a PortFault
    link: to the charger
    clock_ns: monotonic clock, ns

    Attribute `worked`: whether any exchange of the newest cruise succeeded.
    """

    __slots__ = ("_answered", "_asked", "_asking", "_clock_ns", "_due", "_ended", "_link", "_loop", "_slot", "_wheel",
                 "worked")  # fmt: skip

    def __init__(
        self,
        asking: Callable[[Write | None, int | None], Asked],
        answered: Callable[[Asked, list[bytes], Exception | None], None],
        link: ModbusLink,
        clock_ns: Callable[[], int],
    ) -> None:
        self._asking = asking
        self._answered = answered
        self._link = link
        self._clock_ns = clock_ns
        self._asked: Asked | None = None
        self._due: Callable[[int], Due | None]
        self._ended: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._wheel: Wheel
        self._slot = 0  # of the wheel, in which it is rung next; 0 in none
        self.worked = False

    async def go(self, due: Callable[[int], Due | None]) -> None:
        """Do what `due(now_ns)` says until something else than an exchange is due.

        `due` returns None where nothing may be sent. Errors: PortFault, of an exchange or of `due`.
        """
        self._loop = asyncio.get_running_loop()
        self._wheel = wheel_of(self._loop)
        self._due = due
        self._ended = self._loop.create_future()
        self.worked = False
        try:
            self.look()
            await self._ended
        finally:
            self._ended = None
            self._slot = 0
            if self._asked is not None:
                self._asked = None
                self._link.abandon()

    def look(self) -> bool:
        """Look what is due now; return False where no cruise is under way."""
        ended = self._ended
        if ended is None:
            return False
        if self._asked is None and not ended.done():
            self._go_on(ended, None, [], None)
        return True

    def _go_on(
        self, ended: "asyncio.Future[None]", asked: Asked | None, answers: list[bytes], error: Exception | None
    ) -> None:
        """Take what was asked, and do what is due; end the cruise where that is something else, or where it fails.

        A failure that is no fault is the loop's to tell.
        """
        go_on = False
        try:
            if asked is not None:
                self._answered(asked, answers, error)
                self.worked = True
            go_on = self._step()
        except PortFault as fault:
            if not ended.done():
                ended.set_exception(fault)
        finally:
            if not go_on and not ended.done():
                ended.set_result(None)

    def _step(self) -> bool:
        due = self._due(self._clock_ns())
        if due is None:
            return False
        act, write, poll, wait_s = due
        if act is Act.WAIT:
            self._sleep(wait_s)
            return True
        if act is not Act.ASK:
            return False
        asked = self._asking(write, poll)
        if not self._link.start(asked.channel, asked.requests, self._over):
            return False
        self._asked = asked
        return True

    def _over(self, answers: list[bytes], error: Exception | None) -> None:
        asked, self._asked, ended = self._asked, None, self._ended
        if asked is not None and ended is not None and not ended.done():
            self._go_on(ended, asked, answers, error)

    def _sleep(self, wait_s: float) -> None:
        """Look again in `wait_s`, or up to a slot of the wheel later."""
        due_s = self._loop.time() + wait_s
        if self._slot != int(due_s * PER_S) + 1:
            self._slot = self._wheel.ring(due_s, self._ring)

    def _ring(self) -> None:
        slot, self._slot = self._slot, 0
        if slot > self._loop.time() * PER_S + 1.0:  # an older ring, for a time that was put off
            self._slot = slot
        elif slot:
            self.look()
