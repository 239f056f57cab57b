"""Read SCPI program messages by the letter of IEEE 488.2 chapter 7 and SCPI-99 volume 1 chapters 5 to 7.

Nothing in here knows a device: a message becomes units, a unit a header and parameters, a header a node of a command
tree, a parameter a number, a word or a boolean. What does not fit raises a ScpiError with the code of SCPI-99 21.8.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

TEXTS: dict[int, str] = {
    0: "No error",
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -111: "Header separator error",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -121: "Invalid character in number",
    -123: "Exponent too large",
    -128: "Numeric data not allowed",
    -131: "Invalid suffix",
    -138: "Suffix not allowed",
    -141: "Invalid character data",
    -151: "Invalid string data",
    -158: "String data not allowed",
    -168: "Block data not allowed",
    -178: "Expression data not allowed",
    -200: "Execution error",
    -201: "Invalid while in local",
    -203: "Command protected",
    -211: "Trigger ignored",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -225: "Out of memory",
    -240: "Hardware error",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    -440: "Query UNTERMINATED after indefinite response",
}
MNEMONIC_MAX = 12  # IEEE 488.2, 7.6.1.4.1
HEADER = re.compile(r"(\*[A-Za-z]+|:?[A-Za-z]\w*(?::[A-Za-z]\w*)*)(\??)", re.ASCII)
DECIMAL = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:\s*[eE]\s*([+-]?\d+))?)\s*([A-Za-z/]*[A-Za-z])?$", re.ASCII)
RADIX = {"H": 16, "Q": 8, "B": 2}
MULTIPLIERS = {"": 1.0, "G": 1e9, "MA": 1e6, "K": 1e3, "M": 1e-3, "U": 1e-6, "N": 1e-9}


class ScpiError(Exception):
    """Carry one SCPI error code; -100 to -199 are command errors and end the message."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f'{code},"{TEXTS[code]}"')


@dataclass(frozen=True, slots=True)
class Unit:
    """Hold one program message unit: its mnemonics in upper case and its parameters as text."""

    mnemonics: tuple[str, ...]
    common: bool
    absolute: bool
    query: bool
    parameters: tuple[str, ...]


def split(text: str, separator: str) -> list[str]:
    """Split at a separator that is neither inside a quoted string nor inside parentheses."""
    parts: list[str] = []
    quote = ""
    depth = start = 0
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == separator and depth <= 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def parse_unit(text: str) -> Unit:
    """Return the unit that the text holds, or raise the ScpiError of its first fault."""
    text = text.strip()
    found = HEADER.match(text)
    if found is None:
        raise ScpiError(-101 if text else -102)
    header, query, rest = found[1], found[2], text[found.end() :]
    common = header.startswith("*")
    if rest and not rest[0].isspace():
        raise ScpiError(_separator_fault(common, rest[0]))
    names = header.lstrip(":*").split(":")
    if any(len(name) > MNEMONIC_MAX for name in names):
        raise ScpiError(-112)
    parameters = tuple(part.strip() for part in split(rest.strip(), ",")) if rest.strip() else ()
    if "" in parameters:
        raise ScpiError(-102)
    for part in parameters:
        _check_quotes(part)
    return Unit(tuple(name.upper() for name in names), common, header.startswith(":"), bool(query), parameters)


def _separator_fault(common: bool, char: str) -> int:
    """Return the code for a character that follows a header without white space."""
    if char == ":":
        return -113 if common else -102
    return -103 if char in "(,?" else -111


