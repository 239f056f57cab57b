"""What the law costs: the whole `decide` beside one copy of the same arrays, and the split alone at its worst.

Run with `make bench`; the figures (p50, p99, p99.9, bytes allocated a scan) are in `extra_info`. They are back to back;
`voltbench latency` measures in a loop with deadlines.
"""

import time
import tracemalloc

import numpy as np
import pytest

from controller.law import image
from controller.law.decide import decide
from controller.law.share import share
from controller.runtime.latency import synthetic

SIZES = (100, 1_000, 10_000)
SCANS = {100: 2000, 1_000: 1000, 10_000: 150}


def percentiles(times_s: list[float]) -> dict[str, float]:
    """Return p50, p99, p99.9 and the maximum in microseconds."""
    p50, p99, p999, most = np.percentile(np.array(times_s) * 1e6, [50, 99, 99.9, 100]).round(1).tolist()
    return {"p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": most}


@pytest.mark.parametrize("n", SIZES)
def test_decide(benchmark, n):
    dims, plan, buffers = synthetic(n)
    (buffer, inp), (stated, state), (outs, out) = (image.allocate(t, dims) for t in ("input", "state", "output"))
    copies = [np.empty_like(b) for b in (buffer, stated, outs)]
    times: list[float] = []
    copied: list[float] = []
    scan = 0

    def one() -> None:
        nonlocal scan
        scan += 1
        buffer[:] = buffers[scan % len(buffers)]
        inp.now_ns[0] = 10**9 + scan * 10**7
        inp.utc_ns[0] = 1_763_913_590 * 10**9 + scan * 10**7
        begin = time.perf_counter()
        decide(inp, plan, state, out)
        middle = time.perf_counter()
        for target, source in zip(copies, (buffer, stated, outs), strict=True):
            target[:] = source
        times.append(middle - begin)
        copied.append(time.perf_counter() - middle)

    for _ in range(20):
        one()
    times.clear()
    copied.clear()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    one()
    allocated = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    benchmark.pedantic(one, rounds=SCANS[n])
    assert out.allowed_a.any()
    assert allocated < 20_000, "a scan allocates no array, only the tuple of them and small numbers"
    benchmark.extra_info |= percentiles(times) | {"peak_bytes": allocated, "nodes": dims.m}
    benchmark.extra_info["copy"] = percentiles(copied) | {"bytes": sum(c.size for c in copies)}


@pytest.mark.parametrize("length", [10, 100, 200])
def test_share_at_its_worst_a_chain_of_bottlenecks(benchmark, length):
    """Every node of a chain can only be filled once the one below it is full: as many rounds as nodes."""
    parent = np.arange(-1, length - 1)
    node = np.arange(length)
    head = np.cumsum(np.arange(1.0, length + 1.0))[::-1]
    given = (parent, node, np.tile([1, 0, 0], (length, 1)), np.ones(length), np.zeros(length), np.full(length, 1e4))
    got = benchmark.pedantic(share, (*given, np.tile(head[:, None], (1, 3))), rounds=5, warmup_rounds=1)
    assert got == pytest.approx(np.arange(length, 0, -1.0))
