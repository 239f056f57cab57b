"""Sessions by seed from the ElaadNL tables, and transactions from real files."""

import os
from pathlib import Path

import numpy as np
import pytest

from profiles.errors import ProfileError
from profiles.session import KINDS, QUARTERS, draw_sessions, load_transactions, read_tables

LOCAL = os.environ.get("VOLTBENCH_LOCAL_DATA", "")
DAY_S = 86400.0
ELAAD_HEAD = (
    "TransactionId;ChargePoint;Connector;UTCTransactionStart;UTCTransactionStop;StartCard;ConnectedTime;ChargeTime;"
    "TotalEnergy;MaxPower\r\n"
)
ELAAD_ROW = "1;cp-b;1;27/08/2019 14:52;27/08/2019 17:58;card;3,11;3,1;9,86;3,342\r\n"
TRONDHEIM_HEAD = "session_ID;User_ID;Start_plugin;End_plugout;El_kWh\r\n"


def test_the_seed_decides() -> None:
    one, again, other = draw_sessions(7, 16, 5), draw_sessions(7, 16, 5), draw_sessions(8, 16, 5)
    assert (one.arrive_s == again.arrive_s).all() and (one.need_wh == again.need_wh).all()
    assert len(one.charger) != len(other.charger) or (one.arrive_s != other.arrive_s).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_charger_has_one_car_at_a_time_and_each_session_makes_sense(kind: str) -> None:
    sessions = draw_sessions(3, 20, 28, kind)
    assert (np.diff(sessions.arrive_s) >= 0).all()
    assert (sessions.need_wh >= 0).all() and (sessions.need_wh < 100e3).all()
    for charger in range(20):
        mine = np.flatnonzero(sessions.charger == charger)
        assert len(mine) > 0
        assert (sessions.leave_s[mine] > sessions.arrive_s[mine]).all()
        assert (sessions.arrive_s[mine][1:] >= sessions.leave_s[mine][:-1]).all()


def test_cars_come_home_in_the_evening() -> None:
    home = np.median(draw_sessions(1, 300, 5, "private").arrive_s % DAY_S) / 3600
    assert 16 < home < 20


@pytest.mark.parametrize("kind", KINDS)
def test_the_stay_keeps_its_table_and_follows_its_arrival(kind: str) -> None:
    tables, random = read_tables(kind), np.random.default_rng(5)
    quarters = random.choice(QUARTERS, 20_000, p=tables.weekday)
    places = random.standard_normal(20_000)
    stay_h = np.array([tables.stay_s(int(q), float(z)) for q, z in zip(quarters, places, strict=True)]) / 3600.0
    within_h = (tables.stay_h[1:] + tables.stay_h[:-1]) / 2.0
    assert stay_h.mean() == pytest.approx(within_h.mean(), rel=0.03)
    assert stay_h.std() == pytest.approx(within_h.std(), rel=0.04)
    long, short = tables.lean[quarters] > 1.0, tables.lean[quarters] < -1.0
    assert stay_h[long].mean() > 1.3 * stay_h[short].mean()


@pytest.mark.parametrize("kind", ["private", "public"])
def test_the_first_midnight_finds_cars_as_any_other_does(kind: str) -> None:
    sessions = draw_sessions(2, 2000, 8, kind, first_weekday=0)

    def standing(at_s: float) -> int:
        return int(((sessions.arrive_s < at_s) & (sessions.leave_s > at_s)).sum())

    assert standing(0.0) > 200
    assert standing(0.0) == pytest.approx(standing(7 * DAY_S), rel=0.12)  # Monday and Monday
    assert (sessions.leave_s > 0.0).all()


