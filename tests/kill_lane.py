"""End real runs in every way there is, against twins that outlive them, and time how long their outputs stay on.

A lane is one `voltbench emulate` in a process of its own; each run drives its twins as real devices, through proxies
for the links that are to be cut. What a twin's output did is read from the twins' own events, never from the run.
"""

import json
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commandline import ENVIRONMENT, ROOT, VOLTBENCH, toml_text, too_busy

from controller.runtime.events import read_events
from controller.runtime.site import read_site
from instruments.scpi_role import WATCHDOG_S

LIMIT_S = 240.0  # ends a broken test; no verdict hangs on it
TRIES = 3  # of a run that says that the host is too busy for it
SOURCE, LOAD, SUPPLY = "grid_source", "car_load", "battery"
POWER = (SOURCE, LOAD, SUPPLY)
LINKS = {"source": SOURCE, "load": LOAD, "supply": SUPPLY}
STEP_S = 0.1  # a twin's change is seen at its next plant step

# From the cause to the last output off, s: heartbeat or patience, detection, time-outs of the messages, safe-off.
BOUNDS_S = {
    "SIGINT": 8.0,  # planned: the charger's contactor is given 5 s
    "SIGTERM": 8.0,
    "kill desk": 8.0,  # the run goes on without it; the bound is that of the SIGINT that ends it
    "kill scan": 2.0,  # the supervisor sees a death within 0.05 s
    "kill wires": 2.0,
    "kill bench": 2.0,
    "kill guard": 2.0,
    "kill ledger": 2.0,
    "kill volts": 2.0,
    "kill supervisor": 2.0,  # the guard looks after its parent each 0.05 s
    "stop scan": 3.0,  # 1 s of patience with the scan
    "stop bench": 3.0,  # 1 s with the bench
    "stop volts": 5.0,  # 3 s with whoever gives the volts
    "stop wires": 5.0,  # 3 s of the supervisor with the wires
    "stop guard": 5.0,  # 3 s of the supervisor with the guard
    "stop supervisor": 7.0,  # 5 s of the guard with the supervisor
    "cut source": 3.0,  # refused at once: the relay takes the supply
    "cut load": 3.0,
    "dead source": 9.0,  # four time-outs with a new connection each, then the guard's, then the relay
    "dead load": 9.0,
}
AC_CAUSES = tuple(BOUNDS_S)
# the bench with the supply: the same but for what it has not, with the marks "dc" (relay) and "wd" (its own watchdog)
DC_BOUNDS_S = {f"dc {cause}": s for cause, s in BOUNDS_S.items() if "load" not in cause and "source" not in cause}
DC_BOUNDS_S |= {"dc cut supply": 3.0, "dc dead supply": 9.0}
WATCHDOG_BOUNDS_S = {"wd stop bench+guard": WATCHDOG_S + 1.5}  # nobody is left but the supply itself
BOUNDS_S |= DC_BOUNDS_S | WATCHDOG_BOUNDS_S
CAUSES = tuple(BOUNDS_S)
KINDS = ("ac", "dc", "wd")


def plain(cause: str) -> str:
    """Return a cause without the mark of its bench."""
    return cause if kind_of(cause) == "ac" else cause.partition(" ")[2]


def kind_of(cause: str) -> str:
    """Return which bench a cause belongs to: ac, dc (a relay holds the supply) or wd (its own watchdog does)."""
    mark = cause.partition(" ")[0]
    return mark if mark in KINDS else "ac"


