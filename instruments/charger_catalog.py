"""Describe what a charger of a family promises: set-point, pause, watchdog, times, phases, DC stage.

The names are those of registers of the Modbus part. A number that no document gives is a parameter (mark P).
"""

import math
from typing import Literal

from pydantic import Field, model_validator

from instruments.modbus_catalog import Amps, Block, ModbusPart, Seconds

COARSE_V = 1.0  # volts in steps of this or more are too coarse for droop: another meter must give them


class ChargerTiming(Block):
    """Give the times that make up how long a charger takes to obey, and how old its reading may get."""

    write_gap_s: Seconds = Field(description="shortest time between two writes")
    pwm_gap_s: Seconds = Field(description="shortest time between two steps of the control pilot")
    car_s: Seconds = Field(description="longest time in which the car follows the pilot")
    max_age_s: Seconds = Field(description="oldest reading that is believed")


class ChargerWatchdog(Block):
    """Describe the charger's own fail-safe: what keeps it quiet, what it does on expiry and how it is left.

    `any_traffic`: any valid request; `per_setpoint`: only the set-point itself; `life_bit` and `token`: `feed_value`
    written to `feed`. All but the first ignore other traffic.
    """

    kind: Literal["none", "any_traffic", "per_setpoint", "life_bit", "token"]
    timeout_set: str = Field(default="", description="register that takes the time-out; empty: not by Modbus")
    timeout_get: str = ""
    current_set: str = Field(default="", description="register that takes the fail-safe current; empty: not by Modbus")
    current_get: str = ""
    arm_set: str = Field(default="", description="register that takes 1 to switch the supervision on; empty: none")
    min_s: Seconds = 0.0
    max_s: Seconds = 0.0
    default_s: Seconds = Field(default=0.0, description="time-out as delivered; 0 off or not known")
    default_a: float = Field(default=math.nan, description="fail-safe current as delivered, A; NaN not known")
    keep_alive_s: Seconds = Field(default=0.0, description="set-point is written again after it; 0 never")
    feed: str = Field(default="", description="register that life_bit and token are written to")
    feed_value: float = 1.0
    feed_s: Seconds = Field(default=0.0, description="how often they are written")
    on_expiry: Literal["failsafe_a", "zero", "full_power", "error_state", "stays"] = "failsafe_a"
    recovery: Literal["any_request", "feed", "setpoint", "none"] = Field(
        default="any_request", description="what leaves the fail-safe; none: there is no fail-safe to leave"
    )
    volatile: bool = Field(default=False, description="time-out and current fall to the defaults with the supply")

    def expiry_a(self, failsafe_a: float, max_a: float) -> float:
        """Return what the charger may take once nobody talks to it, A: `failsafe_a` where it obeys one, or `max_a`."""
        if self.on_expiry in ("zero", "error_state"):
            return 0.0
        return failsafe_a if self.on_expiry == "failsafe_a" and self.kind != "none" else max_a

    @model_validator(mode="after")
    def _consistent(self) -> "ChargerWatchdog":
        fed = self.kind in ("life_bit", "token")
        if fed != bool(self.feed) or fed != (self.feed_s > 0.0):
            raise ValueError(f"kind {self.kind}: feed and feed_s are for life_bit and token, and needed there")
        if (self.kind == "none") != (self.recovery == "none") or (self.kind == "none") != (self.on_expiry == "stays"):
            raise ValueError("kind none goes with on_expiry stays and recovery none, and only with them")
        return self


