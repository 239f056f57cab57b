"""The state machine of LPC and LPP: every row of its table, the bugs of the field, and what never happens."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.law import lpc
from controller.law.lpc import Beat, FailsafeDuration, FailsafeLimit, Limit, State

S = 1_000_000_000
FAILSAFE_W = 4200.0
MAY = {"on_init_expiry": "release", "on_beat_without_write": "release", "on_failsafe_expiry": "release"}
STRICT = lpc.Settings(FAILSAFE_W)
LOOSE = lpc.Settings(FAILSAFE_W, **MAY)
OFF = Limit(0.0, active=False)


def play(told, script, stored=None):
    """Play (seconds, event) of a script; return the last memory, all answers and the transitions taken."""
    memory = lpc.start(told, 0, stored)
    answers, taken = [], []
    for at_s, event in script:
        memory, answer, changes = lpc.step(told, memory, event, round(at_s * S))
        taken += changes
        if answer is not None:
            answers.append(answer)
    return memory, answers, taken


def beats(from_s, to_s):
    return [(at_s, Beat()) for at_s in range(from_s, to_s + 1, 30)]


TO_CONTROLLED = [(1, Beat()), (2, OFF)]
TO_LIMITED = [(1, Beat()), (2, Limit(6000.0))]
TO_FAILSAFE = [*TO_LIMITED, (130, None)]
TO_AUTONOMOUS = [(125, None)]  # with the MAY of rule 906

# the table: rule, settings, what comes, state, limit, transition
ROWS = [
    ("901", STRICT, [], State.INIT, 4200.0, None),
    ("904", STRICT, TO_LIMITED, State.LIMITED, 6000.0, State.INIT),
    ("905", STRICT, TO_CONTROLLED, State.CONTROLLED, math.inf, State.INIT),
    ("902", STRICT, [(1, Beat()), (2, Limit(0.0, applicable=False))], State.CONTROLLED, math.inf, State.INIT),
    ("906", LOOSE, [(120, None)], State.AUTONOMOUS, math.inf, State.INIT),
    ("906", LOOSE, [(100, Beat()), (220, None)], State.AUTONOMOUS, math.inf, State.INIT),
    ("910", STRICT, [*TO_CONTROLLED, (3, Limit(0.0))], State.LIMITED, 0.0, State.CONTROLLED),
    ("909", STRICT, [*TO_LIMITED, (3, OFF)], State.CONTROLLED, math.inf, State.LIMITED),
    (
        "908",
        STRICT,
        [(1, Beat()), (2, Limit(6000.0, duration_s=60.0)), (62, None)],
        State.CONTROLLED,
        math.inf,
        State.LIMITED,
    ),
    ("911", STRICT, [*TO_CONTROLLED, (121, None)], State.FAILSAFE, 4200.0, State.CONTROLLED),
    ("912", STRICT, [*TO_LIMITED, (121, None)], State.FAILSAFE, 4200.0, State.LIMITED),
    (
        "916",
        STRICT,
        [*TO_FAILSAFE, (140, Beat()), (141, Limit(1.0, applicable=False))],
        State.CONTROLLED,
        math.inf,
        State.FAILSAFE,
    ),
    ("918", STRICT, [*TO_FAILSAFE, (140, Beat()), (141, Limit(9e3))], State.LIMITED, 9000.0, State.FAILSAFE),
    ("919", STRICT, [*TO_FAILSAFE, (140, Beat()), (141, OFF)], State.CONTROLLED, math.inf, State.FAILSAFE),
    (
        "916",
        LOOSE,
        [*TO_AUTONOMOUS, (140, Beat()), (141, Limit(1.0, applicable=False))],
        State.CONTROLLED,
        math.inf,
        State.AUTONOMOUS,
    ),
    ("918", LOOSE, [*TO_AUTONOMOUS, (140, Beat()), (141, Limit(9e3))], State.LIMITED, 9000.0, State.AUTONOMOUS),
    ("919", LOOSE, [*TO_AUTONOMOUS, (140, Beat()), (141, OFF)], State.CONTROLLED, math.inf, State.AUTONOMOUS),
    ("921", LOOSE, [*TO_FAILSAFE, (140, Beat()), (260, None)], State.AUTONOMOUS, math.inf, State.FAILSAFE),
    ("922", LOOSE, [*TO_FAILSAFE, (121 + 7200, None)], State.AUTONOMOUS, math.inf, State.FAILSAFE),
]


@pytest.mark.parametrize(("rule", "told", "script", "state", "limit_w", "before"), ROWS)
def test_every_row_of_the_table(rule, told, script, state, limit_w, before):
    memory, _, taken = play(told, script)
    assert (memory.state, lpc.limit_w(memory)) == (state, limit_w)
    if before is not None:
        assert taken[-1] == lpc.Transition(rule, before, state)


def test_the_rows_are_all_the_transitions_that_there_are():
    walked = {change for _, told, script, *_ in ROWS for change in play(told, script)[2]}
    assert walked == set(lpc.TRANSITIONS)


@pytest.mark.parametrize("script", [TO_CONTROLLED, TO_LIMITED])
def test_907_a_refused_write_changes_nothing(script):
    before, _, _ = play(STRICT, script)
    after, answers, taken = play(STRICT, [*script, (3, Limit(1.0, applicable=False))])
    assert not answers[-1].ack
    assert answers[-1].rule == "907"
    assert (after.state, after.limit_w, len(taken)) == (before.state, before.limit_w, 1)


@pytest.mark.parametrize("script", [[], TO_FAILSAFE])
@pytest.mark.parametrize("late", [None, 61])
def test_036_a_write_without_a_heartbeat_before_it_does_not_count(script, late):
    begin = script[-1][0] if script else 0
    beat = [] if late is None else [(begin + 1, Beat())]
    memory, answers, _ = play(STRICT, [*script, *beat, (begin + 1 + (late or 0), OFF)])
    assert not answers[-1].ack
    assert lpc.limit_w(memory) == FAILSAFE_W


@pytest.mark.parametrize("write", [FailsafeLimit(1000.0), FailsafeDuration(7200.0)])
def test_037_other_data_points_count_after_heartbeat_and_limit_only(write):
    memory, answers, _ = play(STRICT, [(1, Beat()), (2, write)])
    assert not answers[-1].ack
    assert memory.failsafe_w == FAILSAFE_W
    assert play(STRICT, [*TO_LIMITED, (3, write)])[1][-1].ack


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("write", [Limit, FailsafeLimit])
@pytest.mark.parametrize("script", [[(1, Beat())], TO_CONTROLLED, TO_LIMITED])
def test_035_what_cannot_be_a_limit_is_refused_in_every_state(value, write, script):
    before, _, _ = play(STRICT, script)
    after, answers, _ = play(STRICT, [*script, (5, write(value))])
    assert not answers[-1].ack
    assert (after.state, lpc.limit_w(after)) == (before.state, lpc.limit_w(before))


def test_035_a_limit_over_the_nominal_maximum_is_clipped():
    told = lpc.Settings(FAILSAFE_W, max_w=11_000.0)
    memory, answers, _ = play(told, [(1, Beat()), (2, Limit(50_000.0)), (3, FailsafeLimit(50_000.0))])
    assert [answer.ack for answer in answers] == [True, True]
    assert (lpc.limit_w(memory), memory.failsafe_w) == (11_000.0, 11_000.0)


def test_022_a_duration_over_the_maximum_is_refused_and_the_own_maximum_set():
    told = lpc.Settings(FAILSAFE_W, max_duration_s=100.0)
    script = [(1, Beat()), (2, Limit(5e3, duration_s=1e6)), *beats(30, 90)]
    memory, answers, _ = play(told, script)
    assert (answers[0].ack, answers[0].rule, memory.state) == (False, "022", State.LIMITED)
    assert play(told, [*script, (102, None)])[0].state is State.CONTROLLED


@pytest.mark.parametrize("duration_s", [7199.0, 86_401.0, math.nan])
def test_the_failsafe_duration_is_two_hours_to_a_day(duration_s):
    memory, answers, _ = play(STRICT, [*TO_LIMITED, (3, FailsafeDuration(duration_s))])
    assert not answers[-1].ack
    assert memory.failsafe_min_s == 7200.0


def test_044_fail_safe_and_its_duration_outlive_a_restart_and_the_limit_does_not():
    old, _, _ = play(STRICT, [*TO_LIMITED, (3, FailsafeLimit(1500.0)), (4, FailsafeDuration(9000.0))])
    new, _, _ = play(STRICT, [], old)
    assert (new.state, lpc.limit_w(new), new.failsafe_min_s, new.limit_w) == (State.INIT, 1500.0, 9000.0, math.inf)


# bugs of the field (evcc PRs 29705, 32492, 32491, 25545)


def test_a_limit_without_duration_does_not_expire():
    memory, _, _ = play(STRICT, [*TO_LIMITED, *beats(30, 90_000)])
    assert (memory.state, lpc.limit_w(memory)) == (State.LIMITED, 6000.0)


def test_the_failsafe_is_not_left_on_a_heartbeat_alone():
    memory, _, taken = play(STRICT, [*TO_FAILSAFE, *beats(140, 90_000)])
    assert lpc.limit_w(memory) == FAILSAFE_W
    assert taken[-1].after is State.FAILSAFE


def test_the_failsafe_can_be_left_after_any_time():
    memory, _, _ = play(STRICT, [*TO_FAILSAFE, (900_000, Beat()), (900_001, OFF)])
    assert memory.state is State.CONTROLLED


@pytest.mark.parametrize("choice", ["stay", "release"])
def test_zero_watts_of_failsafe_is_zero_until_its_time_is_over(choice):
    told = lpc.Settings(0.0, on_failsafe_expiry=choice)
    before, _, _ = play(told, [*TO_LIMITED, (121 + 7199, None)])
    after, _, _ = play(told, [*TO_LIMITED, (121 + 7200, None)])
    assert lpc.limit_w(before) == 0.0
    assert lpc.limit_w(after) == (0.0 if choice == "stay" else math.inf)
    limited, _, _ = play(told, [*TO_LIMITED, (121 + 7200, None), (8000, Beat()), (8001, Limit(0.0))])
    assert lpc.limit_w(limited) == 0.0


def test_production_is_negative_on_the_wire():
    told = lpc.Settings(0.0, direction="export")
    memory, answers, _ = play(told, [(1, Beat()), (2, Limit(-3000.0)), (3, Limit(3000.0)), (4, FailsafeLimit(-500.0))])
    assert [answer.ack for answer in answers] == [True, False, True]
    assert (lpc.limit_w(memory), memory.failsafe_w) == (3000.0, 500.0)


# what never happens

EVENTS = st.one_of(
    st.just(None),
    st.just(Beat()),
    st.just(Beat()),
    st.builds(
        Limit,
        st.sampled_from([0.0, 1000.0, 6000.0, 1e6, -1.0, math.nan]),
        st.booleans(),
        st.one_of(st.none(), st.sampled_from([0.0, 10.0, 300.0, 1e6])),
        st.booleans(),
    ),
    st.builds(FailsafeLimit, st.sampled_from([0.0, 2000.0, -5.0])),
    st.builds(FailsafeDuration, st.sampled_from([7200.0, 90_000.0])),
)
SCRIPTS = st.lists(st.tuples(st.sampled_from([0.1, 20.0, 59.0, 61.0, 119.0, 121.0, 7300.0]), EVENTS), max_size=25)
TOLD = st.sampled_from([STRICT, LOOSE, lpc.Settings(0.0, on_failsafe_expiry="release")])


@settings(max_examples=150, deadline=None)
@given(TOLD, SCRIPTS, st.booleans())
def test_only_an_answered_write_or_a_permitted_expiry_lifts_a_limit(told, gaps, strict):
    told = STRICT if strict else told
    memory, at_s = lpc.start(told, 0), 0.0
    for gap_s, event in gaps:
        at_s += gap_s
        passed, _, by_time = lpc.step(told, memory, None, round(at_s * S))
        found, _, taken = lpc.step(told, memory, event, round(at_s * S))
        assert taken[: len(by_time)] == by_time
        assert set(taken) <= set(lpc.TRANSITIONS)
        for change in by_time:  # rule 923: what ends Limited; the fail-safe ends by time where the site says so only
            assert change.rule in {"908", "911", "912", "906", "921", "922"}
            assert change.rule not in {"906", "921", "922"} or told is not STRICT
        if event is None or isinstance(event, Beat):  # a heartbeat alone lifts nothing, nor does its absence
            assert (found.state, lpc.limit_w(found)) == (passed.state, lpc.limit_w(passed))
        elif lpc.limit_w(found) > lpc.limit_w(passed):
            lifts_failsafe = isinstance(event, FailsafeLimit) and passed.state is State.FAILSAFE
            assert isinstance(event, Limit)
            assert not lifts_failsafe
            assert passed.state not in lpc.STRANGE or found.now_ns - found.beat_ns <= 60 * S
            assert event.value_w >= 0.0
        memory = found


@settings(max_examples=60, deadline=None)
@given(TOLD, SCRIPTS)
def test_how_often_the_time_is_told_changes_nothing(told, gaps):
    coarse = fine = lpc.start(told, 0)
    at_s, walked, seen = 0.0, [], []
    for gap_s, event in gaps:
        for k in range(1, 8):
            fine, _, taken = lpc.step(told, fine, None, round((at_s + gap_s * k / 8) * S))
            walked += taken
        at_s += gap_s
        fine, one, taken = lpc.step(told, fine, event, round(at_s * S))
        coarse, other, passed = lpc.step(told, coarse, event, round(at_s * S))
        walked, seen = walked + list(taken), seen + list(passed)
        assert one == other
    assert fine == coarse
    assert walked == seen


def test_a_clock_that_went_back_ends_nothing():
    memory, _, _ = play(STRICT, [*TO_LIMITED, (100, None), (3, None)])
    assert (memory.now_ns, memory.state) == (100 * S, State.LIMITED)
