"""Read the emulated SunSpec device with pysunspec2 and with our client; let its limit revert."""

import asyncio
import math

import pytest
from modbus_helpers import FakeClock, serving
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from hil.twins.sunspec import SunSpecTwin
from instruments.faults import FaultKind, PortFault
from instruments.sunspec import SunSpec

VALUES = {
    203: {"A_SF": -2.0, "AphA": 16.25, "V_SF": -1.0, "PhVphA": 229.5, "Hz_SF": -2.0, "Hz": 49.98, "W_SF": 1.0,
          "W": -4210.0, "TotWh_SF": 0.0, "TotWhImp": 1234567.0},
    701: {"ACType": 2.0, "W_SF": 0.0, "W": 3680.0, "Hz_SF": -3.0, "Hz": 50.012},
    704: {"WMaxLimPct_SF": -1.0, "WMaxLimPct": 100.0, "WMaxLimPctEna": 0.0, "WMaxLimPctRvrt": 30.0,
          "WMaxLimPctEnaRvrt": 1.0, "WMaxLimPctRvrtTms": 0.0, "WMaxLimPctRvrtRem": 0.0},
    713: {"WH_SF": 2.0, "WHRtg": 60000.0, "Pct_SF": -1.0, "SoC": 55.5, "Sta": 0.0},
}  # fmt: skip


def with_device(story, base: int = 40000) -> object:
    """Run `story(client, twin, clock, port)` with our client open."""

    async def run() -> object:
        clock = FakeClock()
        twin = SunSpecTwin(VALUES, clock.seconds, base=base)
        async with serving(twin) as port:
            client = SunSpec("der", f"modbus+tcp://127.0.0.1:{port}")
            try:
                assert await client.open() == [203, 701, 704, 713]
                return await story(client, twin, clock, port)
            finally:
                client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("base", [40000, 50000, 0])
def test_our_client_finds_the_chain_and_reads_every_point(base):
    async def story(client, twin, clock, port):
        return {model: await client.read(model) for model in VALUES}

    found = with_device(story, base)
    for model, values in VALUES.items():
        for name, value in found[model].items():
            if name in values:
                assert value == pytest.approx(values[name]), (model, name)
            else:
                assert math.isnan(value), (model, name)


def test_pysunspec2_reads_the_same_values():
    def scan(port: int) -> dict[tuple[int, str], float]:
        device = SunSpecModbusClientDeviceTCP(slave_id=1, ipaddr="127.0.0.1", ipport=port, timeout=30)
        try:
            device.scan()
            return {(m, n): device.models[m][0].points[n].cvalue for m, names in VALUES.items() for n in names}
        finally:
            device.close()

    async def story(client, twin, clock, port):
        return await asyncio.to_thread(scan, port)

    for (model, name), value in with_device(story).items():
        assert value == pytest.approx(VALUES[model][name]), (model, name)


def test_limit_reverts_when_nobody_renews_it():
    async def story(client, twin, clock, port):
        await client.write(704, "WMaxLimPctRvrtTms", 60.0)
        await client.write(704, "WMaxLimPct", 80.5)
        await client.write(704, "WMaxLimPctEna", 1.0)
        names = ("WMaxLimPct", "WMaxLimPctEna", "WMaxLimPctRvrtRem")
        seen = []
        for step_s in (0.0, 20.0, 39.0, 1.0):
            clock.now_s += step_s
            seen.append(tuple((await client.read(704, *names)).values()))
        return seen

    assert with_device(story) == [(80.5, 1.0, 60.0), (80.5, 1.0, 40.0), (80.5, 1.0, 1.0), (30.0, 1.0, 0.0)]


def test_renewed_limit_stays():
    async def story(client, twin, clock, port):
        await client.write(704, "WMaxLimPctRvrtTms", 10.0)
        await client.write(704, "WMaxLimPctEna", 1.0)
        for _ in range(5):
            clock.now_s += 9.0
            await client.write(704, "WMaxLimPct", 50.0)
        return (await client.read(704, "WMaxLimPct"))["WMaxLimPct"]

    assert with_device(story) == 50.0


@pytest.mark.parametrize(("model", "name", "value"), [(701, "W", 1.0), (704, "WMaxLimPct", 9e9), (704, "WSet", 5.0),
                                                     (704, "WMaxLimPct", math.nan), (705, "Ena", 1.0)])  # fmt: skip
def test_what_cannot_be_written_is_refused_before_it_is_sent(model, name, value):
    async def story(client, twin, clock, port):
        before = twin.value(704, "WMaxLimPct")
        with pytest.raises(PortFault) as caught:
            await client.write(model, name, value)
        return caught.value.kind, twin.value(704, "WMaxLimPct") == before

    assert with_device(story) == (FaultKind.RANGE, True)


def test_device_without_the_mark_is_refused():
    async def story(client, twin, clock, port):
        twin._words[0] = 0
        with pytest.raises(PortFault) as caught:
            await client.open()
        return caught.value.kind

    assert with_device(story) is FaultKind.WRONG_IDENTITY
