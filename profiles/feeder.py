"""Load feeders: buses, lines, cables and customers as arrays, with their source and licence.

A feeder is a folder: `feeder.toml` (transformer, grid, source), `lines.csv`, `line_codes.csv`, `loads.csv` and, where
they are known, `coords.csv`.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from profiles.errors import ProfileError
from profiles.table import at_least, one_of, read_table

HERE = Path(__file__).parent / "feeders"
PHASE_NAMES = ("a", "b", "c")
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """Refuse unknown keys and numbers in quotes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Transformer(Strict):
    """Hold the transformer: volts line to line, impedance in pu of its own rating, Dyn with the given clock number."""

    u_hv_v: Positive
    u_lv_v: Positive
    s_rated_va: Positive
    r_pu: Annotated[float, Field(ge=0)]
    x_pu: Positive
    clock: Annotated[int, Field(ge=1, le=11, description="odd: delta to star")]
    lv_bus: int

    @property
    def z_lv_ohm(self) -> complex:
        """Return the series impedance seen from the low-voltage side, ohm."""
        return complex(self.r_pu, self.x_pu) * self.u_lv_v**2 / self.s_rated_va


class Grid(Strict):
    """Hold the medium-voltage grid: three-phase short-circuit current, A, and X/R."""

    short_circuit_a: Positive
    x_over_r: Positive


class Customers(Strict):
    """Hold what is common to all customers."""

    power_factor: Annotated[float, Field(gt=0, le=1)]


class FeederFile(Strict):
    """Declare `feeder.toml`."""

    name: str
    title: str
    source: str
    original: str
    licence: str
    verified: str
    notes: list[str] = []
    customers: Customers
    transformer: Transformer
    grid: Grid


@dataclass(frozen=True, slots=True, eq=False)
class LineCodes:
    """Hold the cables: names and sequence impedances, ohm/km, each (K,)."""

    name: tuple[str, ...]
    r1_ohm_per_km: np.ndarray
    x1_ohm_per_km: np.ndarray
    r0_ohm_per_km: np.ndarray
    x0_ohm_per_km: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Hold the lines, each (L,): names, bus numbers, length in m, index into the line codes."""

    name: tuple[str, ...]
    from_bus: np.ndarray
    to_bus: np.ndarray
    length_m: np.ndarray
    code: np.ndarray

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Loads:
    """Hold the customers, each (C,): names, bus numbers, phase (0 a, 1 b, 2 c)."""

    name: tuple[str, ...]
    bus: np.ndarray
    phase: np.ndarray

    def __len__(self) -> int:
        """Return the number of customers."""
        return len(self.name)


@dataclass(frozen=True, slots=True, eq=False)
class Feeder:
    """Hold a feeder. `bus` (B,) are all bus numbers, rising; `coords_m` (B, 2) is NaN where a place is unknown."""

    name: str
    title: str
    source: str
    licence: str
    notes: tuple[str, ...]
    power_factor: float
    transformer: Transformer
    grid: Grid
    bus: np.ndarray
    coords_m: np.ndarray
    lines: Lines
    codes: LineCodes
    loads: Loads


def load_feeder(name: str) -> Feeder:
    """Load a bundled feeder by name, or one by the path of its folder.

    ProfileError (file:key or file:row) for a broken file, a line to nowhere, a bus that is not connected to the
    transformer, a customer on a bus that does not exist.
    """
    folder = Path(name) if Path(name).is_dir() else HERE / name
    if not (folder / "feeder.toml").is_file():
        known = ", ".join(sorted(p.parent.name for p in HERE.glob("*/feeder.toml")))
        raise ProfileError(f"no feeder {name!r}; bundled: {known}")
    head = _read_head(folder / "feeder.toml")
    codes = _read_codes(folder / "line_codes.csv")
    lines = _read_lines(folder / "lines.csv", codes)
    bus = np.unique(np.concatenate([lines.from_bus, lines.to_bus]))
    _check_connected(folder / "lines.csv", lines, bus, head.transformer.lv_bus)
    return Feeder(
        name=head.name,
        title=head.title,
        source=head.source,
        licence=head.licence,
        notes=tuple(head.notes),
        power_factor=head.customers.power_factor,
        transformer=head.transformer,
        grid=head.grid,
        bus=bus,
        coords_m=_read_coords(folder / "coords.csv", bus),
        lines=lines,
        codes=codes,
        loads=_read_loads(folder / "loads.csv", bus),
    )


def _read_head(path: Path) -> FeederFile:
    try:
        return FeederFile.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path.name}: not a TOML file: {error}") from error
    except ValidationError as error:
        text = [f"{path.name}:{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ProfileError("\n".join(text)) from error


def _read_codes(path: Path) -> LineCodes:
    ohm = at_least(0, "ohm/km")
    columns: dict[str, Any] = {"code": str}
    columns |= dict.fromkeys(("r1_ohm_per_km", "x1_ohm_per_km", "r0_ohm_per_km", "x0_ohm_per_km"), ohm)
    table = read_table(path, columns)
    names = tuple(table.pop("code"))
    _refuse_twice(path, "code", names)
    return LineCodes(names, **{key: np.array(values) for key, values in table.items()})


def _read_lines(path: Path, codes: LineCodes) -> Lines:
    table = read_table(
        path,
        {
            "name": str,
            "from_bus": int,
            "to_bus": int,
            "length_m": at_least(1e-3, "m"),
            "code": one_of(codes.name),
        },
    )
    _refuse_twice(path, "name", table["name"])
    return Lines(tuple(table["name"]), *(np.array(table[key]) for key in ("from_bus", "to_bus", "length_m", "code")))


def _read_loads(path: Path, bus: np.ndarray) -> Loads:
    table = read_table(path, {"name": str, "bus": int, "phase": one_of(PHASE_NAMES)})
    _refuse_twice(path, "name", table["name"])
    for row, place in enumerate(table["bus"]):
        if place not in bus:
            raise ProfileError(f"{path.name}:{row + 2}: bus = {place}: no line leads there")
    return Loads(tuple(table["name"]), np.array(table["bus"]), np.array(table["phase"]))


def _read_coords(path: Path, bus: np.ndarray) -> np.ndarray:
    coords = np.full((len(bus), 2), np.nan)
    if path.is_file():
        table = read_table(path, {"bus": int, "x_m": float, "y_m": float})
        where = {number: row for row, number in enumerate(bus)}
        for number, x_m, y_m in zip(table["bus"], table["x_m"], table["y_m"], strict=True):
            if number in where:
                coords[where[number]] = x_m, y_m
    return coords


def _check_connected(path: Path, lines: Lines, bus: np.ndarray, root: int) -> None:
    """Refuse buses that no path joins to the transformer: their voltage would be undefined."""
    reached = np.zeros(len(bus), dtype=bool)
    if root not in bus:
        raise ProfileError(f"feeder.toml:transformer.lv_bus = {root}: no line starts there")
    begin, end = np.searchsorted(bus, lines.from_bus), np.searchsorted(bus, lines.to_bus)
    reached[np.searchsorted(bus, root)] = True
    while True:
        half = reached[begin] != reached[end]
        if not half.any():
            break
        reached[begin[half]] = reached[end[half]] = True
    if not reached.all():
        raise ProfileError(f"{path.name}: buses {bus[~reached][:5].tolist()} are not connected to bus {root}")


def _refuse_twice(path: Path, key: str, names: Any) -> None:
    seen: set[str] = set()
    for row, name in enumerate(names):
        if name in seen:
            raise ProfileError(f"{path.name}:{row + 2}: {key} = {name!r}: stands twice")
        seen.add(name)
