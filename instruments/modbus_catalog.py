"""Describe a Modbus device as data: transport, tables, registers and polls.

Client and twin read the same record. `decode` is what the client makes of a raw code, `encode` is what the device
sends: two statements of the same fact, so that a test which plays one against the other can fail.
Addresses are zero-based, as they stand on the wire.
"""

import itertools
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instruments.scpi_catalog import Verified

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amps = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Table = Literal["holding", "input", "coil", "discrete"]
RegisterType = Literal["u16", "s16", "u32", "s32", "u64", "f32", "f64", "str"]
WORDS: dict[str, int] = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "f32": 2, "f64": 4}
READ_FUNCTION: dict[str, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
STATION = "station"


class Strict(BaseModel):
    """Refuse unknown keys and values of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Block(Strict):
    """Ask a block for its source (document and clause, or driver) and its verification mark."""

    source: str = Field(min_length=1)
    verified: Verified


class Register(Block):
    """Describe one value: where it lies, how it is coded, and which quantity in SI units it mirrors."""

    name: str
    unit_id: int = Field(ge=0, le=255)
    address: int = Field(ge=0, le=65535)
    type: RegisterType
    table: Table | Literal[""] = Field(default="", description="empty: the table of the part's read_function")
    word_order: Literal["", "big", "little"] = Field(default="", description="empty: that of the part")
    scope: Literal["connector", "station"] = Field(
        default="connector", description="station: there once, whatever connector of the station is meant"
    )
    words: int = Field(default=0, ge=0, le=125, description="registers; 0: as the type says. Required for str")
    scale: float = Field(default=1.0, gt=0, description="SI value = raw * scale")
    unit: str = Field(min_length=1, description="SI unit after scaling; 1 for a code or a count")
    access: Literal["r", "w", "rw"] = "r"
    quantity: str = Field(default="", description="quantity of the plant's view; empty: the device's own constant")
    sample: float | str = Field(default=0.0, description="what the twin answers where there is no quantity (SI)")
    decode: dict[str, int] = Field(default={}, description="raw code -> our code; a code that is missing is unknown")
    mask: int = Field(default=0, ge=0, description="bits of the raw value that hold the code; 0 all")
    encode: dict[str, int] = Field(default={}, description="our code -> raw code that the twin sends")
    paused_code: int | None = Field(default=None, description="raw code in state B while a set-point of 0 pauses")
    failsafe_code: int | None = Field(default=None, description="raw code while the expired watchdog gives 0 A")
    min: float | None = Field(default=None, description="smallest value that may be written (SI), 0 apart")
    max: float | None = None
    zero: bool = Field(default=True, description="0 may be written below min too")
    persistent: bool = Field(default=False, description="a write wears memory: only on change, never cyclically")
    volatile: bool = Field(default=False, description="what was written is lost with the supply")

    @property
    def count(self) -> int:
        """Return how many registers the value takes."""
        return self.words or WORDS[self.type]

    @property
    def shift(self) -> int:
        """Return how many bits of the raw value lie below its code."""
        return (self.mask & -self.mask).bit_length() - 1 if self.mask else 0

    def code(self, raw: int) -> int:
        """Return the code that a raw value holds."""
        return (raw & self.mask) >> self.shift if self.mask else raw

    @property
    def end(self) -> int:
        """Return the address after the last register."""
        return self.address + self.count

    def to_wire(self, value: float) -> float:
        """Return what to encode for a value of ours (SI): its code where the register has codes for it, else itself."""
        code = self.encode.get(str(round(value))) if self.encode else None
        return value if code is None else code * self.scale

    @model_validator(mode="after")
    def _complete(self) -> "Register":
        if self.type == "str" and not self.words:
            raise ValueError("a str needs words, the number of its registers")
        if self.type != "str" and self.words not in (0, WORDS[self.type]):
            raise ValueError(f"words = {self.words}: a {self.type} takes {WORDS[self.type]}")
        if self.end > 65536:
            raise ValueError(f"address {self.address} + {self.count} registers runs over 65535")
        if self.table in ("coil", "discrete") and self.type != "u16":
            raise ValueError(f"table {self.table}: a bit is written as type u16 with the values 0 and 1")
        if self.table in ("input", "discrete") and "w" in self.access:
            raise ValueError(f"table {self.table} cannot be written")
        if "w" in self.access and self.quantity and (self.min is None or self.max is None):
            raise ValueError("a register that is written needs min and max")
        return self


class Polls(Block):
    """List the read requests, each as the values that it fetches. The core ones make up a complete fresh set."""

    core: list[list[str]] = Field(min_length=1)
    rare: list[list[str]] = Field(default=[], description="one of these follows each round of the core requests")


class RegisterIdentity(Block):
    """Say which register tells the family and what it must hold."""

    register_name: str = Field(alias="register")
    pattern: str = Field(description="regular expression that the whole value (as text) must match")
    what: str = Field(description="what the value means, for messages")


class ModbusPart(Block):
    """Describe how the family speaks Modbus: over TCP of its own, or over RTU behind a gateway."""

    port: int = Field(default=502, ge=1, le=65535)
    serial: str = Field(default="", description="line setting of an RTU device behind a gateway, or empty")
    frame_gap_s: Seconds = Field(default=0.0, description="silence that an RTU bus needs between two requests")
    read_function: Literal[3, 4] = Field(default=3, description="of registers that name no table: 3 holding, 4 input")
    write_functions: list[Literal[5, 6, 16]] = Field(min_length=1)
    gaps_readable: bool = Field(default=True, description="False: a block read over an address without a value fails")
    unit_id_set: bool = Field(default=False, description="unit id is set on the device: rig and site may name another")
    connectors: int = Field(default=1, ge=1, description="most connectors (or controllers) of a station")
    connector_step: int = Field(default=0, ge=0, description="registers from a connector to the next")
    connector_unit_step: int = Field(default=0, ge=0, description="unit ids from a connector to the next")
    max_read_registers: int = Field(ge=1, le=125)
    exact_read: bool = Field(description="a read must name exactly one value: no block, no crossing")
    fill: int = Field(default=0xFFFF, ge=0, le=0xFFFF, description="content of reserved registers in a block")
    word_order: Literal["big", "little"] = "big"
    max_clients: int = Field(default=4, ge=1)
    idle_close_s: Seconds = Field(default=0.0, description="device closes a silent connection; 0 never")
    timeout_s: float = Field(default=1.0, gt=0, description="longest wait of the client for an answer")
    read_gap_s: Seconds = Field(description="shortest time between two reads")
    read_period_s: Seconds = Field(default=0.0, description="a read is due so often; 0: as often as read_gap_s lets")
    transactions: int = Field(
        default=1, ge=1, le=16, description="requests that it takes at once; 1 unless it is known to take more"
    )
    identity: RegisterIdentity
    registers: list[Register] = Field(min_length=1)
    polls: Polls

    @property
    def read_every_s(self) -> float:
        """Return the time from a read to the next, s, where nothing delays it."""
        return max(self.read_gap_s, self.read_period_s)

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, raw: Any) -> Any:
        """Give every register of a section the unit id, source and mark that stand once at the section's head."""
        if not isinstance(raw, dict) or "section" not in raw:
            return raw
        rest = {key: value for key, value in raw.items() if key != "section"}
        registers = list(rest.get("registers", []))
        for section in raw["section"]:
            head = {key: value for key, value in section.items() if key != "registers"}
            registers += [{**head, **register} for register in section["registers"]]
        return {**rest, "registers": registers}

    def register(self, name: str) -> Register:
        """Return a register by name; a KeyError lists those that exist."""
        for register in self.registers:
            if register.name == name:
                return register
        raise KeyError(f"{name}: no such register; there are {', '.join(r.name for r in self.registers)}")

    def table_of(self, register: Register) -> str:
        """Return the table that a register lies in: holding, input, coil or discrete."""
        return register.table or ("holding" if self.read_function == 3 else "input")

    def order_of(self, register: Register) -> Literal["big", "little"]:
        """Return the word order of a register: big is the high word first."""
        return register.word_order or self.word_order

    def function(self, poll: list[str]) -> int:
        """Return the function code (1..4) of the request that fetches these values."""
        return READ_FUNCTION[self.table_of(self.register(poll[0]))]

    def at(self, connector: int = 1, unit_id: int | None = None) -> "ModbusPart":
        """Return the part as it lies for one connector (1..) of a station and for the unit id set on the device.

        ValueError says what the family allows.
        """
        if not 1 <= connector <= self.connectors:
            raise ValueError(f"connector {connector}: allowed 1..{self.connectors}")
        if unit_id is not None and not (self.unit_id_set and 0 <= unit_id <= 247):
            raise ValueError(f"unit {unit_id}: allowed {'0..247' if self.unit_id_set else 'none, the family fixes it'}")
        k = connector - 1
        moved = []
        for register in self.registers:
            own = register.scope != STATION
            unit = (register.unit_id if unit_id is None else unit_id) + own * k * self.connector_unit_step
            shift = {"address": register.address + own * k * self.connector_step, "unit_id": unit}
            moved.append(register.model_copy(update=shift))
        return self.model_copy(update={"registers": moved})

    def find(self, quantity: str, access: Literal["r", "w"] = "r") -> Register | None:
        """Return the first register that mirrors a quantity and can be read (r) or written (w); None without one."""
        for register in self.registers:
            if register.quantity == quantity and access in register.access:
                return register
        return None

    def span(self, poll: list[str]) -> tuple[int, int, int]:
        """Return unit id, first address and number of registers of the request that fetches these values."""
        registers = [self.register(name) for name in poll]
        start = min(r.address for r in registers)
        return registers[0].unit_id, start, max(r.end for r in registers) - start

    @model_validator(mode="after")
    def _consistent(self) -> "ModbusPart":
        names = [r.name for r in self.registers]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"registers named twice: {', '.join(twice)}")
        for access in "rw":
            for table in READ_FUNCTION:
                _refuse_overlap([r for r in self.registers if access in r.access and self.table_of(r) == table])
        for poll in self.polls.core + self.polls.rare:
            self._check_poll(poll, set(names))
        if self.identity.register_name not in names:
            raise ValueError(f"identity.register = {self.identity.register_name}: no such register")
        identity = self.register(self.identity.register_name)
        text = identity_text(identity.sample)
        if not identity.quantity and not re.fullmatch(self.identity.pattern, text):
            raise ValueError(f"identity.pattern {self.identity.pattern!r} does not match the sample {text!r}")
        return self

    def _check_poll(self, poll: list[str], names: set[str]) -> None:
        where = f"the poll of {', '.join(poll)}"
        if missing := [n for n in poll if n not in names]:
            raise ValueError(f"{where} names unknown registers: {', '.join(missing)}")
        registers = [self.register(n) for n in poll]
        if len({r.unit_id for r in registers}) != 1:
            raise ValueError(f"{where} must name values of one unit id")
        if len({self.table_of(r) for r in registers}) != 1:
            raise ValueError(f"{where} must name values of one table")
        if any("r" not in r.access for r in registers):
            raise ValueError(f"{where} reads a write-only register")
        count = self.span(poll)[2]
        if count > self.max_read_registers or (self.exact_read and len(registers) > 1):
            raise ValueError(f"{where} is {count} registers, more than one read gives")
        if not self.gaps_readable and sum(r.count for r in registers) != count:
            raise ValueError(f"{where} reads over a gap, which the family refuses")


def identity_text(value: float | str) -> str:
    """Write a register's value as the identity pattern sees it: whole numbers without a point."""
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() else str(value)


def _refuse_overlap(registers: list[Register]) -> None:
    ordered = sorted(registers, key=lambda r: (r.unit_id, r.address))
    for one, other in itertools.pairwise(ordered):
        if one.unit_id == other.unit_id and other.address < one.end:
            raise ValueError(f"registers {one.name} and {other.name} overlap at address {other.address}")
