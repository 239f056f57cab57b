"""Decide a recorded run again and compare: the same INPUT, PLAN and STATE must give bit-identical OUTPUT."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import llvmlite.binding
import numpy as np

from controller.law import image
from controller.law.kernel import law_hash
from controller.runtime.ledger import LedgerReader


@dataclass(frozen=True, slots=True)
class Difference:
    """Say where the first different decision is: scan, OUTPUT field, flat index, value then and now."""

    scan: int
    field: str
    index: int
    was: float
    now: float


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Hold the result of a replay.

    `scans` were decided again, `different` of them gave other bits; `skipped` could not be decided again because no
    checkpoint stands between them and a gap; `gaps` counts places where scans are missing; `left_bytes` is the torn
    tail. `notes` says what else differs from then: the law's sources or versions, the CPU.
    """

    scans: int
    different: int
    first_difference: Difference | None
    skipped: int
    gaps: int
    left_bytes: int
    notes: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Say whether every recorded scan was decided again with the same bits."""
        return self.scans > 0 and self.different == 0 and self.skipped == 0


Decide = Callable[[Any, Any, Any, Any], None]


def law_decide() -> Decide:
    """Return the law's `decide`; imported late, because that compiles it."""
    from controller.law.decide import decide

    return cast(Decide, decide)


def replay(run_dir: Path, decide: Decide | None = None) -> ReplayResult:
    """Decide the run in `run_dir` again from its ledger; a LedgerError tells a folder without a readable one.

    `decide` is the law's unless another one is to be compared with what was recorded.
    """
    decide = decide or law_decide()
    reader = LedgerReader(run_dir)
    state_buffer, state = image.allocate("state", reader.dims)
    _, out = image.allocate("output", reader.dims)
    out_places, _ = image.layout("output", reader.dims)
    scans = different = skipped = gaps = 0
    first: Difference | None = None
    expected: int | None = None
    known = False
    for entry in reader.entries():
        if expected is not None and entry.scan != expected:
            gaps += 1
            known = False
        expected = entry.scan + 1
        if entry.state is not None:
            state_buffer[:] = np.frombuffer(entry.state, dtype=np.uint8)
            known = True
        if not known:
            skipped += 1
            continue
        decide(entry.input, reader.plan, state, out)
        scans += 1
        if any(then.tobytes() != now.tobytes() for then, now in zip(entry.output, out, strict=True)):
            different += 1
            first = first or first_difference(entry.scan, entry.output, out, tuple(out_places))
    return ReplayResult(scans, different, first, skipped, gaps, reader.left_bytes, notes(reader.description))


def first_difference(scan: int, was: Any, now: Any, names: tuple[str, ...]) -> Difference | None:
    """Return the first element whose bits differ between two OUTPUT images; None where there is none."""
    for name, then_array, now_array in zip(names, was, now, strict=True):
        if then_array.tobytes() == now_array.tobytes():
            continue
        size = then_array.dtype.itemsize
        then_bits = np.frombuffer(then_array.tobytes(), dtype=f"V{size}")
        now_bits = np.frombuffer(now_array.tobytes(), dtype=f"V{size}")
        index = int(np.flatnonzero(then_bits != now_bits)[0])
        return Difference(scan, name, index, float(then_array.flat[index]), float(now_array.flat[index]))
    return None


def notes(description: dict[str, Any]) -> tuple[str, ...]:
    """Return what differs between the machine and law that recorded a run and those of now."""
    found = []
    if description["law_hash"] != law_hash():
        found.append(f"law or its versions: {description['law_hash']} then, {law_hash()} now")
    cpu = llvmlite.binding.get_host_cpu_name()
    if description["cpu"] != cpu:
        found.append(f"CPU: {description['cpu']} then, {cpu} now")
    return tuple(found)
