"""Describe a SCPI dialect as data: the one record that the client, the twin, the protocol tests and the docs read.

The client sends what `send`, `ask`, `cycle` and the ordered messages say; the twin builds its command tree from
`header`. The two are separate statements of the same fact, so a test that plays one against the other can fail.
Every block names its source and how well it is verified; an unverified number is a parameter, not a fact.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Verified = Literal["V", "D", "S", "R", "P"]
VERIFIED: dict[str, str] = {
    "V": "read in the vendor's document",
    "D": "read in a working public driver",
    "S": "second hand",
    "R": "recalled, not found in a document: confirm it before the first output-on",
    "P": "a parameter of ours, no fact about the device",
}


class Block(BaseModel):
    """Refuse unknown keys and ask every block for its source and its verification mark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1, description="document and page, or driver")
    verified: Verified


class Strict(BaseModel):
    """Refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Identity(Block):
    """Say what the device answers to ``*IDN?``."""

    pattern: str = Field(description="regular expression that the whole answer must match")
    sample: str = Field(description="an answer of a real device, or one made up in its form; the twin gives it")

    @model_validator(mode="after")
    def _sample_fits(self) -> "Identity":
        if not re.fullmatch(self.pattern, self.sample):
            raise ValueError(f"sample {self.sample!r} does not match pattern {self.pattern!r}")
        return self


class Transport(Block):
    """Say how the device is reached over a raw TCP socket."""

    port: int = Field(ge=1, le=65535)
    term_out: str = Field(default="\n", description="what we end a message with")
    term_in: str = Field(default="\n", description="what the device ends an answer with")
    max_clients: int = Field(default=4, ge=1)
    idle_close_s: float = Field(default=0.0, ge=0, description="device closes an idle socket after it; 0 never")
    reply_s: float = Field(default=0.0, ge=0, description="time the device takes for an answer")
    timeout_s: float = Field(default=1.0, gt=0, description="longest wait of the client for an answer")


class Parser(Block):
    """Say how the device departs from the letter of IEEE 488.2 and SCPI-99."""

    abbrev: Literal["strict", "prefix"] = Field(default="strict", description="prefix: forms between short and long")
    path: Literal["strict", "lenient"] = Field(
        default="strict", description="lenient: a header that fits from the root only is taken from there"
    )
    path_after_common: Literal["keep", "reset"] = "keep"
    max_units: int = Field(default=0, ge=0, description="units in a message; 0 any")
    max_bytes: int = Field(default=0, ge=0, description="input buffer; 0 any")
    bool_reply: Literal["digits", "words"] = "digits"
    number_format: str = Field(default="{:.6E}", description="answer to a number query, Python format")
    error_empty: str = '0,"No error"'
    error_sign: bool = Field(default=False, description="positive codes carry a plus sign")
    error_depth: int = Field(default=20, ge=2)
    units_in_numbers: bool = Field(default=True, description="takes a unit after a number")


class Remote(Block):
    """Say how remote control is taken and given back."""

    take: str
    release: str
    needed: bool = Field(description="a set command without it answers -221")


class Step(Strict):
    """Describe one message of an ordered sequence with its read-back."""

    send: str
    ask: str = Field(default="", description="query whose answer proves it; empty: nothing to read back")
    expect: str = Field(default="", description="regular expression of that answer")
    settle_s: float = Field(default=0.0, ge=0, description="wait before the read-back")

    @model_validator(mode="after")
    def _pair(self) -> "Step":
        if bool(self.ask) != bool(self.expect):
            raise ValueError("ask and expect belong together")
        return self


class SafeOff(Block):
    """List the messages, in order, that make the device safe. Never ``*RST``, never a protection clear."""

    steps: list[Step] = Field(min_length=1)

    @model_validator(mode="after")
    def _no_reset(self) -> "SafeOff":
        for step in self.steps:
            if re.search(r"\*RST|PROT\w*:CLE", step.send, re.IGNORECASE):
                raise ValueError(f"{step.send!r} is no way to a safe state: it may leave or turn an output on")
        return self


class Setup(Block):
    """List messages in order: the mode that a role needs before anything is energised, or the energising itself."""

    steps: list[Step]


class Watchdog(Block):
    """Describe the device's own I/O watchdog; kind `none` means that a guard has to hold it."""

    kind: Literal["none", "any_io"]
    arm: str = Field(default="", description="message template with {seconds}")
    disarm: str = ""
    min_s: float = 0.0
    max_s: float = 0.0


