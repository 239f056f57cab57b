"""The rig's keys of the law: curves by name, fairness, the brake on silence."""

import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

from controller.law.preset import CHARGING
from hil.rig.assembler import assemble
from hil.rig.rigfile import load_rig
from hil.rig.schema import DroopPart

POINTS = [[0.92, 0.2], [0.96, 1.0]]


@pytest.mark.parametrize("name", sorted(CHARGING))
def test_preset_fills_in_the_droop(name: str) -> None:
    part = DroopPart.model_validate({"preset": name})
    found = CHARGING[name]
    assert tuple(part.points) == found.points
    assert (part.filter_s, part.pause_pu, part.hysteresis_pu) == (found.tau_s, found.pause_pu, found.hysteresis_pu)


def test_keys_of_the_file_beat_the_preset() -> None:
    part = DroopPart.model_validate({"preset": "eu_research", "filter_s": 60.0})
    assert (part.filter_s, part.resume_pu) == (60.0, 0.935)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "neither of preset and points"),
        ({"preset": "eu_research", "points": POINTS}, "both of preset and points"),
        ({"preset": "eu_reserch"}, "eu_research"),
        ({"points": POINTS, "fairness": "fair"}, "equalised"),
    ],
)
def test_refused(given: dict, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        DroopPart.model_validate(given)


def test_street_with_each_fairness() -> None:
    loaded = load_rig("street")
    for fairness in ("local", "common", "equalised"):
        droop = DroopPart.model_validate({"preset": "eu_research", "filter_s": 60.0, "fairness": fairness})
        law = loaded.rig.law.model_copy(update={"droop": droop, "brake_lost_s": 20.0})
        rig = loaded.rig.model_copy(update={"law": law})
        plan = assemble(dataclasses.replace(loaded, rig=rig), horizon_s=60.0).plan()
        assert plan.brake_lost_s[0] == 20.0
        assert set(plan.droop_group) == ({0} if fairness == "common" else {-1})
        shift = plan.droop_shift_pu
        assert shift.max() == 0.0
        assert (np.ptp(shift) > 0.001) == (fairness == "equalised")
