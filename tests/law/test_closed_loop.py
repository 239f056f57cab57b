"""The law in closed loop with the street's feeder: sixteen chargers with their pacing, cars that fall slowly, meters.

Virtual time through the same links and plant as `voltbench run street --fast`. Households stand still, so that what
moves is the law. The cars rise within 0.3 s of their pilot and take 15 s to fall by 26 A.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from commandline import toml_text

from controller.law import image
from controller.law.names import Alarm
from hil.rig import lockstep
from hil.rig.assembler import Assembly, assemble
from hil.rig.lockstep import Lockstep
from hil.rig.rigfile import load_rig
from hil.rig.scenario_keys import Event

HEAD_A = 150.0
DROOP = {"points": [[0.92, 0.1875], [0.96, 1.0]], "required_margin_db": 6.0}
LATE = range(6, 16)
Street = Callable[..., Assembly]


class Still:
    """Keep the households' power of one moment, VA (C,), for ever."""

    def __init__(self, va: np.ndarray) -> None:
        self.va = va.copy()

    def at(self, _: float) -> np.ndarray:
        """Return the same power at every time."""
        return self.va


class Watch:
    """Record scan by scan: time (T,), amps allowed and drawn (T, N), amps at the feeder's head (T, 3)."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def record(self, t_s, world, inp, out) -> None:
        """Keep one scan."""
        alarm = 0 if out is None else int(out.alarm[0])
        allowed = np.full(world.n, np.inf) if out is None else out.allowed_a.copy()
        self.rows.append((t_s, allowed, world.drawn_a.copy(), world.head_a.copy(), alarm))

    def column(self, k: int) -> np.ndarray:
        """Return one column as an array over the scans."""
        return np.array([row[k] for row in self.rows])

    @property
    def allowed_a(self) -> np.ndarray:
        return self.column(1)

    @property
    def drawn_a(self) -> np.ndarray:
        return self.column(2)

    @property
    def head_a(self) -> np.ndarray:
        return self.column(3)


@pytest.fixture(scope="module")
def street_of(street_text, tmp_path_factory) -> Street:
    """Return a function that assembles the street without events and contracts, with some keys changed."""
    known: dict[str, Assembly] = {}

    def build(feeder: dict | None = None, law: dict | None = None, droop: dict | None = None) -> Assembly:
        key = repr((feeder, law, droop))
        if key not in known:
            rig = copy.deepcopy(street_text)
            rig["scenario"]["events"], rig["contract"] = [], []
            rig["feeder"] |= feeder or {}
            rig["law"] |= law or {}
            rig["law"]["droop"] |= droop or {}
            path = tmp_path_factory.mktemp("rig") / "street.toml"
            path.write_text(toml_text(rig))
            plain = assemble(load_rig(str(path)))
            cars = [replace(car, dead_time_s=0.3, fall_a_per_s=26.0 / 14.7, rise_a_per_s=1e3) for car in plain.ev]
            known[key] = replace(plain, ev=cars)
        return known[key]

    return build


def started(assembly: Assembly, settle_s: float, without: range = range(0), step_s: float = 1.0) -> Lockstep:
    """Return a run of `settle_s` up to scenario time 0, with still households and no car at some chargers."""
    run = Lockstep(assembly, -settle_s)
    run.world.households = Still(run.world.households.at(assembly.week_s))
    run.world._sessions = [session for session in run.world._sessions if session.charger not in without]
    run.run(0.0, step_s)
    return run


def capped(street_of: Street, **law: float) -> Assembly:
    """Return the street with high volts and a tight cable: the head's 150 A bind, not the droop."""
    return street_of({"source_pu": 1.02, "head_a": HEAD_A}, law={"brake_over": 1.3} | law)


def plug(run: Lockstep, chargers: range) -> None:
    """Plug a car in at every one of the chargers before the next scan."""
    for i in chargers:
        run.world.fleet.plug_in(i, run.t_s, 0.4, 30_000.0)


def watch(run: Lockstep, until_s: float, step_s: float) -> Watch:
    """Run on to `until_s` and return what happened."""
    seen = Watch()
    run.run(until_s, step_s, seen)
    return seen


def restart(run: Lockstep) -> None:
    """Start the controller anew: it remembers nothing, chargers and cars go on."""
    for table, views in (("state", run.state), ("output", run.out)):
        image.reset(table, views)


