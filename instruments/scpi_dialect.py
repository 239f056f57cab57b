"""Describe how a SCPI device is reached and how it departs from the standards: identity, transports, parser, remote.

These are the blocks that do not depend on what the device does; what it does stands in `scpi_catalog`. Every block
names its source and how well it is verified; an unverified number is a parameter, not a fact.
"""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from instruments.scpi_units import number_of

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
    """Say how the device is reached: one way of possibly several."""

    kind: Literal["socket", "vxi11", "hislip", "usb", "serial", "gpib", "framed"] = Field(
        default="socket", description="framed: a vendor's own frames around the lines; no client of ours speaks them"
    )
    port: int = Field(default=0, ge=0, le=65535, description="TCP port of a socket, hislip or framed transport")
    device: str = Field(default="", description="device name of vxi11 and hislip, e.g. inst0, hislip0")
    usb: str = Field(default="", description="vendor and product id, e.g. 0x0A69::0x086C")
    baud: int = Field(default=0, ge=0, description="serial speed; 0 not a serial line")
    framing: Literal["8N1", "7E1", "7O1", "8N2"] = "8N1"
    term_out: str = Field(default="\n", description="what we end a message with")
    term_in: str = Field(default="\n", description="what the device ends an answer with")
    max_clients: int = Field(default=4, ge=1)
    idle_close_s: float = Field(default=0.0, ge=0, description="device closes an idle socket after it; 0 never")
    min_gap_s: float = Field(default=0.0, ge=0, description="pause between messages that the device needs")
    reply_s: float = Field(default=0.0, ge=0, description="time the device takes for an answer")
    timeout_s: float = Field(default=1.0, gt=0, description="longest wait of the client for an answer")

    @model_validator(mode="after")
    def _reachable(self) -> "Transport":
        if self.kind in ("socket", "framed") and not self.port:
            raise ValueError(f"a transport of kind {self.kind} needs its port, 1..65535")
        if self.kind == "serial" and not self.baud:
            raise ValueError("a transport of kind serial needs its baud")
        return self


class Parser(Block):
    """Say how the device departs from the letter of IEEE 488.2 and SCPI-99."""

    abbrev: Literal["strict", "prefix"] = Field(default="strict", description="prefix: forms between short and long")
    path: Literal["strict", "lenient"] = Field(
        default="strict", description="lenient: a header that fits from the root only is taken from there"
    )
    path_after_common: Literal["keep", "reset"] = "keep"
    max_units: int = Field(default=0, ge=0, description="units in a message; 0 any")
    max_bytes: int = Field(default=0, ge=0, description="input buffer; 0 any")
    too_long_code: int = Field(default=-225, description="error of a message beyond max_units or max_bytes")
    out_of_range: Literal["error", "clip"] = Field(default="error", description="clip: set just inside, no error")
    local_code: int = Field(default=-221, description="error of a setting without remote control")
    bool_reply: Literal["digits", "words"] = "digits"
    number_format: str = Field(default="{:.6E}", description="answer to a number query, Python format")
    units_in_reply: bool = Field(default=False, description="an answer carries its unit: 43.50V")
    units_in_numbers: bool = Field(default=True, description="takes a unit after a number")
    header_reply: bool = Field(default=False, description="answers a setting with its header until told otherwise")
    channels: int = Field(default=0, ge=0, description="channels of a list (@1,2) as last parameter; 0 takes no list")
    error_query: str = Field(default="SYST:ERR?", description="*ESR? where the device has no error queue")
    error_empty: str = '0,"No error"'
    error_sign: bool = Field(default=False, description="positive codes carry a plus sign")
    error_positive: bool = Field(default=False, description='the standard codes without their minus: 113,"..."')
    error_depth: int = Field(default=20, ge=2)
    error_overflow: Literal["replace_last", "ignore"] = Field(
        default="replace_last", description="ignore: later errors are lost without -350"
    )
    error_per: Literal["instrument", "connection"] = "instrument"
    error_acknowledges: bool = Field(
        default=False, description="reading an error clears alarms whose cause is gone: ask the alarms first"
    )
    overlapped: list[str] = Field(
        default=[], description="quantities whose change takes its time while the next command begins: *OPC? waits"
    )
    error_codes: dict[str, str] = Field(default={}, description="the device's own codes and texts, e.g. 302")
    stb_clears: bool = Field(default=False, description="*STB? clears the status byte, against IEEE 488.2")


