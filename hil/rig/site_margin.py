"""Compute the droop's margin of a site from the volts per amp that commissioning measured."""

import numpy as np

from controller.runtime.plan import build_plan
from hil.rig.droop_margin import droop_margin
from hil.rig.references import Problem
from hil.rig.rigfile import RigError
from hil.rig.site_file import LoadedSite


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
    droop = loaded.file.law.droop
    _, _, plan = build_plan(loaded.spec)
    names = [part.name for part in loaded.file.charger]
    margin, refused = droop_margin(plan, field, droop.fairness, droop.required_margin_db, names)
    if refused:
        raise RigError([Problem(f"{loaded.path.name}:law.droop", "", text) for text in refused])
    return (
        f"droop: loop gain at most {margin.lambda_max:.2f}, critical {margin.critical_lambda:.2f}, margin "
        f"{margin.margin_db:.1f} dB (required {droop.required_margin_db:g})"
    )
