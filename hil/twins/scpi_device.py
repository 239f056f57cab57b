"""Answer SCPI messages for one emulated device: what a message does, in which order, and what waits for what.

A subclass adds the physics: what a reading is, what a setting does, when a protection trips. All of a device runs in
one thread; the clock is handed in. Where a command takes time (`pending`), ``*WAI`` and ``*OPC?`` hold the rest of
their connection back until `resume` (IEEE 488.2, 12.5; Keysight N6700 guide p62), and its answer is delivered then.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from hil.twins import scpi_grammar as grammar
from hil.twins.scpi_common import Action, common_commands, required_headers
from hil.twins.scpi_errors import ScpiError
from hil.twins.scpi_grammar import Node, Unit
from hil.twins.scpi_observers import IoWatchdog, Watched, watch
from hil.twins.scpi_session import Message, Session, Work, unheard
from hil.twins.scpi_status import OPC, URQ
from hil.twins.scpi_trips import Trips, copied
from instruments.scpi_catalog import ScpiPart


class ScpiDevice(Trips):
    """Hold one device; `answer` takes a message of the entered connection and returns its reply.

    Faults for tests and scenarios: `trip`, `release`, `lock_local`, `strict_pacing`. `too_fast` counts messages that
    came sooner than the record's pause.
    """

    __slots__ = (
        "_clock_s",
        "_common",
        "_completion",
        "_deaf_until_s",
        "_last_s",
        "_local_only",
        "_releases",
        "_root",
        "_saved",
        "_session",
        "_sessions",
        "_taken",
        "_takes",
        "_watch",
        "strict_pacing",
        "too_fast",
        "watchdog",
    )

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float]) -> None:
        self._root = Node()
        super().__init__(part, Message(self._root))
        self._clock_s = clock_s
        self._saved: dict[int, dict[str, Any]] = {}
        self._sessions: dict[int, Session] = {0: Session()}
        self._session = self._sessions[0]
        self._deaf_until_s = self._last_s = -math.inf
        self._completion = self._local_only = self.strict_pacing = False
        self.too_fast = 0
        self._common = common_commands(self)
        self._grow_tree()
        self.watchdog = IoWatchdog(part.watchdog)
        self._observe()

    # ------------------------------------------------------------------ what a subclass says
    def pending(self) -> bool:
        """Tell whether an overlapped command or a triggered action is not done yet."""
        return False

    def trigger(self) -> None:
        """Do what ``*TRG`` asks; nothing is armed here."""
        raise ScpiError(-211)

    # ------------------------------------------------------------------ connections
    def enter(self, client: int, deliver: Callable[[bytes], None] = unheard) -> None:
        """Say that the next message comes from this connection; late answers go to `deliver`."""
        session = self._sessions.get(client)
        if session is None:
            own = self.part.parser.error_per == "connection"
            session = self._sessions[client] = Session(deliver, self.status.own_queue() if own else None)
        self._session = session
        if session.errors is not None:
            self.status.errors = session.errors

    def leave(self, client: int) -> None:
        """Forget a connection and what waited on it; the device goes on as it was set."""
        session = self._sessions.pop(client, None)
        if session is not None:
            session.clear()
        if session is self._session:
            self._session = self._sessions.setdefault(0, Session())

    def device_clear(self) -> None:
        """Empty the connection's buffers and abort what waits; status, queue and settings stay (IEEE 488.2, 5.8)."""
        self._session.clear()

    # ------------------------------------------------------------------ messages
    def answer(self, message: bytes) -> bytes | None:
        """Execute one message (without its terminator) and return the reply line, or None where there is none."""
        now_s = self._clock_s()
        if now_s < self._deaf_until_s:
            return None
        gap_s, self._last_s = now_s - self._last_s, now_s
        if gap_s < self.part.transport.min_gap_s:
            self.too_fast += 1
            if self.strict_pacing:
                return None  # lost: it came before the device listened again
        if self.part.watchdog.kind == "any_io":
            self.watchdog.feed(now_s)
        session = self._session
        if session.work is not None:
            session.backlog.append(message)
            return None
        session.work = self._work(message)
        return session.advance()

    def resume(self) -> None:
        """Go on with what waited for an overlapped command, now that the plant has stepped."""
        if self._completion and not self.pending():
            self._completion = False
            self.status.event |= OPC
        for client, session in list(self._sessions.items()):
            self.enter(client)
            while session.work is not None:
                reply = session.advance()
                if session.work is not None:
                    break
                if reply is not None:
                    session.deliver(reply)
                if session.backlog:
                    session.work = self._work(session.backlog.popleft())

    def _work(self, text: bytes) -> Work:
        """Execute a message; each yield waits for what is pending."""
        message = Message(self._root)
        parser = self.part.parser
        units = [unit for unit in grammar.split(text.decode("latin-1"), ";") if unit.strip()]
        if (parser.max_bytes and len(text) > parser.max_bytes) or (parser.max_units and len(units) > parser.max_units):
            self.status.error(parser.too_long_code)
            return None
        indefinite = False
        for place, unit_text in enumerate(units):
            self._message = message
            try:
                unit, action, node = self._find(unit_text, message)
                if unit.query and indefinite:
                    raise ScpiError(-440)
                if unit.common and unit.mnemonics[0] in ("WAI", "OPC") and (unit.query or unit.mnemonics[0] == "WAI"):
                    self._commit()
                    while self.pending():
                        yield
                        self._message = message
                indefinite = indefinite or unit.mnemonics == ("IDN",)
                self._run(unit, action, node)
            except ScpiError as error:
                self._refuse(error.code, place)
                if -200 < error.code <= -100 or error.code == -440:
                    break  # units before a bad one are executed, the rest is dropped
        self._message = message
        self._commit()
        if not message.replies:
            return None
        return (";".join(message.replies) + self.part.transport.term_in).encode("latin-1")

    def _refuse(self, code: int, place: int) -> None:
        """Queue an error of a unit; settings staged before it take effect first."""
        self._commit()
        self.status.error(code)

    def _find(self, text: str, message: Message) -> tuple[Unit, Action, Node]:
        """Return unit, action and node of a header, and move the path (IEEE 488.2 A.1.1: common commands keep it)."""
        unit = grammar.parse_unit(text)
        parser = self.part.parser
        prefix = parser.abbrev == "prefix"
        self._suffix = 0
        if unit.common:
            if parser.path_after_common == "reset":
                message.path = self._root
            action = self._common.get(unit.mnemonics[0] + ("?" if unit.query else ""))
            if action is None:
                raise ScpiError(-113)
            return unit, action, self._root
        way = grammar.walk(self._root if unit.absolute else message.path, unit.mnemonics, prefix)
        if (way is None or way.action is None) and parser.path == "lenient":
            way = grammar.walk(self._root, unit.mnemonics, prefix)
        if way is None or way.action is None:
            raise ScpiError(-113)
        message.path = way.nodes[-2]
        self._suffix = way.suffix
        return unit, way.action, way.nodes[-1]

    def _run(self, unit: Unit, action: Action, node: Node) -> None:
        """Execute one unit and keep its answer; settings before a query have taken effect when it answers."""
        if unit.query or unit.common:
            self._commit()
        reply = action(unit)
        if reply is not None:
            if self.part.parser.header_reply and self._session.header_reply and not unit.common:
                reply = f":{node.form.short} {reply}"
            self._message.replies.append(reply)
        if not unit.common:
            self._noticed(node, unit)

    def _grow_tree(self) -> None:
        """Make the command tree: what SCPI-99 requires of every device, then the catalog's own."""
        for header, action in required_headers(self).items():
            self._root.add(header, action)
        for name, quantity in self.part.quantities.items():
            action = partial(self.quantity_unit, name, quantity)
            if quantity.header.startswith("*"):  # a vendor's own common command: ZES *ZLANG
                self._common[quantity.header[1:]] = self._common[f"{quantity.header[1:]}?"] = action
            else:
                self._root.add(quantity.header, action)

    # ------------------------------------------------------------------ remote control, watchdog
    def _observe(self) -> None:
        """Prepare what is done in addition when a message of the record comes by."""
        prefix = self.part.parser.abbrev == "prefix"
        remote, dog = self.part.remote, self.part.watchdog

        def quiet(unit: Unit) -> str | None:
            return "1" if unit.query else None

        self._takes = watch(self._root, remote.take, prefix, quiet)
        self._releases = watch(self._root, remote.release, prefix, quiet)
        self._taken: set[int] = set()
        self._watch: dict[str, list[Watched]] = {
            "arm": [one for step in dog.arm for one in watch(self._root, step.send, prefix, quiet)],
            "feed": watch(self._root, dog.feed, prefix, quiet),
            "disarm": watch(self._root, dog.disarm, prefix, quiet),
        }
        for one in watch(self._root, dog.remaining, prefix, quiet):
            one.node.action = partial(self._left, one.node.action)

    def _left(self, action: Action, unit: Unit) -> str | None:
        """Answer what is left of the watchdog, -1 while it is off (SM15K manual p17); pass anything else on."""
        if not unit.query or unit.parameters:
            return action(unit)
        in_ms = any("{milliseconds}" in step.send for step in self.part.watchdog.arm)
        left_s = self.watchdog.remaining_s(self._clock_s())
        return f"{left_s * (1000.0 if in_ms else 1.0):.0f}" if self.watchdog.armed else "-1"

    def _noticed(self, node: Node, unit: Unit) -> None:
        """Do what the record says that this message is for."""
        for place, one in enumerate(self._takes):
            if one.match(node, unit) is not None:
                self._taken.add(place)
                if len(self._taken) == len(self._takes):
                    self.take_remote(True)
        if any(one.match(node, unit) is not None for one in self._releases):
            self.take_remote(False)
        if self.part.watchdog.kind == "none":
            return
        if any(one.match(node, unit) is not None for one in self._watch["disarm"]):
            self.watchdog.armed = self.watchdog.expired = False
            return
        for one in self._watch["arm"]:
            found = one.match(node, unit)
            if found is None:
                continue
            for field, value in found.items():
                self.watchdog.set(value * {"milliseconds": 1e-3}.get(field, 1.0))
            if one is self._watch["arm"][-1]:
                self.watchdog.armed, self.watchdog.expired = True, False
                self.watchdog.feed(self._clock_s())
        if any(one.match(node, unit) is not None for one in self._watch["feed"]):
            self.watchdog.feed(self._clock_s())

    def take_remote(self, remote: bool) -> None:
        """Change between remote and local control; a device that needs none is always remote."""
        if remote and self._local_only:
            raise ScpiError(-201)
        self.remote = remote or not self.part.remote.needed
        if not remote:
            self._taken.clear()
            if self.values.get("after_remote") == "OFF":  # EA guide rev 24: what the output does without remote control
                self.switch_off()
        bits = self.part.status.questionable
        for name, on in (("REMOTE", self.remote), ("LOCAL", not self.remote)):
            if name in bits:
                self.status.questionable.set(bits[name], on)

    def lock_local(self, locked: bool) -> None:
        """Let somebody lock the front panel to local: remote control is taken away and refused with -201."""
        self._local_only = locked
        if locked:
            self.remote = False
            self._taken.clear()
            self.status.event |= URQ
        elif not self.part.remote.needed:
            self.remote = True

    def _watch_io(self, now_s: float) -> None:
        """Switch off when nobody fed the armed watchdog in time (Keysight N6700 guide p146: set values are kept)."""
        if not self.watchdog.due(now_s):
            return
        if self.part.watchdog.on_expiry == "output_off_latched":
            self.trip("WDOG")
        elif self.part.watchdog.on_expiry == "output_off" and self.values.get("after_remote") != "AUTO":
            self.switch_off()
        for name, bit in self.part.status.operation.items():
            if name == "CTO":
                self.status.operation.set(bit, True)

    def cleared(self) -> None:
        """Begin the watchdog's time-out anew when its latch was cleared."""
        if self.watchdog.expired and "WDOG" not in self.tripped:
            self.watchdog.expired = False
            self.watchdog.feed(self._clock_s())

    # ------------------------------------------------------------------ status
    @property
    def has_reply(self) -> bool:
        """Tell whether the message in hand has already made an answer (the MAV bit)."""
        return bool(self._message.replies)

    def note_completion(self) -> None:
        """Set the OPC bit now, or when everything pending is done (IEEE 488.2, 10.18)."""
        if self.pending():
            self._completion = True
        else:
            self.status.event |= OPC

    def clear_status(self) -> None:
        """Do what ``*CLS`` asks; a waiting ``*OPC`` is forgotten too (IEEE 488.2, 10.3)."""
        self._completion = False
        self.status.clear()

    def next_error(self) -> str:
        """Return the oldest error; where reading acknowledges alarms, those whose cause is gone are cleared."""
        text = self.status.errors.pop()
        if self.part.parser.error_acknowledges:
            self.clear_protection()
        return text

    def all_errors(self) -> str:
        """Return all errors, oldest first."""
        texts = [self.next_error()]
        while len(self.status.errors):
            texts.append(self.next_error())
        return ",".join(texts)

    # ------------------------------------------------------------------ memory, reset, trips
    def save(self, place: int) -> None:
        """Keep the settings in a memory of the device; list data is not among them (N6700 guide p130)."""
        self._saved[place] = {name: copied(value) for name, value in self.values.items() if not name.startswith("list")}

    def recall(self, place: int) -> None:
        """Take the settings of a memory back, the output off (RP7900 p211); -224 where nothing was kept there."""
        saved = self._saved.get(place)
        if saved is None:
            raise ScpiError(-224)
        self.values |= {name: copied(value) for name, value in saved.items()}
        self.switch_off()

    def reset(self) -> None:
        """Do what ``*RST`` does: defaults, output as the catalog says, deaf for a while; status and queue stay."""
        self._message.staged = []
        rule = self.part.reset
        self._defaults()
        if self.energises:
            value = self.values[self.energises]
            after = rule.output_after
            self.values[self.energises] = [after] * len(value) if isinstance(value, list) else after
        if rule.takes_remote:
            self.take_remote(True)
        if rule.clears_protection:
            self.clear_protection()
        self._deaf_until_s = self._clock_s() + rule.deaf_s
        self.changed(self.energises, [0])
