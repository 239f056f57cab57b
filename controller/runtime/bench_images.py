"""Declare what plant and bench share: `bench_set.img` (plant to bench) and `bench_meas.img` (bench to plant).

One record each. The plant writes BENCH_SET each plant step; the bench writes BENCH_MEAS twice a cycle, which is its
heartbeat too. Amps are positive from the source into the charger; (3,) are the charger's terminals L1, L2, L3.
"""

import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.site import Site
from controller.runtime.store import Store, StoreError

SET_NAME = "bench_set.img"
MEAS_NAME = "bench_meas.img"
ATTACH_S = 20.0

BENCH_SET = np.dtype(
    [
        ("seq", "i8"),  # counts up with every record, from 1
        ("stamp_ns", "i8"),  # monotonic time at which the plant computed the volts
        ("volt_v", "f8", (3,)),  # volts that the source has to show
        ("want_plugged", "u1"),  # 1: a car is there
        ("soc", "f8"),  # share 0..1 at which a played battery begins its session
    ],
    align=True,
)
BENCH_MEAS = np.dtype(
    [
        ("state", "u1"),  # BenchState
        ("fault", "u1"),  # instruments.faults.FaultKind, 0 none
        ("source_on", "u1"),
        ("load_on", "u1"),
        ("cp", "i1"),  # control-pilot state that the adapter shows: 0 A .. 3 D; -1 none yet
        ("stamp_ns", "i8"),  # monotonic time of this record
        ("set_seq", "i8"),  # BENCH_SET record whose volts stand at the source
        ("set_stamp_ns", "i8"),
        ("loop_ns", "i8"),  # from that record's stamp to the amps read back
        ("source_ns", "i8"),  # round trips of the last exchanges
        ("load_ns", "i8"),
        ("adapter_ns", "i8"),
        ("supply_ns", "i8"),
        ("amp_a", "f8", (3,)),  # read from the source
        ("volt_v", "f8", (3,)),  # read from the source
        ("power_w", "f8", (3,)),  # read from the source; NaN where it does not tell
        ("analyzer_a", "f8", (3,)),  # read from the power analyzer; on a DC bench the first of three
        ("analyzer_v", "f8", (3,)),
        ("analyzer_w", "f8", (3,)),
        ("load_set_a", "f8"),  # what the car wants to draw, on each of its phases
        ("load_a", "f8", (3,)),  # read from the loads
        ("load_v", "f8", (3,)),
        ("duty", "f8"),  # measured, share 0..1
        ("dc_v", "f8"),  # read from the supply that plays the battery
        ("dc_a", "f8"),  # + into the battery
        ("dc_w", "f8"),
        ("demand_a", "f8"),  # what the battery's management asks the charger for
        ("soc", "f8"),  # share 0..1 of the played battery
        ("cycles", "i8"),
        ("late", "i8"),  # cycles longer than the period
        ("timeouts", "i8"),
        ("slewing", "i8"),  # cycles in which the slew rate held the volts back
    ],
    align=True,
)
FLOATS = tuple(name for name in BENCH_MEAS.names or () if BENCH_MEAS[name].base.kind == "f")


class BenchState(IntEnum):
    """Say where the bench is in its life."""

    NONE = 0
    READY = 1  # identified and prepared, nothing energised
    STARTING = 2
    RUNNING = 3
    STOPPING = 4
    OFF = 5  # confirmed off by read-back
    FAULT = 6  # fault stop: switched off as far as the instruments answered


class Wanted:
    """Read the plant's record."""

    __slots__ = ("_bytes", "_seen", "_store", "record")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = 0
        self.record: Any = np.zeros(1, dtype=BENCH_SET)
        self._bytes = self.record.view(np.uint8)

    @classmethod
    def attach(cls, path: Path, wait_s: float = ATTACH_S) -> "Wanted":
        """Attach to the plant's image, waiting for it at most `wait_s` seconds; StoreError after that."""
        until_s = time.monotonic() + wait_s
        while True:
            try:
                return cls(Store.attach(path, BENCH_SET.itemsize))
            except StoreError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.05)

    def read(self) -> None:
        """Take the newest record."""
        self._seen = self._store.read(self._bytes)

    def is_new(self) -> bool:
        """Tell whether the plant has written since the last `read`."""
        return self._store.sequence != self._seen

    @property
    def seq(self) -> int:
        """Return the record's number; 0 where the plant has written none."""
        return int(self.record["seq"][0])

    @property
    def stamp_ns(self) -> int:
        """Return when the plant computed the record, monotonic ns."""
        return int(self.record["stamp_ns"][0])

    @property
    def volt_v(self) -> np.ndarray:
        """Return the wanted volts, (3,)."""
        return np.asarray(self.record["volt_v"][0])

    @property
    def soc(self) -> float:
        """Return the state of charge at which a played battery begins, 0..1; NaN for none."""
        return float(self.record["soc"][0])

    @property
    def plugged(self) -> bool:
        """Tell whether a car is there."""
        return bool(self.record["want_plugged"][0])


class Measured:
    """Fill and publish the bench's record."""

    __slots__ = ("_bytes", "_store", "record")

    def __init__(self, store: Store) -> None:
        self._store = store
        whole = np.zeros(1, dtype=BENCH_MEAS)
        for name in FLOATS:
            whole[name] = np.nan
        whole["cp"] = -1
        self._bytes = whole.view(np.uint8)
        self.record: Any = whole[0]

    @classmethod
    def create(cls, site: Site) -> "Measured":
        """Make the image in the site's store folder."""
        return cls(Store.create(site.store(MEAS_NAME), BENCH_MEAS.itemsize))

    def set(self, **values: Any) -> None:
        """Set fields by name."""
        for name, value in values.items():
            self.record[name] = value

    def count(self, name: str) -> None:
        """Add one to a counter."""
        self.record[name] += 1

    def publish(self, state: BenchState, now_ns: int) -> None:
        """Write the record."""
        self.set(state=int(state), stamp_ns=now_ns)
        self._store.write(self._bytes, now_ns)


class WantedWriter:
    """Write the plant's record; it makes the image, so only the plant may hold one."""

    __slots__ = ("_bytes", "_store", "record")

    def __init__(self, path: Path) -> None:
        self._store = Store.create(path, BENCH_SET.itemsize)
        self.record: Any = np.zeros(1, dtype=BENCH_SET)
        self._bytes = self.record.view(np.uint8)

    def write(self, volt_v: np.ndarray, plugged: bool, now_ns: int, soc: float = float("nan")) -> None:
        """Publish the volts (3,) that the source has to show, whether a car is there, and its state of charge."""
        self.record["seq"] += 1
        self.record["stamp_ns"] = now_ns
        self.record["volt_v"][0] = volt_v
        self.record["want_plugged"] = plugged
        self.record["soc"] = soc
        self._store.write(self._bytes, now_ns)


class MeasuredView:
    """Read the bench's record, for the plant and the recorder."""

    __slots__ = ("_bytes", "_store", "record")

    def __init__(self, path: Path) -> None:
        self._store = Store.attach(path, BENCH_MEAS.itemsize)
        self.record: Any = np.zeros(1, dtype=BENCH_MEAS)
        self._bytes = self.record.view(np.uint8)

    def read(self) -> Any:
        """Return the newest record (a BENCH_MEAS scalar, valid until the next read); None where there is none yet."""
        return self.record[0] if self._store.read(self._bytes) else None
