"""Keep the charging profiles of an emulated charge point: read them from the wire, refuse, replace and clear them.

What is refused and why follows OCPP 1.6 edition 2, 3.13 and 5.16, and OCPP 2.0.1 part 2, K01 (requirement numbers [V:
EVerest]); the 2.0.1 reason codes are of its appendix [R+].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hil.twins.ocpp_schedule import DAY_S, DEFAULT_PHASES, Charging, Kind, Period, Profile, Purpose, Schedule, ordered

RECURRENCE_S = {"Daily": DAY_S, "Weekly": 7 * DAY_S}
PURPOSE_16 = {"ChargePointMaxProfile": Purpose.STATION_MAX}
CHARGING_ONLY, CENTRAL_SETPOINT = "ChargingOnly", "CentralSetpoint"


class Refused(Exception):
    """Say why a profile is not taken: `reason` is a reason code of OCPP 2.0.1, the text names the clause."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Rules:
    """Say what a charge point takes: `units` of rate, periods a schedule, profiles in all, and its highest level."""

    version: str = "1.6"
    units: tuple[str, ...] = ("A", "W")
    max_stack_level: int = 8
    max_periods: int = 24
    max_profiles: int = 16
    connectors: int = 1
    phase_switching: bool = False
    external_from_csms: bool = False


def seconds_of(text: str) -> float:
    """Return epoch seconds of an RFC 3339 time; one without an offset is UTC. ValueError for another text."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def time_text(epoch_s: float) -> str:
    """Write epoch seconds as OCPP does: RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_profile(raw: dict[str, Any], target: int) -> Profile:
    """Return a profile as SetChargingProfile of either version carries it, for connector or EVSE `target`.

    Refused for what the schemas of OCPP do not catch: a recurring profile without recurrence, an unreadable time.
    """
    schedules = raw["chargingSchedule"]
    purpose = str(raw["chargingProfilePurpose"])
    try:
        return Profile(
            id=int(raw["id"] if "id" in raw else raw["chargingProfileId"]),
            target=target,
            stack_level=int(raw["stackLevel"]),
            purpose=PURPOSE_16.get(purpose) or Purpose(purpose),
            kind=Kind(raw["chargingProfileKind"]),
            schedules=tuple(_schedule(each) for each in (schedules if isinstance(schedules, list) else [schedules])),
            recurrence_s=RECURRENCE_S.get(raw.get("recurrencyKind", ""), 0.0),
            valid_from_s=seconds_of(raw["validFrom"]) if "validFrom" in raw else -math.inf,
            valid_to_s=seconds_of(raw["validTo"]) if "validTo" in raw else math.inf,
            transaction=str(raw.get("transactionId", "")),
            max_offline_s=float(raw.get("maxOfflineDuration", math.inf)),
            invalid_after_offline=bool(raw.get("invalidAfterOfflineDuration", False)),
        )
    except ValueError as error:
        raise Refused("InvalidProfile", str(error)) from error


def _schedule(raw: dict[str, Any]) -> Schedule:
    return Schedule(
        unit=raw["chargingRateUnit"],
        periods=tuple(
            Period(
                float(each["startPeriod"]),
                _rate(each, raw["chargingRateUnit"]),
                int(each.get("numberPhases", DEFAULT_PHASES)),
                each.get("phaseToUse"),
            )
            for each in raw["chargingSchedulePeriod"]
        ),
        start_s=seconds_of(raw["startSchedule"]) if "startSchedule" in raw else math.nan,
        duration_s=float(raw.get("duration", math.inf)),
        min_rate=float(raw.get("minChargingRate", 0.0)),
    )


def _rate(period: dict[str, Any], unit: str) -> float:
    """Return the limit of a period, A per phase or W of all; a set-point of 2.1 is one that the car is to follow.

    Refused for what would be taken and not followed: an operation mode of another kind, a set-point to discharge.
    """
    mode = period.get("operationMode", CHARGING_ONLY)
    if mode not in (CHARGING_ONLY, CENTRAL_SETPOINT):
        raise Refused("UnsupportedParam", f"operationMode {mode}: only {CHARGING_ONLY} and {CENTRAL_SETPOINT}")
    limit = _of_phases(period, "limit", unit, summed=unit == "W")
    if mode == CHARGING_ONLY:
        if any(key.startswith("setpoint") for key in period):
            raise Refused("UnsupportedParam", f"a set-point needs operationMode {CENTRAL_SETPOINT}")
        return limit
    if "setpoint" not in period:
        raise Refused("MissingParam", f"{CENTRAL_SETPOINT} needs a setpoint")
    setpoint = _of_phases(period, "setpoint", unit, summed=True)
    if setpoint < 0.0 or any(period.get(f"setpointReactive{k}", 0.0) for k in ("", "_L2", "_L3")):
        raise Refused("UnsupportedParam", "this EVSE neither discharges nor shifts phase: a setpoint is 0 or more")
    return min(limit, setpoint)


