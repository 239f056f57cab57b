"""Keep floor and order at one charge point: what goes out, when it is due, and what the point took.

While it is not sure that the floor stands, an order has no end and is at most the fail-safe current: when one with an
end ran out there would be nothing below it, and the point would charge at its rating.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from instruments.catalog import Model, charger_of, ocpp_of
from instruments.faults import FaultKind, PortFault
from instruments.ocpp_profiles import Order, PointLimits, ProfileWriter, order_level, order_of
from instruments.ocpp_reading import CP_A, GOOD, PointReading
from instruments.ocpp_setup import ask_limits
from instruments.ocpp_watch import drawing_phases

NS = 1_000_000_000
NEVER_NS = 2**62
DRIFT = 0.01  # a limit in W is sent again when the volts moved it by this share
STEP_A = 0.05  # a limit that differs by less is the same on the wire
Call = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


class OrderKeeper:
    """Hold what one point was told and took.

    Attributes: `sent` the order that it holds, None where that is not known, `floor_ns` when the floor is due,
    `writes_ns` when the last order left, `limits` what the point says that it takes, `phases_w` over how many phases
    it shares watts now, `phases_sent` over how many it was taken to when the order left.

    Parameters
    ----------
    name: of the charger, for faults
    model: its catalog record
    reading: what is known of the point; `sent_a` and `failsafe_a` are written here
    failsafe_a, failsafe_s: current to which the point must fall, A, and after how long, s
    phases: of its connection
    read_only: nothing is ever due
    """

    __slots__ = ("_asked", "_car", "_clock_ns", "_failsafe_a", "_failsafe_s", "_floor_stands", "_gap_ns", "_model",
                 "_part", "_phases", "_read_only", "_reading", "_sent_ns", "_unit", "_updates", "_utc_ns", "floor_ns",
                 "limits", "name", "phases_sent", "phases_w", "sent", "writes_ns")  # fmt: skip

    def __init__(
        self,
        name: str,
        model: Model,
        reading: PointReading,
        clock_ns: Callable[[], int],
        utc_ns: Callable[[], int],
        *,
        failsafe_a: float,
        failsafe_s: float,
        phases: int,
        read_only: bool,
    ) -> None:
        self.name, self._model, self._part, self._reading = name, model, ocpp_of(model), reading
        self._clock_ns, self._utc_ns = clock_ns, utc_ns
        self._failsafe_a, self._failsafe_s, self._phases, self._read_only = failsafe_a, failsafe_s, phases, read_only
        self._gap_ns = round(charger_of(model).timing.write_gap_s * NS)
        self._unit = 0  # index among the units that the point takes
        self._sent_ns = self.writes_ns = 0
        self._car = 0  # session that `phases_w` was seen in
        self._asked = 0  # phases to charge on; 0 no request
        self.phases_w = self.phases_sent = phases
        self.limits: PointLimits | None = None
        self.begin()

    def begin(self) -> None:
        """Take nothing for known: a new connection, or a point that restarted within one."""
        self.sent: Order | None = None
        self._floor_stands = self._updates = False
        self.floor_ns = NEVER_NS if self._read_only else 0
        self._reading.failsafe_a = self._reading.failsafe_s = math.nan

    def order(self, want_a: float) -> Order:
        """Return an order as it goes onto the wire; a PortFault RANGE refuses what the family does not take."""
        part = charger_of(self._model)
        if not math.isfinite(want_a) or (want_a != 0.0 and not part.min_a <= want_a <= part.max_a):
            detail = f"{want_a:g} A; allowed: 0 or {part.min_a:g}..{part.max_a:g} A"
            raise PortFault(FaultKind.RANGE, self.name, self._part.purpose, detail)
        one = self._asked == 1 and self.switches
        phases = 1 if one else self._shared()
        found = order_of(self._allowed_a(want_a), self._rate_unit(), self._reading.volt_v, phases)
        if one and self.limits is not None and self.limits.phase_to_use:
            return replace(found, phase_to_use=1)
        return found

    def ask_phases(self, number: int) -> bool:
        """Take the number of phases to charge on, 1 or 3, 0 no request; return whether that is news."""
        news, self._asked = number != self._asked, number
        return news

    @property
    def switches(self) -> bool:
        """Say whether the point tells that it goes to one phase when a schedule says so."""
        return self.limits is not None and self.limits.switches

    def in_use(self, told: int) -> int:
        """Return the phases in use, -1 where none were asked for: all, unless it can switch, tells one and draws so."""
        if self._asked == 0:
            return -1
        return 1 if self.switches and told == 1 and drawing_phases(self._reading) < 2 else self._phases

    def due(self, order: Order, now_ns: int, transaction: str | int | None) -> bool:
        """Say whether an order has to go out now: it changed, or has to be renewed, and the gap is over."""
        if self._read_only or self.limits is None or now_ns - self.writes_ns < self._gap_ns:
            return False
        if self._part.purpose == "TxProfile" and transaction is None:
            return False  # would be refused: the floor rules until a transaction runs
        sent = self.sent
        if sent is None or sent.unit != order.unit or sent.phases != order.phases:
            return True
        if self._ends and self._part.failsafe == "expiring" and now_ns - self._sent_ns >= self._failsafe_s / 3 * NS:
            return True
        slack = DRIFT * sent.limit if order.unit == "W" and order.limit > 0.0 else STEP_A
        return abs(order.limit - sent.limit) > slack

    async def send(self, call: Call, version: str, order: Order, want_a: float, transaction: str | int | None) -> None:
        """Send one order, or what `held_back` tells; only an Accepted makes it known. PortFault REJECTED otherwise."""
        ordered_a = self._allowed_a(want_a)
        self.sent, self.writes_ns = None, self._clock_ns()
        writer = self._writer(version)
        if self._updates and order.phases == self.phases_sent:  # an update cannot move the number of phases
            self._updates = False  # a refused update is followed by the whole profile
            await self._set(call, "UpdateDynamicSchedule", writer.update(order))
        else:
            payload = writer.order(order, self._utc_ns(), transaction, ends=self._ends)
            await self._set(call, "SetChargingProfile", payload)
        self.sent, self._sent_ns = order, self._clock_ns()
        self._updates = self._part.kind == "Dynamic" and self._ends
        self._reading.sent_a, self._reading.sent_ns = ordered_a, self._sent_ns
        self._reading.round_trip_ns = self._sent_ns - self.writes_ns
        self.phases_sent = order.phases

    def held_back(self, want_a: float) -> str:
        """Say why less than wanted was sent; an empty text where it was not."""
        if not self._allowed_a(want_a) < want_a:
            return ""
        return f"{want_a:g} A wanted, {self._failsafe_a:g} A sent without an end: its floor profile is not accepted"

    async def floor(self, call: Call, version: str) -> None:
        """Set the fail-safe floor, below the level of the orders, and learn what the point can do before it.

        Errors: PortFault REJECTED (the point refuses it), INTERLOCK (no stack level below the order), of the link.
        """
        self.floor_ns = self._clock_ns() + 2 * self._gap_ns  # tried again so much later
        if self.limits is None:
            self.limits = await ask_limits(call, self._part, version)
        if self._part.failsafe == "latched":
            self.floor_ns = NEVER_NS
            return
        if order_level(self._part, self.limits) < 1:
            detail = "its highest stack level is 0: no room for a floor below the order"
            hint = "use a record with failsafe = latched, which the plan counts in full"
            raise PortFault(FaultKind.INTERLOCK, self.name, "ChargeProfileMaxStackLevel", detail, hint)
        # it stands for ever and for any car: in watts at the lowest volts and as if one phase took them all
        unit = self._rate_unit()
        floor = order_of(self._failsafe_a, unit, (), self._phases if unit == "A" else 1)
        await self._set(call, "SetChargingProfile", self._writer(version).floor(floor, self._utc_ns()))
        self.floor_ns = NEVER_NS
        if not self._floor_stands:
            self._floor_stands, self.sent, self._updates = True, None, False  # the order goes out again, with its end
        self._reading.failsafe_a, self._reading.failsafe_s = self._failsafe_a, float(int(self._failsafe_s))

    def follow_car(self) -> None:
        """Take over how many phases the car draws on: a point shares watts over those, not over its own."""
        reading = self._reading
        if reading.state == CP_A or reading.session_no != self._car:
            self._car, self.phases_w = reading.session_no, self._phases
        elif reading.quality == GOOD and (drawing := drawing_phases(reading)):
            self.phases_w = min(drawing, self._phases)

    def schedule_update(self) -> dict[str, Any] | None:
        """Return the order as an answer to PullDynamicScheduleUpdate; None where the point holds none of ours."""
        return self._writer("ocpp2.1").update(self.sent)["scheduleUpdate"] if self.sent and self._updates else None

    @property
    def _ends(self) -> bool:
        """Say whether orders end by themselves: only over a floor that stands."""
        return self._part.failsafe == "latched" or self._floor_stands

    def _allowed_a(self, want_a: float) -> float:
        return want_a if self._ends else min(want_a, self._failsafe_a)

    def _rate_unit(self) -> str:
        units = self.limits.units if self.limits else tuple(self._part.rate_units)
        return units[self._unit % len(units)]

    def _shared(self) -> int:
        return self._phases if self._rate_unit() == "A" else self.phases_w

    def _writer(self, version: str) -> ProfileWriter:
        limits = self.limits or PointLimits(tuple(self._part.rate_units), self._part.max_stack_level)
        return ProfileWriter(self._part, version, limits, self._failsafe_s)

    async def _set(self, call: Call, action: str, payload: dict[str, Any]) -> None:
        """Send a profile; a refusal is a PortFault, and the next try takes the point's other unit."""
        answer = await call(action, payload)
        if answer["status"] != "Accepted":
            self._unit += 1
            info = (answer.get("statusInfo") or {}).get("reasonCode", "")
            raise PortFault(FaultKind.REJECTED, self.name, action, f"{answer['status']} {info}".strip())
