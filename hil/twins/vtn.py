"""Play an OpenADR 3 server (VTN): tokens and events over HTTP, with the faults that a client must survive.

``POST /auth/token`` with client credentials, ``GET /events`` with programID, skip and limit. The test, or a
rehearsal, sets `events`; `fault` is one of "", "refuse" (503), "hang" (answers late), "garbage", "expired" (401 once).
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LATE_S = 30.0
FAULTS = ("", "refuse", "hang", "garbage", "expired")


class VtnTwin:
    """Serve on 127.0.0.1 at a free port; use it as a context. `asked` counts questions for events."""

    def __init__(self, client_id: str = "ven", secret: str = "secret") -> None:
        self.events: list[dict[str, Any]] = []
        self.fault = ""
        self.asked = self.tokens = 0
        self.credentials = client_id, secret
        self.ended = threading.Event()
        twin = self

        class Handler(BaseHTTPRequestHandler):
            """Answer one request."""

            def do_GET(self) -> None:
                """Serve events."""
                twin.get(self)

            def do_POST(self) -> None:
                """Serve a token."""
                twin.post(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="vtn", daemon=True)

    @property
    def url(self) -> str:
        """Return the server's address."""
        return f"http://127.0.0.1:{self._server.server_port}/openadr3"

    def __enter__(self) -> "VtnTwin":
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer ``GET /events``."""
        self.asked += 1
        fault = self.fault
        if fault == "hang":
            self.ended.wait(LATE_S)
            return
        if fault == "refuse":
            _answer(handler, 503, {"title": "Service Unavailable", "status": 503})
        elif fault == "garbage":
            _answer(handler, 200, None)
        elif fault == "expired" or handler.headers.get("Authorization") != f"Bearer token-{self.tokens}":
            self.fault = "" if fault == "expired" else fault
            _answer(handler, 401, {"title": "Unauthorized", "status": 401})
        else:
            query = parse_qs(urlsplit(handler.path).query)
            program = query.get("programID", [""])[0]
            found = [event for event in self.events if program in ("", event.get("programID"))]
            skip, limit = (int(query.get(key, [default])[0]) for key, default in (("skip", "0"), ("limit", "50")))
            _answer(handler, 200, found[skip : skip + limit])

    def post(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer ``POST /auth/token``."""
        form = parse_qs(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
        given = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        if given != self.credentials:
            _answer(handler, 403, {"title": "Forbidden", "status": 403})
            return
        self.tokens += 1
        _answer(handler, 200, {"access_token": f"token-{self.tokens}", "token_type": "Bearer", "expires_in": 3600})


def capacity_event(name: str, kind: str, values_kw: list[float], start: str, duration: str, **fields: Any) -> Any:
    """Return an event of equal intervals: `kind` as IMPORT_CAPACITY_LIMIT, kW, ISO 8601 start and duration."""
    intervals = [{"id": k, "payloads": [{"type": kind, "values": [kw]}]} for k, kw in enumerate(values_kw)]
    period = {"start": start, "duration": duration}
    return {
        "id": name,
        "objectType": "EVENT",
        "programID": "p",
        "intervalPeriod": period,
        "intervals": intervals,
    } | fields


def _answer(handler: BaseHTTPRequestHandler, status: int, value: Any) -> None:
    body = b"<html>" if value is None else json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
