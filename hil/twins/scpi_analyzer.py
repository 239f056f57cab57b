"""Play a power analyzer behind its sockets: it shows what the plant hands it, as old as its update rate makes it."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hil.twins.scpi_terminals import TerminalTwin
from instruments.scpi_catalog import ScpiPart

PHASES = ("a", "b", "c")


class AnalyzerTwin(TerminalTwin):
    """Hold one analyzer; all arrays are (3,) for its elements."""

    __slots__ = ("amp_a", "frequency_hz", "power_w", "volt_v")

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float], role: str = "analyzer") -> None:
        self.volt_v = np.zeros(3)
        self.amp_a = np.zeros(3)
        self.power_w = np.zeros(3)
        self.frequency_hz = math.nan
        super().__init__(part, clock_s, role)

    def set_measured(
        self, volt_v: Sequence[float], amp_a: Sequence[float], power_w: Sequence[float], frequency_hz: float
    ) -> None:
        """Take volts, amps and watts (3,) at its elements and the frequency."""
        self.volt_v[:], self.amp_a[:], self.power_w[:] = volt_v, amp_a, power_w
        self.frequency_hz = frequency_hz

    def measure(self) -> dict[str, float]:
        """Return what each element sees, in our units."""
        frequency = 0.0 if math.isnan(self.frequency_hz) else self.frequency_hz
        shown: dict[str, float] = {"frequency_seen": frequency}
        for at, phase in enumerate(PHASES):
            values = {
                "volt": float(self.volt_v[at]),
                "amp": float(self.amp_a[at]),
                "power": float(self.power_w[at]),
                "apparent": float(self.volt_v[at] * self.amp_a[at]),
            }
            shown |= {f"{name}_{at}": value for name, value in values.items()}
            shown |= {f"{name}_{phase}": value for name, value in values.items()}
        return shown
