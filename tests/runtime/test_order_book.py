"""Orders that are doubled, late, reordered, forged, impossible or cannot be kept: what holds is what it should be."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.runtime import order_unkept
from controller.runtime.journal import NAME, Journal, JournalError, read_entries
from controller.runtime.order_book import Order, OrderBook, OrderError, parse_order

NOW_S = 1_000_000.0
NODES, CHARGERS = ["head", "feeder"], ["cp01", "cp02"]
CAP = Order("dso", "a", 1, "cap", "head", "import", 52_000.0)


def keep_nothing(kind: str, **fields: object) -> None:
    """Stand for a journal that always has room."""


def keep_never(kind: str, **fields: object) -> None:
    """Stand for a full disk."""
    raise JournalError("no room left on the device")


def book(keep=keep_nothing, **options) -> OrderBook:
    return OrderBook(NODES, CHARGERS, keep, **options)


def cap_w(of: OrderBook, node: int = 0, now_s: float = NOW_S) -> float:
    return float(of.in_force(now_s)[0][node])


def test_orders_of_several_sources_combine_by_the_lowest() -> None:
    orders = book()
    for source, value_w in (("dso", 52_000.0), ("tso", 40_000.0), ("market", 60_000.0)):
        assert orders.offer(replace(CAP, source=source, value_w=value_w), NOW_S).accepted
    assert cap_w(orders) == 40_000.0
    assert math.isinf(cap_w(orders, node=1))
    assert orders.offer(Order("tso", "a", 2, "withdraw"), NOW_S).accepted
    assert cap_w(orders) == 52_000.0


def test_a_doubled_order_gets_its_first_answer_and_is_kept_once() -> None:
    kept: list[str] = []
    orders = book(lambda kind, **fields: kept.append(kind))
    double = replace(CAP, to_s=float("nan"))  # another NaN: as read from a message
    assert orders.offer(CAP, NOW_S) == orders.offer(double, NOW_S + 5)
    assert kept == ["accepted"]


def test_a_withdrawal_that_overtakes_its_order_wins() -> None:
    orders = book()
    orders.offer(Order("dso", "a", 2, "withdraw"), NOW_S)
    late = orders.offer(CAP, NOW_S)
    assert not late.accepted
    assert "sequence 1 came after 2" in late.why
    assert math.isinf(cap_w(orders))


def test_time_of_an_order_with_its_lead() -> None:
    orders = book(lead_s=np.array([15.0, 0.0]))
    orders.offer(replace(CAP, from_s=NOW_S + 100, to_s=NOW_S + 200), NOW_S)
    held = [math.isfinite(cap_w(orders, now_s=NOW_S + at)) for at in (0, 84, 85, 199.9, 200)]
    assert held == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (replace(CAP, subject="tail"), "there are head, feeder"),
        (replace(CAP, value_w=-1.0), "allowed 0 W or more"),
        (replace(CAP, value_w=math.nan), "allowed 0 W or more"),
        (replace(CAP, value_w=math.inf), "allowed 0 W or more"),
        (replace(CAP, to_s=NOW_S - 60.0), "over 60 s ago"),
        (replace(CAP, from_s=NOW_S + 9, to_s=NOW_S + 8), "the end after the start"),
        (replace(CAP, from_s=1e300), "before the year 2100"),
        (replace(CAP, from_s=-1e12), "before the year 2100"),
        (replace(CAP, from_s=math.inf), "before the year 2100"),
        (replace(CAP, to_s=math.inf), "before the year 2100"),
        (replace(CAP, order_id="a\ud800"), "can be printed"),
        (replace(CAP, order_id="a\x1b[2J"), "can be printed"),
        (replace(CAP, sequence=-1), "counts from 0"),
        (replace(CAP, order_id=""), "1 to 64 characters"),
        (replace(CAP, kind="setpoint"), "charger 'head': there are cp01, cp02"),
    ],
)
def test_an_impossible_order_is_refused_kept_as_such_and_holds_nothing(wrong: Order, why: str) -> None:
    kept: list[str] = []
    orders = book(lambda kind, **fields: kept.append(kind))
    answer = orders.offer(wrong, NOW_S)
    assert not answer.accepted
    assert why in answer.why
    assert kept == ["refused"]
    assert np.isinf(np.concatenate(orders.in_force(NOW_S))).all()


def test_forged_and_unknown_sources_are_refused() -> None:
    orders = book(keys={"dso": b"secret"}, sources=["dso"])
    assert "signature" in orders.offer(CAP, NOW_S).why
    assert "signature" in orders.offer(replace(CAP.signed(b"secret"), value_w=99_000.0), NOW_S).why
    assert "not known" in orders.offer(replace(CAP, source="mallory"), NOW_S).why
    assert orders.offer(CAP.signed(b"secret"), NOW_S).accepted
    forged = Order("dso", "a", 2, "withdraw", signature="0" * 64)
    assert "signature" in orders.offer(forged, NOW_S).why
    assert cap_w(orders) == 52_000.0


def test_a_full_disk_acknowledges_nothing_and_still_lowers() -> None:
    orders = book(keep_never)
    answer = orders.offer(CAP, NOW_S)
    assert (answer.accepted, answer.obeyed) == (False, True)
    assert cap_w(orders) == 52_000.0
    raised = orders.offer(replace(CAP, sequence=2, value_w=80_000.0), NOW_S)
    assert (raised.accepted, raised.obeyed) == (False, False)
    assert not orders.offer(Order("dso", "a", 3, "withdraw"), NOW_S).accepted
    assert cap_w(orders) == 52_000.0


def test_a_restart_takes_up_what_was_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / NAME)
    before = book(journal.append)
    before.offer(replace(CAP, to_s=NOW_S + 3600), NOW_S)
    before.offer(replace(CAP, order_id="b", value_w=30_000.0), NOW_S)
    before.offer(Order("dso", "b", 2, "withdraw"), NOW_S)
    before.offer(Order("market", "c", 0, "setpoint", "cp02", value_w=-3_000.0), NOW_S)
    after = book()
    assert after.restore(read_entries(tmp_path / NAME)) == 4
    assert np.array_equal(np.concatenate(after.in_force(NOW_S)), np.concatenate(before.in_force(NOW_S)))
    assert after.in_force(NOW_S)[2][1] == -3_000.0


messages = st.lists(
    st.builds(
        Order,
        source=st.sampled_from(["dso", "tso"]),
        order_id=st.sampled_from(["a", "b"]),
        sequence=st.integers(0, 3),
        kind=st.sampled_from(["cap", "withdraw"]),
        subject=st.just("head"),
        value_w=st.sampled_from([0.0, 10_000.0, 20_000.0]),
    ),
    max_size=8,
    unique_by=lambda order: (order.source, order.order_id, order.sequence),
)


@given(messages=messages, data=st.data())
def test_what_holds_depends_on_the_newest_numbers_not_on_the_way(messages: list[Order], data: st.DataObject) -> None:
    doubled = messages + data.draw(st.lists(st.sampled_from(messages), max_size=4) if messages else st.just([]))
    orders = book()
    for message in data.draw(st.permutations(doubled)):
        orders.offer(message, NOW_S)
    newest: dict[tuple[str, str], Order] = {}
    for message in sorted(messages, key=lambda order: order.sequence):
        newest[message.source, message.order_id] = message
    wanted = min((order.value_w for order in newest.values() if order.kind == "cap"), default=math.inf)
    assert cap_w(orders) == wanted


def test_an_order_read_from_a_message_names_what_is_wrong() -> None:
    fields = {"source": "dso", "order_id": "a", "sequence": 1, "kind": "cap", "subject": "head", "value_w": 52e3}
    assert parse_order(fields).message() == CAP.message()
    for change, why in (
        ({"limit": 5}, "unknown fields limit"),
        ({"kind": "boost"}, "allowed are cap, setpoint, withdraw"),
        ({"value_w": "much"}, "cannot be read"),
    ):
        with pytest.raises(OrderError, match=why):
            parse_order(fields | change)
    with pytest.raises(OrderError, match="sequence is missing"):
        parse_order({name: fields[name] for name in fields if name != "sequence"})


def test_orders_that_are_not_kept_come_back_whole_and_end_by_their_sender_or_their_time(site) -> None:
    order_unkept.create(site)
    before, image = book(keep_never), order_unkept.UnkeptImage(site)
    for k, (source, value_w, to_s) in enumerate((("dso", 10e3, math.nan), ("tso", 20e3, NOW_S + 60.0))):
        assert before.offer(Order(source, "a", k, "cap", "head", value_w=value_w, to_s=to_s), NOW_S).obeyed
    image.write(before.unkept(NOW_S), 1)
    after = book(keep_never)
    assert all(after.carry(order) for order in order_unkept.UnkeptImage(site).read())
    assert cap_w(after) == 10e3 and after.in_force(NOW_S)[0][1] == math.inf
    after._keep = keep_nothing
    assert after.offer(Order("mallory", "a", 9, "withdraw"), NOW_S).accepted
    assert cap_w(after) == 10e3
    assert after.offer(Order("dso", "a", 1, "withdraw"), NOW_S).accepted
    assert cap_w(after) == 20e3 and [order.source for order in after.unkept(NOW_S)] == ["tso"]
    assert cap_w(after, now_s=NOW_S + 60.0) == math.inf and after.unkept(NOW_S + 60.0) == []


def test_of_too_many_unkept_orders_the_lowest_are_carried(site) -> None:
    order_unkept.create(site)
    image = order_unkept.UnkeptImage(site)
    image.write([replace(CAP, order_id=f"o{k}", value_w=1000.0 * k) for k in reversed(range(2000))], 1)
    found = [order.value_w for order in image.read()]
    assert 200 < len(found) < 2000 and found == [1000.0 * k for k in range(len(found))]


def test_a_list_is_no_order_and_a_text_that_utf8_has_not_is_kept_as_its_escape(tmp_path: Path) -> None:
    with pytest.raises(OrderError, match="a list: an order is a JSON object"):
        parse_order(["source", "order_id", "sequence", "kind"])  # type: ignore[arg-type]
    journal = Journal(tmp_path / NAME)
    answer = book(journal.append).offer(replace(CAP, order_id="a\ud800"), NOW_S)
    assert "can be printed" in answer.why
    assert [entry.order_id for entry in read_entries(tmp_path / NAME)] == ["a\\ud800"]
