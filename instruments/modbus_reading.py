"""Put the values of a charger's registers together to one reading that is dated by its oldest part."""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Any

import numpy as np

from instruments.charger_catalog import DcStage
from instruments.modbus_catalog import ModbusPart, Register
from instruments.modbus_codec import block_struct, code_of, decode_words
from instruments.modbus_pacing import NS

GOOD, UNCERTAIN, BAD = 0, 1, 2
CP_UNKNOWN, CP_A, CP_B, CP_D = -1, 0, 1, 3
NUMBER, PLAIN, VOLT, AMP, METER_STATE, METER_AGE, PILOT, CABLE = range(8)
KINDS = {"state": PILOT, "mode3_state": PILOT, "cable_connected": CABLE}
FIELDS = {"power_w": "power_w", "limit_a": "limit_a", "remaining_valid_s": "valid_s", "error_code": "error_code"}
CODES_KEPT = 64
NEW_SESSION_WH = 1.0  # a session meter that falls by more than this was reset


def most_a(amp_a: Any) -> float:
    """Return the largest of the phases' amps (3,), A; one that is not known counts least, NaN where none is."""
    most = math.nan
    for amps in amp_a.tolist():
        if not amps <= most:
            most = amps if amps == amps else most
    return most


def _three_nan() -> np.ndarray:
    return np.full(3, np.nan)


@dataclass(slots=True)
class ChargerReading:
    """Hold what is known of one charger now.

    `volt_v`, `amp_a` (3,) per terminal L1..L3, NaN unknown or absent; `power_w` W; `energy_wh` Wh of the meter;
    `session_wh` Wh of the session; `state` the control-pilot state 0..5 (A..F), -1 unknown; `limit_a` A the limit
    that the charger says it applies; `quality` 0 good, 1 uncertain, 2 bad; `change_ns` monotonic time of the oldest
    part of the newest complete set; `link` whether it answers; `session_no` counts plug-ins; `sent_a`, `sent_ns` the
    last acknowledged set-point; `overwritten_a` A set by another master or drawn above our order (NaN
    none); `failsafe_a`, `failsafe_s` as read back from the device (NaN unknown); `valid_s` what
    is left of the set-point's validity (NaN unknown); `error_code` the maker's; `round_trip_ns` of the last request;
    `errors` counts faults, `fault` tells the last one. `change_ns` dates what the family's core polls fetch; what it
    polls rarely (a KEBA's volts, watts and energy) may be older by a whole rare round, some 20 s there. `phases`
    in use, 1 or 3, as it says; -1 not known.
    """

    volt_v: np.ndarray = field(default_factory=_three_nan)
    amp_a: np.ndarray = field(default_factory=_three_nan)
    power_w: float = math.nan
    energy_wh: float = math.nan
    session_wh: float = math.nan
    state: int = CP_UNKNOWN
    limit_a: float = math.nan
    quality: int = BAD
    change_ns: int = 0
    link: bool = False
    session_no: int = 0
    sent_a: float = math.nan
    sent_ns: int = 0
    failsafe_a: float = math.nan
    failsafe_s: float = math.nan
    valid_s: float = math.nan
    error_code: float = math.nan
    round_trip_ns: int = 0
    errors: int = 0
    fault: str = ""
    overwritten_a: float = math.nan
    phases: int = -1


@dataclass(slots=True)
class Place:
    """Say where a register's value goes: `kind`, the phase's place of volts and amps, the field of the reading that
    takes it as it is (`target`), the codes met so far."""

    kind: int
    phase: int
    register: Register
    target: str = ""
    codes: dict[float | str, int | None] = field(default_factory=dict)

    def code(self, value: float | str) -> int | None:
        """Return our code of a value; None where the record does not know it."""
        try:
            return self.codes[value]
        except KeyError:
            code = code_of(self.register, value)
            if len(self.codes) < CODES_KEPT:
                self.codes[value] = code
            return code


def place_of(register: Register) -> Place:
    """Return where a register's value goes."""
    quantity = register.quantity
    kind, phase = KINDS.get(quantity, NUMBER), 0
    if register.name in ("meter_state", "meter_age"):
        kind = METER_STATE if register.name == "meter_state" else METER_AGE
    elif quantity.startswith(("voltage_l", "current_l")):
        kind, phase = (VOLT if quantity[0] == "v" else AMP), int(quantity[9]) - 1
    elif quantity in FIELDS and register.type != "str":
        kind = PLAIN
    return Place(kind, phase, register, FIELDS.get(quantity, ""))


class Block:
    """Take one answer apart: all values by one unpacking where the layout allows it, else value by value."""

    __slots__ = ("_address", "_part", "_places", "_scales", "_struct")

    def __init__(self, part: ModbusPart, registers: list[Register]) -> None:
        self._part = part
        registers = sorted(registers, key=lambda r: r.address)
        self._address = registers[0].address
        self._struct = block_struct(part, registers, self._address, registers[-1].end - self._address)
        self._places = [place_of(register) for register in registers]
        self._scales = [register.scale for register in registers]

    def values(self, payload: bytes) -> Iterable[tuple[Any, Place]]:
        """Return each value (SI units, or its text) with where it goes; ValueError for bytes of another number."""
        if self._struct is None:
            return self._by_value(struct.unpack(f">{len(payload) // 2}H", payload))
        if len(payload) != self._struct.size:
            raise ValueError(f"{len(payload)} bytes, expected {self._struct.size}")
        return zip(map(mul, self._struct.unpack(payload), self._scales), self._places, strict=True)

    def _by_value(self, words: tuple[int, ...]) -> Iterator[tuple[Any, Place]]:
        for place in self._places:
            start = place.register.address - self._address
            yield decode_words(self._part, place.register, words[start : start + place.register.count]), place


