"""Compare what a rig asks of its bench's instruments with what their records can do, before anything is opened.

Works on the file as TOML gave it, as `references` does. Phases and the charger's amps are `bench_references`' own.
"""

import math
from collections.abc import Iterator
from typing import Any

from hil.rig.references import Found, Problem, find_model, number_of, short, table_of, tables_of, text_of
from hil.rig.schema import BENCH_ROLES
from instruments.catalog import Model
from instruments.scpi_wants import Wants, problems
from profiles.vehicle import Vehicle, load_vehicles

MODES = {1: "one", 3: "three"}
PHASED = ("ac_source", "ac_load", "analyzer")
# where the rig file says what a capability is asked for; the others follow from the model itself
KEYS = {
    "volts": ("hard_max_v", "V"),
    "amps": ("hard_max_a", "A"),
    "sink amps": ("hard_sink_a", "A"),
    "frequency": ("frequency_hz", "Hz"),
    "angle": ("angles_deg", ""),
}


def check_wishes(label: str, raw: dict[str, Any]) -> list[Problem]:
    """Return what the rig asks of an instrument that its family cannot do; `label` names the file."""
    return [Problem(f"{label}:{where}", value, allowed) for where, value, allowed in _found(raw)]


def _found(raw: dict[str, Any]) -> Found:
    bench = table_of(raw, "bench")
    car = _car(raw, text_of(bench, "charger"))
    for key, part, model in _instruments(bench):
        role = BENCH_ROLES[key]
        wants = _wants(role, _mode(bench, key, model), part)
        for told in problems("", model, wants):
            yield _problem(key, part, model, told.removeprefix(":"))
        if role == "ac_source" and car is not None and car.discharge_max_a > 0.0 and not _sinks(model):
            text = f"cannot sink, and {car.name} feeds back up to {car.discharge_max_a:g} A"
            yield f"bench.{key}.model", short(model.model.name), f"{text}: take a source that sinks, or another car"


def _instruments(bench: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Model]]:
    """Yield what speaks SCPI and stands where its role is; what is wrong with the others is told elsewhere."""
    for key, role in BENCH_ROLES.items():
        part = table_of(bench, key)
        name = text_of(part, "model")
        model = None if name is None else find_model(name)[0]
        if model is not None and model.scpi is not None and role in model.scpi.roles and not model.model.undriven:
            yield key, part, model


def _mode(bench: dict[str, Any], key: str, model: Model) -> str:
    """Return the mode in which the bench drives an instrument.

    A number of phases that the model has not is told beside the charger's, so any mode it has will do then.
    """
    role = BENCH_ROLES[key]
    if role not in PHASED:
        return "voltage"
    shared = role == "ac_load" and "load_l2" in bench
    phases = bench.get("phases", 1)
    wanted = MODES.get(1 if shared or phases not in (1, 3) else phases, "one")
    able = {str(name): list(part.cycle) for name, part in model.scpi.roles.items()} if model.scpi is not None else {}
    return wanted if wanted in able[role] or not able[role] else able[role][0]


def _wants(role: str, mode: str, part: dict[str, Any]) -> Wants:
    """Return what a table of the rig asks for."""
    return Wants(
        role=role,
        mode=mode,
        volt_v=_asked(part, "hard_max_v"),
        amp_a=_asked(part, "hard_max_a"),
        sink_a=_asked(part, "hard_sink_a"),
        frequency_hz=number_of(part, "frequency_hz") or math.nan,
        angle="angles_deg" in part,
        sinks=role == "bidirectional_supply",
    )


def _asked(part: dict[str, Any], key: str) -> float:
    """Return a limit that the schema takes; 0, which asks nothing, for one that it refuses itself."""
    value = number_of(part, key)
    return value if value is not None and 0.0 < value < math.inf else 0.0


def _problem(key: str, part: dict[str, Any], model: Model, told: str) -> tuple[str, str, str]:
    """Return where a wish stands in the file, its value, and what the model can instead."""
    capability, _, text = told.partition(": ")
    what, unit = KEYS.get(capability, ("model", ""))
    if what == "model":
        return f"bench.{key}.model", short(model.model.name), f"{capability}: {text}"
    value = f"{short(part.get(what))}{' ' + unit if unit else ''}"
    able = text.partition("it can: ")[2].partition(" (")[0].removesuffix(" at most")
    advice = f"reaches {able}; lower it or take a larger one" if able else text.partition(" (")[0]
    return f"bench.{key}.{what}", value, f"{model.model.name}: {advice}" if not able else f"{model.model.name} {advice}"


def _sinks(model: Model) -> bool:
    found = {} if model.scpi is None else {str(name): part for name, part in model.scpi.roles.items()}
    return "ac_source" in found and found["ac_source"].can.sinks


def _car(raw: dict[str, Any], charger: str | None) -> Vehicle | None:
    """Return the car at the bench's charger; None where the file names none that there is."""
    cars = load_vehicles()
    for part in tables_of(raw, "charger"):
        if charger is not None and text_of(part, "name") == charger:
            return cars.get(text_of(part, "vehicle") or "")
    return None
