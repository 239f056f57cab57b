"""Convert between the units of instruments and ours: the one place where kW, V/ms and A/us exist."""

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


def to_ours(value: float, unit: str) -> float:
    """Return a value of an instrument's unit in ours; a KeyError where the unit is unknown."""
    return value * UNITS[unit][1]


def to_theirs(value: float, unit: str) -> float:
    """Return a value of ours in an instrument's unit; a KeyError where the unit is unknown."""
    return value / UNITS[unit][1]


def ours(unit: str) -> str:
    """Return our unit for an instrument's."""
    return UNITS[unit][0]
