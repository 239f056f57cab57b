"""Compose the INPUT image from what the ports read, and tell each port what the scan allows it to write.

No wire in here: the ports hand over their readings, so that tests and other transports can do the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from controller.law import image
from controller.law.names import Trust
from controller.runtime.histogram import Histogram
from controller.runtime.store import Store

NODE_FIELDS = (
    "node_v",
    "node_v_quality",
    "node_v_change_ns",
    "node_v_stamp_utc_ns",
    "node_a",
    "node_a_quality",
    "node_a_change_ns",
    "node_a_stamp_utc_ns",
    "node_w",
    "node_temp_c",
    "frequency_hz",
    "frequency_quality",
    "frequency_change_ns",
    "order_w",
    "order_export_w",
    "order_from_s",
    "order_to_s",
    "order_quality",
    "order_beat_ns",
)
BELOW_A = 0.5  # drawn amps count as obeyed within this much above the limit


class ChargerReading(Protocol):
    """Name what the runtime takes from a charger's reading: terminals L1..L3, load reference, NaN unknown."""

    volt_v: Any
    amp_a: Any
    power_w: float
    session_wh: float
    state: int
    limit_a: float
    quality: int
    change_ns: int
    link: bool
    session_no: int


SCALARS = {
    "charger_w": "power_w",
    "charger_wh": "session_wh",
    "charger_state": "state",
    "charger_quality": "quality",
    "charger_change_ns": "change_ns",
    "charger_link": "link",
    "session_no": "session_no",
}
GETTERS = [(field, attrgetter(name)) for field, name in SCALARS.items()]


def put_chargers(inp: Any, readings: Sequence[ChargerReading]) -> None:
    """Write all chargers' readings, in the plan's order, into the INPUT views: one assignment a field.

    The limit of a charger that another master overwrites is the larger of what it says and what was seen, so that the
    law reserves it.
    """
    if not readings:
        return
    inp.charger_v[:] = [reading.volt_v for reading in readings]
    inp.charger_a[:] = [reading.amp_a for reading in readings]
    for field, get in GETTERS:
        getattr(inp, field)[:] = list(map(get, readings))
    inp.charger_limit_a[:] = list(map(limit_of, readings))
    inp.charger_phases[:] = [getattr(reading, "phases", -1) for reading in readings]


def limit_of(reading: ChargerReading) -> float:
    """Return the limit in force as the law is to see it, A; NaN unknown."""
    over_a = getattr(reading, "overwritten_a", math.nan)
    limit_a = reading.limit_a
    return over_a if over_a > limit_a or math.isnan(limit_a) else limit_a


def put_nodes(inp: Any, reading: Any) -> None:
    """Copy a substation's reading, whose arrays are named and shaped as the node fields of INPUT."""
    for name in NODE_FIELDS:
        getattr(inp, name)[:] = getattr(reading, name)


def put_meter(inp: Any, m: int, reading: Any, utc_minus_mono_ns: int) -> None:
    """Write a meter's reading as the measurement of node `m`, in the place of what a substation says of it.

    A Modbus meter stamps nothing: the time of our request stands for its source stamp.
    """
    inp.node_v[m], inp.node_a[m], inp.node_w[m] = reading.volt_v, reading.amp_a, reading.power_w
    for what in ("node_v", "node_a"):
        getattr(inp, f"{what}_quality")[m] = reading.quality
        getattr(inp, f"{what}_change_ns")[m] = reading.change_ns
        getattr(inp, f"{what}_stamp_utc_ns")[m] = reading.change_ns + utc_minus_mono_ns if reading.change_ns else 0


class OutputTap:
    """Follow `output.img`: the newest allowed amps, and whether the scan that decided them still lives.

    `limit_s` is the oldest heartbeat with which a port may talk. Before the first scan nothing is written, but reading
    is allowed: the scan needs inputs to start.
    """

    __slots__ = ("_buffer", "_limit_ns", "_met", "_output", "_seen", "_store")

    def __init__(self, store: Store, dims: image.Dims, limit_s: float) -> None:
        self._store = store
        self._buffer, self._output = image.allocate("output", dims)
        self._limit_ns = round(limit_s * 1e9)
        self._seen = 0
        self._met = np.zeros(dims.n, dtype=bool)  # chargers whose readings the law has believed or held once

    def may_talk(self, now_ns: int) -> bool:
        """Say whether any I/O is allowed at `now_ns`: no scan yet, or one whose heartbeat is young enough."""
        return self._store.sequence == 0 or now_ns - self._store.written_ns <= self._limit_ns

    def refresh(self) -> bool:
        """Take the newest OUTPUT and return whether it is another one than before."""
        if self._store.sequence == self._seen:
            return False
        self._seen = self._store.read(self._buffer)
        self._met |= self._output.charger_trust != Trust.DESIGN
        return True

    def want_a(self, i: int, now_ns: int) -> float:
        """Return the amps that charger `i` may draw; NaN while nothing may be written.

        Nothing is written before the law has seen the charger once: its 0 until then means unknown, and would pause
        a car that charges within its limit while the controller restarts.
        """
        self.refresh()
        if not self._met[i] or not self.may_talk(now_ns):
            return float("nan")
        return float(self._output.allowed_a[i])

    def wants_a(self, now_ns: int) -> np.ndarray:
        """Return `want_a` of all chargers at once, (N,): a new array."""
        self.refresh()
        if not self.may_talk(now_ns):
            return np.full(len(self._met), np.nan)
        wanted: np.ndarray = np.where(self._met, self._output.allowed_a, np.nan)
        return wanted

    @property
    def allowed_a(self) -> np.ndarray:
        """Return the newest allowed amps, (N,)."""
        allowed: np.ndarray = self._output.allowed_a
        return allowed

    @property
    def number_phases(self) -> np.ndarray:
        """Return the newest numbers of phases asked for, (N,); 0 no request."""
        number: np.ndarray = self._output.number_phases
        return number

    @property
    def reason(self) -> np.ndarray:
        """Return the newest reason codes, (N,)."""
        reason: np.ndarray = self._output.reason
        return reason

    @property
    def decided_ns(self) -> int:
        """Return the monotonic time of the scan that decided them, ns."""
        return int(self._output.now_ns[0])


@dataclass(slots=True)
class ObeyClock:
    """Time how long one charger takes from a lower limit's decision until its drawn amps are below the limit.

    A further fall while it is still above starts no new time; a raise, a lost link or a reading from before the
    decision says nothing and counts nothing.
    """

    histogram: Histogram
    limit_a: float = float("inf")
    since_ns: int = 0

    def update(self, allowed_a: float, decided_ns: int, drawn_a: float, read_ns: int) -> None:
        """Take the newest decision (A, ns) and reading (largest phase amps, ns)."""
        if self.since_ns and allowed_a > self.limit_a:
            self.since_ns = 0
        if not self.since_ns and allowed_a < self.limit_a and drawn_a > allowed_a + BELOW_A:
            self.since_ns = decided_ns
        self.limit_a = allowed_a
        if self.since_ns and read_ns > self.since_ns and drawn_a <= allowed_a + BELOW_A:
            self.histogram.add_ns(read_ns - self.since_ns)
            self.since_ns = 0
