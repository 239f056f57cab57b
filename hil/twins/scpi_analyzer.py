"""Play a power analyzer behind its sockets: it shows what the plant hands it, as old as its update rate makes it."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hil.twins.scpi_terminals import TerminalTwin
from instruments.scpi_catalog import ScpiPart

PHASES = ("a", "b", "c")
ITEMS = {  # functions of the WT500 manual as far as the records choose them
    **{"URMS": "volt", "IRMS": "amp", "P": "power", "S": "apparent"},
    **{"FU": "frequency_seen", "FI": "frequency_seen"},
}


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

    def changed(self, name: str, targets: list[int]) -> None:
        """Leave headers out of the answers of this connection, or put them back, when told so."""
        super().changed(name, targets)
        if name == "header":
            self._session.header_reply = bool(self.values["header"])

    def reading(self, name: str, at: int) -> float | str:
        """Return what an element sees; `values` are the chosen items, NAN where there is none (WT500 manual 4-6)."""
        if name != "values":
            return super().reading(name, at)
        self.meter(self._clock_s())
        return ",".join(self._item(place) for place in range(1, round(self.values["item_count"]) + 1))

    def _item(self, place: int) -> str:
        """Return the number that an item stands for: a function and an element, 1 where none is named."""
        function, _, element = str(self.values.get(f"item_{place}", "NONE")).upper().partition(",")
        names = ITEMS.get(function, "")
        value = self.shown.get(f"{names}_{int(element or 1) - 1}" if names != "frequency_seen" else names, math.nan)
        return "NAN" if math.isnan(value) else self.part.parser.number_format.format(value)

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