class Proxy:
    """Stand between a client and a device's socket; `mode` is whole, cut (refused and reset) or dead (silent)."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.mode = "whole"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: str) -> None:
        """Change the link; a cut one loses its connections, a whole one starts anew."""
        with self._lock:
            self.mode = mode
            pairs, self._pairs = (self._pairs, []) if mode != "dead" else ([], self._pairs)
        for pair in pairs:
            _reset(*pair)

    def close(self) -> None:
        """End all connections and give the port back."""
        self.set("cut")
        _reset(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "cut":
                _reset(near)
                continue
            try:
                far = socket.create_connection(self.target, 5.0)
            except OSError:  # the device has no supply
                _reset(near)
                continue
            far.settimeout(None)
            for one in (near, far):  # before a pump runs: at the end of a short connection it closes both
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                if self.mode == "whole":
                    other.sendall(data)
        except OSError:
            pass  # the other pump, or `set`, has ended the pair
        if self.mode != "dead":
            _reset(one, other)


def _reset(*links: socket.socket) -> None:
    for link in links:
        try:
            link.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # it has ended already
        finally:
            link.close()


@dataclass(slots=True)
class Ended:
    """Hold what became of one run: exit code, what it said, when the last output went off, what was still on."""

    cause: str
    code: int
    off_s: float
    energised: list[str]
    said: str
    run_dir: Path
    left: list[int]
    store_left: bool
    events: list[dict[str, Any]] = field(default_factory=list)

    def last(self, kind: str) -> dict[str, Any]:
        """Return the last event of a kind."""
        return [event for event in self.events if event["kind"] == kind][-1]


def wait_until(true: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    """Poll until true; an AssertionError names what was waited for in vain."""
    until_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until_s, f"waited in vain for {what}"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def small_rig(kind: str) -> dict[str, Any]:
    """Return the street, or the DC bench, with nothing but its charger on the bench.

    A relay cuts the mains of source or supply, but for `wd`: there a supply with a watchdog of its own has none.
    """
    name = "street" if kind == "ac" else "bench_dc"
    rig = tomllib.loads((ROOT / "profiles" / "rigs" / f"{name}.toml").read_text())
    rig["rig"]["name"] = "lane"
    rig["charger"] = [charger for charger in rig["charger"] if charger["name"] == rig["bench"]["charger"]]
    rig["scenario"] |= {"settle_s": 60.0, "events": []}
    rig["contract"] = []
    rig["substation"]["security"] = "none"  # its certificates would be those of the emulation alone
    estop = {"name": "chain", "model": "relay-card", "twin": True}
    hardware = {"emergency_stop": True, "rcd": "type B 30 mA", "n_pe_bond": "at the source"}
    rig["safety"] = hardware if kind == "wd" else hardware | {"estop": estop}
    if kind == "wd":
        rig["bench"]["supply"]["model"] = "keysight-rp7900/rp7952a"
    return rig


def parts_of(rig: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every device table of a rig."""
    bench = [rig["bench"][key] for key in ("source", "load", "adapter", "supply") if key in rig["bench"]]
    relay = [rig["safety"]["estop"]] if "estop" in rig["safety"] else []
    return [*rig["charger"], rig["substation"], *bench, *relay]


class TooBusy(AssertionError):
    """Say that a run was refused by a host that had no time for it: nothing was switched on."""


class Lane:
    """Serve twins in a process of their own, and run and end one run after the other against them."""

    def __init__(self, folder: Path, kind: str = "ac") -> None:
        self.folder = folder
        self.kind = kind
        self.energiser = SOURCE if kind == "ac" else SUPPLY
        folder.mkdir(parents=True)
        rig = small_rig(kind)
        (folder / "twins.toml").write_text(toml_text(rig))
        argv = [*VOLTBENCH, "emulate", "twins.toml", "--json", "--out", "twins"]
        self._log = (folder / "emulate.txt").open("w")
        self.process = subprocess.Popen(argv, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=self._log)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (folder / "emulate.txt").read_text()
        devices = json.loads(line)["devices"]
        self.proxies = {name: Proxy(int(devices[name]["address"].split("::")[2])) for name in devices if name in POWER}
        for part in parts_of(rig):
            part.pop("twin")
            part["real"] = devices[part["name"]]["address"]
            if part["name"] in self.proxies:
                part["real"] = f"TCPIP::127.0.0.1::{self.proxies[part['name']].port}::SOCKET"
        self.rig = folder / "real.toml"
        self.rig.write_text(toml_text(rig))
        self.count = 0

    def close(self) -> None:
        """End the twins."""
        self.process.terminate()
        self.process.communicate(timeout=120)
        self._log.close()
        for proxy in self.proxies.values():
            proxy.close()

    def outputs(self) -> list[dict[str, Any]]:
        """Return when which twin's output went on or off."""
        events = read_events(self.folder / "twins" / "events.jsonl")
        return [event for event in events if event["kind"] == "twin_output"]

    def energised(self) -> list[str]:
        """Return the twins whose output is on."""
        state = {event["device"]: event["on"] for event in self.outputs()}
        return [name for name, on in state.items() if on]

    def end_one(self, cause: str, after_s: float) -> Ended:
        """Start a run, end it by `cause` so many seconds after its source went on, and return what became of it."""
        for _ in range(TRIES - 1):
            try:
                return self._end_one(cause, after_s)
            except TooBusy:
                continue
        return self._end_one(cause, after_s)

    def _end_one(self, cause: str, after_s: float) -> Ended:
        self.count += 1
        folder = self.folder / f"{self.count:03d}-{cause.replace(' ', '-').replace('+', '-')}"
        folder.mkdir()
        run = Run(self, folder, desk="desk" in cause)
        try:
            run.wait_energised()
            time.sleep(after_s)
            started_ns = run.inflict(cause)
            self._wait_off()
            off_s = (max(event["mono_ns"] for event in self.outputs()) - started_ns) / 1e9
            return run.finish(cause, off_s)
        finally:
            run.kill()
            for proxy in self.proxies.values():
                proxy.set("whole")

    def _wait_off(self) -> None:
        until_s = time.monotonic() + 30.0
        while self.energised() and time.monotonic() < until_s:
            time.sleep(0.02)


