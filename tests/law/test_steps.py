"""Each step of the law on a small site: what it decides and how it says so."""

import numpy as np
import pytest
from lawbench import EU_DROOP, INF, UTC_NS, VoltSource, World, charger, node, site

from controller.law import image
from controller.law.names import Alarm, Comfort, Cp, Reason, Trust
from controller.law.voltage import share_at
from controller.runtime.plan import DroopSpec, WindowSpec

QUIET = 16.0  # seconds after which a fresh controller may raise (the obey time)


def one(drawn: float = 10.0, head: dict | None = None, **given) -> World:
    """Return a world of one charger at one node."""
    return World(site([node(**(head or {}))], [charger(**given)]), drawn)


def test_restart_adopts_what_the_charger_applies() -> None:
    world = one(10.0)
    assert world.step() == pytest.approx([10.0])
    assert world.run(14) == pytest.approx([10.0])
    assert world.run(4) == pytest.approx([32.0])
    assert world.out.reason[0] == Reason.HARDWARE


def test_unknown_charger_gets_nothing_and_its_failsafe_is_reserved() -> None:
    world = one(0.0, failsafe_a=6.0)
    world.link[:] = False
    assert world.run(1) == pytest.approx([0.0])
    assert world.out.reserved_a == pytest.approx([6.0])
    assert world.out.charger_trust[0] == Trust.DESIGN


@pytest.mark.parametrize(("wish", "expected"), [(INF, 32.0), (12.0, 12.0), (0.0, 0.0), (4.0, 0.0), (-8.0, 0.0)])
def test_wish(wish: float, expected: float) -> None:
    world = one()
    world.inp.wish_a[:] = wish
    assert world.run(20) == pytest.approx([expected])


def test_unknown_wish_or_override_raises_nothing() -> None:
    for name in ("wish_a", "override_a"):
        world = one()
        getattr(world.inp, name)[:] = np.nan
        assert world.run(20) == pytest.approx([10.0]), name


def test_override_lowers_until_it_ends() -> None:
    world = one()
    world.run(20)
    world.inp.override_a[:] = 8.0
    world.inp.override_until_s[:] = (UTC_NS + world.now_ns) * 1e-9 - 1000 + 30
    assert world.run(1) == pytest.approx([8.0])
    assert world.out.reason[0] == Reason.OVERRIDE
    assert world.run(31) == pytest.approx([32.0])


def test_no_car_is_no_amps_and_a_join_waits_for_nobody() -> None:
    world = one(0.0)
    world.plugged[:] = False
    assert world.run(20) == pytest.approx([0.0])
    assert world.out.reason[0] == Reason.NO_CAR
    world.plugged[:] = True
    assert world.step() == pytest.approx([32.0])


@pytest.mark.parametrize("state", [Cp.E, Cp.F])
def test_a_faulted_car_is_no_amps(state: Cp) -> None:
    world = one()
    world.run(20)
    world.sense()
    world.inp.charger_state[:] = state
    assert world.step(sense=False) == pytest.approx([0.0])
    assert world.out.reason[0] == Reason.NO_CAR


def test_amps_that_a_car_does_not_take_go_to_others() -> None:
    world = World(site([node(limit_a=40.0)], [charger(0), charger(0, name="b")]), 10.0)
    for _ in range(1200):
        world.step(follow=False)
        world.drawn = np.minimum(world.out.allowed_a, [32.0, 8.0])
    assert world.out.allowed_a == pytest.approx([29.0, 11.0])
    assert world.out.reason[1] == Reason.CAR


CURVE = (np.array([0.92, 0.96, 0.96]), np.array([0.2, 1.0, 1.0]))


@pytest.mark.parametrize(("volts", "share"), [(0.5, 0.2), (0.92, 0.2), (0.94, 0.6), (0.96, 1.0), (1.1, 1.0)])
def test_curve_is_level_outside_its_points(volts: float, share: float) -> None:
    assert share_at(volts, *CURVE) == pytest.approx(share)


