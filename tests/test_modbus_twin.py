"""Check that the twins obey the rules of the real devices: reads, reserved registers, pacing, codes, watchdog feed."""

import struct

import pytest
from modbus_helpers import CHARGERS, FakeClock, FakeView

from hil.twins.modbus_adapter import AdapterView, ModbusAdapterTwin
from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.modbus_gateway import ModbusGatewayTwin
from hil.twins.modbus_server import ExceptionCode, ModbusException, NoAnswer, answer_pdu
from instruments.catalog import load_model


class Dut:
    """Hold a twin, its view and its clock; talk to it past the socket."""

    def __init__(self, name: str) -> None:
        self.view, self.clock = FakeView(), FakeClock()
        self.twin = ModbusChargerTwin(load_model(name), self.view, self.clock.seconds)
        self.unit_id = 1 if name == "alfen-ng9xx" else 255

    def read(self, address: int, count: int, unit_id: int | None = None) -> list[int]:
        return self.twin.handle(unit_id or self.unit_id, 3, address, count, None)

    def write(self, address: int, *values: int, function: int = 6) -> None:
        self.twin.handle(self.unit_id, function, address, len(values), list(values))

    def refuses(self, code: ExceptionCode, act) -> None:
        with pytest.raises(ModbusException) as caught:
            act()
        assert caught.value.code == code


@pytest.mark.parametrize("name", ["keba-p30", "keba-p40"])
def test_keba_gives_exactly_one_value_of_two_registers_a_read(name):
    dut = Dut(name)
    assert dut.read(1008, 2) == [0, 15500]
    dut.refuses(ExceptionCode.VALUE, lambda: dut.read(1008, 1))
    dut.refuses(ExceptionCode.VALUE, lambda: dut.read(1008, 4))
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.read(1009, 2))
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.read(1002, 2))


@pytest.mark.parametrize("name", ["keba-p30", "keba-p40"])
def test_keba_set_registers_cannot_be_read_nor_readings_be_written(name):
    dut = Dut(name)
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.read(5004, 2))
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.write(1100, 0, 1))
    dut.refuses(ExceptionCode.FUNCTION, lambda: dut.write(5004, 8000, function=16))


@pytest.mark.parametrize(("raw", "taken"), [(0, True), (5999, False), (6000, True), (32000, True), (32001, False)])
def test_keba_p40_takes_zero_or_six_to_thirty_two_amps(raw, taken):
    dut = Dut("keba-p40")
    if taken:
        dut.write(5004, raw)
        assert dut.view.written == [("setpoint_a", pytest.approx(raw / 1000))]
    else:
        dut.refuses(ExceptionCode.VALUE, lambda: dut.write(5004, raw))
        assert not dut.view.written


def test_keba_acknowledges_an_early_write_and_ignores_it():
    dut = Dut("keba-p40")
    dut.write(5004, 16000)
    dut.clock.now_s += 4.9
    dut.write(5004, 8000)
    assert dut.view.written == [("setpoint_a", 16.0)]
    assert dut.twin.early_writes == 1
    dut.clock.now_s += 0.1
    dut.write(5004, 8000)
    assert dut.view.values["setpoint_a"] == 8.0


def test_clock_that_is_set_back_does_not_lock_the_set_point():
    dut = Dut("keba-p40")
    dut.write(5004, 16000)
    dut.clock.now_s -= 3600
    dut.write(5004, 8000)
    assert dut.view.values["setpoint_a"] == 8.0


def test_family_may_answer_an_early_write_with_busy():
    model = load_model("keba-p40")
    setpoint = model.charger.setpoint.model_copy(update={"pacing_broken": "busy"})
    dut = Dut("keba-p40")
    charger = model.charger.model_copy(update={"setpoint": setpoint})
    dut.twin = ModbusChargerTwin(model.model_copy(update={"charger": charger}), dut.view, dut.clock.seconds)
    dut.write(5004, 16000)
    dut.refuses(ExceptionCode.BUSY, lambda: dut.write(5004, 8000))


def test_keba_p30_pauses_by_its_enable_register():
    dut = Dut("keba-p30")
    dut.write(5014, 0)
    assert dut.view.values["enable"] == 0.0
    dut.refuses(ExceptionCode.VALUE, lambda: dut.write(5014, 2))
    dut = Dut("keba-p40")
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.write(5014, 0))


@pytest.mark.parametrize(
    ("state", "setpoint_a", "code"), [(0, 16, 1), (1, 16, 2), (1, 0, 5), (2, 16, 3), (2, 0, 3), (5, 16, 4)]
)
def test_keba_charging_state(state, setpoint_a, code):
    dut = Dut("keba-p40")
    dut.view.values |= {"state": float(state), "setpoint_a": float(setpoint_a)}
    assert dut.read(1000, 2) == [0, code]


