"""What hands limits in, as it is: a process with sockets and files; killed, restarted, forged, in shadow."""

import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from foreseeable import wait_for

from controller.desk.rows import alarm_names
from controller.law import image
from controller.runtime import handed_image
from controller.runtime.control_room_view import CLOCK_SET, UNKEPT, alarms
from controller.runtime.envelope import OVER_S, Envelopes
from controller.runtime.envelope_file import EnvelopeError, Interval, Schedule, parse_schedule, read_schedule
from controller.runtime.events import Events
from controller.runtime.handed import EnvelopeSource
from controller.runtime.handed_guards import Guard
from controller.runtime.handed_image import HandedImage
from controller.runtime.handed_keys import DimmedContract, DimPort, EnvelopePort, GuardPort, HandedPort
from controller.runtime.journal import read_entries, verify
from controller.runtime.order import Answer, Order
from controller.runtime.order_image import BookImage
from controller.runtime.order_keys import load_key
from controller.runtime.orders import in_shadow
from controller.runtime.window import Window
from profiles.contract import load_contract

INF = math.inf
BEAT = {"type": "heartbeat"}
LIMIT = {"type": "write", "use_case": "lpc", "what": "limit", "value_w": 6000.0, "active": True, "duration_s": None}
DOE = load_contract("operating_envelope")
PAR14A = DimmedContract(contract=load_contract("par14a"), zone="Europe/Berlin", chargers=[0, 1])


def with_handed(site, tmp_path, **more):
    """Return the site with a guard at its head, dimming of group 0 and an envelope of its transformer."""
    given = HandedPort(
        guards=[GuardPort(node=1, socket="g.sock", contracts=[load_contract("lpc_guard")])],
        envelopes=[EnvelopePort(file=str(tmp_path / "e.csv"), nodes=[0], contract=DOE)],
        dim=DimPort(socket="d.sock", groups={0: 4200.0}, contracts=[PAR14A]),
    )
    made = site.model_copy(update={"handed": given} | more)
    (tmp_path / "site.json").write_text(made.model_dump_json())
    if not made.store(handed_image.NAME).exists():
        handed_image.create(made)
    return made


@contextmanager
def running(site, tmp_path):
    child = subprocess.Popen([sys.executable, "-m", "controller.runtime.handed", str(tmp_path / "site.json")],
                             stderr=subprocess.PIPE)  # fmt: skip
    try:
        wait_for(lambda: site.socket("d.sock").exists() or child.poll() is not None)
        assert child.poll() is None, child.stderr.read().decode()
        yield child
    finally:
        child.kill()
        child.communicate()
        for name in ("g.sock", "d.sock"):
            site.socket(name).unlink(missing_ok=True)


def latched(site):
    inp = image.allocate("input", site.image_dims())[1]
    HandedImage(site).latch(inp)
    return inp


async def connected(path: Path):
    """Connect to a local socket; its file is there a moment before anybody listens at it."""
    async with asyncio.timeout(30.0):
        while True:
            try:
                return await asyncio.open_unix_connection(path)
            except ConnectionRefusedError:
                await asyncio.sleep(0.005)


def say(path: Path, *messages):
    """Return the results of some messages on a local socket, one after the other, and what INPUT held at each."""

    async def talk():
        reader, writer = await connected(path)
        found = []
        for message in messages:
            writer.write(json.dumps(message).encode() + b"\n")
            while message["type"] != "heartbeat":
                answer = json.loads(await asyncio.wait_for(reader.readline(), 30.0))
                if answer["type"] == "result":
                    found.append(answer)
                    break
        writer.close()
        return found

    return asyncio.run(talk())


def test_dimming_on_a_full_disk_holds_is_not_acknowledged_and_outlives_the_process(site, tmp_path):
    site, dim = with_handed(site, tmp_path), {"type": "dim", "active": True}
    with running(site, tmp_path) as child:
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        (answer,) = say(site.socket("d.sock"), dim)
        assert not answer["ack"] and "cannot be kept" in answer["why"]
        (nobody,) = say(site.socket("g.sock"), LIMIT | {"value_w": -1.0})  # its event has no room either
        assert not nobody["ack"]
        assert latched(site).group_w[0] == 4200.0
    with running(site, tmp_path) as child:
        assert latched(site).group_w[0] == 4200.0
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        for lifting in (dim | {"active": False}, dim | {"for_s": 0.1}):
            (answer,) = say(site.socket("d.sock"), lifting)
            assert not answer["ack"] and "not lifted" in answer["why"]
        assert latched(site).group_w[0] == 4200.0
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert say(site.socket("d.sock"), dim | {"active": False})[0]["ack"]
        assert latched(site).group_w[0] == INF