def test_droop_lowers_at_once_and_waits_for_the_hysteresis() -> None:
    droop = DroopSpec(((0.92, 0.2), (0.96, 1.0)), tau_s=1.0, deadband_pu=0.0, hysteresis_pu=0.01)
    world = one(volt_source=VoltSource.OWN, droop=droop)
    world.run(20)
    world.volts[:] = 0.94 * 230.0
    assert world.run(20) == pytest.approx([0.6 * 32], abs=0.01)
    assert world.out.reason[0] == Reason.VOLTAGE
    assert world.out.volt_pu == pytest.approx([0.94], abs=1e-4)
    world.volts[:] = 0.945 * 230.0
    assert world.run(20) == pytest.approx([0.6 * 32], abs=0.01)
    assert world.out.reason[0] == Reason.HYSTERESIS
    world.volts[:] = 0.96 * 230.0
    assert world.run(20) == pytest.approx([0.8 * 32], abs=0.3)


def test_droop_pauses_and_resumes_with_a_gap() -> None:
    world = World(site([node()], [charger(volt_source=VoltSource.OWN, droop=EU_DROOP)], min_off_s=0.0), 10.0)
    seen = []
    for pu in (0.95, 0.917, 0.910, 0.925, 0.97):
        world.volts[:] = pu * 230.0
        seen.append(float(world.run(60)[0]))
    assert seen[1] == pytest.approx(6.4)
    assert seen[2] == 0.0 and seen[3] == 0.0
    assert seen[4] > 6.0
    assert not world.out.alarm[0] & Alarm.VOLTAGE_LOW


def test_volts_that_vanish_raise_nothing() -> None:
    world = one(volt_source=VoltSource.OWN, droop=EU_DROOP)
    world.volts[:] = 0.94 * 230.0
    before = world.run(60)[0]
    world.volts[:] = np.nan
    after = [world.step()[0] for _ in range(600)]
    assert max(after) <= before
    assert after[-1] == pytest.approx(6.0)  # unknown for longer than hold_s: the floor is left


@pytest.mark.parametrize("drawn", [0.0, 10.0])
def test_volts_that_were_never_known_hold_what_a_restart_found_and_then_leave_the_floor(drawn: float) -> None:
    world = one(drawn, volt_source=VoltSource.OWN, droop=EU_DROOP)  # hold_s 30
    world.volts[:] = np.nan
    held = [world.step()[0] for _ in range(299)]
    assert held == pytest.approx([drawn] * 299)
    assert world.out.reason[0] == Reason.UNTRUSTED
    assert world.run(2) == pytest.approx([6.0])
    assert world.out.reason[0] == Reason.VOLTAGE
    world.volts[:] = 230.0
    assert world.run(60) == pytest.approx([32.0])


def test_restarts_without_volts_draw_no_more_than_one_that_goes_on() -> None:
    world = one(10.0, volt_source=VoltSource.OWN, droop=EU_DROOP)
    world.volts[:] = np.nan
    for _ in range(6):
        assert max(world.step()[0] for _ in range(280)) <= 10.0
        for table, views in (("state", world.state), ("output", world.out)):
            image.reset(table, views)
    assert world.run(31) == pytest.approx([6.0])


@pytest.mark.parametrize(
    ("start", "end", "days", "second", "is_open"),
    [
        (17.0, 20.0, 127, 17 * 3600.0, True),
        (17.0, 20.0, 127, 20 * 3600.0, False),
        (17.0, 20.0, 0b0111111, 18 * 3600.0, False),  # the day is a Sunday
        (22.0, 6.0, 127, 5 * 3600.0, True),
        (22.0, 6.0, 0b0100000, 5 * 3600.0, True),  # began on Saturday
        (22.0, 6.0, 0b1000000, 5 * 3600.0, False),
        (0.0, 24.0, 0b1000000, 3600.0, True),
        (0.0, 1.0, 0b0000001, 86_390.0, True),  # Monday's, issued 20 s early
    ],
)
def test_windows(start: float, end: float, days: int, second: float, is_open: bool) -> None:
    window = WindowSpec(start * 3600, end * 3600, charger=0, limit_a=7.0, days=days, lead_s=20.0)
    world = World(site([node()], [charger()], (window,)), 10.0)
    world.inp.utc_offset_s[0] = second - 57_590.0  # the clock of the bench starts at 15:59:50 UTC
    assert world.step() == pytest.approx([7.0 if is_open else 10.0])
    if is_open:
        assert (world.out.reason[0], world.out.reason_node[0]) == (Reason.WINDOW, 0)


