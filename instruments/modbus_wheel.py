"""Ring many timers of one event loop by few: who is due within the same 2 ms is rung in one turn of the loop.

An event loop keeps a heap of timers and makes an object for each; at 1,000 chargers that costs as much as the exchange
that the timer is for. Nothing here is taken out again: who no longer waits ignores the ring.
"""

import asyncio
import heapq
from collections.abc import Callable
from weakref import WeakKeyDictionary

PER_S = 500  # slots a second


class Wheel:
    """Hold what is to be rung, by slot of time of one loop. Use it from that loop."""

    __slots__ = ("_due", "_loop", "_rings", "_slots", "_timer", "_timer_slot")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rings: dict[int, list[Callable[[], None]]] = {}
        self._slots: list[int] = []  # a heap of the keys
        self._due: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_slot = 0

    def ring(self, due_s: float, act: Callable[[], None]) -> int:
        """Call `act` when the loop's clock is at `due_s` or up to a slot later; return the slot."""
        slot = int(due_s * PER_S) + 1
        rings = self._rings.get(slot)
        if rings is not None:
            rings.append(act)
            return slot
        self._rings[slot] = [act]
        heapq.heappush(self._slots, slot)
        if self._timer is None or slot < self._timer_slot:
            self._set()
        return slot

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_slot = self._slots[0]
        self._timer = self._loop.call_at(self._timer_slot / PER_S, self._turn)

    def _turn(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # of no effect where this is its call
            self._timer = None
        now = self._loop.time() * PER_S + 0.5  # a timer of the loop may come a little early
        while self._slots and self._slots[0] <= now:
            self._due += self._rings.pop(heapq.heappop(self._slots))
        if self._slots:
            self._set()
        due, self._due = self._due, []
        due.reverse()
        try:
            while due:
                due.pop()()
        finally:
            if due:  # one failed, which the loop tells: the others are rung in its next turn
                due.reverse()
                self._due = due
                self._loop.call_soon(self._turn)


_WHEELS: "WeakKeyDictionary[asyncio.AbstractEventLoop, Wheel]" = WeakKeyDictionary()


def wheel_of(loop: asyncio.AbstractEventLoop) -> Wheel:
    """Return the wheel of a loop, a new one at the first call."""
    wheel = _WHEELS.get(loop)
    if wheel is None:
        wheel = _WHEELS[loop] = Wheel(loop)
    return wheel
