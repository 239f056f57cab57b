"""Hand orders to the order book and fetch its answers: two files of JSON lines in the store folder.

Whoever takes orders from a wire (OPC UA, OpenADR, S2, the command line) offers them here; the orders process answers.
The files' permissions say who may: they belong to the user of the controller. A signature goes through unchanged.
"""

import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from controller.runtime.events import plain
from controller.runtime.order import Answer, Order, OrderError, parse_order
from controller.runtime.site import Site

OFFERS, ANSWERS = "offers.box", "answers.box"
POLL_S = 0.02
TIMEOUT_S = 5.0
MAX_LINE = 8192  # bytes; an order has some hundred


class IntakeError(RuntimeError):
    """Report that nobody takes orders, or that nobody answered: the order is not acknowledged then."""


def create(site: Site) -> None:
    """Make both files, empty."""
    for name in (OFFERS, ANSWERS):
        os.close(os.open(site.store(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))


class Intake:
    """Offer orders to the book of one running site; an IntakeError tells that none runs."""

    __slots__ = ("_answered", "_answers", "_handle", "_open", "_site")

    def __init__(self, site: Site) -> None:
        self._site = site
        try:
            self._handle = os.open(site.store(OFFERS), os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            text = f"{site.name}: no controller takes orders there ({error.strerror}); is the run still there?"
            raise IntakeError(text) from error
        self._answers = Tail(site, ANSWERS)
        self._answered: dict[str, Answer] = {}
        self._open: set[str] = set()  # tickets of this side: the answers to others are not kept

    def close(self) -> None:
        """Close the files."""
        os.close(self._handle)
        self._answers.close()

    def post(self, order: Order) -> str:
        """Offer an order and return the ticket under which its answer will come; OSError where there is no room."""
        ticket = secrets.token_hex(8)
        line = _line({"ticket": ticket, "posted_ns": time.monotonic_ns(), "order": asdict(order)})
        if len(line) > MAX_LINE:
            raise IntakeError(f"order of {len(line)} bytes: at most {MAX_LINE} are taken")
        if os.write(self._handle, line) != len(line):
            raise IntakeError(f"{self._site.store(OFFERS)}: no room left for an order; free space on that file system")
        self._open.add(ticket)
        return ticket

    def answer(self, ticket: str) -> Answer | None:
        """Return the answer to an offer, once; None where there is none yet."""
        for record in self._answers.fresh():
            if record["ticket"] in self._open:
                self._open.discard(record["ticket"])
                self._answered[record["ticket"]] = Answer(record["accepted"], record["why"], record["obeyed"])
        return self._answered.pop(ticket, None)

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

    __slots__ = ("_answered", "_answers", "_offers")

    def __init__(self, site: Site) -> None:
        self._offers = Tail(site, OFFERS)
        with_answers = Tail(site, ANSWERS)
        self._answered = {record["ticket"] for record in with_answers.fresh()}  # by one before us
        with_answers.close()
        self._answers = os.open(site.store(ANSWERS), os.O_WRONLY | os.O_APPEND)

    def close(self) -> None:
        """Close the files."""
        self._offers.close()
        os.close(self._answers)

    def offers(self) -> Iterator[tuple[str, int, Order | OrderError]]:
        """Yield the new offers: ticket, monotonic time of the offer (ns), and the order or what is wrong with it."""
        for record in self._offers.fresh():
            ticket = str(record.get("ticket", ""))
            if ticket in self._answered:
                self._answered.discard(ticket)
                continue
            try:
                found: Order | OrderError = parse_order(record["order"])
            except (OrderError, KeyError, TypeError) as error:
                found = error if isinstance(error, OrderError) else OrderError(f"not an order: {error!r}")
            yield ticket, _whole(record.get("posted_ns")), found

    def answer(self, ticket: str, answer: Answer) -> None:
        """Answer an offer."""
        os.write(self._answers, _line({"ticket": ticket} | asdict(answer)))


class Tail:
    """Read the whole lines that come to a file of JSON objects; what is not one is counted and left out."""

    __slots__ = ("_handle", "_pending", "damaged")

    def __init__(self, site: Site, name: str) -> None:
        self._handle = os.open(site.store(name), os.O_RDONLY)
        self._pending = b""
        self.damaged = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def fresh(self) -> list[dict[str, Any]]:
        """Return the objects that came since the last call."""
        found = []
        data = self._pending
        while chunk := os.read(self._handle, 1 << 16):
            data += chunk
        *lines, self._pending = data.split(b"\n")
        for line in lines:
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if isinstance(value, dict):
                found.append(value)
            else:
                self.damaged += 1
        return found


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(plain(value), ensure_ascii=True) + "\n").encode()
