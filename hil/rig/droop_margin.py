"""Compute the margin of the droop that a plan holds, and name what would make it hunt: for rigs and for sites."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.law.names import VoltSource
from controller.law.stability import (
    Margin,
    MarginError,
    broadcast_sensitivities,
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


def droop_margin(
    plan: Any, sensitivity_v_per_a: NDArray[np.float64], fairness: str, required_db: float
) -> tuple[Margin, list[str]]:
    """Return the margin of the plan's charging droop (whatever preset or points it came from), and what is refused.

    `sensitivity_v_per_a` (N, N) is the fall of each charger's volts per amp that each of them draws. The delay is the
    longest from a voltage to the amps that follow it: the oldest reading that is believed and the obey time.
    """
    period_s, u_nom_v = float(plan.period_s[0]), float(plan.u_nom_v[0])
    droops = plan.volt_source != VoltSource.NONE
    slopes = np.where(droops, steepest(plan.droop_pu, plan.droop_share), 0.0) * plan.hard_max_a / u_nom_v
    field = broadcast_sensitivities(sensitivity_v_per_a, slopes) if fairness == "common" else sensitivity_v_per_a
    age_s = np.where(plan.volt_source == VoltSource.NODE, plan.node_max_age_s[plan.charger_node], plan.max_age_s)
    delay_s = float(np.max(np.where(droops, age_s + plan.obey_s, 0.0), initial=0.0))
    alpha = float(np.max(period_s / (plan.droop_tau_s + period_s)))
    margin = stability_margin(slopes, field, alpha, scans(delay_s, period_s))
    refused = []
    try:
        require_margin(margin, required_db)
        for i in np.flatnonzero(slopes > 0.0):
            require_gaps(
                np.column_stack([plan.droop_pu[i], plan.droop_share[i]]),
                hard_max_a=float(plan.hard_max_a[i]),
                floor_a=float(plan.floor_a[i]),
                step_a=float(plan.step_a[i]),
                hysteresis_pu=float(plan.droop_hysteresis_pu[i]),
                pause_pu=float(plan.droop_pause_pu[i]),
                resume_pu=float(plan.droop_resume_pu[i]),
                sensitivity_v_per_a=float(sensitivity_v_per_a[i, i]),
                u_nom_v=u_nom_v,
                still_a=float(plan.raise_band_a[i]),
            )
    except MarginError as error:
        refused.append(str(error))
    return margin, refused + _exports(plan, sensitivity_v_per_a, delay_s, required_db)


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
