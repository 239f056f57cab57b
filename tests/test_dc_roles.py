"""Prove the obligations of DC supplies, loads and analyzers against the twins, EA and Keysight dialects."""

import math
from typing import Any

import numpy as np
import pytest
from role_helpers import fault_of, flow, opened, passing
from scpi_helpers import SOURCE, Clock, part_of

from instruments.ac_source import AcSource
from instruments.analyzer import Analyzer
from instruments.dc_load import DcLoad
from instruments.dc_supply import BidirectionalSupply, DcSupply
from instruments.faults import FaultKind
from instruments.scpi_catalog import Cycle, ScpiPart
from instruments.scpi_cycle import CyclePlan
from instruments.scpi_port import ScpiPort
from instruments.scpi_units import number_of, to_ours, to_theirs

EA, EL, RP, N67 = "ea-psb", "ea-el", "keysight-rp7900", "keysight-n6700"
SUPPLY_LIMITS = {"hard_max_v": 500.0, "hard_max_a": 10.0, "hard_max_w": 5000.0}
BOTH_LIMITS = {**SUPPLY_LIMITS, "hard_sink_a": 16.0, "hard_sink_w": 6000.0}
EA_ERRORS = b":SYST:ERR?"


def battery(port: ScpiPort, clock: Clock, **limits: Any) -> BidirectionalSupply:
    given = {**BOTH_LIMITS, **limits}
    return BidirectionalSupply(port, clock_s=clock, pause=passing(clock), **given)


def test_a_battery_is_prepared_off_under_remote_control_with_both_directions_limited() -> None:
    with opened(EA) as (port, served, clock):
        device = battery(port, clock)
        served.server.heard.clear()
        device.prepare()
        heard = served.heard()
        assert heard[:4] == [b"SYST:LOCK ON", b"SYST:LOCK:OWN?", b"OUTP OFF", b"OUTP?"]
        values = served.twin.values
        assert [values[name] for name in part_of(EA).roles["bidirectional_supply"].protection.limits] == [
            500.0, 10.0, 5000.0, 16.0, 6000.0,
        ]  # fmt: skip
        assert not values["output"] and not any(b"OUTP ON" in message for message in heard)
        assert all(len(message) < 256 and message.count(b";") < 5 for message in heard)


def test_a_cycle_of_more_than_five_commands_goes_out_in_two_messages_alarms_before_the_error_queue() -> None:
    with opened(EA) as (port, served, clock):
        device = battery(port, clock)
        device.prepare()
        served.server.heard.clear()
        device.set_and_measure(400.0, 2.5, 12.25)
        assert served.heard() == [
            b"SOUR:VOLT 400.00;:SOUR:CURR 2.50;:SINK:CURR 12.25;:SOUR:POW 5000;:SINK:POW 6000",
            b"MEAS:ARR?;:OUTP?;:STAT:QUES?;:SYST:ERR?",
        ]


@pytest.mark.parametrize("model", [EA, RP])
def test_amps_are_positive_into_the_played_car_and_out_of_the_played_grid(model: str) -> None:
    for side, sign in (("car", 1.0), ("grid", -1.0)):
        with opened(model) as (port, served, clock):
            device = battery(port, clock, side=side)
            device.prepare()
            device.set_and_measure(400.0, 5.0, 16.0)
            device.output(True)
            flow(served, clock, 400.0, -12.0)  # the charger delivers 12 A into it
            seen = device.set_and_measure(400.0, 5.0, 16.0)
            assert seen.on and seen.volt_v == pytest.approx(400.0)
            assert seen.amp_a == pytest.approx(sign * 12.0) and seen.power_w == pytest.approx(sign * 4800.0)


