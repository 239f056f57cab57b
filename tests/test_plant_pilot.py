"""The control pilot: duty-cycle table, spacing of changes, reaction of the car, contactor."""

import itertools

import pytest
from plant_driver import Driver, charging

from hil.plant.pilot import Pilot, amps_of_duty, duty_of_amps


@pytest.mark.parametrize(
    ("percent", "amps"),
    [
        (0, 0),
        (2.9, 0),
        (5, 0),
        (7.5, 0),
        (8, 6),
        (9.9, 6),
        (10, 6),
        (16, 9.6),
        (50, 30),
        (85, 51),
        (86, 55),
        (96, 80),
        (96.5, 80),
        (97, 80),
        (97.1, 0),
        (100, 0),
    ],
)
def test_duty_table(percent, amps):
    assert amps_of_duty(percent / 100) == pytest.approx(amps, abs=1e-9)


@pytest.mark.parametrize("amps", [0, 6, 9.2, 10, 13, 16, 20, 32, 51, 52.6, 63, 80])
def test_duty_round_trip(amps):
    assert amps_of_duty(duty_of_amps(amps)) == pytest.approx(amps, abs=1e-9)


@pytest.mark.parametrize("amps", [51.001, 52, 52.5])
def test_the_jump_of_the_table_is_taken_on_its_low_side(amps):
    assert amps_of_duty(duty_of_amps(amps)) == pytest.approx(51.0)


@pytest.mark.parametrize("amps", [-1, 5.9, 80.1, float("nan"), float("inf")])
def test_no_duty_for_currents_outside_the_table(amps):
    with pytest.raises(ValueError, match=r"allowed 0 \(no PWM\) or 6\.\.80 A"):
        duty_of_amps(amps)


@pytest.mark.parametrize("duty", [-0.01, 1.01, float("nan")])
def test_no_amps_for_duty_outside_the_period(duty):
    with pytest.raises(ValueError, match=r"0\.\.1"):
        amps_of_duty(duty)


def test_states_from_empty_to_charging():
    d = Driver()
    d.run(1.0)
    assert d.view.get("mode3_state") == "A"
    assert d.fleet.duty(0) == 1.0
    d.plug_in()
    d.run(0.1)
    assert d.view.get("mode3_state") == "B2"
    assert d.fleet.duty(0) == pytest.approx(16 / 60)
    d.until(lambda: d.fleet.state[0] == Pilot.C)
    closed_s = d.until(lambda: bool(d.fleet.contactor[0]))
    assert closed_s <= 0.5 + 1e-9
    d.run(5.0)
    assert d.amps == pytest.approx(16.0)
    assert d.view.get("charging") == 1.0


def test_pilot_changes_at_most_every_gap():
    d = charging(pwm_gap_s=5.0)
    seen: list[tuple[float, float]] = [(d.now_s, float(d.fleet.pwm_a[0]))]

    def watch():
        d.allow(8.0 + d.count % 7)
        if d.fleet.pwm_a[0] != seen[-1][1]:
            seen.append((d.now_s, float(d.fleet.pwm_a[0])))

    d.run(60.0, watch)
    moments = [moment for moment, _ in seen[1:]]
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert len(gaps) >= 10
    assert min(gaps) >= 5.0 - 1e-6


def test_set_point_waits_for_the_gap_and_limit_says_so():
    d = charging()
    d.allow(20.0)
    d.run(0.1)
    d.allow(10.0)
    assert (d.view.get("setpoint_a"), d.view.get("limit_a")) == (10.0, 20.0)
    assert 4.8 <= d.until(lambda: d.view.get("limit_a") == 10.0) <= 5.0 + 1e-6


def test_lowering_is_drawn_after_dead_time_and_fall():
    d = charging(ev_dead_time_s=2.0, ev_fall_a_per_s=5.0)
    d.allow(6.0)
    d.run(0.1)
    assert d.fleet.pwm_a[0] == 6.0
    d.run(1.8)
    assert d.amps == pytest.approx(16.0)
    assert d.until(lambda: d.amps <= 6.0 + 1e-9) == pytest.approx(2.2, abs=0.11)


