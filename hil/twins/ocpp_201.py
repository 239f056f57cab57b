"""Speak OCPP 2.0.1 and 2.1 as a charging station: transaction events, variables, smart charging of block K."""

import uuid
from collections.abc import Callable
from typing import Any

from hil.twins.ocpp_dialect import HARD, SOFT, CallError, Dialect
from hil.twins.ocpp_point import ID_TAG, Every, Message, Payload, Transaction
from hil.twins.ocpp_profiles import Refused, time_text
from hil.twins.ocpp_schedule import Unit
from hil.twins.ocpp_variables import get_variables, set_variables, variables_of

CONNECTOR_STATUS = {"available": "Available", "faulted": "Faulted", "unavailable": "Unavailable"}
CHARGING_STATE = {"charging": "Charging", "ev": "SuspendedEV", "evse": "SuspendedEVSE", "preparing": "EVConnected"}
TRIGGER = {"": "CablePluggedIn", "Remote": "RemoteStart"}
END = {  # our reason -> (triggerReason, stoppedReason)
    "EVDisconnected": ("EVDeparted", "EVDisconnected"),
    "Remote": ("RemoteStop", "Remote"),
    "PowerLoss": ("AbnormalCondition", "PowerLoss"),
    "SoftReset": ("ResetCommand", "ImmediateReset"),
    "HardReset": ("ResetCommand", "ImmediateReset"),
    "DeAuthorized": ("Deauthorized", "DeAuthorized"),
    "Other": ("AbnormalCondition", "Other"),
}
SOURCE = "EMS"
TX_INTERVAL, TX_LIST = "SampledDataCtrlr.TxUpdatedInterval", "SampledDataCtrlr.TxUpdatedMeasurands"
ALIGNED_INTERVAL, ALIGNED_LIST = "AlignedDataCtrlr.Interval", "AlignedDataCtrlr.Measurands"


