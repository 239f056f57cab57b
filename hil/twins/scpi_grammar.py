"""Read SCPI program messages by the letter of IEEE 488.2 chapter 7 and SCPI-99 volume 1 chapters 5 to 6.

Nothing in here knows a device: bytes become messages, a message becomes units, a unit a header and parameters, a
header a node of a command tree. What does not fit raises a ScpiError with the code of SCPI-99 21.8.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from hil.twins.scpi_errors import ScpiError

MNEMONIC_MAX = 12  # IEEE 488.2, 7.6.1.4.1
HEADER = re.compile(r"(\*[A-Za-z]+|:?[A-Za-z]\w*(?::[A-Za-z]\w*)*)(\??)", re.ASCII)
STRING = re.compile(r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'")
BLOCK = re.compile(r"#([1-9])")


@dataclass(frozen=True, slots=True)
class Unit:
    """Hold one program message unit: its mnemonics in upper case and its parameters as text."""

    mnemonics: tuple[str, ...]
    common: bool
    absolute: bool
    query: bool
    parameters: tuple[str, ...]


def block_end(text: str, place: int) -> int:
    """Return the place behind a definite-length block that begins at `place`, or `place` where none does.

    A block begins behind white space or a comma only; a length that is not a number makes no block.
    """
    found = BLOCK.match(text, place)
    if found is None or (place and not (text[place - 1].isspace() or text[place - 1] == ",")):
        return place
    digits = int(found[1])
    length = text[place + 2 : place + 2 + digits]
    return place + 2 + digits + int(length) if len(length) == digits and length.isdigit() else place


def message_end(text: str) -> int:
    """Return the place of the LF that ends the first message, -1 while there is none; a block may hold LFs."""
    place = 0
    while True:
        end = text.find("\n", place)
        start = text.find("#", place, len(text) if end < 0 else end)
        if start < 0:
            return end
        behind = block_end(text, start)
        if behind > len(text):
            return -1  # the rest of the block is still on its way
        place = max(behind, start + 1)


def split(text: str, separator: str) -> list[str]:
    """Split at a separator that is neither inside a quoted string nor a block nor parentheses."""
    parts: list[str] = []
    quote = ""
    depth = start = skip = 0
    for place, char in enumerate(text):
        if place < skip:
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char == "#":
            skip = block_end(text, place)
        elif char in "'\"":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
        elif char == separator and depth <= 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


@lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit:
    """Return the unit that the text holds, or raise the ScpiError of its first fault."""
    text = text.lstrip()
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
    parameters = tuple(_trimmed(part) for part in split(rest.lstrip(), ",")) if rest.strip() else ()
    if "" in parameters:
        raise ScpiError(-102)
    for part in parameters:
        if part[0] in "'\"" and not STRING.fullmatch(part):
            raise ScpiError(-151)
    return Unit(tuple(name.upper() for name in names), common, header.startswith(":"), bool(query), parameters)


def _trimmed(part: str) -> str:
    """Return a parameter without the white space around it; that at the end of a block is its own."""
    part = part.lstrip()
    return part if part.startswith("#") and part[1:2].isdigit() else part.rstrip()


def _separator_fault(common: bool, char: str) -> int:
    """Return the code for a character that follows a header without white space."""
    if char == ":":
        return -113 if common else -102
    return -103 if char in "(,?" else -111


class Form(NamedTuple):
    """Name one word of a header in SCPI notation: long and short form, largest numeric suffix, 0 for none given."""

    long: str
    short: str
    suffix_max: int


ROOT = Form("", "", 0)


@dataclass(slots=True)
class Node:
    """Hold one node of the command tree: children by short and by long form, and what it does itself."""

    form: Form = ROOT
    children: dict[str, "Node"] = field(default_factory=dict)
    action: Any = None

    def child(self, name: str, prefix: bool) -> "tuple[Node, int] | None":
        """Return the child of that name and its numeric suffix, 0 where none was given.

        `prefix` also takes forms between short and long. A suffix out of range raises -114 (SCPI-99 volume 1,
        6.2.5.2: without a suffix in its definition a header still takes 1).
        """
        node = self.children.get(name)
        if node is not None:
            return node, 0
        bare = name.rstrip("0123456789")
        node = self.children.get(bare)
        if node is None and prefix:
            forms = (node for node in self.children.values() if node.form.long.startswith(bare))
            node = next((one for one in forms if bare.startswith(one.form.short)), None)
        if node is None:
            return None
        suffix = int(name[len(bare) :] or 0)
        if bare != name and not 1 <= suffix <= max(1, node.form.suffix_max):
            raise ScpiError(-114)
        return node, suffix

    def add(self, header: str, action: Any) -> None:
        """Add a command in SCPI notation, e.g. ``[SOURce:]VOLTage#3[:LEVel]:AC`` or ``MEASure|FETCh:FREQuency``."""
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
        node = self.children.get(long) or self.children.get(short)
        if node is None:
            node = Node(Form(long, short, int(suffix or 0)))
        elif int(suffix or 0) > node.form.suffix_max:
            node.form = node.form._replace(suffix_max=int(suffix))
        self.children[long] = self.children[short] = node
        return node


def variants(header: str) -> Iterator[tuple[str, ...]]:
    """Yield every path that a header in SCPI notation allows: optional nodes in brackets, alternatives with |."""
    choices: list[list[str]] = []
    for optional, word in re.findall(r"(\[?):?([\w|#]+):?\]?", header, re.ASCII):
        choices.append([*([""] if optional else []), *word.split("|")])
    for pick in product(*choices):
        yield tuple(word for word in pick if word)


class Walk(NamedTuple):
    """Hold the nodes along a header (first: where it began) and the numeric suffix that was given, 0 for none."""

    nodes: list[Node]
    suffix: int

    @property
    def action(self) -> Any:
        """Return what the last node does; None where it only leads on."""
        return self.nodes[-1].action


def walk(start: Node, mnemonics: tuple[str, ...], prefix: bool) -> Walk | None:
    """Return the way along the mnemonics from `start`, or None where one is undefined."""
    nodes, given = [start], 0
    for name in mnemonics:
        found = nodes[-1].child(name, prefix)
        if found is None:
            return None
        node, suffix = found
        given = suffix or given
        nodes.append(node)
    return Walk(nodes, given)