def test_nobody_arrives_at_a_workplace_at_the_weekend() -> None:
    sessions = draw_sessions(2, 50, 14, "workplace", first_weekday=3)
    weekday = (3 + sessions.arrive_s // DAY_S) % 7
    assert (weekday < 5).all() and len(weekday) > 100


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(ProfileError, match="kind = 'home': allowed: private, public, workplace"):
        draw_sessions(1, 1, 1, "home")


def test_an_elaad_file_is_read_with_its_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "elaad.csv"
    path.write_text(ELAAD_HEAD + ELAAD_ROW + ELAAD_ROW.replace("27/08", "26/08").replace("cp-b", "cp-a"))
    sessions = load_transactions(path)
    assert sessions.need_wh.tolist() == [9860.0, 9860.0]
    assert sessions.arrive_s.tolist() == [16 * 3600 + 52 * 60, DAY_S + 16 * 3600 + 52 * 60]  # UTC in, CEST out
    assert sessions.charger.tolist() == [1, 0]  # numbered as they appear, sorted by arrival


def test_two_connectors_of_a_charge_point_are_two_plugs(tmp_path: Path) -> None:
    path = tmp_path / "elaad.csv"
    path.write_text(ELAAD_HEAD + ELAAD_ROW + ELAAD_ROW.replace("cp-b;1", "cp-b;2") + ELAAD_ROW)
    assert load_transactions(path).charger.tolist() == [0, 0, 1]


def test_seconds_pass_evenly_over_the_change_to_summer_time(tmp_path: Path) -> None:
    path = tmp_path / "elaad.csv"
    row = ELAAD_ROW.replace("27/08/2019 14:52", "30/03/2019 23:30").replace("27/08/2019 17:58", "31/03/2019 02:30")
    path.write_text(ELAAD_HEAD + row)
    sessions = load_transactions(path)
    assert sessions.arrive_s.tolist() == [1800.0]  # 00:30 of the 31st in Amsterdam, still winter time
    assert (sessions.leave_s - sessions.arrive_s).tolist() == [3 * 3600.0]  # until 04:30 on the wall


def test_a_trondheim_file_is_read_and_its_open_sessions_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "trondheim.csv"
    path.write_text(
        TRONDHEIM_HEAD + "1;AdO3-4;21.12.2018 10:20;21.12.2018 10:23;0,3\r\n2;AdO3-4;22.12.2018 10:20;NA;4,5\r\n"
    )
    sessions = load_transactions(path)
    assert sessions.need_wh.tolist() == [300.0]
    assert sessions.incomplete == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ELAAD_HEAD + ELAAD_ROW.replace("9,86", "much"), r"t.csv:2: TotalEnergy = 'much'"),
        (ELAAD_HEAD + ELAAD_ROW.replace("9,86", "-1"), r"t.csv:2: TotalEnergy = -1 kWh: allowed 0 to 1000"),
        (ELAAD_HEAD + ELAAD_ROW.replace("27/08/2019 14:52", "2019-08-27T14:52"), r"t.csv:2: UTCTransactionStart"),
        (ELAAD_HEAD + ELAAD_ROW.replace("27/08/2019 17:58", "27/08/2019 11:58"), r"t.csv:2: .*: before UTC"),
        (ELAAD_HEAD, r"t.csv: no transactions"),
        ("a;b\r\n1;2\r\n", r"t.csv:1: no transaction file known here \(ElaadNL, Trondheim\)"),
    ],
)
def test_a_broken_file_is_refused_by_row(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ProfileError, match=words):
        load_transactions(path)


def test_every_broken_row_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(ELAAD_HEAD + ELAAD_ROW.replace("9,86", "x") + ELAAD_ROW + ELAAD_ROW.replace("9,86", "y"))
    with pytest.raises(ProfileError) as caught:
        load_transactions(path)
    assert [line.split(" =")[0] for line in str(caught.value).splitlines()] == [
        "t.csv:2: TotalEnergy",
        "t.csv:4: TotalEnergy",
    ]


@pytest.mark.skipif(not LOCAL, reason="VOLTBENCH_LOCAL_DATA does not name the folder with real transactions")
@pytest.mark.parametrize(
    ("name", "count", "incomplete"),
    [("elaad_open_transactions_2019.csv", 10_000, 0), ("trondheim_apartments_2018_2020.csv", 6844, 34)],
)
def test_the_published_files_load_whole(name: str, count: int, incomplete: int) -> None:
    sessions = load_transactions(Path(LOCAL) / "sessions" / name)
    assert (len(sessions.charger), sessions.incomplete) == (count, incomplete)
