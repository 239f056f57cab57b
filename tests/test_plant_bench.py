"""The wire of the bench and the temperature of the transformer."""

import math

import numpy as np
import pytest

from hil.plant.bench import flow
from hil.plant.transformer import Transformer, TransformerSpec

U = np.array([230.0, 228.0, 226.0])
CLOSED = {"source_on": True, "contactor": True, "load_on": True, "load_set_a": 16.0}


@pytest.mark.parametrize("open_switch", ["source_on", "contactor", "load_on"])
def test_any_open_switch_stops_the_current(open_switch):
    assert flow(U, **{**CLOSED, open_switch: False}).amp_a.tolist() == [0.0, 0.0, 0.0]


def test_load_sees_the_source_only_through_a_closed_contactor():
    assert flow(U, **{**CLOSED, "contactor": False}).load_v.tolist() == [0.0, 0.0, 0.0]
    assert flow(U, **{**CLOSED, "load_on": False}).load_v.tolist() == U.tolist()


def test_constant_current_is_what_it_is_set_to():
    result = flow(U, **{**CLOSED, "load_set_a": 200.0})
    assert result.amp_a.tolist() == [200.0] * 3  # nobody limits it silently
    assert result.load_v.tolist() == U.tolist()
    assert not result.collapsed


def test_only_used_phases_with_enough_volts_draw():
    assert flow(U, **CLOSED, phases=1).amp_a.tolist() == [16.0, 0.0, 0.0]
    assert flow(U, **CLOSED, load_min_v=227.0).amp_a.tolist() == [16.0, 16.0, 0.0]
    assert flow(np.zeros(3), **CLOSED).amp_a.tolist() == [0.0, 0.0, 0.0]


def test_wire_drops_volts_and_a_collapse_is_told():
    result = flow(U, **CLOSED, wire_ohm=0.1)
    assert result.load_v == pytest.approx(U - 1.6)
    weak = flow(U, **CLOSED, wire_ohm=20.0, load_min_v=10.0)
    assert weak.collapsed
    assert weak.amp_a == pytest.approx((U - 10.0) / 20.0)
    assert np.all(weak.amp_a < 16.0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"load_set_a": -1.0}, "load: -1.0 A: allowed finite, 0 or more"),
        ({"load_set_a": math.nan}, "load: nan A"),
        ({"wire_ohm": math.inf}, "wire: inf ohm"),
        ({"phases": 0}, "allowed 1, 2 or 3"),
    ],
)
def test_impossible_settings_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        flow(U, **{**CLOSED, **change})


@pytest.mark.parametrize("volts", [[230.0, math.nan, 230.0], [-1.0, 0.0, 0.0], [230.0]])
def test_impossible_volts_are_refused(volts):
    with pytest.raises(ValueError, match="bench source"):
        flow(np.array(volts), **CLOSED)


def test_rated_load_settles_at_the_sum_of_the_rated_rises():
    assert Transformer().step(1.0, 20.0, 60.0) == pytest.approx(20.0 + 55.0 + 23.0)


def test_no_load_leaves_the_no_load_losses():
    assert Transformer().step(0.0, 20.0, 60.0) == pytest.approx(20.0 + 55.0 * (1 / 6) ** 0.8)


def test_winding_is_fast_and_oil_is_slow():
    t = Transformer()
    t.step(0.0, 20.0, 1.0)
    before_c = t.top_oil_c
    for _ in range(240):
        t.step(1.0, 20.0, 1.0)
    assert t.hot_spot_c - t.top_oil_c == pytest.approx(23.0 * (1 - math.exp(-1)), rel=1e-9)
    oil_k, _ = t.settled_rise_k(1.0)
    assert t.top_oil_c - before_c == pytest.approx((oil_k - (before_c - 20.0)) * (1 - math.exp(-4 / 180)), rel=1e-9)


def test_one_long_step_equals_many_short_ones():
    one, many = Transformer(), Transformer()
    one.step(0.3, 15.0, 1.0)
    many.step(0.3, 15.0, 1.0)
    one.step(1.2, 15.0, 3600.0)
    for _ in range(3600):
        many.step(1.2, 15.0, 1.0)
    assert one.hot_spot_c == pytest.approx(many.hot_spot_c, abs=1e-9)


def test_unknown_load_is_refused():
    with pytest.raises(ValueError, match="load nan pu"):
        Transformer().step(math.nan, 20.0, 1.0)
    with pytest.raises(ValueError, match="oil_tau_s"):
        TransformerSpec(oil_tau_s=0.0)
