"""Groups that are no branch of the tree: the sum is kept, the rules are kept, nobody starves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lawbench import World, charger, node, site

from controller.law.anm import CLUSTER, LIFO, PRO_RATA, bind_group, share_out
from controller.law.names import Reason
from controller.runtime.plan import ExportSpec, GroupSpec, PlanError, build_plan

V = 230.0


def station(k, at, **given):
    return charger(k, at, **({"obey_s": 0.4, "max_age_s": 0.4, "switch_dwell_s": 5.0} | given))


def world(group, stations=4, feeders=2, other=0.0, given=None, **site_given):
    """Return stations on connections of two feeders: station k at feeder k mod 2, so that no node holds a group."""
    nodes = [node("root", limit_a=400.0, tau_s=0.1)]
    nodes += [node(f"feeder{f}", 0, limit_a=200.0, tau_s=0.1) for f in range(feeders)]
    nodes += [node(f"poc{k}", 1 + k % feeders, limit_a=63.0, tau_s=0.1) for k in range(stations)]
    chargers = [station(k, 1 + feeders + k, **(given or {})) for k in range(stations)]
    members = tuple(range(1 + feeders, 1 + feeders + stations))
    told = {"rotation_s": 10.0, "min_on_s": 0.0, "min_off_s": 0.0, "grace_s": 0.0} | site_given
    made = World(site(nodes, chargers, groups=(GroupSpec("g", members, **group),), **told), other=0.0)
    made.other[-stations:] = other
    made.run(3.0)
    return made


def test_a_cluster_of_two_feeders_shares_alike_and_passes_on_what_one_cannot_use():
    made = world({"limit_w": 40 * V})
    assert made.run(5.0) == pytest.approx(np.full(4, 10.0), abs=0.3)
    assert set(made.out.reason) == {Reason.GROUP}
    made.plugged[0], made.drawn[0] = False, 0.0
    assert made.run(10.0)[1:] == pytest.approx(np.full(3, 40.0 / 3), abs=0.3)


def test_a_cluster_too_small_for_all_takes_turns_and_keeps_the_sum():
    made = world({"limit_w": 13 * V})
    served, most = np.zeros(4), 0.0
    for _ in range(600):
        served += made.step()
        most = max(most, float(made.drawn.sum()))
    assert most <= 13.0 + 1e-6
    assert served.min() > 0.5 * served.max()


def test_last_in_first_out_curtails_the_last_ones_first_and_their_firm_part_last():
    made = world({"limit_w": 60 * V, "rule": "lifo", "stack": (2, 0, 3, 1)})
    assert made.run(5.0) == pytest.approx([0.0, 32.0, 0.0, 28.0], abs=0.01)
    made = world({"limit_w": 60 * V, "rule": "lifo", "stack": (2, 0, 3, 1), "firm_w": (0, 0, 8 * V, 0)})
    assert made.run(5.0) == pytest.approx([0.0, 32.0, 8.0, 20.0], abs=0.01)


def test_pro_rata_curtails_all_by_the_same_share():
    made = world({"limit_w": 64 * V, "rule": "pro_rata"}, given={"hard_max_a": 16.0})
    assert made.run(5.0) == pytest.approx(np.full(4, 16.0), abs=0.01)
    made.plan.group_limit_w[0] = 32 * V
    made.plan.hard_max_a[0] = 32.0
    allowed = made.run(20.0)
    assert allowed == pytest.approx([12.8, 6.4, 6.4, 6.4], abs=0.3)


def test_a_limit_on_whole_connections_counts_what_else_they_draw():
    made = world({"limit_w": 60 * V, "whole": True}, other=0.0)
    before = made.run(5.0).sum()
    made.other[-4:, 0] = 8.0
    after = made.run(8.0).sum()
    assert before == pytest.approx(60.0, abs=1.0)
    assert after <= 60.0 - 32.0 + 1e-6
    assert after >= 60.0 - 1.1 * 32.0 - 1.0


def test_the_room_of_a_node_bounds_the_group_too():
    made = world({"rule": "lifo", "stack": (0, 1, 2, 3), "node": 0}, given={"phase_map": (0, -1, -1)})
    made.plan.node_limit_w[0] = 40 * V
    assert made.run(20.0) == pytest.approx([32.0, 8.0, 0.0, 0.0], abs=0.3)


def test_export_is_curtailed_by_the_same_rules():
    export = ExportSpec(max_a=16.0, soc_floor=0.1)
    made = world({"export_w": 24 * V, "rule": "lifo", "stack": (0, 1, 2, 3)}, given={"export": export})
    made.inp.wish_a[:], made.inp.charger_soc[:] = -16.0, 0.8
    made.other[:] = 0.0
    for _ in range(120):
        made.step(follow=False)
        made.drawn = made.out.allowed_min_a.copy()
        made.limit = made.drawn.copy()
    assert made.out.allowed_min_a == pytest.approx([-16.0, -8.0, 0.0, 0.0], abs=0.01)


def test_a_station_out_of_reach_holds_its_part_of_the_sum():
    made = world({"limit_w": 40 * V}, given={"failsafe_a": 10.0})
    made.run(5.0)
    made.link[0] = False
    held = made.drawn[0]
    for _ in range(100):
        made.step()
        assert held + made.drawn[1:].sum() <= 40.0 + 1e-6


@pytest.mark.parametrize(
    ("held", "paid"),
    [
        ((0.0, 0.0, 0.0), (4e3, 3e3, 3e3)),  # nobody holds anything: each its share
        ((9e3, 0.0, 0.0), (-5e3, 0.0, 0.0)),  # what the first still holds pays nobody's raise: 1 kW is no floor
        ((6e3, 0.0, 0.0), (-2e3, 3e3, 0.0)),  # of 10 kW 4 are free: the second is raised, 1 kW is no floor again
        ((2e3, 3e3, 3e3), (2e3, 0.0, 0.0)),
    ],
)
def test_a_raise_is_paid_from_what_no_member_holds(held, paid):
    share, held_w, want = np.array([4e3, 3e3, 3e3]), np.array(held), np.full(3, 9e3)
    room, free = np.full((3, 4), np.inf), np.full((3, 4), np.inf)
    bind_group(3, 10e3, np.arange(3), want, np.full(3, 1.4e3), held_w, share, room, free, np.zeros((3, 4), np.int64))
    assert free[:, 3].tolist() == pytest.approx(paid)
    assert room[:, 3].tolist() == share.tolist()
    assert np.maximum(held_w + np.maximum(free[:, 3], 0.0), 0.0).sum() <= max(10e3, held_w.sum()) + 1e-6


@settings(max_examples=25, deadline=None)
@given(
    rule=st.sampled_from(["cluster", "lifo", "pro_rata"]),
    seed=st.integers(0, 1000),
    slow=st.sampled_from([0, 3, 6]),
)
def test_the_sum_is_kept_while_cars_come_go_and_fall_slowly(rule, seed, slow):
    rng = np.random.default_rng(seed)
    group = {"limit_w": 50 * V, "rule": rule, "stack": (3, 1, 2, 0), "firm_w": (0.0, 0.0, 7 * V, 0.0)}
    made = world(group, given={"obey_s": 0.8, "step_a": 0.1})
    made.run(3.0)
    old = [made.drawn.copy()] * (slow + 1)
    for k in range(80):
        if k % 10 == 0:
            made.plugged = rng.random(4) < 0.7
        allowed = made.step(follow=False)
        old = [*old[1:], allowed]
        lagging = np.maximum.reduce(old)  # up at once, down after `slow` scans
        made.drawn = np.where(made.plugged, lagging, 0.0)
        made.limit = allowed
        assert made.drawn.sum() <= 50.0 + 1e-6
        assert np.all((allowed == 0.0) | (allowed >= 6.0 - 1e-9))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([CLUSTER, LIFO, PRO_RATA]),
    st.floats(0, 1e5),
    st.lists(st.tuples(st.floats(0, 3e4), st.floats(1, 7e3), st.floats(0, 5e3)), min_size=1, max_size=8),
)
def test_a_split_keeps_the_sum_the_floors_and_leaves_nothing_that_is_of_use(rule, limit_w, members):
    n = len(members)
    want, floor, firm = (np.array(column) for column in zip(*members, strict=True))
    floor = np.where(want > 0.0, floor, np.inf)
    share, line = np.zeros(n), np.arange(n)
    share_out(rule, n, limit_w, firm, line, want, floor, share)
    assert share.sum() <= limit_w * (1 + 1e-9) + 1e-6
    assert np.all(share <= np.maximum(want, 0.0) + 1e-9)
    assert np.all((share == 0.0) | (share >= floor * (1 - 1e-9)))
    left = limit_w - share.sum()
    served = share > 0.0
    assert not np.any(served & (want - share > 1e-3 * (1.0 + want))) or left <= 1e-3 * (1.0 + limit_w)
    assert not np.any(~served & (want >= floor) & (floor < left - 1e-3 * (1.0 + limit_w)))


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([GroupSpec("g", ())], "one node or more"),
        ([GroupSpec("g", (1, 2), limit_w=-5.0)], "limit_w = -5 W"),
        ([GroupSpec("g", (0, 2))], "not below another member, node 0"),
        ([GroupSpec("g", (1, 2), rule="lifo")], "a place for each member"),
        ([GroupSpec("g", (1,)), GroupSpec("h", (1,))], "member of one group only; it is of g"),
        ([GroupSpec("g", (1, 9))], "nodes 0 to 2"),
        ([GroupSpec("g", (1, 2), firm_w=(1.0,))], "one a member, 2"),
    ],
)
def test_a_group_that_no_plan_can_keep_is_refused(groups, says):
    nodes = [node("root"), node("a", 0), node("b", 0)]
    with pytest.raises(PlanError, match=says):
        build_plan(site(nodes, [charger(0, 1)], groups=tuple(groups)))
