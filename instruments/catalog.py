"""Load the catalog: one TOML a device family, checked strictly, with a source for every block.

The head is common to all protocols; behind it stands the part of the protocol that the family speaks. Client, twin,
protocol tests and documents read the same record.
"""

import functools
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from instruments.charger_catalog import ChargerPart
from instruments.modbus_catalog import Block, ModbusPart, Strict
from instruments.ocpp_catalog import OcppPart
from instruments.relay_catalog import RelayPart
from instruments.scpi_catalog import VERIFIED, ScpiPart, ScpiRoleName
from instruments.sunspec_catalog import SunSpecPart

__all__ = [
    "VERIFIED",
    "CatalogError",
    "Model",
    "all_models",
    "charger_of",
    "load_model",
    "modbus_of",
    "model_names",
    "ocpp_of",
    "relay_of",
    "sunspec_of",
]

FOLDER = Path(__file__).parent / "catalog"

Role = ScpiRoleName | Literal["charger", "der", "ev_adapter", "meter", "relay", "substation"]


class CatalogError(Exception):
    """Report everything that is wrong with a catalog file, or a name that is not in the catalog."""


class Head(Block):
    """Name the family, its maker, the role that it plays and the protocol that it speaks."""

    name: str = Field(
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)?$", description="as rig files write it"
    )
    vendor: str
    family: str
    role: Role = Field(description="the main one; a SCPI family may have more in its part")
    protocol: Literal["modbus", "ocpp", "scpi", "opcua", "sunspec"]
    undriven: str = Field(default="", description="why the family is known and cannot be driven; empty: it can")


class OpcuaIdentity(Block):
    """Say which server stands at the other end."""

    namespace_uri: str
    manufacturer: str
    product: str


class OpcuaNode(Block):
    """Describe one variable: browse path below Objects, type, shape and unit."""

    path: str
    dtype: Literal["Double", "Float", "UInt32", "Int32", "DateTime", "String", "Boolean"]
    shape: str = Field(default="1", description="1 a scalar, n one value a point, n*3 one a point and phase")
    unit: str = Field(min_length=1)
    access: Literal["r", "rw"] = "r"


class OpcuaPart(Strict):
    """Describe an OPC UA server as its client sees it."""

    identity: OpcuaIdentity
    nodes: dict[str, OpcuaNode]


class Model(Strict):
    """Hold the whole record of one device family."""

    model: Head
    charger: ChargerPart | None = None
    modbus: ModbusPart | None = None
    scpi: ScpiPart | None = None
    opcua: OpcuaPart | None = None
    ocpp: OcppPart | None = None
    relay: RelayPart | None = None
    sunspec: SunSpecPart | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> "Model":
        relays = self.model.role == "relay" or (self.model.role == "ev_adapter" and self.relay is not None)
        part = "relay" if relays else self.model.protocol
        known_only = self.model.role == "charger" and bool(self.model.undriven)
        if getattr(self, part) is None and not known_only:
            raise ValueError(f"role {self.model.role} behind {self.model.protocol} needs a part [{part}]")
        if self.scpi is not None:
            modes = [mode for role in self.scpi.roles.values() for mode in role.cycle]
            if bool(modes) == bool(self.model.undriven):
                raise ValueError("model.undriven must say why where no role has a mode, and only there")
        if self.scpi is not None and self.model.role not in self.scpi.roles:
            raise ValueError(f"role {self.model.role} has no block [scpi.roles.{self.model.role}]")
        if self.model.role == "charger" and (self.charger is None) != known_only:
            raise ValueError("role charger needs a part [charger], or model.undriven to say why it has none")
        if self.charger is not None and self.ocpp is not None:
            if (self.ocpp.failsafe == "latched") != (self.charger.watchdog.kind == "none"):
                raise ValueError("ocpp.failsafe = latched goes with charger.watchdog.kind = none, and only with it")
            if self.charger.timing.write_gap_s < self.ocpp.call_timeout_s:
                raise ValueError("charger.timing.write_gap_s must cover ocpp.call_timeout_s: an order may wait so long")
        if self.charger is not None and self.modbus is not None:
            self.charger.check(self.modbus)
        return self

    def at(self, connector: int = 1, unit_id: int | None = None) -> "Model":
        """Return the record as it lies for one connector (1..) of a station, and for the unit id set on the device.

        ValueError says what the family allows.
        """
        if self.sunspec is not None:
            own = self.sunspec.unit_id if unit_id is None else unit_id
            return self.model_copy(update={"sunspec": self.sunspec.model_copy(update={"unit_id": own})})
        return self.model_copy(update={"modbus": modbus_of(self).at(connector, unit_id)})

    @property
    def marks(self) -> str:
        """Count the blocks of the record by their verification mark, as ``V30 D2 P3``."""
        found = Counter(_marks(self.model_dump()))
        return " ".join(f"{mark}{found[mark]}" for mark in VERIFIED if found[mark])

    @property
    def roles(self) -> tuple[str, ...]:
        """Return every role that the family can play, the main one first."""
        others = () if self.scpi is None else tuple(role for role in self.scpi.roles if role != self.model.role)
        return (self.model.role, *others)

    def variant(self, name: str) -> "Model":
        """Return the record of one variant of a SCPI family; a CatalogError names those that it has."""
        known = {} if self.scpi is None else {variant.name: variant for variant in self.scpi.variants}
        if self.scpi is None or name not in known:
            has = f"it has {', '.join(sorted(known))}" if known else "it has none"
            raise CatalogError(f"{self.model.name}/{name}: no such variant of {self.model.name}; {has}")
        head = self.model.model_copy(update={"name": f"{self.model.name}/{name}"})
        return self.model_copy(update={"model": head, "scpi": self.scpi.as_variant(known[name])})


