"""Say what holds every energising instrument when all else is broken, and refuse a bench where nothing does.

One of three has to: a verified I/O watchdog of its own, a second client for the guard, or an emergency-stop relay that
the guard owns. A load takes power and energises nothing; the guard switches it off where it can.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from controller.runtime.site import BenchPort, InstrumentPort, Site
from controller.runtime.stores import GUARD, Heartbeat
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault

ENERGISES = ("ac_source", "dc_supply", "bidirectional_supply")
SOCKET = re.compile(r"TCPIP\d*::(?P<host>[^:]+)::(?P<port>\d+)::SOCKET", re.IGNORECASE)
STANDS_S, POLL_S = 30.0, 0.02  # for the guard's start besides the instruments' own
HINT = "add [safety.estop] (catalog: relay-card), or take a model with one of the three; `voltbench catalog` shows them"


@dataclass(frozen=True, slots=True)
class Guards:
    """List what guards one instrument; empty texts are guards that it has not, `missing` says why."""

    name: str
    energises: bool
    watchdog: str = ""
    client: str = ""
    estop: str = ""
    missing: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Say whether anything holds it."""
        return bool(self.watchdog or self.client or self.estop)

    @property
    def text(self) -> str:
        """Return what guards it in words."""
        return "; ".join(part for part in (self.watchdog, self.client, self.estop) if part) or "nothing"


def guards_of(site: Site) -> list[Guards]:
    """Return what guards each instrument of the site's bench; empty without a bench."""
    return [] if site.bench is None else [_guards(port, site.bench) for port in site.bench.energising()]


def require_guards(site: Site) -> list[Guards]:
    """Return `guards_of`; a PortFault INTERLOCK names the first energising instrument that nothing holds, and why."""
    found = guards_of(site)
    for guards in found:
        if guards.energises and not guards.held:
            detail = f"nothing switches it off when the bench process hangs: {', '.join(guards.missing)}"
            raise PortFault(FaultKind.INTERLOCK, guards.name, "guard", detail, HINT)
    return found


def wait_for_guard(site: Site, stop_asked: Callable[[], bool]) -> None:
    """Wait until the guard stands, where it has to close the emergency-stop chain first: no supply before that.

    A PortFault INTERLOCK names the relay where the guard does not stand in time; a stop that is asked for ends it.
    """
    estop = None if site.bench is None else site.bench.estop
    if estop is None:
        return
    guard, until_s = Heartbeat(site.store(GUARD)), time.monotonic() + estop.boot_s + STANDS_S
    while not (guard.written_ns() or stop_asked()):
        if time.monotonic() > until_s:
            detail = f"the guard has not closed {estop.name}:{estop.coil} within {estop.boot_s + STANDS_S:g} s"
            raise PortFault(FaultKind.INTERLOCK, estop.name, estop.coil, detail, "see what the guard wrote")
        time.sleep(POLL_S)


def _guards(port: InstrumentPort, bench: BenchPort) -> Guards:
    scpi = load_model(port.model).scpi
    missing: list[str] = []
    watchdog = client = estop = ""
    if scpi is None:
        missing.append(f"{port.model} speaks no SCPI: no message of the guard switches it off")
    else:
        dog = scpi.watchdog
        if dog.kind == "none":
            missing.append(f"{port.model} has no watchdog")
        elif not dog.trusted:
            marks = f"{dog.verified}, expiry {dog.on_expiry_verified}: {dog.on_expiry or 'unknown'}"
            missing.append(f"the watchdog of {port.model} is not verified (marked {marks})")
        else:
            watchdog = "its own watchdog"
        clients = scpi.transport.max_clients
        if SOCKET.fullmatch(port.address) is None:
            missing.append(f"the guard cannot open {port.address}: it needs TCPIP::host::port::SOCKET")
        elif clients < 2:
            missing.append(f"it takes {clients} client at a time, none is left for the guard")
        else:
            client = "a second client for the guard"
    if bench.estop is None:
        missing.append("the rig has no estop relay")
    else:
        estop = f"relay {bench.estop.name}:{bench.estop.coil} takes its supply"
    return Guards(port.name, port.role in ENERGISES, watchdog, client, estop, tuple(missing))
