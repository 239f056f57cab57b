"""Play a programmable AC source behind its sockets: ranges, phases, slew, relay, and a protection that trips.

The plant steps it, reads `actual_v` and hands back what flows. The current limit of most families is a protection
with a delay (Chroma 61503 user's manual p94); where the record has a switch for it, off means constant current
instead: the volts fold back (AMETEK Sequoia manual p74).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from hil.twins.scpi_terminals import OVER, TerminalTwin
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_units import to_theirs

SINGLE = {"phase_mode": "SINGle", "form": 1.0, "system_function": "ONE"}  # setting: its value with one phase only
PHASES = ("a", "b", "c")


class AcSourceTwin(TerminalTwin):
    """Hold one AC source; all arrays are (3,) for the phases a, b, c, single phase uses the first."""

    __slots__ = ("_power_w", "actual_v", "amp_a")

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float], role: str = "ac_source") -> None:
        self.actual_v = np.zeros(3)
        self.amp_a = np.zeros(3)
        self._power_w = np.zeros(3)
        super().__init__(part, clock_s, role)

    @property
    def single_phase(self) -> bool:
        """Tell whether the outputs work as one."""
        for name, value in SINGLE.items():
            if name in self.values:
                return bool(self.values[name] == value)
        return self.role.can.phases == [1]

    @property
    def output_on(self) -> bool:
        """Tell whether the terminals are energised: state on and relay closed."""
        return self.is_on("output") and self.is_on("relay")

    def set_measured(self, amp_a: Sequence[float] | np.ndarray, power_w: Sequence[float] | None = None) -> None:
        """Take what flows out of each phase, A (3,) and W (3,); without watts the power factor is 1."""
        self.amp_a[:] = amp_a
        self._power_w[:] = self.actual_v * self.amp_a if power_w is None else power_w

    def wanted_v(self) -> np.ndarray:
        """Return the volts that are set for each phase, (3,), whatever form the record gives them."""
        if "volt_ac_a_v" in self.values:
            volts = np.array([self.ours(f"volt_ac_{phase}_v", missing=0.0) for phase in PHASES])
        elif "volt_ac_v" in self.values:
            volts = np.array([self.ours("volt_ac_v", at) for at in range(3)])
        else:
            volts = np.zeros(3)
        if self.single_phase:
            volts[1:] = 0.0
        return volts

    def step(self, now_s: float, dt_s: float) -> None:
        """Move the volts by the slew rate for `dt_s` seconds and watch the protections; `now_s` is the plant's time."""
        self.begin()
        if "volt_ac_v" in self.values and self.transient.lists:
            self.run_list(dt_s, "volt_ac_v")
        if self.output_on:
            reach = self.ours("volt_slew") * dt_s
            self.actual_v += np.clip(self.wanted_v() - self.actual_v, -reach, reach)
        else:
            self.actual_v[:] = 0.0
            self.amp_a[:] = 0.0
            self._power_w[:] = 0.0
        self._limit_amps(dt_s)
        if self.trips("volt_limit_v"):
            self.protect("volt", bool(np.any(self.actual_v > self.ours("volt_limit_v"))), dt_s)
        over_va = float(np.sum(self.actual_v * np.abs(self.amp_a))) > self.role.rating.max_va * OVER
        self.protect("power", over_va, dt_s)
        self.finish(now_s)

    def _limit_amps(self, dt_s: float) -> None:
        """Trip over the current limit after its delay, or fold the volts back where protection is switched off."""
        limit_a = np.array([self.ours("current_limit_a", at) for at in range(3)])
        over = np.abs(self.amp_a) > limit_a
        if self.enabled("current_limit_a"):
            delay_s = self.ours("current_delay_s", missing=0.0)
            for at in range(3):
                self.protect("current", bool(over[at]), dt_s, delay_s, key=f"current_{at}")
        elif over.any():
            self.actual_v[over] *= limit_a[over] / np.abs(self.amp_a[over])
        self.show("operation", {"CV": self.output_on and not over.any(), "CC": bool(over.any())})

    def phases(self) -> list[int]:
        """Return the phases that a setting goes to: one in single phase, all when edited or coupled together."""
        if self.single_phase:
            return [0]
        if self.values.get("edit") == "ALL" or self.values.get("couple") == "ALL":
            return [0, 1, 2]
        return [int(self.values.get("select", 1)) - 1]

    def pending(self) -> bool:
        """Tell whether the volts are still on their way, where the record lists them as overlapped."""
        moving = self.output_on and bool(np.any(np.abs(self.wanted_v() - self.actual_v) > 1e-6))
        return super().pending() or (moving and "volt_ac_v" in self.part.parser.overlapped)

    def measure(self) -> dict[str, float]:
        """Return volts, amps, watts and volt-amperes per phase, and the frequency of an output that is on."""
        apparent = self.actual_v * np.abs(self.amp_a)
        shown: dict[str, float] = {"frequency_seen": self.ours("frequency_hz", missing=50.0) * self.output_on}
        for at, phase in enumerate(PHASES):
            watt = float(self._power_w[at])
            values = {
                "volt": float(self.actual_v[at]),
                "amp": float(self.amp_a[at]),
                "power": watt,
                "apparent": float(apparent[at]),
                "reactive": math.sqrt(max(0.0, float(apparent[at]) ** 2 - watt**2)),
                "power_factor": watt / float(apparent[at]) if apparent[at] else 0.0,
            }
            shown |= {f"{name}_{at}": value for name, value in values.items()}
            shown |= {f"{name}_{phase}": value for name, value in values.items()}
        return shown

    def reading(self, name: str, at: int) -> float | str:
        """Return what the meters of the selected phase show."""
        if name == "trigger_state":
            return "OFF"
        quantity = self.part.quantities[name]
        if not quantity.per_phase and name in ("volt", "amp", "power", "apparent", "reactive", "power_factor"):
            at = self.phases()[0]
        return super().reading(name, at)

    def changed(self, name: str, targets: list[int]) -> None:
        """Open the output at once when it is switched off."""
        super().changed(name, targets)
        if name in ("output", "relay") and not self.output_on:
            self.actual_v[:] = 0.0

    def limits(self, name: str) -> tuple[float, float]:
        """Return the range of a setting; volts also end at the rating of the mode."""
        low, high = super().limits(name)
        if name.startswith("volt_ac"):
            mode = "one" if self.single_phase else "three"
            quantity = self.part.quantities[name]
            high = min(high, to_theirs(self.role.rating.of(mode).max_v, quantity.unit))
        return low, high
