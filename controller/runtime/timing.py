"""Publish the scan's timing figures in `timing.img`, and gather all figures of a run for `timing.json`.

Wake-up lateness (deadline to awake: the host's doing) stays apart from busy time (awake to done: ours). A period is
missed when the scan wakes later than one period or is busy longer than one. A miss whose CPU time was within the
period is the host's; so a verdict can tell an unfit machine from a slow law.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.histogram import EDGES_S, HISTOGRAM, Histogram
from controller.runtime.store import Store

NAME = "timing.img"
COUNTERS = ("scans", "skipped", "misses", "misses_host", "ledger_dropped", "orders_refused")
TIMING = np.dtype(
    [
        ("period_ns", "i8"),
        ("last_ns", "i8"),
        *((name, "i8") for name in COUNTERS),
        ("wake", HISTOGRAM),
        ("busy", HISTOGRAM),
        ("decide", HISTOGRAM),
    ]
)


class TimingView:
    """Show one TIMING record: the counters, and the histograms `wake`, `busy` and `decide`."""

    __slots__ = ("busy", "decide", "record", "wake")

    def __init__(self, record: np.ndarray) -> None:
        self.record = record
        self.wake = Histogram(record["wake"])
        self.busy = Histogram(record["busy"])
        self.decide = Histogram(record["decide"])

    @property
    def scans(self) -> int:
        """Return the number of scans done."""
        return int(self.record["scans"])

    @property
    def skipped(self) -> int:
        """Return the number of whole periods skipped after overruns."""
        return int(self.record["skipped"])

    @property
    def misses(self) -> int:
        """Return the number of scans that woke later than one period or were busy longer than one."""
        return int(self.record["misses"])

    @property
    def misses_host(self) -> int:
        """Return how many of the misses were the host's: the scan's own CPU time was within the period."""
        return int(self.record["misses_host"])

    @property
    def period_s(self) -> float:
        """Return the scan period in seconds."""
        return int(self.record["period_ns"]) / 1e9

    def to_dict(self) -> dict[str, Any]:
        """Return the figures of the scan in the shape of `timing.json`."""
        due = self.scans + self.skipped
        figures: dict[str, Any] = {"period_ms": self.period_s * 1e3}
        figures |= {name: int(self.record[name]) for name in COUNTERS}
        figures["missed_ratio"] = (self.misses + self.skipped) / due if due else None
        figures["missed_ratio_host"] = self.misses_host / due if due else None
        for name, histogram in (("wake", self.wake), ("busy", self.busy), ("decide", self.decide)):
            figures[name] = histogram.to_dict()
        return figures

    def bins(self) -> dict[str, list[float]]:
        """Return the edges (us; the last, +inf, is left out) and the counts of the histograms, for pictures."""
        named = {"wake": self.wake, "busy": self.busy, "decide": self.decide}
        return {"edges_us": (EDGES_S[:-1] * 1e6).round(3).tolist()} | {k: h.counts.tolist() for k, h in named.items()}


@dataclass(slots=True, eq=False)
class Timing:
    """Hold the scan's own figures and publish them; only the scan writes."""

    store: Store
    record: np.ndarray
    view: TimingView

    @classmethod
    def create(cls, path: Path, period_ns: int) -> "Timing":
        """Make `timing.img` with nothing counted."""
        return cls._on(Store.create(path, TIMING.itemsize), period_ns)

    @classmethod
    def attach(cls, path: Path, period_ns: int) -> "Timing":
        """Attach to a `timing.img` that the parent made, with nothing counted."""
        return cls._on(Store.attach(path, TIMING.itemsize), period_ns)

    @classmethod
    def _on(cls, store: Store, period_ns: int) -> "Timing":
        record = np.zeros(1, dtype=TIMING)
        record["period_ns"] = period_ns
        return cls(store, record, TimingView(record.reshape(())))

    def count(self, wake_ns: int, busy_ns: int, cpu_ns: int, decide_ns: int, skipped: int) -> None:
        """Count one scan: lateness of its wake-up, wall and CPU time it was busy, time of decide, periods lost."""
        record = self.view.record
        period_ns = int(record["period_ns"])
        record["scans"] += 1
        record["skipped"] += skipped
        if wake_ns > period_ns or busy_ns > period_ns:
            record["misses"] += 1
            if cpu_ns <= period_ns:
                record["misses_host"] += 1
        self.view.wake.add_ns(wake_ns)
        self.view.busy.add_ns(busy_ns)
        self.view.decide.add_ns(decide_ns)

    def publish(self, now_ns: int) -> None:
        """Write the figures to `timing.img`."""
        self.view.record["last_ns"] = now_ns
        self.store.write(self.record.view(np.uint8), now_ns)


def read_timing(source: Path | Store) -> TimingView:
    """Return a copy of the figures from `timing.img` (its path or its attached store).

    A StoreError says that the image is not there or has another layout.
    """
    store = source if isinstance(source, Store) else Store.attach(source, TIMING.itemsize)
    buffer = np.zeros(TIMING.itemsize, dtype=np.uint8)
    store.read(buffer)
    return TimingView(buffer.view(TIMING).reshape(()))
