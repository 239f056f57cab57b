"""Black-out and restart, under-voltage trip, battery, meter, registers, snapshots."""

import math
import subprocess
import sys

import numpy as np
import pytest
from plant_driver import PLAIN_EVSE, QUICK_EV, Driver, charging

from hil.plant.fleet import EvseSpec, EvSpec, Fleet


def test_black_out_and_restart_into_the_boot_limit():
    d = charging(boot_s=20.0, boot_limit_a=16.0)
    d.allow(10.0)
    d.run(10.0)
    d.volt_v[:] = 0.0
    d.run(0.1)
    assert (d.amps, d.fleet.power_on[0], d.view.get("mode3_state")) == (0.0, False, "E")
    d.allow(32.0)  # nobody is there to hear it
    d.view.touch(d.now_s)
    d.run(10.0)
    d.volt_v[0, 0] = 230.0
    assert d.until(lambda: bool(d.fleet.power_on[0])) == pytest.approx(20.0, abs=0.21)
    d.run(10.0)
    assert d.amps == pytest.approx(16.0)
    assert d.fleet.session_no[0] == 1


def test_a_flicker_during_boot_starts_it_again():
    d = charging(boot_s=20.0)
    d.volt_v[0, 0] = 0.0
    d.run(1.0)
    d.volt_v[0, 0] = 230.0
    d.run(15.0)
    d.volt_v[0, 0] = float("nan")
    d.run(0.1)
    d.volt_v[0, 0] = 230.0
    d.run(15.0)
    assert not d.fleet.power_on[0]


def test_without_restart_the_session_is_over_until_a_new_plug_in():
    d = charging(boot_s=1.0, restart_after_blackout=False)
    d.volt_v[0, 0] = 0.0
    d.run(1.0)
    d.volt_v[0, 0] = 230.0
    d.run(30.0)
    assert (d.fleet.power_on[0], d.amps, d.view.get("mode3_state")) == (True, 0.0, "B1")
    d.plug_in()
    d.run(15.0)
    assert d.amps == pytest.approx(16.0)
    assert d.fleet.session_no[0] == 2


@pytest.mark.parametrize(("persist", "kept"), [(0.0, 6.0), (1.0, 10.0)])
def test_fail_safe_registers_survive_a_reboot_only_when_told(persist, kept):
    d = charging(boot_s=1.0, watchdog="any_traffic", failsafe_a=6.0, failsafe_s=0.0)
    d.view.set("failsafe_a", 10.0, d.now_s)
    d.view.set("failsafe_persist", persist, d.now_s)
    d.volt_v[0, 0] = 0.0
    d.run(1.0)
    d.volt_v[0, 0] = 230.0
    d.run(2.0)
    assert d.view.get("failsafe_a") == kept


def test_car_trips_under_its_voltage_and_waits():
    d = charging(ev_trip_pu=0.85, ev_retry_s=30.0)
    d.volt_v[0, 0] = 0.851 * 230.0
    d.run(1.0)
    assert d.amps == pytest.approx(16.0)
    d.volt_v[0, 0] = 0.849 * 230.0
    d.run(0.1)
    assert d.amps == 0.0
    d.volt_v[0, 0] = 230.0
    assert d.until(lambda: d.amps > 0.0) == pytest.approx(30.0, abs=1.5)


def test_a_three_phase_car_trips_on_its_lowest_phase():
    d = charging(phases=3, ev_phases=3)
    d.volt_v[0] = (230.0, 180.0, 230.0)
    d.run(0.1)
    assert d.fleet.drawn_a.sum() == 0.0


def test_an_unplugged_car_draws_nothing_at_once():
    d = charging()
    d.fleet.unplug(0, d.now_s)
    d.run(0.1)
    assert (d.amps, d.view.get("mode3_state"), d.view.get("cable_connected")) == (0.0, "A", 0.0)


