"""Emulate a SunSpec meter (model 203) that shows what it is given, at scale factors that fit its range."""

import math
from collections.abc import Callable

from hil.twins.sunspec import SunSpecTwin
from instruments.catalog import Model, sunspec_of

NUMBER = 203
TOP = 32767  # of an int16
POINTS = {"PhVph": "voltage_l{}_v", "Aph": "current_l{}_a", "Wph": "power_l{}_w"}
WHOLE = {"W": "power_w", "Hz": "frequency_hz", "TotWhImp": "energy_wh", "TotWhExp": "export_wh"}


class SunSpecMeterTwin(SunSpecTwin):
    """Serve one meter.

    Parameters
    ----------
    model: its catalog record
    get: quantity (voltage_l1_v .. export_wh) to its value, SI; NaN not available
    full_a: A per phase that it must be able to show
    """

    __slots__ = ("_get",)

    def __init__(self, model: Model, get: Callable[[str], float], full_a: float = 100.0) -> None:
        self._get = get
        scales = {"A_SF": scale_of(full_a, -2.0), "V_SF": -1.0, "Hz_SF": -2.0, "TotWh_SF": 0.0, "Evt": 0.0}
        scales["W_SF"] = scale_of(3.0 * 250.0 * full_a, 0.0)
        super().__init__({NUMBER: scales}, lambda: 0.0, unit_id=sunspec_of(model).unit_id)

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Answer with the values of now; a value beyond the range of its point is not implemented."""
        self._refresh()
        return super().handle(unit_id, function, address, count, values)

    def _refresh(self) -> None:
        shown = {
            f"{prefix}{'ABC'[k - 1]}": self._get(what.format(k)) for prefix, what in POINTS.items() for k in (1, 2, 3)
        }
        shown |= {name: self._get(what) for name, what in WHOLE.items()}
        amps, volts = ([x for k in (1, 2, 3) if not math.isnan(x := self._get(f"{what}_l{k}_{unit}"))]
                       for what, unit in (("current", "a"), ("voltage", "v")))  # fmt: skip
        shown["A"] = sum(amps) if amps else math.nan
        shown["PhV"] = sum(volts) / len(volts) if volts else math.nan
        for name, value in shown.items():
            try:
                self.show(NUMBER, {name: value})
            except ValueError:
                self.show(NUMBER, {name: math.nan})


def scale_of(full: float, finest: float) -> float:
    """Return the power of ten, `finest` or coarser, at which an int16 holds twice `full`."""
    return max(finest, math.ceil(math.log10(2.0 * max(full, 1e-9) / TOP)))
