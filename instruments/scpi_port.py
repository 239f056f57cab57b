"""Talk to one SCPI device over a raw socket with pyvisa and pyvisa-py: one session, one owner thread.

What pyvisa-py 0.8 leaves to its user is done here: a refused connection is seen at the opening, TCP_NODELAY is set
on the session's socket (write, write, query takes 44 ms without), the end of the stream is a disconnect at once (it
would spin a CPU until the time-out), and after a time-out the session is opened anew: an answer that comes late would
shift every later one, so nothing is ever read again from the old one.
"""

import errno
import os
import re
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import pyvisa
from pyvisa.constants import StatusCode
from pyvisa.errors import InvalidSession, VisaIOError

from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_dialect import Parser

ADDRESS = re.compile(r"TCPIP\d*::(?P<host>[^:]+)::(?P<port>\d+)::SOCKET", re.IGNORECASE)
SELECT_LIMIT = 1024  # pyvisa-py waits with select(), which takes no higher file descriptor
NO_ERROR = re.compile(r"[+-]?0(,.*)?")
DRAIN_MAX = 64
ESR_ERRORS = 4 + 8 + 16 + 32


class LinkSocket(socket.socket):
    """Raise at the end of the stream instead of answering with nothing, for ever."""

    def recv(self, *arguments: Any) -> bytes:
        """Return received bytes; ConnectionAbortedError where the peer has closed."""
        data = super().recv(*arguments)
        if not data:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the device closed the connection")
        return data


