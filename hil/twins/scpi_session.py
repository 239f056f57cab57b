"""Keep what belongs to one connection of a SCPI device: its input buffer, what it waits for, its own error queue."""

from collections import deque
from collections.abc import Callable, Generator

from hil.twins.scpi_grammar import Node
from hil.twins.scpi_status import ErrorQueue

Work = Generator[None, None, bytes | None]


class Message:
    """Hold one program message while it is executed: header path, settings not yet applied, answers so far."""

    __slots__ = ("path", "replies", "staged")

    def __init__(self, root: Node) -> None:
        self.path = root
        self.replies: list[str] = []
        self.staged: list[tuple[str, list[int], float | str]] = []


def unheard(reply: bytes) -> None:
    """Drop an answer that nobody waits for."""


class Session:
    """Hold one connection; `work` is a message that waits for an overlapped command, `backlog` those behind it."""

    __slots__ = ("backlog", "deliver", "errors", "header_reply", "work")

    def __init__(self, deliver: Callable[[bytes], None] = unheard, errors: ErrorQueue | None = None) -> None:
        self.deliver = deliver
        self.errors = errors
        self.backlog: deque[bytes] = deque()
        self.work: Work | None = None
        self.header_reply = True

    def advance(self) -> bytes | None:
        """Go on with the work; return its reply when it is done, None while it waits or where it has none."""
        if self.work is None:
            return None
        try:
            next(self.work)
        except StopIteration as end:
            self.work = None
            reply: bytes | None = end.value
            return reply
        return None

    def clear(self) -> None:
        """Do what a device clear does: empty the input buffer and abort what waits (IEEE 488.2, 5.8)."""
        self.backlog.clear()
        if self.work is not None:
            self.work.close()
            self.work = None
