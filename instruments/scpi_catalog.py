"""Describe a SCPI family as data: the one record that the client, the twin, the protocol tests and the docs read.

The client sends what `send`, `ask`, `cycle` and the ordered messages say; the twin builds its command tree from
`header`. The two are separate statements of the same fact, so a test that plays one against the other can fail.
Numbers in a record are in the instrument's own units; `scpi_units` converts at this border and nowhere else.
"""

import re
import string
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, model_validator

from instruments.scpi_dialect import (
    VERIFIED,
    Block,
    Clear,
    Identity,
    Meter,
    Parser,
    Remote,
    Reset,
    SafeOff,
    StatusBits,
    Step,
    Strict,
    Transport,
    Verified,
    Watchdog,
)
from instruments.scpi_rating import Can, Rating, Variant
from instruments.scpi_units import UNITS

__all__ = [
    "VERIFIED",
    "Block",
    "Can",
    "Cycle",
    "Quantity",
    "Rating",
    "RolePart",
    "ScpiPart",
    "ScpiRoleName",
    "Step",
    "Strict",
    "Transport",
    "Verified",
]

ScpiRoleName = Literal["ac_source", "dc_supply", "bidirectional_supply", "ac_load", "dc_load", "analyzer"]

BY_PHASES = ("one", "three")
MODES: dict[str, tuple[str, ...]] = {
    "ac_source": BY_PHASES,
    "ac_load": BY_PHASES,
    "analyzer": BY_PHASES,
    "dc_supply": ("voltage", "current"),
    "bidirectional_supply": ("voltage", "current"),
    "dc_load": ("current", "power", "voltage", "resistance"),
}
FIELDS: dict[str, set[str]] = {  # what a cycle's message may write, in our units unless the cycle says otherwise
    "ac_source": {"volt_a_v", "volt_b_v", "volt_c_v"},
    "ac_load": {"amp_a", "amp_b", "amp_c"},
    "analyzer": set(),
    "dc_supply": {"volt_v", "amp_a", "power_w"},
    "bidirectional_supply": {"volt_v", "source_a", "sink_a", "minus_sink_a", "source_w", "sink_w", "amp_a"},
    "dc_load": {"amp_a", "power_w", "volt_v", "ohm"},
}
PHASED = {f"{what}_{phase}" for what in ("volt", "amp", "power", "apparent", "reactive") for phase in "abc"}
ANSWERS = PHASED | {"volt", "amp", "power", "frequency", "output", "input", "error", "state", "skip"}


def fields_of(template: str) -> set[str]:
    """Return the names of the placeholders in a message template."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


class Quantity(Block):
    """Describe one setting or one reading: its header, its messages and its range, in the instrument's unit."""

    header: str = Field(description="SCPI notation, e.g. [SOURce:]VOLTage[:LEVel]:AC")
    kind: Literal["number", "bool", "word", "event", "text"] = "number"
    unit: str = Field(default="", description="V, A, W, Hz, s, deg, kW, V/ms, A/us ...; empty: none")
    access: Literal["r", "w", "rw"] = "rw"
    send: str = Field(default="", description="our message, with {value} and, on many channels, {channel}")
    ask: str = Field(default="", description="our query, with {channel} on many channels")
    min: float | None = None
    max: float | None = None
    default: float | str = 0.0
    step: float = Field(default=0.0, ge=0, description="resolution; 0 unknown")
    negated: bool = Field(default=False, description="the device wants and gives it as a negative number")
    words: list[str] = Field(default=[], description="character data in SCPI notation, e.g. HIGH, SINGle")
    per_phase: bool = Field(default=False, description="belongs to the selected phase")
    per_channel: bool = Field(default=False, description="belongs to a channel, by channel list or by selection")
    second: list[str] = Field(
        default=[], description="words of a second parameter, which an answer carries too: 300.0,ON"
    )
    coupled_with: list[str] = Field(default=[], description="quantities that have to be in the same message")
    bounded_by: list[str] = Field(default=[], description="quantities that are its soft limits now")
    bound_code: int = Field(default=-222, description="error of a value beyond a soft limit")
    range_by: str = Field(default="", description="word quantity that selects the range")
    range_max: dict[str, float] = Field(default={}, description="largest value by that word")

    @model_validator(mode="after")
    def _complete(self) -> "Quantity":
        if self.kind == "number" and "w" in self.access and (self.min is None or self.max is None):
            raise ValueError("a number that can be set needs min and max")
        if self.second and self.kind != "number":
            raise ValueError("second belongs to a number")
        if self.kind == "word" and not self.words:
            raise ValueError("a word needs the list of its words")
        if self.send and "w" not in self.access:
            raise ValueError("send is given, but access does not allow a write")
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit!r} is unknown; allowed: {', '.join(sorted(UNITS))}")
        if bool(self.range_by) != bool(self.range_max):
            raise ValueError("range_by and range_max belong together")
        return self


class Setup(Block):
    """List messages in order: the mode that a role needs before anything is energised, or the energising itself."""

    steps: list[Step]


class Cycle(Block):
    """Describe the one compound message of a control cycle and the order of its answers.

    Every unit but the first begins with a colon or an asterisk where the device limits a message: there it is split.
    An entry of `order` with commas stands for one answer that holds several values.
    """

    message: str = Field(description="template; a source's has {volt_a_v}, a load's {amp_a}")
    order: list[str] = Field(min_length=1, description="names of the answers, joined by ; on one line")
    units: dict[str, str] = Field(default={}, description="unit of a placeholder or answer that is not ours, e.g. kW")

    @property
    def names(self) -> list[str]:
        """Return the names of all values that it answers."""
        return [name.strip() for entry in self.order for name in entry.split(",")]


