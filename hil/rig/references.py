"""Check what a rig file names: models, customers, vehicles, contracts, chargers, ports, addresses, zone, droop.

Works on the file as TOML gave it, so that a file whose shape is refused still shows every other error in the same go.
What has the wrong type is left to the schema here.
"""

import contextlib
import difflib
import importlib.util
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hil.rig.contracts import check_contract
from hil.rig.schema import BENCH_ROLES
from instruments import catalog
from profiles.contract import load_contract
from profiles.errors import ProfileError
from profiles.feeder import load_feeder
from profiles.household import load_households
from profiles.vehicle import load_vehicles

SCPI_ROLES = ("ac_source", "ac_load", "bidirectional_supply", "analyzer")
ADDRESS_FORMS = (
    dict.fromkeys(("charger", "ev_adapter", "meter", "relay"), "modbus+tcp://host:port")
    | {
        "substation": "opc.tcp://host:port",
    }
    | dict.fromkeys(SCPI_ROLES, "TCPIP::host::port::SOCKET")
)
DEFAULT_ZONE = "Europe/Amsterdam"


@dataclass(frozen=True, slots=True)
class Problem:
    """Tell one thing that is wrong with a file: where (file:key), the value, and what is allowed."""

    where: str
    value: str
    allowed: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.where} = {self.value}: {self.allowed}" if self.value else f"{self.where}: {self.allowed}"


@dataclass(frozen=True, slots=True)
class Device:
    """Hold one device of the file: its key, what the place needs, and its table."""

    key: str
    role: str
    table: dict[str, Any]


def check_references(label: str, raw: dict[str, Any]) -> list[Problem]:
    """Return what a rig file names and does not exist, stands twice or cannot go together; `label` names the file."""
    devices = list(_devices(raw))
    found = itertools.chain(
        _check_feeder(raw),
        _check_models(devices),
        _check_names(devices),
        _check_places(devices),
        _check_csms(raw, devices),
        _check_chargers(raw),
        _check_mentions(raw),
        _check_rejecting(raw),
        _check_contracts(raw),
        _check_zone(raw),
        _check_droop(raw),
    )
    return [Problem(f"{label}:{where}", value, allowed) for where, value, allowed in found]


Found = Iterator[tuple[str, str, str]]


