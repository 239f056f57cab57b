"""Be the controllable system of an energy guard: its machines for consumption and production, behind any transport.

A transport hands in messages as JSON objects and sends the answers; no clock is read here. The limits in force go
into the INPUT image as what is handed in for the node (`controller.law.doe`): when nobody renews them any more, the
law falls to the fail-safe limit by itself. Fail-safe limit and duration are on the disk before a write of them is
acknowledged (rule 044).
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from controller.law import lpc
from profiles.contract_lpc import Lpc

USE_CASES: dict[str, lpc.Direction] = {"lpc": "import", "lpp": "export"}
NS = 1_000_000_000
EG_GRACE_S = 60.0  # rule 913: heartbeat and limit within it once connected


def machine_settings(contract: Lpc) -> lpc.Settings:
    """Return the settings of a contract's state machine."""
    return lpc.Settings(
        contract.failsafe_w,
        contract.limit.direction,
        contract.failsafe_min_s,
        math.inf if contract.max_w is None else contract.max_w,
        contract.max_duration_s,
        contract.heartbeat_timeout_s,
        contract.write_wait_s,
        contract.write_window_s,
        contract.on_init_expiry,
        contract.on_beat_without_write,
        contract.on_failsafe_expiry,
    )


class Taken(NamedTuple):
    """Note one change of state: monotonic ns, use case, transition and the limit in force after it, W."""

    now_ns: int
    use_case: str
    transition: lpc.Transition
    limit_w: float


class ControllableSystem:
    """Hold the machines of one node; `settings` by use case ("lpc", "lpp"), `store` keeps what outlives a restart."""

    __slots__ = ("_beat_ns", "_connected_ns", "_heard", "_memory", "_settings", "_store", "applicable", "node", "taken")

    def __init__(self, node: int, settings: Mapping[str, lpc.Settings], now_ns: int, store: Path | None = None) -> None:
        for use_case, told in settings.items():
            if use_case not in USE_CASES or told.direction != USE_CASES[use_case]:
                raise ValueError(f"use case {use_case!r} of {told.direction}: allowed lpc of import, lpp of export")
        self.node = node
        self.applicable = True  # False: limits are answered with "not applicable" (rules 902, 907, 916)
        self.taken: list[Taken] = []
        self._settings, self._store = dict(settings), store
        self._beat_ns = -1
        self._connected_ns, self._heard = now_ns, False
        kept = _load(store)
        self._memory: dict[str, lpc.Memory] = {}
        for use_case, told in settings.items():
            memory = lpc.start(told, now_ns)
            self._memory[use_case] = _with(memory, *kept[use_case]) if use_case in kept else memory

    def restart(self, now_ns: int) -> None:
        """Begin anew, as after a restart: state Init, the fail-safe values stay."""
        for use_case, told in self._settings.items():
            self._memory[use_case] = lpc.start(told, now_ns, self._memory[use_case])
        self.connect(now_ns)

    def connect(self, now_ns: int) -> None:
        """Note that a guard has connected: it owes a heartbeat and a limit within 60 s (rule 913)."""
        self._connected_ns, self._heard, self._beat_ns = now_ns, False, -1

    def take(self, message: Mapping[str, Any], now_ns: int) -> dict[str, Any] | None:
        """Take one message of the guard and return the answer; None to a heartbeat. What is no message gets a NACK."""
        try:
            if message.get("type") == "heartbeat":
                for use_case in self._memory:
                    self._step(use_case, lpc.Beat(), now_ns)
                return None
            use_case, event = _event(message, self.applicable)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            return _result(lpc.Answer(False, "", f"not a message of an energy guard: {error}"))
        if isinstance(event, lpc.FailsafeDuration):
            return _result(self._duration(event, now_ns))
        if use_case not in self._memory:
            return _result(lpc.Answer(False, "", f"use case {use_case!r}: here {', '.join(self._memory)}"))
        self._heard = self._heard or isinstance(event, lpc.Limit)
        before = self._memory[use_case]
        answer = self._step(use_case, event, now_ns)
        if isinstance(event, lpc.FailsafeLimit) and answer is not None and answer.ack:
            answer = self._kept(answer, use_case, before)
        return None if answer is None else _result(answer)

    def advance(self, now_ns: int) -> None:
        """Let the time pass."""
        for use_case in self._memory:
            self._step(use_case, None, now_ns)

    def fill(self, inp: Any, now_ns: int) -> None:
        """Let the time pass and hand the limits in force to INPUT, fresh."""
        self.advance(now_ns)
        inp.doe_w[self.node] = self.limit_w("lpc")
        inp.doe_export_w[self.node] = self.limit_w("lpp")
        inp.doe_to_s[self.node] = math.nan
        inp.doe_ns[self.node] = now_ns

    def limit_w(self, use_case: str) -> float:
        """Return the limit in force, W from 0; +inf none."""
        memory = self._memory.get(use_case)
        return math.inf if memory is None else lpc.limit_w(memory)

    def state(self, use_case: str) -> lpc.State:
        """Return the state of a use case."""
        return self._memory[use_case].state

    def guard_is_late(self, now_ns: int) -> bool:
        """Say whether the guard has not written a limit within 60 s of its connection (rule 913)."""
        return not self._heard and (now_ns - self._connected_ns) > EG_GRACE_S * NS

    def heartbeat_due(self, now_ns: int, every_s: float = 60.0) -> bool:
        """Say whether our own heartbeat is due (rules 005, 006), and note it as sent."""
        if self._beat_ns >= 0 and now_ns - self._beat_ns < every_s * NS:
            return False
        self._beat_ns = now_ns
        return True

    def report(self) -> dict[str, Any]:
        """Return states and limits for a screen or a transport; a limit that there is not is null."""
        found = {}
        for use_case, memory in self._memory.items():
            watts = lpc.limit_w(memory)
            found[use_case] = {
                "state": memory.state.name.lower(),
                "limit_w": None if math.isinf(watts) else watts,
                "failsafe_w": memory.failsafe_w,
                "failsafe_min_s": memory.failsafe_min_s,
            }
        return {"type": "state", "use_cases": found}

    def _step(self, use_case: str, event: lpc.Event, now_ns: int) -> lpc.Answer | None:
        memory, answer, taken = lpc.step(self._settings[use_case], self._memory[use_case], event, now_ns)
        self._memory[use_case] = memory
        self.taken += [Taken(now_ns, use_case, change, lpc.limit_w(memory)) for change in taken]
        return answer

    def _duration(self, event: lpc.FailsafeDuration, now_ns: int) -> lpc.Answer:
        """Write the duration that both use cases share: where one refuses it, neither has it."""
        before, answer = dict(self._memory), lpc.ACK
        for use_case in before:
            answer = self._step(use_case, event, now_ns) or lpc.ACK
            if not answer.ack:
                self._memory = {name: _with(now, before[name].failsafe_w, before[name].failsafe_min_s)
                                for name, now in self._memory.items()}  # fmt: skip
                return answer
        for use_case in before:
            answer = self._kept(answer, use_case, before[use_case])
        return answer

    def _kept(self, answer: lpc.Answer, use_case: str, before: lpc.Memory) -> lpc.Answer:
        """Put fail-safe values on the disk before they are acknowledged; what cannot be kept is not taken."""
        try:
            _save(self._store, {name: (now.failsafe_w, now.failsafe_min_s) for name, now in self._memory.items()})
        except OSError as error:
            now = self._memory[use_case]
            self._memory[use_case] = _with(now, before.failsafe_w, before.failsafe_min_s)
            return lpc.Answer(False, "044", f"cannot be kept, so it is not taken: {error.strerror}")
        return answer


