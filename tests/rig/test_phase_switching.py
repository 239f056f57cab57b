"""A station with three phases that the law asks for one, on the emulated charger: suspend, switch, resume."""

import copy

import numpy as np
import pytest
from commandline import toml_text
from plant_driver import Driver, EvseSpec, EvSpec

from hil.rig.assembler import assemble
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import RigError, load_rig

NAME = "cp16"


class Watch:
    """Keep, scan by scan: time, phases in use, contactor, amps (3,) at the charger, phases asked for."""

    def __init__(self, i: int) -> None:
        self.i = i
        self.rows: list[tuple] = []

    def record(self, t_s, world, inp, out) -> None:
        """Keep one scan."""
        fleet, i = world.fleet, self.i
        self.rows.append(
            (t_s, int(fleet.phases_in_use[i]), bool(fleet.contactor[i]), fleet.drawn_a[i].copy(),
             int(out.number_phases[i]), int(inp.charger_phases[i]))
        )  # fmt: skip

    def column(self, k: int) -> np.ndarray:
        """Return one column over the scans."""
        return np.array([row[k] for row in self.rows])


def rig_of(hamlet, tmp_path, **keys):
    """Return the path of a hamlet with one three-phase charger."""
    rig = copy.deepcopy(hamlet)
    rig.pop("bench")
    rig["contract"] = []
    rig["charger"] = [part for part in rig["charger"] if part["name"] == NAME]
    rig["charger"][0] |= {"phases": 3, "vehicle": "bev_3p_16a", "switch_phases": True} | keys
    rig["scenario"]["events"] = [{"at_s": 20.0, "kind": "order", "node": "head", "limit_w": 1.0, "for_s": 900.0}]
    path = tmp_path / "station.toml"
    path.write_text(toml_text(rig))
    return path


def test_an_order_under_three_floors_ends_on_one_phase_through_the_pause(hamlet, tmp_path) -> None:
    run = Lockstep(assemble(load_rig(str(rig_of(hamlet, tmp_path))), horizon_s=900.0), -300.0)
    run.run(0.0, 1.0)
    assert run.world.fleet.drawn_a[0] == pytest.approx([16.0] * 3, abs=0.1)
    households_w = run.world.head_w - run.world.drawn_a[0] * run.world.terminal_v[0].sum()
    event = run.world._events[0]
    run.world._events[0] = event.model_copy(update={"limit_w": households_w + 3000.0})  # under 3 x 6 A x 230 V
    seen = Watch(0)
    run.run(120.0, 0.5, seen)
    t_s, in_use, contactor, amps = (seen.column(k) for k in range(4))
    at = int(np.argmax(in_use == 1))
    assert in_use[0] == 3 and in_use[-1] == 1 and at > 0
    off = t_s[(t_s < t_s[at]) & contactor].max()
    assert t_s[at] - off >= 10.0  # the pause, with the contactor open
    assert amps[at - 1] == pytest.approx([0.0] * 3)
    assert amps[-1][0] > 6.0 and amps[-1][1:] == pytest.approx([0.0, 0.0])
    assert (seen.column(4)[-1], seen.column(5)[-1]) == (1, 1)  # asked for, and reported


def test_a_switch_needs_three_phases(hamlet, tmp_path) -> None:
    with pytest.raises(RigError, match="switch_phases = true: allowed with phases = 3"):
        load_rig(str(rig_of(hamlet, tmp_path, phases=1)))


def station(**keys) -> Driver:
    """Return a three-phase charger that switches, with a car that takes 32 A on one phase and charges at 16 A."""
    driver = Driver(
        evse=EvseSpec("s", 3, boot_limit_a=32.0, switch_phases=True, **keys),
        ev=EvSpec("e", phases=3, max_a=16.0, max_1p_a=32.0, floor_a=9.2, floor_1p_a=6.0, dead_time_s=0.5),
    )
    driver.plug_in()
    driver.run(30.0)
    return driver


def test_one_phase_carries_what_the_car_takes_on_one() -> None:
    d = station()
    assert d.fleet.drawn_a[0] == pytest.approx([16.0] * 3)
    d.view.set("phases_set", 1.0, d.now_s)
    assert d.view.get("phases_in_use") == 3.0
    assert d.until(lambda: d.view.get("phases_in_use") == 1.0) >= 10.0
    d.run(30.0)
    assert d.fleet.drawn_a[0] == pytest.approx([32.0, 0.0, 0.0])
    d.allow(8.0)  # under its floor on three phases
    d.run(10.0)
    assert d.fleet.drawn_a[0] == pytest.approx([8.0, 0.0, 0.0])


def test_the_way_back_waits_for_the_dwell_of_the_charger_and_charging_goes_on_meanwhile() -> None:
    d = station(switch_dwell_s=600.0)
    d.view.set("phases_set", 1.0, d.now_s)
    d.until(lambda: d.view.get("phases_in_use") == 1.0)
    d.view.set("phases_set", 3.0, d.now_s)
    d.run(500.0)
    assert d.fleet.drawn_a[0] == pytest.approx([32.0, 0.0, 0.0])
    d.until(lambda: d.view.get("phases_in_use") == 3.0, 130.0)
    d.run(30.0)
    assert d.fleet.drawn_a[0] == pytest.approx([16.0] * 3)


@pytest.mark.parametrize(("able", "value", "text"), [(True, 2.0, "allowed 1 or 3"), (False, 1.0, "allowed 3")])
def test_other_numbers_of_phases_are_refused(able: bool, value: float, text: str) -> None:
    d = Driver(evse=EvseSpec("s", 3, switch_phases=able))
    with pytest.raises(ValueError, match=text):
        d.view.set("phases_set", value, 0.0)
