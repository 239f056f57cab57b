"""Play the charger client against the twins over real sockets: identity, fail-safe, orders, silence, lost links."""

import asyncio
import contextlib
import dataclasses
import math
import socket
import time
from collections.abc import AsyncIterator

import pytest
from modbus_helpers import CHARGERS, FakeView, quick, serving, until

from hil.twins.modbus_adapter import ModbusAdapterTwin
from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.modbus_server import NoAnswer
from instruments.catalog import charger_of, load_model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_adapter import ModbusAdapter
from instruments.modbus_charger import ModbusCharger
from instruments.modbus_cruise import Act
from instruments.modbus_reading import BAD, GOOD, ChargerReading


class Street:
    """Hold one twin on a socket, the client that talks to it, and what the runtime would say."""

    def __init__(self, name: str, client_model: str = "", failsafe=(6.0, 60.0), **modbus: object) -> None:
        self.view = FakeView()
        self.model = quick(name, **modbus)
        self.twin = ModbusChargerTwin(self.model, self.view, time.monotonic)
        self.client_model = quick(client_model) if client_model else self.model
        self.failsafe = failsafe
        self.want_a = math.nan
        self.may_talk = True
        self.client: ModbusCharger

    def snapshot(self) -> ChargerReading:
        """Return a copy of the reading as it is now."""
        return dataclasses.replace(self.client.reading)

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator["Street"]:
        """Serve the twin and make the client."""
        async with serving(self.twin) as port:
            self.client = ModbusCharger(
                "cp01",
                self.client_model,
                f"modbus+tcp://127.0.0.1:{port}",
                clock_ns=time.monotonic_ns,
                failsafe_a=self.failsafe[0],
                failsafe_s=self.failsafe[1],
            )
            try:
                yield self
            finally:
                await self.client.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Street"]:
        """Run the client as the wires process does, until the first complete set is there."""
        async with self.up():
            await self.client.open()
            task = asyncio.create_task(self.client.run(lambda: self.want_a, lambda: self.may_talk))
            try:
                await until(lambda: self.client.reading.quality == GOOD, "a first complete reading")
                yield self
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


def play(street: Street, act, running: bool = True) -> object:
    """Run `act(street)` with the client up."""

    async def run() -> object:
        async with street.running() if running else street.up():
            return await act(street)

    return asyncio.run(run())


def fault_of(street: Street, act) -> PortFault:
    """Return the fault that `act(street)` ends with."""
    with pytest.raises(PortFault) as caught:
        play(street, act, running=False)
    return caught.value


@pytest.mark.parametrize("name", CHARGERS)
def test_client_identifies_reads_and_orders(name):
    async def act(street):
        street.want_a = 12.0
        await until(lambda: street.view.values["setpoint_a"] == 12.0, "the order at the device")
        await until(lambda: street.client.reading.limit_a == 12.0, "the limit read back")
        street.want_a = 0.0
        await until(lambda: street.view.values["limit_a"] == 0.0, "the pause")
        return street.snapshot()

    reading = play(Street(name), act)
    assert reading.link and reading.errors == 0 and reading.fault == ""
    assert reading.amp_a[0] == pytest.approx(15.5)
    assert reading.sent_a in (0.0, 12.0) and reading.sent_ns > 0
    assert 0 < reading.round_trip_ns < 5_000_000_000


@pytest.mark.parametrize(("twin", "client"), [("keba-p40", "keba-p30"), ("keba-p30", "keba-p40")])
def test_wrong_box_is_refused_and_both_families_are_named(twin, client):
    fault = fault_of(Street(twin, client_model=client), lambda street: street.client.open())
    assert fault.kind is FaultKind.WRONG_IDENTITY
    assert f"is a {twin}" in str(fault) and f"expected {client}" in str(fault) and "cp01:product" in str(fault)


def test_box_without_the_identity_register_is_no_such_box():
    street = Street("keba-p40")
    part = street.model.modbus
    others = [r.model_copy(update={"address": 2016}) if r.name == "product" else r for r in part.registers]
    street.twin = ModbusChargerTwin(
        street.model.model_copy(update={"modbus": part.model_copy(update={"registers": others})}),
        street.view,
        time.monotonic,
    )
    fault = fault_of(street, lambda street: street.client.open())
    assert fault.kind is FaultKind.WRONG_IDENTITY and "exception 2" in str(fault)


