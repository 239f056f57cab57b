"""The split is the lexicographic optimum: against an independent linear program, and what it refuses."""

import numpy as np
import pytest
from lawbench import World, charger, node, site
from lexicographic import by_class, lexicographic

from controller.law.share import share

TREE = ([-1, 0, 0], [1, 1, 1, 2, 2])


def test_vector_of_the_literature() -> None:
    got = share(*TREE, [[1, 1, 1]] * 5, [1] * 5, [0] * 5, [32, 16, 10, 32, 32], [[60] * 3, [32] * 3, [40] * 3])
    assert got == pytest.approx([11, 11, 10, 14, 14], abs=1e-9)


def test_weights_and_floors_bound_the_split() -> None:
    got = share([-1], [0, 0, 0], [[1, 0, 0]] * 3, [1, 2, 1], [6, 0, 0], [32, 32, 32], [[18, 0, 0]])
    assert got == pytest.approx([6, 8, 4], abs=1e-9)


def test_three_phase_car_takes_the_least_of_its_phases() -> None:
    got = share([-1], [0, 0, 0], [[1, 1, 1], [1, 0, 0], [0, 1, 0]], [1] * 3, [0] * 3, [32] * 3, [[20, 30, 40]])
    assert got == pytest.approx([10, 10, 20], abs=1e-9)


def test_chain_of_bottlenecks_is_one_round_and_exact() -> None:
    length = 300
    head = np.cumsum(np.arange(1.0, length + 1.0))[::-1]
    got = share(
        np.arange(-1, length - 1), np.arange(length), np.tile([1, 0, 0], (length, 1)), np.ones(length),
        np.zeros(length), np.full(length, 1e4), np.tile(head[:, None], (1, 3)),
    )  # fmt: skip
    assert got == pytest.approx(np.arange(length, 0, -1.0), abs=1e-9)


def test_cars_of_two_phases_wait_for_each_other_and_stay_exact() -> None:
    links = 60
    amps = np.arange(1.0, links + 1.0)
    phases = np.zeros((links, 3))
    for k in range(links):
        phases[k, [k % 3, (k + 1) % 3]] = 1
    head = np.full((links, 3), np.inf)
    for k in range(links):
        head[links - 1 - k, k % 3] = amps[: k + 1] @ phases[: k + 1, k % 3]
    node = np.arange(links)[::-1]
    got = share(np.arange(-1, links - 1), node, phases, np.ones(links), np.zeros(links), np.full(links, 1e4), head)
    assert got == pytest.approx(amps, abs=1e-9)


def test_order_of_nodes_and_chargers_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        parent, node, phases, weight, floor, cap, head = random_case(rng)
        floor = np.zeros(len(node))
        got = share(parent, node, phases, weight, floor, cap, head)
        turn = rng.permutation(len(node))
        again = share(parent, node[turn], phases[turn], weight[turn], floor, cap[turn], head)
        assert again == pytest.approx(got[turn], abs=1e-9)


def test_plan_that_changes_arranges_the_tree_again() -> None:
    world = World(site([node(limit_a=60.0), node("a", 0, limit_a=20.0), node("b", 0)], [charger(0, at=1)]), 10.0)
    assert world.run(20) == pytest.approx([20.0])
    world.plan.charger_node[:] = 2
    assert world.run(20) == pytest.approx([32.0])
    world.plan.phase_map[:] = [[2, -1, -1]]
    world.plan.node_limit_a[2] = [0.0, 0.0, 15.0]
    assert world.run(1) == pytest.approx([15.0])
    assert world.state.uses.tolist() == [[0, 0, 1]]


def test_nothing_left_is_zero() -> None:
    assert share([-1], [0], [[1, 1, 1]], [1], [0], [32], [[0, 9, 9]]) == pytest.approx([0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"floor_a": [6, 6]}, "floors of 12.000 A below node 0, phase a, over its headroom_a of 10.000 A"),
        ({"weight": [1, 0]}, "weight: 0.0 at"),
        ({"cap_a": [np.nan, 1]}, "cap_a: NaN"),
        ({"cap_a": [np.inf, 1], "headroom_a": [[np.inf] * 3]}, "nothing bounds charger 0"),
        ({"parent": [0]}, "parent: 0 at"),
        ({"node": [0, 1]}, "node: 1 at"),
        ({"phases": [[2, 0, 0], [1, 0, 0]]}, "phases: 2.0 at"),
        ({"headroom_a": [[1, 2]]}, "headroom_a: shape"),
        ({"floor_a": [0, 17]}, "floor_a: 17.0 at"),
    ],
)
def test_wrong_arguments_are_refused_by_name(change: dict, says: str) -> None:
    fine = {
        "parent": [-1],
        "node": [0, 0],
        "phases": [[1, 0, 0]] * 2,
        "weight": [1, 1],
        "floor_a": [0, 0],
        "cap_a": [16, 16],
        "headroom_a": [[10, 10, 10]],
    }
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        share(**(fine | change))


