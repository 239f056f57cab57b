"""The orders process as it is: killed, restarted, with a full disk; and the command line that sends to it."""

import json
import math
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from foreseeable import wait_for

from controller.law import image
from controller.runtime import stores
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import read_events
from controller.runtime.journal import read_entries, verify
from controller.runtime.journal_orders import lives
from controller.runtime.order import Answer, Order
from controller.runtime.order_image import BookImage
from controller.runtime.order_intake import ANSWERS, OFFERS, Intake, IntakeError
from controller.runtime.site import Site
from hil import cli
from hil.runs.ordering_schedule import read_schedule

CAP = Order("dso", "a", 1, "cap", "head", value_w=52_000.0)
FULL_BYTES = 96 << 10


@contextmanager
def orders_process(site: Site, path: Path, file_bytes: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run the process until the context ends (then it is killed); `file_bytes` is the room it has for a file."""
    Path(site.run_dir, "site.json").write_text(site.model_dump_json())
    path.write_text(site.model_dump_json())
    child = subprocess.Popen([sys.executable, "-m", "controller.runtime.orders", str(path)], stderr=subprocess.PIPE)
    if file_bytes is not None:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
    try:
        image_ = BookImage(site)
        wait_for(lambda: image_.written or child.poll() is not None)
        assert child.poll() is None, child.stderr and child.stderr.read().decode()
        yield child
    finally:
        child.kill()
        child.communicate()


def latched(site: Site) -> object:
    """Return INPUT views as the scan would latch them now."""
    inp = image.allocate("input", site.image_dims())[1]
    BookImage(site).latch(inp)
    return inp


def test_nothing_acknowledged_is_lost_by_a_kill_and_a_restart_lifts_nothing(site, tmp_path):
    acknowledged: dict[str, float] = {}
    with orders_process(site, tmp_path / "site.json") as child:
        intake = Intake(site)
        tickets = {intake.post(replace(CAP, order_id=f"o{k}", value_w=90_000.0 - 1_000.0 * k)): k for k in range(60)}
        wait_for(lambda: len(list(site.store(ANSWERS).glob("[!.]*"))) >= 12)  # one with a dot is being written
        child.kill()
        child.wait()
        for ticket, k in tickets.items():
            answer = intake.answer(ticket)
            if answer is not None and answer.accepted:
                acknowledged[f"o{k}"] = 90_000.0 - 1_000.0 * k
        intake.close()
    assert 12 <= len(acknowledged) <= 60
    kept = {life.order_id: life.value_w for life in lives(read_entries(site.journal()))}
    assert acknowledged.items() <= kept.items()
    assert verify(site.journal())[1] == []
    stores.prepare(site)  # all shared files anew, as a controller that is started again makes them
    with orders_process(site, tmp_path / "site.json"):
        assert latched(site).book_w[1] == min(kept.values()) <= min(acknowledged.values())
        intake = Intake(site)
        again = intake.offer(replace(CAP, order_id="o0", value_w=90_000.0))  # as one does who had no answer
        assert again == Answer(True, obeyed=True)
        late = intake.offer(replace(CAP, order_id="o0", sequence=0, value_w=99_000.0))
        assert "sequence 0 came after 1" in late.why
        intake.close()
        assert latched(site).book_w[1] == min(kept.values())


def test_what_is_no_order_is_refused_and_ends_nobody(site, tmp_path):
    nonsense = [b"[" * 8000, b"[]", b"null", b'{"order": null}', b'{"order": ["kind"]}', b" " * (1 << 20)]
    with orders_process(site, tmp_path / "site.json") as child:
        intake = Intake(site)
        for k, data in enumerate(nonsense):
            (site.store(OFFERS) / f"0{k}").write_bytes(data)
        assert "can be printed" in intake.offer(replace(CAP, order_id="a\ud800")).why
        assert intake.offer(CAP).accepted
        assert child.poll() is None
        intake.close()
    assert sorted(path.name for path in site.store(ANSWERS).iterdir()) == [f"0{k}" for k in range(len(nonsense))]
    assert verify(site.journal())[1] == []


def test_a_full_disk_lowers_and_acknowledges_nothing_until_there_is_room(site, tmp_path):
    with orders_process(site, tmp_path / "site.json", FULL_BYTES) as child:
        intake, number, answer = Intake(site), 0, Answer(True)
        while answer.accepted and number < 100:  # until the disk is full
            number += 1
            answer = intake.offer(replace(CAP, sequence=number, value_w=90_000.0 - number))
        assert (answer.accepted, answer.obeyed) == (False, True), answer
        assert "cannot be kept" in answer.why
        lowest = replace(CAP, sequence=number + 1, value_w=10_000.0)
        assert intake.offer(lowest).obeyed
        assert latched(site).book_w[1] == 10_000.0
        for raising in (replace(CAP, sequence=number + 2, value_w=95_000.0), Order("dso", "a", number + 3, "withdraw")):
            answer = intake.offer(raising)
            assert (answer.accepted, answer.obeyed) == (False, False)
        assert latched(site).book_w[1] == 10_000.0
        assert BookImage(site).store.sequence > 0
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert intake.offer(lowest) == Answer(True, obeyed=True)  # the same again: kept now
        assert child.poll() is None
        intake.close()
    assert verify(site.journal())[1] == []
    assert lives(read_entries(site.journal()))[-1].value_w == 10_000.0


def test_what_was_obeyed_and_not_kept_outlives_the_process_within_its_run(site, tmp_path):
    with orders_process(site, tmp_path / "site.json", FULL_BYTES) as child:
        intake, number, answer = Intake(site), 0, Answer(True)
        while answer.accepted and number < 100:
            number += 1
            answer = intake.offer(replace(CAP, sequence=number, value_w=90_000.0 - number))
        assert answer.obeyed
        assert abs(BookImage(site).now_clock_off_s()) < 1.0  # on a bench time is the scenario's
        child.kill()
    with orders_process(site.model_copy(update={"stage": "field"}), tmp_path / "site.json"):
        wait_for(lambda: abs(BookImage(site).now_clock_off_s()) > 3600.0)  # the site's clock is of 2023
        said = [event["text"] for event in read_events(Path(site.run_dir, EVENTS)) if event["kind"] == "fault"]
        assert len(said) == 1 and "windows and orders go by the clock of the start" in said[0]
        assert not intake.offer(replace(CAP, subject="tail")).accepted  # it has begun
        assert latched(site).book_w[1] == 90_000.0 - number
        assert intake.offer(replace(CAP, source="operator", value_w=97_000.0)).accepted
        assert latched(site).book_w[1] == 90_000.0 - number  # only who sent it, or its time, lifts it
        assert intake.offer(replace(CAP, sequence=number + 1, value_w=95_000.0)).accepted
        assert latched(site).book_w[1] == 95_000.0
        intake.close()


def test_voltbench_order_and_journal_say_what_became_of_an_order(site, tmp_path, capsys):
    run, key = site.run_dir, tmp_path / "dso.key"
    key.write_text("hmac:" + "5a" * 32)
    keyed = site.model_copy(update={"order_sources": {"operator": "", "dso": str(key)}})

    def voltbench(*argv: str) -> tuple[int, str, str]:
        code = cli.main(list(argv))
        said = capsys.readouterr()
        return code, said.out, said.err

    with orders_process(keyed, tmp_path / "site.json"):
        code, out, _ = voltbench("order", run, "--node", "head", "--limit", "52kW", "--for", "1h", "--id", "x")
        assert (code, out) == (0, "x of operator: accepted\n")
        assert latched(site).book_w.tolist() == [math.inf, 52_000.0]
        code, out, _ = voltbench("order", run, "--node", "tail", "--limit", "1kW", "--json")
        assert (code, json.loads(out)["state"]) == (1, "refused")
        assert voltbench("order", run, "--limit", "1kW")[0] == 2
        signed = ("--source", "dso", "--node", "head", "--limit", "40kW", "--id", "y")
        assert "signature" in voltbench("order", run, *signed)[1]
        assert voltbench("order", run, *signed, "--key", str(key))[0] == 0
        assert voltbench("order", run, "--source", "mallory", "--withdraw", "y")[0] == 1
        assert latched(site).book_w[1] == 40_000.0
        assert voltbench("order", run, "--source", "dso", "--withdraw", "y", "--key", str(key))[0] == 0
        assert latched(site).book_w[1] == 52_000.0
        assert voltbench("order", run, "--charger", "cp1", "--setpoint=-3kW", "--for", "60s")[0] == 0
        assert latched(site).wish_w.tolist() == [math.inf, -3_000.0, math.inf]
        plan = tmp_path / "redispatch.csv"
        head = "place,what,value,from,until\n"
        gone = "head,limit,1kW,2020-01-01T00:00,2020-01-02T00:00"
        plan.write_text(f"{head}cp2,setpoint,2kW,,2099-01-01T00:00\nhead,limit,30kW,,\n{gone}\n")
        code, out, _ = voltbench("order", run, "--schedule", str(plan))
        assert (code, out.count("accepted")) == (0, 2)  # what is over is left out
        assert (latched(site).wish_w[2], latched(site).book_w[1]) == (2_000.0, 30_000.0)
        assert "nothing new; 2 rows" in voltbench("order", run, "--schedule", str(plan))[1]
        plan.write_text(f"{head}cp2,setpoint,-1.5kW,,2099-01-01T00:00\n")
        assert voltbench("order", run, "--schedule", str(plan))[0] == 0  # two rows are taken back
        assert (latched(site).wish_w[2], latched(site).book_w[1]) == (-1_500.0, 52_000.0)
    rows = json.loads(voltbench("journal", "show", run, "--json")[1])
    assert next((row["order_id"], row["state"]) for row in rows) == ("x", "accepted")
    assert {row["state"] for row in rows} == {"accepted", "refused", "withdrawn"}
    assert voltbench("journal", "verify", run)[0] == 0


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("cp9,setpoint,2kW,,", "place = 'cp9'"), ("cp1,limit,2kW,,", "place = 'cp1'"),
        ("head,cap,2kW,,", "what = 'cap'"), ("head,limit,2,,", "not a power"),
        ("head,limit,2kW,18:00,", "with their date"), ("", "0 rows"),
        ("head,limit,2kW,2026-01-01T02:00,2026-01-01T01:00", "is not after"),
    ],
)  # fmt: skip
def test_a_schedule_that_is_not_clear_is_refused_whole_with_its_row(site, tmp_path, row, why):
    file = tmp_path / "plan.csv"
    file.write_text(f"place,what,value,from,until\n{row}\n")
    with pytest.raises(ValueError, match=why):
        read_schedule(file, site, "plan", "operator", 1.7e9)


def test_who_is_not_answered_is_told_that_nothing_is_acknowledged(site):
    with pytest.raises(IntakeError, match="not acknowledged"):
        Intake(site).offer(CAP, timeout_s=0.05)
    shutil.rmtree(site.store(OFFERS))
    with pytest.raises(IntakeError, match="no controller takes orders"):
        Intake(site)
