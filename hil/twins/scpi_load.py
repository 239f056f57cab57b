"""Play a programmable AC load behind its sockets: constant current, over-current protection, meters."""

from collections.abc import Callable

from hil.twins.scpi_device import ScpiDevice
from instruments.scpi_catalog import ScpiPart


class AcLoadTwin(ScpiDevice):
    """Hold one AC load; the plant reads `set_a` and `input_on` and hands back volts and amps at its terminals."""

    __slots__ = ("_over_s", "amp_a", "volt_v")

    ENERGISES = "input"

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float]) -> None:
        self.volt_v = 0.0
        self.amp_a = 0.0
        self._over_s = 0.0
        super().__init__(part, clock_s)

    @property
    def input_on(self) -> bool:
        """Tell whether the load sinks current."""
        return bool(self.values["input"])

    @property
    def set_a(self) -> float:
        """Return the amps that it tries to draw now: 0 with the input off or outside constant current."""
        wanted = self.input_on and self.values["function"] == "CURRent"
        return float(self.values["set_a"]) if wanted else 0.0

    def set_measured(self, volt_v: float, amp_a: float) -> None:
        """Take volts and amps at the terminals."""
        self.volt_v = volt_v
        self.amp_a = amp_a

    def step(self, now_s: float, dt_s: float) -> None:
        """Watch the over-current protection for `dt_s` seconds; `now_s` is the plant's time."""
        if not self.input_on:
            self.amp_a = 0.0
        over = self.values["current_protection"] and self.amp_a > self.values["current_limit_a"]
        self._over_s = self._over_s + dt_s if over else 0.0
        if self._over_s > self.values["current_delay_s"]:
            self.trip("OC_RMS")
        bits = self.part.status.operation
        self.status.operation.set(bits["OFF"], not self.input_on)
        self.status.operation.set(bits["CC"], self.input_on and self.values["function"] == "CURRent")

    def reading(self, name: str) -> float | str:
        """Return what the meters show."""
        shown = {
            "volt": self.volt_v,
            "amp": self.amp_a if self.input_on else 0.0,
            "power": self.volt_v * self.amp_a if self.input_on else 0.0,
            "frequency_seen": 50.0 if self.volt_v > 0.0 else 0.0,
        }
        return shown[name]

    def changed(self, name: str) -> None:
        """Stop sinking at once when the input is switched off; clear latches when asked."""
        if name == "protection_clear":
            self.clear_protection()
        if name == "input" and not self.input_on:
            self.amp_a = 0.0
