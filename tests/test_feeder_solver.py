"""The feeder at its customers: the loads mean what they say, and a collapse has a defined outcome."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.plant.feeder import DEAD_V, KNEE_V, FeederSolver
from hil.rig.network import Network, build_network
from profiles.feeder import load_feeder

TURN = np.exp(-2j * np.pi / 3 * np.arange(3))


@pytest.fixture(scope="module")
def street() -> Network:
    return build_network(load_feeder("ieee_eu_lv"))


def solver_of(network: Network) -> FeederSolver:
    return FeederSolver(network.z_ohm, network.v0_v, network.phase)


def one_node(z_ohm: complex, v0_v: complex = 240.0) -> FeederSolver:
    return FeederSolver(np.array([[z_ohm]]), np.array([v0_v], dtype=complex), np.array([0]))


def amps_of(volts: complex, load_va: complex, ev_a: float) -> complex:
    """Write the load model down a second time, one node and one branch at a time."""
    size = abs(volts)
    household = (load_va / volts).conjugate() if size >= KNEE_V else load_va.conjugate() * volts / KNEE_V**2
    car = ev_a * volts / size if size >= DEAD_V else ev_a * volts / DEAD_V
    return household + car


def residual_v(solver: FeederSolver, load_va: np.ndarray, ev_a: np.ndarray, volts: np.ndarray) -> float:
    amps = np.array([amps_of(v, s, a) for v, s, a in zip(volts, load_va, ev_a, strict=True)])
    return float(np.abs(volts - solver.v0_v + solver.z_ohm @ amps).max())


def test_one_resistive_node_gives_the_textbook_answer() -> None:
    solver = one_node(0.5)
    volts = solver.solve(np.zeros(1, dtype=complex), np.array([32.0])).v_v
    assert volts[0] == pytest.approx(240.0 - 16.0, abs=1e-5)
    volts = solver.solve(np.array([4600.0 + 0j]), np.zeros(1)).v_v
    assert volts[0] == pytest.approx((240.0 + np.sqrt(240.0**2 - 4 * 0.5 * 4600.0)) / 2, abs=1e-5)


def test_a_car_draws_its_amps_in_phase_with_its_own_volts(street: Network) -> None:
    solver = solver_of(street)
    ev_a = np.zeros(len(street.phase))
    ev_a[:55:5] = 20.0
    solver.solve(np.zeros(len(ev_a), dtype=complex), ev_a)
    power_va = solver.v_v * solver.current_a.conj()
    assert np.abs(solver.current_a) == pytest.approx(ev_a, abs=1e-9)
    assert np.abs(power_va.imag).max() < 1e-4  # the last move of 1e-6 V, times 20 A and some


def test_the_head_carries_the_sum_of_its_phase_and_power_is_conserved(street: Network) -> None:
    solver = solver_of(street)
    load_va = np.zeros(len(street.phase), dtype=complex)
    load_va[:55] = 700.0 + 200.0j
    ev_a = np.zeros(len(street.phase))
    ev_a[3] = 16.0
    solver.solve(load_va, ev_a)
    for phase in range(3):
        assert solver.head_a()[phase] == pytest.approx(solver.current_a[street.phase == phase].sum())
    losses_w = (solver.current_a.conj() @ (solver.z_ohm @ solver.current_a)).real
    assert losses_w > 0
    # the source's power is what the customers take and what the network loses
    assert (solver.v0_v @ solver.current_a.conj()).real == pytest.approx(solver.power_va().sum().real + losses_w)


def test_own_amps_lower_the_own_volts_as_the_sensitivity_says(street: Network) -> None:
    solver = solver_of(street)
    load_va = np.zeros(len(street.phase), dtype=complex)
    load_va[:55] = 900.0 + 300.0j
    ev_a = np.zeros(len(street.phase))
    ev_a[:55:4] = 24.0
    solver.solve(load_va, ev_a)
    slope = solver.sensitivity_v_per_a()
    assert (np.diagonal(slope)[:55] < 0).all()
    for node in (0, 20, 54):
        up, down = ev_a.copy(), ev_a.copy()
        up[node] += 0.05
        down[node] -= 0.05
        high = np.abs(solver.solve(load_va, up).v_v.copy())
        low = np.abs(solver.solve(load_va, down).v_v)
        assert (high - low) / 0.1 == pytest.approx(slope[:, node], abs=1e-5)
        solver.solve(load_va, ev_a)
        assert solver.sensitivity_v_per_a(node) == pytest.approx(slope[:, node], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    load_w=st.floats(0, 60_000),
    tan=st.floats(-0.5, 0.5),
    ev_a=st.floats(-32, 250),
    seed=st.integers(0, 2**31),
)
def test_every_finite_load_up_to_a_deep_collapse_has_a_solution(
    street: Network, load_w: float, tan: float, ev_a: float, seed: int
) -> None:
    solver = solver_of(street)
    rng = np.random.default_rng(seed)
    count = len(street.phase)
    loads = load_w * rng.random(count) * (1 + 1j * tan)
    cars = np.where(rng.random(count) < 0.3, ev_a, 0.0)
    solution = solver.solve(loads, cars)
    assert solution.converged
    assert residual_v(solver, loads, cars, solution.v_v) < 1e-4


@pytest.mark.parametrize("load_w", [11e3, 14e3, 20e3, 40e3, 200e3, 1e6])
def test_a_collapse_ends_at_low_volts_and_not_in_a_failure(street: Network, load_w: float) -> None:
    solver = solver_of(street)
    loads = np.zeros(len(street.phase), dtype=complex)
    loads[:55] = load_w
    none = np.zeros(len(street.phase))
    solution = solver.solve(loads, none)
    assert solution.converged
    assert np.abs(solution.v_v).min() < KNEE_V
    assert residual_v(solver, loads, none, solution.v_v) < 1e-4
    assert np.abs(solver.solve(none + 0j, none).v_v) == pytest.approx(np.abs(street.v0_v), abs=1e-6)


def test_a_load_that_is_not_finite_is_never_a_solution_and_is_forgotten_after(street: Network) -> None:
    solver = solver_of(street)
    none = np.zeros(len(street.phase))
    broken = none.astype(complex)
    broken[4] = np.nan
    solution = solver.solve(broken, none)
    assert not solution.converged
    assert np.isnan(solution.v_v).all()
    after = solver.solve(none + 0j, none)
    assert after.converged
    assert after.v_v == pytest.approx(street.v0_v, abs=1e-6)


def test_a_small_step_from_the_last_volts_takes_few_iterations(street: Network) -> None:
    solver = solver_of(street)
    load_va = np.zeros(len(street.phase), dtype=complex)
    load_va[:55] = 600.0 + 150.0j
    ev_a = np.zeros(len(street.phase))
    ev_a[:16] = 32.0
    cold = solver.solve(load_va, ev_a).iterations
    warm = solver.solve(load_va * 1.001, ev_a).iterations
    assert warm < cold
    assert warm <= 6


def test_the_answer_can_be_kept(street: Network) -> None:
    solver = solver_of(street)
    none = np.zeros(len(street.phase))
    kept = np.zeros(len(street.phase), dtype=complex)
    solution = solver.solve(none + 2000.0, none, out=kept)
    assert solution.v_v is kept
    before = kept.copy()
    solver.solve(none + 0j, none)
    assert (kept == before).all()


@pytest.mark.parametrize(
    ("z_ohm", "v0_v", "phase", "words"),
    [
        (np.eye(2) + 0j, 240 * TURN, [0, 1, 2], "do not fit 3 nodes"),
        (np.eye(3) + 0j, np.array([240, np.nan, 240], dtype=complex), [0, 1, 2], "finite"),
        (np.eye(3) + 0j, np.array([240, 0, 240], dtype=complex), [0, 1, 2], "184 V"),
        (np.eye(3) + 0j, 240 * TURN, [0, 1, 3], "allowed 0, 1, 2"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(
    z_ohm: np.ndarray, v0_v: np.ndarray, phase: list[int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        FeederSolver(z_ohm, v0_v, np.array(phase))
