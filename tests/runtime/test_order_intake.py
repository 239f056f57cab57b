"""Months of orders between processes: the folders hold what waits and no more, and a kill loses no answer."""

import json
import os
from dataclasses import replace

import pytest

from controller.runtime import order_intake
from controller.runtime.order import Answer, Order, OrderError
from controller.runtime.order_intake import ANSWERS, OFFERS, Desk, Intake, IntakeError

CAP = Order("dso", "a", 1, "cap", "head", value_w=52_000.0)
YES = Answer(True, obeyed=True)


MOST = 48


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    """Let fewer wait than in earnest."""
    monkeypatch.setattr(order_intake, "MOST_WAITING", MOST)


def held(site) -> tuple[list[str], list[str]]:
    return os.listdir(site.store(OFFERS)), os.listdir(site.store(ANSWERS))


def test_a_quarter_of_orders_leaves_nothing_behind_and_each_is_taken_once(site):
    """Ninety days of an order an hour, the process killed and started anew at every hundredth."""
    intake, desk, taken = Intake(site), Desk(site), []
    for number in range(90 * 24):
        ticket = intake.post(replace(CAP, sequence=number))
        killed = number % 100
        for offered, posted_ns, order in desk.offers():
            assert (offered, posted_ns > 0) == (ticket, True)
            if killed == 7:  # before it was looked at
                break
            taken.append(order.sequence)
            if killed == 8:  # it is on the disk, and not answered
                taken.pop()
                break
            desk.answer(offered, YES)
        if killed in (7, 8):
            desk = Desk(site)
            for offered, _, order in desk.offers():
                taken.append(order.sequence)
                desk.answer(offered, YES)
        assert intake.answer(ticket) == YES
        assert held(site) == ([], [])
    assert taken == list(range(90 * 24))


def test_who_was_killed_between_answer_and_clearing_away_takes_no_order_twice(site):
    intake, desk = Intake(site), Desk(site)
    ticket = intake.post(CAP)
    offer = (site.store(OFFERS) / ticket).read_bytes()
    for offered, _, _ in desk.offers():
        desk.answer(offered, YES)
    (site.store(OFFERS) / ticket).write_bytes(offer)  # as the kill left it
    assert list(Desk(site).offers()) == []
    assert (held(site)[0], intake.answer(ticket)) == ([], YES)


def test_what_nobody_fetches_is_bounded_and_the_newest_stay(site):
    intake, desk = Intake(site), Desk(site)
    tickets = []
    for number in range(3 * MOST):
        tickets.append(intake.post(replace(CAP, sequence=number)))
        for offered, _, _ in desk.offers():
            desk.answer(offered, YES)
        assert len(held(site)[1]) <= 2 * MOST
    assert intake.answer(tickets[-1]) == YES
    assert intake.answer(tickets[0]) is None
    intake.close()
    assert held(site) == ([], [])


def test_halves_of_dead_writers_and_old_answers_go_and_fresh_ones_stay(site, monkeypatch):
    intake = Intake(site)
    half, old = site.store(OFFERS) / ".torn", site.store(ANSWERS) / "old"
    for path in (half, old):
        path.write_bytes(b"{")
        os.utime(path, (1.0, 1.0))
    (site.store(OFFERS) / ".fresh").write_bytes(b"{")
    ticket = intake.post(CAP)
    desk = Desk(site)
    for offered, _, _ in desk.offers():
        desk.answer(offered, YES)
    assert held(site) == ([".fresh"], [ticket])


def test_too_many_waiting_orders_are_told_and_none_of_them_is_lost(site):
    intake = Intake(site)
    tickets = [intake.post(replace(CAP, sequence=number)) for number in range(MOST)]
    with pytest.raises(IntakeError, match=f"{MOST} orders wait"):
        intake.post(CAP)
    assert [ticket for ticket, _, _ in Desk(site).offers()] == tickets


def test_without_room_for_an_answer_it_is_given_later_and_the_order_not_taken_again(site, monkeypatch):
    intake, desk = Intake(site), Desk(site)
    ticket, put = intake.post(CAP), order_intake._put
    with monkeypatch.context() as full:
        full.setattr(order_intake, "_put", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        for offered, _, _ in desk.offers():
            desk.answer(offered, YES)
        assert list(desk.offers()) == []
    assert order_intake._put is put
    assert intake.answer(ticket) is None
    assert list(desk.offers()) == []
    assert intake.answer(ticket) == YES


DEEP = b'{"order": ' + b"[" * 8000
NONSENSE = [b"", b"[]", b"{}", b'{"order": 3}', b"\xff", b'{"order": {"kind": "cap"}}', DEEP, b" " * (1 << 20) + b"{}"]


@pytest.mark.parametrize("data", NONSENSE, ids=range(len(NONSENSE)))
def test_what_is_no_order_is_answered_as_such(site, data):
    (site.store(OFFERS) / "x").write_bytes(data)
    (ticket, _, found), *_ = list(Desk(site).offers())
    assert ticket == "x"
    assert isinstance(found, OrderError)


def test_what_is_no_file_is_left_alone_and_a_time_of_offer_that_cannot_be_counts_as_unknown(site):
    (site.store(OFFERS) / "a").mkdir()
    intake, desk = Intake(site), Desk(site)
    ticket = intake.post(CAP)
    path = site.store(OFFERS) / ticket
    for posted_ns in (-(10**30), 10**30, True, "soon", None):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"posted_ns": posted_ns}))
        ((offered, told_ns, order),) = desk.offers()
        assert (offered, told_ns, order.message()) == (ticket, 0, CAP.message())
