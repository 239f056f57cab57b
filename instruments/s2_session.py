"""Speak S2 (EN 50491-12-2) as the resource manager of one connection: power envelopes in, status and power out. Pure.

Handshake, details, PEBC (power envelope based control) with its constraints; every message is answered by a
ReceptionStatus. The limits are those of all three phases together (ELECTRIC.POWER.3_PHASE_SYMMETRIC), W, + consumption.
Needs the extra `s2` (messages and their checks are those of s2-python).
"""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from s2python.common import (
    Commodity,
    CommodityQuantity,
    ControlType,
    Duration,
    EnergyManagementRole,
    Handshake,
    HandshakeResponse,
    InstructionStatus,
    InstructionStatusUpdate,
    NumberRange,
    PowerMeasurement,
    PowerValue,
    ReceptionStatus,
    ReceptionStatusValues,
    ResourceManagerDetails,
    RevokeObject,
    Role,
    RoleType,
    SelectControlType,
)
from s2python.generated.gen_s2 import PEBCPowerEnvelopeConsequenceType, PEBCPowerEnvelopeLimitType
from s2python.pebc import PEBCAllowedLimitRange, PEBCInstruction, PEBCPowerConstraints
from s2python.s2_parser import S2Parser
from s2python.s2_validation_error import S2ValidationError
from s2python.version import S2_VERSION

QUANTITY = CommodityQuantity.ELECTRIC_POWER_3_PHASE_SYMMETRIC
PROCESSING_MS = 1000  # from an instruction's receipt until its limits are decided


@dataclass(frozen=True, slots=True)
class Envelope:
    """Hold one element of an instruction: consumption and production allowed, W from 0, between UTC epoch seconds."""

    import_w: float
    export_w: float
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Instruction:
    """Hold what an energy manager asks for: its id and the envelopes in order."""

    id: str
    envelopes: tuple[Envelope, ...]


