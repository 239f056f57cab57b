"""The watcher: from scans alone it journals when an order was decided, sent, accepted by the devices and obeyed."""

import math
from pathlib import Path

import numpy as np
import pytest

from controller.law import image
from controller.runtime.evidence import Evidence, below
from controller.runtime.journal import NAME, Journal, JournalError, read_entries
from controller.runtime.journal_orders import OrderLife, lives
from controller.runtime.order import Order
from controller.runtime.order_book import OrderBook

S = 1_000_000_000
UTC_NS = 1_700_000_000 * S
NODES, CHARGERS = ["transformer", "head"], ["cp1", "cp2"]
DIMS = image.Dims(2, 2, 0, 2)


class Site:
    """Play the scans of two chargers below a metered head; one scan a tenth of a second."""

    def __init__(self, folder: Path) -> None:
        self.now_ns = 5 * S
        self.journal = Journal(folder / NAME, utc_ns=lambda: UTC_NS + self.now_ns)
        self.plan = image.allocate("plan", DIMS)[1]
        self.plan.parent[:] = [-1, 0]
        self.plan.charger_node[:] = 1
        self.plan.node_metered[1] = 1
        self.plan.node_obey_s[:] = 10.0
        self.inp, self.out = image.allocate("input", DIMS)[1], image.allocate("output", DIMS)[1]
        self.inp.charger_link[:] = 1
        self.inp.charger_limit_a[:] = 16.0
        self.inp.charger_a[:] = 16.0
        self.inp.node_a_quality[:] = 0
        self.inp.node_w[1] = 22_000.0
        self.out.allowed_a[:] = 16.0
        self.sent = np.full(2, 16.0), np.zeros(2, dtype=np.int64)
        self.evidence = Evidence(NODES, self.plan, self.journal, lambda: self.sent)
        self.book = OrderBook(NODES, CHARGERS, self.append)
        self.cap_w = math.inf  # of the law, beside orders

    def append(self, kind: str, **body: object) -> int:
        return self.journal.append(kind, mono_ns=self.now_ns, **body)

    def scan(self, seconds: float = 0.1) -> None:
        for _ in range(round(seconds * 10)):
            self.now_ns += S // 10
            self.inp.now_ns[0], self.inp.utc_ns[0] = self.now_ns, UTC_NS + self.now_ns
            self.inp.node_a_change_ns[:] = self.now_ns
            force = self.book.force((UTC_NS + self.now_ns) / S)
            self.inp.book_w[:], self.inp.book_no[:] = force.import_w, force.import_no
            self.out.node_cap_w[:] = np.minimum(force.import_w, self.cap_w)
            self.evidence.scan(self.inp, self.out)

    def life(self, row: int = -1) -> OrderLife:
        return lives(read_entries(self.journal.path))[row]


@pytest.fixture
def site(tmp_path: Path):
    made = Site(tmp_path)
    yield made
    made.journal.close()


def order(site: Site, value_w: float, **fields: object) -> None:
    assert site.book.offer(
        Order(
            **{"source": "dso", "order_id": "a", "sequence": 1, "kind": "cap", "subject": "head", "value_w": value_w}
            | fields
        ),
        (UTC_NS + site.now_ns) / S,
        received_mono_ns=site.now_ns - S // 5,
    ).accepted


