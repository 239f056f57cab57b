"""Read a power analyzer: volts, amps and watts of each phase, and whether they are new."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from instruments.scpi_catalog import ScpiRoleName
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import ScpiRole
from instruments.scpi_units import number_of, to_ours

PHASES = ("a", "b", "c")
MODES = {1: "one", 3: "three"}


@dataclass(frozen=True, slots=True)
class AnalyzerReading:
    """Hold one set of numbers: (3,) each for the phases a, b, c; NaN where the device has no number.

    Watts are + from grid to car, as wired: the analyzer's own sign is that of its current input.
    """

    volt_v: np.ndarray
    amp_a: np.ndarray
    power_w: np.ndarray
    frequency_hz: float


class Analyzer(ScpiRole):
    """Hold a power analyzer; it has no output and nothing to make safe.

    Parameters
    ----------
    port: an open ScpiPort
    phases: 1 or 3
    """

    __slots__ = ("phases",)

    ROLE: ClassVar[ScpiRoleName] = "analyzer"

    def __init__(self, port: ScpiPort, *, phases: int, pause: Callable[[float], None] = time.sleep) -> None:
        super().__init__(port, MODES.get(phases, f"{phases} phases"), pause=pause)
        self.phases = phases

    def prepare(self) -> None:
        """Take control and choose what it measures."""
        self.prepare_role({})

    def measure(self) -> AnalyzerReading:
        """Return the numbers of one update; a phase not in use is 0."""
        answers = self.run_cycle({})
        frequency_hz = number_of(answers.get("frequency", ""), units=True)
        volts, amps, watts = (self._row(what, answers) for what in ("volt", "amp", "power"))
        return AnalyzerReading(volts, amps, watts, frequency_hz)

    def _row(self, what: str, answers: dict[str, str]) -> np.ndarray:
        row = np.zeros(3)
        for k in range(self.phases):
            name = f"{what}_{PHASES[k]}"
            value = number_of(answers.get(name, ""), self.part.parser.units_in_reply)
            row[k] = to_ours(value, self._plan.cycle.units.get(name, ""))
        return row
