"""Keep the variables of an emulated OCPP 2.x station, "Component.Variable" -> text (part 2, appendix 3 [V: v20])."""

from hil.twins.ocpp_meter import MEASURANDS
from hil.twins.ocpp_point import Payload
from hil.twins.ocpp_profiles import Rules

READ_ONLY = (
    "SmartChargingCtrlr.ProfileStackLevel",
    "SmartChargingCtrlr.RateUnit",
    "SmartChargingCtrlr.PeriodsPerSchedule",
    "SmartChargingCtrlr.Entries",
    "SmartChargingCtrlr.Phases3to1",
    "SmartChargingCtrlr.ExternalControlSignalsEnabled",
)
NUMBERS = (
    "OCPPCommCtrlr.HeartbeatInterval",
    "OCPPCommCtrlr.WebSocketPingInterval",
    "SampledDataCtrlr.TxUpdatedInterval",
    "AlignedDataCtrlr.Interval",
)
LISTS = ("SampledDataCtrlr.TxUpdatedMeasurands", "AlignedDataCtrlr.Measurands")


def variables_of(rules: Rules, *, only_watts: bool) -> dict[str, str]:
    """Return the variables as they are after the first start."""
    return {
        "OCPPCommCtrlr.HeartbeatInterval": "86400",
        "OCPPCommCtrlr.WebSocketPingInterval": "0",
        "SampledDataCtrlr.TxUpdatedInterval": "60",
        "SampledDataCtrlr.TxUpdatedMeasurands": "Energy.Active.Import.Register",
        "AlignedDataCtrlr.Interval": "0",
        "AlignedDataCtrlr.Measurands": "Energy.Active.Import.Register",
        "SmartChargingCtrlr.ProfileStackLevel": str(rules.max_stack_level),
        "SmartChargingCtrlr.RateUnit": "W" if only_watts else ",".join(rules.units),
        "SmartChargingCtrlr.PeriodsPerSchedule": str(rules.max_periods),
        "SmartChargingCtrlr.Entries": str(rules.max_profiles),
        "SmartChargingCtrlr.Phases3to1": str(rules.phase_switching).lower(),
        "EVSE.ACPhaseSwitchingSupported": str(rules.phase_switching).lower(),
        "SmartChargingCtrlr.ExternalControlSignalsEnabled": "true",
        "SmartChargingCtrlr.NotifyChargingLimitWithSchedules": "true",
        "SmartChargingCtrlr.LimitChangeSignificance": "1",
    }


def get_variables(variables: dict[str, str], payload: Payload) -> Payload:
    """Answer GetVariables."""
    found = []
    for asked in payload["getVariableData"]:
        status, name = _status(variables, asked)
        result = {"attributeStatus": status, "component": asked["component"], "variable": asked["variable"]}
        if asked.get("attributeType", "Actual") != "Actual" and status == "Accepted":
            result["attributeStatus"] = status = "NotSupportedAttributeType"
        if status == "Accepted":
            result["attributeValue"] = variables[name]
        found.append(result)
    return {"getVariableResult": found}


def set_variables(variables: dict[str, str], payload: Payload) -> Payload:
    """Answer SetVariables, each variable by itself; Rejected for one that is read-only or cannot hold the value."""
    found = []
    for asked in payload["setVariableData"]:
        status, name = _status(variables, asked)
        value = asked["attributeValue"]
        number = name in NUMBERS and not value.isdigit()
        unknown = name in LISTS and set(filter(None, value.split(","))) - set(MEASURANDS)
        if status == "Accepted" and (name in READ_ONLY or number or unknown):
            status = "Rejected"
        if status == "Accepted":
            variables[name] = value
        found.append({"attributeStatus": status, "component": asked["component"], "variable": asked["variable"]})
    return {"setVariableResult": found}


def _status(variables: dict[str, str], asked: Payload) -> tuple[str, str]:
    name = f"{asked['component']['name']}.{asked['variable']['name']}"
    if name in variables:
        return "Accepted", name
    components = {key.partition(".")[0] for key in variables}
    return ("UnknownVariable" if asked["component"]["name"] in components else "UnknownComponent"), name
