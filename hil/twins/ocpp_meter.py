"""Write an EVSE's meter as sampled values of OCPP 1.6 (7.43 SampledValue, values are text) and 2.x (numbers)."""

from collections.abc import Callable
from typing import Any, Protocol

PHASED = {
    "Current.Import": ("current_l{}_a", "A", "L{}"),
    "Voltage": ("voltage_l{}_v", "V", "L{}-N"),
    "Power.Active.Import": ("power_l{}_w", "W", "L{}"),
}
SINGLE = {
    "Energy.Active.Import.Register": ("energy_wh", "Wh"),
    "Current.Offered": ("limit_a", "A"),
    "Frequency": ("frequency_hz", "Hz"),
}
SUMS: dict[str, Callable[[list[float]], float]] = {
    "Current.Import": max,  # amps of a phase do not add up: the highest is what a fuse sees
    "Voltage": lambda volts: sum(volts) / len(volts),
    "Power.Active.Import": sum,
}
MEASURANDS = (*PHASED, *SINGLE, "SoC")
UNITLESS_16 = ("Frequency",)  # 1.6 has no hertz among its units


class Meter(Protocol):
    """Read the plant's view of one EVSE by quantity."""

    def get(self, quantity: str) -> float | str:
        """Return a quantity."""


def sample(view: Meter, measurands: list[str], context: str, *, version: str, phased: bool) -> list[dict[str, Any]]:
    """Return the sampled values of `measurands`, per wired phase (`phased`) or one a measurand.

    KeyError for a measurand that is not in MEASURANDS.
    """
    phases = int(float(view.get("phases")))
    found: list[dict[str, Any]] = []
    for name in measurands:
        if name in PHASED:
            pattern, unit, label = PHASED[name]
            each = [float(view.get(pattern.format(k + 1))) for k in range(phases)]
            if phased:
                found += [_value(version, name, v, unit, context, label.format(k + 1)) for k, v in enumerate(each)]
            else:
                found.append(_value(version, name, SUMS[name](each), unit, context))
        elif name == "SoC":
            found.append(_value(version, name, 100.0 * float(view.get("soc")), "Percent", context))
        else:
            quantity, unit = SINGLE[name]
            found.append(_value(version, name, float(view.get(quantity)), unit, context))
    return found


def _value(version: str, name: str, value: float, unit: str, context: str, phase: str = "") -> dict[str, Any]:
    rounded = round(value, 3)
    found: dict[str, Any] = {"value": f"{rounded:g}" if version == "1.6" else rounded, "measurand": name}
    if version == "1.6":
        found["value"] = f"{rounded:.3f}".rstrip("0").rstrip(".")
        if name not in UNITLESS_16:
            found["unit"] = unit
    else:
        found["unitOfMeasure"] = {"unit": unit}
    found["context"] = context
    if phase:
        found["phase"] = phase
    return found
