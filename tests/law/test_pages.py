"""A plan that nobody can write is read from pages and looked at once; the results are those of any other plan."""

from typing import Any

import numpy as np
import pytest

from controller.law import decide as law
from controller.law import image
from controller.law.kernel import COMPILED, bind
from controller.law.names import VoltSource
from controller.law.pages import frozen, paged
from controller.law.voltage import read_curves, share_at
from controller.runtime.latency import stamp, synthetic

CHARGERS, NODES = 1_200, 30


def mixed_site(seed: int, frozen_plan: bool) -> tuple[image.Dims, Any]:
    """Return sizes and PLAN of chargers of several models: alike in some blocks, each of its own in others."""
    rng = np.random.default_rng(seed)
    dims = image.Dims(CHARGERS, NODES)
    buffer, plan = image.allocate("plan", dims)
    plan.parent[1:] = rng.integers(0, np.arange(1, NODES))
    plan.charger_node[:] = rng.integers(0, NODES, CHARGERS)
    plan.node_limit_a[:] = rng.choice([200.0, 600.0, 2_000.0], (NODES, 3))
    plan.phase_map[:, 0] = rng.integers(0, 3, CHARGERS)
    plan.phase_map[700:, :] = (0, 1, 2)
    plan.switch_phases[1_100:] = 1
    plan.volt_source[:] = VoltSource.OWN
    plan.droop_pu[:], plan.droop_share[:] = (0.90, 0.92, 0.95, 0.97), (0.2, 0.4, 0.8, 1.0)
    plan.export_max_a[900:] = 10.0
    for name in ("hard_max_a", "floor_a", "step_a", "obey_s", "max_age_s", "weight", "droop_tau_s"):
        array = getattr(plan, name)
        block = int(rng.integers(0, 3)) * law.BLOCK
        part = array[block : block + law.BLOCK]
        part *= rng.uniform(0.8, 1.0, part.size)
    plan.droop_pu[law.BLOCK :, 3] += rng.uniform(0.0, 0.01, CHARGERS - law.BLOCK)
    buffer.flags.writeable = not frozen_plan
    return dims, image.views("plan", dims, buffer)


def scans(seed: int, frozen_plan: bool) -> Any:
    """Yield STATE and OUTPUT of each scan of a random run, with the law's own image objects."""
    dims, plan = mixed_site(seed, frozen_plan)
    (_, inp), (_, state), (_, out) = (image.allocate(table, dims) for table in ("input", "state", "output"))
    rng = np.random.default_rng(seed + 1)
    inp.charger_quality[:], inp.charger_state[:] = 0, 2
    inp.node_v_quality[:], inp.node_a_quality[:] = 0, 0
    inp.charger_soc[:] = 0.8
    for scan in range(25):
        stamp(inp, scan, out.allowed_a)
        inp.charger_link[:] = rng.random(CHARGERS) < 0.99
        drawn = out.allowed_a * rng.uniform(0.7, 1.0, CHARGERS)
        inp.charger_a[:] = np.where(plan.phase_map >= 0, drawn[:, None], np.nan)
        inp.charger_v[:] = np.where(plan.phase_map >= 0, rng.normal(218, 4, (CHARGERS, 3)), np.nan)
        inp.wish_a[:] = rng.choice([np.inf, np.inf, np.inf, 9.0, -8.0], CHARGERS)
        inp.wish_w[:] = rng.choice([np.inf] * 9 + [5_000.0], CHARGERS) if scan % 3 == 0 else np.inf
        inp.session_no[:] += rng.random(CHARGERS) < 0.01
        law.decide(inp, plan, state, out)
        yield state, out


@pytest.mark.skipif(not COMPILED, reason="the plain source reads the plan as it stands")
def test_pages_are_used_where_a_block_is_alike_and_only_there() -> None:
    dims, plan = mixed_site(1, frozen_plan=True)
    places, words, kept = paged(plan, law.BLOCK)
    assert frozen(plan) and words.shape == (3, places.size) and len(kept) > 5
    table = bind(
        (*(image.allocate("input", dims)[1:]), plan, *(image.allocate(t, dims)[1] for t in ("state", "output")))
    )
    alike = words[:, : places.size] != table[places]
    assert 0.5 < alike.mean() < 1.0
    _, open_plan = mixed_site(1, frozen_plan=False)
    assert not frozen(open_plan) and paged(open_plan, law.BLOCK).places.size == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_that_nobody_can_write_gives_the_same_bits(seed: int) -> None:
    allowed = 0.0
    for scan, (one, other) in enumerate(zip(scans(seed, True), scans(seed, False), strict=True)):
        for table, kept, read in (("state", one[0], other[0]), ("output", one[1], other[1])):
            for field, a, b in zip(image.TABLES[table], kept, read, strict=True):
                assert field.name == "plan_kept" or a.tobytes() == b.tobytes(), (scan, field.name)
        allowed = max(allowed, float(one[1].allowed_a.sum()))
    assert allowed > CHARGERS and one[0].v2g[0] == 1


def test_what_a_plan_that_may_be_written_says_holds_in_the_next_scan() -> None:
    dims, frozen_plan, buffers = synthetic(100)
    _, plan = image.allocate("plan", dims)
    for array, value in zip(plan, frozen_plan, strict=True):
        array[...] = value
    (buffer, inp), (_, state), (_, out) = (image.allocate(table, dims) for table in ("input", "state", "output"))
    for scan in range(8):
        if scan == 6:
            plan.floor_a[:], plan.phase_map[:, 0], plan.hard_max_a[:] = 9.2, 2, 12.0
        buffer[:] = buffers[0]
        stamp(inp, scan, out.allowed_a)
        law.decide(inp, plan, state, out)
    assert (state.floor_q_a >= 9.2).all() and (state.uses == (0, 0, 1)).all() and out.allowed_a.max() <= 12.0


@pytest.mark.parametrize("points", [2, 3, 4, 5, 7])
def test_curves_of_a_block_are_read_like_a_single_one(points: int) -> None:
    rng = np.random.default_rng(points)
    count = 400
    pu = np.asfortranarray(np.sort(rng.uniform(0.8, 1.1, (count, points)), axis=1))
    pu[:50, 1] = pu[:50, 0]  # a step
    share = np.asfortranarray(rng.uniform(0.0, 1.0, (count, points)))
    volts = rng.uniform(0.75, 1.15, count)
    volts[50:200] = pu[np.arange(50, 200), rng.integers(0, points, 150)]
    got = np.zeros(count)
    read_curves.function(0, count, volts, pu, share, got) if COMPILED else read_curves(0, count, volts, pu, share, got)
    want = [
        share_at(float(volts[i]), np.ascontiguousarray(pu[i]), np.ascontiguousarray(share[i])) for i in range(count)
    ]
    np.testing.assert_array_equal(got, want)
