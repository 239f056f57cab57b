"""Serve the relay of the emergency-stop chain, and take the mains from the emulated instruments when it opens."""

from hil.rig.bench_twins import Address, BenchTwins
from hil.rig.listening import HOST, listen
from hil.rig.schema import EstopPart
from hil.twins.modbus_relay import ModbusRelayTwin
from instruments.catalog import load_model

METERS = ("analyzer",)  # keep their supply


class EstopTwin:
    """Hold the relay card between the mains and what carries power on a bench; open until somebody closes it."""

    def __init__(self, part: EstopPart, bench: BenchTwins) -> None:
        self.part = part
        self.card = ModbusRelayTwin(load_model(part.model), self._on_relay, dict(part.coils))
        keys = [key for key in bench.servers if key not in METERS]
        self._twins = [bench.twins[key] for key in keys]
        self._servers = [bench.servers[key] for key in keys]
        self._closed, self._reachable = False, True

    async def start(self) -> dict[str, Address]:
        """Open the card's socket, after those of the bench, and return its address by name."""
        port = await listen(self.part.name, self.part.port, self.card.start(HOST, self.part.port))
        await self.follow()
        return {self.part.name: (f"modbus+tcp://{HOST}:{port}", self.card.unit_id)}

    async def stop(self) -> None:
        """Close the card's socket."""
        await self.card.stop()

    async def follow(self) -> None:
        """Let instruments without mains fall off the network, and come back with them."""
        if self._closed == self._reachable:
            return
        self._reachable = self._closed
        for server in self._servers:
            await (server.restore() if self._closed else server.cut())

    def _on_relay(self, coil: str, closed: bool) -> None:
        """Take the mains from the instruments, or give them back: either way their outputs are off."""
        if coil == self.part.coil:
            self._closed = closed
            for twin in self._twins:
                twin.lose_supply()
