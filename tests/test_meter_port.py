"""Read a meter at a node over a real socket, lose it, freeze it; nothing is lifted because it vanished."""

import asyncio
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from modbus_helpers import FakeClock, quick, serving

from controller.law import image
from controller.runtime.compose import put_meter
from controller.runtime.meter_log import MeterLog
from controller.runtime.site import MeterPort as MeterKeys
from hil.runs.evidence_meters import read_witnesses
from hil.twins.modbus_meter import ModbusMeterTwin
from hil.twins.sunspec_meter import SunSpecMeterTwin
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault
from instruments.meter_port import BAD, GOOD, UNCERTAIN, MeterPort, NodeReading, signed
from instruments.modbus_meter import MeterReading, ModbusMeter
from instruments.sunspec_meter import SunSpecMeter

MEASURED = {
    "voltage_l1_v": 229.5, "voltage_l2_v": 231.0, "voltage_l3_v": 228.5,
    "current_l1_a": 16.25, "current_l2_a": 8.5, "current_l3_a": 0.0,
    "power_l1_w": 3729.25, "power_l2_w": -1963.5, "power_l3_w": 0.0, "power_w": 1765.75,
    "frequency_hz": 49.5, "energy_wh": 1234560.0, "export_wh": 5000.0,
}  # fmt: skip


FAMILIES = {
    "eastron-sdm630": (ModbusMeter, ModbusMeterTwin, "Eastron SDM630"),
    "sunspec-meter": (SunSpecMeter, SunSpecMeterTwin, "SunSpec meter, model 203"),
}


async def until(true, within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("family", FAMILIES)
def test_meter_is_polled_lost_and_met_again_on_a_real_socket(family):
    client_of, twin_of, identity = FAMILIES[family]

    async def story() -> list[tuple[int, bool]]:
        model = quick(family, read_gap_s=0.0) if family != "sunspec-meter" else load_model(family)
        twin, clock = twin_of(model, MEASURED.__getitem__), FakeClock()
        seen = []
        async with serving(twin) as number:
            client = client_of("head", model, f"modbus+tcp://127.0.0.1:{number}", clock_ns=clock.ns)
            port = MeterPort(client, clock_ns=clock.ns, read_s=0.01)
            assert identity in await port.open()
            task = asyncio.create_task(port.run(lambda: True))
            await until(lambda: port.reading.quality == GOOD)
            assert port.reading.amp_a == pytest.approx([16.25, -8.5, 0.0])
            assert port.reading.power_w == pytest.approx(1765.75, abs=5.0)  # half a step at W_SF = 1
            seen.append((port.reading.quality, port.reading.link))
            await twin.server.cut()
            await until(lambda: not port.reading.link)
            stood_ns = port.reading.change_ns
            seen.append((port.reading.quality, port.reading.link))
            clock.now_s += 5.0
            assert port.reading.amp_a == pytest.approx([16.25, -8.5, 0.0])  # stands, and grows old
            assert port.reading.change_ns == stood_ns
            await twin.server.restore()
            await until(lambda: port.reading.quality == GOOD)
            seen.append((port.reading.quality, port.reading.link))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await port.close()
        return seen

    assert asyncio.run(story()) == [(GOOD, True), (BAD, False), (GOOD, True)]


class Played:
    """Answer with the sets and faults given, one a read."""

    name = "head"
    connected = True

    def __init__(self, *answers: MeterReading | PortFault) -> None:
        self.answers = list(answers)
        self.reads = 0

    async def open(self) -> str:
        return "played"

    async def read(self) -> MeterReading:
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, PortFault):
            raise answer
        return answer

    def close(self) -> None:
        self.connected = False


def one_set(**other: object) -> MeterReading:
    values = {"voltage_v": np.full(3, 230.0), "current_a": np.full(3, 10.0), "power_w": np.full(3, 2300.0)}
    return MeterReading(**(values | {"total_w": 6900.0, "stamp_ns": 5} | other))


def polled(port: MeterPort, times: int, each=lambda: None) -> None:
    async def story() -> None:
        for _ in range(times):
            await port.poll()
            each()

    asyncio.run(story())


def test_values_that_stand_still_are_uncertain_until_they_move():
    clock = FakeClock()
    moving = one_set(voltage_v=np.array([230.0, 230.0, 230.1]))
    port = MeterPort(Played(one_set(), one_set(), one_set(), moving), clock_ns=clock.ns, frozen_s=10.0)
    qualities = []

    def pass_time() -> None:
        qualities.append(port.reading.quality)
        clock.now_s += 6.0

    polled(port, 4, pass_time)
    assert qualities == [GOOD, GOOD, UNCERTAIN, GOOD]


