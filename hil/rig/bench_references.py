"""Check that what stands on a bench fits together: phases, wiring, ranges against the charger's amps, DC and AC.

Works on the file as TOML gave it, as `references` does; what it cannot read is told there or by the schema, and what an
instrument's record does not allow by `wishes`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hil.rig.references import Found, Problem, find_model, number_of, short, table_of, tables_of, text_of
from hil.rig.schema import AC_BENCH, BENCH_ROLES
from instruments.catalog import Model
from instruments.charger_catalog import ChargerPart
from instruments.scpi_rating import Rating
from profiles.vehicle import Vehicle, load_vehicles

U_TOP_V = 253.0  # EN 50160: 230 V + 10 %, the most that the feeder's node may show
MODES = {1: "one", 3: "three"}
LOADS = tuple(key for key in AC_BENCH if key != "source")
FORWARD = (["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"])


@dataclass(frozen=True, slots=True)
class Dut:
    """Hold the device under test as the file describes it: its key, its record, the car and the phases."""

    key: str
    charger: ChargerPart
    car: Vehicle
    phases: int
    amps: float


def check_bench(label: str, raw: dict[str, Any]) -> list[Problem]:
    """Return what cannot go together on the bench of a rig file; `label` names the file."""
    return [Problem(f"{label}:{where}", value, allowed) for where, value, allowed in _found(raw)]


def _found(raw: dict[str, Any]) -> Found:
    for k, charger in enumerate(tables_of(raw, "charger")):
        yield from _check_charger(f"charger[{k}]", charger)
    bench = table_of(raw, "bench")
    if not bench:
        return
    yield from _check_wiring(bench)
    yield from _check_adapter(table_of(bench, "adapter"))
    dut = _dut(raw, bench)
    if dut is None:
        return
    if "supply" in bench:
        yield from _check_dc(bench, dut)
    elif dut.charger.dc is not None:
        text = "gives direct current; its bench needs a supply that plays the battery: write [bench.supply]"
        yield "bench.charger", short(text_of(bench, "charger")), text
    else:
        yield from _check_ac(bench, dut)


def _check_charger(key: str, charger: dict[str, Any]) -> Found:
    """Check what a DC charger needs: a car with a battery, and a fail-safe that it really has."""
    name, vehicle = text_of(charger, "model"), text_of(charger, "vehicle")
    model = _model(name)
    part = None if model is None else model.charger
    if part is None or name is None:
        return
    cars = load_vehicles()
    if part.dc is not None and vehicle in cars and cars[vehicle].dc is None:
        fit = ", ".join(sorted(car for car in cars if cars[car].dc is not None))
        yield f"{key}.vehicle", short(vehicle), f"has no battery data for {name}, a DC charger; known: {fit}"
    top_a = number_of(charger, "hard_max_a") or part.max_a
    failsafe_a = number_of(charger, "failsafe_a") or 0.0
    if part.watchdog.kind == "none" and failsafe_a < top_a:
        text = f"{name} has no fail-safe of its own: a lost link leaves its last order; write failsafe_a = {top_a:g}"
        yield f"{key}.failsafe_a", f"{failsafe_a:g} A", text


def _model(name: str | None) -> Model | None:
    return None if name is None else find_model(name)[0]


def _dut(raw: dict[str, Any], bench: dict[str, Any]) -> Dut | None:
    """Return the device under test; None where it or its parts are not there (told elsewhere)."""
    wanted, cars = text_of(bench, "charger"), load_vehicles()
    for k, charger in enumerate(tables_of(raw, "charger")):
        model, car = _model(text_of(charger, "model")), cars.get(text_of(charger, "vehicle") or "")
        if text_of(charger, "name") != wanted or model is None or model.charger is None or car is None:
            continue
        part, phases = model.charger, charger.get("phases", 1)
        if phases not in (1, 3):
            return None
        cable_a = number_of(table_of(bench, "adapter"), "cable_a") or float("inf")
        own_a = min(number_of(charger, "hard_max_a") or part.max_a, cable_a)
        amps = min(own_a, car.ceiling_a(min(phases, car.phases)))
        return Dut(f"charger[{k}]", part, car, phases, own_a if part.dc is not None else amps)
    return None


def _check_wiring(bench: dict[str, Any]) -> Found:
    """Check the phase map and the number of loads."""
    mapped = bench.get("phase_map")
    if isinstance(mapped, list) and all(isinstance(phase, str) for phase in mapped) and len(mapped) == 3:
        if sorted(mapped) != ["a", "b", "c"]:
            yield "bench.phase_map", short(mapped), "each output of the source leads to one terminal: a, b and c once"
        elif mapped not in FORWARD:
            text = "the phases would follow each other backwards; allowed: a b c, b c a or c a b: change two wires"
            yield "bench.phase_map", short(mapped), text
    phases, more = bench.get("phases", 1), [key for key in ("load_l2", "load_l3") if key in bench]
    if phases == 1 and more:
        yield f"bench.{more[0]}", "", "a load at a second phase on a bench of one; write phases = 3"
    if phases == 3 and len(more) == 1:
        yield (
            f"bench.{more[0]}",
            "",
            "three phases need a load at each: load, load_l2 and load_l3, or one of three phases",
        )
    model = _model(text_of(table_of(bench, "load"), "model"))
    if phases == 3 and not more and model is not None and model.scpi is not None and "ac_load" in model.scpi.roles:
        able = model.scpi.roles["ac_load"].can.phases
        if 3 not in able:
            text = f"{model.model.name} has {' or '.join(map(str, able))}; add [bench.load_l2] and [bench.load_l3]"
            yield "bench.load", "one load for three phases", text


def _check_adapter(part: dict[str, Any]) -> Found:
    """Check that a device is named where there is one, and that its relays are there for what is asked of them."""
    by_hand = part.get("by") == "hand"
    for key in ("model", "twin", "real", "coils"):
        if by_hand and key in part:
            yield f"bench.adapter.{key}", short(part[key]), 'an operator is no device: remove it, or by = "hand"'
    if part and not by_hand and text_of(part, "model") is None:
        yield "bench.adapter.model", "", 'is missing and required; an operator is by = "hand"'
    model, cable_a = _model(text_of(part, "model")), number_of(part, "cable_a")
    if by_hand or model is None or model.relay is None:
        return
    coils = [coil.name for coil in model.relay.coils]
    if cable_a is not None and f"cable_{cable_a:g}a" not in coils:
        yield "bench.adapter.cable_a", f"{cable_a:g} A", f"{model.model.name} has the coils {', '.join(coils)}"
    places = part.get("coils", {})
    if isinstance(places, dict):
        try:
            model.relay.moved(places)
        except ValueError as error:
            yield "bench.adapter.coils", "", str(error)


def _rating(model: Model | None, role: str, mode: str) -> Rating | None:
    """Return the rating of a model in a role and mode; None where it has none."""
    if model is None or model.scpi is None or role not in model.scpi.roles:
        return None
    return model.scpi.roles[role].rating.of(mode)


def _phases(model: Model, role: str) -> list[int]:
    """Return the numbers of phases that a model can be set to in a role."""
    found = {} if model.scpi is None else {str(name): part for name, part in model.scpi.roles.items()}
    return [int(count) for count in found[role].can.phases] if role in found else []


def _instruments(bench: dict[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any], Model]]:
    for key in keys:
        part = table_of(bench, key)
        model = _model(text_of(part, "model"))
        if model is not None and BENCH_ROLES[key] in model.roles:
            yield key, part, model


def _check_ac(bench: dict[str, Any], dut: Dut) -> Found:
    """Check source and loads against the amps, volts and volt-amperes of the charger."""
    phases = bench.get("phases", 1)
    if phases in (1, 3) and phases != dut.phases:
        yield "bench.phases", f"{phases}", f"{dut.key}.phases = {dut.phases}; bench and charger need the same number"
        return
    for key, part, model in _instruments(bench, ("source", *LOADS)):
        role, name = BENCH_ROLES[key], model.model.name
        able = _phases(model, role)
        shared = role == "ac_load" and "load_l2" in bench
        used = 1 if shared else phases
        if used not in able:
            if key == "source":
                yield f"bench.{key}.model", short(name), f"has {' or '.join(map(str, able))} phases; {used} are needed"
            continue
        rating = _rating(model, role, MODES[used])
        if rating is None:
            continue
        amps = number_of(part, "hard_max_a")
        if amps is not None and amps < dut.amps:
            text = (
                f"the charger and its car draw up to {dut.amps:g} A; take a larger instrument or lower hard_max_a there"
            )
            yield f"bench.{key}.hard_max_a", f"{amps:g} A", text
        volt_amps = used * dut.amps * U_TOP_V
        if volt_amps > rating.max_va:
            text = f"carries {rating.max_va:g} VA; {used} x {dut.amps:g} A at {U_TOP_V:g} V are {volt_amps:.0f} VA"
            yield f"bench.{key}.model", short(name), f"{text}: take a larger one or lower {dut.key}.hard_max_a"


def _check_dc(bench: dict[str, Any], dut: Dut) -> Found:
    """Check the supply against converter and battery."""
    stage, battery = dut.charger.dc, dut.car.dc
    if stage is None:
        yield "bench.supply", "", f"{dut.key} gives alternating current; its bench needs source, load and adapter"
        return
    for key, part, model in _instruments(bench, ("supply",)):
        rating, name = _rating(model, "bidirectional_supply", "voltage"), model.model.name
        if rating is None or battery is None:
            continue
        volts, sink_a = number_of(part, "hard_max_v"), number_of(part, "hard_sink_a")
        if volts is not None and volts < battery.max_v:
            yield f"bench.{key}.hard_max_v", f"{volts:g} V", f"{dut.car.name} charges up to {battery.max_v:g} V"
        watts = min(stage.max_w, dut.amps * stage.watts_per_amp, max(battery.power_w))
        amps = min(stage.max_a, battery.max_a, watts / battery.ocv_v[0])
        if sink_a is not None and sink_a < amps:
            text = f"{dut.key} and its car go up to {amps:.1f} A; raise it or lower {dut.key}.hard_max_a"
            yield f"bench.{key}.hard_sink_a", f"{sink_a:g} A", text
        if watts > rating.sink_max_va:
            text = (
                f"takes in {rating.sink_max_va:g} W; {dut.key} and its car go up to {watts:.0f} W: lower its hard_max_a"
            )
            yield f"bench.{key}.model", short(name), text
    if battery is not None and (battery.max_v > stage.max_v or battery.ocv_v[0] < stage.min_v):
        text = f"{battery.ocv_v[0]:g}..{battery.max_v:g} V; the charger gives {stage.min_v:g}..{stage.max_v:g} V"
        yield f"{dut.key}.vehicle", short(dut.car.name), text
