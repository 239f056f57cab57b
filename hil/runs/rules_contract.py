"""Hold one run to the limits of its contracts at stations and connectors, by what the cars drew; see `rules`."""

import numpy as np

from hil.runs.evidence import Limit, Series, excess
from hil.runs.evidence import judged as can_judge
from hil.runs.promises import FAILED, INCONCLUSIVE, NOT_EXERCISED, PASSED, ContractRule, Verdict, VerdictPlan
from hil.runs.trace import Trace

PHASES = 3


def contract_kept(plan: VerdictPlan, trace: Trace, _: Trace, *, rule: ContractRule) -> Verdict:
    """Judge the largest excess over a contract's limit at any of its points; the last sample has no length."""
    name, bound = f"contract_kept_{rule.name}", f"its limit and {plan.tolerance_a:g} A"
    limit = rule.limit_at(trace.utc_s)
    judged = (trace.t_s >= 0.0) & limit.in_force() & _since(limit, trace.t_s, rule.late_s)
    judged[-1:] = False
    if not judged.any():
        text = "no limit was in force for longer than chargers need to obey"
        return Verdict(name, NOT_EXERCISED, np.nan, 0.0, "W", text)
    most_w, most_a, where, at_s, known = -np.inf, 0.0, "", np.nan, True
    judged &= can_judge(truth_series(trace, rule.points[0][1], rule.wiring), limit)  # one clock for all points
    if not judged.any():
        text = f"no limit was in force for a whole averaging interval of {limit.averaging_s:g} s"
        return Verdict(name, NOT_EXERCISED, np.nan, 0.0, "W", text)
    for point, chargers in rule.points:
        over_a, over_w = excess(truth_series(trace, chargers, rule.wiring), limit)
        known = known and bool(np.isfinite(over_w[judged]).all())
        over_w = np.where(judged & np.isfinite(over_w), over_w, -np.inf)
        k = int(np.argmax(over_w))
        if over_w[k] > most_w:
            most_w, most_a, where, at_s = float(over_w[k]), float(over_a[k]), point, float(trace.t_s[k])
    if not np.isfinite(most_w):
        return Verdict(name, INCONCLUSIVE, np.nan, 0.0, "W", "no amps are known while a limit was in force")
    hours = float(trace.dt_s()[judged].sum()) / 3600.0
    over = f"{where} was {most_a:.2f} A ({most_w:.0f} W) over at {at_s:.0f} s" if most_w > 0.0 else "none was over"
    text = f"{len(rule.points)} points, {hours:.2f} h under a limit; {over} {bound if most_w <= 0.0 else ''}".rstrip()
    if not known:
        text += "; some values are unknown"
    state = FAILED if most_w > 0.0 else PASSED if known else INCONCLUSIVE
    return Verdict(name, state, most_w, 0.0, "W", text, {"point": where, "at_s": at_s, "over_a": most_a})


def _since(limit: Limit, t_s: np.ndarray, late_s: float) -> np.ndarray:
    """Return where the limit has not fallen for `late_s`, (T,) bool: until then chargers are on their way down."""
    settled = np.ones(len(t_s), dtype=bool)
    if late_s > 0.0:
        for values in (limit.amp_a, limit.watt_w):
            for k in np.flatnonzero(values[1:] < values[:-1]) + 1:
                settled &= ~((t_s >= t_s[k]) & (t_s < t_s[k] + late_s))
    return settled


def truth_series(trace: Trace, chargers: tuple[int, ...], wiring: np.ndarray, *, back: bool = False) -> Series:
    """Return what the cars at a point drew, by the samples; `wiring` (N, 3) is the grid phase of each terminal.

    `back`: what they gave to the grid instead.
    """
    amps = np.zeros((len(trace.t_s), PHASES))
    volts = np.full((len(trace.t_s), PHASES), np.nan)
    for i in chargers:
        used = trace.phases_used(i)
        for terminal in range(PHASES):
            phase = int(wiring[i, terminal])
            if phase < 0:
                continue
            on = used > terminal
            amps[:, phase] += np.where(on, trace.drawn_a[:, i], 0.0)
            volts[on, phase] = trace.volt_v[on, i]
    given_w = -trace.power_w()[:, list(chargers)].sum(axis=1) if back else None
    return Series(trace.t_s, amps, volts, given_w)
