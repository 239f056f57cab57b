"""Hand in the limits of energy guards, operating envelopes and dimming, in a process of its own.

`python -m controller.runtime.handed SITE_JSON`, started by the supervisor, may die freely. What it wrote carries its
time: without it the law falls to the fail-safe of a guard after 5 s, and keeps an envelope no longer than its contract
says; a dimmed group stays dimmed. One that is started anew finds its machines in Init, on the fail-safe side.
"""

import asyncio
import math
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from controller.law import image
from controller.runtime.clock import NS, SiteClock
from controller.runtime.envelope import Envelopes
from controller.runtime.envelope_file import EnvelopeError, Schedule, read_schedule, signature_of
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.handed_dim import Dimming
from controller.runtime.handed_guards import Guard
from controller.runtime.handed_image import HandedImage
from controller.runtime.handed_keys import EnvelopePort, HandedPort
from controller.runtime.held_back import View
from controller.runtime.journal import Journal, JournalError, read_entries
from controller.runtime.lpc_link import LocalSocket
from controller.runtime.order_keys import KeyFileError, load_key
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.site import Site, read_site

SOURCE = "handed"
TICK_S = 0.2
PENDING = 1000  # entries that wait for room on the disk


class EnvelopeSource:
    """Follow one schedule file: read it when it was replaced, tell when it cannot be used or is there again."""

    __slots__ = ("_events", "_key", "_path", "_seen", "_taken_s", "_told", "envelopes", "renewed_s")

    def __init__(self, site: Site, port: EnvelopePort, events: Events) -> None:
        self._path, self._events = Path(port.file), events
        self._key = load_key(Path(port.key)) if port.key else None
        plan = image.views("plan", site.image_dims(), site.load_plan())
        self.envelopes = Envelopes(port.contract, {site.node_names[m]: m for m in port.nodes}, plan.node_obey_s)
        self._seen: tuple[int, ...] = (0,)
        self._taken_s, self._told, self.renewed_s = -float("inf"), "", math.nan

    def look(self, now_ns: int, utc_s: float) -> Schedule | None:
        """Return the schedule where a new one was taken; its times are of the site's clock."""
        try:
            seen = self._look_at(self._path)
            if self._key is not None:  # a signature that comes after its file makes it another one
                seen += self._look_at(signature_of(self._path))
            if seen == self._seen:
                return None
            self._seen = seen
            schedule, changed_s = read_schedule(self._path, self._key)
            dated = not math.isnan(schedule.issued_s)
            issued_s = schedule.issued_s if dated else changed_s
            if issued_s < self._taken_s:
                raise EnvelopeError(f"{self._path}: older than the one before it; it is not taken")
        except (EnvelopeError, OSError) as error:
            self._tell(f"{self._path}: {error.strerror}" if isinstance(error, OSError) else str(error))
            return None
        self._taken_s = issued_s
        age_s = max((utc_s if dated else time.time()) - issued_s, 0.0)  # one from the future is as old as its arrival
        self.renewed_s = utc_s - age_s
        strangers = self.envelopes.take(schedule, now_ns - round(age_s * NS))
        self._events.write("envelopes", file=str(self._path), intervals=len(schedule.intervals), age_s=round(age_s, 1),
                           strangers=strangers)  # fmt: skip
        self._told = ""
        return schedule

    @staticmethod
    def _look_at(path: Path) -> tuple[int, ...]:
        """Return what changes when a file is replaced, written, or opened to us; nothing where there is none."""
        if not path.exists():
            return ()
        stat = path.stat()
        return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_size

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._events.write("envelopes_lost", text=text)


