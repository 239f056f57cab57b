"""Run the scan: latch the inputs, decide, publish, keep, sleep to the absolute deadline. Nothing else lives here.

`python -m controller.runtime.scan SITE_JSON`, started by the supervisor. No wire, no event loop and no thread is in
this process, so its lateness is the host's; an exception ends it, its heartbeat (`output.img`) stops, and whoever
writes to the world falls silent.
"""

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from controller.law import image
from controller.runtime import stores
from controller.runtime.clock import Deadlines, LocalTime, sleep_until
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.handed_image import HandedImage
from controller.runtime.ledger import CHECKPOINT_SCANS
from controller.runtime.ledger_format import Kind
from controller.runtime.mailbox import Mailbox, Order
from controller.runtime.order_image import BookImage
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm, realtime
from controller.runtime.replay import Decide, law_decide
from controller.runtime.ring import NAME as RING
from controller.runtime.ring import Ring
from controller.runtime.site import Site, read_site
from controller.runtime.store import Store
from controller.runtime.timing import NAME as TIMING
from controller.runtime.timing import Timing

RANDOM_STREAM = 1  # of the run's seed; the plant draws from others
PUBLISH_S = 0.1  # the timing figures are published no more often
WAIT_S = 0.02


class Scan:
    """Hold the images of one controller and do one scan at a time."""

    __slots__ = (
        "_book",
        "_checkpoint_in",
        "_handed",
        "_input_store",
        "_latched_store",
        "_local",
        "_mailbox",
        "_output_store",
        "_random",
        "_ring",
        "_state_store",
        "_stride",
        "decide",
        "input",
        "input_buffer",
        "number",
        "output",
        "output_buffer",
        "override_a",
        "override_until_s",
        "plan",
        "site",
        "state",
        "state_buffer",
        "timing",
    )

    def __init__(self, site: Site, decide: Decide) -> None:
        """Attach to the shared files of `site`; a StoreError or RingError names a missing one."""
        dims = site.image_dims()
        self.site = site
        self.decide = decide
        self.number = 0
        self.plan = image.views("plan", dims, site.load_plan())
        self.input_buffer, self.input = image.allocate("input", dims)
        self.state_buffer, self.state = image.allocate("state", dims)
        self.output_buffer, self.output = image.allocate("output", dims)
        self.override_a = self.input.override_a.copy()
        self.override_until_s = self.input.override_until_s.copy()
        self.timing = Timing.attach(site.store(TIMING), round(site.period_s * 1e9))
        self._stride = max(1, round(PUBLISH_S / site.period_s))
        self._local = LocalTime(site.timezone, site.utc_offset_s)
        self._random = np.random.default_rng([site.seed, RANDOM_STREAM])
        self._checkpoint_in = 0
        self._input_store: Store = stores.attach(site, "input.img")
        self._latched_store: Store = stores.attach(site, "latched.img")
        self._output_store: Store = stores.attach(site, "output.img")
        self._state_store: Store = stores.attach(site, "state.img")
        self._ring = Ring.attach(site.store(RING))
        self._book = BookImage(site)
        self._handed = None if site.handed is None else HandedImage(site)
        self._mailbox = Mailbox.attach(site.store(stores.ORDERS))

    def warm(self) -> float:
        """Compile and run `decide` once on images of its own; return the seconds it took."""
        started = time.perf_counter()
        dims = self.site.image_dims()
        inp, state, out = (image.allocate(table, dims)[1] for table in ("input", "state", "output"))
        self.decide(inp, self.plan, state, out)
        return time.perf_counter() - started

    @property
    def inputs_written(self) -> bool:
        """Say whether wires, order book and who hands limits in have published: a start lifts nothing."""
        handed = self._handed is None or self._handed.written
        return self._input_store.sequence > 0 and self._book.written and handed

    def step(self, now_ns: int) -> int:
        """Do one scan at `now_ns` of the monotonic clock; return the ns that `decide` took."""
        self._latch(now_ns)
        self._keep_state()
        started = time.perf_counter_ns()
        self.decide(self.input, self.plan, self.state, self.output)
        decide_ns = time.perf_counter_ns() - started
        self._output_store.write(self.output_buffer, now_ns)
        self._latched_store.write(self.input_buffer, now_ns)
        self._state_store.write(self.state_buffer, now_ns)
        if self._checkpoint_in > 0:
            kept = self._ring.push(Kind.FULL, self.number, self.input_buffer, self.output_buffer)
            self._checkpoint_in = self._checkpoint_in - 1 if kept else 0
        self.number += 1
        return decide_ns

    def account(self, wake_ns: int, busy_ns: int, cpu_ns: int, decide_ns: int, skipped: int) -> None:
        """Count one scan's times and publish the figures now and then."""
        self.timing.count(wake_ns, busy_ns, cpu_ns, decide_ns, skipped)
        if self.number % self._stride == 0:
            self.publish_timing()

    def publish_timing(self) -> None:
        """Publish the timing figures."""
        self.timing.view.record["ledger_dropped"] = self._ring.dropped
        self.timing.publish(time.monotonic_ns())

    def _latch(self, now_ns: int) -> None:
        """Copy the newest inputs and add what only the scan knows: clocks, number, random numbers, overrides."""
        self._input_store.read(self.input_buffer)
        inp = self.input
        self._book.latch(inp)
        if self._handed is not None:
            self._handed.latch(inp)
        inp.now_ns[0] = now_ns
        inp.utc_ns[0] = now_ns + self.site.utc_minus_mono_ns
        inp.utc_offset_s[0] = self._local.offset_s(int(inp.utc_ns[0]))
        inp.utc_change_ns[0], inp.utc_offset_next_s[0] = self._local.next_change(int(inp.utc_ns[0]))
        inp.scan[0] = self.number
        self._random.random(out=inp.random_u)
        for order in self._mailbox.drain():
            self._obey(order)
        inp.override_a[:] = self.override_a
        inp.override_until_s[:] = self.override_until_s

    def _obey(self, order: Order) -> None:
        """Keep an operator's order for the scans to come; one for a charger that is not there is counted."""
        if order.index >= self.override_a.size:
            self.timing.view.record["orders_refused"] += 1
        elif order.kind == "release":
            self.override_a[order.index], self.override_until_s[order.index] = np.inf, np.nan
        else:
            self.override_a[order.index], self.override_until_s[order.index] = order.value_a, order.until_s

    def _keep_state(self) -> None:
        """Hand STATE to the ledger as it is before this scan, where a checkpoint is due or a record was dropped."""
        if self._checkpoint_in == 0 and self._ring.push(Kind.STATE, self.number, self.state_buffer):
            self._checkpoint_in = CHECKPOINT_SCANS


