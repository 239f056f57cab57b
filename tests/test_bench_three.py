"""Three phases on the bench: rotation, phase map proven before the first amp, cars of one and three phases."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_lab import AcLab, ac_lab

from hil.plant.feeder import FeederSolver
from hil.rig.assembler import Assembly, assemble
from hil.rig.network import build_network
from hil.rig.rigfile import load_rig
from hil.rig.world import World
from profiles.feeder import load_feeder

RIG = Path(__file__).parents[1] / "profiles" / "rigs" / "bench_3p.toml"


def rig_of(folder: Path, *changes: tuple[str, str]) -> Assembly:
    """Assemble the three-phase rig with parts of its text replaced."""
    text = RIG.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "rig.toml"
    path.write_text(text)
    return assemble(load_rig(str(path)))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return rig_of(tmp_path_factory.mktemp("three"))


def test_the_further_phases_of_a_customer_agree_with_the_independent_load_flow() -> None:
    feeder = load_feeder("ieee_eu_lv")
    network = build_network(feeder, three_phase=[41, 9])
    assert network.agreement_pu < 1e-6 and "three-phase cars beside households" in network.cases
    nodes = network.nodes_of(41)
    assert nodes[0] == 41 and network.nodes_of(3) == (3,)
    assert set(network.phase[list(nodes)]) == {0, 1, 2} and len(set(network.bus[list(nodes)])) == 1
    assert list((network.phase[list(nodes)] - network.phase[41]) % 3) == [0, 1, 2]  # the grid's order from L1 on


def test_a_three_phase_charger_loads_every_phase_of_the_feeder_head(three: Assembly) -> None:
    world = World(three, 0.0)
    world.step(0.0, 0.1)
    before_a = world.head_a.copy()
    world.drop_sessions_until(0.0)
    world.fleet.plug_in(0, 0.0, 0.4, 1e5)
    world.view(0).set("setpoint_a", 16.0, 0.0)
    for k in range(1, 200):
        world.step(0.1 * k, 0.1)
    assert world.fleet.drawn_a[0] == pytest.approx([16.0] * 3)
    assert np.all(world.head_a - before_a > 12.0)
    volts, amps, watts = world.node_values()
    assert np.all(np.isfinite(volts[2])) and watts[2] == pytest.approx(float(volts[2] @ amps[2]))


def test_all_phases_charge_and_every_output_goes_off(three: Assembly, tmp_path: Path) -> None:
    with ac_lab(three, tmp_path) as lab:
        assert lab.run(6.0) == 0
        assert lab.last("amp_a") == pytest.approx([16.0] * 3, abs=0.1)
        assert lab.last("load_a") == pytest.approx([16.0] * 3, abs=0.1)
        assert lab.last("analyzer_a") == pytest.approx([16.0] * 3, abs=0.1)
        assert lab.last("volt_v") == pytest.approx(lab.world.bench_node_v(), abs=1.0)
        source = lab.twins.source
        angles = [source.values[name] for name in ("phase_12_deg", "phase_13_deg")]
        assert angles == [120.0, 240.0]  # b behind a, c behind b: the positive order
        assert lab.kinds()[-2:] == ["bench_contactor", "bench_off"] and lab.off()
        feeder_a = lab.world.bench_feeder_a
        assert np.shape(feeder_a) == (3,)


def test_a_planned_stop_goes_from_the_current_to_the_loads(three: Assembly, tmp_path: Path) -> None:
    with ac_lab(three, tmp_path) as lab:
        amps: dict[str, float] = {}

        def note(kind: str, **fields: Any) -> None:
            lab.told.append({"kind": kind, **fields})
            amps[kind + str(fields.get("state", ""))] = float(lab.twins.loads[0].set_a)
            lab.said.append(f"told {kind}")

        lab.bench.tell = note
        assert lab.run(6.0) == 0
        assert amps["bench_cpB"] == 0.0  # no current is asked for before the car leaves

        def last(what: str) -> int:
            return max(k for k, text in enumerate(lab.said) if what in text)

        opened = last("told bench_contactor")
        off = [
            next(k for k, text in enumerate(lab.said) if k > opened and text == what)
            for what in ("grid_source OUTP OFF", "car_l1 INP OFF", "car_l2 INP OFF", "car_l3 INP OFF")
        ]
        order = [last("pilot B"), last("pilot A"), opened, *off, last("told bench_off")]
        assert order == sorted(order)


def test_no_amp_flows_before_the_phase_map_is_proven(three: Assembly, tmp_path: Path) -> None:
    with ac_lab(three, tmp_path) as lab:
        lab.run(6.0)
        proven = lab.kinds().index("bench_phases")
        told = lab.told[proven]
        assert max(told["played_v"]) - min(told["played_v"]) > 7.0
        probed = next(k for k, row in enumerate(lab.rows) if np.ptp(row["load_v"]) > 7.0)
        drawing = next(k for k, row in enumerate(lab.rows) if float(row["load_set_a"]) > 0.0)
        assert drawing > probed
        assert np.ptp(lab.last("load_v")) < 3.0  # the probe is over: the feeder's own volts again


@pytest.mark.parametrize("wires", [[1, 0, 2], [0, 2, 1], [1, 2, 0]])
def test_crossed_wires_are_found_before_an_amp_flows(three: Assembly, tmp_path: Path, wires: list[int]) -> None:
    with ac_lab(three, tmp_path) as lab:
        lab.twins.wires = np.array(wires)
        assert lab.run(20.0) == 3
        fault = next(event for event in lab.told if event["kind"] == "fault")
        assert "phase_map" in fault["text"] and "L1 sees" in fault["text"]
        assert max(float(np.max(row["amp_a"])) for row in lab.rows) < 0.1 and lab.off()


def test_a_phase_map_that_says_how_the_wires_go_is_followed(tmp_path: Path) -> None:
    turned = rig_of(tmp_path, ('phase_map = ["a", "b", "c"]', 'phase_map = ["b", "c", "a"]'))
    with ac_lab(turned, tmp_path) as lab:
        assert list(lab.twins.wires) == [1, 2, 0]
        assert lab.run(6.0) == 0 and "bench_phases" in lab.kinds()
        node_v = lab.world.bench_node_v()
        assert lab.last("volt_v") == pytest.approx(node_v, abs=1.0)
        outputs = np.zeros(3)
        outputs[[1, 2, 0]] = node_v
        assert lab.bench.at_outputs(node_v) == pytest.approx(outputs)


def test_a_car_of_one_phase_loads_only_the_first(tmp_path: Path) -> None:
    single = rig_of(tmp_path, ('vehicle = "bev_3p_16a"', 'vehicle = "phev_1p_16a"'))
    with ac_lab(single, tmp_path) as lab:
        assert lab.run(6.0) == 0
        assert lab.last("amp_a") == pytest.approx([16.0, 0.0, 0.0], abs=0.1)
        assert lab.off()


def test_a_load_that_goes_off_by_itself_switches_all_off(three: Assembly, tmp_path: Path) -> None:
    with ac_lab(three, tmp_path) as lab:
        second = lab.twins.loads[1]

        def trip(lab: AcLab = lab) -> None:
            if lab.clock.now_s > 1005.0:
                lab.loop.call(lambda: second.trip(second.bit("current")))

        lab.each = trip
        assert lab.run(20.0) == 3
        fault = next(event for event in lab.told if event["kind"] == "fault")
        assert fault["device"] == "car_l2" and fault["source_off_confirmed"] and lab.off()


def test_the_gain_of_the_loop_is_that_of_the_feeders_own_phase(three: Assembly) -> None:
    network = three.network
    solver = FeederSolver(network.z_ohm, network.v0_v, network.phase)
    ohms = solver.thevenin_ohm[list(network.nodes_of(41))]
    assert np.ptp(ohms) < 0.02 * ohms.max()  # the line is transposed: each phase sees the same
