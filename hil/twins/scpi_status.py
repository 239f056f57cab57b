"""Keep the status of a SCPI device: error queue, standard event register, status byte and condition groups.

IEEE 488.2 chapter 11 and SCPI-99 volume 1 chapter 9. Which bit of the status byte means what differs between
vendors, so their positions come from the catalog.
"""

from collections import deque

from hil.twins.scpi_grammar import TEXTS

OPC, QYE, DDE, EXE, CME, PON = 1, 4, 8, 16, 32, 128  # standard event register, IEEE 488.2 11.5.1


class ErrorQueue:
    """Keep errors first in, first out; on overflow the newest entry becomes -350 (SCPI-99 21.8.1)."""

    __slots__ = ("_depth", "_empty", "_entries", "_sign")

    def __init__(self, depth: int, empty: str, sign: bool) -> None:
        self._entries: deque[int] = deque()
        self._depth = depth
        self._empty = empty
        self._sign = sign

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, code: int) -> None:
        """Add an error; where the queue is full, the last entry says that later ones are lost."""
        if len(self._entries) < self._depth:
            self._entries.append(code)
        else:
            self._entries[-1] = -350

    def pop(self) -> str:
        """Return the oldest error as the device writes it and forget it."""
        if not self._entries:
            return self._empty
        code = self._entries.popleft()
        return f'{code:+d},"{TEXTS[code]}"' if self._sign else f'{code},"{TEXTS[code]}"'

    def clear(self) -> None:
        """Forget all errors."""
        self._entries.clear()


class StatusGroup:
    """Keep one condition register with its transition filters, its event register and its enable mask."""

    __slots__ = ("condition", "enable", "event", "negative", "positive")

    def __init__(self) -> None:
        self.condition = self.event = self.enable = self.negative = 0
        self.positive = 0x7FFFFFFF

    def set(self, bit: int, on: bool) -> None:
        """Set a condition bit; an edge that a filter lets pass is latched in the event register."""
        mask = 1 << bit
        if bool(self.condition & mask) == on:
            return
        self.condition ^= mask
        self.event |= mask & (self.positive if on else self.negative)

    def take_event(self) -> int:
        """Return the event register and clear it."""
        event, self.event = self.event, 0
        return event

    def preset(self) -> None:
        """Do what STATus:PRESet asks: positive edges only, nothing enabled."""
        self.positive, self.negative, self.enable = 0x7FFFFFFF, 0, 0

    @property
    def summary(self) -> bool:
        """Tell whether an enabled event is latched."""
        return bool(self.event & self.enable)


class Status:
    """Join the registers of one device; `bits` gives the positions in the status byte by name."""

    __slots__ = ("bits", "errors", "event", "event_enable", "operation", "questionable", "request_enable")

    def __init__(self, bits: dict[str, int], errors: ErrorQueue) -> None:
        self.bits = bits
        self.errors = errors
        self.event = PON
        self.event_enable = self.request_enable = 0
        self.questionable = StatusGroup()
        self.operation = StatusGroup()

    def error(self, code: int) -> None:
        """Queue an error and set the bit of its class in the standard event register."""
        self.errors.push(code)
        if -200 < code <= -100:
            self.event |= CME
        elif -300 < code <= -200:
            self.event |= EXE
        elif code <= -400:
            self.event |= QYE
        else:
            self.event |= DDE

    def take_event(self) -> int:
        """Return the standard event register and clear it."""
        event, self.event = self.event, 0
        return event

    def clear(self) -> None:
        """Do what ``*CLS`` asks: event registers and error queue, never an enable mask."""
        self.event = self.questionable.event = self.operation.event = 0
        self.errors.clear()

    def byte(self, message: bool) -> int:
        """Return the status byte with the master summary in bit 6; `message`: an answer waits."""
        states = {
            "error": len(self.errors) > 0,
            "questionable": self.questionable.summary,
            "message": message,
            "event": bool(self.event & self.event_enable),
            "operation": self.operation.summary,
        }
        value = sum(1 << bit for name, bit in self.bits.items() if states.get(name, False))
        return value | (1 << self.bits.get("master", 6) if value & self.request_enable else 0)