@pytest.mark.parametrize("source_pu", [1.0, 0.935, 0.915, 0.905, 0.89])
def test_volts_that_bind_leave_the_set_points_at_rest(street_of: Street, source_pu: float) -> None:
    """From full street to a street at 6 A and half paused: after half an hour not one set-point moves any more."""
    run = started(street_of({"source_pu": source_pu}), 1800.0)
    seen = watch(run, 600.0, 1.0)
    moves = (np.abs(np.diff(seen.allowed_a, axis=0)) > 1e-9).sum()
    assert moves == 0
    assert np.abs(seen.drawn_a - seen.allowed_a).max() < 0.1  # and the cars do what they are told


def test_the_street_at_six_amps_holds_cars_at_their_floor_and_paused_ones_side_by_side(street_of: Street) -> None:
    """The test above is not empty: at 0.905 pu the volts ask for less than 6 A from most, and pause some."""
    allowed = started(street_of({"source_pu": 0.905}), 1800.0).out.allowed_a
    assert (allowed == 6.0).sum() >= 5
    assert (allowed == 0.0).sum() >= 1
    assert (allowed > 6.0).sum() >= 2


def test_equilibrium_is_reached_from_nothing_within_ten_minutes(street_of: Street) -> None:
    """Cars start at 0.1 A/s, the volts are filtered by 60 s: what rests after 40 minutes is reached in ten."""
    run = started(street_of({"source_pu": 0.935}), 600.0)
    early = run.out.allowed_a.copy()
    run.run(1800.0, 1.0)
    assert early == pytest.approx(run.out.allowed_a, abs=0.5)
    assert early.sum() > 200.0


def test_without_filter_and_hysteresis_the_same_street_hunts(street_of: Street) -> None:
    """What keeps the set-points at rest above: without it they move hundreds of times and cars come and go."""
    bare = {"filter_s": 0.0, "hysteresis_pu": 0.0, "deadband_pu": 0.0, "pause_pu": 0.915, "resume_pu": 0.916}
    law = {"ramp_up_a_per_s": 100.0, "min_off_s": 0.0, "min_on_s": 0.0}
    run = started(street_of({"source_pu": 0.905}, law=law, droop=bare), 600.0)
    seen = watch(run, 300.0, 1.0)
    assert (np.abs(np.diff(seen.allowed_a, axis=0)) > 1e-9).sum() > 200


def uncontrolled_a(run: Lockstep, seen: Watch) -> np.ndarray:
    """Return the households' amps by phase at the head, (T, 3): they rise as the volts fall, whatever the law does."""
    assembly = run.assembly
    phases = assembly.network.phase[assembly.customer_of]
    cars = np.stack([seen.drawn_a[:, phases == p].sum(axis=1) for p in range(3)], axis=1)
    return seen.head_a - cars


def overshoot_a(run: Lockstep, seen: Watch) -> float:
    """Return by how much the head goes over its limit beyond what the households took more meanwhile, A."""
    households = uncontrolled_a(run, seen)
    return float((seen.head_a - HEAD_A - np.maximum(households - households[0], 0.0)).max())


def test_ten_cars_that_join_in_one_scan_never_lift_the_cable_over_its_limit(street_of: Street) -> None:
    run = started(capped(street_of), 300.0, without=LATE)
    assert run.world.head_a.max() > 0.99 * HEAD_A  # six cars and the households fill a phase
    plug(run, LATE)
    seen = watch(run, 90.0, 0.1)
    assert seen.head_a.max() <= HEAD_A
    assert (seen.drawn_a[-1] >= 6.0 - 0.1).all()  # everybody charges


def test_without_a_ramp_ten_joiners_lift_the_cable_by_no_more_than_the_households_took_meanwhile(
    street_of: Street,
) -> None:
    """Their cars lower the volts by 16 V within seconds; households of constant power then take 1.5 A more."""
    run = started(capped(street_of, ramp_up_a_per_s=100.0), 300.0, without=LATE)
    plug(run, LATE)
    seen = watch(run, 90.0, 0.1)
    assert overshoot_a(run, seen) <= 0.0
    assert seen.head_a.max() <= HEAD_A + 1.0
    assert (seen.head_a[-300:] <= HEAD_A).all()  # and that is taken back
    assert (seen.head_a[-1] > 0.97 * HEAD_A).all()


