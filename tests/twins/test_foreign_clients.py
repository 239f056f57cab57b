"""Drive the twins with clients that others wrote: what their drivers send works, and what it means happens."""

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scpi_helpers import Loop, part_of

from hil.plant.dc_wire import Battery, Device, Draw, operate
from hil.twins.scpi_dc import DcTwin
from hil.twins.scpi_twins import make_twin, serve

STEP_S = 0.1


class Served:
    """Hold a DC twin on a socket, joined to something at the other end of its wires."""

    def __init__(self, model: str, other: Device) -> None:
        self._loop = Loop()
        self._other = other
        self._now_s = 0.0
        twin = make_twin(part_of(model), self._clock)
        assert isinstance(twin, DcTwin)
        self.twin = twin
        self._server = serve(twin)
        self.port: int = self._loop.do(self._server.start())

    def _clock(self) -> float:
        return self._now_s

    @property
    def address(self) -> str:
        return f"TCPIP0::127.0.0.1::{self.port}::SOCKET"

    def settle(self, steps: int = 5) -> None:
        """Let some plant steps pass."""

        def run() -> None:
            for _ in range(steps):
                self._step()

        self._loop.call(run)

    def _step(self) -> None:
        self._now_s += STEP_S
        self.twin.step(self._now_s, STEP_S)
        for at in range(len(self.twin.volt_v)):
            terminal = self.twin.terminal(at)
            node = operate([self._other, *([terminal] if terminal else [])])
            self.twin.set_measured(node.volt_v, node.amp_a[1] if terminal else 0.0, at)
        self.twin.meter(self._now_s + 1.0)

    def close(self) -> None:
        self._loop.do(self._server.stop())
        self._loop.close()


@contextmanager
def served(model: str, other: Device) -> Iterator[Served]:
    """Serve one twin; every socket is closed at the end."""
    one = Served(model, other)
    try:
        yield one
    finally:
        one.close()


@pytest.mark.filterwarnings("ignore:It is not known whether this device:FutureWarning")
def test_pymeasure_keysight_n5767a_sets_switches_and_measures() -> None:
    keysight = pytest.importorskip("pymeasure.instruments.keysight")
    adapters = importlib.import_module("pymeasure.adapters")

    class Link(adapters.VISAAdapter):  # type: ignore[name-defined, misc]
        def config(self, **_: Any) -> None:
            """Stand in for what the driver still calls and the adapter of 0.16 no longer has."""

    with served("keysight-n5700", Draw(ohm=10.0)) as box:
        device = keysight.KeysightN5767A(Link(box.address, visa_library="@py", read_termination="\n", timeout=30_000))
        try:
            assert device.id == part_of("keysight-n5700").identity.sample
            device.voltage_range = 48.0  # the driver writes ":VOLT 48 V"
            device.current_range = 10.0
            device.enable()
            assert device.is_enabled()
            box.settle()
            assert device.voltage == pytest.approx(48.0)
            assert device.current == pytest.approx(4.8)
            device.current_range = 2.0
            assert device.current_range == 2.0
            box.settle()
            assert box.twin.mode() == "CC" and device.voltage == pytest.approx(20.0)
            device.disable()
            assert not device.is_enabled()
            box.settle()
            assert device.current == 0.0 and device.check_errors() == []
            device.write("FOO")
            assert [entry[0] for entry in device.check_errors()] == [-113.0]
        finally:
            device.adapter.close()


def instro_driver(module: str, name: str) -> Callable[..., Any]:
    """Return a driver class of instro, which cannot be installed beside our pymodbus: such a run is by hand."""
    pytest.importorskip("instro")
    return getattr(importlib.import_module(f"instro.{module}"), name)  # type: ignore[no-any-return]


def test_instro_ea_psb_10000_takes_remote_regulates_and_sinks() -> None:
    device = instro_driver("psu.drivers.ea_psb10000", "EAPSB10000Visa")
    load_mode = instro_driver("eload.types", "LoadMode")
    with served("ea-psb", Battery(40.0, 1.0)) as box:
        both = device(box.address)
        source, sink = both.source, both.sink
        source.open()
        sink.open()
        try:
            source.set_overvoltage_protection_level(80.0, 1)
            assert source.get_overvoltage_protection_level(1) == 80.0
            source.set_voltage(45.0, 1)
            source.set_current_limit(3.0, 1)
            source.output_enable(True, 1)
            box.settle()
            assert source.get_output_status(1)
            assert source.get_current(1) == pytest.approx(3.0) and source.get_voltage(1) == pytest.approx(43.0)
            sink.set_level(load_mode.CV, 35.0, 1, 2.0)  # type: ignore[attr-defined]
            box.settle()
            assert sink.get_current(1) == pytest.approx(2.0) and sink.get_voltage(1) == pytest.approx(38.0)
            with pytest.raises(RuntimeError, match="-222"):
                source.set_voltage(5000.0, 1)
            source.output_enable(False, 1)
            assert not box.twin.output_on
        finally:
            sink.close()
            source.close()
        end = time.monotonic() + 30.0
        while box.twin.remote and time.monotonic() < end:
            box.settle(1)
        assert not box.twin.remote


def test_instro_keysight_n5700_sets_protects_and_measures() -> None:
    device = instro_driver("psu.drivers.keysight_n5700", "KeysightN5700")
    with served("keysight-n5700", Draw(ohm=10.0)) as box:
        supply = device(box.address)
        supply.open()
        try:
            supply.set_voltage(30.0, 1)
            supply.set_current_limit(5.0, 1)
            supply.set_overvoltage_protection_level(40.0, 1)
            assert supply.get_overvoltage_protection_level(1) == 40.0
            supply.set_overcurrent_protection_enabled(True, 1)
            supply.output_enable(True, 1)
            box.settle()
            assert supply.get_output_status(1)
            assert supply.get_voltage(1) == pytest.approx(30.0) and supply.get_current(1) == pytest.approx(3.0)
            supply.set_current_limit(1.0, 1)
            box.settle()
            assert box.twin.tripped == {"OC"} and not supply.get_output_status(1)
        finally:
            supply.close()


def dcps_driver(name: str) -> Any:
    """Return a driver module of dcps."""
    return pytest.importorskip(f"dcps.{name}")


def test_dcps_rigol_dl3000_draws_what_it_is_set_to() -> None:
    driver = dcps_driver("RigolDL3000").RigolDL3000
    with served("rigol-dl3000", Battery(20.0, 0.5)) as box:
        load = driver(box.address, wait=0.0)
        load.open()
        try:
            load._inst.write_termination = "\n"
            assert load.idn() == part_of("rigol-dl3000").identity.sample
            load.setCurrent(4.0)
            load.inputOn()
            assert load.isInputOn() and load.queryCurrent() == pytest.approx(4.0)
            box.settle()
            assert load.measureCurrent() == pytest.approx(4.0) and load.measureVoltage() == pytest.approx(18.0)
            load.inputOff()
            assert not load.isInputOn()
        finally:
            load.close()
