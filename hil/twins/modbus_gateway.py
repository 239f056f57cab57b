"""Serve several emulated chargers behind one address: an RTU bus behind a gateway, or a station of many connectors."""

from collections.abc import Sequence

from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer, NoAnswer


class ModbusGatewayTwin:
    """Hand each request to the device that it is for; `server` is the one Modbus TCP server before them.

    A unit id that no device has is answered with exception 11, and so is one whose device has no supply: that is what a
    gateway says of a target that is silent.
    """

    __slots__ = ("_twins", "server")

    def __init__(self, twins: Sequence[ModbusChargerTwin], *, max_clients: int = 4) -> None:
        """Take twins whose models were made with `Model.at`: own unit ids, or own connectors of one station."""
        self._twins = list(twins)
        self.server = ModbusServer(self.handle, max_clients=max_clients, admit=self.admit)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections."""
        await self.server.stop()

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Serve one request of the `ModbusServer`."""
        at_unit = self._at(unit_id)
        chosen = next((twin for twin in at_unit if twin.has_address(unit_id, function, address)), at_unit[0])
        try:
            return chosen.handle(unit_id, function, address, count, values)
        except NoAnswer as silent:
            raise ModbusException(ExceptionCode.NO_TARGET) from silent

    def admit(self, unit_id: int, function: int) -> None:
        """Refuse what no device behind the gateway is there for, before the form of the request is judged."""
        try:
            self._at(unit_id)[0].admit(unit_id, function)
        except NoAnswer as silent:
            raise ModbusException(ExceptionCode.NO_TARGET) from silent

    def _at(self, unit_id: int) -> list[ModbusChargerTwin]:
        at_unit = [twin for twin in self._twins if twin.has_unit(unit_id)]
        if not at_unit:
            raise ModbusException(ExceptionCode.NO_TARGET)
        return at_unit
