"""Serve OPC UA as others' clients expect it: asyncua's server with what it gets wrong mended or contained.

Mended (asyncua 2.1.0): a certificate is judged when a channel opens and must be that of the session; without a plain
endpoint there is no plain session; a republish that cannot be answered says so, instead of Good and nothing, which
another vendor's client repeats for ever; subscription ids and tokens do not repeat after a restart; a subscription
belongs to its session; what breaks the protocol ends the connection with a code; who may write which node is asked.
"""

import asyncio
import contextvars
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncua
from asyncua.common.utils import ServiceError
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.server import Server
from asyncua.server.subscription_service import SubscriptionService
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import struct_from_binary, uatcp_to_binary

from instruments.opcua_accounts import Account, Accounts
from instruments.opcua_certificate import CertificateError, check_peer, load_trust, utc_now
from instruments.opcua_channel import own_pair
from instruments.opcua_security import OpcuaSecurity

ua: Any = asyncua.ua  # its names are not exported to type checkers

NONE_URI = "http://opcfoundation.org/UA/SecurityPolicy#None"
TOLD_PER_MINUTE = 20  # a stranger who knocks may not fill the disk
BUILD_DATE = datetime(2026, 1, 1, tzinfo=UTC)

logging.getLogger("asyncua").addHandler(logging.NullHandler())  # its notices are not this program's narration
caller: contextvars.ContextVar[Account | None] = contextvars.ContextVar("caller", default=None)


def _type(name: str) -> Any:
    return ua.NodeId(getattr(ua.ObjectIds, f"{name}Request_Encoding_DefaultBinary"))


CREATE, ACTIVATE = _type("CreateSession"), _type("ActivateSession")
SESSIONLESS = {CREATE, ACTIVATE} | {
    _type(name) for name in ("CloseSession", "FindServers", "GetEndpoints", "CloseSecureChannel")
}
REGISTER = {_type("RegisterServer"), _type("RegisterServer2")}  # we are no discovery server


class Door:
    """Judge who comes in: the security of the server, whether plain sessions are let in, and what each duty may do.

    `writers` maps a variable to the duties that may write it, `callers` a method to those that may call it.
    """

    def __init__(self, security: OpcuaSecurity, *, plain: bool, tell: Callable[..., None] | None) -> None:
        self.security = security
        self.plain = plain or not security.secured
        self.writers: dict[Any, frozenset[str]] = {}
        self.callers: dict[Any, frozenset[str]] = {}
        self._tell = tell
        self._told: list[datetime] = []

    def check(self, der: bytes, uri: str = "") -> None:
        """Judge a client's certificate by the trust list as it is now; CertificateError with its status code."""
        check_peer(load_trust(self.security.trust), der, utc_now(), uri)

    def refused(self, peer: Any, status: str, text: str) -> None:
        """Tell of a refusal; of a few a minute only."""
        now = utc_now()
        self._told = [when for when in self._told if (now - when).total_seconds() < 60.0]
        if self._tell is not None and len(self._told) < TOLD_PER_MINUTE:
            self._told.append(now)
            self._tell("opcua_refused", peer=str(peer), status=status, text=text)


class _Refused(Exception):
    """End a connection with a status code."""

    def __init__(self, status: str, text: str) -> None:
        self.status = status
        super().__init__(text)


