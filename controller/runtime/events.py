"""Append what happened in a run to `events.jsonl`: one line an event, one `write` a line, many writers.

Every event carries `kind`, `process`, `mono_ns` (the machine's monotonic clock, common to all processes) and its own
fields. A reader skips a torn last line.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NAME = "events.jsonl"


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NaN and infinities become text, since JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


class Events:
    """Append events of one process to a file."""

    __slots__ = ("_clock_ns", "_handle", "path", "process")

    def __init__(self, path: Path, process: str, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.path = path
        self.process = process
        self._clock_ns = clock_ns
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, kind: str, **fields: Any) -> None:
        """Append one event; fields are JSON values with their unit in the name.

        A full disk must end nobody who holds limits: an event for which there is no room goes to stderr.
        """
        event = {"kind": kind, "process": self.process, "mono_ns": self._clock_ns()} | plain(fields)
        line = json.dumps(event, default=str, ensure_ascii=False) + "\n"
        try:
            os.write(self._handle, line.encode(errors="backslashreplace"))
        except OSError as error:
            print(f"{self.process}: no event, {error}: {line}", end="", file=sys.stderr)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a file, oldest first; a line that a dead writer left torn is left out."""
    if not path.exists():
        return
    for line in path.read_text(errors="replace").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
