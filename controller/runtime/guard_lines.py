"""Switch instruments off over connections of the guard's own: ordered messages with read-backs, then the relay.

Plain sockets and the catalog's messages: nothing in here needs what it guards.
"""

import re
import socket
import sys
import time
from dataclasses import dataclass
from typing import Protocol

from controller.runtime.events import Events
from instruments.faults import PortFault

ATTEMPTS = 3
TIMEOUT_S = 0.5  # longest wait for one answer at a trip, whatever the catalog allows the control loop
ANSWER_BYTES = 4096
PROVE_S = 5.0  # for an instrument that was just switched on, or a busy host: nothing is energised yet
AGAIN_S = 0.2  # before what was read back wrong is sent again


class SafeStep(Protocol):
    """Name what one message of a catalog's safe-off sequence holds."""

    send: str
    ask: str
    expect: str
    settle_s: float


class Relay(Protocol):
    """Name what the guard needs of the card that carries the emergency-stop chain; failures are PortFaults."""

    name: str

    def make_safe(self, *names: str) -> None:
        """Put coils into their safe state and read them back."""

    def close(self) -> None:
        """Drop the connection."""


class GuardError(RuntimeError):
    """Report an instrument that did not confirm its safe state, or one that the guard cannot reach as it must."""


@dataclass(frozen=True, slots=True)
class Target:
    """Say how one instrument is switched off: address, ends of lines, time-out and ordered steps.

    `silent`: any message feeds its own watchdog, so that nothing is sent before the trip. `holds`: the connection is
    kept from the start on; else it is opened at the trip. `client` False: it takes no second client at all.
    `timeout_s` is the longest wait for an answer at the trip, `prove_s` that before anything is energised.
    `watchdog_s` is the time after which it switches itself off when nobody talks to it; 0 where it has none.
    """

    name: str
    host: str
    port: int
    steps: tuple[SafeStep, ...]
    take: str = ""
    term_out: str = "\n"
    term_in: str = "\n"
    timeout_s: float = 1.0
    prove_s: float = PROVE_S
    identity: str = ""
    silent: bool = False
    holds: bool = True
    client: bool = True
    watchdog_s: float = 0.0


