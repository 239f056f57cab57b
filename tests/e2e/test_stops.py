"""Whatever ends a real run, both outputs are off in the end and no process is left: signals and kills on real sockets.

Small streets run three at a time; each is ended at a drawn moment after its bench was switched on. The time-outs
only end a broken test: no verdict hangs on them.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commandline import ENVIRONMENT, VOLTBENCH, toml_text

from controller.runtime.events import read_events
from controller.runtime.site import read_site

pytestmark = pytest.mark.slow
LIMIT_S = 60.0
AT_ONCE = 3
SIGNALS = {"SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
VICTIMS = ("scan", "wires", "bench", "guard", "plant")
FROZEN = "frozen scan"
CASES = [*SIGNALS, *VICTIMS, FROZEN, "supervisor"]


@dataclass
class Ended:
    """Hold how a run ended: exit code, what it said, its events, and the processes that outlived it."""

    code: int
    said: str
    events: list[dict[str, Any]]
    left: list[int]
    store_left: bool

    def last(self, kind: str) -> dict[str, Any]:
        """Return the last event of a kind."""
        return [event for event in self.events if event["kind"] == kind][-1]


def wait_until(true: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < until_s, f"waited in vain for {what}"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end_one(case: str, folder: Path, rig: Path) -> Ended:
    """Start a run, end it in the way of the case once its car charges, and return what is left of it."""
    run_dir = folder / "run"
    log = run_dir / "events.jsonl"
    with (folder / "said.txt").open("w") as said:
        argv = [*VOLTBENCH, "run", str(rig), "--for", "60s", "--out", str(run_dir)]
        process = subprocess.Popen(argv, cwd=folder, env=ENVIRONMENT, stdout=said, stderr=said)
    try:

        def charging() -> bool:
            assert process.poll() is None, (folder / "said.txt").read_text()
            return any(event["kind"] == "bench_cp" and event["state"] == "C" for event in read_events(log))

        wait_until(charging, "the played car to charge")
        pids = {event["name"]: event["pid"] for event in read_events(log) if event["kind"] == "started"}
        time.sleep(random.Random(case).uniform(0.0, 2.0))
        if case in SIGNALS:
            process.send_signal(SIGNALS[case])
        elif case == FROZEN:
            os.kill(pids["scan"], signal.SIGSTOP)
        else:
            os.kill(process.pid if case == "supervisor" else pids[case], signal.SIGKILL)
        code = process.wait(LIMIT_S)
        if case == "supervisor":
            wait_until(lambda: not any(map(lives, pids.values())), "the orphans' end")
        store = Path(read_site(run_dir / "site.json").store_dir)
        left = [pid for pid in pids.values() if lives(pid)]
        ended = Ended(code, (folder / "said.txt").read_text(), list(read_events(log)), left, store.exists())
        shutil.rmtree(store, ignore_errors=True)
        return ended
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def runs(hamlet, compiled, tmp_path_factory):
    """Start every case, some at a time, and return {case: Future[Ended]}."""
    top = tmp_path_factory.mktemp("stops")
    rig = top / "hamlet.toml"
    rig.write_text(toml_text(hamlet))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        made: dict[str, Future[Ended]] = {}
        for case in CASES:
            (top / case).mkdir()
            made[case] = pool.submit(end_one, case, top / case, rig)
        yield made


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_off_and_nobody_is_left(runs, case):
    ended = runs[case].result()
    if case == "plant":  # the twins died with it: the devices are gone, none can say that it is off
        assert not any(event["kind"] == "plant_ended" for event in ended.events)
    else:
        assert ended.last("plant_ended")["devices"] == {"grid_source": False, "car_load": False}
        off = [event for event in ended.events if event["kind"] in ("bench_off", "safe_off")]
        assert off
        assert all(event["mono_ns"] < ended.last("plant_ended")["mono_ns"] for event in off)
    assert ended.left == []
    assert ended.store_left == (case == "supervisor")  # who is killed cannot tidy up


@pytest.mark.parametrize("case", SIGNALS)
def test_an_interrupted_run_exits_130_after_making_safe(runs, case):
    ended = runs[case].result()
    assert ended.code == 130
    assert case in ended.last("outcome")["text"]
    assert ended.last("bench_off")["confirmed"] is True
    assert ended.last("bench_contactor")["opened"] is True
    assert "Traceback" not in ended.said


@pytest.mark.parametrize("case", VICTIMS)
def test_a_killed_process_is_named_and_the_run_exits_3(runs, case):
    ended = runs[case].result()
    assert ended.code == 3
    outcome = ended.last("outcome")
    assert outcome["exit_code"] == 3
    if case != "plant":  # what loses its device may end before the supervisor looks
        assert outcome["who_died"] == case
        assert f"voltbench: {case}: ended with -9" in ended.said
    assert "Traceback" not in ended.said


def test_a_scan_that_stands_still_is_named_silent_and_the_run_exits_3(runs):
    ended = runs[FROZEN].result()
    assert ended.code == 3
    off = {event["device"]: event["answers"] for event in ended.events if event["kind"] == "safe_off"}
    assert off == {"grid_source": ["OUTP? 0", "OUTP:REL? 0"], "car_load": ["INP? 0"]}
    outcome = ended.last("outcome")
    assert outcome["who_died"] in ("scan", "bench", "guard")  # who sees the silence first ends for it
    assert "scan" in f"{outcome['who_died']}: {outcome['text']}"


def test_a_killed_supervisor_leaves_outputs_off_and_no_process(runs):
    ended = runs["supervisor"].result()
    assert ended.code == -signal.SIGKILL
    assert not any(event["kind"] == "outcome" for event in ended.events)
    off = {event["device"]: event["answers"] for event in ended.events if event["kind"] == "safe_off"}
    assert off == {"grid_source": ["OUTP? 0", "OUTP:REL? 0"], "car_load": ["INP? 0"]}  # the guard's own read-back
