"""What a charger does when something is wrong with it, and what a car does that is not a model pupil."""

import math

import numpy as np
import pytest
from plant_driver import Driver, charging

from hil.plant.faults import FAULTS
from hil.plant.pilot import Pilot, amps_of_cable


@pytest.mark.parametrize(("kind", "code"), [("emergency_stop", 2.0), ("rcd_trip", 3.0)])
def test_a_stop_opens_at_once_and_charging_comes_back_when_it_is_over(kind: str, code: float) -> None:
    d = charging()
    d.fleet.fail(0, kind)
    d.run(0.1)
    assert (d.amps, d.view.get("mode3_state"), d.view.get("error_code")) == (0.0, "F", code)
    d.allow(16.0)
    d.run(20.0)
    assert d.amps == 0.0
    d.fleet.mend(0, kind)
    d.run(20.0)
    assert d.amps == pytest.approx(16.0)


def test_a_short_fault_shows_state_f_for_300_ms() -> None:
    d = charging()
    d.fleet.fail(0, "rcd_trip")
    d.run(0.1)
    d.fleet.mend(0, "rcd_trip")
    assert d.until(lambda: d.fleet.state[0] != Pilot.F) == pytest.approx(0.3, abs=0.01)


def test_a_pressed_button_stays_pressed_through_a_black_out_and_another_fault_is_not_cleared_by_it() -> None:
    d = charging(boot_s=1.0)
    d.fleet.fail(0, "emergency_stop")
    d.volt_v[:] = 0.0
    d.run(2.0)
    d.volt_v[0, 0] = 230.0
    d.run(5.0)
    assert d.view.get("error_code") == 2.0
    d.fleet.mend(0, "rcd_trip")
    assert d.fleet.error_code[0] == 2


def test_a_reboot_loses_the_set_point_and_nothing_answers_meanwhile() -> None:
    d = charging(boot_s=30.0, boot_limit_a=6.0)
    d.allow(20.0)
    d.run(20.0)
    assert d.amps == pytest.approx(20.0)
    d.fleet.fail(0, "reboot")
    d.run(0.2)
    assert not d.view.powered and d.amps == 0.0 and d.fleet.state[0] == Pilot.E
    assert d.until(lambda: d.view.powered) == pytest.approx(30.0, abs=0.3)
    assert d.view.get("setpoint_a") == 6.0
    d.run(20.0)
    assert d.amps == pytest.approx(6.0)


def test_after_a_black_out_it_waits_its_random_delay() -> None:
    d = charging(boot_s=1.0, restart_delay_s=200.0)
    d.volt_v[:] = 0.0
    d.run(5.0)
    d.volt_v[0, 0] = 230.0
    d.until(lambda: d.view.powered)
    d.run(195.0)
    assert d.amps == 0.0
    d.run(25.0)
    assert d.amps == pytest.approx(16.0)


def test_ignored_set_points_are_acknowledged_and_the_fail_safe_still_works() -> None:
    d = charging(watchdog="any_traffic", failsafe_s=60.0, failsafe_a=8.0)
    d.fleet.fail(0, "ignore_setpoint")
    d.allow(7.0)
    d.run(20.0)
    assert (d.view.get("setpoint_a"), d.view.get("limit_a"), d.amps) == (7.0, 16.0, pytest.approx(16.0))
    d.run(60.0)
    assert d.amps == pytest.approx(8.0)


def test_frozen_registers_stand_still_while_the_car_does_not() -> None:
    d = charging()
    d.run(1.0)
    names = ("current_l1_a", "limit_a", "mode3_state", "energy_wh", "voltage_l1_v", "soc")
    before = [d.view.get(name) for name in names]
    d.fleet.fail(0, "freeze_registers")
    d.allow(0.0)
    d.volt_v[0, 0] = 240.0
    d.run(30.0)
    assert [d.view.get(name) for name in names] == before
    assert d.amps == 0.0
    d.fleet.mend(0, "freeze_registers")
    d.run(0.1)
    assert (d.view.get("current_l1_a"), d.view.get("voltage_l1_v")) == (0.0, 240.0)


@pytest.mark.parametrize(
    ("kind", "value", "shown"), [("meter_offset", 2.0, 18.0), ("meter_scale", 0.5, 8.0), ("meter_nan", math.nan, None)]
)
def test_a_wrong_meter_misleads_the_registers_and_not_the_feeder(kind: str, value: float, shown: float | None) -> None:
    d = charging(meter_a_step_a=0.1)
    d.fleet.fail(0, kind, value)
    d.run(1.0)
    seen = d.view.get("current_l1_a")
    assert math.isnan(seen) if shown is None else seen == pytest.approx(shown)
    assert d.view.get("current_l2_a") == (0.0 if kind != "meter_nan" else pytest.approx(math.nan, nan_ok=True))
    assert d.amps == pytest.approx(16.0)
    d.fleet.mend(0, kind)
    d.run(0.1)
    assert d.view.get("current_l1_a") == pytest.approx(16.0)


def test_a_stuck_meter_and_constant_volts() -> None:
    d = charging()
    d.fleet.fail(0, "meter_stuck")
    d.fleet.fail(0, "constant_volts")
    d.volt_v[0, 0] = 212.0
    d.allow(0.0)
    d.run(20.0)
    assert (d.view.get("current_l1_a"), d.amps) == (pytest.approx(16.0), 0.0)
    assert [d.view.get(f"voltage_l{k}_v") for k in (1, 2, 3)] == [230.0, 0.0, 0.0]