class S2Session:
    """Hold one session; hand it each message (`receive`) and send what is in `out` after every call.

    Parameters
    ----------
    resource_id: UUID of the connection, the same for ever; name: for people
    import_w, export_w: the most that an envelope may allow, W from 0

    `instructions` holds what came and is not answered yet: answer by `status`. `revoked` holds ids taken back.
    """

    def __init__(self, resource_id: str, name: str, import_w: float, export_w: float) -> None:
        self._resource_id, self._name = uuid.UUID(resource_id), name
        self._import_w, self._export_w = import_w, export_w
        self._constraints_id = uuid.uuid4()
        self.out: list[str] = []
        self.instructions: list[Instruction] = []
        self.revoked: list[str] = []
        self.selected = False

    def start(self) -> None:
        """Begin: say who we are and which version we speak."""
        self._say(
            Handshake(message_id=uuid.uuid4(), role=EnergyManagementRole.RM, supported_protocol_versions=[S2_VERSION])
        )

    def receive(self, text: str, now_s: float) -> None:
        """Take one message at `now_s` (UTC epoch s)."""
        try:
            raw = json.loads(text)
            subject = uuid.UUID(str(raw["message_id"])) if raw.get("message_type") != "ReceptionStatus" else None
        except (ValueError, KeyError, AttributeError, TypeError):
            self._received(uuid.UUID(int=0), ReceptionStatusValues.INVALID_DATA, "not an S2 message")
            return
        if subject is None:
            return
        try:
            message = S2Parser.parse_as_any_message(raw)
        except S2ValidationError as error:
            self._received(subject, ReceptionStatusValues.INVALID_MESSAGE, str(error)[:200])
            return
        why = self._take(message, now_s)
        self._received(subject, ReceptionStatusValues.INVALID_CONTENT if why else ReceptionStatusValues.OK, why)

    def status(self, instruction_id: str, status: str, now_s: float) -> None:
        """Tell what became of an instruction: ACCEPTED, REJECTED, STARTED, SUCCEEDED, ABORTED or REVOKED."""
        self._say(
            InstructionStatusUpdate(
                message_id=uuid.uuid4(),
                instruction_id=uuid.UUID(instruction_id),
                status_type=InstructionStatus(status),
                timestamp=_time(now_s),
            )
        )

    def power(self, power_w: float, now_s: float) -> None:
        """Tell the measured power, W, + consumption."""
        value = PowerValue(commodity_quantity=QUANTITY, value=power_w)
        self._say(PowerMeasurement(message_id=uuid.uuid4(), measurement_timestamp=_time(now_s), values=[value]))

    def _take(self, message: Any, now_s: float) -> str:
        """Take a message that is well formed; return what is wrong with its content, or an empty text."""
        if isinstance(message, HandshakeResponse):
            if str(message.selected_protocol_version) != S2_VERSION:
                return f"version {message.selected_protocol_version}: {S2_VERSION} is spoken here"
            self._say(self._details())
        elif isinstance(message, SelectControlType):
            if message.control_type not in (ControlType.POWER_ENVELOPE_BASED_CONTROL, ControlType.NO_SELECTION):
                return f"{message.control_type.value}: only POWER_ENVELOPE_BASED_CONTROL is offered"
            self.selected = message.control_type is ControlType.POWER_ENVELOPE_BASED_CONTROL
            if self.selected:
                self._say(self._constraints(now_s))
        elif isinstance(message, PEBCInstruction):
            return self._instruct(message)
        elif isinstance(message, RevokeObject):
            self.revoked.append(str(message.object_id))
        return ""

    def _instruct(self, message: PEBCInstruction) -> str:
        if not self.selected or message.power_constraints_id != self._constraints_id:
            return "it is based on no constraints of this session"
        if [envelope.commodity_quantity for envelope in message.power_envelopes] != [QUANTITY]:
            return f"exactly one envelope of {QUANTITY.value} is taken"
        at_s, found = message.execution_time.timestamp(), []
        for element in message.power_envelopes[0].power_envelope_elements:
            upper_w, lower_w = element.upper_limit, element.lower_limit
            if not (0.0 <= upper_w <= self._import_w and -self._export_w <= lower_w <= 0.0):
                return f"{lower_w:g} to {upper_w:g} W: allowed {-self._export_w:g} to 0 and 0 to {self._import_w:g} W"
            end_s = at_s + element.duration.root / 1000.0
            found.append(Envelope(upper_w, abs(lower_w), at_s, end_s))
            at_s = end_s
        self.instructions.append(Instruction(str(message.id), tuple(found)))
        return ""

    def _details(self) -> ResourceManagerDetails:
        return ResourceManagerDetails(
            message_id=uuid.uuid4(),
            resource_id=self._resource_id,
            name=self._name,
            manufacturer="voltbench",
            model="node",
            serial_number=None,
            firmware_version=None,
            currency=None,
            roles=[Role(role=RoleType.ENERGY_CONSUMER, commodity=Commodity.ELECTRICITY)],
            instruction_processing_delay=Duration(PROCESSING_MS),
            available_control_types=[ControlType.POWER_ENVELOPE_BASED_CONTROL],
            provides_forecast=False,
            provides_power_measurement_types=[QUANTITY],
        )

    def _constraints(self, now_s: float) -> PEBCPowerConstraints:
        def allowed(kind: PEBCPowerEnvelopeLimitType, low_w: float, high_w: float) -> PEBCAllowedLimitRange:
            return PEBCAllowedLimitRange(
                commodity_quantity=QUANTITY,
                limit_type=kind,
                range_boundary=NumberRange(start_of_range=low_w, end_of_range=high_w),
                abnormal_condition_only=False,
            )

        return PEBCPowerConstraints(
            message_id=uuid.uuid4(),
            id=self._constraints_id,
            valid_from=_time(now_s),
            valid_until=None,
            consequence_type=PEBCPowerEnvelopeConsequenceType.DEFER,
            allowed_limit_ranges=[
                allowed(PEBCPowerEnvelopeLimitType.UPPER_LIMIT, 0.0, self._import_w),
                allowed(PEBCPowerEnvelopeLimitType.LOWER_LIMIT, -self._export_w, 0.0),
            ],
        )

    def _received(self, subject: uuid.UUID, status: ReceptionStatusValues, why: str = "") -> None:
        self._say(ReceptionStatus(subject_message_id=subject, status=status, diagnostic_label=why or None))

    def _say(self, message: Any) -> None:
        self.out.append(message.to_json())


def _time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
