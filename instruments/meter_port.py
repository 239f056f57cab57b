"""Own a meter at a node of the capacity tree: whatever it speaks, the law gets volts, signed amps and watts, dated.

A port decides nothing. A set is dated by its first request; a value that the meter does not have stays NaN. One lost
answer leaves the last set standing and growing old; a link that is gone, or values that stand still for too long, lose
their quality at once: nothing is lifted because a meter vanished.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from instruments.faults import FaultKind, PortFault
from instruments.modbus_meter import MeterReading

GOOD, UNCERTAIN, BAD = 0, 1, 2
STRIKES = 3  # faults in a row after which a standing connection counts as lost
GONE = (FaultKind.CLOSED, FaultKind.REFUSED, FaultKind.WRONG_IDENTITY)
BACKOFF_FIRST_S = 0.5
BACKOFF_LAST_S = 10.0
LOOK_S = 0.05  # how soon a port hears that it may talk again


class Meter(Protocol):
    """Name what a port asks of the client of a meter."""

    name: str

    @property
    def connected(self) -> bool:
        """Return whether the connection stands as far as we know."""

    async def open(self) -> str:
        """Connect, identify, return one line on what answered; a PortFault otherwise."""

    async def read(self) -> MeterReading:
        """Fetch one complete set; a PortFault otherwise."""

    def close(self) -> None:
        """Leave the connection."""


def _three_nan() -> np.ndarray:
    return np.full(3, np.nan)


@dataclass(slots=True)
class NodeReading:
    """Hold what a meter says of its node: arrays (3,) in the grid's order a, b, c; + flows to the customers.

    `volt_v` line to neutral, `amp_a` with the sign of their power, `power_w` over all phases, energies in Wh,
    `quality` 0 good, 1 uncertain, 2 bad; `change_ns` monotonic ns of the set's first request, 0 before the first set.
    `round_trip_ns` is the time of a whole set, its pacing included.
    """

    volt_v: np.ndarray = field(default_factory=_three_nan)
    amp_a: np.ndarray = field(default_factory=_three_nan)
    power_w: float = math.nan
    energy_wh: float = math.nan
    export_wh: float = math.nan
    quality: int = BAD
    change_ns: int = 0
    link: bool = False
    errors: int = 0
    fault: str = ""
    round_trip_ns: int = 0


class MeterPort:
    """Poll one meter. `reading` is the same object for the life of the port.

    Parameters
    ----------
    meter: its client
    clock_ns: monotonic clock, ns
    read_s: from the start of one set to that of the next
    frozen_s: a set that repeats itself to the last bit for so long is uncertain; +inf: never
    """

    __slots__ = ("_clock_ns", "_frozen_s", "_meter", "_moved_ns", "_read_s", "_shown", "_strikes", "name", "reading")

    def __init__(
        self, meter: Meter, *, clock_ns: Callable[[], int], read_s: float = 0.5, frozen_s: float = math.inf
    ) -> None:
        self.name = meter.name
        self._meter = meter
        self._clock_ns = clock_ns
        self._read_s = read_s
        self._frozen_s = frozen_s
        self._shown: tuple[Any, ...] = ()
        self._moved_ns = 0
        self._strikes = 0
        self.reading = NodeReading()

    async def open(self) -> str:
        """Reach and identify the meter and return one line on what answered; a PortFault otherwise."""
        answer = await self._meter.open()
        self.reading.link = True
        return answer

    async def run(self, may_talk: Callable[[], bool]) -> None:
        """Poll until cancelled; nothing is sent while `may_talk` says no. Faults are kept in `reading`."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            if not may_talk():
                await asyncio.sleep(LOOK_S)
                continue
            begin_ns = self._clock_ns()
            try:
                if not (self.reading.link and self._meter.connected):
                    await self.open()
                await self.poll()
            except PortFault as fault:
                self._failed(fault)
            if self.reading.link:
                backoff_s = BACKOFF_FIRST_S
                await asyncio.sleep(max(0.0, self._read_s - (self._clock_ns() - begin_ns) * 1e-9))
            else:
                await asyncio.sleep(backoff_s)
                backoff_s = min(2.0 * backoff_s, BACKOFF_LAST_S)

    async def poll(self) -> None:
        """Fetch one set into `reading`; a PortFault leaves it as it is."""
        begin_ns = self._clock_ns()
        took = await self._meter.read()
        now_ns = self._clock_ns()
        reading = self.reading
        reading.volt_v, reading.amp_a = took.voltage_v, signed(took.current_a, took.power_w, took.total_w)
        reading.power_w = took.total_w
        reading.energy_wh, reading.export_wh = took.energy_wh, took.export_wh
        reading.change_ns = took.stamp_ns
        reading.round_trip_ns = now_ns - begin_ns
        reading.link, reading.fault, self._strikes = True, "", 0
        reading.quality = self._quality(took, now_ns)

    async def close(self) -> None:
        """Drop the connection."""
        self._meter.close()

    def _quality(self, took: MeterReading, now_ns: int) -> int:
        shown = (*took.voltage_v, *took.current_a, *took.power_w, took.frequency_hz, took.energy_wh)
        if repr(shown) != repr(self._shown):  # NaN is not equal to itself
            self._shown, self._moved_ns = shown, now_ns
        if (now_ns - self._moved_ns) * 1e-9 > self._frozen_s:
            self.reading.fault = f"{self.name}: the same values for {self._frozen_s:g} s; does the meter still measure?"
            return UNCERTAIN
        known = np.isfinite(took.voltage_v).any() or np.isfinite(took.current_a).any()
        return GOOD if known else BAD

    def _failed(self, fault: PortFault) -> None:
        reading = self.reading
        reading.errors += 1
        reading.fault = str(fault)
        self._strikes += 1
        if fault.kind in GONE or self._strikes >= STRIKES or not self._meter.connected:
            reading.link, reading.quality = False, BAD


def signed(current_a: np.ndarray, power_w: np.ndarray, total_w: float) -> np.ndarray:
    """Return magnitudes (3,) A with the sign of the phase's watts, of the total where no phase has watts.

    NaN where the direction is not known: the amps of an export would count as load, and those of a load as headroom.
    """
    by_w = power_w if np.isfinite(power_w).any() else np.full(3, total_w)
    return np.asarray(np.where(by_w < 0.0, -current_a, np.where(np.isnan(by_w), np.nan, current_a)))
