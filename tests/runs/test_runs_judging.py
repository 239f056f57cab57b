"""The promises of a run are made of its rig: a window is promised on the days of its contract only."""

from dataclasses import replace

import pytest

from hil.rig.assembler import assemble
from hil.rig.rigfile import load_rig
from hil.runs.judging import DAY_S, verdict_plan

TUESDAY, WORKING_DAYS = 1, 0b0011111


@pytest.fixture(scope="module")
def street():
    return assemble(load_rig("street"))


def on(assembly, weekday, days):
    """Return the assembly as if its scenario began on another weekday, with windows on `days` (bit 0 Monday)."""
    windows = tuple(replace(window, days=days) for window in assembly.site.windows)
    week_s = assembly.week_s % DAY_S + weekday * DAY_S
    return replace(assembly, site=replace(assembly.site, windows=windows), week_s=week_s)


def test_the_window_of_the_street_is_promised_from_ten_seconds_on(street):
    window = verdict_plan(street, [], 60.0).window
    assert (window.start_s, window.limit_a, len(window.chargers)) == (10.0, 6.0, 8)


@pytest.mark.parametrize(("weekday", "promised"), [(TUESDAY, True), (4, True), (5, False), (6, False)])
def test_a_window_of_working_days_is_not_promised_at_the_weekend(street, weekday, promised):
    plan = verdict_plan(on(street, weekday, WORKING_DAYS), [], 60.0)
    assert (plan.window is not None) is promised


def test_a_window_after_midnight_goes_by_the_day_on_which_it_begins(street):
    late = replace(street, week_s=7 * DAY_S - 5.0)
    windows = tuple(replace(window, from_s=0.0, to_s=3600.0, days=0b0000001) for window in late.site.windows)
    plan = verdict_plan(replace(late, site=replace(late.site, windows=windows)), [], 60.0)
    assert plan.window is not None and plan.window.start_s == 5.0
