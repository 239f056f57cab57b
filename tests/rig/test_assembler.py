"""The assembler makes one plan and one street out of a rig: limits, windows, droop, sessions, the same by seed."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from controller.law.names import VoltSource
from hil.rig.assembler import assemble
from hil.rig.precheck import margins, precheck
from hil.rig.rigfile import RigError, load_rig


@pytest.fixture(scope="module")
def street_loaded():
    return load_rig("street")


@pytest.fixture(scope="module")
def street_assembly(street_loaded):
    return assemble(street_loaded)


def test_both_load_flows_agree_and_the_figure_is_kept(street_assembly):
    assert 0 < street_assembly.network.agreement_pu <= 1e-6


def test_the_plan_holds_the_tree_with_the_rigs_limits(street_assembly, street_text):
    plan, feeder = street_assembly.plan(), street_text["feeder"]
    n = len(street_text["charger"])
    assert street_assembly.dims[:2] == (n, n + 2)
    assert plan.parent.tolist() == [-1, 0] + [1] * n
    assert (plan.node_limit_a[0] == feeder["transformer_a"]).all()
    assert (plan.node_limit_a[1] == feeder["head_a"]).all()
    assert (plan.node_limit_a[2:] == feeder["connection_a"]).all()
    assert plan.charger_node.tolist() == list(range(2, n + 2))


def test_each_charger_stands_on_the_phase_of_its_customer(street_assembly, street_loaded):
    phase = street_loaded.feeder.loads.phase[street_assembly.customer_of]
    assert (street_assembly.plan().phase_map[:, 0] == phase).all()
    assert (street_assembly.plan().phase_map[:, 1:] == -1).all()
    assert set(phase.tolist()) == {0, 1, 2}


def test_the_contract_binds_exactly_the_named_chargers_by_the_local_clock(street_assembly, street_text):
    plan = street_assembly.plan()
    named = [street_assembly.charger_names.index(name) for name in street_text["contract"][0]["chargers"]]
    evening = plan.window_a == 6.0
    assert sorted(plan.window_charger[evening].tolist()) == named
    assert set(plan.window_from_s[evening]) == {17 * 3600.0}
    assert set(plan.window_to_s[evening]) == {20 * 3600.0}
    assert set(plan.window_charger.tolist()) == set(named)


def test_a_window_begins_early_by_the_worst_obey_time_where_no_lead_is_given(street, write_rig):
    assert street["contract"][0].pop("lead_s") == 0.0
    early = assemble(load_rig(str(write_rig(street)))).plan()
    assert (early.window_lead_s == early.obey_s.max()).all()
    assert early.obey_s.max() > 10.0


def test_the_droop_is_the_rigs_curve_at_every_charger_with_a_meter_that_resolves_enough(street_assembly, street_text):
    plan = street_assembly.plan()
    points = np.array(street_text["law"]["droop"]["points"])
    used = plan.droop_pu[0] > 0
    assert np.allclose(plan.droop_pu[:, : len(points)], points[:, 0])
    assert np.allclose(plan.droop_share[:, : len(points)], points[:, 1])
    assert used.sum() >= len(points)
    coarse = np.array([model.charger.voltage_step_v > 0.5 for model in street_assembly.models])
    assert coarse.any()
    assert ((plan.volt_source == VoltSource.NODE) == coarse).all()


def test_the_same_seed_draws_the_same_street_and_another_one_another(street_loaded, street_assembly):
    again, other = assemble(street_loaded), assemble(street_loaded, seed=99)
    assert again.plan_bytes.tobytes() == street_assembly.plan_bytes.tobytes()
    assert again.sessions == street_assembly.sessions
    assert again.households.p_w.tobytes() == street_assembly.households.p_w.tobytes()
    assert other.households.p_w.tobytes() != street_assembly.households.p_w.tobytes()
    day = assemble(street_loaded, horizon_s=86400.0).sessions
    assert day != assemble(street_loaded, seed=99, horizon_s=86400.0).sessions


def test_every_car_is_plugged_in_before_the_start_and_stays_through_the_scenario(street_assembly, street_text):
    first = {event.charger: event for event in reversed(street_assembly.sessions)}
    assert len(first) == len(street_text["charger"])
    assert all(event.at_s < 0 and event.need_wh > 0 for event in first.values())
    leaves = [event.at_s for event in street_assembly.sessions if event.need_wh == 0]
    assert min(leaves) > street_text["scenario"]["for_s"]


def test_a_charger_holds_one_car_at_a_time_over_a_day(street_loaded):
    sessions = assemble(street_loaded, horizon_s=86400.0).sessions
    assert [event.at_s for event in sessions] == sorted(event.at_s for event in sessions)
    for i in range(16):
        mine = [event.need_wh > 0 for event in sessions if event.charger == i]
        assert mine == [k % 2 == 0 for k in range(len(mine))]
    assert sum(event.need_wh > 0 for event in sessions) > 16


def test_the_scenario_starts_at_the_sites_local_time(street_assembly):
    assert street_assembly.utc_offset_s == 3600.0  # Amsterdam in winter
    assert (street_assembly.start_utc_s + street_assembly.utc_offset_s) % 86400 == 16 * 3600 + 59 * 60 + 50
    assert street_assembly.week_s // 86400 == 1  # a Tuesday


def test_a_summer_start_moves_the_clock_by_an_hour(street, write_rig):
    street["scenario"]["start"] = street["scenario"]["start"].replace(month=7)
    assert assemble(load_rig(str(write_rig(street)))).utc_offset_s == 7200.0


@pytest.mark.parametrize(
    ("change", "key", "text"),
    [
        ({"filter_s": 2.0}, "law.droop", "required 6 dB"),
        ({"required_margin_db": 40.0}, "law.droop", "required 40 dB"),
    ],
)
def test_a_droop_under_its_margin_is_refused_with_the_figure(street, write_rig, change, key, text):
    street["law"]["droop"] |= change
    with pytest.raises(RigError) as caught:
        margins(assemble(load_rig(str(write_rig(street)))))
    (problem,) = caught.value.problems
    assert problem.where == key
    assert text in problem.allowed
    assert "flatter" in problem.allowed


def test_a_bench_over_its_loop_gain_is_refused(street_assembly):
    found = margins(street_assembly)
    assert 0 < found.loop_gain < 0.5
    tight = street_assembly.rig.bench.model_copy(update={"max_loop_gain": found.loop_gain / 2})
    rig = street_assembly.rig.model_copy(update={"bench": tight})
    with pytest.raises(RigError, match=r"bench\.max_loop_gain"):
        margins(dataclasses.replace(street_assembly, rig=rig))


def test_sessions_go_by_the_sites_clock_whatever_zone_the_start_is_written_in(street, write_rig):
    street["scenario"]["start"] = datetime(2026, 1, 13, 16, 59, 50)
    here = assemble(load_rig(str(write_rig(street))), horizon_s=86400.0)
    street["scenario"]["start"] = datetime(2026, 1, 13, 15, 59, 50, tzinfo=UTC)
    there = assemble(load_rig(str(write_rig(street))), horizon_s=86400.0)
    assert here.start_utc_s == there.start_utc_s
    assert here.week_s == there.week_s
    assert here.sessions == there.sessions


@pytest.mark.parametrize("preset", ["eu_research", "as_nzs_4777_charging"])
def test_every_preset_is_usable_by_its_name_alone(street, write_rig, preset):
    street["law"]["droop"] = {"preset": preset, "filter_s": 120.0}
    assert margins(assemble(load_rig(str(write_rig(street))))).margin_db > 6.0


def test_a_hysteresis_that_a_step_to_six_amps_would_undo_is_refused_with_the_figure(street, write_rig):
    street["law"]["droop"]["hysteresis_pu"] = 0.003
    with pytest.raises(RigError, match=r"hysteresis 0\.0030 pu, required over 0\.00"):
        precheck(assemble(load_rig(str(write_rig(street)))))


def test_a_preset_has_a_margin_as_points_have(street, write_rig):
    del street["law"]["droop"]["points"]
    street["law"]["droop"]["preset"] = "eu_research"
    assert any(line.startswith("droop: loop gain") for line in precheck(assemble(load_rig(str(write_rig(street))))))