class _Processor(UaProcessor):
    """Handle one connection."""

    def __init__(self, iserver: "_Internal", transport: Any, limits: Any) -> None:
        super().__init__(iserver, transport, limits)
        self.door = iserver.door

    @property
    def _peer(self) -> bytes:
        return self._connection.security_policy.peer_certificate or b""

    def _is_plain(self) -> bool:
        return bool(self._connection.security_policy.URI == NONE_URI)

    async def process(self, header: Any, body: Any) -> bool:
        """Process a message; one that breaks the rules of the channel ends the connection with a code."""
        try:
            return bool(await super().process(header, body))  # type: ignore[no-untyped-call]
        except _Refused as error:
            status, text = error.status, str(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a stranger's bytes raise in there ends their connection
            opening = header.MessageType == ua.MessageType.SecureOpen
            status = "BadSecurityChecksFailed" if opening else "BadTcpInternalError"
            text = f"{type(error).__name__}: {error}"[:200]
        self.door.refused(self.name, status, text)
        code = ua.StatusCode(getattr(ua.StatusCodes, status))
        self._transport.write(uatcp_to_binary(ua.MessageType.Error, ua.ErrorMessage(code, status)))
        return False

    def open_secure_channel(self, algohdr: Any, seqhdr: Any, body: Any) -> None:
        """Open or renew a channel for a peer that is trusted; a plain one is for discovery unless plain is let in."""
        if algohdr.SecurityPolicyURI != NONE_URI:
            try:
                self.door.check(algohdr.SenderCertificate or b"")
            except CertificateError as error:
                # Part 4, 6.1.3: a stranger is not told why
                told = error.status if error.status == "BadCertificateTimeInvalid" else "BadSecurityChecksFailed"
                raise _Refused(told, str(error)) from error
        super().open_secure_channel(algohdr, seqhdr, body)  # type: ignore[no-untyped-call]

    async def _process_message(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> Any:
        if typeid in REGISTER:
            raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
        if self.session is None and typeid not in SESSIONLESS:
            raise ServiceError(ua.StatusCodes.BadSessionIdInvalid)
        if typeid == CREATE:
            self._check_session(struct_from_binary(ua.CreateSessionParameters, body.copy()))
        elif typeid == ACTIVATE and self.session is None:
            found = self.iserver.lookup_external_session(requesthdr.AuthenticationToken)
            if found is not None and getattr(found, "peer", b"") != self._peer:
                raise ServiceError(ua.StatusCodes.BadSecurityChecksFailed)  # another application's session
        result = await super()._process_message(typeid, requesthdr, seqhdr, body)  # type: ignore[no-untyped-call]
        if typeid == CREATE and isinstance(self.session, _Session):
            self.session.peer = self._peer
        return result

    def _check_session(self, params: Any) -> None:
        """Refuse a session on a plain channel, and one whose certificate is not the channel's or not the client's."""
        if self._is_plain():
            if not self.door.plain:
                self.door.refused(self.name, "BadSecurityModeInsufficient", "asked for a session without security")
                raise ServiceError(ua.StatusCodes.BadSecurityModeInsufficient)
            return
        try:
            if (params.ClientCertificate or b"") != self._peer:
                raise CertificateError("the session's certificate is not the channel's", "BadSecurityChecksFailed")
            self.door.check(self._peer, params.ClientDescription.ApplicationUri or "-")
        except CertificateError as error:
            self.door.refused(self.name, error.status, str(error))
            raise ServiceError(getattr(ua.StatusCodes, error.status)) from error


class _Session(InternalSession):
    """Hold one client's session: own token, own subscriptions, and what the duty of its user allows."""

    def __init__(self, iserver: "_Internal", *arguments: Any, **named: Any) -> None:
        super().__init__(iserver, *arguments, **named)
        self.peer = b""
        self.door = iserver.door
        if self.external:  # counted tokens could be guessed
            iserver.unregister_external_session(self)
            self.auth_token = ua.NodeId(secrets.token_bytes(32), 0, ua.NodeIdType.ByteString)
            iserver.register_external_session(self)

    @property
    def _duty(self) -> str:
        return str(getattr(self.user, "duty", ""))

    def _own(self, subscription_id: int) -> None:
        found = self.subscription_service.subscriptions.get(subscription_id)
        if found is None or (self.external and found.session_id != self.session_id):
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)

    def _mine(self) -> set[int]:
        """Return the ids of the subscriptions of this session; all of them for our own."""
        found = self.subscription_service.subscriptions
        return {i for i, each in found.items() if not self.external or each.session_id == self.session_id}

    async def write(self, params: Any) -> list[Any]:
        """Write what the user's duty allows: the value of nodes that name it; the rest is denied node by node."""
        if not self.external:
            return list(await super().write(params))
        denied = ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
        asked = params.NodesToWrite
        allowed = [
            item
            for item in asked
            if item.AttributeId == ua.AttributeIds.Value and self._duty in self.door.writers.get(item.NodeId, ())
        ]
        params.NodesToWrite = allowed
        results = iter(await super().write(params) if allowed else [])
        return [next(results) if item in allowed else denied for item in asked]

    async def call(self, params: Any) -> list[Any]:
        """Call what the user's duty allows; the called finds the user in `caller`."""
        if not self.external:
            return list(await super().call(params))
        token = caller.set(self.user if isinstance(self.user, Account) else None)
        try:
            return [await self._call_one(method) for method in params]
        finally:
            caller.reset(token)

    async def _call_one(self, method: Any) -> Any:
        allowed = self.door.callers.get(method.MethodId)
        if allowed is not None and self._duty not in allowed:
            return ua.CallMethodResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadUserAccessDenied))
        return (await super().call([method]))[0]

    def republish(self, params: Any) -> Any:
        """Return a message that is still kept; say that it is not, or that there is no such subscription."""
        self._own(params.SubscriptionId)
        kept = self.subscription_service.subscriptions[params.SubscriptionId]._not_acknowledged_results
        if params.RetransmitSequenceNumber not in kept:
            raise ServiceError(ua.StatusCodes.BadMessageNotAvailable)
        return kept[params.RetransmitSequenceNumber].NotificationMessage

    async def create_monitored_items(self, params: Any) -> list[Any]:
        """Add items to a subscription of this session."""
        self._own(params.SubscriptionId)
        return list(await super().create_monitored_items(params))

    async def modify_monitored_items(self, params: Any) -> list[Any]:
        """Change items of a subscription of this session."""
        self._own(params.SubscriptionId)
        return list(await super().modify_monitored_items(params))

    async def delete_monitored_items(self, params: Any) -> list[Any]:
        """Remove items of a subscription of this session."""
        self._own(params.SubscriptionId)
        return list(await super().delete_monitored_items(params))

    async def set_monitoring_mode(self, params: Any) -> list[Any]:
        """Change the mode of items of a subscription of this session."""
        self._own(params.SubscriptionId)
        return list(await super().set_monitoring_mode(params))

    def modify_subscription(self, params: Any) -> Any:
        """Change a subscription of this session."""
        self._own(params.SubscriptionId)
        return super().modify_subscription(params)

    async def delete_subscriptions(self, ids: list[int]) -> list[Any]:
        """Delete subscriptions of this session; those of others are not known here."""
        mine = sorted(self._mine() & set(ids))
        results = dict(zip(mine, await super().delete_subscriptions(mine), strict=True))
        return [results.get(i) or _invalid() for i in ids]

    async def set_publishing_mode(self, params: Any) -> list[Any]:
        """Let subscriptions of this session publish or fall silent; those of others are not known here."""
        asked, mine = list(params.SubscriptionIds), self._mine()
        params.SubscriptionIds = [i for i in asked if i in mine]
        results = iter(await super().set_publishing_mode(params))
        return [next(results) if i in mine else _invalid() for i in asked]

    def publish(self, acks: Any = None) -> tuple[int, list[Any]]:
        """Take acknowledgements of messages of this session; of others they would throw away what is not read yet."""
        asked, mine = list(acks or []), self._mine()
        count, found = super().publish([ack for ack in asked if ack.SubscriptionId in mine])
        results = iter(found)
        return count, [next(results) if ack.SubscriptionId in mine else _invalid() for ack in asked]

    async def transfer_subscriptions(self, params: Any, callback: Any) -> list[Any]:  # type: ignore[override]
        """Take over nothing: a session's subscriptions are its own (a client makes new ones)."""
        denied = ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
        return [ua.TransferResult(StatusCode=denied) for _ in params.SubscriptionIds]


