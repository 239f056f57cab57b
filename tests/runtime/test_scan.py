"""The scan: latch, decide, publish, keep; as a function with a given clock, and as the process that it is."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from foreseeable import wait_for

from controller.law import image
from controller.runtime import ledger, ring, stores
from controller.runtime.events import read_events
from controller.runtime.figures import write_timing
from controller.runtime.ledger import LedgerWriter
from controller.runtime.mailbox import Mailbox
from controller.runtime.order_image import BookImage
from controller.runtime.replay import replay
from controller.runtime.scan import Scan
from controller.runtime.timing import NAME as TIMING
from controller.runtime.timing import read_timing

HERE = Path(__file__).parent


def write_input(site, now_ns=5, volts=230.0):
    buffer, inp = image.allocate("input", site.image_dims())
    inp.charger_v[:] = volts
    stores.attach(site, "input.img").write(buffer, now_ns)


def published(site, name):
    table = stores.IMAGES[name]
    buffer, views = image.allocate(table, site.image_dims())
    assert stores.attach(site, name).read(buffer) > 0
    return views


def test_a_scan_adds_clocks_number_random_numbers_and_orders_to_what_the_wires_wrote(site, decide):
    scan = Scan(site, decide)
    assert not scan.inputs_written
    write_input(site, volts=228.5)
    assert not scan.inputs_written  # nobody knows yet which orders were restored
    book = BookImage(site)
    book.record["book_w"], book.record["wish_w"] = [5_000.0, np.inf], np.inf
    book.publish(1)
    assert scan.inputs_written
    Mailbox.attach(site.store(stores.ORDERS)).post("override", 1, 9.0, until_s=1.7e9)
    scan.step(123_000_000_000)
    latched, out = published(site, "latched.img"), published(site, "output.img")
    assert (latched.charger_v == 228.5).all()
    assert latched.book_w.tolist() == [5_000.0, np.inf]
    assert latched.now_ns[0] == 123_000_000_000
    assert latched.utc_ns[0] == 123_000_000_000 + site.utc_minus_mono_ns
    assert latched.utc_offset_s[0] == 3600.0
    assert latched.override_a.tolist() == [np.inf, 9.0, np.inf]
    assert latched.override_until_s[1] == 1.7e9
    assert out.allowed_a.tolist() == [16.0, 9.0, 16.0]
    assert ((latched.random_u >= 0) & (latched.random_u < 1)).all()
    first = latched.random_u.copy()
    scan.step(123_100_000_000)
    latched = published(site, "latched.img")
    assert latched.scan[0] == 1
    assert latched.override_a[1] == 9.0
    assert not np.array_equal(latched.random_u, first)


def test_the_same_seed_draws_the_same_numbers(site, decide, tmp_path):
    write_input(site)
    draws = []
    for _ in range(2):
        scan = Scan(site, decide)
        scan.step(1)
        draws.append(scan.input.random_u.copy())
    assert np.array_equal(draws[0], draws[1])


def test_a_release_lifts_an_override_and_an_order_for_nobody_is_counted(site, decide):
    write_input(site)
    scan = Scan(site, decide)
    box = Mailbox.attach(site.store(stores.ORDERS))
    box.post("override", 0, 6.0)
    scan.step(1)
    box.post("release", 0)
    box.post("override", 99, 6.0)
    scan.step(2)
    scan.publish_timing()
    assert np.isinf(scan.input.override_a).all()
    assert read_timing(site.store(TIMING)).record["orders_refused"] == 1


def test_what_the_scan_kept_is_decided_again_with_the_same_bits(site, decide):
    write_input(site)
    scan = Scan(site, decide)
    writer = LedgerWriter(Path(site.run_dir), site.image_dims(), site.load_plan())
    taker = ring.Ring.attach(site.store(ring.NAME))
    for number in range(1300):
        scan.step(number * 100_000_000)
        if number % 50 == 0:
            ledger.drain(taker, writer, site.image_dims())
    ledger.drain(taker, writer, site.image_dims())
    writer.close()
    result = replay(Path(site.run_dir), decide)
    assert (result.scans, result.identical, result.gaps) == (1300, True, 0)


SCAN = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from foreseeable import allow_override
from controller.runtime import scan
scan.law_decide = lambda: allow_override
sys.exit(scan.main(Path(sys.argv[1])))
"""


@pytest.fixture
def fast_site(site, tmp_path):
    faster = site.model_copy(update={"period_s": 0.01})
    (tmp_path / "site.json").write_text(faster.model_dump_json())
    stores.prepare(faster)
    return faster


def test_scan_and_ledger_processes_end_on_sigterm_with_everything_kept(fast_site, tmp_path, decide):
    path = str(tmp_path / "site.json")
    scan = subprocess.Popen([sys.executable, "-c", SCAN, path], stderr=subprocess.PIPE)
    keeper = subprocess.Popen([sys.executable, "-m", "controller.runtime.ledger", path], stderr=subprocess.PIPE)
    try:
        BookImage(fast_site).publish(1)
        write_input(fast_site, now_ns=time.monotonic_ns())
        output = stores.attach(fast_site, "output.img")
        wait_for(lambda: output.sequence > 40 or scan.poll() is not None)
        scan.send_signal(signal.SIGINT)
        was = output.sequence
        wait_for(lambda: output.sequence > was + 5 or scan.poll() is not None)
        scan.terminate()
        assert scan.wait(60) == 0, scan.stderr.read()
        keeper.terminate()
        assert keeper.wait(60) == 0, keeper.stderr.read()
    finally:
        for child in (scan, keeper):
            child.kill()
            child.wait()
            child.stderr.close()
    result = replay(Path(fast_site.run_dir), decide)
    figures = write_timing(fast_site)
    assert result.identical
    assert result.scans == figures["scans"] == output.sequence
    assert figures["wake"]["count"] == figures["busy"]["count"] == figures["scans"]
    assert set(figures["realtime"]) == {"sched_fifo", "mlockall", "timer_slack", "cpu"}
    assert all(text.startswith(("yes", "no: ")) for text in figures["realtime"].values())
    kinds = [event["kind"] for event in read_events(Path(fast_site.run_dir) / "events.jsonl")]
    assert kinds[0] == "scan_warm"
    assert kinds[-1] == "scan_ended"


def test_a_law_that_fails_ends_the_process_and_its_heartbeat(fast_site, tmp_path):
    code = SCAN.replace("lambda: allow_override", "lambda: (lambda i, p, s, o: 1 / int(i.scan[0] < 3))")
    BookImage(fast_site).publish(1)
    write_input(fast_site)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "site.json")], capture_output=True, timeout=60)
    assert done.returncode == 1
    assert b"ZeroDivisionError" in done.stderr
    assert stores.attach(fast_site, "output.img").sequence == 3
