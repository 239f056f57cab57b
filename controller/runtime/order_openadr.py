"""Take capacity limits from an OpenADR 3 server: poll, make a schedule of the events, keep it in the order book.

`python -m controller.runtime.order_openadr SITE_JSON`, a process of its own that may die freely: the book holds what
was said. Where no LIMIT holds the SUBSCRIPTION does, also when the server is silent. After an outage of the grid all
LIMITs are discarded, the SUBSCRIPTION holds, and the server is asked at once (User Guide 3.1, 8.10.1). The events of a
program that stands for a contract are calls on that.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
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
from controller.runtime.order_calls import CallLine
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
    """Follow one server: `poll` it, and tell it of an `outage`. The clock (UTC epoch s) is handed in.

    `calls` are the contracts of which a program's events are calls, by the program's id.
    """

    __slots__ = ("_calls", "_client", "_events", "_known", "_port", "_schedule", "_seen_s", "_silent")

    def __init__(
        self,
        port: OpenAdrPort,
        client: OpenAdrClient,
        kept: Schedule,
        events: Events,
        calls: Mapping[str, CallLine] | None = None,
    ) -> None:
        self._port, self._client, self._schedule, self._events = port, client, kept, events
        self._calls = dict(calls or {})
        self._known: list[Limit] = []
        self._seen_s: dict[str, float] = {}
        self._silent = False

    def poll(self, now_s: float) -> bool:
        """Ask the server and bring the book to its events; return whether both went well. Nothing lifts otherwise."""
        try:
            limits, unclear = self._read(self._ask(), now_s)
        except PortFault as fault:
            self._lost(str(fault))
            return False
        own = limits.pop("", [])
        if unclear:  # what is clear holds beside what was said before: no limit waits for another event's mending
            self._lost("; ".join(unclear))
            self._keep(own, now_s, partly=True)
            self._call(limits, now_s, partly=True)
            return False
        if self._silent:
            self._events.write("openadr_back")
        self._silent, self._known = False, own
        called = self._call(limits, now_s)
        return self._keep(own, now_s) and called

    def _ask(self) -> list[dict[str, object]]:
        """Return the events of the programs that concern us: all that there are, or those that are named."""
        if not self._port.program:
            return self._client.events()
        programs = dict.fromkeys((self._port.program, *self._calls))
        return [event for program in programs for event in self._client.events(program)]

    def _call(self, limits: Mapping[str, list[Limit]], now_s: float, *, partly: bool = False) -> bool:
        """Bring the calls on contracts to what their programs say; return whether all of them are in the book."""
        whole = True
        for program, line in self._calls.items():
            said = [
                Piece(limit.direction, limit.value_w, _from_s(limit), limit.to_s, limit.event)
                for limit in limits.get(program, [])
                if not limit.subscription
            ]
            whole = line.set(said, now_s, partly=partly) and whole
            for text in line.refused:
                self._events.write("openadr_refused", text=f"contract {line.name}: {text}")
        return whole

    def _lost(self, text: str) -> None:
        if not self._silent:
            self._events.write("openadr_lost", text=text)
        self._silent = True

    def outage(self, now_s: float) -> bool:
        """Discard all LIMITs after an outage of the grid; return whether there is a SUBSCRIPTION to fall back to."""
        subscriptions = [limit for limit in self._known if limit.subscription]
        self._call({}, now_s)  # what a contract gives without a call is subscribed
        if not self._pieces(subscriptions, now_s):
            self._events.write("openadr_outage", text="no subscription is known: the limits stay")
            return False
        self._events.write("openadr_outage", text="limits discarded, the subscription holds")
        self._known = subscriptions
        return self._keep(subscriptions, now_s)

    def _read(self, events: list[dict[str, object]], now_s: float) -> tuple[dict[str, list[Limit]], list[str]]:
        """Return the limits of all events that are clear, by program of a contract ("": the node's), and what is wrong
        with the others.

        A start of `now` is the time at which that version of the event was first seen.
        """
        versions = {json.dumps(event, sort_keys=True): event for event in events}
        self._seen_s = {version: self._seen_s.get(version, now_s) for version in versions}
        limits: dict[str, list[Limit]] = {}
        unclear: list[str] = []
        for version, event in versions.items():
            program = str(event.get("programID") or "")
            try:
                found = read_event(event, self._seen_s[version])
            except EventError as error:
                unclear.append(str(error))
                continue
            limits.setdefault(program if program in self._calls else "", []).extend(found)
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


def _from_s(limit: Limit) -> float:
    return limit.from_s if math.isfinite(limit.from_s) else math.nan


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
        known, offer = lives(read_entries(site.journal())), offer_to(site)
        kept = Schedule(SOURCE, port.node, offer, known, others=port.contracts.values())
        calls = {program: CallLine(SOURCE, name, site, offer, known) for program, name in port.contracts.items()}
    except (PortFault, OSError, IntakeError, ValueError) as error:
        print(f"openadr: {error}", file=sys.stderr)
        return 3
    ven, clock = Ven(port, client, kept, events, calls), SiteClock(site.utc_minus_mono_ns)
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
