"""Composite schedules: a table of cases with the clause that each comes from, and a slow second implementation."""

import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_composite import second_by_second, unpacked

from hil.twins.ocpp_profiles import ProfileStore, Refused, Rules, read_profile, seconds_of
from hil.twins.ocpp_schedule import (
    Charging,
    Interval,
    Kind,
    Period,
    Profile,
    Purpose,
    Schedule,
    Terminals,
    composite,
    limit_at,
    lower,
)

FILES = sorted((Path(__file__).parent / "composite").glob("*.toml"))
TABLES = {path.stem: tomllib.loads(path.read_text()) for path in FILES}
CASES = [(stem, case) for stem, table in TABLES.items() for case in table["case"]]


def profiles_of(case, version):
    """Install a case's profiles through the store, so that its rules of replacement count too."""
    rules = Rules(version=version, connectors=2, phase_switching=case.get("phase_switching", False))
    store = ProfileStore(rules)
    charging = charging_of(case)
    for entry in case["profile"]:
        raw = {key: value for key, value in entry.items() if key != "target"}
        if raw["chargingProfilePurpose"] == "ChargingStationExternalConstraints":
            store.constrain(read_profile(raw, entry["target"]))
        else:
            store.install(raw, entry["target"], charging)
    return store.profiles


def charging_of(case):
    if "transaction_since" not in case:
        return None
    return Charging(case.get("transaction", ""), seconds_of(case["transaction_since"]))


@pytest.mark.parametrize(("stem", "case"), CASES, ids=[f"{stem}: {case['name']}" for stem, case in CASES])
def test_composite_schedule_of_the_table(stem, case):
    terminals = Terminals(case.get("volt_v", 230.0), case.get("phases", 3), case.get("rating_a", math.inf))
    unit = case.get("unit", "A")
    found = composite(
        profiles_of(case, TABLES[stem]["version"]),
        case.get("connector", 1),
        seconds_of(case["at"]),
        case["duration"],
        terminals,
        charging_of(case),
    )
    assert case["clause"]
    shown = [[i.start_s, i.limit(unit), i.phases] for i in found]
    assert shown == [[start, math.inf if limit == "none" else limit, phases] for start, limit, phases in case["expect"]]
    if "phase_to_use" in case:
        assert [i.phase_to_use for i in found] == case["phase_to_use"]


def test_every_clause_of_the_table_has_a_case_that_could_fail():
    assert len(CASES) >= 25
    assert len({(stem, case["name"]) for stem, case in CASES}) == len(CASES)


T0 = 1_800_000_000


@st.composite
def some_profile(draw, number):
    kind = draw(st.sampled_from([Kind.ABSOLUTE, Kind.RECURRING, Kind.RELATIVE]))
    purpose = draw(st.sampled_from([Purpose.STATION_MAX, Purpose.EXTERNAL, Purpose.TX_DEFAULT, Purpose.TX]))
    starts = sorted(draw(st.sets(st.integers(1, 60), max_size=3)))
    limits = st.sampled_from([0.0, 6.0, 7.5, 10.0, 16.0, 32.0])
    unit = draw(st.sampled_from(["A", "W"]))
    periods = tuple(
        Period(
            float(at),
            draw(limits) * (690.0 if unit == "W" else 1.0),
            draw(st.sampled_from([1, 3])),
        )
        for at in [0, *starts]
    )
    station = purpose in (Purpose.STATION_MAX, Purpose.EXTERNAL)
    target = 0 if station else 1 if purpose is Purpose.TX else draw(st.sampled_from([0, 1, 2]))
    return Profile(
        id=number,
        target=target,
        stack_level=number * 8 + draw(st.integers(0, 7)),  # no two alike: which leads is then never a matter of order
        purpose=purpose,
        kind=kind,
        schedules=(
            Schedule(
                unit,
                periods,
                float(T0 + draw(st.integers(-120, 60))) if kind is not Kind.RELATIVE else math.nan,
                float(draw(st.integers(5, 90))) if draw(st.booleans()) else math.inf,
            ),
        ),
        recurrence_s=float(draw(st.integers(20, 80))) if kind is Kind.RECURRING else 0.0,
        valid_from_s=float(T0 + draw(st.integers(-50, 50))) if draw(st.booleans()) else -math.inf,
        valid_to_s=float(T0 + draw(st.integers(-10, 80))) if draw(st.booleans()) else math.inf,
        transaction=draw(st.sampled_from(["", "t1", "t2"])) if purpose is Purpose.TX else "",
    )


