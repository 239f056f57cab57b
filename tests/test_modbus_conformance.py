"""Put every Modbus probe to every kind of twin: charger, adapter, relay card, gateway, meter, SunSpec device.

What is right is in Modbus Application Protocol V1.1b3 (sections 4.1, 6, 7) and Messaging on TCP/IP V1.0b.
"""

import asyncio
import struct

import pytest
from modbus_helpers import FakeClock, FakeView, connected, frame, make_twin, serving
from pyModbusTCP.client import ModbusClient

from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.modbus_gateway import ModbusGatewayTwin
from hil.twins.modbus_meter import ModbusMeterTwin
from hil.twins.modbus_relay import ModbusRelayTwin
from hil.twins.sunspec import SunSpecTwin
from instruments.catalog import load_model, modbus_of

ALL_CHARGERS = ("keba-p30", "keba-p40", "alfen-ng9xx")


def identity_read(name: str, unit_id: int | None = None) -> tuple[int, bytes]:
    """Return unit id and PDU of the read of a family's identity register."""
    part = modbus_of(load_model(name).at(unit_id=unit_id) if unit_id else load_model(name))
    register = part.register(part.identity.register_name)
    return register.unit_id, struct.pack(">BHH", part.function([register.name]), register.address, register.count)


def charger(name: str, unit_id: int | None = None) -> ModbusChargerTwin:
    """Return a charger twin before a view of its own."""
    model = load_model(name).at(unit_id=unit_id) if unit_id else load_model(name)
    return ModbusChargerTwin(model, FakeView(), FakeClock().seconds)


KINDS = {
    **{name: (lambda name=name: charger(name), identity_read(name)) for name in ALL_CHARGERS},
    "cp-adapter": (
        lambda: make_twin(load_model("cp-adapter"), FakeView(), FakeClock().seconds),
        identity_read("cp-adapter"),
    ),
    "relay-card": (lambda: ModbusRelayTwin(load_model("relay-card")), (1, struct.pack(">BHH", 1, 0, 8))),
    "sunspec": (lambda: SunSpecTwin({203: {}, 704: {}}, FakeClock().seconds), (1, struct.pack(">BHH", 3, 40000, 2))),
    "gateway": (
        lambda: ModbusGatewayTwin([charger("heidelberg-ec", unit) for unit in (1, 2)]),
        identity_read("heidelberg-ec", 2),
    ),
    **{name: (lambda name=name: ModbusMeterTwin(load_model(name), lambda quantity: 50.0), identity_read(name))
       for name in ("eastron-sdm630", "abb-b23")},
}  # fmt: skip


def probe(kind: str, exchange) -> object:
    """Run `exchange(raw, unit_id, read PDU)` against a twin of the kind."""
    make, (unit_id, read) = KINDS[kind]

    async def run() -> object:
        async with serving(make()) as port, connected(port) as raw:
            return await exchange(raw, unit_id, read)

    return asyncio.run(run())


def bad_reads(function: int) -> list[tuple[bytes, int]]:
    """Return reads that cannot be served, and the exception that each deserves."""
    over = 2001 if function in (1, 2) else 126
    return [
        (struct.pack(">BHH", function, 0, 0), 3),
        (struct.pack(">BHH", function, 0, over), 3),
        (struct.pack(">BHH", function, 0, 0xFFFF), 3),
        (struct.pack(">BHH", function, 0xFFFF, 2), 2),
        (struct.pack(">BH", function, 0), 3),
        (struct.pack(">BHHB", function, 0, 1, 0), 3),
        (bytes((function,)), 3),
    ]


