"""Merge charging profiles into the composite schedule of OCPP. Pure arithmetic: every time is an argument.

Sources: OCPP 1.6 edition 2, 3.13 (purposes, stacking, combining) and 7.8 to 7.14 (the data types) [V]; OCPP 2.0.1
part 2, use cases K01 and K08 [V: the requirement numbers that EVerest cites]. What neither text settles is a reading
of ours and named here: a TxProfile without a period for the instant leaves the instant to TxDefaultProfile; a
recurring schedule does not run before its startSchedule; on one stack level the connector's own profile goes before
that of connector 0.

Times are seconds of UTC (epoch), limits amps per phase or watts of all phases, +inf is no limit.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Literal

Unit = Literal["A", "W"]
DAY_S = 86400.0
DEFAULT_PHASES = 3  # what a period without numberPhases means, 1.6 ed. 2 7.14
TENTHS = 10.0
EPS = 1e-6


class Purpose(StrEnum):
    """Name what a profile is for, in the words of OCPP 2.0.1; 1.6 says ChargePointMaxProfile for STATION_MAX."""

    EXTERNAL = "ChargingStationExternalConstraints"
    STATION_MAX = "ChargingStationMaxProfile"
    TX_DEFAULT = "TxDefaultProfile"
    TX = "TxProfile"


class Kind(StrEnum):
    """Name what a schedule's start refers to."""

    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"
    DYNAMIC = "Dynamic"  # 2.1: one period that holds from now on and is updated in place


@dataclass(frozen=True, slots=True)
class Period:
    """Hold one step of a schedule: from `start_s` after its start, `limit` in the schedule's unit."""

    start_s: float
    limit: float
    phases: int = DEFAULT_PHASES
    phase_to_use: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hold the steps of one schedule. `start_s` NaN: relative to the start of charging; `duration_s` +inf: no end."""

    unit: Unit
    periods: tuple[Period, ...]
    start_s: float = math.nan
    duration_s: float = math.inf
    min_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """Hold one charging profile as installed at `target` (connector or EVSE, 0 the whole station).

    Of several schedules (2.0.1, for ISO 15118) the first counts: no car here negotiates another. `recurrence_s` is
    that of a recurring profile; `max_offline_s` how long it holds without a connection (2.1), +inf for ever.
    """

    id: int
    target: int
    stack_level: int
    purpose: Purpose
    kind: Kind
    schedules: tuple[Schedule, ...]
    recurrence_s: float = 0.0
    valid_from_s: float = -math.inf
    valid_to_s: float = math.inf
    transaction: str = ""
    max_offline_s: float = math.inf
    invalid_after_offline: bool = False

    @property
    def schedule(self) -> Schedule:
        """Return the schedule that counts."""
        return self.schedules[0]


@dataclass(frozen=True, slots=True)
class Charging:
    """Name the transaction that runs, and when it started, s."""

    transaction: str
    since_s: float


@dataclass(frozen=True, slots=True)
class Terminals:
    """Describe what a limit means here: volts of a phase, phases wired, and the rating, A per phase."""

    volt_v: float = 230.0
    phases: int = 3
    rating_a: float = math.inf


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold one interval of a composite schedule: from `start_s` on, amps per phase on so many phases."""

    start_s: float
    limit_a: float
    phases: int
    phase_to_use: int | None
    volt_v: float

    @property
    def limit_w(self) -> float:
        """Return the watts of all phases at the volts of the composite."""
        return self.limit_a * self.volt_v * self.phases

    def limit(self, unit: Unit) -> float:
        """Return the limit in `unit`, rounded down to the tenth that OCPP 1.6 carries."""
        value = self.limit_a if unit == "A" else self.limit_w
        return math.floor(value * TENTHS + EPS) / TENTHS if math.isfinite(value) else value


def period_at(profile: Profile, t_s: float, since_s: float) -> Period | None:
    """Return the period of a profile in force at `t_s`; None outside its validity or duration.

    `since_s` is the start of charging, to which relative schedules refer.
    """
    if not profile.valid_from_s <= t_s < profile.valid_to_s:
        return None
    schedule = profile.schedule
    elapsed_s = t_s - _start_s(profile, since_s)
    if elapsed_s < 0.0:
        return None
    if profile.kind is Kind.RECURRING:
        elapsed_s %= profile.recurrence_s
    if elapsed_s >= schedule.duration_s:
        return None
    return next((p for p in reversed(schedule.periods) if p.start_s <= elapsed_s), None)


