"""Do what every SCPI role needs: ordered steps with read-back, limits programmed first, the ordered safe-off."""

import math
import re
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from instruments.catalog import Model
from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import Quantity, RolePart, ScpiPart, ScpiRoleName, Step
from instruments.scpi_cycle import CyclePlan
from instruments.scpi_port import ScpiPort, is_error
from instruments.scpi_units import number_of, ours, to_ours, to_theirs

READ_BACK = 1e-3  # of the value, where the resolution is not known
ON = r"\+?1|ON"
IS_ON, IS_OFF = ("1", "+1", "ON"), ("0", "OFF")
OFF_BY_HAND = "switch it off by hand now"
WATCHDOG_S = 5.0
SETTINGS = {"current_limit_a": "set_a", "power_limit_w": "set_w", "sink_limit_a": "sink_a", "sink_limit_w": "sink_w"}


def scpi_of(model: Model, role: str) -> ScpiPart:
    """Return the dialect record of a model in this role; a PortFault names one that does not fit."""
    if model.model.undriven:
        detail = f"{model.model.name} is in the catalog and cannot be driven: {model.model.undriven}"
        raise PortFault(FaultKind.INTERLOCK, model.model.name, "model", detail, "name another model")
    if model.scpi is None or role not in model.scpi.roles:
        has = f"{model.model.name} is a {' or '.join(model.roles)} behind {model.model.protocol}"
        detail = f"{has}, wanted a {role} behind scpi"
        raise PortFault(FaultKind.INTERLOCK, model.model.name, "model", detail, "name a model of that role")
    return model.scpi


