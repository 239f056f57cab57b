"""Hold one run to each promise of its scenario. A rule knows one run only; `verdict.judge` compares two.

Every rule has the signature (plan, trace, reference) -> Verdict; `reference` is the controlled run, which sets the
amps that nothing may exceed while a value is stale. Unknown values (NaN) never pass.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from hil.runs import rules_contract, rules_limits
from hil.runs.promises import (
    FAILED,
    INCONCLUSIVE,
    NOT_EXERCISED,
    PASSED,
    CutRule,
    DeadlineBudget,
    OrderRule,
    SilenceRule,
    StaleRule,
    Verdict,
    VerdictPlan,
    WindowRule,
)
from hil.runs.trace import CONTROLLED, Trace

Rule = Callable[[VerdictPlan, Trace, Trace], Verdict]
EPS_S = 1e-6  # sample times are sums of a step
DRAWS_A = 1.0  # above it a car charges; below it is paused or gone
BEAT_GAP_S = 1.0  # the heartbeat comes once a second: the last one may be as old as this when it stops
SLACK_S = 0.5  # a run may end this much before the last moment that a rule names


def of(plan: VerdictPlan) -> list[Rule]:
    """Return the rules that the plan asks for, in the order of the scenario."""
    wanted: list[tuple[object, tuple[Rule, ...]]] = [
        (plan.voltage_min_pu, (voltage_held,)),
        (plan.window, (window_obeyed,)),
        (plan.order, (order_obeyed, cap_kept)),
        (plan.cuts, tuple(partial(failsafe_seen, rule=rule) for rule in plan.cuts)),
        (plan.stale, (nothing_rose_on_stale,)),
        (plan.silence, (heartbeat_failsafe,)),
        (plan.guard, (rules_limits.guard_walked, rules_limits.guard_obeyed)),
        (plan.dim, (rules_limits.floors_kept,)),
        (plan.envelope, (rules_limits.envelope_kept,)),
        (plan.contracts, tuple(partial(rules_contract.contract_kept, rule=rule) for rule in plan.contracts)),
    ]
    return [rule for asked, group in wanted if asked is not None for rule in group]


def _state(held: bool, known: bool) -> str:
    """Return failed on evidence, inconclusive where values are missing, else passed."""
    if not held:
        return FAILED
    return PASSED if known else INCONCLUSIVE


def _too_short(name: str, limit: float, unit: str, trace: Trace, needed_s: float) -> Verdict:
    text = f"the run ended at {trace.t_s[-1]:.1f} s; {needed_s:.1f} s are needed to judge it"
    return Verdict(name, NOT_EXERCISED, np.nan, limit, unit, text)


def _first(trace: Trace, at_s: float) -> int:
    """Return the index of the first sample at or after a moment; T where the run ended before it."""
    return int(np.searchsorted(trace.t_s, at_s - EPS_S))


def _unknown(known: bool) -> str:
    return "" if known else "; some values are unknown"


def voltage_held(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge the lowest volts of customers with a charger, in pu of u_nom_v, from settle_s on."""
    limit = plan.voltage_min_pu if plan.voltage_min_pu is not None else np.nan
    rows = trace.t_s >= plan.settle_s - EPS_S
    if not rows.any():
        return _too_short("voltage_held", limit, "pu", trace, plan.settle_s)
    pu = trace.charger_customer_v()[rows] / plan.u_nom_v
    known = bool(np.isfinite(pu).all())
    if not np.isfinite(pu).any():
        return Verdict("voltage_held", INCONCLUSIVE, np.nan, limit, "pu", "no volts are known")
    row, column = np.unravel_index(np.nanargmin(pu), pu.shape)
    value = float(pu[row, column])
    customer = trace.customer_names[int(np.unique(trace.charger_customer)[column])]
    at_s = float(trace.t_s[rows][row])
    text = f"lowest {value:.4f} pu ({value * plan.u_nom_v:.1f} V) at {customer}, {at_s:.1f} s{_unknown(known)}"
    detail = {"customer": customer, "at_s": at_s}
    return Verdict("voltage_held", _state(value >= limit, known), value, limit, "pu", text, detail)