def limit_at(
    profiles: Sequence[Profile],
    target: int,
    t_s: float,
    terminals: Terminals,
    charging: Charging | None,
    since_s: float,
) -> Interval:
    """Return the limit in force at `t_s` at one connector or EVSE; target 0: that of the station alone."""
    found = [p for p in (_leading(profiles, purpose, target, t_s, charging, since_s) for purpose in _STATION) if p]
    if target > 0:
        tx = None if charging is None else _leading(profiles, Purpose.TX, target, t_s, charging, since_s)
        tx = tx or _leading(profiles, Purpose.TX_DEFAULT, target, t_s, charging, since_s)
        found += [tx] if tx else []
    phases = min([terminals.phases, *(period.phases for _, period in found)])
    limit_a = terminals.rating_a
    for unit, period in found:
        watts_per_amp = 1.0 if unit == "A" else terminals.volt_v * phases
        limit_a = min(limit_a, period.limit / watts_per_amp if watts_per_amp > 0.0 else 0.0)
    use = next((p.phase_to_use for _, p in found if p.phase_to_use is not None), None) if phases == 1 else None
    return Interval(t_s, limit_a, phases, use, terminals.volt_v)


def composite(
    profiles: Sequence[Profile],
    target: int,
    begin_s: float,
    duration_s: float,
    terminals: Terminals,
    charging: Charging | None = None,
) -> list[Interval]:
    """Return the intervals from `begin_s` over `duration_s`, neighbours that differ; start_s counts from `begin_s`.

    Without a transaction a relative schedule is taken as if one began now. For target 0 the result is what the
    profiles of the whole station allow; what its one connector adds is the caller's business (`lower`).
    """
    since_s = begin_s if charging is None else charging.since_s
    end_s = begin_s + duration_s
    times = {begin_s} | {t for p in profiles for t in _boundaries(p, begin_s, end_s, since_s) if begin_s < t < end_s}
    found: list[Interval] = []
    for t_s in sorted(times):
        interval = limit_at(profiles, target, t_s, terminals, charging, since_s)
        interval = replace(interval, start_s=t_s - begin_s)
        if not found or replace(interval, start_s=found[-1].start_s) != found[-1]:
            found.append(interval)
    return found


def lower(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """Return the lower of two composite schedules of the same begin, interval by interval."""
    found: list[Interval] = []
    for start_s in sorted({i.start_s for i in (*one, *other)}):
        a, b = (next(i for i in reversed(each) if i.start_s <= start_s) for each in (one, other))
        phases = min(a.phases, b.phases)
        limit_a = min(a.limit_a, b.limit_a)
        use = (a.phase_to_use or b.phase_to_use) if phases == 1 else None
        interval = Interval(start_s, limit_a, phases, use, a.volt_v)
        if not found or replace(interval, start_s=found[-1].start_s) != found[-1]:
            found.append(interval)
    return found


_STATION = (Purpose.EXTERNAL, Purpose.STATION_MAX)


def _leading(
    profiles: Iterable[Profile],
    purpose: Purpose,
    target: int,
    t_s: float,
    charging: Charging | None,
    since_s: float,
) -> tuple[Unit, Period] | None:
    """Return unit and period of the profile of a purpose that leads at `t_s`: the highest level with a period."""
    best: tuple[tuple[int, bool], Unit, Period] | None = None
    for profile in profiles:
        if profile.purpose is not purpose or profile.target not in (0, target):
            continue
        if profile.transaction and (charging is None or charging.transaction != profile.transaction):
            continue
        period = period_at(profile, t_s, since_s)
        rank = (profile.stack_level, profile.target > 0)
        if period is not None and (best is None or rank > best[0]):
            best = (rank, profile.schedule.unit, period)
    return None if best is None else best[1:]


def _start_s(profile: Profile, since_s: float) -> float:
    start_s = profile.schedule.start_s
    if profile.kind is Kind.DYNAMIC:
        return 0.0
    return since_s if profile.kind is Kind.RELATIVE or math.isnan(start_s) else start_s


def _boundaries(profile: Profile, begin_s: float, end_s: float, since_s: float) -> Iterator[float]:
    """Yield the times at which a profile may change, those between `begin_s` and `end_s` among them."""
    yield profile.valid_from_s
    yield profile.valid_to_s
    schedule = profile.schedule
    start_s = _start_s(profile, since_s)
    starts = [start_s]
    if profile.kind is Kind.RECURRING:
        step_s = profile.recurrence_s
        first = max(0, math.floor((begin_s - start_s) / step_s))
        last = max(0, math.floor((end_s - start_s) / step_s))
        starts = [start_s + k * step_s for k in range(first, last + 1)]
    for at_s in starts:
        yield at_s + schedule.duration_s
        yield from (at_s + period.start_s for period in schedule.periods)


def ordered(periods: Sequence[Period]) -> bool:
    """Say whether periods begin at 0 and rise."""
    return bool(periods) and periods[0].start_s == 0.0 and all(a.start_s < b.start_s for a, b in pairwise(periods))
