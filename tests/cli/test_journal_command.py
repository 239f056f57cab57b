"""`voltbench journal`: the rows, a changed row named, a connection given out and forgotten; times that are typed."""

import argparse
import json
import math
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.runtime.journal import NAME, Journal
from controller.runtime.order import Order
from controller.runtime.order_book import OrderBook
from hil import cli
from hil.runs.ordering_arguments import watts, when_s

NOW_S = 1_700_000_000.0


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Keep two orders, one of which is over, in a journal."""
    journal = Journal(tmp_path / NAME, utc_ns=lambda: int(NOW_S * 1e9))
    book = OrderBook(["head", "poc_cp07"], ["cp07"], journal.append)
    assert book.offer(Order("dso", "a", 1, "cap", "head", value_w=52e3), NOW_S).accepted
    assert book.offer(Order("dso", "b", 1, "cap", "poc_cp07", value_w=4e3, to_s=NOW_S + 5), NOW_S).accepted
    journal.append("obeyed", source="dso", order_id="b", subject="poc_cp07", order_no=2, after_s=2.5)
    assert book.close_ended(NOW_S + 6) == 1
    journal.close()
    return tmp_path


def voltbench(capsys, *argv: object) -> tuple[int, str, str]:
    code = cli.main(["journal", *map(str, argv)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_rows_say_what_became_of_each_order(kept, capsys):
    rows = json.loads(voltbench(capsys, kept, "--json")[1])
    assert [(row["order_id"], row["state"], row["obeyed_s"]) for row in rows] == [
        ("a", "accepted", "nan"), ("b", "obeyed, ended", 2.5)
    ]  # fmt: skip
    table = voltbench(capsys, "show", kept)[1].splitlines()
    assert len(table) == 3 and "<= 52.0 kW" in table[1] and "2.50s  obeyed, ended" in table[2]
    lines = voltbench(capsys, "export", kept, "--connection", "poc_cp07")[1].splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["accepted", "obeyed", "ended"]


def test_the_orders_of_one_connection_are_shown_with_their_withdrawal(kept, capsys):
    journal = Journal(kept / NAME, utc_ns=lambda: int(NOW_S * 1e9))
    book = OrderBook(["head"], [], journal.append)
    assert book.offer(Order("dso", "a", 2, "withdraw"), NOW_S).accepted
    journal.close()
    rows = json.loads(voltbench(capsys, "show", kept, "--connection", "head", "--json")[1])
    assert [(row["order_id"], row["state"]) for row in rows] == [("a", "withdrawn")]


def test_verify_names_a_row_that_was_changed(kept, capsys):
    assert voltbench(capsys, "verify", kept)[0] == 0
    base = sqlite3.connect(kept / NAME)
    base.execute("UPDATE entry SET subject = 'elsewhere' WHERE no = 2")
    base.commit()
    base.close()
    code, out, _ = voltbench(capsys, "verify", kept)
    assert code == 1
    assert "entry 2: does not follow" in out


def test_a_connection_is_forgotten_but_no_order_that_holds(kept, capsys):
    assert voltbench(capsys, "forget", kept, "--connection", "poc_cp07")[0] == 2
    soon = ("--connection", "poc_cp07", "--before", "2099-01-01")
    code, _, err = voltbench(capsys, "forget", kept, *soon)
    assert (code, "2 years of evidence; say --why" in err) == (2, True)
    asked = ("--before", "2024-01-01", "--why", "the customer asked")
    code, _, err = voltbench(capsys, "forget", kept, "--connection", "head", *asked)
    assert (code, "still holds" in err) == (3, True)
    code, out, _ = voltbench(capsys, "forget", kept, "--connection", "poc_cp07", *asked)
    assert (code, "3 entries" in out) == (0, True)
    assert voltbench(capsys, "verify", kept)[0] == 0
    gone = [json.loads(line) for line in voltbench(capsys, "export", kept, "--connection", "poc_cp07")[1].splitlines()]
    assert [entry["kind"] for entry in gone if entry["body"] is None] == ["accepted", "obeyed", "ended"]
    assert voltbench(capsys, "boil", kept)[0] == 2


def test_a_limit_that_was_seen_at_the_end_of_a_run_is_no_order_that_holds(kept, capsys):
    journal = Journal(kept / NAME, utc_ns=lambda: int(NOW_S * 1e9))
    for source in ("handed", "substation"):
        order = {"source": source, "order_id": source, "sequence": 0, "kind": "limit", "direction": "import",
                 "subject": "poc_cp07", "value_w": 4e3, "from_s": math.nan, "to_s": math.nan}  # fmt: skip
        journal.append("received", source=source, order_id=source, subject="poc_cp07", order=order)
    journal.close()
    asked = ("--connection", "poc_cp07", "--before", "2024-01-01", "--why", "moved away")
    assert "5 entries" in voltbench(capsys, "forget", kept, *asked)[1]


@pytest.mark.parametrize(("text", "value_w"), [("52kW", 52e3), ("4200W", 4200.0), ("-3 kW", -3e3), ("0W", 0.0)])
def test_watts_are_read_with_their_unit(text, value_w):
    assert watts(text) == value_w


@pytest.mark.parametrize("text", ["52", "52kVA", "kW", "nanW", "1e3kW"])
def test_a_power_without_a_unit_is_no_power(text):
    with pytest.raises(argparse.ArgumentTypeError, match="with its unit"):
        watts(text)


def test_times_of_day_are_the_sites_and_the_next_ones():
    now_s = datetime(2026, 10, 24, 17, tzinfo=UTC).timestamp()  # 19:00 in Amsterdam, the night of the change
    zone = "Europe/Amsterdam"
    assert math.isnan(when_s("now", now_s, zone))
    assert when_s("20:00", now_s, zone) == now_s + 3600
    assert when_s("18:00", now_s, zone) == now_s + 24 * 3600  # 23 h on the wall, and the hour that is won
    assert when_s("2026-10-24T20:00", now_s, zone) == when_s("2026-10-24T18:00+00:00", now_s, zone) == now_s + 3600
    with pytest.raises(ValueError, match="not a time"):
        when_s("25:00", now_s, zone)
