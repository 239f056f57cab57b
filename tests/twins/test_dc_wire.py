"""Prove the operating point of a DC node; twins coupled by it regulate, sink and trip as their records say."""

import math

import pytest
from dialect_helpers import ask, twin_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scpi_helpers import Clock, part_of

from hil.plant.dc_wire import Battery, Device, Draw, Regulator, operate
from hil.twins.scpi_dc import DcTwin


@pytest.mark.parametrize(
    ("devices", "volt_v", "amps"),
    [
        ([Regulator(400.0, 20.0), Draw(amp_a=10.0)], 400.0, (10.0, -10.0)),  # constant voltage
        ([Regulator(400.0, 20.0), Draw(ohm=10.0)], 200.0, (20.0, -20.0)),  # constant current
        ([Regulator(400.0, 20.0, source_w=2000.0), Draw(ohm=20.0)], 200.0, (10.0, -10.0)),  # constant power
        ([Regulator(400.0, 20.0), Draw(amp_a=30.0)], 0.0, (0.0, 0.0)),  # collapses: nothing carries it
        ([Regulator(400.0, 20.0), Draw(amp_a=30.0, min_v=5.0)], 5.0, (20.0, -20.0)),  # held up by the load's stop
        ([Battery(400.0, 0.1), Regulator(390.0, 10.0, sink_a=50.0)], 395.0, (50.0, -50.0)),  # sink at its limit
        ([Battery(400.0, 0.1), Regulator(398.0, 10.0, sink_a=50.0)], 398.0, (20.0, -20.0)),
        ([Battery(400.0, 0.1), Regulator(410.0, 40.0)], 404.0, (-40.0, 40.0)),  # charges at its current limit
        ([Battery(400.0, 0.1), Regulator(390.0, 10.0)], 400.0, (0.0, 0.0)),  # a source that cannot sink
        ([Battery(400.0, 0.1)], 400.0, (0.0,)),
        ([Draw(amp_a=5.0)], 0.0, (0.0,)),
        ([], 0.0, ()),
    ],
)
def test_operating_point(devices: list[Device], volt_v: float, amps: tuple[float, ...]) -> None:
    node = operate(devices)
    assert node.volt_v == pytest.approx(volt_v, abs=1e-4)
    assert node.amp_a == pytest.approx(amps, abs=1e-3)


@settings(max_examples=80, deadline=None)
@given(
    set_v=st.floats(1.0, 1000.0),
    source_a=st.floats(0.0, 200.0),
    sink_a=st.floats(0.0, 200.0),
    source_w=st.floats(10.0, 1e5),
    emf_v=st.floats(1.0, 1000.0),
    ohm=st.floats(1e-3, 10.0),
)
def test_amps_add_up_and_no_limit_is_exceeded(
    set_v: float, source_a: float, sink_a: float, source_w: float, emf_v: float, ohm: float
) -> None:
    node = operate([Regulator(set_v, source_a, sink_a, source_w), Battery(emf_v, ohm)])
    amps = node.amp_a[0]
    assert math.fsum(node.amp_a) == pytest.approx(0.0, abs=1e-3)
    assert -sink_a - 1e-6 <= amps <= source_a + 1e-6
    assert amps * node.volt_v <= source_w * (1.0 + 1e-6) + 1e-6


class Bench:
    """Couple one twin and a battery, step by step."""

    def __init__(self, model: str, battery: Battery) -> None:
        self.clock = Clock()
        twin = twin_of(part_of(model), self.clock)
        assert isinstance(twin, DcTwin)
        self.twin, self.battery = twin, battery

    def run(self, seconds: float, dt_s: float = 0.1) -> None:
        for _ in range(round(seconds / dt_s)):
            self.clock.now_s += dt_s
            self.twin.step(self.clock.now_s, dt_s)
            terminal = self.twin.terminal()
            node = operate([self.battery, *([terminal] if terminal else [])])
            self.twin.set_measured(node.volt_v, node.amp_a[1] if terminal else 0.0)


