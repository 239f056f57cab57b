"""Load contracts: who may draw how much, when, by which clock. A contract is data with its source."""

import tomllib
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from profiles.errors import ProfileError

HERE = Path(__file__).parent / "contracts"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Strict(BaseModel):
    """Refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Window(Strict):
    """Declare one window of the local day; `until` before `from` runs over midnight."""

    start: time = Field(alias="from")
    until: time
    limit_a: Annotated[float, Field(ge=0)]
    days: list[str] = list(DAYS)


class ContractFile(Strict):
    """Declare a contract file."""

    name: str
    kind: str
    title: str
    source: str
    verified: str
    measure: str = Field(description="where the limit holds: poc, station, connector")
    phases: str = Field(description="per_phase or total")
    averaging_s: float = 0.0
    window: list[Window]


@dataclass(frozen=True, slots=True)
class ContractWindow:
    """Hold one window: start and end in seconds of the local day, limit in amps per phase, days as bits."""

    from_s: float
    to_s: float
    limit_a: float
    days: int


@dataclass(frozen=True, slots=True)
class Contract:
    """Hold a loaded contract with its windows."""

    name: str
    kind: str
    title: str
    source: str
    windows: tuple[ContractWindow, ...]


def load_contract(name: str) -> Contract:
    """Load a bundled contract by name, or one by the path of its TOML file; ProfileError tells file:key."""
    path = Path(name) if name.endswith(".toml") else HERE / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in HERE.glob("*.toml")))
        raise ProfileError(f"no contract {name!r}; bundled: {known}")
    try:
        data = ContractFile.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path.name}: not a TOML file: {error}") from error
    except ValidationError as error:
        lines = [f"{path.name}:{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise ProfileError("\n".join(lines)) from error
    windows = tuple(
        ContractWindow(_seconds(w.start), _seconds(w.until), w.limit_a, _day_bits(path, w.days)) for w in data.window
    )
    return Contract(data.name, data.kind, data.title, data.source, windows)


def _seconds(clock: time) -> float:
    return clock.hour * 3600 + clock.minute * 60 + clock.second


def _day_bits(path: Path, days: list[str]) -> int:
    unknown = [day for day in days if day not in DAYS]
    if unknown:
        raise ProfileError(f"{path.name}:window.days = {unknown}: days are {', '.join(DAYS)}")
    return sum(1 << DAYS.index(day) for day in set(days))
