"""Decide the limit of an energy guard: limitation of power consumption and production (EEBUS LPC, LPP).

A state machine without a clock: `step` takes what came and the monotonic time, and returns what is remembered, the
answer to a write and the transitions taken. Rules by their number in the EEBUS LPC High Level Test Specification
V1.0.1, section 5.2 (facts B2, V). Where a rule says MAY, a parameter decides, and its default keeps the limit.

A limit is watts from 0 here; on the wire production is negative (LPP). No duration is no end. A heartbeat alone lifts
nothing. A number that cannot be a limit (negative, NaN, infinite) is refused and moves no state: that choice is ours.
"""

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal, NamedTuple

INF = math.inf
NS = 1_000_000_000
Choice = Literal["stay", "release"]
Direction = Literal["import", "export"]
HOUR_S = 3600.0


class State(IntEnum):
    """Name the states of the machine."""

    INIT = 0  # after a start: the fail-safe limit
    CONTROLLED = 1  # unlimited, the guard is there
    LIMITED = 2  # the limit written and active
    FAILSAFE = 3  # the guard is lost: the fail-safe limit
    AUTONOMOUS = 4  # unlimited, no guard


class Transition(NamedTuple):
    """Name one change of state and the rule that demands or permits it."""

    rule: str
    before: State
    after: State


