"""Serve SCPI twins from a background event loop, and step them where the tested code would wait."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from hil.twins.scpi_device import ScpiDevice
from hil.twins.scpi_load import AcLoadTwin
from hil.twins.scpi_server import ScpiServer
from hil.twins.scpi_source import AcSourceTwin
from instruments.catalog import load_model
from instruments.scpi_catalog import ScpiPart

SOURCE, LOAD = "chroma-61500", "itech-it8600"


def part_of(model: str) -> ScpiPart:
    """Return the dialect record of a model."""
    part = load_model(model).scpi
    assert part is not None
    return part


class Clock:
    """Count seconds that only a test moves."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def ns(self) -> int:
        return round(self.now_s * 1e9)


class Loop:
    """Run an event loop in a thread; `do` runs a coroutine in it, `call` a function, and both wait for the result."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def call(self, act: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return act()

        return self.do(run())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


class Served:
    """Hold a twin behind a socket."""

    def __init__(self, loop: Loop, twin: ScpiDevice) -> None:
        self.loop = loop
        self.twin = twin
        self.tap: Callable[[bytes], None] = lambda message: None  # sees every message before the twin does
        self.server = ScpiServer(self._answer, twin.part.transport)
        self.port = loop.do(self.server.start())

    def _answer(self, message: bytes) -> bytes | None:
        self.tap(message)
        return self.twin.answer(message)

    @property
    def address(self) -> str:
        return f"TCPIP::127.0.0.1::{self.port}::SOCKET"

    def heard(self) -> list[bytes]:
        return [message for _, message in self.server.heard]

    def stop(self) -> None:
        self.loop.do(self.server.stop())


@contextmanager
def serving(*models: str, clock: Callable[[], float] | None = None) -> Iterator[list[Served]]:
    """Serve the twins of some models; every socket is closed at the end."""
    loop = Loop()
    now = clock or Clock()
    kinds: dict[str, Callable[..., ScpiDevice]] = {SOURCE: AcSourceTwin, LOAD: AcLoadTwin}
    served = [Served(loop, kinds[model](part_of(model), now)) for model in models]
    try:
        yield served
    finally:
        for one in served:
            one.server.stall(False)
            one.stop()
        loop.close()
