"""OpenADR 3: events become a schedule in the order book; faults, lost links and outages lift nothing they may not."""

import json
import math
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events, read_events
from controller.runtime.journal import NAME, Journal, read_entries
from controller.runtime.journal_orders import lives
from controller.runtime.order_book import OrderBook
from controller.runtime.order_openadr import SOURCE, Outage, Ven
from controller.runtime.order_schedule import Schedule
from controller.runtime.site import OpenAdrPort
from hil.twins.vtn import VtnTwin, capacity_event
from instruments.faults import PortFault
from instruments.openadr_client import OpenAdrClient
from instruments.openadr_events import EventError, read_event

T0_S = datetime(2026, 11, 23, 16, tzinfo=UTC).timestamp()
START = "2026-11-23T17:00:00Z"
LIMIT, SUBSCRIPTION = "IMPORT_CAPACITY_LIMIT", "IMPORT_CAPACITY_SUBSCRIPTION"
H = 3600.0


class Pilot:
    """Put a VEN, an order book and a journal before a server twin."""

    def __init__(self, folder: Path, twin: VtnTwin, **port: object) -> None:
        self.port = OpenAdrPort(url=twin.url, node="head", client_id="ven", **port)
        self.folder = folder
        self.events = Events(folder / EVENTS, "test")
        self.journal = Journal(folder / NAME)
        self.now_s = T0_S
        self.start()

    def start(self) -> None:
        """Begin anew, as after a restart of book and VEN."""
        self.book = OrderBook(["root", "head"], [], self.journal.append)
        self.book.restore(read_entries(self.journal.path))
        kept = Schedule(
            SOURCE, "head", lambda order: self.book.offer(order, self.now_s), lives(read_entries(self.journal.path))
        )
        self.client = OpenAdrClient("vtn", self.port.url, "ven", "secret", timeout_s=30.0)
        self.ven = Ven(self.port, self.client, kept, self.events)

    def kw(self, after_h: float = 0.0, export: bool = False) -> float:
        force = self.book.force(self.now_s + after_h * H)
        return float((force.export_w if export else force.import_w)[1]) / 1e3

    def told(self) -> list[str]:
        return [event["kind"] for event in read_events(self.folder / EVENTS)]


@pytest.fixture
def twin():
    with VtnTwin() as made:
        yield made


def test_limits_hold_in_their_intervals_and_the_subscription_between_them(tmp_path, twin):
    twin.events = [
        capacity_event("doe", LIMIT, [20.0, 60.0], START, "PT1H"),
        capacity_event("sub", SUBSCRIPTION, [40.0], "2026-01-01T00:00:00Z", "P9999Y"),
        capacity_event("out", "EXPORT_CAPACITY_LIMIT", [5000.0], START, "PT30M",
                       payloadDescriptors=[{"payloadType": "EXPORT_CAPACITY_LIMIT", "units": "W"}]),
        capacity_event("price", "PRICE", [0.3], START, "PT1H"),
    ]  # fmt: skip
    pilot = Pilot(tmp_path, twin)
    assert pilot.ven.poll(T0_S)
    assert [pilot.kw(h) for h in (0.5, 1.0, 1.99, 2.5, 3.0, 5000.0)] == [40.0, 20.0, 20.0, 60.0, 40.0, 40.0]
    assert (pilot.kw(1.2, export=True), pilot.kw(1.6, export=True)) == (5.0, math.inf)
    kept = len(lives(read_entries(pilot.journal.path)))
    pilot.now_s += 1.5 * H
    assert pilot.ven.poll(pilot.now_s)
    assert pilot.kw() == 20.0
    assert len(lives(read_entries(pilot.journal.path))) == kept  # unchanged events are not ordered again


def test_a_changed_event_takes_the_place_of_the_old_one_also_after_a_restart(tmp_path, twin):
    twin.events = [capacity_event("doe", LIMIT, [20.0], START, "PT4H")]
    pilot = Pilot(tmp_path, twin, import_w=50e3)
    assert pilot.ven.poll(T0_S)
    pilot.start()
    twin.events = [capacity_event("doe", LIMIT, [30.0], START, "PT2H")]
    assert pilot.ven.poll(T0_S)
    assert [pilot.kw(h) for h in (0, 1, 2.9, 3, 5)] == [50.0, 30.0, 30.0, 50.0, 50.0]
    twin.events = []
    assert pilot.ven.poll(T0_S)
    assert [pilot.kw(h) for h in (0, 1, 5)] == [50.0, 50.0, 50.0]


