"""Carry orders that are obeyed and not on the disk over the death of the orders process, in a small shared image.

Its space is reserved when the run is made, so that a full disk cannot take it. Orders come back whole: who sent them,
their sequence and their end, so that only who sent one lifts it, or its time.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from controller.runtime.events import plain
from controller.runtime.order import Order, from_fields
from controller.runtime.site import Site
from controller.runtime.store import Store

NAME = "unkept.img"
NBYTES = 64 << 10  # some two hundred orders


def create(site: Site) -> None:
    """Make the image of a site, with its space reserved."""
    Store.create(site.store(NAME), NBYTES)


class UnkeptImage:
    """Attach to the image of a site: one process writes and reads it."""

    __slots__ = ("_said", "_store")

    def __init__(self, site: Site) -> None:
        self._store = Store.attach(site.store(NAME), NBYTES)
        self._said: list[Order] = []

    def write(self, orders: Iterable[Order], now_ns: int) -> None:
        """Keep these orders in the place of those before; where there are too many, those that ask for the least."""
        lowest = sorted(orders, key=lambda order: order.value_w)
        if lowest == self._said:
            return
        self._said, data = lowest, b""
        for order in lowest:
            line = json.dumps(plain(asdict(order))).encode() + b"\n"
            if len(data) + len(line) > NBYTES:
                break
            data += line
        self._store.write(np.frombuffer(data.ljust(NBYTES), dtype=np.uint8), now_ns)

    def read(self) -> list[Order]:
        """Return the orders that were written last; none where none ever were."""
        if not self._store.sequence:
            return []
        buffer = np.zeros(NBYTES, dtype=np.uint8)
        self._store.read(buffer)
        return [from_fields(json.loads(line)) for line in buffer.tobytes().strip().splitlines()]