def short(value: Any) -> str:
    """Write a value of the file, 60 characters at the most."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def near(given: str, known: Iterable[str]) -> str:
    """Return "did you mean X? " for the known name nearest to a given one, or nothing."""
    found = difflib.get_close_matches(given, list(known), n=1, cutoff=0.4)
    return f"did you mean {found[0]}? " if found else ""


def table_of(holder: Any, key: str) -> dict[str, Any]:
    """Return the table under a key; an empty one where there is none."""
    found = holder.get(key) if isinstance(holder, dict) else None
    return found if isinstance(found, dict) else {}


def tables_of(holder: Any, key: str) -> list[dict[str, Any]]:
    """Return a list of tables; an entry of another type counts as an empty one, so that indices stay."""
    found = holder.get(key) if isinstance(holder, dict) else None
    return [part if isinstance(part, dict) else {} for part in found] if isinstance(found, list) else []


def text_of(table: dict[str, Any], key: str) -> str | None:
    """Return the text under a key; None where there is none."""
    found = table.get(key)
    return found if isinstance(found, str) else None


def number_of(table: dict[str, Any], key: str) -> float | None:
    """Return the number under a key; None where there is none."""
    found = table.get(key)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def texts_of(table: dict[str, Any], key: str) -> list[str]:
    """Return the texts of the list under a key."""
    found = table.get(key)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _devices(raw: dict[str, Any]) -> Iterator[Device]:
    for k, charger in enumerate(tables_of(raw, "charger")):
        yield Device(f"charger[{k}]", "charger", charger)
    yield Device("substation", "substation", table_of(raw, "substation"))
    for k, meter in enumerate(tables_of(raw, "meter")):
        yield Device(f"meter[{k}]", "meter", meter)
    for key, role in BENCH_ROLES.items():
        part = table_of(table_of(raw, "bench"), key)
        if part and not (role == "ev_adapter" and part.get("by") == "hand"):
            yield Device(f"bench.{key}", role, part)
    estop = table_of(table_of(raw, "safety"), "estop")
    if estop:
        yield Device("safety.estop", "relay", estop)


def _check_feeder(raw: dict[str, Any]) -> Found:
    """Check that feeder and households exist."""
    feeder = table_of(raw, "feeder")
    name, households = text_of(feeder, "name"), text_of(feeder, "households")
    try:
        if name is not None:
            load_feeder(name)
    except ProfileError as error:
        yield "feeder.name", short(name), str(error)
    try:
        if households is not None:
            load_households(households, 1, seed=0)
    except ProfileError as error:
        yield "feeder.households", short(households), str(error)


def _customers(raw: dict[str, Any]) -> int | None:
    """Return how many customers the feeder has; None where it cannot be loaded (told at its own key)."""
    name = text_of(table_of(raw, "feeder"), "name")
    try:
        return None if name is None else len(load_feeder(name).loads)
    except ProfileError:
        return None


def _check_models(devices: list[Device]) -> Found:
    """Check that every model is in the catalog and fits its place."""
    for device in devices:
        name = text_of(device.table, "model")
        if name is None:
            continue
        model, text = find_model(name)
        if model is None:
            yield f"{device.key}.model", short(name), text
        elif device.role not in model.roles:
            yield f"{device.key}.model", short(name), f"is a {' or '.join(model.roles)}; a {device.role} is needed here"
        elif model.model.undriven:
            yield f"{device.key}.model", short(name), f"cannot be driven: {model.model.undriven}; name another model"


def find_model(name: str) -> tuple[catalog.Model | None, str]:
    """Return the record of a model (family or family/variant); None, and what is wrong, for one that there is not."""
    names = set(catalog.model_names())
    if name.split("/")[0] not in names:
        return None, f"unknown model; {near(name, names)}`voltbench catalog` lists them"
    try:
        return catalog.load_model(name), ""
    except catalog.CatalogError as error:  # the family has no such variant
        return None, str(error)


def _check_names(devices: list[Device]) -> Found:
    counts = Counter(text_of(device.table, "name") for device in devices)
    for name, count in counts.items():
        if name is not None and count > 1:
            keys = [device.key for device in devices if text_of(device.table, "name") == name]
            yield f"{keys[-1]}.name", short(name), f"stands {count} times ({', '.join(keys)}); names must differ"


def _check_places(devices: list[Device]) -> Found:
    """Refuse what is neither twin nor real, an address of a wrong form, and two devices on one port or address."""
    seen: dict[str, str] = {}
    for device in devices:
        real, port = text_of(device.table, "real"), number_of(device.table, "port")
        twin = device.table.get("twin", False)
        if device.table and isinstance(twin, bool) and twin == ("real" in device.table):
            value = f"both twin = true and real = {short(device.table['real'])}" if twin else ""
            yield device.key, value, 'say either twin = true or real = "address"'
        key = f"{device.key}.port" if real is None else f"{device.key}.real"
        value = short(real) if real is not None else f"{port:g}" if port else ""
        place = f"127.0.0.1:{port:g}" if port and real is None else None
        if real is not None:
            ocpp = _protocol(device) == "ocpp"
            place = _dialled(real) if ocpp else host_and_port(real, device.role)
            if place is None:
                form = "ws://host:port/identity, or wss://" if ocpp else ADDRESS_FORMS[device.role]
                yield key, value, f"no address of a {device.role}; allowed: {form}"
        if place is None:
            continue
        if place in seen:
            yield key, value, f"{seen[place]} is there already; two devices cannot share a port"
        seen.setdefault(place, text_of(device.table, "name") or device.key)


def _protocol(device: Device) -> str:
    """Return the protocol of a device's model; an empty text for an unknown one."""
    model, _ = find_model(text_of(device.table, "model") or "")
    return "" if model is None else model.model.protocol


