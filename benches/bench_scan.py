"""What one scan costs beside the law: latch, publish three images, hand to the ledger, count; and the ledger's part.

Run with `make bench`. Each figure is printed with p50, p99, p99.9 and maximum in `extra_info`, back to back; the
figures in a loop with deadlines are those of `voltbench latency`.
"""

import time
from pathlib import Path

import pytest

from controller.law import image
from controller.runtime import ledger, ring, stores
from controller.runtime.histogram import Histogram
from controller.runtime.latency import synthetic
from controller.runtime.ledger import LedgerWriter
from controller.runtime.scan import Scan
from controller.runtime.site import Site

SIZES = (16, 100, 1_000, 10_000)
SCANS = 300
BUDGET_US = {16: 150.0, 100: 150.0, 1_000: 300.0, 10_000: 800.0}  # what decide itself may take in a 10 ms loop


def make_site(folder: Path, n: int) -> Site:
    """Return a site of `n` chargers without ports, its shared files made, its INPUT written once."""
    dims, _, buffers = synthetic(n)
    (folder / "run").mkdir()
    site = Site(
        name="bench",
        stage="bench",
        period_s=0.01,
        utc_minus_mono_ns=0,
        utc_offset_s=0.0,
        store_dir=str(folder / "store"),
        run_dir=str(folder / "run"),
        seed=1,
        dims=tuple(dims),
        charger_names=[],
        node_names=[],
        chargers=[],
    )
    stores.prepare(site)
    image.allocate("plan", dims)[0].tofile(site.store("plan.bin"))
    stores.attach(site, "input.img").write(buffers[0], 1)
    return site


def nothing(inp, plan, state, out) -> None:
    """Stand for the law, so that only the frame around it is measured."""


@pytest.mark.parametrize("n", SIZES)
def test_the_frame_of_a_scan(benchmark, tmp_path, n):
    site = make_site(tmp_path, n)
    scan = Scan(site, nothing)
    taker = ring.Ring.attach(site.store(ring.NAME))
    took = Histogram.empty()

    def one() -> None:
        started = time.perf_counter_ns()
        decide_ns = scan.step(started)
        scan.account(0, 100_000, 50_000, decide_ns, 0)
        took.add_ns(time.perf_counter_ns() - started)

    benchmark.pedantic(one, setup=lambda: taker.take() and None, rounds=SCANS, warmup_rounds=20)
    benchmark.extra_info.update(took.to_dict() | {"n": n, "decide_budget_us": BUDGET_US[n]})
    assert took.count >= SCANS


@pytest.mark.parametrize("n", SIZES)
def test_the_ledger_of_a_scan(benchmark, tmp_path, n):
    site = make_site(tmp_path, n)
    dims = site.image_dims()
    _, _, buffers = synthetic(n)
    output = image.allocate("output", dims)[0]
    state = image.allocate("state", dims)[0]
    writer = LedgerWriter(Path(site.run_dir), dims, site.load_plan())
    took = Histogram.empty()
    number = 0

    def one() -> None:
        nonlocal number
        started = time.perf_counter_ns()
        if writer.due:
            writer.state(number, state)
        writer.scan(number, buffers[number % len(buffers)], output)
        took.add_ns(time.perf_counter_ns() - started)
        number += 1

    benchmark.pedantic(one, rounds=SCANS if n <= 1_000 else 50, warmup_rounds=5)
    written = sum(path.stat().st_size for path in ledger.fmt.files(Path(site.run_dir)))
    benchmark.extra_info.update(took.to_dict() | {"n": n, "bytes_per_scan": written // number})
    assert written > 0