class ScpiPort:
    """Hold the session with one device; every failure is a PortFault.

    Parameters
    ----------
    name: name of the device in the rig or site file, for messages
    part: its dialect record
    address: ``TCPIP::host::port::SOCKET``
    timeout_s: longest wait for an answer, s; by default the catalog's

    `round_trip_ns` is the duration of the last exchange, `timeouts` and `reopened` count since the start.
    """

    __slots__ = (
        "_link",
        "_owner",
        "_resource",
        "_session",
        "address",
        "identity",
        "name",
        "part",
        "reopened",
        "round_trip_ns",
        "timeout_s",
        "timeouts",
    )

    def __init__(self, name: str, part: ScpiPart, address: str, *, timeout_s: float | None = None) -> None:
        self.name = name
        self.part = part
        self.address = address
        self.timeout_s = part.transport.timeout_s if timeout_s is None else timeout_s
        self.identity = ""
        self.round_trip_ns = 0
        self.timeouts = 0
        self.reopened = 0
        self._owner = 0
        self._resource: Any = None
        self._session: Any = None
        self._link: LinkSocket | None = None
        if ADDRESS.fullmatch(address) is None:
            raise PortFault(
                FaultKind.REFUSED, name, "address", f"{address!r}; allowed: TCPIP::host::port::SOCKET", "correct it"
            )

    def open(self) -> str:
        """Connect, set TCP_NODELAY and identify the device against the catalog; return its ``*IDN?`` answer.

        Raises PortFault: refused, timeout, closed, or wrong_identity, which names what answered and what was meant.
        """
        self.close()
        self._owner = threading.get_ident()
        manager = pyvisa.ResourceManager("@py")  # one a process: closing it would close every other port
        transport = self.part.transport
        try:
            self._resource = manager.open_resource(
                self.address,
                open_timeout=max(1, round(self.timeout_s * 1000)),
                timeout=max(1, round(self.timeout_s * 1000)),
                write_termination=transport.term_out,
                read_termination=transport.term_in,
                encoding="latin-1",
            )
        except Exception as error:
            if not isinstance(error, (VisaIOError, OSError)) and type(error) is not Exception:
                raise  # an error of ours; pyvisa-py 0.8 raises a bare Exception for no route, no name, no answer
            raise self._fault(FaultKind.REFUSED, "", f"{self.address}: {error}") from error
        self._take_socket()
        try:
            return self._identify()
        except PortFault:
            self.close()
            raise

    def close(self) -> None:
        """Close the session; harmless where it is closed."""
        resource = self._resource
        self._link = self._resource = self._session = None
        if resource is not None:
            resource.close()

    @property
    def is_open(self) -> bool:
        """Tell whether a session is open."""
        return self._link is not None

    @property
    def nodelay(self) -> bool:
        """Tell whether TCP_NODELAY is set on the session's socket."""
        return self._link is not None and bool(self._link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def send(self, message: str) -> None:
        """Send a message that has no answer."""
        self._ready(message)
        try:
            self._resource.write(message)
        except (VisaIOError, OSError, InvalidSession) as error:
            self.close()
            raise self._fault(FaultKind.CLOSED, message, str(error)) from error

    def query(self, message: str) -> str:
        """Send a message and return its answer line.

        After a time-out the device has been opened anew and identified before the fault is raised; where that fails
        too, the port is closed and the fault says so. The message may or may not have been executed.
        """
        self._ready(message)
        start_ns = time.perf_counter_ns()
        try:
            answer = str(self._resource.query(message)).rstrip("\r\n")
        except VisaIOError as error:
            if error.error_code != StatusCode.error_timeout:
                self.close()
                raise self._fault(FaultKind.CLOSED, message, str(error)) from error
            self.timeouts += 1
            said = self._resynchronise()
            raise self._fault(FaultKind.TIMEOUT, message, f"no answer within {self.timeout_s:g} s; {said}") from error
        except (OSError, InvalidSession) as error:
            self.close()
            raise self._fault(FaultKind.CLOSED, message, str(error)) from error
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

    def _take_socket(self) -> None:
        """Take the session's socket: seen refusal, TCP_NODELAY, end of stream as an error."""
        session = self._resource.visalib.sessions[self._resource.session]
        refused = session.interface.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if refused:
            self.close()
            raise self._fault(FaultKind.REFUSED, "", f"{self.address}: {os.strerror(refused)}")
        link = LinkSocket(fileno=session.interface.detach())
        session.interface = link
        self._session, self._link = session, link
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if link.fileno() >= SELECT_LIMIT:
            self.close()
            raise self._fault(
                FaultKind.INTERLOCK,
                "",
                f"more than {SELECT_LIMIT} open files in this process",
                "open fewer devices in one process",
            )

    def _identify(self) -> str:
        """Ask who answers and compare it with the catalog."""
        try:
            answer = str(self._resource.query("*IDN?")).strip()
        except VisaIOError as error:
            kind = FaultKind.TIMEOUT if error.error_code == StatusCode.error_timeout else FaultKind.CLOSED
            raise self._fault(kind, "*IDN?", f"no answer within {self.timeout_s:g} s") from error
        except (OSError, InvalidSession) as error:
            raise self._fault(FaultKind.CLOSED, "*IDN?", str(error)) from error
        expected = self.part.identity
        if re.fullmatch(expected.pattern, answer) is None:
            detail = f"{self.address} answers {answer!r}, expected one like {expected.sample!r}"
            raise self._fault(FaultKind.WRONG_IDENTITY, "*IDN?", detail)
        self.identity = answer
        self.part = self.part.variant_for(answer)
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

    def _ready(self, message: str) -> None:
        """Refuse a foreign thread, a closed port, and a stream in which something unread is left."""
        if self._link is None:
            raise self._fault(FaultKind.CLOSED, message, "the port is not open", "open it first")
        if threading.get_ident() != self._owner:
            raise self._fault(
                FaultKind.INTERLOCK, message, "used from a thread that does not own it", "one thread a session"
            )
        readable, _, _ = select.select([self._link], [], [], 0)
        if not readable and not self._session._pending_buffer:
            return
        try:
            left = bytes(self._session._pending_buffer) or self._link.recv(SELECT_LIMIT, socket.MSG_PEEK)
        except OSError as error:
            self.close()
            raise self._fault(FaultKind.CLOSED, message, str(error)) from error
        said = self._resynchronise()
        raise self._fault(FaultKind.PROTOCOL, message, f"an answer that nobody asked for waits: {left!r}; {said}")

    def _fault(self, kind: FaultKind, channel: str, detail: str, hint: str = "") -> PortFault:
        return PortFault(kind, self.name, channel, detail, hint)


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
