"""Cars that come and go for days: drawn from tables or a file, each of its own class, written down and read again."""

import dataclasses
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from hil.plant.fleet import Fleet
from hil.rig.assembler import Assembly, assemble
from hil.rig.plant_parts import ev_of
from hil.rig.rigfile import RigError, load_rig
from hil.rig.sessions import read_stays, stays, write_stays
from profiles.errors import ProfileError
from profiles.session import DAY_S, load_transactions, resample, vehicle_of_power

HEADER = "ChargePoint;Connector;UTCTransactionStart;UTCTransactionStop;TotalEnergy;MaxPower;ChargeTime"
ROWS = (
    "p;1;13/01/2026 07:00;13/01/2026 16:00;9,5;3,6;2,5",  # a Tuesday
    "p;2;13/01/2026 17:00;14/01/2026 06:00;30,0;11,0;NA",
    "q;1;17/01/2026 10:00;17/01/2026 12:00;7,0;;0,5",  # a Saturday
)


@pytest.fixture
def build(street, write_rig):
    """Return a function that puts the street together with these sessions, a day from a Tuesday's midnight on."""

    def build(sessions: dict[str, Any], days: float = 1.0) -> Assembly:
        street["sessions"] = sessions
        street["scenario"] |= {"start": datetime(2026, 1, 13), "events": []}
        return assemble(load_rig(str(write_rig(street))), horizon_s=days * DAY_S)

    return build


@pytest.fixture
def transactions(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


def test_the_fleet_is_drawn_by_its_shares_and_the_street_is_empty_where_nobody_came(build):
    fleet = [{"vehicle": "phev_1p_16a", "share": 0.75}, {"vehicle": "bev_3p_16a", "share": 0.25}]
    found = build({"profile": "public", "per_day": 0.9, "fleet": fleet}, days=30.0)
    cars = [event for event in found.sessions if event.need_wh > 0.0]
    share = np.mean([event.vehicle == "phev_1p_16a" for event in cars])
    assert len(cars) > 200
    assert abs(share - 0.75) < 0.1
    assert all(event.need_wh <= 0.95 * found.vehicles[event.vehicle].battery_wh for event in cars)
    assert len({event.charger for event in cars if event.at_s <= 0.0}) < len(found.evse)
    assert found.sessions == build({"profile": "public", "per_day": 0.9, "fleet": fleet}, days=30.0).sessions


def test_a_file_is_followed_plug_by_plug_from_the_day_that_is_named(build, transactions):
    found = build({"file": transactions.name}, days=2.0)
    told = stays(found.sessions, found.charger_names, [part.vehicle for part in found.rig.charger])
    assert [(stay.charger, stay.vehicle, stay.arrive_s / 3600.0) for stay in told] == [
        ("cp01", "phev_1p_16a", 8.0),  # 07:00 UTC in winter
        ("cp02", "bev_3p_16a", 18.0),
    ]
    later = build({"file": transactions.name, "first_day": datetime(2026, 1, 17).date()})
    assert [(event.charger, event.vehicle) for event in later.sessions if event.need_wh > 0.0] == [(0, "")]
    with pytest.raises(ProfileError, match="no transactions in 3 days from 2026-02-01"):
        build({"file": transactions.name, "first_day": datetime(2026, 2, 1).date()})
    with pytest.raises(ProfileError, match=r"sessions\.file = 'none\.csv'"):
        build({"file": "none.csv"})


def test_a_transaction_is_drawn_whole_and_only_on_a_like_day(transactions):
    drawn = resample(load_transactions(transactions), seed=3, n_chargers=20, days=14, per_day=0.9)
    weekend = (drawn.arrive_s // DAY_S) % 7 >= 5
    assert set(drawn.need_wh[weekend].tolist()) == {7000.0}
    assert set(drawn.need_wh[~weekend].tolist()) == {9500.0, 30000.0}
    assert set(drawn.max_w[drawn.need_wh == 9500.0].tolist()) == {3600.0}
    for i in range(20):
        mine = drawn.charger == i
        assert np.all(drawn.arrive_s[mine][1:] >= drawn.leave_s[mine][:-1])


def test_the_class_of_a_car_goes_by_its_highest_power():
    assert [vehicle_of_power(w) for w in (3600.0, 7200.0, 11000.0, 22000.0)] == [
        "phev_1p_16a", "bev_1p_29a", "bev_3p_16a", "bev_3p_32a_zoe",
    ]  # fmt: skip
    assert vehicle_of_power(float("nan")) == ""


def test_the_car_that_comes_is_the_one_that_draws(build):
    found = build({"profile": "public"})
    part = dataclasses.replace(found.evse[0], phases=3, failsafe_s=0.0)
    charger, model = found.rig.charger[0].model_copy(update={"phases": 3}), found.models[0]
    fleet = Fleet([part], [ev_of(charger, model, found.vehicles["bev_1p_32a"])])
    drawn = []
    for name in ("bev_3p_16a", "phev_1p_16a"):
        fleet.bring(0, ev_of(charger, model, found.vehicles[name]))
        fleet.plug_in(0, fleet.now_s, 0.3, 9000.0)
        fleet.view(0).set("setpoint_a", 32.0, fleet.now_s)
        for _ in range(60):
            fleet.step(fleet.now_s + 1.0, 1.0, np.full((1, 3), 230.0))
        drawn.append(fleet.drawn_a[0].round(1).tolist())
    assert drawn == [[16.0, 16.0, 16.0], [16.0, 0.0, 0.0]]


def test_sessions_are_written_down_without_drivers_and_read_again(build, tmp_path):
    found = build({"profile": "private"}, days=3.0)
    told = stays(found.sessions, found.charger_names, [part.vehicle for part in found.rig.charger])
    path = tmp_path / "sessions.csv"
    write_stays(path, told, found.start_utc_s)
    again = read_stays(path)
    assert [(stay.charger, stay.vehicle) for stay in again] == [(stay.charger, stay.vehicle) for stay in told]
    assert np.allclose([stay.leave_s for stay in again], [stay.leave_s for stay in told], atol=0.1)
    path.write_text("charger,vehicle,arrive_s,leave_s,wanted_wh\ncp01,x,soon,,1\n")
    with pytest.raises(ProfileError, match=r"sessions\.csv:2"):
        read_stays(path)


WRONG = {
    "two sources": ({"profile": "public", "file": "t.csv"}, "give either profile"),
    "no source": ({}, "give either profile"),
    "half a fleet": ({"profile": "public", "fleet": [{"vehicle": "phev_1p_16a", "share": 0.5}]}, "add up to 0.5"),
    "a day of tables": ({"profile": "public", "first_day": datetime(2026, 1, 1).date()}, "first_day belongs"),
    "an unknown car": ({"profile": "public", "fleet": [{"vehicle": "tram", "share": 1.0}]}, "unknown vehicle"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sessions_that_cannot_be_are_refused(build, case):
    sessions, expected = WRONG[case]
    with pytest.raises(RigError, match=expected):
        build(sessions)


def test_a_contract_to_compare_with_must_exist(street, write_rig):
    street["contract"][0]["reference"] = "flexpower_9"
    with pytest.raises(RigError, match=r"contract\[0\]\.reference"):
        load_rig(str(write_rig(street)))
