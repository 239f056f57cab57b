"""Check the loop gain of the bench against its known limit, and the played car against the pilot's table."""

import math

import numpy as np
import pytest

from controller.runtime.played_car import CP_A, CP_B, CP_C, CarSpec, PlayedCar, amps_of_duty
from hil.plant import pilot
from hil.plant.phil import explicit_v_itm, hardware_ohm, loop_gain, refusal

# ---------------------------------------------------------------- loop gain


@pytest.mark.parametrize(("gain", "settles"), [(0.5, True), (0.9, True), (0.99, True), (1.01, False), (1.5, False)])
def test_the_explicit_interface_converges_exactly_below_a_gain_of_one(gain: float, settles: bool) -> None:
    volts = explicit_v_itm(gain, 500)
    fixed_v = 230.0 / (1.0 + gain)
    start, end = abs(volts[0] - fixed_v), abs(volts[-1] - fixed_v)
    assert bool(end < start) == settles


def test_the_gain_of_a_car_at_a_weak_node() -> None:
    assert loop_gain(0.5, 32.0, 0.85 * 230.0) == pytest.approx(0.5 * 32.0 / 195.5)
    assert loop_gain(0.5, 32.0, 195.5, droop_a_per_v=2.0) == pytest.approx(0.5 * (32.0 / 195.5 + 2.0))
    assert loop_gain(0.5, 0.0, 195.5) == 0.0 and hardware_ohm(0.0, 195.5) == math.inf


def test_a_loop_over_the_margin_is_refused_with_figure_limit_and_advice() -> None:
    assert refusal(0.49, 0.5, "bench") is None
    text = refusal(0.6, 0.5, "bench") or ""
    assert "0.6" in text and "0.5" in text and "stronger node" in text
    assert refusal(math.nan, 0.5, "bench") is not None
    assert refusal(0.1, 1.0, "bench") is not None  # no margin left is no limit


@pytest.mark.parametrize(
    "numbers", [(math.nan, 32.0, 200.0), (-0.1, 32.0, 200.0), (0.5, -1.0, 200.0), (0.5, 32.0, 0.0)]
)
def test_numbers_that_mean_nothing_are_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        loop_gain(*numbers)


# ---------------------------------------------------------------- played car


def test_the_pilots_table_is_the_plants() -> None:
    for permille in range(1001):
        duty = permille * 0.001
        assert amps_of_duty(duty) == pytest.approx(pilot.amps_of_duty(duty)), duty
    assert amps_of_duty(math.nan) == 0.0 == amps_of_duty(1.2)


def drive(car: PlayedCar, seconds: float, duty: float, volts: float, start_s: float) -> tuple[float, list[float]]:
    """Step a car every 0.1 s; return the time reached and the amps of each step."""
    steps = round(seconds / 0.1)
    return start_s + steps * 0.1, [car.step(start_s + k * 0.1, duty, volts) for k in range(1, steps + 1)]


def charging(amps: float = 16.0) -> tuple[PlayedCar, float]:
    """Return a car that draws its current, and its time."""
    car = PlayedCar(CarSpec(max_a=32.0))
    car.plugged = True
    car.step(0.0, amps / 60.0, 230.0)
    now_s, _ = drive(car, 10.0, amps / 60.0, 230.0, 0.0)
    assert car.amp_a == pytest.approx(amps)
    return car, now_s


def test_a_car_waits_its_dead_time_then_ramps_up_and_down_at_its_own_slopes() -> None:
    car, now_s = charging(10.0)
    now_s, up = drive(car, 3.0, 20.0 / 60.0, 230.0, now_s)
    assert up[:9] == [pytest.approx(10.0)] * 9 and up[-1] == pytest.approx(20.0)
    assert max(np.diff(up)) == pytest.approx(0.5)
    _, down = drive(car, 3.0, 10.0 / 60.0, 230.0, now_s)
    assert min(np.diff(down)) == pytest.approx(-1.0) and down[-1] == pytest.approx(10.0)


def test_a_duty_that_jitters_does_not_put_the_reaction_off_for_ever() -> None:
    car, now_s = charging(10.0)
    for k in range(30):
        car.step(now_s + 0.1 * k, 20.0 / 60.0 + 0.001 * (k % 2), 230.0)
    assert car.amp_a > 15.0


def test_no_pilot_means_no_current_and_state_b_then_c_again() -> None:
    car, now_s = charging()
    assert car.cp == CP_C
    now_s, _ = drive(car, 4.0, 1.0, 230.0, now_s)
    assert car.amp_a == 0.0 and car.cp == CP_B
    drive(car, 1.5, 16.0 / 60.0, 0.0, now_s)
    assert car.cp == CP_C and car.amp_a == 0.0  # it asks, and draws nothing while the contactor is open
    car.unplug()
    assert car.cp == CP_A


def test_a_collapse_stops_the_car_at_once_and_it_comes_back_only_after_its_time() -> None:
    car, now_s = charging()
    assert car.step(now_s + 0.1, 16.0 / 60.0, 190.0) == 0.0
    now_s, amps = drive(car, 29.0, 16.0 / 60.0, 230.0, now_s + 0.1)
    assert max(amps) == 0.0
    _, amps = drive(car, 5.0, 16.0 / 60.0, 230.0, now_s)
    assert amps[-1] > 10.0


def test_unknown_volts_draw_nothing_and_less_than_the_floor_is_nothing() -> None:
    car, now_s = charging()
    assert car.step(now_s + 0.1, 16.0 / 60.0, math.nan) == 0.0
    zoe = PlayedCar(CarSpec(max_a=32.0, floor_a=9.2))
    zoe.plugged = True
    drive(zoe, 10.0, 8.0 / 60.0, 230.0, 0.0)
    assert zoe.amp_a == 0.0 and zoe.cp == CP_B


def test_the_cars_own_limit_binds_below_the_pilot() -> None:
    car = PlayedCar(CarSpec(max_a=16.0))
    car.plugged = True
    drive(car, 10.0, 32.0 / 60.0, 230.0, 0.0)
    assert car.amp_a == 16.0
