"""Play a substation's OPC UA server: measured arrays and DSO orders under IEC 61850 names, in our own namespace.

Every value carries a status code made from IEC 61850 quality bits and the source time stamp that the plant hands in.
Anonymous clients read and subscribe; only the user `controller` may write, and only the acknowledgements.
"""

import math
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncua
import numpy as np
from asyncua.ua.uatypes import NodeId, VariantType

from instruments.catalog import Model, OpcuaPart, load_model
from instruments.opcua_accounts import Accounts
from instruments.opcua_security import PLAIN, OpcuaSecurity
from instruments.opcua_server import OpcuaServer

ua: Any = asyncua.ua  # its names are not exported to type checkers

MODEL = "substation-iec61850"
USER = "controller"
QUANTITIES = {"PhV": "volts", "A": "amps", "TotW": "watts", "HPTmp": "temperature", "Hz": "frequency"}
TRANSFORMER = "transformer"

# IEC 61850-7-3 quality bits as libiec61850 numbers them
VALIDITY, INVALID, QUESTIONABLE = 3, 2, 3
OVERFLOW, OUT_OF_RANGE, FAILURE, OLD_DATA, INACCURATE, SUBSTITUTED = 4, 8, 64, 128, 512, 1024

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NULL_DATE = datetime(1601, 1, 1, tzinfo=UTC)  # the null DateTime of OPC UA Part 6, 5.2.2.5


def status_of(quality: int) -> int:
    """Return the OPC UA status code for IEC 61850 quality bits (the reserved validity 1 counts as invalid)."""
    validity = quality & VALIDITY
    if validity == QUESTIONABLE:
        if quality & OLD_DATA:
            return int(ua.StatusCodes.UncertainLastUsableValue)
        return int(ua.StatusCodes.UncertainSensorNotAccurate if quality & INACCURATE else ua.StatusCodes.Uncertain)
    if validity != 0:
        if quality & FAILURE:
            return int(ua.StatusCodes.BadDeviceFailure)
        return int(ua.StatusCodes.BadOutOfRange if quality & (OVERFLOW | OUT_OF_RANGE) else ua.StatusCodes.Bad)
    return int(ua.StatusCodes.GoodLocalOverride if quality & SUBSTITUTED else ua.StatusCodes.Good)


