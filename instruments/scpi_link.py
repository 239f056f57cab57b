"""Open pyvisa-py sessions of every kind and give them what they lack: TCP_NODELAY, an end of stream that is one.

pyvisa-py 0.8 connects a raw socket in the background (a refusal shows at the first use), leaves Nagle's algorithm on
(write, write, query takes 44 ms), and reads an ended stream again and again until the time-out, on raw sockets and on
VXI-11 alike. Its sessions keep their sockets in private places; this is the only module that knows them.
"""

import errno
import os
import socket
import struct
from typing import Any

import pyvisa
from pyvisa.constants import Parity, StopBits
from pyvisa.errors import InvalidSession, VisaIOError
from pyvisa_py.protocols.rpc import RPCError
from pyvisa_py.sessions import OpenError

from instruments.scpi_address import Address
from instruments.scpi_dialect import Transport

try:
    from termios import error as line_error  # a serial line that does not take its settings; no OSError
except ImportError:  # Windows has none
    LINE_ERRORS: tuple[type[Exception], ...] = ()
else:
    LINE_ERRORS = (line_error,)

SELECT_LIMIT = 1024  # pyvisa-py waits with select(), which takes no higher file descriptor
PARITY = {"N": Parity.none, "E": Parity.even, "O": Parity.odd}
STOP = {"1": StopBits.one, "2": StopBits.two}

# What a session in use raises when its wire breaks; HiSLIP says so with RuntimeError and AssertionError.
BROKEN: tuple[type[Exception], ...] = (
    VisaIOError,
    OSError,
    InvalidSession,
    EOFError,
    RPCError,
    struct.error,
    RuntimeError,
    AssertionError,
)
# What an opening raises besides; a ValueError asks for a backend that is not installed (pyusb, gpib-ctypes).
NOT_OPENED = (*BROKEN, *LINE_ERRORS, OpenError, ValueError)


class LinkSocket(socket.socket):
    """Raise at the end of the stream instead of answering with nothing, for ever."""

    def recv(self, *arguments: Any) -> bytes:
        """Return received bytes; ConnectionAbortedError where the peer has closed."""
        data = super().recv(*arguments)
        if not data:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the device closed the connection")
        return data


class Link:
    """Hold one open session; `query` and `write` are pyvisa's and raise one of BROKEN."""

    __slots__ = ("_session", "kind", "resource", "socket")

    def __init__(self, address: Address, transport: Transport, timeout_s: float) -> None:
        self.kind = address.kind
        self.socket: LinkSocket | None = None
        if self.kind == "hislip":
            _reachable(address, timeout_s)
        milliseconds = max(1, round(timeout_s * 1000))
        manager = pyvisa.ResourceManager("@py")  # one a process: closing it would close every other port
        self.resource: Any = manager.open_resource(
            address.text,
            open_timeout=milliseconds,
            timeout=milliseconds,
            write_termination=transport.term_out,
            encoding="latin-1",
            **_settings(self.kind, transport),
        )
        library: Any = self.resource.visalib
        self._session: Any = library.sessions[self.resource.session]
        try:
            self._take_socket()
        except OSError:
            self.close()
            raise

    def wait_at_most(self, timeout_s: float) -> None:
        """Change the longest wait for an answer, s."""
        self.resource.timeout = max(1, round(timeout_s * 1000))

    def query(self, message: str) -> str:
        """Send a message and return its answer line without the end."""
        return str(self.resource.query(message)).rstrip("\r\n")

    def write(self, message: str) -> None:
        """Send a message."""
        self.resource.write(message)

    def waiting(self) -> bytes:
        """Return the beginning of what waits unread, as far as the kind of wire lets it be seen.

        ConnectionAbortedError where the device has closed a raw socket.
        """
        if self.kind == "serial":
            return b"?" * min(int(self._session.interface.in_waiting), 1)
        if self.kind != "socket" or self.socket is None:
            return b""  # message based: an answer cannot shift into the next one
        if self._session._pending_buffer:
            return bytes(self._session._pending_buffer)
        try:
            return self.socket.recv(SELECT_LIMIT, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    @property
    def nodelay(self) -> bool:
        """Tell whether TCP_NODELAY is set on the session's socket; HiSLIP's two have it from pyvisa-py."""
        link = self._session.interface._sync if self.kind == "hislip" else self.socket
        return link is not None and bool(link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def close(self) -> None:
        """Close the session, whatever state it is in."""
        try:
            self.resource.close()
        except BROKEN:
            return  # it was broken before

    def _take_socket(self) -> None:
        """Take the session's socket: seen refusal, TCP_NODELAY, end of stream as an error."""
        if self.kind == "socket":
            refused = self._session.interface.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if refused:
                raise OSError(refused, os.strerror(refused))
            self._session.interface = self.socket = LinkSocket(fileno=self._session.interface.detach())
        elif self.kind == "vxi11":
            client = self._session.interface
            client.sock = self.socket = LinkSocket(fileno=client.sock.detach())
        if self.socket is None:
            return
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.socket.fileno() >= SELECT_LIMIT:
            detail = f"more than {SELECT_LIMIT} open files in this process; open fewer devices in one process"
            raise OSError(errno.EMFILE, detail)


def _settings(kind: str, transport: Transport) -> dict[str, Any]:
    """Return what pyvisa has to be told about a kind of wire; message-based ones end an answer themselves."""
    if kind not in ("socket", "serial"):
        return {}
    settings: dict[str, Any] = {"read_termination": transport.term_in}
    if kind == "serial":
        bits, parity, stop = transport.framing
        settings |= {
            "baud_rate": transport.baud or 9600,
            "data_bits": int(bits),
            "parity": PARITY[parity],
            "stop_bits": STOP[stop],
        }
    return settings


def _reachable(address: Address, timeout_s: float) -> None:
    """Connect once and close: pyvisa-py's HiSLIP waits 5 s for a connection, whatever it is told."""
    socket.create_connection((address.host, address.port), timeout_s).close()
