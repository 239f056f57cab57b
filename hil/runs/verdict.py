"""Judge a run: what the scenario promised against what was drawn, each rule beside the run without control.

A verdict is passed, failed, not_exercised (the run gave it nothing to prove) or inconclusive (it cannot be known:
values are missing, or the host, not the product, was late). A rule that also holds without control proves nothing
and is not_exercised. Times are made of the devices' own pacing and measured at the amps drawn, not at our orders.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hil.runs import rules
from hil.runs.promises import (
    FAILED,
    INCONCLUSIVE,
    NOT_EXERCISED,
    PASSED,
    CutRule,
    DeadlineBudget,
    Mark,
    OrderRule,
    StaleRule,
    Verdict,
    VerdictPlan,
    WindowRule,
    marks_of,
)
from hil.runs.trace import Trace

__all__ = [
    "CutRule",
    "DeadlineBudget",
    "Mark",
    "OrderRule",
    "StaleRule",
    "Verdict",
    "VerdictPlan",
    "WindowRule",
    "against",
    "exit_code",
    "judge",
    "marks_of",
]

GAP_S = 1.0  # the plant publishes 10 times a second; a run in longer steps may lack two of them


def judge(
    plan: VerdictPlan, controlled: Trace, uncontrolled: Trace | None, timing: Mapping[str, Any] | None
) -> list[Verdict]:
    """Return a verdict for every rule of the plan, in the order of the scenario.

    `uncontrolled` is the same seed without control; where it is None, a rule that holds is inconclusive. `timing` is
    the scan's figures as in `timing.json` (TimingView.to_dict); None in fast mode, where there is no deadline.
    A ValueError says that the plan does not fit the trace.
    """
    n = len(controlled.charger_names)
    if plan.obey_s.shape != (n,) or not np.all(np.isfinite(plan.obey_s)):
        raise ValueError(f"verdict plan: obey_s has shape {plan.obey_s.shape}, must be ({n},) finite seconds")
    for trace in (controlled, uncontrolled):
        if trace is not None and len(trace.t_s) == 0:
            raise ValueError(f"trace {trace.name}: no samples, so there is nothing to judge")
    verdicts = [
        against(rule(plan, controlled, controlled), rule(plan, uncontrolled, controlled) if uncontrolled else None)
        for rule in rules.of(plan)
    ]
    if unseen := hole(controlled):
        verdicts = [
            _restate(found, INCONCLUSIVE, f"{found.text}; {unseen}") if found.state == PASSED else found
            for found in verdicts
        ]
    if plan.deadlines is not None and timing is not None:
        verdicts.append(rules.deadlines(plan.deadlines, timing))
    return verdicts


def hole(trace: Trace) -> str:
    """Say where a run from scenario time 0 on was not seen for longer than GAP_S; empty where it was seen throughout.

    What was drawn in a hole is unknown, and unknown values never pass.
    """
    spans_s = np.diff(trace.t_s)
    allowed_s = max(GAP_S, 3.0 * float(np.median(spans_s))) if len(spans_s) else GAP_S
    seen_s = np.concatenate([[0.0], trace.t_s[trace.t_s >= 0.0]]) if trace.t_s[0] > 0.0 else trace.t_s
    gaps_s = np.diff(seen_s, append=seen_s[-1])
    k = int(np.argmax(gaps_s))
    if gaps_s[k] <= allowed_s:
        return ""
    return f"no sample from {seen_s[k]:.1f} to {seen_s[k] + gaps_s[k]:.1f} s, {allowed_s:g} s allowed"


def against(found: Verdict, without: Verdict | None) -> Verdict:
    """Return the verdict of the controlled run in the light of the run without control."""
    if found.state != PASSED:
        return found
    if without is None:
        return _restate(found, INCONCLUSIVE, f"{found.text}; there is no run without control to compare with")
    detail = found.detail | {"uncontrolled_value": without.value, "uncontrolled_state": without.state}
    if without.state == FAILED:
        return _restate(found, PASSED, f"{found.text} (without control: {without.text})", detail)
    if without.state == INCONCLUSIVE:
        return _restate(found, INCONCLUSIVE, f"{found.text}; the run without control: {without.text}", detail)
    return _restate(found, NOT_EXERCISED, f"{found.text}; it holds without control as well: {without.text}", detail)


def _restate(found: Verdict, state: str, text: str, detail: dict[str, Any] | None = None) -> Verdict:
    return Verdict(found.name, state, found.value, found.limit, found.unit, text, detail or found.detail)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 1 where one failed, else 4 where one was not exercised or is inconclusive, else 0.

    No verdict at all is 0: a run that promises nothing has kept its promises.
    """
    states = {verdict.state for verdict in verdicts}
    if FAILED in states:
        return 1
    return 4 if states & {NOT_EXERCISED, INCONCLUSIVE} else 0
