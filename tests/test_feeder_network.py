"""The impedance matrix of the feeder, against power-grid-model, OpenDSS and a feeder that fits on paper."""

from pathlib import Path

import numpy as np
import pytest

from hil.plant.feeder import FeederSolver
from hil.rig import network as network_module
from hil.rig.network import Network, NetworkError, build_network
from profiles.feeder import Feeder, load_feeder

PAPER_TOML = """
name = "paper"
title = "one line, two customers"
source = "this test"
original = "this test"
licence = "Apache-2.0"
verified = "by hand"
[customers]
power_factor = 1.0
[transformer]
u_hv_v = 10000.0
u_lv_v = 400.0
s_rated_va = 400000.0
r_pu = 0.01
x_pu = 0.04
clock = 5
lv_bus = 1
[grid]
short_circuit_a = 5773.5026918962576
x_over_r = 10.0
"""


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    return load_feeder("ieee_eu_lv")


@pytest.fixture(scope="module")
def street(feeder: Feeder) -> Network:
    return build_network(feeder)


def test_both_load_flows_agree_in_every_case(street: Network) -> None:
    assert set(street.cases) == {
        "no load",
        "household peak",
        "16 cars at 7.4 kW",
        "16 cars at 32 A beside households",
    }
    assert street.agreement_pu == max(street.cases.values())
    assert 0 < street.agreement_pu < 1e-8


@pytest.mark.parametrize(("source_pu", "sk_va"), [(1.05, None), (0.95, 1e10)])
def test_they_agree_at_other_sources_too(feeder: Feeder, source_pu: float, sk_va: float | None) -> None:
    network = build_network(feeder, source_pu, sk_va)
    assert network.agreement_pu < 1e-8
    assert np.abs(network.v0_v) == pytest.approx(source_pu * 416.0 / np.sqrt(3.0))


def test_the_nodes_are_the_customers_and_then_the_busbar(feeder: Feeder, street: Network) -> None:
    assert street.customer_names == feeder.loads.name
    assert street.bus.tolist() == [*feeder.loads.bus, 1, 1, 1]
    assert street.phase.tolist() == [*feeder.loads.phase, 0, 1, 2]
    assert street.z_ohm == pytest.approx(street.z_ohm.T, abs=1e-12)  # a passive network is reciprocal
    assert np.linalg.eigvalsh(street.z_ohm.real).min() > 0


