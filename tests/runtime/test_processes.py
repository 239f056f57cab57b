"""The real processes of a small site under the real supervisor: they start, scan, and end in order."""

import sys
from pathlib import Path

from conftest import wait_for
from test_scan import SCAN

from controller.runtime import stores
from controller.runtime.events import Events, read_events
from controller.runtime.processes import STOP_LEDGER, STOP_SCAN, controller_processes
from controller.runtime.replay import replay
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
        "wires": STOP_SCAN,
        "scan": STOP_SCAN,
    }
    assert not specs["scan"].ready()
    assert not specs["wires"].ready()


def test_a_run_from_start_to_stop_loses_no_scan(site, tmp_path, decide):
    path = tmp_path / "site.json"
    specs = {spec.name: spec for spec in controller_processes(path, site)}
    scan = specs["scan"]
    mine = [
        specs["ledger"],
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
    assert ended[-1] == "ledger"
    assert sorted(ended) == ["ledger", "scan", "wires"]
