"""Emulate a Modbus charger from its catalog record and the plant's view of it.

The record says where each value lies and how it is coded, the view says what it is. What is left here are the rules
of the real device: which reads it takes, how it answers reserved registers, and how close writes may follow.
"""

import math
from collections.abc import Callable
from typing import Protocol

from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer, NoAnswer
from instruments.catalog import Model, charger_of, modbus_of
from instruments.modbus_catalog import ModbusPart, Register
from instruments.modbus_codec import decode_words, encode_value

STATE_B = 1


class View(Protocol):
    """Read and write one device by quantity, SI units; `touch` tells of any valid request."""

    @property
    def powered(self) -> bool:
        """Say whether the device has supply."""

    def get(self, quantity: str) -> float | str:
        """Return a quantity; ValueError for an unknown one."""

    def set(self, quantity: str, value: float, now_s: float) -> None:
        """Write a quantity; ValueError says what is allowed."""

    def touch(self, now_s: float) -> None:
        """Feed a watchdog that any traffic keeps quiet."""


class RegisterMap:
    """Answer reads and writes of a catalog record over a view. The base of every Modbus twin."""

    __slots__ = ("_part", "_stored", "_view", "_words", "clock_s", "constants")

    def __init__(self, part: ModbusPart, view: View, clock_s: Callable[[], float]) -> None:
        self._part = part
        self._view = view
        self.clock_s = clock_s
        self.constants: dict[str, float | str] = {}  # by register name: what replaces the record's sample
        self._stored: dict[str, list[int]] = {}  # what was written to registers that no quantity stands behind
        self._words: dict[tuple[int, int], tuple[Register, int]] = {}
        for register in part.registers:
            if "r" in register.access:
                for k in range(register.count):
                    self._words[register.unit_id, register.address + k] = (register, k)
                if register.quantity:
                    view.get(register.quantity)  # a record that names what the plant does not know fails here

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Serve one request of a `ModbusServer`."""
        if not self._view.powered or not any(r.unit_id == unit_id for r in self._part.registers):
            raise NoAnswer
        if values is None:
            if function != self._part.read_function:
                raise ModbusException(ExceptionCode.FUNCTION)
            words = self.read(unit_id, address, count)
            self._view.touch(self.clock_s())
            return words
        if function not in self._part.write_functions:
            raise ModbusException(ExceptionCode.FUNCTION)
        self.write(unit_id, address, values)
        return []

    def read(self, unit_id: int, address: int, count: int) -> list[int]:
        """Return `count` words; reserved ones hold the family's fill; a range without any value is exception 2."""
        found = [self._words.get((unit_id, address + k)) for k in range(count)]
        if count > self._part.max_read_registers:
            raise ModbusException(ExceptionCode.VALUE)
        if self._part.exact_read:
            self._check_exact(found, count)
        if not any(found):
            raise ModbusException(ExceptionCode.ADDRESS)
        cache: dict[str, list[int]] = {}
        words = []
        for place in found:
            if place is None:
                words.append(self._part.fill)
                continue
            register, k = place
            if register.name not in cache:
                cache[register.name] = self._encode(register)
            words.append(cache[register.name][k])
        return words

    def write(self, unit_id: int, address: int, values: list[int]) -> None:
        """Take one whole value; exception 2 for a read-only address or a part of a value, 3 for what is not allowed."""
        register = next(
            (r for r in self._part.registers if (r.unit_id, r.address) == (unit_id, address) and "w" in r.access), None
        )
        if register is None or register.count != len(values):
            raise ModbusException(ExceptionCode.ADDRESS)
        now_s = self.clock_s()
        value = decode_words(self._part, register, values)
        if not isinstance(value, float) or not self._allowed(register, value):
            raise ModbusException(ExceptionCode.VALUE)
        if not self.paced(register, now_s):
            return
        self._view.touch(now_s)
        if not register.quantity:
            self._stored[register.name] = values
            return
        try:
            self._view.set(register.quantity, self._decoded(register, value), now_s)
        except ValueError as error:
            raise ModbusException(ExceptionCode.VALUE) from error

    def paced(self, register: Register, now_s: float) -> bool:
        """Say whether a write may come now; a family with pacing overrides it."""
        return True

    def _check_exact(self, found: list[tuple[Register, int] | None], count: int) -> None:
        first = found[0]
        if first is None or first[1] != 0:
            raise ModbusException(ExceptionCode.ADDRESS)
        if count != first[0].count:
            raise ModbusException(ExceptionCode.VALUE)

    def _allowed(self, register: Register, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if register.min is None or register.max is None or value == 0.0:
            return True
        slack = 1e-6 * register.max
        return register.min - slack <= value <= register.max + slack

    def _decoded(self, register: Register, value: float) -> float:
        return float(register.decode.get(str(round(value)), round(value))) if register.decode else value

    def _encode(self, register: Register) -> list[int]:
        if register.name in self._stored:
            return self._stored[register.name]
        value = self._value(register)
        if isinstance(value, float) and register.encode:
            code = self._code(register, round(value))
            return encode_value(self._part, register, code * register.scale)
        if register.type == "str":
            return encode_value(self._part, register, str(value))
        number = _number(value)
        if register.type not in ("f32", "f64") and not math.isfinite(number):
            return [0xFFFF if number > 0 else 0] * register.count  # +inf all ones, NaN zero: an integer has no other
        if register.type.startswith("u") and number < 0.0:
            number = 0.0  # an unsigned register cannot show a flow back into the grid
        return encode_value(self._part, register, number)

    def _value(self, register: Register) -> float | str:
        if register.name in self.constants:
            return self.constants[register.name]
        return self._view.get(register.quantity) if register.quantity else register.sample

    def _code(self, register: Register, ours: int) -> int:
        if register.paused_code is not None and ours == STATE_B and self._paused():
            return register.paused_code
        return register.encode.get(str(ours), 0)

    def _paused(self) -> bool:
        return self._view.get("setpoint_a") == 0.0 or self._view.get("enable") == 0.0


class ModbusChargerTwin(RegisterMap):
    """Serve one charger: `server` is its Modbus TCP server, `start` and `stop` run it.

    Attributes: `early_writes` counts writes that came before the family's pacing allowed; the record says what became
    of them.
    """

    __slots__ = ("_last_write_s", "_rules", "early_writes", "server")

    def __init__(self, model: Model, view: View, clock_s: Callable[[], float]) -> None:
        """Take a charger model, the plant's view of the device, and a running clock in seconds (not one that steps:
        pacing is judged by it)."""
        part = modbus_of(model)
        super().__init__(part, view, clock_s)
        self._rules = charger_of(model)
        self._last_write_s = -math.inf
        self.early_writes = 0
        self.server = ModbusServer(self.handle, max_clients=part.max_clients, idle_close_s=part.idle_close_s)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections."""
        await self.server.stop()

    def paced(self, register: Register, now_s: float) -> bool:
        """Hold back a write that follows too soon: ignore it or answer busy, as the record says."""
        elapsed_s = now_s - self._last_write_s
        if 0.0 <= elapsed_s < self._rules.timing.write_gap_s - 1e-9:  # a clock that was set back starts anew
            self.early_writes += 1
            if self._rules.setpoint.pacing_broken == "busy":
                raise ModbusException(ExceptionCode.BUSY)
            return False
        self._last_write_s = now_s
        return True


def _number(value: float | str) -> float:
    """Return a number, or the digits of a text: serial and firmware are numbers on some devices."""
    if isinstance(value, str):
        return float("".join(c for c in value if c.isdigit())[:9] or 0)
    return float(value)
