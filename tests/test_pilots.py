"""The control pilot by registers, by relays and by hand: the load follows the measured duty cycle, never an order."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from scpi_helpers import Loop
from test_bench_process import Street, after, street

from controller.runtime.bench_images import BenchState
from controller.runtime.hand_pilot import HandPilot
from hil.twins.modbus_adapter import ModbusAdapterTwin
from hil.twins.relay_pilot import RelayPilotTwin
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_adapter import ModbusAdapter
from instruments.modbus_relay import ModbusRelay
from instruments.relay_pilot import RelayPilot

__all__ = ["street"]  # the fixture
KINDS = ("registers", "relays", "hand")


class Hands:
    """Stand for an operator who does what is asked and types what his meter shows; `lazy` does nothing."""

    def __init__(self, world: Street) -> None:
        self.street = world
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
def pilot_of(kind: str, world: Street, loop: Loop) -> Iterator[Any]:
    """Put a pilot of a kind between bench and street."""

    def show(state: int) -> None:
        world.cp = state

    if kind == "hand":
        hands = Hands(world)
        yield HandPilot(name="pilot", asker=hands, answer_s=10.0, valid_s=20.0, clock_s=lambda: world.clock.now_s)
        return
    name = "cp-adapter" if kind == "registers" else "pilot-relays"
    kind_of = ModbusAdapterTwin if kind == "registers" else RelayPilotTwin
    twin = kind_of(load_model(name), lambda: world.duty, show)
    address = f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}"
    if kind == "registers":
        port: Any = ModbusAdapter("pilot", load_model(name), address)
    else:
        port = RelayPilot(ModbusRelay("pilot", load_model(name), address, pause=lambda _s: None))
    port.open()
    try:
        yield port
    finally:
        port.close()
        loop.do(twin.stop())


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def amps_of(view: Any) -> float:
    record = view.read()
    return float(record["load_set_a"]) if record is not None and record["state"] == BenchState.RUNNING else 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_load_follows_the_measured_duty_cycle(street: Any, loop: Loop, kind: str) -> None:
    bench, world, view = street
    drawn: list[float] = []

    def watch() -> bool:
        late = world.clock.now_s >= 1015.0
        world.duty = 10.0 / 60.0 if late else 16.0 / 60.0  # the charger's doing: no order of ours is in this test
        drawn.append(amps_of(view))
        return world.clock.now_s >= world.stop_at_s

    with pilot_of(kind, world, loop) as pilot:
        bench.adapter, bench.stop_asked = pilot, watch
        after(world, 32.0)
        assert bench.run() == 0
    assert max(drawn) == pytest.approx(16.0, abs=0.05)
    assert drawn[-1] == pytest.approx(10.0, abs=0.05)
    states = [event["state"] for event in world.told if event["kind"] == "bench_cp"]
    assert states[:3] == ["A", "B", "C"]
    assert not world.source.twin.output_on and not world.load.twin.input_on


@pytest.mark.parametrize("kind", KINDS)
def test_no_pwm_is_no_current(street: Any, loop: Loop, kind: str) -> None:
    bench, world, view = street
    world.duty = 1.0
    with pilot_of(kind, world, loop) as pilot:
        bench.adapter = pilot
        seen: list[float] = []
        bench.stop_asked = lambda: seen.append(amps_of(view)) or world.clock.now_s >= world.stop_at_s
        after(world, 5.0)
        assert bench.run() == 0
    assert max(seen) == 0.0


def test_a_typed_duty_cycle_expires_and_the_load_then_takes_nothing(street: Any, loop: Loop) -> None:
    bench, world, view = street
    seen: dict[float, float] = {}
    with pilot_of("hand", world, loop) as pilot:
        bench.adapter = pilot

        def watch() -> bool:
            pilot.asker.lazy = pilot.shown == 2  # typed once in state C, then the operator is gone
            seen[world.clock.now_s] = amps_of(view)
            return world.clock.now_s >= world.stop_at_s

        bench.stop_asked = watch
        after(world, 30.0)
        assert bench.run() == 0
        assert "again; then type: <duty cycle in %>" in next(text for text in pilot.asker.asked if "again" in text)
    drawn = [at_s for at_s, amps in seen.items() if amps > 0.0]
    assert 15.0 < max(drawn) - min(drawn) <= 20.0 + 0.2  # valid for 20 s from the moment it was typed
    assert max(seen.values()) == pytest.approx(16.0, abs=0.05)


def test_nobody_confirms_and_nothing_is_energised(street: Any, loop: Loop) -> None:
    bench, world, _ = street
    with pilot_of("hand", world, loop) as pilot:
        bench.adapter, pilot.asker.lazy = pilot, True
        world.pause(0.2)
        bench.scan_age_s = lambda: 0.0
        assert bench.run() == 3
    assert "bench_energised" not in world.kinds()
    assert not any("OUTP ON" in message for message in world.done)
    fault = next(event["text"] for event in world.told if event["kind"] == "fault")
    assert "state A was not confirmed within 10 s" in fault and "answer_s" in fault


def test_an_answer_that_cannot_be_is_asked_for_again_and_buys_no_time(street: Any, loop: Loop) -> None:
    _, world, _ = street
    with pilot_of("hand", world, loop) as pilot:
        pilot.asker.types = lambda state: "C 26"
        pilot.assert_cp(1)
        for _ in range(99):
            world.clock.now_s += 0.1
            pilot.read_duty()
        assert pilot.shown == -1 and "type its letter" in pilot.asker.said[-1]
        pilot.asker.types = lambda state: "b 166"
        pilot.assert_cp(1)
        pilot.read_duty()
        assert "0 to 100 %" in pilot.asker.said[-1]
        world.clock.now_s += 0.2
        with pytest.raises(PortFault) as caught:
            pilot.read_duty()
        assert caught.value.kind is FaultKind.INTERLOCK
        pilot.asker.types = lambda state: "b 26,7 %"
        pilot.assert_cp(0)
        pilot.assert_cp(1)
        assert pilot.read_duty() == pytest.approx(0.267) and pilot.shown == 1


def test_relays_switch_the_duty_cycle_is_typed(street: Any, loop: Loop) -> None:
    bench, world, view = street
    model = load_model("pilot-relays-bare")
    twin = RelayPilotTwin(model, lambda: 0.0, lambda state: setattr(world, "cp", state))
    address = f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}"
    relays = RelayPilot(ModbusRelay("pilot", model, address, pause=lambda _s: None))
    try:
        hands = Hands(world)
        bench.adapter = HandPilot(
            name="pilot", asker=hands, answer_s=10.0, valid_s=20.0, clock_s=lambda: world.clock.now_s, relays=relays
        )
        after(world, 12.0)
        most: list[float] = []
        bench.stop_asked = lambda: most.append(amps_of(view)) or world.clock.now_s >= world.stop_at_s
        assert bench.run() == 0
        assert max(most) == pytest.approx(16.0, abs=0.05)
        assert twin.states[-1] == 0 and not any("state A" in text for text in hands.asked)
        with pytest.raises(PortFault, match="measures none"):
            relays.read_duty()
    finally:
        relays.close()
        loop.do(twin.stop())


def test_a_duty_cycle_typed_for_the_last_car_is_not_the_next_ones() -> None:
    class Relays:
        shown = -1

        def assert_cp(self, state: int) -> None:
            self.shown = state

    typed: list[str] = []
    hands = SimpleNamespace(
        ask=lambda text: typed.append("25"), say=print, answer=lambda: typed.pop() if typed else None
    )
    pilot = HandPilot(
        name="pilot", asker=hands, answer_s=10.0, valid_s=60.0, clock_s=lambda: 100.0, relays=cast(Any, Relays())
    )
    for _ in range(2):
        pilot.assert_cp(2)
        assert math.isnan(pilot.read_duty())
        assert pilot.read_duty() == 0.25
        pilot.assert_cp(0)
        assert pilot.read_duty() == 1.0


def test_relays_show_every_state_without_one_between_and_one_cable_at_a_time(loop: Loop) -> None:
    twin = RelayPilotTwin(load_model("pilot-relays"), lambda: 0.5, lambda state: None)
    address = f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}"
    pilot = RelayPilot(ModbusRelay("pilot", load_model("pilot-relays"), address, pause=lambda _s: None))
    try:
        pilot.open()
        for state in (0, 1, 2, 1, 3, 1, 0):
            pilot.assert_cp(state)
            assert pilot.shown == state
        assert twin.states == [1, 2, 1, 3, 1, 0]
        for amps in (13, 63, 20, 32):
            pilot.set_cable(amps)
            assert twin.cable_a == amps
        assert pilot.read_duty() == 0.5
        for act in (lambda: pilot.assert_cp(4), lambda: pilot.set_cable(16)):
            with pytest.raises(PortFault, match="allowed"):
                act()
    finally:
        pilot.close()
        loop.do(twin.stop())


@pytest.mark.parametrize(("line", "name"), [(4, "E"), (5, "F")])
def test_a_charger_without_supply_or_with_a_fault_gets_no_current(
    street: Any, loop: Loop, line: int, name: str
) -> None:
    bench, world, view = street
    twin = ModbusAdapterTwin(load_model("cp-adapter"), lambda: world.duty, lambda state: setattr(world, "cp", state))
    port = ModbusAdapter("pilot", load_model("cp-adapter"), f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}")
    try:
        bench.adapter = port
        seen: list[float] = []

        def watch() -> bool:
            if world.clock.now_s >= 1010.0:
                twin.view.charger_state = line  # the duty cycle goes on being read: it counts no more
            seen.append(amps_of(view))
            return world.clock.now_s >= world.stop_at_s

        bench.stop_asked = watch
        after(world, 12.0)
        assert bench.run() == 0
        assert max(seen) > 15.0 and seen[-1] == 0.0
        assert name in [event["state"] for event in world.told if event["kind"] == "bench_cp_seen"]
    finally:
        port.close()
        loop.do(twin.stop())
