"""End many real runs at random and count: how long outputs stay on, by cause, and how often one stays energised.

`make soak`, or python benches/soak_kills.py [--count 200] [--lanes 3] [--seed 1] [--out DIR] [--causes "kill scan,..."]
Exit 1 where an output stayed on, was late, a process outlived its run or a run folder could not be decided again.
"""

import argparse
import queue
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kill_lane import BOUNDS_S, CAUSES, KINDS, STEP_S, Ended, Lane, drawn, kind_of

from controller.runtime.replay import replay


def problems_of(ended: Ended) -> list[str]:
    """Return what is wrong with how one run ended."""
    found = []
    if ended.energised:
        found.append(f"still on: {', '.join(ended.energised)}")
    if ended.off_s > BOUNDS_S[ended.cause] + STEP_S:
        found.append(f"off after {ended.off_s:.2f} s, stated {BOUNDS_S[ended.cause]:g} s")
    if ended.left:
        found.append(f"processes left: {ended.left}")
    result = replay(ended.run_dir)
    if not result.identical:
        found.append(f"replay: {result.different} of {result.scans} scans differ, {result.skipped} skipped")
    return found


def lane_kinds(lanes: int, wanted: set[str]) -> list[str]:
    """Return the bench of each lane: one for each that is wanted, the further ones for the AC bench where it is."""
    kinds = [kind for kind in KINDS if kind in wanted]
    return kinds + [kinds[0]] * (lanes - len(kinds))


def soak(count: int, lanes: int, seed: int, folder: Path, causes: tuple[str, ...]) -> int:
    """End `count` runs, print each and a table of all; return 0, or 1 where anything was wrong."""
    free: dict[str, queue.Queue[Lane]] = {kind: queue.Queue() for kind in KINDS}
    kinds = lane_kinds(lanes, {kind_of(cause) for cause in causes})
    done: dict[str, list[float]] = defaultdict(list)
    energised, wrong = 0, 0

    def end_one(job: tuple[str, float]) -> tuple[tuple[str, float], Ended | None, str]:
        lane = free[kind_of(job[0])].get()
        try:
            return job, lane.end_one(*job), ""
        except AssertionError as error:
            return job, None, str(error)
        finally:
            free[lane.kind].put(lane)

    started_s = time.monotonic()
    with ThreadPoolExecutor(lanes) as pool:
        for lane in pool.map(Lane, [folder / f"lane{k}" for k in range(lanes)], kinds):
            free[lane.kind].put(lane)
        try:
            jobs = [job for job in drawn(seed, count * len(CAUSES)) if job[0] in causes][:count]
            for k, (job, ended, text) in enumerate(pool.map(end_one, jobs), 1):
                found = [f"not ended: {text.strip().splitlines()[-1]}"] if ended is None else problems_of(ended)
                wrong += bool(found)
                if ended is not None:
                    done[job[0]].append(ended.off_s)
                    energised += bool(ended.energised)
                off = "" if ended is None else f"off after {ended.off_s:5.2f} s"
                print(f"{k:4d}  {job[0]:19}  at {job[1]:4.2f} s  {off}  {'; '.join(found) or 'ok'}", flush=True)
        finally:
            for kind in kinds:
                free[kind].get().close()
    print(f"\n{'cause':19}  {'n':>4}  {'worst (s)':>9}  {'stated (s)':>10}")
    for cause in CAUSES:
        if off_s := done.get(cause):
            print(f"{cause:19}  {len(off_s):4d}  {max(off_s):9.2f}  {BOUNDS_S[cause]:10g}")
    total = sum(map(len, done.values()))
    print(f"{total} runs ended in {time.monotonic() - started_s:.0f} s; left energised: {energised}; wrong: {wrong}")
    return 1 if wrong else 0


def main() -> int:
    """Read the arguments and soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--lanes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep the run folders there; default a temporary folder")
    parser.add_argument("--causes", default=",".join(CAUSES), help=f"comma-separated: {', '.join(CAUSES)}")
    given = parser.parse_args()
    causes = tuple(given.causes.split(","))
    if unknown := set(causes) - set(CAUSES):
        parser.error(f"unknown causes {', '.join(sorted(unknown))}; known: {', '.join(CAUSES)}")
    if given.out is not None:
        return soak(given.count, given.lanes, given.seed, given.out, causes)
    with tempfile.TemporaryDirectory(prefix="voltbench-soak-") as folder:
        return soak(given.count, given.lanes, given.seed, Path(folder), causes)


if __name__ == "__main__":
    sys.exit(main())
