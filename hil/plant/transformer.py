"""Follow the temperature of the distribution transformer under its load.

Model and symbols: IEC 60076-7, difference form, reduced to one time constant for the oil and one for the winding
(k21 = 1 of the small distribution transformer makes the second winding term vanish). The standard itself was not
read; the default numbers for a distribution transformer, ONAN, are as printed in ``distribution_transformer.m`` of
github Ildar-Daminov/Demand-response-coupled-with-DTR-of-transformers (read). They are parameters.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransformerSpec:
    """Describe the thermal behaviour of an oil-immersed transformer. ValueError for what cannot be."""

    oil_rise_k: float = 55.0  # top oil over ambient at rated losses
    hot_spot_rise_k: float = 23.0  # hot spot over top oil at rated current
    loss_ratio: float = 5.0  # load losses at rated current over no-load losses
    oil_exponent: float = 0.8
    winding_exponent: float = 1.6
    oil_tau_s: float = 180.0 * 60.0
    winding_tau_s: float = 4.0 * 60.0

    def __post_init__(self) -> None:
        """Refuse numbers that no transformer can have."""
        for name in self.__slots__:
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ValueError(f"transformer: {name} {value!r}: allowed more than 0, finite")


class Transformer:
    """Hold top-oil and hot-spot temperature, degC; the first step starts them settled at its load."""

    __slots__ = ("_oil_rise_k", "_winding_rise_k", "hot_spot_c", "spec", "top_oil_c")

    def __init__(self, spec: TransformerSpec | None = None) -> None:
        """Build one that has not been loaded yet: its temperatures are NaN until the first step."""
        self.spec = spec or TransformerSpec()
        self._oil_rise_k = self._winding_rise_k = math.nan
        self.top_oil_c = self.hot_spot_c = math.nan

    def settled_rise_k(self, load_pu: float) -> tuple[float, float]:
        """Return the final rises at a constant load (1 = rated current), K: top oil over ambient, hot spot over oil."""
        spec = self.spec
        losses_pu = (1.0 + spec.loss_ratio * load_pu * load_pu) / (1.0 + spec.loss_ratio)
        oil_k = spec.oil_rise_k * losses_pu**spec.oil_exponent
        return oil_k, spec.hot_spot_rise_k * load_pu**spec.winding_exponent

    def step(self, load_pu: float, ambient_c: float, dt_s: float) -> float:
        """Advance by `dt_s` at a load in pu of rated current; return the hot spot, degC.

        The step is exact for a constant load, however long. ValueError for a negative or unknown load or step.
        """
        if not (0.0 <= load_pu < math.inf and 0.0 <= dt_s < math.inf and math.isfinite(ambient_c)):
            raise ValueError(
                f"transformer: load {load_pu!r} pu, ambient {ambient_c!r} degC, step {dt_s!r} s: allowed finite, "
                "load and step 0 or more"
            )
        oil_k, winding_k = self.settled_rise_k(load_pu)
        if math.isnan(self._oil_rise_k):
            self._oil_rise_k, self._winding_rise_k = oil_k, winding_k
        self._oil_rise_k += (oil_k - self._oil_rise_k) * -math.expm1(-dt_s / self.spec.oil_tau_s)
        self._winding_rise_k += (winding_k - self._winding_rise_k) * -math.expm1(-dt_s / self.spec.winding_tau_s)
        self.top_oil_c = ambient_c + self._oil_rise_k
        self.hot_spot_c = self.top_oil_c + self._winding_rise_k
        return self.hot_spot_c
