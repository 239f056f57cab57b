"""Hold the contracts on call in the orders process: take calls, say what holds, keep the accounts in the journal.

What a call holds back is counted from the scan's own images, second by second while one is in force. The account is
written to the journal at every change of its calls, and of the energy every five minutes and at the end of each call:
a kill loses five minutes of that estimate, and never a call.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from controller.runtime.contract_book import ContractBook
from controller.runtime.contract_plan import Binding
from controller.runtime.held_back import ACCOUNT_S, COUNT_S, MOST_S, View
from controller.runtime.journal import Entry, JournalError
from controller.runtime.order import Answer, Order
from controller.runtime.order_book import Force
from controller.runtime.order_keys import Key
from controller.runtime.site import ContractPort, Site
from profiles.contract import READER

SOURCE = "orders"
UNKEPT = -1  # number of a call in the caps of nodes that is obeyed and not kept: its window counts it


def binding_of(port: ContractPort) -> Binding:
    """Return the contract of a site with what it binds."""
    contract = READER.validate_json(json.dumps(port.contract))
    return Binding(contract, port.chargers, port.nodes, port.lead_s)


class Calls:
    """Hold the contracts of one site that calls bind.

    Parameters
    ----------
    keep, keys, sources: as of `OrderBook`
    """

    __slots__ = (
        "_called", "_counted_s", "_keep", "_places", "_rows", "_told_s", "_view", "_written", "book",
    )  # fmt: skip

    def __init__(
        self,
        site: Site,
        keep: Callable[..., int | None],
        *,
        keys: Mapping[str, Key | bytes],
        sources: Iterable[str] | None,
    ) -> None:
        bindings = [binding_of(port) for port in site.contracts]
        names = [binding.contract.name for binding in bindings]
        self._rows = {name: list(port.rows) for name, port in zip(names, site.contracts, strict=True)}
        self._places = {name: list(port.nodes) for name, port in zip(names, site.contracts, strict=True)}
        rows = {name: tuple(found) for name, found in self._rows.items()}
        self.book = ContractBook(bindings, rows, site.timezone or "UTC", keep, keys=keys, sources=sources)
        self._keep = keep
        self._view = View(site)
        self._called, self._counted_s, self._told_s = False, 0.0, 0.0
        self._written: dict[str, dict[str, Any]] = {}

    def takes(self, order: Order) -> bool:
        """Say whether a message is about one of the contracts: its subject is one, or it is about an earlier call."""
        known = self.book.orders.newest(order.source, order.order_id)
        return known is not None or (order.kind != "withdraw" and order.subject in self.book.accounts)

    def restore(self, entries: Iterable[Entry], now_s: float) -> tuple[int, list[Entry]]:
        """Take over what is ours of a journal; return how many calls, and the orders that are somebody else's."""
        mine: list[Entry] = []
        others: list[Entry] = []
        names: set[tuple[str, str]] = set()
        for entry in entries:
            name = (entry.source, entry.order_id)
            if entry.kind == "accepted" and entry.subject in self.book.accounts:
                names.add(name)
            ours = name in names or (entry.kind == "account" and entry.subject in self.book.accounts)
            if entry.kind in ("accepted", "ended", "account"):
                (mine if ours else others).append(entry)
        count = self.book.restore(mine)
        self._written = self.book.states(now_s)
        return count, others

    def offer(self, order: Order, now_s: float, **fields: Any) -> Answer:
        """Take a call in and answer it; `now_s` is UTC epoch s."""
        answer = self.book.offer(order, now_s, **fields)
        if answer.accepted:
            self._account(now_s)
        return answer

    def live(self, now_s: float) -> int:
        """Return how many calls hold now or will."""
        return len(self.book.orders.orders(now_s))

    def next_change_s(self, now_s: float) -> float:
        """Return when what is called changes next without a message, UTC epoch s; +inf never."""
        return self.book.orders.next_change_s(now_s)

    def fill(self, record: Any, force: Force, now_s: float) -> None:
        """Write what is called into the book's image, and lower `force` where a call is measured at a node.

        With that the steps of a call at a node are followed in the journal like those of any order.
        """
        record["window_call_w"], record["call_no"] = np.inf, 0
        called = self.book.orders.force(now_s)
        for k, (name, limit_w) in enumerate(self._limits(now_s)):
            back = self.book.direction(name) == "export"
            number = int((called.export_no if back else called.import_no)[k])
            record["window_call_w"][self._rows[name]] = limit_w
            record["call_no"][self._rows[name]] = number
            cap_w, numbers = (force.export_w, force.export_no) if back else (force.import_w, force.import_no)
            for m in self._places[name]:
                if limit_w < cap_w[m]:
                    cap_w[m], numbers[m] = limit_w, number or UNKEPT
        if self.book.steers():
            self.book.steer(self._view.fresh().inp.charger_state, force.wish_w, now_s)

    def look(self, now_s: float) -> None:
        """Count what is held back, and journal accounts that changed; ends of calls too."""
        if now_s - self._counted_s < COUNT_S:
            return
        gap_s, self._counted_s = min(now_s - self._counted_s, MOST_S), now_s
        was, self._called = self._called, any(limit_w < np.inf for _, limit_w in self._limits(now_s))
        if self._called and was:
            view = self._view.fresh()
            if view.scanned:
                self.book.count(view.inp, view.out, gap_s, now_s)
        if (was and not self._called) or (self._called and now_s - self._told_s >= ACCOUNT_S):
            self._account(now_s)

    def close_ended(self, now_s: float) -> None:
        """Journal the ends of calls. JournalError: try again later."""
        self.book.orders.close_ended(now_s)

    def close(self, now_s: float) -> None:
        """Write the accounts for the last time."""
        self._account(now_s)

    def _limits(self, now_s: float) -> list[tuple[str, float]]:
        return list(self.book.limits_w(now_s).items())

    def _account(self, now_s: float) -> None:
        """Write accounts that changed; where the disk is full they are written another time."""
        self._told_s = now_s
        for name, state in self.book.states(now_s).items():
            if state != self._written.get(name):
                with contextlib.suppress(JournalError):
                    self._keep("account", source=SOURCE, subject=name, **state)
                    self._written[name] = state
