"""Lay the process image out in memory: the INPUT, PLAN, STATE and OUTPUT tables of `tables.py`.

Each image is one contiguous buffer that holds the arrays of its table one after the other, every array on a
64-byte boundary. The law sees a named tuple of views on such a buffer; windows, ledger, desk and documents read
the same table. Shape letters: 1 a scalar, N chargers, M nodes, P the three phases, W contract windows,
K points of a droop curve, S steps of the chain, R buckets of the reservation history, Q the three phases in amps and
their sum in watts, L the numbers of a subtree, C calendars of B bytes, a bit a day.

Numbers (DESIGN: one meaning everywhere): NaN unknown, +inf no limit, 0 is zero; + flows from the grid into the
charger; ``_ns`` are integer nanoseconds of the monotonic clock unless the name says ``utc``; ``_s`` of a calendar
are seconds of the UTC epoch in float64 (resolution 0.2 us).
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from controller.law.names import Step
from controller.law.tables import INPUT_FIELDS, OUTPUT_FIELDS, PLAN_FIELDS, STATE_FIELDS, Field

__all__ = [
    "BUCKETS",
    "INPUT_FIELDS",
    "OUTPUT_FIELDS",
    "PLAN_FIELDS",
    "STATE_FIELDS",
    "TABLES",
    "Dims",
    "Field",
    "allocate",
    "layout",
    "reset",
    "shape_of",
    "views",
]

PHASES = 3
STEPS = len(Step)
BUCKETS = 16
COLUMNS = 4  # amps of the phases a, b, c; watts of all
BY_COLUMN = (  # columns lie one after the other: a loop takes one of them, several chargers at once
    "chain", "droop_pu", "droop_share", "charger_a", "charger_v", "phase_map", "live_map", "tree_map", "uses",
    "ask_uses", "seen_a", "volt_f_pu",
)  # fmt: skip
CALENDARS = 32
CALENDAR_BYTES = 128  # 1,024 days
LINE = 16  # numbers that describe a subtree in the filling: two cache lines
ALIGN = 64


class Dims(NamedTuple):
    """Give the sizes of an image: n chargers, m nodes, w contract windows, k points of a droop curve."""

    n: int
    m: int
    w: int = 0
    k: int = 4


TABLES: dict[str, tuple[Field, ...]] = {
    "input": INPUT_FIELDS,
    "plan": PLAN_FIELDS,
    "state": STATE_FIELDS,
    "output": OUTPUT_FIELDS,
}

# numba types a named tuple by its class, so each table has exactly one
Input = namedtuple("Input", [f.name for f in INPUT_FIELDS])  # type: ignore[misc]
Plan = namedtuple("Plan", [f.name for f in PLAN_FIELDS])  # type: ignore[misc]
State = namedtuple("State", [f.name for f in STATE_FIELDS])  # type: ignore[misc]
Output = namedtuple("Output", [f.name for f in OUTPUT_FIELDS])  # type: ignore[misc]
CLASSES: dict[str, Callable[..., Any]] = {"input": Input, "plan": Plan, "state": State, "output": Output}


def shape_of(field: Field, dims: Dims) -> tuple[int, ...]:
    """Return the shape of a field's array for the given sizes."""
    size = {"1": 1, "N": dims.n, "M": dims.m, "P": PHASES,
            "W": dims.w, "K": dims.k, "S": STEPS, "R": BUCKETS,
            "Q": COLUMNS, "L": LINE, "C": CALENDARS, "B": CALENDAR_BYTES}  # fmt: skip
    return tuple(size[letter] for letter in field.shape)


def layout(table: str, dims: Dims) -> tuple[dict[str, tuple[int, str, tuple[int, ...]]], int]:
    """Return {name: (offset in bytes, dtype, shape)} of a table and the size of its buffer in bytes."""
    places: dict[str, tuple[int, str, tuple[int, ...]]] = {}
    offset = 0
    for field in TABLES[table]:
        shape = shape_of(field, dims)
        places[field.name] = (offset, field.dtype, shape)
        size = int(np.prod(shape)) * np.dtype(field.dtype).itemsize
        offset += -(-size // ALIGN) * ALIGN
    return places, offset


def views(table: str, dims: Dims, buffer: np.ndarray) -> Any:
    """Return the table's named tuple of array views on an existing buffer.

    `buffer` is uint8 of the size that `layout` gives; a ValueError says so when it is not.
    """
    places, nbytes = layout(table, dims)
    if buffer.dtype != np.uint8 or buffer.size != nbytes:
        raise ValueError(f"{table} image of {dims} needs {nbytes} bytes of uint8, got {buffer.size} {buffer.dtype}")
    arrays = [
        np.ndarray(shape, dtype=dtype, buffer=buffer, offset=offset, order="F" if name in BY_COLUMN else "C")
        for name, (offset, dtype, shape) in places.items()
    ]
    return CLASSES[table](*arrays)


def allocate(table: str, dims: Dims) -> tuple[np.ndarray, Any]:
    """Return a new buffer (uint8) filled with the table's fill values, and its named tuple of views."""
    _, nbytes = layout(table, dims)
    buffer = np.zeros(nbytes, dtype=np.uint8)
    image = views(table, dims, buffer)
    reset(table, image)
    return buffer, image


def reset(table: str, image: Any) -> None:
    """Write the table's fill values into every array of an image."""
    for field, array in zip(TABLES[table], image, strict=True):
        array[...] = field.fill
