"""Faults of chargers as events of a scenario: in closed loop, written down, over at their time."""

import asyncio
import copy

import numpy as np
import pytest
from commandline import toml_text

from hil.plant.pilot import Pilot
from hil.rig.assembler import assemble
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import RigError, load_rig
from hil.runs.judging import fault_marks
from hil.twins.modbus_charger import ModbusChargerTwin
from hil.twins.modbus_server import NoAnswer
from instruments.catalog import modbus_of

NAME = "cp08"
AT_S, FOR_S = 5.0, 60.0


def rig_of(hamlet, events: list, **keys):
    """Return the hamlet without bench, contracts and orders, with these events and keys of the one charger."""
    rig = copy.deepcopy(hamlet)
    rig.pop("bench")
    rig["contract"] = []
    rig["scenario"]["events"] = events
    next(part for part in rig["charger"] if part["name"] == NAME).update(keys)
    return rig


class Watch:
    """Keep, scan by scan: time, amps drawn (N,), state, amps as read, link."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def record(self, t_s, world, inp, out) -> None:
        """Keep one scan."""
        self.rows.append(
            (t_s, world.drawn_a.copy(), world.fleet.state.copy(), inp.charger_a.copy(), inp.charger_link.copy())
        )

    def column(self, k: int) -> np.ndarray:
        """Return one column over the scans."""
        return np.array([row[k] for row in self.rows])


@pytest.fixture
def play(hamlet, tmp_path):
    """Return a function that plays a fault of one charger in closed loop, from -120 s to 160 s."""

    def run(kind: str, for_s: float = FOR_S, extra: dict | None = None, **keys) -> tuple[Lockstep, Watch, int]:
        event = {"at_s": AT_S, "kind": kind, "chargers": [NAME], "for_s": for_s} | (extra or {})
        path = tmp_path / "faults.toml"
        path.write_text(toml_text(rig_of(hamlet, [event], **keys)))
        done = Lockstep(assemble(load_rig(str(path)), horizon_s=300.0), -120.0)
        done.run(0.0, 1.0)
        seen = Watch()
        done.run(160.0, 0.5, seen)
        return done, seen, done.assembly.charger_names.index(NAME)

    return run


@pytest.mark.parametrize(
    ("kind", "state"),
    [("emergency_stop", Pilot.F), ("rcd_trip", Pilot.F), ("black_out", Pilot.E), ("reboot", Pilot.E)],
)
def test_a_stop_takes_its_charger_and_nobody_else_and_ends(play, kind: str, state: Pilot) -> None:
    run, seen, i = play(kind)
    t_s, drawn_a, states = seen.column(0), seen.column(1), seen.column(2)
    during = (t_s > AT_S + 2.0) & (t_s < AT_S + 28.0)
    others = [k for k in range(run.world.n) if k != i]
    assert drawn_a[t_s < AT_S, i].min() > 6.0
    assert drawn_a[during, i].max() == 0.0 and set(states[during, i]) == {state}
    assert drawn_a[during][:, others].min() > 6.0
    run.run(480.0, 1.0)  # boot, back-off of the link, the law's minimum off time
    assert run.world.drawn_a[i] > 6.0
    assert (seen.column(4)[during, i].min() == 0) == (state == Pilot.E)  # without supply nobody answers
    assert [(entry["event"], entry["chargers"], entry["for_s"]) for entry in run.world.log] == [(kind, [NAME], FOR_S)]
    assert fault_marks(run.world.log)[0].label == f"{kind.replace('_', ' ')} {NAME}"


def test_a_session_that_a_black_out_ended_stays_ended_where_the_charger_does_not_restart(play) -> None:
    _, seen, i = play("black_out", for_s=10.0, restart_after_blackout=False)
    assert seen.column(1)[-1, i] == 0.0
    assert seen.column(4)[-1, i] == 1


def test_the_random_delay_after_a_black_out_is_the_seeds(hamlet, tmp_path) -> None:
    path = tmp_path / "late.toml"
    path.write_text(toml_text(rig_of(hamlet, [], restart_delay_s=600.0)))
    loaded = load_rig(str(path))
    first, again, other = (assemble(loaded, seed=seed, horizon_s=60.0).evse for seed in (1, 1, 2))
    k = [spec.name for spec in first].index(NAME)
    assert first[k].restart_delay_s == again[k].restart_delay_s != other[k].restart_delay_s
    assert 0.0 < first[k].restart_delay_s < 600.0
    assert [spec.restart_delay_s for spec in first if spec.name != NAME] == [0.0, 0.0]


def test_an_ignored_set_point_shows_in_the_amps_and_frozen_registers_do_not(play) -> None:
    order = {"at_s": 10.0, "kind": "order", "node": "head", "limit_w": 1.0, "for_s": 40.0}
    for kind in ("ignore_setpoint", "freeze_registers"):
        run, _, i = play(kind, extra={"at_s": 200.0})
        world = run.world
        event = world._events[0].model_copy(update={"at_s": 160.0})
        world._events[:] = [event, type(event)(**order).model_copy(update={"at_s": 165.0})]
        before = run.links.inp.charger_a[i].copy()
        run.run(200.0, 0.5)
        if kind == "ignore_setpoint":
            assert world.drawn_a[i] > 6.0 and run.out.allowed_a[i] == 0.0
        else:
            assert world.drawn_a[i] == 0.0
            assert run.links.inp.charger_a[i] == pytest.approx(before, nan_ok=True)


@pytest.mark.parametrize(
    ("meter", "value", "factor", "offset"), [("offset", 3.0, 1.0, 3.0), ("scale", 0.5, 0.5, 0.0), ("nan", None, 0, 0)]
)
def test_a_wrong_meter_is_what_the_controller_reads(play, meter, value, factor, offset) -> None:
    extra = {"meter": meter} | ({} if value is None else {"value": value})
    _, seen, i = play("meter_error", extra=extra)
    t_s, drawn_a, read_a = seen.column(0), seen.column(1)[:, i], seen.column(3)[:, i, 0]
    row = int(np.argmin(abs(t_s - (AT_S + FOR_S - 1.0))))
    assert read_a[row] == pytest.approx(
        np.nan if meter == "nan" else drawn_a[row] * factor + offset, abs=0.2, nan_ok=True
    )
    assert read_a[-1] == pytest.approx(drawn_a[-1], abs=1.0)  # it rises


def test_swapped_phases_load_another_phase_of_the_street(hamlet, tmp_path) -> None:
    rig = rig_of(hamlet, [], phases=3, vehicle="bev_1p_32a")
    rig["charger"] = [part for part in rig["charger"] if part["name"] == NAME]
    rig["scenario"]["events"] = [{"at_s": AT_S, "kind": "swap_phases", "chargers": [NAME], "for_s": FOR_S}]
    path = tmp_path / "swapped.toml"
    path.write_text(toml_text(rig))
    run = Lockstep(assemble(load_rig(str(path)), horizon_s=300.0), -120.0)
    run.run(0.0, 1.0)
    loaded = []
    for until_s in (0.0, AT_S + 10.0, AT_S + FOR_S + 30.0):
        run.run(until_s, 0.5)
        loaded.append(int(np.argmax(np.nan_to_num(run.world.node_values()[1][2]))))
    assert loaded[1] == (loaded[0] + 2) % 3 and loaded[2] == loaded[0]


def test_a_twin_without_supply_answers_nothing_and_shows_what_the_fault_says(hamlet, tmp_path) -> None:
    """The same faults behind registers, as on real sockets."""
    path = tmp_path / "twin.toml"
    path.write_text(toml_text(rig_of(hamlet, [{"at_s": 1.0, "kind": "black_out", "chargers": [NAME], "for_s": 9.0}])))
    run = Lockstep(assemble(load_rig(str(path)), horizon_s=60.0), -60.0)
    run.run(0.0, 1.0)
    i = run.assembly.charger_names.index(NAME)
    model = run.assembly.models[i]
    twin = ModbusChargerTwin(model, run.world.view(i), lambda: run.t_s)
    part = modbus_of(model)
    poll = part.register(part.polls.core[0][0])
    ask = (poll.unit_id, part.read_function, poll.address, poll.count, None)
    assert len(twin.handle(*ask)) == poll.count
    run.run(5.0, 0.5)
    with pytest.raises(NoAnswer):
        twin.handle(*ask)
    run.run(60.0, 0.5)
    assert len(twin.handle(*ask)) == poll.count
    asyncio.run(twin.stop())


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"kind": "black_out"}, "black_out needs chargers"),
        ({"kind": "meter_error", "chargers": [NAME]}, "belongs to a meter_error, which needs it"),
        ({"kind": "reboot", "chargers": [NAME], "meter": "nan"}, "belongs to a meter_error"),
        ({"kind": "meter_error", "chargers": [NAME], "meter": "offset"}, "value .A of an offset"),
        ({"kind": "swap_phases", "chargers": [NAME]}, "swap_phases of cp08: has one phase only"),
        ({"kind": "earthquake", "chargers": [NAME]}, "earthquake"),
    ],
)
def test_events_that_make_no_sense_are_refused(hamlet, tmp_path, event: dict, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(toml_text(rig_of(hamlet, [{"at_s": 1.0} | event])))
    with pytest.raises(RigError, match=text):
        load_rig(str(path))