def _check_quotes(part: str) -> None:
    """Refuse a string that is not closed by the quote that opened it (IEEE 488.2, 7.7.5)."""
    if part[0] in "'\"" and not re.fullmatch(r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'", part):
        raise ScpiError(-151)


@dataclass(slots=True)
class Node:
    """Hold one node of the command tree: children by short and by long form, and what it does itself."""

    long: str = ""
    short: str = ""
    suffix_max: int = 1
    children: dict[str, "Node"] = field(default_factory=dict)
    action: Any = None

    def child(self, name: str, prefix: bool) -> "Node | None":
        """Return the child of that name, numeric suffix taken off; `prefix` also takes forms between short and long.

        A suffix out of range raises -114 (SCPI-99 volume 1, 6.2.5.2).
        """
        node = self.children.get(name)
        if node is not None:
            return node
        bare = name.rstrip("0123456789")
        node = self.children.get(bare)
        if node is None and prefix:
            forms = (node for node in self.children.values() if node.long.startswith(bare))
            node = next((form for form in forms if bare.startswith(form.short)), None)
        if node is not None and bare != name and not 1 <= int(name[len(bare) :]) <= node.suffix_max:
            raise ScpiError(-114)
        return node

    def add(self, header: str, action: Any) -> None:
        """Add a command in SCPI notation, e.g. ``[SOURce:]VOLTage[:LEVel]:AC`` or ``MEASure|FETCh:FREQuency``."""
        for path in variants(header):
            node = self
            for word in path:
                node = node._enter(word)
            node.action = action

    def _enter(self, word: str) -> "Node":
        """Return the child that a word of the notation names, made where it is missing."""
        name, _, suffix = word.partition("#")
        long = name.upper()
        short = "".join(char for char in name if not char.islower())
        node = self.children.get(long)
        if node is None:
            node = Node(long, short, int(suffix or 1))
            self.children[long] = self.children[short] = node
        return node


def variants(header: str) -> Iterator[tuple[str, ...]]:
    """Yield every path that a header in SCPI notation allows: optional nodes in brackets, alternatives with |."""
    choices: list[list[str]] = []
    for optional, word in re.findall(r"(\[?):?([\w|#]+):?\]?", header, re.ASCII):
        choices.append([*([""] if optional else []), *word.split("|")])
    for pick in product(*choices):
        yield tuple(word for word in pick if word)


def walk(start: Node, mnemonics: tuple[str, ...], prefix: bool) -> list[Node] | None:
    """Return the nodes along the mnemonics from `start` (first: `start` itself), or None where one is undefined."""
    nodes = [start]
    for name in mnemonics:
        following = nodes[-1].child(name, prefix)
        if following is None:
            return None
        nodes.append(following)
    return nodes


def matches(text: str, notation: str) -> bool:
    """Tell whether the text is the short or the long form of a word in SCPI notation."""
    short = "".join(char for char in notation if not char.islower())
    return text.upper() in (short, notation.upper())


def number(text: str, unit: str, with_unit: bool) -> float:
    """Return a decimal or non-decimal number in the quantity's unit (IEEE 488.2, 7.7.2 to 7.7.4; suffixes 7.7.3)."""
    if text[0] == "#":
        base = RADIX.get(text[1:2].upper())
        if base is None:
            raise ScpiError(-168)
        try:
            return float(int(text[2:], base))
        except ValueError:
            raise ScpiError(-121) from None
    if text[0] in "'\"":
        raise ScpiError(-158)
    if text[0] == "(":
        raise ScpiError(-178)
    found = DECIMAL.match(text)
    if found is None:
        raise ScpiError(-141 if text[0].isalpha() else -121)
    if found[2] and abs(int(found[2])) > 300:
        raise ScpiError(-123)
    value = float(re.sub(r"\s", "", found[1]))
    return value * _factor(found[3].upper(), unit.upper(), with_unit) if found[3] else value


def _factor(suffix: str, unit: str, with_unit: bool) -> float:
    """Return what a suffix multiplies by; M is milli and MA mega, but MA of a current is mA and MHZ is 1e6 Hz."""
    if not with_unit or not unit:
        raise ScpiError(-138)
    if suffix in ("MHZ", "MOHM") and suffix[1:] == unit:
        return 1e6
    multiplier = suffix.removesuffix(unit)
    if multiplier == suffix or multiplier not in MULTIPLIERS:
        raise ScpiError(-131)
    return MULTIPLIERS[multiplier]


def boolean(text: str) -> bool:
    """Return a SCPI boolean: ON, OFF or a number, of which anything that rounds to other than 0 is true."""
    if text.upper() in ("ON", "OFF"):
        return text.upper() == "ON"
    return round(number(text, "", with_unit=False)) != 0


def word(text: str, notations: list[str]) -> str:
    """Return the notation of the character datum that the text is the short or long form of."""
    for notation in notations:
        if matches(text, notation):
            return notation
    if text[0] in "'\"":
        raise ScpiError(-158)
    raise ScpiError(-128 if text[0].isdigit() or text[0] in "+-.#" else -141)
