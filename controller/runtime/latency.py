"""Measure what this machine can promise: decide time at N chargers, the copy of the arrays beside it, wake-up lateness.

Figures are taken inside a 10 ms loop with absolute deadlines, inputs copied in and changing each scan, because the same
code back to back, with warm caches, is several times faster than it ever is in a scan. Real-time permissions are asked
for as the scan does, reported, and given back.
"""

import gc
import math
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np

from controller.law import image
from controller.law.names import Cp, Quality
from controller.runtime.clock import NS, Deadlines, sleep_until
from controller.runtime.histogram import Histogram
from controller.runtime.process import ordinary, realtime
from controller.runtime.replay import Decide, law_decide

SIZES = (100, 1_000, 10_000, 100_000)
PER_NODE = 50
OTHER = 100
PERIOD_NS = 10_000_000
TOTAL_S = 40.0
VARIANTS = 4
LEAST_S = 0.5
PERIODS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
SITE_SIZE = 1_000  # the size whose honest period is quoted as the machine's
WARM_SCANS = 5
MINUTE_NS = 60 * NS
ECHO = (
    "import socket\n"
    "s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True)\n"
    "c=s.accept()[0]; c.setsockopt(6,1,1)\n"
    "while d:=c.recv(4096): c.sendall(d)\n"
)


