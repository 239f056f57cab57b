"""Histograms, deadlines and the timing image: figures that bind a verdict must be right to the bin."""

import numpy as np
import pytest

from controller.runtime.clock import Deadlines
from controller.runtime.histogram import BINS, EDGES_S, Histogram, bin_of
from controller.runtime.stores import Heartbeat
from controller.runtime.timing import NAME, Timing, read_timing


@pytest.mark.parametrize("duration_ns", [1_000, 1_047, 1_048, 999_999, 1_000_000, 123_456_789, 9_999_999_999])
def test_a_duration_lies_within_the_edges_of_its_bin(duration_ns):
    k = bin_of(duration_ns)
    assert EDGES_S[k] <= duration_ns / 1e9 * (1 + 1e-9)
    assert duration_ns / 1e9 < EDGES_S[k + 1] * (1 + 1e-9)


def test_bins_below_and_above_catch_everything():
    assert bin_of(-5) == 0
    assert bin_of(999) == 0
    assert bin_of(10**13) == BINS - 1
    assert EDGES_S.size == BINS + 1


def test_a_percentile_is_never_below_the_true_one_and_at_most_five_percent_above():
    random = np.random.default_rng(3)
    samples_ns = (10 ** random.uniform(3, 9, 5000)).astype(np.int64)
    histogram = Histogram.empty()
    for sample in samples_ns:
        histogram.add_ns(int(sample))
    for q in (50.0, 99.0, 99.9, 100.0):
        true_s = np.percentile(samples_ns, q, method="inverted_cdf") / 1e9
        assert true_s <= histogram.percentile(q) <= true_s * 1.048
    assert histogram.max_s == samples_ns.max() / 1e9


def test_merge_adds_and_an_empty_histogram_knows_nothing():
    one, two = Histogram.empty(), Histogram.empty()
    assert one.to_dict() == {"count": 0, "p50_us": None, "p99_us": None, "p999_us": None, "max_us": None}
    one.add_ns(2_000)
    two.add_ns(5_000_000)
    one.merge(two)
    assert one.to_dict()["count"] == 2
    assert one.to_dict()["max_us"] == 5000.0
    with pytest.raises(ValueError, match="percent from 0 to 100"):
        one.percentile(100.1)


def test_deadlines_skip_whole_periods_and_keep_their_phase():
    deadlines = Deadlines(period_ns=100, next_ns=1000)
    assert deadlines.advance(1010) == 0
    assert deadlines.next_ns == 1100
    assert deadlines.advance(1350) == 2
    assert deadlines.next_ns == 1400
    assert deadlines.advance(1500) == 1
    assert (deadlines.next_ns, deadlines.skipped) == (1600, 3)


def test_a_miss_with_cpu_time_left_is_the_hosts(site):
    timing = Timing.attach(site.store(NAME), 100_000_000)
    timing.count(wake_ns=50_000, busy_ns=300_000, cpu_ns=200_000, decide_ns=100_000, skipped=0)
    timing.count(wake_ns=150_000_000, busy_ns=300_000, cpu_ns=200_000, decide_ns=100_000, skipped=1)
    timing.count(wake_ns=50_000, busy_ns=140_000_000, cpu_ns=139_000_000, decide_ns=100_000, skipped=1)
    timing.publish(77)
    view = read_timing(site.store(NAME))
    assert (view.scans, view.skipped, view.misses, view.misses_host) == (3, 2, 2, 1)
    figures = view.to_dict()
    assert figures["missed_ratio"] == pytest.approx(4 / 5)
    assert figures["busy"]["max_us"] == 140_000.0
    assert sum(view.bins()["wake"]) == 3
    assert len(view.bins()["edges_us"]) == len(view.bins()["wake"])
    assert Heartbeat(site.store(NAME)).written_ns() == 77


def test_a_heartbeat_of_a_file_that_is_not_there_has_no_age(tmp_path):
    beat = Heartbeat(tmp_path / "later.img")
    assert beat.written_ns() == 0
    assert np.isnan(beat.age_s(5))
