"""Links in virtual time do what the real clients do: two-write resumes, repeats, silence on a cut link, order first."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from controller.law.names import Quality
from hil.rig.assembler import Assembly, assemble
from hil.rig.links import NS, Links, cycle_s
from hil.rig.rigfile import load_rig
from hil.rig.world import World

P30, P40, ALFEN = 0, 7, 11  # chargers of the street by family
STEP_S = 0.1


@pytest.fixture(scope="module")
def assembly() -> Assembly:
    return assemble(load_rig("street"))


class Bench:
    """Step a world and its links with orders given by hand, and note what every charger was written."""

    def __init__(self, assembly: Assembly) -> None:
        self.world = World(assembly, 0.0)
        self.world.eventful = False
        self.links = Links(self.world, assembly, 0.0)
        self.random = np.random.default_rng(1)
        self.k = 0
        self.allowed_a = np.full(self.world.n, 16.0)
        self.writes: list[tuple[int, float, str, float]] = []
        for i, view in enumerate(self.links.chargers.views):
            self.links.chargers.views[i] = Noting(view, i, self.writes)  # type: ignore[call-overload]

    @property
    def t_s(self) -> float:
        return self.k * STEP_S

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.k += 1
            self.world.step(self.t_s, STEP_S)
            self.links.latch(self.t_s, self.k, self.random)
            self.links.chargers.write(self.t_s, self.links.now_ns(self.t_s), self.allowed_a)

    def sent(self, i: int, after_s: float = -1.0) -> list[tuple[float, str, float]]:
        return [(round(t, 3), quantity, value) for j, t, quantity, value in self.writes if j == i and t > after_s]


class Noting:
    """Pass a charger's view through and note its writes."""

    def __init__(self, view: Any, i: int, writes: list[tuple[int, float, str, float]]) -> None:
        self.view, self.i, self.writes = view, i, writes

    def set(self, quantity: str, value: float, now_s: float) -> None:
        self.writes.append((self.i, now_s, quantity, value))
        self.view.set(quantity, value, now_s)

    def touch(self, now_s: float) -> None:
        self.view.touch(now_s)


@pytest.fixture
def bench(assembly: Assembly) -> Bench:
    return Bench(assembly)


def test_the_very_first_order_of_a_p30_is_its_current_and_then_its_release(bench: Bench) -> None:
    bench.run(12.0)
    assert bench.sent(P30) == [(0.1, "setpoint_a", 16.0), (5.1, "enable", 1.0)]
    assert bench.sent(P40) == [(0.1, "setpoint_a", 16.0)]


def test_a_p30_pauses_with_one_write_and_resumes_with_two(bench: Bench) -> None:
    bench.run(12.0)
    bench.allowed_a[:] = 0.0
    bench.run(8.0)
    bench.allowed_a[:] = 10.0
    bench.run(12.0)
    assert bench.sent(P30, 12.0) == [(12.1, "enable", 0.0), (20.1, "setpoint_a", 10.0), (25.1, "enable", 1.0)]
    assert bench.sent(P40, 12.0) == [(12.1, "setpoint_a", 0.0), (20.1, "setpoint_a", 10.0)]


def test_a_p30_that_resumes_lower_than_before_is_not_released_with_its_old_current(bench: Bench) -> None:
    bench.run(12.0)
    bench.allowed_a[:] = 0.0
    bench.run(6.0)
    bench.allowed_a[:] = 10.0
    bench.run(5.0)
    assert bench.world.fleet.applied_a[P30] == 0.0  # the current is written, the release is not


def test_no_charger_is_written_faster_than_its_pacing(bench: Bench) -> None:
    for a in np.linspace(16.0, 8.0, 200):
        bench.allowed_a[:] = round(a, 1)
        bench.run(STEP_S)
    for i, gap_s in ((P30, 5.0), (P40, 5.0), (ALFEN, 1.0)):
        times = [t for t, _, _ in bench.sent(i)]
        assert len(times) > 3
        assert min(np.diff(times)) == pytest.approx(gap_s)
    assert bench.allowed_a[ALFEN] == pytest.approx(8.0)


