"""Read a three-phase Modbus meter: volts, amps and watts a phase, frequency and energy, with quality and age.

A value that is not a number, or that the meter marks as not available (all ones unsigned, 0x7FFF.. signed: ABB B23 and
B24), is NaN here. A set is as old as its first request; a fault leaves the last set standing, and growing old.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from instruments.catalog import CatalogError, Model, modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_catalog import Register
from instruments.modbus_codec import decode_words
from instruments.modbus_identity import check_identity
from instruments.modbus_link import ModbusLink, split_address
from instruments.modbus_pacing import PollPlan
from instruments.modbus_poller import Buses


class MeterQuality(IntEnum):
    """Say how much of the last set may be believed."""

    NONE = 0  # nothing was read yet
    PARTIAL = 1  # some phase value is NaN
    GOOD = 2


def _three_nan() -> np.ndarray:
    return np.full(3, np.nan)


@dataclass(slots=True)
class MeterReading:
    """Hold the last complete set. Arrays have shape (3,) in the order of our phases; + is import.

    `current_a` is a magnitude, as these meters tell it; the direction is in `power_w`. `stamp_ns` is when the first
    request of the set was sent, 0 before the first set.
    """

    voltage_v: np.ndarray = field(default_factory=_three_nan)
    current_a: np.ndarray = field(default_factory=_three_nan)
    power_w: np.ndarray = field(default_factory=_three_nan)
    total_w: float = math.nan  # over all phases, as the meter sums it
    frequency_hz: float = math.nan
    energy_wh: float = math.nan
    export_wh: float = math.nan
    stamp_ns: int = 0
    quality: MeterQuality = MeterQuality.NONE

    def age_s(self, now_ns: int) -> float:
        """Return the age of the set in s; +inf before the first."""
        return (now_ns - self.stamp_ns) * 1e-9 if self.quality else math.inf


class ModbusMeter:
    """Own one meter's side of a connection. Use it from one task.

    Parameters
    ----------
    name: in the rig or site file, for faults
    model: its catalog record, role meter; `Model.at` sets the unit id
    address: ``modbus+tcp://host:port``
    clock_ns: monotonic clock, ns
    phases: our phase (1..3) at the meter's L1, L2, L3
    ct_sign: -1 where the current transformers are turned round: watts and the two energies change places
    buses: shared connections; None: one of its own
    """

    __slots__ = ("_clock_ns", "_link", "_modbus", "_model", "_order", "_plan", "_sign", "name", "reading")

    def __init__(
        self,
        name: str,
        model: Model,
        address: str,
        *,
        clock_ns: Callable[[], int],
        phases: tuple[int, int, int] = (1, 2, 3),
        ct_sign: int = 1,
        buses: Buses | None = None,
    ) -> None:
        if model.model.role != "meter":
            raise CatalogError(f"{model.model.name}: has the role {model.model.role}; a meter is needed")
        if sorted(phases) != [1, 2, 3]:
            raise PortFault(FaultKind.RANGE, name, "phases", f"{phases}; allowed: each of 1, 2, 3 once")
        if ct_sign not in (1, -1):
            raise PortFault(FaultKind.RANGE, name, "ct_sign", f"{ct_sign}; allowed: 1, -1")
        self.name = name
        self._model = model
        self._modbus = modbus_of(model)
        self._clock_ns = clock_ns
        self._order = [phases.index(k) + 1 for k in (1, 2, 3)]  # the meter's phase at each of ours
        self._sign = ct_sign
        bus = buses.at(*split_address(name, address)) if buses else None
        self._link = ModbusLink(name, self._modbus, address, clock_ns, read_only=True, bus=bus)
        polls = self._modbus.polls
        self._plan = PollPlan(len(polls.core), len(polls.rare), self._modbus.read_gap_s)
        self.reading = MeterReading()

    @property
    def connected(self) -> bool:
        """Return whether the connection stands as far as we know."""
        return self._link.connected

    async def open(self) -> str:
        """Connect, compare the identity, return one line on what answered.

        Errors: PortFault, WRONG_IDENTITY where something else answers there.
        """
        await self._link.open()
        name = self._modbus.identity.register_name
        try:
            value = (await self._fetch([name]))[name]
            return check_identity(self.name, self._model, self._link.address, value)
        except PortFault as fault:
            self._link.close()
            if fault.kind is not FaultKind.REJECTED:
                raise
            detail = f"{self._link.address} has none ({fault.detail}); expected {self._model.model.name}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, name, detail) from fault

    async def read(self) -> MeterReading:
        """Fetch one complete set within the record's pacing and return it.

        Errors: PortFault of the link; `reading` stays the last complete set then, with its time stamp.
        """
        values: dict[str, float] = {}
        stamp_ns = 0
        for poll in self._modbus.polls.core + self._modbus.polls.rare:
            await self._paced()
            stamp_ns = stamp_ns or self._clock_ns()
            for name, value in (await self._fetch(poll)).items():
                if isinstance(value, float):
                    values[self._modbus.register(name).quantity] = value
        self.reading = self._reading(values, stamp_ns)
        return self.reading

    def close(self) -> None:
        """Leave the connection for good."""
        self._link.leave()

    def _reading(self, values: dict[str, float], stamp_ns: int) -> MeterReading:
        volts, amps, watts = (
            np.array([values.get(f"{what}_l{k}_{unit}", math.nan) for k in self._order])
            for what, unit in (("voltage", "v"), ("current", "a"), ("power", "w"))
        )
        imported, exported = (values.get(key, math.nan) for key in ("energy_wh", "export_wh")[:: self._sign])
        whole = bool(np.isfinite([volts, amps, watts]).all())
        return MeterReading(
            volts,
            amps,
            self._sign * watts,
            self._sign * values.get("power_w", math.nan),
            values.get("frequency_hz", math.nan),
            imported,
            exported,
            stamp_ns=stamp_ns,
            quality=MeterQuality.GOOD if whole else MeterQuality.PARTIAL,
        )

    async def _paced(self) -> None:
        while (wait_s := self._plan.wait_s(self._clock_ns())) > 0.0:
            await asyncio.sleep(wait_s)

    async def _fetch(self, poll: list[str]) -> dict[str, float | str]:
        await self._paced()
        unit_id, start, count = self._modbus.span(poll)
        try:
            words = await self._link.read(poll[0], unit_id, start, count, self._modbus.function(poll))
        finally:
            self._plan.pace(self._clock_ns())
        values: dict[str, float | str] = {}
        for register in map(self._modbus.register, poll):
            own = words[register.address - start : register.end - start]
            values[register.name] = (
                math.nan if unavailable(register, own) else decode_words(self._modbus, register, own)
            )
        return values


def unavailable(register: Register, words: list[int]) -> bool:
    """Return whether an integer register says "not available": all ones, or the largest signed number."""
    if register.type.startswith("u"):
        return all(word == 0xFFFF for word in words)
    return register.type.startswith("s") and register.type != "str" and words == [0x7FFF] + [0xFFFF] * (len(words) - 1)
