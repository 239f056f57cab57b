"""Days of a contract on call in virtual time: verdicts of hours, notice and limit; an empty proof proves nothing."""

from dataclasses import replace

import numpy as np
import pytest

from hil.rig.rigfile import load_rig
from hil.runs.contract_year import Caller, judge_year, run_year


@pytest.fixture(scope="module")
def loaded():
    return load_rig("tdtr")


@pytest.fixture(scope="module")
def days(loaded):
    return run_year(loaded, Caller(late_every=2), 5)


def states(year, loaded):
    return {v.name: v.state for v in judge_year(year, loaded.contracts[0], loaded.rig.verdict.tolerance_w)}


def test_calls_are_kept_counted_and_a_late_one_is_told(days, loaded):
    assert days.account["calls"] == 2 and days.account["hours"] == 10.0 and days.refused == 0
    assert days.account["late_calls"] == 1 and days.account["curtailed_kwh"] > 0.0
    assert states(days, loaded) == {"hours": "passed", "notice": "failed", "limit": "passed"}


def test_a_limit_that_would_have_been_kept_anyway_is_no_proof_and_one_that_is_broken_fails(days, loaded):
    idle = replace(days, free_w=np.zeros_like(days.free_w))
    assert states(idle, loaded)["limit"] == "not_exercised"
    assert states(replace(days, head_w=days.free_w), loaded)["limit"] == "failed"
