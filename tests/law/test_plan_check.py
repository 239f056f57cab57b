"""A site that no plan can be built from is refused, with the figure that is wrong."""

import dataclasses

import numpy as np
import pytest
from lawbench import EU_DROOP, INF, VoltSource, charger, node, site

from controller.law import preset
from controller.law.names import Fairness
from controller.law.stability import (
    MarginError,
    longest_delay,
    require_gaps,
    require_hysteresis,
    require_margin,
    stability_margin,
)
from controller.runtime.plan import DroopSpec, ExportSpec, PlanError, ReserveSpec, WindowSpec, build_plan, droop_of
from hil.rig.droop_margin import droop_margin

STEEP = DroopSpec(((0.950, 0.2), (0.955, 1.0)))
REFUSED = {
    "unbalance": (
        [node("poc_7", unbalance_a=-20.0)],
        {},
        r"node poc_7: unbalance_a = -20 A; allowed is a number from 0",
    ),
    "negative limit": ([node(limit_a=-1.0)], {}, r"node head: limit_a = -1 A"),
    "nan limit": ([node(limit_w=float("nan"))], {}, r"limit_w = nan W"),
    "negative export": ([node(export_w=-4000.0)], {}, r"export_w = -4000 W; allowed is a number from 0"),
    "parent after child": ([node(parent=1), node("b")], {}, r"parent = 1; allowed is -1 or a node before"),
    "node out of range": ([node()], {"at": 3}, r"charger cp0: node = 3; allowed is 0 to 0"),
    "no phase": ([node()], {"phase_map": (-1, -1, -1)}, "phase_map"),
    "phase twice": ([node()], {"phase_map": (1, 1, -1)}, "phase_map"),
    "weight": ([node()], {"weight": 0.0}, "weight = 0; allowed is a number over 0"),
    "obey": ([node()], {"obey_s": INF}, "obey_s = inf s"),
    "slope": ([node()], {"droop": STEEP}, r"slope = 160.0 of the ceiling per pu; allowed is up to 100"),
    "falling volts": ([node()], {"droop": DroopSpec(((0.96, 0.2), (0.92, 1.0)))}, "volts that rise"),
    "falling share": ([node()], {"droop": DroopSpec(((0.92, 1.0), (0.96, 0.2)))}, "does not fall"),
    "one point": ([node()], {"droop": DroopSpec(((0.92, 1.0),))}, "two points or more"),
    "resume under pause": ([node()], {"droop": dataclasses.replace(EU_DROOP, resume_pu=0.9)}, r"resume_pu = 0.9 pu"),
    "drop": (
        [node()],
        {"droop": dataclasses.replace(EU_DROOP, fairness=Fairness.EQUALISED), "nominal_drop_pu": 0.2},
        r"nominal_drop_pu = 0.2 pu; allowed is 0 to 0.1",
    ),
    "rising export": ([node()], {"export": ExportSpec(16.0, points=((1.06, 0.0), (1.1, 1.0)))}, "does not rise"),
    "export unread": ([node()], {"export": ExportSpec(16.0, points=((1.06, 1.0), (1.1, 0.0)))}, "nobody reads"),
    "soc": ([node()], {"export": ExportSpec(16.0, soc_floor=30.0)}, "soc_floor = 30; allowed is 0 to 1"),
    "no margin": ([node()], {"car_margin_a": 0.0}, r"car_margin_a = 0 A; allowed is a number over 0"),
    "shrink": ([node()], {"car_shrink_s": -1.0}, r"car_shrink_s = -1 s; allowed is a number from 0"),
    "raise band": ([node()], {"raise_band_a": INF}, r"raise_band_a = inf A; allowed is a number from 0, finite"),
    "reserve": ([node()], {"reserve": ReserveSpec(2000.0, -4.0)}, r"base_a = -4 A; allowed is 0 to 32 A"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    nodes, given, text = REFUSED[name]
    with pytest.raises(PlanError, match=text):
        build_plan(site(nodes, [charger(**given)]))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"period_s": 0.0}, "period_s = 0 s"),
        ({"fcr_deadband_hz": 0.3}, "fcr_deadband_hz = 0.3 Hz; allowed is under fcr_full_hz, 0.2 Hz"),
        ({"brake_over": 0.9}, "brake_over = 0.9"),
        ({"alarm_pu": 1.5}, "alarm_pu = 1.5 pu; allowed is from 0, no alarm, to 1"),
        ({"brake_lost_s": 0.0}, "brake_lost_s = 0 s"),
    ],
)
def test_site_refused(given: dict, text: str) -> None:
    with pytest.raises(PlanError, match=text):
        build_plan(site([node()], [charger()], **given))


