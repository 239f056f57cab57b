"""Drive a programmable AC load that plays the current of a car."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from instruments.scpi_port import ScpiPort
from instruments.scpi_role import IS_ON, WATCHDOG_S, ScpiRole

PHASES = ("a", "b", "c")
MODES = {1: "one", 3: "three"}


@dataclass(frozen=True, slots=True)
class LoadReading:
    """Hold what one cycle read: amps and volts of the phases a, b, c, (3,) each, and the input's state.

    `amp_a` and `volt_v` are those of the first phase; a phase not in use is 0.
    """

    amps: np.ndarray
    volts: np.ndarray
    input_on: bool

    @property
    def amp_a(self) -> float:
        """Return the amps of the first phase."""
        return float(self.amps[0])

    @property
    def volt_v(self) -> float:
        """Return the volts of the first phase."""
        return float(self.volts[0])


class AcLoad(ScpiRole):
    """Hold an AC load in constant current with its hard limit.

    Obligations, in order: `prepare`; `input(True)` at 0 A; `set_and_measure` each cycle; `safe_off` last. A load
    without voltage is no hazard, so it is switched off after the source.

    Parameters
    ----------
    port: an open ScpiPort
    hard_max_a: A; programmed into the device's over-current protection and never exceeded by a written value
    phases: 1 or 3; a load of three draws the same current on each
    """

    __slots__ = ("hard_max_a", "phases")

    ROLE = "ac_load"

    def __init__(
        self,
        port: ScpiPort,
        *,
        hard_max_a: float,
        phases: int = 1,
        watchdog_s: float = WATCHDOG_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(port, MODES.get(phases, f"{phases} phases"), watchdog_s=watchdog_s, pause=pause)
        self.check("hard_max_a", hard_max_a, 0.0, self.role.rating.of(self.mode).max_a, "A")
        self.hard_max_a = hard_max_a
        self.phases = phases

    def prepare(self) -> None:
        """Take control with the input off, choose constant current at 0 A, program the protection, read all back."""
        self.prepare_role({"current_limit_a": self.hard_max_a})

    def input(self, on: bool) -> None:
        """Switch the input in the catalog's order, each step read back."""
        if not on:
            self.safe_off()
            return
        self.energise()

    def set_and_measure(self, amp_a: float) -> LoadReading:
        """Write the current, A, and read amps, volts and input state in one compound message.

        A value that is not finite or outside 0..hard_max_a is refused with nothing sent (PortFault range). An input
        that went off by itself is a fault of kind protection, an entry in the error queue one of kind rejected.
        """
        self.check("amp_a", amp_a, 0.0, self.hard_max_a, "A")
        answers = self.run_cycle({"amp_a": amp_a})
        amps, volts = np.zeros(3), np.zeros(3)
        for k in range(self.phases):
            amps[k] = self.reading(f"amp_{PHASES[k]}", answers)
            volts[k] = self.reading(f"volt_{PHASES[k]}", answers)
        return LoadReading(amps, volts, answers["input"] in IS_ON)
