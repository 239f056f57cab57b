"""A charger that applies more than it was ordered: what it may draw is reserved, and the others make room."""

import numpy as np
import pytest
from lawbench import World, charger, node, site

from controller.law.names import Alarm, Quality, Reason

OBEY_S, HOLD_S = 2.0, 5.0


@pytest.fixture
def pair() -> World:
    """Two chargers at 20 A each under 40 A; the first one is about to be overruled."""
    chargers = [charger(0, name=f"c{k}", phase_map=(0, -1, -1), obey_s=OBEY_S, hold_s=HOLD_S) for k in range(2)]
    world = World(site([node(limit_a=40.0)], chargers), 20.0)
    world.run(10.0)
    assert world.out.allowed_a == pytest.approx([20.0, 20.0])
    return world


def overrule(world: World, limit_a: float, seconds: float, drawn_a: float | None = None) -> None:
    """Let the first charger tell a limit for some time, and draw what it allows unless said."""
    for _ in range(round(seconds / 0.1)):
        world.limit = world.out.allowed_a.copy()
        world.limit[0] = limit_a
        world.drawn = world.out.allowed_a.copy()
        world.drawn[0] = limit_a if drawn_a is None else drawn_a
        world.step(follow=False)


def over(world: World) -> bool:
    return bool(world.out.alarm[0] & Alarm.CHARGER_OVER)


def test_the_other_one_makes_room_before_a_single_amp_is_drawn(pair: World) -> None:
    overrule(pair, 32.0, 6.0, drawn_a=20.0)
    assert over(pair)
    assert pair.out.allowed_a[1] == pytest.approx(8.0, abs=0.1)
    assert pair.out.allowed_a[0] <= 20.0 and pair.out.reserved_a[0] == 32.0
    assert pair.out.node_reserved_a[0, 0] <= 40.1
    overrule(pair, 32.0, 3.0)
    assert pair.out.allowed_a[1] == pytest.approx(8.0, abs=0.1), "drawn amps are not counted twice"


def test_it_is_reserved_for_an_obey_time_after_the_order_was_read_back(pair: World) -> None:
    overrule(pair, 32.0, 5.0)
    pair.run(OBEY_S - 0.2)
    assert over(pair) and pair.out.allowed_a[1] < 9.0
    assert pair.out.allowed_a[0] < 20.0 and pair.out.reason[0] != Reason.WISH
    pair.run(20.0)
    assert not over(pair)
    assert pair.out.allowed_a == pytest.approx([20.0, 20.0], abs=0.3)


def test_a_limit_within_the_slack_of_the_device_says_nothing(pair: World) -> None:
    overrule(pair, 20.2, 5.0)
    assert not over(pair) and pair.out.allowed_a[1] == pytest.approx(20.0)
    pair.plan.limit_slack_a[0] = 1.0  # it tells whole amps and rounds them up
    overrule(pair, 21.0, 5.0)
    assert not over(pair) and pair.out.allowed_a[1] == pytest.approx(20.0)
    overrule(pair, 21.1, 5.0)
    assert over(pair)


def test_a_lower_limit_is_the_devices_own_business(pair: World) -> None:
    overrule(pair, 10.0, 20.0)
    assert not over(pair) and pair.out.allowed_a[1] == pytest.approx(20.0)


def test_nobody_is_raised_because_the_limit_is_not_heard_any_more(pair: World) -> None:
    overrule(pair, 32.0, 5.0)
    held_a = pair.out.allowed_a.copy()
    for _ in range(100):
        pair.sense()
        pair.inp.charger_quality[0] = Quality.BAD
        pair.step(sense=False, follow=False)
    assert over(pair) and (pair.out.allowed_a <= held_a).all() and pair.out.reserved_a[0] == 32.0
    pair.link[0] = False
    pair.step()
    assert pair.out.reserved_a[0] == 32.0  # lost while it was overruled


def test_a_charger_that_tells_no_limit_any_more_is_held_for_a_while(pair: World) -> None:
    overrule(pair, 32.0, 5.0)
    overrule(pair, np.nan, OBEY_S + HOLD_S - 0.3, drawn_a=20.0)
    assert over(pair)
    overrule(pair, np.nan, 1.0, drawn_a=20.0)
    assert not over(pair)
    overrule(pair, np.nan, 20.0, drawn_a=20.0)
    assert pair.out.allowed_a[1] == pytest.approx(20.0, abs=0.3)


def test_more_than_the_ceiling_is_not_reserved_unless_it_is_drawn(pair: World) -> None:
    overrule(pair, 65.5, 5.0, drawn_a=20.0)  # the code for no limit
    assert pair.out.reserved_a[0] == 32.0
    overrule(pair, 65.5, 5.0, drawn_a=36.0)
    assert pair.out.reserved_a[0] == 36.0