def test_window_refused_and_every_error_is_told_at_once() -> None:
    window = WindowSpec(0.0, 90_000.0, charger=0, node=0)
    with pytest.raises(PlanError) as caught:
        build_plan(site([node(limit_a=-1.0)], [charger(weight=-1.0)], (window,)))
    lines = str(caught.value).splitlines()
    assert [line.split(" = ")[0] for line in lines] == [
        "node head: limit_a",
        "charger cp0: weight",
        "window 0: charger, node",
        "window 0: to_s",
    ]


def test_what_is_declared_of_car_raises_and_alarm_is_in_the_plan() -> None:
    given = {"car_margin_a": 2.0, "car_shrink_s": 30.0, "raise_band_a": 0.5}
    _, _, plan = build_plan(site([node()], [charger(**given)], alarm_pu=0.93))
    assert (plan.car_margin_a[0], plan.car_shrink_s[0], plan.raise_band_a[0]) == (2.0, 30.0, 0.5)
    assert plan.alarm_pu[0] == 0.93


def test_an_export_curve_that_would_oscillate_is_refused() -> None:
    """IEEE 1547 volt-watt: 16 A over 0.04 pu are 1.74 A/V; with 1.5 V/A a loop gain of 2.6 at a delay of 200 scans."""
    given = {"volt_source": VoltSource.OWN, "export": ExportSpec(16.0, points=((1.06, 1.0), (1.1, 0.0)))}
    _, _, plan = build_plan(site([node()], [charger(**given)]))
    margin, refused = droop_margin(plan, np.array([[1.5]]), "local", 6.0, ["cp0"])
    assert margin.lambda_max == 0.0  # no charging curve
    assert len(refused) == 1
    assert refused[0].startswith("export droop: margin ")
    assert "slope 1.74" in refused[0]
    assert droop_margin(plan, np.array([[0.1]]), "local", 6.0, ["cp0"])[1] == []


def test_as_nzs_stops_a_16_amp_charger_and_runs_with_a_hysteresis_beside_it() -> None:
    """20 % of 16 A are under its floor of 6 A, and the standard names no hysteresis: the site has to."""
    as_nzs = dataclasses.replace(droop_of(preset.CHARGING["as_nzs_4777_charging"]), tau_s=120.0)

    def refused(hard_max_a: float, droop: DroopSpec) -> list[str]:
        part = charger(name="row_7", hard_max_a=hard_max_a, volt_source=VoltSource.OWN, droop=droop, step_a=0.1)
        return droop_margin(build_plan(site([node()], [part]))[2], np.array([[0.3]]), "local", 6.0, ["row_7"])[1]

    assert refused(32.0, as_nzs) == []  # 6.4 A: it never stops
    (line,) = refused(16.0, as_nzs)
    assert line.startswith("row_7: voltage droop: hysteresis 0.0000 pu, required over 0.0078 pu: a step of 6 A")
    assert "hysteresis_pu, pause_pu and resume_pu stand under [law.droop], beside a preset too" in line
    assert refused(16.0, dataclasses.replace(as_nzs, hysteresis_pu=0.008)) == []


def test_the_filter_named_in_a_refusal_does() -> None:
    wide = dataclasses.replace(EU_DROOP, hysteresis_pu=0.05, resume_pu=0.97)

    def refused(tau_s: float) -> list[str]:
        part = charger(volt_source=VoltSource.OWN, droop=dataclasses.replace(wide, tau_s=tau_s))
        return droop_margin(build_plan(site([node()], [part]))[2], np.array([[0.8]]), "local", 6.0, ["cp0"])[1]

    (line,) = refused(5.0)
    enough_s = float(line.split("filter_s from about ")[1].split(" s")[0])
    assert refused(enough_s + 1.0) == []
    assert len(refused(enough_s - 1.0)) == 1


