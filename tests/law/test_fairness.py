"""Named voltage curves and the three ways to share a feeder's volts."""

import dataclasses

import numpy as np
import pytest
from lawbench import EU_DROOP, VoltSource, World, charger, node, site

from controller.law import preset
from controller.law.names import Fairness, Reason
from controller.law.stability import broadcast_sensitivities, stability_margin
from controller.law.voltage import share_at
from controller.runtime.plan import DroopSpec, build_plan, droop_of

V0 = 0.985 * 230.0
OHM = 0.010 + 0.206 * 0.030 * np.minimum.outer(np.arange(1, 11), np.arange(1, 11))  # ten nodes, 30 m apart
FLAT = DroopSpec(((0.92, 0.1875), (0.96, 1.0)), tau_s=20.0, deadband_pu=0.0, hysteresis_pu=0.0)


@pytest.mark.parametrize(
    ("name", "volts_v", "share"),
    [
        ("eu_research", 0.96 * 230, 1.0),
        ("eu_research", 0.92 * 230, 0.1875),
        ("as_nzs_4777_charging", 207.0, 0.2),
        ("as_nzs_4777_charging", 215.0, 1.0),
        ("as_nzs_4777_charging", 211.0, 0.6),
    ],
)
def test_charging_curve_by_name(name: str, volts_v: float, share: float) -> None:
    points = np.array(preset.chosen(preset.CHARGING, name).points)
    assert share_at(volts_v / 230.0, points[:, 0], points[:, 1]) == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "pu", "share"),
    [
        ("ieee_1547_volt_watt", 1.06, 1.0),
        ("ieee_1547_volt_watt", 1.08, 0.5),
        ("ieee_1547_volt_watt", 1.10, 0.0),
        ("as_nzs_4777_export", 260.0 / 230.0, 0.2),
        ("en_50549", 1.11, 0.5),
    ],
)
def test_export_curve_by_name(name: str, pu: float, share: float) -> None:
    points = np.array(preset.chosen(preset.EXPORT, name).points)
    assert share_at(pu, points[:, 0], points[:, 1]) == pytest.approx(share)


def test_unverified_figures_are_marked_and_unknown_names_refused() -> None:
    assert preset.CHARGING["as_nzs_4777_charging"].mark == "R?"
    assert all(p.source and p.mark in {"V", "C", "R+", "R?", "own"} for p in preset.CHARGING.values())
    with pytest.raises(ValueError, match="eu_research"):
        preset.chosen(preset.CHARGING, "eu_reserch")


def feeder(fairness: Fairness) -> World:
    """Return ten three-phase chargers along a weak feeder, with their nominal drop at 16 A each."""
    drop_pu = OHM.sum(axis=1) * 16.0 / 230.0
    droop = dataclasses.replace(FLAT, fairness=fairness)
    chargers = [
        charger(
            k,
            phase_map=(0, 1, 2),
            volt_source=VoltSource.OWN,
            droop=droop,
            nominal_drop_pu=float(drop_pu[k]),
            obey_s=0.0,
        )
        for k in range(10)
    ]
    return World(site([node(limit_a=1000.0)], chargers), 10.0)


def settle(world: World) -> np.ndarray:
    """Let droop and feeder come to rest; return the amps and leave the volts in the world."""
    for _ in range(900):
        volts = V0 - OHM @ world.drawn
        world.volts = np.repeat(volts[:, None], 3, axis=1)
        world.step(0.5)
    return world.out.allowed_a.copy()


def jain(amps: np.ndarray) -> float:
    """Return Jain's fairness index."""
    return float(amps.sum() ** 2 / (len(amps) * (amps**2).sum()))


def test_local_droop_curtails_the_end_of_the_line_first() -> None:
    amps = settle(feeder(Fairness.LOCAL))
    assert amps[0] > amps[-1] + 5.0
    assert (np.diff(amps) <= 1e-6).all()


