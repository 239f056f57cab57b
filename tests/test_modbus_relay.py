"""Prove the relay card: coils by name with read-back, a welded contact told, a dead or foreign card refused."""

import struct
from collections.abc import Iterator

import pytest
from scpi_helpers import Loop

from hil.twins.modbus_relay import ModbusRelayTwin
from hil.twins.modbus_server import answer_pdu
from instruments.catalog import CatalogError, Model, load_model, modbus_of, relay_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_relay import ModbusRelay

CARD = load_model("relay-card")


def wired(mirror: bool = False, **changes: object) -> Model:
    """Return the card, with a mirror contact of `estop` on input 2 where asked."""
    part = relay_of(CARD)
    if mirror:
        coils = [c.model_copy(update={"mirror_input": 2}) if c.name == "estop" else c for c in part.coils]
        changes |= {"inputs": 4, "first_input": 100, "coils": coils}
    return CARD.model_copy(update={"relay": part.model_copy(update={"timeout_s": 0.3, **changes})})


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(params=[False, True], ids=["coils", "mirror"])
def card(loop: Loop, request: pytest.FixtureRequest) -> Iterator[tuple[ModbusRelay, ModbusRelayTwin]]:
    model = wired(mirror=request.param)
    twin = ModbusRelayTwin(model)
    port = loop.do(twin.start())
    relay = ModbusRelay("stop", model, f"modbus+tcp://127.0.0.1:{port}", pause=lambda s: None)
    yield relay, twin
    relay.close()
    loop.do(twin.stop())


def fault_of(act: object) -> PortFault:
    with pytest.raises(PortFault) as caught:
        act()  # type: ignore[operator]
    return caught.value


def test_coils_switch_by_name_and_are_read_back(card):
    relay, twin = card
    assert relay.open() == "relay card with 8 coils, energised: none"
    relay.write("estop", True)
    relay.write("cable_32a", True)
    assert twin.coils == [True, False, False, False, False, True, False, False]
    assert [name for name, on in relay.read().items() if on] == ["estop", "cable_32a"]
    relay.make_safe()
    assert not any(relay.read().values()) and not any(twin.closed.values())


def test_a_write_that_does_nothing_is_a_readback_fault_and_does_not_keep_the_others_from_opening(card):
    relay, twin = card
    for name in ("estop", "pilot_b", "pilot_c"):
        relay.write(name, True)
    twin.ignore_writes = True
    fault = fault_of(relay.make_safe)
    assert fault.kind is FaultKind.READBACK and fault.channel == "estop" and "its coil reads on" in fault.detail
    twin.ignore_writes = False
    relay.make_safe("pilot_b", "estop")
    assert relay.read()["pilot_c"] and not relay.read()["estop"]


def test_only_the_mirror_contact_tells_a_welded_relay(loop):
    for mirror in (False, True):
        model = wired(mirror=mirror)
        twin = ModbusRelayTwin(model)
        relay = ModbusRelay("stop", model, f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}", pause=lambda s: None)
        relay.write("estop", True)
        twin.weld("estop")
        if mirror:
            fault = fault_of(lambda relay=relay: relay.write("estop", False))
            assert fault.kind is FaultKind.READBACK and "mirror contact reads on" in fault.detail
        else:
            relay.write("estop", False)  # the coil is off and reads so: all that a card without inputs can say
            assert relay.contact("estop") is None
        assert twin.closed["estop"] and not twin.coils[0]
        relay.close()
        loop.do(twin.stop())


def test_a_lost_card_is_told_and_the_next_call_opens_it_anew(card, loop):
    relay, twin = card
    relay.write("estop", True)
    loop.do(twin.server.cut())
    assert fault_of(lambda: relay.write("estop", False)).kind is FaultKind.CLOSED
    assert fault_of(lambda: relay.write("estop", False)).kind is FaultKind.REFUSED
    assert twin.closed["estop"]  # keeps_state: a lost link opens nothing
    loop.do(twin.server.restore())
    relay.write("estop", False)
    assert not twin.closed["estop"]


def test_a_silent_card_is_a_timeout(card, loop):
    relay, twin = card
    relay.open()
    twin.server.stalled = True
    assert fault_of(relay.read).kind is FaultKind.TIMEOUT


