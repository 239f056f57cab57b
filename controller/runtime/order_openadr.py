"""Take capacity limits from an OpenADR 3 server: poll, make a schedule of the events, keep it in the order book.

`python -m controller.runtime.order_openadr SITE_JSON`, a process of its own that may die freely: the book holds what
was said. Where no LIMIT holds the SUBSCRIPTION does, also when the server is silent. After an outage of the grid all
LIMITs are discarded, the SUBSCRIPTION holds, and the server is asked at once (User Guide 3.1, 8.10.1).
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from controller.law import image
from controller.law.names import Quality
from controller.runtime import stores
from controller.runtime.clock import NS, SiteClock
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.journal import read_entries
from controller.runtime.journal_orders import lives
from controller.runtime.order import Answer, Order
from controller.runtime.order_intake import Intake, IntakeError
from controller.runtime.order_schedule import Piece, Schedule
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import OpenAdrPort, Site, read_site
from instruments.faults import PortFault
from instruments.openadr_client import OpenAdrClient
from instruments.openadr_events import EventError, Limit, read_event, schedule

SOURCE = "openadr"
LOOK_S = 0.2
DARK_PU, DARK_S = 0.5, 1.0  # a grid that is out: all believed volts below this, for so long (own choice)


class Ven:
    """Follow one server: `poll` it, and tell it of an `outage`. The clock (UTC epoch s) is handed in."""

    __slots__ = ("_client", "_events", "_known", "_port", "_schedule", "_seen_s", "_silent")

    def __init__(self, port: OpenAdrPort, client: OpenAdrClient, kept: Schedule, events: Events) -> None:
        self._port, self._client, self._schedule, self._events = port, client, kept, events
        self._known: list[Limit] = []
        self._seen_s: dict[str, float] = {}
        self._silent = False

    def poll(self, now_s: float) -> bool:
        """Ask the server and bring the book to its events; return whether both went well. Nothing lifts otherwise."""
        try:
            limits, unclear = self._read(self._client.events(self._port.program), now_s)
        except PortFault as fault:
            self._lost(str(fault))
            return False
        if (
            unclear
        ):  # what is clear holds beside what was said before: a limit must not wait for another event's mending
            self._lost("; ".join(unclear))
            self._keep(limits, now_s, partly=True)
            return False
        if self._silent:
            self._events.write("openadr_back")
        self._silent, self._known = False, limits
        return self._keep(limits, now_s)

    def _lost(self, text: str) -> None:
        if not self._silent:
            self._events.write("openadr_lost", text=text)
        self._silent = True

    def outage(self, now_s: float) -> bool:
        """Discard all LIMITs after an outage of the grid; return whether there is a SUBSCRIPTION to fall back to."""
        subscriptions = [limit for limit in self._known if limit.subscription]
        if not self._pieces(subscriptions, now_s):
            self._events.write("openadr_outage", text="no subscription is known: the limits stay")
            return False
        self._events.write("openadr_outage", text="limits discarded, the subscription holds")
        self._known = subscriptions
        return self._keep(subscriptions, now_s)

    def _read(self, events: list[dict[str, object]], now_s: float) -> tuple[list[Limit], list[str]]:
        """Return the limits of all events that are clear, and what is wrong with the others.

        A start of `now` is the time at which that version of the event was first seen.
        """
        versions = {json.dumps(event, sort_keys=True): event for event in events}
        self._seen_s = {version: self._seen_s.get(version, now_s) for version in versions}
        limits: list[Limit] = []
        unclear: list[str] = []
        for version, event in versions.items():
            try:
                limits += read_event(event, self._seen_s[version])
            except EventError as error:
                unclear.append(str(error))
        return limits, unclear

    def _keep(self, limits: list[Limit], now_s: float, *, partly: bool = False) -> bool:
        whole = self._schedule.set(self._pieces(limits, now_s), now_s, partly=partly)
        for text in self._schedule.refused:
            self._events.write("openadr_refused", text=text)
        return whole

    def _pieces(self, limits: list[Limit], now_s: float) -> list[Piece]:
        subscribed = {"import": self._port.import_w, "export": self._port.export_w}
        given = {direction: value_w for direction, value_w in subscribed.items() if math.isfinite(value_w)}
        return [
            Piece(part.direction, part.value_w, part.from_s, part.to_s, part.event)
            for part in schedule(limits, now_s, given)
        ]


class Outage:
    """See in the scan's inputs that the grid was out at a node and is back."""

    __slots__ = ("_buffer", "_dark_since_ns", "_inp", "_node", "_nominal_v", "_out", "_store")

    def __init__(self, site: Site, node: int) -> None:
        self._buffer, self._inp = image.allocate("input", site.image_dims())
        self._store = stores.attach(site, "latched.img")
        self._nominal_v = float(image.views("plan", site.image_dims(), site.load_plan()).u_nom_v[0])
        self._node, self._dark_since_ns, self._out = node, 0, False

    def ended(self) -> bool:
        """Return True once when the volts are back after an outage."""
        if not self._store.read(self._buffer) or self._inp.node_v_quality[self._node] != Quality.GOOD:
            return False
        return self.look(self._inp.node_v[self._node], int(self._inp.now_ns[0]))

    def look(self, volts_v: np.ndarray, now_ns: int) -> bool:
        """Take believed volts of the phases, (3,) V, NaN unknown, at `now_ns`; True once when they are back."""
        known = volts_v[~np.isnan(volts_v)]
        if not known.size:
            return False
        if known.max() < DARK_PU * self._nominal_v:
            self._dark_since_ns = self._dark_since_ns or now_ns
            self._out = self._out or now_ns - self._dark_since_ns >= DARK_S * NS
            return False
        was, self._out, self._dark_since_ns = self._out, False, 0
        return was


def offer_to(site: Site) -> Callable[[Order], Answer]:
    """Return what puts an order to the site's book; without an answer it counts as not accepted."""
    intake = Intake(site)

    def offer(order: Order) -> Answer:
        try:
            return intake.offer(order)
        except (IntakeError, OSError) as error:
            return Answer(False, str(error))

    return offer


def main(site_json: Path) -> int:
    """Follow the server until SIGTERM; return 0, or 3 where its address or secret cannot be used."""
    ignore_sigint()
    die_with_parent()
    ended: list[int] = []
    on_sigterm(lambda: ended.append(1))
    site = read_site(site_json)
    port = site.openadr
    if port is None:
        return 0
    events = Events(Path(site.run_dir) / EVENTS, SOURCE)
    try:
        secret = Path(port.secret_file).read_text().strip() if port.secret_file else ""
        client = OpenAdrClient(SOURCE, port.url, port.client_id, secret)
        kept = Schedule(SOURCE, port.node, offer_to(site), lives(read_entries(site.journal())))
    except (PortFault, OSError, IntakeError) as error:
        print(f"openadr: {error}", file=sys.stderr)
        return 3
    ven, clock = Ven(port, client, kept, events), SiteClock(site.utc_minus_mono_ns)
    outage = Outage(site, site.node_names.index(port.node))
    next_s = 0.0
    while not ended:
        if outage.ended():
            ven.outage(clock.utc_ns() / NS)
            next_s = 0.0
        if time.monotonic() >= next_s:
            ven.poll(clock.utc_ns() / NS)
            next_s = time.monotonic() + port.poll_s
        time.sleep(LOOK_S)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
