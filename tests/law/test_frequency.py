"""Frequency containment reserve: response, dead band, doubt, and what its wish is exempt from."""

import numpy as np
import pytest
from lawbench import World, charger, node, site

from controller.law.names import Reason
from controller.runtime.plan import ExportSpec, ReserveSpec

POWER_W = 230.0 * 8  # 8 A on one phase


class Grid(World):
    """Give the world a frequency that is read in every scan while `fresh`."""

    hz, fresh = 50.0, True

    def sense(self) -> None:
        super().sense()
        self.inp.charger_soc[:] = 0.8
        if self.fresh:
            self.inp.frequency_hz[0] = self.hz
            self.inp.frequency_quality[0] = 0
            self.inp.frequency_change_ns[0] = self.now_ns


def grid(base_a: float = 16.0, *, export_a: float = 0.0, nodes: list | None = None, **given) -> Grid:
    """Return one charger that offers 8 A to either side of its base, after the first obey time."""
    export = ExportSpec(export_a) if export_a else None
    reserve = ReserveSpec(POWER_W, base_a)
    spec = charger(**({"export": export, "reserve": reserve, "wish_exempt": True} | given))
    world = Grid(site(nodes or [node()], [spec]), max(base_a, 0.0))
    world.run(17)
    return world


@pytest.mark.parametrize(
    ("hz", "amps"),
    [
        (50.0, 16.0),
        (50.0099, 16.0),
        (49.9901, 16.0),
        (50.02, 16.8),
        (50.1, 20.0),
        (49.9, 12.0),
        (50.2, 24.0),
        (50.4, 24.0),
        (49.8, 8.0),
        (49.0, 8.0),
    ],
)
def test_response(hz: float, amps: float) -> None:
    world = grid()
    world.hz = hz
    assert world.run(1) == pytest.approx([amps], abs=0.002)
    if amps != 16.0:
        assert world.out.reason[0] == Reason.FREQUENCY


def test_planners_set_point_is_the_base_and_full_power_takes_the_declared_one() -> None:
    world = grid()
    world.inp.wish_a[:] = 10.0
    world.hz = 50.2
    assert world.run(1) == pytest.approx([18.0], abs=0.002)
    assert world.out.fcr_share[0] == 1.0


def test_watts_become_amps_by_the_volts_measured() -> None:
    world = grid()
    world.volts[:] = 245.0
    world.hz = 50.2
    assert world.run(1) == pytest.approx([16.0 + POWER_W / 245.0], abs=0.002)


@pytest.mark.parametrize("what", ["stale", "nan", "bad", "absurd", "future"])
def test_frequency_in_doubt_raises_nothing(what: str) -> None:
    world = grid()
    world.hz = 49.8
    assert world.run(1) == pytest.approx([8.0], abs=0.002)
    world.fresh = False
    if what == "nan":
        world.inp.frequency_hz[0] = np.nan
    if what == "bad":
        world.inp.frequency_quality[0] = 2
    if what == "absurd":
        world.inp.frequency_hz[0] = 60.0
    if what == "future":
        world.inp.frequency_change_ns[0] = world.now_ns + 10**11
    assert world.run(30) == pytest.approx([8.0], abs=0.002)
    assert np.isnan(world.out.fcr_share[0])
    assert world.out.reason[0] == Reason.UNTRUSTED
    world.fresh, world.hz = True, 50.0
    assert world.run(1) == pytest.approx([16.0])


def test_high_frequency_in_doubt_falls_back_to_the_base() -> None:
    world = grid()
    world.hz = 50.2
    world.run(1)
    world.fresh = False
    assert world.run(3) == pytest.approx([16.0])


def test_exempt_wish_waits_for_no_ramp_delay_or_dwell_and_others_do() -> None:
    slow = {"ramp_up_a_per_s": 0.1, "random_delay_s": 60.0}
    exempt, bound = grid(10.0, **slow), grid(10.0, wish_exempt=False, **slow)
    for world in (exempt, bound):
        world.hz = 49.8
        assert world.run(1) == pytest.approx([0.0])  # 2 A is under the floor
        world.hz = 50.2
        world.run(20)  # what was allowed is reserved for the obey time
    assert exempt.out.allowed_a == pytest.approx([18.0], abs=0.002)
    assert bound.out.allowed_a == pytest.approx([0.0])


def test_exempt_wish_obeys_the_node() -> None:
    world = grid(nodes=[node(limit_a=12.0)])
    world.hz = 50.2
    assert world.run(20)[0] <= 12.0
    assert world.out.reason[0] == Reason.HEADROOM


def test_low_frequency_exports_where_the_charger_can() -> None:
    world = grid(2.0, export_a=16.0)
    world.hz = 49.8
    world.run(1)
    assert world.out.allowed_a[0] == 0.0
    assert world.out.allowed_min_a == pytest.approx([-6.0], abs=0.002)
    assert world.out.export_reason[0] == Reason.FREQUENCY
    world.fresh = False
    world.run(3)
    assert world.out.allowed_min_a[0] == 0.0