def test_taper_falls_and_the_car_stops_when_full():
    d = Driver(dt_s=1.0, ev_battery_wh=2000.0, ev_taper_soc=0.8)
    d.plug_in(soc=0.75)
    d.run(30.0)
    assert d.amps == pytest.approx(16.0)
    amps: list[float] = []
    d.run(3600.0, lambda: amps.append(d.amps))
    end = amps.index(0.0)
    tapering = np.array(amps[:end])
    assert np.all(np.diff(tapering[tapering < 15.9]) <= 1e-12)
    assert 0.9 <= tapering[-1] <= 1.5
    assert d.fleet.soc[0] == 1.0
    assert d.view.get("mode3_state") == "B2"


def test_car_stops_when_it_has_what_the_driver_needs():
    d = Driver(dt_s=1.0)
    d.plug_in(soc=0.2, need_wh=500.0)
    d.run(3600.0)
    assert d.amps == 0.0
    assert d.fleet.session_wh[0] == pytest.approx(500.0, abs=2.0)
    assert d.fleet.soc[0] == pytest.approx(0.2 + d.fleet.session_wh[0] / 60_000.0)


def test_energy_is_the_integral_of_volts_and_amps():
    d = charging()
    before_wh = float(d.fleet.session_wh[0])
    d.volt_v[0, 0] = 220.0
    d.run(360.0)
    assert d.fleet.session_wh[0] - before_wh == pytest.approx(16.0 * 220.0 * 0.1, rel=1e-6)
    assert d.view.get("energy_wh") == d.view.get("session_wh")


def test_meter_has_its_resolution():
    d = charging(meter_v_step_v=1.0, meter_a_step_a=0.5, ev_max_a=15.3)
    d.volt_v[0, 0] = 228.6
    d.run(1.0)
    assert (d.view.get("voltage_l1_v"), d.view.get("current_l1_a")) == (229.0, 15.5)
    assert d.view.get("power_w") == 229.0 * 15.5
    assert d.view.get("voltage_l2_v") == 0.0
    assert d.amps == pytest.approx(15.3)


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        ("setpoint_a", 32.1, r"setpoint_a 32\.1 A: allowed 0\.\.32 A"),
        ("setpoint_a", -0.1, r"allowed 0\.\.32 A"),
        ("setpoint_a", math.nan, "allowed finite"),
        ("setpoint_a", math.inf, "allowed finite"),
        ("failsafe_a", 3.0, r"allowed 0 or 6\.\.32 A"),
        ("failsafe_s", -1.0, r"allowed 0 \(off\) or more"),
        ("enable", 2.0, "allowed 0 or 1"),
        ("power_w", 1.0, "write of 'power_w': allowed enable"),
    ],
)
def test_bad_writes_are_refused_and_change_nothing(quantity, value, text):
    d = charging()
    before = {name: d.fleet.snapshot()[name].copy() for name in ("setpoint_a", "failsafe_a", "failsafe_s", "enabled")}
    with pytest.raises(ValueError, match=text):
        d.view.set(quantity, value, d.now_s)
    after = d.fleet.snapshot()
    assert all(np.array_equal(after[name], kept) for name, kept in before.items())


def test_unknown_quantity_names_the_known_ones():
    with pytest.raises(ValueError, match="'amps': allowed cable_connected"):
        Driver().view.get("amps")


def test_disable_pauses_and_enable_resumes():
    d = charging()
    d.view.set("enable", 0.0, d.now_s)
    d.run(6.0)
    assert d.amps == 0.0
    d.view.set("enable", 1.0, d.now_s)
    d.run(10.0)
    assert d.amps == pytest.approx(16.0)


def test_snapshot_restores_to_the_same_future_at_another_time():
    specs = [EvseSpec("k", watchdog="any_traffic", failsafe_a=6.0, failsafe_s=10.0, boot_limit_a=16.0), PLAIN_EVSE]
    cars = [QUICK_EV, EvSpec("slow", dead_time_s=2.0)]
    volt_v = np.full((2, 3), 230.0)

    def future(fleet: Fleet, begin_s: float) -> np.ndarray:
        return np.array([fleet.step(begin_s + k * 0.125, 0.125, volt_v).copy() for k in range(1, 200)])

    first, second = Fleet(specs, cars), Fleet(specs, cars)
    for i in range(2):
        first.plug_in(i, 0.0, 0.4, math.inf)
    for k in range(1, 64):
        first.step(k * 0.125, 0.125, volt_v)
    first.view(0).set("setpoint_a", 10.0, first.now_s)
    kept = first.snapshot()
    expected = future(first, 63 * 0.125)
    assert len(np.unique(expected[:, 0, 0])) > 5  # it does something: lowers, then falls back
    second.restore(kept, shift_s=1024.0)
    assert second.now_s == 1024.0 + 63 * 0.125
    assert np.array_equal(future(second, second.now_s), expected)
    second.restore(kept)
    for name, array in second.snapshot().items():
        assert np.array_equal(array, kept[name], equal_nan=array.dtype.kind == "f"), name


