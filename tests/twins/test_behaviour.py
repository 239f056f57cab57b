"""Prove what a twin does beyond its grammar: trips and clears, watchdog, remote lock, deafness, pacing, lists."""

from typing import Any

import pytest
from dialect_helpers import DIALECTS, Dialect, ask, drain, twin_of
from scpi_helpers import Clock, part_of

from hil.twins.scpi_dc import DcTwin
from hil.twins.scpi_terminals import TerminalTwin
from instruments.scpi_catalog import ScpiPart

PARTS = [pytest.param(model.scpi, id=model.model.name) for model in DIALECTS]
ENERGISING = [
    pytest.param(model.scpi, id=model.model.name)
    for model in DIALECTS
    if model.scpi is not None and Dialect(model.scpi).switch is not None
]
SWITCHED_BY_EVENT = {"INIT"}  # a further step of some families' energising; not the switch itself


def energise(twin: TerminalTwin) -> None:
    """Switch on as the record says; every step has to be read back."""
    for step in next(iter(twin.part.roles.values())).energise.steps:
        ask(twin, step.send.format(channel=1))
    assert drain(twin) == [] and twin.terminals_on


def switch_on(twin: TerminalTwin) -> None:
    """Send only the message that switches on."""
    step = next(s for s in next(iter(twin.part.roles.values())).energise.steps if s.ask and "REL" not in s.send)
    ask(twin, step.send.format(channel=1))


def tripped(part: ScpiPart, *, hold: bool, on: bool = True) -> TerminalTwin:
    """Return a twin that was on and has tripped; `hold` keeps the cause present."""
    twin = twin_of(part)
    if on:
        energise(twin)
    twin.trip("OTP", hold=hold)
    return twin


def clear(twin: TerminalTwin) -> None:
    """Clear protections as the dialect does it: by message, by reading the error queue, or only at the front panel."""
    part = twin.part
    if part.clear.send:
        ask(twin, part.clear.send.format(channel=1))
    elif part.parser.error_acknowledges:
        ask(twin, part.parser.error_query)
    else:
        twin.clear_protection()


@pytest.mark.parametrize("part", ENERGISING)
def test_a_trip_switches_off_and_keeps_off_until_it_is_cleared(part: ScpiPart) -> None:
    twin = tripped(part, hold=False)
    assert not twin.terminals_on
    switch_on(twin)
    assert not twin.terminals_on
    assert -221 in [int(entry) for entry in twin.status.errors.codes()]


@pytest.mark.parametrize("part", ENERGISING)
def test_a_clear_with_the_cause_still_present_changes_nothing(part: ScpiPart) -> None:
    twin = tripped(part, hold=True)
    clear(twin)
    assert twin.tripped == {"OTP"} and not twin.terminals_on


@pytest.mark.parametrize("part", ENERGISING)
def test_a_clear_after_the_cause_is_gone_leaves_the_output_as_the_record_says(part: ScpiPart) -> None:
    twin = tripped(part, hold=True)
    twin.release("OTP")
    clear(twin)
    assert not twin.tripped and twin.terminals_on == part.clear.re_energises


@pytest.mark.parametrize("part", ENERGISING)
def test_a_clear_after_off_was_sent_never_energises(part: ScpiPart) -> None:
    twin = tripped(part, hold=False)
    for step in part.safe_off.steps:
        ask(twin, step.send)
    twin.status.errors.clear()
    clear(twin)
    assert not twin.tripped and not twin.terminals_on


@pytest.mark.parametrize("part", ENERGISING)
def test_safe_off_switches_off_while_a_protection_is_latched_and_without_remote_control_lost(part: ScpiPart) -> None:
    twin = twin_of(part)
    energise(twin)
    for step in part.safe_off.steps:
        ask(twin, step.send)
    assert not twin.terminals_on and drain(twin) == []


@pytest.mark.parametrize("part", PARTS)
def test_a_reset_is_deaf_for_the_records_time_and_leaves_the_output_as_it_says(part: ScpiPart) -> None:
    clock = Clock()
    twin = twin_of(part, clock)
    if Dialect(part).switch is not None:
        energise(twin)
    ask(twin, "*RST")
    if part.reset.deaf_s:
        clock.now_s += part.reset.deaf_s * 0.99
        assert twin.answer(b"*OPC?") is None
        clock.now_s += part.reset.deaf_s * 0.02
    assert ask(twin, "*OPC?") == "1"
    if Dialect(part).switch is not None:
        assert twin.terminals_on == part.reset.output_after


