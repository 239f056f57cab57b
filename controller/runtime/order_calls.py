"""Make calls on contracts of what a link says: which contract, in which direction, and one call an interval.

A call is judged by the contract when it arrives (notice, allowance) and stands in its account, so what is said is not
cut where it overlaps with something else, as limits of a node are: of calls that overlap the lowest holds.
"""

import math
from collections.abc import Callable, Iterable
from itertools import groupby

from controller.runtime.journal_orders import OrderLife
from controller.runtime.order import Answer, Order
from controller.runtime.order_contracts import binding_of
from controller.runtime.order_schedule import Piece, Schedule
from controller.runtime.site import Site
from profiles.contract_calls import Called, FullyVariable, SteeringCall

SETPOINT = "setpoint"


class CallLine:
    """Bring the calls of one source on one contract to what a link says.

    `direction` is what the contract is about: import, export or setpoint. `free_w` is what holds without a call.
    """

    __slots__ = ("_kept", "direction", "free_w", "name")

    def __init__(
        self, source: str, name: str, site: Site, offer: Callable[[Order], Answer], lives: Iterable[OrderLife]
    ) -> None:
        """Find the contract; ValueError where the site has none of that name that can be called on."""
        contract = next((c for c in (binding_of(port).contract for port in site.contracts) if c.name == name), None)
        if not isinstance(contract, Called | SteeringCall):
            raise ValueError(f"contract {name}: {site.name} has none of that name that can be called on")
        self.name = name
        self.direction = SETPOINT if isinstance(contract, SteeringCall) else str(contract.limit.direction)
        fixed = isinstance(contract, Called) and not isinstance(contract, FullyVariable)
        self.free_w = contract.capacity_w if fixed and isinstance(contract, Called) else math.inf
        self._kept = Schedule(source, name, offer, lives, judged=True)

    @property
    def refused(self) -> list[str]:
        """Return what was refused the last time, and why."""
        return self._kept.refused

    @property
    def pieces(self) -> list[Piece]:
        """Return the calls that the book holds."""
        return self._kept.pieces

    def set(self, pieces: Iterable[Piece], now_s: float, *, partly: bool = False) -> bool:
        """Call what is said in the contract's direction and is not over; see `Schedule.set`."""
        mine = [piece for piece in pieces if piece.direction == self.direction and piece.to_s > now_s]
        return self._kept.set(joined(mine), now_s, partly=partly)


class Split:
    """Put what an energy manager says in the direction of a contract to that, and the rest to the node's schedule."""

    __slots__ = ("_calls", "_node")

    def __init__(self, node: Schedule, calls: CallLine) -> None:
        self._node, self._calls = node, calls

    @property
    def pieces(self) -> list[Piece]:
        """Return what the book holds."""
        return [*self._node.pieces, *self._calls.pieces]

    def set(self, pieces: Iterable[Piece], now_s: float) -> bool:
        """Bring both to the pieces; an envelope that leaves all that holds anyway is no call."""
        said = list(pieces)
        rest = [piece for piece in said if piece.direction != self._calls.direction]
        calls = [piece for piece in said if piece.direction == self._calls.direction]
        called = self._calls.set([piece for piece in calls if piece.value_w < self._calls.free_w], now_s)
        return self._node.set(rest, now_s) and called


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Return pieces with neighbours of one event and value made one: one call, not several."""
    found: list[Piece] = []
    for _, same in groupby(
        sorted(pieces, key=lambda p: (p.event, p.direction, p.value_w, p.from_s)),
        key=lambda p: (p.event, p.direction, p.value_w),
    ):
        last: Piece | None = None
        for piece in same:
            if last is not None and last.to_s == piece.from_s:
                found[-1] = last = Piece(last.direction, last.value_w, last.from_s, piece.to_s, last.event)
            else:
                found.append(last := piece)
    return sorted(found, key=lambda p: p.from_s)