def test_a_snapshot_of_another_fleet_is_refused():
    small, big = Driver().fleet, Fleet([PLAIN_EVSE] * 2, [QUICK_EV] * 2)
    with pytest.raises(ValueError, match="1 chargers: allowed 2"):
        big.restore(small.snapshot())
    with pytest.raises(ValueError, match="names differ by"):
        small.restore({"soc": np.zeros(1)})


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: EvseSpec("x", phases=4), "allowed 1, 2 or 3"),
        (lambda: EvseSpec("x", watchdog="dog"), "allowed none, any_traffic"),
        (lambda: EvseSpec("x", hard_max_a=81.0), r"81\.0 A: allowed 6\.\.80 A"),
        (lambda: EvseSpec("x", failsafe_a=float("nan")), r"failsafe_a nan A: allowed 0\.\.32 A"),
        (lambda: EvseSpec("x", pwm_gap_s=-1.0), "pwm_gap_s"),
        (lambda: EvSpec("x", floor_a=40.0), "floor_a 40.0 A"),
        (lambda: EvSpec("x", battery_wh=0.0), "battery_wh 0.0 Wh: allowed more than 0"),
        (lambda: EvSpec("x", taper_soc=1.1), r"taper_soc 1\.1: allowed 0\.\.1"),
        (lambda: Fleet([], []), "at least one"),
        (lambda: Fleet([PLAIN_EVSE], [QUICK_EV] * 2), "1 chargers and 2 cars"),
        (lambda: Driver().fleet.plug_in(0, 0.0, 1.5, 1.0), r"soc 1\.5"),
        (lambda: Driver().fleet.step(0.0, 0.1, np.zeros((2, 3))), r"allowed volts \(1, 3\)"),
    ],
)
def test_impossible_values_are_refused(build, text):
    with pytest.raises(ValueError, match=text):
        build()


SAME = """
import hashlib, numpy as np
from hil.plant.fleet import EvSpec, EvseSpec, Fleet
fleet = Fleet(
    [EvseSpec("a", watchdog="any_traffic", failsafe_a=6.0, failsafe_s=9.0, boot_limit_a=13.7), EvseSpec("b", phases=3)],
    [EvSpec("a", battery_wh=900.0, taper_soc=0.5), EvSpec("b", phases=3, dead_time_s=0.3)],
)
fleet.plug_in(0, 0.0, 0.4, 1e9)
fleet.plug_in(1, 0.0, 0.4, 1e9)
digest = hashlib.sha256()
volt_v = np.full((2, 3), 229.3)
for k in range(1, 400):
    if k % 50 == 0:
        fleet.view(1).set("setpoint_a", 6.0 + k / 40.0, k * 0.1)
        volt_v[:] = 229.3 - k / 7.0
    digest.update(fleet.step(k * 0.1, 0.1, volt_v).tobytes())
digest.update(b"".join(array.tobytes() for array in fleet.snapshot().values()))
print(digest.hexdigest())
"""


def test_plain_source_gives_the_same_bits_as_the_compiled_kernels(monkeypatch):
    answers = []
    for disabled in ("0", "1"):
        monkeypatch.setenv("NUMBA_DISABLE_JIT", disabled)
        done = subprocess.run([sys.executable, "-c", SAME], capture_output=True, text=True, check=True, timeout=240)
        answers.append(done.stdout)
    assert answers[0] == answers[1]
    assert len(answers[0].strip()) == 64
