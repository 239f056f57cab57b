"""Play the shared connection against devices that misbehave, over a proxy of our own; pymodbus says the same as we."""

import asyncio
import contextlib
import dataclasses
import itertools
import math
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable

import pytest
from modbus_helpers import FakeView, frame, quick, serving, until
from pymodbus.client import AsyncModbusTcpClient

from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer, NoAnswer, answer_pdu
from instruments import modbus_poller
from instruments.catalog import modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_charger import ModbusCharger
from instruments.modbus_link import ModbusLink
from instruments.modbus_pacing import NS
from instruments.modbus_poller import Bus, Buses, jittered
from instruments.modbus_poller_frames import read_pdu
from instruments.modbus_poller_master import CALM_S, MasterWatch
from instruments.modbus_reading import BAD, GOOD


@contextlib.asynccontextmanager
async def listening(handler: Callable) -> AsyncIterator[int]:
    """Serve a function that answers requests; yield the port."""
    server = ModbusServer(handler, max_clients=8)
    try:
        yield await server.start()
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def saying(answer: Callable[[bytes, asyncio.StreamWriter], object]) -> AsyncIterator[int]:
    """Serve a device that says what `answer(request frame, writer)` writes."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(7)
                body = await reader.readexactly(struct.unpack(">H", head[4:6])[0] - 1)
                done = answer(head + body, writer)
                if asyncio.iscoroutine(done):
                    await done

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)


def link_to(port: int, bus: Bus | None = None, name: str = "cp01", **modbus: object) -> ModbusLink:
    """Return a link with a short time-out."""
    part = modbus_of(quick("alfen-ng9xx", **modbus))
    return ModbusLink(name, part, f"modbus+tcp://127.0.0.1:{port}", time.monotonic_ns, bus=bus)


def good(request: bytes, value: int) -> bytes:
    """Return the right answer of a read of one register."""
    return frame(struct.pack(">BBH", request[7], 2, value), request[6], struct.unpack(">H", request[:2])[0])


async def fault_of(step) -> PortFault:
    """Return the fault that `step` ends with."""
    with pytest.raises(PortFault) as caught:
        await step
    return caught.value


def test_our_client_and_pymodbus_send_the_same_bytes_and_read_the_same_answers():
    requests: dict[int, list[bytes]] = {}

    def device(unit_id, function, address, count, values):
        if address == 999:
            raise ModbusException(ExceptionCode.ADDRESS)
        return [(address + k) & (1 if function < 3 else 0xFFFF) for k in range(count)] if values is None else []

    async def tapped(request: bytes, writer: asyncio.StreamWriter) -> None:
        requests.setdefault(id(writer), []).append(request[6:])
        writer.write(
            frame(answer_pdu(device, request[6], request[7:]), request[6], struct.unpack(">H", request[:2])[0])
        )

    async def run():
        async with saying(tapped) as port:
            link = link_to(port, write_functions=[5, 6, 16])
            await link.open()
            ours = [
                await link.read("x", 7, 100, 20),
                await link.read("x", 7, 5, 3, 4),
                await link.read("x", 7, 3, 9, 1),
            ]
            await link.write("x", 7, 300, [4711])
            await link.write("x", 7, 300, [1, 65535])
            await link.write("x", 7, 12, [1], coil=True)
            refused = await fault_of(link.read("x", 7, 999, 1))
            link.leave()
            client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=30, retries=0)
            await client.connect()
            theirs = [
                (await client.read_holding_registers(100, count=20, device_id=7)).registers,
                (await client.read_input_registers(5, count=3, device_id=7)).registers,
                [int(bit) for bit in (await client.read_coils(3, count=9, device_id=7)).bits[:9]],
            ]
            await client.write_register(300, 4711, device_id=7)
            await client.write_registers(300, [1, 65535], device_id=7)
            await client.write_coil(12, True, device_id=7)
            answer = await client.read_holding_registers(999, count=1, device_id=7)
            client.close()
            assert ours == theirs
            assert refused.kind is FaultKind.REJECTED and answer.exception_code == 2
            first, second = requests.values()
            assert first == second and len(first) == 7

    asyncio.run(run())


@pytest.mark.parametrize("where", ["another transaction", "another unit", "another function"])
def test_an_answer_that_nobody_waits_for_is_dropped_and_the_right_one_taken(where):
    def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        wrong = bytearray(good(request, 13))
        if where == "another transaction":
            wrong[0] ^= 0x55
        elif where == "another unit":
            wrong[6] ^= 0x55
        else:
            wrong[7] = 4
        writer.write(bytes(wrong) + good(request, 42))

    async def run():
        async with saying(answer) as port:
            link = link_to(port)
            await link.open()
            return await link.read("x", 1, 0, 1), link._bus._wire.strays

    assert asyncio.run(run()) == ([42], 1)


def test_slow_bytes_are_put_together_and_no_frame_at_all_ends_the_connection():
    async def slowly(request: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in good(request, 42):
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.002)

    async def run(answer):
        async with saying(answer) as port:
            link = link_to(port)
            await link.open()
            return await link.read("x", 1, 0, 1)

    assert asyncio.run(run(slowly)) == [42]
    with pytest.raises(PortFault, match="no Modbus frame: protocol id 21584") as caught:
        asyncio.run(run(lambda request, writer: writer.write(b"HTTP/1.1 400 Bad Request\r\n")))
    assert caught.value.kind is FaultKind.CLOSED


def test_a_half_open_link_times_out_and_is_opened_anew():
    dead = {"yes": True}

    def answer(request: bytes, writer: asyncio.StreamWriter) -> None:
        if not dead["yes"]:
            writer.write(good(request, 42))

    async def run():
        async with saying(answer) as port:
            link = link_to(port, timeout_s=0.3)
            await link.open()
            fault = await fault_of(link.read("x", 1, 0, 1))
            assert fault.kind is FaultKind.TIMEOUT and not link.connected
            dead["yes"] = False
            await link.open()
            return await link.read("x", 1, 0, 1)

    assert asyncio.run(run()) == [42]


def test_a_dead_unit_behind_a_gateway_does_not_cost_the_others_their_connection():
    def gateway(unit_id, function, address, count, values):
        if unit_id == 2:
            raise NoAnswer
        return [unit_id] * count

    async def run():
        async with listening(gateway) as port:
            buses = Buses()
            bus = buses.at("127.0.0.1", port)
            assert buses.at("127.0.0.1", port) is bus
            links = [link_to(port, bus, f"cp{k}", timeout_s=0.3 if k == 2 else 10.0) for k in (1, 2, 3)]
            for link in links:
                await link.open()
            for _ in range(2):
                results = await asyncio.gather(
                    *(link.read("x", k, 0, 1) for k, link in enumerate(links, 1)), return_exceptions=True
                )
                assert results[0] == [1] and results[2] == [3]
                assert results[1].kind is FaultKind.TIMEOUT and "unit 2" in str(results[1])
                await links[1].open()
            assert bus.generation == 1
            for link in links:
                link.leave()
            assert not bus.up

    asyncio.run(run())


def test_a_gateway_keeps_its_silence_between_requests_and_lets_writes_go_first():
    seen: list[tuple[float, int]] = []

    def gateway(unit_id, function, address, count, values):
        seen.append((time.monotonic(), function))
        return [0] * count if values is None else []

    async def run():
        async with listening(gateway) as port:
            bus = Bus("127.0.0.1", port)
            links = [link_to(port, bus, f"cp{k}", frame_gap_s=0.02) for k in range(3)]
            for link in links:
                await link.open()
            await asyncio.gather(*(link.read("x", 1, 0, 1) for link in links), links[0].write("x", 1, 9, [1, 2]))

    asyncio.run(run())
    assert [function for _, function in seen] == [3, 16, 3, 3]
    assert all(later[0] - earlier[0] >= 0.019 for earlier, later in itertools.pairwise(seen))


def test_writes_of_many_keep_their_order_and_let_a_read_through_after_every_third():
    async def main() -> list[str]:
        bus, turns = Bus("127.0.0.1", 1), []

        async def ask(name: str) -> None:
            with contextlib.suppress(ConnectionResetError):  # nobody is there: only the turns count
                await bus.ask_all([(1, b"")], 1.0, urgent=name.startswith("w"))
            turns.append(name)

        bus._busy = True  # somebody's request is out
        tasks = [asyncio.ensure_future(ask(name)) for name in ("r1", "r2", *(f"w{k}" for k in range(1, 8)))]
        await asyncio.sleep(0)
        bus._next()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert not bus._busy
        return turns

    assert asyncio.run(main()) == ["w1", "w2", "w3", "r1", "w4", "w5", "w6", "r2", "w7"]


def test_members_of_a_refused_address_share_its_back_off(monkeypatch):
    monkeypatch.setattr(modbus_poller, "jittered", lambda backoff_s: 60.0 + backoff_s)  # not over before all have asked

    async def run():
        with socket.socket() as idle:
            idle.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
            port = idle.getsockname()[1]
            bus = Bus("127.0.0.1", port)
            links = [link_to(port, bus, f"cp{k}") for k in range(3)]
            faults = [await fault_of(link.open()) for link in links]
            faults += [await fault_of(link.open()) for link in links]
            return [fault.kind for fault in faults], bus._backoff_s

    kinds, backoff_s = asyncio.run(run())
    assert set(kinds) == {FaultKind.REFUSED} and backoff_s == 0.25  # one attempt for all of them
    assert jittered(4.0, lambda: 0.0) == 3.0 and jittered(4.0, lambda: 1.0) == 5.0


@contextlib.asynccontextmanager
async def charging(handler: Callable | None = None, name: str = "alfen-ng9xx", **modbus: object):
    """Run a charger client against a twin whose requests go through `handler(next, *request)`; yield what is there."""
    view, model = FakeView(), quick(name, **modbus)
    twin = ModbusChargerTwin(model, view, time.monotonic)
    if handler is not None:
        inner = twin.server.handler
        twin.server.handler = lambda *request: handler(inner, *request)
    want_a = [16.0]
    async with serving(twin) as port:
        client = ModbusCharger(
            "cp01", model, f"modbus+tcp://127.0.0.1:{port}", clock_ns=time.monotonic_ns, failsafe_a=6.0, failsafe_s=60.0
        )
        await client.open()
        task = asyncio.create_task(client.run(lambda: want_a[0], lambda: True))
        try:
            yield client, view, want_a, twin
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await client.close()


def test_a_device_that_is_busy_for_a_while_is_asked_again_on_the_same_connection():
    busy = {"for": 0}

    def handler(inner, *request):
        if busy["for"] > 0:
            busy["for"] -= 1
            raise ModbusException(ExceptionCode.BUSY)
        return inner(*request)

    async def run():
        async with charging(handler) as (client, view, want_a, _):
            await until(lambda: client.reading.quality == GOOD and client.reading.sent_a == 16.0, "running")
            busy["for"], want_a[0] = 2, 8.0
            await until(lambda: "busy" in client.reading.fault, "the fault")
            await until(lambda: view.values["setpoint_a"] == 8.0, "the order after it")
            return dataclasses.replace(client.reading), client._link._bus.generation

    reading, generation = asyncio.run(run())
    assert reading.link and generation == 1 and reading.errors in (1, 2)  # at a read, at the order


def test_an_illegal_address_leaves_the_reading_bad_and_says_which():
    def handler(inner, unit_id, function, address, count, values):
        if values is None and address <= 306 < address + count:
            raise ModbusException(ExceptionCode.ADDRESS)
        return inner(unit_id, function, address, count, values)

    async def run():
        async with charging(handler) as (client, view, _, _twin):
            await until(lambda: "exception 2" in client.reading.fault, "the fault")
            await until(lambda: view.values["setpoint_a"] == 16.0, "an order all the same")
            return dataclasses.replace(client.reading)

    reading = asyncio.run(run())
    assert "illegal data address" in reading.fault and reading.quality == BAD


def test_a_wrong_unit_id_is_told_with_the_one_that_answers():
    def other(unit_id, function, address, count, values):
        if unit_id != 255:
            raise NoAnswer
        raise ModbusException(ExceptionCode.ADDRESS)

    async def run():
        async with listening(other) as port:
            client = ModbusCharger(
                "cp01",
                quick("alfen-ng9xx", timeout_s=0.3),
                f"modbus+tcp://127.0.0.1:{port}",
                clock_ns=time.monotonic_ns,
                failsafe_a=6.0,
                failsafe_s=60.0,
            )
            fault = await fault_of(client.open())
            await client.close()
            return fault

    fault = asyncio.run(run())
    assert fault.kind is FaultKind.TIMEOUT
    assert "unit 200" in str(fault) and "it answers under unit 255" in str(fault)


@pytest.mark.parametrize(
    ("name", "register", "value"), [("ampure-next", 6000, 1), ("mennekes-compact", 0x0D00, 0x55AA)]
)
def test_a_watchdog_is_fed_while_talk_is_allowed_and_starves_at_once_with_the_heartbeat(name, register, value):
    fed: list[float] = []
    talk = [True]

    def device(unit_id, function, address, count, values):
        if address == register and values == [value]:
            fed.append(time.monotonic())
        return [0] * count if values is None else []

    async def run():
        model = quick(name)
        dog = model.charger.watchdog.model_copy(update={"feed_s": 0.05})
        model = model.model_copy(update={"charger": model.charger.model_copy(update={"watchdog": dog})})
        identity = model.modbus.identity.model_copy(update={"pattern": ".*"})
        model = model.model_copy(update={"modbus": model.modbus.model_copy(update={"identity": identity})})
        async with listening(device) as port:
            address = f"modbus+tcp://127.0.0.1:{port}"
            client = ModbusCharger("cp01", model, address, clock_ns=time.monotonic_ns, failsafe_a=6.0, failsafe_s=60.0)
            task = asyncio.create_task(client.run(lambda: math.nan, lambda: talk[0]))
            await until(lambda: len(fed) >= 4, "the feed")
            talk[0] = False
            client.wake()
            await asyncio.sleep(0.05)
            count = len(fed)
            await asyncio.sleep(0.3)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()
            return count

    assert asyncio.run(run()) == len(fed)
    assert min(b - a for a, b in itertools.pairwise(fed)) >= 0.045


def test_order_and_read_share_a_segment_where_the_device_takes_two_requests():
    async def run():
        async with charging(transactions=2) as (client, view, want_a, _twin):
            await until(lambda: client.reading.quality == GOOD, "a first reading")
            for amps in (8.0, 12.0, 9.0):
                want_a[0] = amps
                client.wake()
                await until(lambda amps=amps: view.values["setpoint_a"] == amps, "the order")
            await until(lambda: client.reading.limit_a == 9.0, "the limit")
            return client.reading.errors, client.reading.sent_a

    assert asyncio.run(run()) == (0, 9.0)


def test_a_refused_order_in_a_shared_segment_is_told_and_the_read_still_counts():
    async def run():
        async with listening(lambda u, f, a, c, values: [5] if values is None else refuse()) as port:
            link = link_to(port)
            await link.open()
            order = (1, link.order("setpoint", 9, [1]) if 6 in link._part.write_functions else b"")
            read = read_pdu(3, 0, 1)
            wrote, got = await link.ask_all("setpoint", [order, (1, read)], urgent=True)
            with pytest.raises(PortFault) as refused:
                link.acknowledge("setpoint", order[1], wrote)
            return link.payload("block", read, 1, got), refused.value

    def refuse():
        raise ModbusException(ExceptionCode.VALUE)

    payload, fault = asyncio.run(run())
    assert payload == b"\0\5" and fault.kind is FaultKind.REJECTED


def test_another_master_shows_by_a_limit_that_was_ours_or_by_amps_for_too_long_and_is_gone_when_calm():
    watch = MasterWatch(obey_s=15.0)
    watch.ordered(10.0, 0)
    assert not watch.limit(32.0, 5 * NS)  # never accepted: the device may still be on its way down
    assert not watch.limit(10.0, 6 * NS)
    assert watch.limit(32.0, 20 * NS) and watch.over_a == 32.0
    assert not watch.limit(32.0, 21 * NS)  # told once
    assert not watch.drawn(9.0, (20 + CALM_S) * NS) and watch.over_a == 32.0
    assert not watch.drawn(9.0, round((22 + CALM_S) * NS)) and math.isnan(watch.over_a)
    watch.ordered(6.0, 100 * NS)
    assert not watch.drawn(16.0, 101 * NS)
    assert not watch.drawn(16.0, 116 * NS)
    assert watch.drawn(16.0, 117 * NS) and watch.over_a == 16.0
    told = [t for t in range(118, 150) if watch.drawn(17.0, t * NS)]
    assert told == [133, 149] and watch.over_a == 17.0  # the order is repeated, as often as it could be obeyed
    assert not MasterWatch(15.0).drawn(math.nan, 1)