def _dialled(address: str) -> str | None:
    """Return host:port/identity of the URL that an OCPP point dials; None where it is none."""
    try:
        split = urlsplit(address)
        whole = split.scheme in ("ws", "wss") and split.hostname and split.port and split.path.strip("/")
        return f"{split.hostname}:{split.port}{split.path}" if whole else None
    except ValueError:  # a port out of range
        return None


def _check_csms(raw: dict[str, Any], devices: list[Device]) -> Found:
    """Check that OCPP is installed where it is named, and that real points dial the port that the CSMS has."""
    points = [device for device in devices if _protocol(device) == "ocpp"]
    missing = [name for name in ("ocpp", "websockets") if importlib.util.find_spec(name) is None]
    if points and missing:
        text = f"needs the package{'s' if len(missing) > 1 else ''} {', '.join(missing)}: pip install voltbench[ocpp]"
        yield f"{points[0].key}.model", short(points[0].table.get("model")), text
    csms = table_of(raw, "csms")
    for device in points:
        real = text_of(device.table, "real")
        if real is None or _dialled(real) is None:
            continue
        split, port = urlsplit(real), number_of(csms, "port") or 0
        if split.port != port:
            yield "csms.port", f"{port:g}", f"{device.key} dials port {split.port}; write port = {split.port}"
        if (split.scheme == "wss") != (csms.get("security", 0) == 2):
            text = f"security = {csms.get('security', 0)} is {'ws' if split.scheme == 'wss' else 'wss'}://; 2 is TLS"
            yield f"{device.key}.real", short(real), text


def host_and_port(address: str, role: str) -> str | None:
    """Return host:port of a device's address; None where its form is not the one of the role."""
    parts = address.split("::")
    if role in SCPI_ROLES:
        fits = len(parts) == 4 and parts[0].upper().startswith("TCPIP") and parts[3].upper() == "SOCKET"
        return f"{parts[1]}:{parts[2]}" if fits and parts[1] and parts[2].isdigit() else None
    scheme = ADDRESS_FORMS[role].split(":")[0]
    try:
        split = urlsplit(address)
        return f"{split.hostname}:{split.port}" if split.scheme == scheme and split.hostname and split.port else None
    except ValueError:  # a port out of range
        return None


def _check_chargers(raw: dict[str, Any]) -> Found:
    """Check every charger's customer, car and hard limit."""
    customers, vehicles = _customers(raw), load_vehicles()
    feeder = text_of(table_of(raw, "feeder"), "name")
    models = set(catalog.model_names())
    for k, charger in enumerate(tables_of(raw, "charger")):
        key = f"charger[{k}]"
        customer = number_of(charger, "customer")
        if customer is not None and customers is not None and customer > customers:
            yield f"{key}.customer", f"{customer:g}", f"no such customer; feeder {feeder} has 1..{customers}"
        vehicle = text_of(charger, "vehicle")
        if vehicle is not None and vehicle not in vehicles:
            text = f"unknown vehicle; {near(vehicle, vehicles)}known: {', '.join(sorted(vehicles))}"
            yield f"{key}.vehicle", short(vehicle), text
        name, hard_max_a = text_of(charger, "model"), number_of(charger, "hard_max_a")
        part = catalog.load_model(name).charger if name in models and name is not None else None
        if part is not None and hard_max_a is not None and hard_max_a > part.max_a:
            yield f"{key}.hard_max_a", f"{hard_max_a:g} A", f"{name} takes at most {part.max_a:g} A"
        phases = charger.get("phases", 1)
        if part is not None and phases in (1, 3) and phases not in part.phases:
            allowed = " or ".join(str(count) for count in part.phases)
            yield f"{key}.phases", str(phases), f"{name} has {allowed}; write phases = {part.phases[0]}"


