"""Emulate a Modbus relay card: coils that are written and read, contacts that follow them or are welded."""

from collections.abc import Callable

from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer, NoAnswer
from instruments.catalog import Model, relay_of


def _ignore(name: str, closed: bool) -> None:
    """Take a switched contact that nobody looks at."""


class ModbusRelayTwin:
    """Serve one card; `server` is its Modbus TCP server.

    Parameters
    ----------
    model: its catalog record
    on_switch: takes coil name and new contact state, on each change
    places: coil name to channel where the wiring departs from the record
    get_duty: returns the duty cycle on the control pilot, share 0..1, for a card that measures it

    Attributes: `coils` is the state of each channel, `closed` the contact of each named relay. `weld(name)` keeps a
    contact as it is (the coil still switches), `ignore_writes` acknowledges writes and does nothing.
    """

    __slots__ = ("_get_duty", "_on_switch", "_welded", "closed", "coils", "ignore_writes", "part", "server", "unit_id")

    def __init__(
        self,
        model: Model,
        on_switch: Callable[[str, bool], None] = _ignore,
        places: dict[str, int] | None = None,
        get_duty: Callable[[], float] | None = None,
    ) -> None:
        self.part = relay_of(model).moved(places or {})
        self.unit_id = self.part.unit_id
        self.coils = [False] * self.part.channels
        self.closed = {coil.name: False for coil in self.part.coils}
        self.ignore_writes = False
        self._welded: set[str] = set()
        self._on_switch = on_switch
        self._get_duty = get_duty
        self.server = ModbusServer(
            self.handle, max_clients=self.part.max_clients, idle_close_s=self.part.idle_close_s, admit=self.admit
        )

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Answer functions 1, 2, 5 and 15; exception 2 outside the card."""
        self.admit(unit_id, function)
        if function == 2:
            return self._inputs(address - self.part.first_input, count)
        duty = self.part.duty
        if duty is not None and self._get_duty is not None and function == duty.read_function:
            if (address, count) != (duty.register_address, 1):
                raise ModbusException(ExceptionCode.ADDRESS)
            return [round(self._get_duty() / duty.scale)]
        first = address - self.part.first_coil
        if not 0 <= first <= first + count <= self.part.channels:
            raise ModbusException(ExceptionCode.ADDRESS)
        if values is None:
            return [int(state) for state in self.coils[first : first + count]]
        if not self.ignore_writes:
            for k, value in enumerate(values):
                self._switch(first + k, bool(value))
        return []

    def admit(self, unit_id: int, function: int) -> None:
        """Refuse what is not for this card or is no function of its own, whatever else the request says."""
        if unit_id != self.part.unit_id:
            raise NoAnswer
        own = {1, 5, 15}
        if self.part.inputs:
            own.add(2)
        if self.part.duty is not None and self._get_duty is not None:
            own.add(self.part.duty.read_function)
        if function not in own:
            raise ModbusException(ExceptionCode.FUNCTION)

    def weld(self, name: str) -> None:
        """Keep a contact as it is now, whatever its coil does."""
        self._welded.add(self.part.coil(name).name)

    def lose_power(self) -> None:
        """Release every coil, as a card without supply does."""
        for channel in range(self.part.channels):
            self._switch(channel, False)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections; the coils stay as they are."""
        await self.server.stop()

    def _switch(self, channel: int, on: bool) -> None:
        self.coils[channel] = on
        for coil in self.part.coils:
            if coil.channel == channel and coil.name not in self._welded and self.closed[coil.name] is not on:
                self.closed[coil.name] = on
                self._on_switch(coil.name, on)

    def _inputs(self, first: int, count: int) -> list[int]:
        if not 0 <= first <= first + count <= self.part.inputs:
            raise ModbusException(ExceptionCode.ADDRESS)
        mirrors = {coil.mirror_input: self.closed[coil.name] for coil in self.part.coils}
        return [int(mirrors.get(place, False)) for place in range(first, first + count)]