def test_common_droop_gives_everybody_the_same() -> None:
    world = feeder(Fairness.COMMON)
    amps = settle(world)
    assert np.ptp(amps) < 0.3  # the band within which raises are skipped
    worst = world.volts[-1, 0] / 230.0
    assert amps[-1] == pytest.approx(32.0 * (0.1875 + 0.8125 * (worst - 0.92) / 0.04), abs=0.3)


def test_equalised_droop_is_fairer_than_local_and_no_lower_in_volts() -> None:
    local, equalised = feeder(Fairness.LOCAL), feeder(Fairness.EQUALISED)
    before, after = settle(local), settle(equalised)
    assert jain(after) > jain(before)
    assert np.ptp(after) < 0.5 * np.ptp(before)
    assert equalised.volts.min() >= local.volts.min() - 0.05
    assert equalised.plan.droop_shift_pu[-1] == 0.0
    assert (np.diff(equalised.plan.droop_shift_pu) > 0).all()


def test_common_group_is_the_tree_and_a_member_that_falls_silent_raises_nobody() -> None:
    droop = dataclasses.replace(EU_DROOP, fairness=Fairness.COMMON)
    chargers = [charger(0, at=k, volt_source=VoltSource.OWN, droop=droop, name=f"c{k}") for k in range(3)]
    world = World(site([node("a"), node("b", 0), node("c", -1)], chargers), 30.0)
    world.volts[1] = 0.94 * 230.0
    world.run(60)
    assert world.plan.droop_group.tolist() == [0, 0, 2]
    low = world.out.allowed_a.copy()
    assert low[:2] == pytest.approx([19.2, 19.2], abs=0.3)
    assert low[2] == 32.0
    assert world.out.reason[0] == Reason.VOLTAGE
    world.volts[1] = np.nan
    for _ in range(600):
        assert world.step()[0] <= low[0]


def test_pause_goes_by_unshifted_volts() -> None:
    droop = dataclasses.replace(EU_DROOP, fairness=Fairness.EQUALISED)
    chargers = [
        charger(0, name=f"c{k}", volt_source=VoltSource.OWN, droop=droop, nominal_drop_pu=drop)
        for k, drop in enumerate((0.0, 0.03))
    ]
    world = World(site([node()], chargers), 10.0)
    world.volts[:] = 0.925 * 230.0
    assert (world.run(60) > 0.0).all()  # 0.895 on the shifted curve, but no pause
    assert world.out.allowed_a[0] < world.out.allowed_a[1]


def test_common_droop_has_the_larger_loop_gain() -> None:
    slopes = np.full(10, 32.0 * 20.0 / 230.0)
    local = stability_margin(slopes, OHM, 0.05, 3)
    common = stability_margin(slopes, broadcast_sensitivities(OHM), 0.05, 3)
    assert common.lambda_max == pytest.approx(float(slopes @ OHM[-1]))
    assert common.lambda_max > local.lambda_max


def test_the_worst_row_of_a_common_droop_counts_each_charger_with_its_slope() -> None:
    """Two strings of one root: the longer row is that of chargers without droop, the steeper one binds."""
    field = np.array([[0.3, 0.1, 0.0], [0.1, 0.2, 0.0], [0.0, 0.0, 0.35]])
    slopes = np.array([0.0, 0.0, 10.0])
    common = stability_margin(slopes, broadcast_sensitivities(field, slopes), 0.05, 3)
    assert common.lambda_max == pytest.approx(3.5)


def test_preset_becomes_a_droop() -> None:
    spec = site([node()], [charger(volt_source=VoltSource.OWN, droop=droop_of(preset.CHARGING["eu_research"]))])
    _, _, plan = build_plan(spec)
    assert plan.droop_pu[0].tolist() == [0.92, 0.96]
    assert (plan.droop_pause_pu[0], plan.droop_resume_pu[0], plan.droop_group[0]) == (0.915, 0.935, -1)
