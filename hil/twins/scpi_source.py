"""Play a programmable AC source behind its sockets: ranges, phases, slew, relay, and a protection that trips.

The plant steps it, reads `actual_v` and hands back what flows; the current limit of this family is a protection with
a delay, not a regulation (Chroma 61503 user's manual p94), so an overload ends in a latched off.
"""

from collections.abc import Callable, Sequence

import numpy as np

from hil.twins.scpi_device import ScpiDevice
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_units import to_ours

LOW_RANGE_V = 150.0  # recalled: the low range is half the high one


class AcSourceTwin(ScpiDevice):
    """Hold one AC source; all arrays are (3,) for the phases a, b, c, single phase uses the first."""

    __slots__ = ("_over_s", "_power_w", "actual_v", "amp_a")

    IMMEDIATE = frozenset({"select", "edit", "couple", "phase_mode"})
    ENERGISES = "output"

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float]) -> None:
        self.actual_v = np.zeros(3)
        self.amp_a = np.zeros(3)
        self._power_w = np.zeros(3)
        self._over_s = np.zeros(3)
        super().__init__(part, clock_s)

    @property
    def single_phase(self) -> bool:
        """Tell whether the outputs work as one."""
        return bool(self.values["phase_mode"] == "SINGle")

    @property
    def output_on(self) -> bool:
        """Tell whether the terminals are energised: state on and relay closed."""
        return bool(self.values["output"] and self.values["relay"])

    def set_measured(self, amp_a: Sequence[float] | np.ndarray, power_w: Sequence[float] | None = None) -> None:
        """Take what flows out of each phase, A (3,) and W (3,); without watts the power factor is 1."""
        self.amp_a[:] = amp_a
        self._power_w[:] = self.actual_v * self.amp_a if power_w is None else power_w

    def step(self, now_s: float, dt_s: float) -> None:
        """Move the volts by the slew rate for `dt_s` seconds and watch the protections; `now_s` is the plant's time."""
        target = np.array(self.values["volt_ac_v"]) if self.output_on else np.zeros(3)
        if self.single_phase:
            target[1:] = 0.0
        if self.output_on:
            reach = to_ours(self.values["volt_slew"], self.part.quantities["volt_slew"].unit) * dt_s
            self.actual_v += np.clip(target - self.actual_v, -reach, reach)
        else:
            self.actual_v[:] = 0.0
            self.amp_a[:] = 0.0
            self._power_w[:] = 0.0
        self._protect(dt_s)

    def _protect(self, dt_s: float) -> None:
        """Trip when a phase is over its current limit for longer than the delay, or over the rated VA."""
        over = np.abs(self.amp_a) > np.array(self.values["current_limit_a"])
        self._over_s = np.where(over, self._over_s + dt_s, 0.0)
        if np.any(over & (self._over_s > self.values["current_delay_s"])):
            self.trip("OCP")
        if float(np.sum(self.actual_v * np.abs(self.amp_a))) > self.part.rating.max_va * 1.05:
            self.trip("OPP")

    def phases(self) -> list[int]:
        """Return the phases that a setting goes to: one in single phase, all when edited or coupled together."""
        if self.single_phase:
            return [0]
        if self.values["edit"] == "ALL" or self.values["couple"] == "ALL":
            return [0, 1, 2]
        return [int(self.values["select"]) - 1]

    def limits(self, name: str) -> tuple[float, float]:
        """Return the range of a setting: volts end at the range and at the user's own limit."""
        low, high = super().limits(name)
        if name == "volt_ac_v":
            in_range = LOW_RANGE_V if self.values["volt_range"] == "LOW" else high
            return low, min(high, in_range, float(self.values["volt_limit_v"]))
        return low, high

    def reading(self, name: str) -> float | str:
        """Return what the meters of the selected phase show."""
        phase = self.phases()[0]
        if name == "trigger_state":
            return "OFF"
        if name == "frequency_seen":
            return float(self.values["frequency_hz"]) if self.output_on else 0.0
        shown = {
            "volt": self.actual_v[phase],
            "amp": self.amp_a[phase],
            "power": self._power_w[phase],
            "apparent": self.actual_v[phase] * self.amp_a[phase],
        }
        return float(shown[name])

    def changed(self, name: str) -> None:
        """Open the output at once when it is switched off; clear latches when asked."""
        if name == "protection_clear":
            self.clear_protection()
        if name in ("output", "relay") and not self.output_on:
            self.actual_v[:] = 0.0