def test_a_common_droop_that_lifts_some_volts_is_held_to_them() -> None:
    """Two on other phases lift the volts of the one by more than it lowers them: no filter helps."""
    parts = [charger(k, volt_source=VoltSource.OWN, droop=EU_DROOP) for k in range(3)]
    plan = build_plan(site([node()], parts))[2]
    field = np.array([[0.10, -0.20, -0.20], [0.0, 0.2, 0.0], [0.0, 0.0, 0.2]])
    margin, _ = droop_margin(plan, field, "common", 6.0, ["cp0", "cp1", "cp2"])
    assert margin.lambda_max == pytest.approx(0.3 * 32.0 * 20.0 / 230.0)
    assert margin.critical_lambda == pytest.approx(1.0)


def test_plain_site_is_built() -> None:
    dims, _, plan = build_plan(site([node()], [charger(volt_source=VoltSource.OWN, droop=EU_DROOP)]))
    assert (dims.n, dims.m, plan.export_max_a[0], plan.droop_group[0]) == (1, 1, 0.0, -1)


def test_margin_error_tells_slope_and_delay_that_would_do() -> None:
    margin = stability_margin([500.0], [[0.002]], 0.1, 30)  # loop gain 1
    with pytest.raises(MarginError) as caught:
        require_margin(margin)
    text = str(caught.value)
    longest = longest_delay(1.0, 0.1)
    assert f"delay 30 scans, allowed up to {longest:g} scans" in text
    assert stability_margin([500.0], [[0.002]], 0.1, int(longest)).margin_db >= 6.0
    assert stability_margin([500.0], [[0.002]], 0.1, int(longest) + 1).margin_db < 6.0
    slope = float(text.split("allowed up to ")[1].split(";")[0])
    assert stability_margin([slope * 0.99], [[0.002]], 0.1, 30).margin_db >= 6.0
    assert stability_margin([slope * 1.01], [[0.002]], 0.1, 30).margin_db < 6.0


def test_longest_delay() -> None:
    assert longest_delay(0.4, 0.5) == INF
    assert longest_delay(20.0, 0.1) == -1.0
    assert longest_delay(9.5, 0.1) == 0.0


def test_hysteresis_under_the_cars_own_step_is_refused() -> None:
    require_hysteresis(0.02, 6.0, 0.144)
    with pytest.raises(MarginError, match=r"hysteresis 0.0020 pu, required over 0.0038 pu"):
        require_hysteresis(0.002, 6.0, 0.144)


EU, AS_NZS = ((0.92, 0.1875), (0.96, 1.0)), ((0.9, 0.2), (0.935, 1.0))


@pytest.mark.parametrize(
    ("points", "given", "text"),
    [
        (EU, {"hysteresis_pu": 0.02, "pause_pu": 0.915, "resume_pu": 0.935}, None),
        (EU, {"pause_pu": 0.915, "resume_pu": 0.935}, r"hysteresis 0.0000 pu, required over 0.0038 pu"),
        (EU, {"pause_pu": 0.915, "resume_pu": 0.917}, r"gap from pause_pu to resume_pu 0.0020 pu, required"),
        (EU, {}, r"hysteresis 0.0000 pu, required over 0.0038 pu: a step of 6 A"),  # 0.1875 of 16 A is under its floor
        (EU, {"hysteresis_pu": 0.004}, None),
        (AS_NZS, {"hard_max_a": 32.0}, None),  # 20 % of 32 A: it never stops, and needs no hysteresis by its standard
        (AS_NZS, {"hard_max_a": 32.0, "step_a": 1.0}, r"hysteresis 0.0000 pu, required over 0.0006 pu: a step of 1 A"),
        (AS_NZS, {"hard_max_a": 32.0, "step_a": 1.0, "hysteresis_pu": 0.001}, None),
    ],
)
def test_a_droop_that_the_chargers_own_steps_would_let_hunt_is_refused(
    points: tuple, given: dict, text: str | None
) -> None:
    fine = {
        "hard_max_a": 16.0, "floor_a": 6.0, "step_a": 0.1, "hysteresis_pu": 0.0, "pause_pu": 0.0, "resume_pu": 0.0,
        "sensitivity_v_per_a": 0.144,
    }  # fmt: skip
    if text is None:
        require_gaps(points, **(fine | given))
        return
    with pytest.raises(MarginError, match=text):
        require_gaps(points, **(fine | given))
