"""Speak OCPP 1.6J (edition 2) as a charge point: messages of chapter 4 and 5, configuration keys of chapter 9."""

from typing import Any

from hil.twins.ocpp_dialect import HARD, SOFT, CallError, Dialect
from hil.twins.ocpp_meter import MEASURANDS
from hil.twins.ocpp_point import ID_TAG, Message, Payload, Transaction
from hil.twins.ocpp_profiles import Refused, time_text
from hil.twins.ocpp_schedule import Unit

STATUS = {
    "available": "Available",
    "preparing": "Preparing",
    "charging": "Charging",
    "ev": "SuspendedEV",
    "evse": "SuspendedEVSE",
    "finishing": "Finishing",
    "faulted": "Faulted",
    "unavailable": "Unavailable",
}
NUMBERS = ("HeartbeatInterval", "MeterValueSampleInterval", "ClockAlignedDataInterval", "WebSocketPingInterval")
LISTS = ("MeterValuesSampledData", "MeterValuesAlignedData", "StopTxnSampledData")
READ_ONLY = (
    "ChargeProfileMaxStackLevel",
    "ChargingScheduleAllowedChargingRateUnit",
    "ChargingScheduleMaxPeriods",
    "MaxChargingProfilesInstalled",
    "ConnectorSwitch3to1PhaseSupported",
    "NumberOfConnectors",
    "SupportedFeatureProfiles",
)