def test_every_step_of_an_order_gets_its_time_since_receipt(site: Site) -> None:
    site.scan(1)
    order(site, 11_000.0)
    site.out.allowed_a[:] = 8.0
    site.scan(1)
    assert site.life().state == "accepted"
    site.sent = np.full(2, 8.0), np.array([site.now_ns, site.now_ns - S // 2])
    site.scan(0.5)
    site.inp.charger_limit_a[:] = 8.0
    site.scan(0.5)
    site.inp.node_w[1] = 11_100.0
    site.scan(1)
    life = site.life()
    assert (life.decided_s, life.sent_s, life.accepted_s, life.obeyed_s) == (0.3, 1.2, 1.8, 2.3)
    assert life.state == "obeyed"


def test_watts_over_the_limit_for_longer_than_the_obey_time_are_missed_and_told_again(site: Site) -> None:
    order(site, 11_000.0)
    site.scan(11.9)
    assert site.life().state == "accepted"
    site.scan(0.5)
    assert site.life().state == "missed"
    site.inp.node_w[1] = 10_000.0
    site.scan(0.2)
    assert site.life().state == "obeyed"
    site.inp.node_w[1] = 12_000.0
    site.scan(12.5)
    assert (site.life().state, site.life().misses) == ("missed", 2)


def test_a_meter_that_is_not_believed_says_neither_obeyed_nor_missed(site: Site) -> None:
    site.inp.node_w[1] = 5_000.0
    site.inp.node_a_quality[:] = 1
    order(site, 11_000.0)
    site.scan(15)
    assert site.life().state == "accepted"


def test_what_a_charger_that_is_not_heard_draws_is_not_taken_for_nothing(site: Site) -> None:
    site.plan.node_metered[:], site.inp.charger_link[:] = 0, [1, 0]
    site.inp.charger_w[:] = [5_000.0, math.nan]
    site.out.allowed_a[:], site.sent = 8.0, (np.array([8.0, 16.0]), np.zeros(2, dtype=np.int64))
    order(site, 11_000.0)
    site.scan(15)
    assert site.life().state == "accepted" and math.isnan(site.life().sent_s)  # 32 A on three phases may be drawn
    site.inp.charger_w[0] = 12_000.0
    site.scan(15)
    assert site.life().state == "missed"
    order(site, 40_000.0, sequence=2)
    site.scan(1)
    assert site.life().state == "obeyed"
    steps = [e.body for e in read_entries(site.journal.path) if e.kind == "obeyed"]
    assert steps[-1] and steps[-1]["by"] == "chargers, 1 not heard"


def test_an_order_that_the_substation_shows_gets_an_entry_and_its_steps(site: Site) -> None:
    site.inp.order_w[1], site.inp.order_quality[:] = 9_000.0, 0
    site.scan(0.1)
    assert (site.life().source, site.life().value_w, site.life().state) == ("substation", 9_000.0, "received")
    site.out.node_cap_w[:] = 9_000.0
    site.inp.node_w[1] = 9_000.0
    site.inp.order_quality[:] = 2
    site.inp.order_w[1] = math.nan  # lost: it still binds, and nothing new is journaled
    site.evidence.scan(site.inp, site.out)
    assert site.life().state == "obeyed"
    assert len(lives(read_entries(site.journal.path))) == 1
    site.inp.order_w[1], site.inp.order_quality[:] = math.inf, 0
    site.scan(0.1)
    assert site.life().over


def test_steps_wait_for_room_on_the_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    order(site, 11_000.0)
    append = Journal.append
    full = [True]

    def fail(self: Journal, kind: str, **body: object) -> int:
        if full[0]:
            raise JournalError("no room")
        return append(self, kind, **body)

    monkeypatch.setattr(Journal, "append", fail)
    site.inp.node_w[1] = 10_000.0
    site.scan(2)
    assert site.life().state == "accepted"
    full[0] = False
    site.scan(2)
    assert site.life().state == "obeyed"


def test_chargers_below_a_node_are_those_of_its_subtree() -> None:
    found = below(np.array([-1, 0, 1, 0]), np.array([2, 3, 1]))
    assert found.tolist() == [[True] * 3, [True, False, True], [True, False, False], [False, True, False]]


def test_a_limit_that_is_handed_in_is_followed_like_an_order_and_so_is_its_fall_back(site: Site) -> None:
    plan, inp = site.plan, site.inp
    plan.doe_max_age_s[1], plan.doe_subscribed_w[1], plan.doe_subscribed_export_w[1] = 30.0, 9_000.0, math.inf
    site.evidence = Evidence(NODES, plan, site.journal, lambda: site.sent)
    inp.node_w[1] = 8_000.0
    inp.doe_w[1], inp.doe_to_s[1], inp.doe_ns[1] = 20_000.0, math.nan, site.now_ns
    site.scan(1)
    assert (site.life().source, site.life().kind, site.life().value_w) == ("handed", "limit", 20_000.0)
    assert math.isnan(site.life().decided_s)  # no cap of the law is at it yet
    site.cap_w = 20_000.0
    site.scan(1)
    assert (site.life().state, site.life().decided_s) == ("obeyed", 1.0)
    inp.node_w[1] = 15_000.0
    site.scan(28.5)  # not renewed: the subscribed capacity is the lower one
    first, second = site.life(0), site.life()
    assert (first.state, first.over, second.value_w) == ("obeyed, ended", True, 9_000.0)
    site.cap_w = 9_000.0
    site.scan(2)
    inp.node_w[1] = 9_100.0
    site.scan(1)
    assert site.life().state == "obeyed"
    assert 2.0 < site.life().obeyed_s < 4.0


def test_a_dimmed_group_is_followed_by_what_its_chargers_draw(site: Site) -> None:
    site.plan.group_of[1] = 0
    site.evidence = Evidence(NODES, site.plan, site.journal, lambda: site.sent)
    site.scan(1)
    site.inp.group_w[0] = 7_560.0
    site.inp.charger_w[:] = 11_000.0
    site.out.allowed_a[:] = 5.0
    site.scan(1)
    assert (site.life().subject, site.life().value_w, site.life().state) == ("head", 7_560.0, "received")
    site.inp.charger_w[:] = 3_700.0
    site.scan(1)
    assert site.life().state == "obeyed"
    site.inp.group_w[0] = math.inf
    site.scan(1)
    assert site.life().over


def test_a_guard_and_a_dimmed_group_at_one_node_are_two_and_a_value_that_nobody_knows_is_none_told(site: Site) -> None:
    plan, inp = site.plan, site.inp
    plan.group_of[1], plan.doe_max_age_s[1], plan.doe_subscribed_w[1] = 0, 60.0, 4_000.0
    site.evidence = Evidence(NODES, plan, site.journal, lambda: site.sent)
    inp.doe_w[1], inp.doe_to_s[1], inp.doe_ns[1], inp.group_w[0] = 9_000.0, math.nan, site.now_ns, 7_560.0
    site.scan(1)
    found = lives(read_entries(site.journal.path))
    assert [(life.value_w, life.over) for life in found] == [(9_000.0, False), (7_560.0, False)]
    inp.doe_w[1], inp.doe_ns[1], inp.group_w[0] = math.nan, site.now_ns, math.nan
    for _ in range(3):
        site.scan(1)
    found = lives(read_entries(site.journal.path))
    assert [life.value_w for life in found] == [9_000.0, 7_560.0, 0.0]  # the law keeps the first, and allows no group
