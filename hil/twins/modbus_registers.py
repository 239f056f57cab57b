"""Answer Modbus requests from a catalog record and a view of the device. The base of every Modbus twin.

The record says in which table each value lies and how it is coded, the view says what it is. What is left here are
the rules that any device may have: tables, gaps, whole values, memory that wears, what a lost supply forgets.
"""

import math
from collections.abc import Callable
from typing import Protocol

from hil.twins.modbus_server import ExceptionCode, ModbusException, NoAnswer
from instruments.modbus_catalog import READ_FUNCTION, ModbusPart, Register
from instruments.modbus_codec import decode_words, encode_value

TABLE_READ = {function: table for table, function in READ_FUNCTION.items()}
TABLE_WRITTEN = {5: "coil", 15: "coil", 6: "holding", 16: "holding"}
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
    """Answer reads and writes of a catalog record over a view.

    Attributes: `constants` by register name what replaces the record's sample; `busy` answers every request with
    exception 6; `frozen` shows the values of the last read on and on; `memory_writes` counts the writes of registers
    whose memory wears. The last three are faults and figures for tests.
    """

    __slots__ = ("_down", "_part", "_shown", "_stored", "_tables", "_units", "_view", "_words", "_writable",
                 "busy", "clock_s", "constants", "frozen", "memory_writes")  # fmt: skip

    def __init__(self, part: ModbusPart, view: View, clock_s: Callable[[], float]) -> None:
        self._part = part
        self._view = view
        self.clock_s = clock_s
        self.constants: dict[str, float | str] = {}
        self.busy = self.frozen = self._down = False
        self.memory_writes: dict[str, int] = {}
        self._stored: dict[str, list[int]] = {}  # what was written to registers that no quantity stands behind
        self._shown: dict[str, list[int]] = {}
        self._words: dict[tuple[int, str, int], tuple[Register, int]] = {}
        self._writable: dict[tuple[int, str, int], Register] = {}
        self._units = {register.unit_id for register in part.registers}
        self._tables = {part.table_of(register) for register in part.registers}
        for register in part.registers:
            place = register.unit_id, part.table_of(register)
            if "w" in register.access:
                self._writable[(*place, register.address)] = register
            if "r" in register.access:
                for k in range(register.count):
                    self._words[(*place, register.address + k)] = (register, k)
                if register.quantity:
                    view.get(register.quantity)  # a record that names what the plant does not know fails here

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Serve one request of a `ModbusServer`."""
        self.admit(unit_id, function)
        if values is None:
            self._refuse_while_busy()
            self.read_paced(self.clock_s())
            words = self.read(unit_id, address, count, function)
            self._view.touch(self.clock_s())
            return words
        self._refuse_while_busy()
        self.write(unit_id, address, values, function)
        return []

    def admit(self, unit_id: int, function: int) -> None:
        """Refuse what is not for this device or is no function of its own, whatever else the request says."""
        self._follow_supply()
        if self._down or unit_id not in self._units:
            raise NoAnswer
        if function not in self._part.write_functions and TABLE_READ.get(function) not in self._tables:
            raise ModbusException(ExceptionCode.FUNCTION)

    def has_unit(self, unit_id: int) -> bool:
        """Say whether a unit id is one of the device's."""
        return unit_id in self._units

    def has_address(self, unit_id: int, function: int, address: int) -> bool:
        """Say whether a request with this function code finds a register of the device at an address."""
        if function in TABLE_READ:
            return (unit_id, TABLE_READ[function], address) in self._words
        return (unit_id, TABLE_WRITTEN.get(function, ""), address) in self._writable

    def read(self, unit_id: int, address: int, count: int, function: int) -> list[int]:
        """Return `count` words; reserved ones hold the family's fill; a range without any value is exception 2."""
        table = TABLE_READ[function]
        found = [self._words.get((unit_id, table, address + k)) for k in range(count)]
        if count > self._part.max_read_registers:
            raise ModbusException(ExceptionCode.VALUE)
        if self._part.exact_read:
            self._check_exact(found, count)
        if not any(found) or (None in found and not self._part.gaps_readable):
            raise ModbusException(ExceptionCode.ADDRESS)
        cache: dict[str, list[int]] = {}
        words = []
        for place in found:
            if place is None:
                words.append(self._part.fill)
                continue
            register, k = place
            if register.name not in cache:
                cache[register.name] = self._show(register)
            words.append(cache[register.name][k])
        return words

    def write(self, unit_id: int, address: int, values: list[int], function: int) -> None:
        """Take one whole value; exception 2 for a read-only address or a part of a value, 3 for what is not allowed."""
        register = self._writable.get((unit_id, TABLE_WRITTEN[function], address))
        if register is None or register.count != len(values):
            raise ModbusException(ExceptionCode.ADDRESS)
        now_s = self.clock_s()
        value = decode_words(self._part, register, values)
        if not isinstance(value, float):
            raise ModbusException(ExceptionCode.VALUE)
        meant = self.meant(register, value)
        if meant is None and not self._allowed(register, value):
            raise ModbusException(ExceptionCode.VALUE)
        if not self.paced(register, now_s):
            return
        if register.persistent:
            self.memory_writes[register.name] = self.memory_writes.get(register.name, 0) + 1
        self._view.touch(now_s)
        if not register.quantity:
            self.stored(register, value, now_s)
            self._stored[register.name] = values
            return
        try:
            self._view.set(register.quantity, self._decoded(register, value) if meant is None else meant, now_s)
        except ValueError as error:
            raise ModbusException(ExceptionCode.VALUE) from error

    def paced(self, register: Register, now_s: float) -> bool:
        """Say whether a write may come now; a family with pacing overrides it."""
        return True

    def read_paced(self, now_s: float) -> None:
        """Note a read; a family with pacing overrides it."""

    def meant(self, register: Register, value: float) -> float | None:
        """Return what the device makes of a written value by a rule of its own, SI; None where it has none."""
        return None

    def stored(self, register: Register, value: float, now_s: float) -> None:
        """Act on a register that no quantity stands behind, before it is kept; overridden by a device that does."""

    def booted(self) -> None:
        """Forget what is lost with the supply; overridden by a device that loses more."""
        for register in self._part.registers:
            if register.volatile:
                self._stored.pop(register.name, None)

    def _follow_supply(self) -> None:
        """Notice that the device lost its supply, and that it booted since."""
        if not self._view.powered:
            self._down = True
        elif self._down:
            self._down = False
            self.booted()

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise ModbusException(ExceptionCode.BUSY)

    def _check_exact(self, found: list[tuple[Register, int] | None], count: int) -> None:
        first = found[0]
        if first is None or first[1] != 0:
            raise ModbusException(ExceptionCode.ADDRESS)
        if count != first[0].count:
            raise ModbusException(ExceptionCode.VALUE)

    def _allowed(self, register: Register, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if register.min is None or register.max is None or (value == 0.0 and register.zero):
            return True
        slack = 1e-6 * register.max
        return register.min - slack <= value <= register.max + slack

    def _decoded(self, register: Register, value: float) -> float:
        if not register.decode:
            return value
        code = register.code(round(value / register.scale))
        return float(register.decode.get(str(code), code))

    def _show(self, register: Register) -> list[int]:
        if not self.frozen or register.name not in self._shown:
            self._shown[register.name] = self._encode(register)
        return self._shown[register.name]

    def _encode(self, register: Register) -> list[int]:
        if register.name in self._stored:
            return self._stored[register.name]
        value = self._value(register)
        if isinstance(value, float) and register.quantity and register.encode:
            code = self._code(register, round(value)) << register.shift
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
        if register.failsafe_code is not None and self._failed_to_zero():
            return register.failsafe_code
        if register.paused_code is not None and ours == STATE_B and self._paused():
            return register.paused_code
        return register.encode.get(str(ours), 0)

    def _paused(self) -> bool:
        return self._view.get("setpoint_a") == 0.0 or self._view.get("enable") == 0.0

    def _failed_to_zero(self) -> bool:
        return self._view.get("failsafe_active") == 1.0 and self._view.get("failsafe_a") == 0.0


def _number(value: float | str) -> float:
    """Return a number, or the digits of a text: serial and firmware are numbers on some devices."""
    if isinstance(value, str):
        return float("".join(c for c in value if c.isdigit())[:9] or 0)
    return float(value)