def tree(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (parent (M,), charger_node (N,)) of three levels: a root, then nodes with 50 children each."""
    leaves = -(-n // PER_NODE)
    middles = -(-leaves // PER_NODE)
    parent = np.concatenate(([-1], np.zeros(middles), 1 + np.arange(leaves) // PER_NODE)).astype(np.int32)
    return parent, (1 + middles + np.arange(n) // PER_NODE).astype(np.int32)


def below(parent: np.ndarray, node: np.ndarray, amps: np.ndarray) -> np.ndarray:
    """Return the sum of the chargers' amps (N, 3) at and below every node, (M, 3)."""
    total = np.zeros((parent.size, 3))
    np.add.at(total, node, amps)
    for m in range(parent.size - 1, 0, -1):
        total[parent[m]] += total[m]
    return total


def synthetic(n: int, seed: int = 1, alike: bool = True) -> tuple[image.Dims, Any, list[np.ndarray]]:
    """Return sizes, PLAN views and a few INPUT buffers of a loaded site of `n` single-phase chargers.

    Every node's limit lies at 60 % of what its chargers could draw, so that the fair share has work to do. The chargers
    are of one model, or where they are not `alike` every `OTHER`th is of another, a hair's breadth away.
    """
    random = np.random.default_rng(seed)
    parent, node = tree(n)
    dims = image.Dims(n, parent.size, 0, 4)
    plan_buffer, plan = image.allocate("plan", dims)
    plan.parent[:] = parent
    plan.charger_node[:] = node
    plan.phase_map[:, 0] = np.arange(n) % 3
    plan.node_metered[:] = 1
    plan.volt_source[:] = 0
    plan.droop_pu[:] = (0.90, 0.92, 0.95, 0.97)
    plan.droop_share[:] = (0.2, 0.4, 0.8, 1.0)
    most = np.zeros((n, 3))
    most[np.arange(n), np.arange(n) % 3] = 32.0
    plan.node_limit_a[:] = 0.6 * below(parent, node, most) + 5.0
    for field, array in zip(image.PLAN_FIELDS, plan, strict=True):
        if field.shape in ("N", "NK") and field.dtype == "f8" and not alike:
            array[::OTHER] *= 1.0 - 1e-9
    plan_buffer.flags.writeable = False  # as the scan's
    plan = image.views("plan", dims, plan_buffer)
    return dims, plan, [_input(dims, plan, most, random) for _ in range(VARIANTS)]


def _input(dims: image.Dims, plan: Any, most: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return one INPUT buffer: all cars charging at random amps, volts between 0.91 and 1 pu."""
    buffer, inp = image.allocate("input", dims)
    amps = most * random.uniform(0.2, 0.6, (dims.n, 1))
    inp.charger_v[:, 0] = random.uniform(210.0, 230.0, dims.n)
    inp.charger_a[:, 0] = amps.max(axis=1)
    inp.charger_w[:] = inp.charger_v[:, 0] * inp.charger_a[:, 0]
    inp.charger_state[:] = Cp.C
    inp.charger_limit_a[:] = inp.charger_a[:, 0]
    inp.charger_quality[:] = Quality.GOOD
    inp.charger_link[:] = 1
    inp.charger_change_ns[:] = NS
    inp.session_no[:] = 1
    inp.node_v[:] = random.uniform(210.0, 230.0, (dims.m, 3))
    inp.node_a[:] = below(plan.parent, plan.charger_node, amps) + 1.0
    inp.node_w[:] = inp.node_a.sum(axis=1) * 225.0
    inp.node_v_quality[:] = inp.node_a_quality[:] = inp.order_quality[:] = Quality.GOOD
    inp.node_v_change_ns[:] = inp.node_a_change_ns[:] = inp.order_beat_ns[:] = NS
    return buffer


def stamp(inp: Any, scan: int, allowed_a: np.ndarray, period_ns: int = PERIOD_NS) -> None:
    """Write the clocks of a scan and mark every reading as fresh; chargers apply what the last scan allowed (N).

    Before the first scan they report limits of their own, and those are adopted. The first scans lie a minute apart, so
    that the controller has left its quiet time and raises are paid.
    """
    inp.now_ns[0] = 2 * NS + min(scan, WARM_SCANS) * MINUTE_NS + scan * period_ns
    inp.utc_ns[0] = inp.now_ns[0]
    inp.scan[0] = scan
    if scan > 0:  # a limit over the order would be another master's, or an alarm
        inp.charger_limit_a[:] = allowed_a
    for name in ("charger_change_ns", "node_v_change_ns", "node_a_change_ns", "order_beat_ns"):
        getattr(inp, name)[:] = inp.now_ns[0]


def loop_decide(decide: Decide, n: int, seconds: float, wake: Histogram) -> tuple[Histogram, Histogram]:
    """Return the histograms of decide and of one copy of INPUT at `n` chargers, measured in a loop of `seconds`.

    The first scans warm up and are left out, unless the time is over before any other was done.
    """
    dims, plan, buffers = synthetic(n)
    buffer, inp = image.allocate("input", dims)
    state, out = image.allocate("state", dims)[1], image.allocate("output", dims)[1]
    decided, copied = Histogram.empty(), Histogram.empty()
    deadlines = Deadlines(PERIOD_NS, time.monotonic_ns() + PERIOD_NS)
    end_ns = time.monotonic_ns() + round(seconds * NS)
    scan = skipped = 0
    while True:
        sleep_until(deadlines.next_ns)
        awake_ns = time.monotonic_ns()
        started = time.perf_counter_ns()
        buffer[:] = buffers[scan % VARIANTS]
        copy_ns = time.perf_counter_ns() - started
        stamp(inp, scan, out.allowed_a)
        started = time.perf_counter_ns()
        decide(inp, plan, state, out)
        decide_ns = time.perf_counter_ns() - started
        over = time.monotonic_ns() >= end_ns
        if scan >= WARM_SCANS or over:
            decided.add_ns(decide_ns)
            copied.add_ns(copy_ns)
            if skipped == 0:  # after an overrun the kernel's throttling of FIFO tasks would count as lateness
                wake.add_ns(awake_ns - deadlines.next_ns)
        if over:
            return decided, copied
        skipped = deadlines.advance(time.monotonic_ns())
        scan += 1


def tcp_round_trip(seconds: float) -> Histogram:
    """Return the round trips of 32 bytes over a loopback socket to another process."""
    trips = Histogram.empty()
    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE) as server:
        if server.stdout is None:
            raise AssertionError("a pipe was asked for")
        port = int(server.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 5.0) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                started = time.perf_counter_ns()
                link.sendall(bytes(32))
                link.recv(64)
                trips.add_ns(time.perf_counter_ns() - started)
        server.wait(5.0)
    return trips


def honest_period_ms(wake: Histogram, decided: Histogram, copied: Histogram) -> int | None:
    """Return the shortest usual period whose half holds wake-up p99.9 plus decide and copy p99; None: none does."""
    need_ms = 1e3 * (wake.percentile(99.9) + decided.percentile(99.0) + copied.percentile(99.0))
    return next((period for period in PERIODS_MS if need_ms <= period / 2), None)


def _affordable(n: int, kept: dict[int, tuple[Histogram, Histogram]], left_s: float) -> bool:
    """Say whether a scan at `n` fits into the time left, if the law grew with the square of n."""
    if not kept:
        return True
    largest = max(kept)
    return kept[largest][0].max_s * (n / largest) ** 2 < left_s


def measure(seconds: float = 12.0, sizes: tuple[int, ...] = SIZES, decide: Decide | None = None) -> dict[str, Any]:
    """Measure for about `seconds` after the compilation, within 45 s in all, and return the figures.

    Keys: `decide` and `copy` per N (p50_us, p99_us, p999_us, max_us, count), `wake`, `tcp`, `honest_period_ms` (at
    1,000 chargers, or the size nearest to it), `honest_period_ms_by_n`, `compile_s`, `permissions`, `period_ms`. A size
    whose scans would not fit into the time is left out.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"latency for {seconds} s: give a time above 0 s")
    started_s = time.monotonic()
    decide = decide or law_decide()
    dims, plan, buffers = synthetic(PER_NODE)
    tables = (image.views("input", dims, buffers[0]), plan, *(image.allocate(t, dims)[1] for t in ("state", "output")))
    decide(*tables)
    compile_s = time.monotonic() - started_s
    left_s = max(LEAST_S, min(seconds, TOTAL_S - compile_s))
    trips = tcp_round_trip(min(LEAST_S, left_s / 4))
    wake = Histogram.empty()
    figures: dict[str, Any] = {"decide": {}, "copy": {}}
    kept: dict[int, tuple[Histogram, Histogram]] = {}
    gc.collect()
    gc.disable()
    permissions = realtime()
    try:
        for n in sorted(sizes):
            if _affordable(n, kept, TOTAL_S - (time.monotonic() - started_s)):
                kept[n] = loop_decide(decide, n, left_s / len(sizes), wake)
    finally:
        ordinary()
        gc.enable()
    for n, (decided, copied) in kept.items():
        figures["decide"][str(n)], figures["copy"][str(n)] = decided.to_dict(), copied.to_dict()
    by_n = {str(n): honest_period_ms(wake, *pair) for n, pair in kept.items()}
    quoted = min(kept, key=lambda n: abs(math.log(n / SITE_SIZE)))
    return figures | {
        "wake": wake.to_dict(),
        "tcp": trips.to_dict(),
        "honest_period_ms": by_n[str(quoted)],
        "honest_period_ms_by_n": by_n,
        "period_ms": PERIOD_NS / 1e6,
        "compile_s": round(compile_s, 2),
        "permissions": permissions,
    }
