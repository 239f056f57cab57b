"""Keep the contracts that are called on: judge each call, keep it, say what holds, and keep each contract's account.

A call is an order whose subject is the contract's name: signed, numbered and journaled like any other (`OrderBook`).
A late call, or one beyond the allowance, is obeyed and flagged in its journal entry, or refused, as the contract says.
No clock is read in here.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from controller.law.names import Cp
from controller.runtime.contract_account import Account, Call
from controller.runtime.contract_plan import Binding, Rows
from controller.runtime.contract_terms import Judgement, bounds_w, covers, judge, span_of
from controller.runtime.held_back import held_back_w
from controller.runtime.journal import Entry
from controller.runtime.order import Answer, Order, from_fields
from controller.runtime.order_book import OrderBook
from controller.runtime.order_keys import Key
from profiles.contract_calls import Called, FullyVariable, SteeringCall
from profiles.contract_windows import SteeringFixed


class ContractBook:
    """Hold the contracts on call of one controller.

    Parameters
    ----------
    bindings, rows: the site's contracts, and which windows of the plan are each one's (`contract_plan`)
    zone: the site's; days, years and times of announcement are local, by the contract's own zone where it names one
    keep, keys, sources: as of `OrderBook`
    """

    __slots__ = ("_bindings", "_rows", "_site_zone", "_steered", "accounts", "orders")

    def __init__(
        self,
        bindings: Sequence[Binding],
        rows: Rows,
        zone: str,
        keep: Callable[..., int | None],
        *,
        keys: Mapping[str, Key | bytes] | None = None,
        sources: Iterable[str] | None = None,
    ) -> None:
        self._site_zone = zone
        kinds = (Called, SteeringCall, SteeringFixed)
        self._bindings = {b.contract.name: b for b in bindings if isinstance(b.contract, kinds)}
        self._rows = rows
        called = [name for name, b in self._bindings.items() if isinstance(b.contract, Called)]
        self._steered = [name for name, b in self._bindings.items() if isinstance(b.contract, SteeringCall)]
        self.accounts = {name: Account(self._zone(name)) for name in (*called, *self._steered)}
        lead_s = np.array([self._bindings[name].lead_s for name in called])
        found = [self._bindings[name].contract for name in called]
        free_w = np.array([c.capacity_w if isinstance(c, FullyVariable) else math.inf for c in found])
        self.orders = OrderBook(
            called, self._steered, keep, keys=keys, sources=sources, lead_s=lead_s, free_w=free_w, judge=self._refusal
        )

    def names(self) -> list[str]:
        """Return the contracts that can be called on."""
        return list(self.accounts)

    def offer(self, order: Order, now_s: float, **fields: Any) -> Answer:
        """Take a call in and answer it; `now_s` is UTC epoch s. What is not as agreed stands in the answer's `why`."""
        found = Judgement() if self.orders.fault(order, now_s) else self._judged(order, now_s)
        if found.flags:
            fields = {**fields, "late": bool(found.late), "beyond": found.beyond, "flags": found.flags}
        known = self.orders.newest(order.source, order.order_id)
        answer = self.orders.offer(order, now_s, **fields)
        if answer.obeyed and (known is None or known.message() != order.message()):
            self._enter(order, now_s, found)
            answer = replace(answer, why="; ".join(text for text in (answer.why, found.flags) if text))
        return answer

    def restore(self, entries: Iterable[Entry]) -> int:
        """Take over what a journal says was accepted, with the accounts; return how many calls."""
        mine = [entry for entry in entries if entry.body is not None]
        for entry in mine:
            body = entry.body or {}
            if entry.kind == "account" and entry.subject in self.accounts:
                self.accounts[entry.subject].curtailed_wh[int(body["year"])] = 1e3 * float(body["curtailed_kwh"])
            if entry.kind == "accepted" and "order" in body:
                order = from_fields(body["order"])
                self._enter(
                    order, entry.utc_ns * 1e-9, Judgement("late" if body.get("late") else "", body.get("beyond", ""))
                )
        return self.orders.restore(mine)

    def carry(self, order: Order, now_s: float) -> None:
        """Take over a call that one before us obeyed and could not keep."""
        if self.orders.carry(order):
            self._enter(order, now_s, Judgement())

    def limits_w(self, now_s: float) -> dict[str, float]:
        """Return the limit that is called at each contract, W, lead time applied; +inf none is.

        It is not below the contract's floor nor above its capacity (of a fully variable right: its highest), and less
        the guard band.
        """
        force = self.orders.force(now_s)
        found = {}
        for k, name in enumerate(n for n, b in self._bindings.items() if isinstance(b.contract, Called)):
            contract = self._bindings[name].contract
            assert isinstance(contract, Called)
            value_w = float((force.import_w if contract.limit.direction == "import" else force.export_w)[k])
            least_w, most_w = bounds_w(contract)
            kept_w = contract.limit.kept(min(max(value_w, least_w), most_w))
            found[name] = kept_w if value_w < math.inf else math.inf
        return found

    def setpoints_w(self, now_s: float) -> dict[str, float]:
        """Return the set-point that each steering contract asks for now, if any, W over its chargers."""
        wish_w = self.orders.force(now_s).wish_w
        found = {}
        for name, value_w in zip(self._steered, wish_w, strict=True):
            contract = self._bindings[name].contract
            if isinstance(contract, SteeringCall) and value_w < math.inf:
                found[name] = min(max(float(value_w), contract.least_w), contract.most_w)
        for name, binding in self._bindings.items():
            contract = binding.contract
            if not isinstance(contract, SteeringFixed):
                continue
            here = Account(self._zone(name))
            asked = [span.setpoint_w for span in contract.window if covers(span, contract, here, now_s, now_s)]
            if asked:
                found[name] = min(asked)
        return found

    def fill(self, inp: Any, now_s: float) -> None:
        """Write what is called into INPUT: limits of windows, and set-points shared alike among chargers with a car."""
        for name, limit_w in self.limits_w(now_s).items():
            inp.window_call_w[list(self._rows.get(name, ()))] = limit_w
        self.steer(inp.charger_state, inp.wish_w, now_s)

    def steers(self) -> bool:
        """Say whether there is a contract that steers."""
        return any(isinstance(b.contract, SteeringCall | SteeringFixed) for b in self._bindings.values())

    def direction(self, name: str) -> str:
        """Return what a contract limits, import or export."""
        return self._bindings[name].contract.limit.direction

    def steer(self, charger_state: np.ndarray, wish_w: np.ndarray, now_s: float) -> None:
        """Lower set-points, (N,) W, to the share of each charger in what contracts ask for; `charger_state` (N,)."""
        for name, value_w in self.setpoints_w(now_s).items():
            chargers = list(self._bindings[name].chargers)
            cars = [i for i in chargers if charger_state[i] in (Cp.B, Cp.C, Cp.D)] or chargers
            wish_w[cars] = np.minimum(wish_w[cars], value_w / len(cars))

    def count(self, inp: Any, out: Any, dt_s: float, now_s: float) -> None:
        """Add the energy that contracts with a call in force held back over `dt_s`."""
        for name, limit_w in self.limits_w(now_s).items():
            if limit_w == math.inf:
                continue
            self.accounts[name].curtail(now_s, held_back_w(self._bindings[name].chargers, inp, out) * dt_s / 3600.0)

    def states(self, now_s: float) -> dict[str, dict[str, Any]]:
        """Return each contract's account of its present local year."""
        return {name: account.state(account.year(now_s)) for name, account in self.accounts.items()}

    def _zone(self, name: str) -> ZoneInfo:
        """Return the zone of a contract's times."""
        return ZoneInfo(self._bindings[name].contract.timezone or self._site_zone)

    def _judged(self, order: Order, now_s: float) -> Judgement:
        binding = self._bindings.get(order.subject)
        if order.kind == "withdraw" or binding is None or isinstance(binding.contract, SteeringFixed):
            return Judgement()
        contract = binding.contract
        assert isinstance(contract, Called | SteeringCall)
        return judge(contract, self.accounts[order.subject], order, now_s)

    def _refusal(self, order: Order, now_s: float) -> str:
        binding = self._bindings.get(order.subject)
        direction = order.direction if binding is None else binding.contract.limit.direction
        if order.kind == "cap" and order.direction != direction:
            return f"direction {order.direction!r}: contract {order.subject} limits {direction}"
        return self._judged(order, now_s).refused

    def _enter(self, order: Order, now_s: float, found: Judgement) -> None:
        """Write an accepted message into its account."""
        name = (order.source, order.order_id)
        if order.kind == "withdraw":
            for account in self.accounts.values():
                account.end(name, now_s)
        elif order.subject in self.accounts:
            from_s, to_s = span_of(order, now_s)
            call = Call(now_s, from_s, to_s, order.value_w, bool(found.late), found.beyond)
            self.accounts[order.subject].take(name, call)
