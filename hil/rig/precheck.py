"""Compute what must hold before anything is switched on: load-flow agreement, loop gain, droop margin."""

from dataclasses import dataclass

import numpy as np

from controller.law.stability import stability_margin
from hil.plant.feeder import FeederSolver
from hil.plant.phil import loop_gain, refusal
from hil.rig.assembler import Assembly
from hil.rig.references import Problem
from hil.rig.rigfile import RigError

U_NOM_V = 230.0
V_TRIP_PU = 0.85


@dataclass(frozen=True, slots=True)
class Margins:
    """Hold the figures of a rig before its first output-on."""

    agreement_pu: float
    loop_gain: float
    lambda_max: float
    critical_lambda: float
    margin_db: float


def margins(assembly: Assembly) -> Margins:
    """Compute the margins of a rig; a RigError refuses one under its required margin, with the figure."""
    rig = assembly.rig
    network = assembly.network
    solver = FeederSolver(network.z_ohm, network.v0_v, network.phase)
    rows = assembly.customer_of
    gain, problems = float("nan"), []
    if rig.bench is not None:
        z_ohm = float(solver.thevenin_ohm[rows[assembly.dut]])
        gain = loop_gain(z_ohm, assembly.evse[assembly.dut].hard_max_a, V_TRIP_PU * U_NOM_V)
        text = refusal(gain, rig.bench.max_loop_gain, rig.bench.charger)
        if text is not None:
            problems.append(Problem("bench.max_loop_gain", f"{rig.bench.max_loop_gain:g}", text))
    droop = rig.law.droop
    points = np.array(droop.points)
    slope_pu = float(np.max(np.diff(points[:, 1]) / np.diff(points[:, 0])))
    tops_a = np.array([spec.hard_max_a for spec in assembly.evse])
    slopes_a_per_v = slope_pu * tops_a / U_NOM_V
    sensitivity = -solver.sensitivity_v_per_a()[np.ix_(rows, rows)]
    alpha = 1.0 - float(np.exp(-rig.rig.scan_period_s / droop.filter_s))
    delay = round(max(charger.obey_s for charger in assembly.site.chargers) / rig.rig.scan_period_s)
    margin = stability_margin(slopes_a_per_v, sensitivity, alpha, delay)
    if margin.margin_db < droop.required_margin_db:
        text = (
            f"stability margin {margin.margin_db:.1f} dB, required {droop.required_margin_db:g} dB "
            f"(slope {slope_pu:.1f} of the ceiling per pu, delay {delay} scans, filter {droop.filter_s:g} s): "
            "make the curve flatter or the filter slower"
        )
        problems.append(Problem("law.droop", "", text))
    if problems:
        raise RigError(problems)
    return Margins(network.agreement_pu, gain, margin.lambda_max, margin.critical_lambda, margin.margin_db)


def precheck(assembly: Assembly) -> list[str]:
    """Return the margins as lines for people; RigError where one refuses the rig."""
    found = margins(assembly)
    required_db = assembly.rig.law.droop.required_margin_db
    lines = [
        f"feeder {assembly.rig.feeder.name}: impedance matrix and power-grid-model agree to "
        f"{found.agreement_pu:.1e} pu (allowed 1e-06)",
        f"droop: loop gain {found.lambda_max:.2f}, critical {found.critical_lambda:.2f}, margin "
        f"{found.margin_db:.1f} dB (required {required_db:g})",
    ]
    if assembly.rig.bench is not None:
        lines.append(
            f"bench {assembly.rig.bench.charger}: power-HIL loop gain {found.loop_gain:.3f} "
            f"(allowed {assembly.rig.bench.max_loop_gain:g})"
        )
    return lines