def test_pause_stops_the_car_within_three_seconds_and_opens_the_contactor():
    d = charging(ev_fall_a_per_s=1.0, ev_dead_time_s=2.5)  # too slow to ramp down in time
    d.allow(0.0)
    d.until(lambda: d.fleet.pwm_a[0] == 0.0, 0.2)
    assert d.view.get("mode3_state") == "C1"
    assert d.until(lambda: d.fleet.state[0] == Pilot.B) <= 3.0 + 1e-6
    assert d.until(lambda: not d.fleet.contactor[0]) <= 0.1 + 1e-6
    assert d.amps == 0.0
    assert d.view.get("mode3_state") == "B1"


@pytest.mark.parametrize("amps", [0.0, 3.0, 5.99])
def test_less_than_the_smallest_set_point_pauses(amps):
    d = charging()
    d.allow(amps)
    d.run(5.0)
    assert d.amps == 0.0
    assert d.fleet.pwm_a[0] == 0.0


def test_car_resumes_after_a_pause():
    d = charging()
    d.allow(0.0)
    d.run(10.0)
    d.allow(12.0)
    d.run(10.0)
    assert d.amps == pytest.approx(12.0)
    assert d.fleet.session_no[0] == 1


def test_a_car_that_falls_asleep_needs_a_new_plug_in():
    d = charging(ev_sleep_after_s=0.0)
    d.allow(0.0)
    d.run(10.0)
    d.allow(12.0)
    d.run(20.0)
    assert d.amps == 0.0
    d.plug_in()
    d.run(10.0)
    assert d.amps == pytest.approx(12.0)


def test_below_its_own_floor_the_car_draws_nothing():
    d = charging(ev_floor_a=9.2)
    d.allow(9.0)
    d.run(10.0)
    assert d.amps == 0.0
    assert d.view.get("mode3_state") == "B2"
    d.allow(9.2)
    d.run(10.0)
    assert d.amps == pytest.approx(9.2)


def test_the_smallest_rating_wins():
    assert charging(boot_limit_a=32.0, ev_max_a=16.0).amps == pytest.approx(16.0)
    assert charging(boot_limit_a=32.0, ev_cable_a=13.0).fleet.pwm_a[0] == pytest.approx(13.0)
    d = charging(phases=3, ev_phases=2)
    assert d.fleet.drawn_a[0].tolist() == pytest.approx([16.0, 16.0, 0.0])


def test_adapter_holding_c_after_pwm_off_opens_under_load_after_six_seconds():
    d = Driver()
    d.fleet.external_cp[0] = 2
    d.run(5.0)
    assert d.fleet.contactor[0]
    d.fleet.external_a[0] = (16.0, 0.0, 0.0)
    d.allow(0.0)
    d.until(lambda: d.fleet.pwm_a[0] == 0.0, 6.0)
    assert d.until(lambda: not d.fleet.contactor[0], 10.0) == pytest.approx(6.0, abs=0.11)


def test_device_under_test_counts_its_measured_amps():
    d = Driver()
    d.fleet.external_cp[0] = 1
    d.run(1.0)
    assert d.view.get("mode3_state") == "B2"
    d.fleet.external_cp[0] = 2
    d.fleet.external_a[0] = (9.5, 0.0, 0.0)
    d.run(3600.0)
    assert d.amps == 9.5
    assert d.fleet.session_no[0] == 1
    assert d.fleet.session_wh[0] == pytest.approx(9.5 * 230.0, rel=1e-3)


def test_a_load_that_ignores_the_pilot_trips_the_charger():
    d = Driver()
    d.fleet.external_cp[0] = 2
    d.run(5.0)
    d.fleet.external_a[0] = (16.0, 0.0, 0.0)
    d.allow(10.0)
    d.until(lambda: d.fleet.pwm_a[0] == 10.0)
    assert d.until(lambda: d.fleet.state[0] == Pilot.F, 20.0) == pytest.approx(7.0, abs=0.11)
    assert not d.fleet.contactor[0]
    assert d.fleet.duty(0) == 0.0
    d.fleet.external_cp[0] = 0
    d.fleet.external_a[0] = (0.0, 0.0, 0.0)
    d.run(0.2)
    assert d.view.get("mode3_state") == "F"  # for 0.3 s at least
    d.run(0.2)
    assert d.view.get("mode3_state") == "A"


def test_a_fault_opens_at_once_and_clears():
    d = charging()
    d.fleet.error_code[0] = 7
    d.run(0.1)
    assert (d.amps, d.view.get("mode3_state"), d.view.get("error_code")) == (0.0, "F", 7.0)
    d.fleet.error_code[0] = 0
    d.run(15.0)
    assert d.amps == pytest.approx(16.0)
