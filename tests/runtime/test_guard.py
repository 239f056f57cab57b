"""The guard: silent until it trips, then everything off in order with read-backs, whatever one of them answers."""

import math
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest
from foreseeable import wait_for

from controller.runtime import guard
from controller.runtime.events import Events, read_events
from controller.runtime.guard import GuardError, Limits, Line, Target, make_safe, trip_cause
from controller.runtime.process import PARENT_ENV


@dataclass(frozen=True)
class Step:
    send: str
    ask: str = ""
    expect: str = ""
    settle_s: float = 0.0


STEPS = (Step("OUTP OFF", "OUTP?", "0|OFF"), Step("VOLT:AC 0", "VOLT:AC?", r"0(\.0+)?"), Step("SYST:LOC"))


class Instrument:
    """Answer on a socket of its own; `heard` is all it was sent."""

    def __init__(self, answers, drop_first=False):
        self.answers = answers
        self.heard = []
        self.drop = drop_first
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def target(self, name="source"):
        return Target(name, "127.0.0.1", self.listener.getsockname()[1], STEPS, timeout_s=2.0)

    def _serve(self):
        while True:
            try:
                link, _ = self.listener.accept()
            except OSError:
                return
            if self.drop:
                self.drop = False
                link.close()
                continue
            with link, link.makefile("rwb") as lines:
                for raw in lines:
                    message = raw.decode().strip()
                    self.heard.append(message)
                    if message in self.answers:
                        lines.write(self.answers[message].encode() + b"\n")
                        lines.flush()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5.0)


@pytest.fixture
def instrument():
    made = []

    def make(**options):
        made.append(Instrument(options.pop("answers", {"OUTP?": "0", "VOLT:AC?": "0.00"}), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_steps_go_out_in_order_and_are_read_back(instrument, tmp_path):
    box = instrument()
    line = Line(box.target())
    line.open()
    assert box.heard == []
    assert make_safe([line], Events(tmp_path / "e.jsonl", "guard"), "test")
    line.close()
    assert box.heard == ["OUTP OFF", "OUTP?", "VOLT:AC 0", "VOLT:AC?", "SYST:LOC"]
    (event,) = read_events(tmp_path / "e.jsonl")
    assert (event["kind"], event["device"], event["answers"]) == ("safe_off", "source", ["OUTP? 0", "VOLT:AC? 0.00"])


def test_a_wrong_answer_is_told_but_the_later_steps_are_still_sent(instrument):
    box = instrument(answers={"OUTP?": "1", "VOLT:AC?": "0"})
    line = Line(box.target())
    with pytest.raises(GuardError, match=r"source: 'OUTP OFF': OUTP\? answers '1', expected 0\|OFF"):
        line.safe_off()
    line.close()
    assert box.heard[2:4] == ["VOLT:AC 0", "VOLT:AC?"]


def test_a_lost_line_is_opened_anew(instrument):
    box = instrument(drop_first=True)
    line = Line(box.target())
    line.open()
    assert line.safe_off() == ["OUTP? 0", "VOLT:AC? 0.00"]
    line.close()


def test_one_that_is_gone_does_not_keep_the_next_from_being_switched_off(instrument, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    box = instrument()
    gone, here = Line(Target("load", "127.0.0.1", port, STEPS, timeout_s=0.2)), Line(box.target())
    assert not make_safe([gone, here], Events(tmp_path / "e.jsonl", "guard"), "test")
    here.close()
    assert "OUTP OFF" in box.heard
    assert [event["kind"] for event in read_events(tmp_path / "e.jsonl")] == ["safe_off_failed", "safe_off"]
    assert "guard: load: not confirmed off" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gone", "scan_s", "bench_s", "supervisor_s", "cause"),
    [
        (False, math.nan, math.nan, math.nan, None),
        (False, 1.0, 0.5, 4.9, None),
        (True, 0.0, 0.0, 0.0, "supervisor is gone"),
        (False, 1.01, 0.0, 0.0, "heartbeat of the scan is 1.01 s"),
        (False, math.nan, 0.6, 0.0, "heartbeat of the bench"),
        (False, 0.0, 0.0, 5.1, "heartbeat of the supervisor"),
    ],
)
def test_it_trips_on_a_lost_parent_and_on_heartbeats_that_began_and_stopped(gone, scan_s, bench_s, supervisor_s, cause):
    found = trip_cause(Limits(1.0, 0.5), gone, scan_s, bench_s, supervisor_s)
    assert found is None if cause is None else cause in found


GUARD = """
import sys
from pathlib import Path
from types import SimpleNamespace
from controller.runtime import guard
step = lambda send, ask="", expect="": SimpleNamespace(send=send, ask=ask, expect=expect, settle_s=0.0)
guard.targets = lambda site: [guard.Target("source", "127.0.0.1", int(sys.argv[2]), (step("OUTP OFF", "OUTP?", "0"),))]
sys.exit(guard.main(Path(sys.argv[1])))
"""
SUPERVISOR = """
import os, subprocess, sys
os.environ[sys.argv[4]] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", sys.argv[3], *sys.argv[1:3]])
print(child.pid, flush=True)
sys.stdin.read(1)
os.kill(os.getpid(), 9)
"""


def test_the_guard_makes_safe_when_its_supervisor_is_killed(site, tmp_path, instrument):
    box = instrument(answers={"OUTP?": "0"})
    port = str(box.listener.getsockname()[1])
    arguments = [str(tmp_path / "site.json"), port, GUARD, PARENT_ENV]
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert int(parent.stdout.readline()) > 0
        log = tmp_path / "run" / "events.jsonl"
        beat = guard.stores.Heartbeat(site.store(guard.stores.GUARD))
        wait_for(lambda: beat.written_ns() > 0)
        assert box.heard == []
        parent.stdin.write(b"x")
        parent.stdin.flush()
        parent.wait(10)
    wait_for(lambda: any(event["kind"] == "safe_off" for event in read_events(log)))
    assert box.heard == ["OUTP OFF", "OUTP?"]
    kinds = [event["kind"] for event in read_events(log)]
    assert kinds == ["guard_trip", "safe_off"]


def test_a_planned_stop_gives_the_bench_time_to_end_in_order(site):
    usual, stopping = guard.limits(site, stopping=False), guard.limits(site, stopping=True)
    assert usual.bench_s == 1.0
    assert stopping.bench_s == guard.STOPPING_S > usual.bench_s
    assert stopping.scan_s == usual.scan_s


def test_without_a_bench_there_is_nothing_to_guard(site):
    assert guard.targets(site) == []
