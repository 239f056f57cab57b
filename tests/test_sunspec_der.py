"""Command the emulated DER by model 704: limits hold while they are renewed and are taken back when they are not."""

import asyncio
import math

import pytest
from modbus_helpers import FakeClock, serving

from hil.twins.sunspec import SunSpecTwin
from hil.twins.sunspec_der import SunSpecDerTwin
from instruments.catalog import CatalogError, load_model
from instruments.faults import FaultKind, PortFault
from instruments.sunspec_der import DerOrder, SunSpecDer

FAMILY = "sunspec-der"


def with_der(story, **options: object) -> object:
    """Run `story(der, twin, clock)` with the fail-safe programmed: 1 kW of 10 kW after 60 s; the source gives 8 kW."""

    async def run() -> object:
        clock = FakeClock()
        twin = SunSpecDerTwin(load_model(FAMILY), 10_000.0, clock.seconds)
        twin.available_w = 8_000.0
        async with serving(twin) as port:
            address = f"modbus+tcp://127.0.0.1:{port}"
            given = {"revert_s": 60.0, "revert_export_w": 1_000.0} | options
            der = SunSpecDer("pv", load_model(FAMILY), address, clock_ns=clock.ns, **given)
            try:
                assert "10000 W" in await der.open()
                await der.program_failsafe()
                return await story(der, twin, clock)
            finally:
                await der.close()

    return asyncio.run(run())


def test_a_limit_holds_and_reverts_to_the_programmed_one():
    async def story(der, twin, clock):
        await der.command(DerOrder(export_w=3_000.0))
        first = await der.read()
        seen = [(first.power_w, first.export_w, first.revert_s)]
        clock.now_s += 61.0
        last = await der.read()
        return [*seen, (last.power_w, last.export_w, last.revert_s)]

    assert with_der(story) == [(-3_000.0, 3_000.0, 60.0), (-1_000.0, 1_000.0, 0.0)]


def test_zero_means_zero_and_infinity_lifts_the_limit():
    async def story(der, twin, clock):
        seen = []
        for export_w in (0.0, math.inf):
            await der.command(DerOrder(export_w=export_w))
            reading = await der.read()
            seen.append((reading.power_w, reading.export_w))
        return seen

    assert with_der(story) == [(0.0, 0.0), (-8_000.0, math.inf)]


def test_a_limit_is_rounded_down_to_what_the_device_resolves():
    async def story(der, twin, clock):
        await der.command(DerOrder(export_w=3_456.789))
        return (await der.read()).export_w

    assert with_der(story) == pytest.approx(3_450.0)  # 0.1 % of 10 kW


def test_a_set_point_follows_our_sign_and_is_given_up_after_its_time():
    async def story(der, twin, clock):
        await der.command(DerOrder(set_w=-2_000.0))
        held = await der.read()
        seen = [(held.power_w, held.set_w)]
        clock.now_s += 61.0
        after = await der.read()
        return seen, after.power_w, math.isnan(after.set_w)

    assert with_der(story) == ([(-2_000.0, -2_000.0)], -8_000.0, True)


@pytest.mark.parametrize("order", [DerOrder(export_w=-1.0), DerOrder(export_w=math.nan), DerOrder(set_w=20_000.0)])
def test_an_order_that_cannot_be_sent_is_refused_and_changes_nothing(order):
    async def story(der, twin, clock):
        with pytest.raises(PortFault) as caught:
            await der.command(order)
        return caught.value.kind, (await der.read()).export_w

    assert with_der(story) == (FaultKind.RANGE, math.inf)


def test_orders_are_renewed_in_time_and_not_while_the_scan_is_silent():
    async def story(der, twin, clock):
        talk = [True]
        task = asyncio.create_task(der.run(lambda: DerOrder(export_w=3_000.0), lambda: talk[0], read_s=0.0))

        async def seen(true) -> None:
            async with asyncio.timeout(30.0):
                while not true():
                    await asyncio.sleep(0.01)

        await seen(lambda: twin.value(704, "WMaxLimPctEna") == 1.0)
        for _ in range(4):
            clock.now_s += 25.0  # a third of 60 s is over
            await seen(lambda: twin.value(704, "WMaxLimPctRvrtRem") == 60.0)
        renewed = (der.reading.reverted, twin.unscaled(704, "WMaxLimPct"))
        talk[0] = False
        await asyncio.sleep(0.25)
        clock.now_s += 61.0
        await asyncio.sleep(0.25)
        silent = twin.unscaled(704, "WMaxLimPct")
        talk[0] = True
        await seen(lambda: twin.unscaled(704, "WMaxLimPct") == pytest.approx(30.0))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return renewed, silent, der.reading.reverted, der.reading.errors

    assert with_der(story) == ((0, 30.0), 10.0, 1, 0)


def test_a_device_without_controls_is_refused():
    async def run() -> tuple[FaultKind, str]:
        async with serving(SunSpecTwin({701: {}}, FakeClock().seconds)) as port:
            der = SunSpecDer("pv", load_model(FAMILY), f"modbus+tcp://127.0.0.1:{port}", clock_ns=FakeClock().ns)
            with pytest.raises(PortFault) as caught:
                await der.open()
            await der.close()
        return caught.value.kind, str(caught.value)

    kind, text = asyncio.run(run())
    assert kind is FaultKind.WRONG_IDENTITY
    assert "has no model 702, 704" in text


def test_a_meter_is_no_der():
    with pytest.raises(CatalogError, match="a der is needed"):
        SunSpecDer("pv", load_model("sunspec-meter"), "modbus+tcp://127.0.0.1:1", clock_ns=FakeClock().ns)
