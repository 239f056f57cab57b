"""Read a rig file and check it whole: every error at once, each with file:key, value, what is allowed, what to do."""

import difflib
import itertools
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hil.rig.schema import Rig, Twin
from instruments import catalog
from profiles.contract import Contract, load_contract
from profiles.errors import ProfileError
from profiles.feeder import Feeder, load_feeder
from profiles.vehicle import Vehicle, load_vehicles

RIGS = Path(__file__).parents[2] / "profiles" / "rigs"


@dataclass(frozen=True, slots=True)
class Problem:
    """Tell one thing that is wrong with a file: where (file:key), the value, and what is allowed."""

    where: str
    value: str
    allowed: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.where} = {self.value}: {self.allowed}" if self.value else f"{self.where}: {self.allowed}"


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
    contracts: tuple[Contract, ...]


def find_rig(name: str) -> Path:
    """Return the path of a rig given by path or by the name of a bundled one; a RigError lists those there are."""
    given = Path(name)
    if given.suffix == ".toml" or given.exists():
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
    try:
        rig = Rig.model_validate(raw)
    except ValidationError as error:
        problems = [explain(label, detail) for detail in error.errors()]
        raise RigError(problems + list(_loose_checks(label, raw))) from error
    return _resolve(path, label, rig)


def explain(label: str, detail: ErrorDetails) -> Problem:
    """Turn a pydantic error into a problem with its key, value and what is allowed."""
    where = f"{label}:{dotted(detail['loc'])}"
    value = "" if detail["type"] == "missing" else _short(detail["input"])
    if detail["type"] == "extra_forbidden":
        known = known_keys(detail["loc"][:-1])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
        return Problem(where, value, f"unknown key; {hint}")
    if detail["type"] == "missing":
        return Problem(where, value, "is missing and required")
    return Problem(where, value, detail["msg"].removeprefix("Value error, "))