class ChargerSetpoint(Block):
    """Say how the current is set and how a pause is ordered."""

    register_name: str = Field(alias="register")
    kind: Literal["amps", "watts", "percent"] = Field(
        default="amps", description="what the device takes; the register's scale turns it into amps per phase"
    )
    per_phase: list[str] = Field(default=[], description="registers of a limit for L1, L2 and L3 apart, or none")
    pause_by: Literal["zero", "enable"] = Field(description="0 A in the set-point, or 0 in the enable register")
    zero_means: Literal["pause", "release_withdrawn", "error", "minimum", "refused", "no_limit"] = Field(
        default="pause", description="what the device makes of a 0 in the set-point"
    )
    enable: str = Field(default="", description="register that takes 1 and 0 where pause_by is enable")
    applied: str = Field(default="", description="register that tells the limit in force")
    applied_slack_a: Amps = Field(
        default=0.25, description="by how much it may be above the order: coarse register, device that rounds up"
    )
    write_on_change: bool = Field(default=True, description="False: the order may be sent in every turn")
    pacing_broken: Literal["taken", "ignored", "busy"] = Field(
        description="what the twin does with a write that comes too early: take it, ignore it unsaid, exception 6"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ChargerSetpoint":
        if self.per_phase and len(self.per_phase) != 3:
            raise ValueError(f"per_phase names {len(self.per_phase)} registers; allowed none or three")
        if self.pause_by == "zero" and self.zero_means in ("error", "minimum", "refused", "no_limit"):
            raise ValueError(f"a 0 that means {self.zero_means} does not pause: pause_by must be enable")
        return self


class PhaseSwitch(Block):
    """Say how a charger is told to charge on one phase or on three, and what has to happen around it."""

    register_name: str = Field(alias="register", description="takes the codes `one` and `three`")
    one: int
    three: int
    read: str = Field(default="", description="register that tells the phases in use; empty: not told")
    read_one: int = 1
    read_three: int = 3
    prepare: str = Field(default="", description="register that must hold prepare_value before, or none")
    prepare_value: float = 0.0
    pause_first: bool = Field(description="True: only at 0 A; False: the device pauses by itself")
    dwell_s: Seconds = Field(description="shortest time between two changes")


class DcStage(Block):
    """Describe a charger that gives direct current: its output, and how its watts and our amps go together.

    A limit in amps per mains phase becomes watts at the lowest supply voltage, less the losses: at any higher voltage
    the mains side then draws less than the limit, never more. Its amps are read by the same rule.
    """

    efficiency: float = Field(gt=0.5, le=1, description="DC watts per mains watt, one figure for all loads")
    min_supply_v: float = Field(gt=0, description="lowest mains volts, line to neutral, at which it still charges")
    min_v: float = Field(ge=0, description="V; lowest output")
    max_v: float = Field(gt=0, description="V; highest output")
    max_a: float = Field(gt=0, description="A; largest output current")
    max_w: float = Field(gt=0, description="W; largest output power")
    rise_a_per_s: float = Field(gt=0, description="A/s of the output current")
    fall_a_per_s: float = Field(gt=0, description="A/s of the output current")

    @property
    def watts_per_amp(self) -> float:
        """Return the DC watts that an amp per mains phase stands for."""
        return 3 * self.min_supply_v * self.efficiency


class ChargerPart(Block):
    """Describe what a charger of the family can do."""

    phases: list[Literal[1, 3]]
    max_a: Amps = Field(description="largest set-point of the family; the rig lowers it")
    min_a: Amps = Field(description="smallest set-point that charges; 0 pauses")
    step_a: float = Field(gt=0, description="resolution of the set-point")
    voltage_step_v: Seconds = Field(description="resolution of the volts; 0 continuous; 230 none are told")
    current_step_a: Amps = Field(description="resolution of the measured amps; 0 continuous")
    setpoint: ChargerSetpoint
    watchdog: ChargerWatchdog
    timing: ChargerTiming
    prepare: dict[str, float] = Field(default={}, description="registers that must hold a value before an order acts")
    phase_switch: PhaseSwitch | None = None
    dc: DcStage | None = Field(default=None, description="only for a charger that gives direct current")

    @property
    def obey_s(self) -> float:
        """Return the time after which a lower limit is drawn, s: write pacing + pilot + car."""
        return self.timing.write_gap_s + self.timing.pwm_gap_s + self.timing.car_s

    @property
    def max_age_s(self) -> float:
        """Return the oldest reading that is believed, s."""
        return self.timing.max_age_s

    @property
    def droop_from_own_volts(self) -> bool:
        """Say whether its own volts are fine enough for droop; False: another meter must give them."""
        return self.voltage_step_v < COARSE_V

    def check(self, part: ModbusPart) -> None:
        """Compare with the registers of the Modbus part; ValueError says what does not fit."""
        known = {register.name for register in part.registers}
        if missing := [name for name in self.named_registers() if name not in known]:
            raise ValueError(f"[charger] names unknown registers: {', '.join(missing)}")
        cyclic = [self.watchdog.feed] + [self.setpoint.register_name] * (self.watchdog.keep_alive_s > 0.0)
        if worn := [name for name in cyclic if name and part.register(name).persistent]:
            raise ValueError(f"[charger] writes {worn[0]} again and again; its memory wears (persistent)")
        if self.setpoint.kind == "watts" and self.dc is not None:
            scale = part.register(self.setpoint.register_name).scale
            if not math.isclose(scale * self.dc.watts_per_amp, 1.0, rel_tol=1e-3):
                raise ValueError(f"the set-point's scale must be 1/{self.dc.watts_per_amp:g} A per W, as [charger.dc]")

    def named_registers(self) -> list[str]:
        """Return the register names that this part refers to."""
        s, w, p = self.setpoint, self.watchdog, self.phase_switch
        named = [s.register_name, *s.per_phase, s.enable, s.applied]
        named += [w.timeout_set, w.timeout_get, w.current_set, w.current_get, w.arm_set, w.feed]
        if p is not None:
            named += [p.register_name, p.read, p.prepare]
        return [name for name in [*named, *self.prepare] if name]

    @model_validator(mode="after")
    def _consistent(self) -> "ChargerPart":
        if self.min_a > self.max_a:
            raise ValueError(f"min_a {self.min_a:g} A is over max_a {self.max_a:g} A")
        if self.setpoint.pause_by == "enable" and not self.setpoint.enable:
            raise ValueError("setpoint.enable must name the register that pauses")
        return self
