"""Drive a DC supply, and a bidirectional one that plays the battery of a car.

Signs are the site's: + flows from the grid over the charger into the car. Where the supply plays the car
(`side = "car"`) current into it is +, where it plays what feeds the charger (`side = "grid"`) current out of it is +.
What the instrument itself means by + stands in its catalog record.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from instruments.faults import FaultKind
from instruments.scpi_catalog import ScpiRoleName
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import IS_ON, WATCHDOG_S, ScpiRole
from instruments.scpi_slew import Slew

Side = Literal["grid", "car"]


@dataclass(frozen=True, slots=True)
class DcReading:
    """Hold what one cycle read at a DC terminal: volts, amps and watts (+ from grid to car), output or input state.

    Watts are volts times amps where the device's cycle does not read them.
    """

    volt_v: float
    amp_a: float
    power_w: float
    on: bool


class _DcRole(ScpiRole):
    """Hold what DC supplies share: hard limits, one slew-limited voltage, readings in the site's sign."""

    __slots__ = ("_sign", "_slew", "hard_max_a", "hard_max_v", "hard_max_w", "side", "slew_v_per_s")

    def __init__(
        self,
        port: ScpiPort,
        mode: str,
        *,
        hard_max_v: float,
        hard_max_a: float,
        hard_max_w: float,
        slew_v_per_s: float,
        side: Side,
        channel: int,
        watchdog_s: float,
        clock_s: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        super().__init__(port, mode, channel=channel, watchdog_s=watchdog_s, pause=pause)
        rating = self.role.rating.of(mode)
        self.check("hard_max_v", hard_max_v, 0.0, rating.max_v, "V")
        self.check("hard_max_a", hard_max_a, 0.0, rating.max_a, "A")
        self.hard_max_v = hard_max_v
        self.hard_max_a = hard_max_a
        self.hard_max_w = rating.max_va if hard_max_w == math.inf else hard_max_w
        self.check("hard_max_w", self.hard_max_w, 0.0, rating.max_va, "W")
        if not slew_v_per_s > 0.0:
            raise self.fault(FaultKind.RANGE, "slew_v_per_s", f"{slew_v_per_s:g} V/s; allowed: more than 0")
        self.slew_v_per_s = slew_v_per_s
        self.side = side
        self._sign = 1.0 if (self.role.sign == "delivered") == (side == "grid") else -1.0
        self._slew = Slew(1, slew_v_per_s, clock_s)

    def output(self, on: bool) -> None:
        """Switch the output in the catalog's order, each step read back; on needs volts written before."""
        if not on:
            self.safe_off()
            return
        if not math.isfinite(self._slew.last[0]):
            raise self.fault(FaultKind.INTERLOCK, "output", "no volts were written yet", "set_and_measure first")
        self.energise()

    def reachable(self, volt_v: float) -> float:
        """Return the volts on the way to `volt_v` that the slew rate allows now."""
        return float(self._slew.toward([volt_v])[0]) if self._on else volt_v

    def _cycle(self, volt_v: float, values: dict[str, float]) -> DcReading:
        """Check the volts, write all values and return the readings."""
        self.check("volt_v", volt_v, 0.0, self.hard_max_v, "V")
        if self._on and (change := self._slew.excess(0, volt_v)):
            detail = f"{change:g} V at once; allowed {self._slew.reach():g} V now, {self.slew_v_per_s:g} V/s"
            raise self.fault(FaultKind.RANGE, "volt_v", detail, "ramp it: see reachable()")
        answers = self.run_cycle({"volt_v": volt_v, **values})
        self._slew.wrote([volt_v])
        volts, amps = self.reading("volt", answers), self._sign * self.reading("amp", answers)
        watts = self._sign * self.reading("power", answers) if "power" in answers else volts * amps
        return DcReading(volts, amps, watts, answers["output"] in IS_ON)


class DcSupply(_DcRole):
    """Hold a DC supply that only delivers.

    Obligations, in order: `prepare`; `set_and_measure` once before `output(True)`; a `set_and_measure` each cycle;
    `safe_off` last and on any doubt, `release` at a planned end.

    Parameters
    ----------
    port: an open ScpiPort
    hard_max_v, hard_max_a, hard_max_w: programmed into the device and never exceeded; +inf W: its rating
    slew_v_per_s: fastest change of the written volts while the output is on; +inf no limit
    mode: voltage or current priority
    side: what it plays; decides the sign of the readings
    channel: output of a device that has several
    """

    __slots__ = ()

    ROLE: ClassVar[ScpiRoleName] = "dc_supply"

    def __init__(
        self,
        port: ScpiPort,
        *,
        hard_max_v: float,
        hard_max_a: float,
        hard_max_w: float = math.inf,
        slew_v_per_s: float = math.inf,
        mode: str = "voltage",
        side: Side = "grid",
        channel: int = 1,
        watchdog_s: float = WATCHDOG_S,
        clock_s: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            port,
            mode,
            hard_max_v=hard_max_v,
            hard_max_a=hard_max_a,
            hard_max_w=hard_max_w,
            slew_v_per_s=slew_v_per_s,
            side=side,
            channel=channel,
            watchdog_s=watchdog_s,
            clock_s=clock_s,
            pause=pause,
        )

    def prepare(self) -> None:
        """Take control with the output off, set the mode at 0 V, program the protections, read all back."""
        limits = {"volt_limit_v": self.hard_max_v, "current_limit_a": self.hard_max_a}
        self.prepare_role({**limits, "power_limit_w": self.hard_max_w})
        self._slew.forget()

    def set_and_measure(self, volt_v: float, amp_a: float) -> DcReading:
        """Write volts and largest amps and read the terminal; refused with nothing sent where a hard limit breaks."""
        self.check("amp_a", amp_a, 0.0, self.hard_max_a, "A")
        return self._cycle(volt_v, {"amp_a": amp_a, "power_w": self.hard_max_w})


class BidirectionalSupply(_DcRole):
    """Hold a DC supply that delivers and takes in: a vehicle's battery behind a DC charger.

    Obligations as of DcSupply. Parameters as there; `hard_sink_a` and `hard_sink_w` bound what it takes in.
    """

    __slots__ = ("hard_sink_a", "hard_sink_w")

    ROLE: ClassVar[ScpiRoleName] = "bidirectional_supply"

    def __init__(
        self,
        port: ScpiPort,
        *,
        hard_max_v: float,
        hard_max_a: float,
        hard_sink_a: float,
        hard_max_w: float = math.inf,
        hard_sink_w: float = math.inf,
        slew_v_per_s: float = math.inf,
        mode: str = "voltage",
        side: Side = "car",
        channel: int = 1,
        watchdog_s: float = WATCHDOG_S,
        clock_s: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            port,
            mode,
            hard_max_v=hard_max_v,
            hard_max_a=hard_max_a,
            hard_max_w=hard_max_w,
            slew_v_per_s=slew_v_per_s,
            side=side,
            channel=channel,
            watchdog_s=watchdog_s,
            clock_s=clock_s,
            pause=pause,
        )
        rating = self.role.rating.of(mode)
        self.require("sink", self.role.can.sinks, "deliver only")
        self.check("hard_sink_a", hard_sink_a, 0.0, rating.sink_max_a, "A")
        self.hard_sink_a = hard_sink_a
        self.hard_sink_w = rating.sink_max_va if hard_sink_w == math.inf else hard_sink_w
        self.check("hard_sink_w", self.hard_sink_w, 0.0, rating.sink_max_va, "W")

    def prepare(self) -> None:
        """Take control with the output off, set the mode at 0 V, program the protections both ways, read all back."""
        self.prepare_role(
            {
                "volt_limit_v": self.hard_max_v,
                "current_limit_a": self.hard_max_a,
                "power_limit_w": self.hard_max_w,
                "sink_limit_a": self.hard_sink_a,
                "sink_limit_w": self.hard_sink_w,
            }
        )
        self._slew.forget()

    def set_and_measure(self, volt_v: float, source_a: float, sink_a: float) -> DcReading:
        """Write volts and the largest amps that it may deliver and take in, both as magnitudes; read the terminal."""
        self.check("source_a", source_a, 0.0, self.hard_max_a, "A")
        self.check("sink_a", sink_a, 0.0, self.hard_sink_a, "A")
        values = {"source_a": source_a, "sink_a": sink_a, "minus_sink_a": -sink_a, "amp_a": source_a}
        return self._cycle(volt_v, {**values, "source_w": self.hard_max_w, "sink_w": self.hard_sink_w})