def test_refused_connection_is_told_at_once():
    with socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))
        client = ModbusCharger(
            "cp01",
            quick("keba-p40"),
            f"modbus+tcp://127.0.0.1:{idle.getsockname()[1]}",
            clock_ns=time.monotonic_ns,
            failsafe_a=0.0,
            failsafe_s=10.0,
        )
        with pytest.raises(PortFault, match="cp01: refused: no connection to") as caught:
            asyncio.run(client.open())
    assert caught.value.kind is FaultKind.REFUSED


@pytest.mark.parametrize("address", ["127.0.0.1:502", "modbus+tcp://host", "modbus+tcp://h:x", "opc.tcp://h:1"])
def test_address_of_another_form_is_refused(address):
    with pytest.raises(PortFault, match=r"modbus\+tcp|port"):
        ModbusCharger("cp01", quick("keba-p40"), address, clock_ns=time.monotonic_ns, failsafe_a=0.0, failsafe_s=10.0)


def test_failsafe_is_programmed_read_back_and_not_written_twice():
    async def act(street):
        await street.client.open()
        await street.client.program_failsafe()
        first = list(street.view.written)
        await street.client.program_failsafe()
        return first, list(street.view.written), street.client.reading

    first, second, reading = play(Street("keba-p40", failsafe=(0.0, 10.0)), act, running=False)
    assert first == second == [("failsafe_a", 0.0), ("failsafe_s", 10.0)]
    assert (reading.failsafe_a, reading.failsafe_s) == (0.0, 10.0)


@pytest.mark.parametrize(
    ("name", "failsafe", "kind", "told"),
    [
        ("keba-p40", (0.0, 0.0), FaultKind.RANGE, "failsafe_s 0 s; allowed: 5..600 s"),
        ("keba-p30", (0.0, 5.0), FaultKind.RANGE, "allowed: 10..600 s"),
        ("keba-p40", (3.0, 10.0), FaultKind.RANGE, "failsafe_a 3 A; allowed: 0 or 6..32 A"),
        ("alfen-ng9xx", (0.0, 60.0), FaultKind.READBACK, "6 A in the device; allowed: at most 0 A"),
    ],
)
def test_failsafe_that_cannot_be_had_is_refused(name, failsafe, kind, told):
    async def act(street):
        await street.client.open()
        await street.client.program_failsafe()

    street = Street(name, failsafe=failsafe)
    fault = fault_of(street, act)
    assert fault.kind is kind and told in str(fault)
    assert not street.view.written


@pytest.mark.parametrize("held_s", [600.0, 0.0])  # 0 is a watchdog that is off
def test_a_fail_safe_time_that_is_only_read_has_to_be_within_the_sites(held_s):
    async def act(street):
        street.view.values["failsafe_s"] = held_s
        await street.client.open()
        await street.client.program_failsafe()

    street = Street("keba-p40", failsafe=(6.0, 20.0))
    part = charger_of(street.model)
    dog = part.watchdog.model_copy(update={"timeout_set": ""})  # as an Ampure has it
    street.client_model = street.model.model_copy(update={"charger": part.model_copy(update={"watchdog": dog})})
    fault = fault_of(street, act)
    assert fault.kind is FaultKind.READBACK and f"{held_s:g} s in the device; allowed: over 0 and at most" in str(fault)


def test_device_that_drops_a_write_fails_the_read_back():
    async def act(street):
        street.view.deaf = True
        await street.client.open()
        await street.client.program_failsafe()

    fault = fault_of(Street("keba-p40", failsafe=(0.0, 60.0)), act)
    assert fault.kind is FaultKind.READBACK and "6 read back, 0 written" in str(fault)


def test_nothing_is_written_before_the_law_has_decided():
    async def act(street):
        seen = street.twin.server.requests
        await until(lambda: street.twin.server.requests > seen + 20, "more reads")
        return street.view.written

    assert play(Street("alfen-ng9xx"), act) == []


def test_silence_stops_reads_too_and_ends_with_the_newest_order():
    async def act(street):
        street.want_a = 16.0
        await until(lambda: street.client.reading.sent_a == 16.0, "the first order")
        street.may_talk = False
        await asyncio.sleep(0.1)  # lets the last request end
        silent = street.twin.server.requests
        street.want_a = 8.0
        await asyncio.sleep(0.3)
        assert street.twin.server.requests == silent
        street.may_talk = True
        await until(lambda: street.view.values["setpoint_a"] == 8.0, "the order after the silence")
        return True

    assert play(Street("keba-p40"), act)


