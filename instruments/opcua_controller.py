"""Serve a controller's state to a control room: arrays, a tree to browse, alarms, and methods that take orders.

Many values travel as a few arrays, whose source time stamp is that of the scan. The tree holds the same values one by
one, written when they change. An order comes as a method call of a user with the duty `dso`.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncua

from instruments.opcua_accounts import Accounts
from instruments.opcua_alarms import Alarms
from instruments.opcua_security import OpcuaSecurity
from instruments.opcua_server import OpcuaServer, caller
from instruments.substation_reading import seconds_of

ua: Any = asyncua.ua  # its names are not exported to type checkers

URI = "urn:voltbench:controller:1"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAY_ORDER = frozenset(("dso",))
ORDER_TIMEOUT_S = 6.0
STALE = "UncertainLastUsableValue"


@dataclass(frozen=True, slots=True)
class Quantity:
    """Declare one array: its browse path below Controller, built-in type, unit and meaning."""

    path: str
    kind: str
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Place:
    """Declare an object of the tree: its path of names, and the arrays of which it shows element `row`."""

    path: tuple[str, ...]
    arrays: tuple[str, ...]
    row: int


@dataclass(frozen=True, slots=True)
class OrderCall:
    """Hold what a DSO asked for, with its time (UTC epoch s, NaN open), or its end.

    A limit (W, from 0) on a node or contract; with `steers` a set-point (+ from the grid) of a charger or contract.
    """

    user: str
    order_id: str
    sequence: int
    withdraw: bool = False
    steers: bool = False
    node: str = ""
    direction: str = "import"
    limit_w: float = math.nan
    from_s: float = math.nan
    to_s: float = math.nan


@dataclass(frozen=True, slots=True)
class OrderAnswer:
    """Say whether an order was accepted (kept on disk), whether it is obeyed, and why not."""

    accepted: bool
    obeyed: bool
    why: str


ARGUMENTS = {
    "order_id": ("String", "your name of the order; the same name again changes it"),
    "sequence": ("UInt32", "counts your messages about it; a later one replaces, an earlier one is refused"),
    "node": ("String", "name of the node that it binds, or of the contract that it calls on"),
    "place": ("String", "name of the charger that it drives, or of the contract that it calls on"),
    "direction": ("String", "import or export"),
    "limit_w": ("Double", "W from 0"),
    "setpoint_w": ("Double", "W, + from the grid into the charger"),
    "from": ("DateTime", "start, UTC; the null DateTime: at once"),
    "to": ("DateTime", "end, UTC; the null DateTime: until withdrawn"),
}
SET_LIMIT = ("order_id", "sequence", "node", "direction", "limit_w", "from", "to")
SET_POINT = ("order_id", "sequence", "place", "setpoint_w", "from", "to")
ANSWER = {"accepted": ("Boolean", "it is kept"), "obeyed": ("Boolean", "it holds"), "why": ("String", "why not")}


class ControllerServer:
    """Serve one controller. `open` it, then `publish` each look; `take_order` answers what a DSO asks for."""

    def __init__(
        self,
        quantities: Sequence[Quantity],
        places: Sequence[Place],
        severities: Mapping[str, int],
        take_order: Callable[[OrderCall], Awaitable[OrderAnswer]],
        accounts: Accounts,
        security: OpcuaSecurity,
        tell: Callable[..., None] | None = None,
    ) -> None:
        self._quantities = {quantity.path: quantity for quantity in quantities}
        self._places = list(places)
        self._severities = dict(severities)
        self._take_order = take_order
        self._server = OpcuaServer(accounts, security, tell=tell)
        self._arrays: dict[str, Any] = {}
        self._single: list[tuple[str, int, Any]] = []
        self._shown: dict[Any, tuple[Any, int]] = {}
        self._alarms: Alarms | None = None

    async def open(self, host: str, port: int, version: str) -> int:
        """Build everything and listen; return the port. Errors: CertificateError, OSError."""
        server = self._server
        index = await server.prepare("voltbench", "controller", URI, version)
        root = await server.nodes.objects.add_object(ua.NodeId("Controller", index), f"{index}:Controller")
        folders: dict[str, Any] = {"Controller": root}
        for quantity in self._quantities.values():
            parent = await self._folder(folders, index, f"Controller/{quantity.path}".rpartition("/")[0])
            self._arrays[quantity.path] = await self._variable(parent, index, quantity, [])
        for place in self._places:
            parent = await self._folder(folders, index, "/".join(("Controller", "Tree", *place.path)))
            for path in place.arrays:
                node = await self._variable(parent, index, self._quantities[path], None)
                self._single.append((path, place.row, node.nodeid))
        folder = await self._folder(folders, index, "Controller/Alarms")
        self._alarms = await Alarms.build(server, folder, index, self._severities)
        await self._methods(await self._folder(folders, index, "Controller/Orders"), index)
        return await server.listen(host, port)

    async def close(self) -> None:
        """End every session and close the socket."""
        if self._server.bserver is not None:
            await self._server.stop()

    async def publish(
        self, values: Mapping[str, Sequence[Any]], alarms: Mapping[str, str], utc_ns: int, *, fresh: bool
    ) -> None:
        """Write arrays, tree and alarms; `utc_ns` is the time of the scan, and without `fresh` it is an old one."""
        stamp = EPOCH + timedelta(microseconds=utc_ns // 1000)
        status = ua.StatusCode(ua.StatusCodes.Good if fresh else getattr(ua.StatusCodes, STALE))
        for path, row in values.items():
            await self._write(self._arrays[path].nodeid, self._quantities[path].kind, list(row), status, stamp)
        for path, k, node_id in self._single:
            value = values[path][k]
            if self._shown.get(node_id) != (value, status.value):
                self._shown[node_id] = (value, status.value)
                await self._write(node_id, self._quantities[path].kind, value, status, stamp)
        if self._alarms is not None:
            await self._alarms.follow(alarms, stamp)

    async def _folder(self, folders: dict[str, Any], index: int, path: str) -> Any:
        if path not in folders:
            above, _, name = path.rpartition("/")
            parent = await self._folder(folders, index, above)
            folders[path] = await parent.add_object(ua.NodeId(path, index), f"{index}:{name}")
        return folders[path]

    async def _variable(self, parent: Any, index: int, quantity: Quantity, first: Any) -> Any:
        """Add a variable that nobody may write, without a value yet."""
        name = quantity.path.rpartition("/")[2]
        kind = ua.VariantType[quantity.kind]
        node_id = ua.NodeId(f"{parent.nodeid.Identifier}/{name}", index)
        value = first if first is not None else ua.get_default_value(kind)
        node = await parent.add_variable(node_id, f"{index}:{name}", value, varianttype=kind)
        text = f"{quantity.meaning}, {quantity.unit}" if quantity.unit else quantity.meaning
        description = ua.DataValue(ua.Variant(ua.LocalizedText(text), ua.VariantType.LocalizedText))
        await node.write_attribute(ua.AttributeIds.Description, description)
        waiting = ua.StatusCode(ua.StatusCodes.BadWaitingForInitialData)
        await self._server.write_attribute_value(node_id, ua.DataValue(None, StatusCode=waiting))
        return node

    async def _write(self, node_id: Any, kind: str, value: Any, status: Any, stamp: datetime) -> None:
        variant = ua.Variant(value, ua.VariantType[kind])
        data = ua.DataValue(variant, StatusCode=status, SourceTimestamp=stamp, ServerTimestamp=datetime.now(UTC))
        await self._server.write_attribute_value(node_id, data)

    async def _methods(self, folder: Any, index: int) -> None:
        """Add SetLimit, SetPoint and Withdraw, which users with the duty dso may call."""
        for name, act, names in (
            ("SetLimit", self._set_limit, SET_LIMIT),
            ("SetPoint", self._set_point, SET_POINT),
            ("Withdraw", self._withdraw, ("order_id", "sequence")),
        ):
            given = [_argument(key, *ARGUMENTS[key]) for key in names]
            back = [_argument(key, *told) for key, told in ANSWER.items()]
            node = await folder.add_method(
                ua.NodeId(f"Controller/Orders/{name}", index), f"{index}:{name}", act, given, back
            )
            self._server.door.callers[node.nodeid] = MAY_ORDER

    async def _set_limit(self, _parent: Any, *given: Any) -> Any:
        wrong = _mismatch(given, SET_LIMIT)
        if wrong is not None:
            return wrong
        order_id, sequence, node, direction, limit_w, start, end = (item.Value for item in given)
        order = OrderCall(
            user=_user(),
            order_id=order_id or "",
            sequence=sequence,
            node=node or "",
            direction=direction or "",
            limit_w=limit_w,
            from_s=seconds_of(start),
            to_s=seconds_of(end),
        )
        return await self._answer(order)

    async def _set_point(self, _parent: Any, *given: Any) -> Any:
        wrong = _mismatch(given, SET_POINT)
        if wrong is not None:
            return wrong
        order_id, sequence, place, setpoint_w, start, end = (item.Value for item in given)
        order = OrderCall(
            user=_user(),
            order_id=order_id or "",
            sequence=sequence,
            steers=True,
            node=place or "",
            limit_w=setpoint_w,
            from_s=seconds_of(start),
            to_s=seconds_of(end),
        )
        return await self._answer(order)

    async def _withdraw(self, _parent: Any, *given: Any) -> Any:
        wrong = _mismatch(given, ("order_id", "sequence"))
        if wrong is not None:
            return wrong
        return await self._answer(OrderCall(_user(), given[0].Value or "", given[1].Value, withdraw=True))

    async def _answer(self, order: OrderCall) -> Any:
        """Hand an order on and return its answer; what is not answered in time is not acknowledged."""
        try:
            async with asyncio.timeout(ORDER_TIMEOUT_S):
                answer = await self._take_order(order)
        except TimeoutError:
            return ua.StatusCode(ua.StatusCodes.BadTimeout)
        kinds = (ua.VariantType.Boolean, ua.VariantType.Boolean, ua.VariantType.String)
        return [ua.Variant(v, k) for v, k in zip((answer.accepted, answer.obeyed, answer.why), kinds, strict=True)]


def _user() -> str:
    account = caller.get()
    return str(account.name) if account is not None else ""


def _argument(name: str, kind: str, text: str) -> Any:
    argument = ua.Argument(Name=name, ValueRank=-1, Description=ua.LocalizedText(text))
    argument.DataType = ua.NodeId(getattr(ua.ObjectIds, kind))
    return argument


def _mismatch(given: Sequence[Any], names: Sequence[str]) -> Any:
    """Return the status code of arguments that are too few, too many or of another type; None where they fit."""
    if len(given) != len(names):
        few = len(given) < len(names)
        return ua.StatusCode(ua.StatusCodes.BadArgumentsMissing if few else ua.StatusCodes.BadTooManyArguments)
    results = [item.VariantType != ua.VariantType[ARGUMENTS[name][0]] for item, name in zip(given, names, strict=True)]
    if not any(results):
        return None
    code = {True: ua.StatusCodes.BadTypeMismatch, False: ua.StatusCodes.Good}
    told = ua.CallMethodResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadInvalidArgument))
    told.InputArgumentResults = [ua.StatusCode(code[wrong]) for wrong in results]
    return told
