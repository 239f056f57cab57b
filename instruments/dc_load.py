"""Drive a DC electronic load that plays a car behind a DC charger, or a consumer behind a supply."""

import math
import time
from collections.abc import Callable
from typing import ClassVar

from instruments.dc_supply import DcReading
from instruments.scpi_catalog import ScpiRoleName
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import IS_ON, WATCHDOG_S, ScpiRole

FIELD = {"current": "amp_a", "power": "power_w", "voltage": "volt_v", "resistance": "ohm"}
UNIT = {"current": "A", "power": "W", "voltage": "V", "resistance": "ohm"}


class DcLoad(ScpiRole):
    """Hold a DC load with its hard limits; its amps and watts are + into the load.

    Obligations, in order: `prepare`; `input(True)` at 0; a `set_and_measure` each cycle; `safe_off` last, after the
    source.

    Parameters
    ----------
    port: an open ScpiPort
    hard_max_a, hard_max_w: programmed into the device and never exceeded; +inf W: its rating
    hard_max_v: volts at which its own protection trips; +inf: its rating
    mode: current (A) or power (W): what `set_and_measure` writes
    channel: input of a device that has several
    """

    __slots__ = ("hard_max_a", "hard_max_v", "hard_max_w")

    ROLE: ClassVar[ScpiRoleName] = "dc_load"

    def __init__(
        self,
        port: ScpiPort,
        *,
        hard_max_a: float,
        hard_max_w: float = math.inf,
        hard_max_v: float = math.inf,
        mode: str = "current",
        channel: int = 1,
        watchdog_s: float = WATCHDOG_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(port, mode, channel=channel, watchdog_s=watchdog_s, pause=pause)
        rating = self.role.rating.of(mode)
        self.check("hard_max_a", hard_max_a, 0.0, rating.max_a, "A")
        self.hard_max_a = hard_max_a
        self.hard_max_w = rating.max_va if hard_max_w == math.inf else hard_max_w
        self.check("hard_max_w", self.hard_max_w, 0.0, rating.max_va, "W")
        self.hard_max_v = rating.max_v if hard_max_v == math.inf else hard_max_v
        self.check("hard_max_v", self.hard_max_v, 0.0, rating.max_v, "V")

    def prepare(self) -> None:
        """Take control with the input off, choose the mode at 0, program the protections, read all back."""
        limits = {"current_limit_a": self.hard_max_a, "power_limit_w": self.hard_max_w}
        self.prepare_role({**limits, "volt_limit_v": self.hard_max_v})

    def input(self, on: bool) -> None:
        """Switch the input in the catalog's order, each step read back."""
        if on:
            self.energise()
        else:
            self.safe_off()

    def set_and_measure(self, value: float) -> DcReading:
        """Write the mode's value, A or W, and read volts, amps, watts and input state.

        A value outside 0..hard limit is refused with nothing sent (PortFault range).
        """
        limit = {"current": self.hard_max_a, "power": self.hard_max_w, "voltage": self.hard_max_v}
        self.check(FIELD[self.mode], value, 0.0, limit.get(self.mode, 1e9), UNIT[self.mode])
        answers = self.run_cycle({FIELD[self.mode]: value})
        sign = 1.0 if self.role.sign == "absorbed" else -1.0
        volts, amps = self.reading("volt", answers), sign * self.reading("amp", answers)
        watts = sign * self.reading("power", answers) if "power" in answers else volts * amps
        return DcReading(volts, amps, watts, answers["input"] in IS_ON)
