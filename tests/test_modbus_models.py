"""Read and command every charger model of the catalog on a real socket, and let each fall to its own fail-safe."""

import asyncio
import math
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from modbus_helpers import connected, serving
from modbus_post import BOOT_S, DRIVEN, FAILSAFE_A, FAILSAFE_S, Post, Refused
from pyModbusTCP.client import ModbusClient

from hil.twins.modbus_server import ExceptionCode
from instruments.catalog import load_model
from instruments.modbus_codec import encode_value

AC = [name for name in DRIVEN if load_model(name).charger.dc is None]
WATCHED = [name for name in AC if load_model(name).charger.watchdog.kind != "none"]
SWITCHING = [name for name in AC if load_model(name).charger.phase_switch is not None]
FORGETFUL = [name for name in AC if load_model(name).charger.watchdog.volatile]


def play(post: Post, story: Callable[[Post], Awaitable[None]]) -> None:
    """Tell a story over a socket of its own."""

    async def main() -> None:
        async with serving(post.twin) as port, connected(port) as post.wire:
            for name, value in post.part.prepare.items():
                await post.write(name, value)
            post.port = port
            await story(post)

    asyncio.run(main())


async def refused(code: ExceptionCode, act: Awaitable[object]) -> None:
    """Assert that a request is answered with this exception."""
    with pytest.raises(Refused) as caught:
        await act
    assert caught.value.args == (code,)


async def hold(post: Post, amps: float, seconds: float) -> None:
    """Let time pass and keep the charger from its fail-safe."""
    end_s = post.clock.now_s + seconds
    while post.clock.now_s < end_s:
        post.pass_s(2.0)
        await post.keep_alive(amps)


async def talk_past(post: Post, seconds: float) -> None:
    """Let time pass with traffic that is no sign of life for this family."""
    end_s = post.clock.now_s + seconds
    while post.clock.now_s < end_s:
        post.pass_s(2.0)
        await post.talk_past()


@pytest.mark.parametrize("name", DRIVEN)
def test_every_poll_tells_what_the_plant_has(name):
    async def story(post: Post) -> None:
        await post.order(16.0)
        await hold(post, 16.0, 8.0)
        for names in post.modbus.polls.core + post.modbus.polls.rare:
            for register, value in (await post.poll(names)).items():
                assert post.same(register, value), (register, value)

    play(Post(name), story)


@pytest.mark.parametrize("name", DRIVEN)
def test_an_order_reaches_the_plant_and_a_pause_stops_the_car(name):
    async def story(post: Post) -> None:
        for amps in (16.0, 10.0, 0.0, 16.0):
            await post.order(amps)
            await hold(post, amps, 16.0)
            allowed_a = post.view.get("setpoint_a") * post.view.get("enable")
            assert allowed_a == pytest.approx(amps, abs=post.part.step_a / 2)
            assert post.view.get("limit_a") == pytest.approx(allowed_a)
            assert post.drawn_a == pytest.approx(allowed_a)
        assert post.twin.early_writes == 0

    play(Post(name), story)


F32_16 = [0x4180, 0x0000]
# set-point of 16 A: unit, function, address, words; and the read of L1 that tells it: function, address, words
ON_THE_WIRE = {
    "abb-terra-ac": ((1, 16, 0x4100, [0, 16000]), (3, 0x4010, [0, 16000])),
    "alfen-ng9xx": ((1, 16, 1210, F32_16), (3, 320, F32_16)),
    "alpitronic-hyc": ((1, 16, 100, [0, 9439]), None),  # 3 * 207 V * 16 A * 0.95
    "amperfied-connect": ((1, 6, 261, [160]), (4, 6, [160])),
    "ampure-next": ((255, 6, 5004, [16]), (3, 1008, [16000])),
    "evtec-dc": ((2, 16, 600, [0, 9439]), None),
    "go-e": ((1, 16, 299, [16]), (4, 114, [0, 160])),
    "heidelberg-ec": ((1, 6, 261, [160]), (4, 6, [160])),
    "keba-p30": ((255, 6, 5004, [16000]), (3, 1008, [0, 16000])),
    "keba-p40": ((255, 6, 5004, [16000]), (3, 1008, [0, 16000])),
    "mennekes-compact": ((1, 16, 0x0302, F32_16), (3, 0x0500, F32_16)),
    "phoenix-charx": ((255, 6, 1301, [16]), (3, 1238, [0, 16000])),
    "webasto-unite": ((255, 6, 5004, [16]), (4, 1008, [16000])),
}


