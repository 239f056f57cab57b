"""Hold the settings of one emulated device as its catalog record lists them: set, staged, asked, written as it does.

Settings of one message are staged and applied together, ranges before the levels they bound: a coupled pair in one
message is no error (Keysight N6700 guide p12, Chroma 61504 p108).
"""

import math
import re
from typing import Any

from hil.twins import scpi_parameters as read
from hil.twins.scpi_errors import ScpiError
from hil.twins.scpi_grammar import Unit
from hil.twins.scpi_session import Message
from hil.twins.scpi_status import Status
from instruments.scpi_catalog import Quantity, ScpiPart

PHASES = 3
CHANNEL = re.compile(r"CH\d+", re.IGNORECASE)  # Rigol DP800, Siglent SPD


class Settings:
    """Hold values by quantity name: a number, word or bool, or a list of them per phase or per channel."""

    __slots__ = ("_message", "_suffix", "_targets", "part", "remote", "status", "values")

    IMMEDIATE: frozenset[str] = frozenset({"select", "edit", "couple", "phase_mode", "channel"})

    def __init__(self, part: ScpiPart, message: Message) -> None:
        self.part = part
        self.status = Status(part)
        self.remote = not part.remote.needed
        self.values: dict[str, Any] = {}
        self._message = message
        self._suffix = 0
        self._targets: list[int] | None = None
        self._defaults()

    # ------------------------------------------------------------------ what a subclass says
    def phases(self) -> list[int]:
        """Return the outputs that the next setting goes to; the first one is read."""
        return [0]

    def limits(self, name: str) -> tuple[float, float]:
        """Return the range of a number setting now: its own, that of the selected range, and its soft limits."""
        quantity = self.part.quantities[name]
        low = float(quantity.min if quantity.min is not None else -math.inf)
        high = float(quantity.max if quantity.max is not None else math.inf)
        if quantity.range_by:
            high = min(high, quantity.range_max.get(str(self.values[quantity.range_by]), high))
        return low, high

    def reading(self, name: str, at: int) -> float | str:
        """Return a measured value in its catalog unit; here the word or number that was set last."""
        value: Any = self.values.get(name, self.part.quantities[name].default)
        return value[at] if isinstance(value, list) else value  # type: ignore[no-any-return]

    def changed(self, name: str, targets: list[int]) -> None:
        """React to a setting that has just taken its value."""

    def switching(self, name: str, on: bool) -> None:
        """Refuse a switch with a ScpiError."""

    # ------------------------------------------------------------------ one unit
    def quantity_unit(self, name: str, quantity: Quantity, unit: Unit) -> str | None:
        """Set or answer one quantity of the catalog."""
        parameters = self._take_channels(quantity, list(unit.parameters))
        if unit.query:
            return self._ask(name, quantity, parameters)
        if "w" not in quantity.access:
            raise ScpiError(-113)
        if not self.remote and not name.startswith("remote"):
            raise ScpiError(self.part.parser.local_code)
        if quantity.kind == "event":
            if parameters:
                raise ScpiError(-108)
            self._commit()
            self.changed(name, self._at(quantity))
            return None
        if quantity.second:
            self._take_second(name, quantity, parameters)
        text = one_of(parameters, many=quantity.kind == "text")
        if quantity.kind == "bool":
            self._commit()
            self._switch(name, read.boolean(text))
        elif quantity.kind == "word":
            self._stage(name, read.word(text, quantity.words))
        elif quantity.kind == "text":
            self._stage(name, text)
        else:
            self._stage(name, self._number(name, quantity, text))
        return None

    def _take_second(self, name: str, quantity: Quantity, parameters: list[str]) -> None:
        """Keep the word that stands behind a number, e.g. ON of ``SYST:LIM:VOL 300,ON``."""
        if len(parameters) < 2:
            raise ScpiError(-109)
        self.values[f"{name}_second"] = read.word(parameters.pop(), quantity.second)

    def _take_channels(self, quantity: Quantity, parameters: list[str]) -> list[str]:
        """Take the channel list or the channel name out of the parameters and keep where the unit goes to."""
        self._targets = None
        if not quantity.per_channel:
            return parameters
        count = self.channel_count
        if parameters and read.is_channels(parameters[-1]) and self.part.parser.channels:
            picked = read.channels(parameters.pop(), count)
            self._targets = [channel - 1 for channel in picked]
        elif parameters and not self.part.parser.channels and CHANNEL.fullmatch(parameters[0]):
            number = int(parameters.pop(0)[2:])
            if not 1 <= number <= count:
                raise ScpiError(-222)
            self._targets = [number - 1]
        elif "(@" in quantity.ask + quantity.send and count > 1:
            raise ScpiError(-109)  # the list is not optional where there is a choice
        return parameters

    @property
    def channel_count(self) -> int:
        """Return the number of channels of the device."""
        return max(self.part.parser.channels, *(role.can.channels for role in self.part.roles.values()))

    def _at(self, quantity: Quantity) -> list[int]:
        """Return where the unit in hand goes to."""
        if self._targets is not None:
            return self._targets
        if quantity.per_channel:
            if self._suffix:
                return [self._suffix - 1]
            chosen = self.values.get("channel", self.values.get("select", 1))
            return [int(chosen) - 1] if not isinstance(chosen, (str, list)) else [0]
        if quantity.per_phase:
            if self._suffix:
                return [self._suffix - 1]
            return [0, 1, 2] if "#" in quantity.header else self.phases()
        return [0]

    def _stage(self, name: str, value: float | str) -> None:
        """Keep a setting until the message ends or asks something; a selection takes effect at once."""
        if name in self.IMMEDIATE:
            self._commit()
        self._message.staged.append((name, self._at(self.part.quantities[name]), value))
        if name in self.IMMEDIATE:
            self._commit()

    def _commit(self) -> None:
        """Apply the staged settings: words (ranges), then numbers that bound others, then the rest."""
        staged, self._message.staged = self._message.staged, []

        def order(item: tuple[str, list[int], float | str]) -> int:
            return 0 if isinstance(item[2], str) else 1 + bool(self.part.quantities[item[0]].bounded_by)

        for name, targets, value in sorted(staged, key=order):
            if isinstance(value, float):
                try:
                    value = self._in_range(name, value, targets)
                except ScpiError as error:
                    self.status.error(error.code)
                    continue
            self._store(name, targets, value)

    def _in_range(self, name: str, value: float, targets: list[int]) -> float:
        """Return the value if it is allowed; a clipping device takes the next allowed one (WT500 manual 4-6)."""
        low, high = self.limits(name)
        if not low <= value <= high:
            if self.part.parser.out_of_range == "clip":
                return min(max(value, low), high)
            raise ScpiError(-222)
        quantity = self.part.quantities[name]
        for bound in quantity.bounded_by:
            limit = self.values[bound]
            limits = [limit[at] for at in targets] if isinstance(limit, list) else [limit]
            if abs(value) > min(abs(one) for one in limits) + 1e-9:
                raise ScpiError(quantity.bound_code)
        return value

    def _store(self, name: str, targets: list[int], value: float | str | bool) -> None:
        """Write a setting and let the device react."""
        if isinstance(self.values.get(name), list):
            for target in targets:
                self.values[name][target] = value
        else:
            self.values[name] = value
        self.changed(name, targets)

    def _number(self, name: str, quantity: Quantity, text: str) -> float:
        """Return the number that a parameter means, MINimum, MAXimum and DEFault included."""
        for notation, value in self._named(name, quantity).items():
            if read.matches(text, notation):
                return value
        return read.number(text, quantity.unit, self.part.parser.units_in_numbers)

    def _named(self, name: str, quantity: Quantity) -> dict[str, float]:
        low, high = self.limits(name)
        for bound in quantity.bounded_by:
            limit = self.values[bound]
            high = min(high, float(limit[self._at(quantity)[0]] if isinstance(limit, list) else limit))
        return {"MINimum": low, "MAXimum": max(low, high), "DEFault": float(quantity.default)}

    def _switch(self, name: str, on: bool) -> None:
        """Switch a boolean; a latched protection keeps the output off."""
        self.switching(name, on)
        self._store(name, self._at(self.part.quantities[name]), on)

    # ------------------------------------------------------------------ answers
    def _ask(self, name: str, quantity: Quantity, parameters: list[str]) -> str:
        """Return the answer to a query; several channels or phases are joined by commas."""
        if "r" not in quantity.access or quantity.kind == "event":
            raise ScpiError(-113)
        targets = self._at(quantity)
        if quantity.per_phase and "#" not in quantity.header:
            targets = targets[:1]  # phases edited together are read as one
        if parameters:
            return self._ask_limit(name, quantity, one_of(parameters))
        if "w" not in quantity.access:
            shown: list[Any] = [self.reading(name, at) for at in targets]
        else:
            value = self.values[name]
            shown = [value[at] for at in targets] if isinstance(value, list) else [value]
        second = [self.values[f"{name}_second"]] if quantity.second else []
        return ",".join([*(self.formatted(quantity, one) for one in shown), *second])

    def _ask_limit(self, name: str, quantity: Quantity, text: str) -> str:
        """Return the answer to a query with MINimum, MAXimum or DEFault."""
        if quantity.kind != "number" or "w" not in quantity.access:
            raise ScpiError(-108)
        for notation, value in self._named(name, quantity).items():
            if read.matches(text, notation):
                return self.formatted(quantity, value)
        wrong = {"(": -178, "#": -168, "'": -158, '"': -158}
        raise ScpiError(wrong.get(text[0], -108 if text[0].isdigit() or text[0] in "+-." else -141))

    def formatted(self, quantity: Quantity, value: float | str | bool) -> str:
        """Return a value in the device's form: short word, boolean digit or word, number with or without unit."""
        if quantity.kind == "bool":
            return ("ON" if value else "OFF") if self.part.parser.bool_reply == "words" else str(int(bool(value)))
        if quantity.kind == "word":
            return "".join(char for char in str(value) if not char.islower())
        if isinstance(value, str):
            return value
        text = self.part.parser.number_format.format(value)
        return f"{text}{quantity.unit}" if self.part.parser.units_in_reply and quantity.unit else text

    # ------------------------------------------------------------------ defaults
    def _defaults(self) -> None:
        """Give every setting its catalog default."""
        for name, quantity in self.part.quantities.items():
            if "w" not in quantity.access or quantity.kind == "event":
                continue
            default: Any = bool(quantity.default) if quantity.kind == "bool" else quantity.default
            if quantity.kind == "number":
                default = float(default)
            count = self.channel_count if quantity.per_channel else PHASES if quantity.per_phase else 0
            self.values[name] = [default] * count if count else default
            if quantity.second:
                self.values[f"{name}_second"] = quantity.second[0]


def one_of(parameters: list[str], many: bool = False) -> str:
    """Return the only parameter, or all of them joined where a text may hold several."""
    if not parameters:
        raise ScpiError(-109)
    if len(parameters) > 1 and not many:
        raise ScpiError(-108)
    return ",".join(parameters)