def loop(scan: Scan, ended: Callable[[], bool]) -> None:
    """Scan at absolute deadlines until `ended` says so; skip whole periods after an overrun and count them."""
    period_ns = round(scan.site.period_s * 1e9)
    deadlines = Deadlines(period_ns, time.monotonic_ns() + period_ns)
    while not ended():
        sleep_until(deadlines.next_ns)
        awake_ns = time.monotonic_ns()
        cpu_ns = time.thread_time_ns()
        decide_ns = scan.step(awake_ns)
        wake_ns = awake_ns - deadlines.next_ns
        cpu_ns = time.thread_time_ns() - cpu_ns
        done_ns = time.monotonic_ns()
        scan.account(wake_ns, done_ns - awake_ns, cpu_ns, decide_ns, deadlines.advance(done_ns))
    scan.publish_timing()


def main(site_json: Path) -> int:
    """Scan until SIGTERM and return 0; what goes wrong ends the process."""
    ignore_sigint()
    die_with_parent()
    ending: list[int] = []
    on_sigterm(lambda: ending.append(1))
    site = read_site(site_json)
    events = Events(Path(site.run_dir) / EVENTS, "scan")
    scan = Scan(site, law_decide())
    events.write("scan_warm", compile_s=round(scan.warm(), 3))
    while not scan.inputs_written and not ending:
        time.sleep(WAIT_S)
    gc.collect()
    gc.freeze()
    gc.disable()
    events.write("scan_realtime", period_s=site.period_s, **realtime())
    loop(scan, lambda: bool(ending))
    events.write("scan_ended", scans=scan.number, misses=scan.timing.view.misses)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
