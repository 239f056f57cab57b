"""Read a SunSpec meter (models 201 to 204): volts, amps and watts a phase, with quality and age.

The whole model comes in one request, so that its values and scale factors belong together. A meter in delta (204) may
have no volts to neutral: those are NaN then, and the watts of the whole stand for their direction.
"""

import math
from collections.abc import Callable

import numpy as np

from instruments.catalog import CatalogError, Model, sunspec_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_meter import MeterQuality, MeterReading
from instruments.modbus_poller import Buses
from instruments.sunspec import SunSpec

LETTERS = "ABC"


class SunSpecMeter:
    """Own one meter. Use it from one task.

    Parameters
    ----------
    name: in the rig or site file, for faults
    model: its catalog record, role meter; `Model.at` sets the unit id
    address: ``modbus+tcp://host:port``
    clock_ns: monotonic clock, ns
    phases: our phase (1..3) at the meter's A, B, C
    ct_sign: -1 where it counts the other way than we do: + is import
    buses: shared connections; None: one of its own
    """

    __slots__ = ("_clock_ns", "_device", "_number", "_order", "_part", "_sign", "name", "reading")

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
        self._part = sunspec_of(model)
        self._clock_ns = clock_ns
        self._order = [LETTERS[phases.index(k)] for k in (1, 2, 3)]  # the meter's phase at each of ours
        self._sign = ct_sign
        self._number = 0
        self._device = SunSpec(name, address, unit_id=self._part.unit_id, timeout_s=self._part.timeout_s, buses=buses)
        self.reading = MeterReading()

    @property
    def connected(self) -> bool:
        """Return whether the connection stands as far as we know."""
        return self._device.connected

    async def open(self) -> str:
        """Connect, find the meter's model in the chain, and return one line on it.

        Errors: PortFault of the link, WRONG_IDENTITY where the device is no such meter.
        """
        chain = await self._device.open()
        found = [number for number in chain if number in self._part.one_of]
        if not found:
            needed, has = (", ".join(map(str, numbers)) or "none" for numbers in (self._part.one_of, chain))
            detail = f"{self._device.address} has the models {has}; one of {needed} is needed"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, "chain", detail)
        self._number = found[0]
        return f"SunSpec meter, model {self._number}"

    async def read(self) -> MeterReading:
        """Fetch one complete set and return it.

        Errors: PortFault of the link; `reading` stays the last complete set then, with its time stamp.
        """
        stamp_ns = self._clock_ns()
        values = await self._device.read(self._number)
        volts, amps, watts = (
            np.array([values.get(prefix + letter, math.nan) for letter in self._order])
            for prefix in ("PhVph", "Aph", "Wph")
        )
        imported, exported = (values.get(key, math.nan) for key in ("TotWhImp", "TotWhExp")[:: self._sign])
        whole = bool(np.isfinite([volts, amps, watts]).all())
        self.reading = MeterReading(
            volts,
            np.abs(amps),
            self._sign * watts,
            self._sign * values.get("W", math.nan),
            values.get("Hz", math.nan),
            imported,
            exported,
            stamp_ns=stamp_ns,
            quality=MeterQuality.GOOD if whole else MeterQuality.PARTIAL,
        )
        return self.reading

    def close(self) -> None:
        """Leave the connection for good."""
        self._device.close()
