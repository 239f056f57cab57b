"""Read operating envelopes from a file: UTC intervals with import and export limits of nodes, CSV or JSON.

The file is written by whoever reckons the envelopes and is replaced as a whole (write another one, then rename it).
CSV has a head and the columns `node,from,to,import_w,export_w`; JSON is `{"issued": "...Z", "intervals": [{...}]}`
with the same keys. An empty limit is none. One that is not clear leaves the schedule before it as it was.
A signature is a file beside it, `NAME.sig`: hexadecimal, over the bytes of the file; what is signed must be JSON and
say when it was issued, so that an old one cannot be put back.
"""

import csv
import io
import json
import math
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from controller.runtime.order_keys import Key

MOST_BYTES = 4 << 20
COLUMNS = ("node", "from", "to", "import_w", "export_w")


class EnvelopeError(ValueError):
    """Report a schedule that cannot be read: where, its value, what is allowed."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold the limits of a node for an interval: UTC epoch s, W from 0, +inf none."""

    node: str
    from_s: float
    to_s: float
    import_w: float
    export_w: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hold the intervals of one file, and when it was issued (UTC epoch s; NaN: it does not say)."""

    intervals: tuple[Interval, ...]
    issued_s: float = math.nan


def read_schedule(path: Path, key: Key | None) -> tuple[Schedule, float]:
    """Return the schedule of a file and the time of its last change, UTC epoch s; EnvelopeError says what is wrong."""
    try:
        with path.open("rb") as file:
            data, changed_s = file.read(MOST_BYTES + 1), os.fstat(file.fileno()).st_mtime
        signature = signature_of(path).read_text().strip() if key is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise EnvelopeError(f"{path}: cannot be read: {error}") from error
    if len(data) > MOST_BYTES:
        raise EnvelopeError(f"{path}: over {MOST_BYTES} bytes")
    if key is not None and not key.made(data, signature):
        raise EnvelopeError(f"{path}: its signature is not that of the key of this contract")
    found = parse_schedule(data, str(path), as_csv=path.suffix.lower() == ".csv")
    if key is not None and math.isnan(found.issued_s):
        raise EnvelopeError(f"{path}: issued is missing; a signed schedule is JSON and says when it was issued")
    return found, changed_s


def signature_of(path: Path) -> Path:
    """Return where the signature of a schedule lies."""
    return path.with_name(path.name + ".sig")


def parse_schedule(data: bytes, where: str, *, as_csv: bool) -> Schedule:
    """Return the schedule of a file's bytes; EnvelopeError names the row (`where` the file)."""
    issued_s, rows = math.nan, []
    try:
        if as_csv:
            reader = csv.DictReader(io.StringIO(data.decode()), strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise EnvelopeError(f"{where}: columns {reader.fieldnames}: allowed are {','.join(COLUMNS)}")
            rows = list(reader)
        else:
            whole = json.loads(data)
            rows, issued = whole["intervals"], whole.get("issued")
            issued_s = math.nan if issued is None else _utc_s(issued)
            if unknown := sorted(set(whole) - {"issued", "intervals"}):
                raise EnvelopeError(f"{where}: unknown keys {', '.join(unknown)}")
    except EnvelopeError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error, RecursionError) as error:
        raise EnvelopeError(f"{where}: not a schedule of intervals: {error!r}") from error
    found = [_interval(row, f"{where}: interval {k}") for k, row in enumerate(rows)]
    return Schedule(tuple(sorted(found, key=lambda each: (each.node, each.from_s))), issued_s)


def _interval(row: Any, where: str) -> Interval:
    try:
        if set(row) != set(COLUMNS) and not {"node", "from", "to"} <= set(row) <= set(COLUMNS):
            raise ValueError(f"its keys are {', '.join(map(str, row))}; allowed are {', '.join(COLUMNS)}")
        found = Interval(str(row["node"]), _utc_s(row["from"]), _utc_s(row["to"]),
                         _watts(row.get("import_w")), _watts(row.get("export_w")))  # fmt: skip
        if not found.from_s < found.to_s:
            raise ValueError(f"from {row['from']} to {row['to']}: it must end after it begins")
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise EnvelopeError(f"{where}: {error}") from error
    return found


def _utc_s(text: Any) -> float:
    """Return the UTC epoch seconds of an ISO time with its zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text}: no zone; write UTC, e.g. 2026-01-13T17:00:00Z")
    return moment.timestamp()


def _watts(value: Any) -> float:
    if value is None or value == "":
        return math.inf
    if isinstance(value, bool) or not (watts := float(value)) >= 0.0:  # NaN too
        raise ValueError(f"{value} W: allowed is a number from 0, or nothing where there is no limit")
    return watts
