"""Limits handed in for a node: the interval in force, the fall-back without one, nothing lifted by silence."""

import math

import pytest
from lawbench import START_NS, UTC_NS, World, charger, node, site

from controller.law.names import Alarm, Reason
from controller.runtime.plan import PlanError, build_plan

S = 1_000_000_000
NAN, INF = math.nan, math.inf


def world(**given):
    told = {"doe_max_age_s": 30.0, "subscribed_w": 2300.0, "subscribed_export_w": 230.0} | given
    made = World(site([node(limit_a=63.0, tau_s=0.1, **told)], [charger(obey_s=0.5, max_age_s=0.5)], min_off_s=0.0))
    made.run(5.0)
    return made


def hand_in(made, watts, to_s=NAN, export_w=INF):
    made.inp.doe_w[0], made.inp.doe_export_w[0] = watts, export_w
    made.inp.doe_to_s[0], made.inp.doe_ns[0] = to_s, made.now_ns


def utc_s(made):
    return (UTC_NS + made.now_ns - START_NS) / S


def test_without_one_the_subscribed_capacity_holds_and_with_one_that():
    made = world()
    assert made.run(1.0)[0] == pytest.approx(10.0)
    assert made.out.alarm[0] & Alarm.ORDER_LOST
    hand_in(made, 4600.0, utc_s(made) + 900.0)
    assert made.run(5.0)[0] == pytest.approx(20.0)
    assert not made.out.alarm[0] & Alarm.ORDER_LOST
    assert (made.out.reason[0], made.out.node_cap_w[0]) == (Reason.ORDER, 4600.0)


def test_when_its_interval_is_over_the_subscribed_capacity_holds_again():
    made = world()
    for watts, after_a in ((0.0, 10.0), (4600.0, 10.0)):
        hand_in(made, watts, utc_s(made) + 8.0)
        assert made.run(6.0)[0] == pytest.approx(watts / 230.0)
        assert made.run(6.0)[0] == pytest.approx(after_a)


@pytest.mark.parametrize(("watts", "left_a"), [(1610.0, 7.0), (4600.0, 10.0), (0.0, 0.0)])
def test_one_that_is_not_renewed_is_lost_and_that_lifts_nothing(watts, left_a):
    made = world()
    hand_in(made, watts)
    made.run(5.0)
    made.inp.doe_w[0] = 9e9  # nobody renewed it: the number is not news
    assert made.run(40.0, 0.5)[0] == pytest.approx(left_a)


@pytest.mark.parametrize("garbage", [NAN, -5000.0])
def test_a_number_that_is_none_lifts_nothing(garbage):
    made = world()
    hand_in(made, 1610.0)
    made.run(3.0)
    hand_in(made, garbage)
    assert made.run(3.0)[0] <= 7.0 + 1e-9


def test_a_renewal_from_the_future_of_our_clock_is_not_believed():
    made = world()
    hand_in(made, 7360.0)
    made.inp.doe_ns[0] += 3600 * S
    assert made.run(3.0)[0] == pytest.approx(10.0)


def test_export_has_a_limit_of_its_own():
    made = world()
    made.step()
    assert made.state.node_back_cap[0, 3] == 230.0
    hand_in(made, 1e4, export_w=1000.0)
    made.step()
    assert made.state.node_back_cap[0, 3] == 1000.0


def test_a_node_that_is_handed_none_is_free_of_it():
    made = world(doe_max_age_s=INF)
    assert made.run(1.0)[0] == pytest.approx(32.0)


def test_a_wrong_declaration_is_refused():
    with pytest.raises(PlanError, match=r"subscribed_w = -1 W"):
        build_plan(site([node(subscribed_w=-1.0)], [charger()]))