def test_a_set_without_any_value_is_bad():
    nothing = one_set(voltage_v=np.full(3, math.nan), current_a=np.full(3, math.nan))
    port = MeterPort(Played(nothing), clock_ns=FakeClock().ns)
    polled(port, 1)
    assert port.reading.quality == BAD


def test_one_lost_answer_is_no_lost_meter_three_are():
    fault = PortFault(FaultKind.TIMEOUT, "head", "volts", "no answer within 1 s")
    played = Played(one_set(), fault, one_set(), fault, fault, fault)
    port = MeterPort(played, clock_ns=FakeClock().ns, read_s=0.0)
    seen = []

    async def story() -> None:
        task = asyncio.create_task(port.run(lambda: True))
        while played.reads < 6:
            before = played.reads
            await asyncio.sleep(0)
            if played.reads > before:
                seen.append(port.reading.quality)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    assert seen == [GOOD, GOOD, GOOD, GOOD, GOOD, BAD]
    assert (port.reading.link, port.reading.errors) == (False, 4)
    assert "no answer" in port.reading.fault


def test_nothing_is_sent_while_the_scan_is_silent():
    played = Played(one_set())
    port = MeterPort(played, clock_ns=FakeClock().ns)

    async def story() -> None:
        task = asyncio.create_task(port.run(lambda: False))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    assert played.reads == 0


@pytest.mark.parametrize(
    ("power_w", "total_w", "expected"),
    [
        ((100.0, -100.0, 0.0), 0.0, (1.0, -2.0, 3.0)),
        ((100.0, math.nan, -1.0), 99.0, (1.0, math.nan, -3.0)),
        ((math.nan,) * 3, -5.0, (-1.0, -2.0, -3.0)),
        ((math.nan,) * 3, math.nan, (math.nan,) * 3),
    ],
)
def test_amps_take_the_direction_of_their_watts(power_w, total_w, expected):
    found = signed(np.array([1.0, 2.0, 3.0]), np.array(power_w), total_w)
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_reading_stands_in_the_row_of_its_node_alone():
    port = MeterPort(Played(one_set()), clock_ns=FakeClock().ns)
    polled(port, 1)
    _, inp = image.allocate("input", image.Dims(1, 3, 1, 2))
    before = inp.node_a.copy()
    put_meter(inp, 1, port.reading, 1_000)
    assert inp.node_a[1].tolist() == [10.0, 10.0, 10.0]
    assert (inp.node_w[1], inp.node_a_quality[1], inp.node_v_change_ns[1]) == (6900.0, GOOD, 5)
    assert inp.node_a_stamp_utc_ns[1] == 1_005
    for m in (0, 2):
        assert inp.node_a[m].tolist() == pytest.approx(before[m].tolist(), nan_ok=True)


class Logged:
    """Name what the log takes from a site."""

    node_names: ClassVar = ["root", "poc"]
    utc_minus_mono_ns = 1_000_000_000_000

    def __init__(self, run_dir: Path, use: str) -> None:
        self.run_dir = str(run_dir)
        self.meters = [MeterKeys(name="m", model="eastron-sdm630", address="", node=1, use=use)]


def kept(run_dir: Path, use: str) -> MeterLog:
    """Log a good set, the loss of the meter 4 s later, and a good set again."""
    log, reading = MeterLog(Logged(run_dir, use)), NodeReading()
    log.take([reading], 1)
    for at_s, stamp_s, quality in ((10, 10, GOOD), (10.1, 10, GOOD), (14, 10, BAD), (20, 20, GOOD)):
        reading.volt_v, reading.amp_a = np.array([230.0, math.nan, math.nan]), np.array([stamp_s, math.nan, math.nan])
        reading.change_ns, reading.quality = round(stamp_s * 1e9), quality
        log.take([reading], round(at_s * 1e9))
    log.close()
    return log


def test_a_witness_is_read_back_with_its_gap_and_without_the_phases_that_it_lacks(tmp_path):
    kept(tmp_path, "evidence")
    with (tmp_path / "meters.csv").open("a") as file:
        file.write("1030.0,m,poc,evi")  # a run that was killed
    series = read_witnesses(tmp_path, 1000.0)["poc"]
    assert series.t_s.tolist() == [10.0, 14.0, 20.0]
    assert series.watt_w() == pytest.approx([2300.0, math.nan, 4600.0], nan_ok=True)


def test_what_the_law_reads_is_no_witness(tmp_path):
    kept(tmp_path, "law")
    assert read_witnesses(tmp_path, 0.0) == {}
    assert read_witnesses(tmp_path / "nowhere", 0.0) == {}