@pytest.mark.parametrize("name", DRIVEN)
def test_sixteen_amps_are_these_words_on_the_wire(name):
    async def story(post: Post) -> None:
        (unit_id, function, address, words), told = ON_THE_WIRE[name]
        post.pass_s(post.part.timing.write_gap_s)
        await post.ask(written(function, address, words), unit_id)
        assert post.view.get("setpoint_a") == pytest.approx(16.0, abs=1e-3)
        await hold(post, 16.0, 10.0)
        if told is not None:
            function, address, words = told
            answer = await post.ask(struct.pack(">BHH", function, address, len(words)), unit_id)
            assert list(struct.unpack(f">{len(words)}H", answer[2:])) == words

    play(Post(name), story)


@pytest.mark.parametrize("name", DRIVEN)
def test_a_client_of_others_commands_every_model_and_reads_its_amps(name):
    async def story(post: Post) -> None:
        (unit_id, function, address, words), told = ON_THE_WIRE[name]
        client = ModbusClient(host="127.0.0.1", port=post.port, unit_id=unit_id, timeout=30.0, auto_close=True)
        post.pass_s(post.part.timing.write_gap_s)
        if function == 6:
            taken = await asyncio.to_thread(client.write_single_register, address, words[0])
        else:
            taken = await asyncio.to_thread(client.write_multiple_registers, address, words)
        assert taken and post.view.get("setpoint_a") == pytest.approx(16.0, abs=1e-3)
        await hold(post, 16.0, 10.0)
        if told is not None:
            function, address, words = told
            read = client.read_holding_registers if function == 3 else client.read_input_registers
            assert await asyncio.to_thread(read, address, len(words)) == words

    play(Post(name), story)


def written(function: int, address: int, words: list[int]) -> bytes:
    """Return the request that writes these words."""
    if function == 6:
        return struct.pack(">BHH", 6, address, words[0])
    return struct.pack(f">BHHB{len(words)}H", 16, address, len(words), 2 * len(words), *words)


@pytest.mark.parametrize("name", WATCHED)
def test_only_the_right_sign_of_life_holds_off_the_fail_safe_and_leaves_it(name):
    async def story(post: Post) -> None:
        await post.order(16.0)
        await hold(post, 16.0, 3 * FAILSAFE_S)
        assert post.drawn_a == pytest.approx(16.0)
        await talk_past(post, FAILSAFE_S + 8.0)
        assert post.view.get("failsafe_active") == 1.0
        assert post.drawn_a == pytest.approx(FAILSAFE_A)
        assert post.part.watchdog.expiry_a(FAILSAFE_A, post.part.max_a) == FAILSAFE_A
        await post.talk_past()
        assert post.view.get("failsafe_active") == 1.0
        await hold(post, 16.0, 12.0)
        assert post.view.get("failsafe_active") == 0.0
        assert post.drawn_a == pytest.approx(16.0)

    play(Post(name), story)


@pytest.mark.parametrize("name", [name for name in AC if name not in WATCHED])
def test_without_a_watchdog_the_last_order_stays_for_ever_and_counts_as_the_maximum(name):
    async def story(post: Post) -> None:
        await post.order(16.0)
        post.pass_s(120.0)
        assert post.drawn_a == pytest.approx(16.0)
        assert post.part.watchdog.expiry_a(FAILSAFE_A, 32.0) == 32.0

    play(Post(name), story)