DOGS = [
    pytest.param(model.scpi, id=model.model.name)
    for model in DIALECTS
    if model.scpi is not None and model.scpi.watchdog.kind != "none"
]


def armed(part: ScpiPart, clock: Clock, seconds: float = 5.0) -> TerminalTwin:
    """Return a twin that is on with its watchdog armed."""
    twin = twin_of(part, clock)
    for step in part.watchdog.arm:
        ask(twin, step.send.format(seconds=seconds, milliseconds=seconds * 1000.0, channel=1))
    energise(twin)
    return twin


@pytest.mark.parametrize("part", DOGS)
def test_an_armed_watchdog_that_nobody_feeds_switches_off_and_one_that_is_fed_does_not(part: ScpiPart) -> None:
    clock = Clock()
    twin = armed(part, clock)
    food = part.watchdog.feed or "*OPC?"
    for _ in range(4):
        clock.now_s += 4.0
        ask(twin, food.format(channel=1))
        twin.step(clock.now_s, 0.1)
    assert twin.terminals_on
    clock.now_s += 4.9
    twin.step(clock.now_s, 0.1)
    assert twin.terminals_on
    clock.now_s += 0.2
    twin.step(clock.now_s, 0.1)
    assert twin.terminals_on == (part.watchdog.on_expiry == "flag")
    assert bool(twin.tripped) == (part.watchdog.on_expiry == "output_off_latched")


@pytest.mark.parametrize("part", DOGS)
def test_only_what_the_record_says_feeds_the_watchdog(part: ScpiPart) -> None:
    clock = Clock()
    twin = armed(part, clock)
    for _ in range(3):
        clock.now_s += 2.0
        ask(twin, "*ESE?")  # any other traffic
    twin.step(clock.now_s, 0.1)
    assert twin.terminals_on == (part.watchdog.kind == "any_io" or part.watchdog.on_expiry == "flag")


DISARMED = [
    pytest.param(model.scpi, id=model.model.name)
    for model in DIALECTS
    if model.scpi is not None and model.scpi.watchdog.disarm
]


@pytest.mark.parametrize("part", DISARMED)
def test_a_disarmed_watchdog_never_bites(part: ScpiPart) -> None:
    clock = Clock()
    twin = armed(part, clock)
    ask(twin, part.watchdog.disarm)
    assert drain(twin) == []
    clock.now_s += 1e5
    twin.step(clock.now_s, 0.1)
    assert twin.terminals_on


@pytest.mark.parametrize("part", PARTS)
def test_a_front_panel_locked_to_local_refuses_remote_control_and_every_setting(part: ScpiPart) -> None:
    twin = twin_of(part)
    twin.lock_local(True)
    dialect = Dialect(part)
    fields = dialect.fields()
    if part.remote.take and part.remote.needed:
        ask(twin, part.remote.take)
        assert drain(twin) == [-201]
    ask(twin, f"{fields['h']} {fields['low']}{fields['t']}")
    assert drain(twin) == [part.parser.local_code]
    twin.lock_local(False)
    if part.remote.take:
        ask(twin, part.remote.take)
    ask(twin, f"{fields['h']} {fields['low']}{fields['t']}")
    assert drain(twin) == []


@pytest.mark.parametrize("part", PARTS)
def test_messages_that_come_too_fast_are_counted_and_lost_in_strict_mode_only(part: ScpiPart) -> None:
    clock = Clock()
    twin = twin_of(part, clock)
    gap_s = part.transport.min_gap_s
    clock.now_s += 1.0
    before = twin.too_fast
    assert ask(twin, "*OPC?") == "1" and ask(twin, "*OPC?") == "1"
    assert twin.too_fast - before == (1 if gap_s else 0)
    twin.strict_pacing = True
    clock.now_s += 1.0
    assert ask(twin, "*OPC?") == "1"
    assert ask(twin, "*OPC?") == ("" if gap_s else "1")
    clock.now_s += 1.0
    assert ask(twin, "*OPC?") == "1"


