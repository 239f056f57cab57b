"""Share what the order book says: one small image, written by the orders process and latched by the scan.

A book that is silent leaves its last image where it is: an order does not end because the book died.
"""

from typing import Any

import numpy as np

from controller.law import image
from controller.runtime.site import Site
from controller.runtime.store import Store

NAME = "book.img"
FIELDS = ("book_w", "book_export_w", "book_no", "book_export_no", "wish_w")  # of the law's INPUT
CALL = "window_call_w"  # of INPUT too, of the contracts on call
CLOCK_OFF_S = 2.0  # a machine's clock that is farther from the site's was set, or the machine slept
COUNTS = ("accepted", "refused", "unkept")  # answers since the start; unkept: obeyed, and not on the disk


def dtype(dims: image.Dims) -> np.dtype[Any]:
    """Return the layout for `dims`: the INPUT fields that the book fills, and the counts of its answers."""
    nodes = [(name, "<f8", (dims.m,)) for name in FIELDS[:2]] + [(name, "<i8", (dims.m,)) for name in FIELDS[2:4]]
    calls = [("window_call_w", "<f8", (dims.w,)), ("call_no", "<i8", (dims.w,))]  # 0: obeyed, and not kept
    counts = [(name, "<i8") for name in COUNTS]
    return np.dtype([*nodes, ("wish_w", "<f8", (dims.n,)), *calls, *counts, ("clock_off_s", "<f8")])


def create(site: Site) -> None:
    """Make the image of a site, with its space reserved."""
    Store.create(site.store(NAME), dtype(site.image_dims()).itemsize)


class BookImage:
    """Attach to the image of a site: `publish` writes it, `latch` copies it into INPUT."""

    __slots__ = ("_bytes", "_seen", "record", "store")

    def __init__(self, site: Site) -> None:
        layout = dtype(site.image_dims())
        self._bytes = np.zeros(layout.itemsize, dtype=np.uint8)
        self.record: Any = self._bytes.view(layout)[0]
        self.store = Store.attach(site.store(NAME), layout.itemsize)
        self._seen = 0

    @property
    def written(self) -> bool:
        """Say whether the book has spoken at all: before that nobody knows which orders hold."""
        return self.store.sequence > 0

    def publish(self, now_ns: int) -> None:
        """Write `record` at `now_ns` of the monotonic clock."""
        self.store.write(self._bytes, now_ns)

    def now_clock_off_s(self) -> float:
        """Return how far the machine's clock is ahead of the site's, s; 0 in a scenario of its own time."""
        return float(self.record["clock_off_s"]) if self._fresh() else 0.0

    def now_unkept(self) -> int:
        """Return how many nodes and windows have a limit in force that is obeyed and not on the disk."""
        if not self._fresh():
            return 0
        pairs = (("book_w", "book_no"), ("book_export_w", "book_export_no"), (CALL, "call_no"))
        found = [np.isfinite(self.record[cap]) & (self.record[number] == 0) for cap, number in pairs]
        return sum(int(each.sum()) for each in found)

    def latch(self, inp: Any) -> None:
        """Copy the newest image into the fields of INPUT, in every scan: the wires' image holds other values there."""
        if not self._fresh():
            return
        for name in (*FIELDS, CALL):
            getattr(inp, name)[:] = self.record[name]

    def _fresh(self) -> bool:
        """Copy what is new into `record`; return whether anything was ever written."""
        if self.store.sequence != self._seen:
            self._seen = self.store.read(self._bytes)
        return self._seen > 0
