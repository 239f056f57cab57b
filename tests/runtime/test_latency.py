"""`voltbench latency`: the shape that other tools read, and figures that follow from what was measured."""

import json
import math

import pytest

from controller.runtime import latency
from controller.runtime.histogram import Histogram


def histogram(*microseconds):
    made = Histogram.empty()
    for value in microseconds:
        made.add_ns(round(value * 1e3))
    return made


@pytest.mark.parametrize(("n", "middles", "leaves"), [(50, 1, 1), (100, 1, 2), (1_000, 1, 20), (10_000, 4, 200)])
def test_the_tree_has_three_levels_of_fifty(n, middles, leaves):
    parent, node = latency.tree(n)
    assert parent.size == 1 + middles + leaves
    assert parent[0] == -1
    assert all(parent[m] < m for m in range(1, parent.size))
    assert node.min() == 1 + middles
    assert node.max() == parent.size - 1


def test_the_loads_of_the_synthetic_site_add_up_to_the_root():
    dims, plan, buffers = latency.synthetic(200)
    inp = latency.image.views("input", dims, buffers[0])
    assert math.isclose(inp.node_a[0].sum() - 3.0, inp.charger_a[:, 0].sum())
    assert len(buffers) == latency.VARIANTS
    assert (plan.node_limit_a[0] < 32.0 * 200).all()


def test_a_period_is_honest_when_its_half_holds_the_worst_of_all_three():
    wake, decided, copied = histogram(100, 1_900), histogram(500), histogram(50)
    assert latency.honest_period_ms(wake, decided, copied) == 5
    assert latency.honest_period_ms(wake, histogram(700_000), copied) is None


def test_the_figures_are_nested_by_size_and_plain_json(decide):
    figures = latency.measure(0.4, sizes=(100, 1_000), decide=decide)
    again = json.loads(json.dumps(figures))
    for name in ("decide", "copy"):
        assert list(again[name]) == ["100", "1000"]
        for row in again[name].values():
            assert 0 < row["p50_us"] <= row["p99_us"] <= row["p999_us"] <= row["max_us"] + 0.1
    assert {"p50_us", "p99_us", "p999_us", "max_us"} <= set(again["wake"])
    assert again["honest_period_ms"] == again["honest_period_ms_by_n"]["1000"]
    assert again["tcp"]["count"] > 10
    assert 0 < again["wake"]["count"] <= sum(row["count"] for row in again["decide"].values())


def test_a_size_that_would_take_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr(latency, "TOTAL_S", 2.0)

    def slow(inp, plan, state, out):
        until_ns = latency.time.perf_counter_ns() + 30_000 * inp.override_a.size
        while latency.time.perf_counter_ns() < until_ns:
            pass

    figures = latency.measure(0.1, sizes=(100, 10_000), decide=slow)
    assert list(figures["decide"]) == ["100"]
    assert figures["decide"]["100"]["p50_us"] >= 3_000
    assert list(figures["honest_period_ms_by_n"]) == ["100"]


def test_a_time_that_is_none_is_refused(decide):
    with pytest.raises(ValueError, match="above 0 s"):
        latency.measure(0.0, decide=decide)