@pytest.mark.parametrize("name", [n for n in WATCHED if load_model(n).charger.watchdog.timeout_set])
def test_a_fail_safe_that_is_programmed_is_the_one_that_acts(name):
    async def story(post: Post) -> None:
        dog = post.part.watchdog
        await post.write(dog.timeout_set, 20.0)
        await post.write(dog.current_set, 8.0)
        assert await post.read(dog.timeout_get) == pytest.approx(20.0)
        assert await post.read(dog.current_get) == pytest.approx(8.0)
        await post.order(16.0)
        await hold(post, 16.0, 10.0)
        await post.keep_alive(16.0)
        post.pass_s(19.0)
        assert post.view.get("failsafe_active") == 0.0
        post.pass_s(8.0)
        assert post.drawn_a == pytest.approx(8.0)

    play(Post(name), story)


@pytest.mark.parametrize("name", DRIVEN)
def test_a_reboot_forgets_the_order(name):
    async def story(post: Post) -> None:
        await post.order(16.0)
        await hold(post, 16.0, 8.0)
        supply_v = post.volt_v.copy()
        post.volt_v[:] = np.nan
        post.pass_s(1.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post.poll(post.modbus.polls.core[0]), 0.05)
        post.volt_v[:] = supply_v
        post.pass_s(BOOT_S + 1.0)
        await post.poll(post.modbus.polls.core[0])
        assert post.view.get("setpoint_a") != pytest.approx(16.0)
        await post.order(12.0)
        await hold(post, 12.0, 14.0)
        assert post.drawn_a == pytest.approx(post.view.get("setpoint_a")) == pytest.approx(12.0, abs=0.1)

    play(Post(name), story)


@pytest.mark.parametrize("name", FORGETFUL)
def test_a_family_that_forgets_falls_to_the_fail_safe_as_delivered(name):
    async def story(post: Post) -> None:
        dog = post.part.watchdog
        post.volt_v[:] = np.nan
        post.pass_s(1.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post.read("state"), 0.05)
        post.volt_v[:] = 230.0
        post.pass_s(BOOT_S + 1.0)
        assert await post.read(dog.timeout_get) == dog.default_s == 15.0
        assert await post.read(dog.current_get) == dog.default_a == 0.0
        assert [await post.read(name) for name in post.part.prepare] != list(post.part.prepare.values())
        post.pass_s(dog.default_s + 1.0)
        assert post.view.get("failsafe_active") == 1.0

    play(Post(name), story)


@pytest.mark.parametrize("name", SWITCHING)
def test_the_phases_register_switches_through_a_pause_and_tells_what_is_in_use(name):
    async def story(post: Post) -> None:
        switch = post.part.phase_switch
        await post.order(16.0)
        await hold(post, 16.0, 8.0)
        if switch.prepare:
            await post.write(switch.register_name, switch.one)
            assert post.view.get("phases_set") == 3.0  # not before the source of the switch is named
            await post.write(switch.prepare, switch.prepare_value)
        for code, read, amps in (
            (switch.one, switch.read_one, (16, 0, 0)),
            (switch.three, switch.read_three, (16,) * 3),
        ):
            await post.write(switch.register_name, code)
            await hold(post, 16.0, 8.0)
            assert post.fleet.drawn_a.max() == 0.0
            await hold(post, 16.0, 30.0)
            assert await post.read(switch.read) == read
            assert post.fleet.drawn_a[0] == pytest.approx(amps)

    play(Post(name, switch_phases=True, switch_dwell_s=0.0), story)


def test_a_heidelberg_whose_fail_safe_is_zero_shows_an_error_until_it_is_spoken_to():
    async def story(post: Post) -> None:
        await post.order(16.0)
        post.pass_s(FAILSAFE_S + 1.0)
        answer = post.twin._encode(post.modbus.register("state"))
        assert answer == [11]
        await post.read("current_l1")
        assert await post.read("state") != 11

    play(Post("heidelberg-ec", failsafe_a=0.0), story)


