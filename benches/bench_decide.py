"""What the law costs: the whole `decide` beside one copy of its arrays and a plain Python loop, and the split alone.

Run with `make bench`; the figures (p50, p99, p99.9, bytes allocated a scan) are in `extra_info`. They are back to back;
`voltbench latency` measures in a loop with deadlines.
"""

import time
import tracemalloc

import numpy as np
import plain_share
import pytest

from controller.law import image
from controller.law.decide import decide
from controller.law.share import share
from controller.runtime.latency import stamp, synthetic

SIZES = (100, 1_000, 10_000, 100_000)
SCANS = {100: 2000, 1_000: 1000, 10_000: 300, 100_000: 60}
WARM = 20


def percentiles(times_s: list[float]) -> dict[str, float]:
    """Return p50, p99, p99.9 and the maximum in microseconds."""
    p50, p99, p999, most = np.percentile(np.array(times_s) * 1e6, [50, 99, 99.9, 100]).round(1).tolist()
    return {"p50_us": p50, "p99_us": p99, "p999_us": p999, "max_us": most}


@pytest.mark.parametrize("alike", [True, False], ids=["one_model", "mixed_models"])
@pytest.mark.parametrize("n", SIZES)
def test_decide(benchmark, n, alike):
    dims, plan, buffers = synthetic(n, alike=alike)
    (buffer, inp), (stated, state), (outs, out) = (image.allocate(t, dims) for t in ("input", "state", "output"))
    copies = [np.empty_like(b) for b in (buffer, stated, outs)]
    times: list[float] = []
    copied: list[float] = []
    scan = 0

    def one() -> None:
        nonlocal scan
        buffer[:] = buffers[scan % len(buffers)]
        stamp(inp, scan, out.allowed_a)
        begin = time.perf_counter()
        decide(inp, plan, state, out)
        middle = time.perf_counter()
        for target, source in zip(copies, (buffer, stated, outs), strict=True):
            target[:] = source
        times.append(middle - begin)
        copied.append(time.perf_counter() - middle)
        scan += 1

    for _ in range(WARM):
        one()
    times.clear()
    copied.clear()
    buffer[:] = buffers[scan % len(buffers)]
    stamp(inp, scan, out.allowed_a)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    decide(inp, plan, state, out)
    allocated = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    benchmark.pedantic(one, rounds=SCANS[n])
    assert out.allowed_a.any()
    assert allocated < 20_000, "a scan allocates no array, only the tuple of them and small numbers"
    benchmark.extra_info |= percentiles(times) | {"peak_bytes": allocated, "nodes": dims.m}
    benchmark.extra_info["copy"] = percentiles(copied) | {"bytes": sum(c.size for c in copies)}


@pytest.mark.parametrize("n", SIZES)
def test_plain_python_loop_and_the_split_on_the_same_site(benchmark, n):
    """Time droop and share of the same site in plain Python, and the split alone compiled; both agree."""
    dims, plan, buffers = synthetic(n)
    inp = image.views("input", dims, buffers[0])
    phase = plan.phase_map.argmax(axis=1)
    phase = plan.phase_map[np.arange(n), phase]
    given = (
        inp.charger_v[:, 0].tolist(), plan.droop_pu[0].tolist(), plan.droop_share[0].tolist(), 32.0,
        plan.parent.tolist(), plan.charger_node.tolist(), phase.tolist(), plan.node_limit_a.tolist(), 1.0,
    )  # fmt: skip
    rounds = {100: 200, 1_000: 50, 10_000: 10, 100_000: 3}[n]
    times: list[float] = []

    def plain() -> tuple[list[float], list[float]]:
        begin = time.perf_counter()
        answer = plain_share.decide(*given)
        times.append(time.perf_counter() - begin)
        return answer

    cap, amps = benchmark.pedantic(plain, rounds=rounds)
    tree = plan.parent, plan.charger_node, np.eye(3)[phase], np.ones(n), np.zeros(n), np.array(cap)
    split: list[float] = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        got = share(*tree, plan.node_limit_a - 1.0)
        split.append(time.perf_counter() - begin)
    assert got == pytest.approx(amps, abs=1e-6)
    benchmark.extra_info |= percentiles(times) | {"share_call": percentiles(split[1:])}