@st.composite
def some_profiles(draw):
    count = draw(st.integers(0, 5))
    found = [draw(some_profile(k)) for k in range(count)]
    return [found[i] for i in draw(st.permutations(range(count)))]


@settings(max_examples=250, deadline=None)
@given(
    some_profiles(),
    st.sampled_from([1, 2, 0]),
    st.sampled_from([207.0, 230.0, 253.0]),
    st.sampled_from([1, 3]),
    st.sampled_from([32.0, math.inf]),
    st.sampled_from([None, ("t1", T0 - 30), ("t1", T0)]),
)
def test_both_implementations_agree_second_by_second(profiles, target, volts, wired, rating, transaction):
    charging = None if transaction is None else Charging(transaction[0], float(transaction[1]))
    used = profiles if target else [p for p in profiles if p.purpose in (Purpose.STATION_MAX, Purpose.EXTERNAL)]
    seconds = 100
    found = composite(profiles, target, float(T0), float(seconds), Terminals(volts, wired, rating), charging)
    slow = second_by_second([unpacked(p) for p in used], target, T0, seconds, volts, wired, rating, transaction)
    for k, (amps, phases) in enumerate(slow):
        interval = next(i for i in reversed(found) if i.start_s <= k)
        assert (interval.limit_a, interval.phases) == (pytest.approx(amps), phases), (k, found)
    starts = [i.start_s for i in found]
    assert starts == sorted(set(starts))
    assert starts[0] == 0.0


@settings(max_examples=150, deadline=None)
@given(some_profiles(), st.integers(0, 99))
def test_no_limit_is_above_any_that_counts(profiles, k):
    """OCPP 1.6 ed. 2 3.13.3: less than or equal to the lowest of the merged schedules."""
    charging = Charging("t1", float(T0))
    whole = limit_at(profiles, 1, float(T0 + k), Terminals(230.0, 3), charging, float(T0))
    for purpose in (Purpose.STATION_MAX, Purpose.EXTERNAL, Purpose.TX):
        only = [p for p in profiles if p.purpose is purpose]
        alone = limit_at(only, 1, float(T0 + k), Terminals(230.0, whole.phases), charging, float(T0))
        assert alone.phases == whole.phases
        assert whole.limit_a <= alone.limit_a


def test_the_lower_of_two_schedules_changes_where_either_does():
    one = [Interval(0.0, 16.0, 3, None, 230.0), Interval(10.0, 8.0, 3, None, 230.0)]
    other = [Interval(0.0, 10.0, 3, None, 230.0), Interval(20.0, 6.0, 1, 2, 230.0)]
    found = [(i.start_s, i.limit_a, i.phases, i.phase_to_use) for i in lower(one, other)]
    assert found == [(0.0, 10.0, 3, None), (10.0, 8.0, 3, None), (20.0, 6.0, 1, 2)]


def test_a_limit_is_rounded_down_to_the_tenth_and_never_up():
    assert Interval(0.0, 10.49, 3, None, 230.0).limit("A") == 10.4
    assert Interval(0.0, 11000.0 / 690.0, 3, None, 230.0).limit("W") == 11000.0
    assert Interval(0.0, math.inf, 3, None, 230.0).limit("W") == math.inf


def raw_16(**changes):
    period = {"startPeriod": 0, "limit": 10.0}
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [period], "startSchedule": "2026-01-01T00:00:00Z"}
    profile = {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": schedule,
    }
    schedule |= changes.pop("schedule", {})
    return profile | changes


RUNS = Charging("7", 0.0)