def test_a_mennekes_takes_zero_for_no_limit_and_the_record_forbids_to_write_it():
    async def story(post: Post) -> None:
        register = post.modbus.register("max_current")
        await post.order(16.0)
        post.pass_s(1.0)
        await post.put(register, encode_value(post.modbus, register, 0.0))
        assert post.view.get("setpoint_a") == 32.0
        post.pass_s(1.0)
        await post.put(register, encode_value(post.modbus, register, 5.0))
        assert post.view.get("setpoint_a") == 0.0
        assert not register.zero and post.part.setpoint.pause_by == "enable"

    play(Post("mennekes-compact"), story)


def test_a_charx_withdraws_the_release_outside_its_range():
    async def story(post: Post) -> None:
        register = post.modbus.register("max_current")
        await post.order(16.0)
        post.pass_s(1.0)
        await post.put(register, [3])
        assert await post.read("max_current") == 0.0
        post.pass_s(10.0)
        assert post.drawn_a == 0.0

    play(Post("phoenix-charx"), story)


def test_codes_of_ours_are_those_of_the_device_on_the_wire():
    async def abb(post: Post) -> None:
        await post.order(16.0)
        register = post.modbus.register("set_session")
        assert register.to_wire(0.0) == 1.0
        await post.write("set_session", 0.0)
        assert post.view.get("enable") == 0.0
        await post.write("set_session", 1.0)
        assert post.view.get("enable") == 1.0
        await hold(post, 16.0, 8.0)
        assert round(await post.read("state")) == 0x0400  # C2 in its third byte

    async def go_e(post: Post) -> None:
        await post.order(0.0)
        assert await post.read("force_state") == 1.0
        await post.order(16.0)
        assert await post.read("force_state") == 2.0

    play(Post("abb-terra-ac"), abb)
    play(Post("go-e"), go_e)


def test_memory_that_wears_is_counted_and_no_order_touches_it():
    async def story(post: Post) -> None:
        for amps in (16.0, 10.0, 0.0):
            await post.order(amps)
        assert post.twin.memory_writes == {}
        await post.write("amps_eeprom", 12.0)
        assert post.twin.memory_writes == {"amps_eeprom": 1}
        assert post.view.get("setpoint_a") == 12.0

    play(Post("go-e"), story)


def test_a_block_with_a_gap_is_refused_where_the_family_cannot_read_it():
    async def story(post: Post) -> None:
        await refused(ExceptionCode.ADDRESS, post.ask(bytes((3, 1008 >> 8, 1008 & 0xFF, 0, 3)), 255))

    play(Post("ampure-next"), story)


def test_function_codes_go_to_their_tables():
    async def story(post: Post) -> None:
        await refused(ExceptionCode.ADDRESS, post.ask(bytes((3, 0, 5, 0, 1)), 1))  # the state is an input register
        await refused(ExceptionCode.ADDRESS, post.ask(bytes((4, 1, 5, 0, 1)), 1))  # 261 a holding register
        await refused(ExceptionCode.FUNCTION, post.ask(bytes((1, 0, 5, 0, 1)), 1))

    play(Post("heidelberg-ec"), story)

    async def go_e(post: Post) -> None:
        await refused(ExceptionCode.FUNCTION, post.ask(bytes((6, 1, 43, 0, 16)), 1))  # 299: only function 16

    play(Post("go-e"), go_e)


@pytest.mark.parametrize("name", DRIVEN)
def test_requests_that_come_too_early_are_counted_and_a_strict_twin_is_busy(name):
    async def story(post: Post) -> None:
        poll = post.modbus.polls.core[0]
        post.pass_s(1.0)
        assert post.twin.early_reads == 0
        await post.poll(poll)
        await post.poll(poll)
        assert post.twin.early_reads == 1
        post.twin.strict = True
        await refused(ExceptionCode.BUSY, post.poll(poll))
        post.pass_s(2.0)
        await post.poll(poll)
        await post.order(16.0)
        setpoint = post.modbus.register(post.part.setpoint.register_name)
        post.clock.now_s += 0.1 * post.part.timing.write_gap_s
        await refused(ExceptionCode.BUSY, post.put(setpoint, encode_value(post.modbus, setpoint, 8.0)))
        assert post.twin.early_writes == 1
        assert post.view.get("setpoint_a") == pytest.approx(16.0, abs=post.part.step_a)

    play(Post(name), story)


