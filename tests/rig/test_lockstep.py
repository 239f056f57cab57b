"""The street in virtual time: the same bits by seed, lower volts without control, events that end, a true replay."""

import copy

import numpy as np
import pytest
from commandline import toml_text

from controller.runtime.ledger_format import files
from controller.runtime.replay import replay
from hil.rig.assembler import assemble
from hil.rig.rigfile import load_rig
from hil.runs.fast import run_fast
from hil.runs.trace import COLUMNS

FOR_S = 60.0
STEP_S = 0.5


def evening(hamlet):
    """Return the hamlet with an order, a cut link and a frozen value that end within a minute."""
    rig = copy.deepcopy(hamlet)
    rig["scenario"]["events"] = [
        {"at_s": 5.0, "kind": "cut_link", "chargers": ["cp08"], "for_s": 30.0},
        {"at_s": 10.0, "kind": "order", "node": "head", "limit_w": 6000.0, "for_s": 30.0},
        {"at_s": 12.0, "kind": "freeze", "node": "head", "quantity": "A", "for_s": 10.0},
    ]
    return rig


@pytest.fixture(scope="module")
def assembly(hamlet, tmp_path_factory):
    path = tmp_path_factory.mktemp("rig") / "hamlet.toml"
    path.write_text(toml_text(evening(hamlet)))
    return assemble(load_rig(str(path)), horizon_s=FOR_S)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def controlled(assembly, run_dir):
    return run_fast(assembly, FOR_S, STEP_S, ledger_dir=run_dir)


@pytest.fixture(scope="module")
def uncontrolled(assembly):
    return run_fast(assembly, FOR_S, STEP_S, controlled=False)


def test_two_runs_of_a_seed_are_the_same_bits(assembly, controlled):
    again = run_fast(assembly, FOR_S, STEP_S)
    for column in COLUMNS:
        assert getattr(again.trace, column.name).tobytes() == getattr(controlled.trace, column.name).tobytes(), column
    assert again.log == controlled.log


def test_without_control_the_street_falls_below_its_bound():
    street = assemble(load_rig("street"))
    with_control, without = (run_fast(street, 2.0, STEP_S, controlled=on).trace for on in (True, False))
    bound_v = street.rig.verdict.voltage_min_pu * 230.0
    assert without.customer_v.min() < bound_v < with_control.customer_v.min()


def test_control_lowers_what_is_drawn(controlled, uncontrolled):
    late = controlled.trace.t_s > 45.0
    assert controlled.trace.drawn_a[late].sum() < 0.7 * uncontrolled.trace.drawn_a[late].sum()


def test_without_control_every_car_draws_all_it_can(uncontrolled):
    assert (uncontrolled.trace.drawn_a[0] > 31.0).all()


def test_the_window_is_drawn_by_its_chargers_within_the_obey_time(assembly, controlled):
    trace = controlled.trace
    before = trace.t_s < 9.0
    named = [assembly.charger_names.index(name) for name in ("cp01", "cp16")]
    after = trace.t_s > 10.0 + assembly.plan().obey_s.max() + 1.0
    assert trace.allowed_a[before][:, named].min() > 6.0
    assert trace.drawn_a[after][:, named].max() <= 6.0 + 0.5


def test_events_take_place_once_at_their_time_and_are_written_down(controlled):
    assert [(entry["event"], entry["t_s"]) for entry in controlled.log] == [
        ("cut_link", pytest.approx(5.0)),
        ("order", pytest.approx(10.0)),
        ("freeze", pytest.approx(12.0)),
    ]
    assert controlled.log[0]["charger"] == "cp08"


def test_a_cut_link_ends_after_its_time_and_the_charger_falls_meanwhile(assembly, controlled):
    trace, i = controlled.trace, assembly.charger_names.index("cp08")
    cut = (trace.t_s > 5.0) & (trace.t_s < 35.0)
    assert not trace.link[cut, i].any()
    assert trace.link[(trace.t_s < 5.0), i].all()
    assert trace.link[(trace.t_s > 42.0), i].all()
    fallen = (trace.t_s > 5.0 + 10.0 + 10.0) & cut  # its time-out, then PWM and car
    assert trace.failsafe_active[cut][-1, i]
    assert trace.drawn_a[fallen, i].max() == 0.0
    assert (np.delete(trace.link, i, axis=1)).all()


def test_an_order_holds_from_its_time_and_ends(controlled):
    trace = controlled.trace
    inside = (trace.t_s >= 10.0) & (trace.t_s < 40.0)
    assert np.nanmax(np.where(np.isfinite(trace.order_w), trace.t_s, np.nan)) <= 40.0 + STEP_S
    assert (trace.order_w[inside][1:] == 6000.0).all()


def test_a_replay_of_the_ledger_decides_the_same(controlled, run_dir):
    result = replay(run_dir)
    assert (result.scans, result.different, result.gaps, result.left_bytes) == (len(controlled.trace.t_s), 0, 0, 0)
    assert result.identical


def test_a_flipped_byte_in_the_ledger_is_found(controlled, run_dir, tmp_path):
    for k, source in enumerate(files(run_dir)):
        data = bytearray(source.read_bytes())
        if k == 0:
            data[len(data) // 2] ^= 0x10
        (tmp_path / "ledger").mkdir(exist_ok=True)
        (tmp_path / "ledger" / source.name).write_bytes(data)
    result = replay(tmp_path)
    assert result.left_bytes > 0
    assert result.scans < len(controlled.trace.t_s)


def test_cars_come_and_go_over_a_day(hamlet, tmp_path):
    rig = copy.deepcopy(hamlet)
    rig["scenario"]["events"] = []
    path = tmp_path / "day.toml"
    path.write_text(toml_text(rig))
    day_s = 2 * 86400.0
    day = assemble(load_rig(str(path)), horizon_s=day_s)
    trace = run_fast(day, day_s, 60.0).trace
    plugged = trace.state >= 1
    for i in range(len(day.evse)):
        moves = [event for event in day.sessions if event.charger == i and 0 < event.at_s < day_s]
        assert np.count_nonzero(np.diff(plugged[:, i].astype(int))) == len(moves)
    assert trace.drawn_a[~plugged].max() == 0.0
    assert (trace.energy_wh > 0).all()
