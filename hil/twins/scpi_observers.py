"""Watch for messages that the catalog names as a whole: taking remote control, arming and feeding the watchdog.

A record says `SYST:LOCK ON` or `SYST:COM:WAT SET,{milliseconds}`; the twin runs the header like any other and in
addition does what the record says that the message is for.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from hil.twins import scpi_parameters as read
from hil.twins.scpi_errors import ScpiError
from hil.twins.scpi_grammar import Node, Unit, parse_unit, split, walk
from instruments.scpi_dialect import Watchdog

FIELD = re.compile(r"\{(\w+)(?::[^}]*)?\}")
SCALE = {"seconds": 1.0, "milliseconds": 1e-3}


@dataclass(frozen=True, slots=True)
class Watched:
    """Hold one unit of a message to watch for; `field` is the placeholder that its number fills."""

    node: Node
    query: bool
    parameters: tuple[str, ...]

    def match(self, node: Node, unit: Unit) -> dict[str, float] | None:
        """Return the placeholders' numbers where the unit says the same, else None."""
        if node is not self.node or unit.query != self.query or len(unit.parameters) != len(self.parameters):
            return None
        found: dict[str, float] = {}
        for wanted, given in zip(self.parameters, unit.parameters, strict=True):
            field = FIELD.fullmatch(wanted)
            if field is None:
                if _meaning(wanted) != _meaning(given):
                    return None
                continue
            try:
                found[field[1]] = read.number(given, "s", with_unit=True)
            except ScpiError:
                return None
        return found


def _meaning(text: str) -> str:
    """Return a parameter so that ON and 1, OFF and 0 are the same."""
    return {"ON": "1", "OFF": "0"}.get(text.upper(), text.upper())


def watch(root: Node, message: str, prefix: bool, action: Callable[[Unit], str | None]) -> list[Watched]:
    """Return the units of a message to watch for; a header that the tree lacks is added with `action`."""
    found: list[Watched] = []
    start = root
    for text in split(message, ";"):
        if not text.strip() or text.strip().startswith("*"):
            continue
        unit = parse_unit(FIELD.sub(lambda field: "0", text))
        template = parse_unit(text)
        way = walk(root if unit.absolute else start, unit.mnemonics, prefix)
        if way is None or way.action is None:
            root.add(":".join(unit.mnemonics), action)
            way = walk(root, unit.mnemonics, prefix)
        if way is not None:
            start = way.nodes[-2]
            found.append(Watched(way.nodes[-1], unit.query, template.parameters))
    return found


class IoWatchdog:
    """Count the seconds since the device was last fed; the client has to feed it once it is armed."""

    __slots__ = ("armed", "expired", "fed_s", "rule", "seconds")

    def __init__(self, rule: Watchdog) -> None:
        self.rule = rule
        self.armed = self.expired = False
        self.seconds = rule.max_s if math.isfinite(rule.max_s) else 0.0
        self.fed_s = -math.inf

    def set(self, seconds: float) -> None:
        """Take a time-out, s; -222 outside the record's range."""
        if not self.rule.min_s <= seconds <= self.rule.max_s:
            raise ScpiError(-222)
        self.seconds = seconds

    def feed(self, now_s: float) -> None:
        """Begin the time-out anew."""
        self.fed_s = now_s

    def remaining_s(self, now_s: float) -> float:
        """Return what is left of the time-out, s; 0 when it has expired."""
        return max(0.0, self.fed_s + self.seconds - now_s)

    def due(self, now_s: float) -> bool:
        """Tell whether it expires now; once."""
        if not self.armed or self.expired or now_s - self.fed_s < self.seconds:
            return False
        self.expired = True
        return True