class Dialect16(Dialect):
    """Speak 1.6J."""

    version = "1.6"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        rules = self.point.store.rules
        units = ("W",) if self.point.faults.only_watts else rules.units
        self.point.settings = {
            "HeartbeatInterval": "86400",
            "MeterValueSampleInterval": "60",
            "ClockAlignedDataInterval": "0",
            "WebSocketPingInterval": "0",
            "MeterValuesSampledData": "Energy.Active.Import.Register",
            "MeterValuesAlignedData": "Energy.Active.Import.Register",
            "StopTxnSampledData": "",
            "ConnectionTimeOut": "60",
            "TransactionMessageAttempts": "3",
            "TransactionMessageRetryInterval": "1",
            "ChargeProfileMaxStackLevel": str(rules.max_stack_level),
            "ChargingScheduleAllowedChargingRateUnit": ",".join({"A": "Current", "W": "Power"}[u] for u in units),
            "ChargingScheduleMaxPeriods": str(rules.max_periods),
            "MaxChargingProfilesInstalled": str(rules.max_profiles),
            "ConnectorSwitch3to1PhaseSupported": str(rules.phase_switching).lower(),
            "NumberOfConnectors": str(rules.connectors),
            "SupportedFeatureProfiles": "Core,SmartCharging,RemoteTrigger",
        }
        self.handlers = {
            "ChangeAvailability": self._availability,
            "ChangeConfiguration": self._change,
            "ClearCache": lambda payload: {"status": "Accepted"},
            "ClearChargingProfile": self._clear,
            "DataTransfer": lambda payload: {"status": "UnknownVendorId"},
            "GetCompositeSchedule": self._composite,
            "GetConfiguration": self._configuration,
            "RemoteStartTransaction": self._remote_start,
            "RemoteStopTransaction": self._remote_stop,
            "Reset": self._reset,
            "SetChargingProfile": self._set_profile,
            "TriggerMessage": self._trigger,
            "UnlockConnector": lambda payload: {"status": "NotSupported"},
        }

    def boot(self, reason: str) -> Payload:
        """Return the payload of a BootNotification; 1.6 has no word for the reason."""
        return {
            "chargePointVendor": self.vendor,
            "chargePointModel": self.model,
            "chargePointSerialNumber": str(self.point.view.get("serial"))[:25],
            "firmwareVersion": str(self.point.view.get("firmware"))[:50],
        }

    def heartbeat_s(self) -> float:
        """Return HeartbeatInterval, s."""
        return self.point.number("HeartbeatInterval")

    def ping_s(self) -> float:
        """Return WebSocketPingInterval, s."""
        return self.point.number("WebSocketPingInterval")

    def set_heartbeat(self, interval_s: int) -> None:
        """Take the interval of the boot's answer."""
        self.point.settings["HeartbeatInterval"] = str(interval_s)

    def new_id(self) -> str:
        """Return "": the CSMS gives the id."""
        return ""

    def tell_state(self, state: str) -> None:
        """Queue a StatusNotification of the connector."""
        error = "OtherError" if state == "faulted" else "NoError"
        stamp = self.stamp()
        self._status(self.point.connector, STATUS[state], error, stamp)

    def tell_station(self) -> None:
        """Queue the StatusNotification of the whole charge point, connector 0, which follows a boot."""
        self._status(0, "Available" if self.point.operative else "Unavailable", "NoError", self.stamp())

    def _status(self, connector: int, status: str, error: str, stamp: str) -> None:
        payload = {"connectorId": connector, "errorCode": error, "status": status, "timestamp": stamp}
        self.point.enqueue(Message("StatusNotification", lambda: payload))

    def tell_begin(self, transaction: Transaction, reason: str) -> None:
        """Queue StartTransaction; its answer brings the id."""
        payload = {
            "connectorId": self.point.connector,
            "idTag": ID_TAG,
            "meterStart": self.whole(transaction.start_wh),
            "timestamp": time_text(transaction.since_s),
        }

        def done(answer: Payload) -> None:
            transaction.id = str(answer["transactionId"])
            if answer["idTagInfo"]["status"] != "Accepted" and transaction is self.point.transaction:
                self.stop_remote("DeAuthorized")

        self.point.enqueue(Message("StartTransaction", lambda: payload, done, kept=True))

    def tell_end(self, transaction: Transaction, reason: str) -> None:
        """Queue StopTransaction."""
        stop_wh = max(self.whole(float(self.point.view.get("energy_wh"))), self.whole(transaction.start_wh))
        stamp = self.stamp()

        def build() -> Payload:
            number = int(transaction.id or 0)
            return {"transactionId": number, "meterStop": stop_wh, "timestamp": stamp, "reason": reason}

        self.point.enqueue(Message("StopTransaction", build, kept=True))

    def sample(self, now_s: float) -> None:
        """Queue MeterValues: in a transaction by the sample interval, always by the clock-aligned one."""
        if self.point.charging is not None and self.sampled.due(now_s, self.point.number("MeterValueSampleInterval")):
            self._meter("MeterValuesSampledData", "Sample.Periodic")
        if self.aligned.due(now_s, self.point.number("ClockAlignedDataInterval")):
            self._meter("MeterValuesAlignedData", "Sample.Clock")

    def _meter(self, key: str, context: str) -> None:
        transaction = self.point.transaction
        running = transaction is not None and not transaction.stopped
        value = self.meter_value(key, context)

        def build() -> Payload:
            payload: Payload = {"connectorId": self.point.connector, "meterValue": [value]}
            if transaction is not None and running and transaction.id:
                payload["transactionId"] = int(transaction.id)
            return payload

        if value["sampledValue"]:
            self.point.enqueue(Message("MeterValues", build, kept=running, sample=True))

    def constrained(self, limit_a: float | None) -> None:
        """Tell nobody: 1.6 has no message for a local limit; the composite schedule shows it."""

    def _availability(self, payload: Payload) -> Payload:
        if payload["connectorId"] > self.point.store.rules.connectors:
            return {"status": "Rejected"}
        self.point.operative = payload["type"] == "Operative"
        return {"status": "Accepted"}

    def _change(self, payload: Payload) -> Payload:
        key, value = payload["key"], payload["value"]
        if key not in self.point.settings:
            return {"status": "NotSupported"}
        number = key in NUMBERS and not value.isdigit()
        unknown = key in LISTS and set(filter(None, value.split(","))) - set(MEASURANDS)
        if key in READ_ONLY or number or unknown:
            return {"status": "Rejected"}
        self.point.settings[key] = value
        return {"status": "Accepted"}

    def _configuration(self, payload: Payload) -> Payload:
        asked = payload.get("key") or list(self.point.settings)
        known = [key for key in asked if key in self.point.settings]
        found = [{"key": k, "readonly": k in READ_ONLY, "value": self.point.settings[k]} for k in known]
        return {"configurationKey": found, "unknownKey": [key for key in asked if key not in known]}

    def _set_profile(self, payload: Payload) -> Payload:
        refusal = self.install(payload["csChargingProfiles"], payload["connectorId"])
        return {"status": "Accepted" if refusal is None else "Rejected"}

    def _clear(self, payload: Payload) -> Payload:
        gone = self.point.store.clear(
            payload.get("id"),
            payload.get("connectorId"),
            payload.get("chargingProfilePurpose"),
            payload.get("stackLevel"),
        )
        return {"status": "Accepted" if gone else "Unknown"}

    def _composite(self, payload: Payload) -> Payload:
        point = self.point
        if point.faults.no_composite:
            raise CallError("NotSupported", "GetCompositeSchedule")
        unit: Unit = payload.get("chargingRateUnit") or ("W" if point.faults.only_watts else "A")
        if payload["connectorId"] > point.store.rules.connectors or unit not in point.store.rules.units:
            return {"status": "Rejected"}
        if point.faults.empty_composite:
            return {"status": "Accepted", "connectorId": payload["connectorId"]}
        begin = time_text(int(point.now_s))
        schedule = {
            "duration": payload["duration"],
            "startSchedule": begin,
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": self.periods(float(payload["duration"]), unit),
        }
        return {
            "status": "Accepted",
            "connectorId": payload["connectorId"],
            "scheduleStart": begin,
            "chargingSchedule": schedule,
        }

    def _remote_start(self, payload: Payload) -> Payload:
        point = self.point
        if not point.plugged or point.charging is not None:
            return {"status": "Rejected"}
        self.begin("Remote")
        if "chargingProfile" in payload:
            refusal: Refused | None = self.install(payload["chargingProfile"], point.connector)
            if refusal is not None:
                self.stop_remote("Other")
                return {"status": "Rejected"}
        return {"status": "Accepted"}

    def _remote_stop(self, payload: Payload) -> Payload:
        running = self.point.charging
        if running is None or running.transaction != str(payload["transactionId"]):
            return {"status": "Rejected"}
        self.stop_remote("Remote")
        return {"status": "Accepted"}

    def _reset(self, payload: Payload) -> Payload:
        self.reboot(SOFT if payload["type"] == "Soft" else HARD)
        return {"status": "Accepted"}

    def _trigger(self, payload: Payload) -> Payload:
        if self.point.faults.no_trigger:
            raise CallError("NotImplemented", "TriggerMessage")
        if payload.get("connectorId", 0) > self.point.store.rules.connectors:
            return {"status": "Rejected"}
        wanted = payload["requestedMessage"]
        if wanted == "MeterValues":
            self._meter("MeterValuesSampledData", "Trigger")
        elif wanted == "StatusNotification":
            self.tell_state(self.state())
        elif wanted == "Heartbeat":
            self.point.enqueue(Message("Heartbeat", dict))
        elif wanted == "BootNotification":
            self.point.enqueue(Message("BootNotification", lambda: self.boot("Triggered")))
        else:
            return {"status": "NotImplemented"}
        return {"status": "Accepted"}
