"""Decide what a charger client sends next: pure bookkeeping, the clock is handed in.

A set-point that the device would not take now is not queued: at the first allowed moment the newest one goes out.
"""

import math
from typing import NamedTuple

from instruments.charger_catalog import ChargerPart

NS = 1_000_000_000
TAKEN_LATE_S = 2.0  # a limit in force is compared with the order this long after pacing and pilot allow
TAKEN_A = 0.25  # and must not be above it by more than this, or than the record says (applied_slack_a)


class PollPlan:
    """Order the reads: every core request in each round, then one of the rare ones, never closer than the gap.

    With a period one read is due at each of its multiples, `phase` (0 to 1) of a period later: a late one does not
    delay those after it, and what is missed for more than a period is left out.
    """

    __slots__ = ("_core", "_gap_ns", "_offset_ns", "_period_ns", "_rare", "_rare_turn", "_step", "_then_ns")

    def __init__(self, core: int, rare: int, gap_s: float, period_s: float = 0.0, phase: float = 0.0) -> None:
        """Plan `core` and `rare` requests, at least `gap_s` s apart, one every `period_s` s (0: as the gap lets)."""
        self._core, self._rare = core, rare
        self._gap_ns, self._period_ns = round(gap_s * NS), round(period_s * NS)
        self._offset_ns = round(phase * period_s * NS)
        self._then_ns: int | None = None
        self._step = 0
        self._rare_turn = 0

    def next(self, now_ns: int) -> int | None:
        """Return the request that may go out now: 0..core-1, then core..core+rare-1; None within the gap."""
        if self._then_ns is not None and now_ns < self._then_ns:
            return None
        return self._step if self._step < self._core else self._core + self._rare_turn

    def wait_s(self, now_ns: int) -> float:
        """Return the time until a request may go out, s."""
        return 0.0 if self._then_ns is None else max(self._then_ns - now_ns, 0) / NS

    def late_s(self, now_ns: int) -> float:
        """Return for how long a request has been due, s; inf where none was ever sent."""
        return math.inf if self._then_ns is None else max(now_ns - self._then_ns, 0) / NS

    def pace(self, now_ns: int) -> None:
        """Note that a read of any kind ended now."""
        self._then_ns = now_ns + self._gap_ns

    def done(self, now_ns: int) -> None:
        """Count the planned request as answered (or failed) now and go on."""
        then_ns = self._then_ns
        self._then_ns = now_ns + self._gap_ns
        if (period_ns := self._period_ns) > 0:
            slot_ns = now_ns - (now_ns - self._offset_ns) % period_ns  # the newest one that began
            if then_ns is None or slot_ns - then_ns < period_ns // 2:
                slot_ns += period_ns  # that one was this
            self._then_ns = max(self._then_ns, slot_ns)
        if self._step >= self._core:
            self._rare_turn = (self._rare_turn + 1) % self._rare
        self._step = (self._step + 1) % (self._core + (1 if self._rare else 0))

    def restart(self) -> None:
        """Begin a new round; the gap to the last read is kept."""
        self._step = 0


def rewrite_s(part: ChargerPart, failsafe_s: float) -> float:
    """Return how often the set-point must be repeated, s: well within its validity `failsafe_s`. 0: never."""
    times_s = [part.watchdog.keep_alive_s]
    if part.watchdog.kind == "per_setpoint":
        times_s.append(failsafe_s / 3)
    return min((t for t in times_s if t > 0.0), default=0.0)


class Write(NamedTuple):
    """Name one write: the register and its value in SI units."""

    register: str
    value: float