class Run:
    """Hold one `voltbench run` and the processes that it started."""

    def __init__(self, lane: Lane, folder: Path, *, desk: bool) -> None:
        self.lane = lane
        self.run_dir = folder / "run"
        self.said = folder / "said.txt"
        self.pids: dict[str, int] = {}
        argv = [*VOLTBENCH, "run", str(lane.rig), "--for", "60s", "--out", str(self.run_dir)]
        self._terminal = -1
        with self.said.open("w") as sink:
            if desk:
                self._terminal, slave = pty.openpty()
                threading.Thread(target=self._drain, daemon=True).start()
                ends: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": sink}
                argv.append("--desk")
            else:
                ends = {"stdout": sink, "stderr": sink}
            environment = ENVIRONMENT | {"TERM": "xterm-256color"}
            self.process = subprocess.Popen(argv, cwd=folder, env=environment, start_new_session=True, **ends)
            if desk:
                os.close(slave)

    def events(self) -> list[dict[str, Any]]:
        """Return what the run has written down."""
        return list(read_events(self.run_dir / "events.jsonl"))

    def wait_energised(self) -> None:
        """Wait until the source twin is on, and its desk where it has one."""

        def on() -> bool:
            if self.process.poll() is not None:
                said = self.said.read_text()
                raise TooBusy(said) if too_busy(said) else AssertionError(said)
            return self.lane.energiser in self.lane.energised()

        wait_until(on, "source or supply to be on")
        if self._terminal >= 0:
            wait_until(lambda: "desk" in self.started(), "the desk")
        self.pids = self.started() | {"supervisor": self.process.pid}

    def started(self) -> dict[str, int]:
        """Return the processes that the supervisor has started, by name."""
        return {event["name"]: event["pid"] for event in self.events() if event["kind"] == "started"}

    def inflict(self, cause: str) -> int:
        """Do to the run what its cause says; return when, monotonic ns."""
        what, _, whom = plain(cause).partition(" ")
        if whom == "desk":
            os.kill(self.pids["desk"], signal.SIGKILL)
            time.sleep(1.0)
            assert self.lane.energiser in self.lane.energised(), "the run ended with its desk"
            what = "SIGINT"
        started_ns = time.monotonic_ns()
        if what in ("SIGINT", "SIGTERM"):
            os.kill(self.process.pid, getattr(signal, what))
        elif what in ("cut", "dead"):
            self.lane.proxies[LINKS[whom]].set(what)
        else:
            for name in whom.split("+"):
                os.kill(self.pids[name], signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        return started_ns

    def finish(self, cause: str, off_s: float) -> Ended:
        """Let what stands still go on, wait for the end of all, and return it."""
        what, _, whom = plain(cause).partition(" ")
        for name in whom.split("+") if what == "stop" else []:
            os.kill(self.pids[name], signal.SIGCONT)
        code = self.process.wait(LIMIT_S)
        if whom == "supervisor":
            wait_until(lambda: not any(map(lives, self.pids.values())), "the orphans' end")
        store = Path(read_site(self.run_dir / "site.json").store_dir)
        left = [pid for pid in self.pids.values() if lives(pid)]
        ended = Ended(
            cause, code, off_s, self.lane.energised(), self.said.read_text(), self.run_dir, left, store.exists()
        )
        ended.events = self.events()
        shutil.rmtree(store, ignore_errors=True)
        return ended

    def kill(self) -> None:
        """End what a broken test has left."""
        for pid in {self.process.pid, *self.pids.values()}:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    def _drain(self) -> None:
        try:
            while os.read(self._terminal, 65536):
                continue
        except OSError:
            return  # the terminal is closed


def drawn(seed: int, count: int) -> list[tuple[str, float]]:
    """Draw causes and moments (s after the source went on): all causes in turn, in a drawn order."""
    dice = random.Random(seed)
    causes: list[str] = []
    while len(causes) < count:
        causes += dice.sample(CAUSES, len(CAUSES))
    return [(cause, dice.uniform(0.0, 4.0)) for cause in causes[:count]]