class ScpiRole:
    """Hold one device in one role; a subclass says what a control cycle is.

    Parameters
    ----------
    port: the device's port, open before `prepare`
    mode: mode of the role that the device is set to, as the catalog names it
    channel: output of a device that has several
    watchdog_s: time after which the device's own I/O watchdog, where it has one, switches the output off
    pause: waits a number of seconds (settling times of the catalog); an argument for the sake of tests
    """

    __slots__ = ("_mode", "_on", "_pause", "_plan", "channel", "port", "watchdog_s")

    ROLE: ClassVar[ScpiRoleName]

    def __init__(
        self,
        port: ScpiPort,
        mode: str,
        *,
        channel: int = 1,
        watchdog_s: float = WATCHDOG_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.port = port
        self.channel = channel
        self.watchdog_s = watchdog_s
        self._pause = pause
        self._mode = mode
        self._on = False
        if self.ROLE not in self.part.roles:
            detail = f"{self.ROLE}: not a role of this family; it has {', '.join(self.part.roles)}"
            raise self.fault(FaultKind.INTERLOCK, "role", detail, "name a model of that role")
        if mode not in self.role.cycle:
            raise self.fault(FaultKind.INTERLOCK, "mode", f"{mode}; allowed: {', '.join(self.role.cycle)}")
        if not 1 <= channel <= self.role.can.channels:
            raise self.fault(FaultKind.RANGE, "channel", f"{channel}; allowed: 1..{self.role.can.channels}")
        watchdog = self.part.watchdog
        if watchdog.kind != "none":
            self.check("watchdog_s", watchdog_s, watchdog.min_s, watchdog.max_s, "s")
        self._plan = CyclePlan(self.part, self.role.cycle[mode], channel)

    @property
    def part(self) -> ScpiPart:
        """Return the dialect record: that of the identified variant once the port is open."""
        return self.port.part

    @property
    def role(self) -> RolePart:
        """Return what the record says of this role."""
        return self.part.roles[self.ROLE]

    @property
    def mode(self) -> str:
        """Return the mode that the device is set to."""
        return self._mode

    def fault(self, kind: FaultKind, channel: str, detail: str, hint: str = "") -> PortFault:
        """Return a fault of this device."""
        return PortFault(kind, self.port.name, channel, detail, hint)

    # ------------------------------------------------------------------ ordered messages
    def run_steps(self, steps: Sequence[Step]) -> None:
        """Send each step and check its read-back and the error queue; the first fault ends it."""
        for step in steps:
            send, ask = self._addressed(step.send), self._addressed(step.ask)
            self.port.send(send)
            if step.settle_s:
                self._pause(step.settle_s)
            value = self._answer_and_errors(send, ask)
            expect = step.expect.replace("{channel}", str(self.channel))
            if ask and not step.model_copy(update={"expect": expect}).fits(value, self.part.parser.units_in_reply):
                raise self.fault(FaultKind.READBACK, send, f"{ask} answers {value!r}, expected {expect}")

    def safe_off(self) -> None:
        """Send the catalog's safe-off messages in order, each with its read-back.

        A step that fails does not stop the later ones; a port that is lost is opened anew once. The first fault is
        raised at the end: whoever gets it must assume that the device is still energised.
        """
        self._on = False
        faults: list[PortFault] = []
        for step in self.part.safe_off.steps:
            try:
                self._one_off(step)
            except PortFault as fault:
                faults.append(fault)
                try:
                    if not self.port.is_open:
                        self.port.open()
                    self._one_off(step)
                    faults.pop()
                except PortFault as again:
                    faults.append(again)
        if self.channel > 1:  # the messages name every channel, their read-back only the first
            switch = "output" if "output" in self.part.quantities else "input"
            ask = self._addressed(self.part.quantity(switch).ask)
            if (value := self.port.query(ask)).lstrip("+") not in IS_OFF:
                faults.append(self.fault(FaultKind.READBACK, ask, f"{value!r}, expected off", OFF_BY_HAND))
        if faults:
            raise faults[0]

    def _one_off(self, step: Step) -> None:
        self.port.send(step.send)
        if step.settle_s:
            self._pause(step.settle_s)
        if step.ask:
            value = self.port.query(step.ask)
            if re.fullmatch(step.expect, value) is None:
                detail = f"{step.ask} answers {value!r}, expected {step.expect}"
                raise self.fault(FaultKind.READBACK, step.send, detail, OFF_BY_HAND)

    def prepare_role(self, limits: dict[str, float]) -> None:
        """Take remote control, make the device safe, set its mode, then its own limits, each read back.

        `limits` are our hard limits by the catalog's protection quantities, in our units; +inf stands for the
        largest that the device takes. A family without such protections programs its set values with them, which
        regulate instead of tripping. Nothing is energised in here.
        """
        for limit, setting in SETTINGS.items():
            limits.setdefault(setting, limits.get(limit, math.inf))
        self.take_remote()
        self.safe_off()
        self.port.drain_errors()
        self._compare_ratings(limits)
        self.run_steps(self.role.setup[self.mode].steps)
        protection = self.role.protection
        for name in protection.limits:
            self.program(name, self._finite(name, limits.get(name, math.inf)))
        if protection.delay:
            self.program(protection.delay, protection.delay_s)
        for name in protection.enable:
            quantity = self.part.quantity(name)
            self.run_steps(
                [Step(send=quantity.send.format(value="ON", channel="{channel}"), ask=quantity.ask, expect=ON)]
            )

    def take_remote(self) -> None:
        """Take remote control and read back who has it; a fault of kind busy where it is another."""
        remote = self.part.remote
        if remote.take:
            self.port.send(remote.take)
        if remote.ask:
            owner = self.port.query(remote.ask)
            if re.fullmatch(remote.expect, owner) is None:
                detail = f"{remote.ask} answers {owner!r}, expected {remote.expect}"
                raise self.fault(FaultKind.BUSY, remote.take, detail, "release it from its front panel or other master")

    def energise(self) -> None:
        """Arm the device's own watchdog, then switch on in the catalog's order, each step read back."""
        self.arm_watchdog()
        try:
            self.run_steps(self.role.energise.steps)
        except PortFault as fault:
            if fault.kind not in (FaultKind.REJECTED, FaultKind.READBACK):
                raise
            latched = "a latched protection, also of its I/O watchdog, is cleared at the device or on request only"
            raise self.fault(fault.kind, fault.channel, f"{fault.detail}; {self.alarms()}", latched) from fault
        self._on = True

    def arm_watchdog(self) -> None:
        """Arm the I/O watchdog with `watchdog_s`, each step read back; nothing where the family has none."""
        steps = [
            Step(send=self._timed(s.send), ask=s.ask, expect=self._timed(s.expect), settle_s=s.settle_s)
            for s in self.part.watchdog.arm
        ]
        self.run_steps(steps)

    def release(self) -> None:
        """Switch off, disarm the watchdog and give remote control back: the end of a planned stop."""
        self.safe_off()
        for message in (self.part.watchdog.disarm, self.part.remote.release):
            if message:
                self.port.send(message)
        self.port.drain_errors()

    def clear_protection(self) -> list[str]:
        """Clear a latched protection, switched off before and after: some families energise with it.

        Only on the operator's request. Return the entries of the error queue.
        """
        self.safe_off()
        if self.part.clear.send:
            self.port.send(self._addressed(self.part.clear.send))
        elif not self.part.parser.error_acknowledges:  # there, reading the error queue is what clears
            raise self.fault(FaultKind.INTERLOCK, "clear", "this family is cleared at its front panel only")
        self.safe_off()
        return self.port.drain_errors()

    # ------------------------------------------------------------------ numbers
    def program(self, name: str, value: float) -> None:
        """Write one number setting, in our unit, and read it back; refuse what is outside its range, never clip it."""
        quantity = self.part.quantity(name)
        self.require(name, bool(quantity.send and quantity.ask), "what its record has messages for")
        low, high = self.range_of(quantity)
        self.check(name, value, low, high, ours(quantity.unit))
        theirs = to_theirs(-value if quantity.negated else value, quantity.unit)
        message = quantity.send.format(value=theirs, channel=self.channel)
        self.port.send(message)
        answer = self._answer_and_errors(message, self._addressed(quantity.ask))
        if quantity.second:
            answer, _, word = answer.partition(",")
            if not message.endswith(f",{word.strip()}"):
                raise self.fault(FaultKind.READBACK, name, f"{word.strip()!r} answered, {message} written")
        seen = to_ours(self.number(quantity.ask, answer), quantity.unit) * (-1.0 if quantity.negated else 1.0)
        step = to_ours(quantity.step, quantity.unit)
        if abs(seen - value) > max(step, READ_BACK * abs(value)) * (1 + 1e-9):
            unit = ours(quantity.unit)
            raise self.fault(FaultKind.READBACK, name, f"{seen:g} {unit}, written {value:g} {unit}")

    def set_slew(self, volt_v_per_s: float) -> None:
        """Write the device's own slew rate, V/s, and read it back; refused where the family has none."""
        self.require("slew", self.role.can.slew and "volt_slew" in self.part.quantities, "no slew rate of its own")
        self.program("volt_slew", volt_v_per_s)

    def range_of(self, quantity: Quantity) -> tuple[float, float]:
        """Return the range of a setting in our unit and sign."""
        ends = (quantity.min or 0.0, quantity.max if quantity.max is not None else math.inf)
        low, high = sorted(to_ours(-end if quantity.negated else end, quantity.unit) for end in ends)
        return low, high

    def check(self, what: str, value: float, low: float, high: float, unit: str) -> None:
        """Refuse a value that is not finite or not within low..high."""
        if not (math.isfinite(value) and low <= value <= high):
            raise self.fault(FaultKind.RANGE, what, f"{value:g} {unit}; allowed {low:g}..{high:g} {unit}")

    def require(self, capability: str, able: bool, instead: str) -> None:
        """Refuse what the family cannot do; `instead` says what it can."""
        if not able:
            detail = f"{self.ROLE} cannot do this; it can: {instead}"
            raise self.fault(FaultKind.INTERLOCK, capability, detail, "take another model, or ask less of this one")

    def number(self, channel: str, text: str) -> float:
        """Return an answer as a finite number; a fault of kind protocol where it is none."""
        value = number_of(text, self.part.parser.units_in_reply)
        if not math.isfinite(value):
            raise self.fault(FaultKind.PROTOCOL, channel, f"{text!r} is not a finite number")
        return value

    def run_cycle(self, values: dict[str, float]) -> dict[str, str]:
        """Write the values and read the answers of one control cycle, in as few messages as the device takes.

        An entry in the error queue is a fault of kind rejected, an output that went off by itself one of kind
        protection.
        """
        answers: dict[str, str] = {}
        for message, names in self._plan.messages(values, self._timed(self.part.watchdog.feed)):
            if names:
                answers |= self._plan.named(self.port.exchange(message, names), self.fault)
            else:
                self.port.send(message)
        if is_error(answers.get("error", "0"), self.part.parser):
            raise self.fault(FaultKind.REJECTED, "cycle", answers["error"])
        state = answers.get("output", answers.get("input"))
        if self._on and state is not None and state not in IS_ON:
            what = "output" if "output" in answers else "input"
            detail = f"{what} is off by itself; {self.alarms()}"
            raise self.fault(FaultKind.PROTECTION, what, detail)
        return answers

    def alarms(self) -> str:
        """Return the device's questionable condition register in words; it never fails."""
        bits = self.part.status.questionable
        try:
            text = self.port.query("STAT:QUES:COND?") if bits else ""
        except PortFault as fault:
            return f"its alarms cannot be read ({fault.kind.name.lower()})"
        value = number_of(text)
        if not math.isfinite(value):
            return "its record has no alarms" if not bits else f"{text!r} in the questionable register"
        names = [name for name, bit in bits.items() if int(value) >> bit & 1]
        return f"{text} in the questionable register ({', '.join(names) or 'none'})"

    def reading(self, name: str, answers: dict[str, str]) -> float:
        """Return a reading of the cycle in our unit."""
        return to_ours(self.number(name, answers[name]), self._plan.cycle.units.get(name, ""))

    # ------------------------------------------------------------------ helpers
    def _compare_ratings(self, limits: dict[str, float]) -> None:
        """Ask the device for its own ratings where it tells them, and refuse hard limits beyond them."""
        for field, query in self.role.rating.ask.items():
            own = self.number(query, self.port.query(self._addressed(query)))
            name = {"max_v": "volt_limit_v", "max_a": "current_limit_a", "max_va": "power_limit_w"}.get(field)
            wanted = limits.get(name, math.inf) if name else math.inf
            if math.isfinite(wanted) and wanted > own:
                detail = f"{wanted:g}; this device answers {own:g} to {query}"
                raise self.fault(FaultKind.RANGE, name or field, detail)

    def _finite(self, name: str, value: float) -> float:
        """Return the largest that the device takes for +inf."""
        return self.range_of(self.part.quantity(name))[1] if value == math.inf else value

    def _answer_and_errors(self, message: str, ask: str) -> str:
        """Return the answer to a read-back; a fault of kind rejected where the message left an error."""
        errors = self.part.parser.error_query
        if ask:
            answers = self.port.exchange(f"{ask};{'' if errors[0] == '*' else ':'}{errors}", ("value", "error"))
        else:
            answers = {"value": "", "error": self.port.query(errors)}
        if is_error(answers["error"], self.part.parser):
            raise self.fault(FaultKind.REJECTED, message, answers["error"])
        return answers["value"]

    def _addressed(self, message: str) -> str:
        return message.replace("{channel}", str(self.channel))

    def _timed(self, message: str) -> str:
        milliseconds = round(self.watchdog_s * 1000.0)
        return message.replace("{seconds}", f"{self.watchdog_s:g}").replace("{milliseconds}", str(milliseconds))