def test_the_right_split_at_once_would_break_the_cap(street_of: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above are hard enough: a controller that knows all and splits justly, but does not wait, goes over."""
    run = started(capped(street_of, ramp_up_a_per_s=100.0), 300.0, without=LATE)
    phases = run.assembly.network.phase[run.assembly.customer_of]
    households = run.world.head_a - np.bincount(phases, weights=run.world.drawn_a, minlength=3)
    fair_a = np.minimum((HEAD_A - 2.0 - households) / np.bincount(phases), 32.0)[phases]

    def split_at_once(inp, plan, state, out) -> None:
        out.allowed_a[:] = np.floor(fair_a * 10.0) / 10.0

    monkeypatch.setattr(lockstep, "decide", split_at_once)
    plug(run, LATE)
    seen = watch(run, 60.0, 0.1)
    assert overshoot_a(run, seen) > 5.0
    assert seen.head_a[-1].max() <= HEAD_A


@pytest.mark.parametrize("ramp_up_a_per_s", [0.1, 100.0])
def test_a_restart_while_ten_cars_join_keeps_the_cable_under_its_limit(
    street_of: Street, ramp_up_a_per_s: float
) -> None:
    """The worst moment: lowered cars still draw, and what they were told before is forgotten."""
    run = started(capped(street_of, ramp_up_a_per_s=ramp_up_a_per_s), 300.0, without=LATE)
    plug(run, LATE)
    run.run(4.0, 0.1)
    restart(run)
    seen = watch(run, 90.0, 0.1)
    assert overshoot_a(run, seen) <= 0.0
    assert (seen.drawn_a[-1] >= 6.0 - 0.1).all()


def test_meters_that_go_silent_raise_nobody_although_the_street_goes_dark(street_of: Street) -> None:
    run = started(capped(street_of, ramp_up_a_per_s=100.0), 300.0)
    before = run.out.allowed_a.copy()
    run.world.frozen |= {("head", "A"), ("transformer", "A")}
    run.run(3.0, 0.1)  # until their values are too old
    lights_out = run.world.households.va
    run.world.households = Still(np.zeros_like(lights_out))
    seen = watch(run, 90.0, 0.1)
    assert (seen.allowed_a <= before + 1e-9).all()
    assert (np.diff(seen.allowed_a, axis=0) <= 1e-9).all()
    assert (seen.column(4) & Alarm.NODE_UNTRUSTED > 0).all()
    run.world.frozen.clear()
    room = watch(run, 150.0, 0.1)
    assert room.allowed_a[-1].sum() > seen.allowed_a[-1].sum() + 10.0
    assert room.head_a.max() <= HEAD_A


def test_a_silent_meter_ends_at_the_design_load(street_of: Street) -> None:
    """After hold_s the declared 60 A stand for the households: no phase of the chargers is allowed more than 90 A."""
    assembly = capped(street_of)
    run = started(assembly, 300.0)
    run.world.frozen |= {("head", "A"), ("transformer", "A")}
    run.run(60.0, 0.5)
    phases = assembly.network.phase[assembly.customer_of]
    per_phase = np.bincount(phases, weights=run.out.allowed_a, minlength=3)
    assert (per_phase <= HEAD_A - 60.0 + 0.1).all()
    assert per_phase.max() > 60.0


def test_cars_follow_the_frequency_within_thirty_seconds_and_come_back(street_of: Street) -> None:
    """FCR by charging around 12 A: full at 200 mHz, through pacing, pilots and cars, within the 30 s of the product."""
    law = {"reserve_w": 1200.0, "reserve_base_a": 12.0, "ramp_up_a_per_s": 100.0}
    run = started(street_of({"source_pu": 1.02, "head_a": 400.0}, law=law), 300.0)
    run.world._events = [
        Event(at_s=10.0, kind="frequency", hz=50.25, for_s=60.0),
        Event(at_s=130.0, kind="frequency", hz=49.9, for_s=60.0),
    ]
    base = run.world.drawn_a.copy()
    assert base.sum() == pytest.approx(12.0 * run.world.n, rel=0.03)
    full_a = 1200.0 / 235.0  # at the volts of this street, 230 to 240 V
    for until_s, share in ((40.0, 1.0), (110.0, 0.0), (160.0, -0.5), (230.0, 0.0)):
        run.run(until_s, 0.5)
        assert np.abs(run.world.drawn_a - base - share * full_a).max() < 0.4, until_s
