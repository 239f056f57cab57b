"""Read the emulated meters with our client and with one that others wrote."""

import asyncio
import math
import struct

import numpy as np
import pytest
from modbus_helpers import FakeClock, quick, serving
from pyModbusTCP.client import ModbusClient

from hil.twins.modbus_meter import ModbusMeterTwin
from instruments.catalog import CatalogError, load_model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_meter import MeterQuality, ModbusMeter

METERS = ("eastron-sdm630", "abb-b23", "abb-b24")
INTEGER_METERS = ("abb-b23", "abb-b24")


def measured() -> dict[str, float]:
    """Return what the meter measures; L2 feeds back."""
    return {
        "voltage_l1_v": 229.5, "voltage_l2_v": 231.0, "voltage_l3_v": 228.5,
        "current_l1_a": 16.25, "current_l2_a": 8.5, "current_l3_a": 0.0,
        "power_l1_w": 3729.25, "power_l2_w": -1963.5, "power_l3_w": 0.0, "power_w": 1765.75,
        "frequency_hz": 49.5, "energy_wh": 1234560.0, "export_wh": 5000.0,
    }  # fmt: skip


def with_meter(name: str, values: dict[str, float], story, **options: object) -> object:
    """Run `story(meter, twin, clock)` with our client open on a twin."""

    async def run() -> object:
        model = quick(name, read_gap_s=0.0)
        twin, clock = ModbusMeterTwin(model, values.__getitem__), FakeClock()
        async with serving(twin) as port:
            meter = ModbusMeter("head", model, f"modbus+tcp://127.0.0.1:{port}", clock_ns=clock.ns, **options)
            try:
                await meter.open()
                return await story(meter, twin, clock)
            finally:
                meter.close()

    return asyncio.run(run())


async def one_set(meter, twin, clock):
    return await meter.read()


@pytest.mark.parametrize("name", METERS)
def test_meter_is_read_whole(name):
    reading = with_meter(name, measured(), one_set)
    assert reading.voltage_v == pytest.approx([229.5, 231.0, 228.5])
    assert reading.current_a == pytest.approx([16.25, 8.5, 0.0])
    assert reading.power_w == pytest.approx([3729.25, -1963.5, 0.0])
    assert (reading.frequency_hz, reading.energy_wh, reading.export_wh) == pytest.approx((49.5, 1234560.0, 5000.0))
    assert reading.quality is MeterQuality.GOOD


@pytest.mark.parametrize("name", METERS)
def test_value_that_is_not_available_is_nan_and_lowers_the_quality(name):
    reading = with_meter(name, measured() | {"voltage_l2_v": math.nan, "power_l3_w": math.nan}, one_set)
    assert np.isnan(reading.voltage_v).tolist() == [False, True, False]
    assert np.isnan(reading.power_w).tolist() == [False, False, True]
    assert reading.quality is MeterQuality.PARTIAL


@pytest.mark.parametrize("name", METERS)
def test_phase_map_and_turned_transformers_are_put_right(name):
    reading = with_meter(name, measured(), one_set, phases=(2, 3, 1), ct_sign=-1)
    assert reading.voltage_v == pytest.approx([228.5, 229.5, 231.0])  # the meter's L3 is on our first phase
    assert reading.power_w == pytest.approx([0.0, -3729.25, 1963.5])
    assert (reading.energy_wh, reading.export_wh) == pytest.approx((5000.0, 1234560.0))


def test_set_grows_old_over_a_fault():
    async def story(meter, twin, clock):
        assert meter.reading.age_s(clock.ns()) == math.inf
        await meter.read()
        twin.registers.busy = True
        clock.now_s += 3.0
        with pytest.raises(PortFault) as caught:
            await meter.read()
        return caught.value.kind, meter.reading.age_s(clock.ns()), meter.reading.voltage_v[0]

    assert with_meter("abb-b23", measured(), story) == (FaultKind.BUSY, pytest.approx(3.0), pytest.approx(229.5))


def test_meter_that_shows_no_mains_frequency_is_refused():
    with pytest.raises(PortFault) as caught:
        with_meter("abb-b23", measured() | {"frequency_hz": 400.0}, one_set)
    assert caught.value.kind is FaultKind.WRONG_IDENTITY


@pytest.mark.parametrize("options", [{"phases": (1, 1, 2)}, {"ct_sign": 0}])
def test_wiring_that_cannot_be_is_refused(options):
    with pytest.raises(PortFault, match="allowed"):
        ModbusMeter("head", load_model("abb-b23"), "modbus+tcp://127.0.0.1:502", clock_ns=int, **options)


def test_charger_is_no_meter():
    with pytest.raises(CatalogError, match="a meter is needed"):
        ModbusMeter("head", load_model("keba-p30"), "modbus+tcp://127.0.0.1:502", clock_ns=int)


def foreign(name: str, read) -> object:
    """Return what `read(client)` of pyModbusTCP gets from a twin."""

    async def run() -> object:
        twin = ModbusMeterTwin(load_model(name), measured().__getitem__)
        async with serving(twin) as port:
            client = ModbusClient(host="127.0.0.1", port=port, unit_id=1, timeout=30.0, auto_close=True)
            return await asyncio.to_thread(read, client)

    return asyncio.run(run())


def test_foreign_client_reads_the_eastron_s_floats():
    words = foreign("eastron-sdm630", lambda client: client.read_input_registers(0x0000, 80))
    floats = struct.unpack(">40f", struct.pack(">80H", *(words[:76] + [0] * 4)))
    assert floats[:3] == (229.5, 231.0, 228.5) and floats[3:6] == (16.25, 8.5, 0.0)
    assert floats[6:9] == (3729.25, -1963.5, 0.0) and floats[0x46 // 2] == 49.5
    assert floats[0x48 // 2] == pytest.approx(1234.56)  # kWh


@pytest.mark.parametrize("name", INTEGER_METERS)
def test_foreign_client_reads_the_abb_s_integers(name):
    words = foreign(name, lambda client: client.read_holding_registers(0x5B00, 45))
    raw = struct.pack(">45H", *words)
    assert struct.unpack_from(">3I", raw, 0) == (2295, 2310, 2285)
    assert struct.unpack_from(">3I", raw, 2 * 0x0C) == (1625, 850, 0)
    assert struct.unpack_from(">4i", raw, 2 * 0x14) == (176575, 372925, -196350, 0)
    assert words[0x2C] == 4950
    energy = foreign(name, lambda client: client.read_holding_registers(0x5000, 4))
    assert struct.unpack(">Q", struct.pack(">4H", *energy)) == (123456,)
