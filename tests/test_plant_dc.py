"""Check converter and battery of a DC charger against closed forms, and the map that joins amps and watts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.runtime.played_battery import BatterySpec, PlayedBattery
from hil.plant.dc import DcOutput, DcSpec
from hil.rig.dc_charger import dc_part
from instruments.catalog import all_models, charger_of, load_model, modbus_of
from instruments.modbus_codec import encode_value
from instruments.modbus_reading import ReadingBuilder
from profiles.vehicle import load_vehicles

SPEC = BatterySpec(
    name="test", capacity_ah=100.0, soc=(0.0, 1.0), ocv_v=(300.0, 400.0), resistance_ohm=0.1, max_v=400.0,
    max_a=100.0, power_soc=(0.0, 1.0), power_w=(20_000.0, 20_000.0), tail_a=2.0,
)  # fmt: skip
STAGE = DcSpec(
    efficiency=0.95, watts_per_amp=590.0, min_v=150.0, max_v=500.0, max_a=60.0, max_w=24_000.0,
    rise_a_per_s=20.0, fall_a_per_s=60.0,
)  # fmt: skip


def test_the_terminal_volts_are_those_of_the_equivalent_circuit() -> None:
    battery = PlayedBattery(SPEC, soc=0.5)
    assert battery.open_v == 350.0
    assert battery.terminal_v(50.0) == pytest.approx(355.0) and battery.terminal_v(-50.0) == pytest.approx(345.0)


@given(soc=st.floats(0.0, 1.0), watts=st.floats(0.0, 50_000.0))
def test_watts_and_amps_agree(soc: float, watts: float) -> None:
    battery = PlayedBattery(SPEC, soc=soc)
    amps = battery.amps_of_watts(watts)
    assert amps * battery.terminal_v(amps) == pytest.approx(watts, abs=1e-6)


def test_charge_is_counted_in_ampere_hours() -> None:
    battery = PlayedBattery(SPEC, soc=0.2)
    for _ in range(3600):
        battery.step(1.0, 25.0)
    assert battery.soc == pytest.approx(0.45)
    battery.step(1e9, 25.0)
    assert battery.soc == 1.0
    battery.step(1.0, math.nan)
    assert battery.soc == 1.0


def test_the_demand_follows_power_then_constant_volts_then_ends_for_good() -> None:
    battery = PlayedBattery(SPEC, soc=0.5)
    assert battery.ask() == pytest.approx(battery.amps_of_watts(20_000.0))
    battery.soc = 0.96  # 396 V open: 4 V left over 0.1 ohm
    assert battery.ask() == pytest.approx(40.0)
    battery.soc = 0.9985
    assert battery.ask() == 0.0  # 1.5 A are under the tail current
    battery.soc = 0.9
    assert battery.ask() == 0.0  # full stays full until it is plugged in again
    battery.plug_in(0.9)
    assert battery.ask() > 0.0


@pytest.mark.parametrize(
    "change", [{"ocv_v": (400.0, 300.0)}, {"soc": (0.1, 1.0)}, {"max_v": 390.0}, {"resistance_ohm": 0.0},
               {"capacity_ah": math.nan}]
)  # fmt: skip
def test_a_battery_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    fields = {name: getattr(SPEC, name) for name in BatterySpec.__slots__}
    with pytest.raises(ValueError, match="allowed"):
        BatterySpec(**(fields | change))  # type: ignore[arg-type]


def test_the_converter_keeps_its_limit_in_watts_and_ramps() -> None:
    output = DcOutput(STAGE)
    amps = [output.step(0.1, 350.0, 100.0, 16.0, closed=True) for _ in range(40)]
    assert max(np.diff(amps)) == pytest.approx(2.0) and amps[-1] * 350.0 == pytest.approx(16.0 * 590.0)
    down = [output.step(0.1, 350.0, 100.0, 8.0, closed=True) for _ in range(10)]
    assert down[0] == pytest.approx(amps[-1] - 6.0) and down[-1] * 350.0 == pytest.approx(8.0 * 590.0)
    assert output.step(0.1, 350.0, 100.0, 8.0, closed=False) == 0.0 == output.power_w
    assert output.step(0.1, 600.0, 100.0, 8.0, closed=True) == 0.0  # volts beyond its range stop it


def test_the_mains_amps_carry_the_watts_and_the_losses() -> None:
    output = DcOutput(STAGE)
    for _ in range(50):
        output.step(0.1, 350.0, 100.0, 16.0, closed=True)
    volts = np.array([230.0, 240.0, 235.0])
    amps = output.mains_a(volts)
    assert np.ptp(amps) == 0.0 and float(volts @ amps) == pytest.approx(output.power_w / 0.95)
    assert not output.mains_a(np.full(3, np.nan)).any()


@given(limit_a=st.floats(6.0, 40.0), volt_v=st.floats(207.0, 260.0))
def test_at_any_mains_volts_it_charges_at_the_mains_amps_stay_under_the_limit(limit_a: float, volt_v: float) -> None:
    part = dc_part(load_model("evtec-dc"), load_vehicles()["bev_400v_60kwh"])
    assert part is not None
    output = DcOutput(part.converter)
    for _ in range(100):
        output.step(0.1, 350.0, 1e3, limit_a, closed=True)
    assert float(output.mains_a(np.full(3, volt_v)).max()) <= limit_a + 1e-9


@pytest.mark.parametrize("model", [m.model.name for m in all_models() if m.charger is not None and m.charger.dc])
def test_set_point_and_reading_use_the_same_rule(model: str) -> None:
    record = load_model(model)
    stage = charger_of(record).dc
    assert stage is not None
    part = modbus_of(record)
    register = part.register(charger_of(record).setpoint.register_name)
    assert register.scale * stage.watts_per_amp == pytest.approx(1.0, abs=1e-6)
    high, low = encode_value(part, register, 16.0)
    watts = 65536 * high + low
    assert watts == pytest.approx(16.0 * stage.watts_per_amp, abs=0.5)
    builder = ReadingBuilder(part, stage)
    for k, poll in enumerate(part.polls.core):
        _, address, count = part.span(poll)
        words = [0] * count
        for word in map(part.register, poll):
            told = {"state": float(word.encode.get("2", 0)), "dc_power_w": float(watts)}  # state C
            value = told.get(word.quantity, 0.0)
            words[word.address - address : word.end - address] = encode_value(part, word, value)
        builder.take(k, words, sent_ns=1)
    reading = builder.reading
    assert reading.amp_a == pytest.approx([16.0] * 3, rel=1e-3) and reading.quality == 0 and reading.state == 2
    assert reading.power_w == pytest.approx(watts / stage.efficiency, rel=1e-6)
    assert np.isnan(reading.volt_v).all()