def _invalid() -> Any:
    return ua.StatusCode(ua.StatusCodes.BadSubscriptionIdInvalid)


class _Subscriptions(SubscriptionService):
    """Number subscriptions so that a client's id from before a restart is not another's now."""

    def __init__(self, aspace: Any, iserver: Any) -> None:
        super().__init__(aspace, iserver=iserver)
        self._sub_id_counter = secrets.randbelow(2**31)


class _Internal(InternalServer):
    """Make sessions and subscriptions of our kind."""

    def __init__(self, accounts: Accounts, door: Door) -> None:
        self.door = door
        super().__init__(user_manager=accounts)  # type: ignore[arg-type]
        self.subscription_service = _Subscriptions(self.aspace, self)
        self.isession.subscription_service = self.subscription_service
        self.allow_remote_admin = False
        self.bind_condition_methods = 1

    def create_session(self, name: str, user: Any = None, external: bool = False) -> InternalSession:
        """Return a new session."""
        return _Session(self, self.aspace, self.subscription_service, name, user=user, external=external)


class _Protocol(OPCUAProtocol):
    """Give each connection a processor of our kind."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.processor is not None:
            self.processor = _Processor(self.iserver, transport, self.limits)  # type: ignore[arg-type]
            self.processor.set_policies(self.policies)  # type: ignore[no-untyped-call]


class _Binary(BinaryServer):
    def _make_protocol(self) -> OPCUAProtocol:
        return _Protocol(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)


class OpcuaServer(Server):
    """Serve an address space of ours: `prepare` it, build the nodes, then `listen`.

    `plain` lets unsecured clients in beside the secured ones; with `security.mode` none there are only those.
    """

    def __init__(
        self,
        accounts: Accounts,
        security: OpcuaSecurity,
        *,
        plain: bool = False,
        tell: Callable[..., None] | None = None,
    ) -> None:
        self.door = Door(security, plain=plain, tell=tell)
        super().__init__(iserver=_Internal(accounts, self.door))

    async def prepare(self, manufacturer: str, product: str, uri: str, version: str = "1") -> int:
        """Build the standard nodes, load our certificate, register namespace `uri` and return its index.

        Errors: CertificateError for our own pair or the trust list.
        """
        await self.init()
        self.set_server_name(f"{manufacturer} {product}")
        policies = [ua.SecurityPolicyType.NoSecurity] if self.door.plain else []
        if self.door.security.secured:
            own = own_pair(self.door.security, utc_now())
            load_trust(self.door.security.trust)
            await self.load_certificate(own.der, "der")
            await self.load_private_key(own.key_pem, format="pem")
            await self.set_application_uri(own.uri)
            policies.append(ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt)
        self.set_security_policy(policies)
        self.set_identity_tokens([ua.AnonymousIdentityToken, ua.UserNameIdentityToken])
        await self.set_build_info(uri, manufacturer, product, version, "1", BUILD_DATE)
        return int(await self.register_namespace(uri))

    async def listen(self, host: str, port: int) -> int:
        """Open the socket and return its port. OSError where it is taken."""
        self.set_endpoint(f"opc.tcp://{host}:{port}")
        await self._setup_server_nodes()
        await self.iserver.start()
        self.bserver = _Binary(self.iserver, host, port, self.limits)
        self.bserver.set_policies(self._policies)
        try:
            await self.bserver.start()
        except OSError:
            await self.iserver.stop()
            raise
        return int(self.bserver.port)

    async def let_write(self, node: Any, *duties: str) -> None:
        """Let users of these duties write a variable; everybody else may not."""
        await node.set_writable()
        self.door.writers[node.nodeid] = frozenset(duties)
