"""Keep alarms as OPC UA Part 9 names them: AlarmConditionType with ActiveState, AckedState, Severity, Message, Retain.

An alarm that comes is not acknowledged; it is retained until it has gone and was acknowledged, in either order. Each
change is an event of the server; `ConditionRefresh` repeats what is retained.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncua

from instruments.opcua_accounts import Account
from instruments.opcua_server import OpcuaServer, caller

ua: Any = asyncua.ua  # its names are not exported to type checkers

MAY_ACKNOWLEDGE = frozenset(("operator", "dso"))
SPARE = 0  # namespace of the standard's own names
WRITTEN = {
    "ActiveState/Id": "Boolean",
    "ActiveState": "LocalizedText",
    "AckedState/Id": "Boolean",
    "AckedState": "LocalizedText",
    "EnabledState/Id": "Boolean",
    "EnabledState": "LocalizedText",
    "Severity": "UInt16",
    "Message": "LocalizedText",
    "Retain": "Boolean",
    "ConditionName": "String",
    "SourceName": "String",
    "Time": "DateTime",
    "EventId": "ByteString",
}


@dataclass(slots=True, eq=False)
class _Alarm:
    """Hold one alarm: where it stands, and what was last said of it."""

    name: str
    generator: Any
    nodes: dict[str, Any]
    active: bool = False
    acked: bool = True
    message: str = ""
    event_id: bytes = b""

    @property
    def retain(self) -> bool:
        return self.active or not self.acked


class Alarms:
    """Hold the alarms of one server. Make it with `build`, then `follow` what is active."""

    def __init__(self, server: OpcuaServer) -> None:
        self._server = server
        self._alarms: dict[str, _Alarm] = {}
        self._by_node: dict[Any, _Alarm] = {}

    @classmethod
    async def build(cls, server: OpcuaServer, folder: Any, index: int, severities: Mapping[str, int]) -> "Alarms":
        """Create a condition for each name with its severity (1 to 1000) in `folder`, none of them active."""
        found = cls(server)
        kind = server.get_node(ua.NodeId(ua.ObjectIds.AlarmConditionType))
        for name, severity in severities.items():
            node = await folder.add_object(
                ua.NodeId(f"Controller/Alarms/{name}", index),
                f"{index}:{name}",
                kind.nodeid,
                instantiate_optional=False,
            )
            generator = await server.get_event_generator(kind)  # of the Server object, where clients subscribe
            _fill(generator.event, name, severity, node.nodeid, folder.nodeid)
            steps = {path: [f"{SPARE}:{step}" for step in path.split("/")] for path in WRITTEN}
            nodes = {path: await node.get_child(step) for path, step in steps.items()}
            found._alarms[name] = found._by_node[node.nodeid] = _Alarm(name, generator, nodes)
            await found._write(found._alarms[name])
        method = ua.NodeId(ua.ObjectIds.AcknowledgeableConditionType_Acknowledge)
        server.iserver.isession.add_method_callback(method, found._acknowledge)
        server.door.callers[method] = MAY_ACKNOWLEDGE
        return found

    async def follow(self, active: Mapping[str, str], stamp: datetime) -> None:
        """Take the messages of the alarms that are active at `stamp`; all others are not."""
        for name, alarm in self._alarms.items():
            comes = name in active
            if comes == alarm.active:
                continue
            alarm.active = comes
            if comes:
                alarm.acked, alarm.message = False, active[name]
            await self._tell(alarm, stamp)

    async def _tell(self, alarm: _Alarm, stamp: datetime) -> None:
        """Write the condition's nodes and send its event."""
        event = alarm.generator.event
        for state, on, words in (
            ("ActiveState", alarm.active, ("Active", "Inactive")),
            ("AckedState", alarm.acked, ("Acknowledged", "Unacknowledged")),
        ):
            setattr(event, f"{state}/Id", on)
            setattr(event, state, ua.LocalizedText(words[0 if on else 1]))
        event.Retain = alarm.retain
        event.Message = ua.LocalizedText(alarm.message)
        await alarm.generator.trigger(time_attr=stamp, message=alarm.message)
        alarm.event_id = event.EventId.Value if isinstance(event.EventId, ua.Variant) else event.EventId
        await self._write(alarm)

    async def _write(self, alarm: _Alarm) -> None:
        event = alarm.generator.event
        for path, node in alarm.nodes.items():
            value = getattr(event, path)
            if value is not None:
                value = value.Value if isinstance(value, ua.Variant) else value
                await node.write_value(ua.Variant(value, ua.VariantType[WRITTEN[path]]))

    async def _acknowledge(self, parent: Any, *given: Any) -> Any:
        """Acknowledge the condition `parent`: arguments EventId and Comment (Part 9, 5.7.3)."""
        user: Account | None = caller.get()
        alarm = self._by_node.get(parent)
        if user is None or user.duty not in MAY_ACKNOWLEDGE:
            return ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
        if alarm is None:
            return ua.StatusCode(ua.StatusCodes.BadNodeIdUnknown)
        if len(given) != 2:
            return ua.StatusCode(ua.StatusCodes.BadArgumentsMissing)
        if given[0].Value != alarm.event_id:
            return ua.StatusCode(ua.StatusCodes.BadEventIdUnknown)
        if alarm.acked:
            return ua.StatusCode(ua.StatusCodes.BadConditionBranchAlreadyAcked)
        alarm.acked = True
        event = alarm.generator.event
        event.ClientUserId = user.name
        event.Comment = given[1].Value or ua.LocalizedText("")
        await self._tell(alarm, event.Time)
        return []


def _fill(event: Any, name: str, severity: int, node_id: Any, source: Any) -> None:
    """Fill in what stays as it is, and the state of an alarm that never came."""
    event.NodeId, event.SourceNode, event.SourceName = node_id, source, "Controller"
    event.ConditionName, event.BranchId = name, ua.NodeId()
    event.ConditionClassId = ua.NodeId(ua.ObjectIds.SystemConditionClassType)
    event.ConditionClassName = ua.LocalizedText("SystemConditionClass")
    event.Severity, event.Retain = severity, False
    event.Message = ua.LocalizedText("")
    event.Quality = ua.StatusCode(ua.StatusCodes.Good)
    event.EventId = uuid.uuid4().bytes
    for state, on, word in (
        ("EnabledState", True, "Enabled"),
        ("ActiveState", False, "Inactive"),
        ("AckedState", True, "Acknowledged"),
    ):
        setattr(event, f"{state}/Id", on)
        setattr(event, state, ua.LocalizedText(word))