class Dialect201(Dialect):
    """Speak 2.0.1, or 2.1 where `version` is set so: the messages used here are the same but for dynamic profiles."""

    version = "2.0.1"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.said_connector = ""
        self._pulls: dict[int, Every] = {}  # dynamic profiles that are pulled, by id
        self.point.settings = variables_of(self.point.store.rules, only_watts=self.point.faults.only_watts)
        self.handlers = {
            "ChangeAvailability": self._availability,
            "ClearCache": lambda payload: {"status": "Accepted"},
            "ClearChargingProfile": self._clear,
            "DataTransfer": lambda payload: {"status": "UnknownVendorId"},
            "GetChargingProfiles": self._report,
            "GetCompositeSchedule": self._composite,
            "GetVariables": lambda payload: get_variables(self.point.settings, payload),
            "RequestStartTransaction": self._start,
            "RequestStopTransaction": self._stop,
            "Reset": self._reset,
            "SetChargingProfile": self._set_profile,
            "SetVariables": lambda payload: set_variables(self.point.settings, payload),
            "TriggerMessage": self._trigger,
            "UpdateDynamicSchedule": self._update,
        }

    def handle(self, action: str, payload: Payload) -> Payload:
        """Answer a call; what only 2.1 knows is not known to 2.0.1."""
        if action == "UpdateDynamicSchedule" and self.version != "2.1":
            raise CallError("NotImplemented", action)
        return super().handle(action, payload)

    def boot(self, reason: str) -> Payload:
        """Return the payload of a BootNotification."""
        station = {
            "vendorName": self.vendor,
            "model": self.model,
            "serialNumber": str(self.point.view.get("serial"))[:25],
            "firmwareVersion": str(self.point.view.get("firmware"))[:50],
        }
        return {"reason": reason, "chargingStation": station}

    def heartbeat_s(self) -> float:
        """Return OCPPCommCtrlr.HeartbeatInterval, s."""
        return self.point.number("OCPPCommCtrlr.HeartbeatInterval")

    def ping_s(self) -> float:
        """Return OCPPCommCtrlr.WebSocketPingInterval, s."""
        return self.point.number("OCPPCommCtrlr.WebSocketPingInterval")

    def set_heartbeat(self, interval_s: int) -> None:
        """Take the interval of the boot's answer."""
        self.point.settings["OCPPCommCtrlr.HeartbeatInterval"] = str(interval_s)

    def new_id(self) -> str:
        """Return a UUID: the station names its transactions."""
        return str(uuid.uuid4())

    def tell_station(self) -> None:
        """Queue the connector's status after a boot."""
        self.said_connector = ""
        self._tell_connector(self.state())

    def tell_state(self, state: str) -> None:
        """Queue the connector's status where it changed, and the charging state of a transaction."""
        self._tell_connector(state)
        transaction = self.point.transaction
        if transaction is not None and not transaction.stopped and state in CHARGING_STATE:
            self._event("Updated", "ChargingStateChanged", transaction, {"chargingState": CHARGING_STATE[state]})

    def _tell_connector(self, state: str) -> None:
        status = CONNECTOR_STATUS.get(state, "Occupied")
        if status == self.said_connector:
            return
        self.said_connector = status
        evse = self.point.connector
        payload = {"timestamp": self.stamp(), "connectorStatus": status, "evseId": evse, "connectorId": 1}
        self.point.enqueue(Message("StatusNotification", lambda: payload))

    def tell_begin(self, transaction: Transaction, reason: str) -> None:
        """Queue the event that starts a transaction."""
        info = {"chargingState": "EVConnected"}
        token = {"idToken": {"idToken": ID_TAG, "type": "Central"}}
        self._event("Started", TRIGGER.get(reason, "CablePluggedIn"), transaction, info, token)

    def tell_end(self, transaction: Transaction, reason: str) -> None:
        """Queue the event that ends a transaction."""
        trigger, stopped = END[reason]
        info = {"chargingState": "Idle" if reason == "EVDisconnected" else "EVConnected", "stoppedReason": stopped}
        self._event("Ended", trigger, transaction, info)

    def _event(
        self,
        kind: str,
        trigger: str,
        transaction: Transaction,
        info: Payload | None = None,
        more: Payload | None = None,
    ) -> None:
        payload: Payload = {
            "eventType": kind,
            "timestamp": self.stamp(),
            "triggerReason": trigger,
            "seqNo": transaction.seq,
            "transactionInfo": {"transactionId": transaction.id, **(info or {})},
            "evse": {"id": self.point.connector, "connectorId": 1},
            **(more or {}),
        }
        transaction.seq += 1
        queued_s = self.point.offline_s

        def build() -> Payload:
            return payload | ({"offline": True} if queued_s > 0.0 else {})

        self.point.enqueue(Message("TransactionEvent", build, kept=True, sample=kind == "Updated"))

    def sample(self, now_s: float) -> None:
        """Queue meter values: in a transaction as its events, outside of one as MeterValues."""
        running = self.point.charging is not None
        if running and self.sampled.due(now_s, self.point.number(TX_INTERVAL)):
            self._meter(TX_LIST, "Sample.Periodic", "MeterValuePeriodic")
        if self.aligned.due(now_s, self.point.number(ALIGNED_INTERVAL)):
            self._meter(ALIGNED_LIST, "Sample.Clock", "MeterValueClock")
        if self.version == "2.1":
            self._pull(now_s)

    def _meter(self, key: str, context: str, trigger: str) -> None:
        value = self.meter_value(key, context)
        transaction = self.point.transaction
        if not value["sampledValue"]:
            return
        if transaction is not None and not transaction.stopped:
            self._event("Updated", trigger, transaction, more={"meterValue": [value]})
            return
        payload = {"evseId": self.point.connector, "meterValue": [value]}
        self.point.enqueue(Message("MeterValues", lambda: payload, sample=True))

    def constrained(self, limit_a: float | None) -> None:
        """Queue NotifyChargingLimit or ClearedChargingLimit (use cases K12, K13)."""
        if limit_a is None:
            cleared = {"chargingLimitSource": SOURCE, "evseId": self.point.connector}
            self.point.enqueue(Message("ClearedChargingLimit", lambda: cleared))
            return
        payload: Payload = {"chargingLimit": {"chargingLimitSource": SOURCE, "isGridCritical": False}}
        if self.point.settings["SmartChargingCtrlr.NotifyChargingLimitWithSchedules"] == "true":
            period = {"startPeriod": 0, "limit": limit_a}
            payload["chargingSchedule"] = [{"id": 1, "chargingRateUnit": "A", "chargingSchedulePeriod": [period]}]
        payload["evseId"] = self.point.connector
        self.point.enqueue(Message("NotifyChargingLimit", lambda: payload))

    def _availability(self, payload: Payload) -> Payload:
        if payload.get("evse", {}).get("id", 0) > self.point.store.rules.connectors:
            return {"status": "Rejected"}
        self.point.operative = payload["operationalStatus"] == "Operative"
        return {"status": "Accepted"}

    def _set_profile(self, payload: Payload) -> Payload:
        return self._answer(self.install(payload["chargingProfile"], payload["evseId"]))

    def _update(self, payload: Payload) -> Payload:
        return self._answer(self._move(payload["chargingProfileId"], payload["scheduleUpdate"]))

    def _move(self, profile_id: int, update: Payload) -> Refused | None:
        """Put new rates into the one period of a dynamic profile (2.1, K28); what is not said stays."""
        old = next((p for p in self.point.store.profiles if p.id == profile_id), None)
        if old is None or old.kind != "Dynamic":
            return Refused("InvalidProfile", "no dynamic profile of this id")
        raw = self.point.store.raw[old.id]
        schedule = raw["chargingSchedule"][0]
        period = schedule["chargingSchedulePeriod"][0] | update
        self._pulls.setdefault(profile_id, Every()).begin(self.point.clock_s())  # it is pulled so long after the last
        return self.install(raw | {"chargingSchedule": [schedule | {"chargingSchedulePeriod": [period]}]}, old.target)

    def _pull(self, now_s: float) -> None:
        """Queue the questions for the rates of dynamic profiles that name an interval (2.1)."""
        wanted = {k: float(raw.get("dynUpdateInterval", 0)) for k, raw in self.point.store.raw.items()}
        self._pulls = {k: every for k, every in self._pulls.items() if wanted.get(k, 0.0) > 0.0}
        for profile_id, period_s in wanted.items():
            if period_s <= 0.0:
                continue
            if profile_id not in self._pulls:
                self._pulls[profile_id] = Every()
                self._pulls[profile_id].begin(now_s)
            if self._pulls[profile_id].due(now_s, period_s):
                payload = {"chargingProfileId": profile_id}
                self.point.enqueue(Message("PullDynamicScheduleUpdate", payload.copy, self._pulled(profile_id)))

    def _pulled(self, profile_id: int) -> Callable[[Payload], None]:
        def done(answer: Payload) -> None:
            if answer["status"] == "Accepted":
                self._move(profile_id, answer.get("scheduleUpdate", {}))

        return done

    def _answer(self, refusal: Refused | None) -> Payload:
        if refusal is None:
            return {"status": "Accepted"}
        info = {"reasonCode": refusal.reason, "additionalInfo": str(refusal)[:512]}
        return {"status": "Rejected", "statusInfo": info}

    def _clear(self, payload: Payload) -> Payload:
        by = payload.get("chargingProfileCriteria", {})
        gone = self.point.store.clear(
            payload.get("chargingProfileId"), by.get("evseId"), by.get("chargingProfilePurpose"), by.get("stackLevel")
        )
        return {"status": "Accepted" if gone else "Unknown"}

    def _report(self, payload: Payload) -> Payload:
        by, store = payload["chargingProfile"], self.point.store
        ids = by.get("chargingProfileId")
        found = [
            p
            for p in store.profiles
            if p.id in store.raw
            and (ids is None or p.id in ids)
            and payload.get("evseId") in (None, p.target)
            and by.get("chargingProfilePurpose") in (None, p.purpose)
            and by.get("stackLevel") in (None, p.stack_level)
        ]
        if not found:
            return {"status": "NoProfiles"}
        places = sorted({p.target for p in found})
        for target in places:
            report: Payload = {
                "requestId": payload["requestId"],
                "chargingLimitSource": "CSO",
                "evseId": target,
                "chargingProfile": [store.raw[p.id] for p in found if p.target == target],
                "tbc": target != places[-1],
            }
            self.point.enqueue(Message("ReportChargingProfiles", report.copy))
        return {"status": "Accepted"}

    def _composite(self, payload: Payload) -> Payload:
        point = self.point
        if point.faults.no_composite:
            raise CallError("NotSupported", "GetCompositeSchedule")
        unit: Unit = payload.get("chargingRateUnit") or ("W" if point.faults.only_watts else "A")
        if payload["evseId"] > point.store.rules.connectors:
            return self._answer(Refused("UnknownEvse", "no such EVSE (K08.FR.05)"))
        if unit not in point.store.rules.units:
            return self._answer(Refused("UnsupportedRateUnit", f"unit {unit} (K08.FR.07)"))
        if point.faults.empty_composite:
            return {"status": "Accepted"}
        schedule = {
            "evseId": payload["evseId"],
            "duration": payload["duration"],
            "scheduleStart": time_text(int(point.now_s)),
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": self.periods(float(payload["duration"]), unit),
        }
        return {"status": "Accepted", "schedule": schedule}

    def _start(self, payload: Payload) -> Payload:
        point = self.point
        if not point.plugged or point.charging is not None:
            return {"status": "Rejected"}
        self.begin("Remote")
        transaction = point.transaction
        if transaction is not None and "chargingProfile" in payload:
            refusal = self.install(payload["chargingProfile"] | {"transactionId": transaction.id}, point.connector)
            if refusal is not None:
                self.stop_remote("Other")
                return self._answer(refusal)
        return {"status": "Accepted", **({"transactionId": transaction.id} if transaction else {})}

    def _stop(self, payload: Payload) -> Payload:
        running = self.point.charging
        if running is None or running.transaction != payload["transactionId"]:
            return {"status": "Rejected"}
        self.stop_remote("Remote")
        return {"status": "Accepted"}

    def _reset(self, payload: Payload) -> Payload:
        if payload["type"] == "OnIdle" and self.point.charging is not None:
            self.point.reset_when_idle = True
            return {"status": "Scheduled"}
        self.reboot(SOFT if payload["type"] == "OnIdle" else HARD)
        return {"status": "Accepted"}

    def _trigger(self, payload: Payload) -> Payload:
        if self.point.faults.no_trigger:
            raise CallError("NotImplemented", "TriggerMessage")
        wanted, transaction = payload["requestedMessage"], self.point.transaction
        if wanted == "MeterValues":
            value = self.meter_value(ALIGNED_LIST, "Trigger")
            report = {"evseId": self.point.connector, "meterValue": [value]}
            self.point.enqueue(Message("MeterValues", lambda: report))
        elif wanted == "StatusNotification":
            self.said_connector = ""
            self._tell_connector(self.state())
        elif wanted == "Heartbeat":
            self.point.enqueue(Message("Heartbeat", dict))
        elif wanted == "BootNotification":
            self.point.enqueue(Message("BootNotification", lambda: self.boot("Triggered")))
        elif wanted == "TransactionEvent" and transaction is not None and not transaction.stopped:
            value = self.meter_value(TX_LIST, "Trigger")
            info = {"chargingState": CHARGING_STATE.get(self.state(), "EVConnected")}
            self._event("Updated", "Trigger", transaction, info, {"meterValue": [value]})
        else:
            return {"status": "Rejected" if wanted == "TransactionEvent" else "NotImplemented"}
        return {"status": "Accepted"}