@pytest.mark.parametrize("name", CHARGERS)
def test_every_valid_request_touches_the_watchdog_and_a_refused_read_does_not(name):
    dut = Dut(name)
    address = 306 if name == "alfen-ng9xx" else 1008
    dut.read(address, 2)
    assert dut.view.touched == 1
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.read(9000, 2))
    assert dut.view.touched == 1


@pytest.mark.parametrize("name", CHARGERS)
def test_charger_without_supply_is_silent(name):
    dut = Dut(name)
    dut.view.powered = False
    with pytest.raises(NoAnswer):
        dut.read(1008, 2)


def test_alfen_block_read_fills_reserved_registers():
    dut = Dut("alfen-ng9xx")
    words = dut.read(300, 46)
    assert words[0] == 3
    assert struct.unpack(">f", struct.pack(">2H", *words[6:8]))[0] == 228.0
    assert words[12:18] == [0xFFFF] * 6  # 312..317 are line-to-line volts that this record leaves out
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.read(3000, 10))


def test_alfen_takes_a_value_only_whole():
    dut = Dut("alfen-ng9xx")
    high, low = struct.unpack(">2H", struct.pack(">f", 12.5))
    dut.write(1210, high, low, function=16)
    assert dut.view.written == [("setpoint_a", 12.5)]
    dut.clock.now_s += 10
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.write(1210, high))
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.write(1211, low))
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.write(1206, high, low, function=16))
    dut.refuses(ExceptionCode.VALUE, lambda: dut.write(1210, 0x7FC0, 0, function=16))  # NaN
    dut.refuses(ExceptionCode.VALUE, lambda: dut.write(1210, 0x4248, 0, function=16))  # 50 A


def test_alfen_units_are_station_and_socket():
    dut = Dut("alfen-ng9xx")
    assert bytes.fromhex("".join(f"{w:04x}" for w in dut.read(140, 17, 200))).rstrip(b"\0") == b"NG910"
    dut.refuses(ExceptionCode.ADDRESS, lambda: dut.read(140, 17, 1))
    with pytest.raises(NoAnswer):
        dut.read(300, 2, 3)


def test_alfen_shows_the_time_left_of_the_set_point_and_never_expires_as_all_ones():
    dut = Dut("alfen-ng9xx")
    assert dut.read(1208, 2) == [0, 58]
    dut.view.values["remaining_valid_s"] = float("inf")
    assert dut.read(1208, 2) == [0xFFFF, 0xFFFF]
    dut.view.values["remaining_valid_s"] = float("nan")
    assert dut.read(1208, 2) == [0, 0]


def test_register_without_a_quantity_keeps_what_was_written():
    dut = Dut("alfen-ng9xx")
    dut.write(1215, 1)
    assert dut.read(1215, 1) == [1]


def test_record_that_names_what_the_plant_does_not_know_fails_at_the_start():
    view = FakeView()
    del view.values["limit_a"]
    with pytest.raises(ValueError, match="limit_a: unknown"):
        ModbusChargerTwin(load_model("keba-p40"), view, FakeClock().seconds)


def test_adapter_view_refuses_states_that_no_car_shows():
    shown: list[int] = []
    view = AdapterView(lambda: 0.5, shown.append)
    view.set("state_set", 2.0, 0.0)
    with pytest.raises(ValueError, match=r"allowed state_set 0\.\.3"):
        view.set("state_set", 4.0, 0.0)
    with pytest.raises(ValueError, match="allowed"):
        view.set("pp_a", 40.0, 0.0)
    assert shown == [2]
    assert view.get("pilot_v") == 6.0


def test_adapter_twin_names_its_unit():
    assert ModbusAdapterTwin(load_model("cp-adapter"), lambda: 1.0, lambda state: None).unit_id == 1


@pytest.mark.parametrize(
    ("unit_id", "pdu", "code"),
    [
        (
            255,
            bytes((16, 0, 1)),
            ExceptionCode.FUNCTION,
        ),  # KEBA writes by function 6 alone: how the rest reads is no matter
        (255, bytes((2, 0)), ExceptionCode.FUNCTION),
        (255, bytes((3, 0)), ExceptionCode.VALUE),
        (255, bytes((6, 0, 1)), ExceptionCode.VALUE),
        (7, bytes((3, 0)), None),
        (7, bytes((99,)), None),
    ],
)
def test_unit_and_function_are_judged_before_the_form_of_a_request(unit_id, pdu, code):
    twin = Dut("keba-p30").twin
    if code is None:
        with pytest.raises(NoAnswer):
            answer_pdu(twin.handle, unit_id, pdu, twin.server.admit)
    else:
        assert answer_pdu(twin.handle, unit_id, pdu, twin.server.admit) == bytes((pdu[0] | 0x80, code))
    gateway = ModbusGatewayTwin([twin])
    behind = ExceptionCode.NO_TARGET if code is None else code
    assert answer_pdu(gateway.handle, unit_id, pdu, gateway.server.admit) == bytes((pdu[0] | 0x80, behind))
