"""The brake on a lost substation, and that it lets go."""

import numpy as np
import pytest
from lawbench import World, charger, node, site

from controller.law.names import Alarm, Reason


def street(**given) -> World:
    """Return four chargers below an unmetered node below a metered one, drawing 20 A each."""
    nodes = [node("head", limit_a=200.0), node("branch", 0, metered=False, design_a=0.0)]
    chargers = [charger(0, at=1, name=f"c{k}") for k in range(4)]
    world = World(site(nodes, chargers, brake_delay_s=2.0, brake_release_s=20.0, min_off_s=0.0, **given), 20.0)
    world.run(20)
    return world


def test_lost_substation_brakes_after_its_own_delay() -> None:
    world = street(brake_lost_s=10.0)
    before = world.out.allowed_a.copy()
    world.node_fresh[0] = False
    assert (world.run(9.5) == before).all()
    assert not world.out.alarm[0] & Alarm.BRAKE
    while not world.out.alarm[0] & Alarm.BRAKE and world.scan < 320:
        world.step()
    assert world.out.allowed_a == pytest.approx([6.0] * 4)
    assert set(world.out.reason) == {Reason.BRAKE}
    assert 300 <= world.scan <= 302
    assert world.run(60) == pytest.approx([6.0] * 4)  # the floor stays: nothing is known to be over


def test_lost_substation_is_ridden_through_without_the_parameter() -> None:
    world = street()
    before = world.out.allowed_a.copy()
    world.node_fresh[0] = False
    assert (world.run(25) <= before).all()
    assert not world.out.alarm[0] & Alarm.BRAKE


def test_release_is_slow_and_staggered_once_the_substation_is_back() -> None:
    world = street(brake_lost_s=5.0)
    world.node_fresh[0] = False
    world.run(10)
    world.node_fresh[0] = True
    assert world.run(19.5) == pytest.approx([6.0] * 4)
    free_at = np.full(4, np.nan)
    for k in range(400):
        allowed = world.step()
        free_at[(allowed > 6.5) & np.isnan(free_at)] = k * 0.1
    assert (np.diff(free_at) > 3.0).all()
    assert free_at[-1] < 21.0


def test_substation_that_was_never_heard_is_lost_too() -> None:
    world = World(site([node("head", limit_a=200.0)], [charger(0)], brake_lost_s=5.0), 20.0)
    world.node_fresh[:] = False
    assert world.run(4.5) == pytest.approx([20.0])
    assert world.run(1) == pytest.approx([6.0])


def test_unmetered_node_is_freed_with_the_node_above() -> None:
    world = street(brake_over=1.1)
    for _ in range(30):
        world.sense()
        world.inp.node_a[0] = 240.0
        world.inp.charger_a[:, 0] = 60.0  # they take what they may not: nothing is uncontrolled
        world.step(follow=False, sense=False)
    assert world.out.allowed_a == pytest.approx([6.0] * 4)
    world.drawn[:] = 6.0
    assert (world.run(90) > 6.5).all()


def scan(world: World, volts: float | None = None, node_a: float | None = None) -> float:
    """Let a scan of 0.5 s pass in which the car draws what it may not; return what is allowed."""
    world.volts[:] = 230.0 if volts is None else volts
    world.sense()
    if node_a is not None:
        world.inp.node_a[:] = node_a
        world.inp.charger_a[:, 0] = 40.0
    return float(world.step(0.5, sense=False)[0])


@pytest.mark.parametrize("given", [{"volts": 190.0}, {"node_a": 70.0}])
def test_brake_pauses_who_is_still_over_an_obey_time_after_the_floor(given: dict) -> None:
    """Delay 2 s to the floor; another 2 s and the obey time of 3 s to nothing; let go after 20 s."""
    told = {"brake_pu": 0.85, "brake_over": 1.2, "brake_delay_s": 2.0, "brake_release_s": 20.0}
    world = World(site([node(limit_a=50.0)], [charger(obey_s=3.0)], min_off_s=0.0, **told), 20.0)
    for _ in range(40):
        scan(world)
    seen = [scan(world, **given) for _ in range(30)]
    assert [seen.index(6.0), seen.index(0.0)] == [4, 14]
    assert set(seen[14:]) == {0.0}
    after = [scan(world) for _ in range(60)]
    assert after[:40] == [0.0] * 40
    assert after[-1] > 0.0


def test_volts_that_are_unknown_do_not_let_the_brake_go() -> None:
    world = World(site([node()], [charger()], brake_pu=0.85, brake_delay_s=2.0, brake_release_s=5.0), 20.0)
    for _ in range(40):
        scan(world)
    for _ in range(6):
        scan(world, volts=190.0)
    assert world.out.allowed_a == pytest.approx([6.0])
    world.link[:] = False
    assert max(scan(world) for _ in range(60)) == 6.0
    assert world.out.alarm[0] & Alarm.BRAKE
