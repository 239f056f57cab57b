"""Describe a Modbus device as data: transport, registers, polls, and what a charger of the family promises.

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
RegisterType = Literal["u16", "s16", "u32", "s32", "u64", "f32", "f64", "str"]
WORDS: dict[str, int] = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "f32": 2, "f64": 4}


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
    words: int = Field(default=0, ge=0, le=125, description="registers; 0: as the type says. Required for str")
    scale: float = Field(default=1.0, gt=0, description="SI value = raw * scale")
    unit: str = Field(min_length=1, description="SI unit after scaling; 1 for a code or a count")
    access: Literal["r", "w", "rw"] = "r"
    quantity: str = Field(default="", description="quantity of the plant's view; empty: the device's own constant")
    sample: float | str = Field(default=0.0, description="what the twin answers where there is no quantity (SI)")
    decode: dict[str, int] = Field(default={}, description="raw code -> our code; a code that is missing is unknown")
    encode: dict[str, int] = Field(default={}, description="our code -> raw code that the twin sends")
    paused_code: int | None = Field(default=None, description="raw code in state B while a set-point of 0 pauses")
    min: float | None = Field(default=None, description="smallest value that may be written (SI), 0 apart")
    max: float | None = None

    @property
    def count(self) -> int:
        """Return how many registers the value takes."""
        return self.words or WORDS[self.type]

    @property
    def end(self) -> int:
        """Return the address after the last register."""
        return self.address + self.count

    @model_validator(mode="after")
    def _complete(self) -> "Register":
        if self.type == "str" and not self.words:
            raise ValueError("a str needs words, the number of its registers")
        if self.type != "str" and self.words not in (0, WORDS[self.type]):
            raise ValueError(f"words = {self.words}: a {self.type} takes {WORDS[self.type]}")
        if self.end > 65536:
            raise ValueError(f"address {self.address} + {self.count} registers runs over 65535")
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
    """Describe how the family speaks Modbus TCP."""

    port: int = Field(default=502, ge=1, le=65535)
    read_function: Literal[3, 4] = 3
    write_functions: list[Literal[6, 16]] = Field(min_length=1)
    max_read_registers: int = Field(ge=1, le=125)
    exact_read: bool = Field(description="a read must name exactly one value: no block, no crossing")
    fill: int = Field(default=0xFFFF, ge=0, le=0xFFFF, description="content of reserved registers in a block")
    word_order: Literal["big", "little"] = "big"
    max_clients: int = Field(default=4, ge=1)
    idle_close_s: Seconds = Field(default=0.0, description="device closes a silent connection; 0 never")
    timeout_s: float = Field(default=1.0, gt=0, description="longest wait of the client for an answer")
    read_gap_s: Seconds = Field(description="shortest time between two reads")
    identity: RegisterIdentity
    registers: list[Register] = Field(min_length=1)
    polls: Polls

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
            _refuse_overlap([r for r in self.registers if access in r.access])
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
        if any("r" not in r.access for r in registers):
            raise ValueError(f"{where} reads a write-only register")
        count = self.span(poll)[2]
        if count > self.max_read_registers or (self.exact_read and len(registers) > 1):
            raise ValueError(f"{where} is {count} registers, more than one read gives")


class ChargerTiming(Block):
    """Give the times that make up how long a charger takes to obey, and how old its reading may get."""

    write_gap_s: Seconds = Field(description="shortest time between two writes")
    pwm_gap_s: Seconds = Field(description="shortest time between two steps of the control pilot")
    car_s: Seconds = Field(description="longest time in which the car follows the pilot")
    max_age_s: Seconds = Field(description="oldest reading that is believed")


class ChargerWatchdog(Block):
    """Describe the charger's own fail-safe: what keeps it quiet and what it does on expiry."""

    kind: Literal["none", "any_traffic", "per_setpoint", "life_bit", "token"]
    timeout_set: str = Field(default="", description="register that takes the time-out; empty: not by Modbus")
    timeout_get: str = ""
    current_set: str = Field(default="", description="register that takes the fail-safe current; empty: not by Modbus")
    current_get: str = ""
    min_s: Seconds = 0.0
    max_s: Seconds = 0.0
    default_s: Seconds = 0.0
    keep_alive_s: Seconds = Field(default=0.0, description="set-point is written again after it; 0 never")


class ChargerSetpoint(Block):
    """Say how the current is set and how a pause is ordered."""

    register_name: str = Field(alias="register")
    pause_by: Literal["zero", "enable"] = Field(description="0 A in the set-point, or 0 in the enable register")
    enable: str = Field(default="", description="register that takes 1 and 0 where pause_by is enable")
    applied: str = Field(default="", description="register that tells the limit in force")
    pacing_broken: Literal["ignored", "busy"] = Field(
        description="what the twin does with a write that comes too early: acknowledge and ignore it, or exception 6"
    )


class DcStage(Block):
    """Describe a charger that gives direct current: its output, and how its watts and our amps go together.

    A limit in amps per mains phase becomes watts at the lowest supply voltage, less the losses: at any higher voltage
    the mains side then draws less than the limit, never more. Its amps are read by the same rule.
    """

    efficiency: float = Field(gt=0.5, le=1, description="DC watts per mains watt, one figure for all loads")
    min_supply_v: float = Field(gt=0, description="lowest mains volts, line to neutral, at which it still charges")
    min_v: float = Field(ge=0, description="V; lowest output")
    max_v: float = Field(gt=0, description="V; highest output")
    max_a: float = Field(gt=0, description="A; largest output current")
    max_w: float = Field(gt=0, description="W; largest output power")
    rise_a_per_s: float = Field(gt=0, description="A/s of the output current")
    fall_a_per_s: float = Field(gt=0, description="A/s of the output current")

    @property
    def watts_per_amp(self) -> float:
        """Return the DC watts that an amp per mains phase stands for."""
        return 3 * self.min_supply_v * self.efficiency


class ChargerPart(Block):
    """Describe what a charger of the family can do."""

    phases: list[Literal[1, 3]]
    max_a: Amps = Field(description="largest set-point of the family; the rig lowers it")
    min_a: Amps = Field(description="smallest set-point that charges; 0 pauses")
    step_a: float = Field(gt=0, description="resolution of the set-point")
    voltage_step_v: Seconds = Field(description="resolution of the volts; 0 continuous")
    current_step_a: Amps = Field(description="resolution of the measured amps; 0 continuous")
    setpoint: ChargerSetpoint
    watchdog: ChargerWatchdog
    timing: ChargerTiming
    dc: DcStage | None = Field(default=None, description="only for a charger that gives direct current")

    @property
    def obey_s(self) -> float:
        """Return the time after which a lower limit is drawn, s: write pacing + pilot + car."""
        return self.timing.write_gap_s + self.timing.pwm_gap_s + self.timing.car_s

    @property
    def max_age_s(self) -> float:
        """Return the oldest reading that is believed, s."""
        return self.timing.max_age_s

    def named_registers(self) -> list[str]:
        """Return the register names that this part refers to."""
        s, w = self.setpoint, self.watchdog
        named = [s.register_name, s.enable, s.applied, w.timeout_set, w.timeout_get, w.current_set, w.current_get]
        return [name for name in named if name]

    @model_validator(mode="after")
    def _consistent(self) -> "ChargerPart":
        if self.min_a > self.max_a:
            raise ValueError(f"min_a {self.min_a:g} A is over max_a {self.max_a:g} A")
        if self.setpoint.pause_by == "enable" and not self.setpoint.enable:
            raise ValueError("setpoint.enable must name the register that pauses")
        return self


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
