"""Serve a message-answering function over the wires that are no raw socket: HiSLIP, VXI-11, a serial line.

Just enough of IVI-6.1 (HiSLIP) and VXI-11 (VXIbus TCP/IP instrument protocol) that pyvisa-py's clients are tested for
real; each server runs in threads of its own and ends with its context.
"""

import os
import pty
import socket
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[bytes], bytes | None]

HEADER = struct.Struct("!2sBBIQ")  # prologue, type, control code, parameter, length of the payload
INITIALIZE, INITIALIZE_RESPONSE, DATA_END = 0, 1, 7
MAX_SIZE, MAX_SIZE_RESPONSE, ASYNC_INITIALIZE, ASYNC_INITIALIZE_RESPONSE = 15, 16, 17, 18
CREATE_LINK, DEVICE_WRITE, DEVICE_READ, DESTROY_LINK = 10, 11, 12, 23
IO_TIMEOUT, END = 15, 4


class Gone(ConnectionError):
    """Say that the client has closed."""


def exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = link.recv(count - len(data))
        if not chunk:
            raise Gone
        data += chunk
    return data


class Served:
    """Hold a listening server; `cut` ends every connection, as a device does that loses its supply."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.links: list[socket.socket] = []
        self._serve = serve
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.links.append(link)
            self._threads.append(threading.Thread(target=self._run, args=(link,), daemon=True))
            self._threads[-1].start()

    def _run(self, link: socket.socket) -> None:
        with link:
            try:
                while True:
                    self._serve(link)
            except OSError:
                return

    def cut(self) -> None:
        for link in self.links:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)


@contextmanager
def hislip(answer: Answer) -> Iterator[Served]:
    """Serve HiSLIP 1.0, synchronised mode: initialise both channels, data, maximum size."""

    def serve(link: socket.socket) -> None:
        _, kind, _, parameter, length = HEADER.unpack(exactly(link, HEADER.size))
        payload = exactly(link, length)
        if kind == INITIALIZE:
            link.sendall(HEADER.pack(b"HS", INITIALIZE_RESPONSE, 0, 0x0100 << 16 | 1, 0))
        elif kind == ASYNC_INITIALIZE:
            link.sendall(HEADER.pack(b"HS", ASYNC_INITIALIZE_RESPONSE, 0, 0, 0))
        elif kind == MAX_SIZE:
            link.sendall(HEADER.pack(b"HS", MAX_SIZE_RESPONSE, 0, 0, 8) + payload)
        elif kind == DATA_END and (reply := answer(payload.rstrip(b"\r\n"))) is not None:
            link.sendall(HEADER.pack(b"HS", DATA_END, 0, parameter, len(reply)) + reply)

    served = Served(serve)
    try:
        yield served
    finally:
        served.stop()


@contextmanager
def vxi11(answer: Answer) -> Iterator[Served]:
    """Serve the core channel of VXI-11 without a port mapper: one link, write, read."""
    replies: list[bytes] = []

    def called(procedure: int, arguments: bytes) -> bytes:
        if procedure == CREATE_LINK:
            return struct.pack("!IIII", 0, 1, 0, 65536)
        if procedure == DEVICE_WRITE:
            size = struct.unpack_from("!I", arguments, 16)[0]
            reply = answer(arguments[20 : 20 + size].rstrip(b"\r\n"))
            replies[:] = [] if reply is None else [reply]
            return struct.pack("!II", 0, size)
        if procedure == DEVICE_READ:
            if not replies:
                return struct.pack("!III", IO_TIMEOUT, 0, 0)
            reply = replies.pop()
            return struct.pack("!III", 0, END, len(reply)) + reply + bytes(-len(reply) % 4)
        return struct.pack("!I", 0)

    def serve(link: socket.socket) -> None:
        size = struct.unpack("!I", exactly(link, 4))[0] & 0x7FFFFFFF
        record = exactly(link, size)
        number, procedure = record[:4], struct.unpack_from("!I", record, 20)[0]
        accepted = number + struct.pack("!IIIII", 1, 0, 0, 0, 0) + called(procedure, record[40:])
        link.sendall(struct.pack("!I", 0x80000000 | len(accepted)) + accepted)

    served = Served(serve)
    try:
        yield served
    finally:
        served.stop()


class SerialLine:
    """Hold a pseudo terminal; `device` is the end that the client opens."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        buffer = b""
        while True:
            try:
                chunk = os.read(self._master, 256)
            except OSError:
                return
            buffer += chunk
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                if line == b"STOP":
                    return
                reply = self._answer(line.rstrip(b"\r"))
                if reply is not None:
                    os.write(self._master, reply)

    def say(self, data: bytes) -> None:
        """Send something that nobody asked for."""
        os.write(self._master, data)

    def unplug(self) -> None:
        """Take the device away: its line hangs up."""
        if self._slave < 0:
            return
        os.write(self._slave, b"STOP\n")
        self._thread.join(10)
        os.close(self._slave)
        os.close(self._master)
        self._slave = -1


@contextmanager
def serial_line(answer: Answer) -> Iterator[SerialLine]:
    """Serve a serial line on a pseudo terminal."""
    line = SerialLine(answer)
    try:
        yield line
    finally:
        line.unplug()
