"""Keep every scan of a run: a process that drains the scan's ring into the ledger files, the writer and the reader.

Fast mode has no ring: it uses `LedgerWriter` itself. Run as `python -m controller.runtime.ledger SITE_JSON`.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from controller.law import image
from controller.runtime import ledger_format as fmt
from controller.runtime.clock import SiteClock
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.evidence import Evidence, acknowledged
from controller.runtime.journal import Journal, JournalError
from controller.runtime.ledger_error import LedgerError
from controller.runtime.ledger_format import Kind
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
from controller.runtime.ring import NAME as RING
from controller.runtime.ring import Ring, RingError
from controller.runtime.site import Site, read_site

CHECKPOINT_SCANS = 600
FILE_BYTES = 64 << 20
LEAST_FREE_BYTES = 64 << 20
DISK_CHECK_RECORDS = 100
POLL_S = 0.02
SYNC_S = 1.0

Follow = Callable[[Any, Any], None]  # INPUT and OUTPUT views of a scan


class LedgerWriter:
    """Append the scans of one run to `run_dir/ledger`.

    Call `state` with the STATE image before a scan where `due` says so, and `scan` after each scan. A LedgerError
    tells a ledger that exists already and a disk with less than `least_free_bytes` left.
    """

    __slots__ = (
        "_before",
        "_handle",
        "_head",
        "_input_bytes",
        "_number",
        "_plan",
        "_records",
        "_since",
        "_size",
        "_words",
        "file_bytes",
        "folder",
        "least_free_bytes",
    )

    def __init__(
        self,
        run_dir: Path,
        dims: image.Dims,
        plan: np.ndarray,
        *,
        file_bytes: int = FILE_BYTES,
        least_free_bytes: int = LEAST_FREE_BYTES,
    ) -> None:
        self.folder = run_dir / fmt.FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        if fmt.files(run_dir):
            raise LedgerError(f"{self.folder}: holds a ledger already; give the run a folder of its own")
        self.file_bytes = file_bytes
        self.least_free_bytes = least_free_bytes
        self._head = fmt.pack_head(fmt.describe(dims))
        self._plan = fmt.pack_record(Kind.PLAN, 0, plan.tobytes())
        self._input_bytes = image.layout("input", dims)[1]
        total = self._input_bytes + image.layout("output", dims)[1]
        self._words = np.zeros(total // 8, dtype=np.uint64)
        self._before = np.zeros_like(self._words)
        self._number = 0
        self._records = 0
        self._size = 0
        self._since = -1
        self._handle = -1
        self._check_disk()
        self._open()

    @property
    def due(self) -> bool:
        """Say whether a checkpoint of STATE is wanted before the next scan."""
        return self._since < 0 or self._since >= CHECKPOINT_SCANS

    def state(self, scan: int, state: np.ndarray) -> None:
        """Append the STATE image (uint8) as it is before scan number `scan`; a full file is closed first."""
        if self._size > self.file_bytes:
            os.close(self._handle)
            self._number += 1
            self._open()
        self._append(Kind.STATE, scan, state.tobytes())
        self._since = 0

    def scan(self, scan: int, input_image: np.ndarray, output_image: np.ndarray) -> None:
        """Append the INPUT and OUTPUT images (uint8) of scan number `scan`."""
        whole = self._words.view(np.uint8)
        whole[: self._input_bytes] = input_image
        whole[self._input_bytes :] = output_image
        if self._since == 0:
            self._append(Kind.FULL, scan, self._words.tobytes())
        else:
            self._append(Kind.DELTA, scan, fmt.pack_delta(self._before, self._words))
        self._words, self._before = self._before, self._words
        self._since += 1

    def sync(self) -> None:
        """Ask the kernel to put what was written on the disk."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Close the ledger; it was readable all the time."""
        os.close(self._handle)

    def _open(self) -> None:
        path = self.folder / f"{self._number:04d}.bin"
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._size = os.write(self._handle, self._head) + os.write(self._handle, self._plan)

    def _append(self, kind: Kind, scan: int, payload: bytes) -> None:
        self._records += 1
        if self._records % DISK_CHECK_RECORDS == 0:
            self._check_disk()
        record = fmt.pack_record(kind, scan, payload)
        if os.write(self._handle, record) != len(record):
            raise LedgerError(f"{self.folder}: disk full in scan {scan}; the ledger ends before it")
        self._size += len(record)

    def _check_disk(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < self.least_free_bytes:
            raise LedgerError(
                f"{self.folder}: {free >> 20} MiB free, at least {self.least_free_bytes >> 20} MiB are needed; "
                "free space or give --out on another disk"
            )


class Entry(NamedTuple):
    """Hold one scan of a ledger: `state` (bytes) where a checkpoint stands before it, and views of its images.

    The views change with the next entry; copy what is to stay.
    """

    scan: int
    state: bytes | None
    input: Any
    output: Any


class LedgerReader:
    """Read the ledger of a run folder, whole or cut short by a kill.

    `description` is the head (sizes, tables, law hash, CPU), `plan` the PLAN views. After an iteration `left_bytes`
    says how many bytes behind the last whole record were left unread, and `left_in` in which files.
    """

    __slots__ = ("_files", "description", "dims", "left_bytes", "left_in", "plan", "plan_bytes")

    def __init__(self, run_dir: Path) -> None:
        self._files = fmt.files(run_dir)
        if not self._files:
            raise LedgerError(f"{run_dir / fmt.FOLDER}: no ledger there; is this a run folder?")
        data = self._files[0].read_bytes()
        self.description, start = fmt.unpack_head(self._files[0], data)
        self.dims = image.Dims(*self.description["dims"])
        known = [list(field)[:3] for fields in image.TABLES.values() for field in fields]
        found = [field[:3] for fields in self.description["tables"].values() for field in fields]
        if known != found:
            raise LedgerError(
                f"{run_dir}: recorded with other image tables (law {self.description['law_hash']}); "
                "read it with the version that its manifest names"
            )
        first = fmt.unpack_record(data, start)
        if first is None or first[0].kind is not Kind.PLAN:
            raise LedgerError(f"{self._files[0]}: its plan is torn; nothing can be read from it")
        self.plan_bytes = np.frombuffer(first[0].payload, dtype=np.uint8).copy()
        self.plan = image.views("plan", self.dims, self.plan_bytes)
        self.left_bytes = 0
        self.left_in: list[str] = []

    def entries(self) -> Iterator[Entry]:
        """Yield the scans in order; scans that the ring dropped are missing, and a checkpoint stands after them."""
        self.left_bytes = 0
        self.left_in = []
        split = image.layout("input", self.dims)[1]
        words = np.zeros((split + image.layout("output", self.dims)[1]) // 8, dtype=np.uint64)
        whole = words.view(np.uint8)
        inputs = image.views("input", self.dims, whole[:split])
        outputs = image.views("output", self.dims, whole[split:])
        for path in self._files:
            state: bytes | None = None
            for record in self._records(path):
                if record.kind is Kind.STATE:
                    state = record.payload
                elif record.kind is not Kind.PLAN:
                    if record.kind is Kind.FULL:
                        whole[:] = np.frombuffer(record.payload, dtype=np.uint8)
                    else:
                        fmt.apply_delta(words, record.payload)
                    yield Entry(record.scan, state, inputs, outputs)
                    state = None

    def scans(self) -> Iterator[tuple[int, Any, Any]]:
        """Yield (scan, INPUT, OUTPUT) with images of their own memory."""
        for entry in self.entries():
            yield entry.scan, _own("input", entry.input), _own("output", entry.output)

    def _records(self, path: Path) -> Iterator[fmt.Record]:
        data = path.read_bytes()
        try:
            at = fmt.unpack_head(path, data)[1]
        except LedgerError:
            self._leave(path, len(data))
            return
        while (found := fmt.unpack_record(data, at)) is not None:
            yield found[0]
            at = found[1]
        if at < len(data):
            self._leave(path, len(data) - at)

    def _leave(self, path: Path, nbytes: int) -> None:
        self.left_bytes += nbytes
        self.left_in.append(path.name)


def _own(table: str, views: Any) -> Any:
    """Return an image with copies of the arrays."""
    return image.CLASSES[table](*(array.copy() for array in views))


def drain(ring: Ring, writer: LedgerWriter, dims: image.Dims, follow: Follow | None = None) -> int:
    """Write all records that wait in the ring to the ledger, and show each scan to `follow`; return how many."""
    split = image.layout("input", dims)[1]
    count = 0
    while (slot := ring.take()) is not None:
        if slot.kind == Kind.STATE:
            writer.state(slot.scan, slot.payload)
        else:
            writer.scan(slot.scan, slot.payload[:split], slot.payload[split:])
            if follow is not None:
                follow(
                    image.views("input", dims, slot.payload[:split]), image.views("output", dims, slot.payload[split:])
                )
        count += 1
    return count


def follower(site: Site, events: Events) -> Evidence | None:
    """Return what follows the orders from scan to scan; None, with a fault told, where there is no journal to write."""
    try:
        journal = Journal(site.journal(), utc_ns=SiteClock(site.utc_minus_mono_ns).utc_ns)
    except JournalError as error:
        events.write("fault", text=f"no evidence of orders is kept: {error}")
        return None
    plan = image.views("plan", site.image_dims(), site.load_plan())
    return Evidence(site.node_names, plan, journal, acknowledged(site))


def main(site_json: Path) -> int:
    """Drain the ring until SIGTERM, then what is left of it; return the exit code (3: the ledger cannot be kept)."""
    ignore_sigint()
    die_with_parent()
    site = read_site(site_json)
    events = Events(Path(site.run_dir) / EVENTS, "ledger")
    ended: list[int] = []
    on_sigterm(lambda: ended.append(1))
    dims = site.image_dims()
    try:
        ring = Ring.attach(site.store(RING))
        writer = LedgerWriter(Path(site.run_dir), dims, site.load_plan())
        evidence = follower(site, events)
        follow = evidence.scan if evidence is not None else None
        synced_s = time.monotonic()
        while not ended:
            drain(ring, writer, dims, follow)
            if time.monotonic() - synced_s > SYNC_S:
                writer.sync()
                synced_s = time.monotonic()
            time.sleep(POLL_S)
        drain(ring, writer, dims, follow)
        writer.sync()
        writer.close()
    except (LedgerError, RingError, OSError) as error:
        events.write("fault", text=str(error))
        print(f"ledger: {error}", file=sys.stderr)
        return 3
    if ring.dropped:
        events.write("ledger_dropped", records=ring.dropped)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