def _with(memory: lpc.Memory, failsafe_w: float, failsafe_min_s: float) -> lpc.Memory:
    return replace(memory, failsafe_w=failsafe_w, failsafe_min_s=failsafe_min_s)


def _result(answer: lpc.Answer) -> dict[str, Any]:
    return {"type": "result", "ack": answer.ack, "rule": answer.rule, "why": answer.why}


def _event(message: Mapping[str, Any], applicable: bool) -> tuple[str, Any]:
    """Return the use case and the event of a write; KeyError, TypeError or ValueError where it is none."""
    if message["type"] != "write":
        raise ValueError(f"type {message['type']!r}: allowed heartbeat, write")
    use_case, what = str(message["use_case"]), message["what"]
    if what == "limit":
        active = message["active"]
        if not isinstance(active, bool):
            raise TypeError(f"active {active!r}: allowed true, false")
        given = message.get("duration_s")
        return use_case, lpc.Limit(_number(message["value_w"]), active, None if given is None else _number(given),
                                   applicable)  # fmt: skip
    if what == "failsafe_limit":
        return use_case, lpc.FailsafeLimit(_number(message["value_w"]))
    if what == "failsafe_duration":
        return use_case, lpc.FailsafeDuration(_number(message["duration_s"]))
    raise ValueError(f"what {what!r}: allowed limit, failsafe_limit, failsafe_duration")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _load(store: Path | None) -> dict[str, tuple[float, float]]:
    """Return the fail-safe values that were kept; ValueError where the file is broken: nobody knows what it said."""
    if store is None or not store.is_file():
        return {}
    try:
        kept = json.loads(store.read_text())
        return {use_case: (float(pair[0]), float(pair[1])) for use_case, pair in kept.items()}
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        text = "the fail-safe values of the energy guard cannot be read; mend or remove the file"
        raise ValueError(f"{store}: {text}: {error}") from error


def _save(store: Path | None, values: Mapping[str, tuple[float, float]]) -> None:
    """Write the file whole or not at all, and be sure that it is on the disk."""
    if store is None:
        return
    part = store.with_suffix(".part")
    with part.open("w") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(store)