def test_the_watchdog_is_armed_before_the_output_goes_on_and_disarmed_after_it_went_off() -> None:
    for model, armed in ((EA, b"SYST:COMM:MON:ACT ON"), (RP, b"OUTP:PROT:WDOG ON")):
        with opened(model) as (port, served, clock):
            device = battery(port, clock, watchdog_s=7.0)
            device.prepare()
            device.set_and_measure(400.0, 1.0, 1.0)
            assert not served.twin.values["watchdog"]
            device.output(True)
            heard = served.heard()
            assert heard.index(armed) < heard.index(b"OUTP ON")
            assert served.twin.values["watchdog_s"] == 7.0
            served.server.heard.clear()
            device.release()
            heard = served.heard()
            off = part_of(model).watchdog.disarm.encode()
            assert heard.index(b"OUTP OFF") < heard.index(off) and not served.twin.values["watchdog"]


def test_a_watchdog_time_that_the_device_does_not_take_is_refused_at_the_construction() -> None:
    with opened(RP) as (port, _, clock):
        fault = fault_of(lambda: battery(port, clock, watchdog_s=0.5))
        assert fault.kind == FaultKind.RANGE and "1..3600 s" in fault.detail


def test_a_sink_that_the_device_writes_as_a_negative_number_is_a_magnitude_for_us() -> None:
    with opened(RP) as (port, served, clock):
        device = battery(port, clock)
        device.prepare()
        assert served.twin.values["sink_a"] == -16.0 and served.twin.values["set_a"] == 10.0
        assert b"CURR:LIM:NEG -16.000" in served.heard()
        device.set_and_measure(400.0, 1.0, 3.5)
        assert served.twin.values["sink_a"] == -3.5


@pytest.mark.parametrize(
    ("values", "channel"),
    [
        ((math.nan, 1.0, 1.0), "volt_v"),
        ((500.1, 1.0, 1.0), "volt_v"),
        ((-0.1, 1.0, 1.0), "volt_v"),
        ((400.0, 10.1, 1.0), "source_a"),
        ((400.0, math.inf, 1.0), "source_a"),
        ((400.0, 1.0, -1.0), "sink_a"),
        ((400.0, 1.0, 16.1), "sink_a"),
    ],
)
def test_values_outside_the_hard_limits_are_refused_with_nothing_sent(values: Any, channel: str) -> None:
    with opened(EA) as (port, served, clock):
        device = battery(port, clock)
        device.prepare()
        before = len(served.server.heard)
        fault = fault_of(lambda: device.set_and_measure(*values))
        assert fault.kind == FaultKind.RANGE and fault.channel == channel
        assert len(served.server.heard) == before


def test_volts_move_no_faster_than_the_slew_rate_while_the_output_is_on() -> None:
    with opened(EA) as (port, _, clock):
        device = battery(port, clock, slew_v_per_s=100.0)
        device.prepare()
        assert fault_of(lambda: device.output(True)).kind == FaultKind.INTERLOCK  # no volts yet
        device.set_and_measure(400.0, 1.0, 1.0)
        device.output(True)
        device.set_and_measure(400.0, 1.0, 1.0)
        clock.now_s += 0.1
        assert fault_of(lambda: device.set_and_measure(420.0, 1.0, 1.0)).kind == FaultKind.RANGE
        assert device.reachable(420.0) == pytest.approx(410.0)
        device.set_and_measure(device.reachable(420.0), 1.0, 1.0)


@pytest.mark.parametrize(
    ("limits", "channel"),
    [
        ({"hard_max_v": 1000.1}, "hard_max_v"),
        ({"hard_max_a": 81.0}, "hard_max_a"),
        ({"hard_max_w": 30001.0}, "hard_max_w"),
        ({"hard_sink_a": 81.0}, "hard_sink_a"),
        ({"hard_sink_w": math.nan}, "hard_sink_w"),
        ({"slew_v_per_s": 0.0}, "slew_v_per_s"),
    ],
)
def test_hard_limits_beyond_the_rating_are_refused_before_anything_is_sent(limits: Any, channel: str) -> None:
    port = ScpiPort("dut", part_of(EA), "TCPIP::127.0.0.1::1::SOCKET")
    fault = fault_of(lambda: BidirectionalSupply(port, **{**BOTH_LIMITS, **limits}))
    assert fault.kind == FaultKind.RANGE and fault.channel == channel


