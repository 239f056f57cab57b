"""A controllable system behind a transport: answers on a real socket, heartbeats, what is on the disk before an ACK."""

import asyncio
import json
import math

import numpy as np
import pytest

from controller.law import image, lpc
from controller.law.decide import decide
from controller.runtime.lpc_link import Listener, LocalSocket
from controller.runtime.lpc_system import ControllableSystem
from controller.runtime.plan import ChargerSpec, NodeSpec, SiteSpec, build_plan

S = 1_000_000_000
BEAT = {"type": "heartbeat"}
LPC, LPP = lpc.Settings(4200.0), lpc.Settings(1000.0, direction="export")


def write(value_w, use_case="lpc", active=True, **more):
    return {"type": "write", "use_case": use_case, "what": "limit", "value_w": value_w, "active": active} | more


def system(tmp_path=None, **settings):
    store = None if tmp_path is None else tmp_path / "failsafe.json"
    return ControllableSystem(0, settings or {"lpc": LPC, "lpp": LPP}, 0, store)


def test_one_heartbeat_serves_both_use_cases_and_each_has_its_limit():
    cs = system()
    cs.take(BEAT, S)
    assert cs.take(write(6000.0), 2 * S)["ack"]
    assert not cs.take(write(2000.0, "lpp"), 2 * S)["ack"]  # production is negative on the wire
    assert cs.take(write(-2000.0, "lpp"), 2 * S)["ack"]
    assert (cs.limit_w("lpc"), cs.limit_w("lpp")) == (6000.0, 2000.0)
    cs.advance(121 * S)
    assert (cs.limit_w("lpc"), cs.limit_w("lpp")) == (4200.0, 1000.0)
    assert [taken.transition.rule for taken in cs.taken] == ["904", "904", "912", "912"]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "write"},
        write("6000"),
        write(True),
        write(6000.0, active=1),
        write(6000.0, "lpx"),
        write(6000.0) | {"what": "everything"},
        {"type": "withdraw"},
    ],
)
def test_what_is_no_message_gets_a_nack_and_moves_nothing(message):
    cs = system()
    cs.take(BEAT, S)
    answer = cs.take(message, 2 * S)
    assert (answer["type"], answer["ack"]) == ("result", False)
    assert cs.state("lpc") is lpc.State.INIT


def test_failsafe_values_are_on_the_disk_before_they_are_acknowledged(tmp_path):
    cs = system(tmp_path)
    for message in (BEAT, write(6000.0), write(-1.0, "lpp")):
        cs.take(message, S)
    new = {"type": "write", "use_case": "lpc", "what": "failsafe_limit", "value_w": 1500.0}
    long = {"type": "write", "use_case": "lpp", "what": "failsafe_duration", "duration_s": 9000.0}
    assert cs.take(new, 2 * S)["ack"]
    assert cs.take(long, 2 * S)["ack"]
    again = system(tmp_path)
    assert again.limit_w("lpc") == 1500.0
    assert again.report()["use_cases"]["lpp"]["failsafe_min_s"] == 9000.0
    assert again.report()["use_cases"]["lpc"]["failsafe_min_s"] == 9000.0  # one value for both


def test_what_cannot_be_kept_is_not_taken(tmp_path):
    cs = ControllableSystem(0, {"lpc": LPC}, 0, tmp_path / "no" / "such" / "folder.json")
    cs.take(BEAT, S)
    cs.take(write(6000.0), S)
    answer = cs.take({"type": "write", "use_case": "lpc", "what": "failsafe_limit", "value_w": 9000.0}, S)
    assert (answer["ack"], answer["rule"]) == (False, "044")
    cs.advance(200 * S)
    assert cs.limit_w("lpc") == 4200.0


