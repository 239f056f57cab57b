"""Command several chargers behind one address: units of an RTU bus, sockets and controllers of a station."""

import asyncio
import contextlib
import time

import numpy as np
import pytest
from modbus_helpers import connected, quick, until
from modbus_post import Post, Refused

from hil.twins.modbus_gateway import ModbusGatewayTwin
from hil.twins.modbus_server import ExceptionCode
from instruments.modbus_charger import ModbusCharger
from instruments.modbus_poller import Buses

PLACES = [
    ("heidelberg-ec", [(1, 3), (1, 7)]),  # connector, unit id
    ("alfen-ng9xx", [(1, None), (2, None)]),
    ("phoenix-charx", [(1, None), (3, None)]),
    ("mennekes-compact", [(1, 10), (1, 11)]),
]


@pytest.mark.parametrize(("name", "places"), PLACES)
def test_each_request_reaches_its_own_device(name, places):
    async def story() -> None:
        posts = [Post(quick(name).at(*place)) for place in places]
        gateway = ModbusGatewayTwin([post.twin for post in posts])
        port = await gateway.start()
        try:
            async with connected(port) as wire:
                for post, amps in zip(posts, (16.0, 8.0), strict=True):
                    post.wire = wire
                    await post.order(amps)
                    for names in post.modbus.polls.core:
                        for register, value in (await post.poll(names)).items():
                            assert post.same(register, value), register
                assert [post.view.get("setpoint_a") for post in posts] == [16.0, 8.0]
                with pytest.raises(Refused) as caught:
                    await posts[0].ask(bytes((3, 0, 5, 0, 1)), 77)
                assert caught.value.args == (ExceptionCode.NO_TARGET,)
        finally:
            await gateway.stop()

    asyncio.run(story())


def test_a_gateway_says_that_a_device_without_supply_is_silent():
    async def story() -> None:
        posts = [Post(quick("heidelberg-ec").at(unit_id=unit)) for unit in (1, 2)]
        gateway = ModbusGatewayTwin([post.twin for post in posts])
        port = await gateway.start()
        try:
            async with connected(port) as wire:
                for post in posts:
                    post.wire = wire
                posts[0].volt_v[:] = np.nan
                posts[0].pass_s(1.0)
                with pytest.raises(Refused) as caught:
                    await posts[0].read("state")
                assert caught.value.args == (ExceptionCode.NO_TARGET,)
                assert await posts[1].read("layout") == 0x0108
        finally:
            await gateway.stop()

    asyncio.run(story())


def test_our_clients_share_the_connection_to_a_gateway():
    async def story() -> None:
        posts = [Post(quick("heidelberg-ec", frame_gap_s=0.0).at(unit_id=unit)) for unit in (1, 2)]
        gateway = ModbusGatewayTwin([post.twin for post in posts])
        port = await gateway.start()
        buses = Buses()
        chargers = [
            ModbusCharger(
                f"cp0{k}",
                post.model,
                f"modbus+tcp://127.0.0.1:{port}",
                clock_ns=time.monotonic_ns,
                failsafe_a=6.0,
                failsafe_s=30.0,
                buses=buses,
            )
            for k, post in enumerate(posts)
        ]
        tasks = []
        try:
            for charger, amps in zip(chargers, (16.0, 8.0), strict=True):
                await charger.open()
                await charger.program_failsafe()
                tasks.append(asyncio.create_task(charger.run(lambda amps=amps: amps, lambda: True)))
            wanted = [16.0, 8.0]
            await until(lambda: [post.view.get("setpoint_a") for post in posts] == wanted, "both orders")
            assert gateway.server.clients == 1
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
            for charger in chargers:
                await charger.close()
            await gateway.stop()

    asyncio.run(story())
