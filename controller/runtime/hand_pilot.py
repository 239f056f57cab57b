"""Let an operator play the control pilot: the states by hand, the duty cycle typed as it was measured.

Nothing here waits: a question stands until it is answered, and the bench cycles meanwhile. What was typed holds for a
stated time. After that the duty cycle is unknown, and the load takes nothing until it is typed again.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from instruments.faults import FaultKind, PortFault

NAMES = "ABCD"
WHAT = ("no vehicle", "vehicle connected", "vehicle asks for energy", "vehicle asks for energy with ventilation")
TYPED = re.compile(r"\s*(?P<state>[A-Da-d])?\s*(?P<percent>\d+(?:[.,]\d+)?)?\s*%?\s*")
HINT = "stand by the bench, or raise answer_s of [bench.adapter]"


class Asks(Protocol):
    """Name what is needed of the operator's terminal."""

    def ask(self, text: str) -> None:
        """Ask, in words that say what to do and what to type."""

    def say(self, text: str) -> None:
        """Tell something that needs no answer."""

    def answer(self) -> str | None:
        """Return what was typed to the last question, None where nothing has been yet."""


class States(Protocol):
    """Name what is needed of relays that switch the states while somebody measures the duty cycle."""

    shown: int

    def assert_cp(self, state: int) -> None:
        """Show a control-pilot state and read it back."""

    def set_cable(self, amps: float) -> None:
        """Show the proximity resistor of a cable."""

    def hurry(self) -> None:
        """Wait no longer for an answer than while energised."""

    def close(self) -> None:
        """Drop the connection."""


@dataclass(slots=True, kw_only=True)
class HandPilot:
    """Hold what the operator is asked and has said.

    `answer_s`: longest wait for a state that was asked for, after it a PortFault INTERLOCK. `valid_s`: how long a typed
    duty cycle is believed; the next is asked for at half of that. `relays` switch the states where there are any: then
    only the duty cycle is asked for. `clock_s` is monotonic.
    """

    name: str
    asker: Asks
    answer_s: float
    valid_s: float
    clock_s: Callable[[], float]
    relays: States | None = None
    cable_a: float | None = None
    shown: int = -1
    seen: int = -1
    _wanted: int = -1
    _asked: str = ""  # what the question that stands is about; empty for none
    _since_s: float = math.inf
    _duty: float = math.nan
    _typed_s: float = -math.inf

    def assert_cp(self, state: int) -> None:
        """Ask for a control-pilot state (0 A .. 3 D); `shown` follows once the operator has confirmed it."""
        if state not in range(len(NAMES)):
            raise PortFault(FaultKind.RANGE, self.name, "pilot", f"{state!r}; allowed: 0 (A) .. 3 (D)")
        self._wanted = state
        if self.relays is not None:
            self.relays.assert_cp(state)
            self.shown = self.relays.shown
            if state == 0:
                self._duty, self._typed_s, self._asked = math.nan, -math.inf, ""  # the next car's is another one
            return
        if state == self.shown:
            self._asked = ""
            return
        tail = "" if state == 0 else " <duty cycle in %, 100 without PWM>"
        self._ask(NAMES[state], f"bring the control pilot to state {NAMES[state]} ({WHAT[state]})", tail)

    def set_cable(self, amps: float) -> None:
        """Show the resistor of a cable, or say which one the operator has to plug in."""
        if self.relays is not None:
            self.relays.set_cable(amps)
            return
        self.cable_a = amps
        self.asker.say(f"{self.name}: plug in the proximity resistor of a {amps:g} A cable")

    def read_duty(self) -> float:
        """Return the duty cycle that was typed, share 0..1; NaN where there is none or it is too old.

        A state that was not confirmed in time is a PortFault INTERLOCK.
        """
        self._listen()
        now_s = self.clock_s()
        if self._asked in NAMES and self._asked and now_s - self._since_s > self.answer_s:
            detail = f"state {self._asked} was not confirmed within {self.answer_s:g} s"
            raise PortFault(FaultKind.INTERLOCK, self.name, "operator", detail, HINT)
        if self.shown <= 0:
            return 1.0  # no vehicle, no PWM
        age_s = now_s - self._typed_s
        if not self._asked and age_s > self.valid_s / 2:
            self._ask("duty", f"measure the duty cycle in state {NAMES[self.shown]} again", " <duty cycle in %>")
        return self._duty if age_s <= self.valid_s else math.nan

    def hurry(self) -> None:
        """Have the relays wait no longer than while energised; the operator has the same time as before."""
        if self.relays is not None:
            self.relays.hurry()

    def close(self) -> None:
        """Take the question back."""
        self._asked = ""
        if self.relays is not None:
            self.relays.close()

    def _ask(self, about: str, what: str, tail: str) -> None:
        if about != self._asked:
            self._asked, self._since_s = about, self.clock_s()
        typed = f"{about}{tail}" if about != "duty" else tail.strip()
        self.asker.ask(f"{self.name}: {what}; then type: {typed}")

    def _listen(self) -> None:
        """Take an answer; one that cannot be is asked for again."""
        text = self.asker.answer() if self._asked else None
        if text is None:
            return
        found = TYPED.fullmatch(text)
        state = (found["state"] or "").upper() if found else ""
        percent = float(found["percent"].replace(",", ".")) if found and found["percent"] else math.nan
        wrong = self._wrong(state, percent)
        if wrong:
            self.asker.say(f"{self.name}: {text.strip()!r}: {wrong}")
            about, self._asked = self._asked, ""
            if about == "duty":
                self._ask(about, "measure the duty cycle again", " <duty cycle in %>")
            else:
                since_s = self._since_s
                self.assert_cp(self._wanted)
                self._since_s = since_s  # a typing error buys no time
            return
        if self._asked != "duty":
            self.shown = self._wanted
        self._duty = percent / 100.0
        self._typed_s, self._asked = self.clock_s(), ""

    def _wrong(self, state: str, percent: float) -> str:
        """Return what is wrong with an answer, empty for nothing."""
        if self._asked == "duty":
            if state and state != NAMES[self.shown]:
                return f"state {NAMES[self.shown]} is the one that was confirmed"
        elif state != self._asked:
            return f"state {self._asked} is asked for; type its letter"
        if self._asked != "A" and not 0.0 <= percent <= 100.0:
            return "a duty cycle is 0 to 100 %"
        return ""
