"""A bench of real instruments says what protects people, and its devices are all of one world; else it is refused."""

import pytest
from kill_lane import parts_of, small_rig

from hil.rig.rigfile import RigError, load_rig
from hil.runs.guard_table import guard_lines, guard_rows

PLACES = {
    "charger": "modbus+tcp://192.0.2.1:502",
    "substation": "opc.tcp://192.0.2.2:4840",
    "source": "TCPIP::192.0.2.3::2101::SOCKET",
    "load": "TCPIP::192.0.2.4::30000::SOCKET",
    "adapter": "modbus+tcp://192.0.2.5:502",
    "estop": "modbus+tcp://192.0.2.6:502",
}


@pytest.fixture
def real():
    """Return a small rig whose devices are all real."""
    rig = small_rig("ac")
    for part, place in zip(parts_of(rig), PLACES.values(), strict=True):
        del part["twin"]
        part["real"] = place
    return rig


def told(path):
    """Return {key: what is told} of a refused rig."""
    with pytest.raises(RigError) as caught:
        load_rig(str(path))
    return {problem.where.partition(":")[2]: problem.allowed for problem in caught.value.problems}


def test_a_rig_of_real_devices_with_its_protection_told_is_taken(real, write_rig):
    assert load_rig(str(write_rig(real))).rig.safety.rcd == "type B 30 mA"


def test_real_instruments_need_emergency_stop_rcd_and_bond(real, write_rig):
    real["safety"] = {"estop": real["safety"]["estop"]}
    found = told(write_rig(real))
    assert set(found) == {"safety.emergency_stop", "safety.rcd", "safety.n_pe_bond"}
    assert 'rcd = "type B 30 mA"' in found["safety.rcd"]


def test_an_emergency_stop_that_is_not_there_is_refused(real, write_rig):
    real["safety"]["emergency_stop"] = False
    assert "then write emergency_stop = true" in told(write_rig(real))["safety.emergency_stop"]


def test_an_emulated_bench_is_asked_for_nothing(write_rig):
    rig = small_rig("ac")
    del rig["safety"]
    assert load_rig(str(write_rig(rig))).rig.safety.estop is None


def test_one_wire_does_not_join_an_emulated_and_a_real_device(real, write_rig):
    source = real["bench"]["source"]
    del source["real"]
    source["twin"] = True
    found = told(write_rig(real))
    assert "bench.source emulated and" in found["bench"]
    assert "make both real or both twins" in found["safety.estop"]


def test_a_coil_that_the_card_has_not_is_refused(real, write_rig):
    real["safety"]["estop"]["coil"] = "stop"
    assert "relay-card has the coils estop, pilot_b" in told(write_rig(real))["safety.estop.coil"]


def test_a_relay_without_a_bench_is_refused(write_rig):
    rig = small_rig("ac")
    del rig["bench"]
    assert "no [bench]" in told(write_rig(rig))["safety.estop"]


def test_check_without_a_bench_shows_no_guards(tmp_path):
    from types import SimpleNamespace

    assert guard_lines(guard_rows(SimpleNamespace(bench=None))) == []
