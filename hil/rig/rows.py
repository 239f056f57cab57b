"""Expand a rig file's shorthand: rows of like chargers (`[[chargers]]`) and patterns of charger names ("keba*").

Works on the file as TOML gave it, before anything is checked: a row becomes `[[charger]]` tables of its own, so that
all that is checked and built afterwards knows single chargers only. What is of a wrong type is left to the schema.
"""

import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from hil.rig.charger_keys import ChargerRow
from hil.rig.references import Problem, table_of, tables_of, text_of, texts_of

OWN_KEYS = ("count", "first", "customers", "stations", "sockets", "station_limit_a", "vehicles", "phase_rotations")
ROW_NAMES = {"customer": "customers", "station": "stations", "phase_rotation": "phase_rotations"}
HASHES = re.compile("#+")
CHARGER = re.compile(r"charger\[(\d+)\](?:\.(\w+))?")


def expand(raw: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the file with every row written out, and what each charger came from: charger[k], or its chargers[k].

    A row that its schema refuses is left out here; the schema tells why.
    """
    single = raw.get("charger", [])
    chargers = list(single) if isinstance(single, list) else []
    origins = [f"charger[{k}]" for k in range(len(chargers))]
    stations = list(tables_of(raw, "station"))
    for k, given in enumerate(tables_of(raw, "chargers")):
        try:
            row = ChargerRow.model_validate(given)
            customers = numbers(row.customers)
        except (ValidationError, ValueError):
            continue
        made = written_out(row, given, customers)
        chargers += made
        origins += [f"chargers[{k}]"] * len(made)
        if row.station_limit_a is not None:
            names = dict.fromkeys(part["station"] for part in made)
            stations += [{"name": name, "limit_a": row.station_limit_a} for name in names]
    found = dict(raw)
    if chargers:
        found["charger"] = chargers
    if stations:
        found["station"] = stations
    return _named(found), origins


def numbers(given: str | list[int]) -> list[int]:
    """Return the customers of "1-4, 7" or of a list; ValueError where a part is neither a number nor a range."""
    if not isinstance(given, str):
        return list(given)
    found: list[int] = []
    for part in given.split(","):
        low, dash, high = part.partition("-")
        found += range(int(low), int(high if dash else low) + 1)
    return found


def written_out(row: ChargerRow, given: dict[str, Any], customers: list[int]) -> list[dict[str, Any]]:
    """Return the `[[charger]]` tables of a row; where it has more customers than chargers, the last have none."""
    shared = {key: value for key, value in given.items() if key not in OWN_KEYS}
    each = -(-row.count // len(customers))
    vehicles = row.vehicles or [row.vehicle or ""]
    made = []
    for k in range(row.count):
        own: dict[str, Any] = {"name": _numbered(row.name, row.first + k), "customer": customers[k // each]}
        if row.stations is not None:
            own["station"] = _numbered(row.stations, row.first + k // row.sockets)
        own["vehicle"] = vehicles[k % len(vehicles)]
        own["phase_rotation"] = row.phase_rotations[k % len(row.phase_rotations)]
        made.append(shared | own)
    return made


def check_rows(label: str, raw: dict[str, Any]) -> list[Problem]:
    """Return rows whose customers do not go evenly into their count."""
    problems = []
    for k, given in enumerate(tables_of(raw, "chargers")):
        customers, count, where = given.get("customers"), given.get("count"), f"{label}:chargers[{k}].customers"
        try:
            found = numbers(customers) if isinstance(customers, str | list) else []
        except (ValueError, TypeError):
            text = 'write single numbers and ranges: "1-4, 7"'
            problems.append(Problem(where, f'"{customers}"', text))
            continue
        if isinstance(count, int) and customers is not None and (not found or count % len(found)):
            text = f"{len(found)} customers for {count} chargers; the count must be a multiple"
            problems.append(Problem(where, f"{customers}", text))
    return problems


def told_by_row(problems: list[Problem], origins: list[str]) -> list[Problem]:
    """Return problems of written-out chargers at the row that they came from, each once."""

    def place(match: re.Match[str]) -> str:
        k, key = int(match[1]), match[2]
        if k >= len(origins):
            return match[0]
        own = ROW_NAMES.get(key, key) if origins[k].startswith("chargers") else key
        return origins[k] if key is None else f"{origins[k]}.{own}"

    def moved(problem: Problem) -> Problem:
        return replace(problem, where=CHARGER.sub(place, problem.where), allowed=CHARGER.sub(place, problem.allowed))

    return list(dict.fromkeys(moved(problem) for problem in problems))


def _numbered(pattern: str, number: int) -> str:
    """Write a number in place of the pattern's hashes, with at least as many digits."""
    return HASHES.sub(lambda match: f"{number:0{len(match[0])}d}", pattern)


def _named(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the file with every pattern of charger names replaced by the names that it fits."""
    names = [name for name in (text_of(part, "name") for part in tables_of(raw, "charger")) if name is not None]

    def meant(part: Any) -> Any:
        if not isinstance(part, dict) or not any("*" in name for name in texts_of(part, "chargers")):
            return part
        found: list[Any] = []
        for name in part["chargers"]:
            fits = [known for known in names if fnmatchcase(known, name)] if isinstance(name, str) else []
            found += fits or [name]
        return part | {"chargers": list(dict.fromkeys(found))}

    found = dict(raw)
    if isinstance(raw.get("contract"), list):
        found["contract"] = [meant(part) for part in raw["contract"]]
    scenario = table_of(raw, "scenario")
    if isinstance(scenario.get("events"), list):
        found["scenario"] = scenario | {"events": [meant(event) for event in scenario["events"]]}
    return found
