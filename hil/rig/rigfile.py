"""Read a rig file and check it whole: every error at once, each with file:key, value, what is allowed, what to do."""

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hil.rig.bench_references import check_bench
from hil.rig.charger_keys import Twin
from hil.rig.meter_references import check_events, check_meters
from hil.rig.opcua_part import check_links
from hil.rig.references import Problem, check_references, short
from hil.rig.rows import check_rows, expand, told_by_row
from hil.rig.safety import check_safety
from hil.rig.schema import BENCH_ROLES, Rig
from hil.rig.session_references import check_sessions
from hil.rig.tree import build_tree
from hil.rig.tree_references import check_tree
from hil.rig.wishes import check_wishes
from instruments import catalog
from profiles.contract import AnyContract, load_contract
from profiles.feeder import Feeder, load_feeder
from profiles.vehicle import Vehicle, load_vehicles

RIGS = Path(__file__).parents[2] / "profiles" / "rigs"
NUMBER_TYPES = ("float_type", "int_type", "float_parsing", "int_parsing")
# what a key's suffix says of its number, for those who write a unit or quotes
UNITS = {"a": "A", "v": "V", "w": "W", "s": "s", "pu": "pu", "c": "degC", "db": "dB"}


class RigError(Exception):
    """Report everything that is wrong with a rig file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(p) for p in problems))


@dataclass(frozen=True, slots=True)
class LoadedRig:
    """Hold a checked rig with everything that its names stand for."""

    path: Path
    rig: Rig
    feeder: Feeder
    vehicles: dict[str, Vehicle]
    models: dict[str, catalog.Model]
    contracts: tuple[AnyContract, ...]


def find_rig(name: str) -> Path:
    """Return the path of a rig given by path or by the name of a bundled one; a RigError lists those there are."""
    given = Path(name)
    if given.suffix == ".toml" or given.is_file():
        if given.is_file():
            return given
        raise RigError([Problem(str(given), "", "no such file; give a rig file or the name of a bundled rig")])
    bundled = RIGS / f"{name}.toml"
    if bundled.is_file():
        return bundled
    known = ", ".join(sorted(p.stem for p in RIGS.glob("*.toml")))
    raise RigError([Problem("RIG", name, f"no rig of this name; bundled: {known}")])


def load_rig(name: str) -> LoadedRig:
    """Read and check a rig; a RigError carries all problems found."""
    path = find_rig(name)
    label = path.name
    try:
        raw = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RigError([Problem(label, "", f"not a TOML file: {error}")]) from error
    except OSError as error:
        raise RigError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from error
    problems: list[Problem] = check_rows(label, raw)
    rig: Rig | None = None
    raw, origins = expand(raw)
    try:
        rig = Rig.model_validate(raw)
    except ValidationError as error:
        problems += [explain(label, detail) for detail in error.errors()]
    problems += check_references(label, raw) + check_bench(label, raw) + check_wishes(label, raw)
    problems += check_safety(label, raw) + check_tree(label, raw) + check_sessions(label, raw)
    if rig is not None:
        found = [*check_links(rig), *check_meters(rig.meter, [node.name for node in build_tree(rig).nodes])]
        found += check_events(rig)
        problems += [Problem(f"{label}:{where}", value, allowed) for where, value, allowed in found]
    if problems or rig is None:
        raise RigError(told_by_row(problems, origins))
    return LoadedRig(
        path=path,
        rig=rig,
        feeder=load_feeder(rig.feeder.name),
        vehicles=load_vehicles(),
        models={part.model: catalog.load_model(part.model) for _, _, _, part in devices(rig)},
        contracts=tuple(load_contract(part.file) for part in rig.contract),
    )


def explain(label: str, detail: ErrorDetails, root: type[BaseModel] = Rig) -> Problem:
    """Turn a pydantic error of a file of schema `root` into a problem with its key, value and what is allowed."""
    where = f"{label}:{dotted(detail['loc'])}"
    value = "" if detail["type"] == "missing" else short(detail["input"])
    if detail["type"] == "extra_forbidden":
        known = known_keys(detail["loc"][:-1], root)
        found = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {found[0]}?" if found else f"known keys: {', '.join(known)}"
        return Problem(where, value, f"unknown key; {hint}")
    if detail["type"] == "missing":
        return Problem(where, value, "is missing and required")
    if detail["type"] in NUMBER_TYPES:
        unit = UNITS.get(str(detail["loc"][-1]).rpartition("_")[2], "")
        return Problem(where, value, f"a number{' in ' + unit if unit else ''} is needed, without quotes and unit")
    return Problem(where, value, detail["msg"].removeprefix("Value error, "))


def dotted(loc: Iterable[int | str]) -> str:
    """Write a location as charger[3].model."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def known_keys(loc: Sequence[int | str], root: type[BaseModel] = Rig) -> list[str]:
    """Return the keys that the schema knows at a location."""
    model: Any = root
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = _inner_model(field.annotation)
        if model is None:
            return []
    return list(model.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """Return the schema class inside list[X], Annotated or X | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _inner_model(inner)
        if found is not None:
            return found
    return None


def devices(rig: Rig) -> list[tuple[str, str, str, Twin]]:
    """Return (key, name, role, part) of every device of the rig."""
    found: list[tuple[str, str, str, Twin]] = [
        (f"charger[{k}]", charger.name, "charger", charger) for k, charger in enumerate(rig.charger)
    ]
    found.append(("substation", rig.substation.name, "substation", rig.substation))
    found += [(f"meter[{k}]", part.name, "meter", part) for k, part in enumerate(rig.meter)]
    if rig.bench is not None:
        found += [(f"bench.{key}", part.name, BENCH_ROLES[key], part) for key, part in rig.bench.devices().items()]
    if rig.safety.estop is not None:
        found.append(("safety.estop", rig.safety.estop.name, "relay", rig.safety.estop))
    return found
