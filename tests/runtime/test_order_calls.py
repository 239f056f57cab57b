"""Calls on contracts over OpenADR and S2: judged by the contract, in its account, refused for good where it says so."""

import math
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.runtime.contract_book import ContractBook
from controller.runtime.contract_plan import Binding
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events, read_events
from controller.runtime.journal import NAME, Journal, read_entries
from controller.runtime.journal_orders import lives
from controller.runtime.order import Answer, Order
from controller.runtime.order_book import OrderBook
from controller.runtime.order_calls import CallLine, Split, joined
from controller.runtime.order_openadr import SOURCE, Ven
from controller.runtime.order_s2 import Resource
from controller.runtime.order_schedule import Piece, Schedule
from controller.runtime.site import ContractPort, OpenAdrPort, S2Port
from hil.rig.orders_check import check_order_links
from hil.rig.rigfile import RigError
from hil.twins.vtn import VtnTwin, capacity_event
from instruments.openadr_client import OpenAdrClient
from profiles.contract import load_contract

T0_S = datetime(2026, 11, 23, 6, tzinfo=UTC).timestamp()  # 07:00 in Amsterdam: in time for a call of tomorrow
START, AFTERNOON = "2026-11-24T16:00:00Z", "2026-11-24T13:00:00Z"
LIMIT = "IMPORT_CAPACITY_LIMIT"
UUID = "0f2a6c1e-7a4b-4c55-9b1e-3a5f1c2d4e6f"
H = 3600.0
BEGIN_H, GUARD = 34.0, 0.99


class Pilot:
    """Put a VEN with three programs (a node's, two contracts') before a server twin, with both books and a journal."""

    def __init__(self, folder: Path, twin: VtnTwin) -> None:
        contracts = {name: load_contract(name) for name in ("tdtr", "cbc_a", "csc_a")}
        ports = [ContractPort(contract=c.model_dump(mode="json", by_alias=True)) for c in contracts.values()]
        self.site = SimpleNamespace(name="corner", contracts=ports)
        self.programs = {"p-tdtr": "tdtr", "p-cbc": "cbc_a", "p-csc": "csc_a"}
        self.port = OpenAdrPort(url=twin.url, node="head", client_id="ven", import_w=90e3, contracts=self.programs)
        self.bindings = [Binding(contract, (0,), (0,), 60.0) for contract in contracts.values()]
        self.journal, self.events = Journal(folder / NAME), Events(folder / EVENTS, "test")
        self.folder, self.twin, self.now_s, self.full = folder, twin, T0_S, False
        self.start()

    def start(self) -> None:
        """Begin anew, as after a restart of books and VEN."""
        entries = list(read_entries(self.journal.path))
        mine = {entry.order_id for entry in entries if entry.kind == "accepted" and entry.subject in self.site_names()}
        self.book = OrderBook(["root", "head"], [], self.journal.append)
        self.calls = ContractBook(self.bindings, {}, "Europe/Amsterdam", self.journal.append)
        self.book.restore(entry for entry in entries if entry.order_id not in mine)
        self.calls.restore(entry for entry in entries if entry.order_id in mine)
        known = lives(entries)
        kept = Schedule(SOURCE, "head", self.offer, known, others=self.programs.values())
        lines = {p: CallLine(SOURCE, name, self.site, self.offer, known) for p, name in self.programs.items()}
        self.ven = Ven(self.port, OpenAdrClient("vtn", self.port.url, "ven", "secret"), kept, self.events, lines)

    def site_names(self) -> set[str]:
        return set(self.programs.values())

    def offer(self, order: Order) -> Answer:
        """Route as the orders process does."""
        if self.full:
            return Answer(False, "no answer")
        about = order.subject in self.site_names() or self.calls.orders.newest(order.source, order.order_id) is not None
        return (self.calls if about else self.book).offer(order, self.now_s)

    def poll(self, *events: dict[str, object]) -> bool:
        self.twin.events = list(events)
        return self.ven.poll(self.now_s)

    def kw(self, contract: str, after_h: float) -> float:
        return self.calls.limits_w(T0_S + after_h * H)[contract] / 1e3

    def rows(self, kind: str) -> int:
        return sum(entry.kind == kind for entry in read_entries(self.journal.path))


@pytest.fixture
def pilot(tmp_path):
    with VtnTwin() as twin:
        yield Pilot(tmp_path, twin)


