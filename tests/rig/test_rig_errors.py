"""A broken rig file is refused whole: every error at once, each with file:key, value and what is allowed."""

import pytest

from hil.rig.rigfile import RigError, find_rig, load_rig

INF = float("inf")


def problems(path):
    """Return {file:key: (value, what is allowed)} of a refused rig."""
    with pytest.raises(RigError) as caught:
        load_rig(str(path))
    found = {problem.where: (problem.value, problem.allowed) for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems), "the same place told twice"
    return found


def set_at(rig, path, value):
    """Set a key by its dotted path; numbers are indices. `...` removes it."""
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        rig = rig[part]
    if value is ...:
        del rig[last]
    else:
        rig[last] = value


# where it is changed, to what; where it is told (after "bad.toml:"), the value told, a word of what is allowed
SINGLE = {
    "unknown key with its nearest": ("feeder.hed_a", 3.0, "feeder.hed_a", "3.0", "did you mean head_a?"),
    "unknown key without one": ("rig.zzz", 1, "rig.zzz", "1", "known keys: name, title"),
    "unknown table": ("chargerz", {"a": 1}, "chargerz", '{"a": 1}', "did you mean charger?"),
    "wrong unit": ("scenario.events.0.limit_kw", 45.0, "scenario.events[0].limit_kw", "45.0", "limit_w"),
    "number in quotes": ("feeder.connection_a", "6 A", "feeder.connection_a", '"6 A"', "a number in A"),
    "word for a number": ("law.filter_s", "fast", "law.filter_s", '"fast"', "a number in s"),
    "truth for a number": ("feeder.head_a", True, "feeder.head_a", "true", "a number in A"),
    "negative cap": ("feeder.head_a", -315.0, "feeder.head_a", "-315.0", "greater than or equal to 0"),
    "negative order": ("scenario.events.0.limit_w", -1.0, "scenario.events[0].limit_w", "-1.0", "or equal to 0"),
    "no finite limit": ("bench.source.hard_max_v", INF, "bench.source.hard_max_v", "Infinity", "finite"),
    "not a number": ("law.design_a", float("nan"), "law.design_a", "NaN", "finite"),
    "missing hard limit": ("bench.load.hard_max_a", ..., "bench.load.hard_max_a", "", "required"),
    "missing table": ("verdict", ..., "verdict", "", "required"),
    "missing customer": ("charger.1.customer", 99, "charger[1].customer", "99", "1..55"),
    "customer zero": ("charger.1.customer", 0, "charger[1].customer", "0", "greater than or equal to 1"),
    "unknown feeder": ("feeder.name", "ieee_eu_hv", "feeder.name", '"ieee_eu_hv"', "ieee_eu_lv"),
    "unknown households": ("feeder.households", "igloo", "feeder.households", '"igloo"', "simbench"),
    "unknown model": ("charger.2.model", "keba-p31", "charger[2].model", '"keba-p31"', "did you mean keba-p30?"),
    "model of another role": ("charger.2.model", "itech-it8600", "charger[2].model", '"itech-it8600"', "charger is"),
    "unknown vehicle": ("charger.2.vehicle", "bev_1p_23a", "charger[2].vehicle", '"bev_1p_23a"', "bev_1p_32a"),
    "more amps than it takes": ("charger.2.hard_max_a", 80.0, "charger[2].hard_max_a", "80 A", "at most"),
    "unknown charger in a contract": ("contract.0.chargers.1", "cp99", "contract[0].chargers[1]", '"cp99"', "no c"),
    "unknown charger on the bench": ("bench.charger", "cp61", "bench.charger", '"cp61"', "did you mean cp16?"),
    "unknown contract": ("contract.0.file", "flexpower", "contract[0].file", '"flexpower"', "flexpower_1"),
    "name twice": ("charger.14.name", "cp13", "charger[14].name", '"cp13"', "names must differ"),
    "twin and real": ("charger.2.real", "modbus+tcp://10.0.0.9:502", "charger[2]", "both", 'real = "address"'),
    "neither twin nor real": ("charger.2.twin", ..., "charger[2]", "", 'real = "address"'),
    "port out of range": ("charger.2.port", 70000, "charger[2].port", "70000", "65535"),
    "droop that falls": ("law.droop.points", [[0.95, 1.0], [0.96, 0.5]], "law.droop.points", "[[0.95", "must rise"),
    "one droop point": ("law.droop.points", [[0.95, 1.0]], "law.droop.points", "[[0.95", "at least 2"),
    "unknown zone": ("rig.timezone", "Mars/Olympus", "rig.timezone", '"Mars/Olympus"', "IANA"),
    "folder of zones": ("rig.timezone", "Europe", "rig.timezone", '"Europe"', "IANA"),
    "rig name that is a path": ("rig.name", "../street", "rig.name", '"../street"', "match pattern"),
    "unknown kind of event": ("scenario.events.0.kind", "fire", "scenario.events[0].kind", '"fire"', "order"),
}  # fmt: skip


