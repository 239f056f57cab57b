"""Hold one run to an energy guard, to operating envelopes and to the floors of section 14a, see `rules`."""

import numpy as np

from hil.runs.promises import (
    FAILED,
    INCONCLUSIVE,
    NOT_EXERCISED,
    PASSED,
    DimRule,
    EnvelopeRule,
    GuardRule,
    Verdict,
    VerdictPlan,
)
from hil.runs.trace import CONTROLLED, Trace

SERVED_WH = 100.0  # a dimmed device that got less has starved: six minutes of one phase at 6 A are 138 Wh


def guard_walked(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge which transitions of LPC were walked and how the writes were answered; nobody listens without control."""
    rule, name = plan.guard, "lpc_transitions"
    assert isinstance(rule, GuardRule)
    limit = float(len(rule.wanted) or 1)
    if trace.name != CONTROLLED:
        return Verdict(name, FAILED, 0.0, limit, "1", "nobody listens to the energy guard")
    missing = [change for change in rule.wanted if change not in rule.walked]
    text = f"{len(rule.walked)} transitions walked: {', '.join(rule.walked)}"
    if missing:
        text += f"; missing: {', '.join(missing)}"
    if rule.wrong:
        text += f"; answered otherwise than asked for: {', '.join(rule.wrong)}"
    state = FAILED if missing or rule.wrong else PASSED if rule.walked else NOT_EXERCISED
    detail = {"walked": list(rule.walked), "missing": missing, "wrong": list(rule.wrong)}
    return Verdict(name, state, float(len(rule.walked)), limit, "1", text, detail)


def guard_obeyed(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge the largest excess of the head's watts over the highest limit in force within the obey time."""
    rule, name = plan.guard, "lpc_limit_kept"
    assert isinstance(rule, GuardRule)
    obey_s = float(plan.obey_s.max(initial=0.0))
    rows = trace.t_s >= 0.0
    t_s, watts = trace.t_s[rows], trace.head_w[rows]
    at_s = np.array([step[0] for step in rule.steps])
    limit_w = np.array([step[1] for step in rule.steps])
    if len(at_s) == 0 or not len(t_s):
        return Verdict(name, NOT_EXERCISED, np.nan, plan.tolerance_w, "W", "no limit was ever in force")
    now = np.searchsorted(at_s, t_s, side="right") - 1
    before = np.searchsorted(at_s, t_s - obey_s, side="right") - 1
    allowed_w = np.array(
        [np.inf if first < 0 else limit_w[first : last + 1].max() for first, last in zip(before, now, strict=True)]
    )
    bound = np.isfinite(allowed_w)
    if not bound.any():
        return Verdict(name, NOT_EXERCISED, np.nan, plan.tolerance_w, "W", "no limit was in force for an obey time")
    if not np.isfinite(watts[bound]).all():
        return Verdict(name, INCONCLUSIVE, np.nan, plan.tolerance_w, "W", "watts of the feeder head are unknown")
    over_w = np.where(bound, watts - allowed_w, -np.inf)
    k = int(np.argmax(over_w))
    text = (
        f"{watts[k] / 1e3:.2f} kW at {t_s[k]:.1f} s, limit {allowed_w[k] / 1e3:g} + {plan.tolerance_w / 1e3:g} kW; "
        f"{int(bound.sum())} samples under a limit, each {obey_s:g} s after it"
    )
    state = PASSED if over_w[k] <= plan.tolerance_w else FAILED
    return Verdict(name, state, float(over_w[k]), plan.tolerance_w, "W", text, {"at_s": float(t_s[k])})


def floors_kept(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge the largest excess of a dimmed group over its floor, from the obey time on, and who starved."""
    rule, name = plan.dim, "par14a_floor_kept"
    assert isinstance(rule, DimRule)
    due_s = rule.from_s + float(plan.obey_s.max(initial=0.0))
    rows = (trace.t_s >= due_s) & (trace.t_s <= rule.until_s)
    if not rows.any():
        return Verdict(name, NOT_EXERCISED, np.nan, plan.tolerance_w, "W", f"the run ended before {due_s:.1f} s")
    hours = np.gradient(trace.t_s[rows]) / 3600.0 if rows.sum() > 1 else np.zeros(1)
    over_w, text, starved = -np.inf, "", []
    figures: dict[str, dict[str, object]] = {}
    least_wh = np.inf
    for label, members, floor_w in rule.groups:
        watts = trace.drawn_w[rows][:, list(members)]
        if not np.isfinite(watts).all():
            return Verdict(name, INCONCLUSIVE, np.nan, plan.tolerance_w, "W", f"watts of {label} are unknown")
        most_w, served_wh = float(watts.sum(axis=1).max()), (watts * hours[:, None]).sum(axis=0)
        figures[label] = {"floor_w": floor_w, "most_w": most_w, "served_wh": [round(float(wh)) for wh in served_wh]}
        least_wh = min(least_wh, float(served_wh.min()))
        starved += [trace.charger_names[members[k]] for k in np.flatnonzero(served_wh < SERVED_WH)]
        if most_w - floor_w > over_w:
            over_w = most_w - floor_w
            text = f"{label} ({len(members)} devices) drew {most_w / 1e3:.2f}, its floor is {floor_w / 1e3:.2f} kW"
    text = f"{len(rule.groups)} groups; the nearest: {text}; the least served device got {least_wh:.0f} Wh"
    if rule.until_s - due_s < rule.turns_s:
        text += f"; who starves shows after {rule.turns_s:g} s of turns, not in {rule.until_s - due_s:.0f} s"
        starved = []
    if starved:
        text += f"; starved: {', '.join(starved)}"
    state = PASSED if over_w <= plan.tolerance_w and not starved else FAILED
    return Verdict(name, state, over_w, plan.tolerance_w, "W", text, figures)


def envelope_kept(plan: VerdictPlan, trace: Trace, _: Trace) -> Verdict:
    """Judge the largest excess of a connection over the highest envelope in force within its obey time."""
    rule, name = plan.envelope, "envelope_kept"
    assert isinstance(rule, EnvelopeRule)
    rows = trace.t_s >= 0.0
    t_s, members = trace.t_s[rows], list(rule.members)
    if not rule.sent or not len(t_s):
        return Verdict(name, NOT_EXERCISED, np.nan, plan.tolerance_w, "W", "no envelope was ever sent")
    watts, obey_s = trace.drawn_w[rows][:, members].sum(axis=1), float(plan.obey_s[members].max())
    if not np.isfinite(watts).all():
        return Verdict(name, INCONCLUSIVE, np.nan, plan.tolerance_w, "W", f"watts at {rule.name} are unknown")
    now_w = rule.limit_w(t_s)
    changes_s = t_s[1:][now_w[1:] != now_w[:-1]]
    before_w = [rule.limit_w(t_s - obey_s), *(rule.limit_w(np.clip(c, t_s - obey_s, t_s)) for c in changes_s)]
    allowed_w = np.maximum(now_w, np.max(before_w, axis=0))
    over_w = watts - allowed_w
    k = int(np.argmax(over_w))
    silent = now_w == rule.subscribed_w
    text = (
        f"{rule.name}: {watts[k] / 1e3:.2f} kW at {t_s[k]:.1f} s, limit {allowed_w[k] / 1e3:g} + "
        f"{plan.tolerance_w / 1e3:g} kW; {len(rule.sent)} schedules; highest {watts.max() / 1e3:.2f} kW"
    )
    if silent.any():
        for_s = float(np.diff(t_s, append=t_s[-1])[silent].sum())
        text += f", {watts[silent].mean() / 1e3:.2f} kW in the {for_s:.0f} s of subscribed capacity"
    state = PASSED if over_w[k] <= plan.tolerance_w else FAILED
    return Verdict(name, state, float(over_w[k]), plan.tolerance_w, "W", text, {"at_s": float(t_s[k])})