def call(name: str, program: str, kilowatts: list[float], start: str = START, **more: object) -> dict[str, object]:
    return capacity_event(name, LIMIT, kilowatts, start, "PT1H", programID=program, **more)


def test_an_event_of_a_contracts_program_is_a_call_with_notice_and_account_and_no_limit_of_the_node(pilot):
    event = call("eve", "p-tdtr", [40.0, 40.0, 20.0])
    assert pilot.poll(event, capacity_event("doe", LIMIT, [60.0], START, "PT1H"))
    assert [pilot.kw("tdtr", BEGIN_H + h) for h in (-0.1, 0, 1.5, 2.5, 3.0)] == pytest.approx(
        [math.inf, 40.0 * GUARD, 40.0 * GUARD, 20.0 * GUARD, math.inf]
    )
    account = pilot.calls.states(T0_S)["tdtr"]
    assert (account["hours"], account["calls"], account["late_calls"]) == (
        3.0,
        2,
        0,
    )  # two intervals are alike: one call
    assert account["shortest_notice_s"] == BEGIN_H * H
    assert pilot.book.force(T0_S + (BEGIN_H + 0.5) * H).import_w[1] == 60e3  # the node's own event
    written = pilot.rows("accepted")
    pilot.now_s += 35 * H
    pilot.start()  # a restart, and the call has begun meanwhile: it is not called anew
    assert pilot.poll(event, capacity_event("doe", LIMIT, [60.0], START, "PT1H"))
    assert pilot.rows("accepted") == written and pilot.calls.states(T0_S)["tdtr"]["calls"] == 2


def test_a_call_that_the_contract_refuses_stays_refused_and_hinders_no_other(pilot):
    assert pilot.poll(call("a", "p-cbc", [90.0], AFTERNOON), call("b", "p-tdtr", [45.0]))
    pilot.now_s += 8 * H  # too late for tomorrow: cbc_a refuses, tdtr obeys and flags
    changed = call("a", "p-cbc", [60.0], AFTERNOON), call("c", "p-tdtr", [30.0], "2026-11-24T19:00:00Z")
    assert not pilot.poll(*changed)
    assert pilot.kw("cbc_a", 31.5) == 90.0 * GUARD  # what it had agreed to stays
    assert pilot.kw("tdtr", BEGIN_H + 0.5) == math.inf  # b was taken back, whatever became of a
    assert pilot.kw("tdtr", BEGIN_H + 3.5) == 30.0 * GUARD
    assert pilot.calls.states(pilot.now_s)["tdtr"]["late_calls"] == 1
    refused = pilot.rows("refused")
    for _ in range(100):  # five minutes of questions
        pilot.now_s += 3.0
        pilot.poll(*changed)
    assert refused == 1 and pilot.rows("refused") <= 3
    assert any("contract cbc_a" in str(event.get("text")) and "late" in str(event.get("text"))
               for event in read_events(pilot.folder / EVENTS))  # fmt: skip
    assert pilot.poll()
    assert pilot.kw("cbc_a", 31.5) == math.inf  # the event is gone


def test_a_book_that_does_not_answer_loses_no_call(pilot):
    assert pilot.poll(call("b", "p-tdtr", [45.0]))
    pilot.full = True
    assert not pilot.poll(call("b", "p-tdtr", [20.0]))
    assert pilot.kw("tdtr", BEGIN_H + 0.5) == 45.0 * GUARD
    pilot.full, pilot.now_s = False, pilot.now_s + 61.0
    assert pilot.poll(call("b", "p-tdtr", [20.0]))
    assert pilot.kw("tdtr", BEGIN_H + 0.5) == 20.0 * GUARD


def test_a_set_point_of_a_program_steers_up_and_down(pilot):
    event = capacity_event("up", "DISPATCH_SETPOINT", [9.0, -3.0], START, "PT1H", programID="p-csc")
    assert pilot.poll(event)
    contract = load_contract("csc_a")
    for hours, asked_w in ((0.5, 9e3), (1.5, -3e3)):
        asked_w = min(max(asked_w, contract.least_w), contract.most_w)
        assert pilot.calls.setpoints_w(T0_S + (BEGIN_H + hours) * H) == {"csc_a": asked_w}
    assert pilot.poll(call("no", "p-csc", [5.0]))  # a limit is nothing to a contract that steers
    assert pilot.calls.setpoints_w(T0_S + (BEGIN_H + 0.5) * H) == {}


