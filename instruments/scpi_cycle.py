"""Make the messages of a control cycle from its template: filled in, split where the device limits them, answers named.

The template is cut once into groups of units that have to stay together: a unit that does not begin with a colon or
an asterisk depends on the header path of the one before it.
"""

import math
from collections.abc import Callable, Iterator

from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import Cycle, ScpiPart, fields_of
from instruments.scpi_units import to_theirs


class CyclePlan:
    """Hold one cycle of one device, ready to be filled in."""

    __slots__ = ("_fields", "_groups", "_parser", "_term", "channel", "cycle")

    def __init__(self, part: ScpiPart, cycle: Cycle, channel: int) -> None:
        self.cycle = cycle
        self.channel = channel
        self._parser = part.parser
        self._term = len(part.transport.term_out)
        self._fields = fields_of(cycle.message) - {"channel"}
        self._groups = _groups(cycle.message)

    def messages(self, values: dict[str, float], feed: str = "") -> Iterator[tuple[str, list[str]]]:
        """Yield each message with the names of its answers; `values` are in our units, `feed` goes with the first."""
        theirs = {name: to_theirs(values[name], self.cycle.units.get(name, "")) for name in self._fields}
        groups = [group.format(channel=self.channel, **theirs) for group in self._groups]
        if feed:
            groups = [f":{feed.lstrip(':')}", *(g if g[0] in ":*" else f":{g}" for g in groups)]
        names = iter(self.cycle.order)
        for message in self._packed(groups):
            yield message, [next(names) for _ in range(_queries(message))]

    def named(self, answers: dict[str, str], fault: Callable[[FaultKind, str, str], PortFault]) -> dict[str, str]:
        """Return answers by the names of single values; one that holds several is taken apart."""
        found: dict[str, str] = {}
        for entry, text in answers.items():
            names = [name.strip() for name in entry.split(",")]
            parts = [part.strip() for part in text.split(",")] if len(names) > 1 else [text]
            if len(parts) != len(names):
                raise fault(FaultKind.PROTOCOL, "cycle", f"{text!r} has {len(parts)} values, expected {entry}")
            found |= dict(zip(names, parts, strict=True))
        return found

    def _packed(self, groups: list[str]) -> Iterator[str]:
        """Yield messages that are within the device's number of units and bytes."""
        most_units, most_bytes = self._parser.max_units or math.inf, self._parser.max_bytes or math.inf
        message = ""
        for group in groups:
            joined = f"{message};{group}" if message else group
            if message and (_units(joined) > most_units or len(joined) + self._term > most_bytes):
                yield message.removeprefix(":")
                joined = group
            message = joined
        yield message.removeprefix(":")


def _groups(template: str) -> list[str]:
    """Return the units of a message, those that need the header path of the one before them joined to it."""
    groups: list[str] = []
    for unit in template.split(";"):
        if groups and not unit.lstrip().startswith((":", "*")):
            groups[-1] += f";{unit}"
        else:
            groups.append(unit.strip())
    return groups


def _units(message: str) -> int:
    return message.count(";") + 1


def _queries(message: str) -> int:
    return sum(1 for unit in message.split(";") if "?" in unit.split(" ", 1)[0])
