"""Take orders, keep them, answer them, and tell the scan what holds: the order book in a process of its own.

`python -m controller.runtime.orders SITE_JSON`, started by the supervisor. It waits for the disk at every order, which
nobody else may. It begins with what the journal says was accepted, before the scan's first decision, and with what one
before it in this run obeyed and could not keep: a restart lifts nothing.
"""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from controller.law import image
from controller.runtime.clock import NS, SiteClock
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.journal import Journal, JournalError, read_entries, verify
from controller.runtime.order import Answer, Order, OrderError
from controller.runtime.order_book import OrderBook
from controller.runtime.order_contracts import Calls
from controller.runtime.order_image import CLOCK_OFF_S, FIELDS, BookImage
from controller.runtime.order_intake import Desk
from controller.runtime.order_keys import KeyFileError, load_key
from controller.runtime.order_unkept import UnkeptImage
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import Site, read_site

POLL_S = 0.02
BEAT_S = 0.5  # the image is written at least as often: the supervisor watches it
ENDED_S = 1.0  # how often the ends of orders are journaled
SOURCE = "orders"
LINKS = ("openadr", "s2")


class Orders:
    """Hold the order book of one site with its journal, its intake and its image."""

    __slots__ = (
        "_calls",
        "_change_s",
        "_clock",
        "_clock_told",
        "_desk",
        "_ended_s",
        "_events",
        "_image",
        "_journal",
        "_said_ns",
        "_shadow",
        "_unkept",
        "_wall_s",
        "book",
    )

    def __init__(self, site: Site, journal: Journal, events: Events) -> None:
        """Restore the book from the journal; KeyFileError where a source's key cannot be read."""
        self._journal, self._events, self._shadow = journal, events, site.shadow
        self._clock = SiteClock(site.utc_minus_mono_ns)
        self._image = BookImage(site)
        self._desk = Desk(site)
        keys = {name: load_key(Path(path)) for name, path in site.order_sources.items() if path}
        sources = site.order_sources or None
        self.book = OrderBook(
            site.node_names,
            site.charger_names,
            journal.append,
            keys=keys,
            sources=sources,
            lead_s=image.views("plan", site.image_dims(), site.load_plan()).node_obey_s,
        )
        self._calls = Calls(site, journal.append, keys=keys, sources=sources)
        calls, others = self._calls.restore(read_entries(journal.path), self._now_s())
        restored = calls + self.book.restore(others)
        self._unkept = UnkeptImage(site)
        for order in self._unkept.read():  # of one before us in this run
            if self._calls.takes(order):
                self._calls.book.carry(order, self._now_s())
            else:
                self.book.carry(order)
        self._change_s, self._ended_s, self._said_ns = 0.0, 0.0, 0
        self._wall_s: Callable[[], float] = time.time if site.stage == "field" else self._now_s
        self._clock_told = False
        now_s = self._now_s()
        self._tell(
            "orders_restored",
            messages=restored,
            live=len(self.book.orders(now_s)) + self._calls.live(now_s),
            journal=str(journal.path),
        )
        for order in self.book.strangers:
            text = f"{order.source} {order.order_id}: no {order.subject!r} here any more; a cap of it binds the root"
            self._tell("fault", text=text)

    def close(self) -> None:
        """Write the accounts of contracts."""
        self._calls.close(self._now_s())

    def look(self) -> None:
        """Answer what was offered, and publish what is in force where that changed or the beat is due."""
        changed = False
        for ticket, posted_ns, found in self._desk.offers():
            answer = self._answer(found, posted_ns)
            changed = changed or answer.obeyed
            self._publish()  # obeyed before it is acknowledged
            self._desk.answer(ticket, in_shadow(found, answer) if self._shadow else answer)
        now_s = self._now_s()
        if changed or now_s >= self._change_s or time.monotonic_ns() - self._said_ns >= BEAT_S * NS:
            self._publish()
        if now_s >= self._ended_s:
            self._ended_s = now_s + ENDED_S
            with contextlib.suppress(JournalError):  # the disk is full: it is tried again
                self.book.close_ended(now_s)
                self._calls.close_ended(now_s)
        self._calls.look(now_s)

    def _answer(self, found: Order | OrderError, posted_ns: int) -> Answer:
        counts = self._image.record
        if isinstance(found, OrderError):
            counts["refused"] += 1
            return Answer(False, str(found))
        known = self.book.newest(found.source, found.order_id)
        book = self._calls if known is None and self._calls.takes(found) else self.book
        answer = book.offer(found, self._now_s(), received_mono_ns=posted_ns)
        name = "accepted" if answer.accepted else "unkept" if answer.obeyed else "refused"
        counts[name] += 1
        said = {"source": found.source, "order": found.order_id, "what": found.kind, "subject": found.subject}
        self._tell(f"order_{name}", **said, value_w=found.value_w, why=answer.why)
        return answer

    def _publish(self) -> None:
        now_s, now_ns = self._now_s(), time.monotonic_ns()
        force = self.book.force(now_s)
        self._calls.fill(self._image.record, force, now_s)
        self._unkept.write([*self.book.unkept(now_s), *self._calls.book.orders.unkept(now_s)], now_ns)
        values = (force.import_w, force.export_w, force.import_no, force.export_no, force.wish_w)
        for name, value in zip(FIELDS, values, strict=True):
            self._image.record[name] = value
        self._image.record["clock_off_s"] = self._wall_s() - now_s
        self._image.publish(now_ns)
        self._tell_clock(float(self._image.record["clock_off_s"]))
        self._change_s = min(self.book.next_change_s(now_s), self._calls.next_change_s(now_s))
        self._said_ns = now_ns

    def _tell_clock(self, off_s: float) -> None:
        """Tell when the machine's clock parts from the site's, by which windows and orders go: a step moves none."""
        if (off := abs(off_s) > CLOCK_OFF_S) == self._clock_told:
            return
        self._clock_told = off
        text = (
            f"the machine's clock is {off_s:+.0f} s from the site's: it was set after the start, or the machine slept"
        )
        told = f"{text}; windows and orders go by the clock of the start: start the controller anew once it is right"
        self._tell("fault", text=told if off else "the machine's clock agrees with the site's again")

    def _now_s(self) -> float:
        return self._clock.utc_ns() / NS

    def _tell(self, kind: str, **fields: object) -> None:
        self._events.write(kind, **fields)