@pytest.mark.parametrize("case", SINGLE)
def test_one_error_is_told_with_file_key_value_and_what_is_allowed(street, write_rig, case):
    path, value, key, told, allowed = SINGLE[case]
    set_at(street, path, value)
    found = problems(write_rig(street))
    assert list(found) == [f"bad.toml:{key}"]
    was, text = found[f"bad.toml:{key}"]
    assert told in was
    assert allowed in text


def test_all_errors_come_at_once_whatever_their_kind(street, write_rig):
    wrong = ["unknown key with its nearest", "wrong unit", "number in quotes", "missing customer", "unknown model"]
    wrong += ["unknown vehicle", "unknown charger on the bench", "missing hard limit", "droop that falls"]
    wrong += ["unknown zone", "unknown contract", "name twice", "negative order"]
    for case in wrong:
        set_at(street, *SINGLE[case][:2])
    for k in (4, 5):
        street["charger"][k]["port"] = 5020
    found = problems(write_rig(street))
    assert set(found) == {f"bad.toml:{SINGLE[case][2]}" for case in wrong} | {"bad.toml:charger[5].port"}
    assert "cp05 is there already" in found["bad.toml:charger[5].port"][1]


def test_an_event_on_an_unknown_charger_is_told(street, write_rig):
    street["scenario"]["events"][1]["chargers"] = ["cp01", "cpx"]
    assert problems(write_rig(street))["bad.toml:scenario.events[1].chargers[1]"][0] == '"cpx"'


def test_an_event_without_what_its_kind_needs_is_told(street, write_rig):
    del street["scenario"]["events"][0]["limit_w"]
    street["scenario"]["events"][1]["chargers"] = []
    found = problems(write_rig(street))
    assert "limit_w (W; 0 means 0 W)" in found["bad.toml:scenario.events[0]"][1]
    assert "cut_link needs chargers" in found["bad.toml:scenario.events[1]"][1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("modbus+tcp://10.0.0.9:502", "modbus+tcp://10.0.0.9:502"),
        ("modbus+tcp://Charger:502", "modbus+tcp://charger:0502"),
    ],
)
def test_two_devices_at_one_address_are_refused(street, write_rig, first, second):
    for k, address in ((0, first), (1, second)):
        del street["charger"][k]["twin"]
        street["charger"][k]["real"] = address
    found = problems(write_rig(street))
    assert list(found) == ["bad.toml:charger[1].real"]
    assert "cp01 is there already" in found["bad.toml:charger[1].real"][1]


def test_a_real_device_on_the_port_of_a_twin_is_refused(street, write_rig):
    street["charger"][0]["port"] = 5020
    street["charger"][1].update(twin=False, real="modbus+tcp://127.0.0.1:5020")
    assert list(problems(write_rig(street))) == ["bad.toml:charger[1].real"]


@pytest.mark.parametrize(
    ("place", "address", "form"),
    [
        ("charger.0", "10.0.0.9:502", "modbus+tcp://host:port"),
        ("charger.0", "modbus+tcp://10.0.0.9:99999", "modbus+tcp://host:port"),
        ("charger.0", "opc.tcp://10.0.0.9:502", "modbus+tcp://host:port"),
        ("substation", "http://10.0.0.9:4840", "opc.tcp://host:port"),
        ("bench.source", "GPIB0::9::INSTR", "TCPIP::host::port::SOCKET"),
    ],
)
def test_an_address_that_no_device_of_the_role_has_is_told_with_the_form(street, write_rig, place, address, form):
    set_at(street, f"{place}.twin", False)
    set_at(street, f"{place}.real", address)
    key = "charger[0]" if place == "charger.0" else place
    value, allowed = problems(write_rig(street))[f"bad.toml:{key}.real"]
    assert (value, form in allowed) == (f'"{address}"', True)


@pytest.mark.parametrize("text", ["[rig\n", 'name = "a"\nname = "b"\n', "limit = 6 A\n"])
def test_broken_toml_is_told_with_its_line(write_rig, text):
    ((where, (_, allowed)),) = problems(write_rig(text)).items()
    assert where == "bad.toml"
    assert allowed.startswith("not a TOML file")
    assert "line" in allowed


def test_a_file_of_bytes_and_an_empty_one_are_refused(tmp_path, write_rig):
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not a TOML file" in problems(path)["bad.toml"][1]
    assert "bad.toml:charger" in problems(write_rig(""))


def test_tables_of_the_wrong_kind_never_break_the_check(street, write_rig):
    street["charger"] = [1, "x", {"name": 3, "model": ["keba-p30"], "customer": "one"}]
    street["bench"] = [{"charger": "cp01"}]
    street["law"]["droop"]["points"] = [["a", 1], 3]
    found = problems(write_rig(street))
    assert {"bad.toml:charger[0]", "bad.toml:charger[1]", "bad.toml:charger[2].name", "bad.toml:bench"} <= set(found)


def test_a_rig_that_is_not_there_is_told_with_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RigError, match=r"RIG = nosuch: no rig of this name; bundled: .*street"):
        find_rig("nosuch")
    with pytest.raises(RigError, match=r"nosuch\.toml: no such file"):
        find_rig("nosuch.toml")
    (tmp_path / "street").mkdir()  # a run folder by that name must not hide the bundled rig
    assert find_rig("street").name == "street.toml"
