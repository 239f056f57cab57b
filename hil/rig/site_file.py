"""Read a site file, check it whole, and make of it what the controller starts from: plan and site.

No plant, no twin and no feeder is imported here: what stands in the field is not emulated.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from pydantic import ValidationError

from controller.law import image
from controller.law.names import Fairness, VoltSource
from controller.runtime.failsafe_check import check_failsafes
from controller.runtime.opcua_keys import OpcuaServerPort
from controller.runtime.plan import ChargerSpec, DroopSpec, NodeSpec, PlanError, SiteSpec, build_plan
from controller.runtime.site import ChargerPort, CsmsPort, MeterPort, SubstationPort
from hil.rig.agreed_site import agreed_site
from hil.rig.contracts import bind_contracts, check_contract
from hil.rig.meter_keys import with_meters
from hil.rig.meter_references import check_meters
from hil.rig.opcua_part import check_keys
from hil.rig.references import Problem, near, short
from hil.rig.rigfile import RigError, explain
from hil.rig.site_csms import check_csms, csms_of, dials
from hil.rig.site_schema import SiteCharger, SiteFile
from instruments import catalog
from profiles.contract import AnyContract, load_contract

COARSE_V = 0.5  # a meter that resolves less than this bars droop: 1 V is 8.7 % of a 5 % band
INF = float("inf")
POINT = re.compile(r"(?P<group>[a-z_]+)(\[(?P<index>\d+)\])?")
Found = Iterator[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class LoadedSite:
    """Hold a checked site file with everything that its names stand for, and the plan made of it.

    `measured` is the node that measures each charger (its own, or the nearest metered one above; -1 none).
    """

    path: Path
    file: SiteFile
    models: list[catalog.Model]  # (N,)
    spec: SiteSpec
    dims: image.Dims
    plan_bytes: np.ndarray
    points: dict[str, list[int]]
    measured: list[int]

    def charger_ports(self) -> list[ChargerPort]:
        """Return how each charger is reached."""
        keys = ("name", "model", "address", "unit", "connector", "failsafe_a", "failsafe_s")
        return [
            ChargerPort(**{key: getattr(part, key) for key in keys}, phases=len(part.phase_map))
            for part in self.file.charger
        ]

    def csms_port(self) -> CsmsPort:
        """Return where the server of OCPP points listens and whom it lets in."""
        return csms_of(self.file, self.path.parent)

    def substation_port(self) -> SubstationPort | None:
        """Return how the substation is reached; None where there is none."""
        part = self.file.substation
        if part is None:
            return None
        port: dict[str, Any] = {"name": part.name, "model": part.model, "address": part.address, "points": self.points}
        return SubstationPort(**port, **part.login())

    def meter_ports(self) -> list[MeterPort]:
        """Return how each meter at a node is reached."""
        return [part.wired(part.address, [node.name for node in self.file.node]) for part in self.file.meter]

    def opcua_port(self) -> OpcuaServerPort | None:
        """Return what is served to a control room; None where nothing is."""
        return None if self.file.opcua is None else OpcuaServerPort(**self.file.opcua.model_dump())


def load_site(name: str) -> LoadedSite:
    """Read and check a site file and build its plan; a RigError carries all problems found."""
    path = Path(name)
    try:
        raw = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RigError([Problem(path.name, "", f"not a TOML file: {error}")]) from error
    except OSError as error:
        raise RigError([Problem(str(path), "", f"cannot be read: {error.strerror}; give a site file")]) from error
    try:
        file = SiteFile.model_validate(raw)
    except ValidationError as error:
        raise RigError([explain(path.name, detail, SiteFile) for detail in error.errors()]) from error
    found = [*_check_zone(file), *_check_nodes(file), *_check_chargers(file), *_check_contracts(file)]
    found += [*check_csms(file, path.parent), *_check_meters(file)]
    if found:
        raise RigError([Problem(f"{path.name}:{where}", value, allowed) for where, value, allowed in found])
    models = [catalog.load_model(part.model) for part in file.charger]
    contracts = [load_contract(part.file) for part in file.contract]
    measured = [_measured(file, part.node) for part in file.charger]
    try:
        spec = site_spec(file, models, contracts)
        dims, plan_bytes, _ = build_plan(spec)
        check_failsafes(spec)
    except PlanError as error:
        raise RigError([Problem(path.name, "", line) for line in str(error).splitlines()]) from error
    return LoadedSite(path, file, models, spec, dims, plan_bytes, _points(file), measured)


def site_spec(file: SiteFile, models: list[catalog.Model], contracts: list[AnyContract]) -> SiteSpec:
    """Declare nodes, chargers and windows of a checked site file for the plan."""
    chargers = tuple(_charger(file, part, model) for part, model in zip(file.charger, models, strict=True))
    bare = with_meters(_nodes(file), file.meter)
    bound = bind_contracts(file.contract, contracts, chargers, bare)
    today, zone = datetime.now(ZoneInfo(file.site.timezone)).date(), file.site.timezone
    return agreed_site(bare, chargers, bound, file.law, today=today, timezone=zone, period_s=file.site.scan_period_s)


def _charger(file: SiteFile, part: SiteCharger, model: catalog.Model) -> ChargerSpec:
    law, known = file.law, catalog.charger_of(model)
    node = next(node for node in file.node if node.name == part.node)
    droop = DroopSpec(
        points=tuple((volts, share) for volts, share in law.droop.points),
        tau_s=law.droop.filter_s,
        deadband_pu=law.droop.deadband_pu,
        hysteresis_pu=law.droop.hysteresis_pu,
        pause_pu=law.droop.pause_pu,
        resume_pu=law.droop.resume_pu,
        fairness=Fairness[law.droop.fairness.upper()],
    )
    first, second, third = (["abc".index(letter) for letter in part.phase_map] + [-1, -1])[:3]
    hard_max_a = known.max_a if part.hard_max_a is None else part.hard_max_a
    at_node = known.voltage_step_v > COARSE_V and node.name in _metered(file)
    return ChargerSpec(
        name=part.name,
        node=[node.name for node in file.node].index(part.node),
        phase_map=(first, second, third),
        hard_max_a=hard_max_a,
        obey_s=known.obey_s if part.obey_s is None else part.obey_s,
        max_age_s=known.max_age_s,
        limit_slack_a=known.setpoint.applied_slack_a,
        failsafe_a=known.watchdog.expiry_a(
            part.failsafe_a, hard_max_a
        ),  # one without a fail-safe may go on at all it has
        failsafe_s=part.failsafe_s,
        step_a=known.step_a,
        floor_a=known.min_a if part.floor_a is None else part.floor_a,
        weight=part.weight,
        priority=part.priority,
        no_pause=not part.may_pause,
        switch_phases=part.switch_phases,
        ramp_up_a_per_s=law.ramp_up_a_per_s,
        random_delay_s=law.random_delay_s,
        volt_source=VoltSource.NODE if at_node else VoltSource.OWN,
        droop=droop,
        nominal_drop_pu=part.nominal_drop_pu or 0.0,
    )


def _nodes(file: SiteFile) -> Iterator[NodeSpec]:
    law, station = file.law, file.substation
    names = [node.name for node in file.node]
    for node in file.node:
        parent = -1 if node.parent is None else names.index(node.parent)
        measured: dict[str, Any] = {} if station is None else {"max_age_s": station.max_age_s, "hold_s": station.hold_s}
        orders: dict[str, Any] = {} if station is None else {"beat_timeout_s": station.heartbeat_timeout_s}
        if station is not None and station.failsafe_w is not None and parent == 0:
            orders["failsafe_w"] = station.failsafe_w
        yield NodeSpec(
            name=node.name,
            parent=parent,
            limit_a=node.limit_a,
            limit_w=INF if node.limit_w is None else node.limit_w,
            metered=node.meter is not None,
            design_a=law.design_a if node.design_a is None else node.design_a,
            growth_a_per_s=law.growth_a_per_s,
            tau_s=law.filter_s,
            unbalance_a=INF if node.unbalance_a is None else node.unbalance_a,
            **(measured if node.meter is not None else {}),
            **(orders if node.meter is not None else {}),
        )


def _metered(file: SiteFile) -> set[str]:
    """Return the nodes that something measures for the law: the substation, or a meter of their own."""
    own = {part.node for part in file.meter if part.use == "law"}
    return own | {node.name for node in file.node if node.meter is not None}


def _points(file: SiteFile) -> dict[str, list[int]]:
    """Return measuring group -> node indices in the order of the group's arrays."""
    found: dict[str, dict[int, int]] = {}
    for m, node in enumerate(file.node):
        if node.meter is not None:
            group, index = _split(node.meter)
            found.setdefault(group, {})[index] = m
    return {group: [places[k] for k in sorted(places)] for group, places in found.items()}


