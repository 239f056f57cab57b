"""Command every charger model of the catalog with our own client: identity, fail-safe, order, pause, readings."""

import asyncio
import contextlib
import math
import time

import pytest
from modbus_helpers import quick, serving, until
from modbus_post import DRIVEN, Post

from instruments.modbus_charger import ModbusCharger
from instruments.modbus_reading import GOOD

PUMP_S = 0.02  # of real time for a step of the plant
FAILSAFE_S = 60.0


@contextlib.asynccontextmanager
async def running(post: Post, charger: ModbusCharger, want: list[float]):
    """Run plant and client beside the test."""

    async def pump() -> None:
        while True:
            post.pass_s(0.1)
            await asyncio.sleep(PUMP_S)

    tasks = [asyncio.create_task(pump()), asyncio.create_task(charger.run(lambda: want[0], lambda: True))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("name", DRIVEN)
def test_our_client_commands_and_reads_every_model(name):
    async def story() -> None:
        post = Post(quick(name, frame_gap_s=0.0))
        post.view.set("failsafe_s", FAILSAFE_S, 0.0)
        failsafe_a = post.part.max_a if post.part.watchdog.kind == "none" else 6.0
        async with serving(post.twin) as port:
            charger = ModbusCharger(
                name,
                post.model,
                f"modbus+tcp://127.0.0.1:{port}",
                clock_ns=time.monotonic_ns,
                failsafe_a=failsafe_a,
                failsafe_s=FAILSAFE_S,
            )
            try:
                assert post.model.model.family in await charger.open()
                await charger.program_failsafe()
                want = [16.0]
                async with running(post, charger, want):
                    await until(lambda: post.drawn_a > 15.9, f"16 A of {name}")
                    await until(lambda: charger.reading.quality == GOOD, "a complete reading")
                    if post.part.dc is None:
                        await until(lambda: charger.reading.amp_a[0] > 15.5, "16 A in the reading")
                    own_volts = post.part.voltage_step_v < 200.0
                    assert math.isfinite(charger.reading.volt_v[0]) == own_volts
                    want[0] = 0.0
                    await until(lambda: post.drawn_a == 0.0, f"pause of {name}")
                assert charger.reading.fault == ""
                assert post.view.get("failsafe_active") == 0.0
            finally:
                await charger.close()

    asyncio.run(story())