def test_a_silent_or_broken_server_lifts_nothing_and_the_schedule_runs_on(tmp_path, twin):
    twin.events = [capacity_event("doe", LIMIT, [20.0], START, "PT2H")]
    pilot = Pilot(tmp_path, twin, import_w=50e3)
    assert pilot.ven.poll(T0_S)
    for fault in ("refuse", "garbage", "hang"):
        twin.fault, twin.events = fault, []
        pilot.client._timeout_s = 0.3 if fault == "hang" else 30.0
        assert not pilot.ven.poll(T0_S)
        assert [pilot.kw(h) for h in (0, 1, 3)] == [50.0, 20.0, 50.0]
    twin.fault, pilot.client._timeout_s = "", 30.0
    twin.events = [capacity_event("doe", LIMIT, [-1.0], START, "PT2H")]  # not clear: the last that was clear stays
    assert not pilot.ven.poll(T0_S)
    assert pilot.kw(1) == 20.0
    twin.fault, twin.events = "expired", [capacity_event("doe", LIMIT, [10.0], START, "PT2H")]
    assert pilot.ven.poll(T0_S)
    assert (twin.tokens, pilot.kw(1)) == (2, 10.0)
    assert pilot.told() == ["openadr_lost", "openadr_back"]


def test_after_an_outage_of_the_grid_limits_are_discarded_and_the_subscription_holds(tmp_path, twin):
    twin.events = [capacity_event("doe", LIMIT, [0.0], "0001-01-01", "PT9H")]
    pilot = Pilot(tmp_path, twin)
    assert pilot.ven.poll(T0_S)
    assert not pilot.ven.outage(T0_S)  # nothing to fall back to
    assert pilot.kw() == 0.0
    twin.events.append(capacity_event("sub", SUBSCRIPTION, [40.0], "2026-01-01T00:00:00Z", "P9999Y"))
    assert pilot.ven.poll(T0_S)
    assert pilot.ven.outage(T0_S)
    assert pilot.kw() == 40.0
    assert pilot.ven.poll(T0_S)
    assert pilot.kw() == 0.0  # the server says it still


def test_a_start_of_now_does_not_move_with_the_questions(tmp_path, twin):
    twin.events = [capacity_event("doe", LIMIT, [20.0], "0001-01-01", "PT1H")]
    pilot = Pilot(tmp_path, twin, import_w=50e3)
    for minute in range(3):
        pilot.now_s = T0_S + 60.0 * minute
        assert pilot.ven.poll(pilot.now_s)
    assert len(lives(read_entries(pilot.journal.path))) == 2  # the limit and the subscription behind it
    assert (pilot.kw(0.95), pilot.kw(0.98)) == (20.0, 50.0)
    twin.events[0]["modificationDateTime"] = "2026-11-23T15:30:00Z"
    pilot.start()  # begins anew: the server's own time tells when now was
    assert pilot.ven.poll(pilot.now_s)
    assert (pilot.kw(0.45), pilot.kw(0.48)) == (20.0, 50.0)


def test_an_outage_is_seen_in_the_volts_and_told_once_when_they_are_back(site):
    outage = Outage(site, 1)
    volts = [230.0, 20.0, math.nan, 20.0, 5.0, 231.0, 230.0]
    seen = [outage.look(np.full(3, v), round(k * 0.6e9) + 1) for k, v in enumerate(volts)]
    assert seen == [False] * 5 + [True, False]
    assert not outage.look(np.full(3, 10.0), 5_000_000_000)
    assert not outage.look(np.full(3, 230.0), 5_100_000_000)  # a dip is no outage


