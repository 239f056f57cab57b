"""Answer SCPI messages for one emulated device: common commands, status system, settings from the catalog.

A subclass adds the physics: what a reading is, what a setting does, when a protection trips. All of a device runs in
one thread; the clock is handed in.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from hil.twins import scpi_grammar as grammar
from hil.twins.scpi_common import Action, common_commands, no_parameter, one_parameter, required_headers
from hil.twins.scpi_grammar import Node, ScpiError, Unit
from hil.twins.scpi_status import ErrorQueue, Status
from instruments.scpi_catalog import Quantity, ScpiPart


class ScpiDevice:
    """Hold one device's settings and status; `answer` takes a message and returns its reply."""

    __slots__ = (
        "_clock_s",
        "_common",
        "_deaf_until_s",
        "_held_trips",
        "_path",
        "_replies",
        "_saved",
        "_staged",
        "_tree",
        "part",
        "remote",
        "status",
        "tripped",
        "values",
    )

    IMMEDIATE: frozenset[str] = frozenset()  # settings that say where the following ones go
    ENERGISES: str = ""  # the boolean that a latched protection keeps off

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float]) -> None:
        self.part = part
        self._clock_s = clock_s
        parser = part.parser
        self.status = Status(part.status.stb, ErrorQueue(parser.error_depth, parser.error_empty, parser.error_sign))
        self.remote = not part.remote.needed
        self.tripped: set[str] = set()
        self._held_trips: set[str] = set()
        self.values: dict[str, Any] = {}
        self._saved: dict[int, dict[str, Any]] = {}
        self._staged: list[tuple[str, list[int], float | str]] = []
        self._replies: list[str] = []
        self._path: Node | None = None
        self._deaf_until_s = -math.inf
        self._tree = Node()
        self._common = common_commands(self)
        self._grow_tree()
        self._defaults()

    # ------------------------------------------------------------------ what a subclass says
    def phases(self) -> list[int]:
        """Return the outputs that the next setting goes to; the first one is read."""
        return [0]

    def limits(self, name: str) -> tuple[float, float]:
        """Return the range of a number setting now."""
        quantity = self.part.quantities[name]
        return float(quantity.min or 0.0), float(quantity.max if quantity.max is not None else math.inf)

    def reading(self, name: str) -> float | str:
        """Return a measured value in its catalog unit; here the word or number that was set last."""
        value: float | str = self.values[name]
        return value

    def changed(self, name: str) -> None:
        """React to a setting that has just taken its value."""

    # ------------------------------------------------------------------ messages
    def answer(self, message: bytes) -> bytes | None:
        """Execute one message (without its terminator) and return the reply line, or None where there is none."""
        if self._clock_s() < self._deaf_until_s:
            return None
        text = message.decode("latin-1")
        units = [unit for unit in grammar.split(text, ";") if unit.strip()]
        parser = self.part.parser
        if parser.max_bytes and len(message) > parser.max_bytes:
            self.status.error(-225)
            return None
        if parser.max_units and len(units) > parser.max_units:
            self.status.error(-225)
            return None
        self._replies = []
        self._staged = []
        self._path = self._tree
        indefinite = False
        for text in units:
            try:
                unit = grammar.parse_unit(text)
                action = self._find(unit)
                if unit.query and indefinite:
                    raise ScpiError(-440)
                indefinite = indefinite or unit.mnemonics == ("IDN",)
                self._run(unit, action)
            except ScpiError as error:
                self.status.error(error.code)
                if -200 < error.code <= -100 or error.code == -440:
                    break  # units before a bad one are executed, the rest is dropped
        self._commit()
        if not self._replies:
            return None
        return (";".join(self._replies) + self.part.transport.term_in).encode("latin-1")

    def _find(self, unit: Unit) -> Any:
        """Return the action of a header and move the path (IEEE 488.2 A.1.1: common commands leave it alone)."""
        parser = self.part.parser
        prefix = parser.abbrev == "prefix"
        if unit.common:
            if parser.path_after_common == "reset":
                self._path = self._tree
            action = self._common.get(unit.mnemonics[0] + ("?" if unit.query else ""))
            if action is None:
                raise ScpiError(-113)
            return action
        start = self._tree if unit.absolute or self._path is None else self._path
        nodes = grammar.walk(start, unit.mnemonics, prefix)
        if (nodes is None or nodes[-1].action is None) and parser.path == "lenient":
            nodes = grammar.walk(self._tree, unit.mnemonics, prefix)
        if nodes is None or nodes[-1].action is None:
            raise ScpiError(-113)
        self._path = nodes[-2]
        return nodes[-1].action

    def _run(self, unit: Unit, action: Action) -> None:
        """Execute one unit and keep its answer; settings before a query have taken effect when it answers."""
        if unit.query or unit.common:
            self._commit()
        reply = action(unit)
        if reply is not None:
            self._replies.append(reply)

    def _commit(self) -> None:
        """Apply the staged settings, words (ranges) before numbers: coupled settings stand in one message."""
        staged, self._staged = self._staged, []
        for name, phases, value in sorted(staged, key=lambda item: not isinstance(item[2], str)):
            if isinstance(value, float):
                low, high = self.limits(name)
                if not low <= value <= high:
                    self.status.error(-222)
                    continue
            self._store(name, phases, value)

    def _store(self, name: str, phases: list[int], value: float | str | bool) -> None:
        """Write a setting and let the device react."""
        if self.part.quantities[name].per_phase:
            for phase in phases:
                self.values[name][phase] = value
        else:
            self.values[name] = value
        self.changed(name)

    # ------------------------------------------------------------------ settings from the catalog
    def _grow_tree(self) -> None:
        """Make the command tree: the catalog's quantities and what SCPI-99 requires of every device."""
        for name, quantity in self.part.quantities.items():
            self._tree.add(quantity.header, partial(self._quantity, name, quantity))
        for header, action in required_headers(self).items():
            self._tree.add(header, action)

    def _quantity(self, name: str, quantity: Quantity, unit: Unit) -> str | None:
        """Set or answer one quantity of the catalog."""
        if unit.query:
            return self._ask(name, quantity, unit)
        if "w" not in quantity.access:
            raise ScpiError(-113)
        if not self.remote:
            raise ScpiError(-221)
        if quantity.kind == "event":
            no_parameter(unit)
            self._commit()
            self.changed(name)
            return None
        text = one_parameter(unit)
        if quantity.kind == "bool":
            self._commit()
            self._switch(name, grammar.boolean(text))
        elif quantity.kind == "word":
            self._stage(name, grammar.word(text, quantity.words))
        else:
            self._stage(name, self._number(name, quantity, text))
        return None

    def _stage(self, name: str, value: float | str) -> None:
        """Keep a setting until the message ends or asks something; a selection takes effect at once."""
        if name in self.IMMEDIATE:
            self._commit()
        self._staged.append((name, self.phases(), value))
        if name in self.IMMEDIATE:
            self._commit()

    def _number(self, name: str, quantity: Quantity, text: str) -> float:
        """Return the number that a parameter means, MINimum, MAXimum and DEFault included."""
        for notation, value in self._named(name, quantity).items():
            if grammar.matches(text, notation):
                return value
        return grammar.number(text, quantity.unit, self.part.parser.units_in_numbers)

    def _named(self, name: str, quantity: Quantity) -> dict[str, float]:
        low, high = self.limits(name)
        return {"MINimum": low, "MAXimum": high, "DEFault": float(quantity.default)}

    def _switch(self, name: str, on: bool) -> None:
        """Switch a boolean; a latched protection keeps the output off."""
        if on and self.tripped and name == self.ENERGISES:
            raise ScpiError(-221)
        self._store(name, [0], on)

    def _ask(self, name: str, quantity: Quantity, unit: Unit) -> str:
        """Return the answer to a query."""
        if "r" not in quantity.access or quantity.kind == "event":
            raise ScpiError(-113)
        if unit.parameters:
            return self._ask_limit(name, quantity, one_parameter(unit))
        if "w" not in quantity.access:
            return self._formatted(quantity, self.reading(name))
        value = self.values[name]
        return self._formatted(quantity, value[self.phases()[0]] if quantity.per_phase else value)

    def _ask_limit(self, name: str, quantity: Quantity, text: str) -> str:
        """Return the answer to a query with MINimum, MAXimum or DEFault."""
        if quantity.kind != "number" or "w" not in quantity.access:
            raise ScpiError(-108)
        for notation, value in self._named(name, quantity).items():
            if grammar.matches(text, notation):
                return self._formatted(quantity, value)
        raise ScpiError(-108 if text[0].isdigit() else -141)

    def _formatted(self, quantity: Quantity, value: float | str | bool) -> str:
        """Return a value in the device's form: short word, boolean digit or word, number."""
        if quantity.kind == "bool":
            return ("ON" if value else "OFF") if self.part.parser.bool_reply == "words" else str(int(bool(value)))
        if isinstance(value, str):
            return "".join(char for char in value if not char.islower())
        return self.part.parser.number_format.format(value)

    def take_remote(self, remote: bool) -> None:
        """Change between remote and local control; a device that needs none is always remote."""
        self.remote = remote or not self.part.remote.needed

    def save(self, place: int) -> None:
        """Keep the settings in a memory of the device."""
        self._saved[place] = _copied(self.values)

    def recall(self, place: int) -> None:
        """Take the settings of a memory back, the output off; -224 where nothing was kept there."""
        saved = self._saved.get(place)
        if saved is None:
            raise ScpiError(-224)
        self.values = {**_copied(saved), **({self.ENERGISES: False} if self.ENERGISES else {})}

    @property
    def has_reply(self) -> bool:
        """Tell whether the message in hand has already made an answer (the MAV bit)."""
        return bool(self._replies)

    # ------------------------------------------------------------------ reset, trips
    def _defaults(self) -> None:
        """Give every setting its catalog default."""
        for name, quantity in self.part.quantities.items():
            if "w" not in quantity.access or quantity.kind == "event":
                continue
            default: Any = bool(quantity.default) if quantity.kind == "bool" else quantity.default
            self.values[name] = [float(default)] * 3 if quantity.per_phase else default

    def reset(self) -> None:
        """Do what ``*RST`` does: defaults, output as the catalog says, deaf for a while; status and queue stay."""
        self._staged = []
        self._defaults()
        if self.ENERGISES:
            self.values[self.ENERGISES] = self.part.reset.output_after
        self._deaf_until_s = self._clock_s() + self.part.reset.deaf_s

    def trip(self, bit: str, hold: bool = False) -> None:
        """Latch a protection by the name of its questionable bit; `hold` keeps its cause present."""
        self.tripped.add(bit)
        if hold:
            self._held_trips.add(bit)
        if self.ENERGISES:
            self.values[self.ENERGISES] = False
        self.status.questionable.set(self.part.status.questionable[bit], True)

    def release(self, bit: str) -> None:
        """Remove a held cause; the latch stays until it is cleared."""
        self._held_trips.discard(bit)

    def clear_protection(self) -> None:
        """Clear the latches whose cause is gone; the output stays as the catalog says."""
        for bit in self.tripped - self._held_trips:
            self.status.questionable.set(self.part.status.questionable[bit], False)
        self.tripped &= self._held_trips
        if not self.tripped and self.ENERGISES and self.part.clear.re_energises:
            self.values[self.ENERGISES] = True


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, list) else value for name, value in values.items()}
