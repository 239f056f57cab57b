"""Take power envelopes from an S2 energy manager, as one resource: `python -m controller.runtime.order_s2 SITE_JSON`.

A process of its own that may die freely: the envelopes of an instruction are orders with their times in the book, and
end by themselves. A later instruction takes the place of an earlier one from its execution time on.
"""

import asyncio
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from controller.law import image
from controller.law.names import Quality
from controller.runtime import stores
from controller.runtime.clock import NS, SiteClock
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.journal import read_entries
from controller.runtime.journal_orders import lives
from controller.runtime.order_calls import CallLine, Split
from controller.runtime.order_intake import IntakeError
from controller.runtime.order_openadr import offer_to
from controller.runtime.order_schedule import Piece, Schedule
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import S2Port, Site, read_site
from instruments.faults import PortFault

SOURCE = "s2"
TICK_S = 0.2
BACKOFF_S = (0.5, 8.0)


@dataclass(slots=True)
class Given:
    """Hold an instruction that was accepted and what was told of it last."""

    instruction: Any
    told: str


class Resource:
    """Bring the instructions of a session to the order book and tell what becomes of them; the clock is handed in."""

    __slots__ = ("_before", "_given", "_measure", "_port", "_schedule", "_shadow", "session")

    def __init__(
        self, port: S2Port, kept: Schedule | Split, session: Any, measure: Callable[[], float], *, shadow: bool = False
    ) -> None:
        self._shadow = shadow
        self._port, self._schedule, self.session, self._measure = port, kept, session, measure
        self._given: list[Given] = []
        self._before = kept.pieces  # of sessions before this one: a new session alone takes nothing back

    def work(self, now_s: float) -> None:
        """Answer what came, and tell who began or ended."""
        for instruction in self.session.instructions:
            fresh = [*self._given, Given(instruction, "ACCEPTED")]
            kept = self._schedule.set(pieces(fresh, now_s, self._before), now_s)
            told = "ACCEPTED" if kept and not self._shadow else "REJECTED"  # a shadow decides, and limits nothing
            self.session.status(instruction.id, told, now_s)
            if kept:
                self._given = fresh
            elif self._port.contract:  # what the contract refuses is refused whole
                self._schedule.set(pieces(self._given, now_s, self._before), now_s)
        self.session.instructions.clear()
        if self.session.revoked:
            self._revoke(now_s)
        for given in self._given:
            first, last = given.instruction.envelopes[0], given.instruction.envelopes[-1]
            due = "SUCCEEDED" if now_s >= last.to_s else "STARTED" if now_s >= first.from_s else "ACCEPTED"
            if due != given.told:
                given.told = due
                if self._shadow:
                    continue
                self.session.status(given.instruction.id, due, now_s)
        self._given = [given for given in self._given if given.told != "SUCCEEDED"]

    def _revoke(self, now_s: float) -> None:
        """End the instructions that are revoked, of a session before too; an id that nobody knows ends nothing."""
        ids = set(self.session.revoked)
        given = [each for each in self._given if each.instruction.id not in ids]
        before = [piece for piece in self._before if piece.event not in ids]
        gone = {each.instruction.id for each in self._given} | {piece.event for piece in self._before}
        if not self._schedule.set(pieces(given, now_s, before), now_s):
            return
        self._given, self._before = given, before
        self.session.revoked.clear()
        for each in sorted(gone & ids):
            self.session.status(each, "REVOKED", now_s)

    def tell_power(self, now_s: float) -> None:
        """Tell the measured power where it is believed."""
        power_w = self._measure()
        if not math.isnan(power_w):
            self.session.power(power_w, now_s)