def test_an_outage_of_the_grid_ends_calls_too(pilot):
    assert pilot.poll(call("b", "p-tdtr", [45.0]))
    assert pilot.ven.outage(pilot.now_s)
    assert pilot.kw("tdtr", BEGIN_H + 0.5) == math.inf


def test_envelopes_of_an_energy_manager_are_calls_where_they_limit_and_the_node_has_the_other_direction(pilot):
    offer = pilot.offer
    split = Split(Schedule("s2", "head", offer, others=("tdtr",)), CallLine("s2", "tdtr", pilot.site, offer, ()))
    free_w = load_contract("tdtr").capacity_w
    begin_s = T0_S + BEGIN_H * H
    said = [
        Piece("import", free_w, T0_S, begin_s, "i"),
        Piece("import", 30e3, begin_s, begin_s + H, "i"),
        Piece("export", 5e3, T0_S, begin_s, "i"),
    ]
    assert split.set(said, T0_S)
    assert [pilot.kw("tdtr", h) for h in (1.0, BEGIN_H + 0.5)] == [math.inf, 30.0 * GUARD]
    assert pilot.calls.states(T0_S)["tdtr"]["calls"] == 1
    force = pilot.book.force(T0_S + H)
    assert (force.import_w[1], force.export_w[1]) == (math.inf, 5e3)
    assert {piece.direction for piece in split.pieces} == {"import", "export"}
    assert split.set([], T0_S) and split.pieces == []


def test_an_instruction_that_the_contract_refuses_is_rejected_whole(pilot):
    offer, told = pilot.offer, []
    split = Split(Schedule("s2", "head", offer, others=("cbc_a",)), CallLine("s2", "cbc_a", pilot.site, offer, ()))
    port = S2Port(url="ws://localhost", node="head", resource_id=UUID, import_w=1e6, contract="cbc_a")
    session = SimpleNamespace(instructions=[], revoked=[], status=lambda id_, state, _: told.append((id_, state)))
    resource = Resource(port, split, session, lambda: math.nan)
    agreed_s = T0_S + 31 * H  # the agreed moment: two hours of tomorrow

    def say(name: str, *parts: tuple[float, float]) -> None:
        spans = [SimpleNamespace(import_w=w, export_w=0.0, from_s=a, to_s=a + H) for w, a in parts]
        session.instructions.append(SimpleNamespace(id=name, envelopes=spans))
        resource.work(T0_S)

    say("good", (90e3, agreed_s))
    say("bad", (80e3, agreed_s + H), (80e3, agreed_s + 2 * H))  # the second is outside the moment
    assert told == [("good", "ACCEPTED"), ("bad", "REJECTED")]
    assert [pilot.kw("cbc_a", 31.5 + h) for h in (0, 1, 2)] == [90.0 * GUARD, math.inf, math.inf]
    assert math.isinf(pilot.book.force(T0_S + 32.5 * H).export_w[1])  # its other direction went back too


def test_neighbours_that_are_alike_are_one_call():
    parts = [Piece("import", w, k * H, (k + 1) * H, "e") for k, w in enumerate((5.0, 5.0, 7.0, 5.0))]
    assert [(p.value_w, p.from_s / H, p.to_s / H) for p in joined(parts)] == [(5.0, 0, 2), (7.0, 2, 3), (5.0, 3, 4)]


def test_a_link_to_a_contract_that_cannot_be_called_on_is_refused():
    nodes, contracts = ["head"], [load_contract(name) for name in ("tdtr", "csc_a", "flexpower_1")]
    link = {"url": "https://example.org", "node": "head"}
    check_order_links("x", OpenAdrPort(**link, contracts={"a": "tdtr", "b": "csc_a"}), None, nodes, contracts)
    for program in ({"a": "flexpower_1"}, {"a": "tdtr", "b": "tdtr"}):
        with pytest.raises(RigError, match=r"openadr\.contracts"):
            check_order_links("x", OpenAdrPort(**link, contracts=program), None, nodes, contracts)
    with pytest.raises(RigError, match=r"s2\.contract"):  # envelopes are no set-points
        port = S2Port(url="ws://localhost", node="head", resource_id=UUID, import_w=1.0, contract="csc_a")
        check_order_links("x", None, port, nodes, contracts)
