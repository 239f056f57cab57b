"""Check that every verdict reaches every state that it can have, each from a run bent in one place."""

import math

import numpy as np
import pytest
import synthetic_street as street

from hil.runs import verdict as vd

TIMING = {
    "period_ms": 100.0,
    "scans": 600,
    "skipped": 0,
    "misses": 0,
    "misses_host": 0,
    "wake": {"p99_us": 300.0},
    "busy": {"p99_us": 900.0},
}


def plan(**changes):
    promised = {
        "obey_s": np.full(4, street.OBEY_S),
        "voltage_min_pu": 0.93,
        "window": vd.WindowRule(chargers=(0, 1, 2), start_s=10.0, limit_a=6.0),
        "order": vd.OrderRule(at_s=26.0, limit_w=8500.0),
        "cuts": (vd.CutRule(charger=1, at_s=36.0, failsafe_s=10.0, failsafe_a=0.0, fall_s=12.0),),
        "stale": vd.StaleRule(at_s=45.0, until_s=55.0),
        "deadlines": vd.DeadlineBudget(),
    }
    return vd.VerdictPlan(**(promised | changes))


def verdicts(run=None, without=None, timing=TIMING, **changes):
    run = street.controlled() if run is None else run
    without = street.uncontrolled() if without is None else without
    return {v.name: v for v in vd.judge(plan(**changes), run, without, timing)}


def clip(run, end_s):
    """Return the run as if it had ended at `end_s`."""
    rows = run.t_s <= end_s + 1e-9
    for name in run.__slots__:
        value = getattr(run, name)
        if isinstance(value, np.ndarray) and value.shape[0] == len(rows):
            setattr(run, name, value[rows])
    return run


def test_the_right_run_passes_every_verdict_and_exits_0():
    found = verdicts()
    assert {name: v.state for name, v in found.items()} == dict.fromkeys(
        [
            "voltage_held",
            "window_obeyed",
            "order_obeyed",
            "cap_kept",
            "failsafe_seen",
            "nothing_rose_on_stale",
            "deadlines",
        ],
        "passed",
    )
    assert vd.exit_code(list(found.values())) == 0
    assert all(v.passed for v in found.values())
    assert found["order_obeyed"].value == pytest.approx(8.0)
    assert found["failsafe_seen"].value == pytest.approx(13.0)
    assert "without control" in found["voltage_held"].text


def without_rows(run, gone):
    """Return the run as a recorder kept it that slept while `gone` (T,) was true."""
    for name in run.__slots__:
        value = getattr(run, name)
        if isinstance(value, np.ndarray) and value.shape[0] == len(gone):
            setattr(run, name, value[~gone])
    return run


@pytest.mark.parametrize(("begin_s", "end_s"), [(-6.0, 1.5), (50.0, 51.5)])
def test_what_the_recorder_did_not_see_is_not_passed(begin_s, end_s):
    run = street.controlled()
    found = verdicts(without_rows(run, (run.t_s > begin_s) & (run.t_s < end_s)))
    states = {name: v.state for name, v in found.items()}
    assert states.pop("deadlines") == "passed"  # the scan counts those itself
    assert set(states.values()) == {"inconclusive"}
    assert f"to {end_s:.1f} s" in found["cap_kept"].text


def test_a_failure_beside_a_hole_in_the_record_stays_one():
    run = street.controlled()
    run.customer_v[400, 2] = 200.0
    assert verdicts(without_rows(run, run.t_s > 55.0))["voltage_held"].state == "failed"
    run = street.controlled()
    run.customer_v[400, 2] = 200.0
    assert verdicts(without_rows(run, (run.t_s > 50.0) & (run.t_s < 52.0)))["voltage_held"].state == "failed"


def test_there_is_no_deadline_verdict_in_fast_mode():
    assert "deadlines" not in verdicts(timing=None)


def test_low_volts_at_a_customer_with_a_charger_fail():
    run = street.controlled()
    run.customer_v[400, 2] = 200.0
    found = verdicts(run)["voltage_held"]
    assert (found.state, found.passed) == ("failed", False)
    assert found.value == pytest.approx(200 / 230)
    assert found.detail == {"customer": "load3", "at_s": 35.0}


