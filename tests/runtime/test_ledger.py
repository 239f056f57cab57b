"""The ledger: what was decided is readable after any kill, and deciding again gives the same bits."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from controller.law import image
from controller.runtime import ledger
from controller.runtime import ledger_format as fmt
from controller.runtime.ledger import LedgerReader, LedgerWriter
from controller.runtime.ledger_error import LedgerError
from controller.runtime.ledger_format import Kind
from controller.runtime.replay import replay
from controller.runtime.ring import LEAST_SLOTS, Ring, RingError

DIMS = image.Dims(4, 3, 1, 2)
MOST_SCANS = 1_000_000


class Run:
    """Decide and keep scan after scan, as fast mode does."""

    def __init__(self, run_dir: Path, decide, **options) -> None:
        self.decide = decide
        self.plan_bytes, self.plan = image.allocate("plan", DIMS)
        self.input_bytes, self.input = image.allocate("input", DIMS)
        self.state_bytes, self.state = image.allocate("state", DIMS)
        self.output_bytes, self.output = image.allocate("output", DIMS)
        self.random = np.random.default_rng(5)
        self.writer = LedgerWriter(run_dir, DIMS, self.plan_bytes, **options)
        self.number = 0

    def scan(self) -> None:
        self.input.scan[0] = self.number
        self.input.now_ns[0] = self.number * 100
        self.random.random(out=self.input.random_u)
        if self.number % 3 == 0:
            self.input.override_a[:] = self.random.uniform(0, 20, DIMS.n)
        if self.writer.due:
            self.writer.state(self.number, self.state_bytes)
        self.decide(self.input, self.plan, self.state, self.output)
        self.writer.scan(self.number, self.input_bytes, self.output_bytes)
        self.number += 1


def test_every_scan_comes_back_bit_for_bit(tmp_path, decide):
    run = Run(tmp_path, decide)
    run.plan.period_s[0] = 0.25
    kept = []
    for _ in range(50):
        run.scan()
        kept.append((run.input_bytes.tobytes(), run.output_bytes.tobytes()))
    run.writer.close()
    reader = LedgerReader(tmp_path)
    assert reader.dims == DIMS
    scans = list(reader.scans())
    assert [number for number, _, _ in scans] == list(range(50))
    for (_, inp, out), (was_in, was_out) in zip(scans, kept, strict=True):
        expected = image.views("input", DIMS, np.frombuffer(was_in, dtype=np.uint8).copy())
        assert all(a.tobytes() == b.tobytes() for a, b in zip(inp, expected, strict=True))
        expected = image.views("output", DIMS, np.frombuffer(was_out, dtype=np.uint8).copy())
        assert all(a.tobytes() == b.tobytes() for a, b in zip(out, expected, strict=True))
    assert reader.left_bytes == 0


def test_replay_is_identical_over_checkpoints_and_rotated_files(tmp_path, decide, monkeypatch):
    monkeypatch.setattr(ledger, "CHECKPOINT_SCANS", 20)
    run = Run(tmp_path, decide, file_bytes=20_000)
    for _ in range(200):
        run.scan()
    run.writer.close()
    assert len(fmt.files(tmp_path)) >= 3
    result = replay(tmp_path, decide)
    assert (result.scans, result.identical, result.gaps, result.notes) == (200, True, 0, ())


def test_replay_names_the_first_difference(tmp_path, decide):
    run = Run(tmp_path, decide)
    for _ in range(30):
        run.scan()
    run.writer.close()

    def other(inp, plan, state, out):
        decide(inp, plan, state, out)
        if inp.scan[0] >= 12:
            out.allowed_a[2] += 1.0

    result = replay(tmp_path, other)
    assert not result.identical
    assert result.different == 18
    assert (result.first_difference.scan, result.first_difference.field, result.first_difference.index) == (
        12,
        "allowed_a",
        2,
    )
    assert result.first_difference.now == result.first_difference.was + 1.0


@pytest.mark.parametrize("cut", [1, 7, 23, 24, 25, 200])
def test_a_torn_record_ends_the_reading_and_is_told(tmp_path, decide, cut):
    run = Run(tmp_path, decide)
    for _ in range(10):
        run.scan()
    run.writer.close()
    path = fmt.files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:-cut])
    result = replay(tmp_path, decide)
    assert result.identical
    assert 8 <= result.scans < 10
    assert result.left_bytes > 0


def test_a_flipped_bit_is_never_replayed(tmp_path, decide):
    run = Run(tmp_path, decide)
    for _ in range(10):
        run.scan()
    run.writer.close()
    path = fmt.files(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[-20] ^= 4
    path.write_bytes(data)
    assert replay(tmp_path, decide).scans == 9


WRITER = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from foreseeable import allow_override
from test_ledger import Run, MOST_SCANS
run = Run(Path(sys.argv[1]), allow_override)
for k in range(MOST_SCANS):
    run.scan()
    if k == 300:
        print("going", flush=True)
"""


def test_the_ledger_is_readable_after_kill_9_of_its_writer(tmp_path, decide):
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"going\n"
        child.send_signal(signal.SIGKILL)
    result = replay(tmp_path, decide)
    assert result.scans >= 300
    assert result.identical


def test_the_ring_reaches_the_files_and_a_full_ring_starts_anew_with_a_checkpoint(tmp_path, decide):
    run = Run(tmp_path, decide)
    ring = Ring.create(tmp_path / "ring", 1 << 24)
    reader = Ring.attach(tmp_path / "ring")
    due = True
    for number in range(40):
        run.input.scan[0] = number
        if due:
            due = not ring.push(Kind.STATE, number, run.state_bytes)
        run.decide(run.input, run.plan, run.state, run.output)
        if not due:
            due = not ring.push(Kind.FULL, number, run.input_bytes, run.output_bytes)
        if number < 5 or number >= 20:
            ledger.drain(reader, run.writer, DIMS)
    run.writer.close()
    assert reader.waiting == 0
    assert ring.dropped > 0
    result = replay(tmp_path, decide)
    assert (result.gaps, result.skipped, result.different) == (1, 0, 0)
    assert 25 <= result.scans < 25 + LEAST_SLOTS


def test_what_is_missing_or_full_or_there_already_is_refused_in_words(tmp_path, decide):
    with pytest.raises(LedgerError, match="no ledger there"):
        LedgerReader(tmp_path)
    with pytest.raises(LedgerError, match="free space or give --out"):
        Run(tmp_path, decide, least_free_bytes=1 << 60)
    run = Run(tmp_path, decide)
    run.scan()
    run.writer.close()
    with pytest.raises(LedgerError, match="folder of its own"):
        Run(tmp_path, decide)
    with pytest.raises(RingError, match="no such ring"):
        Ring.attach(tmp_path / "gone.ring")


def test_a_ledger_of_other_tables_is_refused(tmp_path, decide, monkeypatch):
    run = Run(tmp_path, decide)
    run.scan()
    run.writer.close()
    longer = (*image.OUTPUT_FIELDS, image.Field("new_a", "f8", "N", "A", 0, "a later field"))
    monkeypatch.setitem(image.TABLES, "output", longer)
    with pytest.raises(LedgerError, match="other image tables"):
        LedgerReader(tmp_path)