def test_a_smaller_model_of_the_family_says_so_itself() -> None:
    part = part_of(EA)
    small = part.as_variant(part.variants[0])
    with opened(EA, part=small) as (port, served, clock):
        port._family = part  # what a rig file that names the family only would have opened
        port.part = part
        port.open()
        assert port.part.rating.max_v == 500.0  # found in the answer to *IDN?
        fault = fault_of(lambda: battery(port, clock, hard_max_v=600.0))
        assert fault.kind == FaultKind.RANGE and "0..500 V" in fault.detail
    nominal = part.quantities["nominal_v"].model_copy(update={"default": 80.0})
    smaller = part.model_copy(update={"quantities": {**part.quantities, "nominal_v": nominal}})
    with opened(EA, part=smaller) as (port, served, clock):
        fault = fault_of(battery(port, clock).prepare)
        assert fault.kind == FaultKind.RANGE and "SYST:NOM:VOLT?" in fault.detail
        assert not served.twin.values["output"]


def test_a_supply_that_takes_nothing_in_keeps_its_sink_at_zero() -> None:
    with opened(RP, "dc_supply") as (port, served, clock):
        device = DcSupply(port, clock_s=clock, pause=passing(clock), **SUPPLY_LIMITS)
        device.prepare()
        assert served.twin.values["sink_a"] == 0.0 and served.twin.values["current_protection"]
        device.set_and_measure(48.0, 2.0)
        device.output(True)
        flow(served, clock, 48.0, 1.5)
        assert device.set_and_measure(48.0, 2.0).amp_a == pytest.approx(1.5)


def test_the_channel_of_a_mainframe_is_addressed_and_its_own_off_is_seen() -> None:
    limits = {"hard_max_v": 24.0, "hard_max_a": 2.0, "hard_max_w": 48.0}
    with opened(N67, "dc_supply") as (port, served, clock):
        device = DcSupply(port, channel=3, clock_s=clock, pause=passing(clock), **limits)
        device.prepare()
        device.set_and_measure(12.0, 1.0)
        device.output(True)
        assert served.twin.values["output"] == [False, False, True, False]
        assert served.twin.values["set_v"] == [0.0, 0.0, 12.0, 0.0]
        served.server.heard.clear()
        device.safe_off()
        assert served.heard()[-2:] == [b"OUTP OFF,(@4)", b"OUTP? (@3)"]
        assert fault_of(lambda: DcSupply(port, channel=5, **limits)).channel == "channel"


def test_a_protection_is_cleared_only_on_request_with_the_output_off_before_and_after() -> None:
    with opened(RP) as (port, served, clock):
        device = battery(port, clock)
        device.prepare()
        device.set_and_measure(400.0, 1.0, 1.0)
        device.output(True)
        served.loop.call(lambda: served.twin.trip("OV"))
        fault = fault_of(lambda: device.set_and_measure(400.0, 1.0, 1.0))
        assert fault.kind == FaultKind.PROTECTION
        assert "(OV)" in fault.detail
        fault = fault_of(lambda: device.output(True))  # latched: nobody clears it for you
        assert fault.kind in (FaultKind.REJECTED, FaultKind.READBACK) and "(OV)" in fault.detail
        served.server.heard.clear()
        device.clear_protection()
        switching = [m for m in served.heard() if m in (b"OUTP OFF", b"OUTP:PROT:CLE")]
        assert switching == [b"OUTP OFF", b"OUTP:PROT:CLE", b"OUTP OFF"]
        assert not served.twin.values["output"] and not served.twin.tripped


