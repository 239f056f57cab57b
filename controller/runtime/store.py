"""Share one image between processes: a memory-mapped file with two buffers and a sequence counter.

One writer, any number of readers, no locks: the writer fills the buffer that is not current, then bumps the
counter; a reader copies the current buffer and keeps the copy only if the counter did not move meanwhile.
(`multiprocessing.shared_memory` is destroyed by a leaving reader on Python 3.11, so this is a plain file, best on
a tmpfs.)
"""

import mmap
import os
from pathlib import Path

import numpy as np

HEADER_BYTES = 64  # [0] sequence counter, [1] monotonic ns of the last write, [2] payload bytes, [3] magic
MAGIC = 0x564F4C54_424E4348
ATTEMPTS = 1000


class StoreError(RuntimeError):
    """Report a shared image that is missing, of another size, or written faster than it can be read."""


class Store:
    """Hold one shared image of `nbytes` bytes.

    Create it with `Store.create`, attach with `Store.attach`. `write` and `read` copy whole images (uint8).
    """

    __slots__ = ("_buffers", "_header", "_map", "nbytes", "path")

    def __init__(self, path: Path, nbytes: int, mapped: mmap.mmap) -> None:
        self.path = path
        self.nbytes = nbytes
        self._map = mapped
        whole = np.frombuffer(mapped, dtype=np.uint8)
        self._header = whole[:HEADER_BYTES].view(np.int64)
        size = stride(nbytes)
        self._buffers = [whole[HEADER_BYTES + k * size :][:nbytes] for k in (0, 1)]

    @classmethod
    def create(cls, path: Path, nbytes: int) -> "Store":
        """Create the file with its space reserved, so that no later write can fail for want of it."""
        total = HEADER_BYTES + 2 * stride(nbytes)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.ftruncate(handle, total)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, total)
            store = cls(path, nbytes, mmap.mmap(handle, total))
        finally:
            os.close(handle)
        store._header[2] = nbytes
        store._header[3] = MAGIC
        return store

    @classmethod
    def attach(cls, path: Path, nbytes: int) -> "Store":
        """Attach to an existing image; a StoreError tells a missing file or another layout."""
        total = HEADER_BYTES + 2 * stride(nbytes)
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError as error:
            raise StoreError(f"{path}: no such shared image; is the run still there?") from error
        try:
            if os.fstat(handle).st_size != total:
                raise StoreError(f"{path}: {os.fstat(handle).st_size} bytes, expected {total}: another layout")
            store = cls(path, nbytes, mmap.mmap(handle, total))
        finally:
            os.close(handle)
        if store._header[3] != MAGIC or store._header[2] != nbytes:
            raise StoreError(f"{path}: not a shared image of {nbytes} bytes")
        return store

    @property
    def sequence(self) -> int:
        """Return how often the image was written; 0 never."""
        return int(self._header[0])

    @property
    def written_ns(self) -> int:
        """Return the monotonic time of the last write, ns; 0 never."""
        return int(self._header[1])

    def write(self, image: np.ndarray, now_ns: int) -> None:
        """Publish a whole image (uint8, `nbytes` long). Only one process may do this."""
        sequence = int(self._header[0]) + 1
        self._buffers[sequence & 1][:] = image
        self._header[1] = now_ns
        self._header[0] = sequence

    def read(self, into: np.ndarray) -> int:
        """Copy the newest whole image into `into` (uint8) and return its sequence; 0 where none was written."""
        for _ in range(ATTEMPTS):
            sequence = int(self._header[0])
            into[:] = self._buffers[sequence & 1]
            if int(self._header[0]) == sequence:
                return sequence
        raise StoreError(f"{self.path}: written faster than it can be read")


def stride(nbytes: int) -> int:
    """Return the bytes between the two buffers: whole cache lines."""
    return -(-nbytes // 64) * 64
