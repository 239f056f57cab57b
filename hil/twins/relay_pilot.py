"""Emulate the relays that play a car's control pilot: the state follows from the contacts that are closed."""

from collections.abc import Callable

from hil.twins.modbus_relay import ModbusRelayTwin
from hil.twins.modbus_server import ModbusServer
from instruments.catalog import Model

CABLES_A = (13.0, 20.0, 32.0, 63.0)


class RelayPilotTwin:
    """Serve one card.

    Parameters
    ----------
    model: its catalog record
    get_duty: returns the duty cycle that the charger shows now, share 0..1
    set_cp: takes the control-pilot state that the closed contacts make, 0 A .. 3 D
    places: coil name to channel where the wiring departs from the record
    """

    __slots__ = ("_set_cp", "card", "states")

    def __init__(
        self,
        model: Model,
        get_duty: Callable[[], float],
        set_cp: Callable[[int], None],
        places: dict[str, int] | None = None,
    ) -> None:
        self._set_cp = set_cp
        self.states: list[int] = []  # every state that the line has shown
        self.card = ModbusRelayTwin(model, self._on_switch, places, get_duty)

    @property
    def unit_id(self) -> int:
        """Return the unit id that the card answers to."""
        return self.card.unit_id

    @property
    def server(self) -> ModbusServer:
        """Return the card's Modbus TCP server."""
        return self.card.server

    @property
    def cable_a(self) -> float | None:
        """Return the amps that the closed proximity resistors stand for; None for none, or for more than one."""
        found = [amps for amps in CABLES_A if self.card.closed.get(f"cable_{amps:g}a")]
        return found[0] if len(found) == 1 else None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.card.start(host, port)

    async def stop(self) -> None:
        """End all connections; the coils stay as they are."""
        await self.card.stop()

    def _on_switch(self, coil: str, closed: bool) -> None:
        if not coil.startswith("pilot_"):
            return
        closed_now = self.card.closed
        state = 0
        if closed_now["pilot_b"]:
            state = 3 if closed_now.get("pilot_d") else 2 if closed_now.get("pilot_c") else 1
        self.states.append(state)
        self._set_cp(state)
