"""Put meters at the nodes of a rig: what is refused, and what the law makes of one that is lost."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from controller.law.names import Quality, Trust
from hil.rig.assembler import assemble
from hil.rig.lockstep import Lockstep
from hil.rig.meter_twins import Shown
from hil.rig.rigfile import RIGS, RigError, load_rig

METER = """
[[meter]]
name = "m_head"
model = "eastron-sdm630"
twin = true
node = "head"
max_age_s = 2.0
hold_s = 3.0
"""
CUT = """
[[scenario.events]]
at_s = 20.0
kind = "cut_meter"
meters = ["m_head"]
for_s = 20.0
"""


def with_meter(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "metered.toml"
    path.write_text((RIGS / "street.toml").read_text() + text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "where", "word"),
    [
        ('node = "head"', 'node = "haed"', "meter[0].node", "did you mean head"),
        ('model = "eastron-sdm630"', 'model = "keba-p30"', "meter[0].model", "a meter is needed"),
        ("max_age_s = 2.0", "max_age_s = 0.6", "meter[0].max_age_s", "at least twice read_s"),
        ("hold_s = 3.0", 'phase_map = ["a", "a", "c"]', "meter[0].phase_map", "once each"),
        ('name = "m_head"', 'name = "other"', "meters[0]", "no meter of this name"),
        ("hold_s = 3.0", "hold = 3.0", "meter[0].hold", "did you mean hold_s"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, old, new, where, word):
    path = with_meter(tmp_path, METER.replace(old, new) + CUT)
    with pytest.raises(RigError) as refused:
        load_rig(str(path))
    assert where in str(refused.value)
    assert word in str(refused.value)


def test_two_meters_of_one_node_are_refused_unless_one_is_a_witness(tmp_path):
    second = METER.replace("m_head", "m_two")
    with pytest.raises(RigError, match="another meter measures head for the law"):
        load_rig(str(with_meter(tmp_path, METER + second)))
    loaded = load_rig(str(with_meter(tmp_path, METER + second + 'use = "evidence"\n')))
    assert [part.use for part in loaded.rig.meter] == ["law", "evidence"]


def test_the_law_believes_the_meter_holds_it_and_falls_back_when_it_is_lost(tmp_path):
    assembly = assemble(load_rig(str(with_meter(tmp_path, METER + CUT))))
    plan = assembly.plan()
    assert (plan.node_max_age_s[1], plan.node_hold_s[1]) == (2.0, 3.0)
    run = Lockstep(assembly, 0.0)
    trust, allowed, quality = {}, {}, {}

    class Notes:
        def record(self, t_s, world, inp, out):
            at = round(t_s, 1)
            trust[at], quality[at] = int(out.node_trust[1]), int(inp.node_a_quality[1])
            allowed[at] = out.allowed_a.copy()

    run.run(45.0, 0.1, Notes())
    assert (trust[19.0], quality[19.0]) == (Trust.BELIEVED, Quality.GOOD)
    assert (trust[21.0], quality[21.0]) == (Trust.HELD, Quality.BAD)
    assert trust[30.0] == Trust.DESIGN
    assert trust[44.0] == Trust.BELIEVED
    down = [at for at in allowed if 20.2 <= at <= 39.8]
    for before, after in itertools.pairwise(down):
        assert np.all(allowed[after] <= allowed[before] + 1e-9), f"raised at {after} s without its meter"


def test_a_meter_shows_its_phases_and_turned_transformers(tmp_path):
    text = METER.replace("hold_s = 3.0", 'phase_map = ["b", "c", "a"]\nct_sign = -1')
    part = load_rig(str(with_meter(tmp_path, text))).rig.meter[0]
    shown = Shown(part, 1)
    shown.take(np.array([230.0, 231.0, 232.0]), np.array([1.0, -2.0, 3.0]), 464.0, 50.0, 3600.0)
    assert [shown.get(f"voltage_l{k}_v") for k in (1, 2, 3)] == [231.0, 232.0, 230.0]
    assert [shown.get(f"current_l{k}_a") for k in (1, 2, 3)] == [2.0, 3.0, 1.0]
    assert [shown.get(f"power_l{k}_w") for k in (1, 2, 3)] == [462.0, -696.0, -230.0]
    assert (shown.get("power_w"), shown.get("energy_wh"), shown.get("export_wh")) == (-464.0, 0.0, 464.0)