def test_every_fault_can_be_set_and_cleared_and_leaves_nothing_behind() -> None:
    for kind in FAULTS:
        d = charging()
        clean = {name: array.copy() for name, array in d.fleet.snapshot().items()}
        d.fleet.fail(0, kind, 1.5)
        d.fleet.mend(0, kind)
        for name, array in d.fleet.snapshot().items():
            assert np.array_equal(array, clean[name], equal_nan=True), (kind, name)
    with pytest.raises(ValueError, match="allowed constant_volts, emergency_stop"):
        charging().fleet.fail(0, "gremlin")


def test_a_car_asleep_after_a_long_pause_is_woken_by_the_toggle() -> None:
    d = charging(ev_sleep_after_s=60.0, ev_wakes=True, wake_up_s=30.0)
    d.allow(0.0)
    d.run(100.0)
    d.allow(12.0)
    states = set()
    took_s = d.until(lambda: states.add(int(d.fleet.state[0])) or d.amps > 11.0, 90.0)
    assert 30.0 < took_s < 60.0 and Pilot.F in states
    assert d.fleet.session_no[0] == 1


def test_a_car_that_no_toggle_wakes_sleeps_on_and_is_asked_once() -> None:
    d = charging(ev_sleep_after_s=60.0, wake_up_s=30.0)
    d.allow(0.0)
    d.run(100.0)
    d.allow(12.0)
    toggles = [0, False]

    def count() -> None:
        now = bool(d.fleet.state[0] == Pilot.F)
        toggles[0] += now and not toggles[1]
        toggles[1] = now

    d.run(200.0, count)
    assert (toggles[0], d.amps) == (1, 0.0)
    d.plug_in()
    d.run(20.0)
    assert d.amps == pytest.approx(12.0)


def test_a_short_pause_leaves_the_car_awake() -> None:
    d = charging(ev_sleep_after_s=60.0)
    d.allow(0.0)
    d.run(40.0)
    d.allow(12.0)
    d.run(20.0)
    assert d.amps == pytest.approx(12.0)


def test_a_car_below_its_pilot_in_whole_amps_that_starts_slowly() -> None:
    d = Driver(ev_below_a=0.7, ev_step_a=1.0, ev_start_ramp_s=8.0, boot_limit_a=16.0, ev_max_a=16.0)
    d.plug_in()
    d.until(lambda: d.amps > 0.0)
    d.run(3.0)
    assert d.amps < 7.0
    d.run(10.0)
    assert d.amps == pytest.approx(15.0)
    d.allow(6.0)
    d.run(20.0)
    assert d.amps == pytest.approx(6.0)  # it does not fall under its floor


@pytest.mark.parametrize(("ohm", "amps"), [(1500, 13), (680, 20), (220, 32), (100, 63), (240, 32), (400, 0), (0, 0)])
def test_the_cable_says_what_it_carries(ohm: float, amps: float) -> None:
    assert amps_of_cable(ohm) == amps


@pytest.mark.parametrize(("ventilated", "amps"), [(False, 0.0), (True, 16.0)])
def test_a_car_that_needs_ventilation_charges_only_where_there_is_some(ventilated: bool, amps: float) -> None:
    d = Driver(ventilated=ventilated, ev_ventilation=True)
    d.plug_in()
    d.run(20.0)
    assert d.view.get("mode3_state") == "D2"
    assert d.amps == pytest.approx(amps)


def two_way(**changes: object) -> Driver:
    """Return a driver whose car and charger speak ISO 15118 and can give back."""
    keys = {"discharge_max_a": 16.0, "ev_discharge_max_a": 10.0, "ev_efficiency": 0.95, "ev_discharge_efficiency": 0.94}
    return Driver(**(keys | changes))


def test_a_two_way_car_gives_back_up_to_its_own_ceiling_and_charges_again() -> None:
    d = two_way()
    d.plug_in(0.6)
    d.run(10.0)
    assert d.fleet.duty(0) == 0.05
    d.allow(-14.0)
    d.run(3.0)
    assert d.amps == pytest.approx(-10.0)
    assert (d.view.get("limit_a"), d.view.get("power_w")) == (-14.0, pytest.approx(-2300.0))
    d.allow(8.0)
    d.run(4.0)
    assert d.amps == pytest.approx(8.0)


def test_nobody_gives_back_who_cannot() -> None:
    with pytest.raises(ValueError, match=r"setpoint_a -1.0 A: allowed 0..32 A"):
        charging().allow(-1.0)
    d = two_way(ev_discharge_max_a=0.0)
    d.plug_in(0.6)
    d.allow(-10.0)
    d.run(20.0)
    assert d.amps == 0.0 and d.fleet.pwm_a[0] == 0.0


@pytest.mark.parametrize("soc", [0.2, 0.3, 0.305])
@pytest.mark.parametrize("dt_s", [0.1, 1.0])
def test_the_floor_of_charge_holds(soc: float, dt_s: float) -> None:
    d = two_way(dt_s=dt_s, ev_battery_wh=5_000.0, boot_limit_a=0.0)
    d.plug_in(soc)
    d.run(5.0)
    d.allow(-16.0)
    d.run(600.0)
    assert d.amps == 0.0
    assert d.fleet.soc[0] >= min(soc, 0.3)
    assert (d.fleet.soc[0] < soc) == (soc > 0.301)


def test_what_went_round_trip_is_less_than_nine_tenths() -> None:
    d = two_way(ev_battery_wh=60_000.0, boot_limit_a=0.0)
    d.plug_in(0.6)
    d.allow(-10.0)
    d.run(600.0)
    given_wh = float(d.view.get("export_wh"))
    d.allow(10.0)
    d.until(lambda: d.fleet.soc[0] >= 0.6, 1000.0)
    taken_wh = float(d.view.get("energy_wh"))
    assert given_wh > 300.0
    assert given_wh / taken_wh == pytest.approx(0.95 * 0.94, rel=0.01)