def _of_phases(period: dict[str, Any], key: str, unit: str, *, summed: bool) -> float:
    """Return a value that may be given by phase; where `summed` one value alone is that of all phases together."""
    phases = int(period.get("numberPhases", DEFAULT_PHASES))
    alone = float(period.get(key, math.inf))  # 2.1: absent is no limit
    others = [float(period[name]) for name in (f"{key}_L2", f"{key}_L3") if name in period]
    if others:  # the lowest phase rules all: an EVSE has one limit
        each = min([alone, *others])
        return each * phases if unit == "W" else each
    return alone / phases if summed and unit == "A" else alone


@dataclass(slots=True)
class ProfileStore:
    """Hold the installed profiles; `raw` are the same as they came, by id, for reports."""

    rules: Rules = field(default_factory=Rules)
    profiles: list[Profile] = field(default_factory=list)
    raw: dict[int, dict[str, Any]] = field(default_factory=dict)

    def install(self, raw: dict[str, Any], target: int, charging: Charging | None) -> Profile:
        """Take a profile, replacing the one of its id or its place; Refused says why not."""
        profile = read_profile(raw, target)
        self._check(profile, charging)
        replaced = [p for p in self.profiles if self._replaced(p, profile)]
        if len(self.profiles) - len(replaced) >= self.rules.max_profiles:
            raise Refused("TooManyElements", f"{self.rules.max_profiles} profiles are installed, MaxChargingProfiles")
        for old in replaced:
            self._drop(old)
        self.profiles.append(profile)
        self.raw[profile.id] = raw
        return profile

    def clear(
        self,
        profile_id: int | None = None,
        target: int | None = None,
        purpose: str | None = None,
        level: int | None = None,
    ) -> int:
        """Remove the profiles that match all that is given; an id alone decides. Return how many went."""
        wanted = PURPOSE_16.get(purpose or "", purpose)

        def matches(p: Profile) -> bool:
            if p.id < 0:  # a local constraint: the CSMS cannot clear what it did not set
                return False
            if profile_id is not None:
                return p.id == profile_id
            return target in (None, p.target) and wanted in (None, p.purpose) and level in (None, p.stack_level)

        return self._remove(matches)

    def end_transaction(self) -> None:
        """Delete the transaction's own profiles (1.6 ed. 2 3.13.1; 2.0.1 K01.FR.11 [R?])."""
        self._remove(lambda p: p.purpose is Purpose.TX)

    def constrain(self, profile: Profile | None) -> None:
        """Set the local constraint, of a negative id (an energy manager's or DSO's, not the CSMS's); None ends it."""
        self._remove(lambda p: p.id < 0)
        if profile is not None:
            self.profiles.append(profile)

    def at_work(self, offline_s: float) -> list[Profile]:
        """Return the profiles that count after `offline_s` s without a connection (2.1; others hold for ever)."""
        return [p for p in self.profiles if offline_s <= p.max_offline_s]

    def forget_invalid(self, offline_s: float) -> None:
        """Drop the profiles that said they are invalid after so long offline (2.1)."""
        self._remove(lambda p: p.invalid_after_offline and offline_s > p.max_offline_s)

    def _remove(self, matches: Callable[[Profile], bool]) -> int:
        gone = [p for p in self.profiles if matches(p)]
        for p in gone:
            self._drop(p)
        return len(gone)

    def _drop(self, profile: Profile) -> None:
        self.profiles.remove(profile)
        self.raw.pop(profile.id, None)

    def _replaced(self, old: Profile, new: Profile) -> bool:
        if old.id < 0:
            return False
        same_place = (old.target, old.purpose, old.stack_level) == (new.target, new.purpose, new.stack_level)
        return old.id == new.id or (same_place and self.rules.version == "1.6")

    def _check(self, profile: Profile, charging: Charging | None) -> None:
        rules = self.rules
        if not 0 <= profile.target <= rules.connectors:
            raise Refused("UnknownEvse", f"connector {profile.target}: there are 0..{rules.connectors} (K01.FR.28)")
        if not 0 <= profile.stack_level <= rules.max_stack_level:
            raise Refused("InvalidStackLevel", f"stack level {profile.stack_level}: 0..{rules.max_stack_level}")
        if profile.purpose is Purpose.EXTERNAL and not rules.external_from_csms:
            raise Refused("UnsupportedParam", "external constraints are set locally, not by the CSMS (K01.FR.22 [R?])")
        if profile.purpose is Purpose.STATION_MAX and profile.target != 0:
            raise Refused("InvalidProfile", "a station maximum is set at 0 (1.6 3.13.1, K01.FR.03)")
        if profile.purpose is Purpose.TX:
            self._check_transaction(profile, charging)
        for schedule in profile.schedules:
            self._check_schedule(profile, schedule)
        if rules.version != "1.6":
            self._check_201(profile)

    def _check_transaction(self, profile: Profile, charging: Charging | None) -> None:
        if profile.target == 0:
            raise Refused("InvalidProfile", "a TxProfile is set at a connector, not at 0 (1.6 3.13.1, K01.FR.16)")
        if charging is None:
            raise Refused("TxNotFound", "no transaction runs there (1.6 3.13.1, K01.FR.09)")
        if not profile.transaction and self.rules.version != "1.6":
            raise Refused("MissingParam", "a TxProfile names its transaction (K01.FR.03)")
        if profile.transaction and profile.transaction != charging.transaction:
            raise Refused("TxNotFound", f"transaction {profile.transaction} does not run there (K01.FR.33)")

    def _check_schedule(self, profile: Profile, schedule: Schedule) -> None:
        rules = self.rules
        if schedule.unit not in rules.units:
            raise Refused("UnsupportedRateUnit", f"unit {schedule.unit}: {', '.join(rules.units)} (K01.FR.26)")
        if len(schedule.periods) > rules.max_periods:
            raise Refused("TooManyElements", f"{len(schedule.periods)} periods: at most {rules.max_periods}")
        if not ordered(schedule.periods):
            raise Refused("InvalidSchedule", "periods begin at 0 and rise (K01.FR.31, K01.FR.35)")
        if profile.kind is Kind.RECURRING and (not profile.recurrence_s or math.isnan(schedule.start_s)):
            raise Refused("InvalidSchedule", "a recurring profile needs recurrencyKind and startSchedule (K01.FR.40)")
        if any(p.limit < 0.0 for p in schedule.periods):
            raise Refused("InvalidSchedule", "a limit is 0 or more")

    def _check_201(self, profile: Profile) -> None:
        starts = [not math.isnan(schedule.start_s) for schedule in profile.schedules]
        if profile.kind is Kind.ABSOLUTE and not all(starts):
            raise Refused("InvalidSchedule", "an absolute schedule needs startSchedule (K01.FR.40)")
        if profile.kind is Kind.RELATIVE and any(starts):
            raise Refused("InvalidSchedule", "a relative schedule has no startSchedule (K01.FR.41)")
        if profile.kind is Kind.RELATIVE and profile.purpose is Purpose.STATION_MAX:
            raise Refused("InvalidProfile", "a station maximum is not relative (K01.FR.38)")
        for period in (p for schedule in profile.schedules for p in schedule.periods):
            if period.phase_to_use is not None and (period.phases != 1 or not self.rules.phase_switching):
                raise Refused("InvalidSchedule", "phaseToUse needs one phase and a switch (K01.FR.19, K01.FR.20)")
        for other in self.profiles:
            if other.id != profile.id and _collide(other, profile):
                raise Refused(
                    "DuplicateProfile", f"profile {other.id} is valid at that level (K01.FR.06, FR.39, FR.52)"
                )


def _collide(one: Profile, other: Profile) -> bool:
    """Say whether two profiles of one purpose and level may be valid at the same time at the same place (2.0.1)."""
    same = (one.purpose, one.stack_level, one.transaction) == (other.purpose, other.stack_level, other.transaction)
    place = one.target == other.target or 0 in (one.target, other.target)
    overlap = one.valid_from_s < other.valid_to_s and other.valid_from_s < one.valid_to_s
    return same and place and overlap
