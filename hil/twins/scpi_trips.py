"""Latch protections: what trips switches the outputs off and keeps them off until it is cleared.

What a clear does to the output is the vendor's: a Keysight returns to the state before the fault (N6700 guide p141).
"""

from typing import Any

from hil.twins.scpi_errors import ScpiError
from hil.twins.scpi_session import Message
from hil.twins.scpi_settings import Settings
from instruments.scpi_catalog import ScpiPart


class Trips(Settings):
    """Hold which protections are latched, and by name those whose cause somebody holds present."""

    __slots__ = ("_held_trips", "_was_on", "tripped")

    def __init__(self, part: ScpiPart, message: Message) -> None:
        super().__init__(part, message)
        self.tripped: set[str] = set()
        self._held_trips: set[str] = set()
        self._was_on: dict[str, Any] = {}

    @property
    def energises(self) -> str:
        """Return the boolean that switches the terminals; empty for a pure meter."""
        return next((name for name in ("output", "input") if name in self.part.quantities), "")

    def cleared(self) -> None:
        """React to latches that have just been cleared."""

    def switch_off(self) -> None:
        """Switch every output off."""
        if self.energises:
            value = self.values[self.energises]
            self.values[self.energises] = [False] * len(value) if isinstance(value, list) else False
            self.changed(self.energises, [0])

    def lose_supply(self) -> None:
        """Lose the mains and start anew when they are back: defaults, output off, latches and errors forgotten."""
        self._defaults()
        self.tripped.clear()
        self._held_trips.clear()
        self._was_on = {}
        self.status.clear()
        self.switch_off()

    def switching(self, name: str, on: bool) -> None:
        """Keep the output off while a protection is latched; off also ends the state that a clear would restore."""
        if name != self.energises or not self.tripped:
            return
        if on:
            raise ScpiError(-221)
        self._was_on.clear()

    def trip(self, bit: str, hold: bool = False) -> None:
        """Latch a protection by the name of its questionable bit; `hold` keeps its cause present."""
        if not self.tripped and self.energises:
            self._was_on = {self.energises: copied(self.values[self.energises])}
        self.tripped.add(bit)
        if hold:
            self._held_trips.add(bit)
        self.switch_off()
        position = self.part.status.questionable.get(bit)
        if position is not None:
            self.status.questionable.set(position, True)

    def release(self, bit: str) -> None:
        """Remove a held cause; the latch stays until it is cleared."""
        self._held_trips.discard(bit)

    def causes(self) -> set[str]:
        """Return the protections whose cause is present."""
        return set(self._held_trips)

    def clear_protection(self) -> None:
        """Clear the latches whose cause is gone; where the record says so the output returns to its former state."""
        if not self.tripped:
            return
        present = self.causes() if self.part.clear.needs_cause_gone else set()
        for bit in self.tripped - present:
            if bit in self.part.status.questionable:
                self.status.questionable.set(self.part.status.questionable[bit], False)
        self.tripped &= present
        self.cleared()
        if not self.tripped and self.part.clear.re_energises:
            self.values |= self._was_on
            self._was_on = {}


def copied(value: Any) -> Any:
    """Return a value that does not share its list."""
    return list(value) if isinstance(value, list) else value