@pytest.mark.parametrize(("mode", "sent"), [("current", b"CURR 12.50;"), ("power", b"POW 1500;")])
def test_a_load_draws_in_its_mode_and_its_amps_are_positive(mode: str, sent: bytes) -> None:
    with opened(EL) as (port, served, clock):
        device = DcLoad(port, hard_max_a=40.0, hard_max_w=2000.0, mode=mode, pause=passing(clock))
        device.prepare()
        device.input(True)
        served.server.heard.clear()
        device.set_and_measure(12.5 if mode == "current" else 1500.0)
        assert served.heard()[0].startswith(sent)
        flow(served, clock, 60.0, -12.5)
        seen = device.set_and_measure(12.5 if mode == "current" else 1500.0)
        assert (seen.amp_a, seen.power_w, seen.on) == (pytest.approx(12.5), pytest.approx(750.0), True)
        too_much = 40.1 if mode == "current" else 2000.1
        assert fault_of(lambda: device.set_and_measure(too_much)).kind == FaultKind.RANGE


def test_what_a_family_cannot_do_is_refused_by_name_with_what_it_can() -> None:
    with opened(EL) as (port, _, _clock):
        assert "dc_load" in fault_of(lambda: DcSupply(port, **SUPPLY_LIMITS)).detail
        fault = fault_of(lambda: DcLoad(port, hard_max_a=1.0, mode="resistance"))
        assert fault.kind == FaultKind.INTERLOCK and "current, power" in fault.detail
    fixed = part_of(SOURCE)
    role = fixed.roles["ac_source"]
    can = role.can.model_copy(update={"frequency_hz": None, "angle": False})
    fixed = fixed.model_copy(update={"roles": {"ac_source": role.model_copy(update={"can": can})}})
    source = AcSource(
        ScpiPort("grid", fixed, "TCPIP::127.0.0.1::1::SOCKET"), phases=3, hard_max_v=250.0, hard_max_a=20.0
    )
    for act, what in (
        (lambda: source.set_frequency(60.0), "frequency"),
        (lambda: source.set_angles(120, 240), "angle"),
    ):
        fault = fault_of(act)
        assert fault.kind == FaultKind.INTERLOCK and fault.channel == what and "it can" in fault.detail
    fault = fault_of(lambda: AcSource(source.port, phases=2, hard_max_v=250.0, hard_max_a=20.0))
    assert "one, three" in fault.detail


def test_frequency_and_angles_are_written_and_read_back() -> None:
    with opened(SOURCE, "ac_source") as (port, served, clock):
        source = AcSource(port, phases=3, hard_max_v=250.0, hard_max_a=20.0, pause=passing(clock))
        source.prepare()
        source.set_frequency(49.5)
        source.set_angles(120.0, 240.0)
        assert served.twin.values["frequency_hz"] == 49.5 and served.twin.values["phase_13_deg"] == 240.0
        assert fault_of(lambda: source.set_frequency(5.0)).kind == FaultKind.RANGE


def test_a_slew_rate_in_volts_per_second_reaches_the_device_in_its_own_unit() -> None:
    with opened(SOURCE, "ac_source") as (port, served, clock):
        source = AcSource(port, phases=1, hard_max_v=250.0, hard_max_a=20.0, pause=passing(clock))
        source.prepare()
        source.set_slew(1250.0)
        assert served.twin.values["volt_slew"] == 1.25  # V/ms
    with opened(EA) as (port, _, clock):
        fault = fault_of(lambda: battery(port, clock).set_slew(1.0))
        assert fault.kind == FaultKind.INTERLOCK and fault.channel == "slew"


# ---------------------------------------------------------------- the pieces, without a wire


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("43.50V", True, 43.5),
        ("2.534kW", True, 2534.0),
        ("-12.5 A", True, -12.5),
        ("43.50V", False, math.nan),
        ("4 apples", True, math.nan),
        ("+1.000000E+01", False, 10.0),
        ("9.91E37", False, math.nan),
        ("-9.9E37", False, math.nan),
        ("NAN", True, math.nan),
        ("", True, math.nan),
        ("1.5\n", False, 1.5),
    ],
)
def test_an_answer_is_a_number_or_none(text: str, units: bool, value: float) -> None:
    assert number_of(text, units) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(("unit", "ours"), [("kW", 2000.0), ("V/ms", 2000.0), ("A/us", 2e6), ("mA", 2e-3), ("V", 2.0)])
