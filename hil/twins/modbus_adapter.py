"""Emulate the control-pilot adapter: it reads the charger's duty cycle and plays the car's resistors."""

from collections.abc import Callable

from hil.twins.modbus_charger import RegisterMap
from hil.twins.modbus_server import ModbusServer
from instruments.catalog import Model, modbus_of

PILOT_V = (12.0, 9.0, 6.0, 3.0, 0.0, -12.0)  # IEC 61851-1 Annex A, states A..F
DEFAULT_CABLE_A = 32.0


class AdapterView:
    """Show the adapter as its registers see it. `state` is the control-pilot state that it asserts: 0 A .. 3 D.

    `charger_state` is what the charger puts on the line instead: 4 E, 5 F; None for neither.
    """

    __slots__ = ("_get_duty", "_set_cp", "cable_a", "charger_state", "state")

    powered = True

    def __init__(self, get_duty: Callable[[], float], set_cp: Callable[[int], None]) -> None:
        self._get_duty = get_duty
        self._set_cp = set_cp
        self.state = 0
        self.charger_state: int | None = None
        self.cable_a = DEFAULT_CABLE_A

    def get(self, quantity: str) -> float | str:
        """Return a quantity; ValueError for an unknown one."""
        if quantity == "duty":
            return self._get_duty()
        seen = self.state if self.charger_state is None else self.charger_state
        values = {
            "pilot_v": PILOT_V[seen],
            "state_seen": float(seen),
            "state_set": float(self.state),
            "pp_a": self.cable_a,
        }
        if quantity not in values:
            raise ValueError(f"quantity {quantity!r}: allowed duty, {', '.join(values)}")
        return values[quantity]

    def set(self, quantity: str, value: float, now_s: float) -> None:
        """Assert a state (0 A .. 3 D) or code the cable (A); ValueError for anything else."""
        if quantity == "state_set" and value in (0.0, 1.0, 2.0, 3.0):
            self.state = int(value)
            self._set_cp(self.state)
        elif quantity == "pp_a" and value in (13.0, 20.0, 32.0, 63.0):
            self.cable_a = value
        else:
            raise ValueError(f"{quantity} = {value:g}: allowed state_set 0..3 and pp_a 13, 20, 32, 63 A")

    def touch(self, now_s: float) -> None:
        """Do nothing: the adapter has no watchdog."""


class ModbusAdapterTwin:
    """Serve one adapter.

    Parameters
    ----------
    model: its catalog record
    get_duty: returns the duty cycle that the charger shows now, share 0..1
    set_cp: takes the control-pilot state that is asserted, 0 A .. 3 D
    """

    __slots__ = ("server", "unit_id", "view")

    def __init__(self, model: Model, get_duty: Callable[[], float], set_cp: Callable[[int], None]) -> None:
        part = modbus_of(model)
        self.view = AdapterView(get_duty, set_cp)
        self.unit_id = part.registers[0].unit_id
        registers = RegisterMap(part, self.view, lambda: 0.0)  # no rule of the adapter depends on time
        self.server = ModbusServer(
            registers.handle, max_clients=part.max_clients, idle_close_s=part.idle_close_s, admit=registers.admit
        )

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections."""
        await self.server.stop()