def test_a_guard_limits_a_running_site_and_a_restart_of_the_process_does_not_lift(site, tmp_path):
    site = with_handed(site, tmp_path)
    with running(site, tmp_path):
        assert os.stat(site.socket("g.sock")).st_mode & 0o777 == 0o600
        assert latched(site).doe_w.tolist() == [INF, 40_000.0]  # Init
        odd = [LIMIT | {"value_w": -1.0}, LIMIT | {"value_w": 10**400}, LIMIT | {"use_case": ["lpc"]}]
        early, good, *bad = say(site.socket("g.sock"), LIMIT, BEAT, LIMIT, *odd)
        assert [each["ack"] for each in (early, good, *bad)] == [False, True, False, False, False]
        assert latched(site).doe_w[1] == 6000.0
        assert say(site.socket("d.sock"), {"type": "dim", "active": True})[0]["ack"]
        for wrong in ({"active": 1}, {"active": True, "for_s": 10**400}, {"active": True, "for_s": INF}):
            assert not say(site.socket("d.sock"), {"type": "dim"} | wrong)[0]["ack"]
        assert latched(site).group_w[0] == 4200.0
    site.store(handed_image.NAME).unlink()
    site = with_handed(site, tmp_path)  # a controller that is started again
    with running(site, tmp_path):
        inp = latched(site)
        assert inp.doe_w[1] == 40_000.0
        assert inp.group_w[0] == 4200.0  # dimmed still: the journal says so
        assert abs(time.monotonic_ns() - int(inp.doe_ns[1])) < 5e9
        assert say(site.socket("d.sock"), {"type": "dim", "active": False})[0]["ack"]
        assert latched(site).group_w[0] == INF
    kept = [(e.kind, e.source, (e.body or {}).get("rule")) for e in read_entries(site.journal())]
    account = [e.body for e in read_entries(site.journal()) if (e.kind, e.subject) == ("account", "par14a")][-1]
    assert account["calls"] == 1 and 0.0 < account["hours_of_day"] < 0.2  # one dimming, through the restart
    assert ("accepted", "lpc", "") in kept
    assert ("decided", "lpc", "904") in kept
    assert sum(kind == "refused" for kind, _, _ in kept) == 4
    steps = [(e.body["limit_w"]) for e in read_entries(site.journal()) if e.source == "lpc" and e.kind != "refused"]
    assert steps == [40e3, 6e3, 6e3, 40e3]  # Init, write and transition, Init anew: what the evidence reckons with
    assert verify(site.journal())[1] == []


def test_a_shadow_decides_journals_and_acknowledges_nothing(site, tmp_path):
    site = with_handed(site, tmp_path, shadow=True)
    with running(site, tmp_path):
        (answer,) = say(site.socket("g.sock"), BEAT, LIMIT)
        assert not answer["ack"]
        assert "shadow" in answer["why"]
        assert latched(site).doe_w[1] == 6000.0
    assert [e.source for e in read_entries(site.journal()) if e.kind == "refused"] == ["lpc"]


def test_an_envelope_file_holds_is_replaced_and_a_broken_one_moves_nothing(site, tmp_path):
    site = with_handed(site, tmp_path)
    now_s = time.monotonic() + site.utc_minus_mono_ns / 1e9
    path = tmp_path / "e.csv"

    def put(text):
        (tmp_path / "new").write_text("node,from,to,import_w,export_w\n" + text)
        (tmp_path / "new").rename(path)

    def row(watts):
        stamps = [f"{np.datetime64(round(now_s) + k, 's')}Z" for k in (-600, 600)]
        return f"transformer,{stamps[0]},{stamps[1]},{watts},\n"

    with running(site, tmp_path):
        assert latched(site).doe_ns[0] == 0  # none came: the law keeps the subscribed capacity
        put(row(7000))
        wait_for(lambda: latched(site).doe_w[0] == 7000.0)
        put(row(-5))
        wait_for(lambda: "allowed is a number from 0" in Path(site.run_dir, "events.jsonl").read_text())
        assert latched(site).doe_w[0] == 7000.0
        put("")
        wait_for(lambda: latched(site).doe_to_s[0] == OVER_S)
        assert latched(site).doe_w[0] == 11_000.0


def test_limits_that_are_obeyed_and_not_kept_are_counted_for_an_alarm(site):
    book = BookImage(site)
    book.record["book_w"], book.record["book_no"] = [INF, 5e3], [0, 7]
    book.record["book_export_w"] = INF
    book.publish(1)
    window = Window(site)
    assert window.unkept() == 0
    book.record["book_no"] = 0
    book.publish(2)
    assert window.unkept() == 1
    assert UNKEPT in alarms(window, 0)
    assert "order unkept" in alarm_names(window) and CLOCK_SET not in alarms(window, 0)
    book.record["clock_off_s"] = -3600.0  # the machine's clock was set back
    book.publish(3)
    assert "set by -3600 s" in alarms(window, 0)[CLOCK_SET]
    assert "clock set" in alarm_names(window)


def test_orders_in_shadow_are_not_acknowledged_but_to_the_links_that_tell_by_themselves():
    given = {source: Order(source, "a", 1, "cap", "head", value_w=1.0) for source in ("dso", "s2")}
    found = {source: in_shadow(order, Answer(True, obeyed=True)) for source, order in given.items()}
    assert (found["dso"].accepted, found["dso"].obeyed, found["s2"].accepted) == (False, False, True)
    assert in_shadow(given["dso"], Answer(False, "no such node")).why == "no such node"


