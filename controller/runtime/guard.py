"""Stand guard over the energised instruments: switch them off over connections of its own when a heartbeat stops.

`python -m controller.runtime.guard SITE_JSON`, started by the supervisor. It needs nothing of what it guards: plain
sockets and the ordered safe-off messages of the catalog. It sends nothing before it trips, so that it never feeds an
instrument's own watchdog; it only holds a connection, which proves at the start that a second client is let in.
Software is no safety function: the emergency stop and the RCD of the bench are.
"""

import os
import re
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from controller.runtime import stores
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.process import PARENT_ENV, ignore_sigint, on_sigterm
from controller.runtime.site import InstrumentPort, Site, read_site
from controller.runtime.store import Store
from instruments.catalog import load_model

POLL_S = 0.05
HEARTBEAT_S = 1.0
SUPERVISOR_S = 5.0
STOPPING_S = 20.0  # a planned stop waits for the charger's contactor before it opens the source
ATTEMPTS = 3
ANSWER_BYTES = 4096


class SafeStep(Protocol):
    """Name what one message of a catalog's safe-off sequence holds."""

    send: str
    ask: str
    expect: str
    settle_s: float


class GuardError(RuntimeError):
    """Report an instrument that did not confirm its safe state."""


@dataclass(frozen=True, slots=True)
class Target:
    """Say how one instrument is switched off: address, ends of lines, time-out and ordered steps."""

    name: str
    host: str
    port: int
    steps: tuple[SafeStep, ...]
    take: str = ""
    term_out: str = "\n"
    term_in: str = "\n"
    timeout_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Hold the oldest heartbeats that are taken for life, s."""

    scan_s: float
    bench_s: float
    supervisor_s: float = SUPERVISOR_S


def trip_cause(allowed: Limits, parent_gone: bool, scan_s: float, bench_s: float, supervisor_s: float) -> str | None:
    """Return why to trip, or None; the ages are in s, NaN where a heartbeat has not begun yet."""
    if parent_gone:
        return "the supervisor is gone"
    for name, age_s, limit_s in (
        ("scan", scan_s, allowed.scan_s),
        ("bench", bench_s, allowed.bench_s),
        ("supervisor", supervisor_s, allowed.supervisor_s),
    ):
        if age_s > limit_s:
            return f"heartbeat of the {name} is {age_s:.2f} s old, allowed are {limit_s:.2f} s"
    return None


class Line:
    """Hold one connection to a target; opens it anew where it was lost."""

    __slots__ = ("_rest", "_socket", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self._socket: socket.socket | None = None
        self._rest = b""

    def open(self) -> None:
        """Connect; an OSError says why it cannot."""
        self.close()
        self._socket = socket.create_connection((self.target.host, self.target.port), self.target.timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def close(self) -> None:
        """Close the connection where there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def safe_off(self) -> list[str]:
        """Send the steps in order with their read-backs; return the answers.

        A line that was lost meanwhile is opened anew, at most `ATTEMPTS` times. GuardError where the instrument
        answers otherwise than the catalog says it must, OSError where it cannot be reached.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if self._socket is None:
                    self.open()
                return self._steps()
            except OSError:
                self.close()
                if attempt == ATTEMPTS:
                    raise
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


def make_safe(lines: list[Line], events: Events, cause: str) -> bool:
    """Switch every target off in the given order and write it down; return whether all confirmed it."""
    confirmed = True
    for line in lines:
        try:
            answers = line.safe_off()
        except (OSError, GuardError) as error:
            confirmed = False
            events.write("safe_off_failed", device=line.target.name, cause=cause, text=str(error))
            print(f"guard: {line.target.name}: not confirmed off: {error}; cut its supply", file=sys.stderr)
        else:
            events.write("safe_off", device=line.target.name, cause=cause, answers=answers)
    return confirmed


def targets(site: Site) -> list[Target]:
    """Return what is to be switched off, the source first: a fault stop waits for nothing."""
    if site.bench is None:
        return []
    return [_target(port) for port in site.bench.energising()]


def _target(port: InstrumentPort) -> Target:
    scpi = load_model(port.model).scpi
    if scpi is None:
        raise GuardError(f"{port.name}: {port.model} has no SCPI part; the guard cannot switch it off")
    parts = port.address.split("::")
    if len(parts) != 4 or parts[0] != "TCPIP" or parts[3] != "SOCKET":
        raise GuardError(f"{port.name}: address {port.address!r}; the guard needs TCPIP::host::port::SOCKET")
    return Target(
        name=port.name,
        host=parts[1],
        port=int(parts[2]),
        steps=tuple(scpi.safe_off.steps),
        take=scpi.remote.take if scpi.remote.needed else "",
        term_out=scpi.transport.term_out,
        term_in=scpi.transport.term_in,
        timeout_s=scpi.transport.timeout_s,
    )


def limits(site: Site, stopping: bool) -> Limits:
    """Return the oldest heartbeats allowed; the bench gets more time while a planned stop is under way."""
    period_s = site.bench.period_s if site.bench else site.period_s
    bench_s = STOPPING_S if stopping else max(HEARTBEAT_S, 5 * period_s)
    return Limits(max(HEARTBEAT_S, 5 * site.period_s), bench_s)


def watch(site: Site, ended: list[int], beat: Store) -> str | None:
    """Wait until a heartbeat stops, the supervisor goes or `ended` is filled; return the cause, None where ended."""
    parent = int(os.environ.get(PARENT_ENV, os.getppid()))
    scan = stores.Heartbeat(site.store("output.img"))
    bench = stores.Heartbeat(site.store("bench_meas.img"))
    supervisor = stores.Heartbeat(site.store(stores.BEAT))
    told = Store.attach(site.store(stores.BEAT), stores.BEAT_BYTES)
    nothing, said = np.zeros(stores.BEAT_BYTES, dtype=np.uint8), np.zeros(stores.BEAT_BYTES, dtype=np.uint8)
    while not ended:
        now_ns = time.monotonic_ns()
        beat.write(nothing, now_ns)
        told.read(said)
        allowed = limits(site, stopping=bool(said[stores.STOPPING]))
        gone = os.getppid() != parent
        cause = trip_cause(allowed, gone, scan.age_s(now_ns), bench.age_s(now_ns), supervisor.age_s(now_ns))
        if cause and not ended:
            return cause
        time.sleep(POLL_S)
    return None


def main(site_json: Path) -> int:
    """Stand guard until SIGTERM, then confirm that all is off (0) or not (3); a trip ends with 3 after making safe."""
    ignore_sigint()
    ended: list[int] = []
    on_sigterm(lambda: ended.append(1))
    site = read_site(site_json)
    events = Events(Path(site.run_dir) / EVENTS, "guard")
    try:
        lines = [Line(target) for target in targets(site)]
        for line in lines:
            line.open()
    except (OSError, GuardError) as error:
        events.write("fault", text=str(error))
        print(f"guard: {error}", file=sys.stderr)
        return 3
    beat = Store.attach(site.store(stores.GUARD), stores.BEAT_BYTES)
    cause = watch(site, ended, beat)
    if cause:
        events.write("guard_trip", cause=cause)
        print(f"guard: trip: {cause}", file=sys.stderr)
    confirmed = make_safe(lines, events, cause or "the run ends")
    for line in lines:
        line.close()
    return 0 if confirmed and cause is None else 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