def test_a_bidirectional_supply_charges_holds_and_discharges_a_battery() -> None:
    bench = Bench("ea-psb", Battery(400.0, 0.5))
    ask(bench.twin, "SOUR:VOLT 410;:SOUR:CURR 10;:SINK:CURR 15;:OUTP ON")
    bench.run(1.0)
    assert bench.twin.mode() == "CC" and ask(bench.twin, "MEAS:ARR?") == "405.00V, 10.00A, 4050.00W"
    assert int(ask(bench.twin, "STAT:OPER:COND?")) == 1 << 9
    ask(bench.twin, "SOUR:VOLT 402")
    bench.run(1.0)
    assert bench.twin.mode() == "CV" and ask(bench.twin, "MEAS:CURR?") == "4.00A"
    ask(bench.twin, "SOUR:VOLT 300")
    bench.run(1.0)
    assert bench.twin.mode() == "CC" and ask(bench.twin, "MEAS:CURR?") == "-15.00A"
    assert int(ask(bench.twin, "STAT:OPER:COND?")) == 1 << 9 | 1 << 12
    ask(bench.twin, "SINK:POW 2000")
    bench.run(1.0)
    assert bench.twin.mode() == "CP" and float(ask(bench.twin, "MEAS:POW?")[:-1]) == pytest.approx(-2000.0, rel=0.01)


def test_over_voltage_from_the_other_side_of_the_wire_trips_and_cannot_be_cleared_while_it_is_there() -> None:
    bench = Bench("keysight-rp7900", Battery(500.0, 0.5))
    ask(bench.twin, "VOLT 450;:CURR:LIM 5;:CURR:LIM:NEG -5;:VOLT:PROT 480;:OUTP ON")
    bench.run(0.5)
    assert "OV" in bench.twin.tripped and not bench.twin.output_on
    ask(bench.twin, "OUTP:PROT:CLE")
    assert bench.twin.tripped
    bench.battery = Battery(460.0, 0.5)
    bench.run(0.2)
    ask(bench.twin, "OUTP:PROT:CLE")
    assert not bench.twin.tripped and bench.twin.output_on  # it re-energises


def test_over_current_protection_trips_after_its_delay_in_constant_current() -> None:
    bench = Bench("keysight-rp7900", Battery(400.0, 0.5))
    ask(bench.twin, "VOLT 450;:CURR:LIM 5;:CURR:PROT:DEL 0.25;STAT ON;:OUTP ON")
    bench.run(0.3)
    assert bench.twin.mode() == "CC" and not bench.twin.tripped
    bench.run(0.2)
    assert "OC" in bench.twin.tripped and not bench.twin.output_on


def test_a_load_takes_what_its_function_says() -> None:
    bench = Bench("ea-el", Battery(60.0, 0.01))
    part = bench.twin.part
    ask(bench.twin, "CURR 10;:VOLT 0;:INP ON")
    bench.run(0.3)
    assert bench.twin.input_on and part.roles["dc_load"].sign in ("absorbed", "delivered")
    shown = float(ask(bench.twin, "MEAS:CURR?").rstrip("A"))
    assert abs(shown) == pytest.approx(10.0, abs=0.01) and (shown > 0) == (part.roles["dc_load"].sign == "absorbed")


def test_volts_move_at_the_slew_rate() -> None:
    bench = Bench("keysight-rp7900", Battery(1.0, 1000.0))
    ask(bench.twin, "VOLT:SLEW 50;:VOLT 100;:CURR:LIM 5;:OUTP ON")
    bench.run(1.0)
    assert bench.twin.actual_v[0] == pytest.approx(50.0)
    bench.run(1.5)
    assert bench.twin.actual_v[0] == pytest.approx(100.0)
    ask(bench.twin, "OUTP OFF")
    assert bench.twin.actual_v[0] == 0.0