@pytest.mark.parametrize("want_a", [math.inf, 3.0, 10.0005])
def test_order_that_cannot_be_sent_stops_all_io_and_is_told(want_a):
    async def act(street):
        street.want_a = want_a
        await until(lambda: street.client.reading.errors > 0, "the refusal")
        await asyncio.sleep(0.1)
        silent = street.twin.server.requests
        await asyncio.sleep(0.2)
        assert street.twin.server.requests == silent and street.view.written == []
        told = street.client.reading.fault
        street.want_a = 10.0
        await until(lambda: street.view.values["setpoint_a"] == 10.0, "a good order")
        return told, street.client.reading.errors

    told, errors = play(Street("keba-p40"), act)
    assert "cp01:set_current: range" in told and errors == 1


@pytest.mark.parametrize(("orders", "most"), [(range(6, 30), 2), (range(29, 5, -1), 12)])
def test_orders_that_change_all_the_time_do_not_starve_the_reads(orders, most):
    model = quick("alfen-ng9xx")
    assert model.charger is not None
    timing = model.charger.timing.model_copy(update={"write_gap_s": 0.0})
    model = model.model_copy(update={"charger": model.charger.model_copy(update={"timing": timing})})
    now = [1_000_000_000]
    client = ModbusCharger(
        "cp01", model, "modbus+tcp://127.0.0.1:1", clock_ns=lambda: now[0], failsafe_a=6.0, failsafe_s=60.0
    )
    client._dog = []
    in_a_row, longest, reads = 0, 0, 0
    for want_a in [*orders] * 4:
        act, write, poll, _ = client._choose(float(want_a), now[0])
        assert act is Act.ASK and (write is None) != (poll is None)
        asked = client._asking(write, poll)
        pdu = asked.requests[0][1]
        now[0] += 50_000_000  # a device that takes no more than one order in the time in which another one comes
        answer = pdu[:5] if write else bytes([pdu[0], 2 * pdu[4]]) + bytes(2 * pdu[4])
        client._answered(asked, [answer], None)
        in_a_row = in_a_row + 1 if write else 0
        longest, reads = max(longest, in_a_row), reads + (poll is not None)
    assert longest <= most and reads >= 5


def test_cut_link_is_seen_at_once_and_the_order_comes_first_after_it():
    async def act(street):
        street.want_a = 16.0
        await until(lambda: street.client.reading.sent_a == 16.0, "the first order")
        await street.twin.server.cut()
        await until(lambda: not street.client.reading.link, "the lost link")
        assert street.client.reading.quality == BAD
        change_ns = street.client.reading.change_ns
        street.view.written.clear()
        await street.twin.server.restore()
        await until(lambda: street.client.reading.quality == GOOD, "a complete reading after the cut")
        return change_ns, street.snapshot(), street.view.written[0]

    change_ns, reading, first = play(Street("alfen-ng9xx"), act)
    assert first == ("setpoint_a", 16.0)  # the same order, but nobody knows what the device did meanwhile
    assert reading.change_ns > change_ns
    assert reading.errors >= 1 and reading.link and reading.fault == ""


def test_failsafe_that_a_restart_forgot_is_programmed_again_after_the_order():
    async def act(street):
        street.want_a = 10.0
        await until(lambda: street.view.values["setpoint_a"] == 10.0, "the order")
        await street.twin.server.cut()
        await until(lambda: not street.client.reading.link, "the lost link")
        street.view.values |= {"failsafe_a": 16.0, "failsafe_s": 0.0, "setpoint_a": 32.0}
        street.view.written.clear()
        await street.twin.server.restore()
        await until(lambda: street.view.values["failsafe_s"] == 60.0, "the fail-safe again")
        await until(lambda: street.client.reading.quality == GOOD, "readings again")
        return list(street.view.written), street.snapshot()

    written, reading = play(Street("keba-p40", failsafe=(6.0, 60.0)), act)
    assert written == [("setpoint_a", 10.0), ("failsafe_a", 6.0), ("failsafe_s", 60.0)]
    assert reading.link and not reading.fault


