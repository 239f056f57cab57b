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


def droop_margin(
    plan: Any, sensitivity_v_per_a: NDArray[np.float64], fairness: str, required_db: float
) -> tuple[Margin, list[str]]:
    """Return the margin of the plan's charging droop (whatever preset or points it came from), and what is refused.

    `sensitivity_v_per_a` (N, N) is the fall of each charger's volts per amp that each of them draws. The delay is the
    longest from a voltage to the amps that follow it: the oldest reading that is believed and the obey time.
    """
    period_s, u_nom_v = float(plan.period_s[0]), float(plan.u_nom_v[0])
    droops = plan.volt_source != VoltSource.NONE
    volts, rises = np.diff(plan.droop_pu, axis=1), np.diff(plan.droop_share, axis=1)
    steepest = np.max(np.divide(rises, volts, out=np.zeros_like(rises), where=volts > 0.0), axis=1)
    slopes = np.where(droops, steepest, 0.0) * plan.hard_max_a / u_nom_v
    field = broadcast_sensitivities(sensitivity_v_per_a, slopes) if fairness == "common" else sensitivity_v_per_a
    age_s = np.where(plan.volt_source == VoltSource.NODE, plan.node_max_age_s[plan.charger_node], plan.max_age_s)
    delay_s = float(np.max(np.where(droops, age_s + plan.obey_s, 0.0), initial=0.0))
    alpha = float(np.max(period_s / (plan.droop_tau_s + period_s)))
    margin = stability_margin(slopes, field, alpha, int(np.ceil(delay_s / period_s - 1e-9)))
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
    return margin, refused