def test_a_broken_file_is_not_taken_for_none(tmp_path):
    (tmp_path / "failsafe.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        system(tmp_path)


def test_a_guard_that_says_nothing_is_late_after_a_minute():
    cs = system()
    assert not cs.guard_is_late(60 * S)
    assert cs.guard_is_late(61 * S)
    cs.take(BEAT, 61 * S)
    cs.take(write(6000.0), 62 * S)
    assert not cs.guard_is_late(900 * S)


def test_our_heartbeat_is_due_at_once_and_every_minute():
    cs = system()
    assert [at_s for at_s in range(0, 181) if cs.heartbeat_due(at_s * S)] == [0, 60, 120, 180]


@pytest.mark.parametrize("dies", [False, True])
def test_its_limit_binds_a_node_and_when_its_process_dies_the_failsafe_does(dies):
    node = NodeSpec("head", -1, 63.0, doe_max_age_s=5.0, subscribed_w=4600.0)
    charger = ChargerSpec("cp", 0, (0, -1, -1), 32.0, 1.0, 5.0, 0.0, 60.0, 0.001)
    dims, _, plan = build_plan(SiteSpec((node,), (charger,), min_off_s=0.0))
    inp, state, out = (image.allocate(table, dims)[1] for table in ("input", "state", "output"))
    cs = ControllableSystem(0, {"lpc": lpc.Settings(4600.0)}, S)
    drawn_a, allowed = 0.0, []
    for k in range(1, 900):
        now_ns = S + k * S // 10
        if k % 100 == 1 and not (dies and k > 300):
            cs.take(BEAT, now_ns)
        if k == 5:
            cs.take(write(0.0, active=False), now_ns)
        if not (dies and k > 300):
            cs.fill(inp, now_ns)
        inp.now_ns[0] = inp.utc_ns[0] = inp.charger_change_ns[0] = now_ns
        inp.charger_v[0, 0], inp.charger_a[0, 0], inp.charger_w[0] = 230.0, drawn_a, 230.0 * drawn_a
        inp.charger_state[0], inp.charger_quality[0], inp.charger_link[0] = 2, 0, 1
        inp.charger_limit_a[0] = drawn_a
        decide(inp, plan, state, out)
        drawn_a = float(out.allowed_a[0])
        allowed.append(drawn_a)
    assert allowed[2] <= 20.0
    assert allowed[290] == pytest.approx(32.0)
    assert allowed[-1] == pytest.approx(20.0 if dies else 32.0)
    assert np.isfinite(allowed).all()


async def talk(tmp_path, steps):
    """Serve a system on a real socket with a clock of the test; return what the guard heard after each step."""
    clock, cs = [S], system()
    listener = Listener(
        cs, LocalSocket(tmp_path / "guard.sock", lambda: cs.connect(clock[0])), clock_ns=lambda: clock[0]
    )
    await listener.start()
    heard = []
    reader, writer = await asyncio.open_unix_connection(tmp_path / "guard.sock")
    try:
        for at_s, line in steps:
            clock[0] = at_s * S
            writer.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
            while True:
                found = json.loads(await asyncio.wait_for(reader.readline(), 30.0))
                if found["type"] == "result":
                    heard.append(found["ack"])
                    break
        clock[0] += 61 * S
        await listener.tell()
        rest = [json.loads(await asyncio.wait_for(reader.readline(), 30.0))["type"] for _ in range(2)]
        other, second = await asyncio.open_unix_connection(tmp_path / "guard.sock")
        turned_away = json.loads(await asyncio.wait_for(other.readline(), 30.0))
        second.close()
    finally:
        writer.close()
        await listener.stop()
    return cs, heard, rest, turned_away


def test_a_guard_on_a_real_socket_is_answered_and_garbage_moves_nothing(tmp_path):
    beat = json.dumps(BEAT).encode() + b"\n"
    steps = [
        (2, write(6000.0)),  # no heartbeat yet
        (3, b"not json\n"),
        (4, b"[1, 2]\n"),
        (5, beat + json.dumps(write(6000.0)).encode() + b"\n"),
        (6, write(-5.0)),
    ]
    cs, heard, rest, turned_away = asyncio.run(talk(tmp_path, steps))
    assert heard == [False, False, False, True, False]
    assert cs.limit_w("lpc") == 6000.0
    assert math.isfinite(cs.limit_w("lpc"))
    assert "heartbeat" in rest
    assert not turned_away["ack"]
    assert not (tmp_path / "guard.sock").exists()