def test_an_alfen_is_told_again_at_a_third_of_its_validity_and_a_keba_never(bench: Bench) -> None:
    bench.run(65.0)
    assert [t for t, _, _ in bench.sent(ALFEN)] == [0.1, 20.1, 40.1, 60.1]  # 60 s of validity
    assert len(bench.sent(P40)) == 1
    assert not bench.world.fleet.failsafe_active.any()


def test_readings_are_dated_by_their_oldest_part(bench: Bench, assembly: Assembly) -> None:
    bench.run(10.0)
    inp = bench.links.inp
    for i in (P30, ALFEN):
        cycle = cycle_s(assembly.models[i])
        ages_s = []
        for _ in range(60):
            bench.run(STEP_S)
            ages_s.append((inp.now_ns[0] - inp.charger_change_ns[i]) / NS)
        assert min(ages_s) > 0.5 * cycle
        assert cycle - 0.1 <= max(ages_s) <= cycle + 0.2


def test_a_cut_link_is_silence_and_after_it_the_order_comes_before_the_readings(bench: Bench) -> None:
    bench.run(12.0)
    bench.world.link_cut[P30] = True
    bench.run(0.1)
    inp = bench.links.inp
    assert inp.charger_link[P30] == 0
    assert inp.charger_quality[P30] == Quality.BAD
    bench.allowed_a[P30] = 8.0
    bench.run(20.0)
    assert bench.sent(P30, 12.0) == []
    assert bench.world.fleet.failsafe_active[P30]  # its own time-out of 10 s
    bench.world.link_cut[P30] = False
    mended_s = bench.t_s
    while inp.charger_link[P30] == 0:
        bench.run(STEP_S)
    assert bench.t_s - mended_s <= 5.0 + STEP_S  # the longest back-off
    assert not bench.world.fleet.failsafe_active[P30]  # a request of any kind feeds this family
    assert bench.sent(P30, mended_s) == [(round(bench.t_s, 3), "setpoint_a", 8.0)]
    assert inp.charger_quality[P30] == Quality.BAD  # until a complete set was read
    bench.run(2.8)
    assert inp.charger_quality[P30] == Quality.BAD
    bench.run(0.4)
    assert inp.charger_quality[P30] == Quality.GOOD


def test_an_order_between_the_steps_of_a_device_is_named(bench: Bench) -> None:
    bench.allowed_a[P40] = 3.0
    with pytest.raises(RuntimeError, match=r"cp08: the law ordered 3 A; allowed: 0 or 6\.\.32 A"):
        bench.run(STEP_S)


@pytest.mark.parametrize(("quantity", "frozen", "moving"), [("PhV", "node_v", "node_a"), ("A", "node_a", "node_v")])
def test_a_frozen_quantity_stands_still_alone_as_it_does_at_the_twin(assembly, quantity, frozen, moving):
    bench = Bench(assembly)
    bench.run(1.0)
    stamps = {name: int(getattr(bench.links.inp, f"{name}_change_ns")[1]) for name in (frozen, moving)}
    bench.world.frozen.add(("head", quantity))
    bench.run(2.0)
    inp = bench.links.inp
    assert getattr(inp, f"{frozen}_change_ns")[1] == stamps[frozen]
    assert getattr(inp, f"{frozen}_change_ns")[0] > stamps[frozen]
    assert getattr(inp, f"{moving}_change_ns")[1] > stamps[moving]


def test_local_time_follows_the_zone_during_a_run(assembly):
    night = replace(assembly, start_utc_s=datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC).timestamp())
    bench = Bench(night)
    bench.run(0.5)
    assert bench.links.inp.utc_offset_s[0] == 3600.0
    bench.run(1.0)
    assert bench.links.inp.utc_offset_s[0] == 7200.0
