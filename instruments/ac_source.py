"""Drive a programmable AC source that plays the voltage of a feeder node."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from instruments.faults import FaultKind
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import IS_ON, WATCHDOG_S, ScpiRole
from instruments.scpi_slew import Slew

PHASES = ("a", "b", "c")
MODES = {1: "one", 3: "three"}


@dataclass(frozen=True, slots=True)
class SourceReading:
    """Hold what one cycle read: amps, volts and watts of the phases a, b, c, (3,) each.

    A phase not in use is 0; watts are + out of the source, NaN where the device's cycle does not read them.
    """

    amp_a: np.ndarray
    volt_v: np.ndarray
    output_on: bool
    power_w: np.ndarray


class AcSource(ScpiRole):
    """Hold an AC source with its hard limits.

    Obligations, in order: `prepare` before anything else; `set_and_measure` once before `output(True)`, so that the
    first volts are the wanted ones; then a `set_and_measure` each cycle; `safe_off` last, and on any doubt.

    Parameters
    ----------
    port: an open ScpiPort
    phases: 1 or 3
    hard_max_v, hard_max_a: V and A, per phase; programmed into the device and never exceeded by a written value
    slew_v_per_s: fastest change of a written value while the output is on, V/s; +inf no limit
    watchdog_s: time of the device's own I/O watchdog, where it has one, s
    clock_s: monotonic clock, s
    """

    __slots__ = ("_slew", "hard_max_a", "hard_max_v", "phases", "slew_v_per_s")

    ROLE = "ac_source"

    def __init__(
        self,
        port: ScpiPort,
        *,
        phases: int,
        hard_max_v: float,
        hard_max_a: float,
        slew_v_per_s: float = math.inf,
        watchdog_s: float = WATCHDOG_S,
        clock_s: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(port, MODES.get(phases, f"{phases} phases"), watchdog_s=watchdog_s, pause=pause)
        rating = self.role.rating.of(self.mode)
        self.check("hard_max_v", hard_max_v, 0.0, rating.max_v, "V")
        self.check("hard_max_a", hard_max_a, 0.0, rating.max_a, "A")
        if not slew_v_per_s > 0.0:
            raise self.fault(FaultKind.RANGE, "slew_v_per_s", f"{slew_v_per_s:g} V/s; allowed: more than 0")
        self.phases = phases
        self.hard_max_v = hard_max_v
        self.hard_max_a = hard_max_a
        self.slew_v_per_s = slew_v_per_s
        self._slew = Slew(phases, slew_v_per_s, clock_s)

    def prepare(self) -> None:
        """Take control with the output off, set the mode at 0 V, program voltage and current protection, read back."""
        self.prepare_role({"volt_limit_v": self.hard_max_v, "current_limit_a": self.hard_max_a})
        self._slew.forget()

    def set_and_measure(self, volt_v: Sequence[float] | np.ndarray) -> SourceReading:
        """Write the volts of each phase, (3,), and read amps, volts and output state in one compound message.

        Refused, with nothing sent (PortFault range): a value that is not finite, outside 0..hard_max_v, or further
        from the last one than the slew rate allows. An output that went off by itself is a fault of kind protection,
        an entry in the device's error queue one of kind rejected.
        """
        self._allow(volt_v)
        answers = self.run_cycle({f"volt_{phase}_v": float(volt_v[k]) for k, phase in enumerate(PHASES)})
        self._slew.wrote(volt_v)
        return SourceReading(
            self._row("amp", answers), self._row("volt", answers), answers["output"] in IS_ON, self._watts(answers)
        )

    def set_frequency(self, frequency_hz: float) -> None:
        """Write the frequency, Hz, and read it back; refused where the model's frequency is fixed."""
        able = self.role.can.frequency_hz
        self.require("frequency", able is not None, "its own fixed frequency")
        if able is not None:
            self.check("frequency_hz", frequency_hz, *able, "Hz")
            self.program("frequency_hz", frequency_hz)

    def set_angles(self, angle_b_deg: float, angle_c_deg: float) -> None:
        """Write how far phases b and c lag behind phase a, degrees 0..360 (120 and 240 is the usual system)."""
        self.require("angle", self.role.can.angle and self.phases == 3, "its own fixed angles")
        self.program("phase_12_deg", angle_b_deg)
        self.program("phase_13_deg", angle_c_deg)

    def output(self, on: bool) -> None:
        """Switch the output in the catalog's order, each step read back; on needs volts written before."""
        if not on:
            self.safe_off()
            return
        if not np.isfinite(self._slew.last[0]):
            raise self.fault(FaultKind.INTERLOCK, "output", "no volts were written yet", "set_and_measure first")
        self.energise()

    def reachable(self, volt_v: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the volts on the way to `volt_v` that the slew rate allows now, (3,)."""
        return self._slew.toward(volt_v) if self._on else np.array(volt_v, dtype=float)

    def _allow(self, volt_v: Sequence[float] | np.ndarray) -> None:
        """Refuse volts that break a hard limit."""
        if len(volt_v) != 3:
            raise self.fault(FaultKind.RANGE, "volt_v", f"{len(volt_v)} values; allowed: 3, one a phase")
        for k in range(self.phases):
            self.check(f"volt_{PHASES[k]}_v", float(volt_v[k]), 0.0, self.hard_max_v, "V")
            if self._on and (change := self._slew.excess(k, float(volt_v[k]))):
                detail = f"{change:g} V at once; allowed {self._slew.reach():g} V now, {self.slew_v_per_s:g} V/s"
                raise self.fault(FaultKind.RANGE, f"volt_{PHASES[k]}_v", detail, "ramp it: see reachable()")

    def _row(self, name: str, answers: dict[str, str]) -> np.ndarray:
        """Return the answers of the phases in use as (3,)."""
        row = np.zeros(3)
        for k in range(self.phases):
            row[k] = self.reading(f"{name}_{PHASES[k]}", answers)
        return row

    def _watts(self, answers: dict[str, str]) -> np.ndarray:
        if "power_a" not in answers:
            return np.full(3, np.nan)
        return self._row("power", answers) * (1.0 if self.role.sign == "delivered" else -1.0)
