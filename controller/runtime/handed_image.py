"""Share the limits that are handed in: one small image, written by the `handed` process and latched by the scan.

A process that is silent leaves its last image where it is. What it says of nodes carries its time, and the law falls
to what was agreed when that is too old; a dimmed group stays dimmed.
"""

from typing import Any

import numpy as np

from controller.law import image
from controller.runtime.site import Site
from controller.runtime.store import Store

NAME = "handed.img"
FIELDS = ("doe_w", "doe_export_w", "doe_to_s", "doe_ns", "group_w")  # of the law's INPUT


def create(site: Site) -> None:
    """Make the image of a site that is handed limits, with its space reserved."""
    if site.handed is not None:
        Store.create(site.store(NAME), _dtype(site.image_dims()).itemsize)


def _dtype(dims: image.Dims) -> np.dtype[Any]:
    inp = image.allocate("input", dims)[1]
    fields = [(name, getattr(inp, name).dtype.str, getattr(inp, name).shape) for name in FIELDS]
    return np.dtype([*fields, ("dim_until_s", "<f8")])


class HandedImage:
    """Attach to the image of a site: `publish` writes it, `latch` copies it into INPUT."""

    __slots__ = ("_bytes", "_seen", "record", "store")

    def __init__(self, site: Site) -> None:
        layout = _dtype(site.image_dims())
        inp = image.allocate("input", site.image_dims())[1]
        self._bytes = np.zeros(layout.itemsize, dtype=np.uint8)
        self.record: Any = self._bytes.view(layout).view(np.recarray)[0]
        for name in FIELDS:
            self.record[name] = getattr(inp, name)
        self.record["dim_until_s"] = -np.inf
        self.store = Store.attach(site.store(NAME), layout.itemsize)
        self._seen = 0

    @property
    def written(self) -> bool:
        """Say whether it was ever written: before that nobody knows what is dimmed."""
        return self.store.sequence > 0

    def recall(self) -> None:
        """Take over what one before us in this run had written last."""
        if self.written:
            self.store.read(self._bytes)

    def publish(self, now_ns: int) -> None:
        """Write `record` at `now_ns` of the monotonic clock."""
        self.store.write(self._bytes, now_ns)

    def latch(self, inp: Any) -> None:
        """Copy the newest image into the fields of INPUT, in every scan: the wires' image holds other values there."""
        if self.store.sequence != self._seen:
            self._seen = self.store.read(self._bytes)
        if self._seen:
            for name in FIELDS:
                getattr(inp, name)[:] = self.record[name]