def test_units_are_converted_there_and_back(unit: str, ours: float) -> None:
    assert to_ours(2.0, unit) == pytest.approx(ours) and to_theirs(ours, unit) == pytest.approx(2.0)


@pytest.mark.parametrize(("most_units", "most_bytes"), [(0, 0), (1, 0), (2, 0), (5, 0), (0, 30), (0, 60), (3, 45)])
def test_a_message_is_split_within_the_limits_and_nothing_is_lost_torn_or_reordered(
    most_units: int, most_bytes: int
) -> None:
    part = part_of(EA)
    part = part.model_copy(
        update={"parser": part.parser.model_copy(update={"max_units": most_units, "max_bytes": most_bytes})}
    )
    cycle = Cycle(
        message="VOLT {volt_v:.1f};LIM?;:CURR {amp_a:.1f};:MEAS:VOLT?;:MEAS:CURR?;*OPC?",
        order=["skip", "volt", "amp", "state"],
        units={"amp_a": "mA"},
        source="made up",
        verified="P",
    )
    sent = list(CyclePlan(part, cycle, 1).messages({"volt_v": 1.0, "amp_a": 0.5}))
    whole = ";:".join(message for message, _ in sent).replace(";:*", ";*")
    assert whole == "VOLT 1.0;LIM?;:CURR 500.0;:MEAS:VOLT?;:MEAS:CURR?;*OPC?"
    assert [name for _, names in sent for name in names] == cycle.order
    for message, _ in sent:
        assert message.startswith("VOLT 1.0;LIM?") or not most_units or message.count(";") < most_units
        assert message.startswith("VOLT 1.0;LIM?") or not most_bytes or len(message) < most_bytes


def test_a_service_watchdog_is_fed_by_the_cycle_itself() -> None:
    part = part_of(EA)
    plan = CyclePlan(part, part.roles["dc_supply"].cycle["voltage"], 1)
    (first, names), (_, later) = plan.messages({"volt_v": 1.0, "amp_a": 1.0, "power_w": 1.0}, "SYST:WATC:SERV")
    assert first.startswith("SYST:WATC:SERV;:SOUR:VOLT 1.00;:") and "error" not in names
    assert later[-1] == "error"


class Lines:
    """Stand for a port: one answer line for every query."""

    def __init__(self, part: ScpiPart, line: str) -> None:
        self.name, self.part, self.line = "meter", part, line

    def exchange(self, message: str, order: list[str]) -> dict[str, str]:
        return dict(zip(order, self.line.split(";"), strict=True))


def test_an_analyzer_reads_its_phases_in_our_units_and_tells_what_is_no_number() -> None:
    part = part_of(EA)
    role = part.roles["dc_supply"]
    cycle = Cycle(
        message=":NUM:VAL?;:STAT:ERR?",
        order=["volt_a, volt_b, volt_c, amp_a, amp_b, amp_c, power_a, power_b, power_c, frequency", "error"],
        units={f"power_{phase}": "kW" for phase in "abc"},
        source="made up",
        verified="P",
    )
    analyzer = role.model_copy(update={"cycle": {"three": cycle}, "setup": {}})
    quiet = part.watchdog.model_copy(update={"kind": "none"})
    part = part.model_copy(update={"roles": {"analyzer": analyzer}, "watchdog": quiet})
    port: Any = Lines(part, '230.0,231,NAN,16,-1.5E+00,9.91E37,3.68,0,INF,50.01;0,"No error"')
    seen = Analyzer(port, phases=3).measure()
    np.testing.assert_array_equal(seen.volt_v, [230.0, 231.0, math.nan])
    np.testing.assert_array_equal(seen.amp_a, [16.0, -1.5, math.nan])
    np.testing.assert_array_equal(seen.power_w, [3680.0, 0.0, math.nan])
    assert seen.frequency_hz == 50.01
    port.line = '1,2,3;0,"No error"'
    assert fault_of(Analyzer(port, phases=3).measure).kind == FaultKind.PROTOCOL
