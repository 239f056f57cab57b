"""Compute the droop's margin of a site from the volts per amp that commissioning measured."""

import numpy as np

from controller.law.stability import (
    MarginError,
    broadcast_sensitivities,
    require_hysteresis,
    require_margin,
    stability_margin,
)
from controller.runtime.plan import build_plan
from hil.rig.references import Problem
from hil.rig.rigfile import RigError
from hil.rig.site_file import LoadedSite

U_NOM_V = 230.0


def site_margin(loaded: LoadedSite) -> str:
    """Return the droop's margin as a line; a RigError refuses a site under what it requires, with the figure.

    Two chargers share at most the smaller of their own sensitivities, so the matrix of the minima has no smaller loop
    gain than the street. Where a charger's is not known there is no figure, and the line says so.
    """
    missing = [part.name for part in loaded.file.charger if part.voltage_v_per_a is None]
    if missing:
        return f"droop: margin unknown without voltage_v_per_a of {', '.join(missing)}; commission the site"
    own = np.array([part.voltage_v_per_a for part in loaded.file.charger], dtype=float)
    field = np.minimum.outer(own, own)
    droop, period_s = loaded.file.law.droop, loaded.file.site.scan_period_s
    if droop.fairness == "common":
        field = broadcast_sensitivities(field)
    _, _, plan = build_plan(loaded.spec)
    steps_pu, rises = np.diff(plan.droop_pu, axis=1), np.diff(plan.droop_share, axis=1)
    slope = np.max(np.divide(rises, steps_pu, out=np.zeros_like(rises), where=steps_pu > 0.0), axis=1)
    alpha = float(np.max(period_s / (plan.droop_tau_s + period_s)))
    delay = round(float(np.max(plan.obey_s)) / period_s)
    margin = stability_margin(slope * plan.hard_max_a / U_NOM_V, field, alpha, delay)
    try:
        require_margin(margin, droop.required_margin_db)
        for i, hysteresis_pu in enumerate(plan.droop_hysteresis_pu):
            require_hysteresis(float(hysteresis_pu), float(plan.floor_a[i]), float(own[i]), U_NOM_V)
    except MarginError as error:
        raise RigError([Problem(f"{loaded.path.name}:law.droop", "", str(error))]) from error
    return (
        f"droop: loop gain at most {margin.lambda_max:.2f}, critical {margin.critical_lambda:.2f}, margin "
        f"{margin.margin_db:.1f} dB (required {droop.required_margin_db:g})"
    )