@pytest.mark.parametrize("volts", [200.0, 245.0, 260.0, 300.0])
def test_watts_are_converted_with_the_volts_measured(volts: float) -> None:
    window = WindowSpec(0.0, 86_400.0, charger=0, limit_w=2450.0)
    world = World(site([node()], [charger()], (window,)), 10.0, volts=volts)
    assert world.run(20) == pytest.approx([2450.0 / volts], abs=1e-3)
    world.volts[:] = np.nan
    assert world.run(1) == pytest.approx([2450.0 / max(253.0, volts)], abs=1e-3)  # the last known ones, if more


def test_window_under_the_floor_pauses() -> None:
    world = World(site([node()], [charger()], (WindowSpec(0.0, 86_400.0, charger=0, limit_a=4.0),)), 10.0)
    assert world.step() == pytest.approx([0.0])
    assert (world.out.reason[0], world.out.reason_a[0]) == (Reason.WINDOW, 4.0)


def test_order_of_zero_watts_is_zero() -> None:
    world = one()
    world.run(20)
    world.inp.order_w[:] = 0.0
    assert world.step() == pytest.approx([0.0])
    assert world.out.reason[0] == Reason.ORDER
    assert world.out.node_cap_w[0] == 0.0


def test_order_stays_in_force_when_its_quality_goes_bad_and_ends_on_time() -> None:
    world = one()
    world.run(20)
    world.inp.order_w[:] = 230.0 * 8
    world.inp.order_to_s[:] = (UTC_NS + 60 * 10**9) * 1e-9
    assert world.step() == pytest.approx([8.0], abs=0.01)
    world.inp.order_quality[:] = 2
    world.inp.order_w[:] = np.nan
    assert world.run(20) == pytest.approx([8.0], abs=0.01)
    assert world.run(40) == pytest.approx([32.0])


@pytest.mark.parametrize(("book_w", "amps"), [(230.0 * 8, 8.0), (0.0, 0.0), (-5.0, 0.0), (np.nan, 0.0)])
def test_the_order_book_binds_beside_the_substation_and_the_lower_wins(book_w: float, amps: float) -> None:
    world = one()
    world.inp.order_w[:] = 230.0 * 10
    world.inp.book_w[:] = book_w
    assert world.run(20) == pytest.approx([amps], abs=0.01)
    assert world.out.reason[0] in (Reason.ORDER, Reason.FLOOR, Reason.DWELL)
    world.inp.book_w[:] = np.inf
    assert world.run(400) == pytest.approx([10.0], abs=0.01)


def test_an_ordered_set_point_stands_before_the_planner_and_never_above_a_cap() -> None:
    world = one()
    world.inp.wish_a[:] = 0.0
    world.inp.wish_w[:] = 230.0 * 12
    assert world.run(20) == pytest.approx([12.0], abs=0.01)
    assert world.out.reason[0] == Reason.WISH
    world.inp.wish_w[:] = np.nan
    assert world.run(5) == pytest.approx([12.0], abs=0.01)
    world.inp.wish_w[:] = 230.0 * 30
    world.inp.book_w[:] = 230.0 * 9
    assert world.run(20) == pytest.approx([9.0], abs=0.01)


def test_future_order_is_issued_early_by_the_obey_time() -> None:
    world = one()
    world.inp.order_w[:] = 0.0
    world.inp.order_from_s[:] = (UTC_NS + 40 * 10**9) * 1e-9
    assert world.run(24.9)[0] > 0.0
    assert world.run(0.3) == pytest.approx([0.0])