def model_names() -> list[str]:
    """Return the names of all families, sorted."""
    return sorted(_name_of(path) for path in FOLDER.glob("*.toml"))


@functools.cache
def load_model(name: str) -> Model:
    """Return the record of one family, or with `family/variant` of one device model of it.

    Errors: CatalogError for a name that is not in the catalog, and for a broken file, with every fault as
    file:key, value and what is allowed.
    """
    family, _, variant = name.partition("/")
    if variant:
        return load_model(family).variant(variant)
    path = FOLDER / f"{name.replace('-', '_')}.toml"
    if not path.is_file():
        raise CatalogError(f"{name}: no such device model; the catalog has {', '.join(model_names())}")
    return read_model(path)


def read_model(path: Path) -> Model:
    """Read one catalog file; a CatalogError lists all that is wrong with it."""
    try:
        model = Model.model_validate(_raw(path))
    except ValidationError as error:
        raise CatalogError("\n".join(_explain(path.name, detail) for detail in error.errors())) from error
    if model.model.name != _name_of(path):
        raise CatalogError(f"{path.name}:model.name = {model.model.name}: must be {_name_of(path)}, as the file")
    return model


def all_models() -> list[Model]:
    """Return the records of all families, by name."""
    return [load_model(name) for name in model_names()]


def charger_of(model: Model) -> ChargerPart:
    """Return the charger part of a family; a CatalogError names a family that is none."""
    if model.charger is None:
        raise CatalogError(f"{model.model.name}: has the role {model.model.role}; a charger is needed")
    return model.charger


def modbus_of(model: Model) -> ModbusPart:
    """Return the Modbus part of a family; a CatalogError names a family that speaks another protocol."""
    if model.modbus is None:
        said = "has coils, no registers" if model.relay is not None else f"speaks {model.model.protocol}, not Modbus"
        raise CatalogError(f"{model.model.name}: {said}")
    return model.modbus


def ocpp_of(model: Model) -> OcppPart:
    """Return the OCPP part of a family; a CatalogError names a family that speaks another protocol."""
    if model.ocpp is None:
        raise CatalogError(f"{model.model.name}: speaks {model.model.protocol}, not OCPP")
    return model.ocpp


def relay_of(model: Model) -> RelayPart:
    """Return the relay part of a family; a CatalogError names a family that is no relay card."""
    if model.relay is None:
        raise CatalogError(f"{model.model.name}: has the role {model.model.role}; a relay card is needed")
    return model.relay


def sunspec_of(model: Model) -> SunSpecPart:
    """Return the SunSpec part of a family; a CatalogError names a family that speaks another protocol."""
    if model.sunspec is None:
        raise CatalogError(f"{model.model.name}: speaks {model.model.protocol}, not SunSpec")
    return model.sunspec


def _raw(path: Path, heirs: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a file's tables, laid over those of the family that its key `like` names, without those of `drop`."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CatalogError(f"{heirs[-1]}:like: no such family {_name_of(path)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path.name}: not a TOML file: {error}") from error
    like, drop = raw.pop("like", ""), raw.pop("drop", [])
    if not like:
        return raw
    if path.name in heirs:
        raise CatalogError(f"{path.name}:like = {like!r}: goes round in a circle")
    parent = _raw(path.parent / f"{like.replace('-', '_')}.toml", (*heirs, path.name))
    for dotted in drop:
        *way, last = dotted.split(".")
        table = functools.reduce(lambda table, key: table.get(key, {}), way, parent)
        if table.pop(last, None) is None:
            raise CatalogError(f"{path.name}:drop = {dotted!r}: {like} has no such key")
    return _over(parent, raw)


def _over(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of `over` laid on those of `under`; anything but a table replaces what was there."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _marks(record: Any) -> Iterator[str]:
    """Yield the verification mark of every block in a dumped record."""
    if isinstance(record, dict):
        if isinstance(record.get("verified"), str):
            yield record["verified"]
        record = list(record.values())
    if isinstance(record, list):
        for inner in record:
            yield from _marks(inner)


def _name_of(path: Path) -> str:
    return path.stem.replace("_", "-")


def _explain(label: str, detail: ErrorDetails) -> str:
    where = f"{label}:{_dotted(detail['loc'])}"
    if detail["type"] == "missing":
        return f"{where}: is missing and required"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key; correct or remove it"
    message = detail["msg"].removeprefix("Value error, ")
    value = detail["input"]
    return f"{where}: {message}" if isinstance(value, dict) else f"{where} = {value!r}: {message}"


def _dotted(loc: Iterable[int | str]) -> str:
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