@pytest.mark.parametrize(
    ("reason", "raw", "target", "charging"),
    [
        ("InvalidStackLevel", raw_16(stackLevel=9), 1, None),
        ("UnsupportedRateUnit", raw_16(schedule={"chargingRateUnit": "W"}), 1, None),
        ("UnknownEvse", raw_16(), 2, None),
        ("InvalidProfile", raw_16(chargingProfilePurpose="ChargePointMaxProfile"), 1, None),
        ("InvalidProfile", raw_16(chargingProfilePurpose="TxProfile"), 0, RUNS),
        ("TxNotFound", raw_16(chargingProfilePurpose="TxProfile"), 1, None),
        ("TxNotFound", raw_16(chargingProfilePurpose="TxProfile", transactionId=8), 1, RUNS),
        ("InvalidSchedule", raw_16(chargingProfileKind="Recurring"), 1, None),
        ("InvalidSchedule", raw_16(schedule={"chargingSchedulePeriod": [{"startPeriod": 5, "limit": 6.0}]}), 1, None),
        (
            "TooManyElements",
            raw_16(schedule={"chargingSchedulePeriod": [{"startPeriod": k, "limit": 6.0} for k in range(4)]}),
            1,
            None,
        ),
        ("InvalidProfile", raw_16(validFrom="yesterday"), 1, None),
    ],
)
def test_a_profile_that_the_point_cannot_hold_is_refused_with_its_reason(reason, raw, target, charging):
    store = ProfileStore(Rules(units=("A",), max_periods=3))
    with pytest.raises(Refused) as refused:
        store.install(raw, target, charging)
    assert refused.value.reason == reason
    assert store.profiles == []


def test_profiles_over_the_number_that_it_holds_are_refused_but_may_replace():
    store = ProfileStore(Rules(max_profiles=2))
    store.install(raw_16(chargingProfileId=1, stackLevel=1), 1, None)
    store.install(raw_16(chargingProfileId=2, stackLevel=2), 1, None)
    with pytest.raises(Refused) as refused:
        store.install(raw_16(chargingProfileId=3, stackLevel=3), 1, None)
    assert refused.value.reason == "TooManyElements"
    store.install(raw_16(chargingProfileId=4, stackLevel=2), 1, None)  # takes the place of 2
    assert [p.id for p in store.profiles] == [1, 4]


def test_clear_takes_what_matches_all_and_leaves_local_constraints():
    store = ProfileStore(Rules())
    for k in range(3):
        store.install(raw_16(chargingProfileId=k + 1, stackLevel=k), 1, None)
    store.constrain(Profile(-1, 0, 0, Purpose.EXTERNAL, Kind.ABSOLUTE, (Schedule("A", (Period(0.0, 6.0),), 0.0),)))
    assert store.clear(profile_id=2) == 1
    assert store.clear(target=1, purpose="TxDefaultProfile", level=0) == 1
    assert store.clear(purpose="ChargePointMaxProfile") == 0
    assert store.clear() == 1
    assert [p.id for p in store.profiles] == [-1]


def raw_201(number, **changes):
    raw = raw_16(**changes) | {"id": number}
    del raw["chargingProfileId"]
    return raw | {"chargingSchedule": [{"id": 1} | raw["chargingSchedule"]]}


CENTRAL = {"startPeriod": 0, "setpoint": -6000.0, "operationMode": "CentralSetpoint"}
ONE_PHASE = {"startPeriod": 0, "limit": 9, "numberPhases": 1, "phaseToUse": 2}


@pytest.mark.parametrize(
    ("reason", "raw"),
    [
        ("DuplicateProfile", raw_201(2)),
        ("UnsupportedParam", raw_201(1, schedule={"chargingSchedulePeriod": [CENTRAL]})),
        ("InvalidSchedule", raw_201(1, chargingProfileKind="Relative")),
        ("InvalidProfile", raw_201(1, chargingProfilePurpose="ChargingStationMaxProfile")),
        ("UnsupportedParam", raw_201(1, chargingProfilePurpose="ChargingStationExternalConstraints")),
        (
            "InvalidSchedule",
            raw_201(1, schedule={"chargingSchedulePeriod": [ONE_PHASE]}),
        ),
    ],
)
def test_2_0_1_refuses_by_its_requirements(reason, raw):
    store = ProfileStore(Rules(version="2.0.1"))
    store.install(raw_201(1), 1, None)
    with pytest.raises(Refused) as refused:
        store.install(raw, 1, None)
    assert refused.value.reason == reason
    assert [p.id for p in store.profiles] == [1]


def test_two_profiles_of_one_level_may_follow_each_other_in_2_0_1():
    store = ProfileStore(Rules(version="2.0.1"))
    store.install(raw_201(1, validTo="2026-06-01T00:00:00Z"), 1, None)
    store.install(raw_201(2, validFrom="2026-06-01T00:00:00Z"), 1, None)
    assert [p.id for p in store.profiles] == [1, 2]