def test_low_volts_at_a_customer_without_a_charger_are_not_judged():
    run = street.controlled()
    run.customer_v[400, 4] = 200.0
    assert verdicts(run)["voltage_held"].state == "passed"


def test_one_unknown_volt_is_inconclusive_and_a_low_one_beside_it_still_fails():
    run = street.controlled()
    run.customer_v[400, 2] = np.nan
    assert verdicts(run)["voltage_held"].state == "inconclusive"
    run.customer_v[401, 1] = 190.0
    assert verdicts(run)["voltage_held"].state == "failed"


def test_amps_over_the_window_after_the_obey_time_fail():
    run = street.controlled()
    run.drawn_a[run.t_s == 21.9, 0] = 16.0
    assert verdicts(run)["window_obeyed"].state == "passed"
    run.drawn_a[run.t_s == 22.0, 0] = 6.6
    found = verdicts(run)["window_obeyed"]
    assert found.state == "failed"
    assert (found.value, found.limit, found.unit) == (pytest.approx(6.6), 6.0, "A")
    assert found.detail["charger"] == "cp01"


def test_an_order_that_is_obeyed_too_late_fails_with_its_time():
    run = street.controlled()
    run.head_w[(run.t_s >= 26) & (run.t_s < 40)] = 12_000.0
    found = verdicts(run)
    assert found["order_obeyed"].state == "failed"
    assert found["order_obeyed"].value == pytest.approx(14.0)
    assert found["cap_kept"].state == "failed"
    run.head_w[run.t_s >= 26] = 12_000.0
    assert math.isinf(verdicts(run)["order_obeyed"].value)


def test_an_order_below_which_the_load_was_anyway_is_not_exercised():
    run = street.controlled()
    run.head_w[run.t_s < 26] = 8000.0
    found = verdicts(run)["order_obeyed"]
    assert (found.state, found.passed) == ("not_exercised", None)
    assert "not above the order" in found.text


def test_an_order_without_a_paused_car_is_not_exercised():
    run = street.controlled()
    run.allowed_a[run.t_s >= 26, 0] = 6.0
    assert verdicts(run)["order_obeyed"].state == "not_exercised"
    eased = vd.OrderRule(26.0, 8500.0, needs_pause=False)
    assert verdicts(run, order=eased)["order_obeyed"].state == "passed"


def test_one_sample_over_the_cap_later_fails_only_the_keeping():
    run = street.controlled()
    run.head_w[run.t_s == 58.0] = 9001.0
    found = verdicts(run)
    assert found["order_obeyed"].state == "passed"
    assert (found["cap_kept"].state, found["cap_kept"].value) == ("failed", 9001.0)


def test_unknown_watts_do_not_pass_the_order():
    run = street.controlled()
    run.head_w[run.t_s == 30.0] = np.nan
    assert verdicts(run)["order_obeyed"].state == "inconclusive"
    run.head_w[run.t_s == 50.0] = np.nan
    assert verdicts(run)["cap_kept"].state == "inconclusive"


def test_a_charger_that_keeps_drawing_after_the_cut_fails():
    run = street.controlled()
    run.drawn_a[run.t_s >= 36, 1] = 6.0
    found = verdicts(run)["failsafe_seen"]
    assert found.state == "failed"
    assert "still 6.0 A" in found.text


def test_a_fall_to_the_fail_safe_after_its_time_fails():
    found = verdicts(cuts=(vd.CutRule(1, 36.0, failsafe_s=0.5, failsafe_a=0.0, fall_s=12.0),))["failsafe_seen"]
    assert (found.state, found.limit) == ("failed", 12.5)


