"""Commissioning on chargers made of arithmetic, in virtual time: each fault of a site is found, and nothing else."""

import asyncio
import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from controller.runtime.commission import Commission, CommissionStopped
from controller.runtime.commission_measure import _volts_per_amp
from controller.runtime.plan import ChargerSpec, NodeSpec, SiteSpec, build_plan

NS = 1_000_000_000
OHM = 0.15  # V per A at the connection
HOUSE_A = np.array([5.0, 3.0, 4.0])
BASE_V = np.array([233.0, 230.0, 231.5])


@dataclass
class Reading:
    volt_v: np.ndarray = field(default_factory=lambda: np.full(3, math.nan))
    amp_a: np.ndarray = field(default_factory=lambda: np.zeros(3))
    limit_a: float = 6.0
    quality: int = 0
    change_ns: int = 0
    link: bool = True
    sent_a: float = math.nan
    fault: str = ""


class Car:
    """Play charger and car: what is ordered is in force and drawn `delay_s` later, on the wires that are there."""

    def __init__(self, name, wires=(0,), delay_s=2.0, ignores=False, master_a=math.nan, car_max_a=32.0):
        self.name, self.wires, self.delay_s = name, wires, delay_s
        self.ignores, self.master_a, self.car_max_a = ignores, master_a, car_max_a
        self.reading = Reading()
        self.orders = [(0, 6.0)]

    def step(self, now_ns, want_a):
        reading = self.reading
        if not math.isnan(want_a) and want_a != reading.sent_a:
            reading.sent_a = want_a
            self.orders.append((now_ns, want_a))
        in_force = [a for since_ns, a in self.orders if now_ns - since_ns >= self.delay_s * NS or since_ns == 0][-1]
        if not math.isnan(self.master_a) and now_ns // (4 * NS) % 3 == 2:
            in_force = self.master_a  # the second master writes every 12 s and is overwritten 4 s later
        drawn_a = 16.0 if self.ignores else min(in_force, self.car_max_a)
        reading.limit_a = in_force
        reading.amp_a = np.where([k < len(self.wires) for k in range(3)], drawn_a, 0.0)
        reading.change_ns = now_ns
        return dict.fromkeys(self.wires, drawn_a)


class Nodes:
    """Play the meters of a root and one connection a charger."""

    def __init__(self, cars, signs):
        m = len(cars) + 1
        self.signs = signs
        self.node_a, self.node_v, self.node_w = np.zeros((m, 3)), np.tile(BASE_V, (m, 1)), np.zeros(m)
        self.node_a_quality = self.order_quality = np.zeros(m, dtype=np.uint8)
        self.node_a_change_ns = np.zeros(m, dtype=np.int64)
        self.order_w = np.full(m, np.inf)


class Street:
    """Hold cars and meters under one clock that `sleep` moves."""

    def __init__(self, *cars, signs=None, limit_a=60.0, specs=None):
        self.cars = list(cars)
        self.nodes = Nodes(cars, signs or [1] * len(cars))
        self.now_ns = NS
        self.rng = np.random.default_rng(3)
        self.house_a = HOUSE_A.copy()
        self.orders_seen = []
        nodes = [NodeSpec("root", -1, limit_a=limit_a, metered=True)]
        nodes += [NodeSpec(f"poc_{car.name}", 0, limit_a=40.0, metered=True) for car in cars]
        chargers = [
            ChargerSpec(car.name, k + 1, (0, 1, 2), 32.0, 8.0, 3.0, 6.0, 60.0, 0.1, **(specs or {}))
            for k, car in enumerate(cars)
        ]
        _, _, plan = build_plan(SiteSpec(nodes=tuple(nodes), chargers=tuple(chargers), brake_pu=0.85))
        self.work = Commission(
            plan, self.cars, self.nodes, list(range(1, len(cars) + 1)),
            [node.name for node in nodes],
            clock_ns=lambda: self.now_ns, sleep=self.sleep,
        )  # fmt: skip
        self.settle()

    async def sleep(self, seconds):
        self.now_ns += round(seconds * NS)
        self.settle()

    def settle(self):
        nodes, total = self.nodes, self.house_a.copy()
        self.orders_seen.append([self.work.want_a(k) for k in range(len(self.cars))])
        for k, car in enumerate(self.cars):
            mine = self.rng.normal(0.0, 0.05, 3)
            for phase, drawn_a in car.step(self.now_ns, self.work.want_a(k)).items():
                mine[phase] += drawn_a
            total += mine
            nodes.node_a[k + 1] = self.nodes.signs[k] * mine
            nodes.node_v[k + 1] = BASE_V - OHM * mine + self.rng.normal(0.0, 0.02, 3)
            volts = [nodes.node_v[k + 1][phase] for phase in car.wires]
            car.reading.volt_v[: len(volts)] = volts
        nodes.node_a[0] = total
        nodes.node_a_change_ns[:] = self.now_ns

    def find(self, k=0):
        async def go():
            await self.work.hold()
            try:
                return await self.work.run(k)
            finally:
                self.left = await self.work.restore()

        return asyncio.run(go())


def test_a_sound_charger_is_found_sound():
    found = Street(Car("one", wires=(1,)), Car("two")).find()
    assert (found.phases, found.sign, found.ignores, found.overwritten) == (("b",), 1, False, False)
    assert found.obey_s == pytest.approx(2.0, abs=0.2)
    assert found.node_obey_s == pytest.approx(2.0, abs=0.3)
    assert found.v_per_a == pytest.approx(OHM, abs=0.005)
    assert 0.0 < found.v_per_a_half < 0.02
    assert found.steps == 4


