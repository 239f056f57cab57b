"""Put the probes to every Modbus twin that foreign clients would put: frames, counts, exceptions, many connections."""

import asyncio
import socket
import struct

import pytest
from modbus_helpers import TWINS, FakeClock, FakeView, connected, frame, make_twin, serving

from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer, NoAnswer
from instruments.catalog import load_model, modbus_of


def identity_read(name: str) -> tuple[int, bytes]:
    """Return unit id and PDU of the read of a family's identity register."""
    part = modbus_of(load_model(name))
    register = part.register(part.identity.register_name)
    return register.unit_id, struct.pack(">BHH", 3, register.address, register.count)


def probe(name: str, exchange) -> object:
    """Run `exchange(raw, unit_id, read PDU)` against a twin of the family."""

    async def run() -> object:
        twin = make_twin(load_model(name), FakeView(), FakeClock().seconds)
        async with serving(twin) as port, connected(port) as raw:
            return await exchange(raw, *identity_read(name))

    return asyncio.run(run())


@pytest.mark.parametrize("name", TWINS)
def test_twin_answers_a_read_with_its_identity(name):
    async def exchange(raw, unit_id, read):
        return await raw.ask(read, unit_id)

    count = identity_read(name)[1][4]
    answer = probe(name, exchange)
    assert answer[:2] == bytes((3, 2 * count)) and len(answer) == 2 + 2 * count


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize(
    ("pdu", "wanted"),
    [
        pytest.param(struct.pack(">BHH", 3, 0, 0), b"\x83\x03", id="read of none"),
        pytest.param(struct.pack(">BHH", 3, 0, 126), b"\x83\x03", id="read of 126"),
        pytest.param(struct.pack(">BHH", 3, 0xFFFF, 2), b"\x83\x02", id="read over the end"),
        pytest.param(struct.pack(">BHH", 3, 40000, 2), b"\x83\x02", id="read where nothing is"),
        pytest.param(struct.pack(">BH", 3, 0), b"\x83\x03", id="short read"),
        pytest.param(struct.pack(">BHH", 4, 0, 2), b"\x84\x01", id="input registers"),
        pytest.param(struct.pack(">BHH", 1, 0, 8), b"\x81\x01", id="coils"),
        pytest.param(struct.pack(">BB", 0x2B, 14), b"\xab\x01", id="device identification"),
        pytest.param(b"\x63", b"\xe3\x01", id="unknown function"),
        pytest.param(struct.pack(">BHH", 6, 40000, 1), b"\x86\x02", id="write where nothing is"),
        pytest.param(struct.pack(">BHHBH", 16, 0, 1, 3, 1), b"\x90\x03", id="odd byte count"),
        pytest.param(struct.pack(">BHHBHH", 16, 0, 1, 2, 1, 1), b"\x90\x03", id="more data than counted"),
        pytest.param(struct.pack(">BHHB", 16, 0, 0, 0), b"\x90\x03", id="write of none"),
        pytest.param(struct.pack(">BHHB", 16, 0, 124, 248) + bytes(246), b"\x90\x03", id="write of 124"),
    ],
)
def test_malformed_request_gets_its_own_function_and_the_right_exception(name, pdu, wanted):
    async def exchange(raw, unit_id, read):
        first = await raw.ask(pdu, unit_id)
        again = await raw.ask(read, unit_id)
        return first, again[0]

    if pdu[0] == 16 and 16 not in modbus_of(load_model(name)).write_functions:
        wanted = b"\x90\x01"  # the function comes before the form: Application Protocol V1.1b3, section 6.12
    assert probe(name, exchange) == (wanted, 3)  # and the connection lives on


@pytest.mark.parametrize("name", TWINS)
def test_pipelined_requests_are_answered_in_order(name):
    async def exchange(raw, unit_id, read):
        raw.send(b"".join(frame(read, unit_id, transaction) for transaction in range(10, 20)))
        return [(await raw.answer())[0] for _ in range(10)]

    assert probe(name, exchange) == list(range(10, 20))


@pytest.mark.parametrize("name", TWINS)
def test_slow_bytes_and_split_frames_are_put_together(name):
    async def exchange(raw, unit_id, read):
        for byte in frame(read, unit_id, 7) + frame(read, unit_id, 8)[:9]:
            raw.send(bytes((byte,)))
            await raw.writer.drain()
            await asyncio.sleep(0)
        raw.send(frame(read, unit_id, 8)[9:])
        return [(await raw.answer())[0] for _ in range(2)]

    assert probe(name, exchange) == [7, 8]


