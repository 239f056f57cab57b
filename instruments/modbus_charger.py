"""Read and command one Modbus charger under its own pacing: catalog record in, readings in SI units out.

Obligations to the runtime: a reading is dated by its oldest part; nothing is sent, reads included, while the runtime
may not talk, so that the charger's own fail-safe can act; an order that cannot be sent exactly is refused, and while
it stands nothing is sent either.
"""

import asyncio
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from instruments.catalog import Model, all_models, charger_of, modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_catalog import Register, identity_text
from instruments.modbus_codec import code_of, decode_words, encode_value
from instruments.modbus_link import ModbusLink
from instruments.modbus_pacing import NS, PollPlan, Write, WriteGate

TICK_S = 0.05  # how soon a new order or a silence is noticed
BACKOFF_FIRST_S = 0.25
BACKOFF_LAST_S = 5.0
GOOD, UNCERTAIN, BAD = 0, 1, 2
CP_A, CP_B, CP_D, CP_UNKNOWN = 0, 1, 3, -1
KEEP_LINK = (FaultKind.REJECTED, FaultKind.BUSY, FaultKind.RANGE, FaultKind.READBACK)
NEW_SESSION_WH = 1.0  # a session meter that falls by more than this was reset
SAFE_CURRENT_A = 0.05
VALIDITY_S = 2.0
FAULT_SHOWN_S = 10.0


def _three_nan() -> np.ndarray:
    return np.full(3, np.nan)


