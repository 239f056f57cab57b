"""The real processes of a small site under the real supervisor: they start, scan, and end in order."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from foreseeable import wait_for
from test_scan import SCAN

from controller.law import image
from controller.runtime import stores
from controller.runtime.events import Events, read_events
from controller.runtime.order import Order
from controller.runtime.order_image import BookImage
from controller.runtime.order_intake import Intake
from controller.runtime.process import PARENT_ENV, ordinary, realtime
from controller.runtime.processes import STOP_LEDGER, STOP_SCAN, controller_processes
from controller.runtime.replay import replay
from controller.runtime.site import OpenAdrPort
from controller.runtime.supervisor import ProcessSpec, Supervisor

WIRES = """
import signal, sys, threading, time
from pathlib import Path
from controller.law import image
from controller.runtime import stores
from controller.runtime.site import read_site
site = read_site(Path(sys.argv[1]))
end = []
signal.signal(signal.SIGTERM, lambda *_: end.append(1))
buffer, inp = image.allocate("input", site.image_dims())
store = stores.attach(site, "input.img")
while not end:
    store.write(buffer, time.monotonic_ns())
    threading.Event().wait(0.01)
"""


def test_the_listed_processes_have_the_stop_order_of_the_house(site, tmp_path):
    specs = {spec.name: spec for spec in controller_processes(tmp_path / "site.json", site)}
    assert {name: spec.stop_order for name, spec in specs.items()} == {
        "ledger": STOP_LEDGER,
        "orders": STOP_LEDGER,
        "wires": STOP_SCAN,
        "scan": STOP_SCAN,
    }
    assert not specs["scan"].ready()
    assert not specs["wires"].ready()


def test_a_link_that_brings_orders_may_die_and_is_started_anew(site, tmp_path):
    linked = site.model_copy(update={"openadr": OpenAdrPort(url="https://127.0.0.1/openadr3", node="head")})
    spec = {spec.name: spec for spec in controller_processes(tmp_path / "site.json", linked)}["openadr"]
    assert spec.again and not spec.critical
    assert spec.argv[2] == "controller.runtime.order_openadr"


def test_a_run_from_start_to_stop_loses_no_scan(site, tmp_path, decide):
    path = tmp_path / "site.json"
    specs = {spec.name: spec for spec in controller_processes(path, site)}
    scan = specs["scan"]
    mine = [
        specs["ledger"],
        specs["orders"],
        ProcessSpec("wires", [sys.executable, "-c", WIRES, str(path)], STOP_SCAN),
        ProcessSpec("scan", [sys.executable, "-c", SCAN, str(path)], STOP_SCAN, ready=scan.ready),
    ]
    output = stores.attach(site, "output.img")
    events = Events(Path(site.run_dir) / "events.jsonl", "supervisor")
    with Supervisor(Path(site.run_dir), events) as run:
        run.beat_on(site.store(stores.BEAT))
        assert run.start(mine) is None
        outcome = run.watch(lambda: output.sequence > 10)
    assert outcome.exit_code == 0, outcome.text
    wait_for(lambda: all(child.process.poll() == 0 for child in run.children))
    result = replay(Path(site.run_dir), decide)
    assert result.identical
    assert result.scans == output.sequence
    ended = [event["name"] for event in read_events(events.path) if event["kind"] == "ended"]
    assert set(ended[-2:]) == {"ledger", "orders"}
    assert sorted(ended) == ["ledger", "orders", "scan", "wires"]


CHILD = """
import signal, sys
from controller.runtime.process import die_with_parent, ignore_sigint, on_sigterm
end = []
on_sigterm(lambda: end.append(1))
ignore_sigint()
die_with_parent()
open(sys.argv[1] + ".ready", "w").close()
while not end:
    signal.pause()
open(sys.argv[1], "w").close()
"""
PARENT = """
import os, subprocess, sys
from controller.runtime.process import PARENT_ENV
subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], env=os.environ | {PARENT_ENV: str(os.getpid())})
sys.stdin.read()
"""


def test_a_child_is_told_by_the_kernel_when_its_supervisor_is_killed(tmp_path):
    told = tmp_path / "told"
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(told)], stdin=subprocess.PIPE) as parent:
        wait_for((tmp_path / "told.ready").exists)
        assert not told.exists()
        parent.kill()
    wait_for(told.exists)


def test_a_child_that_starts_after_its_supervisor_is_gone_ends_at_once(tmp_path):
    told = tmp_path / "told"
    gone = os.environ | {PARENT_ENV: "999999999"}
    done = subprocess.run([sys.executable, "-c", CHILD, str(told)], env=gone, timeout=60)
    assert done.returncode == 0
    assert told.exists()


def test_permissions_are_reported_and_given_back():
    report = realtime(priority=1)
    try:
        assert set(report) == {"sched_fifo", "mlockall", "timer_slack", "cpu"}
        assert all(text.startswith(("yes", "no: ")) for text in report.values())
    finally:
        ordinary()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_the_order_book_is_started_anew_and_what_it_said_stays_in_force_meanwhile(site, tmp_path):
    specs = {spec.name: spec for spec in controller_processes(tmp_path / "site.json", site)}
    events = Events(Path(site.run_dir) / "events.jsonl", "supervisor")
    book, inp = BookImage(site), image.allocate("input", site.image_dims())[1]
    caps = set()
    with Supervisor(Path(site.run_dir), events) as run:
        assert run.start([specs["orders"]]) is None
        intake = Intake(site)
        assert intake.offer(Order("dso", "a", 1, "cap", "head", value_w=40e3)).accepted
        child = run.children[0]
        dead, written_ns = child.process.pid, book.store.written_ns
        os.kill(dead, signal.SIGKILL)

        def back() -> bool:
            book.latch(inp)
            caps.add(float(inp.book_w[1]))
            return child.process.pid != dead and book.store.written_ns > written_ns

        assert run.watch(back).exit_code == 0
        assert intake.offer(Order("dso", "b", 1, "cap", "head", value_w=50e3)).accepted
        back()
        intake.close()
    assert caps == {40e3}
