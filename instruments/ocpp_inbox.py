"""Answer the calls of a charge point, 1.6 and 2.x: boot, heartbeat, status, meter values, transactions.

Every identification is accepted: who may charge is no question of congestion.
"""

import math
from collections.abc import Callable
from typing import Any

from instruments.ocpp_catalog import OcppPart
from instruments.ocpp_profiles import stamp
from instruments.ocpp_reading import CP_F, STATES, PointReadingBuilder
from instruments.ocpp_rpc import CallRefused

ACCEPTED = {"status": "Accepted"}


class Inbox:
    """Take a point's calls into its reading and answer them.

    Attributes: `identity` what its BootNotification said, empty before one came; `boots` counts them; `wrong` says
    why it is not the family that the site file names; `notes` collects what must be told.
    """

    __slots__ = ("_builder", "_clock_ns", "_next_transaction", "_part", "_utc_ns", "boots", "identity", "notes",
                 "ready", "wrong")  # fmt: skip

    def __init__(
        self,
        part: OcppPart,
        builder: PointReadingBuilder,
        clock_ns: Callable[[], int],
        utc_ns: Callable[[], int],
    ) -> None:
        self._part, self._builder, self._clock_ns, self._utc_ns = part, builder, clock_ns, utc_ns
        self._next_transaction = 0
        self.identity = self.wrong = ""
        self.boots = 0
        self.ready = True  # False: a point that boots is answered Pending, and asks again
        self.notes: list[str] = []

    def handle(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of one call that fits its schema; CallRefused for an action that has no place here."""
        if action not in ANSWERS:
            raise CallRefused("NotImplemented" if action in KNOWN_UNUSED else "NotSupported", f"{action} is not served")
        return ANSWERS[action](self, payload)

    def boot(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Take a BootNotification: Rejected where vendor or model are not those of the record."""
        station = payload.get("chargingStation") or {
            "vendorName": payload.get("chargePointVendor", ""),
            "model": payload.get("chargePointModel", ""),
            "firmwareVersion": payload.get("firmwareVersion", ""),
        }
        vendor, model = str(station.get("vendorName", "")), str(station.get("model", ""))
        self.identity = " ".join(filter(None, (vendor, model, str(station.get("firmwareVersion", "")))))
        wanted = (self._part.vendor, self._part.point_model)
        fits = all(not want or want == said for want, said in zip(wanted, (vendor, model), strict=True))
        self.wrong = "" if fits else f"it says {vendor} {model}; expected {' '.join(filter(None, wanted))}"
        status = "Rejected" if self.wrong else "Accepted" if self.ready else "Pending"
        if status == "Accepted":
            self.boots += 1
        interval = self._part.heartbeat_s if status == "Accepted" else 5
        return {"currentTime": stamp(self._utc_ns()), "interval": interval, "status": status}

    def heartbeat(self, _payload: dict[str, Any]) -> dict[str, Any]:
        """Give the time."""
        return {"currentTime": stamp(self._utc_ns())}

    def status(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Take a StatusNotification of our connector, and a fault of the whole point."""
        where = payload.get("evseId", payload.get("connectorId"))
        name = str(payload.get("connectorStatus", payload.get("status", "")))
        if where == self._part.connector or (where == 0 and STATES.get(name) == CP_F):
            self._builder.status(name)
            if name == "Faulted":
                self.notes.append(f"it says Faulted, {payload.get('errorCode', 'no code')}")
        return {}

    def meter(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Take MeterValues of our connector; a transaction that it names runs, also one from before our start."""
        if payload.get("evseId", payload.get("connectorId")) == self._part.connector:
            if payload.get("transactionId") is not None:
                self._builder.transaction = payload["transactionId"]
            self._meter(payload.get("meterValue") or [])
        return {}

    def start(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Number a 1.6 transaction; numbers do not repeat after a restart of ours."""
        if not self._next_transaction:
            self._next_transaction = self._utc_ns() // 1_000_000_000 % 2_000_000_000
        self._next_transaction += 1
        if payload.get("connectorId") == self._part.connector:
            self._builder.begin(self._next_transaction, float(payload.get("meterStart", math.nan)))
        return {"transactionId": self._next_transaction, "idTagInfo": ACCEPTED}

    def stop(self, payload: dict[str, Any]) -> dict[str, Any]:
        """End a 1.6 transaction."""
        if payload.get("transactionId") == self._builder.transaction:
            self._builder.end()
        return {"idTagInfo": ACCEPTED}

    def event(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Take a 2.x TransactionEvent with its state and meter values."""
        where = (payload.get("evse") or {}).get("id", self._part.connector)
        if where == self._part.connector:
            info = payload["transactionInfo"]
            if payload["eventType"] == "Ended":
                self._builder.end()
            elif payload.get("offline") is not True or self._builder.transaction is None:
                self._builder.begin(info["transactionId"])
            if "chargingState" in info:
                self._builder.charging_state(info["chargingState"])
            self._meter(payload.get("meterValue") or [])
        return {"idTokenInfo": ACCEPTED} if "idToken" in payload else {}

    def limit_changed(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Tell of a limit that another party set at the point."""
        limit = payload.get("chargingLimit") or {}
        self.notes.append(f"another party limits it: {limit.get('chargingLimitSource', 'unknown source')}")
        return {}

    def _meter(self, values: list[dict[str, Any]]) -> None:
        if trouble := self._builder.meter(values, self._clock_ns(), self._utc_ns()):
            self.notes.append(trouble)


ANSWERS: dict[str, Callable[[Inbox, dict[str, Any]], dict[str, Any]]] = {
    "BootNotification": Inbox.boot,
    "Heartbeat": Inbox.heartbeat,
    "StatusNotification": Inbox.status,
    "MeterValues": Inbox.meter,
    "StartTransaction": Inbox.start,
    "StopTransaction": Inbox.stop,
    "TransactionEvent": Inbox.event,
    "NotifyChargingLimit": Inbox.limit_changed,
    "Authorize": lambda _inbox, payload: {"idTagInfo" if "idTag" in payload else "idTokenInfo": ACCEPTED},
    "ClearedChargingLimit": lambda _inbox, _payload: {},
    "NotifyEvent": lambda _inbox, _payload: {},
    "NotifyReport": lambda _inbox, _payload: {},
    "SecurityEventNotification": lambda _inbox, _payload: {},
    "FirmwareStatusNotification": lambda _inbox, _payload: {},
    "DiagnosticsStatusNotification": lambda _inbox, _payload: {},
    "LogStatusNotification": lambda _inbox, _payload: {},
    "DataTransfer": lambda _inbox, _payload: {"status": "UnknownVendorId"},
    "ReportChargingProfiles": lambda _inbox, _payload: {},
    "NotifyEVChargingNeeds": lambda _inbox, _payload: {"status": "Rejected"},
    "NotifyEVChargingSchedule": lambda _inbox, _payload: ACCEPTED,
}
KNOWN_UNUSED = ("Get15118EVCertificate", "GetCertificateStatus", "SignCertificate", "NotifyDisplayMessages")