def window_obeyed(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge the largest amps drawn under a window, from its start plus each charger's obey time on."""
    rule = plan.window
    assert isinstance(rule, WindowRule)
    name, chargers = "window_obeyed", np.asarray(rule.chargers, dtype=int)
    ready_s = rule.start_s + plan.obey_s[chargers]
    judged = (trace.t_s[:, None] >= ready_s - EPS_S) & (trace.t_s[:, None] < rule.until_s)
    if len(chargers) == 0 or not judged.any(axis=0).all():
        return _too_short(name, rule.limit_a, "A", trace, float(ready_s.max(initial=rule.start_s)))
    amps = np.where(judged, trace.drawn_a[:, chargers], -np.inf)
    known = not bool(np.isnan(amps).any())
    row, column = np.unravel_index(np.argmax(np.nan_to_num(amps, nan=-np.inf, posinf=np.inf)), amps.shape)
    value = float(amps[row, column])
    charger = trace.charger_names[chargers[column]]
    if not np.isfinite(value):
        return Verdict(name, INCONCLUSIVE, np.nan, rule.limit_a, "A", "no amps are known in the window")
    text = (
        f"{len(chargers)} chargers drew at most {value:.2f} A ({charger}, {trace.t_s[row]:.1f} s) from "
        f"{ready_s.min():.1f}..{ready_s.max():.1f} s on; {rule.limit_a:g} + {plan.tolerance_a:g} A allowed"
    )
    detail = {"charger": charger, "at_s": float(trace.t_s[row]), "tolerance": plan.tolerance_a}
    state = _state(value <= rule.limit_a + plan.tolerance_a, known)
    return Verdict(name, state, value, rule.limit_a, "A", text + _unknown(known), detail)


def order_obeyed(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge how long the feeder head took to fall under the order and stay there until the obey time is over."""
    rule = plan.order
    assert isinstance(rule, OrderRule)
    obey_s = float(plan.obey_s.max(initial=0.0))
    at, due = _first(trace, rule.at_s), _first(trace, rule.at_s + obey_s)
    if due >= len(trace.t_s) or at == 0:
        return _too_short("order_obeyed", obey_s, "s", trace, rule.at_s + obey_s)
    cap_w, load_w = rule.limit_w + plan.tolerance_w, trace.head_w
    if not np.isfinite(load_w[at - 1 : due + 1]).all():
        return Verdict("order_obeyed", INCONCLUSIVE, np.nan, obey_s, "s", "watts of the feeder head are unknown")
    taken_s = _fallen_s(trace, load_w > cap_w, at, due) - rule.at_s
    before_w, after_w = float(load_w[at - 1]), float(load_w[due])
    paused = _paused(trace, at - 1, due)
    head = f"{before_w / 1e3:.1f} kW before, {after_w / 1e3:.1f} kW after {obey_s:.1f} s"
    under = f"under it after {taken_s:.1f} s" if np.isfinite(taken_s) else "never under it"
    text = f"{head}; order {rule.limit_w / 1e3:g} kW; {under}; {len(paused)} cars paused"
    detail = {"before_w": before_w, "after_w": after_w, "paused": paused}
    state = PASSED if taken_s <= obey_s + EPS_S else FAILED
    if before_w <= cap_w:
        state, text = NOT_EXERCISED, f"{text}; the load was not above the order when it came"
    elif state == PASSED and rule.needs_pause and not paused:
        state, text = NOT_EXERCISED, f"{text}; the order was to make a car pause"
    return Verdict("order_obeyed", state, taken_s, obey_s, "s", text, detail)


def _fallen_s(trace: Trace, over: np.ndarray, at: int, due: int) -> float:
    """Return when the load had fallen: after its last sample over the cap before `due`, or the first under it later."""
    if over[due]:
        later = np.flatnonzero(~over[due:])
        return float(trace.t_s[due + int(later[0])]) if len(later) else np.inf
    last = np.flatnonzero(over[at:due])
    return float(trace.t_s[at + int(last[-1]) + 1]) if len(last) else float(trace.t_s[at])


def _paused(trace: Trace, before: int, due: int) -> list[str]:
    """Return the chargers that charged before, and were told 0 and stopped between the two samples."""
    rows = slice(before + 1, due + 1)
    stopped = (trace.drawn_a[rows] < DRAWS_A) & (trace.allowed_a[rows] == 0)
    return [trace.charger_names[i] for i in np.flatnonzero((trace.drawn_a[before] >= DRAWS_A) & stopped.any(axis=0))]


def cap_kept(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge the largest watts at the feeder head in all samples after the order's obey time."""
    rule = plan.order
    assert isinstance(rule, OrderRule)
    due_s = rule.at_s + float(plan.obey_s.max(initial=0.0))
    rows = (trace.t_s >= due_s - EPS_S) & (trace.t_s < rule.until_s)
    if not rows.any():
        return _too_short("cap_kept", rule.limit_w, "W", trace, due_s)
    watts = trace.head_w[rows]
    if not np.isfinite(watts).any():
        return Verdict("cap_kept", INCONCLUSIVE, np.nan, rule.limit_w, "W", "watts of the feeder head are unknown")
    known = bool(np.isfinite(watts).all())
    row = int(np.nanargmax(watts))
    value, at_s = float(watts[row]), float(trace.t_s[rows][row])
    text = (
        f"at most {value / 1e3:.2f} kW ({at_s:.1f} s) in {rows.sum()} samples from {due_s:.1f} s on; "
        f"{rule.limit_w / 1e3:g} + {plan.tolerance_w / 1e3:g} kW allowed{_unknown(known)}"
    )
    state = _state(value <= rule.limit_w + plan.tolerance_w, known)
    detail = {"at_s": at_s, "tolerance": plan.tolerance_w}
    return Verdict("cap_kept", state, value, rule.limit_w, "W", text, detail)


def failsafe_seen(plan: VerdictPlan, trace: Trace, _: Trace, rule: CutRule) -> Verdict:
    """Judge when a charger without its link was down at its fail-safe amps, by its own timer.

    Where several links were cut, each has a verdict with its charger's name.
    """
    i = rule.charger
    name = "failsafe_seen" if len(plan.cuts) == 1 else f"failsafe_seen {trace.charger_names[i]}"
    limit_s = rule.failsafe_s + rule.fall_s
    at, due, end = (_first(trace, t_s) for t_s in (rule.at_s, rule.at_s + limit_s, rule.until_s))
    if at >= len(trace.t_s) or at == 0:
        return _too_short(name, limit_s, "s", trace, rule.at_s + limit_s)
    amps, top_a = trace.drawn_a[:, i], rule.failsafe_a + plan.tolerance_a
    if not np.isfinite(amps[at - 1 : end]).all():
        return Verdict(name, INCONCLUSIVE, np.nan, limit_s, "s", "its amps are unknown after the cut")
    above = np.flatnonzero(amps[at:end] > top_a)
    down = at + (int(above[-1]) + 1 if len(above) else 0)
    taken_s = float(trace.t_s[down] - rule.at_s) if down < end else np.inf
    if due >= len(trace.t_s) and down >= end:  # it may still fall in time
        return _too_short(name, limit_s, "s", trace, rule.at_s + limit_s)
    label = trace.charger_names[i]
    text = f"{label} drew {amps[at - 1]:.1f} A at the cut, {rule.failsafe_a:g} A or less from {taken_s:.1f} s after it"
    text = (
        text
        if np.isfinite(taken_s)
        else f"{label} drew {amps[at - 1]:.1f} A at the cut and still {amps[end - 1]:.1f} A"
    )
    detail = {"charger": label, "at_cut_a": float(amps[at - 1]), "tolerance": plan.tolerance_a}
    state = PASSED if taken_s <= limit_s + EPS_S else FAILED
    why = _not_its_own_fall(trace, i, at, top_a)
    if why and (state == PASSED or amps[at - 1] <= top_a):
        state, text = NOT_EXERCISED, f"{text}; {why}"
    return Verdict(name, state, taken_s, limit_s, "s", text, detail)


def _not_its_own_fall(trace: Trace, i: int, at: int, top_a: float) -> str:
    """Say why a fall to the fail-safe amps proves nothing about the charger's own timer; empty where it does."""
    if trace.drawn_a[at - 1, i] <= top_a:
        return "it did not charge above its fail-safe when the link was cut"
    if trace.link[at:, i].all():
        return "its link was never lost"
    acted = np.flatnonzero(trace.failsafe_active[at:, i])
    if len(acted) == 0:
        return "its own fail-safe never acted"
    if trace.drawn_a[at + max(int(acted[0]) - 1, 0), i] <= top_a:
        return "it had fallen before its own fail-safe acted"
    return ""


def nothing_rose_on_stale(plan: VerdictPlan, trace: Trace, reference: Trace) -> Verdict:
    """Judge the largest rise of amps allowed or drawn over their values when the value went stale.

    A car may still rise to what its pilot or the controller gave it before that moment. Without control, the amps
    drawn are held against the controlled run's: what would have been taken, had nobody held back.
    """
    rule = plan.stale
    assert isinstance(rule, StaleRule)
    name = "nothing_rose_on_stale"
    start = int(np.searchsorted(reference.t_s, rule.at_s + EPS_S)) - 1
    rows = (trace.t_s > rule.at_s + EPS_S) & (trace.t_s < rule.until_s)
    if start < 0 or not rows.any() or trace.t_s[-1] < rule.until_s - SLACK_S:
        return _too_short(name, 0.0, "A", trace, rule.until_s)
    allowed_a, drawn_a = reference.allowed_a[start], reference.drawn_a[start]
    given_a = np.fmax(drawn_a, np.fmax(allowed_a, reference.pwm_a[start]))
    rises = [trace.drawn_a[rows] - given_a]
    if trace.name == CONTROLLED:
        with np.errstate(invalid="ignore"):
            rise = trace.allowed_a[rows] - allowed_a
        rises.append(np.where(np.isposinf(allowed_a), 0.0, rise))
    both = np.maximum(*rises) if len(rises) == 2 else rises[0]
    known = not bool(np.isnan(both).any())
    if np.isnan(both).all():
        return Verdict(name, INCONCLUSIVE, np.nan, 0.0, "A", "no amps are known while the value was stale")
    row, column = np.unravel_index(np.nanargmax(both), both.shape)
    value, at_s = float(both[row, column]), float(trace.t_s[rows][row])
    label = trace.charger_names[column]
    text = f"largest rise {value:+.2f} A ({label}, {at_s:.1f} s) from {rule.at_s:g} to {rule.until_s:g} s"
    state = _state(value <= plan.tolerance_a, known)
    if state == PASSED and trace.name == CONTROLLED and not (trace.node_a_trust[rows] != 0).any():
        state, text = NOT_EXERCISED, f"{text}; the controller never distrusted a node in that time"
    detail = {"charger": label, "at_s": at_s, "tolerance": plan.tolerance_a}
    return Verdict(name, state, value, 0.0, "A", text + _unknown(known), detail)


def heartbeat_failsafe(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge how long the feeder head took to fall, for good, to its fail-safe watts without the DSO's heartbeat."""
    rule = plan.silence
    assert isinstance(rule, SilenceRule)
    name, limit_s = "heartbeat_failsafe", rule.timeout_s + BEAT_GAP_S + float(plan.obey_s.max(initial=0.0))
    at, end = _first(trace, rule.at_s), _first(trace, rule.until_s)
    if at == 0 or _first(trace, rule.at_s + limit_s) >= len(trace.t_s):
        return _too_short(name, limit_s, "s", trace, rule.at_s + limit_s)
    watts, cap_w = trace.head_w[at:end], rule.limit_w + plan.tolerance_w
    if not np.isfinite(watts).all():
        return Verdict(name, INCONCLUSIVE, np.nan, limit_s, "s", "watts of the feeder head are unknown")
    over = np.flatnonzero(watts > cap_w)
    down = at + (int(over[-1]) + 1 if len(over) else 0)
    taken_s = float(trace.t_s[down] - rule.at_s) if down < min(end, len(trace.t_s)) else np.inf
    before_w, after_w = float(trace.head_w[at - 1]), float(watts[-1])
    text = (
        f"{before_w / 1e3:.1f} kW when it stopped, {after_w / 1e3:.1f} kW at the end; fail-safe "
        f"{rule.limit_w / 1e3:g} kW after {rule.timeout_s:g} s of silence"
    )
    state = PASSED if taken_s <= limit_s + EPS_S else FAILED
    if before_w <= cap_w:
        state, text = NOT_EXERCISED, f"{text}; the load was not above the fail-safe when it stopped"
    elif taken_s < rule.timeout_s - BEAT_GAP_S:
        state, text = NOT_EXERCISED, f"{text}; it was down before the time-out"
    detail = {"before_w": before_w, "after_w": after_w, "tolerance": plan.tolerance_w}
    return Verdict(name, state, taken_s, limit_s, "s", text, detail)


def scan_figures(timing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the scan's own figures from timing.json, where they stand at the top or under `scan`."""
    inner = timing.get("scan")
    return inner if isinstance(inner, Mapping) else timing


def deadlines(budget: DeadlineBudget, timing: Mapping[str, Any]) -> Verdict:
    """Judge the scan's deadlines; misses with CPU time left, and late wake-ups, are the host's: inconclusive."""
    figures = scan_figures(timing)
    due = int(figures["scans"]) + int(figures["skipped"])
    name, limit = "deadlines", budget.missed_ratio
    if due == 0:
        return Verdict(name, INCONCLUSIVE, np.nan, limit, "1", "the scan never ran")
    missed = (int(figures["misses"]) + int(figures["skipped"])) / due
    ours = (int(figures["misses"]) - int(figures["misses_host"])) / due
    wake_us, wake_limit_us = float(figures["wake"]["p99_us"]), budget.wake_p99_ratio * figures["period_ms"] * 1e3
    text = (
        f"{figures['misses']} of {due} scans missed, {figures['misses_host']} of them by the host, "
        f"{figures['skipped']} skipped; wake-up p99 {wake_us / 1e3:.2f} ms, {wake_limit_us / 1e3:g} ms allowed"
    )
    state = PASSED
    if ours > limit:
        state = FAILED
    elif missed > limit or not wake_us <= wake_limit_us:
        state, text = INCONCLUSIVE, f"{text}; the host, not the scan, was late"
    detail = {"wake_p99_us": wake_us, "wake_p99_limit_us": wake_limit_us, "missed_by_scan": ours}
    return Verdict(name, state, missed, limit, "1", text, detail)
