"""What a contract asks proof of: energy over a limit, time to comply, what was not measured, limits by the clock."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controller.runtime.contract_calendar import begins_on
from hil.runs.contract_figures import Kept
from hil.runs.evidence import Limit, Over, Series, averaged, falls, jain, judged, over_limit, percentile_s
from hil.runs.evidence_clock import intervals, periods, window_limits
from profiles.contract import READER

ZONE = ZoneInfo("Europe/Amsterdam")


def series(amps: list[float], step_s: float = 1.0, phases: int = 1) -> Series:
    amp_a = np.zeros((len(amps), 3))
    amp_a[:, :phases] = np.array(amps)[:, None]
    return Series(step_s * np.arange(len(amps)), amp_a, np.full((len(amps), 3), 230.0))


def limit(amps: list[float], **more: float) -> Limit:
    return Limit(np.array(amps, dtype=float), np.full(len(amps), np.inf), **more)


def everywhere(found: Series) -> np.ndarray:
    return np.ones(len(found.t_s), dtype=bool)


def test_energy_over_a_limit_is_the_excess_of_every_phase_in_watts():
    meter = series([20.0, 16.0, 10.0, 10.0], step_s=3600.0, phases=3)
    over = over_limit(meter, limit([10.0] * 4), everywhere(meter))
    assert over.energy_wh == pytest.approx((10.0 + 6.0) * 3 * 230.0)
    assert (over.seconds, over.highest_a, over.missing_s) == (7200.0, 10.0, 0.0)


def test_what_is_within_the_tolerance_is_not_over_and_without_a_limit_nothing_is():
    meter = series([10.4, 40.0, 10.6, 10.0], step_s=60.0)
    over = over_limit(meter, limit([10.0, np.inf, 10.0, 10.0], tolerance_a=0.5), everywhere(meter))
    assert over.seconds == 60.0
    assert over.highest_a == pytest.approx(0.6)


def test_a_limit_in_watts_counts_all_phases():
    meter = series([10.0, 10.0], step_s=3600.0, phases=3)
    cap = Limit(np.full(2, np.inf), np.array([6000.0, 7000.0]))
    assert over_limit(meter, cap, everywhere(meter)).energy_wh == pytest.approx(900.0)


def test_what_nobody_measured_is_missing_and_never_obeyed():
    meter = series([20.0, np.nan, np.nan, np.nan, 5.0, 5.0])
    caps = limit([20.0, 10.0, 10.0, 10.0, 10.0, 10.0])
    assert over_limit(meter, caps, everywhere(meter)).missing_s == 3.0
    assert [fall.took_s for fall in falls(meter, caps, everywhere(meter))] == [3.0]


def test_means_hide_a_peak_that_the_contract_allows_and_a_gap_is_not_a_mean():
    meter = series([20.0] * 450 + [0.0] * 450 + [20.0] + [np.nan] * 899)
    caps = limit([12.0] * 1800, averaging_s=900.0)
    over = over_limit(meter, caps, everywhere(meter))
    assert over.energy_wh == 0.0
    assert over.missing_s == 899.0
    assert averaged(meter, caps).amp_a[0, 0] == pytest.approx(10.0)


def test_a_call_is_judged_by_the_intervals_that_it_fills_and_by_no_others():
    """Intervals of the clock, a run from 16:50 to 18:10, limits from 17:05 to 17:50: two of 900 s are filled."""
    start_s, minutes = local(2026, 1, 13, 16, 50), np.arange(81)
    called = (minutes >= 15) & (minutes < 60)
    meter = series([20.0 if minute < 25 else 9.0 for minute in minutes], step_s=60.0)
    caps = limit(
        np.where(called, 10.0, np.inf).tolist(),
        averaging_s=900.0,
        interval=intervals(start_s + 60.0 * minutes, 900.0, ZONE),
    )
    over = over_limit(meter, caps, everywhere(meter))
    assert (over.seconds, over.unjudged_s, over.missing_s) == (0.0, 15 * 60.0, 0.0)  # 17:05 to 17:15, 17:45 to 17:50
    assert np.flatnonzero(judged(meter, caps) & called)[[0, -1]].tolist() == [25, 54]
    short = limit(np.where(minutes == 30, 0.0, np.inf).tolist(), averaging_s=900.0, interval=caps.interval)
    nothing = over_limit(meter, short, everywhere(meter))
    assert nothing.unjudged_s == 60.0 and np.isnan([nothing.energy_wh, nothing.seconds, nothing.highest_a]).all()
    half = over_limit(series([20.0] * 5, step_s=60.0), limit([6.0] * 5, averaging_s=900.0), np.ones(5, dtype=bool))
    assert half.unjudged_s == 240.0 and np.isnan(half.seconds)  # the run ends before the interval does


def test_averaging_intervals_are_the_local_clocks_and_an_hour_that_comes_twice_is_two():
    begin_s = local(2026, 10, 25, 1, 50)
    found = intervals(begin_s + 600.0 * np.arange(16), 3600.0, ZONE)  # 01:50, 02:00 twice, 03:00, 04:00, to 04:20
    assert np.bincount(found).tolist() == [1, 6, 6, 3]
    assert np.bincount(intervals(begin_s + 600.0 * np.arange(16), 86_400.0, ZONE)).tolist() == [16]
    india = intervals(local(2026, 1, 1, 0, 0) + 600.0 * np.arange(9), 3600.0, ZoneInfo("Asia/Kolkata"))  # from 04:30
    assert np.bincount(india).tolist() == [3, 6]


def test_a_window_of_holidays_only_keeps_its_days_of_the_week():
    window = {"from": "08:00:00", "until": "09:00:00", "limit_a": 6.0, "holidays": "only", "days": ["friday"]}
    held = contract("static_profile", [window], holidays=["2026-12-25", "2026-12-26"])
    times = np.array([local(2026, 12, day, 8, 30) for day in (18, 25, 26)])
    assert window_limits(held, times, ZONE).tolist() == [np.inf, 6.0, np.inf]
    assert [begins_on(held.window[0], date(2026, 12, day), frozenset(held.holidays)) for day in (18, 25, 26)] == [
        False, True, False,
    ]  # fmt: skip


def test_one_dip_of_a_car_is_not_compliance():
    meter = series([20.0, 20.0, 5.0, 20.0, 6.0, 6.0, 6.0])
    assert [fall.took_s for fall in falls(meter, limit([20.0, *[6.0] * 6]), everywhere(meter))] == [3.0]


def test_a_fall_that_is_not_obeyed_before_the_limit_rises_took_for_ever():
    meter = series([20.0] * 6)
    found = falls(meter, limit([20.0, 6.0, 6.0, 20.0, 20.0, 20.0]), everywhere(meter))
    assert [fall.took_s for fall in found] == [np.inf]


def test_falls_are_counted_that_took_longer_than_the_contract_agrees():
    row = Kept("run", "connection", 1, Over(0.0, 0.0, 0.0, 0.0, 0.0), (4.0, 10.0, 10.5, np.inf), 0, 0.0)
    assert row.late(10.0) == 2.0 and np.isnan(row.late(None))


def test_percentiles_are_those_of_a_promise_not_interpolated():
    assert percentile_s([1.0, 2.0, 3.0, np.inf], 0.5) == 2.0
    assert percentile_s([1.0, 2.0, 3.0, np.inf], 0.99) == np.inf
    assert np.isnan(percentile_s([], 0.5))


def test_jain_is_one_when_all_get_alike_and_one_over_n_when_one_gets_all():
    assert jain(np.array([0.5, 0.5, np.nan])) == pytest.approx(1.0)
    assert jain(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)
    assert np.isnan(jain(np.zeros(3)))


def contract(kind: str, windows: list[dict[str, Any]], **more: Any) -> Any:
    head = {"name": "x", "title": "x", "source": "test", "verified": "example"}
    limit_of = {"point": "connection", "phases": "each", "quantity": "A"}
    return READER.validate_python(head | {"kind": kind, "limit": limit_of, "window": windows} | more, strict=False)


def local(*when: int) -> float:
    return datetime(*when, tzinfo=ZONE).timestamp()  # type: ignore[arg-type]


def test_windows_follow_the_clock_on_the_wall_over_both_changes_of_the_year():
    held = contract("static_profile", [{"from": "17:00:00", "until": "20:00:00", "limit_a": 6.0}])
    for day in ((2026, 3, 29), (2026, 10, 25)):
        times = np.array([local(*day, 16, 59), local(*day, 17, 0), local(*day, 19, 59), local(*day, 20, 0)])
        assert window_limits(held, times, ZONE).tolist() == [np.inf, 6.0, 6.0, np.inf]


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins():
    night = {"from": "22:00:00", "until": "06:00:00", "limit_a": 6.0, "days": ["saturday"]}
    held = contract("static_profile", [night])
    times = np.array([local(2026, 1, 17, 23, 0), local(2026, 1, 18, 5, 0), local(2026, 1, 18, 23, 0)])
    assert window_limits(held, times, ZONE).tolist() == [6.0, 6.0, np.inf]


def test_season_dates_and_holidays_bound_a_window():
    held = contract(
        "static_profile",
        [
            {"from": "00:00:00", "until": "00:00:00", "limit_a": 8.0, "season": {"from": "11-01", "until": "02-28"}},
            {"from": "00:00:00", "until": "00:00:00", "limit_a": 6.0, "holidays": "only"},
        ],
        holidays=[date(2026, 5, 5)],
    )
    times = np.array([local(2026, 1, 1, 12), local(2026, 3, 1, 12), local(2026, 12, 1, 12), local(2026, 5, 5, 12)])
    assert window_limits(held, times, ZONE).tolist() == [8.0, np.inf, 8.0, 6.0]


def test_the_highest_of_overlapping_time_blocks_holds_and_outside_them_the_firm_part():
    blocks = [
        {"from": "00:00:00", "until": "06:00:00", "limit_a": 40.0},
        {"from": "05:00:00", "until": "07:00:00", "limit_a": 63.0},
    ]
    held = contract("time_block", blocks, outside_a=10.0)
    times = np.array([local(2026, 1, 5, hour, 30) for hour in (1, 5, 6, 7)])
    assert window_limits(held, times, ZONE).tolist() == [40.0, 63.0, 63.0, 10.0]


def test_periods_are_local_days_and_iso_weeks():
    times = np.array([local(2026, 1, 4, 23, 30), local(2026, 1, 5, 0, 30)])
    assert [name for name, _ in periods(times, ZONE, "day")] == ["2026-01-04", "2026-01-05"]
    assert [name for name, _ in periods(times, ZONE, "week")] == ["2026-W01", "2026-W02"]
    assert periods(times, ZONE, "run")[0][1].all()
    assert datetime.fromtimestamp(times[1], UTC).day == 4
