"""Follow a substation over OPC UA: measured arrays and DSO orders of one server in our own namespace.

The client subscribes with the trigger status, value and time stamp, so that a value that stands still while its
stamp moves is still alive, and one whose stamp stands still is seen to be old.
"""

import asyncio
import contextlib
import logging
import struct
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlparse

import asyncua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.common.subscription import DataChangeEvent, StatusChangeEvent, Subscription
from asyncua.ua.uaerrors import BadNoMatch, UaError, UaStatusCodeError
from asyncua.ua.uatypes import NodeId, StatusCode

from instruments.catalog import CatalogError, Model, OpcuaPart
from instruments.faults import FaultKind, PortFault
from instruments.opcua_certificate import WARN_DAYS, CertificateError, OwnCertificate, utc_now
from instruments.opcua_channel import secure
from instruments.opcua_security import PLAIN, OpcuaSecurity
from instruments.substation_reading import GOOD, StationModel, SubstationReading

ua: Any = asyncua.ua  # its names are not exported to type checkers

PUBLISH_MS = 100.0
KEEP_ALIVE = 20  # publishing intervals without news after which the server says that it lives
LIFETIME = 100  # publishing intervals without us after which the server forgets the subscription
TIMEOUT_S = 4.0
WATCHDOG_S = 3.0  # asyncua's default of 1 s drops a server that is merely busy
SILENT_S = 0.1  # between two looks whether we may talk again
PROBE_S = 1.0
HINTS = {
    "BadUserAccessDenied": "check user and password_file, and what the server lets this user do",
    "BadIdentityTokenRejected": "give user and password_file: the server lets nobody in without a name",
    "BadSecurityChecksFailed": "let the server trust our certificate: its operator finds it among the rejected ones",
    "BadCertificateUntrusted": "let the server trust our certificate: its operator finds it among the rejected ones",
    "BadCertificateTimeInvalid": "renew our certificate, and compare the clocks of both machines",
    "BadSecurityModeInsufficient": 'the server wants security = "sign_and_encrypt" with certificate, key and trust',
}
BACKOFF_S = (0.5, 8.0)  # first and longest wait before the next attempt to connect

logging.getLogger("asyncua").addHandler(logging.NullHandler())  # its notices are not this program's narration