def test_the_half_width_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        quiet = []
        for k, order_a in enumerate((6.0, 14.0, 6.0, 14.0, 6.0)):
            volts = BASE_V - OHM * order_a + 0.05 * k + rng.normal(0.0, 0.1, 3)  # the street drifts
            quiet.append({"amp": np.array([order_a, 0.0, 0.0]), "node_v": volts, "volt": volts})
        v_per_a, half = _volts_per_amp(quiet, [0])
        hits += abs(v_per_a - OHM) <= half
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize("wires", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_the_phases_of_three_terminals_are_told_by_their_volts(wires):
    found = Street(Car("one", wires=wires)).find()
    assert found.phases == tuple("abc"[phase] for phase in wires)


def test_a_reversed_current_transformer_is_found():
    found = Street(Car("one"), Car("two", wires=(2,)), signs=[-1, 1]).find()
    assert (found.sign, found.phases) == (-1, ("a",))


def test_a_charger_that_obeys_late_shows_its_time_at_both_meters():
    found = Street(Car("one", delay_s=14.0)).find()
    assert found.obey_s == pytest.approx(14.0, abs=0.3)
    assert found.node_obey_s == pytest.approx(14.0, abs=0.5)


def test_a_charger_that_ignores_its_orders_is_found():
    found = Street(Car("one", ignores=True)).find()
    assert found.ignores
    assert "10.0 A over our order" in found.why


def test_a_second_master_is_found_with_the_amps_it_sets():
    found = Street(Car("one", master_a=20.0)).find()
    assert found.overwritten
    assert found.others_a == 20.0


def test_a_charger_without_a_car_shows_nothing_and_says_so():
    found = Street(Car("one", car_max_a=0.0)).find()
    assert not found.drew
    assert "plug one in" in found.why


def test_a_car_that_takes_only_the_lower_step_shows_nothing():
    found = Street(Car("one", car_max_a=6.0)).find()
    assert (found.drew, found.steps, found.ignores) == (True, 0, False)


def test_only_one_charger_moves_and_all_end_where_they_stood():
    street = Street(Car("one"), Car("two"), Car("three"))
    street.find(1)
    held = np.array(street.orders_seen)[2:]
    assert set(held[:, 0]) <= {6.0} | set(held[np.isnan(held[:, 0]), 0])
    assert np.nanmax(held[:, 1]) == 14.0
    assert street.left == []
    assert [car.orders[-1][1] for car in street.cars] == [6.0, 6.0, 6.0]


def test_a_step_keeps_to_the_room_of_the_fullest_node():
    street = Street(Car("one"), Car("two"), limit_a=22.0)  # 5 A of houses and 12 A of cars on phase a
    street.find()
    assert np.nanmax(np.array(street.orders_seen)[:, 0]) <= 6.0 + 5.0
    assert np.nanmax(np.array(street.orders_seen)[:, 0]) > 8.0


def test_no_step_is_made_without_room():
    street = Street(Car("one"), Car("two"), limit_a=18.0)
    found = street.find()
    assert "no room: root leaves" in found.why
    assert np.nanmax(np.array(street.orders_seen)) == 6.0


def test_an_order_of_the_dso_leaves_no_room():
    street = Street(Car("one"))
    street.nodes.order_w = np.array([500.0, np.inf])
    assert "no room: root" in street.find().why


def test_an_order_in_watts_holds_where_only_amps_are_measured():
    street = Street(Car("one"))
    street.nodes.order_w = np.array([5000.0, np.inf])  # 12 A of houses and 6 A of the car are 4.6 kW at most
    street.nodes.node_w[:] = np.nan
    assert "no room: root" in street.find().why


def test_a_meter_that_tells_no_amps_leaves_no_room():
    street = Street(Car("one"))
    street.work._nodes.node_a[1] = np.nan
    assert street.work.plan_step(0).why.startswith("no room: poc_one")


@pytest.mark.parametrize("what", ["node", "link", "meter", "amps", "order", "volts", "signal"])
def test_what_goes_wrong_ends_it_and_puts_everything_back(what):
    street = Street(Car("one"), Car("two"))
    steps = []

    async def sleep(seconds):
        await Street.sleep(street, seconds)
        steps.append(1)
        if len(steps) < 200 or (street.work.want_a(0) != 14.0 and len(steps) < 1000):
            return
        if what == "node":
            street.house_a[0] = 58.0
        elif what == "link":
            street.cars[1].reading.link = False
        elif what == "meter":
            street.nodes.node_a_quality[1] = 2
        elif what == "amps":
            street.nodes.node_a[1] = np.nan
        elif what == "order":
            street.nodes.node_w[0], street.nodes.order_w = 6000.0, np.array([4200.0, np.inf])
        elif what == "volts":
            street.nodes.node_v[2] = 180.0
        else:
            street.work.stop_asked = True

    street.work._sleep = sleep
    with pytest.raises(CommissionStopped):
        street.find()
    assert 14.0 in np.array(street.orders_seen)[:, 0]
    assert [car.orders[-1][1] for car in street.cars] == [6.0, 6.0]
    assert street.left == []
