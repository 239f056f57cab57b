"""What holds for any story of faults, phases and two-way cars: energy is kept, nothing flows that may not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.plant.evse import OVER_FACTOR, OVER_MARGIN_A
from hil.plant.faults import FAULTS
from hil.plant.fleet import EvseSpec, EvSpec, Fleet
from hil.plant.pilot import Pilot

BATTERY_WH, EFFICIENCY, BACK = 20_000.0, 0.95, 0.94
GRACE_S = 7.0

ACTION = st.one_of(
    st.tuples(st.just("setpoint_a"), st.floats(-16.0, 32.0)),
    st.tuples(st.just("phases_set"), st.sampled_from([1.0, 3.0])),
    st.tuples(st.just("fail"), st.sampled_from(sorted(FAULTS))),
    st.tuples(st.just("mend"), st.sampled_from(sorted(FAULTS))),
    st.tuples(st.just("volts"), st.sampled_from([0.0, 180.0, 230.0, 253.0, math.nan])),
    st.tuples(st.just("plug"), st.sampled_from([0.29, 0.5, 0.95])),
    st.tuples(st.just("unplug"), st.just(0.0)),
    st.tuples(st.just("wait"), st.floats(1.0, 40.0)),
)


def act(fleet: Fleet, volt_v: np.ndarray, kind: str, value: float | str) -> None:
    """Do one thing to the charger from outside."""
    if kind == "volts":
        volt_v[:] = value
    elif kind == "plug":
        fleet.plug_in(0, fleet.now_s, value, math.inf)
    elif kind == "unplug":
        fleet.unplug(0, fleet.now_s)
    elif kind in ("fail", "mend"):
        getattr(fleet, kind)(0, value)
    elif kind != "wait":
        fleet.view(0).set(kind, value, fleet.now_s)


@settings(max_examples=60, deadline=None)
@given(
    dt_s=st.sampled_from([0.1, 0.37, 1.0]),
    two_way=st.booleans(),
    wake_up_s=st.sampled_from([10.0, math.inf]),
    phases=st.sampled_from([1.0, 3.0]),
    start_a=st.sampled_from([16.0, -10.0]),
    actions=st.lists(ACTION, min_size=1, max_size=25),
)
def test_energy_is_kept_and_nothing_flows_that_may_not(dt_s, two_way, wake_up_s, phases, start_a, actions):
    give_a = 12.0 if two_way else 0.0
    evse = EvseSpec(
        "x", 3, 32.0, boot_limit_a=10.0, boot_s=3.0, restart_delay_s=5.0, wake_up_s=wake_up_s, switch_phases=True,
        discharge_max_a=16.0,
    )  # fmt: skip
    car = EvSpec(
        "x", phases=3, max_1p_a=32.0, max_a=16.0, floor_a=9.2, floor_1p_a=6.0, battery_wh=BATTERY_WH, below_a=0.5,
        efficiency=EFFICIENCY, discharge_efficiency=BACK, discharge_max_a=give_a, sleep_after_s=20.0, wakes=True,
        retry_s=2.0,
    )  # fmt: skip
    fleet = Fleet([evse], [car])
    volt_v = np.full((1, 3), 230.0)
    over_s = 0.0
    begin = [("plug", 0.5), ("setpoint_a", start_a), ("phases_set", phases), ("wait", 25.0)]
    for kind, value in [*begin, *actions]:
        act(fleet, volt_v, kind, value)
        for _ in range(max(1, round((value if kind == "wait" else 1.0) / dt_s))):
            before = fleet.snapshot()
            amps = fleet.step(fleet.now_s + dt_s, dt_s, volt_v)[0]
            after = fleet.snapshot()
            low_a, high_a, pwm_a = float(amps.min()), float(amps.max()), float(fleet.pwm_a[0])
            assert np.all(np.isfinite(amps)) and low_a >= -give_a - 1e-9
            if amps.any():  # only past a closed contactor, in state C, with supply, on the phases switched on
                assert fleet.contactor[0] and fleet.power_on[0] and fleet.state[0] == Pilot.C
                assert not amps[fleet.phases_in_use[0] :].any()
            if before["phases_in_use"][0] != after["phases_in_use"][0]:
                assert not fleet.contactor[0] and not amps.any()
            wh = float(np.nan_to_num(volt_v[0] * amps).sum()) * dt_s / 3600.0
            gained_wh = float(after["soc"][0] - before["soc"][0]) * BATTERY_WH
            if after["soc"][0] < 1.0:
                assert gained_wh == pytest.approx(wh * EFFICIENCY if wh > 0.0 else wh / BACK, abs=1e-6)
            assert after["energy_wh"][0] - before["energy_wh"][0] == pytest.approx(max(wh, 0.0), abs=1e-6)
            assert after["export_wh"][0] - before["export_wh"][0] == pytest.approx(max(-wh, 0.0), abs=1e-6)
            assert fleet.soc[0] >= min(float(before["soc"][0]), car.soc_floor)
            over = max(-low_a, high_a) > OVER_FACTOR * abs(pwm_a) + OVER_MARGIN_A
            over_s = over_s + dt_s if over else 0.0
            assert over_s <= GRACE_S + dt_s + 1e-6
            assert pwm_a == 0.0 or 6.0 <= pwm_a <= 32.0 or (two_way and -16.0 <= pwm_a < 0.0)
