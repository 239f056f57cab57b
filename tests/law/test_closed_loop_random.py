"""Random small sites in closed loop: no drawn ampere over a limit that the law can know of, whoever joins or leaves.

Trees of up to four nodes, one- and three-phase chargers, cars that rise in 0.2 s and fall late within their obey time,
readings and meters as late as they are declared to be at the most. Households stand still; cars come, go and take less.
The controller restarts, links are lost and meters fall silent.
"""

from dataclasses import replace

import numpy as np
import pytest
from cases.case_file import Car, Case, Setting
from cases.case_world import Record, play

from controller.runtime.plan import ChargerSpec, NodeSpec, SiteSpec

FOR_S = 100.0
NOISE_A = 0.05
WORLDS = 45


def random_case(seed: int) -> Case:
    """Return a random site and almost two minutes of coming and going."""
    rng = np.random.default_rng(seed)
    m, n = int(rng.integers(1, 5)), int(rng.integers(2, 8))
    publish_s = float(rng.choice([0.2, 1.0, 2.0]))
    read_s = float(rng.choice([0.2, 1.0, 3.0]))
    nodes = [
        NodeSpec(
            f"n{k}",
            -1 if k == 0 else int(rng.integers(0, k)),
            limit_a=float(rng.choice([20.0, 32.0, 50.0, 80.0])),
            metered=True,
            design_a=60.0,
            max_age_s=publish_s + 0.5,
            tau_s=float(rng.choice([1.0, 3.0])),
        )
        for k in range(m)
    ]
    obey_s = rng.choice([2.0, 6.0, 15.0], n)
    chargers, cars = [], []
    for k in range(n):
        three = rng.random() < 0.4
        phases = tuple(int(p) for p in rng.permutation(3)) if three else (int(rng.integers(3)), -1, -1)
        step_a = float(rng.choice([0.001, 0.1, 1.0]))
        chargers.append(
            ChargerSpec(f"c{k}", int(rng.integers(m)), phases, 32.0, float(obey_s[k]), read_s + 0.5, 0.0, 10.0, step_a)
        )
        plugged = bool(rng.random() < 0.5)
        cars.append(
            Car(fall_s=float(rng.uniform(0.2, obey_s[k] - 0.4)), plugged=plugged, max_a=float(rng.choice([10, 32])))
        )
    events = [{"t_s": float(t), **_event(rng, n)} for t in np.sort(rng.uniform(20.0, FOR_S - 5.0, 6).round(1))]
    load_a = {f"n{k}": float(rng.choice([0.0, 5.0])) for k in range(m)}
    setting = Setting(FOR_S, read_s=read_s, publish_s=publish_s)
    site = SiteSpec(tuple(nodes), tuple(chargers), min_off_s=2.0, min_on_s=2.0, grace_s=5.0)
    return Case(f"seed {seed}", setting, site, tuple(cars), load_a, tuple(events), ())


def _event(rng: np.random.Generator, n: int) -> dict:
    names = [f"c{k}" for k in range(n) if rng.random() < 0.6] or ["c0"]
    return {("plug", "unplug")[int(rng.integers(2))]: names}


def overshoot_a(case: Case, record: Record) -> float:
    """Return the most amps over the limit of any node and phase."""
    limits = np.array([node.limit_a for node in case.site.nodes])
    return float((record.node_a - limits[:, None]).max())


@pytest.mark.parametrize("block", range(3))
def test_no_drawn_ampere_is_over_a_limit(block: int) -> None:
    for seed in range(block * WORLDS // 3, (block + 1) * WORLDS // 3):
        case = random_case(seed)
        assert overshoot_a(case, play(case)) <= NOISE_A, case.name


def disturbed(case: Case, seed: int) -> Case:
    """Return the case with a restart of the controller, a link that is lost and a meter that falls silent in it."""
    rng = np.random.default_rng([seed, 1])
    charger, node = f"c{rng.integers(len(case.cars))}", f"n{rng.integers(len(case.site.nodes))}"
    begin_s, lasts_s = rng.uniform(5.0, 50.0, 3).round(1), rng.uniform(1.0, 40.0, 2).round(1)
    more = [
        {"t_s": begin_s[0], "restart": True},
        {"t_s": begin_s[1], "cut": [charger]},
        {"t_s": begin_s[1] + lasts_s[0], "mend": [charger]},
        {"t_s": begin_s[2], "freeze": [node]},
        {"t_s": begin_s[2] + lasts_s[1], "thaw": [node]},
    ]
    return replace(case, events=tuple(sorted([*case.events, *more], key=lambda event: event["t_s"])))


def test_nor_with_restarts_lost_links_and_silent_meters() -> None:
    for seed in range(WORLDS, WORLDS + 24):
        case = disturbed(random_case(seed), seed)
        assert overshoot_a(case, play(case)) <= NOISE_A, case.name


def test_without_control_the_same_worlds_go_over() -> None:
    over = 0
    for seed in range(15):
        case = random_case(seed)
        over += overshoot_a(case, play(case, controlled=False)) > 5.0
    assert over >= 10
