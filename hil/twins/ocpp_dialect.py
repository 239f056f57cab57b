"""Share between OCPP 1.6 and 2.x: check a call against its schema, install profiles, write stamps, sample the meter."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal

from jsonschema.exceptions import ValidationError
from ocpp.messages import MessageType, get_validator

from hil.twins.ocpp_link import CallError
from hil.twins.ocpp_meter import MEASURANDS, sample
from hil.twins.ocpp_point import Every, Message, Payload, Point, Transaction
from hil.twins.ocpp_profiles import Refused, time_text
from hil.twins.ocpp_schedule import Unit

DECIMAL = ("SetChargingProfile", "RemoteStartTransaction")  # their schemas of 1.6 ask for tenths, which floats miss
CODES = {"type": "TypeConstraintViolation", "required": "OccurrenceConstraintViolation", "enum": "PropertyConstraint"}
SOFT, HARD = "Soft", "Hard"


class Dialect(ABC):
    """Speak one version of OCPP for a point. Subclasses fill `handlers` and the messages."""

    version = "1.6"

    def __init__(self, point: Point, vendor: str, model: str, reboot: Callable[[str], None]) -> None:
        self.point = point
        self.vendor, self.model = vendor, model
        self.reboot = reboot
        self.handlers: dict[str, Callable[[Payload], Payload]] = {}
        self.said = ""  # the state told last
        self.heartbeat, self.sampled, self.aligned = Every(), Every(), Every()

    def handle(self, action: str, payload: Payload) -> Payload:
        """Answer a call of the CSMS. CallError for one that is not known or breaks its schema."""
        handler = self.handlers.get(action)
        if handler is None:
            raise CallError("NotImplemented", action)
        self.check(action, payload)
        try:
            return handler(payload)
        except (KeyError, TypeError, ValueError) as error:
            raise CallError("InternalError", f"{action}: {error!r}") from error

    def check(self, action: str, payload: Payload) -> None:
        """Compare a call with the schema of its version. CallError with OCPP's code for what is wrong."""
        exact = self.version == "1.6" and action in DECIMAL
        number = Decimal if exact else float
        validator = get_validator(MessageType.Call, action, self.version, parse_float=number)
        try:
            validator.validate(json.loads(json.dumps(payload), parse_float=number))
        except ValidationError as error:
            code = CODES.get(str(error.validator), self.format_violation)
            code = "PropertyConstraintViolation" if code == "PropertyConstraint" else code
            if self.version == "1.6":
                code = code.replace("Occurrence", "Occurence")  # spelled so in OCPP-J 1.6, 4.2.3
            raise CallError(code, error.message) from error

    @property
    def format_violation(self) -> str:
        """Return the code for a payload of another form: 1.6 says Formation, 2.0.1 Format."""
        return "FormationViolation" if self.version == "1.6" else "FormatViolation"

    def install(self, raw: Payload, target: int) -> Refused | None:
        """Take a profile; the refusal where it is not taken."""
        point = self.point
        if point.faults.reject_profiles:
            return Refused("Unspecified", "this point refuses every profile")
        unit_w = point.faults.only_watts
        schedules = raw["chargingSchedule"] if isinstance(raw["chargingSchedule"], list) else [raw["chargingSchedule"]]
        if unit_w and any(schedule["chargingRateUnit"] != "W" for schedule in schedules):
            return Refused("UnsupportedRateUnit", "this point takes watts")
        try:
            point.store.install(raw, target, point.charging)
        except Refused as refusal:
            return refusal
        return None

    def periods(self, duration_s: float, unit: Unit) -> list[Payload]:
        """Return the composite schedule as both versions write its periods: whole seconds, the lower limit of two."""
        found: dict[int, Payload] = {}
        for interval in self.point.composite(duration_s):
            start, limit = int(interval.start_s), self.point.shown(interval, unit)
            if start in found and found[start]["limit"] <= limit:
                continue
            found[start] = {"startPeriod": start, "limit": limit, "numberPhases": interval.phases}
            if interval.phase_to_use is not None and self.version != "1.6":
                found[start]["phaseToUse"] = interval.phase_to_use
        return list(found.values())

    def stamp(self) -> str:
        """Return the point's time as it stands in messages."""
        return time_text(self.point.now_s)

    def meter_value(self, key: str, context: str) -> Payload:
        """Return one meter value of the measurands that the setting `key` lists."""
        names = [name for name in self.point.settings[key].split(",") if name in MEASURANDS]
        phased = not self.point.faults.sums_only
        values = sample(self.point.view, names, context, version=self.version, phased=phased)
        return {"timestamp": self.stamp(), "sampledValue": values}

    def state(self) -> str:
        """Return the point's state in our words: available, preparing, charging, ev, evse, finishing, and two more."""
        point = self.point
        pilot = str(point.view.get("mode3_state"))[0]
        if pilot == "F":
            return "faulted"
        if not point.operative:
            return "unavailable"
        if pilot == "A" or not point.plugged:
            return "available"
        if point.transaction is None:
            return "preparing"
        if point.transaction.stopped:
            return "finishing"
        if float(point.view.get("charging")) == 1.0:
            return "charging"
        return "evse" if point.paused else "ev"

    def tick(self) -> None:
        """Queue what is due now: a heartbeat, samples, a changed state."""
        point, now_s = self.point, self.point.clock_s()
        if self.heartbeat.due(now_s, self.heartbeat_s()):
            point.enqueue(Message("Heartbeat", dict))
        state = self.state()
        if state != self.said:
            self.said = state
            self.tell_state(state)
        self.sample(now_s)

    def begin(self, reason: str) -> None:
        """Start a transaction at a car that is plugged in."""
        point = self.point
        start_wh = float(point.view.get("energy_wh"))
        point.transaction = Transaction(self.new_id(), point.now_s, start_wh)
        self.sampled.begin(point.clock_s())
        self.tell_begin(point.transaction, reason)

    def end(self, reason: str) -> None:
        """End the transaction, if one runs; its own profiles go with it."""
        transaction = self.point.transaction
        if transaction is not None and not transaction.stopped:
            self.tell_end(transaction, reason)
        self.point.transaction = None
        self.point.store.end_transaction()

    def stop_remote(self, reason: str) -> None:
        """End the transaction by order while the car stays."""
        transaction = self.point.transaction
        if transaction is not None and not transaction.stopped:
            self.tell_end(transaction, reason)
            transaction.stopped = True
            self.point.store.end_transaction()

    @staticmethod
    def whole(wh: float) -> int:
        """Return watt-hours as the integer that a meter register is."""
        return max(round(wh), 0)

    @abstractmethod
    def boot(self, reason: str) -> Payload:
        """Return the payload of a BootNotification."""

    @abstractmethod
    def heartbeat_s(self) -> float:
        """Return the heartbeat's interval, s."""

    @abstractmethod
    def ping_s(self) -> float:
        """Return the interval of WebSocket pings, s; 0 none. It counts from the next connection on."""

    @abstractmethod
    def set_heartbeat(self, interval_s: int) -> None:
        """Take the interval that the CSMS gives with its answer to the boot."""

    @abstractmethod
    def new_id(self) -> str:
        """Return the id of a new transaction, "" where the CSMS gives it."""

    @abstractmethod
    def tell_state(self, state: str) -> None:
        """Queue the messages that tell a changed state."""

    @abstractmethod
    def tell_station(self) -> None:
        """Queue what follows a boot: the station's status."""

    @abstractmethod
    def tell_begin(self, transaction: Transaction, reason: str) -> None:
        """Queue the start of a transaction."""

    @abstractmethod
    def tell_end(self, transaction: Transaction, reason: str) -> None:
        """Queue the end of a transaction."""

    @abstractmethod
    def sample(self, now_s: float) -> None:
        """Queue the meter values that are due."""

    @abstractmethod
    def constrained(self, limit_a: float | None) -> None:
        """Tell the CSMS of a local limit, or that it is gone, where the version has a message for it."""


__all__ = ["HARD", "SOFT", "CallError", "Dialect"]
