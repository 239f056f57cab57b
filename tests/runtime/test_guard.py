"""The guard: silent until it trips, then everything off in order with read-backs, whatever one of them answers."""

import math
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace

import pytest
from foreseeable import wait_for

from controller.runtime import guard, guarding
from controller.runtime.events import Events, read_events
from controller.runtime.guard import Limits, trip_cause
from controller.runtime.guard_lines import ATTEMPTS, Estop, GuardError, Line, Target, make_safe
from controller.runtime.guarding import guards_of, require_guards
from controller.runtime.process import PARENT_ENV
from controller.runtime.site import BenchPort, EstopPort, InstrumentPort
from instruments import catalog
from instruments.faults import FaultKind, PortFault


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

    def target(self, name="source", **options):
        return Target(name, "127.0.0.1", self.listener.getsockname()[1], STEPS, timeout_s=2.0, **options)

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
        self.thread.join(30.0)


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
    wait_for(lambda: len(box.heard) == 5)  # the last message has no answer to wait for
    assert box.heard == ["OUTP OFF", "OUTP?", "VOLT:AC 0", "VOLT:AC?", "SYST:LOC"]
    (event,) = read_events(tmp_path / "e.jsonl")
    assert (event["kind"], event["device"], event["answers"]) == ("safe_off", "source", ["OUTP? 0", "VOLT:AC? 0.00"])


def test_a_wrong_answer_is_told_but_the_later_steps_are_still_sent_and_then_all_again(instrument):
    box = instrument(answers={"OUTP?": "1", "VOLT:AC?": "0"})
    line = Line(box.target())
    with pytest.raises(GuardError, match=r"source: 'OUTP OFF': OUTP\? answers '1', expected 0\|OFF"):
        line.safe_off()
    line.close()
    wait_for(lambda: len(box.heard) == 5 * ATTEMPTS)  # the last message has no answer to wait for
    assert box.heard == ["OUTP OFF", "OUTP?", "VOLT:AC 0", "VOLT:AC?", "SYST:LOC"] * ATTEMPTS


def test_one_that_obeys_late_is_confirmed_when_it_is_told_again(instrument):
    box = instrument(answers={"OUTP?": "1", "VOLT:AC?": "0"})
    line = Line(box.target())
    with pytest.raises(GuardError):
        line.safe_off(attempts=1)
    box.answers["OUTP?"] = "0"
    assert line.safe_off() == ["OUTP? 0", "VOLT:AC? 0"]
    line.close()


def test_a_second_client_is_proven_by_its_answer_and_refused_where_another_device_gives_it(instrument):
    box = instrument(answers={"*IDN?": "ACME,7,1,1"})
    line = Line(box.target(identity="ACME,.*"))
    line.prove()
    assert box.heard == ["*IDN?"]
    line.close()
    with pytest.raises(GuardError, match=r"source: answers 'ACME,7,1,1' to \*IDN\?, expected OTHER"):
        Line(box.target(identity="OTHER,.*")).prove()


class Slow(dict):
    """Answers that take a while."""

    def __getitem__(self, message):
        time.sleep(0.3)
        return super().__getitem__(message)


def test_one_that_has_just_woken_is_proven_with_patience_and_switched_off_without(instrument):
    box = instrument(answers=Slow({"*IDN?": "ACME,7,1,1", "OUTP?": "0", "VOLT:AC?": "0"}))
    line = Line(replace(box.target(identity="ACME,.*"), timeout_s=0.1, prove_s=20.0))
    line.prove()
    with pytest.raises(TimeoutError):
        line.safe_off(attempts=1)
    line.close()


def test_nothing_is_sent_to_one_whose_watchdog_it_would_feed(instrument):
    box = instrument(answers={"OUTP?": "0", "VOLT:AC?": "0"})
    line = Line(box.target(identity="ACME,.*", silent=True, holds=False))
    line.prove()
    assert line._socket is None  # a device that closes idle connections is reached anew at the trip
    assert box.heard == []
    assert line.safe_off() == ["OUTP? 0", "VOLT:AC? 0"]
    line.close()


class Chain:
    """Stand for the emergency-stop relay; `fails` says how often it does before it opens."""

    name = "chain"

    def __init__(self, fails=0):
        self.fails = fails
        self.asked = []

    def make_safe(self, *names):
        self.asked.append(names)
        if len(self.asked) <= self.fails:
            raise PortFault(FaultKind.READBACK, self.name, "estop", "switched off, its coil reads on")

    def close(self):
        pass