class WriteGate:
    """Hold back writes to the device's pacing and choose the next one; refuse values that it does not take.

    Attributes: `sent_a` the last set-point that the device acknowledged, A (NaN unknown, 0 paused).
    """

    __slots__ = ("_applied_ns", "_by_enable", "_enable", "_enabled", "_gap_ns", "_half_a", "_last_ns", "_part",
                 "_register", "_rewrite_ns", "_set_a", "_taken_a")  # fmt: skip

    def __init__(self, part: ChargerPart, rewrite_s: float) -> None:
        """Take the family's rules; `rewrite_s` is the time after which the same set-point is sent again, 0 never."""
        self._part = part
        self._register, self._enable = part.setpoint.register_name, part.setpoint.enable
        self._by_enable = part.setpoint.pause_by == "enable"
        self._half_a = part.step_a / 2
        self._taken_a = part.setpoint.applied_slack_a
        self._gap_ns = round(part.timing.write_gap_s * NS)
        self._rewrite_ns = round(rewrite_s * NS)
        self._last_ns: int | None = None
        self._applied_ns = 0
        self.forget()

    def forget(self) -> None:
        """Forget what the device was told: it may have restarted or fallen to its fail-safe. Pacing is kept."""
        self._set_a = math.nan
        self._enabled: bool | None = None if self._by_enable else True

    @property
    def sent_a(self) -> float:
        """Return what the device was last told to give, A; NaN unknown, 0 paused."""
        return 0.0 if self._enabled is False else self._set_a

    def in_force(self, limit_a: float) -> float:
        """Return the limit in force for what the register says, A: it may keep the set-point in a pause."""
        paused = self._by_enable and self._enabled is False
        return 0.0 if paused and not limit_a > self._set_a + self._taken_a else limit_a

    def check(self, want_a: float) -> str:
        """Return why an order may not be sent, or an empty text. Nothing is clipped or rounded here."""
        part = self._part
        if not math.isfinite(want_a):
            return f"{want_a} A; allowed: a finite number"
        if want_a != 0.0 and not part.min_a <= want_a <= part.max_a:
            return f"{want_a:g} A; allowed: 0 or {part.min_a:g}..{part.max_a:g} A"
        steps = want_a / part.step_a
        if abs(steps - round(steps)) > 1e-3:
            return f"{want_a:.6g} A; allowed: whole steps of {part.step_a:g} A"
        return ""

    def wait_s(self, now_ns: int) -> float:
        """Return the time until the device takes another write, s."""
        return 0.0 if self._last_ns is None else max(self._last_ns + self._gap_ns - now_ns, 0) / NS

    def next(self, want_a: float, now_ns: int) -> Write | None:
        """Return the write that is due now for an order that `check` let pass; None: nothing, or not yet."""
        if self._last_ns is not None and now_ns < self._last_ns + self._gap_ns:
            return None
        if self._by_enable and want_a == 0.0:
            return None if self._enabled is False else Write(self._enable, 0.0)
        if self._enabled is not True and self._set_a <= want_a + self._half_a:
            return Write(self._enable, 1.0)  # never before a set-point that is not too high is known to stand
        same = abs(self._set_a - want_a) < self._half_a
        stale = self._rewrite_ns > 0 and now_ns - self._applied_ns >= self._rewrite_ns
        return None if same and not stale else Write(self._register, want_a)

    def pace(self, now_ns: int) -> None:
        """Note that a write went out, whatever became of it."""
        self._last_ns = now_ns

    def done(self, write: Write, now_ns: int) -> None:
        """Note that the device acknowledged a write."""
        self.pace(now_ns)
        if write.register == self._register:
            self._set_a = write.value
            self._applied_ns = now_ns
        elif write.register == self._enable:
            self._enabled = write.value != 0.0

    def observe(self, limit_a: float, now_ns: int) -> bool:
        """Compare the limit in force with the order; return True, and send again, where the device took too much.

        A device that acknowledged an order and still applies more was overwritten by another master, or dropped it.
        """
        settle_s = self._part.timing.write_gap_s + self._part.timing.pwm_gap_s + TAKEN_LATE_S
        if self._last_ns is None or now_ns - self._last_ns < settle_s * NS:
            return False
        if limit_a > self.sent_a + self._taken_a:
            self.forget()
            return True
        return False
