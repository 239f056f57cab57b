"""Ask an OpenADR 3 server (VTN) for events: the few REST calls that a VEN needs, over HTTP of the standard library.

``POST /auth/token`` (OAuth 2 client credentials), ``GET /events`` by pages. Certificates are checked against the
system's trust; a plain address is taken for this machine only. A client library exists (`openadr3` 0.5, alpha, heavy
dependencies): four calls do not need it.
"""

import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from instruments.faults import FaultKind, PortFault

PAGE = 50  # the most that a server gives at once
MOST_PAGES = 40
READ_AGAIN = 3
MOST_BYTES = 4 << 20
EARLY_S = 30.0  # a token is renewed so long before its end
LOCAL = ("127.0.0.1", "localhost", "::1")


class OpenAdrClient:
    """Talk to the VTN at `url` (https://host/path); `client_id` and `secret` get the token, both empty: none is used.

    PortFault tells what failed: refused, time-out, rejected (status and problem), protocol.
    """

    def __init__(
        self,
        name: str,
        url: str,
        client_id: str = "",
        secret: str = "",
        timeout_s: float = 10.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOCAL):
            raise PortFault(FaultKind.REJECTED, name, url, "give an https address; plain http for this machine only")
        self.name, self.url = name, url.rstrip("/")
        self._client_id, self._secret = client_id, secret
        self._timeout_s, self._clock_s = timeout_s, clock_s
        self._token, self._token_until_s = "", 0.0
        self._opener = urllib.request.build_opener(
            _NoRedirect,
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        )

    def events(self, program_id: str = "") -> list[dict[str, Any]]:
        """Return all events (of a program) that the server shows us; more than a page is read until it stands still.

        An event that is taken away while pages are turned would hide another one, and lift its limit.
        """
        found = self._pages(program_id)
        for _ in range(READ_AGAIN if len(found) >= PAGE else 0):
            before, found = found, self._pages(program_id)
            if found == before:
                return found
        if len(found) >= PAGE:
            raise self._fault(FaultKind.PROTOCOL, "/events", "they change while their pages are read")
        return found

    def _pages(self, program_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(MOST_PAGES):
            query = {"skip": page * PAGE, "limit": PAGE} | ({"programID": program_id} if program_id else {})
            answer = self._get(f"/events?{urllib.parse.urlencode(query)}")
            if not isinstance(answer, list) or not all(isinstance(event, dict) for event in answer):
                raise self._fault(FaultKind.PROTOCOL, "/events", "the answer is not a list of events")
            found += answer
            if len(answer) < PAGE:
                return found
        raise self._fault(FaultKind.PROTOCOL, "/events", f"more than {MOST_PAGES * PAGE} events")

    def _get(self, path: str) -> Any:
        try:
            return self._ask(path, None, self._bearer())
        except PortFault as fault:
            if "status 401" not in str(fault) or not self._client_id:
                raise
        self._token = ""  # it was withdrawn before its time
        return self._ask(path, None, self._bearer())

    def _bearer(self) -> dict[str, str]:
        if not self._client_id:
            return {}
        if not self._token or self._clock_s() >= self._token_until_s:
            form = {"grant_type": "client_credentials", "client_id": self._client_id, "client_secret": self._secret}
            answer = self._ask("/auth/token", urllib.parse.urlencode(form).encode(), {})
            if not isinstance(answer, dict) or not answer.get("access_token"):
                raise self._fault(FaultKind.PROTOCOL, "/auth/token", "the answer has no access_token")
            lasts_s = answer.get("expires_in") or 3600.0
            if isinstance(lasts_s, bool) or not isinstance(lasts_s, int | float):
                raise self._fault(FaultKind.PROTOCOL, "/auth/token", f"expires_in {lasts_s!r} is no number of seconds")
            self._token = str(answer["access_token"])
            self._token_until_s = self._clock_s() + lasts_s - EARLY_S
        return {"Authorization": f"Bearer {self._token}"}

    def _ask(self, path: str, body: bytes | None, headers: dict[str, str]) -> Any:
        request = urllib.request.Request(self.url + path, data=body, headers={"Accept": "application/json"} | headers)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                data = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(500).decode(errors="replace")
            raise self._fault(FaultKind.REJECTED, path, f"status {error.code}: {said}") from error
        except TimeoutError as error:
            raise self._fault(FaultKind.TIMEOUT, path, f"no answer in {self._timeout_s:g} s") from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            kind = FaultKind.TIMEOUT if "timed out" in str(error) else FaultKind.REFUSED
            raise self._fault(kind, path, str(getattr(error, "reason", error)) or "closed") from error
        if len(data) > MOST_BYTES:
            raise self._fault(FaultKind.PROTOCOL, path, f"more than {MOST_BYTES} bytes")
        try:
            return json.loads(data)
        except ValueError as error:
            raise self._fault(FaultKind.PROTOCOL, path, f"not JSON: {error}") from error

    def _fault(self, kind: FaultKind, path: str, text: str) -> PortFault:
        return PortFault(kind, self.name, path.split("?")[0], f"{self.url}: {text}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: a token is for the server that it was asked for."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Return None: the status is the answer."""
