"""Drive a programmable AC load that plays the current of a car."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from instruments.faults import FaultKind
from instruments.scpi_port import ScpiPort, is_error
from instruments.scpi_role import ScpiRole


@dataclass(frozen=True, slots=True)
class LoadReading:
    """Hold what one cycle read: amps, volts and the input's state."""

    amp_a: float
    volt_v: float
    input_on: bool


class AcLoad(ScpiRole):
    """Hold an AC load in constant current with its hard limit.

    Obligations, in order: `prepare`; `input(True)` at 0 A; `set_and_measure` each cycle; `safe_off` last. A load
    without voltage is no hazard, so it is switched off after the source.

    Parameters
    ----------
    port: an open ScpiPort
    hard_max_a: A; programmed into the device's over-current protection and never exceeded by a written value
    """

    __slots__ = ("_on", "hard_max_a")

    def __init__(self, port: ScpiPort, *, hard_max_a: float, pause: Callable[[float], None] = time.sleep) -> None:
        super().__init__(port, 1, pause)
        self.check("hard_max_a", hard_max_a, 0.0, self.part.rating.max_a, "A")
        self.hard_max_a = hard_max_a
        self._on = False

    def prepare(self) -> None:
        """Take control with the input off, choose constant current at 0 A, program the protection, read all back."""
        self.prepare_role({"current_limit_a": self.hard_max_a})

    def input(self, on: bool) -> None:
        """Switch the input in the catalog's order, each step read back."""
        if not on:
            self.safe_off()
            return
        self.run_steps(self.part.energise.steps)
        self._on = True

    def safe_off(self) -> None:
        """Switch the input off by the catalog's ordered messages with read-back; see ScpiRole.safe_off."""
        self._on = False
        super().safe_off()

    def set_and_measure(self, amp_a: float) -> LoadReading:
        """Write the current, A, and read amps, volts and input state in one compound message.

        A value that is not finite or outside 0..hard_max_a is refused with nothing sent (PortFault range). An input
        that went off by itself is a fault of kind protection, an entry in the error queue one of kind rejected.
        """
        self.check("amp_a", amp_a, 0.0, self.hard_max_a, "A")
        cycle = self.part.cycle[self.mode]
        answers = self.port.exchange(cycle.message.format(amp_a=amp_a), cycle.order)
        if is_error(answers["error"]):
            raise self.fault(FaultKind.REJECTED, "cycle", answers["error"])
        input_on = answers["input"] in ("1", "ON")
        if self._on and not input_on:
            detail = f"input is off by itself; {self.port.query('STAT:QUES:COND?')} in the questionable register"
            raise self.fault(FaultKind.PROTECTION, "input", detail)
        return LoadReading(self.number("amp_a", answers["amp_a"]), self.number("volt_a", answers["volt_a"]), input_on)