@pytest.mark.parametrize("name", TWINS)
def test_another_protocol_is_ignored_and_the_next_request_answered(name):
    async def exchange(raw, unit_id, read):
        raw.send(frame(read, unit_id, 1, protocol=5) + frame(read, unit_id, 2))
        return (await raw.answer())[0]

    assert probe(name, exchange) == 2


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("length", [0, 1, 255, 65535])
def test_impossible_length_ends_the_connection(name, length):
    async def exchange(raw, unit_id, read):
        raw.send(struct.pack(">HHHB", 1, 0, length, unit_id) + read)
        return await raw.ended()

    assert probe(name, exchange)


@pytest.mark.parametrize("name", TWINS)
def test_foreign_unit_gets_no_answer(name):
    async def exchange(raw, unit_id, read):
        raw.send(frame(read, 77, 1) + frame(read, unit_id, 2))
        return (await raw.answer())[0]

    assert probe(name, exchange) == 2


def serve(handler, exchange, **options) -> object:
    """Run `exchange(server, port)` against a bare server."""

    async def run() -> object:
        server = ModbusServer(handler, **options)
        port = await server.start()
        try:
            return await exchange(server, port)
        finally:
            await server.stop()

    return asyncio.run(run())


def echo(unit_id, function, address, count, values):
    """Answer a read with the addresses; refuse address 9 as busy, leave address 8 unanswered."""
    if address == 9:
        raise ModbusException(ExceptionCode.BUSY)
    if address == 8:
        raise NoAnswer
    return None if values is not None else list(range(address, address + count))


READ = struct.pack(">BHH", 3, 100, 125)


def test_largest_read_and_largest_write_pass():
    async def exchange(server, port):
        async with connected(port) as raw:
            read = await raw.ask(READ, 1)
            write = await raw.ask(struct.pack(">BHHB", 16, 0, 123, 246) + bytes(246), 1)
            return struct.unpack(">125H", read[2:]), write

    values, write = serve(echo, exchange)
    assert values == tuple(range(100, 225))
    assert write == struct.pack(">BHH", 16, 0, 123)


def test_handler_chooses_exception_or_silence():
    async def exchange(server, port):
        async with connected(port) as raw:
            raw.send(frame(struct.pack(">BHH", 3, 8, 1), 1, 1))
            raw.send(frame(struct.pack(">BHH", 3, 9, 1), 1, 2))
            return await raw.answer()

    assert serve(echo, exchange) == (2, 1, b"\x83\x06")


def test_twenty_connections_are_served_and_the_next_is_turned_away():
    async def exchange(server, port):
        raws = [connected(port) for _ in range(21)]
        opened = [await raw.__aenter__() for raw in raws]
        try:
            answers = await asyncio.gather(*(raw.ask(READ, 1) for raw in opened[:20]))
            return len(answers), await opened[20].ended(), server.clients
        finally:
            for raw in raws:
                await raw.__aexit__(None, None, None)

    assert serve(echo, exchange, max_clients=20) == (20, True, 20)


def test_client_that_drops_half_a_frame_leaves_the_server_alive():
    async def exchange(server, port):
        async with connected(port) as raw:
            raw.send(frame(READ, 1)[:5])
        async with connected(port) as raw:
            return (await raw.ask(READ, 1))[0]

    assert serve(echo, exchange) == 3


def test_silent_connection_is_closed():
    async def exchange(server, port):
        async with connected(port) as raw:
            return await raw.ended()

    assert serve(echo, exchange, idle_close_s=0.02)


def test_cut_link_resets_and_refuses_and_comes_back_on_the_same_port():
    async def exchange(server, port):
        async with connected(port) as raw:
            await raw.ask(READ, 1)
            await server.cut()
            assert await raw.ended()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await server.restore()
        async with connected(port) as raw:
            return (await raw.ask(READ, 1))[0]

    assert serve(echo, exchange) == 3


def test_stalled_server_takes_requests_and_answers_none():
    async def exchange(server, port):
        server.stalled = True
        async with connected(port) as raw:
            raw.send(frame(READ, 1))
            while server.requests == 0:
                await asyncio.sleep(0)
            server.stalled = False
            raw.send(frame(READ, 1, 2))
            return (await raw.answer())[0]

    assert serve(echo, exchange) == 2


def test_port_in_use_is_told():
    async def exchange(server, port):
        with pytest.raises(OSError, match="in use"):
            await ModbusServer(echo).start("127.0.0.1", port)
        return True

    assert serve(echo, exchange)


def test_answers_leave_without_nagle():
    async def exchange(server, port):
        async with connected(port) as raw:
            await raw.ask(READ, 1)
            (connection,) = server._connections
            return connection._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert serve(echo, exchange)