def test_lost_heartbeat_is_the_failsafe_and_a_heartbeat_alone_does_not_end_it() -> None:
    world = one(head={"failsafe_w": 230.0 * 7, "beat_timeout_s": 5.0})
    for _ in range(200):
        world.inp.order_beat_ns[:] = world.now_ns
        world.step()
    assert world.out.allowed_a == pytest.approx([32.0])
    assert world.run(5.3) == pytest.approx([7.0], abs=0.01)
    assert world.out.alarm[0] & Alarm.ORDER_LOST
    assert world.out.reason[0] == Reason.ORDER_LOST
    world.inp.order_quality[:] = 2
    for _ in range(300):
        world.inp.order_beat_ns[:] = world.now_ns
        world.step()
    assert world.out.allowed_a == pytest.approx([7.0], abs=0.01)
    world.inp.order_quality[:] = 0
    for _ in range(200):
        world.inp.order_beat_ns[:] = world.now_ns
        world.step()
    assert world.out.allowed_a == pytest.approx([32.0])


def test_headroom_is_the_limit_minus_the_uncontrolled_load() -> None:
    world = World(site([node(limit_a=40.0)], [charger(0), charger(0)]), 10.0, other=15.0)
    world.run(20)
    assert world.out.node_other_a[0] == pytest.approx([15, 15, 15])
    assert world.out.allowed_a == pytest.approx([12.5, 12.5])
    assert list(world.out.reason) == [Reason.HEADROOM, Reason.HEADROOM]


def test_rotation_gives_everybody_a_turn() -> None:
    chargers = [charger(0, name=f"c{k}") for k in range(5)]
    world = World(site([node(limit_a=13.0)], chargers, rotation_s=60.0, min_off_s=5.0, min_on_s=5.0), 0.0)
    energy = np.zeros(5)
    for _ in range(60 * 10):
        energy += world.step(1.0)
        assert (world.out.allowed_a > 0).sum() <= 2
    assert energy.min() > 0.5 * energy.max()
    assert Reason.ADMIT in world.out.reason


@pytest.mark.parametrize(
    ("told", "joins", "later"),
    [
        ({}, [10.0, 0.0], [0.0, 10.0]),
        ({"grace_s": 60.0}, [0.0, 10.0], [0.0, 10.0]),
        ({"min_on_s": 500.0}, [10.0, 0.0], [10.0, 0.0]),
    ],
)
def test_grace_lets_a_new_car_run_and_minimum_on_time_one_that_runs(told: dict, joins: list, later: list) -> None:
    """Room for one of two: the second plugs in behind the first; a slot later the rotation gives it its turn."""
    chargers = [charger(0, name=f"c{k}", obey_s=1.0) for k in range(2)]
    site_given = {"grace_s": 0.0, "min_on_s": 0.0, "min_off_s": 0.0, "rotation_s": 100.0} | told
    world = World(site([node(limit_a=10.0)], chargers, **site_given), 0.0)
    world.plugged[1] = False
    world.run(15, 0.5)
    world.plugged[1] = True
    world.inp.session_no[1] = 7
    assert world.run(20, 0.5) == pytest.approx(joins)
    assert world.run(90, 0.5) == pytest.approx(later)


def test_who_was_paused_stays_paused_for_the_minimum_off_time() -> None:
    world = World(site([node()], [charger(obey_s=1.0)], min_off_s=30.0), 10.0)
    world.run(5, 0.5)
    world.inp.wish_a[:] = 0.0
    world.run(5, 0.5)
    world.inp.wish_a[:] = INF
    assert world.run(24.5, 0.5) == pytest.approx([0.0])
    assert world.out.reason[0] == Reason.DWELL
    assert world.run(1, 0.5) == pytest.approx([32.0])


def test_car_that_must_not_be_paused_keeps_its_floor_while_others_make_room() -> None:
    chargers = [charger(0, name="a", priority=5), charger(0, name="b", no_pause=True)]
    world = World(site([node(limit_a=40.0)], chargers), 10.0)
    world.run(20)
    world.other[:] = 33.0
    assert world.run(60) == pytest.approx([0.0, 7.0], abs=0.01)
    world.other[:] = 39.0
    assert world.run(20) == pytest.approx([0.0, 0.0])  # the node beats comfort


def test_guaranteed_energy_and_laxity_go_first() -> None:
    chargers = [charger(0, name=f"c{k}") for k in range(3)]
    world = World(site([node(limit_a=7.0)], chargers, min_on_s=0.0), 0.0)
    world.inp.need_wh[:] = [np.nan, 1000.0, 1000.0]
    world.inp.departure_s[:] = UTC_NS * 1e-9 + np.array([np.nan, 1500.0, 1000.0])
    world.run(17)
    assert list(world.out.allowed_a > 0) == [False, False, True]


