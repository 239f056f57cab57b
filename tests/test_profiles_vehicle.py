"""Classes of cars: each has a source and numbers that its battery and its plug allow."""

import json
import os
from pathlib import Path

import pytest

from profiles.errors import ProfileError
from profiles.vehicle import PATH, load_vehicles

LOCAL = os.environ.get("VOLTBENCH_LOCAL_DATA", "")


def test_every_class_says_where_it_comes_from() -> None:
    vehicles = load_vehicles()
    assert {"bev_1p_32a", "bev_3p_16a", "bev_3p_32a_zoe", "phev_1p_16a"} <= set(vehicles)
    for name, vehicle in vehicles.items():
        assert vehicle.name == name
        assert vehicle.source and vehicle.verified and vehicle.reaction_source
        assert 6.0 <= vehicle.floor_1p_a <= vehicle.ceiling_a(1)
        assert vehicle.floor_3p_a <= vehicle.max_a


def test_the_zoe_does_not_charge_below_its_own_floor() -> None:
    assert load_vehicles()["bev_3p_32a_zoe"].floor_3p_a == 9.2


def test_a_three_phase_car_takes_more_on_one_phase_alone() -> None:
    car = load_vehicles()["bev_3p_16a"]
    assert (car.ceiling_a(3), car.ceiling_a(1)) == (16.0, 32.0)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cars.toml"
    text = PATH.read_text().replace("phases = 2", "phases = 4").replace("battery_wh = 13000.0", "battery_kwh = 13.0")
    path.write_text(text)
    with pytest.raises(ProfileError) as caught:
        load_vehicles(path)
    told = str(caught.value)
    assert "cars.toml:vehicle.bev_2p_16a.phases = 4" in told
    assert "cars.toml:vehicle.phev_1p_16a.battery_kwh" in told and "battery_wh" in told


def test_cars_that_give_power_back_say_how_much_and_lose_a_tenth_at_least(tmp_path: Path) -> None:
    cars = load_vehicles()
    assert {name for name, car in cars.items() if car.discharge_max_a > 0} == {"v2g_1p_32a", "v2g_3p_16a"}
    path = tmp_path / "cars.toml"
    text = PATH.read_text().replace("discharge_efficiency = 0.94", "discharge_efficiency = 0.96")
    path.write_text(text.replace("discharge_max_a = 16.0", "discharge_max_a = 16.0\ndischarge_min_a = 17.0"))
    with pytest.raises(ProfileError) as caught:
        load_vehicles(path)
    assert "v2g_1p_32a" in str(caught.value) and "0.912: allowed up to 0.9 for V2G" in str(caught.value)
    assert "discharge_min_a 17 A" in str(caught.value)


@pytest.mark.skipif(not LOCAL, reason="VOLTBENCH_LOCAL_DATA does not name the folder with open-ev-data")
def test_phases_power_and_battery_are_those_of_the_named_car() -> None:
    cars = json.loads((Path(LOCAL) / "ev_models" / "open-ev-data.json").read_text())["data"]
    by_name = {f"{car['brand']} {car['model']} {car['variant']}".strip(): car for car in cars}
    checked = 0
    from_data = [car for car in load_vehicles().values() if car.source.startswith("open-ev-data")]
    for vehicle in from_data:
        label = vehicle.source.removeprefix("open-ev-data: ").split(";")[0].split(" (")[0]
        if label in by_name:
            car = by_name[label]
            checked += 1
            assert vehicle.phases == car["ac_charger"]["usable_phases"]
            assert vehicle.battery_wh == pytest.approx(car["usable_battery_size"] * 1e3)
            assert vehicle.max_a * vehicle.phases * 230 == pytest.approx(car["ac_charger"]["max_power"] * 1e3, rel=0.03)
    assert checked == len(from_data) > 0
