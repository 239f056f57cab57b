"""Hold the twins to the letter of IEEE 488.2 and SCPI-99, both dialects, with the answer expected of each."""

import pytest
from scpi_helpers import LOAD, SOURCE, Clock, part_of

from hil.twins import scpi_grammar as grammar
from hil.twins.scpi_device import ScpiDevice
from hil.twins.scpi_load import AcLoadTwin
from hil.twins.scpi_source import AcSourceTwin


def twin_of(model: str, clock: Clock | None = None) -> ScpiDevice:
    """Return a twin under remote control with nothing in its queue."""
    kind = AcSourceTwin if model == SOURCE else AcLoadTwin
    twin = kind(part_of(model), clock or Clock())
    twin.answer(b"SYST:REM;*CLS")
    return twin


def play(twin: ScpiDevice, message: str) -> tuple[str, list[int]]:
    """Send one message; return its reply without terminator and the codes that it left in the queue."""
    reply = twin.answer(message.encode())
    codes = []
    while len(twin.status.errors):
        codes.append(int(twin.status.errors.pop().split(",")[0]))
    return (reply or b"").decode().rstrip("\n"), codes


# message, reply, codes: {V} is the volts header of the source, {A} the amps header of the load
SOURCE_VECTORS = [
    ("VOLT:AC 10;LIM:AC 200;:VOLT:LIM:AC?", "200.00", []),  # the path stays at VOLT
    ("VOLT:AC 10;:CURR:LIM 5;:VOLT:AC?;:CURR:LIM?", "10.00;5.00", []),
    ("SOUR:VOLT:AC 10;SOUR:CURR:LIM 5", "", []),  # lenient path: the manual repeats VOLT after VOLT:AC
    ("VOLT:AC 220", "", [-222]),  # the low range ends at 150 V
    ("VOLT:AC 220;VOLT:RANG HIGH;:VOLT:AC?", "220.00", []),  # coupled: applied at the end of the message
    ("volt:level:immediate:amplitude:ac 12 V;ac?", "12.00", []),
    ("VOLT:AC 0.01KV;AC?", "10.00", []),
    ("VOLT:AC? MAX", "150.00", []),
    ("VOLT:AC? MIN;AC? DEF", "0.00;0.00", []),
    ("VOLT:AC MAX;AC?", "150.00", []),
    ("VOLTA:AC 10", "", [-113]),  # neither short nor long
    ("OUTP:STAT ON;PROT:CLE;:OUTP?", "1", []),
    ("OUTP 0.4;:OUTP?", "0", []),  # rounds to 0
    ("OUTP9 ON", "", [-114]),
    ("VOLT:AC#H10", "", [-111]),
    ("VOLT:AC #H10;AC?", "16.00", []),
    ("MEAS:CURR:AC?;:OUTP?;:SYST:ERR?", '0.00;0;0,"No error"', []),
    ("FREQ:CW 50;:FREQ?", "50.00", []),
    ("INST:PHAS SINGLE;PHAS?", "SING", []),
]
LOAD_VECTORS = [
    ("CURR 5;PROT 10;:CURR?", "", [-113]),  # path: the root, where PROT has another meaning and needs :CLEar
    ("CURR 5;CURR:PROT 10;:CURR?;:CURR:PROT?", "5.000000E+00;1.000000E+01", []),
    ("SOUR:CURR 10;SOUR:CURR:PROT 5", "", [-113]),  # strict path: SOUR:SOUR
    ("SOUR:CURR 10;CURR:PROT 15;:CURR?", "1.000000E+01", []),
    ("CURR 500MA;CURR?", "5.000000E-01", []),  # milliampere, not mega
    ("CURR 1 MAV", "", [-131]),
    ("CURR:PROT:DEL 100 MS;DEL?", "1.000000E-01", []),
    ("CURR:PROT:STAT ON;STAT?", "1", []),
    ("CURR? MAX;:CURR:PROT? MAX", "1.200000E+02;1.260000E+02", []),
    ("FUNC POWER;FUNC?", "POW", []),
    ("INP:STAT ON;STAT?", "1", []),
    ("MEAS:VOLT:RMS?;RMS?", "0.000000E+00;0.000000E+00", []),
]
BOTH_VECTORS = [
    ("{S} 1e9", "", [-222]),
    ("{S} ABC", "", [-141]),
    ("{S}", "", [-109]),
    ("{S} 1,2", "", [-108]),
    ("{S} 5 S", "", [-131]),
    ("{S} 'x'", "", [-158]),
    ("{S} (@1)", "", [-178]),
    ("{S} #15abc", "", [-168]),
    ("{S} 1e400", "", [-123]),
    ("{S} 1..2", "", [-121]),
    ("{S}? 5", "", [-108]),
    ("{S}: 5", "", [-102]),
    ("{S}?(@1)", "", [-103]),
    ("{S} ,1", "", [-102]),
    ("FOO", "", [-113]),
    ("FOO?", "", [-113]),
    ("VERYLONGMNEMONIC 1", "", [-112]),
    ('"abc', "", [-101]),
    ("{S} 'abc", "", [-151]),
    ("*RSTSYST:RWL", "", [-113]),
    ("*FOO?", "", [-113]),
    ("{S} 1;FOO;{S} 2;:{S}?", "", [-113]),  # the unit before is executed, those after are dropped
    ("*OPC?;:SYST:ERR:COUN?", "1;0", []),
    ("*OPC?;*TST?;*ESE?", "1;0;0", []),
    ("*TRG", "", [-211]),
    ("*ESE 300", "", [-222]),
    ("SYST:REM 1", "", [-108]),
    ("SYST:VERS?", "1999.0", []),
    (";;", "", []),
]
SETTING = {SOURCE: "VOLT:AC", LOAD: "CURR"}
ALL = (
    [(SOURCE, *vector) for vector in SOURCE_VECTORS]
    + [(LOAD, *vector) for vector in LOAD_VECTORS]
    + [(model, *vector) for model in (SOURCE, LOAD) for vector in BOTH_VECTORS]
)


