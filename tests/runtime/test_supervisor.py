"""The supervisor: processes end in their order on done, signals, deaths and silence, and nothing is left behind."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from controller.runtime import supervisor as sv
from controller.runtime.events import Events, read_events
from controller.runtime.store import Store
from controller.runtime.supervisor import ProcessSpec, Supervisor

CHILD = """
import os, signal, sys
name, order, ready = sys.argv[1:4]
end = []
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: end.append(1))
open(ready, "w").close()
while not end:
    signal.pause()
with open(order, "a") as log:
    log.write(name + chr(10))
"""
STUBBORN = CHILD.replace("lambda *_: end.append(1)", "signal.SIG_IGN")
UNSURE = CHILD + "print('source: not confirmed off')\nsys.exit(3)\n"


class Bench:
    """Make specs of small children and remember in which order they ended."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.order = folder / "order.txt"
        self.events = Events(folder / "events.jsonl", "supervisor")

    def spec(self, name, stop_order, code=CHILD, **options):
        ready = self.folder / f"{name}.ready"
        options.setdefault("ready", ready.exists)
        options.setdefault("stop_timeout_s", 60.0)  # a busy machine ends nobody
        return ProcessSpec(name, [sys.executable, "-c", code, name, str(self.order), str(ready)], stop_order, **options)

    def ended(self):
        return self.order.read_text().split() if self.order.exists() else []

    def kinds(self):
        return [event["kind"] for event in read_events(self.folder / "events.jsonl")]


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.events.close()


def usual(bench):
    return [
        bench.spec("plant", 4),
        bench.spec("ledger", 3),
        bench.spec("scan", 2),
        bench.spec("guard", 1, at_once=True),
        bench.spec("bench", 0, at_once=True),
    ]


