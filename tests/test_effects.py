"""Hold the page about the emulated charger and car to its data: every number and every fault has a source there."""

from dataclasses import fields
from pathlib import Path

import pytest

from hil.plant.ev import EvSpec
from hil.plant.evse import EvseSpec
from hil.plant.faults import FAULTS
from hil.rig.scenario_keys import CHARGER_FAULTS
from profiles.effects import PATH, load_effects, sections
from profiles.errors import ProfileError

PAGE = Path(__file__).parents[1] / "docs" / "emulation.md"
NAMES = {"evse.name", "evse.serial", "evse.firmware", "ev.name"}  # identity, no effect
CONSTANTS = {"pilot.duty", "pilot.cable", "meter.supply_pu", "meter.fixed_v"}


def test_every_number_of_the_plant_and_every_fault_has_an_effect_with_a_source() -> None:
    known = {f"evse.{field.name}" for field in fields(EvseSpec)} | {f"ev.{field.name}" for field in fields(EvSpec)}
    known |= {f"fault.{kind}" for kind in CHARGER_FAULTS} | CONSTANTS
    told = [key for effect in load_effects() for key in effect.keys]
    assert sorted(known - NAMES - set(told)) == []  # no effect without a source
    assert sorted(set(told) - known) == []  # no source without an effect
    assert len(told) == len(set(told))


def test_a_fault_of_the_plant_is_an_event_of_a_scenario() -> None:
    told = {"meter_error" if kind.startswith("meter_") else kind for kind in FAULTS}
    assert told | {"black_out", "swap_phases", "reject_profiles"} == set(CHARGER_FAULTS)


def test_the_page_is_what_the_data_says() -> None:
    assert sections(load_effects()) in PAGE.read_text(encoding="utf-8"), "run python -m profiles.effects and paste it"


def test_an_effect_without_a_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "effects.toml"
    path.write_text(PATH.read_text().replace('from = "assumption"', 'from = "hearsay"', 1))
    with pytest.raises(ProfileError, match="standard"):
        load_effects(path)
    path.write_text(PATH.read_text().replace('from = "assumption"\n', "", 1))
    with pytest.raises(ProfileError, match=r"Field required"):
        load_effects(path)