@pytest.mark.parametrize(("model", "message", "reply", "codes"), ALL)
def test_vector(model: str, message: str, reply: str, codes: list[int]) -> None:
    assert play(twin_of(model), message.format(S=SETTING[model])) == (reply, codes)


@pytest.mark.parametrize("model", [SOURCE, LOAD])
def test_a_query_after_the_identity_is_refused_and_what_came_before_is_answered(model: str) -> None:
    sample = part_of(model).identity.sample
    assert play(twin_of(model), "*OPC?;*IDN?;*OPC?") == (f"1;{sample}", [-440])
    assert play(twin_of(model), "*IDN?") == (sample, [])


@pytest.mark.parametrize("model", [SOURCE, LOAD])
def test_units_before_a_bad_one_have_taken_effect(model: str) -> None:
    twin, setting = twin_of(model), SETTING[model]
    assert play(twin, f"{setting} 7;FOO;{setting} 9")[1] == [-113]
    assert float(play(twin, f"{setting}?")[0]) == 7.0


@pytest.mark.parametrize("model", [SOURCE, LOAD])
def test_the_error_queue_keeps_the_oldest_and_ends_with_overflow(model: str) -> None:
    twin, depth = twin_of(model), part_of(model).parser.error_depth
    for _ in range(depth + 10):
        twin.answer(b"FOO")
    answers = [(twin.answer(b"SYST:ERR?") or b"").decode().strip() for _ in range(depth + 1)]
    assert answers[: depth - 1] == ['-113,"Undefined header"'] * (depth - 1)
    assert answers[depth - 1 :] == ['-350,"Queue overflow"', '0,"No error"']


def test_the_standard_event_register_names_the_class_of_each_error_and_is_cleared_by_reading() -> None:
    twin = twin_of(LOAD)
    twin.answer(b"*ESR?")
    twin.answer(b"FOO;*CLS")
    twin.answer(b"CURR 1e9")
    assert play(twin, "*ESR?")[0] == str(32 + 16)
    assert play(twin, "*ESR?")[0] == "0"


