"""Talk to one SCPI device over pyvisa and pyvisa-py: one session, one owner thread, one closed list of faults.

A refused connection is seen at the opening and the end of the stream is a disconnect at once (see `scpi_link`). After
a time-out the session is opened anew: an answer that comes late would shift every later one, so nothing is ever read
again from the old one. What vendors and libraries say stays in the detail of a PortFault.
"""

import re
import threading
import time
from collections.abc import Sequence

from pyvisa.constants import StatusCode

from instruments import scpi_address
from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_dialect import Parser, Transport
from instruments.scpi_link import BROKEN, NOT_OPENED, Link

NO_ERROR = re.compile(r"[+-]?0(,.*)?")
DRAIN_MAX = 64
ESR_ERRORS = 4 + 8 + 16 + 32  # query, device, execution and command error: IEEE 488.2, 11.5.1
OPENING_S = 5.0  # for a device that was just switched on or woken, or a busy host: while nothing is energised
IDLE_SHARE = 0.9  # of the time after which the device closes: then the session is opened anew before it is used


class ScpiPort:
    """Hold the session with one device; every failure is a PortFault.

    Parameters
    ----------
    name: name of the device in the rig or site file, for messages
    part: its dialect record
    address: VISA resource string; see `scpi_address`
    timeout_s: longest wait for an answer, s; by default the catalog's
    opening_s: longest wait for an answer from the opening until `hurry`, s; by default `timeout_s`

    `round_trip_ns` is the duration of the last exchange, `timeouts` and `reopened` count since the start.
    """

    __slots__ = (
        "_address",
        "_family",
        "_hurried_s",
        "_link",
        "_owner",
        "_sent_s",
        "address",
        "identity",
        "name",
        "part",
        "reopened",
        "round_trip_ns",
        "timeout_s",
        "timeouts",
        "transport",
    )

    def __init__(
        self,
        name: str,
        part: ScpiPart,
        address: str,
        *,
        timeout_s: float | None = None,
        opening_s: float = 0.0,
    ) -> None:
        self.name = name
        self.part = self._family = part
        self.address = address
        self.identity = ""
        self.round_trip_ns = 0
        self.timeouts = 0
        self.reopened = 0
        self._owner = 0
        self._sent_s = 0.0
        self._link: Link | None = None
        try:
            self._address = scpi_address.parse(address)
        except ValueError as error:
            raise PortFault(FaultKind.REFUSED, name, "address", str(error), "correct it") from error
        self.transport: Transport = part.transport_of(self._address.kind)
        self._hurried_s = self.transport.timeout_s if timeout_s is None else timeout_s
        self.timeout_s = max(self._hurried_s, opening_s)

    def open(self) -> str:
        """Connect and identify the device against the catalog; return its ``*IDN?`` answer.

        `part` becomes the record of the variant that answered. Raises PortFault: refused, timeout, closed, or
        wrong_identity, which names what answered and what was meant.
        """
        self.close()
        self._owner = threading.get_ident()
        try:
            self._link = Link(self._address, self.transport, self.timeout_s)
        except NOT_OPENED as error:
            raise self._fault(FaultKind.REFUSED, "", f"{self.address}: {error}") from error
        except Exception as error:
            if type(error) is not Exception:
                raise  # an error of ours; pyvisa-py 0.8 raises a bare Exception for no route, no name, no answer
            raise self._fault(FaultKind.REFUSED, "", f"{self.address}: {error}") from error
        try:
            return self._identify(self._link)
        except PortFault:
            self.close()
            raise

    def close(self) -> None:
        """Close the session; harmless where it is closed."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def hurry(self) -> None:
        """Wait no longer than `timeout_s` from here on: called before anything is energised, and never taken back."""
        self.timeout_s = self._hurried_s
        if self._link is not None:
            self._link.wait_at_most(self.timeout_s)

    @property
    def is_open(self) -> bool:
        """Tell whether a session is open."""
        return self._link is not None

    @property
    def nodelay(self) -> bool:
        """Tell whether TCP_NODELAY is set on the session's socket."""
        return self._link is not None and self._link.nodelay

    def send(self, message: str) -> None:
        """Send a message that has no answer."""
        link = self._ready(message)
        try:
            link.write(message)
        except BROKEN as error:
            self.close()
            raise self._fault(FaultKind.CLOSED, message, str(error)) from error

    def query(self, message: str) -> str:
        """Send a message and return its answer line.

        After a time-out the device has been opened anew and identified before the fault is raised; where that fails
        too, the port is closed and the fault says so. The message may or may not have been executed.
        """
        link = self._ready(message)
        start_ns = time.perf_counter_ns()
        try:
            answer = link.query(message)
        except BROKEN as error:
            if not _is_timeout(error):
                self.close()
                raise self._fault(FaultKind.CLOSED, message, str(error)) from error
            self.timeouts += 1
            said = self._resynchronise()
            raise self._fault(FaultKind.TIMEOUT, message, f"no answer within {self.timeout_s:g} s; {said}") from error
        self.round_trip_ns = time.perf_counter_ns() - start_ns
        return answer

    def exchange(self, message: str, order: Sequence[str]) -> dict[str, str]:
        """Send one compound message and return its answers by name.

        Another number of answers than names means that the stream is shifted: the port is opened anew, fault protocol.
        """
        answer = self.query(message)
        parts = split_answers(answer)
        if len(parts) != len(order):
            said = self._resynchronise()
            detail = f"{answer!r} has {len(parts)} answers, expected {len(order)} ({', '.join(order)}); {said}"
            raise self._fault(FaultKind.PROTOCOL, message, detail)
        return dict(zip(order, parts, strict=True))

    def drain_errors(self) -> list[str]:
        """Empty the device's error queue and return what was in it, oldest first."""
        found: list[str] = []
        asked = self.part.parser.error_query
        while len(found) < DRAIN_MAX:
            answer = self.query(asked)
            if not is_error(answer, self.part.parser):
                return found
            found.append(answer)
        raise self._fault(FaultKind.PROTOCOL, asked, f"more than {DRAIN_MAX} errors, the last {found[-1]}")

    def _identify(self, link: Link) -> str:
        """Ask who answers and compare it with the catalog."""
        self._sent_s = time.monotonic()
        try:
            answer = link.query("*IDN?").strip()
        except BROKEN as error:
            kind = FaultKind.TIMEOUT if _is_timeout(error) else FaultKind.CLOSED
            text = f"no answer within {self.timeout_s:g} s" if kind == FaultKind.TIMEOUT else str(error)
            raise self._fault(kind, "*IDN?", text) from error
        expected = self._family.identity
        if re.fullmatch(expected.pattern, answer) is None:
            detail = f"{self.address} answers {answer!r}, expected one like {expected.sample!r}"
            raise self._fault(FaultKind.WRONG_IDENTITY, "*IDN?", detail)
        self.identity = answer
        self.part = self._family.variant_for(answer)
        return answer

    def _resynchronise(self) -> str:
        """Open the device anew, identity compared; return what came of it as words for the fault."""
        before = self.identity
        try:
            answer = self.open()
        except PortFault as fault:
            return f"opening it anew failed ({fault.kind.name.lower()}: {fault.detail})"
        self.reopened += 1
        if before and answer != before:
            self.close()
            return f"another device answers now: {answer!r}, before {before!r}"
        return "opened anew"

    def _ready(self, message: str) -> Link:
        """Return the link when it may be used now; wait for the gap between messages that the device needs.

        A foreign thread and a closed port are refused, and so is a stream in which something unread is left.
        """
        if self._link is None:
            raise self._fault(FaultKind.CLOSED, message, "the port is not open", "open it first")
        if threading.get_ident() != self._owner:
            raise self._fault(
                FaultKind.INTERLOCK, message, "used from a thread that does not own it", "one thread a session"
            )
        way = self.transport
        if way.idle_close_s and time.monotonic() - self._sent_s > IDLE_SHARE * way.idle_close_s:
            said = self._resynchronise()
            if self._link is None:
                raise self._fault(FaultKind.CLOSED, message, f"idle for more than {way.idle_close_s:g} s; {said}")
        self._check_unread(message, self._link)
        if way.min_gap_s:
            time.sleep(max(0.0, self._sent_s + way.min_gap_s - time.monotonic()))
        if way.min_gap_s or way.idle_close_s:
            self._sent_s = time.monotonic()
        return self._link

    def _check_unread(self, message: str, link: Link) -> None:
        """Refuse a stream in which something unread is left."""
        try:
            left = link.waiting()
        except BROKEN as error:
            self.close()
            raise self._fault(FaultKind.CLOSED, message, str(error)) from error
        if left:
            said = self._resynchronise()
            raise self._fault(FaultKind.PROTOCOL, message, f"an answer that nobody asked for waits: {left!r}; {said}")

    def _fault(self, kind: FaultKind, channel: str, detail: str, hint: str = "") -> PortFault:
        return PortFault(kind, self.name, channel, detail, hint)


def _is_timeout(error: BaseException) -> bool:
    """Tell a time-out from a broken wire."""
    return isinstance(error, TimeoutError) or getattr(error, "error_code", None) == StatusCode.error_timeout


def split_answers(line: str) -> list[str]:
    """Split a reply line at the semicolons that are not inside a quoted string."""
    return [part.strip() for part in re.findall(r"((?:[^;\"']|\"[^\"]*\"|'[^']*')+)(?:;|$)", line)]


def is_error(answer: str, parser: Parser) -> bool:
    """Tell whether an answer to the family's error query is an error.

    A family without an error queue is asked for ``*ESR?``: its bits 2 to 5 are errors (IEEE 488.2, 11.5.1).
    """
    if parser.error_query.upper() == "*ESR?":
        return not answer.strip().lstrip("+").isdigit() or bool(int(answer) & ESR_ERRORS)
    return NO_ERROR.fullmatch(answer) is None
