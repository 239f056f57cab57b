"""Prove the obligations of source and load: limits first, strict ranges, ordered safe-off, nothing clipped."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scpi_helpers import LOAD, SOURCE, Clock, Served, part_of, serving

from hil.twins.scpi_load import AcLoadTwin
from hil.twins.scpi_source import AcSourceTwin
from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault
from instruments.scpi_port import ScpiPort
from instruments.scpi_role import scpi_of

SCPI_MODELS = [load_model(SOURCE), load_model(LOAD)]  # the others: test_catalog_families


def fault_of(act: Any) -> PortFault:
    with pytest.raises(PortFault) as caught:
        act()
    return caught.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(clock: Clock) -> Iterator[tuple[AcSource, Served]]:
    """Give a single-phase source with 255 V, 40 A and 200 V/s behind a real socket."""
    with serving(SOURCE, clock=clock) as (served,):
        port = ScpiPort("grid", part_of(SOURCE), served.address, timeout_s=2.0)
        port.open()
        limits = {"hard_max_v": 255.0, "hard_max_a": 40.0, "slew_v_per_s": 200.0}
        yield AcSource(port, phases=1, clock_s=clock, pause=_passing(clock), **limits), served
        port.close()


@pytest.fixture
def load(clock: Clock) -> Iterator[tuple[AcLoad, Served]]:
    """Give a load with 35 A behind a real socket."""
    with serving(LOAD, clock=clock) as (served,):
        port = ScpiPort("car", part_of(LOAD), served.address, timeout_s=2.0)
        port.open()
        yield AcLoad(port, hard_max_a=35.0, pause=_passing(clock)), served
        port.close()


def _passing(clock: Clock) -> Any:
    def pause(seconds: float) -> None:
        clock.now_s += seconds

    return pause


def twin(served: Served) -> Any:
    return served.twin


def test_the_source_is_prepared_off_with_its_own_limits_programmed_and_read_back(source: Any) -> None:
    device, served = source
    served.server.heard.clear()
    device.prepare()
    heard = served.heard()
    assert heard[:6] == [b"SYST:REM", b"TRIG OFF", b"OUTP OFF", b"OUTP?", b"OUTP:REL OFF", b"OUTP:REL?"]
    assert b"VOLT:LIM:AC 255.0" in heard and b"VOLT:LIM:AC?;:SYST:ERR?" in heard
    assert b"CURR:LIM 40.00" in heard and b"CURR:LIM?;:SYST:ERR?" in heard
    assert twin(served).values["volt_limit_v"] == 255.0 and twin(served).values["current_limit_a"][0] == 40.0
    assert not twin(served).output_on and not any(b"OUTP ON" in message for message in heard)


def test_safe_off_is_the_catalogs_messages_in_order_byte_by_byte(source: Any, load: Any) -> None:
    for (device, served), expected in (
        (source, [b"TRIG OFF", b"OUTP OFF", b"OUTP?", b"OUTP:REL OFF", b"OUTP:REL?"]),
        (load, [b"INP OFF", b"INP?"]),
    ):
        device.prepare()
        served.server.heard.clear()
        device.safe_off()
        assert served.heard() == expected


def test_safe_off_opens_a_lost_port_anew_and_says_so_where_it_cannot(source: Any) -> None:
    device, served = source
    device.prepare()
    device.set_and_measure([230.0, 0.0, 0.0])
    device.output(True)
    served.loop.do(served.server.cut())
    assert fault_of(device.safe_off).kind in (FaultKind.CLOSED, FaultKind.REFUSED)
    assert twin(served).output_on
    served.loop.do(served.server.restore())
    device.safe_off()
    assert not twin(served).output_on


def test_safe_off_that_is_not_confirmed_is_a_fault(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = source
    device.prepare()
    switch = AcSourceTwin._switch

    def welded(self: AcSourceTwin, name: str, on: bool) -> None:
        switch(self, name, on or name == "relay")

    monkeypatch.setattr(AcSourceTwin, "_switch", welded)
    fault = fault_of(device.safe_off)
    assert fault.kind == FaultKind.READBACK and "by hand" in fault.hint


@pytest.mark.parametrize("volts", [math.nan, math.inf, -1.0, 255.1, 300.0])
def test_volts_outside_the_hard_limit_are_refused_with_nothing_sent(source: Any, volts: float) -> None:
    device, served = source
    device.prepare()
    before = len(served.server.heard)
    fault = fault_of(lambda: device.set_and_measure([volts, 0.0, 0.0]))
    assert fault.kind == FaultKind.RANGE and "0..255 V" in fault.detail
    assert len(served.server.heard) == before


def test_a_step_faster_than_the_slew_rate_is_refused_and_reachable_gives_the_ramp(source: Any, clock: Clock) -> None:
    device, _ = source
    device.prepare()
    device.set_and_measure([230.0, 0.0, 0.0])  # no slew limit while the output is off
    device.output(True)
    device.set_and_measure([230.0, 0.0, 0.0])
    clock.now_s += 0.1
    fault = fault_of(lambda: device.set_and_measure([200.0, 0.0, 0.0]))
    assert fault.kind == FaultKind.RANGE and "200 V/s" in fault.detail
    assert device.reachable([200.0, 0.0, 0.0])[0] == pytest.approx(210.0)
    device.set_and_measure(device.reachable([200.0, 0.0, 0.0]))


def test_the_output_needs_volts_first(source: Any) -> None:
    device, served = source
    device.prepare()
    assert fault_of(lambda: device.output(True)).kind == FaultKind.INTERLOCK
    assert not twin(served).output_on


def test_a_cycle_writes_and_reads_in_one_message(source: Any) -> None:
    device, served = source
    device.prepare()
    device.set_and_measure([231.24, 0.0, 0.0])
    device.output(True)
    served.loop.call(lambda: (twin(served).step(0.0, 0.1), twin(served).set_measured([16.0, 0.0, 0.0])))
    served.server.heard.clear()
    seen = device.set_and_measure([231.24, 0.0, 0.0])
    assert served.heard() == [b"VOLT:AC 231.2;:MEAS:CURR:AC?;:MEAS:VOLT:ACDC?;:OUTP?;:SYST:ERR?"]
    assert seen.output_on and np.array_equal(seen.amp_a, [16.0, 0.0, 0.0]) and seen.volt_v[0] == pytest.approx(231.2)


def test_three_phases_are_written_and_read_each_in_one_message(clock: Clock) -> None:
    with serving(SOURCE, clock=clock) as (served,):
        port = ScpiPort("grid", part_of(SOURCE), served.address, timeout_s=2.0)
        port.open()
        device = AcSource(port, phases=3, hard_max_v=255.0, hard_max_a=24.0, clock_s=clock, pause=_passing(clock))
        device.prepare()
        device.set_and_measure([230.0, 231.0, 232.0])
        device.output(True)
        served.loop.call(lambda: (twin(served).step(0.0, 0.1), twin(served).set_measured([1.0, 2.0, 3.0])))
        seen = device.set_and_measure([229.0, 230.0, 231.0])
        assert np.array_equal(seen.amp_a, [1.0, 2.0, 3.0]) and np.array_equal(seen.volt_v, [230.0, 231.0, 232.0])
        assert twin(served).values["volt_ac_v"] == [229.0, 230.0, 231.0]
        assert twin(served).values["current_limit_a"] == [24.0, 24.0, 24.0]
        port.close()


def test_an_over_current_latches_after_its_delay_and_is_told_as_a_protection(source: Any) -> None:
    device, served = source
    device.prepare()
    device.set_and_measure([230.0, 0.0, 0.0])
    device.output(True)
    box = twin(served)

    def overload(seconds: float) -> None:
        box.step(0.0, 0.1)
        box.set_measured([45.0, 0.0, 0.0])
        box.step(0.0, seconds)

    served.loop.call(lambda: overload(0.4))
    assert box.output_on  # the delay of 0.5 s is not over
    served.loop.call(lambda: overload(0.2))
    fault = fault_of(lambda: device.set_and_measure([230.0, 0.0, 0.0]))
    assert fault.kind == FaultKind.PROTECTION and " 2 in the questionable" in fault.detail
    assert fault_of(lambda: device.output(True)).kind == FaultKind.REJECTED  # latched: nobody clears it for you
    box.trip("OTP", hold=True)
    served.loop.call(lambda: box.answer(b"OUTP:PROT:CLE"))
    assert box.tripped == {"OTP"}  # its cause is still there
    box.release("OTP")
    served.loop.call(lambda: box.answer(b"OUTP:PROT:CLE"))
    assert not box.tripped and not box.output_on


def test_the_loads_range_is_strict_and_its_trip_is_told(load: Any) -> None:
    device, served = load
    device.prepare()
    assert twin(served).values["current_protection"] and twin(served).values["current_limit_a"] == 35.0
    for amps in (math.nan, -0.1, 35.1, math.inf):
        assert fault_of(lambda amps=amps: device.set_and_measure(amps)).kind == FaultKind.RANGE
    device.input(True)
    assert device.set_and_measure(16.0).input_on and twin(served).set_a == 16.0
    twin(served).trip("OC_RMS")
    assert fault_of(lambda: device.set_and_measure(16.0)).kind == FaultKind.PROTECTION
    assert twin(served).set_a == 0.0


def test_an_entry_in_the_error_queue_is_never_passed_over(load: Any) -> None:
    device, served = load
    device.prepare()
    served.loop.call(lambda: twin(served).answer(b"FOO"))
    fault = fault_of(lambda: device.set_and_measure(1.0))
    assert fault.kind == FaultKind.REJECTED and "-113" in fault.detail


@pytest.mark.parametrize(
    ("limits", "channel"),
    [
        ({"hard_max_v": math.nan}, "hard_max_v"),
        ({"hard_max_v": 301.0}, "hard_max_v"),
        ({"hard_max_a": 73.0}, "hard_max_a"),
        ({"slew_v_per_s": 0.0}, "slew_v_per_s"),
        ({"slew_v_per_s": math.nan}, "slew_v_per_s"),
    ],
)
def test_hard_limits_beyond_the_rating_are_refused_before_anything_is_sent(limits: Any, channel: str) -> None:
    port = ScpiPort("grid", part_of(SOURCE), "TCPIP::127.0.0.1::1::SOCKET")
    fault = fault_of(lambda: AcSource(port, **{"phases": 1, "hard_max_v": 250.0, "hard_max_a": 32.0, **limits}))
    assert fault.kind == FaultKind.RANGE and fault.channel == channel


def test_a_model_of_another_role_is_refused_by_name() -> None:
    assert "keba-p30" in fault_of(lambda: scpi_of(load_model("keba-p30"), "ac_source")).detail
    assert scpi_of(load_model(LOAD), "ac_load") is part_of(LOAD)


@pytest.mark.parametrize("model", SCPI_MODELS, ids=lambda model: model.model.name)
def test_every_message_of_the_catalog_is_understood_by_the_twin_of_the_same_catalog(model: Any) -> None:
    part = model.scpi
    device = (AcSourceTwin if model.model.role == "ac_source" else AcLoadTwin)(part, Clock())
    role = part.roles[model.model.role]
    steps = [*part.safe_off.steps, *role.energise.steps, *(s for setup in role.setup.values() for s in setup.steps)]
    messages = [text for step in steps for text in (step.send, step.ask) if text]
    for quantity in part.quantities.values():
        sample = {"number": quantity.min, "bool": "OFF"}.get(quantity.kind, (quantity.words or [""])[0])
        messages += [quantity.send.format(value=sample)] if quantity.send else []
        messages += [quantity.ask] if quantity.ask else []
    zeros = {"volt_a_v": 0.0, "volt_b_v": 0.0, "volt_c_v": 0.0, "amp_a": 0.0}
    messages += [cycle.message.format(**zeros) for cycle in role.cycle.values()]
    assert device.answer(part.remote.take.encode()) is None
    for message in messages:
        device.answer(message.encode())
        assert device.status.errors.pop() == part.parser.error_empty, message


@pytest.mark.parametrize("model", SCPI_MODELS, ids=lambda model: model.model.name)
def test_every_cycle_answers_as_many_values_as_it_names(model: Any) -> None:
    part = model.scpi
    device = (AcSourceTwin if model.model.role == "ac_source" else AcLoadTwin)(part, Clock())
    device.answer(part.remote.take.encode())
    zeros = {"volt_a_v": 0.0, "volt_b_v": 0.0, "volt_c_v": 0.0, "amp_a": 0.0}
    role = part.roles[model.model.role]
    for mode, cycle in role.cycle.items():
        for step in role.setup[mode].steps:
            device.answer(step.send.encode())
        reply = device.answer(cycle.message.format(**zeros).encode())
        assert reply is not None and reply.count(b";") == len(cycle.order) - 1
