"""Ask a charge point what it can do, and have it send the meter values that the controller needs: 1.6 and 2.x.

Settings that a point refuses are told and left: a reading that then stays old is not believed.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from instruments.faults import FaultKind, PortFault
from instruments.ocpp_catalog import OcppPart
from instruments.ocpp_profiles import PointLimits

Call = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
RATE_UNITS = {"Current": "A", "A": "A", "Power": "W", "W": "W"}
LEVEL_16, UNIT_16 = "ChargeProfileMaxStackLevel", "ChargingScheduleAllowedChargingRateUnit"
SWITCH_16, AC_SWITCH = "ConnectorSwitch3to1PhaseSupported", "ACPhaseSwitchingSupported"
SMART = "SmartChargingCtrlr"


async def ask_limits(call: Call, part: OcppPart, version: str) -> PointLimits:
    """Return units and highest stack level as the point tells them, the record's where it does not; and its phases.

    It switches phases where it says so: 1.6 ConnectorSwitch3to1PhaseSupported, 2.x Phases3to1 (or
    ACPhaseSwitchingSupported of the EVSE, with which alone a schedule may name the phase to use: K01.FR.20).

    Errors: PortFault of the link; one of the point's own answer counts as not told.
    """
    told: dict[str, str] = {}
    try:
        if version == "ocpp1.6":
            answer = await call("GetConfiguration", {"key": [LEVEL_16, UNIT_16, SWITCH_16]})
            told = {row["key"]: str(row.get("value", "")) for row in answer.get("configurationKey") or []}
        else:
            names = {"ProfileStackLevel": LEVEL_16, "RateUnit": UNIT_16, "Phases3to1": SWITCH_16, AC_SWITCH: AC_SWITCH}
            evse = {"name": "EVSE", "evse": {"id": part.connector}}
            wanted = [
                {"component": evse if name == AC_SWITCH else {"name": SMART}, "variable": {"name": name}}
                for name in names
            ]
            answer = await call("GetVariables", {"getVariableData": wanted})
            for row in answer["getVariableResult"]:
                if row["attributeStatus"] == "Accepted" and row["variable"]["name"] in names:
                    told[names[row["variable"]["name"]]] = str(row.get("attributeValue", ""))
    except PortFault as fault:
        if fault.kind not in (FaultKind.REJECTED, FaultKind.PROTOCOL):
            raise
    words = [word.strip() for word in told.get(UNIT_16, "").split(",")]
    units = tuple(RATE_UNITS[word] for word in words if word in RATE_UNITS) or tuple(part.rate_units)
    level = told.get(LEVEL_16, "")
    most = int(level) if level.isdigit() else part.max_stack_level
    one, three = (told.get(key, "").lower() == "true" for key in (AC_SWITCH, SWITCH_16))
    return PointLimits(("W",) if part.quirks.only_watts else units, most, switches=one or three, phase_to_use=one)


async def configure(call: Call, part: OcppPart, version: str) -> list[str]:
    """Set the sampling of meter values and return what the point refused, one line each."""
    interval, names = str(part.meter_interval_s), ",".join(part.measurands)
    refused = []
    if version == "ocpp1.6":
        values = {
            "MeterValuesSampledData": names,
            "MeterValueSampleInterval": interval,
            "MeterValuesAlignedData": names,
            "ClockAlignedDataInterval": interval,
        }
        for key, value in values.items():
            status = await _status(call, "ChangeConfiguration", {"key": key, "value": value})
            if status not in ("Accepted", "RebootRequired"):
                refused.append(f"{key} = {value}: {status}")
        return refused
    rows = [
        ("SampledDataCtrlr", "TxUpdatedMeasurands", names),
        ("SampledDataCtrlr", "TxUpdatedInterval", interval),
        ("AlignedDataCtrlr", "Measurands", names),
        ("AlignedDataCtrlr", "Interval", interval),
    ]
    data = [{"component": {"name": c}, "variable": {"name": v}, "attributeValue": value} for c, v, value in rows]
    try:
        answer = await call("SetVariables", {"setVariableData": data})
    except PortFault as fault:
        if fault.kind not in (FaultKind.REJECTED, FaultKind.PROTOCOL):
            raise
        return [f"SetVariables: {fault.detail}"]
    return [
        f"{row['component']['name']}.{row['variable']['name']}: {row['attributeStatus']}"
        for row in answer["setVariableResult"]
        if row["attributeStatus"] not in ("Accepted", "RebootRequired")
    ]


async def trigger(call: Call, part: OcppPart, version: str, message: str) -> str:
    """Ask for a message now and return what the point says of it (Accepted, Rejected, NotImplemented ...)."""
    payload: dict[str, Any] = {"requestedMessage": message}
    if version == "ocpp1.6":
        payload["connectorId"] = part.connector
    else:
        payload["evse"] = {"id": part.connector} | ({"connectorId": 1} if message == "StatusNotification" else {})
    return await _status(call, "TriggerMessage", payload)


async def _status(call: Call, action: str, payload: dict[str, Any]) -> str:
    """Return the status of an answer, or the point's refusal of the call; faults of the link are raised."""
    try:
        return str((await call(action, payload)).get("status"))
    except PortFault as fault:
        if fault.kind not in (FaultKind.REJECTED, FaultKind.PROTOCOL):
            raise
        return fault.detail