@pytest.fixture
def nobody():
    """Return the target of an instrument that is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        yield Target("load", "127.0.0.1", taken.getsockname()[1], STEPS, timeout_s=0.2)


def test_the_relay_takes_the_supply_from_one_that_cannot_be_told(nobody, instrument, tmp_path):
    box, chain = instrument(), Chain(fails=1)
    here = Line(box.target())
    assert make_safe([Line(nobody), here], Events(tmp_path / "e.jsonl", "guard"), "test", Estop(chain, "estop"))
    here.close()
    assert chain.asked == [("estop",)] * 2
    kinds = [(event["kind"], event["device"]) for event in read_events(tmp_path / "e.jsonl")]
    assert kinds == [("safe_off", "source"), ("estop_open", "chain"), ("safe_off_by_supply", "load")]


def test_a_relay_that_does_not_open_leaves_only_the_words(nobody, tmp_path, capsys):
    chain = Chain(fails=99)
    assert not make_safe([Line(nobody)], Events(tmp_path / "e.jsonl", "guard"), "test", Estop(chain, "estop"))
    assert len(chain.asked) == ATTEMPTS
    kinds = [event["kind"] for event in read_events(tmp_path / "e.jsonl")]
    assert kinds == ["estop_failed", "safe_off_failed"]
    assert "load: not confirmed off: [Errno 111] Connection refused; cut its supply" in capsys.readouterr().err


def test_a_lost_line_is_opened_anew(instrument):
    box = instrument(drop_first=True)
    line = Line(box.target())
    line.open()
    assert line.safe_off() == ["OUTP? 0", "VOLT:AC? 0.00"]
    line.close()


def test_one_that_is_gone_does_not_keep_the_next_from_being_switched_off(nobody, instrument, tmp_path, capsys):
    box = instrument()
    gone, here = Line(nobody), Line(box.target())
    assert not make_safe([gone, here], Events(tmp_path / "e.jsonl", "guard"), "test")
    here.close()
    assert "OUTP OFF" in box.heard
    assert [event["kind"] for event in read_events(tmp_path / "e.jsonl")] == ["safe_off", "safe_off_failed"]
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
from controller.runtime import guard, guarding
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
        parent.wait(60)
    wait_for(lambda: any(event["kind"] == "safe_off" for event in read_events(log)))
    assert box.heard == ["OUTP OFF", "OUTP?"]
    kinds = [event["kind"] for event in read_events(log)]
    assert kinds == ["guard_trip", "safe_off"]


class Card(Chain):
    """Stand for the relay card of a site; `deaf` closes its relay and is not heard to have done so."""

    deaf = False
    closed = False

    def __init__(self, *_arguments, **_options):
        super().__init__()
        Card.last = self

    def open(self):
        return "card"

    def write(self, coil, on):
        self.closed = on
        if self.deaf and on:
            raise PortFault(FaultKind.READBACK, self.name, coil, "switched on, its mirror contact reads off")

    def hurry(self):
        pass

    def make_safe(self, *names):
        self.closed = False


@pytest.fixture
def with_card(site, monkeypatch):
    """Let the guard stand over a site whose only guard is a relay, in this process."""
    made = with_bench(site, estop=CHAIN)
    for name, stand_in in {"ModbusRelay": Card, "read_site": lambda path: made, "targets": lambda site: []}.items():
        monkeypatch.setattr(guard, name, stand_in)
    for name in ("ignore_sigint", "on_sigterm"):
        monkeypatch.setattr(guard, name, lambda *_arguments: None)
    return made


def test_a_chain_that_is_not_read_back_as_closed_is_opened_again(with_card, tmp_path, monkeypatch):
    monkeypatch.setattr(Card, "deaf", True)
    assert guard.main(tmp_path / "site.json") == 3
    assert not Card.last.closed
    assert [event["kind"] for event in read_events(tmp_path / "run" / "events.jsonl")] == ["fault", "estop_open"]


def test_a_guard_that_fails_itself_opens_the_chain_before_it_ends(with_card, tmp_path, monkeypatch):
    def fail(*_arguments):
        assert Card.last.closed
        raise ZeroDivisionError

    monkeypatch.setattr(guard, "watch", fail)
    with pytest.raises(ZeroDivisionError):
        guard.main(tmp_path / "site.json")
    assert not Card.last.closed
    assert [event["kind"] for event in read_events(tmp_path / "run" / "events.jsonl")] == ["guard_trip", "estop_open"]


def test_a_planned_stop_gives_the_bench_time_to_end_in_order(site):
    usual, stopping = guard.limits(site, stopping=False), guard.limits(site, stopping=True)
    assert usual.bench_s == 1.0
    assert stopping.bench_s == guard.STOPPING_S > usual.bench_s
    assert stopping.scan_s == usual.scan_s


def test_without_a_bench_there_is_nothing_to_guard(site):
    assert guard.targets(site) == []
    assert guards_of(site) == []


SOCKET = "TCPIP::127.0.0.1::1::SOCKET"
CHAIN = EstopPort(name="chain", model="relay-card", address="modbus+tcp://127.0.0.1:1", coil="estop")


def with_bench(site, source="chroma-61500", address=SOCKET, estop=None):
    """Return the site with a bench around its first charger."""
    bench = BenchPort(
        charger=0,
        source=InstrumentPort(name="grid", model=source, role="ac_source", address=address, hard_max_a=40.0),
        load=InstrumentPort(name="car", model="itech-it8600", role="ac_load", address=SOCKET, hard_max_a=35.0),
        adapter=InstrumentPort(name="pilot", model="cp-adapter", role="ev_adapter", address="modbus+tcp://h:1"),
        estop=estop,
        car_max_a=32.0,
    )
    return site.model_copy(update={"bench": bench})


@pytest.fixture
def model_of(monkeypatch):
    """Return a function that makes up a family out of the Chroma source: its clients and its watchdog."""
    real = catalog.load_model

    def make(max_clients=4, **dog):
        model = real("chroma-61500")
        scpi = model.scpi
        ways = [way.model_copy(update={"max_clients": max_clients}) for way in scpi.transports]
        part = scpi.model_copy(update={"transports": ways, "watchdog": scpi.watchdog.model_copy(update=dog)})
        made = model.model_copy(update={"scpi": part})
        for module in (guard, guarding):
            monkeypatch.setattr(module, "load_model", lambda name: made if name == "made-up" else real(name))
        return "made-up"

    return make


DOG = {"kind": "any_io", "on_expiry": "output_off", "verified": "V", "on_expiry_verified": "V"}


@pytest.mark.parametrize(
    ("clients", "dog", "estop", "text"),
    [
        (2, {}, None, "a second client for the guard"),
        (1, DOG, None, "its own watchdog"),
        (1, {}, CHAIN, "relay chain:estop takes its supply"),
        (2, DOG, CHAIN, "its own watchdog; a second client for the guard; relay chain:estop takes its supply"),
    ],
)
def test_each_of_three_means_holds_an_energising_instrument(site, model_of, clients, dog, estop, text):
    found = require_guards(with_bench(site, model_of(clients, **dog), estop=estop))
    assert [(guards.name, guards.energises) for guards in found] == [("grid", True), ("car", False)]
    assert found[0].text == text


@pytest.mark.parametrize(
    ("dog", "why"),
    [
        ({}, "made-up has no watchdog"),
        (DOG | {"verified": "R"}, r"the watchdog of made-up is not verified \(marked R, expiry V: output_off\)"),
        (DOG | {"on_expiry": "flag"}, r"the watchdog of made-up is not verified \(marked V, expiry V: flag\)"),
    ],
)
def test_an_instrument_that_nothing_holds_is_refused_by_name_with_all_that_is_missing(site, model_of, dog, why):
    with pytest.raises(PortFault, match=f"grid:guard: interlock: .*{why}, it takes 1 client.*has no estop") as refused:
        require_guards(with_bench(site, model_of(1, **dog)))
    assert refused.value.kind is FaultKind.INTERLOCK
    assert "[safety.estop]" in refused.value.hint


def test_an_address_that_the_guard_cannot_open_is_no_second_client(site):
    with pytest.raises(PortFault, match=r"the guard cannot open TCPIP::127\.0\.0\.1::hislip0::INSTR"):
        require_guards(with_bench(site, address="TCPIP::127.0.0.1::hislip0::INSTR"))


def test_a_watchdog_that_any_message_feeds_makes_the_guard_silent(site, model_of):
    quiet, load = guard.targets(with_bench(site, model_of(4, **DOG)))
    assert quiet.silent and quiet.holds and quiet.watchdog_s > 0.0
    assert not load.silent