def test_coarse_steps_are_rounded_down_and_left_over_steps_handed_out() -> None:
    chargers = [charger(0, name=f"c{k}", step_a=1.0) for k in range(3)]
    world = World(site([node(limit_a=26.0)], chargers), 6.0)
    assert world.run(20) == pytest.approx([9.0, 9.0, 8.0])
    assert world.run(20) == pytest.approx([9.0, 9.0, 8.0])


def test_brake_pauses_on_a_lasting_overload_and_lets_go_slowly() -> None:
    spec = site(
        [node(limit_a=50.0)], [charger()], brake_over=1.2, brake_delay_s=2.0, brake_release_s=20.0, min_off_s=0.0
    )
    world = World(spec, 20.0)
    world.step()
    world.sense()
    for _ in range(25):
        world.sense()
        world.inp.node_a[:] = 70.0
        world.inp.charger_a[:, 0] = 40.0  # the charger takes what it may not: nothing is uncontrolled
        world.step(follow=False, sense=False)
    assert world.out.alarm[0] & Alarm.BRAKE
    assert world.out.allowed_a == pytest.approx([6.0])
    assert world.out.reason[0] == Reason.BRAKE
    world.drawn[:] = 6.0
    assert world.run(19) == pytest.approx([6.0])
    assert world.run(22)[0] > 6.0


def test_ramp_starts_at_the_floor_after_the_random_delay() -> None:
    world = one(0.0, ramp_up_a_per_s=0.5, step_a=1.0, random_delay_s=20.0)
    world.run(QUIET)
    world.inp.wish_a[:] = 0.0
    world.run(1)
    world.state.off_ns[:] = world.now_ns
    world.state.delay_s[:] = 10.0
    world.plan.min_off_s[0] = 0.0
    world.inp.wish_a[:] = INF
    assert world.run(9.8) == pytest.approx([0.0])
    assert world.out.reason[0] == Reason.RAMP
    assert world.run(0.4) == pytest.approx([6.0])
    assert world.run(20)[0] == pytest.approx(16.0, abs=1.0)


def test_raises_within_the_band_are_skipped_and_falls_never() -> None:
    world = World(site([node(limit_a=30.0, tau_s=0.0)], [charger(obey_s=0.0)]), 20.0, other=10.0)
    seen = []
    for other in (10.0, 9.8, 9.6, 9.7):
        world.other[:] = other
        seen.append(float(world.run(20, 0.5)[0]))
    assert seen == pytest.approx([20.0, 20.0, 20.4, 20.3])


@pytest.mark.parametrize(("step_a", "amps"), [(0.001, 10.0), (1.0, 10.0)])
def test_without_a_floor_the_ramp_begins_at_zero(step_a: float, amps: float) -> None:
    world = one(0.0, floor_a=0.0, ramp_up_a_per_s=0.5, step_a=step_a, random_delay_s=20.0)
    world.run(QUIET)
    world.inp.wish_a[:] = 0.0
    world.run(1)
    world.state.off_ns[:] = world.now_ns
    world.state.delay_s[:] = 10.0
    world.plan.min_off_s[0] = 0.0
    world.inp.wish_a[:] = INF
    assert world.run(9.8) == pytest.approx([0.0])
    seen = [float(world.step()[0]) for _ in range(202)]
    assert seen[-1] == pytest.approx(amps, abs=0.06)
    assert max(np.diff([0.0, *seen])) <= max(0.05, step_a) + 1e-9


@pytest.mark.parametrize("floor_a", [0.0, 6.0])
def test_a_car_that_waits_is_left_enough_to_show_that_it_wants_more(floor_a: float) -> None:
    world = one(10.0, floor_a=floor_a)
    for _ in range(1000):
        world.step(follow=False)
        world.drawn[:] = 0.0
    assert world.out.allowed_a == pytest.approx([max(3.0, floor_a)])
    assert world.out.reason[0] == Reason.CAR
    assert world.run(30) == pytest.approx([32.0])


