"""The journal: nothing that was acknowledged is lost, and nobody changes or removes a row unseen."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from controller.runtime.journal import ANCHORS, NAME, Journal, JournalError, read_entries, verify

ORDERS = 6


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    journal = Journal(path, utc_ns=lambda: 1_700_000_000_000_000_000)
    for number in range(ORDERS):
        journal.append(
            "received", source="cli", subject="head", order_id=f"o{number}", mono_ns=number, limit_w=1000.0 * number
        )
    journal.close()
    return path


def tamper(path: Path, statement: str) -> None:
    base = sqlite3.connect(path)
    base.execute(statement)
    base.commit()
    base.close()


def test_an_untouched_journal_is_whole(kept: Path) -> None:
    assert verify(kept) == (ORDERS, [])
    entries = list(read_entries(kept))
    assert [entry.order_id for entry in entries] == [f"o{n}" for n in range(ORDERS)]
    assert entries[3].body == {"limit_w": 3000.0}


@pytest.mark.parametrize(
    ("statement", "at", "what"),
    [
        ("DELETE FROM entry WHERE no = 3", 4, "missing"),
        (f"DELETE FROM entry WHERE no = {ORDERS}", ORDERS, "cut off the end"),
        ("UPDATE entry SET subject = 'transformer' WHERE no = 2", 2, "does not follow"),
        ("UPDATE entry SET utc_ns = utc_ns + 1 WHERE no = 2", 2, "does not follow"),
        ("UPDATE entry SET body = replace(body, '2000', '9000') WHERE no = 3", 3, "body was changed"),
        ("UPDATE entry SET body = NULL WHERE no = 3", 3, "bodies of head are deleted"),
        ("UPDATE entry SET body = '[' WHERE no = 3", 3, "body was changed"),
        ("DELETE FROM entry", 1, "cut off the end"),
    ],
)
def test_a_changed_or_removed_row_is_found(kept: Path, statement: str, at: int, what: str) -> None:
    tamper(kept, statement)
    findings = verify(kept)[1]
    assert any(found.no == at and what in found.what for found in findings), findings


def test_rows_in_another_order_are_found(kept: Path) -> None:
    for step in ("no = 100 WHERE no = 2", "no = 2 WHERE no = 3", "no = 3 WHERE no = 100"):
        tamper(kept, f"UPDATE entry SET {step}")
    assert {found.no for found in verify(kept)[1]} >= {2, 3}


def test_a_missing_file_of_anchors_is_told(kept: Path) -> None:
    (kept.parent / ANCHORS).unlink()
    assert "anchors" in verify(kept)[1][0].what


def test_a_key_is_needed_to_forge_and_to_verify(tmp_path: Path) -> None:
    path = tmp_path / NAME
    Journal(path, key=b"secret").append("received", source="cli", subject="head")
    assert verify(path, key=b"secret") == (1, [])
    assert "another key" in verify(path)[1][0].what


def test_a_deleted_body_leaves_the_rest_provable(kept: Path) -> None:
    journal = Journal(kept)
    assert journal.redact("head", 1_700_000_000_000_000_001, "two years are over") == ORDERS
    count, findings = verify(kept)
    assert (count, findings) == (ORDERS + 1, [])
    assert all(entry.body is None for entry in read_entries(kept) if entry.kind == "received")


def test_a_second_deletion_spares_what_tells_of_the_first_and_leaves_no_byte(kept: Path) -> None:
    journal = Journal(kept, utc_ns=lambda: 1_700_000_000_000_000_002)
    assert journal.redact("head", 1_700_000_000_000_000_001, "two years are over") == ORDERS
    journal.append("received", source="cli", subject="head", card="04:A2:55")
    assert journal.redact("head", 1_800_000_000_000_000_000, "they asked for it") == 1
    assert not any(b"04:A2:55" in path.read_bytes() for path in kept.parent.iterdir())
    assert verify(kept) == (ORDERS + 3, [])
    tamper(kept, f"UPDATE entry SET body = NULL WHERE no = {ORDERS + 1}")
    assert "of which no entry tells" in verify(kept)[1][0].what
    journal.close()


def test_a_deletion_of_which_nothing_can_be_told_does_not_happen(kept: Path) -> None:
    journal = Journal(kept)
    journal._base.execute("CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'no room'); END")
    with pytest.raises(JournalError, match="no room"):
        journal.redact("head", 1_700_000_000_000_000_001, "two years are over")
    journal.close()
    assert verify(kept) == (ORDERS, [])
    assert all(entry.body for entry in read_entries(kept))


def test_a_body_that_is_no_object_is_told_with_its_row(kept: Path) -> None:
    tamper(kept, "UPDATE entry SET body = '[]' WHERE no = 2")
    with pytest.raises(JournalError, match="entry 2"):
        list(read_entries(kept))


def test_an_unknown_kind_and_a_missing_journal_are_refused(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="allowed are received"):
        Journal(kept).append("recieved", source="cli")
    with pytest.raises(JournalError, match="no journal"):
        verify(tmp_path / "nothing.sqlite")


def test_a_full_disk_refuses_the_entry_and_keeps_the_rest(kept: Path) -> None:
    journal = Journal(kept)
    journal._base.execute("PRAGMA max_page_count = 5")  # SQLite answers as on a full disk
    with pytest.raises(JournalError, match="not kept"):
        for _ in range(10_000):
            journal.append("received", source="cli", subject="head", text="x" * 500)
    journal.close()
    count, findings = verify(kept)
    assert count > ORDERS
    assert findings == []


WRITER = """
import sys, time
from pathlib import Path
from controller.runtime.journal import Journal
journal = Journal(Path(sys.argv[1]))
while True:
    print(journal.append("received", source=sys.argv[2], subject="head"), flush=True)
    time.sleep(0.005)  # one that never lets go of the file would starve the other: SQLite keeps no queue
"""


def test_two_writers_share_one_chain_and_a_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / NAME
    argv = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
    writers = [subprocess.Popen([*argv, name], stdout=subprocess.PIPE, text=True) for name in ("a", "b")]
    acknowledged = []
    try:
        for writer in writers * 20:
            assert writer.stdout is not None
            acknowledged.append(int(writer.stdout.readline()))
    finally:
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            said = writer.communicate()[0]
            acknowledged += [int(line) for line in said.split("\n")[:-1]]
    count, findings = verify(path)
    assert findings == []
    assert len(set(acknowledged)) == len(acknowledged)
    assert max(acknowledged) <= count
    assert {entry.source for entry in read_entries(path)} == {"a", "b"}