class Line:
    """Hold one connection to a target; opens it anew where it was lost."""

    __slots__ = ("_rest", "_socket", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self._socket: socket.socket | None = None
        self._rest = b""

    def open(self, within_s: float | None = None) -> None:
        """Connect, by default within the target's time-out; an OSError says why it cannot."""
        self.close()
        within_s = self.target.timeout_s if within_s is None else within_s
        self._socket = socket.create_connection((self.target.host, self.target.port), within_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def prove(self, *, first: bool = False) -> None:
        """Prove that a second client is let in, and is answered where a question feeds no watchdog.

        A connection that the device would close for its silence is given up again. A device that takes one client
        only is left alone, unless the guard comes `first`: then it is seen to listen. GuardError where another device
        answers, OSError where none does.
        """
        if not self.target.client:
            if first:
                self.open(self.target.prove_s)
                self.close()
                time.sleep(AGAIN_S)  # until it has room for its only client again
            return
        self.open(self.target.prove_s)
        if self.target.identity and not self.target.silent:
            self._send("*IDN?")
            answer = self._line()
            if re.fullmatch(self.target.identity, answer) is None:
                self.close()
                raise GuardError(f"{self.target.name}: answers {answer!r} to *IDN?, expected {self.target.identity}")
        if not self.target.holds:
            self.close()

    def close(self) -> None:
        """Close the connection where there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def safe_off(self, attempts: int = ATTEMPTS) -> list[str]:
        """Send the steps in order with their read-backs; return the answers.

        All is sent again where a read-back was wrong, and a lost line is opened anew, at most `attempts` times in all.
        GuardError where the instrument still answers otherwise than the catalog says it must, OSError where it cannot
        be reached.
        """
        for attempt in range(1, attempts + 1):
            try:
                if self._socket is None:
                    self.open()
                else:
                    self._socket.settimeout(self.target.timeout_s)  # it was proven with patience
                return self._steps()
            except (OSError, GuardError) as error:
                if isinstance(error, OSError):
                    self.close()
                if attempt == attempts:
                    raise
                time.sleep(AGAIN_S)
        raise AssertionError("the last attempt returns or raises")

    def _steps(self) -> list[str]:
        """Go through all steps, whatever a read-back says: the later ones matter all the more then."""
        answers, wrong = [], []
        if self.target.take:
            self._send(self.target.take)
        for step in self.target.steps:
            self._send(step.send)
            if step.settle_s > 0:
                time.sleep(step.settle_s)
            if not step.ask:
                continue
            self._send(step.ask)
            answer = self._line()
            answers.append(f"{step.ask} {answer}")
            if not re.fullmatch(step.expect, answer):
                wrong.append(f"{step.send!r}: {step.ask} answers {answer!r}, expected {step.expect}")
        if wrong:
            raise GuardError(f"{self.target.name}: {'; '.join(wrong)}")
        return answers

    def _send(self, message: str) -> None:
        if self._socket is None:
            raise ConnectionError(f"{self.target.name}: not connected")
        self._socket.sendall((message + self.target.term_out).encode())

    def _line(self) -> str:
        """Return one answer without its terminator; a ConnectionError where the instrument closes instead."""
        if self._socket is None:
            raise ConnectionError(f"{self.target.name}: not connected")
        end = self.target.term_in.encode()
        while end not in self._rest:
            chunk = self._socket.recv(ANSWER_BYTES)
            if not chunk:
                raise ConnectionError(f"{self.target.name} closed the connection")
            self._rest += chunk
        line, self._rest = self._rest.split(end, 1)
        return line.decode(errors="replace").strip()


@dataclass(slots=True)
class Estop:
    """Hold the relay whose released coil takes the supply from everything that energises the bench."""

    relay: Relay
    coil: str

    def trip(self, events: Events, cause: str) -> bool:
        """Release the coil and read it back, at most `ATTEMPTS` times; return whether it is open, and write it down."""
        text = ""
        for _ in range(ATTEMPTS):
            try:
                self.relay.make_safe(self.coil)
            except PortFault as fault:
                text = str(fault)
                continue
            events.write("estop_open", device=self.relay.name, cause=cause)
            return True
        events.write("estop_failed", device=self.relay.name, cause=cause, text=text)
        print(f"guard: {self.relay.name}: {text}", file=sys.stderr)
        return False


def make_safe(lines: list[Line], events: Events, cause: str, estop: Estop | None = None) -> bool:
    """Switch every target off in the given order and write it down; return whether all are safe.

    Each target is told once; then the relay takes the supply from all. Whoever has not confirmed by then, and still
    has its supply, is told again. Nothing is left to say after that but to cut its supply by hand.
    """
    left = [line for line in lines if not _told(line, events, cause, attempts=1)]
    cut = estop is not None and estop.trip(events, cause)
    if cut:
        for line in left:
            events.write("safe_off_by_supply", device=line.target.name, cause=cause)
        return True
    unsafe = [line for line in left if not _told(line, events, cause, attempts=ATTEMPTS - 1, last=True)]
    return not unsafe


def _told(line: Line, events: Events, cause: str, *, attempts: int, last: bool = False) -> bool:
    """Switch one target off; return whether it confirmed. The last failure is written down and said."""
    try:
        answers = line.safe_off(attempts)
    except (OSError, GuardError) as error:
        if last:
            name, wait_s = line.target.name, line.target.watchdog_s
            events.write("safe_off_failed", device=name, cause=cause, text=str(error))
            own = f"; its own watchdog switches it off within {wait_s:g} s, then" if wait_s else ";"
            print(f"guard: {name}: not confirmed off: {error}{own} cut its supply", file=sys.stderr)
        return False
    events.write("safe_off", device=line.target.name, cause=cause, answers=answers)
    return True