def pieces(given: list[Given], now_s: float, before: Sequence[Piece] = ()) -> list[Piece]:
    """Return the envelopes that hold, later instructions in the place of earlier ones from their start on.

    `before` are the pieces of earlier sessions.
    """
    first_s = min((each.instruction.envelopes[0].from_s for each in given), default=math.inf)
    cut = [replace(piece, to_s=min(piece.to_s, first_s)) for piece in before]
    found = [piece for piece in cut if piece.to_s > now_s and not piece.from_s >= piece.to_s]  # from NaN: at once
    for k, each in enumerate(given):
        cut_s = min((later.instruction.envelopes[0].from_s for later in given[k + 1 :]), default=math.inf)
        for envelope in each.instruction.envelopes:
            to_s = min(envelope.to_s, cut_s)
            if to_s <= max(envelope.from_s, now_s):
                continue
            for direction, value_w in (("import", envelope.import_w), ("export", envelope.export_w)):
                found.append(Piece(direction, value_w, envelope.from_s, to_s, each.instruction.id))
    return found


def schedule_of(site: Site, port: S2Port) -> Schedule | Split:
    """Return what brings the envelopes to the book: at the node, and as calls on the contract where one is named."""
    known, offer = lives(read_entries(site.journal())), offer_to(site)
    if not port.contract:
        return Schedule(SOURCE, port.node, offer, known)
    node = Schedule(SOURCE, port.node, offer, known, others=(port.contract,))
    return Split(node, CallLine(SOURCE, port.contract, site, offer, known))


def meter(site: Site, node: int) -> Callable[[], float]:
    """Return a reader of the node's watts as the scan saw them; NaN where they are not believed."""
    buffer, inp = image.allocate("input", site.image_dims())
    store = stores.attach(site, "latched.img")

    def read() -> float:
        if not store.read(buffer) or inp.node_a_quality[node] != Quality.GOOD:
            return math.nan
        return float(inp.node_w[node])

    return read


async def serve(site: Site, port: S2Port, events: Events, ended: list[int]) -> int:
    """Hold a session with the energy manager until SIGTERM, connecting anew with growing waits."""
    from instruments.s2_link import open_link  # both need the extra
    from instruments.s2_session import S2Session

    clock, wait_s = SiteClock(site.utc_minus_mono_ns), BACKOFF_S[0]
    kept = schedule_of(site, port)
    measure = meter(site, site.node_names.index(port.node))
    while not ended:
        session = S2Session(port.resource_id, site.name, port.import_w, port.export_w)
        resource = Resource(port, kept, session, measure, shadow=site.shadow)
        try:
            async with open_link(SOURCE, port.url) as link:
                events.write("s2_up", url=port.url)
                wait_s = BACKOFF_S[0]
                await follow(link, resource, port, lambda: clock.utc_ns() / NS, ended)
        except PortFault as fault:
            events.write("s2_lost", text=str(fault))
        if not ended:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, BACKOFF_S[1])
    return 0


async def follow(link: Any, resource: Resource, port: S2Port, now_s: Callable[[], float], ended: list[int]) -> None:
    """Exchange messages on a link until it ends."""
    resource.session.start()
    told_s = 0.0
    while not ended:
        for text in resource.session.out:
            await link.send(text)
        resource.session.out.clear()
        text = await link.receive(TICK_S)
        if text is not None:
            resource.session.receive(text, now_s())
        resource.work(now_s())
        if resource.session.selected and time.monotonic() - told_s >= port.measure_s:
            told_s = time.monotonic()
            resource.tell_power(now_s())


def main(site_json: Path) -> int:
    """Serve until SIGTERM; return 0, or 3 where the extra is missing or no book takes orders."""
    ignore_sigint()
    die_with_parent()
    ended: list[int] = []
    on_sigterm(lambda: ended.append(1))
    site = read_site(site_json)
    if site.s2 is None:
        return 0
    events = Events(Path(site.run_dir) / EVENTS, SOURCE)
    try:
        return asyncio.run(serve(site, site.s2, events, ended))
    except (IntakeError, ValueError) as error:
        print(f"s2: {error}", file=sys.stderr)
        return 3
    except ImportError as error:
        print(f"s2: {error}; S2 needs the extra: pip install 'voltbench[s2]'", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
