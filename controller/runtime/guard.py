"""Stand guard over the energised instruments: switch them off over connections of its own when a heartbeat stops.

`python -m controller.runtime.guard SITE_JSON`, started by the supervisor. It needs nothing of what it guards: plain
sockets and the ordered safe-off messages of the catalog. At its start it closes the emergency-stop chain, where the
site has one, and proves that every instrument lets a second client in. From there on it is silent until it trips: it
must not feed an instrument's own watchdog.
Software is no safety function: the emergency stop and the RCD of the bench are.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from controller.runtime import stores
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.guard_lines import TIMEOUT_S, Estop, GuardError, Line, Target, make_safe
from controller.runtime.guarding import SOCKET, require_guards
from controller.runtime.process import PARENT_ENV, ignore_sigint, on_sigterm
from controller.runtime.site import InstrumentPort, Site, read_site
from controller.runtime.store import Store
from instruments.catalog import load_model
from instruments.faults import PortFault
from instruments.modbus_relay import ModbusRelay
from instruments.scpi_port import OPENING_S
from instruments.scpi_role import WATCHDOG_S

POLL_S = 0.05
HEARTBEAT_S = 1.0
SUPERVISOR_S = 5.0
STOPPING_S = 20.0  # a planned stop waits for the charger's contactor before it opens the source
BOOT_POLL_S = 0.25


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


def targets(site: Site) -> list[Target]:
    """Return what the guard can switch off itself, the source first: a fault stop waits for nothing."""
    found = [] if site.bench is None else [_target(port) for port in site.bench.energising()]
    return [target for target in found if target is not None]


def _target(port: InstrumentPort) -> Target | None:
    """Return how an instrument is switched off; None where the guard has no socket to it and others hold it."""
    scpi, place = load_model(port.model).scpi, SOCKET.fullmatch(port.address)
    if scpi is None or place is None:
        return None
    return Target(
        name=port.name,
        host=place["host"],
        port=int(place["port"]),
        steps=tuple(scpi.safe_off.steps),
        take=scpi.remote.take if scpi.remote.needed else "",
        term_out=scpi.transport.term_out,
        term_in=scpi.transport.term_in,
        timeout_s=min(scpi.transport.timeout_s, TIMEOUT_S),
        identity=scpi.identity.pattern,
        silent=scpi.watchdog.kind != "none",
        holds=scpi.transport.idle_close_s == 0.0,
        client=scpi.transport.max_clients > 1,
        watchdog_s=WATCHDOG_S if scpi.watchdog.trusted else 0.0,
    )


def chain_of(site: Site) -> tuple[ModbusRelay, Estop] | None:
    """Return the relay of the emergency-stop chain, not opened, and its coil; None where the site has none."""
    port = None if site.bench is None else site.bench.estop
    if port is None:
        return None
    relay = ModbusRelay(port.name, load_model(port.model), port.address, places=port.places, opening_s=OPENING_S)
    return relay, Estop(relay, port.coil)


def close_chain(relay: ModbusRelay, coil: str) -> None:
    """Close the emergency-stop chain; after a PortFault nobody knows how it stands, and it has to be opened."""
    try:
        relay.open()
        relay.write(coil, True)
    finally:
        relay.hurry()


def prove(lines: list[Line], boot_s: float, ended: list[int], *, first: bool) -> None:
    """Prove every line once; instruments that have just got their supply are given `boot_s` to answer.

    `first`: the bench waits for the guard, so that nobody else is connected yet.
    """
    until_s = time.monotonic() + boot_s
    for line in lines:
        while not ended:
            try:
                line.prove(first=first)
                break
            except OSError as error:
                if time.monotonic() >= until_s:
                    raise GuardError(f"{line.target.name}: no second client for the guard: {error}") from error
                time.sleep(BOOT_POLL_S)


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
    estop: Estop | None = None
    lines: list[Line] = []
    try:
        require_guards(site)
        lines = [Line(target) for target in targets(site)]
        if chain := chain_of(site):
            relay, estop = chain
            close_chain(relay, estop.coil)
        boot_s = site.bench.estop.boot_s if site.bench is not None and site.bench.estop is not None else 0.0
        prove(lines, boot_s, ended, first=estop is not None)
    except (PortFault, GuardError) as error:
        events.write("fault", text=str(error), device=getattr(error, "device", ""))
        print(f"guard: {error}", file=sys.stderr)
        if estop is not None:
            estop.trip(events, "the guard cannot stand")
        return 3
    cause: str | None = "the guard failed"
    try:
        cause = watch(site, ended, Store.attach(site.store(stores.GUARD), stores.BEAT_BYTES))
    finally:  # an error of ours: its trace goes on after all is off
        if cause:
            events.write("guard_trip", cause=cause)
            print(f"guard: trip: {cause}", file=sys.stderr)
        confirmed = make_safe(lines, events, cause or "the run ends", estop)
    for line in lines:
        line.close()
    if estop is not None:
        estop.relay.close()
    return 0 if confirmed and cause is None else 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
