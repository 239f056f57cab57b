"""Classes of charger behaviour: each has a source, and does what it says in a rig."""

from pathlib import Path

import pytest
from commandline import toml_text

from hil.plant.evse import EvseSpec
from hil.rig.assembler import assemble
from hil.rig.rigfile import RigError, load_rig
from profiles.errors import ProfileError
from profiles.evse import PATH, load_behaviours


def test_every_class_says_where_it_comes_from_and_fits_the_emulated_charger() -> None:
    classes = load_behaviours()
    assert {"plain", "everest", "patient", "hasty"} <= set(classes)
    for name, behaviour in classes.items():
        assert behaviour.name == name and behaviour.title and behaviour.source
        assert behaviour.verified in ("V", "D", "R", "P")
        spec = EvseSpec("x", 3, **behaviour.numbers())
        assert all(getattr(spec, key) == value for key, value in behaviour.numbers().items())


def test_plain_is_the_emulated_charger_as_it_is() -> None:
    assert EvseSpec("x", **load_behaviours()["plain"].numbers()) == EvseSpec("x")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "chargers.toml"
    path.write_text(PATH.read_text().replace("load_open_s = 10.0", "load_open_s = 2.0").replace("boot_s", "boots_s"))
    with pytest.raises(ProfileError) as caught:
        load_behaviours(path)
    assert "behaviour.hasty.load_open_s = 2.0" in str(caught.value)
    assert "behaviour.patient.boots_s" in str(caught.value)


def test_a_rig_picks_a_class_by_name_and_car_habits_reach_the_plant(hamlet, tmp_path: Path) -> None:
    rig = hamlet | {"charger": [dict(part) for part in hamlet["charger"]]}
    rig["charger"][0] |= {"behaviour": "everest", "vehicle": "phev_1p_16a_sleepy"}
    path = tmp_path / "rig.toml"
    path.write_text(toml_text(rig))
    assembly = assemble(load_rig(str(path)), horizon_s=60.0)
    assert (assembly.evse[0].wake_up_s, assembly.evse[0].switch_dwell_s) == (30.0, 600.0)
    assert (assembly.ev[0].below_a, assembly.ev[0].sleep_after_s, assembly.ev[0].cable_a) == (0.5, 300.0, 13.0)
    rig["charger"][0]["behaviour"] = "everst"
    path.write_text(toml_text(rig))
    with pytest.raises(RigError, match=r"charger\[0\].behaviour.*known: everest, hasty, patient, plain"):
        load_rig(str(path))
