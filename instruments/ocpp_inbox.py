"""Answer the calls of a charge point, 1.6 and 2.x: boot, heartbeat, status, meter values, transactions.

Every identification is accepted: who may charge is no question of congestion.
"""

import math
from collections.abc import Callable
from typing import Any

from instruments.ocpp_catalog import OcppPart
from instruments.ocpp_profiles import ORDER_ID, stamp
from instruments.ocpp_reading import CP_F, STATES, PointReadingBuilder
from instruments.ocpp_rpc import CallRefused

ACCEPTED = {"status": "Accepted"}


class Inbox:
    """Take a point's calls into its reading and answer them.

    Attributes: `identity` what its BootNotification said, empty before one came; `boots` counts them; `wrong` says
    why it is not the family that the site file names; `notes` collects what must be told; `standing` is what was
    answered to the boot of this connection, Accepted too for a point that speaks as only an accepted one may, empty
    before either; `limit_moved` that another party's limit changed.
    """

    __slots__ = ("_builder", "_clock_ns", "_next_transaction", "_part", "_update", "_utc_ns", "boots", "identity",
                 "limit_moved", "notes", "ready", "standing", "wrong")  # fmt: skip

    def __init__(
        self,
        part: OcppPart,
        builder: PointReadingBuilder,
        clock_ns: Callable[[], int],
        utc_ns: Callable[[], int],
        update: Callable[[], dict[str, Any] | None] = lambda: None,
    ) -> None:
        """Take the record, what is filled, the clocks, and what answers a point that pulls a dynamic order (2.1)."""
        self._part, self._builder, self._clock_ns, self._utc_ns = part, builder, clock_ns, utc_ns
        self._update = update
        self._next_transaction = 0
        self.identity = self.wrong = self.standing = ""
        self.limit_moved = False
        self.boots = 0
        self.ready = True  # False: a point that boots is answered Pending, and asks again
        self.notes: list[str] = []

    def connected(self) -> None:
        """Begin a connection: whether the point takes itself for accepted is not known yet."""
        self.standing = ""

    def handle(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of one call that fits its schema; CallRefused for an action that has no place here."""
        if action not in ANSWERS:
            raise CallRefused("NotImplemented" if action in KNOWN_UNUSED else "NotSupported", f"{action} is not served")
        if action != "BootNotification":
            self.standing = self.standing or "Accepted"  # nobody else may send anything: 1.6 ed. 2 4.2, B01 to B03
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
        status = self.standing = "Rejected" if self.wrong else "Accepted" if self.ready else "Pending"
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
        """Take a limit that another party set at the point, and tell of it."""
        limit = payload.get("chargingLimit") or {}
        source = str(limit.get("chargingLimitSource", payload.get("chargingLimitSource", "unknown source")))
        if payload.get("evseId") in (None, 0, self._part.connector):
            said_a = self._builder.limited(payload.get("chargingSchedule") or [], source)
            how = f"to {said_a:.1f} A" if math.isfinite(said_a) else "without saying to what"
            self.notes.append(f"another party limits it {how}: {source}")
            self.limit_moved = True
        return {}

    def limit_cleared(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Take another party's limit away."""
        if payload.get("evseId") in (None, 0, self._part.connector):
            self._builder.limited([], str(payload.get("chargingLimitSource", "")))
            self.limit_moved = True
        return {}

    def pulled(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer a point that asks for the newest rate of its dynamic order (2.1); Rejected for any other profile."""
        update = self._update() if payload["chargingProfileId"] == ORDER_ID else None
        return {"status": "Rejected"} if update is None else {"status": "Accepted", "scheduleUpdate": update}

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
    "ClearedChargingLimit": Inbox.limit_cleared,
    "PullDynamicScheduleUpdate": Inbox.pulled,
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