class ReadingBuilder:
    """Fill one `ChargerReading` from answers, request by request."""

    __slots__ = ("_blocks", "_cable", "_core", "_dc", "_has_session", "_meter_age_ns", "_part", "_pilot", "_polls",
                 "_quality", "_read_ns", "_session_start_wh", "reading")  # fmt: skip

    def __init__(self, part: ModbusPart, dc: DcStage | None = None) -> None:
        self.reading = ChargerReading()
        self._part = part
        self._dc = dc
        self._polls = [*part.polls.core, *part.polls.rare]
        self._blocks = [Block(part, [part.register(name) for name in names]) for names in self._polls]
        self._core = len(part.polls.core)
        self._has_session = part.find("session_wh") is not None
        self._read_ns = [0] * self._core  # when each core request was last sent in this connection; 0 never
        self._meter_age_ns = 0
        self._quality = GOOD
        self._pilot = CP_UNKNOWN
        self._cable: int | None = None  # 1 a car is plugged in, 0 none, None the family does not tell
        self._session_start_wh = math.nan

    def restart(self) -> None:
        """Begin anew after a lost link: the old values stay, but they are bad until a complete set is there."""
        self._read_ns = [0] * self._core
        self.reading.quality = BAD

    def take(self, poll: int, words: Sequence[int], sent_ns: int) -> None:
        """Take the answer of one request: `words` registers, `sent_ns` the monotonic time at which it was sent."""
        self.take_bytes(poll, struct.pack(f">{len(words)}H", *words), sent_ns)

    def take_bytes(self, poll: int, payload: bytes, sent_ns: int) -> None:
        """Take the answer of one request as its bytes, two a register (of bits: two each too)."""
        self._meter_age_ns = 0
        reading = self.reading
        volt_v, amp_a = reading.volt_v, reading.amp_a
        for value, place in self._blocks[poll].values(payload):
            kind = place.kind
            if kind == VOLT:
                volt_v[place.phase] = value if 0.0 < value < math.inf else math.nan  # 0 V: no such phase
            elif kind == AMP:
                amp_a[place.phase] = value if -math.inf < value < math.inf else math.nan
            elif kind == PLAIN:
                setattr(reading, place.target, value if -math.inf < value < math.inf else math.nan)
            else:
                self._value(place, value)
        if poll < self._core:
            self._read_ns[poll] = sent_ns - self._meter_age_ns
            self._complete()

    def _value(self, place: Place, value: float | str) -> None:
        kind = place.kind
        if kind == METER_STATE:
            code = place.code(value)
            self._quality = BAD if code is None else code
        elif kind == PILOT:
            code = place.code(value)
            pilot, self._pilot = self._pilot, CP_UNKNOWN if code is None else code
            if pilot != self._pilot:
                self._combine()
        elif kind == CABLE:
            cable, self._cable = self._cable, place.code(value)
            if cable != self._cable:
                self._combine()
        elif isinstance(value, float):
            number = value if math.isfinite(value) else math.nan
            if kind == METER_AGE:
                self._meter_age_ns = 0 if math.isnan(number) else round(number * NS)
            else:
                self._number(place.register.quantity, number)

    def _number(self, quantity: str, value: float) -> None:
        reading = self.reading
        if quantity == "dc_power_w" and self._dc is not None:
            reading.power_w = value / self._dc.efficiency
            reading.amp_a[:] = value / self._dc.watts_per_amp
        elif quantity == "session_wh":
            if value < reading.session_wh - NEW_SESSION_WH:
                reading.session_no += 1  # the car changed while we could not see it
            reading.session_wh = value
        elif quantity == "energy_wh":
            self._energy(value)

    def _energy(self, value: float) -> None:
        """Make the session's energy from the meter where the family has no session register."""
        self.reading.energy_wh = value
        if not self._has_session:
            if math.isnan(self._session_start_wh):
                self._session_start_wh = value
            self.reading.session_wh = value - self._session_start_wh

    def _combine(self) -> None:
        """Join pilot state and cable into the reading's state and count plug-ins."""
        state = self._pilot
        if self._cable == 0 and CP_A <= state <= CP_D:
            state = CP_A
        elif self._cable == 1 and state == CP_A:
            state = CP_B
        before, self.reading.state = self.reading.state, state
        if state > CP_A and before <= CP_A and (before == CP_A or self.reading.session_no == 0):
            self.reading.session_no += 1
            self.reading.session_wh = self._session_start_wh = math.nan

    def _complete(self) -> None:
        """Date the reading by its oldest part, once every core request was answered in this connection."""
        reading = self.reading
        known = 0 not in self._read_ns and reading.state != CP_UNKNOWN
        known = known and not math.isnan(most_a(reading.amp_a))
        reading.quality = self._quality if known else BAD
        if reading.quality != BAD:
            reading.change_ns = max(reading.change_ns, min(self._read_ns))