def test_the_status_byte_sums_up_what_is_enabled() -> None:
    twin = twin_of(LOAD)
    twin.answer(b"*CLS;*ESE 32;*SRE 36")
    twin.answer(b"FOO")
    assert play(twin, "*STB?")[0] == str(64 + 32 + 4)
    assert play(twin, "*OPC?;*STB?")[0] == f"1;{64 + 32 + 16}"  # an answer waits; the queue was emptied by play
    twin.answer(b"*CLS")
    assert play(twin, "*STB?")[0] == "0"
    assert play(twin, "*ESE?;*SRE?")[0] == "32;36"  # enables survive *CLS


def test_transition_filters_decide_what_is_latched() -> None:
    twin = twin_of(SOURCE)
    twin.answer(b"STAT:QUES:PTR 0;NTR 2;ENAB 2")
    twin.trip("OCP")
    assert play(twin, "STAT:QUES:COND?;EVEN?")[0] == "2;0"
    twin.answer(b"OUTP:PROT:CLE")
    assert play(twin, "STAT:QUES:COND?;EVEN?;:STAT:QUES?")[0] == "0;2;0"
    twin.answer(b"STAT:PRES")
    assert play(twin, "STAT:QUES:PTR?;NTR?;ENAB?")[0] == f"{0x7FFF};0;0"


def test_a_setting_in_local_is_refused_and_a_query_is_not() -> None:
    twin = twin_of(LOAD)
    twin.answer(b"SYST:LOC")
    assert play(twin, "CURR 5") == ("", [-221])
    assert play(twin, "CURR?") == ("0.000000E+00", [])


def test_reset_leaves_the_queue_and_makes_the_device_deaf_for_the_catalogs_time() -> None:
    clock = Clock()
    twin = twin_of(SOURCE, clock)
    twin.answer(b"VOLT:AC 100;:OUTP:REL ON;:OUTP ON;FOO")
    twin.answer(b"*RST")
    assert twin.answer(b"*OPC?") is None
    clock.now_s += part_of(SOURCE).reset.deaf_s
    assert twin.answer(b"VOLT:AC?;:OUTP?") == b"0.00;0\n"
    assert twin.answer(b"SYST:ERR?") == b'-113,"Undefined header"\n'


def test_settings_are_saved_and_recalled_with_the_output_off() -> None:
    twin = twin_of(SOURCE)
    twin.answer(b"VOLT:AC 100;:OUTP ON;*SAV 1")
    twin.answer(b"VOLT:AC 50;*RCL 1")
    assert play(twin, "VOLT:AC?;:OUTP?")[0] == "100.00;0"
    assert play(twin, "*RCL 3")[1] == [-224]


@pytest.mark.parametrize(("depth", "prefix", "found"), [("VOLTAG", True, True), ("VOLTAG", False, False)])
def test_forms_between_short_and_long_belong_to_the_prefix_profile(depth: str, prefix: bool, found: bool) -> None:
    root = grammar.Node()
    root.add("[SOURce:]VOLTage", "act")
    assert (grammar.walk(root, (depth,), prefix) is not None) is found


def test_a_header_in_notation_gives_every_path_it_allows() -> None:
    assert sorted(grammar.variants("[SOURce:]FREQuency[:CW|IMMediate]")) == [
        ("FREQuency",),
        ("FREQuency", "CW"),
        ("FREQuency", "IMMediate"),
        ("SOURce", "FREQuency"),
        ("SOURce", "FREQuency", "CW"),
        ("SOURce", "FREQuency", "IMMediate"),
    ]


@pytest.mark.parametrize("size", [256, 300])
def test_a_message_longer_than_the_input_buffer_is_refused_whole(size: int) -> None:
    part = part_of(LOAD)
    small = part.model_copy(update={"parser": part.parser.model_copy(update={"max_bytes": 256, "max_units": 5})})
    twin = AcLoadTwin(small, Clock())
    twin.answer(b"SYST:REM")
    message = "CURR 5".ljust(size)
    assert play(twin, message)[1] == ([] if size <= 256 else [-225])
    assert twin.values["set_a"] == (5.0 if size <= 256 else 0.0)
    assert play(twin, "*OPC;*OPC;*OPC;*OPC;*OPC;CURR 7")[1] == [-225]
