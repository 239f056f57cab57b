"""What holds for any set-points, volts, faults and step: nobody draws more than it was allowed to."""

import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plant_driver import Driver

from hil.plant.fleet import EvseSpec, EvSpec, Fleet
from hil.plant.pilot import Pilot
from hil.plant.watchdog import WATCHDOGS

OBEY_S = 5.0  # dead time and fall of the cars below end well within it

ACTION = st.one_of(
    st.tuples(st.just("setpoint_a"), st.floats(0.0, 32.0)),
    st.tuples(st.just("failsafe_s"), st.sampled_from([0.0, 5.0, 20.0])),
    st.tuples(st.just("failsafe_a"), st.sampled_from([0.0, 6.0, 13.0])),
    st.tuples(st.just("enable"), st.sampled_from([0.0, 1.0])),
    st.tuples(st.just("volts"), st.sampled_from([0.0, 60.0, 180.0, 200.0, 230.0, 253.0, math.nan])),
    st.tuples(st.just("plug"), st.sampled_from([0.0, 0.3, 0.95])),
    st.tuples(st.just("unplug"), st.just(0.0)),
    st.tuples(st.just("error"), st.sampled_from([0.0, 3.0])),
    st.tuples(st.just("wait"), st.floats(0.0, 12.0)),
)


def act(fleet: Fleet, volt_v: np.ndarray, kind: str, value: float) -> None:
    """Do one thing to the charger from outside."""
    if kind == "volts":
        volt_v[:] = value
    elif kind == "plug":
        fleet.plug_in(0, fleet.now_s, value, math.inf)
    elif kind == "unplug":
        fleet.unplug(0, fleet.now_s)
    elif kind == "error":
        fleet.error_code[0] = int(value)
    elif kind != "wait":
        fleet.view(0).set(kind, value, fleet.now_s)


@settings(max_examples=60, deadline=None)
@given(
    watchdog=st.sampled_from(WATCHDOGS),
    dt_s=st.sampled_from([0.1, 0.37, 1.0]),
    restart=st.booleans(),
    actions=st.lists(ACTION, min_size=1, max_size=25),
)
def test_current_flows_only_through_a_closed_contactor_and_within_the_pilot(watchdog, dt_s, restart, actions):
    evse = EvseSpec("x", 3, 32.0, watchdog=watchdog, boot_limit_a=10.0, boot_s=3.0, restart_after_blackout=restart)
    car = EvSpec("x", phases=3, dead_time_s=1.5, fall_a_per_s=10.0, rise_a_per_s=8.0, retry_s=2.0, floor_a=6.0)
    fleet = Fleet([evse], [car])
    volt_v = np.full((1, 3), 230.0)
    pilots: deque[tuple[float, float]] = deque([(0.0, 0.0)])
    changed_s, energy_wh = -math.inf, 0.0
    for kind, value in [("plug", 0.5), ("wait", 8.0), *actions]:
        act(fleet, volt_v, kind, value)
        touched = True
        for _ in range(max(1, round((value if kind == "wait" else 1.0) / dt_s))):
            before_a = float(fleet.pwm_a[0])
            now_s = fleet.now_s + dt_s
            amps = fleet.step(now_s, dt_s, volt_v)[0]
            pwm_a, state = float(fleet.pwm_a[0]), fleet.state[0]
            pilots.append((now_s, pwm_a))
            while pilots[0][0] < now_s - OBEY_S - dt_s:
                pilots.popleft()
            assert np.all(np.isfinite(amps))
            assert 0.0 <= amps.min() <= amps.max() <= max(pilot for _, pilot in pilots) + 1e-9
            if amps.max() > 0.0:
                assert fleet.contactor[0] and fleet.power_on[0] and state == Pilot.C
            assert pwm_a == 0.0 or 6.0 <= pwm_a <= 32.0
            if not touched and before_a > 0.0 and pwm_a > 0.0 and pwm_a != before_a:
                assert now_s - changed_s >= evse.pwm_gap_s - 1e-6
            changed_s = now_s if pwm_a != before_a else changed_s
            touched = False
            assert float(fleet.energy_wh[0]) >= energy_wh
            energy_wh = float(fleet.energy_wh[0])
            assert 0.0 <= fleet.soc[0] <= 1.0


def charge_wh(dt_s: float) -> tuple[float, float]:
    """Run ten minutes with two changes at this step; return the energy and how long the pause took to be drawn, s."""
    d = Driver(dt_s=dt_s, ev=EvSpec("plain"))
    d.plug_in()
    d.run(200.0)
    d.allow(8.0)
    d.run(200.0)
    d.allow(0.0)
    obeyed_s = d.until(lambda: d.amps == 0.0)
    d.run(200.0 - obeyed_s)
    return float(d.fleet.session_wh[0]), obeyed_s


@pytest.mark.parametrize("dt_s", [0.05, 0.25, 1.0])
def test_the_step_changes_the_story_by_little(dt_s):
    exact_wh, exact_s = charge_wh(0.01)
    energy_wh, obeyed_s = charge_wh(dt_s)
    assert energy_wh == pytest.approx(exact_wh, rel=0.01)
    assert exact_s - 0.011 <= obeyed_s <= exact_s + 2 * dt_s + 1e-6  # the fine run itself is 0.01 s coarse