def test_failsafe_that_does_not_come_back_is_told_and_the_charger_still_read():
    async def act(street):
        street.want_a = 10.0
        await until(lambda: street.view.values["setpoint_a"] == 10.0, "the order")
        await street.twin.server.cut()
        await until(lambda: not street.client.reading.link, "the lost link")
        street.view.values["failsafe_a"] = 16.0
        street.view.deaf = True
        await street.twin.server.restore()
        await until(lambda: "16 in the device" in street.client.reading.fault, "the fault")
        await until(lambda: street.client.reading.quality == GOOD, "readings again")
        return street.snapshot()

    reading = play(Street("keba-p40", failsafe=(6.0, 60.0)), act)
    assert reading.link
    assert "failsafe_current: readback: 16 in the device after the link came back" in reading.fault


def test_stalled_device_times_out_and_its_late_answer_is_not_taken():
    async def act(street):
        street.twin.server.delay_s = 0.5  # longer than the client's time-out of 0.3 s
        await until(lambda: not street.client.reading.link, "the time-out")
        told = street.client.reading.fault
        street.view.values["current_l1_a"] = 7.0
        street.twin.server.delay_s = 0.0
        await until(lambda: street.client.reading.link and street.client.reading.amp_a[0] == 7.0, "fresh amps")
        return told

    assert "timeout: no answer" in play(Street("alfen-ng9xx", timeout_s=0.3), act)


def test_other_box_behind_a_restored_link_is_not_commanded():
    async def act(street):
        street.want_a = 16.0
        await until(lambda: street.client.reading.sent_a == 16.0, "the first order")
        await street.twin.server.cut()
        street.view.written.clear()
        street.twin.constants["product"] = 312345.0
        await street.twin.server.restore()
        await until(lambda: "wrong identity" in street.client.reading.fault, "the refusal")
        return street.view.written, street.snapshot()

    written, reading = play(Street("keba-p40"), act)
    assert written == [] and not reading.link and reading.quality == BAD


def test_per_setpoint_timer_is_kept_alive_by_writing_the_same_order_again():
    async def act(street):
        street.want_a = 16.0
        await until(lambda: len(street.view.written) >= 4, "repeated writes")
        return street.view.written

    written = play(Street("alfen-ng9xx", failsafe=(6.0, 0.3)), act)
    assert set(written) == {("setpoint_a", 16.0)}


def test_validity_longer_than_the_site_says_is_told():
    async def act(street):
        await until(lambda: "validity left" in street.client.reading.fault, "the warning")
        return street.snapshot()

    reading = play(Street("alfen-ng9xx", failsafe=(6.0, 30.0)), act)
    assert reading.link and "58 s of validity left; the site says 30 s" in reading.fault


def test_second_master_is_outdone():
    model = quick("keba-p40")
    timing = model.charger.timing.model_copy(update={"pwm_gap_s": -1.95})  # compare after 70 ms instead of 12 s

    async def act(street):
        street.want_a = 10.0
        await until(lambda: street.client.reading.limit_a == 10.0, "our order in force")
        street.view.set("setpoint_a", 30.0, 0.0)
        await until(lambda: street.view.values["setpoint_a"] == 10.0, "our order again")
        return street.snapshot()

    street = Street("keba-p40")
    street.model = street.client_model = model.model_copy(
        update={"charger": model.charger.model_copy(update={"timing": timing})}
    )
    reading = play(street, act)
    assert "30 A in force, 10 A ordered" in reading.fault and reading.link


def with_adapter(act, get_duty=lambda: 0.267, **modbus) -> tuple[object, list[int], ModbusAdapterTwin]:
    """Run the blocking `act(adapter)` in a thread against an adapter twin; return its result and what was shown."""
    shown: list[int] = []

    async def run():
        twin = ModbusAdapterTwin(load_model("cp-adapter"), get_duty, shown.append)
        async with serving(twin) as port:
            adapter = ModbusAdapter("pilot", quick("cp-adapter", **modbus), f"modbus+tcp://127.0.0.1:{port}")
            try:
                return await asyncio.to_thread(act, adapter), shown, twin
            finally:
                adapter.close()

    return asyncio.run(run())


def test_adapter_reads_the_duty_and_plays_the_car():
    def act(adapter):
        what = adapter.open()
        adapter.assert_cp(1)
        adapter.set_cable(20)
        adapter.assert_cp(2)
        return what, adapter.read_duty(), adapter.read_state()

    (what, duty, state), shown, twin = with_adapter(act)
    assert "CPA1" in what and (duty, state) == (pytest.approx(0.267), 2)
    assert shown == [1, 2] and twin.view.cable_a == 20


