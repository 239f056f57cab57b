"""Define the ledger's files: `ledger/0000.bin`, `0001.bin`, … each readable on its own and after any kill.

A file is a head (magic, length, checksum, JSON) and records. A record is magic, kind, scan, payload length, the
checksum of kind, scan and payload, and the payload. Kinds: PLAN (the PLAN image), STATE (the STATE image before the
scan of that number), FULL (INPUT and OUTPUT images of a scan), DELTA (only the 8-byte words that changed since the
record before: a bit map of the words, then the words). Each file starts with PLAN, STATE and FULL. Little-endian.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np

from controller.law import image
from controller.law.kernel import law_hash
from controller.runtime.ledger_error import LedgerError

FILE_MAGIC = b"VOLTLED1"
HEAD = struct.Struct("<8sII")
RECORD = struct.Struct("<4sIqII")
RECORD_MAGIC = b"vRec"
FOLDER = "ledger"


class Kind(IntEnum):
    """Name what a record holds."""

    PLAN = 1
    STATE = 2
    FULL = 3
    DELTA = 4


@dataclass(frozen=True, slots=True)
class Record:
    """Hold one record: `payload` as it lies in the file."""

    kind: Kind
    scan: int
    payload: bytes


def files(run_dir: Path) -> list[Path]:
    """Return the ledger files of a run in their order."""
    return sorted((run_dir / FOLDER).glob("*.bin"))


def describe(dims: image.Dims) -> dict[str, Any]:
    """Return what a file's head says: sizes, the four tables, the law's hash and the CPU that compiled it."""
    tables = {name: [list(field) for field in fields] for name, fields in image.TABLES.items()}
    return {
        "format": 1,
        "dims": list(dims),
        "tables": tables,
        "law_hash": law_hash(),
        "cpu": llvmlite.binding.get_host_cpu_name(),
    }


def pack_head(description: dict[str, Any]) -> bytes:
    """Return the head of a file."""
    text = json.dumps(description, allow_nan=True).encode()
    return HEAD.pack(FILE_MAGIC, len(text), zlib.crc32(text)) + text


def unpack_head(path: Path, data: bytes) -> tuple[dict[str, Any], int]:
    """Return the description in a file's head and the offset of its first record; LedgerError where it is none."""
    if len(data) >= HEAD.size:
        magic, length, checksum = HEAD.unpack_from(data)
        text = data[HEAD.size : HEAD.size + length]
        if magic == FILE_MAGIC and len(text) == length and zlib.crc32(text) == checksum:
            return json.loads(text), HEAD.size + length
    raise LedgerError(f"{path}: not a ledger file, or its head is torn ({len(data)} bytes)")


def pack_record(kind: Kind, scan: int, payload: bytes) -> bytes:
    """Return a whole record."""
    checksum = zlib.crc32(payload, zlib.crc32(struct.pack("<Iq", kind, scan)))
    return RECORD.pack(RECORD_MAGIC, kind, scan, len(payload), checksum) + payload


def unpack_record(data: bytes, at: int) -> tuple[Record, int] | None:
    """Return the record at an offset and the offset after it; None where it is torn or damaged."""
    if len(data) - at < RECORD.size:
        return None
    magic, kind, scan, length, checksum = RECORD.unpack_from(data, at)
    payload = data[at + RECORD.size : at + RECORD.size + length]
    if magic != RECORD_MAGIC or len(payload) != length:
        return None
    if zlib.crc32(payload, zlib.crc32(struct.pack("<Iq", kind, scan))) != checksum:
        return None
    return Record(Kind(kind), scan, payload), at + RECORD.size + length


def pack_delta(before: np.ndarray, now: np.ndarray) -> bytes:
    """Return the words (uint64) that changed, behind a bit map of all words."""
    changed = now != before
    return bytes(np.packbits(changed)) + bytes(now[changed].view(np.uint8))


def apply_delta(words: np.ndarray, payload: bytes) -> None:
    """Write the changed words of a payload into `words` (uint64)."""
    split = -(-words.size // 8)
    bitmap = np.frombuffer(payload, dtype=np.uint8, count=split)
    changed = np.unpackbits(bitmap, count=words.size).view(bool)
    words[changed] = np.frombuffer(payload, dtype=np.uint64, offset=split)