@pytest.mark.parametrize("part", PARTS)
def test_forty_bad_commands_fill_the_queue_as_the_vendor_does_and_it_drains_to_empty(part: ScpiPart) -> None:
    parser = part.parser
    if parser.error_query.startswith("*"):
        pytest.skip("the device has no error queue")
    twin = twin_of(part)
    for _ in range(40):
        twin.answer(b"FOO")
    depth = parser.error_depth
    full = [-113] * depth if parser.error_overflow == "ignore" else [-113] * (depth - 1) + [-350]
    assert drain(twin) == (full if depth < 40 else [-113] * 40)
    assert ask(twin, parser.error_query) == parser.error_empty


@pytest.mark.parametrize("part", PARTS)
def test_a_clear_status_empties_the_queue_and_a_reset_does_not(part: ScpiPart) -> None:
    clock = Clock()
    twin = twin_of(part, clock)
    twin.answer(b"FOO")
    ask(twin, "*RST")
    clock.now_s += part.reset.deaf_s + 1.0
    assert twin.status.errors.codes() == [-113]
    ask(twin, "*CLS")
    assert twin.status.errors.codes() == []


def test_a_stale_meter_shows_the_old_value_until_its_refresh() -> None:
    clock = Clock()
    part = part_of("ea-psb")
    twin = twin_of(part, clock)
    assert isinstance(twin, DcTwin) and part.meter.refresh_hz == 10.0
    twin.step(clock.now_s, 0.02)
    twin.set_measured(400.0, 0.0)
    clock.now_s += 0.05
    twin.step(clock.now_s, 0.05)
    assert ask(twin, "MEAS:VOLT?") == "0.00V"
    clock.now_s += 0.05
    twin.step(clock.now_s, 0.05)
    assert ask(twin, "MEAS:VOLT?") == "400.00V"


def test_reading_the_queue_acknowledges_an_alarm_once_its_cause_is_gone() -> None:
    twin = twin_of(part_of("ea-psb"))
    twin.trip("OVP", hold=True)
    assert ask(twin, "STAT:QUES:COND?") == str(1 | 1 << 10)
    ask(twin, "SYST:ERR?")
    assert int(ask(twin, "STAT:QUES:COND?")) & 1
    twin.release("OVP")
    ask(twin, "SYST:ERR?")
    assert not int(ask(twin, "STAT:QUES:COND?")) & 1


def test_an_overlapped_command_holds_opc_until_the_volts_have_arrived() -> None:
    clock = Clock()
    twin = twin_of(part_of("keysight-rp7900"), clock)
    late: list[bytes] = []
    twin.enter(7, late.append)
    ask(twin, "VOLT:SLEW 100;:OUTP ON;:VOLT 100")
    assert twin.answer(b"*OPC;*OPC?") is None
    assert twin.answer(b"VOLT?") is None  # behind it in the input buffer
    for _ in range(5):
        clock.now_s += 0.1
        twin.step(clock.now_s, 0.1)
    assert late == [] and not twin.status.event & 1
    for _ in range(6):
        clock.now_s += 0.1
        twin.step(clock.now_s, 0.1)
    assert late == [b"1\n", b"+1.000000E+02\n"] and twin.status.event & 1
    assert ask(twin, "VOLT?") == "+1.000000E+02"


def test_wait_holds_back_later_units_and_a_device_clear_ends_the_wait() -> None:
    clock = Clock()
    twin = twin_of(part_of("keysight-rp7900"), clock)
    ask(twin, "VOLT:SLEW 1;:OUTP ON;:VOLT 100")
    assert twin.answer(b"*WAI;:VOLT 7;*OPC?") is None
    twin.device_clear()
    assert ask(twin, "VOLT?") == "+1.000000E+02"


def test_lists_of_unequal_length_are_refused_when_they_are_initiated() -> None:
    keysight, ametek = twin_of(part_of("keysight-rp7900")), twin_of(part_of("ametek-mx"))
    ask(keysight, "LIST:VOLT 1,2,3;:LIST:DWEL 1,2;:VOLT:MODE LIST;:INIT:TRAN")
    assert drain(keysight) == [307]
    ask(ametek, "LIST:VOLT 1,2,3;:LIST:DWEL 1,2;:VOLT:MODE LIST;:INIT")
    assert drain(ametek) == [-226]
    ask(keysight, "VOLT:MODE FIX;:INIT:TRAN")
    assert drain(keysight) == [309]