def random_case(rng: np.random.Generator) -> tuple:
    m, n = int(rng.integers(1, 5)), int(rng.integers(1, 6))
    parent = np.array([-1] + [int(rng.integers(0, k)) for k in range(1, m)])
    node = rng.integers(0, m, n)
    phases = np.where(rng.random((n, 1)) < 0.4, 1, np.eye(3)[rng.integers(0, 3, n)])
    weight = rng.choice([0.5, 1.0, 2.0], n)
    floor = rng.choice([0.0, 6.0, 9.2], n)
    cap = floor + rng.choice([0.0, 4.0, 10.0, 26.0], n)
    head = rng.uniform(0, 60, (m, 3)).round(1)
    head[rng.random((m, 3)) < 0.2] = 100.0
    return parent, node, phases, weight, floor, cap, head


def check_against_linear_program(seeds: range) -> int:
    """Compare share with the linear program; return how many cases had floors that fit."""
    feasible = 0
    for seed in seeds:
        case = random_case(np.random.default_rng(seed))
        try:
            got = share(*case)
        except ValueError as refusal:
            assert "admit fewer" in str(refusal)
            continue
        feasible += 1
        assert got == pytest.approx(lexicographic(*case), abs=1e-6), f"seed {seed}"
    return feasible


def test_split_agrees_with_a_linear_program() -> None:
    assert check_against_linear_program(range(60)) > 20


@pytest.mark.slow
def test_split_agrees_with_a_linear_program_on_a_thousand_seeds() -> None:
    assert check_against_linear_program(range(1000, 2000)) > 300


def decided(seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return what the whole law allows at rest, and the linear programs: amps, watts in total, classes, unequal volts.

    None where not all floors fit: who is admitted then is the matter of `test_admit_oracle`.
    """
    rng = np.random.default_rng(seed)
    parent, at, phases, weight, floor, cap, head = random_case(rng)
    m, n = len(parent), len(at)
    head = head[:, :1] * np.ones(3)  # a node of the site has one limit for its phases
    watts = np.where(rng.random(m) < 0.6, rng.uniform(2e3, 40e3, m), np.inf)
    rank = rng.integers(0, 3, n)
    cap = np.maximum(cap, 1.0)
    chargers = [
        charger(
            k,
            at=int(at[k]),
            phase_map=(0, 1, 2) if phases[k].all() else (int(np.argmax(phases[k])), -1, -1),
            weight=float(weight[k]),
            floor_a=float(floor[k]),
            hard_max_a=float(cap[k]),
            priority=int(rank[k]),
            step_a=0.0,
            obey_s=0.0,
        )
        for k in range(n)
    ]
    nodes = [
        node(f"n{k}", int(parent[k]), limit_a=float(head[k, 0]), limit_w=float(watts[k]), metered=False, design_a=0.0)
        for k in range(m)
    ]
    world = World(site(nodes, chargers, min_off_s=0.0), 0.0)
    world.plan.raise_band_a[:] = 0.0
    world.volts = rng.uniform(215.0, 250.0, (n, 3))
    world.run(12, 0.5)
    if not world.out.admitted.all():
        return None
    volts = (world.volts * (world.plan.phase_map >= 0)).sum(axis=1)
    best = by_class(rank, floor, cap, (parent, at, phases, weight, head), watts=watts, volts=volts)
    return world.out.allowed_a.copy(), best


def test_what_is_allowed_at_rest_is_the_linear_programs_split_with_watts_and_classes() -> None:
    compared, bound = 0, 0
    for seed in range(30):
        found = decided(seed)
        if found is None:
            continue
        assert found[0] == pytest.approx(found[1], abs=1e-6), f"seed {seed}"
        compared += 1
        bound += len(set(found[0].round(6))) > 1
    assert compared > 10 and bound > 8
