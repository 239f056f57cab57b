"""Describe one array of the process image; the tables are made of these."""

from typing import NamedTuple


class Field(NamedTuple):
    """Describe one array of an image: name, dtype, shape letters, unit, fill value and meaning."""

    name: str
    dtype: str
    shape: str
    unit: str
    fill: float
    meaning: str


NAN = float("nan")
INF = float("inf")
