"""Play a programmable AC load behind its sockets: constant current, power or resistance, protections, meters."""

import math
from collections.abc import Callable

from hil.twins.scpi_terminals import TerminalTwin
from instruments.scpi_catalog import ScpiPart


class AcLoadTwin(TerminalTwin):
    """Hold one AC load; the plant reads `set_a` and `input_on` and hands back volts and amps at its terminals."""

    __slots__ = ("amp_a", "volt_v")

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float], role: str = "ac_load") -> None:
        self.volt_v = 0.0
        self.amp_a = 0.0
        super().__init__(part, clock_s, role)

    @property
    def input_on(self) -> bool:
        """Tell whether the load sinks current."""
        return self.is_on("input", missing=False)

    @property
    def set_a(self) -> float:
        """Return the amps that it tries to draw at the volts seen last: 0 with the input off or in another mode."""
        if not self.input_on:
            return 0.0
        function = str(self.values.get("function", "CURRent")).upper()
        if function.startswith("POW"):
            return min(self.ours("set_w") / self.volt_v, self.role.rating.max_a) if self.volt_v > 0.0 else 0.0
        if function.startswith("RES"):
            return min(self.volt_v / max(self.ours("set_ohm"), 1e-6), self.role.rating.max_a)
        return self.ours("set_a", missing=0.0) if function.startswith("CURR") else 0.0

    def set_measured(self, volt_v: float, amp_a: float) -> None:
        """Take volts and amps at the terminals."""
        self.volt_v = volt_v
        self.amp_a = amp_a

    def step(self, now_s: float, dt_s: float) -> None:
        """Watch the protections for `dt_s` seconds; `now_s` is the plant's time."""
        self.begin()
        if not self.input_on:
            self.amp_a = 0.0
        if self.trips("current_limit_a"):
            over = self.enabled("current_limit_a") and self.amp_a > self.ours("current_limit_a")
            self.protect("current", over, dt_s, self.ours("current_delay_s", missing=0.0))
        if self.trips("power_limit_w"):
            self.protect("power", self.volt_v * self.amp_a > self.ours("power_limit_w"), dt_s)
        if self.trips("volt_limit_v"):
            self.protect("volt", self.volt_v > self.ours("volt_limit_v"), dt_s)
        function = str(self.values.get("function", "CURRent")).upper()
        modes = {"CC": "CURR", "CW": "POW", "CP": "POW", "CR": "RES", "CV": "VOLT"}
        states = {name: self.input_on and function.startswith(word) for name, word in modes.items()}
        self.show("operation", {"OFF": not self.input_on, **states})
        self.finish(now_s)

    def measure(self) -> dict[str, float]:
        """Return what the meters see: amps and watts with the input on only."""
        amp_a = self.amp_a if self.input_on else 0.0
        seen = {"frequency_seen": 50.0 if self.volt_v > 0.0 else 0.0, "power_factor": math.copysign(1.0, amp_a)}
        shown = {"volt": self.volt_v, "amp": amp_a, "power": self.volt_v * amp_a, "apparent": self.volt_v * amp_a}
        return shown | seen

    def changed(self, name: str, targets: list[int]) -> None:
        """Stop sinking at once when the input is switched off."""
        super().changed(name, targets)
        if name == "input" and not self.input_on:
            self.amp_a = 0.0