def date_of(utc_ns: int) -> datetime:
    """Return the DateTime of a UTC time in ns of the Unix epoch, to the microsecond."""
    return EPOCH + timedelta(microseconds=utc_ns // 1000)


class SubstationTwin:
    """Serve measuring groups {name: number of points} with one order node a group.

    `utc_ns` is the station's clock, for the stamps of orders, heartbeats and temperature; measured values bring the
    stamp of the plant. `password` opens the user `controller`, who may write the acknowledgements. `security` is that
    of the server; with `plain` unsecured clients may read beside the secured ones.
    """

    def __init__(
        self,
        groups: dict[str, int],
        model: Model | None = None,
        utc_ns: Callable[[], int] = time.time_ns,
        *,
        security: OpcuaSecurity = OpcuaSecurity(PLAIN),  # noqa: B008  frozen
        plain: bool = False,
        password: str = "",
        tell: Callable[..., None] | None = None,
    ) -> None:
        self.groups = dict(groups)
        self.password = password or secrets.token_urlsafe(16)
        self.security, self.plain = security, plain
        self._tell = tell
        self.model = model or load_model(MODEL)
        if self.model.opcua is None:
            raise ValueError(f"{self.model.model.name}: speaks {self.model.model.protocol}, not OPC UA")
        self._part: OpcuaPart = self.model.opcua
        self._utc_ns = utc_ns
        self._server: OpcuaServer | None = None
        self._nodes: dict[tuple[str, str], NodeId] = {}
        self._frozen: set[tuple[str, str]] = set()
        self._bad: set[str] = set()
        self._future_ns: dict[str, int] = {}
        self._limit_w = {group: np.full(n, math.inf) for group, n in groups.items()}
        self._export_w = {group: np.full(n, math.inf) for group, n in groups.items()}
        self._from = {group: [NULL_DATE] * n for group, n in groups.items()}
        self._to = {group: [NULL_DATE] * n for group, n in groups.items()}
        self.beats = 0
        self._last_order_ns = 0

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Build the address space and listen; return the port.

        Errors: OSError where it is taken; CertificateError for the server's own pair or its trust list.
        """
        accounts = Accounts(clear={USER: (USER, self.password)}, anonymous=True, tell=self._tell)
        server = OpcuaServer(accounts, self.security, plain=self.plain, tell=self._tell)
        identity = self._part.identity
        index = await server.prepare(identity.manufacturer, identity.product, identity.namespace_uri)
        await self._build(server, index)
        listens = await server.listen(host, port)
        self._server = server
        await self._publish_orders()
        return listens

    async def stop(self) -> None:
        """End every session and close the socket."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop()

    async def _build(self, server: OpcuaServer, index: int) -> None:
        """Create objects and variables along the catalog's browse paths, once a group where the path names one."""
        objects: dict[str, Any] = {"": server.nodes.objects}
        for name, spec in self._part.nodes.items():
            for group in self.groups if "{group}" in spec.path else [""]:
                *folders, leaf = spec.path.format(group=group).split("/")
                path = ""
                for folder in folders:
                    parent, path = objects[path], f"{path}/{folder}"
                    if path not in objects:
                        objects[path] = await parent.add_object(ua.NodeId(path[1:], index), f"{index}:{folder}")
                kind = ua.VariantType[spec.dtype]
                size = {"1": None, "n": self.groups.get(group), "n*3": 3 * self.groups.get(group, 0)}[spec.shape]
                node_id = ua.NodeId(f"{path[1:]}/{leaf}", index)
                value = _blank(kind, size)
                node = await objects[path].add_variable(node_id, f"{index}:{leaf}", value, varianttype=kind)
                if spec.access == "rw":
                    await server.let_write(node, USER)
                self._nodes[name, group] = node_id
                if name in QUANTITIES.values():
                    waiting = ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData)
                    await server.write_attribute_value(node_id, ua.DataValue(None, StatusCode=waiting))

    async def _write(self, name: str, group: str, value: Any, status: int, stamp_utc_ns: int) -> None:
        """Write one variable with its status code and source time stamp."""
        if self._server is None:
            raise RuntimeError("the substation twin is not started")
        kind = ua.VariantType[self._part.nodes[name].dtype]
        data = ua.DataValue(
            ua.Variant(value, kind),
            StatusCode=ua.StatusCode(status),
            SourceTimestamp=date_of(stamp_utc_ns),
            ServerTimestamp=date_of(self._utc_ns()),
        )
        await self._server.write_attribute_value(self._nodes[name, group], data)

    async def publish(self, group: str, volts: Any, amps: Any, watts: Any, stamp_utc_ns: int, quality: int = 0) -> None:
        """Publish a group's volts (n, 3), amps (n, 3) and watts (n,), measured at `stamp_utc_ns`.

        `quality` holds IEC 61850 bits, 0 good. A frozen quantity keeps its last value and stamp.
        """
        n = self.groups[group]
        bits = INVALID | FAILURE if group in self._bad else quality
        stamp_ns = stamp_utc_ns + self._future_ns.get(group, 0)
        for name, values, shape in (("volts", volts, (n, 3)), ("amps", amps, (n, 3)), ("watts", watts, (n,))):
            array = np.asarray(values, dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"{group}.{name}: shape {array.shape}, expected {shape}")
            if (group, name) not in self._frozen:
                await self._write(name, group, array.ravel().tolist(), status_of(bits), stamp_ns)
        await self._write("raw_quality", group, bits, 0, stamp_ns)

    async def set_temperature(self, temp_c: float, stamp_utc_ns: int | None = None) -> None:
        """Publish the transformer's hot-spot temperature, degC."""
        if (TRANSFORMER, "temperature") in self._frozen:
            return
        status = status_of(INVALID | FAILURE if TRANSFORMER in self._bad else 0)
        await self._write("temperature", "", float(temp_c), status, stamp_utc_ns or self._utc_ns())

    async def set_frequency(self, frequency_hz: float, stamp_utc_ns: int | None = None) -> None:
        """Publish the frequency of the grid, Hz."""
        if (TRANSFORMER, "frequency") in self._frozen:
            return
        status = status_of(INVALID | FAILURE if TRANSFORMER in self._bad else 0)
        await self._write("frequency", "", float(frequency_hz), status, stamp_utc_ns or self._utc_ns())

    async def set_order(
        self,
        group: str,
        index: int,
        limit_w: float,
        from_utc_s: float = math.nan,
        to_utc_s: float = math.nan,
        export_w: float = math.inf,
    ) -> None:
        """Order limits of import and export for one point; +inf none, NaN times at once and until withdrawn."""
        self._limit_w[group][index] = limit_w
        self._export_w[group][index] = export_w
        self._from[group][index] = date_of(round(from_utc_s * 1e6) * 1000) if math.isfinite(from_utc_s) else NULL_DATE
        self._to[group][index] = date_of(round(to_utc_s * 1e6) * 1000) if math.isfinite(to_utc_s) else NULL_DATE
        await self._publish_order(group)

    async def _publish_order(self, group: str) -> None:
        """Write one group's order: four variables under one time stamp that no other order has."""
        stamp_ns = max(self._utc_ns(), self._last_order_ns + 1_000)
        self._last_order_ns = stamp_ns
        await self._write("order_from", group, list(self._from[group]), 0, stamp_ns)
        await self._write("order_to", group, list(self._to[group]), 0, stamp_ns)
        await self._write("order_export_w", group, self._export_w[group].tolist(), 0, stamp_ns)
        await self._write("order_w", group, self._limit_w[group].tolist(), 0, stamp_ns)

    async def _publish_orders(self) -> None:
        for group in self.groups:
            await self._publish_order(group)
            await self._write("heartbeat", group, self.beats, 0, self._utc_ns())

    async def beat(self) -> None:
        """Count the heartbeat of every order node."""
        self.beats = (self.beats + 1) & 0xFFFFFFFF
        for group in self.groups:
            await self._write("heartbeat", group, self.beats, 0, self._utc_ns())

    async def acknowledged(self, group: str) -> int:
        """Return the last heartbeat that the controller acknowledged."""
        if self._server is None:
            raise RuntimeError("the substation twin is not started")
        return int(await self._server.get_node(self._nodes["acknowledge", group]).read_value())

    def freeze(self, group: str, quantity: str, frozen: bool = True) -> None:
        """Let value and stamp of a quantity (PhV, A, TotW, HPTmp, Hz) stand still, or move again."""
        if group not in self.groups or quantity not in QUANTITIES:
            allowed = f"{', '.join(self.groups)} and {', '.join(QUANTITIES)}"
            raise ValueError(f"freeze {group}.{quantity}: allowed are {allowed}")
        (self._frozen.add if frozen else self._frozen.discard)((group, QUANTITIES[quantity]))

    def bad(self, group: str, failed: bool = True) -> None:
        """Mark a group's values as a device failure from its next publish on, or as its quality says again."""
        (self._bad.add if failed else self._bad.discard)(group)

    def future(self, group: str, ahead_s: float) -> None:
        """Stamp a group's values `ahead_s` seconds in the future; 0 ends it."""
        self._future_ns[group] = round(ahead_s * 1e9)


def _blank(kind: VariantType, size: int | None) -> Any:
    """Return a first value that nobody can take for a measurement."""
    first: Any = {ua.VariantType.Double: math.nan, ua.VariantType.DateTime: NULL_DATE}.get(kind, 0)
    return first if size is None else [first] * size
