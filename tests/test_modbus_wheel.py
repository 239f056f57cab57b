"""The wheel that rings many chargers by few timers: nothing early, nothing lost, whatever one of them does."""

import asyncio

from instruments.modbus_wheel import PER_S, wheel_of


def test_all_are_rung_in_the_order_of_their_time_and_none_early():
    rung = []

    async def main():
        loop = asyncio.get_running_loop()
        wheel, begin_s, ended = wheel_of(loop), loop.time(), loop.create_future()
        assert wheel_of(loop) is wheel
        for ms in (30, 10, 20, 10, 1):
            due_s = begin_s + ms / 1000
            wheel.ring(due_s, lambda ms=ms, due_s=due_s: rung.append((ms, loop.time() - due_s)))
        wheel.ring(begin_s + 0.035, lambda: ended.set_result(None))
        await asyncio.wait_for(ended, 10)

    asyncio.run(main())
    assert [ms for ms, _ in rung] == [1, 10, 10, 20, 30]
    assert min(late_s for _, late_s in rung) > -1 / PER_S


def test_one_that_fails_is_told_and_the_others_are_rung():
    told, rung = [], []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(type(context["exception"])))
        wheel, ended = wheel_of(loop), loop.create_future()
        due_s = loop.time() + 0.005
        wheel.ring(due_s, lambda: rung.append(1))
        wheel.ring(due_s, lambda: 1 / 0)
        wheel.ring(due_s, lambda: rung.append(2))
        wheel.ring(due_s, lambda: wheel.ring(loop.time(), lambda: ended.set_result(None)))
        await asyncio.wait_for(ended, 10)

    asyncio.run(main())
    assert told == [ZeroDivisionError] and rung == [1, 2]