class Handed:
    """Hold everything that is handed in at one site, with its image and its journal."""

    __slots__ = (
        "_clock", "_dim", "_events", "_guards", "_image", "_journal", "_names", "_pending", "_sources", "_view",
    )  # fmt: skip

    def __init__(self, site: Site, port: HandedPort, journal: Journal, events: Events) -> None:
        """Open the image and the sources; KeyFileError or ValueError where a file of theirs cannot be read."""
        self._journal, self._events, self._names = journal, events, site.node_names
        self._clock, self._image, self._view = SiteClock(site.utc_minus_mono_ns), HandedImage(site), View(site)
        self._pending: deque[tuple[str, dict[str, Any]]] = deque(maxlen=PENDING)
        self._image.recall()
        self._guards = [Guard(site, each, events, self.keep, self.publish) for each in port.guards]
        self._sources = [EnvelopeSource(site, each, events) for each in port.envelopes]
        self._dim: tuple[Dimming, LocalSocket] | None = None
        if port.dim is not None:
            dim = Dimming(port.dim, self.keep, self.publish, self._utc_s, shadow=site.shadow)
            for entry in read_entries(journal.path):
                dim.recall(entry)
            dim.carry(self._image.record)
            self._dim = dim, LocalSocket(site.socket(port.dim.socket))

    async def serve(self, ended: list[int]) -> None:
        """Listen and write the image until `ended`; what is in force is in the image before anybody may speak."""
        self.look()
        try:
            for guard in self._guards:
                await guard.listener.start()
            if self._dim is not None:
                await self._dim[1].open(self._dim[0].take)
            while not ended:
                self.look()
                await asyncio.sleep(TICK_S)
        finally:
            for guard in self._guards:
                await guard.listener.stop()
            if self._dim is not None:
                await self._dim[1].close()
                self._dim[0].close()

    def look(self) -> None:
        """Look after the files, let the time pass, and publish."""
        now_ns, utc_s = time.monotonic_ns(), self._utc_s()
        for source in self._sources:
            schedule = source.look(now_ns, utc_s)
            if schedule is not None:
                for m in source.envelopes.nodes:  # one stamp for all: a schedule takes the place of the one before it
                    self._keep_schedule(self._names[m], schedule, now_ns, source.renewed_s)
        self.publish()
        for guard in self._guards:
            guard.look()
        if self._dim is not None:
            for name, text in self._dim[0].look(self._view).items():
                self._events.write("allowance_used_up", contract=name, text=text)
        self._flush()

    def _keep_schedule(self, node: str, schedule: Schedule, now_ns: int, renewed_s: float) -> None:
        """Journal what a schedule says of a node, at least that it says nothing."""
        mine = [each for each in schedule.intervals if each.node == node]
        if not mine:
            self.keep("received", source="envelope", subject=node, mono_ns=now_ns, intervals=0)
        for each in mine:
            self.keep("received", source="envelope", subject=node, mono_ns=now_ns, from_s=each.from_s, to_s=each.to_s,
                      import_w=each.import_w, export_w=each.export_w, renewed_s=renewed_s)  # fmt: skip

    def publish(self) -> None:
        """Write what is in force now to the image."""
        now_ns, utc_s, inp = time.monotonic_ns(), self._utc_s(), self._image.record
        for source in self._sources:
            source.envelopes.fill(inp, utc_s)
        for guard in self._guards:
            guard.system.fill(inp, now_ns)
            for source in self._sources:
                m = guard.system.node
                if m in source.envelopes.nodes:
                    import_w, export_w = source.envelopes.in_force(m, utc_s, now_ns)
                    inp.doe_w[m], inp.doe_export_w[m] = min(inp.doe_w[m], import_w), min(inp.doe_export_w[m], export_w)
        if self._dim is not None:
            self._dim[0].fill(inp, utc_s)
        self._image.publish(now_ns)

    def keep(self, kind: str, *, waits: bool = True, **body: Any) -> bool:
        """Journal an entry and return whether it is on the disk; where there is no room it `waits`, or is dropped."""
        self._pending.append((kind, body))
        self._flush()
        kept = not self._pending
        if not (kept or waits):
            self._pending.pop()
        return kept

    def _flush(self) -> None:
        while self._pending:
            kind, body = self._pending[0]
            try:
                self._journal.append(kind, **body)
            except JournalError as error:
                print(f"handed: {error}", file=sys.stderr)
                return
            self._pending.popleft()

    def _utc_s(self) -> float:
        return self._clock.utc_ns() / NS


def main(site_json: Path) -> int:
    """Serve until SIGTERM; return 0, or 3 where a key, a kept value, the journal or a socket cannot be had."""
    ignore_sigint()
    die_with_parent()
    ended: list[int] = []
    on_sigterm(lambda: ended.append(1))
    site = read_site(site_json)
    if site.handed is None:
        return 0
    events = Events(Path(site.run_dir) / EVENTS, SOURCE)
    try:
        site.journal().parent.mkdir(parents=True, exist_ok=True)
        journal = Journal(site.journal(), utc_ns=SiteClock(site.utc_minus_mono_ns).utc_ns)
        handed = Handed(site, site.handed, journal, events)
        asyncio.run(handed.serve(ended))
    except (JournalError, KeyFileError, ValueError, OSError) as error:
        print(f"handed: {error}", file=sys.stderr)
        return 3
    journal.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
