"""The mailbox: orders arrive whole and in order; torn and damaged records are never taken for orders."""

import math
import os

import pytest

from controller.runtime.mailbox import ORDER, Mailbox, MailboxError


def test_orders_arrive_in_order_and_once(tmp_path):
    reader = Mailbox.create(tmp_path / "orders.box")
    desk, other = Mailbox.attach(tmp_path / "orders.box"), Mailbox.attach(tmp_path / "orders.box")
    desk.post("override", 3, 8.0, until_s=1e9, owner="anna")
    other.post("release", 3, owner="bob")
    first, second = reader.drain()
    assert (first.kind, first.index, first.value_a, first.until_s, first.owner) == ("override", 3, 8.0, 1e9, "anna")
    assert (second.kind, second.owner) == ("release", "bob")
    assert math.isnan(second.value_a)
    assert reader.drain() == []


def test_a_reader_that_starts_anew_reads_all_again(tmp_path):
    Mailbox.create(tmp_path / "box").post("override", 0, 6.0)
    assert len(Mailbox.attach(tmp_path / "box").drain()) == 1
    assert len(Mailbox.attach(tmp_path / "box").drain()) == 1


def test_a_torn_tail_waits_for_the_rest(tmp_path):
    box = Mailbox.create(tmp_path / "box")
    box.post("override", 1, 7.0)
    raw = (tmp_path / "box").read_bytes()
    with (tmp_path / "box").open("ab") as file:
        file.write(raw[:50])
    assert len(box.drain()) == 1
    with (tmp_path / "box").open("ab") as file:
        file.write(raw[50:])
    assert [order.index for order in box.drain()] == [1]
    assert box.damaged_bytes == 0


def test_damage_is_stepped_over_and_counted(tmp_path):
    box = Mailbox.create(tmp_path / "box")
    box.post("override", 1, 7.0)
    handle = os.open(tmp_path / "box", os.O_WRONLY | os.O_APPEND)
    os.write(handle, b"\x00" * 37)
    os.close(handle)
    box.post("override", 2, 7.0)
    raw = bytearray((tmp_path / "box").read_bytes())
    assert [order.index for order in box.drain()] == [1, 2]
    assert box.damaged_bytes == 37
    raw[ORDER.itemsize // 2] ^= 1
    (tmp_path / "flipped").write_bytes(raw)
    assert [order.index for order in Mailbox.attach(tmp_path / "flipped").drain()] == [2]


@pytest.mark.parametrize(
    ("kind", "index", "value_a", "until_s", "owner", "text"),
    [
        ("raise", 0, 6.0, 0.0, "anna", "allowed are override, release"),
        ("override", -1, 6.0, 0.0, "anna", "counts from 0"),
        ("override", 0, math.nan, 0.0, "anna", "0 A or more"),
        ("override", 0, math.inf, 0.0, "anna", "0 A or more"),
        ("override", 0, -1.0, 0.0, "anna", "-1.0 A"),
        ("override", 0, 6.0, math.inf, "anna", "NaN for never"),
        ("override", 0, 6.0, 0.0, "", "1 to 40 bytes"),
        ("override", 0, 6.0, 0.0, "x" * 41, "1 to 40 bytes"),
    ],
)
def test_a_bad_order_is_refused_with_its_reason(tmp_path, kind, index, value_a, until_s, owner, text):
    box = Mailbox.create(tmp_path / "box")
    with pytest.raises(MailboxError, match=text):
        box.post(kind, index, value_a, until_s, owner)
    assert box.drain() == []


def test_a_missing_mailbox_is_named(tmp_path):
    with pytest.raises(MailboxError, match=r"gone\.box"):
        Mailbox.attach(tmp_path / "gone.box")