def test_a_wrong_matrix_is_refused_with_the_difference(feeder: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    right = network_module._impedance
    monkeypatch.setattr(network_module, "_impedance", lambda *args: right(*args) * 1.001)
    with pytest.raises(NetworkError, match=r"differs by \d\.\d+e-0\d pu in case '16 cars"):
        build_network(feeder)


@pytest.mark.parametrize(("keys", "words"), [({"source_pu": 416.0}, "source_pu = 416"), ({"sk_va": 0.0}, "sk_va = 0")])
def test_a_source_out_of_range_is_refused(feeder: Feeder, keys: dict[str, float], words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        build_network(feeder, **keys)


def test_a_feeder_of_one_line_has_the_impedances_worked_out_by_hand(tmp_path: Path) -> None:
    (tmp_path / "feeder.toml").write_text(PAPER_TOML)
    (tmp_path / "line_codes.csv").write_text(
        "code,r1_ohm_per_km,x1_ohm_per_km,r0_ohm_per_km,x0_ohm_per_km\ncable,0.2,0.08,0.8,0.32\n"
    )
    (tmp_path / "lines.csv").write_text("name,from_bus,to_bus,length_m,code\nmain,1,7,500,cable\n")
    (tmp_path / "loads.csv").write_text("name,bus,phase\nfar,7,b\nbeside,7,c\n")
    network = build_network(load_feeder(str(tmp_path)))
    line_own, line_mutual = (0.4 + 0.16j + 2 * (0.1 + 0.04j)) / 3, (0.4 + 0.16j - (0.1 + 0.04j)) / 3
    transformer = (0.01 + 0.04j) * 400**2 / 400e3
    grid = (1 + 10j) / abs(1 + 10j) * 400**2 / 100e6  # 5.77 kA at 10 kV
    own, mutual = transformer + grid * 2 / 3, -grid / 3  # no zero sequence of the grid behind a delta
    assert network.z_ohm[0, 0] == pytest.approx(own + line_own)
    assert network.z_ohm[0, 1] == pytest.approx(mutual + line_mutual)
    assert network.z_ohm[0, 3] == pytest.approx(own)  # busbar, the same phase
    assert network.z_ohm[0, 2] == pytest.approx(mutual)  # busbar, another phase
    assert np.degrees(np.angle(network.v0_v[2])) == pytest.approx(-150.0)  # Dyn5


def test_opendss_finds_the_same_volts(feeder: Feeder, street: Network) -> None:
    dss = pytest.importorskip("dss", reason="dss-python is not installed").DSS
    rng = np.random.default_rng(3)
    count = len(feeder.loads)
    household_w, car_a = rng.uniform(200, 2000, count), np.where(np.arange(count) % 4 == 1, 28.0, 0.0)
    tan = np.tan(np.arccos(feeder.power_factor))
    u_base_v = street.u_base_v
    commands = [
        "clear",
        "set DefaultBaseFrequency=50",
        "new circuit.street basekv=11 pu=1.0 isc3=3000 isc1=5 x1r1=4",
        "new transformer.t buses=[sourcebus 1] conns=[delta wye] kvs=[11 0.416] kvas=[800 800] xhl=4 "
        "%rs=[0.2 0.2] ppm_antifloat=0",
    ]
    codes, lines = feeder.codes, feeder.lines
    for k, name in enumerate(codes.name):
        commands.append(
            f"new linecode.{name} nphases=3 units=km c1=0 c0=0 r1={codes.r1_ohm_per_km[k]} x1={codes.x1_ohm_per_km[k]} "
            f"r0={codes.r0_ohm_per_km[k]} x0={codes.x0_ohm_per_km[k]}"
        )
    for k, name in enumerate(lines.name):
        commands.append(
            f"new line.{name} bus1={lines.from_bus[k]} bus2={lines.to_bus[k]} phases=3 units=m "
            f"linecode={codes.name[lines.code[k]]} length={lines.length_m[k]}"
        )
    limits = f"phases=1 kv={u_base_v / 1e3} vminpu=0.5 vmaxpu=1.5"
    for k, (bus, phase) in enumerate(zip(feeder.loads.bus, feeder.loads.phase + 1, strict=True)):
        p_kw, ev_kw = household_w[k] / 1e3, car_a[k] * u_base_v / 1e3
        commands.append(f"new load.h{k} bus1={bus}.{phase} model=1 kw={p_kw} kvar={p_kw * tan} {limits}")
        commands.append(f"new load.c{k} bus1={bus}.{phase} model=5 kw={ev_kw} kvar=0 {limits}")
    dss("\n".join([*commands, "set tolerance=1e-10 maxiterations=200 voltagebases=[11 0.416]", "calcvoltagebases"]))
    dss("solve")
    circuit = dss.ActiveCircuit
    assert circuit.Solution.Converged
    names = [name.lower() for name in circuit.AllNodeNames]
    pairs = np.asarray(circuit.AllBusVolts).view(float).reshape(-1, 2)
    reference_v = np.hypot(pairs[:, 0], pairs[:, 1])
    rows = [names.index(f"{bus}.{phase + 1}") for bus, phase in zip(street.bus, street.phase, strict=True)]
    solver = FeederSolver(street.z_ohm, street.v0_v, street.phase)
    ours = solver.solve(np.append(household_w * (1 + 1j * tan), [0, 0, 0]), np.append(car_a, [0, 0, 0]))
    assert ours.converged
    assert np.abs(np.abs(ours.v_v) - reference_v[rows]).max() / u_base_v < 1e-6