@pytest.mark.parametrize("length", [10, 100, 1000])
def test_share_at_a_chain_of_bottlenecks(benchmark, length):
    """Every node of a chain is full, at a level under the one below it: the deepest tree there is."""
    parent = np.arange(-1, length - 1)
    node = np.arange(length)
    head = np.cumsum(np.arange(1.0, length + 1.0))[::-1]
    given = (parent, node, np.tile([1, 0, 0], (length, 1)), np.ones(length), np.zeros(length), np.full(length, 1e4))
    got = benchmark.pedantic(share, (*given, np.tile(head[:, None], (1, 3))), rounds=5, warmup_rounds=1)
    assert got == pytest.approx(np.arange(length, 0, -1.0))


def braid(links: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return a site on which every round settles one car only, and its answer (N).

    Nodes lie in a chain, the innermost is full first. Car k, at node k, uses phases k and k + 1 (mod 3); node k limits
    phase k, which car k - 1 uses too, so it cannot be settled before that car is.
    """
    amps = np.arange(1.0, links + 1.0)
    phases = np.zeros((links, 3))
    phases[np.arange(links), np.arange(links) % 3] = 1
    phases[np.arange(links), np.arange(1, links + 1) % 3] = 1
    head = np.full((links, 3), np.inf)
    for k in range(links):
        head[links - 1 - k, k % 3] = (amps[: k + 1] * phases[: k + 1, k % 3]).sum()
    node = np.arange(links)[::-1]
    return (np.arange(-1, links - 1), node, phases, np.ones(links), np.zeros(links), np.full(links, 1e4), head), amps


@pytest.mark.parametrize("links", [10, 100, 1000])
def test_share_at_its_worst_a_round_for_every_car(benchmark, links):
    given, answer = braid(links)
    got = benchmark.pedantic(share, given, rounds=3, warmup_rounds=1)
    assert got == pytest.approx(answer)


@pytest.mark.parametrize("algorithm", ["RoundRobin", "least_laxity_first"])
def test_schedulers_of_acnportal(benchmark, algorithm):
    """Time acnportal's schedulers at 100 single-phase chargers under one cable, where it is installed."""
    algorithms = pytest.importorskip("acnportal.algorithms", reason="acnportal is missing: pip install acnportal")
    bench = pytest.importorskip("acnportal.algorithms.tests.testing_interface", reason="acnportal without its tests")
    n = 100
    names = [f"cp{k}" for k in range(n)]
    site = bench.TestingInterface({
        "active_sessions": [
            {"station_id": name, "session_id": name, "requested_energy": 20.0, "energy_delivered": 0.0, "arrival": 0,
             "departure": 100 + k, "min_rates": 0, "max_rates": 32}
            for k, name in enumerate(names)
        ],
        "infrastructure_info": {
            "constraint_matrix": [[1.0] * n], "constraint_limits": [0.6 * 32 * n], "phases": [0.0] * n,
            "voltages": [230.0] * n, "constraint_ids": ["cable"], "station_ids": names, "max_pilot": [32.0] * n,
            "min_pilot": [0.0] * n, "allowable_pilots": [[0.0, 32.0]] * n, "is_continuous": [True] * n,
        },
        "current_time": 0, "period": 1,
    })  # fmt: skip
    if algorithm == "RoundRobin":
        scheduler = algorithms.RoundRobin(algorithms.first_come_first_served, continuous_inc=1)
    else:
        scheduler = algorithms.SortedSchedulingAlgo(algorithms.least_laxity_first)
    scheduler.register_interface(site)
    schedule = benchmark.pedantic(scheduler.schedule, (site.active_sessions(),), rounds=3)
    assert sum(float(rates[0]) for rates in schedule.values()) <= 0.6 * 32 * n + 1.0
