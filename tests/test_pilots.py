"""The control pilot by registers, by relays and by hand: the load follows the measured duty cycle, never an order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from modbus_helpers import Loop
from test_bench_process import Street, after, street  # noqa: F401

from controller.runtime.bench_images import BenchState
from controller.runtime.bench_loop import Bench
from controller.runtime.hand_pilot import HandPilot
from hil.twins.modbus_adapter import ModbusAdapterTwin
from hil.twins.relay_pilot import RelayPilotTwin
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_adapter import ModbusAdapter
from instruments.modbus_relay import ModbusRelay
from instruments.relay_pilot import RelayPilot

KINDS = ("registers", "relays", "hand")


class Hands:
    """Stand for an operator who does what is asked and types what his meter shows; `lazy` does nothing."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self.asked: list[str] = []
        self.said: list[str] = []
        self.lazy = False
        self._fresh = False
        self.types: Callable[[str], str] | None = None

    def ask(self, text: str) -> None:
        self.asked.append(text)
        self._fresh = True

    def say(self, text: str) -> None:
        self.said.append(text)

    def answer(self) -> str | None:
        if self.lazy or not self._fresh:
            return None
        self._fresh = False
        about = self.asked[-1].rpartition("type: ")[2]
        state = about[0] if about[0] in "ABCD" else ""
        if state:
            self.street.cp = "ABCD".index(state)
        if self.types is not None:
            return self.types(state)
        return state if state == "A" else f"{state} {100 * self.street.duty:.2f}"


@contextmanager
def pilot_of(kind: str, street: Street, loop: Loop) -> Iterator[Any]:
    """Put a pilot of a kind between bench and street."""

    def show(state: int) -> None:
        street.cp = state

    if kind == "hand":
        hands = Hands(street)
        yield HandPilot(
            name="pilot", asker=hands, answer_s=10.0, valid_s=20.0, clock_s=lambda: street.clock.now_s, cable_a=None
        )
        return
    name = "cp-adapter" if kind == "registers" else "pilot-relays"
    kind_of = ModbusAdapterTwin if kind == "registers" else RelayPilotTwin
    twin = kind_of(load_model(name), lambda: street.duty, show)
    address = f"modbus+tcp://127.0.0.1:{loop.run(twin.start())}"
    if kind == "registers":
        port: Any = ModbusAdapter("pilot", load_model(name), address)
    else:
        port = RelayPilot(ModbusRelay("pilot", load_model(name), address, pause=lambda _s: None))
    port.open()
    try:
        yield port
    finally:
        port.close()
        loop.run(twin.stop())
