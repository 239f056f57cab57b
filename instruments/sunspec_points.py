"""Lay a SunSpec model out from its definition: points, groups that repeat, and where each lies.

A definition is rows of name, type, scale factor and access; `group NAME COUNT` opens a group whose members stand
indented, COUNT a number or the point that holds it. A point in a group is named with it, counted from 1 as the
specification counts curves: `Crv[2].Pt[1].V`; in a group that stands once without a number: `PFWInj.PF`.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from instruments.sunspec_curve_models import MODELS as CURVES
from instruments.sunspec_der_models import MODELS as DER
from instruments.sunspec_meter_models import MODELS as METERS

# format and "not implemented" of each type: SunSpec Device Information Model Specification 1.1, table of point types
FORMATS = {"int16": ">h", "uint16": ">H", "enum16": ">H", "bitfield16": ">H", "sunssf": ">h", "int32": ">i",
           "uint32": ">I", "acc32": ">I", "bitfield32": ">I", "uint64": ">Q"}  # fmt: skip
UNKNOWN = {"int16": -0x8000, "uint16": 0xFFFF, "enum16": 0xFFFF, "bitfield16": 0xFFFF, "sunssf": -0x8000,
           "int32": -0x80000000, "uint32": 0xFFFFFFFF, "acc32": 0, "bitfield32": 0xFFFFFFFF,
           "uint64": 0xFFFFFFFFFFFFFFFF}  # fmt: skip
HEAD = 2  # registers of ID and length, before the first point
TEXT = "string"


@dataclass(frozen=True, slots=True)
class Point:
    """Describe one point of a model; `offset` counts from the model's ID register."""

    name: str
    offset: int
    type: str
    scale: str
    access: str

    @property
    def count(self) -> int:
        """Return how many registers the point takes."""
        return int(self.type[len(TEXT) :]) if self.is_text else struct.calcsize(FORMATS[self.type]) // 2

    @property
    def is_text(self) -> bool:
        """Return whether it is a text."""
        return self.type.startswith(TEXT)

    def decode(self, words: list[int]) -> float:
        """Return the raw number; NaN where the point is not implemented."""
        (raw,) = struct.unpack(FORMATS[self.type], struct.pack(f">{len(words)}H", *words))
        return math.nan if raw == UNKNOWN[self.type] else float(raw)

    def text(self, words: list[int]) -> str:
        """Return the text of a point that is one, up to its first zero."""
        return struct.pack(f">{len(words)}H", *words).partition(b"\0")[0].decode("utf-8", "replace")

    def encode(self, raw: float) -> list[int]:
        """Return the words of a raw number, NaN as not implemented; ValueError where it does not fit the type."""
        if self.is_text:
            return [0] * self.count
        number = UNKNOWN[self.type] if math.isnan(raw) else round(raw)
        try:
            packed = struct.pack(FORMATS[self.type], number)
        except struct.error as error:
            raise ValueError(f"{self.name}: {number} does not fit a {self.type}") from error
        return list(struct.unpack(f">{self.count}H", packed))


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    type: str
    scale: str
    access: str


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    times: str
    members: tuple["_Row | _Group", ...]


class Definition:
    """Hold one model; `counts` are the points that say how often its groups repeat."""

    __slots__ = ("_members", "counts", "number")

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self._members = _read([line for line in text.split("\n") if line], 0)
        top = [member for member in self._members if isinstance(member, _Row)]
        counting = set(_counting(self._members))
        self.counts = [point for point in _lay(top, "", [HEAD], {}) if point.name in counting]

    def points(self, counts: Mapping[str, float] | None = None) -> dict[str, Point]:
        """Return every point by name, of a device whose counting points hold `counts`; one not given or NaN is 0."""
        return {point.name: point for point in _lay(self._members, "", [HEAD], counts or {})}

    def registers(self, counts: Mapping[str, float] | None = None) -> int:
        """Return how many registers the model takes, ID and length included."""
        return max(point.offset + point.count for point in self.points(counts).values())


def _read(lines: list[str], depth: int) -> tuple[_Row | _Group, ...]:
    """Return the members of the lines, which stand `depth` levels in."""
    found: list[_Row | _Group] = []
    k = 0
    while k < len(lines):
        words = lines[k].split()
        k += 1
        if words[0] != "group":
            found.append(_Row(words[0], words[1], words[2].strip("-"), words[3]))
            continue
        end = k
        while end < len(lines) and lines[end].startswith("  " * (depth + 1)):
            end += 1
        found.append(_Group(words[1], words[2], _read(lines[k:end], depth + 1)))
        k = end
    return tuple(found)


def _counting(members: tuple[_Row | _Group, ...]) -> Iterator[str]:
    """Yield the names of the points that count groups."""
    for member in members:
        if isinstance(member, _Group):
            yield member.times
            yield from _counting(member.members)


def _lay(
    members: tuple[_Row | _Group, ...] | list[_Row], prefix: str, at: list[int], counts: Mapping[str, float]
) -> Iterator[Point]:
    """Yield the points of the members; `at` holds the next free register."""
    for member in members:
        if isinstance(member, _Row):
            point = Point(prefix + member.name, at[0], member.type, member.scale, member.access)
            at[0] += point.count
            yield point
            continue
        once = member.times.isdigit()
        told = float(member.times) if once else counts.get(member.times, math.nan)
        for k in range(1, 1 + (0 if math.isnan(told) else round(told))):
            name = member.name if once else f"{member.name}[{k}]"
            yield from _lay(member.members, f"{prefix}{name}.", at, counts)


MODELS: dict[int, Definition] = {
    number: Definition(number, text) for number, text in sorted((METERS | DER | CURVES).items())
}
