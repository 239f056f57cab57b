"""What a station's source stamps say of its clock, with both clocks in the test's hand."""

import math
import re

import pytest

from instruments.opcua_skew import DRIFT_WINDOWS, SkewWatch

S = 1_000_000_000
NOON_NS = 1_768_305_600 * S


def hear(watch: SkewWatch, seconds: float, age_s, begin_s: float = 0.0, step_s: float = 1.0) -> list[str]:
    """Give a stamp each `step_s` whose age is `age_s(t)`; return each text that was news."""
    told = []
    t_s = begin_s
    while t_s < begin_s + seconds:
        at_ns = round(t_s * S)
        if watch.take(NOON_NS + at_ns - round(age_s(t_s) * S), NOON_NS + at_ns, 1000 * S + at_ns):
            told.append(watch.text)
        t_s += step_s
    return told


def test_a_clock_that_agrees_is_not_told_of_however_slow_the_way_is_at_times():
    watch = SkewWatch()
    assert hear(watch, 900.0, lambda t: 0.15 + (3.0 if t % 10 < 5 else 0.0)) == []
    assert math.isnan(watch.skew_s)


def test_a_stamp_from_the_future_tells_at_once_and_a_good_window_takes_it_back():
    watch = SkewWatch()
    [told] = hear(watch, 5.0, lambda t: -1.5 if t >= 3.0 else 0.1)
    assert told.startswith("its stamps are 1.50 s ahead of our clock")
    assert watch.skew_s == pytest.approx(1.5)
    assert hear(watch, 70.0, lambda t: 0.1, begin_s=40.0) == [""]
    assert math.isnan(watch.skew_s)


def test_a_clock_behind_is_told_after_a_window():
    watch = SkewWatch()
    [told] = hear(watch, 40.0, lambda t: 4.0)
    assert told.startswith("its stamps are at least 4.0 s behind our clock")
    assert watch.skew_s == pytest.approx(-4.0)


@pytest.mark.parametrize(("ppm", "word"), [(400.0, "slow"), (-400.0, "fast")])
def test_a_drift_is_told_with_its_rate_before_it_is_a_skew(ppm, word):
    watch = SkewWatch()
    told = hear(watch, 30.0 * (DRIFT_WINDOWS + 2), lambda t: 0.5 + ppm * 1e-6 * t)
    assert len(told) == 1
    found = re.match(rf"its clock runs {word} by (\d+) ppm, 0\.1\d s so far", told[0])
    assert found is not None
    assert float(found[1]) == pytest.approx(abs(ppm), rel=0.01)


def test_a_break_ends_what_was_known_of_the_drift():
    watch = SkewWatch()
    hear(watch, 30.0 * (DRIFT_WINDOWS - 1), lambda t: 0.5 + 4e-4 * t)
    watch.forget()
    assert hear(watch, 30.0 * (DRIFT_WINDOWS - 1), lambda t: 0.5, begin_s=1000.0) == []
