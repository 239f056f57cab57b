"""Keep what was ordered and what was done about it: an append-only SQLite file whose rows are chained by hashes.

An entry is on the disk before `append` returns (WAL, an fsync a commit), so that whoever acknowledges an order after
it acknowledges nothing that a power cut can take away. Any number of processes may append: the chain is continued
inside one write transaction. `verify` finds a row that was changed, removed or put in; the anchors in a file beside
it find rows that were cut off the end. Whoever may write both files can forge both: a key (HMAC) or an anchor that is
kept elsewhere closes that door.

Personal data: the chain runs over the hash of a salted body, so that a body can be deleted (`redact`) and every other
row stays provable.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.runtime.events import plain

NAME = "journal.sqlite"
ANCHORS = "journal.anchors"
START = b"\0" * 32
BUSY_S = 5.0
RETRY_S = 0.02
KINDS = (
    "received",  # an order arrived, as it was sent
    "refused",  # and is not obeyed: why
    "accepted",  # an order, or a set-point by a device
    "decided",  # the limit in force at a node changed
    "sent",  # a set-point left for a device
    "obeyed",  # measured amps or watts are within the limit
    "missed",  # they were not in the time allowed
    "ended",  # an order or a limit is over
    "lost",  # a source of orders or a device fell silent
    "back",  # it is heard again
    "account",  # state of a contract's account
    "redacted",  # a body was deleted
    "opened",  # a controller began to keep this journal
    "closed",  # and ended it in order
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
  no INTEGER PRIMARY KEY,
  utc_ns INTEGER NOT NULL,
  mono_ns INTEGER NOT NULL,
  kind TEXT NOT NULL,
  source TEXT NOT NULL,
  order_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT,
  body_hash BLOB NOT NULL,
  chain BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entry_order ON entry (order_id, no);
CREATE INDEX IF NOT EXISTS entry_subject ON entry (subject, no);
"""
COLUMNS = "no, utc_ns, mono_ns, kind, source, order_id, subject, body, body_hash, chain"


class JournalError(RuntimeError):
    """Report a journal that cannot be read or written; the entry that was to be kept is not kept."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold one row; `body` is None where it was deleted."""

    no: int
    utc_ns: int
    mono_ns: int
    kind: str
    source: str
    order_id: str
    subject: str
    body: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold one thing that is wrong with a journal: at which entry, and what."""

    no: int
    what: str


class Journal:
    """Append to one journal file; make it with `open`.

    Parameters
    ----------
    path: the SQLite file; its anchors are written beside it
    key: secret of an HMAC-SHA256 chain; empty a plain SHA-256 chain
    """

    __slots__ = ("_anchors", "_base", "_key", "_utc_ns", "path")

    def __init__(self, path: Path, key: bytes = b"", utc_ns: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self._key = key
        self._utc_ns = utc_ns
        with _Told(path):
            self._base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            _prepare(self._base)
        self._anchors = os.open(path.with_name(ANCHORS), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def close(self) -> None:
        """Close the file."""
        self._base.close()
        os.close(self._anchors)

    def append(
        self,
        kind: str,
        *,
        source: str,
        subject: str = "",
        order_id: str = "",
        mono_ns: int | None = None,
        **body: Any,
    ) -> int:
        """Write one entry and return its number; it is on the disk then.

        `subject` is the node or charger; the fields of `body` are JSON values with their unit in the name. A full or
        failing disk is a JournalError: acknowledge nothing then.
        """
        if kind not in KINDS:
            raise JournalError(f"{self.path}: entry kind {kind!r}: allowed are {', '.join(KINDS)}")
        stamp_ns = time.monotonic_ns() if mono_ns is None else mono_ns
        with _Told(self.path), self._transaction():
            no, chain = self._insert((stamp_ns, kind, source, order_id, subject), body)
        self._anchor(no, chain)
        return no

    def entry(self, no: int) -> Entry | None:
        """Return one entry by its number; None where there is none."""
        with _Told(self.path):
            row = self._base.execute(f"SELECT {COLUMNS} FROM entry WHERE no = ?", (no,)).fetchone()
        return None if row is None else _entry(row)

    def redact(self, subject: str, before_utc_ns: int, why: str) -> int:
        """Delete the bodies of a subject's entries older than a time and say so in an entry; return how many.

        Both or neither happen, and the bytes of the bodies are gone from the file. What tells of a deletion stays.
        """
        with _Told(self.path), self._transaction():
            gone = self._base.execute(
                "UPDATE entry SET body = NULL"
                " WHERE subject = ? AND utc_ns < ? AND body IS NOT NULL AND kind != 'redacted'",
                (subject, before_utc_ns),
            ).rowcount
            head = (time.monotonic_ns(), "redacted", "operator", "", subject)
            no, chain = self._insert(head, {"entries": gone, "why": why})
        self._anchor(no, chain)
        with _Told(self.path):
            busy = self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise JournalError(f"{self.path}: {gone} bodies are deleted, and still in its -wal file while somebody "
                               "reads; say the same again later")  # fmt: skip
        return gone

    def _insert(self, named: tuple[int, str, str, str, str], body: dict[str, Any]) -> tuple[int, bytes]:
        """Put a row at the end of the chain, within a transaction; return its number and chain value."""
        text = _storable(_canonical(body | {"salt": secrets.token_hex(8)}))
        no, before = self._tail()
        stamp_ns, kind, *names = named
        head = (no + 1, self._utc_ns(), stamp_ns, kind, *map(_storable, names))
        body_hash = hashlib.sha256(text.encode()).digest()
        chain = link(before, head, body_hash, self._key)
        row = (*head, text, body_hash, chain)
        self._base.execute(f"INSERT INTO entry ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)", row)
        return no + 1, chain

    def _anchor(self, no: int, chain: bytes) -> None:
        """Note a row's chain value, after its commit: none without its row."""
        with contextlib.suppress(OSError):  # the row is kept; the next anchor stands for this one too
            os.write(self._anchors, f"\n{no} {chain.hex()}\n".encode())

    def _tail(self) -> tuple[int, bytes]:
        row = self._base.execute("SELECT no, chain FROM entry ORDER BY no DESC LIMIT 1").fetchone()
        return (0, START) if row is None else (int(row[0]), bytes(row[1]))

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._base)


