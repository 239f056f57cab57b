"""`check` and `run` end with exit 3 where nothing would switch an instrument off, and say what is missing."""

import json
import tomllib

import pytest
from commandline import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unguarded():
    """Return the DC bench without its relay: its supply takes one client, and its watchdog is not verified."""
    rig = tomllib.loads((ROOT / "profiles" / "rigs" / "bench_dc.toml").read_text())
    del rig["safety"]
    return rig


def test_check_names_what_is_missing_and_shows_how_each_instrument_is_held(unguarded, write_rig, run_voltbench):
    ended = run_voltbench("check", write_rig(unguarded), "--json")
    assert ended.returncode == 3, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["exit"] == 3
    (fault,) = answer["faults"]
    assert fault.startswith("battery:guard: interlock: nothing switches it off")
    assert "takes 1 client at a time" in fault and "no estop relay" in fault
    (row,) = answer["guards"]
    assert row["guarded by"] == "nothing"
    assert row["limits programmed"] == "420 V, 10 A, 32 A sink"
    assert row["safe-off order"] == "OUTP OFF"


def test_run_energises_nothing_that_nothing_would_switch_off(unguarded, write_rig, run_voltbench, tmp_path):
    ended = run_voltbench("run", write_rig(unguarded), "--for", "3s", "--out", tmp_path / "run")
    assert ended.returncode == 3, ended.stderr
    assert "battery:guard: interlock" in ended.stderr
    assert '"twin_output"' not in (tmp_path / "run" / "events.jsonl").read_text()
