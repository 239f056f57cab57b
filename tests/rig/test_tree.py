"""A connection holds several chargers, also as sockets of stations: plan, world, meters, shorthand, refusals."""

import copy

import numpy as np
import pytest

from hil.rig.assembler import assemble
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import RigError, load_rig
from hil.rig.rows import numbers
from hil.rig.truth import fill, truth_dtype
from hil.runs.metered import fill_metered

HOUSE, PARK = 55, 7  # customers; the car park has three phases and no household


@pytest.fixture
def park(hamlet):
    """Return the hamlet without bench and events: one home, and a car park of two stations with two sockets each."""
    rig = copy.deepcopy(hamlet)
    rig.pop("bench")
    rig["contract"], rig["scenario"]["events"] = [], []
    home = next(part for part in rig["charger"] if part["name"] == "cp01")
    rig["charger"] = [home | {"customer": HOUSE}]
    rig["connection"] = [{"customer": PARK, "limit_a": 60.0, "phases": 3, "household": False}]
    rig["chargers"] = [
        {
            "count": 4,
            "name": "park#",
            "customers": [PARK],
            "stations": "st#",
            "station_limit_a": 20.0,
            "model": "keba-p30",
            "twin": True,
            "vehicle": "bev_1p_32a",
            "phase_rotations": ["RST", "STR"],
        }
    ]
    return rig


@pytest.fixture
def stood(park, write_rig):
    """Return the car park put together."""
    return assemble(load_rig(str(write_rig(park))))


def test_the_plan_holds_connections_then_stations_and_hangs_each_charger_at_its_own(stood):
    plan = stood.plan()
    assert stood.nodes == ["transformer", "head", "poc_cp01", "poc_7", "st1", "st2"]
    assert plan.parent.tolist() == [-1, 0, 1, 1, 3, 3]
    assert plan.charger_node.tolist() == [2, 4, 4, 5, 5]
    assert plan.node_limit_a[:, 0].tolist()[2:] == [40.0, 60.0, 20.0, 20.0]
    first = int(stood.network.phase[PARK - 1])
    assert plan.phase_map[1:, 0].tolist() == [first, (first + 1) % 3] * 2


def test_only_a_connection_with_a_household_has_a_load_of_its_own_to_assume(stood, park):
    design_a = stood.plan().node_design_a[:, 0].tolist()
    assert design_a[2:] == [park["law"]["design_a"], 0.0, 0.0, 0.0]


def test_amps_of_several_chargers_at_one_node_add_up_and_the_station_meter_sees_its_sockets_alone(stood):
    run = Lockstep(stood, -60.0, controlled=False)
    run.run(0.0, 1.0)
    world = run.world
    assert world.drawn_a.min() > 5.0
    volts, amps, watts = world.node_values()
    assert np.isfinite(volts[3:]).all()
    for node, sockets in ((4, (1, 2)), (5, (3, 4))):
        assert sorted(amps[node])[1:] == pytest.approx(sorted(world.drawn_a[list(sockets)]), rel=1e-6)
        assert watts[node] == pytest.approx(np.sum(volts[node] * amps[node]))
    assert amps[3] == pytest.approx(amps[4] + amps[5], rel=1e-6)  # no household beside them
    assert np.nanmax(amps[2]) > world.drawn_a[0]  # a household beside it


def test_a_stations_limit_holds_its_sockets_together_and_unused_amps_stay_at_the_connection(park, write_rig):
    park["chargers"][0]["phase_rotations"] = ["RST"]
    run = Lockstep(assemble(load_rig(str(write_rig(park)))), -400.0)
    run.run(0.0, 1.0)
    _, amps, _ = run.world.node_values()
    assert run.world.drawn_a[1:] == pytest.approx([10.0] * 4, abs=0.3)
    assert np.nanmax(amps[4:], axis=1) == pytest.approx([20.0, 20.0], abs=0.5)


def test_the_truth_of_a_customer_is_its_lowest_phase_as_the_meters_say_it(stood):
    run = Lockstep(stood, -30.0, controlled=False)
    run.run(0.0, 1.0)
    dtype = truth_dtype(len(stood.evse), len(stood.customer_names))
    true, read = np.zeros((), dtype=dtype), np.zeros((), dtype=dtype)
    fill(true, 0.0, run.world)
    fill_metered(read, 0.0, run.links.latch(0.0, 0, np.random.default_rng(1)), stood.customer_of)
    seen = sorted({HOUSE - 1, PARK - 1})
    assert np.flatnonzero(np.isfinite(read["customer_v"])).tolist() == seen
    assert read["customer_v"][seen] == pytest.approx(true["customer_v"][seen], rel=1e-3)


@pytest.mark.parametrize(
    ("path", "value", "where", "told"),
    [
        (("chargers", 0, "customers"), "7, 8, 9", "chargers[0].customers", "must be a multiple"),
        (("chargers", 0, "model"), "keba-p31", "chargers[0].model", "did you mean keba-p30?"),
        (("chargers", 0, "colour"), 1, "chargers[0].colour", "unknown key"),
        (("chargers", 0, "customers"), "7-x", "chargers[0].customers", "write single numbers and ranges"),
        (("connection", 0, "customer"), 9, "connection[0].customer", "no charger stands there"),
        (("connection", 0, "phases"), 1, "chargers[0].phase_rotations", "one phase only"),
        (("charger", 0, "station"), "head", "charger[0].station", "another node is called so"),
        (("charger", 0, "station"), "st1", "chargers[0].customers", "a station has one connection"),
    ],
)
def test_what_does_not_fit_is_told_at_the_row_once(park, write_rig, path, value, where, told):
    holder, index, key = path
    park[holder][index][key] = value
    with pytest.raises(RigError) as error:
        load_rig(str(write_rig(park)))
    found = [problem for problem in error.value.problems if problem.where == f"bad.toml:{where}"]
    assert len(found) == 1
    assert told in found[0].allowed


def test_names_with_a_star_mean_every_charger_that_fits(park, write_rig):
    park["contract"] = [{"file": "flexpower_1", "chargers": ["park*"]}]
    loaded = load_rig(str(write_rig(park)))
    assert loaded.rig.contract[0].chargers == ["park1", "park2", "park3", "park4"]


def test_only_ocpp_points_can_refuse_profiles(park, write_rig):
    park["scenario"]["events"] = [{"at_s": 1.0, "kind": "reject_profiles", "chargers": ["cp01"]}]
    with pytest.raises(RigError, match="keba-p30 speaks modbus"):
        load_rig(str(write_rig(park)))


def test_ranges_of_customers_are_read_in_order():
    assert numbers("1-3, 7") == [1, 2, 3, 7]
    assert numbers([5, 2]) == [5, 2]