@pytest.mark.parametrize(
    ("bend", "why"),
    [
        (lambda run: run.drawn_a.__setitem__((run.t_s >= 35, 1), 0.0), "did not charge"),
        (lambda run: run.drawn_a.__setitem__((run.t_s >= 40, 1), 0.0), "fallen before its own"),
        (lambda run: run.failsafe_active.fill(False), "never acted"),
        (lambda run: run.link.fill(True), "never lost"),
    ],
)
def test_a_fall_that_is_not_the_chargers_own_is_not_exercised(bend, why):
    run = street.controlled()
    bend(run)
    found = verdicts(run)["failsafe_seen"]
    assert found.state == "not_exercised"
    assert why in found.text


def test_a_rise_of_allowed_or_drawn_amps_on_a_stale_value_fails():
    run = street.controlled()
    run.allowed_a[run.t_s == 50.0, 3] = 11.0
    found = verdicts(run)["nothing_rose_on_stale"]
    assert (found.state, found.value, found.detail["charger"]) == ("failed", pytest.approx(1.0), "cp04")
    run = street.controlled()
    run.drawn_a[run.t_s == 50.0, 0] = 5.0
    assert verdicts(run)["nothing_rose_on_stale"].state == "failed"


def test_a_rise_after_the_value_came_back_is_none_on_a_stale_one():
    run = street.controlled()
    run.allowed_a[run.t_s >= 55.0, 3] = 16.0
    assert verdicts(run)["nothing_rose_on_stale"].state == "passed"


def test_a_stale_value_that_nobody_distrusted_is_not_exercised():
    run = street.controlled()
    run.node_a_trust[:] = 0
    assert verdicts(run)["nothing_rose_on_stale"].state == "not_exercised"


def test_unknown_amps_on_a_stale_value_are_inconclusive():
    run = street.controlled()
    run.drawn_a[run.t_s == 50.0, 0] = np.nan
    assert verdicts(run)["nothing_rose_on_stale"].state == "inconclusive"


def test_what_holds_without_control_as_well_is_not_exercised():
    quiet = street.controlled()
    quiet.name = "uncontrolled"
    found = verdicts(without=quiet)
    for name in ("voltage_held", "window_obeyed", "order_obeyed", "cap_kept", "nothing_rose_on_stale"):
        assert found[name].state == "not_exercised", name
        assert "without control" in found[name].text


def test_without_a_run_to_compare_with_nothing_passes():
    run = street.controlled()
    states = {v.name: v.state for v in vd.judge(plan(), run, None, TIMING)}
    assert states.pop("deadlines") == "passed"
    assert set(states.values()) == {"inconclusive"}


def test_a_run_that_ended_early_exercises_only_what_it_reached():
    short = clip(street.controlled(), 30.0)
    states = {name: v.state for name, v in verdicts(short).items()}
    assert states["voltage_held"] == states["window_obeyed"] == "passed"
    for name in ("order_obeyed", "cap_kept", "failsafe_seen", "nothing_rose_on_stale"):
        assert states[name] == "not_exercised", name


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"misses": 3, "misses_host": 0}, "failed"),
        ({"misses": 3, "misses_host": 3}, "inconclusive"),
        ({"skipped": 4}, "inconclusive"),
        ({"wake": {"p99_us": 12_000.0}}, "inconclusive"),
        ({"scans": 0}, "inconclusive"),
    ],
)
def test_missed_deadlines_are_the_scans_fault_or_the_hosts(changes, state):
    assert verdicts(timing=TIMING | changes)["deadlines"].state == state


def test_exit_code_puts_failed_before_unproven():
    def made(state):
        return vd.Verdict("x", state, 0.0, 0.0, "1", "")

    assert vd.exit_code([]) == 0
    assert vd.exit_code([made("passed"), made("inconclusive")]) == 4
    assert vd.exit_code([made("not_exercised")]) == 4
    assert vd.exit_code([made("not_exercised"), made("failed")]) == 1
    with pytest.raises(ValueError, match="state 'ok', must be one of passed"):
        made("ok")


def test_a_plan_that_does_not_fit_the_trace_is_refused():
    with pytest.raises(ValueError, match=r"obey_s has shape \(3,\), must be \(4,\)"):
        verdicts(obey_s=np.full(3, 12.0))
