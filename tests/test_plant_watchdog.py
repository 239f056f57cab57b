"""Watchdog families: what re-arms each, when it expires, how it is left."""

import math

import pytest
from plant_driver import Driver, charging


def watched(kind: str, **changes: object) -> Driver:
    """Return a charging driver with a 10 s watchdog and a 6 A fail-safe, fed at its last step."""
    d = Driver(watchdog=kind, failsafe_a=6.0, failsafe_s=10.0, **changes)  # type: ignore[arg-type]
    d.plug_in()
    d.run(15.0, lambda: feed(d, kind))
    assert d.amps == pytest.approx(16.0)
    return d


def feed(d: Driver, kind: str) -> None:
    """Do what keeps this family content."""
    if kind == "any_traffic":
        d.view.touch(d.now_s)
    elif kind == "per_setpoint":
        d.allow(16.0)
    elif kind == "life_bit":
        d.view.set("life_bit", 1.0, d.now_s)
    elif kind == "token":
        d.view.set("token", 0x55AA, d.now_s)


KINDS = ("any_traffic", "per_setpoint", "life_bit", "token")


@pytest.mark.parametrize("kind", KINDS)
def test_expires_into_the_fail_safe_after_its_time(kind):
    d = watched(kind)
    assert d.until(lambda: bool(d.fleet.failsafe_active[0])) == pytest.approx(10.0, abs=0.11)
    assert d.view.get("remaining_valid_s") == 0.0
    d.run(10.0)
    assert d.amps == pytest.approx(6.0)


@pytest.mark.parametrize("kind", KINDS)
def test_feeding_releases_the_last_set_point(kind):
    d = watched(kind)
    d.run(20.0)
    assert d.fleet.applied_a[0] == 6.0
    feed(d, kind)
    assert not d.fleet.failsafe_active[0]
    assert d.view.get("remaining_valid_s") == 10.0
    d.run(5.0)
    assert d.fleet.applied_a[0] == 16.0


@pytest.mark.parametrize(
    ("kind", "useless"),
    [
        ("per_setpoint", lambda d: d.view.touch(d.now_s)),
        ("per_setpoint", lambda d: d.view.set("enable", 1.0, d.now_s)),
        ("life_bit", lambda d: d.view.set("life_bit", 0.0, d.now_s)),
        ("life_bit", lambda d: d.allow(16.0)),
        ("token", lambda d: d.view.set("token", 0x5555, d.now_s)),
        ("token", lambda d: d.view.touch(d.now_s)),
    ],
)
def test_what_does_not_re_arm(kind, useless):
    d = watched(kind)
    d.run(10.5, lambda: useless(d))
    assert d.fleet.failsafe_active[0]


def test_any_traffic_is_fed_by_writes_too():
    d = watched("any_traffic")
    d.run(20.0, lambda: d.view.set("enable", 1.0, d.now_s))
    assert not d.fleet.failsafe_active[0]


def test_remaining_time_counts_down_from_a_feed_between_steps():
    d = watched("any_traffic")
    d.view.touch(d.now_s + 0.05)
    d.run(4.0)
    assert d.fleet.failsafe_remaining_s[0] == pytest.approx(6.05)


def test_zero_switches_it_off():
    d = watched("any_traffic")
    d.view.set("failsafe_s", 0.0, d.now_s)
    d.run(60.0)
    assert not d.fleet.failsafe_active[0]
    assert d.fleet.failsafe_remaining_s[0] == math.inf
    assert d.amps == pytest.approx(16.0)


def test_none_never_expires():
    d = charging()
    d.run(600.0)
    assert d.amps == pytest.approx(16.0)
    assert d.view.get("remaining_valid_s") == math.inf


def test_zero_fail_safe_pauses():
    d = watched("any_traffic")
    d.view.set("failsafe_a", 0.0, d.now_s)
    d.run(20.0)
    assert d.amps == 0.0


def test_per_set_point_boots_into_its_fail_safe_until_written():
    d = Driver(watchdog="per_setpoint", failsafe_a=6.0, failsafe_s=60.0, boot_limit_a=6.0)
    d.plug_in()
    d.run(10.0)
    assert d.fleet.failsafe_active[0]
    assert d.amps == pytest.approx(6.0)
    d.allow(16.0)
    d.run(10.0)
    assert d.amps == pytest.approx(16.0)


def test_a_fail_safe_of_full_power_is_possible_as_a_fault():
    d = watched("per_setpoint")
    d.view.set("failsafe_a", 32.0, d.now_s)
    d.allow(0.0)
    d.run(25.0)
    assert d.amps == pytest.approx(32.0)