def test_a_card_with_fewer_coils_is_another_card(loop):
    twin = ModbusRelayTwin(wired(channels=8, first_coil=512))
    relay = ModbusRelay("stop", wired(), f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}")
    fault = fault_of(relay.open)
    assert fault.kind is FaultKind.WRONG_IDENTITY and "exception 2" in fault.detail
    loop.do(twin.stop())


def test_the_rig_moves_coils_and_a_wrong_map_is_refused(loop):
    model = wired()
    places = {"estop": 7, "spare": 0}
    twin = ModbusRelayTwin(model, places=places)
    relay = ModbusRelay(
        "s", model, f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}", places=places, pause=lambda s: None
    )
    relay.write("estop", True)
    assert twin.coils[7] and twin.closed["estop"]
    relay.close()
    loop.do(twin.stop())
    for wrong, said in (({"estop": 1}, "channel 1 carries"), ({"estop": 8}, "allowed 0..7"), ({"horn": 1}, "horn")):
        fault = fault_of(lambda wrong=wrong: ModbusRelay("s", model, "modbus+tcp://127.0.0.1:1", places=wrong))
        assert fault.kind is FaultKind.RANGE and said in fault.detail
    assert fault_of(lambda: relay.write("horn", True)).kind is FaultKind.RANGE


def test_switching_is_told_once_a_change():
    seen: list[tuple[str, bool]] = []
    twin = ModbusRelayTwin(CARD, lambda name, closed: seen.append((name, closed)))
    twin.handle(1, 15, 0, 3, [1, 1, 0])
    twin.handle(1, 5, 0, 1, [1])
    twin.lose_power()
    assert seen == [("estop", True), ("pilot_b", True), ("estop", False), ("pilot_b", False)]


@pytest.mark.parametrize(
    ("pdu", "answer"),
    [
        (b"\x01\x00\x00\x00\x08", b"\x01\x01\x05"),
        (b"\x01\x00\x02\x00\x01", b"\x01\x01\x01"),
        (b"\x01\x00\x00\x00\x09", b"\x81\x02"),
        (b"\x01\x00\x00\x00\x00", b"\x81\x03"),
        (b"\x01\x00\x00\x07\xd1", b"\x81\x03"),
        (b"\x05\x00\x01\xff\x00", b"\x05\x00\x01\xff\x00"),
        (b"\x05\x00\x01\x00\x01", b"\x85\x03"),
        (b"\x05\x00\x08\xff\x00", b"\x85\x02"),
        (b"\x0f\x00\x00\x00\x08\x01\x81", b"\x0f\x00\x00\x00\x08"),
        (b"\x0f\x00\x00\x00\x08\x02\x81\x00", b"\x8f\x03"),
        (b"\x02\x00\x00\x00\x01", b"\x82\x01"),
        (b"\x03\x00\x00\x00\x01", b"\x83\x01"),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else None,
)
def test_the_frames_are_those_of_the_application_protocol(pdu, answer):
    twin = ModbusRelayTwin(CARD)
    twin.handle(1, 15, 0, 3, [1, 0, 1])
    assert answer_pdu(twin.handle, 1, pdu) == answer
    if pdu[0] == 15 and not answer[0] & 0x80:
        assert twin.coils == [True, *[False] * 6, True]


def test_a_relay_card_is_no_register_device_and_no_charger_a_relay_card():
    with pytest.raises(CatalogError, match="relay-card: has coils, no registers"):
        modbus_of(CARD)
    with pytest.raises(CatalogError, match="keba-p30: has the role charger; a relay card is needed"):
        relay_of(load_model("keba-p30"))
    assert struct.pack(">H", relay_of(CARD).first_coil) == b"\x00\x00"


def test_a_card_is_waited_for_while_it_is_opened_and_not_once_it_has_to_hurry(loop):
    model = wired(timeout_s=0.1)
    twin = ModbusRelayTwin(model)
    address = f"modbus+tcp://127.0.0.1:{loop.do(twin.start())}"
    relay = ModbusRelay("stop", model, address, pause=lambda s: None, opening_s=20.0)
    twin.server.delay_s = 0.3
    relay.open()
    relay.hurry()
    assert "within 0.1 s" in fault_of(relay.read).detail
    relay.close()
    loop.do(twin.stop())
