"""Hand records from the scan to the ledger through a ring in shared memory: one producer, one consumer, no lock.

The producer never waits: where the ring is full the record is dropped and counted, and the scan starts the ledger
anew with a checkpoint. Each slot holds kind, scan, length and the payload.
"""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

NAME = "ledger.ring"
MAGIC = 0x564F4C54_52494E47
HEADER_WORDS = 8  # magic, slots, slot bytes, written, read, dropped
SLOT_HEAD = 64
BUDGET_BYTES = 64 << 20
MOST_SLOTS = 256
LEAST_SLOTS = 8


class RingError(RuntimeError):
    """Report a ring that is missing or is not one."""


class Slot(NamedTuple):
    """Hold one record taken from the ring; `payload` (uint8) is a copy."""

    kind: int
    scan: int
    payload: np.ndarray


class Ring:
    """Push to and take from one ring file. Make it with `create`, open it with `attach`."""

    __slots__ = ("_header", "_map", "_slots", "path")

    def __init__(self, path: Path, mapped: mmap.mmap) -> None:
        self.path = path
        self._map = mapped
        whole = np.frombuffer(mapped, dtype=np.uint8)
        self._header = whole[: HEADER_WORDS * 8].view(np.int64)
        if self._header[0] != MAGIC:
            raise RingError(f"{path}: not a ledger ring")
        slots, size = int(self._header[1]), int(self._header[2])
        self._slots = whole[HEADER_WORDS * 8 :][: slots * size].reshape(slots, size)

    @classmethod
    def create(cls, path: Path, payload_bytes: int) -> "Ring":
        """Make an empty ring whose slots take payloads of up to `payload_bytes`, with its space reserved."""
        size = SLOT_HEAD + -(-payload_bytes // 64) * 64
        slots = max(LEAST_SLOTS, min(MOST_SLOTS, BUDGET_BYTES // size))
        total = HEADER_WORDS * 8 + slots * size
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(handle, total)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, total)
            mapped = mmap.mmap(handle, total)
        finally:
            os.close(handle)
        np.frombuffer(mapped, dtype=np.int64, count=HEADER_WORDS)[:3] = (MAGIC, slots, size)
        return cls(path, mapped)

    @classmethod
    def attach(cls, path: Path) -> "Ring":
        """Open an existing ring; a RingError tells a missing one."""
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError as error:
            raise RingError(f"{path}: no such ring; is the run still there?") from error
        try:
            return cls(path, mmap.mmap(handle, 0))
        finally:
            os.close(handle)

    @property
    def dropped(self) -> int:
        """Return how many records found the ring full."""
        return int(self._header[5])

    @property
    def waiting(self) -> int:
        """Return how many records wait to be taken."""
        return int(self._header[3] - self._header[4])

    def push(self, kind: int, scan: int, *parts: np.ndarray) -> bool:
        """Append one record made of `parts` (uint8), copied one after the other; return False where it is full."""
        written = int(self._header[3])
        if written - int(self._header[4]) >= len(self._slots):
            self._header[5] += 1
            return False
        slot = self._slots[written % len(self._slots)]
        at = SLOT_HEAD
        for part in parts:
            slot[at : at + part.size] = part
            at += part.size
        slot[:24].view(np.int64)[:] = (kind, scan, at - SLOT_HEAD)
        self._header[3] = written + 1
        return True

    def take(self) -> Slot | None:
        """Remove and return the oldest record; None where nothing waits."""
        read = int(self._header[4])
        if read >= int(self._header[3]):
            return None
        slot = self._slots[read % len(self._slots)]
        kind, scan, length = (int(value) for value in slot[:24].view(np.int64))
        record = Slot(kind, scan, slot[SLOT_HEAD : SLOT_HEAD + length].copy())
        self._header[4] = read + 1
        return record