def test_a_list_waits_for_its_trigger_runs_by_its_dwell_times_and_holds_opc_until_its_end() -> None:
    clock = Clock()
    twin: Any = twin_of(part_of("keysight-rp7900"), clock)
    ask(twin, "OUTP ON;:LIST:VOLT 10,20,30;:LIST:DWEL 0.2;:VOLT:MODE LIST;:INIT:TRAN;*OPC")
    assert ask(twin, "LIST:VOLT 1") == "" and drain(twin) == [308]
    seen = []
    for step in range(12):
        if step == 2:
            ask(twin, "*TRG")
        clock.now_s += 0.1
        twin.step(clock.now_s, 0.1)
        seen.append((twin.actual_v[0], bool(twin.status.event & 1)))
    assert [volt for volt, _ in seen[:9]] == [0.0, 0.0, 10.0, 20.0, 20.0, 30.0, 30.0, 30.0, 30.0]
    assert not seen[6][1] and seen[8][1]


def test_a_list_runs_on_through_a_trip_and_the_clear_jumps_to_its_present_step() -> None:
    clock = Clock()
    twin: Any = twin_of(part_of("keysight-rp7900"), clock)
    ask(twin, "OUTP ON;:LIST:VOLT 10,20,30;:LIST:DWEL 1;:VOLT:MODE LIST;:INIT:TRAN;*TRG")
    twin.step(clock.now_s, 0.1)
    twin.trip("OT")
    twin.step(clock.now_s, 1.0)
    assert twin.actual_v[0] == 0.0
    ask(twin, "OUTP:PROT:CLE")
    twin.step(clock.now_s, 0.1)
    assert twin.actual_v[0] == 20.0 and twin.output_on


def test_over_current_protection_off_folds_the_volts_back_instead_of_tripping() -> None:
    clock = Clock()
    twin: Any = twin_of(part_of("ametek-mx"), clock)
    ask(twin, "INST:COUP ALL;:VOLT 100;:CURR 10;:CURR:PROT:STAT OFF;:OUTP ON")
    assert drain(twin) == []
    for _ in range(20):
        twin.step(clock.now_s, 0.1)
        twin.set_measured(twin.actual_v / 5.0)  # 5 ohm a phase wants 20 A
    assert twin.actual_v[0] == pytest.approx(50.0, rel=0.02) and not twin.tripped
    ask(twin, "CURR:PROT:STAT ON")
    for _ in range(20):
        twin.step(clock.now_s, 0.1)
        twin.set_measured(twin.actual_v / 5.0)
    assert twin.tripped and not twin.output_on


def test_channels_are_set_and_read_by_list_and_the_list_is_not_optional() -> None:
    twin = twin_of(part_of("keysight-n6700"))
    ask(twin, "VOLT 5,(@1,3:4);:VOLT 7,(@2)")
    assert ask(twin, "VOLT? (@1:4)") == ",".join(f"{volts:+.6E}" for volts in (5.0, 7.0, 5.0, 5.0))
    assert drain(twin) == []
    ask(twin, "VOLT?")
    ask(twin, "VOLT?(@1)")
    ask(twin, "VOLT 1,(@5)")
    assert drain(twin) == [-109, -103, -222]


def test_a_meter_without_a_channel_of_its_own_shows_the_selected_one_and_a_name_picks_another() -> None:
    twin: Any = twin_of(part_of("rigol-dp800"))
    ask(twin, ":INST:NSEL 2;:SOUR:VOLT 7;:SOUR1:VOLT 3;:OUTP CH1,ON;:OUTP ON")
    assert drain(twin) == []
    for at, volts in enumerate((3.0, 7.0)):
        twin.set_measured(volts, 0.0, at)
    twin.step(1001.0, 0.1)
    twin.meter(1002.0)
    assert float(ask(twin, ":MEAS:VOLT?")) == 7.0 and float(ask(twin, ":MEAS:VOLT? CH1")) == 3.0
    assert twin.on(0) and twin.on(1) and not twin.on(2)
    ask(twin, ":OUTP CH4,ON")
    assert drain(twin) == [-222]
