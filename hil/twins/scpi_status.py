"""Keep the status of a SCPI device: error queue, standard event register, status byte and condition groups.

IEEE 488.2 chapter 11 and SCPI-99 volume 1 chapter 9. Which bit of the status byte means what differs between
vendors, so their positions come from the catalog.
"""

from collections import deque

from hil.twins.scpi_errors import TEXT_MAX, TEXTS
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_dialect import Parser

OPC, QYE, DDE, EXE, CME, URQ, PON = 1, 4, 8, 16, 32, 64, 128  # standard event register, IEEE 488.2 11.5.1
WIDTH, WIDE = 0x7FFF, 0x7FFFFFFF  # SCPI-99 keeps bit 15 at 0; the IT8200 has a register of 19 bits
MASTER = 6  # IEEE 488.2, 11.2.2.2: always bit 6


class ErrorQueue:
    """Keep errors first in, first out; what happens beyond the depth is the vendor's (SCPI-99 21.8.1: -350)."""

    __slots__ = ("_entries", "_parser")

    def __init__(self, parser: Parser) -> None:
        self._entries: deque[int] = deque()
        self._parser = parser

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, code: int) -> None:
        """Add an error; where the queue is full the oldest stay and the last says that later ones are lost."""
        if len(self._entries) < self._parser.error_depth:
            self._entries.append(code)
        elif self._parser.error_overflow == "replace_last":
            self._entries[-1] = -350

    def pop(self) -> str:
        """Return the oldest error as the device writes it and forget it."""
        return self._written(self._entries.popleft()) if self._entries else self._parser.error_empty

    def codes(self) -> list[int]:
        """Return the codes that wait, oldest first."""
        return list(self._entries)

    def _written(self, code: int) -> str:
        """Return one entry in the form of the device: quotes and spacing as in its empty answer."""
        empty = self._parser.error_empty
        text = self._parser.error_codes.get(str(code), TEXTS.get(code, "Device-specific error"))[:TEXT_MAX]
        shown = -code if self._parser.error_positive and code < 0 else code
        number = f"{shown:+d}" if self._parser.error_sign else str(shown)
        comma = ", " if ", " in empty else ","
        return f'{number}{comma}"{text}"' if '"' in empty else f"{number}{comma}{text}"

    def clear(self) -> None:
        """Forget all errors."""
        self._entries.clear()


class StatusGroup:
    """Keep one condition register with its transition filters, its event register and its enable mask."""

    __slots__ = ("condition", "enable", "event", "negative", "positive", "width")

    def __init__(self, bits: dict[str, int]) -> None:
        self.width = WIDE if any(bit > 14 for bit in bits.values()) else WIDTH
        self.condition = self.event = self.enable = self.negative = 0
        self.positive = self.width

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
        """Do what STATus:PRESet asks: positive edges only, nothing enabled (SCPI-99 volume 2, 20.2)."""
        self.positive, self.negative, self.enable = self.width, 0, 0

    @property
    def summary(self) -> bool:
        """Tell whether an enabled event is latched."""
        return bool(self.event & self.enable)


class Status:
    """Join the registers of one device; the positions in the status byte come by name from the catalog."""

    __slots__ = (
        "_parser",
        "_shown",
        "_stb",
        "errors",
        "event",
        "event_enable",
        "operation",
        "questionable",
        "request_enable",
    )

    def __init__(self, part: ScpiPart) -> None:
        self._stb = part.status.stb
        self._parser = part.parser
        self._shown = 0
        self.errors = ErrorQueue(part.parser)
        self.event = PON
        self.event_enable = self.request_enable = 0
        self.questionable = StatusGroup(part.status.questionable)
        self.operation = StatusGroup(part.status.operation)

    def own_queue(self) -> ErrorQueue:
        """Return a further, empty queue of the same form: for a device that keeps one per connection."""
        return ErrorQueue(self._parser)

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
            self.event |= DDE  # -3xx and a vendor's positive codes

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
        value = sum(1 << bit for name, bit in self._stb.items() if states.get(name, False))
        if (
            self._parser.stb_clears
        ):  # Sorensen SG manual, against IEEE 488.2 11.2.2.3: a bit shows once each time it rises
            value, self._shown = value & ~self._shown, value
        master = 1 << self._stb.get("master", MASTER)
        return value | (master if value & self.request_enable & ~master else 0)