def dotted(loc: Iterable[int | str]) -> str:
    """Write a location as charger[3].model."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def known_keys(loc: Sequence[int | str]) -> list[str]:
    """Return the keys that the schema knows at a location."""
    model: Any = Rig
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


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _loose_checks(label: str, raw: dict[str, Any]) -> Iterable[Problem]:
    """Check names in a file whose shape is already refused, so that the user sees all errors in one go."""
    names = set(catalog.model_names())
    chargers = raw.get("charger")
    for k, charger in enumerate(chargers if isinstance(chargers, list) else []):
        model = charger.get("model") if isinstance(charger, dict) else None
        if isinstance(model, str) and model not in names:
            yield _unknown_model(f"{label}:charger[{k}].model", model, names)


def _unknown_model(where: str, model: str, names: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(model, list(names), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    return Problem(where, json.dumps(model), f"unknown model; {hint}`voltbench catalog` lists them")


def _resolve(path: Path, label: str, rig: Rig) -> LoadedRig:
    """Load everything that the rig names, collecting what cannot be had."""
    problems: list[Problem] = []
    feeder: Feeder | None = None
    try:
        feeder = load_feeder(rig.feeder.name)
    except ProfileError as error:
        problems.append(Problem(f"{label}:feeder.name", json.dumps(rig.feeder.name), str(error)))
    vehicles = load_vehicles()
    contracts: list[Contract] = []
    for k, part in enumerate(rig.contract):
        try:
            contracts.append(load_contract(part.file))
        except ProfileError as error:
            problems.append(Problem(f"{label}:contract[{k}].file", json.dumps(part.file), str(error)))
    try:
        ZoneInfo(rig.rig.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        problems.append(Problem(f"{label}:rig.timezone", json.dumps(rig.rig.timezone), "not an IANA time zone"))
    models, found = _models(label, rig)
    problems += found
    problems += _check_chargers(label, rig, feeder, vehicles, models)
    problems += _check_references(label, rig)
    problems += _check_ports(label, rig)
    if problems or feeder is None:
        raise RigError(problems)
    return LoadedRig(path, rig, feeder, vehicles, models, tuple(contracts))


def devices(rig: Rig) -> list[tuple[str, str, str, Twin]]:
    """Return (key, name, role, part) of every device of the rig."""
    found: list[tuple[str, str, str, Twin]] = [
        (f"charger[{k}]", charger.name, "charger", charger) for k, charger in enumerate(rig.charger)
    ]
    found.append(("substation", rig.substation.name, "substation", rig.substation))
    if rig.bench is not None:
        found.append(("bench.source", rig.bench.source.name, "ac_source", rig.bench.source))
        found.append(("bench.load", rig.bench.load.name, "ac_load", rig.bench.load))
        found.append(("bench.adapter", rig.bench.adapter.name, "ev_adapter", rig.bench.adapter))
    return found


def _models(label: str, rig: Rig) -> tuple[dict[str, catalog.Model], list[Problem]]:
    """Load every model once; a role that does not fit the place is refused."""
    models: dict[str, catalog.Model] = {}
    problems: list[Problem] = []
    names = set(catalog.model_names())
    for key, _, role, part in devices(rig):
        model_name = part.model
        where = f"{label}:{key}.model"
        if model_name not in names:
            problems.append(_unknown_model(where, model_name, names))
            continue
        model = models.setdefault(model_name, catalog.load_model(model_name))
        if model.model.role != role:
            problems.append(Problem(where, json.dumps(model_name), f"is a {model.model.role}; a {role} is needed here"))
    return models, problems


def _check_chargers(
    label: str, rig: Rig, feeder: Feeder | None, vehicles: dict[str, Vehicle], models: dict[str, catalog.Model]
) -> list[Problem]:
    problems = []
    customers = len(feeder.loads) if feeder is not None else None
    for k, charger in enumerate(rig.charger):
        where = f"{label}:charger[{k}]"
        if customers is not None and charger.customer > customers:
            text = f"no such customer; feeder {rig.feeder.name} has 1..{customers}"
            problems.append(Problem(f"{where}.customer", str(charger.customer), text))
        if charger.vehicle not in vehicles:
            text = f"unknown vehicle; known: {', '.join(sorted(vehicles))}"
            problems.append(Problem(f"{where}.vehicle", json.dumps(charger.vehicle), text))
        model = models.get(charger.model)
        if model is not None and model.charger is not None and charger.hard_max_a is not None:
            top = model.charger.max_a
            if charger.hard_max_a > top:
                text = f"{charger.model} takes at most {top:g} A"
                problems.append(Problem(f"{where}.hard_max_a", f"{charger.hard_max_a:g}", text))
    return problems


def _check_references(label: str, rig: Rig) -> list[Problem]:
    problems = []
    counts = Counter(name for _, name, _, _ in devices(rig))
    for name, count in counts.items():
        if count > 1:
            problems.append(Problem(f"{label}:name", json.dumps(name), f"stands {count} times; names must differ"))
    customers = Counter(charger.customer for charger in rig.charger)
    for customer, count in customers.items():
        if count > 1:
            text = f"{count} chargers at one customer; one each for now"
            problems.append(Problem(f"{label}:charger.customer", str(customer), text))
    names = {charger.name for charger in rig.charger}
    mentioned = [(f"contract[{k}].chargers", part.chargers) for k, part in enumerate(rig.contract)]
    mentioned += [(f"scenario.events[{k}].chargers", event.chargers) for k, event in enumerate(rig.scenario.events)]
    if rig.bench is not None:
        mentioned.append(("bench.charger", [rig.bench.charger]))
        for key, part in (("source", rig.bench.source), ("load", rig.bench.load)):
            for limit in ("hard_max_v", "hard_max_a"):
                if getattr(part, limit) is None:
                    text = "is missing and required: a hard limit of what the instrument may do"
                    problems.append(Problem(f"{label}:bench.{key}.{limit}", "", text))
    for key, given in mentioned:
        unknown = [name for name in given if name not in names]
        problems += [Problem(f"{label}:{key}", json.dumps(name), "no charger of this name") for name in unknown]
    points = rig.law.droop.points
    if any(b[0] <= a[0] or b[1] < a[1] for a, b in itertools.pairwise(points)):
        text = "volts must rise from point to point and the share may not fall"
        problems.append(Problem(f"{label}:law.droop.points", _short(points), text))
    return problems


def _check_ports(label: str, rig: Rig) -> list[Problem]:
    """Refuse two devices on one port or at one address."""
    problems = []
    seen: dict[str, str] = {}
    for key, name, _, part in devices(rig):
        place = part.real if part.real is not None else f"port {part.port}" if part.port else None
        if place is None:
            continue
        if place in seen:
            problems.append(Problem(f"{label}:{key}", json.dumps(place), f"{name} and {seen[place]} share it"))
        seen[place] = name
    return problems