def test_busy_refuses_and_frozen_registers_show_the_past():
    async def story(post: Post) -> None:
        await post.order(16.0)
        await hold(post, 16.0, 8.0)
        seen = await post.poll(post.modbus.polls.core[0])
        post.twin.frozen = True
        await post.order(8.0)
        await hold(post, 8.0, 12.0)
        assert post.drawn_a == pytest.approx(8.0)
        assert await post.poll(post.modbus.polls.core[0]) == seen
        post.twin.frozen = False
        assert await post.poll(post.modbus.polls.core[0]) != seen
        post.twin.busy = True
        await refused(ExceptionCode.BUSY, post.poll(post.modbus.polls.core[0]))
        await refused(ExceptionCode.BUSY, post.order(6.0))

    play(Post("abb-terra-ac"), story)


@pytest.mark.parametrize(
    ("name", "connector", "unit_id", "register", "place"),
    [
        ("alfen-ng9xx", 2, None, "setpoint", (2, 1210)),
        ("alfen-ng9xx", 2, None, "platform", (200, 140)),
        ("phoenix-charx", 3, None, "max_current", (255, 3301)),
        ("phoenix-charx", 3, None, "device_name", (255, 100)),
        ("alpitronic-hyc", 4, None, "power", (1, 404)),
        ("heidelberg-ec", 1, 7, "max_current", (7, 261)),
    ],
)
def test_connectors_and_unit_ids_lie_where_the_record_says(name, connector, unit_id, register, place):
    moved = load_model(name).at(connector, unit_id)
    assert (moved.modbus.register(register).unit_id, moved.modbus.register(register).address) == place

    async def story(post: Post) -> None:
        await post.order(16.0)
        assert post.view.get("setpoint_a") == pytest.approx(16.0, abs=post.part.step_a)

    play(Post(moved), story)


def test_a_connector_or_unit_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"connector 3: allowed 1\.\.2"):
        load_model("alfen-ng9xx").at(3)
    with pytest.raises(ValueError, match="unit 7: allowed none, the family fixes it"):
        load_model("keba-p40").at(unit_id=7)
    with pytest.raises(ValueError, match=r"unit 300: allowed 0\.\.247"):
        load_model("heidelberg-ec").at(unit_id=300)


def test_word_order_may_differ_by_register():
    model = load_model("abb-terra-ac")
    registers = [
        r.model_copy(update={"word_order": "little"}) if r.name == "set_limit" else r for r in model.modbus.registers
    ]
    swapped = model.model_copy(update={"modbus": model.modbus.model_copy(update={"registers": registers})})

    async def story(post: Post) -> None:
        await post.put(post.modbus.register("set_limit"), [16000, 0])
        assert post.view.get("setpoint_a") == 16.0
        assert await post.read("limit_set") == 16.0

    play(Post(swapped), story)


def test_a_fail_safe_current_is_known_only_where_it_is():
    assert math.isnan(load_model("abb-terra-ac").charger.watchdog.default_a)
    assert load_model("heidelberg-ec").charger.watchdog.default_a == 0.0


@pytest.mark.parametrize("name", ["chargex-aqueduct", "eprowallbox"])
def test_what_cannot_be_commanded_says_why(name):
    model = load_model(name)
    assert model.charger is None and model.model.undriven


def test_the_table_in_the_docs_is_what_the_catalog_says():
    here = Path(__file__).parents[1]
    printed = subprocess.run([sys.executable, "scripts/charger_table.py"], cwd=here, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout in (here / "docs/chargers.md").read_text()
