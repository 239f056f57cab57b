"""Write charging profiles, and read composite schedules: pure, times are handed in.

A limit is in force as one period. Two profiles of one purpose make the fail-safe: the *floor* without an end, and
one stack level above it the *order*, which ends by itself unless it is renewed. Within a purpose the highest valid
level rules, so an order that ended leaves the floor: that can only lower while the floor is not above the order.
Levels below the floor never come into force. Source: OCPP 1.6 edition 2, 3.13 and 7.8 to 7.14; 2.0.1 and 2.1 schemas.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from instruments.ocpp_catalog import STATION_PURPOSES, OcppPart

FLOOR_ID, ORDER_ID = 1, 2
START_BACK_S = 30  # an order starts so long ago by our clock, so that a point's clock may be that much behind
LOW_V = 207.0  # until volts are measured a limit in A becomes W at the lowest volts of EN 50160: never too many
TENTH = 0.1


@dataclass(frozen=True, slots=True)
class PointLimits:
    """Hold what a charge point says of its smart charging.

    Units that it takes, its highest stack level, whether it goes from three phases to one when a schedule says so, and
    whether it takes the phase to use.
    """

    units: tuple[str, ...]
    max_stack_level: int
    switches: bool = False
    phase_to_use: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """Hold one limit as it goes onto the wire: number with one decimal, unit, phases, the one to use (0: not said)."""

    limit: float
    unit: str
    phases: int = 0
    phase_to_use: int = 0


def tenths_down(value: float) -> float:
    """Return a number with one decimal, rounded towards zero: a limit is never raised by writing it."""
    return math.trunc(round(value / TENTH, 6)) / 10.0


def order_of(want_a: float, unit: str, volt_v: Any, phases: int) -> Order:
    """Return amps per phase as a limit in `unit`.

    `volt_v` (3,) are measured volts line to neutral, V (NaN unknown); `phases` those over which the point shares
    watts: watts are amps times the sum of the lowest so many volts.
    """
    if unit == "A":
        return Order(tenths_down(want_a), "A", phases)
    known = sorted(float(volt) for volt in volt_v if math.isfinite(volt) and volt > 0.0)[:phases]
    volts = sum(known) + (phases - len(known)) * (known[0] if known else LOW_V)
    return Order(tenths_down(want_a * volts), "W", phases)


def amps_of(limit: float, unit: str, volt_v: Any, phases: int) -> float:
    """Return a limit of a composite schedule as amps per phase; NaN for a negative one, which says nothing."""
    if limit < 0.0:
        return math.nan
    if unit == "A":
        return limit
    known = [float(volt) for volt in volt_v if math.isfinite(volt) and volt > 0.0][:phases]
    volts = sum(known) + (phases - len(known)) * (known[0] if known else LOW_V)
    return limit / volts


def stamp(utc_ns: int) -> str:
    """Write a UTC time as OCPP has it, whole seconds."""
    return datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def order_level(part: OcppPart, limits: PointLimits) -> int:
    """Return the stack level of the order; the floor is one below."""
    return limits.max_stack_level if part.stack_level < 0 else min(part.stack_level, limits.max_stack_level)


@dataclass(frozen=True, slots=True)
class ProfileWriter:
    """Write the profiles of one point in the words of one version."""

    part: OcppPart
    version: str
    limits: PointLimits
    failsafe_s: float

    def floor(self, order: Order, utc_ns: int) -> dict[str, Any]:
        """Return the payload of SetChargingProfile for the fail-safe floor, which has no end."""
        return self._payload(FLOOR_ID, max(order_level(self.part, self.limits) - 1, 0), order, utc_ns, ends=False)

    def order(
        self, order: Order, utc_ns: int, transaction: str | int | None = None, *, ends: bool = True
    ) -> dict[str, Any]:
        """Return the payload of SetChargingProfile for an order; `transaction` is needed by a TxProfile.

        `ends` False: without an end of its own, for a point whose floor does not stand.
        """
        level = order_level(self.part, self.limits)
        return self._payload(ORDER_ID, level, order, utc_ns, ends=ends, transaction=transaction)

    def update(self, order: Order) -> dict[str, Any]:
        """Return the payload of UpdateDynamicSchedule, which moves the one period of a dynamic order (2.1)."""
        return {"chargingProfileId": ORDER_ID, "scheduleUpdate": self._rate(order)}

    def _rate(self, order: Order) -> dict[str, Any]:
        """Return the keys of a period that say how much: a limit, or a set-point that may not be overshot."""
        if self.part.operation_mode == "ChargingOnly":
            return {"limit": order.limit}
        rate = {"limit": order.limit, "setpoint": order.limit}
        if order.unit == "A" and order.phases == 3:  # a set-point alone is the sum of all phases, a limit is not
            rate |= {f"{key}_L{k}": order.limit for k in (2, 3) for key in ("limit", "setpoint")}
        return rate

    def _payload(
        self,
        profile_id: int,
        level: int,
        order: Order,
        utc_ns: int,
        *,
        ends: bool,
        transaction: str | int | None = None,
    ) -> dict[str, Any]:
        part, old = self.part, self.version == "ocpp1.6"
        floor = profile_id == FLOOR_ID
        fails = part.failsafe if ends else "latched"
        # a transaction's profile cannot stand before there is one: its floor is the default below it
        purpose = "TxDefaultProfile" if floor and part.purpose == "TxProfile" else part.purpose
        kind = "Absolute" if floor and part.kind == "Dynamic" else part.kind
        absolute = kind == "Absolute"
        moded = not floor and part.operation_mode != "ChargingOnly"
        period: dict[str, Any] = {"startPeriod": 0, **({"limit": order.limit} if floor else self._rate(order))}
        if moded:
            period["operationMode"] = part.operation_mode
        if order.phases:
            period["numberPhases"] = order.phases
        if order.phase_to_use:
            period["phaseToUse"] = order.phase_to_use
        schedule: dict[str, Any] = {"chargingRateUnit": order.unit, "chargingSchedulePeriod": [period]}
        profile: dict[str, Any] = {
            "stackLevel": level,
            "chargingProfilePurpose": purpose,
            "chargingProfileKind": kind,
        }
        if kind == "Dynamic" and part.dyn_update_s:
            profile["dynUpdateInterval"] = part.dyn_update_s
        if absolute:
            schedule["startSchedule"] = stamp(utc_ns - START_BACK_S * 1_000_000_000)
        if fails == "expiring" and absolute:
            schedule["duration"] = START_BACK_S + int(self.failsafe_s)
        elif fails == "expiring":
            profile["validTo"] = stamp(utc_ns + int(self.failsafe_s) * 1_000_000_000)
        if fails == "offline":
            profile |= {"maxOfflineDuration": int(self.failsafe_s), "invalidAfterOfflineDuration": True}
        if purpose == "TxProfile" and transaction is not None:
            profile["transactionId"] = transaction
        where = 0 if purpose in STATION_PURPOSES else part.connector
        if old:
            profile |= {"chargingProfileId": profile_id, "chargingSchedule": schedule}
            return {"connectorId": where, "csChargingProfiles": profile}
        profile |= {"id": profile_id, "chargingSchedule": [{"id": profile_id, **schedule}]}
        return {"evseId": where, "chargingProfile": profile}


def composite(version: str, answer: dict[str, Any]) -> Order | None:
    """Return the limit that a composite schedule has now; None for a rejected, absent or empty one."""
    if answer.get("status") != "Accepted":
        return None
    schedule = answer.get("chargingSchedule" if version == "ocpp1.6" else "schedule") or {}
    periods = schedule.get("chargingSchedulePeriod") or []
    if not periods or periods[0].get("limit") is None:
        return None
    first = periods[0]
    return Order(float(first["limit"]), str(schedule.get("chargingRateUnit", "A")), int(first.get("numberPhases") or 0))