def test_a_signature_that_comes_after_its_file_is_seen(site, tmp_path):
    private, path, pem = Ed25519PrivateKey.generate(), tmp_path / "e.json", tmp_path / "dso.pem"
    pem.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    source = EnvelopeSource(site, EnvelopePort(file=str(path), key=str(pem), nodes=[0], contract=DOE),
                            Events(tmp_path / "events.jsonl", "test"))  # fmt: skip
    assert source.look(1, 0.0) is None  # no file yet
    data = b'{"issued": "2026-01-01T00:00:00Z", "intervals": []}'
    path.write_bytes(data)
    assert source.look(2, 0.0) is None
    (tmp_path / "e.json.sig").write_text(private.sign(data).hex())
    assert source.look(3, 0.0) is not None
    assert source.look(4, 0.0) is None  # read once


def test_what_a_guard_had_kept_stays_with_its_node_when_others_are_put_before_it(site, tmp_path):
    port = GuardPort(node=1, socket="g.sock", contracts=[load_contract("lpc_guard")])
    events = Events(tmp_path / "events.jsonl", "test")

    def guard(site, port):
        return Guard(site, port, events, lambda *_, **__: None, lambda: None).system

    first = guard(site, port)
    first.take(BEAT, time.monotonic_ns())
    first.take(LIMIT, time.monotonic_ns())
    assert first.take(LIMIT | {"what": "failsafe_limit", "value_w": 7e3}, time.monotonic_ns())["ack"]
    moved = site.model_copy(update={"node_names": ["new", *site.node_names]})
    assert guard(moved, port.model_copy(update={"node": 2})).limit_w("lpc") == 7e3
    assert guard(moved, port).limit_w("lpc") == 40e3


def held(intervals, lead_s=5.0):
    made = Envelopes(DOE, {"head": 1}, [0.0, lead_s])
    made.take(Schedule(tuple(intervals)), 1000)
    return made


def test_a_lower_limit_holds_early_and_a_higher_one_not_before_its_time():
    made = held([Interval("head", 0, 100, 9e3, INF), Interval("head", 100, 200, 4e3, 500.0),
                 Interval("head", 200, 300, 20e3, INF)])  # fmt: skip
    found = {t_s: made.piece(1, t_s)[:3] for t_s in (50.0, 96.0, 100.0, 199.0, 200.0, 296.0, 300.0)}
    assert found[50.0] == (9e3, INF, 100)
    assert found[96.0] == (4e3, 500.0, 100)
    assert found[100.0] == found[199.0] == (4e3, 500.0, 200)
    assert found[200.0] == (20e3, INF, 300)
    assert found[296.0] == (11e3, 1500.0, 300)  # nothing behind it: the subscribed capacity, early
    assert found[300.0] == (11e3, 1500.0, OVER_S)


def test_each_piece_has_a_stamp_of_its_own_and_age_counts_from_the_file():
    made = held([Interval("head", 0, 100, 9e3, INF), Interval("head", 100, 200, 8e3, INF)], lead_s=0.0)
    first, second = made.piece(1, 50.0), made.piece(1, 150.0)
    assert (first.renewed_ns, second.renewed_ns) == (1000, 1001)
    assert made.in_force(1, 150.0, 1001) == (8e3, INF)
    assert made.in_force(1, 150.0, 2000 + round(900e9)) == (8e3, 1500.0)  # lost: the lower of both
    assert made.in_force(1, 201.0, 1001) == (11e3, 1500.0)
    assert held([]).piece(1, 0.0)[:2] == (11e3, 1500.0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{", "not a schedule"),
        (b"[]", "not a schedule"),
        (b'{"intervals": [{"node": "a", "from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00Z"}]}', "no zone"),
        (b'{"intervals": [{"node": "a", "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}]}', "end after"),
        (b'{"intervals": [{"node": "a"}]}', "interval 0: its keys"),
        (b'{"intervals": [], "key": 1}', "unknown keys key"),
    ],
)
def test_what_is_no_schedule_is_refused_by_its_place(data, says):
    with pytest.raises(EnvelopeError, match=says):
        parse_schedule(data, "e.json", as_csv=False)


def test_a_signed_schedule_must_be_of_its_key_and_dated(tmp_path):
    private, path, pem = Ed25519PrivateKey.generate(), tmp_path / "e.json", tmp_path / "dso.pem"
    pem.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    key = load_key(pem)

    def put(data, signature=None):
        path.write_bytes(data)
        (tmp_path / "e.json.sig").write_text(signature or private.sign(data).hex())

    put(b'{"issued": "2026-01-01T00:00:00Z", "intervals": []}')
    assert read_schedule(path, key)[0].issued_s == 1767225600.0
    put(b'{"intervals": []}')
    with pytest.raises(EnvelopeError, match="issued is missing"):
        read_schedule(path, key)
    for forged in ("00" * 64, "no hex", "é"):
        put(b'{"issued": "2026-01-01T00:00:00Z", "intervals": []}', forged)
        with pytest.raises(EnvelopeError, match="signature"):
            read_schedule(path, key)
