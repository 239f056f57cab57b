"""Cars that give power back, in closed loop: reserve for the grid's frequency, signs of the meters, the floor."""

import copy

import numpy as np
import pytest
from commandline import toml_text

from controller.law.names import Reason
from hil.rig.assembler import assemble
from hil.rig.lockstep import Lockstep
from hil.rig.precheck import refuse_export_on_wires
from hil.rig.rigfile import RigError, load_rig

RESERVE_W = 2300.0
FLOOR, MARGIN = 0.3, 0.01


class Watch:
    """Keep, scan by scan: time, amps drawn (N,), state of charge (N,), watts and amps at the head."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def record(self, t_s, world, inp, out) -> None:
        """Keep one scan."""
        soc = world.fleet.soc.copy()
        self.rows.append((t_s, world.drawn_a.copy(), soc, world.head_w, world.head_a.copy(), inp.node_w[1]))

    def column(self, k: int) -> np.ndarray:
        """Return one column over the scans."""
        return np.array([row[k] for row in self.rows])


def village(hamlet, tmp_path, soc: float, events: list, for_s: float = 600.0) -> Lockstep:
    """Return a settled run of three V2G cars that offer reserve around 0 A."""
    rig = copy.deepcopy(hamlet)
    rig.pop("bench")
    rig["contract"] = []
    rig["scenario"] |= {"events": events, "arrival_soc": soc, "for_s": for_s, "settle_s": 300.0}
    rig["law"] |= {"reserve_w": RESERVE_W, "reserve_base_a": 0.0}
    for charger in rig["charger"]:
        charger |= {"vehicle": "v2g_1p_32a", "discharge_max_a": 16.0, "may_pause": True}
    path = tmp_path / "village.toml"
    path.write_text(toml_text(rig))
    run = Lockstep(assemble(load_rig(str(path)), horizon_s=for_s), -300.0)
    run.run(0.0, 1.0)
    return run


def test_low_frequency_is_answered_with_power_given_back_and_the_meters_say_so(hamlet, tmp_path) -> None:
    run = village(hamlet, tmp_path, 0.6, [{"at_s": 10.0, "kind": "frequency", "hz": 49.8, "for_s": 120.0}])
    assert run.world.drawn_a == pytest.approx([0.0] * 3)
    seen = Watch()
    before_w = run.world.head_w
    run.run(200.0, 0.5, seen)
    t_s, drawn_a, head_w = seen.column(0), seen.column(1), seen.column(3)
    lasts = (t_s > 60.0) & (t_s < 130.0)
    volts = run.world.customer_v[run.world.customer_of]
    assert drawn_a[lasts].mean(axis=0) == pytest.approx(-RESERVE_W / volts, rel=0.03)
    assert (run.world.fleet.soc < 0.6).all()
    assert drawn_a[t_s > 190.0] == pytest.approx(0.0)
    assert head_w[lasts].mean() == pytest.approx(before_w - 3 * RESERVE_W, abs=900.0)  # households move meanwhile
    assert seen.column(5)[-1] == pytest.approx(head_w[-1], rel=0.05)  # what the controller reads has the sign


def test_more_given_back_than_the_street_takes_is_a_negative_flow_at_its_head(hamlet, tmp_path) -> None:
    run = village(hamlet, tmp_path, 0.6, [{"at_s": 1.0, "kind": "frequency", "hz": 49.8, "for_s": 100.0}])
    run.world.households = Dark(run.world.customers)
    seen = Watch()
    run.run(90.0, 0.5, seen)
    assert seen.column(3)[-1] == pytest.approx(-3 * RESERVE_W, rel=0.03)
    assert seen.column(4)[-1].min() < -5.0 and seen.column(4)[-1].max() < 0.1
    assert run.links.inp.node_w[1] < -2 * RESERVE_W and run.links.inp.node_a[1].min() < -5.0


class Dark:
    """Let every household take nothing."""

    def __init__(self, customers: int) -> None:
        self._va = np.zeros(customers, dtype=complex)

    def at(self, _: float) -> np.ndarray:
        """Return 0 VA for all."""
        return self._va


def test_no_battery_falls_below_its_floor_and_who_is_at_it_is_told_why(hamlet, tmp_path) -> None:
    run = village(hamlet, tmp_path, 0.32, [{"at_s": 1.0, "kind": "frequency", "hz": 49.8, "for_s": 7000.0}], 7200.0)
    seen = Watch()
    run.run(3000.0, 2.0, seen)
    soc, drawn_a = seen.column(2), seen.column(1)
    assert soc.min() >= FLOOR
    assert soc[-1].max() < FLOOR + MARGIN + 0.002
    assert drawn_a[100].max() < -5.0 and drawn_a[-1] == pytest.approx(0.0)
    assert (run.out.export_reason == Reason.SOC).all()


def test_what_is_given_back_costs_a_tenth_at_least(hamlet, tmp_path) -> None:
    run = village(hamlet, tmp_path, 0.6, [{"at_s": 1.0, "kind": "frequency", "hz": 49.8, "for_s": 600.0}])
    fleet = run.world.fleet
    run.run(500.0, 1.0)
    given_wh = fleet.snapshot()["export_wh"]
    lost_wh = (0.6 - fleet.soc) * 60_000.0
    assert (given_wh > 200.0).all()
    assert given_wh == pytest.approx(0.94 * lost_wh, rel=1e-6)
    assert (given_wh * 0.95 <= 0.9 * lost_wh).all()


def test_a_reserve_that_would_export_is_refused_in_real_time_while_no_wire_carries_it(hamlet, tmp_path) -> None:
    run = village(hamlet, tmp_path, 0.6, [], for_s=1.0)
    with pytest.raises(RigError, match=r"law\.reserve_w.*cp01.*--fast"):
        refuse_export_on_wires(run.world.assembly)
