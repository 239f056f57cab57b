"""Write numbers and names for the desk: fixed widths, one meaning, nothing that a terminal would obey."""

import math
from typing import NamedTuple

NONE = "–"  # unknown
FREE = "∞"  # no limit


class Cell(NamedTuple):
    """Hold one cell: its text and its tone ("", dim, good, warn, bad, head)."""

    text: str
    tone: str = ""


class Row(NamedTuple):
    """Hold one row of a table: a key that stays, its cells, and whether something is wrong with it."""

    key: str
    cells: tuple[Cell, ...]
    fault: bool = False


class Column(NamedTuple):
    """Name a column, its width in characters and its side."""

    title: str
    width: int
    right: bool = True


def clean(text: str) -> str:
    """Return text without anything that a terminal would obey: control characters become a dot."""
    return "".join(char if char.isprintable() else "·" for char in text)


def number(value: float, digits: int = 1) -> str:
    """Return a number with so many digits; NaN is unknown, +inf no limit."""
    if math.isnan(value):
        return NONE
    if math.isinf(value):
        return FREE if value > 0 else f"-{FREE}"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0.0 else text


def triple(values: list[float]) -> str:
    """Return three phases in one cell, 5 characters each; from 1000 on without a decimal."""
    return " ".join(f"{number(value, 1 if abs(value) < 999.95 else 0):>5}" for value in values)


def kilowatts(watts: float) -> str:
    """Return watts as kW."""
    return number(watts / 1e3)


def clock(utc_s: float, offset_s: float) -> str:
    """Return the local time of day hh:mm:ss of a UTC epoch time; unknown for NaN."""
    if not math.isfinite(utc_s):
        return NONE
    second = int(utc_s + offset_s) % 86_400
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


def age(seconds: float) -> str:
    """Return an age in s, min or h, at most five characters."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 100.0:
        return f"{max(seconds, 0.0):.1f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6000 else f"{min(seconds / 3600, 999):.0f}h"


def micros(seconds: float) -> str:
    """Return a duration in us, ms or s with three digits."""
    if math.isnan(seconds):
        return NONE
    for scale, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * scale < 999.5:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s"
