"""Hold the loads of a bench as one: a load for each phase, or one for all; a car may use only the first of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instruments.ac_load import AcLoad
from instruments.faults import PortFault


@dataclass(frozen=True, slots=True)
class BankReading:
    """Hold what one cycle read, by terminal (3,): amps and volts; a phase without load is 0."""

    amps: np.ndarray
    volts: np.ndarray
    input_on: bool

    @property
    def amp_a(self) -> float:
        """Return the largest amps of a phase."""
        return float(self.amps.max())

    @property
    def volt_v(self) -> float:
        """Return the largest volts of a phase: 0 only where none is live."""
        return float(self.volts.max())


class LoadBank:
    """Hold one load, or three: the first at L1, the others at L2 and L3.

    `car_phases` is how many of them the car draws from; the others stand at 0 A and still measure their volts.
    """

    __slots__ = ("_amps", "car_phases", "loads", "round_trip_ns")

    def __init__(self, loads: Sequence[AcLoad], car_phases: int = 1) -> None:
        self.loads = tuple(loads)
        self.car_phases = car_phases
        self.round_trip_ns = 0
        self._amps = np.zeros(3)

    @property
    def used(self) -> slice:
        """Return the terminals that have a load, of (3,)."""
        return slice(0, max(len(self.loads), self.loads[0].phases))

    @property
    def identity(self) -> str:
        """Return what answered."""
        return "; ".join(load.port.identity for load in self.loads)

    def prepare(self) -> None:
        """Prepare every load at 0 A, nothing switched on."""
        for load in self.loads:
            load.prepare()

    def input(self, on: bool) -> None:
        """Switch every input, each step read back."""
        if not on:
            self.safe_off()
            return
        for load in self.loads:
            load.input(True)

    def set_and_measure(self, amp_a: float) -> BankReading:
        """Draw `amp_a` on each of the car's phases and read all; see AcLoad.set_and_measure for the faults."""
        amps, volts, on = np.zeros(3), np.zeros(3), True
        self.round_trip_ns = 0
        for k, load in enumerate(self.loads):
            seen = load.set_and_measure(amp_a if k < self.car_phases else 0.0)
            rows = slice(k, k + load.phases)
            amps[rows], volts[rows] = seen.amps[: load.phases], seen.volts[: load.phases]
            on = on and seen.input_on
            self.round_trip_ns += load.port.round_trip_ns
        return BankReading(amps, volts, on)

    def safe_off(self) -> None:
        """Switch every load off; the first fault is raised at the end, and none keeps the others on."""
        faults: list[PortFault] = []
        for load in self.loads:
            try:
                load.safe_off()
            except PortFault as fault:
                faults.append(fault)
        if faults:
            raise faults[0]

    def close(self) -> None:
        """Close every port."""
        for load in self.loads:
            load.port.close()
