"""Invariants on random plans with every kind of limit in both directions, hostile inputs and clocks that jump."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lawbench import EU_DROOP, INF, VoltSource, World, charger, node, site
from test_export import Cars
from test_invariants import ODD, SlowCars, few

from controller.law import image
from controller.law.names import Alarm, Trust
from controller.runtime.plan import ExportSpec, GroupSpec, SiteSpec, WindowSpec

NOON_S = 43_200.0
DAY_S = 86_400.0
HIGH_V = 1.1 * 230.0
WATTS = 3
HOSTILE = (
    "charger_a", "charger_v", "charger_w", "charger_limit_a", "charger_soc", "wish_a", "wish_w", "override_a",
    "need_wh", "departure_s", "node_a", "node_v", "node_w", "order_w", "order_export_w", "order_from_s", "order_to_s",
    "book_w", "book_export_w", "window_call_w", "doe_w", "doe_export_w", "doe_to_s", "group_w", "frequency_hz",
)  # fmt: skip


def any_site(rng: np.random.Generator) -> SiteSpec:
    """Return a random tree with capacities, windows, envelopes and a group, and chargers of every kind."""
    m, n = int(rng.integers(1, 6)), int(rng.integers(1, 9))
    nodes = [
        node(
            f"n{k}",
            -1 if k == 0 else int(rng.integers(0, k)),
            limit_a=float(rng.choice([0.0, 16.0, 40.0, 80.0, INF])),
            limit_w=float(rng.choice([INF, 0.0, 20e3, 50e3])),
            export_a=float(rng.choice([0.0, 8.0, INF])),
            export_w=float(rng.choice([INF, 5e3])),
            metered=bool(rng.random() < 0.6),
            design_a=float(rng.choice([0.0, 10.0])),
            design_export_a=float(rng.choice([0.0, 4.0])),
            unbalance_a=float(rng.choice([6.0, 20.0, INF])),
            failsafe_w=float(rng.choice([0.0, 4200.0])),
            beat_timeout_s=float(rng.choice([5.0, INF])),
            doe_max_age_s=float(rng.choice([5.0, INF])),
            subscribed_w=float(rng.choice([0.0, 10e3])),
            growth_a_per_s=0.1,
            hold_s=5.0,
        )
        for k in range(m)
    ]
    chargers = [
        charger(
            k,
            at=int(rng.integers(m)),
            phase_map=(1, 2, 0) if rng.random() < 0.4 else (int(rng.integers(3)), -1, -1),
            hard_max_a=float(rng.choice([16.0, 32.0])),
            floor_a=float(rng.choice([0.0, 6.0, 9.2])),
            step_a=float(rng.choice([0.001, 0.1, 1.0])),
            failsafe_a=float(rng.choice([0.0, 6.0])),
            obey_s=float(rng.choice([0.0, 2.0, 15.0])),
            ramp_up_a_per_s=float(rng.choice([INF, 1.0])),
            priority=int(rng.integers(2)),
            weight=float(rng.choice([1.0, 2.0])),
            no_pause=bool(rng.random() < 0.2),
            volt_source=VoltSource(int(rng.integers(3))),
            droop=EU_DROOP,
            hold_s=3.0,
            export=ExportSpec(16.0, min_a=float(rng.choice([0.0, 5.0]))) if rng.random() < 0.5 else None,
        )
        for k in range(n)
    ]
    windows = tuple(
        WindowSpec(
            0.0,
            float(rng.choice([NOON_S, DAY_S])),
            charger=int(rng.integers(n)) if (own := rng.random() < 0.5) else -1,
            node=-1 if own else int(rng.integers(m)),
            limit_a=float(rng.choice([INF, 7.0, 0.0])),
            limit_w=float(rng.choice([INF, 4000.0, 0.0])),
            export_w=float(rng.choice([INF, 1000.0, 0.0])),
        )
        for _ in range(int(rng.integers(3)))
    )
    return site(nodes, chargers, windows, min_off_s=2.0, rotation_s=5.0, brake_over=1.2, brake_pu=0.85)


def grouped(rng: np.random.Generator, spec: SiteSpec) -> SiteSpec:
    """Return the site with a group over the children of its root, where it has two or more."""
    members = tuple(k for k, part in enumerate(spec.nodes) if part.parent == 0)
    if len(members) < 2:
        return spec
    limit_w, export_w = float(rng.choice([0.0, 6000.0, 15e3])), float(rng.choice([0.0, 2000.0, INF]))
    group = GroupSpec("g", members, limit_w=limit_w, export_w=export_w)
    return dataclasses.replace(spec, groups=(group,))


def disturb(
    world: World,
    rng: np.random.Generator,
    names: tuple[str, ...] = HOSTILE,
    often: float = 0.03,
    load_a: tuple[float, float] = (-5.0, 20.0),
) -> None:
    """Sense with links and meters that fail, then spoil some values and stamps."""
    n, m = world.dims.n, world.dims.m
    world.link = rng.random(n) < 0.92
    world.node_fresh = rng.random(m) < 0.85
    world.plugged = rng.random(n) < 0.95
    world.other = rng.uniform(*load_a, (m, 3))
    world.volts = rng.normal(228, 10, (n, 3)) if names is HOSTILE else world.volts
    world.sense()
    world.inp.frequency_hz[0] = rng.normal(50.0, 0.1)
    for name in names:
        array = getattr(world.inp, name)
        hit = rng.random(array.shape) < often
        array[hit] = rng.choice(ODD, array.shape)[hit]
    for name in ("charger_change_ns", "node_a_change_ns", "node_a_stamp_utc_ns", "doe_ns", "order_beat_ns"):
        array = getattr(world.inp, name)
        hit = rng.random(array.shape) < often
        array[hit] += rng.choice([-(10**11), 10**11])


def watts_left(world: World, export: bool) -> np.ndarray:
    """Return (M,) the watts that the limits in force leave to the chargers, written anew from docs/law.md."""
    plan, state, out = world.plan, world.state, world.out
    design = plan.node_design_export_a if export else plan.node_design_a
    assumed = (-design if export else design).sum(axis=1) * HIGH_V
    known = (plan.node_metered == 1) & (out.node_trust == Trust.BELIEVED)
    if export:
        return np.where(known, state.back_other[:, WATTS], assumed) + state.node_back_cap[:, WATTS]
    return out.node_cap_w - np.where(known, state.node_other[:, WATTS], assumed)


def watts_below(world: World, amps: np.ndarray) -> np.ndarray:
    """Return (M,) the watts of the chargers below every node at their measured volts."""
    total = np.zeros(world.dims.m)
    np.add.at(total, world.plan.charger_node, amps * world.state.volts_v)
    for k in range(world.dims.m - 1, 0, -1):
        total[world.plan.parent[k]] += total[k]
    return total


@settings(few, max_examples=20)
@given(st.integers(0, 2**32))
def test_hostile_inputs_and_clocks_with_every_kind_of_limit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = Cars(grouped(rng, any_site(rng)), rng.choice([0.0, 6.0, 10.0]), other=5.0)
    plan, out = world.plan, world.out
    least = plan.export_min_a
    before = None
    for _ in range(40):
        jumped = bool(rng.random() < 0.05)
        if jumped and before is not None:
            world.jump(float(rng.choice([-1000.0, -5.0, 5.0, 1000.0])))
        disturb(world, rng)
        world.step(float(rng.choice([0.0, 0.1, 1.0, 10.0])), sense=False)
        allowed, low, known = out.allowed_a.copy(), out.allowed_min_a.copy(), world.state.known == 1
        assert np.isfinite(allowed).all() and np.isfinite(low).all()
        assert ((allowed == 0.0) | (allowed >= plan.floor_a - 1e-9)).all()
        assert (allowed <= plan.hard_max_a + 1e-9).all()
        assert ((low == 0.0) | ((low <= -least + 1e-9) & (low >= -plan.export_max_a - 1e-9))).all()
        assert ((low == 0.0) | (allowed == 0.0)).all()
        assert (out.chain[:, -1] == allowed).all()
        assert (allowed <= out.reason_a + plan.step_a + 1e-9).all(), out.reason
        linked = world.state.linked == 1
        believed = (plan.node_metered == 0) | (out.node_trust == Trust.BELIEVED)
        for export, amps in ((False, allowed), (True, -low)):
            most = np.maximum(watts_left(world, export), 0.0)
            assert (watts_below(world, amps * linked) <= most * (1 + 1e-9) + 1e-3)[believed].all(), (seed, export)
        members = np.flatnonzero(plan.group_of >= 0)
        if len(members):
            assert watts_below(world, allowed * linked)[members].sum() <= plan.group_limit_w[0] + 1e-3
            assert watts_below(world, -low * linked)[members].sum() <= plan.group_export_w[0] + 1e-3
        if before is not None:
            adopted = known & ~before[2]  # the first reading is adopted, not granted
            if jumped:
                assert out.alarm[0] & Alarm.CLOCK_STEP
                assert not ((allowed > before[0] + 1e-9) & ~adopted).any()
                assert not ((low < before[1] - 1e-9) & ~adopted).any()
        before = (allowed, low, known)


ZERO = {  # where the 0 W come from: what is written into INPUT or PLAN at node m in every scan
    "order": lambda w, m: w.inp.order_w.__setitem__(m, 0.0),
    "book": lambda w, m: w.inp.book_w.__setitem__(m, 0.0),
    "envelope": lambda w, m: (
        w.inp.doe_w.__setitem__(m, 0.0),
        w.inp.doe_export_w.__setitem__(m, 0.0),
        w.inp.doe_ns.__setitem__(m, w.now_ns),
    ),
    "lost heartbeat": lambda w, m: w.inp.order_beat_ns.__setitem__(m, 0),
    "capacity in watts": lambda w, m: w.plan.node_limit_w.__setitem__(m, 0.0),
    "capacity in amps": lambda w, m: w.plan.node_limit_a.__setitem__(m, 0.0),
    "window": lambda w, m: (w.plan.window_node.__setitem__(0, m), w.plan.window_w.__setitem__(0, 0.0)),
    "call": lambda w, m: (w.plan.window_node.__setitem__(0, m), w.inp.window_call_w.__setitem__(0, 0.0)),
}


@settings(few, max_examples=48)
@given(st.sampled_from(sorted(ZERO)), st.integers(0, 2**32))
def test_zero_watts_is_zero_for_everybody_below_in_the_same_scan(source: str, seed: int) -> None:
    """Whatever else is read or lost, and for those out of reach too: they may still hear us.

    The limit is on what flows through the node: a roof below it may feed a car, and a household take up an export.
    """
    rng = np.random.default_rng(seed)
    roofs = bool(rng.random() < 0.3)
    spec = dataclasses.replace(any_site(rng), windows=(WindowSpec(0.0, DAY_S, node=0),))
    world = Cars(spec, rng.choice([6.0, 10.0]))
    m = int(rng.integers(world.dims.m))
    world.plan.doe_max_age_s[m] = 60.0
    world.plan.node_beat_timeout_s[m], world.plan.node_failsafe_w[m] = 5.0, 0.0 if source == "lost heartbeat" else INF
    world.plan.node_failsafe_export_w[m] = world.plan.node_failsafe_w[m]
    kept = ("order", "book", "doe", "window", "group", "node_")
    spoilt = tuple(name for name in HOSTILE if not name.startswith(kept))
    for k in range(30):
        disturb(world, rng, spoilt, load_a=(-20.0, 0.0) if roofs else (0.0, 20.0))
        world.inp.order_beat_ns[:] = world.now_ns
        if k >= 10:
            ZERO[source](world, m)
        if k >= 20 and source in ("order", "call"):
            world.inp.order_quality[:] = 2  # it stays in force
            world.inp.order_w[:], world.inp.window_call_w[:] = np.nan, np.nan
        world.step(float(rng.choice([0.1, 1.0])), sense=False)
        if k < 10:
            continue
        at = world.plan.charger_node.copy()
        below = np.zeros(world.dims.n, bool)
        while (at >= 0).any():
            below |= at == m
            at = np.where(at >= 0, world.plan.parent[at], -1)
        assert roofs or (world.out.allowed_a[below] == 0.0).all(), (source, seed, k)
        if roofs and source in ("envelope", "capacity in watts", "capacity in amps", "lost heartbeat"):
            assert (world.out.allowed_min_a[below] == 0.0).all(), (source, seed, k)


def gone(world: World, name: str) -> None:
    """Let one input of charger 0, its node or the site vanish, as a meter, a server or a driver does."""
    inp = world.inp
    if name in ("charger", "node volts", "node amps"):
        {"charger": inp.charger_quality, "node volts": inp.node_v_quality, "node amps": inp.node_a_quality}[name][:] = 2
    elif name == "order quality":
        inp.order_quality[:] = 2
    elif name == "link":
        inp.charger_link[0] = 0
    else:
        getattr(inp, name)[:] = np.nan


LOST = (
    "charger", "link", "node volts", "node amps", "order quality", "charger_a", "charger_v", "charger_soc", "node_a",
    "node_v", "order_w", "order_export_w", "window_call_w", "doe_w", "wish_a", "wish_w", "override_a", "frequency_hz",
)  # fmt: skip


@settings(few, max_examples=54)
@given(st.sampled_from(LOST), st.integers(0, 2**32))
def test_who_loses_an_input_rises_in_neither_direction(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = Cars(any_site(rng), 6.0, other=float(rng.uniform(-5, 20)))
    world.plan.volt_source[:] = int(rng.integers(3))  # one that loses its volts may leave room to one that needs none
    world.plan.rotation_s[0] = 1e6
    world.volts[:] = rng.uniform(205, 265, world.volts.shape)
    inp, n, m = world.inp, world.dims.n, world.dims.m
    inp.wish_a[:] = rng.choice([INF, -10.0, 12.0], n)
    inp.override_a[:] = rng.choice([INF, 9.0], n)
    inp.order_w[:], inp.order_export_w[:] = rng.choice([INF, 20e3], m), rng.choice([INF, 3e3], m)
    inp.doe_w[:], inp.doe_export_w[:] = rng.choice([15e3, 4e3], m), rng.choice([INF, 2e3], m)

    def scan(lost: str = "") -> None:
        world.sense()
        inp.order_beat_ns[:], inp.doe_ns[:] = world.now_ns, world.now_ns
        inp.frequency_hz[0], inp.frequency_quality[0], inp.frequency_change_ns[0] = 50.0, 0, world.now_ns
        if lost:
            gone(world, lost)
        world.step(1.0, sense=False)

    for _ in range(70):
        scan()
    rest, rest_low = world.out.allowed_a.copy(), world.out.allowed_min_a.copy()
    for _ in range(30):
        scan(name)
        assert world.out.allowed_a[0] <= rest[0] + 1e-9, (name, seed)
        assert world.out.allowed_min_a[0] >= rest_low[0] - 1e-9, (name, seed)


class SlowExports(SlowCars):
    """Give back as slow cars do: more in 0.3 s, less after `fall_s`."""

    def step(self) -> np.ndarray:
        world, k = self.world, self.world.scan
        self.orders[k] = -world.drawn if k == 0 else -world.out.allowed_min_a
        for i in range(world.dims.n):
            most = self.orders[max(k - self.fall[i], 0) : k + 1, i].max()
            risen = self.orders[max(k - self.rise, 0), i]
            world.drawn[i] = -min(max(-world.drawn[i], risen), most)
        old = world.inp.charger_a.copy(), world.inp.charger_w.copy(), world.inp.charger_change_ns.copy()
        world.sense()
        if k % self.read:
            world.inp.charger_a[:], world.inp.charger_w[:], world.inp.charger_change_ns[:] = old
        world.step(self.dt_s, follow=False, sense=False)
        return world.drawn.copy()


@pytest.mark.parametrize("seed", range(3))
def test_given_amps_stay_under_the_limit_of_export_with_slow_falls_and_fast_rises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    cars = [charger(0, name=f"c{k}", max_age_s=4.0, floor_a=0.0, export=ExportSpec(16.0)) for k in range(n)]
    world = Cars(site([node(export_a=40.0)], cars, min_off_s=0.0), 0.0, other=10.0)
    slow = SlowExports(world, rng.uniform(1, 14.5, n), read_s=3.0, scans=900)
    worst = 0.0
    for k in range(900):
        if k % 150 == 0:
            world.inp.wish_a[:] = rng.choice([-16.0, -9.0, 0.0], n)
        if k == 450:
            for table, views in (("state", world.state), ("output", world.out)):
                image.reset(table, views)
        world.inp.charger_limit_a[:] = np.minimum(world.drawn, 0.0)
        worst = max(worst, -slow.step().sum() - 10.0)
    assert worst <= 40.0 + 0.01
    assert -world.out.allowed_min_a.sum() > 5.0


def test_a_jump_of_the_clock_does_not_forget_who_is_out_of_reach() -> None:
    """Its car goes on; a hundred seconds on our clock are not the sixty in which it must have fallen."""
    cars = [charger(0, name=f"c{k}", failsafe_s=60.0) for k in range(2)]
    world = World(site([node(limit_a=36.0, metered=False, design_a=0.0)], cars, min_off_s=0.0), np.array([26.0, 6.0]))
    world.run(20)
    world.link[0] = False
    world.run(5)
    held = world.drawn[0]
    assert held > 15.0
    world.jump(100.0)
    for _ in range(300):
        world.step()
        assert world.out.allowed_a[1] <= 36.0 - held + 1e-6
    world.run(60)
    assert world.out.allowed_a[1] == pytest.approx(32.0)


@pytest.mark.parametrize("volts", [245.0, 260.0, 300.0])
@pytest.mark.parametrize("lost", ["volts of one", "volts of all", "reading of one"])
def test_watts_hold_at_high_volts_and_unknown_volts_count_no_less_than_the_last(volts: float, lost: str) -> None:
    """Volts over 1.1 pu that are not read any more are not 253 V: that would be more amps for the same watts."""
    cars = [charger(k, at=0) for k in range(2)]
    world = World(site([node(limit_a=200.0)], cars, min_off_s=0.0), 6.0, volts=volts)
    rest = np.zeros(2)
    for k in range(500):
        world.sense()
        world.inp.order_w[0] = 5200.0
        world.inp.node_v[:] = volts
        world.inp.node_w[:] = (world.inp.node_a * volts).sum(axis=1)
        if k > 300:
            world.inp.charger_v[: 2 if lost == "volts of all" else 1] = np.nan
            world.inp.charger_quality[0] = 2 if lost == "reading of one" else 0
        world.step(sense=False)
        if k >= 100:
            assert (world.drawn * volts).sum() <= 5200.0 + 1e-6, k
        if k == 300:
            rest = world.drawn.copy()
            assert (rest * volts).sum() > 5190.0  # and they are used
        if k > 300:
            assert (world.out.allowed_a <= rest + 1e-9).all()


def test_a_raise_that_went_out_before_the_link_was_lost_is_reserved() -> None:
    """Its order went up in the scan before the one that finds it gone: it may have heard it."""
    cars = [charger(0, name=f"c{k}", failsafe_s=60.0) for k in range(2)]
    world = World(site([node(limit_a=60.0, metered=False, design_a=0.0)], cars, min_off_s=0.0), 10.0)
    world.inp.wish_a[:] = 10.0
    world.run(20)
    world.inp.wish_a[0] = INF
    while world.out.allowed_a[0] <= 10.0:  # until the scan that raises it
        world.step(follow=False)
        assert world.scan < 600
    raised = world.out.allowed_a[0]
    world.link[0] = False
    world.step(follow=False)
    assert world.out.reserved_a[0] >= raised
    world.inp.wish_a[1] = INF
    world.run(20)
    assert world.out.allowed_a[1] <= 60.0 - raised + 1e-6