# every change that there is; of rules that our source names together (911/912, 916 to 920) the order is our reading
TRANSITIONS = (
    Transition("904", State.INIT, State.LIMITED),
    Transition("905", State.INIT, State.CONTROLLED),
    Transition("902", State.INIT, State.CONTROLLED),
    Transition("906", State.INIT, State.AUTONOMOUS),
    Transition("910", State.CONTROLLED, State.LIMITED),
    Transition("909", State.LIMITED, State.CONTROLLED),
    Transition("908", State.LIMITED, State.CONTROLLED),
    Transition("911", State.CONTROLLED, State.FAILSAFE),
    Transition("912", State.LIMITED, State.FAILSAFE),
    Transition("916", State.FAILSAFE, State.CONTROLLED),
    Transition("918", State.FAILSAFE, State.LIMITED),
    Transition("919", State.FAILSAFE, State.CONTROLLED),
    Transition("916", State.AUTONOMOUS, State.CONTROLLED),
    Transition("918", State.AUTONOMOUS, State.LIMITED),
    Transition("919", State.AUTONOMOUS, State.CONTROLLED),
    Transition("921", State.FAILSAFE, State.AUTONOMOUS),
    Transition("922", State.FAILSAFE, State.AUTONOMOUS),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Declare a controllable system.

    Parameters
    ----------
    failsafe_w: FCAPL at delivery, W from 0; a guard may write another
    failsafe_min_s: Failsafe Duration Minimum at delivery, 2 to 24 h
    max_w: nominal maximum, W; a written limit above it is clipped (rule 035/1)
    max_duration_s: longest duration of a limit, s (rule 022)
    heartbeat_timeout_s, write_wait_s: 120 s (rules 911, 906 and 921); write_window_s: 60 s (rules 036, 037)
    on_init_expiry, on_beat_without_write, on_failsafe_expiry: what the MAY of rules 906, 921 and 922 is here
    """

    failsafe_w: float
    direction: Direction = "import"
    failsafe_min_s: float = 2 * HOUR_S
    max_w: float = INF
    max_duration_s: float = 24 * HOUR_S
    heartbeat_timeout_s: float = 120.0
    write_wait_s: float = 120.0
    write_window_s: float = 60.0
    on_init_expiry: Choice = "stay"
    on_beat_without_write: Choice = "stay"
    on_failsafe_expiry: Choice = "stay"


@dataclass(frozen=True, slots=True)
class Memory:
    """Remember what a machine must know; -1 of a time is never. `failsafe_w` and `failsafe_min_s` outlive a restart."""

    state: State
    now_ns: int
    since_ns: int
    failsafe_w: float
    failsafe_min_s: float
    beat_ns: int = -1  # the last heartbeat
    back_ns: int = -1  # the first one in this state
    limit_w: float = INF
    end_ns: int = -1  # when the limit's duration is over


@dataclass(frozen=True, slots=True)
class Beat:
    """Tell of a heartbeat of the energy guard."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Tell of a written limit: W as on the wire (production negative), active or not, duration s or None (no end).

    `applicable` is False where the device cannot apply it now; that is the rejection of rules 902, 907 and 916.
    """

    value_w: float
    active: bool = True
    duration_s: float | None = None
    applicable: bool = True


@dataclass(frozen=True, slots=True)
class FailsafeLimit:
    """Tell of a written fail-safe limit, W as on the wire."""

    value_w: float


@dataclass(frozen=True, slots=True)
class FailsafeDuration:
    """Tell of a written Failsafe Duration Minimum, s; one value for consumption and production."""

    duration_s: float


Event = Beat | Limit | FailsafeLimit | FailsafeDuration | None


class Answer(NamedTuple):
    """Answer a write: acknowledged or not, the rule and why not."""

    ack: bool
    rule: str = ""
    why: str = ""


class Step(NamedTuple):
    """Return what is remembered, the answer to a write (None where nothing was written) and the changes of state."""

    memory: Memory
    answer: Answer | None
    taken: tuple[Transition, ...]


ACK = Answer(True)
UNLIMITED = (State.CONTROLLED, State.AUTONOMOUS)
STRANGE = (State.INIT, State.FAILSAFE, State.AUTONOMOUS)  # a write counts here only after a heartbeat


def start(settings: Settings, now_ns: int, stored: Memory | None = None) -> Memory:
    """Return the memory after a restart: state Init at the fail-safe limit, which outlived it (rules 901, 044)."""
    kept = (settings.failsafe_w, settings.failsafe_min_s)
    if stored is not None:
        kept = (stored.failsafe_w, stored.failsafe_min_s)
    return Memory(State.INIT, now_ns, now_ns, *kept)


def limit_w(memory: Memory) -> float:
    """Return the limit in force, W from 0; +inf in the unlimited states."""
    if memory.state in UNLIMITED:
        return INF
    return memory.limit_w if memory.state is State.LIMITED else memory.failsafe_w


def step(settings: Settings, memory: Memory, event: Event, now_ns: int) -> Step:
    """Let the time pass until `now_ns`, then take an event; None: only the time passes. A clock that went back rests.

    What fell due meanwhile happens in the order of its time, so that how often this is called changes nothing.
    """
    taken: list[Transition] = []
    now_ns = max(now_ns, memory.now_ns)
    while True:
        due = _next_due(settings, memory)
        if due is None or due[0] > now_ns:
            break
        memory = _enter(memory, due[0], due[1].after)
        taken.append(due[1])
    memory = replace(memory, now_ns=now_ns)
    if event is None:
        return Step(memory, None, tuple(taken))
    if isinstance(event, Beat):
        back_ns = now_ns if memory.back_ns < 0 else memory.back_ns
        return Step(replace(memory, beat_ns=now_ns, back_ns=back_ns), None, tuple(taken))
    memory, answer, change = _write(settings, memory, event)
    return Step(memory, answer, (*taken, *([] if change is None else [change])))


def magnitude_w(settings: Settings, value_w: float) -> float:
    """Return watts from 0 of a number on the wire; NaN where it cannot be a limit (rule 035/1)."""
    watts = -value_w if settings.direction == "export" else value_w
    return abs(watts) if 0.0 <= watts < INF else math.nan  # abs: no minus zero


def _next_due(settings: Settings, memory: Memory) -> tuple[int, Transition] | None:
    """Return the next change that time alone brings, and when; None where there is none."""
    state, found = memory.state, []
    if state in (State.CONTROLLED, State.LIMITED):
        lost_ns = memory.beat_ns + _ns(settings.heartbeat_timeout_s)
        rule = "911" if state is State.CONTROLLED else "912"
        found.append((lost_ns, Transition(rule, state, State.FAILSAFE)))
        if state is State.LIMITED and memory.end_ns >= 0:
            found.append((memory.end_ns, Transition("908", state, State.CONTROLLED)))
    wait_ns = _ns(settings.write_wait_s)
    if state is State.INIT and settings.on_init_expiry == "release":
        since_ns = memory.since_ns if memory.back_ns < 0 else memory.back_ns
        found.append((since_ns + wait_ns, Transition("906", state, State.AUTONOMOUS)))
    if state is State.FAILSAFE:
        if settings.on_beat_without_write == "release" and memory.back_ns >= 0:
            found.append((memory.back_ns + wait_ns, Transition("921", state, State.AUTONOMOUS)))
        if settings.on_failsafe_expiry == "release":
            end_ns = memory.since_ns + _ns(memory.failsafe_min_s)
            found.append((end_ns, Transition("922", state, State.AUTONOMOUS)))
    return min(found, key=lambda due: due[0]) if found else None


def _ns(seconds: float) -> int:
    return round(seconds * NS)


def _enter(memory: Memory, at_ns: int, state: State, limited_w: float = INF, end_ns: int = -1) -> Memory:
    return replace(memory, state=state, since_ns=at_ns, back_ns=-1, limit_w=limited_w, end_ns=end_ns)


def _write(
    settings: Settings, memory: Memory, event: Limit | FailsafeLimit | FailsafeDuration
) -> tuple[Memory, Answer, Transition | None]:
    """Answer a write and take it where it counts."""
    heard = memory.beat_ns >= 0 and memory.now_ns - memory.beat_ns <= _ns(settings.write_window_s)
    if isinstance(event, Limit):
        if memory.state in STRANGE and not heard:
            text = f"no heartbeat within {settings.write_window_s:g} s before the write"
            return memory, Answer(False, "036/037", text), None
        return _write_limit(settings, memory, event)
    if memory.state in STRANGE:
        return memory, Answer(False, "036/037", "a heartbeat and a limit must be written first"), None
    if isinstance(event, FailsafeDuration):
        if not 2 * HOUR_S <= event.duration_s <= 24 * HOUR_S:
            text = f"fail-safe duration {event.duration_s:g} s: allowed 7200 to 86400 s"
            return memory, Answer(False, "FDM", text), None
        return replace(memory, failsafe_min_s=event.duration_s), ACK, None
    watts = magnitude_w(settings, event.value_w)
    if math.isnan(watts):
        return memory, _no_limit(settings, event.value_w), None
    return replace(memory, failsafe_w=min(watts, settings.max_w)), ACK, None


def _no_limit(settings: Settings, value_w: float) -> Answer:
    sign = "0 W or less (production)" if settings.direction == "export" else "0 W or more"
    return Answer(False, "035/1", f"limit {value_w:g} W: allowed {sign}, finite")


def _write_limit(settings: Settings, memory: Memory, event: Limit) -> tuple[Memory, Answer, Transition | None]:
    """Take a written limit: the rules differ by the state only in their numbers."""
    state, watts, answer = memory.state, magnitude_w(settings, event.value_w), ACK
    if math.isnan(watts):
        return memory, _no_limit(settings, event.value_w), None
    duration_s = event.duration_s
    if duration_s is not None and not duration_s > 0.0:
        return memory, Answer(False, "022", f"duration {duration_s:g} s: allowed over 0, or none"), None
    if not event.applicable:
        if state not in STRANGE:
            return memory, Answer(False, "907", "not applicable now: the limit stays as it is"), None
        rule = "902" if state is State.INIT else "916"
        refused = Answer(False, rule, "not applicable now")
        return _enter(memory, memory.now_ns, State.CONTROLLED), refused, Transition(rule, state, State.CONTROLLED)
    if duration_s is not None and duration_s > settings.max_duration_s:
        text = f"duration {duration_s:g} s is over {settings.max_duration_s:g} s, which is set instead"
        duration_s, answer = settings.max_duration_s, Answer(False, "022", text)
    if not event.active:
        after, limited_w, end_ns = State.CONTROLLED, INF, -1
    else:
        end_ns = -1 if duration_s is None else memory.now_ns + _ns(duration_s)
        after, limited_w = State.LIMITED, min(watts, settings.max_w)
    if after is state:
        return replace(memory, limit_w=limited_w, end_ns=end_ns), answer, None
    rules = {State.INIT: ("904", "905"), State.CONTROLLED: ("910", ""), State.LIMITED: ("", "909")}
    active, inactive = rules.get(state, ("918", "919"))
    change = Transition(active if event.active else inactive, state, after)
    return _enter(memory, memory.now_ns, after, limited_w, end_ns), answer, change