@dataclass(slots=True)
class ChargerReading:
    """Hold what is known of one charger now.

    `volt_v`, `amp_a` (3,) per terminal L1..L3, NaN unknown or absent; `power_w` W; `session_wh` Wh; `state` the
    control-pilot state 0..5 (A..F), -1 unknown; `limit_a` A the limit that the charger says it applies; `quality`
    0 good, 1 uncertain, 2 bad; `change_ns` monotonic time of the oldest part of the newest complete set; `link`
    whether it answers; `session_no` counts plug-ins; `sent_a`, `sent_ns` the last acknowledged set-point;
    `failsafe_a`, `failsafe_s` as read back from the device (NaN unknown); `valid_s` what is left of the set-point's
    validity (NaN unknown); `round_trip_ns` of the last request; `errors` counts faults, `fault` tells the last one.
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


class ModbusCharger:
    """Own the connection to one charger.

    Parameters
    ----------
    name: of the charger in the site file, for faults
    model: its catalog record
    address: ``modbus+tcp://host:port``
    clock_ns: monotonic clock, ns
    failsafe_a: current that the charger itself must fall to, A
    failsafe_s: time without us after which it must, s
    """

    __slots__ = (
        "_cable",
        "_clock_ns",
        "_failsafe_a",
        "_failsafe_s",
        "_gate",
        "_link",
        "_meter_age_ns",
        "_modbus",
        "_model",
        "_part",
        "_pilot",
        "_plan",
        "_polls",
        "_quality",
        "_read_ns",
        "_session_start_wh",
        "_shown_ns",
        "name",
        "reading",
    )

    def __init__(
        self,
        name: str,
        model: Model,
        address: str,
        *,
        clock_ns: Callable[[], int],
        failsafe_a: float,
        failsafe_s: float,
    ) -> None:
        self.name = name
        self.reading = ChargerReading()
        self._model = model
        self._part = charger_of(model)
        self._modbus = modbus_of(model)
        self._clock_ns = clock_ns
        self._failsafe_a = failsafe_a
        self._failsafe_s = failsafe_s
        self._link = ModbusLink(name, self._modbus, address, clock_ns)
        polls = self._modbus.polls
        self._polls = [*polls.core, *polls.rare]
        self._plan = PollPlan(len(polls.core), len(polls.rare), self._modbus.read_gap_s)
        self._gate = WriteGate(self._part, self._rewrite_s())
        self._read_ns = [0] * len(polls.core)  # when each core request was last sent in this connection; 0 never
        self._meter_age_ns = 0
        self._quality = GOOD
        self._pilot = CP_UNKNOWN
        self._cable: int | None = None  # 1 a car is plugged in, 0 none, None the family does not tell
        self._shown_ns = 0
        self._session_start_wh = math.nan

    async def open(self) -> str:
        """Connect, identify and return what answered; a PortFault REFUSED or WRONG_IDENTITY otherwise."""
        await self._link.open()
        try:
            what = await self._identify()
        except PortFault:
            self._link.close()
            raise
        self.reading.link = True
        return what

    async def program_failsafe(self) -> None:
        """Make the charger's own fail-safe what the site wants, and read it back.

        What already stands is not written again (pacing, and memory wears). Where the family takes neither value by
        Modbus, its present safe current is checked. Errors: PortFault RANGE, READBACK, or of the link.
        """
        dog = self._part.watchdog
        self._check_failsafe()
        wanted = (
            (dog.current_get, dog.current_set, self._failsafe_a),
            (dog.timeout_get, dog.timeout_set, self._failsafe_s),
        )
        for get, put, value in wanted:
            if put and abs(await self._get(get) - value) > 1e-3:
                await self._put(put, value)
                if abs((now := await self._get(get)) - value) > 1e-3:
                    detail = f"{now:g} read back, {value:g} written"
                    raise PortFault(FaultKind.READBACK, self.name, get, detail)
        if dog.current_get:
            self.reading.failsafe_a = await self._get(dog.current_get)
            if not dog.current_set and not self.reading.failsafe_a <= self._failsafe_a + SAFE_CURRENT_A:
                detail = f"{self.reading.failsafe_a:g} A in the device; allowed: at most {self._failsafe_a:g} A"
                hint = "set it with the maker's installer tool, or correct failsafe_a"
                raise PortFault(FaultKind.READBACK, self.name, dog.current_get, detail, hint)
        if dog.timeout_get:
            self.reading.failsafe_s = await self._get(dog.timeout_get)

    async def run(self, want_a: Callable[[], float], may_talk: Callable[[], bool]) -> None:
        """Poll and write until cancelled.

        `want_a` returns the amps per phase to allow, 0 pauses, NaN nothing to write yet; `may_talk` False stops all
        I/O. After a fault it connects and identifies anew with back-off; the first message after that is the order.
        """
        backoff_s = BACKOFF_FIRST_S
        while True:
            if not may_talk():
                await asyncio.sleep(TICK_S)
                continue
            try:
                if not self._link.connected:
                    await self._reopen()
                wait_s = await self._turn(want_a())
            except PortFault as fault:
                self._note(fault)
                wait_s = backoff_s
                if fault.kind is FaultKind.RANGE:  # the order is wrong, not the link: look again soon
                    wait_s = TICK_S
                else:
                    backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)
            else:
                backoff_s = BACKOFF_FIRST_S
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Drop the connection; the charger's own fail-safe takes over."""
        self._link.close()
        self.reading.link = False

    async def _turn(self, want_a: float) -> float:
        """Send at most one request and return the time until the next turn, s."""
        now_ns = self._clock_ns()
        if not math.isnan(want_a):
            if why := self._gate.check(want_a):
                raise PortFault(FaultKind.RANGE, self.name, self._part.setpoint.register_name, why)
            write = self._gate.next(want_a, now_ns)
            if write is not None:
                await self._order(write)
                return 0.0
        poll = self._plan.next(now_ns)
        if poll is None:
            return min(self._plan.wait_s(now_ns), TICK_S)
        await self._read_poll(poll)
        return 0.0

    async def _order(self, write: Write) -> None:
        """Send one part of the order; its pacing runs from the answer, or from the fault."""
        try:
            await self._send(write.register, write.value)
        finally:
            self._gate.pace(self._clock_ns())
        now_ns = self._clock_ns()
        self._gate.done(write, now_ns)
        self.reading.sent_a = self._gate.sent_a
        self.reading.sent_ns = now_ns
        self.reading.round_trip_ns = self._link.round_trip_ns

    async def _read_poll(self, poll: int) -> None:
        """Read one request's values into the reading."""
        names = self._polls[poll]
        unit_id, address, count = self._modbus.span(names)
        sent_ns = self._clock_ns()
        try:
            words = await self._link.read(names[0], unit_id, address, count)
        finally:
            self._plan.done(self._clock_ns())
        self.reading.round_trip_ns = self._link.round_trip_ns
        self._meter_age_ns = 0
        for register in map(self._modbus.register, names):
            start = register.address - address
            self._take(register, decode_words(self._modbus, register, words[start : start + register.count]))
        if poll < len(self._read_ns):
            self._read_ns[poll] = sent_ns - self._meter_age_ns
            self._complete()

    def _take(self, register: Register, value: float | str) -> None:
        """Put one value into the reading."""
        quantity = register.quantity
        if register.name == "meter_age" and isinstance(value, float):
            self._meter_age_ns = round(value * NS)
        elif register.name == "meter_state":
            code = code_of(register, value)
            self._quality = BAD if code is None else code
        elif quantity in ("state", "mode3_state"):
            code = code_of(register, value)
            self._pilot = CP_UNKNOWN if code is None else code
            self._combine()
        elif quantity == "cable_connected":
            self._cable = code_of(register, value)
            self._combine()
        elif isinstance(value, float):
            self._take_number(quantity, value if math.isfinite(value) else math.nan)

    def _take_number(self, quantity: str, value: float) -> None:
        reading = self.reading
        if quantity.startswith("current_l"):
            reading.amp_a[int(quantity[9]) - 1] = value
        elif quantity.startswith("voltage_l"):
            reading.volt_v[int(quantity[9]) - 1] = value if value > 0.0 else math.nan  # 0 V: no such phase
        elif quantity == "power_w":
            reading.power_w = value
        elif quantity == "limit_a":
            reading.limit_a = value
            if self._gate.observe(value, self._clock_ns()):
                detail = f"{value:g} A in force, {reading.sent_a:g} A ordered"
                self._note(PortFault(FaultKind.READBACK, self.name, "limit", detail))
        elif quantity == "session_wh":
            if value < reading.session_wh - NEW_SESSION_WH:
                reading.session_no += 1  # the car changed while we could not see it
            reading.session_wh = value
        elif quantity == "energy_wh":
            self._take_energy(value)
        elif quantity == "remaining_valid_s":
            reading.valid_s = value
            if self._failsafe_s < value - VALIDITY_S:
                detail = f"{value:g} s of validity left; the site says {self._failsafe_s:g} s in all"
                self._note(PortFault(FaultKind.READBACK, self.name, "valid", detail))
        elif quantity == "error_code":
            reading.error_code = value

    def _take_energy(self, value: float) -> None:
        """Make the session's energy from the meter where the family has no session register."""
        self.reading.energy_wh = value
        if self._modbus.find("session_wh") is None:
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
        oldest_ns = min(self._read_ns)
        if self._quality == BAD or 0 in self._read_ns:
            self.reading.quality = BAD
            return
        known = bool(np.isfinite(self.reading.amp_a).any()) and self.reading.state != CP_UNKNOWN
        self.reading.quality = self._quality if known else BAD
        if known:
            self.reading.change_ns = max(self.reading.change_ns, oldest_ns)
        if self.reading.fault and self._clock_ns() - self._shown_ns > FAULT_SHOWN_S * NS:
            self.reading.fault = ""

    def _note(self, fault: PortFault) -> None:
        """Count a fault and tell it; one of the link ends the connection and the trust in the reading."""
        reading = self.reading
        if str(fault) != reading.fault:
            reading.errors += 1
        reading.fault = str(fault)
        self._shown_ns = self._clock_ns()
        if fault.kind not in KEEP_LINK:
            self._link.close()
            reading.link = False
            reading.quality = BAD

    async def _reopen(self) -> None:
        """Connect and identify anew; what the device was told before counts as unknown from here."""
        if self.reading.link:
            self._note(PortFault(FaultKind.CLOSED, self.name, "", f"{self._link.address} ended the connection"))
        await self._link.open()
        self._gate.forget()
        self._plan.restart()
        self._read_ns = [0] * len(self._read_ns)
        await self._identify()
        self.reading.link = True
        self.reading.fault = ""

    async def _identify(self) -> str:
        """Compare the identity register with the record; name both families where they differ."""
        identity = self._modbus.identity
        register = self._modbus.register(identity.register_name)
        try:
            text = identity_text(await self._value(register))
        except PortFault as fault:
            if fault.kind is not FaultKind.REJECTED:
                raise
            detail = f"no {identity.what} at unit {register.unit_id}, address {register.address}: {fault.detail}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, register.name, self._expected(detail)) from fault
        if not re.fullmatch(identity.pattern, text):
            what = f"{self._link.address} is {_family_of(register, text)} ({identity.what} {text!r})"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, register.name, self._expected(what))
        return f"{self._model.model.vendor} {self._model.model.family}, {identity.what} {text}"

    def _expected(self, detail: str) -> str:
        return f"{detail}; expected {self._model.model.name} ({self._modbus.identity.pattern})"

    async def _value(self, register: Register) -> float | str:
        """Read one register within the read pacing."""
        while (wait_s := self._plan.wait_s(self._clock_ns())) > 0.0:
            await asyncio.sleep(wait_s)
        try:
            words = await self._link.read(register.name, register.unit_id, register.address, register.count)
        finally:
            self._plan.pace(self._clock_ns())
        self.reading.round_trip_ns = self._link.round_trip_ns
        return decode_words(self._modbus, register, words)

    async def _get(self, name: str) -> float:
        value = await self._value(self._modbus.register(name))
        if not isinstance(value, float):
            raise PortFault(FaultKind.PROTOCOL, self.name, name, f"{value!r} is not a number")
        return value

    async def _put(self, name: str, value: float) -> None:
        """Write one register within the write pacing."""
        while (wait_s := self._gate.wait_s(self._clock_ns())) > 0.0:
            await asyncio.sleep(wait_s)
        try:
            await self._send(name, value)
        finally:
            self._gate.pace(self._clock_ns())

    async def _send(self, name: str, value: float) -> None:
        register = self._modbus.register(name)
        try:
            words = encode_value(self._modbus, register, value)
        except ValueError as error:
            raise PortFault(FaultKind.RANGE, self.name, name, str(error)) from error
        await self._link.write(name, register.unit_id, register.address, words)

    def _check_failsafe(self) -> None:
        dog, part = self._part.watchdog, self._part
        if dog.timeout_set and not dog.min_s <= self._failsafe_s <= dog.max_s:
            detail = f"failsafe_s {self._failsafe_s:g} s; allowed: {dog.min_s:g}..{dog.max_s:g} s"
            raise PortFault(FaultKind.RANGE, self.name, dog.timeout_set, detail)
        if self._failsafe_a != 0.0 and not part.min_a <= self._failsafe_a <= part.max_a:
            detail = f"failsafe_a {self._failsafe_a:g} A; allowed: 0 or {part.min_a:g}..{part.max_a:g} A"
            raise PortFault(FaultKind.RANGE, self.name, dog.current_set, detail)

    def _rewrite_s(self) -> float:
        """Return how often the set-point must be repeated: well within its validity."""
        dog = self._part.watchdog
        if dog.kind != "per_setpoint":
            return dog.keep_alive_s
        thirds = [t for t in (dog.keep_alive_s, self._failsafe_s / 3) if t > 0]
        return min(thirds, default=0.0)


def _family_of(register: Register, text: str) -> str:
    """Return the family whose identity register lies at the same place and holds this text."""
    for model in all_models():
        if model.modbus is None:
            continue
        other = model.modbus.register(model.modbus.identity.register_name)
        same_place = (other.unit_id, other.address, other.type) == (register.unit_id, register.address, register.type)
        if same_place and re.fullmatch(model.modbus.identity.pattern, text):
            return f"a {model.model.name}"
    return "of no family in the catalog"
