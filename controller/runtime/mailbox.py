"""Carry an operator's orders to the scan: an append-only file of fixed-size records, many writers, any readers.

A writer appends one record by one `write` with O_APPEND, so that writers do not mix; a reader keeps its own offset,
leaves a torn tail for later, and steps over damage to the next whole record. A reader that starts anew reads all
orders from the beginning: a restarted scan keeps what the operator ordered.
"""

import math
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = b"VBox"
ORDER = np.dtype(
    [
        ("magic", "S4"),
        ("crc32", "<u4"),
        ("posted_ns", "<i8"),
        ("index", "<i8"),
        ("value_a", "<f8"),
        ("until_s", "<f8"),
        ("kind", "S16"),
        ("owner", "S40"),
    ]
)
KINDS = ("override", "release")
HEAD = 8  # magic and checksum
NAN = math.nan


class MailboxError(ValueError):
    """Report an order that cannot be posted, or a mailbox that is not there."""


@dataclass(frozen=True, slots=True)
class Order:
    """Hold one order: `kind` override (a limit of `value_a` A until `until_s`, UTC epoch, NaN never) or release."""

    kind: str
    index: int
    value_a: float
    until_s: float
    owner: str
    posted_ns: int


class Mailbox:
    """Post to and drain one mailbox file. Make it with `create`, open it with `attach`."""

    __slots__ = ("_handle", "_offset", "_pending", "damaged_bytes", "path")

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self._handle = handle
        self._offset = 0
        self._pending = b""
        self.damaged_bytes = 0

    @classmethod
    def create(cls, path: Path) -> "Mailbox":
        """Make an empty mailbox at `path`."""
        return cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600))

    @classmethod
    def attach(cls, path: Path) -> "Mailbox":
        """Open an existing mailbox; a MailboxError tells a missing one."""
        try:
            return cls(path, os.open(path, os.O_RDWR | os.O_APPEND))
        except FileNotFoundError as error:
            raise MailboxError(f"{path}: no such mailbox; is the run still there?") from error

    def close(self) -> None:
        """Close the file; the mailbox itself stays."""
        os.close(self._handle)

    def post(self, kind: str, index: int, value_a: float = NAN, until_s: float = NAN, owner: str = "operator") -> None:
        """Append one order of `owner` for charger `index`: `value_a` in A, `until_s` in UTC epoch s (NaN never).

        Refuses with a MailboxError: an unknown kind, a negative index, an override without a finite limit of 0 A
        or more, an owner without a name or of more than 40 bytes, a full disk.
        """
        name = owner.encode()
        if kind not in KINDS:
            raise MailboxError(f"order kind {kind!r}: allowed are {', '.join(KINDS)}")
        if index < 0:
            raise MailboxError(f"{kind} for charger {index}: the index counts from 0")
        if kind == "override" and not (math.isfinite(value_a) and value_a >= 0.0):
            raise MailboxError(f"override of charger {index}: {value_a} A is not a limit; give 0 A or more")
        if math.isinf(until_s):
            raise MailboxError(f"{kind} of charger {index} until {until_s} s: give a UTC epoch time, or NaN for never")
        if not 0 < len(name) <= ORDER["owner"].itemsize:
            raise MailboxError(f"owner {owner!r}: give a name of 1 to {ORDER['owner'].itemsize} bytes")
        record = np.zeros((), dtype=ORDER)
        record["magic"], record["kind"], record["owner"] = MAGIC, kind.encode(), name
        record["posted_ns"], record["index"] = time.monotonic_ns(), index
        record["value_a"], record["until_s"] = value_a, until_s
        record["crc32"] = zlib.crc32(record.tobytes()[HEAD:])
        if os.write(self._handle, record.tobytes()) != ORDER.itemsize:
            raise MailboxError(f"{self.path}: no room left for an order; free space on that file system")

    def drain(self) -> list[Order]:
        """Return the orders appended since the last call, oldest first."""
        fresh = os.pread(self._handle, 1 << 16, self._offset)
        if not fresh:
            return []
        self._offset += len(fresh)
        data = self._pending + fresh
        orders = []
        at = 0
        while len(data) - at >= ORDER.itemsize:
            order = _decode(data[at : at + ORDER.itemsize])
            if order is not None:
                orders.append(order)
                at += ORDER.itemsize
                continue
            found = data.find(MAGIC, at + 1)
            step = found if found > 0 else len(data) - len(MAGIC) + 1
            self.damaged_bytes += step - at
            at = step
        self._pending = data[at:]
        return orders


def _decode(raw: bytes) -> Order | None:
    """Return the order that a record holds; None where the record is damaged."""
    record = np.frombuffer(raw, dtype=ORDER)[0]
    if bytes(record["magic"]) != MAGIC or int(record["crc32"]) != zlib.crc32(raw[HEAD:]):
        return None
    return Order(
        kind=bytes(record["kind"]).decode(),
        index=int(record["index"]),
        value_a=float(record["value_a"]),
        until_s=float(record["until_s"]),
        owner=bytes(record["owner"]).decode(),
        posted_ns=int(record["posted_ns"]),
    )