def _split(meter: str) -> tuple[str, int]:
    match = POINT.fullmatch(meter)
    return (match["group"], int(match["index"] or 0)) if match else ("", -1)


def _measured(file: SiteFile, name: str) -> int:
    """Return the index of a node, or of the nearest metered one above it; -1 where none is metered."""
    names, metered = [node.name for node in file.node], _metered(file)
    at: str | None = name
    while at is not None:
        if at in metered:
            return names.index(at)
        at = file.node[names.index(at)].parent
    return -1


def _check_zone(file: SiteFile) -> Found:
    try:
        ZoneInfo(file.site.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        yield "site.timezone", short(file.site.timezone), 'no IANA time zone; write one like "Europe/Amsterdam"'


def _check_nodes(file: SiteFile) -> Found:
    """Check names, order and measuring points of the tree."""
    seen: list[str] = []
    points: dict[str, dict[int, str]] = {}
    for m, node in enumerate(file.node):
        key = f"node[{m}]"
        if node.name in seen:
            yield f"{key}.name", short(node.name), "stands twice; every node has a name of its own"
        if node.parent is not None and node.parent not in seen:
            yield f"{key}.parent", short(node.parent), f"no node before this one; {near(node.parent, seen)}put it above"
        seen.append(node.name)
        if node.meter is None:
            continue
        group, index = _split(node.meter)
        if index in points.setdefault(group, {}):
            yield f"{key}.meter", short(node.meter), f"measures node {points[group][index]} already"
        points[group][index] = node.name
        if file.substation is None:
            yield f"{key}.meter", short(node.meter), "no [substation] measures it; add one or leave the meter out"
    for group, places in points.items():
        missing = [k for k in range(max(places) + 1) if k not in places]
        if missing:
            text = f"no node has {', '.join(f'{group}[{k}]' for k in missing)}; the group is read whole, name all of it"
            yield "node.meter", group, text
    if file.opcua is not None:
        yield from check_keys("opcua", file.opcua)
    if file.substation is not None:
        yield from _check_device("substation", "substation", file.substation.model, file.substation.address)
        yield from check_keys("substation", file.substation)
        if not points:
            yield "substation", short(file.substation.name), "measures no node; give a [[node]] its meter"


def _check_chargers(file: SiteFile) -> Found:
    """Check names, models, addresses, places and limits of the chargers."""
    names, taken = [node.name for node in file.node], set[str]()
    for k, part in enumerate(file.charger):
        key = f"charger[{k}]"
        if part.name in taken:
            yield f"{key}.name", short(part.name), "stands twice; every device has a name of its own"
        taken.add(part.name)
        if part.node not in names:
            text = f"no node of this name; {near(part.node, names)}give the name of a [[node]]"
            yield f"{key}.node", short(part.node), text
        if len(set(part.phase_map)) < len(part.phase_map):
            yield f"{key}.phase_map", short(part.phase_map), "a, b and c once each"
        found = list(_check_device(key, "charger", part.model, part.address, dialled=dials(part)))
        yield from found
        if any(where.endswith("model") for where, _, _ in found):
            continue
        yield from _check_place(key, part)
        known = catalog.charger_of(catalog.load_model(part.model))
        yield from ((f"{key}.{where}", value, allowed) for where, value, allowed in _check_limits(part, known))
        if known.voltage_step_v > COARSE_V and part.node in names and part.node not in _metered(file):
            text = f"{part.model} reads volts in steps of {known.voltage_step_v:g} V, too coarse for a droop; "
            yield f"{key}.node", short(part.node), text + "give the node a meter, or a [[meter]]"
        if part.switch_phases and (known.phase_switch is None or len(part.phase_map) != 3):
            text = (
                "false, or a model with a register for it" if known.phase_switch is None else "only with three phases"
            )
            yield f"{key}.switch_phases", "true", text
        if file.law.droop.fairness == "equalised" and part.nominal_drop_pu is None:
            yield f"{key}.nominal_drop_pu", "", 'is missing and required with law.droop.fairness = "equalised"'


def _check_meters(file: SiteFile) -> Found:
    """Check names, models, addresses and nodes of the meters."""
    names = [part.name for part in file.charger] + [part.name for part in file.meter]
    for k, part in enumerate(file.meter):
        yield from _check_device(f"meter[{k}]", "meter", part.model, part.address)
        if names.count(part.name) > 1:
            yield f"meter[{k}].name", short(part.name), "stands twice; every device has a name of its own"
    told = {node.name: "the substation" for node in file.node if node.meter is not None}
    yield from check_meters(file.meter, [node.name for node in file.node], told)


def _check_place(key: str, part: SiteCharger) -> Found:
    """Check that the family lets a unit id be set, and has this many connectors."""
    model = catalog.load_model(part.model)
    if model.modbus is None:
        return
    try:
        model.at(part.connector, part.unit)
    except ValueError as error:
        name, _, allowed = str(error).partition(": ")
        yield f"{key}.{name.split()[0]}", name.split()[1], allowed


def _check_limits(part: SiteCharger, known: Any) -> Found:
    if part.hard_max_a is not None and part.hard_max_a > known.max_a:
        yield "hard_max_a", f"{part.hard_max_a:g} A", f"{part.model} takes at most {known.max_a:g} A"
    if part.floor_a is not None and part.floor_a < known.min_a:
        yield "floor_a", f"{part.floor_a:g} A", f"{part.model} charges from {known.min_a:g} A on"
    if part.failsafe_a != 0.0 and not known.min_a <= part.failsafe_a <= known.max_a:
        yield "failsafe_a", f"{part.failsafe_a:g} A", f"0, or {known.min_a:g} to {known.max_a:g} A"


def _check_device(key: str, role: str, model: str, address: str, *, dialled: bool = False) -> Found:
    """Check that a model is in the catalog and fits its place, and the form of an address."""
    names = catalog.model_names()
    modbus = "modbus+tcp://host:port"
    form = {"charger": modbus, "meter": modbus, "substation": "opc.tcp://host:port"}[role]
    schemes: tuple[str, ...] = (form.partition(":")[0],)
    if dialled:
        form, schemes = "ws://host:port/identity, wss with csms.security = 2", ("ws", "wss")
    if model not in names:
        yield f"{key}.model", short(model), f"no such model; {near(model, names)}`voltbench catalog` lists them"
    elif catalog.load_model(model).model.role != role:
        yield f"{key}.model", short(model), f"is no {role}, it is {catalog.load_model(model).model.role}"
    elif catalog.load_model(model).model.undriven:
        text = f"cannot be driven: {catalog.load_model(model).model.undriven}; name another model"
        yield f"{key}.model", short(model), text
    try:
        parts = urlsplit(address)
        well = parts.scheme in schemes and bool(parts.hostname) and bool(parts.port)
        well = well and bool(parts.path.strip("/")) >= dialled
    except ValueError:
        well = False
    if not well:
        yield f"{key}.address", short(address), f"allowed: {form}"


def _check_contracts(file: SiteFile) -> Found:
    names = [part.name for part in file.charger]
    for k, part in enumerate(file.contract):
        yield from check_contract(f"contract[{k}]", part.file)
        for j, name in enumerate(part.chargers):
            if name not in names:
                text = f"no charger of this name; {near(name, names)}give the name of a [[charger]]"
                yield f"contract[{k}].chargers[{j}]", short(name), text
