"""Check the pure bookkeeping of the charger client: order of reads, pacing of writes, keep-alive, refusals."""

import math
from itertools import pairwise

import pytest
from modbus_helpers import NS, FakeClock

from instruments.catalog import charger_of, load_model, model_names
from instruments.modbus_pacing import PollPlan, Write, WriteGate
from instruments.modbus_poller_master import MasterWatch

P40, P30, ALFEN = (charger_of(load_model(name)) for name in ("keba-p40", "keba-p30", "alfen-ng9xx"))


def test_reads_keep_the_gap_and_every_round_has_all_core_values_and_one_rare():
    plan, now_ns, sent = PollPlan(core=3, rare=2, gap_s=0.5), 0, []
    for _ in range(200):  # ten steps of 50 ms to each gap
        poll = plan.next(now_ns)
        if poll is not None:
            sent.append((now_ns, poll))
            plan.done(now_ns)
        now_ns += NS // 20
    assert [poll for _, poll in sent[:8]] == [0, 1, 2, 3, 0, 1, 2, 4]
    gaps_s = [(b - a) / NS for (a, _), (b, _) in pairwise(sent)]
    assert min(gaps_s) == 0.5 == max(gaps_s)


def test_gap_runs_from_the_end_of_a_slow_answer():
    plan = PollPlan(core=1, rare=0, gap_s=0.5)
    assert plan.next(0) == 0
    plan.done(2 * NS)
    assert plan.next(2 * NS + NS // 4) is None
    assert plan.wait_s(2 * NS + NS // 4) == 0.25


def test_restart_begins_a_round_but_keeps_the_gap():
    plan = PollPlan(core=2, rare=1, gap_s=1.0)
    plan.done(0)
    plan.restart()
    assert plan.next(NS // 2) is None
    assert plan.next(NS) == 0


def test_a_period_keeps_its_grid_and_leaves_out_what_was_missed():
    plan, sent = PollPlan(core=1, rare=0, gap_s=0.0, period_s=0.1, phase=0.25), []
    ms = NS // 1000
    for now_ns in range(0, 2000 * ms, 7 * ms):  # looked at too seldom to meet the grid
        if plan.next(now_ns) is not None:
            plan.done(now_ns)
            sent.append(now_ns // ms)
    assert len(sent) == 21  # ten a second all the same, and the first at once
    assert all((at - 25) % 100 < 7 for at in sent[1:])
    assert plan.next(2500 * ms) == 0  # five were missed
    plan.done(2500 * ms)
    assert plan.next(2501 * ms) == 0  # the newest of them
    plan.done(2501 * ms)
    assert plan.next(2524 * ms) is None and plan.next(2525 * ms) == 0


def test_a_period_is_no_leave_to_break_the_gap():
    plan = PollPlan(core=1, rare=0, gap_s=0.08, period_s=0.1)
    plan.done(0)
    plan.done(NS // 10 + NS // 20)  # half a period late
    assert plan.next(NS // 5) is None
    assert plan.wait_s(NS // 5) == pytest.approx(0.03)


def test_a_coarse_register_that_rounds_up_is_not_sent_the_order_again():
    setpoint = ALFEN.setpoint.model_copy(update={"applied_slack_a": 1.0})
    coarse, clock = ALFEN.model_copy(update={"setpoint": setpoint}), FakeClock()
    for part, again in ((ALFEN, True), (coarse, False)):
        gate = WriteGate(part, 0.0)
        gate.done(Write("setpoint", 10.4), clock.ns())
        assert gate.observe(11.0, clock.ns() + 60 * NS) == again


def send(gate: WriteGate, want_a: float, clock: FakeClock) -> Write | None:
    """Let the device acknowledge what the gate lets through."""
    write = gate.next(want_a, clock.ns())
    if write is not None:
        gate.done(write, clock.ns())
    return write


def test_pending_lower_order_goes_out_at_the_first_allowed_moment_as_the_newest():
    gate, clock = WriteGate(P40, 0.0), FakeClock()
    assert send(gate, 16.0, clock) == Write("set_current", 16.0)
    clock.now_s += 1.0
    assert send(gate, 12.0, clock) is None
    clock.now_s += 3.999
    assert send(gate, 8.0, clock) is None
    clock.now_s += 0.001
    assert send(gate, 7.0, clock) == Write("set_current", 7.0)
    assert gate.sent_a == 7.0


def test_unchanged_order_is_not_written_again_where_any_traffic_keeps_it_alive():
    gate, clock = WriteGate(P40, 0.0), FakeClock()
    send(gate, 16.0, clock)
    clock.now_s += 3600
    assert send(gate, 16.0, clock) is None


def test_unchanged_order_is_written_again_within_its_validity():
    gate, clock, writes_s = WriteGate(ALFEN, 20.0), FakeClock(), []
    for _ in range(1000):
        if send(gate, 16.0, clock):
            writes_s.append(clock.now_s)
        clock.now_s += 0.1
    assert len(writes_s) == 5
    assert all(19.9 < b - a < 20.2 for a, b in pairwise(writes_s))


def test_pause_by_zero_and_by_enable():
    clock = FakeClock()
    assert send(WriteGate(P40, 0.0), 0.0, clock) == Write("set_current", 0.0)
    gate = WriteGate(P30, 0.0)
    assert send(gate, 0.0, clock) == Write("set_enable", 0.0)
    assert gate.sent_a == 0.0
    clock.now_s += 60
    assert send(gate, 0.0, clock) is None


def test_resume_sets_the_current_before_it_enables():
    gate, clock = WriteGate(P30, 0.0), FakeClock()
    order = []
    for want_a in (32.0, 32.0, 0.0, 10.0, 10.0, 11.0):
        order.append(send(gate, want_a, clock))
        clock.now_s += 5.0
    current, enable = "set_current", "set_enable"
    assert order == [
        Write(current, 32.0),
        Write(enable, 1.0),
        Write(enable, 0.0),
        Write(current, 10.0),  # 32 A stand in the device: enabling first would let it draw them
        Write(enable, 1.0),
        Write(current, 11.0),
    ]


def test_a_limit_register_that_keeps_its_value_in_a_pause_is_no_limit_in_force():
    gate, clock = WriteGate(P30, 0.0), FakeClock()
    for want_a in (16.0, 16.0, 0.0):
        assert send(gate, want_a, clock)
        assert gate.in_force(16.0) == (16.0 if want_a else 0.0)
        clock.now_s += 60.0
    assert not gate.observe(gate.in_force(16.0), clock.ns()) and gate.sent_a == 0.0
    assert gate.in_force(20.0) == 20.0  # not ours: another master set it
    assert gate.observe(gate.in_force(20.0), clock.ns())
    zero = WriteGate(P40, 0.0)
    send(zero, 0.0, clock)
    assert zero.in_force(16.0) == 16.0  # a pause by 0 A reads back as 0 A


@pytest.mark.parametrize("name", [n for n in model_names() if load_model(n).charger and load_model(n).modbus])
def test_no_familys_pause_looks_like_another_master(name):
    part = charger_of(load_model(name))
    gate, watch, clock = WriteGate(part, 0.0), MasterWatch(part.obey_s, part.setpoint.applied_slack_a), FakeClock()
    register_a = math.nan
    for want_a in (0.0, 16.0, 0.0, 6.0, 0.0):
        for _ in range(2):
            if write := send(gate, want_a, clock):
                register_a = write.value if write.register == part.setpoint.register_name else register_a
                watch.ordered(gate.sent_a, clock.ns())
            for _ in range(3):
                clock.now_s += 20.0
                limit_a = gate.in_force(register_a)
                assert not gate.observe(limit_a, clock.ns()) and not watch.limit(limit_a, clock.ns())
        assert gate.sent_a == want_a and math.isnan(watch.over_a)
        assert not limit_a > want_a  # what the law compares, and reserves
    assert not watch.drawn(16.0, clock.ns())
    clock.now_s += part.obey_s + 1.0
    assert watch.drawn(16.0, clock.ns())  # somebody enabled it again: only the amps tell, and the pause is sent again
    gate.forget()
    assert send(gate, 0.0, clock)


def test_rising_order_does_not_keep_a_paused_charger_from_being_enabled():
    gate, clock = WriteGate(P30, 0.0), FakeClock()
    send(gate, 6.0, clock)
    clock.now_s += 5.0
    assert send(gate, 7.5, clock) == Write("set_enable", 1.0)
    clock.now_s += 5.0
    assert send(gate, 9.0, clock) == Write("set_current", 9.0)


def test_lost_link_makes_the_order_unknown_but_keeps_the_pacing():
    gate, clock = WriteGate(P40, 0.0), FakeClock()
    send(gate, 16.0, clock)
    gate.forget()
    assert math.isnan(gate.sent_a)
    clock.now_s += 4.0
    assert send(gate, 16.0, clock) is None
    clock.now_s += 1.0
    assert send(gate, 16.0, clock) == Write("set_current", 16.0)


def test_refused_write_is_paced_like_any_other_and_tried_again():
    gate, clock = WriteGate(P40, 0.0), FakeClock()
    assert gate.next(16.0, clock.ns())
    gate.pace(clock.ns())
    assert gate.next(16.0, clock.ns()) is None
    clock.now_s += 5.0
    assert gate.next(16.0, clock.ns()) == Write("set_current", 16.0)


def test_limit_above_the_order_is_noticed_and_ordered_again():
    gate, clock = WriteGate(P40, 0.0), FakeClock()
    send(gate, 10.0, clock)
    clock.now_s += 6.0
    assert not gate.observe(16.0, clock.ns())  # the pilot may not have followed yet
    clock.now_s += 7.0
    assert not gate.observe(10.1, clock.ns())
    assert not gate.observe(6.0, clock.ns())  # less is the cable's or the car's business
    assert gate.observe(16.0, clock.ns())
    assert send(gate, 10.0, clock) == Write("set_current", 10.0)


@pytest.mark.parametrize(
    ("want_a", "allowed"),
    [
        (math.inf, "finite"),
        (-math.inf, "finite"),
        (-6.0, "0 or 6..32 A"),
        (5.999, "0 or 6..32 A"),
        (32.001, "0 or 6..32 A"),
        (10.05, "steps of 0.1 A"),
    ],
)
def test_order_that_cannot_be_sent_exactly_is_refused(want_a, allowed):
    assert allowed in WriteGate(ALFEN, 0.0).check(want_a)


@pytest.mark.parametrize("want_a", [0.0, 6.0, 31.9, 32.0, 0.1 * 61])
def test_order_on_the_grid_passes(want_a):
    assert WriteGate(ALFEN, 0.0).check(want_a) == ""


def test_obey_time_is_pacing_plus_pilot_plus_car():
    assert (P40.obey_s, P30.obey_s, ALFEN.obey_s) == (15.0, 15.0, 11.0)
