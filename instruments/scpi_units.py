"""Convert between the units of instruments and ours: the one place where kW, V/ms and A/us exist."""

import math
import re

# unit of an instrument: ours, and how many of ours it is
UNITS: dict[str, tuple[str, float]] = {
    "": ("", 1.0),
    **{unit: (unit, 1.0) for unit in ("V", "A", "W", "VA", "var", "Hz", "s", "deg", "ohm", "V/s", "A/s", "W/s", "Wh")},
    "mV": ("V", 1e-3),
    "kV": ("V", 1e3),
    "mA": ("A", 1e-3),
    "kA": ("A", 1e3),
    "mW": ("W", 1e-3),
    "kW": ("W", 1e3),
    "MW": ("W", 1e6),
    "kVA": ("VA", 1e3),
    "kvar": ("var", 1e3),
    "kHz": ("Hz", 1e3),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "kohm": ("ohm", 1e3),
    "mohm": ("ohm", 1e-3),
    "V/ms": ("V/s", 1e3),
    "V/us": ("V/s", 1e6),
    "A/ms": ("A/s", 1e3),
    "A/us": ("A/s", 1e6),
    "kWh": ("Wh", 1e3),
    "%": ("%", 1.0),
    "degC": ("degC", 1.0),
}


NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z%/]*)")
NOT_A_NUMBER = 9.9e37  # SCPI-99 7.2.1: 9.91E37 is not a number, 9.9E37 infinite


def number_of(text: str, units: bool = False) -> float:
    """Return an answer as a number; NaN where it is none, or one that SCPI-99 calls no number or infinite.

    With `units` the device writes its unit behind it, and kW counts as 1000 W.
    """
    found = NUMBER.fullmatch(text.strip())
    if found is None or (found[2] and not (units and found[2] in UNITS)):
        return math.nan
    value = float(found[1]) * UNITS[found[2]][1]
    return value if abs(value) < NOT_A_NUMBER else math.nan


def to_ours(value: float, unit: str) -> float:
    """Return a value of an instrument's unit in ours; a KeyError where the unit is unknown."""
    return value * UNITS[unit][1]


def to_theirs(value: float, unit: str) -> float:
    """Return a value of ours in an instrument's unit; a KeyError where the unit is unknown."""
    return value / UNITS[unit][1]


def ours(unit: str) -> str:
    """Return our unit for an instrument's."""
    return UNITS[unit][0]
