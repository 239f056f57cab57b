"""The compiled law gives the same bits as its plain source, and names every array once."""

import hashlib
import inspect
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numba
import numpy as np
import pytest
from lawbench import EU_DROOP, INF, UTC_NS, VoltSource, World, charger, node, site

from controller.law import decide as law
from controller.law import image, pay
from controller.law.kernel import Stage, bind
from controller.runtime.plan import WindowSpec

HERE = Path(__file__).parent
SOURCE = inspect.getsource(law)


def digest_of_a_hostile_run(scans: int = 60) -> str:
    """Run a site through random and hostile inputs; return a hash over every STATE and OUTPUT."""
    rng = np.random.default_rng(7)
    chargers = [
        charger(
            k,
            at=1 + k % 3,
            phase_map=(0, 1, 2) if k % 4 == 0 else (k % 3, -1, -1),
            step_a=(0.001, 0.1, 1.0)[k % 3],
            volt_source=VoltSource(k % 3),
            droop=EU_DROOP,
            priority=k % 2,
            ramp_up_a_per_s=2.0,
            random_delay_s=1.0,
            obey_s=1.0,
            no_pause=k == 5,
        )
        for k in range(9)
    ]
    nodes = [node(limit_a=70.0, limit_w=40e3)] + [
        node(f"n{k}", 0, limit_a=25.0, metered=k > 0, unbalance_a=15.0 if k else INF) for k in range(3)
    ]
    windows = (WindowSpec(17 * 3600.0, 18 * 3600.0, charger=3, limit_a=7.0, lead_s=5.0),)
    world = World(site(nodes, chargers, windows, min_off_s=1.0, rotation_s=3.0, brake_over=1.2, brake_pu=0.9), 10.0)
    total = hashlib.sha256()
    odd = np.array([np.nan, np.inf, -np.inf, -5.0, 0.0, 1e12])
    ran = 0.0
    for _ in range(scans):
        world.other = rng.normal(12, 6, world.other.shape)
        world.volts = rng.normal(218, 6, world.volts.shape)
        world.link = rng.random(9) < 0.95
        world.node_fresh = rng.random(4) < 0.9
        world.sense()
        for name in ("charger_a", "charger_v", "node_a", "node_w", "wish_a", "order_w", "charger_w", "need_wh"):
            array = getattr(world.inp, name)
            hit = rng.random(array.shape) < 0.05
            array[hit] = rng.choice(odd, array.shape)[hit]
        world.inp.random_u[:] = rng.random(9)
        world.inp.departure_s[:] = UTC_NS * 1e-9 + rng.uniform(-100, 4000, 9)
        world.step(rng.choice([0.0, 0.1, 0.5]), sense=False)
        for array in (*world.state, *world.out):
            total.update(array.tobytes())
        ran += world.out.allowed_a.sum()
    assert ran > 0.0
    return total.hexdigest()


def test_compiled_law_gives_the_bits_of_its_source() -> None:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    code = "import test_bits; print(test_bits.digest_of_a_hostile_run())"
    plain = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert plain.stdout.strip() == digest_of_a_hostile_run(), plain.stderr[-2000:]


def test_the_plain_source_lists_more_than_a_byte_can_count() -> None:
    count = 300
    queue = np.arange(count, dtype=np.int32)
    uses = np.zeros((count, 3), np.uint8)
    uses[:, 1] = 1
    begin, end, order = np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(count, np.int32)
    lists, first, last = np.zeros((4, count), np.int32), np.zeros((1, 4), np.int32), np.zeros((1, 4), np.int32)
    node, place = np.zeros(count, np.int32), np.zeros(1, np.int32)
    plain = getattr(pay.list_asking, "function", pay.list_asking)
    plain(count, queue, node, place, uses, begin, end, order, lists, first, last)
    assert last.tolist() == [[0, count, 0, count]] and first.tolist() == [[0, 0, 0, 0]]
    assert (order == queue).all() and (lists[1] == queue).all() and (lists[3] == queue).all()


def test_array_names_are_unique_but_for_the_clock() -> None:
    names = Counter(field.name for table in image.TABLES.values() for field in table)
    assert {name for name, count in names.items() if count > 1} == {"now_ns", "scan"}


def stages() -> list[Stage]:
    """Return every step of the law."""
    modules = [part for part in vars(law).values() if inspect.ismodule(part)]
    return [part for module in modules for part in vars(module).values() if isinstance(part, Stage)]


def test_every_step_writes_only_state_and_output() -> None:
    given = {field.name for table in ("input", "plan") for field in image.TABLES[table]}
    world = World(site([node()], [charger(k) for k in range(3)]), 10.0, other=20.0)
    world.sense()
    assert len(stages()) > 25
    for step in stages():
        assert step.function.__doc__, step.function
        assert set(step.names) - given, step.function
        name = f"{step.function.__module__.rsplit('.', 1)[1]}.{step.function.__name__}"
        assert f"{name}(near, first, end)" in SOURCE if step.span else f"{name}(images" in SOURCE, step.function
    for array in (*world.inp, *world.plan):
        array.setflags(write=False)
    before = [array.copy() for array in (*world.inp, *world.plan)]
    law.decide(world.inp, world.plan, world.state, world.out)
    for was, now in zip(before, (*world.inp, *world.plan), strict=True):
        np.testing.assert_array_equal(was, now)


def test_compiled_steps_cannot_write_input_or_plan() -> None:
    @Stage
    def forger(node_limit_a: np.ndarray, last_a: np.ndarray) -> None:
        """Lift a limit."""
        node_limit_a[0, 0] = 1e9

    @numba.njit
    def run(images: np.ndarray) -> None:
        forger(images)

    world = World(site([node()], [charger()]))
    with pytest.raises(numba.core.errors.NumbaError, match="readonly"):
        run(bind((world.inp, world.plan, world.state, world.out)))


def test_arrays_that_are_not_laid_out_as_declared_are_refused() -> None:
    world = World(site([node()], [charger(k) for k in range(3)]))
    images = (world.inp, world.plan, world.state, world.out)
    for state in (
        world.state._replace(last_a=np.zeros(2)),
        world.state._replace(last_a=np.zeros(3, np.float32)),
        world.state._replace(last_a=np.zeros(6)[::2]),
    ):
        with pytest.raises(ValueError, match=r"state\.last_a: .* needed is f8 \(3,\)"):
            bind((*images[:2], state, images[3]))


def test_images_may_change_from_scan_to_scan() -> None:
    """The table of addresses is remembered; other images, or the same ones again, get their own."""
    worlds = [World(site([node()], [charger(k) for k in range(size)])) for size in (3, 5, 3)]
    alone = World(site([node()], [charger(k) for k in range(3)]))
    for _ in range(400):
        alone.step()
        for world in worlds:
            world.step()
    assert alone.out.allowed_a.sum() > 0.0
    for world in (worlds[0], worlds[2]):
        np.testing.assert_array_equal(world.out.allowed_a, alone.out.allowed_a)
