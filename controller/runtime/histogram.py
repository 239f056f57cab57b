"""Count durations in fixed logarithmic bins from 1 us to 10 s: no allocation, no samples kept, mergeable.

A mean and a standard deviation hide the one miss in a thousand; these bins keep it. 50 bins a decade: a percentile
is given as the upper edge of its bin, at most 4.8 % above the true value and never below it; the maximum is exact.
"""

import math
from dataclasses import dataclass

import numpy as np

DECADES = 7
PER_DECADE = 50
BINS = DECADES * PER_DECADE + 2  # below 1 us, the decades, 10 s and above
LOWEST_NS = 1_000

HISTOGRAM = np.dtype([("counts", "i8", (BINS,)), ("max_ns", "i8")])


def edges() -> np.ndarray:
    """Return the BINS + 1 edges in seconds: 0, 1e-6 .. 10, +inf."""
    inner = 1e-6 * 10.0 ** (np.arange(DECADES * PER_DECADE + 1) / PER_DECADE)
    return np.concatenate(([0.0], inner, [math.inf]))


EDGES_S = edges()
EDGES_S.setflags(write=False)


def bin_of(duration_ns: int) -> int:
    """Return the bin of a duration in ns; a negative one counts as 0."""
    if duration_ns < LOWEST_NS:
        return 0
    return min(1 + int(PER_DECADE * math.log10(duration_ns / LOWEST_NS) + 1e-9), BINS - 1)


@dataclass(slots=True, eq=False)
class Histogram:
    """Count durations; `record` is one HISTOGRAM record, which may lie in a shared image."""

    record: np.ndarray

    @classmethod
    def empty(cls) -> "Histogram":
        """Return a histogram of its own memory with nothing counted."""
        return cls(np.zeros((), dtype=HISTOGRAM))

    @property
    def counts(self) -> np.ndarray:
        """Return the counts, (BINS,) int64; bin k lies between edges_s[k] and edges_s[k + 1]."""
        return self.record["counts"]

    @property
    def edges_s(self) -> np.ndarray:
        """Return the BINS + 1 edges in seconds."""
        return EDGES_S

    @property
    def count(self) -> int:
        """Return how many durations were counted."""
        return int(self.counts.sum())

    @property
    def max_s(self) -> float:
        """Return the longest duration in seconds, exact; NaN where nothing was counted."""
        return int(self.record["max_ns"]) / 1e9 if self.count else math.nan

    def add_ns(self, duration_ns: int) -> None:
        """Count one duration in ns."""
        self.record["counts"][bin_of(duration_ns)] += 1
        if duration_ns > self.record["max_ns"]:
            self.record["max_ns"] = duration_ns

    def merge(self, other: "Histogram") -> None:
        """Add another histogram's counts to this one's."""
        self.record["counts"] += other.record["counts"]
        self.record["max_ns"] = max(int(self.record["max_ns"]), int(other.record["max_ns"]))

    def percentile(self, q: float) -> float:
        """Return the q-th percentile in seconds (q in percent, 0..100); NaN where nothing was counted.

        It is the upper edge of the bin that holds it, or the maximum where that is lower.
        """
        if not 0.0 <= q <= 100.0:
            raise ValueError(f"percentile of {q}: give percent from 0 to 100")
        cumulative = np.cumsum(self.counts)
        total = int(cumulative[-1])
        if total == 0:
            return math.nan
        rank = max(1, math.ceil(q / 100.0 * total - 1e-9))
        return min(float(EDGES_S[int(np.searchsorted(cumulative, rank)) + 1]), self.max_s)

    def to_dict(self) -> dict[str, float | int | None]:
        """Return count, p50_us, p99_us, p999_us and max_us; None where nothing was counted."""
        figures: dict[str, float | int | None] = {"count": self.count}
        for name, q in (("p50_us", 50.0), ("p99_us", 99.0), ("p999_us", 99.9)):
            figures[name] = round(self.percentile(q) * 1e6, 1) if self.count else None
        figures["max_us"] = round(self.max_s * 1e6, 1) if self.count else None
        return figures