class Clear(Block):
    """Describe how a latched protection is cleared and whether that energises the output again."""

    send: str
    re_energises: bool


class Reset(Block):
    """Describe what ``*RST`` does; the client never sends it."""

    deaf_s: float = Field(ge=0, description="no answers for so long")
    output_after: bool = Field(description="output or input state after it")


class Quantity(Block):
    """Describe one setting or one reading: its header, its messages and its range."""

    header: str = Field(description="SCPI notation, e.g. [SOURce:]VOLTage[:LEVel]:AC")
    kind: Literal["number", "bool", "word", "event", "text"] = "number"
    unit: str = Field(default="", description="V, A, W, Hz, s, deg, V/ms ...; empty: none")
    access: Literal["r", "w", "rw"] = "rw"
    send: str = Field(default="", description="our message, with {value}")
    ask: str = Field(default="", description="our query")
    min: float | None = None
    max: float | None = None
    default: float | str = 0.0
    step: float = Field(default=0.0, ge=0, description="resolution; 0 unknown")
    words: list[str] = Field(default=[], description="character data in SCPI notation, e.g. HIGH, SINGle")
    per_phase: bool = Field(default=False, description="belongs to the selected phase")

    @model_validator(mode="after")
    def _complete(self) -> "Quantity":
        if self.kind == "number" and "w" in self.access and (self.min is None or self.max is None):
            raise ValueError("a number that can be set needs min and max")
        if self.kind == "word" and not self.words:
            raise ValueError("a word needs the list of its words")
        if self.send and "w" not in self.access:
            raise ValueError("send is given, but access does not allow a write")
        return self


class Cycle(Block):
    """Describe the one compound message of a control cycle and the order of its answers."""

    message: str = Field(description="template; a source's has {volt_v}, a load's {amp_a}")
    order: list[str] = Field(min_length=1, description="names of the answers, joined by ; on one line")


class Protection(Block):
    """Name the device's own limits that are programmed first and read back: quantity names in order."""

    limits: list[str] = Field(description="quantities: <what>_limit_v, <what>_limit_a take our hard limits")
    enable: str = Field(default="", description="boolean quantity that switches it on; empty: always on")
    delay: str = Field(default="", description="quantity of the trip delay")
    delay_s: float = Field(default=0.0, ge=0, description="delay that we program")


class StatusBits(Block):
    """Name the bits of the status registers; a name is its bit's position."""

    stb: dict[str, int] = {}
    questionable: dict[str, int] = {}
    operation: dict[str, int] = {}


class Rating(Block):
    """Give the largest volts, amps and volt-amperes of the device and what it can do."""

    max_v: float = Field(gt=0)
    max_a: float = Field(gt=0, description="per output, in its single-phase mode where it has one")
    max_va: float = Field(gt=0)
    phases: list[int]
    sinks: bool = Field(description="takes power in")


class ScpiPart(Strict):
    """Hold the whole dialect record of one SCPI device family."""

    identity: Identity
    transport: Transport
    parser: Parser
    remote: Remote
    rating: Rating
    setup: dict[str, Setup] = Field(description="by number of phases, e.g. one, three")
    energise: Setup = Field(description="ordered messages that switch the output or input on")
    safe_off: SafeOff
    watchdog: Watchdog
    clear: Clear
    reset: Reset
    quantities: dict[str, Quantity]
    cycle: dict[str, Cycle] = Field(description="by number of phases")
    protection: Protection
    status: StatusBits

    @model_validator(mode="after")
    def _names_exist(self) -> "ScpiPart":
        named = [*self.protection.limits, self.protection.delay, self.protection.enable]
        missing = [name for name in named if name and name not in self.quantities]
        if missing:
            raise ValueError(f"protection names unknown quantities: {', '.join(missing)}")
        if set(self.setup) != set(self.cycle):
            raise ValueError("setup and cycle must cover the same modes")
        return self

    def quantity(self, name: str) -> Quantity:
        """Return a quantity; a KeyError names those that exist."""
        try:
            return self.quantities[name]
        except KeyError:
            raise KeyError(f"{name}: unknown quantity; the record has {', '.join(sorted(self.quantities))}") from None