def test_adapter_opens_anew_after_a_lost_connection():
    def act(adapter):
        adapter.open()
        adapter.close()
        return adapter.read_duty()

    assert with_adapter(act)[0] == pytest.approx(0.267)


def test_adapter_that_gives_no_answer_times_out_and_is_not_read_again():
    slow = {"delay": False}

    def act(adapter):
        adapter.open()
        slow["delay"] = True
        with pytest.raises(PortFault) as caught:
            adapter.read_duty()
        return caught.value

    def get_duty():
        if slow["delay"]:
            raise NoAnswer
        return 0.5

    fault = with_adapter(act, get_duty, timeout_s=0.3)[0]
    assert fault.kind is FaultKind.TIMEOUT and "pilot:duty: timeout: no answer" in str(fault)


def test_adapter_refuses_states_and_cables_that_do_not_exist():
    def act(adapter):
        adapter.open()
        for wrong in (lambda: adapter.assert_cp(4), lambda: adapter.set_cable(40)):
            with pytest.raises(PortFault, match="range") as caught:
                wrong()
            assert caught.value.kind is FaultKind.RANGE
        return True

    assert with_adapter(act)[1] == []


def test_adapter_is_refused_where_nothing_or_something_else_answers():
    with socket.socket() as idle:
        idle.bind(("127.0.0.1", 0))
        adapter = ModbusAdapter("pilot", quick("cp-adapter"), f"modbus+tcp://127.0.0.1:{idle.getsockname()[1]}")
        with pytest.raises(PortFault, match="pilot: refused"):
            adapter.open()

    async def run():
        street = Street("alfen-ng9xx")
        async with serving(street.twin) as port:
            adapter = ModbusAdapter("pilot", quick("cp-adapter"), f"modbus+tcp://127.0.0.1:{port}")
            with pytest.raises(PortFault, match="wrong identity") as caught:
                await asyncio.to_thread(adapter.open)
            assert "expected cp-adapter" in str(caught.value)
            return True

    assert asyncio.run(run())


@pytest.mark.parametrize("name", ["keba-p30", "alfen-ng9xx"])
def test_a_number_of_phases_is_asked_for_once_and_what_is_in_use_is_read_back(name):
    async def act(street: Street):
        await until(lambda: street.client.reading.phases == -1 and street.client.reading.link, "the link")
        street.client.ask_phases(3)
        await until(lambda: street.client.reading.phases == 3, "the phases in use")
        before = list(street.view.written)
        street.client.ask_phases(1)
        await until(lambda: ("phases_set", 1.0) in street.view.written, "the switch")
        street.client._phases._looked_ns = 1  # ten seconds ago and more
        await until(lambda: street.client.reading.phases == 1, "the one phase")
        return before, [row for row in street.view.written if row[0] == "phases_set"]

    street = Street(name)
    street.view = Switching(street.view.values | {"phases_in_use": 3.0, "phases_set": 3.0})
    street.twin = ModbusChargerTwin(street.model, street.view, time.monotonic)
    before, asked = play(street, act)
    assert not [row for row in before if row[0] == "phases_set"]  # nothing is asked of one that stands there already
    assert asked == [("phases_set", 1.0)]
    assert street.client.reading.errors == 0


class Switching(FakeView):
    """Use at once the phases that were asked for."""

    def set(self, quantity: str, value: float, now_s: float) -> None:
        """Take a quantity."""
        super().set(quantity, value, now_s)
        self.values["phases_in_use"] = self.values["phases_set"]


def test_a_slow_first_answer_is_waited_for_while_opening_and_no_longer_once_orders_go_out():
    async def run():
        view = FakeView()
        twin = ModbusChargerTwin(quick("alfen-ng9xx", timeout_s=0.1), view, time.monotonic)
        async with serving(twin) as port:
            twin.server.delay_s = 0.3
            client = ModbusCharger(
                "cp01",
                quick("alfen-ng9xx", timeout_s=0.1),
                f"modbus+tcp://127.0.0.1:{port}",
                clock_ns=time.monotonic_ns,
                failsafe_a=6.0,
                failsafe_s=60.0,
                opening_s=5.0,
            )
            opened = await client.open()
            task = asyncio.create_task(client.run(lambda: math.nan, lambda: True))
            await until(lambda: client.reading.errors > 0, "the time-out")
            task.cancel()
            await client.close()
            return opened, client.reading.fault

    opened, fault = asyncio.run(run())
    assert opened.startswith("Alfen")
    assert "no answer" in fault and "within 0.1 s" in fault