def test_a_run_that_is_done_ends_in_its_stop_order(bench, tmp_path):
    with Supervisor(tmp_path, bench.events) as run:
        assert run.start(usual(bench)) is None
        outcome = run.watch(lambda: True)
    assert (outcome.exit_code, outcome.who_died) == (0, None)
    assert bench.ended() == ["bench", "guard", "scan", "ledger", "plant"]
    assert all(child.process.returncode == 0 for child in run.children)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_order_with_130(bench, tmp_path, number):
    with Supervisor(tmp_path, bench.events) as run:
        run.start(usual(bench))
        os.kill(os.getpid(), number)
        outcome = run.watch(lambda: False)
    assert outcome.exit_code == 130
    assert number.name in outcome.text
    assert bench.ended() == ["bench", "guard", "scan", "ledger", "plant"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("victim", ["plant", "scan", "ledger", "guard", "bench"])
def test_the_death_of_any_of_them_switches_off_first_and_ends_the_rest(bench, tmp_path, victim):
    with Supervisor(tmp_path, bench.events) as run:
        run.start(usual(bench))
        next(child for child in run.children if child.spec.name == victim).process.kill()
        outcome = run.watch(lambda: False)
    assert (outcome.exit_code, outcome.who_died) == (3, victim)
    assert "ended with -9" in outcome.text
    ended = bench.ended()
    off = [name for name in ("bench", "guard") if name != victim]
    assert sorted(ended[: len(off)]) == off
    assert ended[len(off) :] == [name for name in ("scan", "ledger", "plant") if name != victim]


def test_an_exception_in_the_parent_is_a_fault_stop(bench, tmp_path):
    with pytest.raises(RuntimeError, match="parent"), Supervisor(tmp_path, bench.events) as run:
        run.start(usual(bench))
        raise RuntimeError("parent")
    assert sorted(bench.ended()[:2]) == ["bench", "guard"]
    assert bench.ended()[2:] == ["scan", "ledger", "plant"]


def test_one_that_does_not_end_is_killed_and_the_others_still_end(bench, tmp_path):
    with Supervisor(tmp_path, bench.events) as run:
        run.start([bench.spec("plant", 1), bench.spec("bench", 0, STUBBORN, stop_timeout_s=0.2)])
        run.watch(lambda: True)
    assert bench.ended() == ["plant"]
    assert run.children[1].process.returncode == -signal.SIGKILL
    assert "killed" in bench.kinds()


@pytest.mark.parametrize("interrupt", [False, True])
@pytest.mark.parametrize(
    ("code", "stop_s", "said"),
    [(UNSURE, 60.0, "(ended with 3): source: not confirmed off"), (STUBBORN, 0.2, "-9")],
)
def test_a_stop_that_did_not_confirm_the_outputs_off_is_a_fault(bench, tmp_path, code, stop_s, said, interrupt):
    with Supervisor(tmp_path, bench.events) as run:
        run.start([bench.spec("plant", 1), bench.spec("bench", 0, code, at_once=True, stop_timeout_s=stop_s)])
        if interrupt:
            os.kill(os.getpid(), signal.SIGINT)
        assert run.watch(lambda: not interrupt).exit_code == (130 if interrupt else 0)
        run.stop()
    assert (run.outcome.exit_code, run.outcome.who_died) == (3, "bench")
    assert said in run.outcome.text
    assert bench.ended()[-1] == "plant"


@pytest.mark.parametrize(("begun", "exit_code"), [(False, 0), (True, 3)])
def test_one_that_dies_of_the_signal_has_confirmed_only_where_it_never_began(bench, tmp_path, begun, exit_code):
    image = Store.create(tmp_path / "bench_meas.img", 64)
    if begun:
        image.write(np.zeros(64, dtype=np.uint8), time.monotonic_ns())
    argv = [sys.executable, "-c", "import time; print('fault', flush=True); time.sleep(60)"]
    with Supervisor(tmp_path, bench.events) as run:
        run.start(
            [ProcessSpec("bench", argv, 0, at_once=True, heartbeat=tmp_path / "bench_meas.img", heartbeat_s=30.0)]
        )
        run.watch(lambda: True)
        run.stop()
    assert run.outcome.exit_code == exit_code


def test_a_stopped_process_is_noticed_by_its_heartbeat_and_killed(bench, tmp_path):
    beat = Store.create(tmp_path / "output.img", 64)
    beat.write(np.zeros(64, dtype=np.uint8), time.monotonic_ns())
    with Supervisor(tmp_path, bench.events) as run:
        scan = bench.spec("scan", 1, heartbeat=tmp_path / "output.img", heartbeat_s=0.2, stop_timeout_s=0.2)
        run.start([bench.spec("plant", 2), scan])
        os.kill(run.children[1].process.pid, signal.SIGSTOP)
        outcome = run.watch(lambda: False)
    assert (outcome.exit_code, outcome.who_died) == (3, "scan")
    assert outcome.text.startswith("silent for")
    assert bench.ended() == ["plant"]
    assert run.children[1].process.returncode == -signal.SIGKILL


def test_the_desk_may_die_freely(bench, tmp_path):
    with Supervisor(tmp_path, bench.events) as run:
        run.start([bench.spec("plant", 1), bench.spec("desk", 0, critical=False)])
        run.children[1].process.kill()
        run.children[1].process.wait()
        assert run.check() is None
        outcome = run.watch(lambda: True)
    assert outcome.exit_code == 0
    assert "ended" in bench.kinds()


def test_one_that_fails_at_its_start_is_named_with_its_last_words(bench, tmp_path):
    failing = ProcessSpec(
        "wires", [sys.executable, "-c", "import sys; sys.exit('cp3: refused')"], 1, ready=lambda: False
    )
    with Supervisor(tmp_path, bench.events) as run:
        outcome = run.start([bench.spec("plant", 2), failing])
    assert (outcome.exit_code, outcome.who_died) == (3, "wires")
    assert "cp3: refused" in outcome.text
    assert bench.ended() in (["plant"], [])


def test_one_that_never_gets_ready_is_named(bench, tmp_path):
    with Supervisor(tmp_path, bench.events) as run:
        outcome = run.start([bench.spec("wires", 0, ready=lambda: False, ready_timeout_s=0.2)])
    assert (outcome.exit_code, outcome.who_died) == (3, "wires")
    assert "not ready after" in outcome.text


def test_it_beats_while_it_watches_and_children_are_pinned_to_one_blas_thread(bench, tmp_path):
    store = Store.create(tmp_path / "supervisor.img", sv.BEAT_BYTES)
    code = "import os; print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['VOLTBENCH_PARENT'], flush=True)\n" + CHILD
    with Supervisor(tmp_path, bench.events) as run:
        run.beat_on(tmp_path / "supervisor.img")
        run.start([bench.spec("plant", 0, code)])
        ticks = []
        run.watch(lambda: len(ticks) >= 3, lambda: ticks.append(1))
    assert store.sequence >= 4
    assert (tmp_path / "logs" / "plant.log").read_text().split() == ["1", str(os.getpid())]