def test_a_charger_that_tells_no_pilot_state_keeps_what_its_car_takes() -> None:
    world = one(10.0)
    seen = []
    for _ in range(3000):
        world.sense()
        world.inp.charger_state[:] = -1
        seen.append(float(world.step(follow=False, sense=False)[0]))
        world.drawn = np.minimum(world.out.allowed_a, 16.0)
    assert seen[1500:] == pytest.approx([19.0] * 1500)


def test_chain_falls_from_step_to_step() -> None:
    window = WindowSpec(0.0, 86_400.0, charger=0, limit_a=20.0)
    world = World(site([node(limit_a=30.0)], [charger(step_a=1.0)], (window,)), 10.0, other=14.5)
    world.run(20)
    chain = world.out.chain[0]
    assert chain[:4].tolist() == [INF, 32.0, 32.0, 20.0]
    assert chain[4] == pytest.approx(15.5)
    assert chain[5:].tolist() == [15.0, 15.0, 15.0]


def test_clock_that_steps_is_an_alarm_and_raises_nothing() -> None:
    world = one()
    world.run(14.8)
    world.now_ns -= 10**9
    world.sense()
    world.step(sense=False)
    assert world.out.alarm[0] & Alarm.CLOCK_STEP
    assert world.out.allowed_a == pytest.approx([10.0])


def test_what_beats_comfort_says_which_rule_it_breaks() -> None:
    """A node limit pauses four cars: each tells its own rule, from the pause until it runs again."""
    rules = [{"no_pause": True}, {}, {}, {}]
    chargers = [charger(0, name=f"c{k}", **given) for k, given in enumerate(rules)]
    world = World(site([node(limit_a=100.0)], chargers, min_on_s=60.0, min_off_s=5.0, grace_s=120.0), 10.0)
    world.inp.need_wh[1] = 2000.0
    world.run(100)  # the minimum on-time is over
    assert (world.out.broken == 0).all()
    world.inp.session_no[2] = 7  # plugged in anew
    world.plugged[3] = False
    world.run(1)
    world.plugged[3] = True
    world.run(20)
    assert (world.out.allowed_a > 0.0).all() and (world.out.broken == 0).all()
    world.inp.order_w[:] = 0.0
    world.step()
    broken = [Comfort.NO_PAUSE, Comfort.ENERGY, Comfort.GRACE, Comfort.MIN_ON]
    assert [Comfort(bits) for bits in world.out.broken] == broken
    assert set(world.out.reason) <= {Reason.ORDER, Reason.FLOOR}
    world.run(200)
    assert [Comfort(bits) for bits in world.out.broken] == broken  # of the pause, not of now
    world.inp.wish_a[0] = 0.0  # its own planner pauses it now
    world.step()
    assert world.out.broken[0] == 0
    world.inp.order_w[:] = INF
    world.run(30)
    assert (world.out.broken == 0).all()


@pytest.mark.parametrize("obey_s", [0.3, 2.0, 15.0, 40.0])
@pytest.mark.parametrize("max_age_s", [0.5, 5.0])
def test_what_was_allowed_is_reserved_for_the_whole_obey_time_and_not_much_longer(
    obey_s: float, max_age_s: float
) -> None:
    """No meter shows it: the car has not begun to draw when its limit is taken back."""
    chargers = [charger(0, name=f"c{k}", obey_s=obey_s, max_age_s=max_age_s) for k in range(3)]
    world = World(site([node(limit_a=200.0)], chargers), 0.0)
    world.inp.wish_a[:] = 6.0
    world.run(obey_s + 2.0)
    world.inp.wish_a[:] = 30.0
    world.step(follow=False)
    assert world.out.allowed_a == pytest.approx([30.0] * 3)
    world.inp.wish_a[:] = 6.0
    width_s = (obey_s + max_age_s) / 15
    for k in range(round((obey_s + 3 * width_s + 0.2) / 0.1)):
        world.step(follow=False)
        if (k + 1) * 0.1 <= obey_s:
            assert (world.out.reserved_a >= 30.0 - 1e-9).all(), k
    assert (world.out.reserved_a <= 6.0 + 1e-9).all()
