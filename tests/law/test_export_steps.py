"""Export passes through every step of import: ramp, raise band, balance of the phases, left-over steps, lost limits."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lawbench import INF, World, charger, node, site
from test_balance import below, gaps, spread
from test_export import HOSTILE, ODD, Cars

from controller.law.names import Reason
from controller.runtime.plan import ExportSpec, SiteSpec

SMALL = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def exporters(phases: tuple[int, ...], head: dict | None = None, **of: float) -> Cars:
    """Return chargers on one phase each that are asked for 16 A of export, below one node."""
    cars = [charger(k, phase_map=(p, -1, -1), export=ExportSpec(16.0), **of) for k, p in enumerate(phases)]
    world = Cars(site([node(**(head or {}))], cars), 0.0)
    world.inp.wish_a[:] = -16.0
    return world


def test_an_export_rises_by_the_ramp_and_gives_way_at_once() -> None:
    world = exporters((0,), ramp_up_a_per_s=0.5)
    world.run(20)  # the load is proven
    begun = -world.out.allowed_min_a[0]
    assert -world.run(10)[0] == pytest.approx(min(begun + 5.0, 16.0), abs=0.01)
    assert world.out.export_reason[0] == Reason.RAMP
    world.inp.wish_a[:] = -3.0
    assert world.step() == pytest.approx([-3.0])
    world.inp.wish_a[:] = -16.0
    assert world.run(2)[0] == pytest.approx(-4.0, abs=0.06)


def test_a_slow_ramp_climbs_the_steps_of_a_coarse_device() -> None:
    world = exporters((0,), ramp_up_a_per_s=0.2, step_a=1.0)
    seen = {float(-world.step()[0]) for _ in range(1500)}
    assert seen == set(map(float, range(17)))


def test_a_small_rise_is_skipped_and_a_small_fall_is_not() -> None:
    world = exporters((0,))
    world.inp.wish_a[:] = -8.0
    world.run(30)
    seen = []
    for wish in (-8.2, -7.9, -8.1, -8.2):
        world.inp.wish_a[:] = wish
        seen.append(float(world.run(20)[0]))
    assert seen == pytest.approx([-8.0, -7.9, -7.9, -8.2], abs=1e-9)


def test_an_exempt_service_waits_for_no_ramp() -> None:
    world = exporters((0,), ramp_up_a_per_s=0.1, wish_exempt=True)
    assert world.run(17) == pytest.approx([-16.0])


@settings(SMALL, max_examples=6)
@given(st.floats(0.2, 3.0), st.sampled_from([0.001, 0.1, 1.0]), st.integers(0, 2**32))
def test_both_directions_rise_alike(ramp_a_per_s: float, step_a: float, seed: int) -> None:
    """The same set-points with the other sign, scan by scan."""
    rng = np.random.default_rng(seed)
    rows = {"ramp_up_a_per_s": ramp_a_per_s, "step_a": step_a, "floor_a": 2.0, "hard_max_a": 16.0, "obey_s": 0.0}
    up = World(site([node()], [charger(**rows)], min_off_s=0.0), 0.0)
    down = Cars(site([node()], [charger(export=ExportSpec(16.0, min_a=2.0), **rows)]), 0.0)
    up.plan.car_shrink_s[:] = 1e6
    for world in (up, down):
        world.inp.wish_a[:] = 0.0
        world.run(8)
    for k in range(120):
        if k % 20 == 0:
            wish_a = float(rng.choice([0.0, 3.0, 6.1, 6.2, 12.0, 16.0]))
            up.inp.wish_a[:], down.inp.wish_a[:] = wish_a, -wish_a
        assert down.step() == pytest.approx(-up.step(), abs=1e-9), k


def test_left_over_steps_of_exports_are_handed_out_and_do_not_wander() -> None:
    world = exporters((0, 0, 0), {"export_a": 11.0}, step_a=1.0)
    rest = world.run(60)
    assert sorted(rest) == [-4.0, -4.0, -3.0]
    for _ in range(50):
        assert world.step() == pytest.approx(rest, abs=0.0)


def test_exports_keep_the_phases_alike() -> None:
    world = exporters((0, 0, 1), {"unbalance_a": 20.0})
    world.plugged[2] = False
    world.drawn[2] = 0.0
    world.run(60)
    assert world.out.allowed_min_a == pytest.approx([-10.0, -10.0, 0.0], abs=0.01)
    assert list(world.out.export_reason[:2]) == [Reason.UNBALANCE] * 2
    world.plugged[2] = True
    world.run(60)
    assert world.out.allowed_min_a == pytest.approx([-10.0, -10.0, -16.0], abs=0.01)  # phase c is still empty
    world.other[:] = [[0.0, 0.0, -15.0]]  # a roof on phase c
    world.run(60)
    assert world.out.allowed_min_a == pytest.approx([-16.0, -16.0, -16.0], abs=0.3)


def test_an_export_on_one_phase_and_an_import_on_another_count_against_the_same_limit() -> None:
    cars = [charger(0), charger(1, export=ExportSpec(16.0))]
    world = Cars(site([node(unbalance_a=20.0)], cars), np.array([6.0, 0.0]))
    world.inp.wish_a[:] = [INF, -16.0]
    for _ in range(900):
        world.step()
        assert world.drawn[0] - world.drawn[1] <= 20.0 + 1e-6
    assert world.drawn[0] - world.drawn[1] == pytest.approx(20.0, abs=0.3)


@pytest.mark.parametrize("lost", ["limit", "heartbeat"])
def test_an_export_ends_where_its_limit_is_lost(lost: str) -> None:
    world = exporters((0, 1), {"beat_timeout_s": 5.0, "failsafe_export_w": 0.0})
    for k in range(600):
        world.sense()
        if k < 300 or lost == "limit":
            world.inp.order_beat_ns[:] = world.now_ns
        if k >= 300 and lost == "limit":
            world.plan.node_export_a[0, 0] = np.nan
        world.step(sense=False)
        if k == 299:
            assert world.out.allowed_min_a == pytest.approx([-16.0, -16.0])
    assert world.out.allowed_min_a[0] == 0.0
    assert world.out.allowed_min_a[1] == (0.0 if lost == "heartbeat" else -16.0)


def both_ways(rng: np.random.Generator) -> SiteSpec:
    """Return a random tree with limits of export and unbalance, and chargers for either direction."""
    m, n = int(rng.integers(1, 4)), int(rng.integers(2, 8))
    nodes = [
        node(
            f"n{k}",
            -1 if k == 0 else int(rng.integers(0, k)),
            limit_a=float(rng.choice([20.0, 60.0])),
            export_a=float(rng.choice([6.0, 20.0, INF])),
            unbalance_a=float(rng.choice([6.0, 20.0, INF])),
            metered=bool(rng.random() < 0.8),
        )
        for k in range(m)
    ]
    cars = [
        charger(
            k,
            at=int(rng.integers(m)),
            phase_map=(1, 2, 0) if rng.random() < 0.3 else (int(rng.integers(3)), -1, -1),
            export=ExportSpec(16.0, min_a=float(rng.choice([0.0, 5.0]))),
            step_a=float(rng.choice([0.001, 1.0])),
            ramp_up_a_per_s=float(rng.choice([1.0, INF])),
            weight=float(rng.choice([1.0, 2.0])),
            obey_s=float(rng.choice([0.0, 3.0])),
        )
        for k in range(n)
    ]
    return site(nodes, cars, min_off_s=2.0, rotation_s=5.0)


@settings(SMALL, max_examples=30)
@given(st.integers(0, 2**32))
def test_ramp_node_and_balance_hold_after_every_decision_whatever_the_inputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = Cars(both_ways(rng), 0.0, other=3.0)
    n, m = world.dims.n, world.dims.m
    plan, before = world.plan, np.zeros(n)
    for k in range(40):
        if k % 8 == 0:
            world.inp.wish_a[:] = rng.choice([-16.0, -6.0, 0.0, 8.0, INF], n)
        world.link = rng.random(n) < 0.95
        world.node_fresh = rng.random(m) < 0.9
        world.other = rng.uniform(-5, 15, (m, 3))
        world.sense()
        for name in HOSTILE:
            array = getattr(world.inp, name)
            hit = rng.random(array.shape) < 0.02
            array[hit] = rng.choice(ODD, array.shape)[hit]
        dt_s = float(rng.choice([0.1, 1.0]))
        low = world.step(dt_s, sense=False)
        risen = before - low
        stride = np.where(
            np.isinf(plan.ramp_up_a_per_s), INF, np.minimum(plan.ramp_up_a_per_s, 1e9) * world.state.dt_s[0]
        )
        most = np.maximum(stride, np.maximum(plan.step_a, plan.export_min_a))
        assert (risen <= most + 1e-6).all(), (seed, k)
        on_grid = np.abs(low / plan.step_a - np.round(low / plan.step_a)) < 1e-6
        assert on_grid.all()
        if world.state.pair_on[0]:
            amps = (world.out.allowed_a + low) * (world.state.linked == 1)
            here = below(plan.parent, plan.charger_node, world.state.pair_uses * amps[:, None])
            assert (spread(here) <= gaps(plan.node_unbalance_a, world.out.node_other_a) + 1e-6).all(), (seed, k)
        before = low