BAD_WRITES = [
    (struct.pack(">BH", 6, 0), 3),
    (struct.pack(">BHHB", 6, 0, 1, 0), 3),
    (struct.pack(">BHHB", 16, 0, 0, 0), 3),
    (struct.pack(">BHHB", 16, 0, 124, 248) + bytes(246), 3),
    (struct.pack(">BHHBH", 16, 0, 1, 3, 1), 3),
    (struct.pack(">BHHBH", 16, 0, 2, 4, 1), 3),
    (struct.pack(">BHHBHH", 16, 0, 1, 2, 1, 1), 3),
    (struct.pack(">BHHBHH", 16, 0xFFFF, 2, 4, 1, 1), 2),
    (struct.pack(">BHH", 5, 0, 0x1234), 3),
    (struct.pack(">BHHBB", 15, 0, 0, 1, 0), 3),
    (struct.pack(">BHHBB", 15, 0, 9, 1, 0), 3),
    (struct.pack(">BHHBB", 15, 0xFFFF, 2, 1, 0), 2),
]
# a function that the device does not have is told as such, whatever the form of the request (6, the state diagrams)
WRITES = {
    **{name: modbus_of(load_model(name)).write_functions for name in (*ALL_CHARGERS, "cp-adapter")},
    **{name: modbus_of(load_model(name)).write_functions for name in ("eastron-sdm630", "abb-b23")},
    "relay-card": (5, 15),
    "sunspec": (6, 16),
    "gateway": modbus_of(load_model("heidelberg-ec")).write_functions,
}
UNKNOWN = [(bytes((function, 0, 0)), 1) for function in (0, 7, 8, 17, 20, 22, 23, 24, 43, 0x63, 0x7F)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_malformed_request_gets_its_function_and_exception_and_the_connection_lives(kind):
    async def exchange(raw, unit_id, read):
        for pdu, code in bad_reads(read[0]) + BAD_WRITES + UNKNOWN:
            deserved = code if pdu[0] in (read[0], *WRITES[kind]) else 1
            assert await raw.ask(pdu, unit_id) == bytes((pdu[0] | 0x80, deserved)), pdu.hex(" ")
            assert (await raw.ask(read, unit_id))[0] == read[0], pdu.hex(" ")
        return True

    assert probe(kind, exchange)


@pytest.mark.parametrize("kind", KINDS)
def test_reads_of_one_and_of_the_most_are_answered_whole_or_refused(kind):
    async def exchange(raw, unit_id, read):
        bits = read[0] in (1, 2)
        address = struct.unpack(">H", read[1:3])[0]
        for count in (1, 2000 if bits else 125):
            answer = await raw.ask(struct.pack(">BHH", read[0], address, count), unit_id)
            if answer[0] == read[0]:
                size = (count + 7) // 8 if bits else 2 * count
                assert answer[1] == size & 0xFF and len(answer) == 2 + size
            else:
                assert answer[0] == read[0] | 0x80 and answer[1] in (2, 3) and len(answer) == 2
        return True

    assert probe(kind, exchange)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_requests_in_one_segment_are_answered_in_order(kind):
    async def exchange(raw, unit_id, read):
        raw.send(b"".join(frame(read, unit_id, transaction) for transaction in range(10, 20)))
        return [(await raw.answer())[0] for _ in range(10)]

    assert probe(kind, exchange) == list(range(10, 20))


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_come_one_by_one_make_a_frame(kind):
    async def exchange(raw, unit_id, read):
        for byte in frame(read, unit_id, 7) + frame(read, unit_id, 8)[:9]:
            raw.send(bytes((byte,)))
            await raw.writer.drain()
            await asyncio.sleep(0)
        raw.send(frame(read, unit_id, 8)[9:])
        return [(await raw.answer())[0] for _ in range(2)]

    assert probe(kind, exchange) == [7, 8]


@pytest.mark.parametrize("kind", KINDS)
def test_another_protocol_id_is_passed_over(kind):
    async def exchange(raw, unit_id, read):
        raw.send(frame(read, unit_id, 1, protocol=5) + frame(read, unit_id, 2))
        return (await raw.answer())[0]

    assert probe(kind, exchange) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_unit_that_is_not_there_gets_silence_or_the_gateway_s_exception(kind):
    async def exchange(raw, unit_id, read):
        raw.send(frame(read, 77, 1) + frame(read, unit_id, 2))
        return await raw.answer()

    transaction, _, pdu = probe(kind, exchange)
    if kind == "gateway":
        assert (transaction, pdu) == (1, bytes((KINDS[kind][1][1][0] | 0x80, 11)))
    else:
        assert transaction == 2


@pytest.mark.parametrize("kind", KINDS)
def test_all_clients_that_the_record_allows_are_served_and_the_next_is_turned_away(kind):
    make, (unit_id, read) = KINDS[kind]

    async def run() -> tuple[list[int], bool]:
        twin = make()
        async with serving(twin) as port:
            most = twin.server.max_clients
            raws = [connected(port) for _ in range(most + 1)]
            opened = [await raw.__aenter__() for raw in raws]
            try:
                answers = await asyncio.gather(*(raw.ask(read, unit_id) for raw in opened[:most]))
                return [answer[0] for answer in answers], await opened[most].ended()
            finally:
                for raw in raws:
                    await raw.__aexit__(None, None, None)

    functions, turned_away = asyncio.run(run())
    assert set(functions) == {read[0]} and turned_away


def test_foreign_client_commands_a_charger_and_reads_its_order_back():
    view = FakeView()
    twin = ModbusChargerTwin(load_model("alfen-ng9xx"), view, FakeClock().seconds)
    part = modbus_of(load_model("alfen-ng9xx"))
    order = part.find("setpoint_a", "w")

    def command(port: int) -> tuple[bool, list[int] | None]:
        client = ModbusClient(host="127.0.0.1", port=port, unit_id=order.unit_id, timeout=30.0, auto_close=True)
        words = list(struct.unpack(">2H", struct.pack(">f", 11.5)))
        return client.write_multiple_registers(order.address, words), client.read_holding_registers(order.address, 2)

    async def run() -> tuple[bool, list[int] | None]:
        async with serving(twin) as port:
            return await asyncio.to_thread(command, port)

    taken, words = asyncio.run(run())
    assert taken and view.values["setpoint_a"] == 11.5
    assert struct.unpack(">f", struct.pack(">2H", *words))[0] == 11.5
