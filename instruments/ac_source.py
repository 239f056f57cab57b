"""Drive a programmable AC source that plays the voltage of a feeder node."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from instruments.faults import FaultKind
from instruments.scpi_port import ScpiPort, is_error
from instruments.scpi_role import ScpiRole

PHASES = ("a", "b", "c")


@dataclass(frozen=True, slots=True)
class SourceReading:
    """Hold what one cycle read: amps and volts of the phases a, b, c, (3,) each; a phase not in use is 0."""

    amp_a: np.ndarray
    volt_v: np.ndarray
    output_on: bool


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
    clock_s: monotonic clock, s
    """

    __slots__ = ("_clock_s", "_last_s", "_last_v", "_on", "hard_max_a", "hard_max_v", "phases", "slew_v_per_s")

    def __init__(
        self,
        port: ScpiPort,
        *,
        phases: int,
        hard_max_v: float,
        hard_max_a: float,
        slew_v_per_s: float = math.inf,
        clock_s: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(port, phases, pause)
        rating = self.part.rating
        self.check("hard_max_v", hard_max_v, 0.0, rating.max_v, "V")
        self.check("hard_max_a", hard_max_a, 0.0, rating.max_a, "A")
        if not slew_v_per_s > 0.0:
            raise self.fault(FaultKind.RANGE, "slew_v_per_s", f"{slew_v_per_s:g} V/s; allowed: more than 0")
        self.phases = phases
        self.hard_max_v = hard_max_v
        self.hard_max_a = hard_max_a
        self.slew_v_per_s = slew_v_per_s
        self._clock_s = clock_s
        self._last_v = np.full(3, np.nan)
        self._last_s = -math.inf
        self._on = False

    def prepare(self) -> None:
        """Take control with the output off, set the mode at 0 V, program voltage and current protection, read back."""
        self.prepare_role({"volt_limit_v": self.hard_max_v, "current_limit_a": self.hard_max_a})
        self._last_v[:] = np.nan

    def set_and_measure(self, volt_v: Sequence[float] | np.ndarray) -> SourceReading:
        """Write the volts of each phase, (3,), and read amps, volts and output state in one compound message.

        Refused, with nothing sent (PortFault range): a value that is not finite, outside 0..hard_max_v, or further
        from the last one than the slew rate allows. An output that went off by itself is a fault of kind protection,
        an entry in the device's error queue one of kind rejected.
        """
        now_s = self._clock_s()
        self._allow(volt_v, now_s)
        cycle = self.part.cycle[self.mode]
        values = {f"volt_{phase}_v": float(volt_v[k]) for k, phase in enumerate(PHASES)}
        answers = self.port.exchange(cycle.message.format(**values), cycle.order)
        if is_error(answers["error"]):
            raise self.fault(FaultKind.REJECTED, "cycle", answers["error"])
        output_on = answers["output"] in ("1", "ON")
        if self._on and not output_on:
            detail = f"output is off by itself; {self.port.query('STAT:QUES:COND?')} in the questionable register"
            raise self.fault(FaultKind.PROTECTION, "output", detail)
        self._last_v[: self.phases] = volt_v[: self.phases]
        self._last_s = now_s
        return SourceReading(self._row("amp", answers), self._row("volt", answers), output_on)

    def output(self, on: bool) -> None:
        """Switch the output in the catalog's order, each step read back; on needs volts written before."""
        if not on:
            self.safe_off()
            return
        if not np.isfinite(self._last_v[0]):
            raise self.fault(FaultKind.INTERLOCK, "output", "no volts were written yet", "set_and_measure first")
        self.run_steps(self.part.energise.steps)
        self._on = True

    def safe_off(self) -> None:
        """Switch the output off by the catalog's ordered messages with read-back; see ScpiRole.safe_off."""
        self._on = False
        super().safe_off()

    def reachable(self, volt_v: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the volts on the way to `volt_v` that the slew rate allows now, (3,)."""
        wanted = np.asarray(volt_v, dtype=float)
        if not self._on or not math.isfinite(self.slew_v_per_s):
            return wanted.copy()
        reach = self.slew_v_per_s * max(self._clock_s() - self._last_s, 0.0)
        last = np.where(np.isfinite(self._last_v), self._last_v, wanted)
        return np.asarray(last + np.clip(wanted - last, -reach, reach))

    def _allow(self, volt_v: Sequence[float] | np.ndarray, now_s: float) -> None:
        """Refuse volts that break a hard limit."""
        if len(volt_v) != 3:
            raise self.fault(FaultKind.RANGE, "volt_v", f"{len(volt_v)} values; allowed: 3, one a phase")
        for k in range(self.phases):
            self.check(f"volt_{PHASES[k]}_v", float(volt_v[k]), 0.0, self.hard_max_v, "V")
            change = abs(float(volt_v[k]) - self._last_v[k])
            reach = self.slew_v_per_s * (now_s - self._last_s)
            if self._on and change > reach + 1e-9:
                detail = f"{change:g} V in {now_s - self._last_s:g} s; allowed {self.slew_v_per_s:g} V/s"
                raise self.fault(FaultKind.RANGE, f"volt_{PHASES[k]}_v", detail, "ramp it: see reachable()")

    def _row(self, name: str, answers: dict[str, str]) -> np.ndarray:
        """Return the answers of the phases in use as (3,)."""
        row = np.zeros(3)
        for k in range(self.phases):
            key = f"{name}_{PHASES[k]}"
            row[k] = self.number(key, answers[key])
        return row
