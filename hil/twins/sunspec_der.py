"""Emulate a SunSpec DER: it generates what source, limit and set-point let it; the latter two revert by themselves."""

import math
from collections.abc import Callable

from hil.twins.sunspec import SunSpecTwin
from instruments.catalog import Model, sunspec_of
from instruments.sunspec_points import MODELS

COUNTS = {"NPt": 2.0, "NCrv": 2.0, "NCrvSet": 2.0, "NCtl": 2.0}
LIMIT, SET = "WMaxLimPct", "WSet"


class SunSpecDerTwin(SunSpecTwin):
    """Serve one DER with every model of its record; `available_w` is what its source could generate now, W.

    Parameters
    ----------
    model: its catalog record
    rating_w: WMaxRtg and WMax, W
    clock_s: clock of the revert timers, s
    """

    __slots__ = ("available_w", "rating_w")

    def __init__(self, model: Model, rating_w: float, clock_s: Callable[[], float]) -> None:
        part = sunspec_of(model)
        self.rating_w = rating_w
        self.available_w = 0.0
        chain: dict[int, dict[str, float]] = {item.number: {} for item in part.models}
        for number, values in chain.items():
            counts = {point.name for point in MODELS[number].counts}
            values |= {name: COUNTS[name] for name in counts & COUNTS.keys()}
            values |= {name: 0.0 for name, p in MODELS[number].points().items() if p.type == "sunssf"}
        watts_sf = float(max(0, math.ceil(math.log10(rating_w / 32767.0))))
        chain[701] |= {"ACType": 2.0, "St": 1.0, "ConnSt": 1.0, "W_SF": watts_sf, "W": 0.0, "Hz_SF": -2.0, "Hz": 50.0}
        chain[702] |= {"W_SF": watts_sf, "WMaxRtg": rating_w, "WMax": rating_w}
        chain[704] |= {f"{LIMIT}_SF": -1.0}
        for name in (LIMIT, SET):
            chain[704] |= {name: 0.0, f"{name}Rvrt": 0.0, f"{name}Ena": 0.0, f"{name}EnaRvrt": 0.0,
                           f"{name}RvrtTms": 0.0, f"{name}RvrtRem": 0.0}  # fmt: skip
        chain[704][f"{SET}Mod"] = 1.0
        super().__init__(chain, clock_s, unit_id=part.unit_id)

    def generated_w(self) -> float:
        """Return what it generates now, W; negative where a set-point makes it take from the grid."""
        watts = min(self.available_w, self.rating_w)
        if self.value(704, f"{SET}Ena") == 1.0:
            watts = max(-self.rating_w, min(watts, self.unscaled(704, SET)))
        if self.value(704, f"{LIMIT}Ena") == 1.0:
            watts = min(watts, self.rating_w * self.unscaled(704, LIMIT) / 100.0)
        return watts

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Answer with the watts of now."""
        self.show(701, {"W": self.generated_w()})
        return super().handle(unit_id, function, address, count, values)
