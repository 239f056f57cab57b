"""Stand between a Modbus client and a twin: count the writes, or answer them and keep them to itself."""

import socket
import socketserver
import struct
import threading
from urllib.parse import urlsplit

WRITES = (5, 6, 15, 16, 22, 23)


class Proxy:
    """Forward frames to `address` and count them; a write to the register `deaf_at` is answered and dropped."""

    def __init__(self, address: str) -> None:
        self.writes, self.reads = 0, 0
        self.deaf_at: int | None = None
        self._far = (urlsplit(address).hostname, urlsplit(address).port)
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(proxy._far, timeout=10) as far:
                    while (frame := _frame(self.request)) is not None:
                        answer = proxy._answer(frame, far)
                        if answer is None:
                            return
                        self.request.sendall(answer)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"modbus+tcp://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, frame: bytes, far: socket.socket) -> bytes | None:
        if frame[7] in WRITES:
            self.writes += 1
            if struct.unpack(">H", frame[8:10])[0] == self.deaf_at:
                body = frame[7:12]  # function, address and value or count come back
                return frame[:4] + struct.pack(">H", len(body) + 1) + frame[6:7] + body
        else:
            self.reads += 1
        far.sendall(frame)
        return _frame(far)


def _frame(link: socket.socket) -> bytes | None:
    """Return one whole frame, or None where the other end is gone."""
    head = _exactly(link, 6)
    body = None if head is None else _exactly(link, struct.unpack(">H", head[4:6])[0])
    return None if head is None or body is None else head + body


def _exactly(link: socket.socket, count: int) -> bytes | None:
    found = b""
    while len(found) < count:
        try:
            part = link.recv(count - len(found))
        except OSError:
            return None
        if not part:
            return None
        found += part
    return found
