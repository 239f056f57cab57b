"""Play a charge point message by message on a real socket, without any code of the product's twins."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


def now_text(ahead_s: float = 0.0) -> str:
    """Write the present UTC time as points do."""
    return (datetime.now(UTC) + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


class ScriptedPoint:
    """Dial a CSMS, answer its calls from `answers` (action -> function), keep what was received in `calls`.

    An answer of None drops the connection instead.
    """

    def __init__(self, version: str = "ocpp1.6") -> None:
        self.version = version
        self.old = version == "ocpp1.6"
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.results: dict[str, list[Any]] = {}
        self.answers: dict[str, Answer] = {}
        self.late_s = 0.0
        self.socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._number = 0
        self.profiles: dict[int, dict[str, Any]] = {}

    async def dial(self, url: str, **options: Any) -> None:
        """Connect; raises what the client library raises."""
        self.socket = await connect(url, subprotocols=[self.version], open_timeout=30, **options)
        self._task = asyncio.create_task(self._receive(self.socket))

    async def hang_up(self) -> None:
        """End the connection."""
        if self.socket is not None:
            await self.socket.close()
        if self._task is not None:
            await self._task

    async def call(self, action: str, payload: dict[str, Any], unique_id: str = "") -> Any:
        """Send a call and return its answer: payload of the result, or [code, text] of an error."""
        self._number += 1
        unique_id = unique_id or f"cp-{self._number}"
        got = len(self.results.setdefault(unique_id, []))
        assert self.socket is not None
        await self.socket.send(json.dumps([2, unique_id, action, payload]))
        async with asyncio.timeout(30):
            while len(self.results[unique_id]) == got:
                await asyncio.sleep(0.005)
        return self.results[unique_id][-1]

    async def boot(self) -> Any:
        """Send a BootNotification."""
        if self.old:
            return await self.call("BootNotification", {"chargePointVendor": "Scripted", "chargePointModel": "One"})
        station = {"vendorName": "Scripted", "model": "One"}
        return await self.call("BootNotification", {"chargingStation": station, "reason": "PowerUp"})

    async def status(self, name: str) -> None:
        """Send the state of connector 1."""
        if self.old:
            await self.call("StatusNotification", {"connectorId": 1, "errorCode": "NoError", "status": name})
        else:
            payload = {"timestamp": now_text(), "connectorStatus": name, "evseId": 1, "connectorId": 1}
            await self.call("StatusNotification", payload)

    async def meter(self, amps: list[float], volts: list[float], ahead_s: float = 0.0) -> Any:
        """Send meter values of the phases given, stamped `ahead_s` seconds from now."""
        sampled = []
        for k, (amp_a, volt_v) in enumerate(zip(amps, volts, strict=True)):
            for name, number, unit in (("Current.Import", amp_a, "A"), ("Voltage", volt_v, "V")):
                value: dict[str, Any] = {"measurand": name, "phase": f"L{k + 1}", "value": number}
                value |= {"value": str(number), "unit": unit} if self.old else {"unitOfMeasure": {"unit": unit}}
                sampled.append(value)
        value = [{"timestamp": now_text(ahead_s), "sampledValue": sampled}]
        where = {"connectorId": 1} if self.old else {"evseId": 1}
        return await self.call("MeterValues", {**where, "meterValue": value})

    def orders(self) -> list[dict[str, Any]]:
        """Return the order profiles (id 2) that came, oldest first."""
        return [profile for profile in self.sent_profiles() if profile.get("id", profile.get("chargingProfileId")) == 2]

    def sent_profiles(self) -> list[dict[str, Any]]:
        """Return every profile that came, oldest first."""
        sent = [payload for action, payload in self.calls if action == "SetChargingProfile"]
        return [payload.get("csChargingProfiles") or payload["chargingProfile"] for payload in sent]

    def limit(self, profile: dict[str, Any]) -> tuple[float, str]:
        """Return limit and unit of a profile with one period."""
        schedule = profile["chargingSchedule"]
        schedule = schedule if self.old else schedule[0]
        return schedule["chargingSchedulePeriod"][0]["limit"], schedule["chargingRateUnit"]

    def _default(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        if action == "GetConfiguration":
            keys = {"ChargeProfileMaxStackLevel": "8", "ChargingScheduleAllowedChargingRateUnit": "Current,Power"}
            return {"configurationKey": [{"key": k, "readonly": True, "value": v} for k, v in keys.items()]}
        if action == "GetVariables":
            values = {"ProfileStackLevel": "8", "RateUnit": "A,W"}
            found = [(row, values.get(row["variable"]["name"])) for row in payload["getVariableData"]]
            return {
                "getVariableResult": [
                    {**row, "attributeStatus": "UnknownVariable"} if value is None
                    else {**row, "attributeStatus": "Accepted", "attributeValue": value}
                    for row, value in found
                ]
            }  # fmt: skip
        if action == "SetVariables":
            rows = [{k: row[k] for k in ("component", "variable")} for row in payload["setVariableData"]]
            return {"setVariableResult": [{**row, "attributeStatus": "Accepted"} for row in rows]}
        if action == "GetCompositeSchedule":
            return self.composite_of_newest(payload)
        return {"status": "Accepted"}

    def composite_of_newest(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer a composite schedule that holds the newest order."""
        found = self.orders() or self.sent_profiles()
        limit, unit = self.limit(found[-1])
        periods = [{"startPeriod": 0, "limit": limit, **({} if self.old else {"numberPhases": 3})}]
        schedule = {"chargingRateUnit": unit, "chargingSchedulePeriod": periods, "duration": payload["duration"]}
        if self.old:
            head = {"status": "Accepted", "connectorId": 1, "scheduleStart": now_text()}
            return {**head, "chargingSchedule": schedule}
        return {"status": "Accepted", "schedule": {**schedule, "evseId": 1, "scheduleStart": now_text()}}

    async def _receive(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for raw in socket:
                message = json.loads(raw)
                if message[0] == 2:
                    _, unique_id, action, payload = message
                    self.calls.append((action, payload))
                    answer = self.answers.get(action, lambda p, action=action: self._default(action, p))(payload)
                    if answer is None:
                        await socket.close()
                        return
                    if self.late_s:
                        await asyncio.sleep(self.late_s)
                    await socket.send(json.dumps([3, unique_id, answer]))
                else:
                    self.results.setdefault(message[1], []).append(message[2] if message[0] == 3 else message[2:4])
