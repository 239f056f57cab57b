"""Check what the sessions and the compared contracts of a rig file name: classes of cars, files of contracts."""

from typing import Any

from hil.rig.references import Problem, near, short, table_of, tables_of, text_of
from profiles.contract import load_contract
from profiles.errors import ProfileError
from profiles.vehicle import load_vehicles


def check_sessions(label: str, raw: dict[str, Any]) -> list[Problem]:
    """Return what sessions and contracts to compare with name and does not exist; `label` names the file."""
    found, vehicles = [], load_vehicles()
    for k, share in enumerate(tables_of(table_of(raw, "sessions"), "fleet")):
        name = text_of(share, "vehicle")
        if name is not None and name not in vehicles:
            hint = f"unknown vehicle; {near(name, vehicles)}known: {', '.join(sorted(vehicles))}"
            found.append(Problem(f"{label}:sessions.fleet[{k}].vehicle", short(name), hint))
    for k, part in enumerate(tables_of(raw, "contract")):
        file = text_of(part, "reference")
        try:
            if file is not None:
                load_contract(file)
        except ProfileError as error:
            found.append(Problem(f"{label}:contract[{k}].reference", short(file), str(error)))
    return found
