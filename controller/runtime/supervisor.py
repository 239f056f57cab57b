"""Start the processes of a run, watch them, and end them in order, whatever ends the run.

A planned stop (done, Ctrl-C, SIGTERM) takes the stop groups one after the other: bench and guard first, until the
outputs are confirmed off, then scan and wires, ledger, plant. A fault stop (a process died, or its heartbeat stopped)
first signals all that can switch off, at once, and then goes on in the same order. Who does not end in time is killed.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType

import numpy as np

from controller.runtime.events import Events
from controller.runtime.process import BLAS_ENV, PARENT_ENV
from controller.runtime.store import Store
from controller.runtime.stores import BEAT_BYTES, STOPPING, Heartbeat

EXIT_DONE = 0
EXIT_FAULT = 3
EXIT_INTERRUPTED = 130
TICK_S = 0.05
AGAIN_S = (2.0, 60.0)  # first and longest time from one start to the next
TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """Describe one child process.

    `stop_order`: groups are stopped from the lowest up. `critical`: its death ends the run. `again`: one that is not
    critical is started anew where it died or fell silent, with growing waits. `at_once`: it can switch
    outputs off, and a fault stop signals it first. `ready` answers when it may be relied on (None: at once).
    `heartbeat` is a shared image that it must write at least every `heartbeat_s` once it has begun to.
    `new_session` False leaves it on this terminal (the desk).
    """

    name: str
    argv: list[str]
    stop_order: int
    critical: bool = True
    again: bool = False
    at_once: bool = False
    ready: Callable[[], bool] | None = None
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 10.0
    heartbeat: Path | None = None
    heartbeat_s: float = 3.0
    new_session: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """Say how a run ended: exit code (0, 3 or 130), who died first (None: nobody) and its last words."""

    exit_code: int
    who_died: str | None
    text: str


@dataclass(slots=True, eq=False)
class Child:
    """Hold a started process."""

    spec: ProcessSpec
    process: subprocess.Popen[bytes]
    log: Path
    beat: Heartbeat | None = None
    ended_told: bool = False
    started_ns: int = 0
    restarts: int = 0


@dataclass(slots=True, eq=False)
class Supervisor:
    """Start, watch and end child processes; use it as a context, from the main thread only.

    The main thread matters twice: signals arrive there, and a child asks the kernel to be ended with the thread that
    started it. Logs of the children go to `run_dir/logs`. Leaving the context stops what still runs, in order.
    """

    run_dir: Path
    events: Events
    children: list[Child] = field(default_factory=list)
    interrupted: int = 0
    outcome: Outcome | None = None
    _beat: Store | None = None
    _said: np.ndarray = field(default_factory=lambda: np.zeros(BEAT_BYTES, dtype=np.uint8))
    _handlers: dict[int, object] = field(default_factory=dict)

    def __enter__(self) -> "Supervisor":
        """Take Ctrl-C and SIGTERM over, so that the order of the stop is kept."""
        (self.run_dir / "logs").mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what still runs (at once where an exception leaves the context) and give the signals back."""
        try:
            self.stop(fault=kind is not None)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self.interrupted = number

    def beat_on(self, path: Path) -> None:
        """Write our own heartbeat to this shared image from now on; the guard watches it."""
        self._beat = Store.attach(path, BEAT_BYTES)

    def start(self, specs: Iterable[ProcessSpec]) -> Outcome | None:
        """Start processes together and wait until all are ready; return an Outcome where the run cannot go on."""
        environment = self._environment()
        waiting = []
        for spec in specs:
            child = self._spawn(spec, environment)
            self.children.append(child)
            waiting.append((child, time.monotonic() + spec.ready_timeout_s))
            self.events.write("started", name=spec.name, pid=child.process.pid)
        while waiting:
            if self.check() is not None:
                return self.outcome
            waiting = [(child, until_s) for child, until_s in waiting if child.spec.ready and not child.spec.ready()]
            for child, until_s in waiting:
                if time.monotonic() > until_s:
                    text = f"not ready after {child.spec.ready_timeout_s:.0f} s; see {child.log}"
                    return self._end(EXIT_FAULT, child.spec.name, text)
            time.sleep(TICK_S)
        return None

    def watch(self, done: Callable[[], bool], tick: Callable[[], None] | None = None) -> Outcome:
        """Wait until `done`, a signal or a death; call `tick` meanwhile (20 times a second); return how it ended."""
        while self.outcome is None:
            if self.check() is None and done():
                return self._end(EXIT_DONE, None, "")
            if tick is not None:
                tick()
            time.sleep(TICK_S)
        return self.outcome

    def check(self) -> Outcome | None:
        """Beat, and look once after signals, deaths and heartbeats; return the Outcome where the run is over."""
        self._write_beat()
        if self.outcome is not None:
            return self.outcome
        if self.interrupted:
            return self._end(EXIT_INTERRUPTED, None, f"interrupted by {signal.Signals(self.interrupted).name}")
        for child in self.children:
            if not self._alive(child) and child.spec.critical:
                code = child.process.returncode
                return self._end(
                    EXIT_FAULT, child.spec.name, f"ended with {code}: {tail(child.log) or f'see {child.log}'}"
                )
            if child.spec.again:
                self._keep_up(child)
            elif child.beat is not None and child.process.returncode is None:
                age_s = child.beat.age_s(time.monotonic_ns())
                if age_s > child.spec.heartbeat_s:
                    return self._end(EXIT_FAULT, child.spec.name, f"silent for {age_s:.1f} s; see {child.log}")
        return None

    def stop(self, fault: bool | None = None) -> None:
        """End every child in order; `fault` None takes it from the outcome.

        Who switches outputs off has confirmed that by exit code 0: where one has not, the run's outcome is a fault,
        however well it went before.
        """
        fault = fault or (self.outcome is not None and self.outcome.exit_code == EXIT_FAULT)
        self._said[STOPPING] = not fault
        self._write_beat()
        running = [child for child in self.children if self._alive(child)]
        if running:
            self.events.write("stop", fault=fault, running=[child.spec.name for child in running])
        if fault:
            self._stop_group([child for child in running if child.spec.at_once])
        for order in sorted({child.spec.stop_order for child in running}):
            self._stop_group([child for child in running if child.spec.stop_order == order])
        unsafe = next((child for child in running if child.spec.at_once and not _confirmed(child)), None)
        if unsafe is not None and self.outcome is not None and self.outcome.exit_code != EXIT_FAULT:
            code = unsafe.process.returncode
            text = f"did not confirm that outputs are off (ended with {code}): {tail(unsafe.log) or unsafe.log}"
            self._end(EXIT_FAULT, unsafe.spec.name, text)

    @staticmethod
    def _environment() -> dict[str, str]:
        return os.environ | BLAS_ENV | {PARENT_ENV: str(os.getpid()), "PYTHONUNBUFFERED": "1"}

    def _spawn(self, spec: ProcessSpec, environment: dict[str, str]) -> Child:
        log = self.run_dir / "logs" / f"{spec.name}.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(
                spec.argv,
                env=environment,
                start_new_session=spec.new_session,
                stdin=subprocess.DEVNULL if spec.new_session else sys.stdin,
                stdout=sink if spec.new_session else sys.stdout,
                stderr=sink if spec.new_session else sys.stderr,
            )
        beat = Heartbeat(spec.heartbeat) if spec.heartbeat else None
        return Child(spec, process, log, beat, started_ns=time.monotonic_ns())

    def _alive(self, child: Child) -> bool:
        """Say whether a child still runs, and write its end down once."""
        code = child.process.poll()
        if code is not None and not child.ended_told:
            child.ended_told = True
            self.events.write("ended", name=child.spec.name, code=code)
        return code is None

    def _stop_group(self, group: list[Child]) -> None:
        """Signal a group, wait for all of it, and kill who does not end in its time."""
        started_s = time.monotonic()
        for child in group:
            if self._alive(child):
                child.process.terminate()
        waiting = group
        while waiting := [child for child in waiting if self._alive(child)]:
            self._write_beat()
            for child in waiting:
                if time.monotonic() - started_s > child.spec.stop_timeout_s:
                    self.events.write("killed", name=child.spec.name, after_s=child.spec.stop_timeout_s)
                    child.process.kill()
                    child.process.wait()
            time.sleep(TICK_S / 5)

    def _keep_up(self, child: Child) -> None:
        """Start a child anew that has ended, and end one that was heard since its start and has fallen silent."""
        now_ns = time.monotonic_ns()
        if child.process.returncode is None:
            if child.beat is not None and child.started_ns < child.beat.written_ns():
                silent_s = child.beat.age_s(now_ns)
                if silent_s > child.spec.heartbeat_s:
                    self.events.write("killed", name=child.spec.name, silent_s=round(silent_s, 1))
                    child.process.kill()
            return
        wait_s = min(AGAIN_S[0] * 2.0**child.restarts, AGAIN_S[1])
        if now_ns - child.started_ns < wait_s * 1e9:
            return
        fresh = self._spawn(child.spec, self._environment())
        child.process, child.started_ns, child.ended_told = fresh.process, fresh.started_ns, False
        child.restarts += 1
        self.events.write("started", name=child.spec.name, pid=child.process.pid, again=child.restarts)

    def _write_beat(self) -> None:
        if self._beat is not None:
            self._beat.write(self._said, time.monotonic_ns())

    def _end(self, exit_code: int, who: str | None, text: str) -> Outcome:
        self.outcome = Outcome(exit_code, who, text)
        self.events.write("outcome", exit_code=exit_code, who_died=who, text=text)
        return self.outcome


def _confirmed(child: Child) -> bool:
    """Say whether a child ended as it should; SIGTERM itself ends one that has not begun its work yet.

    One that has begun and dies of it was on its way out already, with a fault that its exit code could not tell.
    """
    begun = child.beat is not None and child.beat.written_ns() > 0
    return child.process.returncode == 0 or (child.process.returncode == -signal.SIGTERM and not begun)


def tail(log: Path) -> str:
    """Return the last words of a log file, at most `TAIL_BYTES` bytes."""
    if not log.exists():
        return ""
    return log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
