"""Compute the margin of the droop that a plan holds, and name what would make it hunt: for rigs and for sites."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.law.names import VoltSource
from controller.law.stability import (
    Margin,
    MarginError,
    broadcast_sensitivities,
    critical_lambda,
    require_gaps,
    require_margin,
    stability_margin,
)


def steepest(curve_pu: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N,) the steepest rise of the curves (N, K), share per pu; 0 where none rises."""
    volts, rises = np.diff(curve_pu, axis=1), np.diff(share, axis=1)
    steep: NDArray[np.float64] = np.max(
        np.divide(rises, volts, out=np.zeros_like(rises), where=volts > 0.0), axis=1, initial=0.0
    )
    return steep


def scans(delay_s: float, period_s: float) -> int:
    """Return the whole scans that a delay takes."""
    return int(np.ceil(delay_s / period_s - 1e-9))


LONGEST_S = 3600.0  # a filter that is slower follows no day
KEYS = "hysteresis_pu, pause_pu and resume_pu stand under [law.droop], beside a preset too"


def droop_margin(
    plan: Any, sensitivity_v_per_a: NDArray[np.float64], fairness: str, required_db: float, names: Sequence[str]
) -> tuple[Margin, list[str]]:
    """Return the margin of the plan's charging droop (whatever preset or points it came from), and what is refused.

    `sensitivity_v_per_a` (N, N) is the fall of each charger's volts per amp that each of them draws. The delay is the
    longest from a voltage to the amps that follow it: the oldest reading that is believed and the obey time. `names`
    (N) are the chargers', for the refusal of the first whose own steps would make it hunt.
    """
    period_s, u_nom_v = float(plan.period_s[0]), float(plan.u_nom_v[0])
    droops = plan.volt_source != VoltSource.NONE
    slopes = np.where(droops, steepest(plan.droop_pu, plan.droop_share), 0.0) * plan.hard_max_a / u_nom_v
    age_s = np.where(plan.volt_source == VoltSource.NODE, plan.node_max_age_s[plan.charger_node], plan.max_age_s)
    delay_s = float(np.max(np.where(droops, age_s + plan.obey_s, 0.0), initial=0.0))
    alpha = float(np.max(period_s / (plan.droop_tau_s + period_s)))
    fields = [sensitivity_v_per_a]
    if fairness == "common":
        fields = [broadcast_sensitivities(sensitivity_v_per_a, slopes, lifted) for lifted in (False, True)]
    margins = [stability_margin(slopes, field, alpha, scans(delay_s, period_s)) for field in fields]
    margin = min(margins, key=lambda found: found.margin_db)
    refused = []
    try:
        require_margin(margin, required_db)
    except MarginError as error:
        enough_s = filter_that_does(margin, period_s, required_db)
        refused.append(
            f"{error}; filter_s from about {enough_s:.0f} s would do" if enough_s < LONGEST_S else str(error)
        )
    refused += _hunting(plan, np.flatnonzero(slopes > 0.0), sensitivity_v_per_a, names)
    return margin, refused + _exports(plan, sensitivity_v_per_a, delay_s, required_db)


def filter_that_does(margin: Margin, period_s: float, required_db: float) -> float:
    """Return the time constant from which a filter keeps the margin of this eigenvalue, s; +inf where none does."""
    needed = margin.lambda_max * 10.0 ** (required_db / 20.0)
    short_s, long_s = 0.0, LONGEST_S
    if critical_lambda(period_s / (long_s + period_s), margin.delay, margin.angle_rad) < needed:
        return np.inf
    while long_s - short_s > 0.1:
        tau_s = 0.5 * (short_s + long_s)
        fits = critical_lambda(period_s / (tau_s + period_s), margin.delay, margin.angle_rad) >= needed
        short_s, long_s = (short_s, tau_s) if fits else (tau_s, long_s)
    return long_s


def _hunting(
    plan: Any, droops: NDArray[np.intp], sensitivity_v_per_a: NDArray[np.float64], names: Sequence[str]
) -> list[str]:
    """Return the refusal of the first of the chargers `droops` whose own steps of amps its gaps do not hold."""
    for i in droops:
        try:
            require_gaps(
                np.column_stack([plan.droop_pu[i], plan.droop_share[i]]),
                hard_max_a=float(plan.hard_max_a[i]),
                floor_a=float(plan.floor_a[i]),
                step_a=float(plan.step_a[i]),
                hysteresis_pu=float(plan.droop_hysteresis_pu[i]),
                pause_pu=float(plan.droop_pause_pu[i]),
                resume_pu=float(plan.droop_resume_pu[i]),
                sensitivity_v_per_a=float(sensitivity_v_per_a[i, i]),
                u_nom_v=float(plan.u_nom_v[0]),
                still_a=float(plan.raise_band_a[i]),
            )
        except MarginError as error:
            return [f"{names[i]}: {error} ({KEYS})"]
    return []


def _exports(plan: Any, sensitivity_v_per_a: NDArray[np.float64], delay_s: float, required_db: float) -> list[str]:
    """Return what is refused of the volt-watt curves: exports fall as the volts rise, each charger by its own volts."""
    period_s, u_nom_v = float(plan.period_s[0]), float(plan.u_nom_v[0])
    curved = (plan.export_max_a > 0.0) & (plan.volt_source != VoltSource.NONE)
    slopes = np.where(curved, steepest(plan.export_pu, -plan.export_share) * plan.export_max_a / u_nom_v, 0.0)
    if not slopes.any():
        return []
    alpha = float(np.max(period_s / (plan.export_tau_s[slopes > 0.0] + period_s)))
    try:
        require_margin(
            stability_margin(slopes, sensitivity_v_per_a, alpha, scans(delay_s, period_s)), required_db, "export droop"
        )
    except MarginError as error:
        return [str(error)]
    return []