class SubstationClient:
    """Follow one substation at `address` (opc.tcp://host:port), identified against its catalog record.

    `points` maps a measuring group to node indices of the plan, in the order of the group's arrays; `n_nodes` is the
    number of nodes. `security` says how the channel is secured and who logs in; `user` and `password`, where given,
    log in on a plain one. Who logs in acknowledges heartbeats. `tell` takes events: of clocks and certificates.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        address: str,
        points: dict[str, list[int]],
        n_nodes: int,
        clock_ns: Callable[[], int],
        utc_ns: Callable[[], int],
        user: str = "",
        password: str = "",
        security: OpcuaSecurity = OpcuaSecurity(PLAIN),  # noqa: B008  frozen
        tell: Callable[..., None] | None = None,
    ) -> None:
        if model.opcua is None:
            raise CatalogError(f"{model.model.name}: speaks {model.model.protocol}, not OPC UA")
        self.name = name
        self.address = address
        self.part: OpcuaPart = model.opcua
        self._station = StationModel(points, n_nodes)
        self._clock_ns, self._utc_ns = clock_ns, utc_ns
        self._user, self._password = user or security.user, password
        self._security = security
        self._tell = tell
        self._warned_at: datetime | None = None
        self._client: Client | None = None
        self._nodes: dict[NodeId, tuple[str, str]] = {}
        self._ack: dict[str, Node] = {}
        self._acked: dict[str, int] = {}

    @property
    def reading(self) -> SubstationReading:
        """Return the newest reading; the same object for the life of the client."""
        return self._station.reading

    async def open(self) -> str:
        """Connect, identify and find every variable; return who answered. PortFault tells what failed."""
        with self._faults("open"):
            try:
                return await self._connect()
            except BaseException:
                await self._drop()
                raise

    async def run(self, may_talk: Callable[[], bool]) -> None:
        """Follow until cancelled; reconnect with growing waits. Without `may_talk()` it leaves and stays away.

        A subscription is answered and kept alive from here: it would go on as long as this process does.
        """
        wait_s = BACKOFF_S[0]
        while True:
            while not may_talk():
                await self._drop()
                await asyncio.sleep(SILENT_S)
            try:
                with self._faults("follow"):
                    if self._client is None:
                        await self._connect()
                    wait_s = BACKOFF_S[0]
                    await self._follow(may_talk)
                self._station.lost()
            except PortFault as fault:
                self._station.lost()
                self.reading.errors += 1
                self.reading.fault = str(fault)
            finally:
                await self._drop()
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, BACKOFF_S[1])

    async def close(self) -> None:
        """Close session and socket; everything is Bad from now on."""
        self._station.lost()
        await self._drop()

    async def _connect(self) -> str:
        client = Client(self.address, timeout=TIMEOUT_S, watchdog_intervall=WATCHDOG_S)
        client.name = "voltbench"
        if self._password:
            client.set_user(self._user)
            client.set_password(self._password)
        own = await secure(client, self._security, utc_now())
        await client.connect()
        self._client = client
        if own is not None:
            self._warn(own)
        answer = await self._identify(client)
        index = await client.get_namespace_index(self.part.identity.namespace_uri)
        self._nodes, self._ack = {}, {}
        for name, spec in self.part.nodes.items():
            if name == "raw_quality" or (spec.access == "rw" and not self._user):
                continue
            for group in self._station.points if "{group}" in spec.path else [""]:
                steps = [f"{index}:{step}" for step in spec.path.format(group=group).split("/")]
                node = await self._find(client, steps, group, spec.path)
                if spec.access == "rw":
                    self._ack[group] = node
                else:
                    self._nodes[node.nodeid] = (name, group)
        return answer

    def _warn(self, own: OwnCertificate) -> None:
        """Tell once a day that our certificate expires soon."""
        now = utc_now()
        recently = self._warned_at is not None and now - self._warned_at < timedelta(days=1)
        if self._tell is None or recently or own.days_left(now) > WARN_DAYS:
            return
        self._warned_at = now
        text = f"certificate = {self._security.certificate!r} expires {own.expires:%Y-%m-%d %H:%M} UTC; renew it"
        self._tell("certificate_expires", device=self.name, days_left=round(own.days_left(now), 1), text=text)

    async def _identify(self, client: Client) -> str:
        """Compare build information and namespaces with the catalog; return manufacturer and product."""
        want = self.part.identity
        build = await client.get_node(ua.ObjectIds.Server_ServerStatus_BuildInfo).read_value()
        answer = f"{build.ManufacturerName} {build.ProductName} {build.SoftwareVersion}"
        namespaces = await client.get_namespace_array()
        if (build.ManufacturerName, build.ProductName) != (want.manufacturer, want.product):
            detail = f"answers as {answer!r}, expected {want.manufacturer} {want.product}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, self.address, detail)
        if want.namespace_uri not in namespaces:
            detail = f"{answer!r} has no namespace {want.namespace_uri}; it has {', '.join(namespaces)}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, self.address, detail)
        return answer

    async def _find(self, client: Client, steps: list[str], group: str, path: str) -> Node:
        try:
            return await client.nodes.objects.get_child(steps)
        except BadNoMatch as error:
            where = path.format(group=group)
            detail = f"no variable {where}; the site's group {group!r} is not measured there"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, where, detail) from error

    async def _follow(self, may_talk: Callable[[], bool]) -> None:
        """Subscribe and take notifications until the link fails, or nothing may be said any more."""
        client = self._client
        if client is None:
            raise PortFault(FaultKind.CLOSED, self.name, self.address, "is not open")
        subscription = await self._subscribe(client)
        self.reading.link, self.reading.fault = True, ""
        probe_ns = 0
        while may_talk():
            event = await _next(subscription, PROBE_S / 2)
            now_ns = self._clock_ns()
            if isinstance(event, DataChangeEvent):
                self._take(event, now_ns)
            elif isinstance(event, StatusChangeEvent):
                ended = f"{self.address}: the subscription ended with {event.notification.Status.name}"
                raise PortFault(FaultKind.CLOSED, self.name, "follow", ended)
            if now_ns - probe_ns >= PROBE_S * 1e9:
                probe_ns = now_ns
                self._station.tick(now_ns)
                await self._probe(client)

    def _take(self, event: DataChangeEvent, now_ns: int) -> None:
        data = event.data.monitored_item.Value
        if data is None:
            return
        name, group = self._nodes[event.node.nodeid]
        status = data.StatusCode.value if data.StatusCode is not None else 0
        self._station.take(name, group, event.value, status, data.SourceTimestamp, now_ns, self._utc_ns())
        if self._station.skew_news:
            self._station.skew_news = False
            self._tell_skew()

    def _tell_skew(self) -> None:
        """Tell that the station's clock went wrong, or is right again."""
        if self._tell is not None:
            skew = self._station.skew
            text = skew.text or "its clock agrees with ours again"
            self._tell("clock_skew" if skew.text else "clock_agrees", device=self.name, skew_s=skew.skew_s, text=text)

    async def _subscribe(self, client: Client) -> Subscription:
        parameters = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=PUBLISH_MS,
            RequestedLifetimeCount=LIFETIME,
            RequestedMaxKeepAliveCount=KEEP_ALIVE,
            MaxNotificationsPerPublish=0,
            PublishingEnabled=True,
            Priority=0,
        )
        subscription = await client.create_subscription(parameters)
        trigger = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
        requests = [
            ua.MonitoredItemCreateRequest(
                ItemToMonitor=ua.ReadValueId(NodeId=node_id, AttributeId=ua.AttributeIds.Value),
                MonitoringMode=ua.MonitoringMode.Reporting,
                RequestedParameters=ua.MonitoringParameters(
                    ClientHandle=handle,
                    SamplingInterval=PUBLISH_MS / 2,
                    Filter=trigger,
                    QueueSize=1,
                    DiscardOldest=True,
                ),
            )
            for handle, node_id in enumerate(self._nodes, start=1)
        ]
        for result, where in zip(
            await subscription.create_monitored_items(requests), self._nodes.values(), strict=True
        ):
            if isinstance(result, StatusCode):
                raise PortFault(FaultKind.REJECTED, self.name, ".".join(where), f"cannot be subscribed: {result.name}")
        return subscription

    async def _probe(self, client: Client) -> None:
        """Time one read, so that a link that stalled is seen, and acknowledge heartbeats."""
        begun_ns = self._clock_ns()
        async with asyncio.timeout(TIMEOUT_S):
            await client.nodes.server_state.read_value()
        self.reading.round_trip_ns = self._clock_ns() - begun_ns
        for group, node in self._ack.items():
            slot = self._station.slots.get(("heartbeat", group))
            if slot is None or slot.quality != GOOD or self._acked.get(group) == slot.value:
                continue
            await node.write_value(ua.Variant(slot.value, ua.VariantType.UInt32))
            self._acked[group] = slot.value

    async def _drop(self) -> None:
        """Leave the session; what the other end no longer answers is given up."""
        client, self._client = self._client, None
        self._acked = {}
        if client is not None:
            with contextlib.suppress(OSError, asyncio.TimeoutError, UaError):
                async with asyncio.timeout(TIMEOUT_S):  # wait_for of Python 3.11 may swallow a cancellation
                    await client.disconnect()

    @contextlib.contextmanager
    def _faults(self, channel: str) -> Iterator[None]:
        """Map what asyncua and sockets raise to a PortFault."""
        host = urlparse(self.address).netloc
        try:
            yield
        except TimeoutError as error:
            raise PortFault(FaultKind.TIMEOUT, self.name, channel, f"{host}: no answer in {TIMEOUT_S} s") from error
        except ConnectionRefusedError as error:
            raise PortFault(FaultKind.REFUSED, self.name, channel, f"nothing listens at {host}") from error
        except (ConnectionError, EOFError, StopAsyncIteration) as error:
            raise PortFault(FaultKind.CLOSED, self.name, channel, f"{host}: {error or 'closed'}") from error
        except OSError as error:
            raise PortFault(FaultKind.REFUSED, self.name, channel, f"{host}: {error.strerror or error}") from error
        except CertificateError as error:
            detail, _, hint = str(error).rpartition("; ")
            raise PortFault(FaultKind.INTERLOCK, self.name, channel, f"{host}: {detail or hint}", hint) from error
        except UaStatusCodeError as error:
            hint = HINTS.get(StatusCode(error.code).name, "")
            raise PortFault(FaultKind.REJECTED, self.name, channel, f"{host}: {error}", hint) from error
        except UaError as error:
            raise PortFault(FaultKind.PROTOCOL, self.name, channel, f"{host}: {error}") from error
        except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
            # an answer of another type than was asked for must not end the wires of everybody else
            detail = f"{host}: an answer that is not what was asked for: {error!r}"
            raise PortFault(FaultKind.PROTOCOL, self.name, channel, detail) from error


async def _next(subscription: Subscription, timeout_s: float) -> Any:
    """Return the next event, or None after `timeout_s`.

    `asyncio.wait_for` of Python 3.11, which asyncua uses, may swallow a cancellation: it is raised here instead.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    try:
        async with asyncio.timeout(timeout_s):
            return await anext(subscription)
    except TimeoutError:
        return None
