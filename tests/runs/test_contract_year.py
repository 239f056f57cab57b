"""Days of a contract on call in virtual time, as a run: verdicts, account, report; an empty proof proves nothing."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from hil import cli
from hil.rig.rigfile import load_rig
from hil.runs.contract_year import judge_year, run_year

DAYS = 4


@pytest.fixture(scope="module")
def loaded():
    return load_rig("tdtr")


@pytest.fixture(scope="module")
def days(loaded):
    return run_year(loaded, loaded.rig.calls.model_copy(update={"late_every": 2}), 7)


def states(year, loaded):
    return {v.name: v.state for v in judge_year(year, loaded.contracts[0], loaded.rig.verdict.tolerance_w)}


def test_calls_are_kept_counted_and_a_late_one_is_told(days, loaded):
    assert days.account["calls"] == 4 and days.account["hours"] == 20.0 and days.refused == 0
    assert days.account["late_calls"] == 2 and days.account["curtailed_kwh"] > 0.0
    assert np.isfinite(days.limit_w).sum() == 4 * 5 * 4  # every step that lies in a call whole
    assert states(days, loaded) == {"hours": "passed", "notice": "failed", "limit": "passed"}


def test_a_limit_that_would_have_been_kept_anyway_is_no_proof_and_one_that_is_broken_fails(days, loaded):
    idle = replace(days, free_w=np.zeros_like(days.free_w))
    assert states(idle, loaded)["limit"] == "not_exercised"
    assert states(replace(days, head_w=days.free_w), loaded)["limit"] == "failed"


def test_voltbench_run_plays_days_of_calls_with_verdicts_and_report(tmp_path, capsys):
    code = cli.main(["run", "tdtr", "--for", f"{DAYS}d", "--out", str(tmp_path / "run"), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert code == said["exit"] == 0, said
    assert [verdict["name"] for verdict in said["verdicts"]] == ["hours", "notice", "limit"]
    figures = json.loads((tmp_path / "run" / "account.json").read_text())
    assert said["figures"] == figures and figures["connections"] == 50 and figures["account"]["calls"] == 1
    assert figures["cpu_s_per_100_connections_year"] > 0.0
    assert figures["mean_head_w_in_calls"] < figures["mean_uncontrolled_w_in_calls"]
    rows = list(csv.DictReader((tmp_path / "run" / "steps.csv").open()))
    assert len(rows) == DAYS * 96 and sum(row["called_w"] != "" for row in rows) == 20
    assert "hours called" in (tmp_path / "run" / "report.html").read_text()
    assert cli.main(["report", str(tmp_path / "run"), "--contract", "tdtr", "--by", "day"]) == 0
    proof = json.loads((tmp_path / "run" / "contract-tdtr.json").read_text())
    assert proof["journal"]["counts"]["calls"] == 1 and proof["journal"]["faults"] == []
    assert [told["to_s"] - told["from_s"] for told in proof["told"]] == [5 * 3600.0]
    assert {row["what"]: row["value"] for row in proof["allowance"]}["hours called in the year"] == 5.0
    days = {row["period"]: row for row in proof["kept"] if row["meter"] == "connection"}
    assert len(days) == DAYS and sum(day["over_kwh"] + day["not_judged_s"] for day in days.values()) == 0.0
    called = days["2026-01-02"]
    assert called["energy_kwh"] > 0.0 == called["missing_s"] and called["falls"] + called["falls_with_nothing_to_obey"]


def test_days_of_calls_refuse_another_step(tmp_path, capsys):
    assert cli.main(["run", "tdtr", "--fast", "--for", "2d", "--step", "60s", "--out", str(tmp_path / "r")]) == 2
    assert "steps of 900 s" in capsys.readouterr().err
