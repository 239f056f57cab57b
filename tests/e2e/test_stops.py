"""Whatever ends a real run, every output goes off in its stated time, nobody is left and the run folder stays readable.

Ten runs of a small rig whose devices are all real: their twins are another process and outlive them. Each is ended
once its source was switched on, at a drawn moment. The soak (`make soak`) does the same two hundred times.
"""

import queue
import random
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from kill_lane import BOUNDS_S, CAUSES, LOAD, SOURCE, STEP_S, SUPPLY, WATCHDOG_S, Ended, Lane, drawn, kind_of

from controller.runtime.replay import replay
from hil.runs.main_job import rewrite_report

pytestmark = pytest.mark.slow
LANES = {"ac": 2, "dc": 1, "wd": 1}
SEED = 11
SIGNALS = ("SIGINT", "SIGTERM")
KILLED = ("kill scan", "kill wires", "kill volts")
DC = ("dc SIGTERM", "dc kill supervisor", "dc stop scan", "wd stop bench+guard")
CASES = (*SIGNALS, *KILLED, "kill supervisor", "kill desk", "stop scan", "stop wires", "cut source", *DC)


@pytest.fixture(scope="module")
def runs(compiled, tmp_path_factory):
    """Start every case, some at a time, and return {case: Future[Ended]}."""
    top = tmp_path_factory.mktemp("stops")
    dice = random.Random(SEED)
    moments = {case: dice.uniform(0.0, 3.0) for case in CASES}
    lanes: dict[str, queue.Queue[Lane]] = {kind: queue.Queue() for kind in LANES}

    def end_one(case: str) -> Ended:
        lane = lanes[kind_of(case)].get()
        try:
            return lane.end_one(case, moments[case])
        finally:
            lanes[lane.kind].put(lane)

    kinds = [kind for kind, count in LANES.items() for _ in range(count)]
    with ThreadPoolExecutor(len(kinds)) as pool:
        for lane in pool.map(Lane, [top / f"lane{k}" for k in range(len(kinds))], kinds):
            lanes[lane.kind].put(lane)
        made: dict[str, Future[Ended]] = {case: pool.submit(end_one, case) for case in CASES}
        yield made
    for kind in kinds:
        lanes[kind].get().close()


@pytest.mark.parametrize("case", CASES)
def test_every_output_is_off_in_its_stated_time_and_nobody_is_left(runs, case):
    ended = runs[case].result()
    assert ended.energised == []
    assert ended.off_s <= BOUNDS_S[case] + STEP_S
    assert ended.left == []
    assert ended.store_left == case.endswith("kill supervisor")  # who is killed cannot tidy up
    assert "Traceback" not in ended.said


@pytest.mark.parametrize("case", CASES)
def test_the_run_folder_can_be_decided_again(runs, case):
    result = replay(runs[case].result().run_dir)
    assert result.identical
    assert result.gaps == 0


@pytest.mark.parametrize("case", SIGNALS)
def test_an_interrupted_run_exits_130_after_a_planned_stop(runs, case):
    ended = runs[case].result()
    assert ended.code == 130
    assert case in ended.last("outcome")["text"]
    assert ended.last("bench_off")["confirmed"] is True
    assert ended.last("bench_contactor")["opened"] is True


@pytest.mark.parametrize("case", ["SIGTERM", "dc SIGTERM"])
def test_a_planned_stop_keeps_its_order_up_to_the_relay(runs, case):
    ended = runs[case].result()
    kinds = [event["kind"] for event in sorted(ended.events, key=lambda event: event["mono_ns"])]
    order = ["stop", "bench_contactor", "bench_off", "safe_off", "estop_open"]
    assert [kinds.index(kind) for kind in order] == sorted(kinds.index(kind) for kind in order)
    assert kinds.count("estop_open") == 1


def test_a_supply_whose_bench_and_guard_stand_still_is_switched_off_by_its_own_watchdog(runs):
    ended = runs["wd stop bench+guard"].result()
    assert ended.off_s >= WATCHDOG_S - 1.0  # nobody else was quicker
    assert ended.code == 3
    assert {event["device"] for event in ended.events if event["kind"] == "identified"} >= {SUPPLY}


@pytest.mark.parametrize("case", KILLED)
def test_a_killed_process_is_named_and_the_run_exits_3(runs, case):
    ended = runs[case].result()
    assert ended.code == 3
    name = case.removeprefix("kill ")
    assert ended.last("outcome")["who_died"] == name
    assert f"voltbench: {name}: ended with -9" in ended.said


@pytest.mark.parametrize("case", ["stop scan", "stop wires"])
def test_one_that_stands_still_is_named_silent_and_the_run_exits_3(runs, case):
    ended = runs[case].result()
    assert ended.code == 3
    outcome = ended.last("outcome")
    name = case.removeprefix("stop ")  # of a silent scan the guard, the bench and the supervisor know: the first ends
    assert name in f"{outcome['who_died']}: {outcome['text']}" or (name == "scan" and outcome["who_died"] == "bench")


def test_the_guard_reads_back_what_it_switched_off_and_opens_the_chain(runs):
    ended = runs["kill supervisor"].result()
    assert ended.code == -signal.SIGKILL
    assert not any(event["kind"] == "outcome" for event in ended.events)
    off = {event["device"]: event["answers"] for event in ended.events if event["kind"] == "safe_off"}
    assert off == {SOURCE: ["OUTP? 0", "OUTP:REL? 0"], LOAD: ["INP? 0"]}
    assert ended.last("estop_open")["device"] == "chain"


def test_a_source_behind_a_cut_link_loses_its_supply(runs):
    ended = runs["cut source"].result()
    assert ended.code == 3
    assert ended.last("safe_off_by_supply")["device"] == SOURCE
    assert ended.last("estop_open")["cause"]


def test_the_run_goes_on_without_its_desk(runs):
    ended = runs["kill desk"].result()
    assert ended.code == 130  # of the SIGINT that ended it a second later


def test_a_report_is_made_of_the_ledger_where_the_run_was_killed(runs):
    run_dir: Path = runs["kill supervisor"].result().run_dir
    assert not (run_dir / "samples.parquet").exists()
    assert rewrite_report(run_dir).stat().st_size > 10_000


def test_the_soak_draws_every_cause_and_repeats_by_its_seed():
    assert {cause for cause, _ in drawn(3, len(CAUSES))} == set(CAUSES)
    assert drawn(3, 50) == drawn(3, 50) != drawn(4, 50)