def in_shadow(found: Order | OrderError, answer: Answer) -> Answer:
    """Return what a run in shadow answers: it acknowledges nothing, for it limits nothing.

    The links to OpenADR and S2 keep their schedules by the answers: they tell their servers themselves.
    """
    if not answer.accepted or (isinstance(found, Order) and found.source in LINKS):
        return answer
    return Answer(False, "a run in shadow decides and journals, and obeys nothing")


def open_journal(site: Site, events: Events) -> Journal:
    """Open the site's journal, check its chain, and say that this controller keeps it; JournalError."""
    path = site.journal()
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(path, utc_ns=SiteClock(site.utc_minus_mono_ns).utc_ns)
    count, findings = verify(path)
    for finding in findings:
        events.write("fault", text=f"{path}: entry {finding.no}: {finding.what}")
    try:
        journal.append("opened", source=SOURCE, site=site.name, run=site.run_dir, entries=count)
    except JournalError as error:  # what was ordered is restored all the same
        print(f"orders: {error}", file=sys.stderr)
    return journal


def main(site_json: Path) -> int:
    """Take orders until SIGTERM; return the exit code (3: the journal or a key cannot be read)."""
    ignore_sigint()
    die_with_parent()
    ended: list[int] = []
    on_sigterm(lambda: ended.append(1))
    site = read_site(site_json)
    events = Events(Path(site.run_dir) / EVENTS, SOURCE)
    try:
        journal = open_journal(site, events)
        orders = Orders(site, journal, events)
    except (JournalError, KeyFileError, OSError) as error:
        print(f"orders: {error}", file=sys.stderr)
        return 3
    while not ended:
        orders.look()
        time.sleep(POLL_S)
    orders.close()
    with contextlib.suppress(JournalError):  # its end is told by the run's events too
        journal.append("closed", source=SOURCE)
    journal.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
