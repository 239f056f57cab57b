"""Show the bench's questions on the terminal of a run and hand over what is typed there."""

import os
import select
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from controller.runtime.pilots import asks_operator
from controller.runtime.prompts import ANSWERS, QUESTIONS, Lines
from controller.runtime.site import Site
from hil.rig.references import Problem
from hil.rig.rigfile import LoadedRig, RigError
from hil.rig.schema import AdapterPart

POLL_S = 0.1
READ_BYTES = 4096


def require_operator(loaded: LoadedRig, *, desk: bool) -> None:
    """Refuse, with a RigError, a run whose bench asks an operator where nobody can answer."""
    bench = loaded.rig.bench
    adapter = None if bench is None else bench.adapter
    if adapter is None or not _by_hand(loaded, adapter):
        return
    where = f"{loaded.path.name}:bench.adapter"
    what = 'by = "hand"' if adapter.by == "hand" else f"{adapter.model} measures no duty cycle"
    if desk:
        raise RigError([Problem(where, what, "asks on this terminal, where the desk sits: run it without --desk")])
    if not sys.stdin.isatty():
        text = "an operator has to answer, and standard input is no terminal: run it from one, or take a wired adapter"
        raise RigError([Problem(where, what, text)])


def _by_hand(loaded: LoadedRig, adapter: AdapterPart) -> bool:
    if adapter.by == "hand":
        return True
    relay = loaded.models[adapter.model].relay
    return relay is not None and relay.duty is None


@dataclass(slots=True)
class Operator:
    """Show questions and read answers in a thread of its own; use it as a context.

    `say` shows a line; `handle` is the terminal's file descriptor. The end of the input ends the answers: questions
    then run out of time.
    """

    site: Site
    say: Callable[[str], None]
    handle: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Operator":
        """Begin where the bench asks anybody at all."""
        if self.site.bench is not None and asks_operator(self.site.bench.adapter):
            self._thread = threading.Thread(target=self._serve, name="operator", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _serve(self) -> None:
        questions, answers = Lines(self.site.store(QUESTIONS)), Lines(self.site.store(ANSWERS))
        number, typed, open_ = 0, b"", True
        while not self._ended.is_set():
            for record in questions.fresh():
                self.say(f"OPERATOR  {record['text']}")
                number = int(record["number"]) or number
            ready = select.select([self.handle], [], [], POLL_S)[0] if open_ else []
            if not open_:
                self._ended.wait(POLL_S)
            if not ready:
                continue
            data = os.read(self.handle, READ_BYTES)
            open_ = bool(data)
            *lines, typed = (typed + data).split(b"\n")
            for line in lines:
                answers.append({"number": number, "text": line.decode(errors="replace").strip()})
