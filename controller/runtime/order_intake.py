"""Hand orders to the order book and fetch its answers: a file an offer and a file an answer, in the store folder.

Whoever takes orders from a wire (OPC UA, OpenADR, S2, the command line) offers them here; the orders process answers.
The folders' permissions say who may: they belong to the user of the controller. A signature goes through unchanged.

A file comes under its name whole, by a rename, and goes once it is done with: what a run of months holds is what
waits. An offer goes after its answer is there, an answer comes after the order is on the disk: a kill at any
moment leaves an offer that is taken once more (a doubled order is answered, not applied twice) or its answer.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from controller.runtime.events import plain
from controller.runtime.order import Answer, Order, OrderError, parse_order
from controller.runtime.site import Site

OFFERS, ANSWERS = "offers", "answers"
POLL_S = 0.02
TIMEOUT_S = 5.0
MAX_BYTES = 8192  # of an offer; an order has some hundred
MOST_WAITING = 1024  # offers, and answers that nobody fetched
UNFETCHED_S = 600.0  # an answer, or a file that its writer never finished, is cleared away after it
SWEEP_S = 60.0
HALF = "."  # begins the name of a file that is being written


class IntakeError(RuntimeError):
    """Report that nobody takes orders, or that nobody answered: the order is not acknowledged then."""


def create(site: Site) -> None:
    """Make both folders, empty."""
    for name in (OFFERS, ANSWERS):
        site.store(name).mkdir(mode=0o700, exist_ok=True)
        for left in site.store(name).iterdir():
            left.unlink()


class Intake:
    """Offer orders to the book of one running site; an IntakeError tells that none runs."""

    __slots__ = ("_answers", "_offers", "_open", "_site")

    def __init__(self, site: Site) -> None:
        self._site = site
        self._offers, self._answers = site.store(OFFERS), site.store(ANSWERS)
        self._open: set[str] = set()
        if not self._offers.is_dir():
            raise IntakeError(f"{site.name}: no controller takes orders there; is the run still there?")

    def close(self) -> None:
        """Clear away the answers that came and were not fetched."""
        for ticket in self._open:
            (self._answers / ticket).unlink(missing_ok=True)

    def post(self, order: Order) -> str:
        """Offer an order and return the ticket under which its answer will come; OSError where there is no room."""
        ticket = f"{time.monotonic_ns():020d}-{secrets.token_hex(8)}"  # in the order of their coming
        data = _packed({"posted_ns": time.monotonic_ns(), "order": asdict(order)})
        if len(data) > MAX_BYTES:
            raise IntakeError(f"order of {len(data)} bytes: at most {MAX_BYTES} are taken")
        try:
            waiting = len(os.listdir(self._offers))
            if waiting >= MOST_WAITING:
                raise IntakeError(f"{self._site.name}: {waiting} orders wait already; is its orders process alive?")
            _put(self._offers, ticket, data)
        except FileNotFoundError as error:
            raise IntakeError(f"{self._site.name}: no controller takes orders there any more") from error
        self._open.add(ticket)
        return ticket

    def answer(self, ticket: str) -> Answer | None:
        """Return the answer to an offer, once; None where there is none yet."""
        path = self._answers / ticket
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        self._open.discard(ticket)
        return Answer(record["accepted"], record["why"], record["obeyed"])

    def offer(self, order: Order, timeout_s: float = TIMEOUT_S) -> Answer:
        """Offer an order and wait for its answer; an IntakeError where nobody answers in time."""
        ticket = self.post(order)
        until_s = time.monotonic() + timeout_s
        while (answer := self.answer(ticket)) is None:
            if time.monotonic() > until_s:
                raise IntakeError(
                    f"{self._site.name}: no answer in {timeout_s:g} s, so the order is not acknowledged; it may still "
                    "be taken. Send it again unchanged: a doubled order is answered and not applied twice"
                )
            time.sleep(POLL_S)
        return answer


class Desk:
    """Take the offers of a site one after the other and answer them; used by the orders process alone."""

    __slots__ = ("_answers", "_kept", "_offers", "_since", "_swept_ns")

    def __init__(self, site: Site) -> None:
        self._offers, self._answers = site.store(OFFERS), site.store(ANSWERS)
        self._kept: dict[str, Answer] = {}  # for which there was no room yet
        self._since, self._swept_ns = 0, 0

    def offers(self) -> Iterator[tuple[str, int, Order | OrderError]]:
        """Yield the new offers: ticket, monotonic time of the offer (ns), and the order or what is wrong with it."""
        for ticket, answer in list(self._kept.items()):
            self.answer(ticket, answer)
        for ticket in sorted(os.listdir(self._offers)):
            if ticket.startswith(HALF) or ticket in self._kept or not (self._offers / ticket).is_file():
                continue
            if (self._answers / ticket).exists():  # by one before us, who was killed then
                (self._offers / ticket).unlink(missing_ok=True)
                continue
            posted_ns, found = _read(self._offers / ticket)
            yield ticket, posted_ns, found
        self._sweep(time.monotonic_ns())

    def answer(self, ticket: str, answer: Answer) -> None:
        """Answer an offer; where there is no room for it, it is answered later and not taken again."""
        try:
            _put(self._answers, ticket, _packed(asdict(answer)))
        except OSError:
            self._kept[ticket] = answer
            return
        self._kept.pop(ticket, None)
        (self._offers / ticket).unlink(missing_ok=True)
        self._since += 1

    def _sweep(self, now_ns: int) -> None:
        """Clear away answers that nobody fetches, and halves of writers that died."""
        if now_ns - self._swept_ns < SWEEP_S * 1e9 and self._since < MOST_WAITING:
            return
        self._swept_ns, self._since = now_ns, 0
        old_s = time.time() - UNFETCHED_S
        answers = sorted(path for path in self._answers.iterdir())
        halves = [path for path in self._offers.iterdir() if path.name.startswith(HALF)]
        surplus = max(len(answers) - MOST_WAITING, 0)
        for path in answers[:surplus]:
            path.unlink(missing_ok=True)
        for path in answers[surplus:] + halves:
            with contextlib.suppress(FileNotFoundError):  # fetched meanwhile
                if path.stat().st_mtime < old_s:
                    path.unlink()


def _read(path: Path) -> tuple[int, Order | OrderError]:
    """Return when an offer was made (monotonic ns, 0 unknown), and the order or what is wrong with it."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return 0, OrderError(f"more than {MAX_BYTES} bytes: an order has some hundred")
        record = json.loads(data)
        posted_ns = record.get("posted_ns")
        told = type(posted_ns) is int and 0 < posted_ns <= time.monotonic_ns()
        return posted_ns if told else 0, parse_order(record["order"])
    except OrderError as error:
        return 0, error
    except RecursionError:
        return 0, OrderError("not an order: nested too deeply")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return 0, OrderError(f"not an order: {error!r}")


def _put(folder: Path, name: str, data: bytes) -> None:
    """Let a whole file appear in a folder, or none."""
    half = folder / f"{HALF}{name}"
    try:
        handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        half.replace(folder / name)
    except OSError:
        half.unlink(missing_ok=True)
        raise


def _packed(value: dict[str, Any]) -> bytes:
    return json.dumps(plain(value), ensure_ascii=True).encode()