def _check_mentions(raw: dict[str, Any]) -> Found:
    """Check that every charger that is named elsewhere exists."""
    names = {name for name in (text_of(part, "name") for part in tables_of(raw, "charger")) if name is not None}
    mentioned = [(f"contract[{k}].chargers", texts_of(p, "chargers")) for k, p in enumerate(tables_of(raw, "contract"))]
    events = tables_of(table_of(raw, "scenario"), "events")
    mentioned += [(f"scenario.events[{k}].chargers", texts_of(event, "chargers")) for k, event in enumerate(events)]
    single = {f"{key}[{j}]": name for key, given in mentioned for j, name in enumerate(given)}
    dut = text_of(table_of(raw, "bench"), "charger")
    if dut is not None:
        single["bench.charger"] = dut
    for key, name in single.items():
        if names and name not in names:
            yield key, short(name), f"no charger of this name; {near(name, names)}give the name of a [[charger]]"


def _check_rejecting(raw: dict[str, Any]) -> Found:
    """Check that only OCPP points are to refuse charging profiles."""
    models = {text_of(part, "name"): text_of(part, "model") or "" for part in tables_of(raw, "charger")}
    for k, event in enumerate(tables_of(table_of(raw, "scenario"), "events")):
        for j, name in enumerate(texts_of(event, "chargers") if event.get("kind") == "reject_profiles" else []):
            model = find_model(models.get(name) or "")[0]
            if model is not None and model.model.protocol != "ocpp":
                text = f"{model.model.name} speaks {model.model.protocol}; name points that speak ocpp"
                yield f"scenario.events[{k}].chargers[{j}]", short(name), text


def _check_contracts(raw: dict[str, Any]) -> Found:
    yield from _check_sender(raw)
    for k, part in enumerate(tables_of(raw, "contract")):
        yield from check_contract(f"contract[{k}]", text_of(part, "file"))
    guard = text_of(table_of(raw, "guard"), "contract")
    try:
        kind = "lpc" if guard is None else load_contract(guard).kind
        if kind != "lpc":
            yield "guard.contract", short(guard), f'its kind is "{kind}"; allowed is "lpc"'
    except ProfileError as error:
        yield "guard.contract", short(guard), str(error)


def _check_sender(raw: dict[str, Any]) -> Found:
    """Check that a rig that plays a sender of envelopes has the one contract that they are for."""
    if not table_of(raw, "envelope"):
        return
    kinds = []
    for part in tables_of(raw, "contract"):
        with contextlib.suppress(ProfileError):  # told where the contract is named
            file = text_of(part, "file")
            kinds += [load_contract(file).kind] if file and not text_of(part, "envelope") else []
    if kinds.count("operating_envelope") != 1:
        text = "it is for one [[contract]] of kind operating_envelope, with nodes and without an envelope file"
        yield "envelope", f"{kinds.count('operating_envelope')} such contracts", text


def _check_zone(raw: dict[str, Any]) -> Found:
    name = table_of(raw, "rig").get("timezone", DEFAULT_ZONE)
    try:
        if isinstance(name, str):
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: the name of a folder of zones
        yield "rig.timezone", short(name), f'no IANA time zone; write one like "{DEFAULT_ZONE}"'


def _check_droop(raw: dict[str, Any]) -> Found:
    """Check that the droop's volts rise and its share does not fall."""
    points = table_of(table_of(raw, "law"), "droop").get("points")
    pairs = [p for p in points if isinstance(p, list) and len(p) == 2] if isinstance(points, list) else []
    numbers = [p for p in pairs if all(isinstance(x, int | float) for x in p)]
    if any(b[0] <= a[0] or b[1] < a[1] for a, b in itertools.pairwise(numbers)):
        yield "law.droop.points", short(points), "volts must rise from point to point and the share may not fall"
