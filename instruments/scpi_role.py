"""Do what every SCPI role needs: ordered steps with read-back, limits programmed first, the ordered safe-off."""

import math
import re
import time
from collections.abc import Callable, Sequence

from instruments.catalog import Model
from instruments.faults import FaultKind, PortFault
from instruments.scpi_catalog import ScpiPart, Step
from instruments.scpi_port import ScpiPort, is_error

READ_BACK = 1e-3  # of the value, where the resolution is not known
MODES = {1: "one", 3: "three"}


def scpi_of(model: Model, role: str) -> ScpiPart:
    """Return the dialect record of a model in this role; a PortFault names one that does not fit."""
    if model.scpi is None or model.model.role != role:
        detail = (
            f"{model.model.name} is a {model.model.role} behind {model.model.protocol}, wanted a {role} behind scpi"
        )
        raise PortFault(FaultKind.INTERLOCK, model.model.name, "model", detail, "name a model of that role")
    return model.scpi


class ScpiRole:
    """Hold one device in one role; a subclass says what a control cycle is.

    `pause` waits a number of seconds (settling times of the catalog); it is an argument for the sake of tests.
    """

    __slots__ = ("_pause", "mode", "part", "port")

    def __init__(self, port: ScpiPort, phases: int, pause: Callable[[float], None] = time.sleep) -> None:
        self.port = port
        self.part = port.part
        self._pause = pause
        self.mode = MODES.get(phases, "")
        if phases not in self.part.rating.phases or self.mode not in self.part.cycle:
            raise self.fault(FaultKind.INTERLOCK, "phases", f"{phases}; allowed: {self.part.rating.phases}")

    def fault(self, kind: FaultKind, channel: str, detail: str, hint: str = "") -> PortFault:
        """Return a fault of this device."""
        return PortFault(kind, self.port.name, channel, detail, hint)

    def run_steps(self, steps: Sequence[Step]) -> None:
        """Send each step and check its read-back and the error queue; the first fault ends it."""
        for step in steps:
            self.port.send(step.send)
            if step.settle_s:
                self._pause(step.settle_s)
            if step.ask:
                answers = self.port.exchange(f"{step.ask};:SYST:ERR?", ("value", "error"))
            else:
                answers = {"value": "", "error": self.port.query("SYST:ERR?")}
            if is_error(answers["error"]):
                raise self.fault(FaultKind.REJECTED, step.send, answers["error"])
            if step.ask and re.fullmatch(step.expect, answers["value"]) is None:
                detail = f"{step.ask} answers {answers['value']!r}, expected {step.expect}"
                raise self.fault(FaultKind.READBACK, step.send, detail)

    def safe_off(self) -> None:
        """Send the catalog's safe-off messages in order, each with its read-back.

        A step that fails does not stop the later ones; a port that is lost is opened anew once. The first fault is
        raised at the end: whoever gets it must assume that the device is still energised.
        """
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
                raise self.fault(FaultKind.READBACK, step.send, detail, "switch it off by hand now")

    def prepare_role(self, limits: dict[str, float]) -> None:
        """Take remote control, make the device safe, set its mode, then its own limits, each read back.

        `limits` are the values of the catalog's protection quantities. Nothing is energised in here.
        """
        if self.part.remote.take:
            self.port.send(self.part.remote.take)
        self.safe_off()
        self.port.drain_errors()
        self.run_steps(self.part.setup[self.mode].steps)
        protection = self.part.protection
        for name in protection.limits:
            self.program(name, limits[name])
        if protection.delay:
            self.program(protection.delay, protection.delay_s)
        if protection.enable:
            quantity = self.part.quantity(protection.enable)
            self.run_steps([Step(send=quantity.send.format(value="ON"), ask=quantity.ask, expect="1|ON")])

    def program(self, name: str, value: float) -> None:
        """Write one number setting and read it back; refuse a value outside the catalog's range, never clip it."""
        quantity = self.part.quantity(name)
        low, high = quantity.min or 0.0, quantity.max if quantity.max is not None else math.inf
        self.check(name, value, low, high, quantity.unit)
        self.port.send(quantity.send.format(value=value))
        answers = self.port.exchange(f"{quantity.ask};:SYST:ERR?", ("value", "error"))
        if is_error(answers["error"]):
            raise self.fault(FaultKind.REJECTED, quantity.send.format(value=value), answers["error"])
        seen = self.number(quantity.ask, answers["value"])
        if abs(seen - value) > max(quantity.step, READ_BACK * abs(value)):
            detail = f"{seen:g} {quantity.unit}, written {value:g} {quantity.unit}"
            raise self.fault(FaultKind.READBACK, name, detail)

    def check(self, what: str, value: float, low: float, high: float, unit: str) -> None:
        """Refuse a value that is not finite or not within low..high."""
        if not (math.isfinite(value) and low <= value <= high):
            raise self.fault(FaultKind.RANGE, what, f"{value:g} {unit}; allowed {low:g}..{high:g} {unit}")

    def number(self, channel: str, text: str) -> float:
        """Return an answer as a finite number; a fault of kind protocol where it is none."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or abs(value) >= 9.9e37:  # SCPI-99 7.2.1: 9.91E37 is not a number
            raise self.fault(FaultKind.PROTOCOL, channel, f"{text!r} is not a finite number")
        return value
