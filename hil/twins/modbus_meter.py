"""Emulate a three-phase Modbus meter from its catalog record: it shows what it is given, NaN as its kind shows it."""

import math
from collections.abc import Callable

from hil.twins.modbus_registers import RegisterMap
from hil.twins.modbus_server import ModbusServer
from instruments.catalog import Model, modbus_of
from instruments.modbus_catalog import Register


class MeterView:
    """Show the measured quantities of one meter, SI units. `powered` off: it gives no answer."""

    __slots__ = ("_get", "powered")

    def __init__(self, get: Callable[[str], float]) -> None:
        self._get = get
        self.powered = True

    def get(self, quantity: str) -> float | str:
        """Return a quantity; ValueError for an unknown one."""
        return self._get(quantity)

    def set(self, quantity: str, value: float, now_s: float) -> None:
        """Refuse every write: a meter takes none; ValueError."""
        raise ValueError(f"{quantity} = {value:g}: a meter takes no writes")

    def touch(self, now_s: float) -> None:
        """Do nothing: a meter has no watchdog."""


class MeterMap(RegisterMap):
    """Show a value that is not a number as these meters do: all ones unsigned, the largest number signed."""

    __slots__ = ()

    def _encode(self, register: Register) -> list[int]:
        value = self._value(register)
        if register.type[0] in "us" and isinstance(value, float) and math.isnan(value):
            return [0xFFFF if register.type.startswith("u") else 0x7FFF] + [0xFFFF] * (register.count - 1)
        return super()._encode(register)


class ModbusMeterTwin:
    """Serve one meter; `server` is its Modbus TCP server, `view.powered` its supply.

    Parameters
    ----------
    model: its catalog record
    get: quantity of the record (voltage_l1_v .. export_wh) to its value, SI; NaN not available
    """

    __slots__ = ("registers", "server", "unit_id", "view")

    def __init__(self, model: Model, get: Callable[[str], float]) -> None:
        part = modbus_of(model)
        self.view = MeterView(get)
        self.unit_id = part.registers[0].unit_id
        self.registers = MeterMap(part, self.view, lambda: 0.0)  # no rule of a meter depends on time
        self.server = ModbusServer(
            self.registers.handle,
            max_clients=part.max_clients,
            idle_close_s=part.idle_close_s,
            admit=self.registers.admit,
        )

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections."""
        await self.server.stop()
