"""Check how answers become one reading: dates, states, sessions, energy, what is absent and what is bad."""

import math

import numpy as np
import pytest
from modbus_helpers import NS, FakeClock, FakeView

from hil.twins.modbus_charger import ModbusChargerTwin
from instruments.catalog import load_model, modbus_of
from instruments.modbus_reading import BAD, GOOD, UNCERTAIN, ReadingBuilder


class Line:
    """Let a builder read a twin without a socket."""

    def __init__(self, name: str) -> None:
        self.view, self.clock = FakeView(), FakeClock()
        model = load_model(name)
        self.part = modbus_of(model)
        self.twin = ModbusChargerTwin(model, self.view, self.clock.seconds)
        self.builder = ReadingBuilder(self.part)
        self.polls = [*self.part.polls.core, *self.part.polls.rare]
        self.reading = self.builder.reading

    def poll(self, k: int) -> None:
        self.builder.take(k, self.twin.handle(*self._request(k)), self.clock.ns())

    def _request(self, k: int):
        unit_id, address, count = self.part.span(self.polls[k])
        return unit_id, 3, address, count, None

    def all(self) -> None:
        for k in range(len(self.polls)):
            self.poll(k)


@pytest.mark.parametrize("name", ["keba-p40", "alfen-ng9xx"])
def test_complete_set_gives_si_values_and_absent_phases_are_nan(name):
    line = Line(name)
    line.all()
    reading = line.reading
    assert reading.quality == GOOD
    np.testing.assert_allclose(reading.amp_a, [15.5, 0.0, 0.0])
    np.testing.assert_allclose(reading.volt_v, [228.0, math.nan, math.nan])
    assert (reading.state, reading.session_no) == (2, 1)
    assert reading.limit_a == 16.0
    assert reading.power_w == pytest.approx(3534.0)


def test_reading_is_dated_by_its_oldest_part_and_not_before_it_is_complete():
    line = Line("keba-p40")
    core = len(line.part.polls.core)
    for k in range(core):
        assert line.reading.quality == BAD and line.reading.change_ns == 0
        line.poll(k)
        line.clock.now_s += 0.5
    assert line.reading.quality == GOOD
    assert line.reading.change_ns == 100 * NS
    line.poll(0)
    assert line.reading.change_ns == round(100.5 * NS)  # the second value is the oldest now
    line.poll(core)
    assert line.reading.change_ns == round(100.5 * NS)  # a rare value makes nothing fresher


def test_lost_link_leaves_values_but_bad_until_a_new_complete_set():
    line = Line("alfen-ng9xx")
    line.all()
    change_ns = line.reading.change_ns
    line.builder.restart()
    line.clock.now_s += 5
    assert line.reading.quality == BAD
    line.poll(0)
    assert (line.reading.quality, line.reading.change_ns) == (BAD, change_ns)
    line.poll(1)
    assert (line.reading.quality, line.reading.change_ns) == (GOOD, line.clock.ns() - round(0.2 * NS))


def test_frozen_meter_behind_a_living_link_grows_old():
    line = Line("alfen-ng9xx")
    line.all()
    change_ns = line.reading.change_ns
    for step in range(1, 20):
        line.clock.now_s += 1.0
        line.twin.constants["meter_age"] = 0.2 + step
        line.all()
    assert line.reading.change_ns == change_ns


@pytest.mark.parametrize(("bits", "quality"), [(3, GOOD), (2, GOOD), (6, UNCERTAIN), (1, BAD), (10, BAD), (99, BAD)])
def test_meter_state_decides_the_quality(bits, quality):
    line = Line("alfen-ng9xx")
    line.twin.constants["meter_state"] = float(bits)
    line.all()
    assert line.reading.quality == quality


def test_reading_without_amps_or_with_an_unknown_state_is_bad():
    line = Line("alfen-ng9xx")
    line.view.values |= {f"current_l{k}_a": math.nan for k in (1, 2, 3)}
    line.all()
    assert line.reading.quality == BAD
    line = Line("alfen-ng9xx")
    line.view.values["mode3_state"] = "X9"
    line.all()
    assert (line.reading.quality, line.reading.state) == (BAD, -1)


@pytest.mark.parametrize(
    ("state", "plugged", "seen"), [(0, 0, 0), (0, 1, 1), (1, 1, 1), (1, 0, 0), (2, 1, 2), (5, 0, 5), (5, 1, 5)]
)
def test_keba_state_joins_charging_state_and_cable(state, plugged, seen):
    line = Line("keba-p40")
    line.view.values |= {"state": float(state), "cable_connected": float(plugged)}
    line.all()
    assert line.reading.state == seen


def test_every_plug_in_is_a_new_session():
    line = Line("alfen-ng9xx")
    numbers = []
    for state in ("A", "B1", "C2", "B2", "C2", "A", "A", "B2", "E", "C2"):
        line.view.values["mode3_state"] = state
        line.all()
        numbers.append(line.reading.session_no)
    assert numbers == [0, 1, 1, 1, 1, 1, 1, 2, 2, 2]


def test_session_meter_that_fell_is_a_new_session():
    line = Line("keba-p40")
    line.all()
    assert line.reading.session_no == 1
    line.view.values["session_wh"] = 260.0
    line.all()
    assert line.reading.session_no == 1
    line.view.values["session_wh"] = 3.0
    line.all()
    assert (line.reading.session_no, line.reading.session_wh) == (2, 3.0)


def test_session_energy_is_made_from_the_meter_where_no_register_has_it():
    line = Line("alfen-ng9xx")
    line.all()
    assert line.reading.session_wh == 0.0
    line.view.values["energy_wh"] = 1750.0
    line.all()
    assert line.reading.session_wh == 750.0
    for state, energy_wh in (("A", 1800.0), ("B2", 1800.0), ("C2", 1900.0)):
        line.view.values |= {"mode3_state": state, "energy_wh": energy_wh}
        line.all()
    assert line.reading.session_wh == 100.0