def test_of_events_that_overlap_the_highest_priority_holds_and_of_equal_ones_the_lowest(tmp_path, twin):
    twin.events = [
        capacity_event("a", LIMIT, [30.0], START, "PT2H", priority=1),
        capacity_event("b", LIMIT, [10.0], START, "PT1H"),
        capacity_event("c", LIMIT, [35.0], START, "PT1H", priority=1),
    ]
    pilot = Pilot(tmp_path, twin)
    assert pilot.ven.poll(T0_S)
    assert [pilot.kw(h) for h in (0.9, 1.0, 2.5, 3.1)] == [math.inf, 30.0, 30.0, math.inf]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"payloadDescriptors": [{"payloadType": LIMIT, "units": "A"}]}, "unit 'A'"),
        ({"intervalPeriod": {"start": "soon"}}, "not an ISO 8601 time"),
        ({"intervalPeriod": {"start": START, "duration": "an hour"}}, "not an ISO 8601 duration"),
        ({"intervals": [{"payloads": [{"type": LIMIT, "values": ["NaN"]}]}]}, "allowed 0 or more"),
        ({"intervals": [{"payloads": [{"type": LIMIT, "values": []}]}]}, "exactly one number"),
    ],
)
def test_an_event_that_is_not_clear_is_refused_whole(change, why):
    with pytest.raises(EventError, match=why):
        read_event(capacity_event("e", LIMIT, [1.0], START, "PT1H") | change, T0_S)


def test_a_secret_goes_to_no_plain_address_and_a_wrong_one_is_told(twin):
    with pytest.raises(PortFault, match="https"):
        OpenAdrClient("vtn", "http://example.org/openadr3", "ven", "secret")
    with pytest.raises(PortFault, match="status 403"):
        OpenAdrClient("vtn", twin.url, "ven", "wrong").events()
    twin.events = [json.loads(json.dumps({"id": str(k)})) for k in range(120)]
    assert len(OpenAdrClient("vtn", twin.url, "ven", "secret").events()) == 120


def test_a_period_without_a_start_lasts_from_when_it_was_said(tmp_path, twin):
    event = capacity_event("doe", LIMIT, [20.0, 30.0], "", "PT1H")
    twin.events = [event]
    pilot = Pilot(tmp_path, twin)
    assert pilot.ven.poll(T0_S)
    assert [pilot.kw(h) for h in (0, 0.9, 1.5, 2.1)] == [20.0, 20.0, 30.0, math.inf]
    pilot.now_s += 0.5 * H
    assert pilot.ven.poll(pilot.now_s)  # asked again: it does not begin anew
    assert [pilot.kw(h) for h in (0, 0.6, 1.6)] == [20.0, 30.0, math.inf]


@pytest.mark.parametrize(
    "change",
    [{"priority": "first"}, {"intervals": ["x"]}, {"intervals": 5}, {"payloadDescriptors": ["x"]},
     {"intervalPeriod": "soon"}, {"intervals": [{"payloads": [{"type": LIMIT, "values": [10**400]}]}]}],
)  # fmt: skip
def test_an_event_that_is_not_built_as_one_is_told_and_keeps_no_other_from_holding(tmp_path, twin, change):
    twin.events = [capacity_event("old", LIMIT, [40.0], START, "PT2H")]
    pilot = Pilot(tmp_path, twin, import_w=50e3)
    assert pilot.ven.poll(T0_S)
    twin.events = [capacity_event("bad", LIMIT, [1.0], START, "PT2H") | change,
                   capacity_event("new", LIMIT, [20.0], START, "PT1H")]  # fmt: skip
    assert not pilot.ven.poll(T0_S)
    assert [pilot.kw(h) for h in (0, 1, 2.5)] == [50.0, 20.0, 40.0]  # the new one holds, and the old one is not lifted
    assert pilot.told() == ["openadr_lost"]
    twin.events = twin.events[1:]
    assert pilot.ven.poll(T0_S)
    assert [pilot.kw(h) for h in (0, 1, 2.5)] == [50.0, 20.0, 50.0]


def test_an_event_that_goes_while_pages_are_turned_hides_no_other(tmp_path, twin):
    twin.events = [capacity_event(f"e{k}", LIMIT, [60.0], START, "PT1H") for k in range(60)]
    twin.events[50] = capacity_event("low", LIMIT, [20.0], START, "PT1H")
    pilot = Pilot(tmp_path, twin)
    assert pilot.ven.poll(T0_S)
    assert pilot.kw(1.5) == 20.0
    get, gone = twin.get, threading.Event()

    def shifted(handler):
        if "skip=0" not in handler.path:
            gone.wait(30.0)
        get(handler)
        if "skip=0" in handler.path and len(twin.events) == 60:
            del twin.events[3]  # now the low one stands on the page that was read already
            gone.set()

    twin.get = shifted
    assert pilot.ven.poll(T0_S)
    assert pilot.kw(1.5) == 20.0
