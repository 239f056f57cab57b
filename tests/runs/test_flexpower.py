"""FlexPower indicators: of sessions in two runs, and of a file of transactions."""

import json
from pathlib import Path

import numpy as np
import pytest

from hil.cli import main
from hil.rig.sessions import Stay
from hil.runs.flexpower import Session, generation, indicators, sessions_of
from hil.runs.trace import CONTROLLED, UNCONTROLLED, Trace, blank
from profiles.published import load_published
from profiles.vehicle import load_vehicles

HEADER = "TransactionId;ChargePoint;Connector;UTCTransactionStart;UTCTransactionStop;ChargeTime;TotalEnergy;MaxPower"
CARS = load_vehicles()


def run(name: str, watts: float) -> Trace:
    trace = blank(name, np.arange(0.0, 7201.0, 60.0), ["a"], ["c"], ["n"])
    trace.drawn_w[:] = watts
    trace.drawn_a[:], trace.volt_v[:] = watts / 230.0, 230.0
    return trace


def test_sessions_are_counted_between_arrival_and_departure_and_only_whole_ones():
    stays = [
        Stay("a", "phev_1p_16a", 600.0, 4200.0, 5000.0),
        Stay("a", "phev_1p_16a", 5000.0, np.inf, 5000.0),
        Stay("a", "phev_1p_16a", -60.0, 300.0, 5000.0),
    ]
    found = sessions_of(stays, run(CONTROLLED, 2000.0), run(UNCONTROLLED, 3000.0))
    assert len(found) == 1
    assert found[0].served_wh == pytest.approx(2000.0)
    assert found[0].change == pytest.approx(-1 / 3)


def test_shares_are_of_sessions_that_changed_by_more_than_the_bound_by_generation():
    sessions = [
        Session("phev_1p_16a", 5000.0, 4000.0, 5000.0, 3600.0, 3600.0),
        Session("phev_1p_16a", 5000.0, 4999.0, 5000.0, 3600.0, 3600.0),
        Session("bev_3p_32a_zoe", 9000.0, 9000.0, 8000.0, 1800.0, 1800.0),
    ]
    found = {row.group: row for row in indicators(sessions, CARS)}
    assert found["all"].negative_share == pytest.approx(1 / 3)
    assert (found["new_generation"].positive_share, found["first_generation"].negative_share) == (1.0, 0.5)
    assert found["new_generation"].power_w == pytest.approx(18000.0)
    assert indicators(sessions, CARS, 0.0)[0].negative_share == pytest.approx(2 / 3)


def test_a_car_on_one_phase_with_sixteen_amps_is_of_the_first_generation():
    kinds = {name: generation(CARS[name]) for name in ("phev_1p_16a", "bev_1p_29a", "bev_3p_16a")}
    assert set(kinds.values()) == {"first_generation", "new_generation"}
    assert kinds["phev_1p_16a"] == "first_generation"


def test_the_published_shares_name_their_source():
    told = load_published()["flexpower_1"]
    assert told.shares == {"all": (0.04, 0.05), "new_generation": (0.14, 0.05)}
    assert "SCIS" in told.source


def transactions(folder: Path) -> Path:
    rows = [
        "1;p;1;13/01/2026 16:00;13/01/2026 18:00;2,0;6,0;3,6",  # 17:00 local on: 6 A; still charging at the end
        "2;p;2;13/01/2026 16:00;14/01/2026 06:00;3,0;6,0;3,6",  # done in the night: it got all it wanted
        "3;q;1;13/01/2026 10:00;13/01/2026 11:00;1,0;20,0;22,0",  # by day: 35 A instead of 25 A
    ]
    path = folder / "t.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_transactions_get_their_energy_under_windows_and_under_the_baseline(tmp_path, capsys):
    assert main(["report", "--transactions", str(transactions(tmp_path)), "--out", str(tmp_path)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.suffix for path in written] == [".html", ".json", ".csv"]
    found = json.loads(written[1].read_text())
    groups = {row["group"]: row for row in found["indicators"]}
    assert groups["all"]["sessions"] == 3
    assert groups["all"]["positive_share"] == groups["all"]["negative_share"] == pytest.approx(1 / 3)
    assert groups["phev_1p_16a"]["energy_wh"] == pytest.approx(2 * 6 * 230.0 + 6000.0)
    assert groups["bev_3p_32a_zoe"]["energy_wh"] == pytest.approx(32 * 3 * 230.0)
    assert groups["bev_3p_32a_zoe"]["reference_energy_wh"] == pytest.approx(25 * 3 * 230.0)
    assert "published" in written[0].read_text()


def test_a_file_that_is_not_there_and_windows_that_are_none_are_refused(tmp_path, capsys):
    assert main(["report", "--transactions", str(tmp_path / "none.csv")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["report", "--transactions", str(transactions(tmp_path)), "--windows", "nothing"]) == 2
    assert "bundled" in capsys.readouterr().err