def _prepare(base: sqlite3.Connection) -> None:
    """Switch to WAL and make the tables; SQLite does not wait for another who does so at this moment, so we do."""
    until_s = time.monotonic() + BUSY_S
    while True:
        try:
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("PRAGMA synchronous=FULL")
            base.execute("PRAGMA secure_delete=ON")  # what is forgotten is overwritten
            base.executescript(SCHEMA)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until_s:
                raise
            time.sleep(RETRY_S)
        else:
            return


class _Transaction:
    """Hold the one write lock of the file from the reading of the chain's end to the commit."""

    __slots__ = ("_base",)

    def __init__(self, base: sqlite3.Connection) -> None:
        self._base = base

    def __enter__(self) -> None:
        self._base.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if error is None:
                self._base.execute("COMMIT")
        finally:
            if self._base.in_transaction:  # an error, or a commit for which there was no room
                self._base.execute("ROLLBACK")


class _Told:
    """Turn SQLite's and the system's errors into a JournalError that names the file."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error | OSError):
            raise JournalError(f"{self._path}: {error}; the entry is not kept, free space or mend the file") from error


def link(before: bytes, head: tuple[Any, ...], body_hash: bytes, key: bytes) -> bytes:
    """Return the chain value of a row: the hash of the one before it, its fields and the hash of its body."""
    message = before + _canonical(list(head)).encode() + body_hash
    return hmac.digest(key, message, "sha256") if key else hashlib.sha256(message).digest()


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield the entries in order; a JournalError where there is no readable journal."""
    for row in _rows(path):
        yield _entry(row)


def _entry(row: tuple[Any, ...]) -> Entry:
    body = None if row[7] is None else _body(row)
    no, utc_ns, mono_ns, kind, source, order_id, subject = row[:7]
    return Entry(no, utc_ns, mono_ns, kind, source, order_id, subject, body)


def _body(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return the fields of a row's body; a JournalError where it is none of ours."""
    try:
        body = json.loads(row[7])
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise JournalError(
            f"entry {row[0]}: its body is no JSON object; `voltbench journal verify` tells what was changed"
        )
    body.pop("salt", None)
    return body


def verify(path: Path, key: bytes = b"") -> tuple[int, list[Finding]]:
    """Follow the chain from the first entry to the last and return how many entries there are and what is wrong.

    Found are: a gap in the numbers, a changed field, a changed body, a row put in, rows missing at the end (by the
    anchors beside the file) and a wrong key. A deleted body is no fault if a later entry `redacted` of its subject
    tells of it.
    """
    findings: list[Finding] = []
    before, expected = START, 1
    chains: dict[int, bytes] = {}
    empty: dict[str, list[int]] = {}  # by subject: rows without a body that no entry has told of yet
    for row in _rows(path):
        no, body, body_hash, chain = int(row[0]), row[7], bytes(row[8]), bytes(row[9])
        if no != expected:
            findings.append(Finding(no, f"entries {expected} to {no - 1} are missing"))
        if body is None:
            empty.setdefault(row[6], []).append(no)
        elif hashlib.sha256(body.encode()).digest() != body_hash:
            findings.append(Finding(no, "its body was changed"))
        elif row[3] == "redacted":
            told = _body(row).get("entries")
            empty[row[6]] = empty.get(row[6], [])[told if isinstance(told, int) else 0 :]
        if no == expected and link(before, tuple(row[:7]), body_hash, key) != chain:
            findings.append(Finding(no, "does not follow from the entry before it: changed, put in, or another key"))
        before, expected = chain, no + 1
        chains[no] = chain
    for subject, rows in empty.items():
        if rows:
            what = f"{len(rows)} bodies of {subject or 'no subject'} are deleted, of which no entry tells"
            findings.append(Finding(rows[0], what))
    findings += _check_anchors(path.with_name(ANCHORS), chains)
    return len(chains), findings


def _check_anchors(path: Path, chains: dict[int, bytes]) -> list[Finding]:
    if not path.exists():
        return [Finding(0, f"{path.name} is missing: rows cut off the end would not be seen")]
    findings, last = [], 0
    for line in path.read_text().splitlines():
        number, _, value = line.partition(" ")
        if not number.isdigit() or len(value) != 64:
            continue  # the torn last line of a writer that died
        no = int(number)
        last = max(last, no)
        if no in chains and chains[no].hex() != value:
            findings.append(Finding(no, "its anchor has another hash"))
    end = max(chains, default=0)
    if last > end:
        findings.append(Finding(end + 1, f"entries {end + 1} to {last} were cut off the end"))
    return findings


def _rows(path: Path) -> Iterator[tuple[Any, ...]]:
    if not path.is_file():
        raise JournalError(f"{path}: no journal; give the folder of a run that kept one")
    with _Told(path):
        base = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)
        try:
            yield from base.execute(f"SELECT {COLUMNS} FROM entry ORDER BY no")
        finally:
            base.close()


def _storable(text: str) -> str:
    """Return a text that UTF-8 has: a lone surrogate, which a sender's JSON may bring, becomes its escape."""
    return text.encode(errors="backslashreplace").decode()


def _canonical(value: Any) -> str:
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
