"""Name and make the shared files of a run, before any process of it starts.

They are made once by the parent and only attached to by the others: making one anew would cut it under a reader.
`input.img` is written by the wires, everything else here by the scan, except `orders.box` (the desk), `wires.img`
(the wires), `book.img` and the folder `answers` (the orders process) and `offers` (whoever offers an order).
"""

from pathlib import Path

import numpy as np

from controller.law import image
from controller.runtime import (
    handed_image,
    mailbox,
    order_image,
    order_intake,
    order_unkept,
    ring,
    timing,
    wires_status,
)
from controller.runtime.site import Site
from controller.runtime.store import HEADER_BYTES, MAGIC, Store

IMAGES = {"input.img": "input", "latched.img": "input", "output.img": "output", "state.img": "state"}
ORDERS = "orders.box"
BEAT = "supervisor.img"
BEAT_BYTES = 64
STOPPING = 0  # byte of the supervisor's heartbeat: 1 while a planned stop is under way
GUARD = "guard.img"
CONTROL_ROOM = "control_room.img"


def prepare(site: Site) -> None:
    """Make every shared file of the controller in the site's store folder, with its space reserved."""
    Path(site.store_dir).mkdir(parents=True, exist_ok=True)
    dims = site.image_dims()
    sizes = {table: image.layout(table, dims)[1] for table in image.TABLES}
    for name, table in IMAGES.items():
        Store.create(site.store(name), sizes[table])
    timing.Timing.create(site.store(timing.NAME), round(site.period_s * 1e9))
    Store.create(site.store(wires_status.NAME), wires_status.dtype(wires_status.ports(site)).itemsize)
    for name in (BEAT, GUARD, *([CONTROL_ROOM] if site.opcua is not None else [])):
        Store.create(site.store(name), BEAT_BYTES)
    ring.Ring.create(site.store(ring.NAME), max(sizes["state"], sizes["input"] + sizes["output"]))
    mailbox.Mailbox.create(site.store(ORDERS)).close()
    order_image.create(site)
    order_unkept.create(site)
    handed_image.create(site)
    order_intake.create(site)


def attach(site: Site, name: str) -> Store:
    """Attach to one of the process images by its file name."""
    return Store.attach(site.store(name), image.layout(IMAGES[name], site.image_dims())[1])


class Heartbeat:
    """Watch when a shared image was last written, whatever it holds; the file may appear later."""

    __slots__ = ("_header", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._header: np.ndarray | None = None

    def written_ns(self) -> int:
        """Return the monotonic time of the last write, ns; 0 where there was none yet."""
        if self._header is None:
            if not self.path.exists() or self.path.stat().st_size < HEADER_BYTES:
                return 0
            header = np.memmap(self.path, dtype=np.int64, mode="r", shape=(HEADER_BYTES // 8,))
            if header[3] != MAGIC:
                return 0
            self._header = header
        return int(self._header[1])

    def age_s(self, now_ns: int) -> float:
        """Return the seconds since the last write; NaN where there was none yet."""
        written_ns = self.written_ns()
        return (now_ns - written_ns) / 1e9 if written_ns else float("nan")
