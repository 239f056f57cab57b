"""Let charge points in: one WebSocket server for all of a site, each point known by the last part of its URL.

Who is not expected, has no password or shares no protocol version with us is refused in the handshake, and told.
Of two connections under one identity the living one stays, and neither is believed for a while.
"""

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from instruments.catalog import ocpp_of
from instruments.faults import FaultKind, PortFault
from instruments.ocpp_charger import OcppCharger
from instruments.ocpp_rpc import OcppRpc
from instruments.ocpp_security import Security, SecurityError, admits, load_passwords, server_context

ALIVE_S = 2.0  # within which an old connection must answer a ping to be alive
PING_S = 10.0
MAX_BYTES = 256 * 1024
CLOSE_S = 1.0


class Csms:
    """Serve the points of one site.

    Parameters
    ----------
    host, port: where it listens; port 0 takes a free one, told by `url` after `start`
    security: who is let in
    tell: called with a kind and words where a point is refused or comes and goes, for the event log
    """

    def __init__(
        self, host: str, port: int, security: Security | None = None, tell: Callable[..., None] | None = None
    ) -> None:
        self.host, self.port = host, port
        self.security = security or Security()
        self.chargers: dict[str, OcppCharger] = {}
        self.refused: deque[str] = deque(maxlen=20)
        self._tell = tell or (lambda *_args, **_fields: None)
        self._server: Server | None = None
        self._passwords: dict[str, str] = {}
        self._connections: dict[str, ServerConnection] = {}
        self._starting = asyncio.Lock()
        self._left: set[str] = set()

    @property
    def url(self) -> str:
        """Return the URL that points dial, without their identity."""
        return f"{self.security.scheme}://{self.host}:{self.port}"

    def expect(self, charger: OcppCharger) -> None:
        """Let a charge point in that is to be commanded; ValueError for a second one of the same identity."""
        if charger.identity in self.chargers:
            raise ValueError(
                f"{charger.name}: identity {charger.identity} is that of {self.chargers[charger.identity].name}"
            )
        self.chargers[charger.identity] = charger

    async def start(self) -> None:
        """Listen, if nobody did before; a PortFault says why that cannot be done."""
        async with self._starting:
            self._left.clear()
            if self._server is not None:
                return
            try:
                self._passwords = load_passwords(self.security)
                context = server_context(self.security)
                self._server = await serve(
                    self._converse, self.host, self.port, ssl=context, process_request=self._admit,
                    select_subprotocol=self._choose, ping_interval=PING_S, ping_timeout=PING_S, max_size=MAX_BYTES,
                    close_timeout=CLOSE_S, compression=None,
                )  # fmt: skip
            except SecurityError as error:
                raise PortFault(FaultKind.INTERLOCK, "csms", "", str(error), "correct [csms] and its files") from error
            except OSError as error:
                hint = "end what listens there, or give another port in [csms]"
                raise PortFault(FaultKind.REFUSED, "csms", "", f"cannot listen at {self.url}: {error}", hint) from error
            self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def leave(self, identity: str) -> None:
        """Stop serving an identity; the last one closes the socket."""
        self._left.add(identity)
        if self._left >= set(self.chargers):
            await self.close()

    async def close(self) -> None:
        """Close the socket and every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    def seen(self) -> str:
        """Say who dialled and was refused, for messages."""
        return f"; refused: {'; '.join(dict.fromkeys(self.refused))}" if self.refused else ""

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse in the handshake who may not come in: 404 unknown, 401 no password, 503 while silent, 409 second."""
        identity = identity_of(request.path)
        charger = self.chargers.get(identity)
        if charger is None or identity in self._left:
            return self._refuse(connection, HTTPStatus.NOT_FOUND, identity, "no charger of the site has this identity")
        header = request.headers.get("Authorization")
        if self.security.profile and not await asyncio.to_thread(admits, self._passwords, identity, header):
            response = self._refuse(connection, HTTPStatus.UNAUTHORIZED, identity, "wrong or no password")
            response.headers["WWW-Authenticate"] = 'Basic realm="OCPP"'
            return response
        if charger.silent:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "nothing decides at the moment\n")
        old = self._connections.get(identity)
        if old is not None and await _alive(old):
            charger.doubt(_peer(connection))
            return self._refuse(connection, HTTPStatus.CONFLICT, identity, "is connected already")
        if old is not None:
            old.transport.abort()
        return None

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, identity: str, why: str) -> Response:
        text = f"{identity or 'no identity'} from {_peer(connection)}: {why}"
        self.refused.append(text)
        self._tell("ocpp_refused", identity=identity, status=int(status), text=text)
        return connection.respond(status, f"{why}\n")

    def _choose(self, connection: ServerConnection, offered: Any) -> Subprotocol | None:
        """Return the version to speak, the record's preferred one first; None where there is no common one."""
        charger = self.chargers[identity_of(connection.request.path if connection.request else "")]
        for version in ocpp_of(charger.model).versions:
            if version in offered:
                return Subprotocol(version)
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        """Serve one connection until it ends."""
        request = connection.request
        identity = identity_of(request.path if request is not None else "")
        charger = self.chargers[identity]
        version = connection.subprotocol
        if version is None:
            allowed = ", ".join(ocpp_of(charger.model).versions)
            self.refused.append(f"{identity}: offers no version of {allowed}")
            self._tell("ocpp_refused", identity=identity, status=1002, text=self.refused[-1])
            await connection.close(1002, "no common OCPP version")
            return
        if identity in self._connections:  # two handshakes at once: the first one stays
            charger.doubt(_peer(connection))
            await connection.close(1008, "connected already")
            return
        self._connections[identity] = connection
        timeout_s = ocpp_of(charger.model).call_timeout_s
        send = functools.partial(_send, charger.name, connection)
        rpc = charger.attach(lambda handle: OcppRpc(charger.name, version, send, handle, timeout_s), connection.close)
        self._tell("ocpp_connected", identity=identity, version=version, text=_peer(connection))
        try:
            async for message in connection:
                await rpc.take(message)
        except (ConnectionClosed, PortFault):
            self._tell("ocpp_ended", identity=identity, text=f"code {connection.close_code}")
        finally:
            if self._connections.get(identity) is connection:
                del self._connections[identity]
            charger.detach(rpc)


def identity_of(path: str) -> str:
    """Return the last part of a URL's path, decoded; an empty text where there is none."""
    return unquote(urlsplit(path).path.rstrip("/").rpartition("/")[2])


async def _send(device: str, connection: ServerConnection, text: str) -> None:
    try:
        await connection.send(text)
    except ConnectionClosed as error:
        raise PortFault(FaultKind.CLOSED, device, "", "the point ended the connection") from error


async def _alive(connection: ServerConnection) -> bool:
    """Say whether the other end of a connection still answers a ping."""
    try:
        async with asyncio.timeout(ALIVE_S):
            await (await connection.ping())
    except (TimeoutError, ConnectionClosed):
        return False
    return True


def _peer(connection: ServerConnection) -> str:
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "unknown"
