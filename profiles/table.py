"""Read small tables (CSV) strictly: the header that was declared, numbers where numbers belong, file:row in errors."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from profiles.errors import ProfileError


def read_table(path: Path, columns: dict[str, Callable[[str], Any]], delimiter: str = ",") -> dict[str, list[Any]]:
    """Return {column: values} of a CSV file with a header; `columns` gives the converter of each column wanted.

    Columns not asked for are skipped. ProfileError: no file, a column that is missing, a row of another length, a cell
    that its converter refuses (file:row, column, cell).
    """
    table: dict[str, list[Any]] = {name: [] for name in columns}
    try:
        file = path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        reader = csv.reader(file, delimiter=delimiter)
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise ProfileError(f"{path.name}:1: columns {missing} are missing; found {header}")
        places = [(name, header.index(name), convert) for name, convert in columns.items()]
        for row in reader:
            if len(row) != len(header):
                raise ProfileError(f"{path.name}:{reader.line_num}: {len(row)} cells; the header has {len(header)}")
            for name, place, convert in places:
                table[name].append(_cell(path, reader.line_num, name, row[place], convert))
    return table


def _cell(path: Path, line: int, name: str, text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise ProfileError(f"{path.name}:{line}: {name} = {text!r}: {error}") from error


def one_of(allowed: Sequence[str]) -> Callable[[str], int]:
    """Return a converter from one of the words to its index."""

    def convert(text: str) -> int:
        if text not in allowed:
            raise ValueError(f"allowed: {', '.join(allowed)}")
        return allowed.index(text)

    return convert


def at_least(low: float, unit: str) -> Callable[[str], float]:
    """Return a converter to a finite number not under `low`."""

    def convert(text: str) -> float:
        value = float(text)
        if not low <= value < float("inf"):
            raise ValueError(f"allowed: {low:g} {unit} or more, finite")
        return value

    return convert
