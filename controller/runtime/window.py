"""Let others look at a running controller without being able to disturb it: newest images, timing and ports.

The window copies whole images when asked and holds no lock; a viewer that hangs or dies changes nothing. What is not
there yet, timing figures or ports, is None until it is.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from controller.law import image
from controller.runtime import stores, timing, wires_status
from controller.runtime.histogram import Histogram
from controller.runtime.order_image import CLOCK_OFF_S, BookImage
from controller.runtime.site import Site, read_site
from controller.runtime.store import Store, StoreError


class WindowError(RuntimeError):
    """Report a site file or an image that cannot be looked at."""


class Window:
    """Look at one run: `site`, `plan`, and after each `refresh` the newest `input`, `output`, `timing` and `ports`.

    `input`, `plan` and `output` are the named tuples of views of `law.image`; `timing` is a TimingView, `ports` the
    record array of `wires_status.PORT`, or None.
    """

    __slots__ = (
        "_book",
        "_input_buffer",
        "_latched",
        "_output_buffer",
        "_output_store",
        "_seen",
        "input",
        "output",
        "plan",
        "ports",
        "site",
        "timing",
    )

    def __init__(self, site: Site) -> None:
        dims = site.image_dims()
        self.site = site
        self.plan: Any = image.views("plan", dims, site.load_plan())
        self._input_buffer, self.input = image.allocate("input", dims)
        self._output_buffer, self.output = image.allocate("output", dims)
        self._book = BookImage(site)
        self._latched = stores.attach(site, "latched.img")
        self._output_store = stores.attach(site, "output.img")
        self._seen = 0
        self.timing: timing.TimingView | None = None
        self.ports: np.ndarray | None = None

    @classmethod
    def attach(cls, site_json: Path) -> "Window":
        """Attach to the run of a site file; a WindowError says what is missing."""
        try:
            return cls(read_site(site_json))
        except FileNotFoundError as error:
            raise WindowError(f"{error.filename}: no such file; give the site.json of a run that is alive") from error
        except (StoreError, ValidationError, ValueError) as error:
            raise WindowError(f"{site_json}: {error}") from error

    @property
    def orders_path(self) -> Path:
        """Return the path of the mailbox that takes operators' orders."""
        return self.site.store(stores.ORDERS)

    @property
    def started(self) -> bool:
        """Say whether the scan has ever published."""
        return self._output_store.sequence > 0

    def refresh(self) -> bool:
        """Copy what is new and return whether there was a new scan."""
        self.timing = self._read_timing()
        self.ports = self._read_ports()
        if self._output_store.sequence == self._seen:
            return False
        self._seen = self._output_store.read(self._output_buffer)
        self._latched.read(self._input_buffer)
        return True

    def unkept(self) -> int:
        """Return how many orders at work could not be kept on the disk, by the order book's image."""
        return self._book.now_unkept()

    def clock_off_s(self) -> float:
        """Return how far the machine's clock is ahead of the site's, s, where that is an alarm; else 0."""
        off_s = self._book.now_clock_off_s()
        return off_s if abs(off_s) > CLOCK_OFF_S else 0.0

    def age_s(self, now_ns: int) -> float:
        """Return the seconds since the newest scan was published; +inf where there was none."""
        return (now_ns - self._output_store.written_ns) / 1e9 if self.started else float("inf")

    @staticmethod
    def histogram(record: np.ndarray) -> Histogram:
        """Return a histogram on one of the records of `ports`."""
        return Histogram(record)

    def _read_timing(self) -> timing.TimingView | None:
        path = self.site.store(timing.NAME)
        return timing.read_timing(path) if path.exists() else None

    def _read_ports(self) -> np.ndarray | None:
        path = self.site.store(wires_status.NAME)
        if not path.exists():
            return None
        layout = wires_status.dtype(wires_status.ports(self.site))
        if Store.attach(path, layout.itemsize).sequence == 0:
            return None
        ports: np.ndarray = wires_status.read_wires(self.site)["ports"]
        return ports