class Protection(Block):
    """Name the device's own limits that are programmed first and read back: quantity names in order."""

    limits: list[str] = Field(description="volt_limit_v, current_limit_a, power_limit_w, sink_limit_a, sink_limit_w")
    enable: list[str] = Field(default=[], description="boolean quantities that switch it on; empty: always on")
    delay: str = Field(default="", description="quantity of the trip delay")
    delay_s: float = Field(default=0.0, ge=0, description="delay that we program")


class RolePart(Strict):
    """Hold what the family does in one role: what it can, its ratings, its messages by mode."""

    can: Can
    rating: Rating
    sign: Literal["delivered", "absorbed"] = Field(description="what a positive amp or watt of the device means")
    setup: dict[str, Setup] = Field(description="by mode: one, three; voltage, current; current, power")
    energise: Setup = Field(description="ordered messages that switch the output or input on")
    cycle: dict[str, Cycle] = Field(description="by mode")
    protection: Protection


class ScpiPart(Strict):
    """Hold the whole dialect record of one SCPI device family."""

    identity: Identity
    transports: list[Transport] = Field(min_length=1, description="best first")
    parser: Parser
    remote: Remote
    roles: dict[ScpiRoleName, RolePart] = Field(min_length=1, description="main role first")
    safe_off: SafeOff
    watchdog: Watchdog
    clear: Clear
    reset: Reset
    meter: Meter
    quantities: dict[str, Quantity]
    status: StatusBits
    variants: list[Variant] = Field(default=[])

    @model_validator(mode="after")
    def _fits_together(self) -> "ScpiPart":
        problems = [text for name, role in self.roles.items() for text in self._role_problems(name, role)]
        for name, quantity in self.quantities.items():
            others = [*quantity.coupled_with, *quantity.bounded_by, *([quantity.range_by] if quantity.range_by else [])]
            problems += [f"quantities.{name} names unknown quantity {other}" for other in self._unknown(others)]
        for variant in self.variants:
            unknown = [*self._unknown(variant.ranges), *(role for role in variant.rating if role not in self.roles)]
            problems += [f"variant {variant.name} names unknown {name}" for name in unknown]
        if set(self.roles) != {"analyzer"} and not self.safe_off.steps:
            problems.append("safe_off has no step, and the role energises")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _role_problems(self, name: str, role: RolePart) -> Iterable[str]:
        """Yield what does not fit within a role."""
        protection = role.protection
        for unknown in self._unknown([*protection.limits, *protection.enable, protection.delay]):
            yield f"roles.{name}.protection names unknown quantity {unknown}"
        if set(role.setup) != set(role.cycle):
            yield f"roles.{name}: setup and cycle must cover the same modes"
        for mode, cycle in role.cycle.items():
            where = f"roles.{name}.cycle.{mode}"
            if mode not in MODES[name]:
                yield f"{where}: unknown mode; allowed: {', '.join(MODES[name])}"
            if wrong := fields_of(cycle.message) - FIELDS[name] - {"channel"}:
                yield f"{where} writes {', '.join(sorted(wrong))}; allowed: {', '.join(sorted(FIELDS[name]))}"
            if wrong := set(cycle.names) - ANSWERS:
                yield f"{where} answers {', '.join(sorted(wrong))}; allowed: {', '.join(sorted(ANSWERS))}"
            if wrong := {unit for unit in cycle.units.values() if unit not in UNITS}:
                yield f"{where}: unknown unit {', '.join(sorted(wrong))}"

    def _unknown(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name and name not in self.quantities]

    @property
    def transport(self) -> Transport:
        """Return the raw socket, or the first transport where the family has none."""
        return next((way for way in self.transports if way.kind == "socket"), self.transports[0])

    def transport_of(self, kind: str) -> Transport:
        """Return the transport of a kind of wire; one that the record does not name goes by the first one's rules."""
        return next((way for way in self.transports if way.kind == kind), self.transport)

    @property
    def rating(self) -> Rating:
        """Return the ratings of the main role."""
        return next(iter(self.roles.values())).rating

    def quantity(self, name: str) -> Quantity:
        """Return a quantity; a KeyError names those that exist."""
        try:
            return self.quantities[name]
        except KeyError:
            raise KeyError(f"{name}: unknown quantity; the record has {', '.join(sorted(self.quantities))}") from None

    def as_variant(self, variant: Variant) -> "ScpiPart":
        """Return the record of one variant: its sample, its ratings and its ranges, checked again."""
        raw: dict[str, Any] = self.model_dump(exclude={"variants"})
        raw["variants"] = [variant.model_dump()]
        raw["identity"] |= {"pattern": variant.pattern, "sample": variant.sample}
        for role, change in variant.rating.items():
            raw["roles"][role]["rating"] |= change
        for name, ends in variant.ranges.items():
            raw["quantities"][name] |= ends
        return ScpiPart.model_validate(raw)

    def variant_for(self, answer: str) -> "ScpiPart":
        """Return the record of the variant that an ``*IDN?`` answer names; the family's own where none fits."""
        for variant in self.variants:
            if re.fullmatch(variant.pattern, answer):
                return self.as_variant(variant)
        return self
