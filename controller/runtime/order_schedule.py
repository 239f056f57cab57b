"""Keep a schedule of caps in the order book: offer what is new, then withdraw what is not in it any more.

The book holds every piece with its times, on the disk: a link that is lost later, or a process that dies, changes
nothing of what was said. New pieces are in before old ones go, so that nothing lifts in between.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from controller.runtime.journal_orders import OrderLife
from controller.runtime.order import Answer, Order

Offer = Callable[[Order], Answer]
AGAIN_S = (
    60.0,
    3600.0,
)  # a call that the contract refuses is offered again after the first, then twice as late, to the last
EVENT = 40  # letters of an event's name in that of an order


@dataclass(frozen=True, slots=True)
class Piece:
    """Hold one piece: W at a node from `from_s` to `to_s` (UTC epoch s; NaN at once, +inf open), and who says so.

    `direction` is import, export, or setpoint (of a contract that steers: signed).
    """

    direction: str
    value_w: float
    from_s: float
    to_s: float
    event: str

    def name(self) -> str:
        """Return a name for its order."""
        text = f"{self.direction} {self.value_w!r} {self.from_s!r} {self.to_s!r} {self.event}"
        return f"{self.event[:EVENT]}.{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def same(self, other: "Piece", now_s: float) -> bool:
        """Say whether both limit the same from now on: when one has begun does not matter."""
        begun = not self.from_s > now_s and not other.from_s > now_s
        alike = (self.direction, self.value_w, self.to_s) == (other.direction, other.value_w, other.to_s)
        return alike and (begun or self.from_s == other.from_s)


class Schedule:
    """Bring the orders of one `source` at one `node` to a schedule; `offer` puts one to the book.

    `lives` are the messages that the journal knows: what a process before us had offered is withdrawn by us, but for
    the `others` (subjects). `judged`: the node is a contract, which may refuse a call for good: the others go their
    way then, what it held of the same event stays, and the call is offered again ever more rarely.
    """

    __slots__ = ("_again", "_judged", "_last", "_live", "_node", "_offer", "_sequence", "_source", "refused")

    def __init__(
        self,
        source: str,
        node: str,
        offer: Offer,
        lives: Iterable[OrderLife] = (),
        sequence: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        *,
        others: Iterable[str] = (),
        judged: bool = False,
    ) -> None:
        self._source, self._node, self._offer, self._sequence = source, node, offer, sequence
        self._last, self._judged = 0, judged
        self._again: dict[
            str, tuple[float, float]
        ] = {}  # of a refused call: when to offer it again, then after how long
        foreign = set(others)
        mine = [
            life
            for life in lives
            if life.source == source
            and not life.over
            and (life.subject == node if judged else life.subject not in foreign)
        ]
        self._live = {
            life.order_id: Piece(
                life.kind if life.kind == "setpoint" else life.direction,
                life.value_w,
                life.from_s,
                _open(life.to_s),
                life.order_id.rpartition(".")[0],
            )
            for life in mine
        }
        self.refused: list[str] = []

    @property
    def live(self) -> set[str]:
        """Return the names of the pieces that the book holds for us."""
        return set(self._live)

    @property
    def pieces(self) -> list[Piece]:
        """Return what the book holds for us; the `event` of a piece from before a restart is cut to 40 letters."""
        return list(self._live.values())

    def set(self, pieces: Iterable[Piece], now_s: float, *, partly: bool = False) -> bool:
        """Offer new pieces and withdraw old ones; return whether the book holds the schedule whole.

        Where a new piece is refused or nobody answers, the old ones stay: call again. They stay too where the
        schedule is known `partly` only.
        """
        self.refused, whole, kept = [], True, set()
        refused: set[str] = set()
        for piece in pieces:
            found = [name for name, live in self._live.items() if piece.same(live, now_s)]
            if found:
                kept.add(found[0])
            elif self._due(piece, now_s) and self._put(piece, now_s):
                kept.add(piece.name())
            else:
                whole = False
                refused.add(piece.event[:EVENT])
        gone = [name for name in self._live if name not in kept] if not partly else []
        if self._judged:
            gone = [name for name in gone if self._live[name].event[:EVENT] not in refused]
        for name in gone if whole or self._judged else []:
            over = now_s >= self._live[name].to_s
            if over or self._done(Order(self._source, name, self._next(), "withdraw")):
                del self._live[name]
        return whole

    def _due(self, piece: Piece, now_s: float) -> bool:
        """Say whether to offer a piece now, and put off the next time where a contract may refuse it."""
        if not self._judged:
            return True
        due_s, after_s = self._again.get(piece.name(), (now_s, AGAIN_S[0]))
        if now_s < due_s:
            return False
        self._again = {name: again for name, again in self._again.items() if again[0] > now_s - AGAIN_S[1]}
        self._again[piece.name()] = now_s + after_s, min(2.0 * after_s, AGAIN_S[1])
        return True

    def _put(self, piece: Piece, now_s: float) -> bool:
        order = Order(
            source=self._source,
            order_id=piece.name(),
            sequence=self._next(),
            kind="setpoint" if piece.direction == "setpoint" else "cap",
            subject=self._node,
            direction="export" if piece.direction == "export" else "import",
            value_w=piece.value_w,
            from_s=piece.from_s if piece.from_s > now_s else math.nan,
            to_s=piece.to_s if math.isfinite(piece.to_s) else math.nan,
        )
        if not self._done(order):
            return False
        self._live[order.order_id] = piece
        return True

    def _next(self) -> int:
        self._last = max(self._last + 1, self._sequence())
        return self._last

    def _done(self, order: Order) -> bool:
        answer = self._offer(order)
        if not answer.accepted:
            self.refused.append(f"{order.order_id}: {answer.why}")
        return answer.accepted


def _open(to_s: float) -> float:
    return math.inf if math.isnan(to_s) else to_s
