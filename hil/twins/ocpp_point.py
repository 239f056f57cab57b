"""Be one charge point behind its socket: transaction, profiles at work, limits given to the EVSE, messages that wait.

What differs between OCPP 1.6 and 2.x (messages, names of settings) is the dialect's; time comes from two clocks that
are handed in: a running one for timers, UTC for schedules and stamps.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from hil.twins.ocpp_faults import Faults
from hil.twins.ocpp_profiles import ProfileStore, seconds_of
from hil.twins.ocpp_schedule import Charging, Interval, Profile, Terminals, Unit, composite, limit_at

NS = 1_000_000_000
ID_TAG = "BENCH"
SMALLEST_A = 6.0
LOWER_A = 0.05  # a limit is lower where it is so by more than this
LONGEST_STEP_S = 1.0  # a clock that was set may not age the connection
WHOLE_S = 1.5
KEPT = 500  # messages that wait for the connection; the oldest sample gives way, never a start or an end

Payload = dict[str, Any]


class View(Protocol):
    """Read and write one EVSE by quantity, SI units; `powered` says whether it has supply."""

    @property
    def powered(self) -> bool:
        """Say whether the device has supply."""

    def get(self, quantity: str) -> float | str:
        """Return a quantity; ValueError for an unknown one."""

    def set(self, quantity: str, value: float, now_s: float) -> None:
        """Write a quantity; ValueError says what is allowed."""


class Every:
    """Say when something that happens every `period_s` is due; also after a clock that was set back."""

    __slots__ = ("_last_s",)

    def __init__(self) -> None:
        self._last_s = -math.inf

    def due(self, now_s: float, period_s: float) -> bool:
        """Say whether it is due at `now_s`, and count from there if so; a period of 0 is never."""
        if period_s <= 0.0 or 0.0 <= now_s - self._last_s < period_s:
            return False
        self._last_s = now_s
        return True

    def begin(self, now_s: float) -> None:
        """Count from now."""
        self._last_s = now_s


@dataclass(slots=True)
class Transaction:
    """Hold one transaction. `id` is "" until the CSMS gave one (1.6)."""

    id: str
    since_s: float
    start_wh: float
    seq: int = 0
    stopped: bool = False  # by the CSMS; the car is still there

    @property
    def charging(self) -> Charging:
        """Return what profiles are matched against."""
        return Charging(self.id, self.since_s)


@dataclass(slots=True, eq=False)
class Message:
    """Hold a call to send: `build` makes its payload when its turn comes, `done` takes the answer.

    `kept`: it waits for the connection, as transaction messages do; others are forgotten when it is lost.
    """

    action: str
    build: Callable[[], Payload]
    done: Callable[[Payload], None] | None = None
    kept: bool = False
    sample: bool = False
    attempts: int = 0


@dataclass(slots=True)
class Point:
    """Hold the state of one charge point. `settings` are its configuration keys or variables, as text."""

    view: View
    clock_s: Callable[[], float]
    utc_ns: Callable[[], int]
    store: ProfileStore
    faults: Faults
    connector: int = 1  # the one that the plant has
    settings: dict[str, str] = field(default_factory=dict)
    transaction: Transaction | None = None
    outbox: deque[Message] = field(default_factory=deque)
    offline_s: float = 0.0
    operative: bool = True
    rebooting_until_s: float = -math.inf
    reset_when_idle: bool = False
    fallen: bool = False  # offline, and its own profiles lowered it since
    ahead_s: float = 0.0  # of the CSMS before the clock handed in: the point sets its own by it
    _stepped_s: float = math.nan
    _linked_a: float = math.nan  # limit in force when the connection was last there

    @property
    def now_s(self) -> float:
        """Return what the charge point takes for UTC, s: its clock may be ahead (faults.skew_s)."""
        return self.utc_ns() / NS + self.ahead_s + self.faults.skew_s

    def set_clock(self, text: str) -> None:
        """Set the clock by the time of a boot's answer (1.6 ed. 2 4.2); what is no time leaves it."""
        try:
            ahead_s = seconds_of(text) - self.utc_ns() / NS
        except ValueError:
            return
        if abs(ahead_s - self.ahead_s) > WHOLE_S:  # the answer has whole seconds
            self.ahead_s = ahead_s

    @property
    def plugged(self) -> bool:
        """Say whether a car is connected."""
        return float(self.view.get("cable_connected")) == 1.0

    @property
    def paused(self) -> bool:
        """Say whether the EVSE itself offers no current."""
        return float(self.view.get("limit_a")) < SMALLEST_A or float(self.view.get("enable")) == 0.0

    @property
    def charging(self) -> Charging | None:
        """Return the transaction that profiles are matched against."""
        tx = self.transaction
        return None if tx is None or tx.stopped else tx.charging

    def terminals(self) -> Terminals:
        """Return what a limit means at this EVSE now: measured volts (230 V while it has none), phases, rating."""
        phases = int(float(self.view.get("phases")))
        volts = [float(self.view.get(f"voltage_l{k + 1}_v")) for k in range(phases)]
        volt_v = sum(volts) / phases
        return Terminals(volt_v if volt_v > 0.0 else 230.0, phases, float(self.view.get("hardware_max_a")))

    def profiles(self) -> list[Profile]:
        """Return the profiles that count now."""
        return self.store.at_work(self.offline_s)

    def composite(self, duration_s: float) -> list[Interval]:
        """Return the composite schedule from the running second on; with one connector 0 and 1 are the same."""
        return composite(
            self.profiles(), self.connector, math.floor(self.now_s), duration_s, self.terminals(), self.charging
        )

    def enqueue(self, message: Message) -> None:
        """Put a message in the queue; where that is full, an old sample gives way."""
        if len(self.outbox) >= KEPT:
            old = next((m for m in self.outbox if m.sample), None)
            if old is not None:
                self.outbox.remove(old)
        self.outbox.append(message)

    def forget_passing(self) -> None:
        """Drop the messages that make no sense later; called when the connection is lost."""
        self.outbox = deque(m for m in self.outbox if m.kept)

    def age(self, *, connected: bool) -> None:
        """Count how long the connection is gone."""
        now_s = self.clock_s()
        if connected:
            self.offline_s = 0.0
        elif not math.isnan(self._stepped_s):
            self.offline_s += min(max(now_s - self._stepped_s, 0.0), LONGEST_STEP_S)
            self.store.forget_invalid(self.offline_s)
        self._stepped_s = now_s

    def obey(self) -> None:
        """Give the EVSE the limit in force; without any profile its rating (1.6 ed. 2 3.13.6)."""
        if self.transaction is not None and self.now_s < self.transaction.since_s:
            self.transaction.since_s = self.now_s  # UTC was set back: a relative schedule may not lapse for that
        wanted_a = float(self.view.get("hardware_max_a"))
        if not self.faults.ignore_profiles:
            now_s = self.now_s
            since_s = now_s if self.transaction is None else self.transaction.since_s
            found = limit_at(self.profiles(), self.connector, now_s, self.terminals(), self.charging, since_s)
            wanted_a = found.limit_a
            if self.store.rules.phase_switching and float(self.view.get("phases_set")) != found.phases:
                self.view.set("phases_set", float(found.phases), self.clock_s())
        self._linked_a = wanted_a if self.offline_s == 0.0 else self._linked_a
        self.fallen = wanted_a < self._linked_a - LOWER_A
        if self.clock_s() < self.rebooting_until_s:
            wanted_a = 0.0
        self.view.set("setpoint_a", wanted_a, self.clock_s())  # always: the fail-safe is the profiles', not the plant's
        stopped = self.transaction is not None and self.transaction.stopped
        enable = float(self.operative and not stopped and self.clock_s() >= self.rebooting_until_s)
        if float(self.view.get("enable")) != enable:
            self.view.set("enable", enable, self.clock_s())

    def shown(self, interval: Interval, unit: Unit) -> float:
        """Return a composite's limit as this charge point tells it."""
        return -1.0 if self.faults.minus_one and self.charging is None else interval.limit(unit)

    def number(self, key: str) -> float:
        """Return a setting that is a number, 0 where it is none."""
        try:
            return float(self.settings.get(key, "0"))
        except ValueError:
            return 0.0
