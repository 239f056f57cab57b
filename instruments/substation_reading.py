"""Turn a substation's values, stamps and qualities into rows of the nodes of a plan. No wire and no clock in here.

The age of a value counts on our own monotonic clock from the last change of its *source* stamp; the server's stamp
says nothing about the measurement. A lost link makes every quality Bad and leaves limits as they were: nothing is
lifted because an input vanished.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from instruments.opcua_skew import SkewWatch

GOOD, UNCERTAIN, BAD = 0, 1, 2
PHASES = 3
TORN_S = 1.0  # an order whose parts differ in their stamps for longer is not to be trusted
TRANSFORMER = "transformer"
MEASURED = ("volts", "amps", "watts")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NULL_YEAR = 1601  # the null DateTime of OPC UA Part 6, 5.2.2.5


@dataclass(slots=True, eq=False)
class SubstationReading:
    """Hold what the substation says, one row a node of the plan: named and shaped as the node fields of INPUT.

    Volts (M, 3) V line to neutral, amps (M, 3) A and watts (M,) W towards the customers, frequency (1,) Hz, `order_*`
    the DSO's limits of import and export (W, +inf none) with their validity in UTC epoch seconds (NaN open).
    Qualities: 0 good, 1 uncertain, 2 bad.
    The image has one age for amps and watts: the older of the two, and the worse quality.
    """

    node_v: np.ndarray
    node_v_quality: np.ndarray
    node_v_change_ns: np.ndarray
    node_v_stamp_utc_ns: np.ndarray
    node_a: np.ndarray
    node_a_quality: np.ndarray
    node_a_change_ns: np.ndarray
    node_a_stamp_utc_ns: np.ndarray
    node_w: np.ndarray
    node_temp_c: np.ndarray
    frequency_hz: np.ndarray
    frequency_quality: np.ndarray
    frequency_change_ns: np.ndarray
    order_w: np.ndarray
    order_export_w: np.ndarray
    order_from_s: np.ndarray
    order_to_s: np.ndarray
    order_quality: np.ndarray
    order_beat_ns: np.ndarray
    link: bool = False
    errors: int = 0
    fault: str = ""
    round_trip_ns: int = 0
    skew_s: float = math.nan  # of the station's clock, + ahead, while it is told

    @classmethod
    def empty(cls, m: int) -> "SubstationReading":
        """Return a reading of `m` nodes of which nothing is known; no order is in force."""

        def full(value: float, *shape: int) -> np.ndarray:
            return np.full(shape or (m,), value)

        def zeros(rows: int = m) -> np.ndarray:
            return np.zeros(rows, dtype=np.int64)

        def bad(rows: int = m) -> np.ndarray:
            return np.full(rows, BAD, dtype=np.uint8)

        return cls(
            node_v=full(math.nan, m, PHASES),
            node_v_quality=bad(),
            node_v_change_ns=zeros(),
            node_v_stamp_utc_ns=zeros(),
            node_a=full(math.nan, m, PHASES),
            node_a_quality=bad(),
            node_a_change_ns=zeros(),
            node_a_stamp_utc_ns=zeros(),
            node_w=full(math.nan),
            node_temp_c=full(math.nan),
            frequency_hz=full(math.nan, 1),
            frequency_quality=bad(1),
            frequency_change_ns=zeros(1),
            order_w=full(math.inf),
            order_export_w=full(math.inf),
            order_from_s=full(math.nan),
            order_to_s=full(math.nan),
            order_quality=bad(),
            order_beat_ns=zeros(),
        )


@dataclass(slots=True)
class Slot:
    """Hold the last value of one variable: our quality code, source stamp (ns UTC; 0 none) and its last change."""

    value: Any = None
    quality: int = BAD
    stamp_utc_ns: int = 0
    change_ns: int = 0
    seen: bool = False  # in this session


def quality_of(status: int) -> int:
    """Return 0 good, 1 uncertain or 2 bad: the severity bits of a status code (OPC UA Part 4, 7.39.1)."""
    return min(status >> 30, BAD)


def stamp_of(stamp: datetime | None) -> int:
    """Return a source time stamp as ns of the Unix epoch, UTC; 0 where there is none."""
    if stamp is None:
        return 0
    aware = stamp if stamp.tzinfo is not None else stamp.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND * 1_000


def seconds_of(stamp: datetime) -> float:
    """Return a DateTime as UTC epoch seconds; NaN for the null DateTime."""
    return math.nan if stamp.year == NULL_YEAR else stamp_of(stamp) // 1_000 / 1e6  # exact in float64


class StationModel:
    """Turn notifications into a reading. No wire in here: clocks and values are handed in."""

    def __init__(self, points: dict[str, list[int]], m: int) -> None:
        nodes = [i for group in points.values() for i in group]
        if len(set(nodes)) != len(nodes) or any(not 0 <= i < m for i in nodes):
            raise ValueError(f"points {points}: each node of 0..{m - 1} may be measured by one group only")
        self.points = {group: np.array(indices, dtype=np.intp) for group, indices in points.items()}
        self.reading = SubstationReading.empty(m)
        self.slots: dict[tuple[str, str], Slot] = {}
        self.skew = SkewWatch()
        self.skew_news = False  # what is told of the station's clock has changed: the client tells it on
        self._torn_ns: dict[str, int] = {}

    def take(
        self, name: str, group: str, value: Any, status: int, stamp: datetime | None, now_ns: int, utc_ns: int
    ) -> None:
        """Take one variable's value, status code and source stamp; a first stamp is as old as it says."""
        slot = self.slots.setdefault((name, group), Slot())
        stamp_ns = stamp_of(stamp)
        value = value if name != "heartbeat" or _is_count(value) else None
        slot.quality = BAD if value is None or stamp_ns == 0 else quality_of(status)
        # a heartbeat lives by its count: a server may well stamp a dead one anew
        counts = name == "heartbeat"
        news = value not in (None, slot.value) if counts else stamp_ns != slot.stamp_utc_ns
        if value is not None or not counts:
            slot.value = value
        slot.stamp_utc_ns = stamp_ns
        if news:
            # after a break the stamp has changed at some time that nobody saw
            slot.change_ns = now_ns if slot.seen else now_ns - max(0, utc_ns - stamp_ns)
            if slot.seen and name in MEASURED and slot.quality != BAD:
                self.skew_news |= self.skew.take(stamp_ns, utc_ns, now_ns)
                self.reading.skew_s = self.skew.skew_s
        slot.seen = True
        if name == "volts":
            self._volts(group)
        elif name in ("amps", "watts"):
            self._amps(group)
        elif name == "temperature":
            self._temperature()
        elif name == "frequency":
            self._frequency(slot)
        elif name == "heartbeat":
            self._beat(group, slot)
        else:
            self._order(group, now_ns)

    def lost(self) -> None:
        """Mark everything Bad; limits and last values stay. Stamps seen again later start with the age they say."""
        for slot in self.slots.values():
            slot.quality, slot.seen = BAD, False
        self.skew.forget()
        self.reading.node_v_quality[:] = BAD
        self.reading.node_a_quality[:] = BAD
        self.reading.order_quality[:] = BAD
        self.reading.frequency_quality[:] = BAD
        self.reading.node_temp_c[:] = math.nan
        self.reading.link = False

    def tick(self, now_ns: int) -> None:
        """Distrust orders whose parts have not come together in time."""
        for group, since_ns in self._torn_ns.items():
            if now_ns - since_ns > TORN_S * 1e9:
                self.reading.order_quality[self.points[group]] = BAD

    def _volts(self, group: str) -> None:
        rows, slot, reading = self.points[group], self.slots["volts", group], self.reading
        values = _array(slot, (len(rows), PHASES))
        reading.node_v[rows] = values if values is not None else math.nan
        reading.node_v_quality[rows] = slot.quality
        reading.node_v_change_ns[rows] = slot.change_ns
        reading.node_v_stamp_utc_ns[rows] = slot.stamp_utc_ns

    def _amps(self, group: str) -> None:
        rows, reading = self.points[group], self.reading
        amps, watts = (self.slots.setdefault((name, group), Slot()) for name in ("amps", "watts"))
        a, w = _array(amps, (len(rows), PHASES)), _array(watts, (len(rows),))
        reading.node_a[rows] = a if a is not None else math.nan
        reading.node_w[rows] = w if w is not None else math.nan
        older = min(amps, watts, key=lambda slot: slot.change_ns)
        reading.node_a_quality[rows] = max(amps.quality, watts.quality)
        reading.node_a_change_ns[rows] = older.change_ns
        reading.node_a_stamp_utc_ns[rows] = older.stamp_utc_ns

    def _temperature(self) -> None:
        slot = self.slots["temperature", ""]
        if TRANSFORMER in self.points:
            rows = self.points[TRANSFORMER]
            value = _array(slot, (1,))
            self.reading.node_temp_c[rows] = math.nan if value is None or slot.quality != GOOD else value

    def _frequency(self, slot: Slot) -> None:
        value = _array(slot, (1,))
        self.reading.frequency_hz[:] = math.nan if value is None else value
        self.reading.frequency_quality[:] = slot.quality
        self.reading.frequency_change_ns[:] = slot.change_ns

    def _beat(self, group: str, slot: Slot) -> None:
        if slot.quality == GOOD:
            self.reading.order_beat_ns[self.points[group]] = slot.change_ns

    def _order(self, group: str, now_ns: int) -> None:
        """Adopt an order once its four parts are there under one stamp; a limit that is no limit is Bad."""
        names = ("order_w", "order_export_w", "order_from", "order_to")
        parts = [self.slots.setdefault((name, group), Slot()) for name in names]
        rows, reading = self.points[group], self.reading
        quality = max(part.quality for part in parts)
        if quality == BAD:
            reading.order_quality[rows] = BAD
            return
        if len({part.stamp_utc_ns for part in parts}) > 1:
            self._torn_ns.setdefault(group, now_ns)
            return
        self._torn_ns.pop(group, None)
        limit_w, export_w = (_array(part, (len(rows),)) for part in parts[:2])
        dates = [part.value for part in parts[2:]]
        if limit_w is None or export_w is None or not all(_are_dates(each, len(rows)) for each in dates):
            reading.order_quality[rows] = BAD
            return
        valid = (limit_w >= 0.0) & (export_w >= 0.0)  # false on NaN
        kept = rows[valid]
        reading.order_w[kept] = limit_w[valid]
        reading.order_export_w[kept] = export_w[valid]
        reading.order_from_s[kept] = np.array([seconds_of(d) for d in dates[0]])[valid]
        reading.order_to_s[kept] = np.array([seconds_of(d) for d in dates[1]])[valid]
        reading.order_quality[rows] = np.where(valid, quality, BAD)


def _array(slot: Slot, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a slot's numbers in `shape`; None, and a Bad slot, where it holds something else."""
    if slot.value is None:
        return None
    try:
        values = np.asarray(slot.value)
    except ValueError:  # rows of different lengths
        values = np.empty(0)
    if values.dtype.kind in "fiu" and values.size == math.prod(shape):
        return values.astype(np.float64).reshape(shape)
    slot.quality = BAD
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32


def _are_dates(value: Any, size: int) -> bool:
    return isinstance(value, list) and len(value) == size and all(isinstance(each, datetime) for each in value)
