"""Emulate a Modbus charger from its catalog record and the plant's view of it: set-point, pacing, phases, reboot."""

import math
from collections.abc import Callable

from hil.twins.modbus_registers import RegisterMap, View
from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer
from instruments.catalog import Model, charger_of, modbus_of
from instruments.modbus_catalog import Register

__all__ = ["ModbusChargerTwin", "RegisterMap", "View"]

EARLY_S = 2e-3  # clocks of client and twin differ by as much over a gap


class ModbusChargerTwin(RegisterMap):
    """Serve one charger: `server` is its Modbus TCP server, `start` and `stop` run it.

    Attributes: `early_writes` and `early_reads` count requests that came before the family's pacing allowed; the
    record says what becomes of an early write, an early read is answered all the same. `strict` answers both busy.
    """

    __slots__ = ("_last_read_s", "_last_write_s", "_rules", "_switches", "early_reads", "early_writes", "server",
                 "strict")  # fmt: skip

    def __init__(self, model: Model, view: View, clock_s: Callable[[], float]) -> None:
        """Take a charger model, the plant's view of the device, and a running clock in seconds (not one that steps:
        pacing is judged by it)."""
        part = modbus_of(model)
        super().__init__(part, view, clock_s)
        self._rules = charger_of(model)
        self._last_write_s = self._last_read_s = -math.inf
        self.early_writes = self.early_reads = 0
        self.strict = False
        self._switches = _knows(view, "phases_in_use")
        self.server = ModbusServer(
            self.handle, max_clients=part.max_clients, idle_close_s=part.idle_close_s, admit=self.admit
        )

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections."""
        await self.server.stop()

    def paced(self, register: Register, now_s: float) -> bool:
        """Count a write that follows too soon, and take it, ignore it or answer busy, as the record says."""
        elapsed_s = now_s - self._last_write_s
        if 0.0 <= elapsed_s < self._rules.timing.write_gap_s - 1e-9:  # a clock that was set back starts anew
            self.early_writes += 1
            rule = self._rules.setpoint.pacing_broken
            if self.strict or rule == "busy":
                raise ModbusException(ExceptionCode.BUSY)
            if rule == "ignored":
                return False
        self._last_write_s = now_s
        return True

    def read_paced(self, now_s: float) -> None:
        """Count a read that follows too soon, and answer busy where the twin is strict."""
        early = 0.0 <= now_s - self._last_read_s < self._part.read_gap_s - EARLY_S
        self._last_read_s = now_s
        if early:
            self.early_reads += 1
            if self.strict:
                raise ModbusException(ExceptionCode.BUSY)

    def meant(self, register: Register, value: float) -> float | None:
        """Return what the set-point makes of a value outside its range, A; None where the range alone rules."""
        if register.quantity != "setpoint_a" or register.min is None or register.max is None:
            return None
        rule = self._rules.setpoint.zero_means
        inside = register.min <= value <= register.max
        if inside or not math.isfinite(value):
            return None
        if rule == "release_withdrawn":
            return 0.0
        if rule == "minimum" and value == 0.0:
            return register.min
        if rule == "no_limit" and value < register.min:
            return min(register.max, float(self._view.get("hardware_max_a"))) if value == 0.0 else 0.0
        return None

    def stored(self, register: Register, value: float, now_s: float) -> None:
        """Switch the phases where the plant has switches for them, once the register before it is as it must be."""
        switch = self._rules.phase_switch
        if switch is None or not self._switches or register.name != switch.register_name:
            return
        if switch.prepare and self._prepared(switch.prepare) != switch.prepare_value:
            return
        phases = {switch.one: 1.0, switch.three: 3.0}.get(round(value / register.scale))
        if phases is not None:
            try:
                self._view.set("phases_set", phases, now_s)
            except ValueError as error:
                raise ModbusException(ExceptionCode.VALUE) from error

    def booted(self) -> None:
        """Fall to the fail-safe as delivered where the family does not keep what was programmed."""
        super().booted()
        dog, now_s = self._rules.watchdog, self.clock_s()
        if dog.volatile:
            self._view.set("failsafe_s", dog.default_s, now_s)
            if not math.isnan(dog.default_a):
                self._view.set("failsafe_a", dog.default_a, now_s)

    def _prepared(self, name: str) -> float:
        register = self._part.register(name)
        words = self._stored.get(name)
        return register.scale * words[0] if words else 0.0

    def _encode(self, register: Register) -> list[int]:
        """Show the phases in use where the plant tells them; anything else as the record says."""
        switch = self._rules.phase_switch
        if switch is not None and self._switches and register.name == switch.read:
            one = float(self._view.get("phases_in_use")) == 1.0
            return [0] * (register.count - 1) + [switch.read_one if one else switch.read_three]
        return super()._encode(register)


def _knows(view: View, quantity: str) -> bool:
    """Say whether a view knows a quantity."""
    try:
        view.get(quantity)
    except ValueError:
        return False
    return True