class Remote(Block):
    """Say how remote control is taken and given back."""

    take: str = Field(description="message; empty: nothing to take")
    release: str
    needed: bool = Field(description="a set command without it answers the parser's local_code")
    ask: str = Field(default="", description="query that tells who has control; empty: none known")
    expect: str = Field(default="", description="regular expression of that answer when we have it")


class Step(Strict):
    """Describe one message of an ordered sequence with its read-back."""

    send: str
    ask: str = Field(default="", description="query whose answer proves it; empty: nothing to read back")
    expect: str = Field(default="", description="regular expression of that answer; =5 the number 5 in any form")
    settle_s: float = Field(default=0.0, ge=0, description="wait before the read-back")

    @model_validator(mode="after")
    def _pair(self) -> "Step":
        if bool(self.ask) != bool(self.expect):
            raise ValueError("ask and expect belong together")
        return self

    def fits(self, answer: str, units: bool = False) -> bool:
        """Tell whether an answer is as expected; `units`: the device writes its unit behind a number."""
        if self.expect.startswith("="):
            return number_of(answer, units) == float(self.expect[1:])
        return re.fullmatch(self.expect, answer) is not None


class SafeOff(Block):
    """List the messages, in order, that make the device safe. Never ``*RST``, never a protection clear.

    The guard sends them as they stand, so they name every channel and hold no placeholder.
    """

    steps: list[Step]

    @model_validator(mode="after")
    def _no_reset(self) -> "SafeOff":
        for step in self.steps:
            if re.search(r"\*RST|PROT\w*:CLE", step.send, re.IGNORECASE):
                raise ValueError(f"{step.send!r} is no way to a safe state: it may leave or turn an output on")
            if step.expect.startswith("="):
                raise ValueError(f"expect {step.expect!r}: the guard compares by regular expression only")
            if "{" in step.send + step.ask:
                raise ValueError(f"{step.send!r} holds a placeholder; the guard sends it as it stands")
        return self


class Watchdog(Block):
    """Describe the device's own I/O watchdog; kind `none` means that a guard has to hold it.

    `arm` and `feed` take {seconds} and {milliseconds}.
    """

    kind: Literal["none", "any_io", "service"] = Field(
        description="any_io: any message feeds it; service: the feed message does"
    )
    arm: list[Step] = []
    feed: str = Field(default="", description="message of kind service")
    disarm: str = ""
    remaining: str = Field(default="", description="query of what is left; empty: none known")
    min_s: float = 0.0
    max_s: float = 0.0
    step_s: float = Field(default=0.0, ge=0, description="resolution; 0 unknown")
    on_expiry: Literal["", "output_off", "output_off_latched", "flag"] = ""
    on_expiry_verified: Verified = "R"

    @model_validator(mode="after")
    def _usable(self) -> "Watchdog":
        if self.kind != "none" and not (self.arm and self.on_expiry and 0.0 < self.min_s <= self.max_s):
            raise ValueError(f"kind {self.kind} needs arm, on_expiry and 0 < min_s <= max_s")
        if (self.kind == "service") != bool(self.feed):
            raise ValueError("feed belongs to kind service, and only there")
        return self

    @property
    def trusted(self) -> bool:
        """Tell whether the vendor's document says how to arm it and that it switches the output off."""
        off = self.on_expiry in ("output_off", "output_off_latched")
        return self.kind != "none" and off and self.verified == self.on_expiry_verified == "V"


class Clear(Block):
    """Describe how a latched protection is cleared and whether that energises the output again."""

    send: str = Field(description="message; empty: only at the front panel")
    re_energises: bool
    needs_cause_gone: bool = True


class Reset(Block):
    """Describe what ``*RST`` does; the client never sends it."""

    deaf_s: float = Field(ge=0, description="no answers for so long")
    output_after: bool = Field(description="output or input state after it")
    takes_remote: bool = False
    clears_protection: bool = False


class Meter(Block):
    """Say how old a reading of the device may be."""

    refresh_hz: float = Field(default=0.0, ge=0, description="new values so often; 0 with every query")
    noise: float = Field(default=0.0, ge=0, description="rms of a reading, share of the rating")


class StatusBits(Block):
    """Name the bits of the status registers; a name is its bit's position."""

    stb: dict[str, int] = {}
    questionable: dict[str, int] = {}
    operation: dict[str, int] = {}
