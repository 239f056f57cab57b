"""Compute what must hold before anything is switched on: load-flow agreement, loop gain, droop margin."""

from dataclasses import dataclass

import numpy as np

from controller.runtime.failsafe_check import check_failsafes
from controller.runtime.plan_check import PlanError
from hil.plant.feeder import FeederSolver
from hil.plant.phil import loop_gain, refusal
from hil.rig.assembler import Assembly, first_nodes
from hil.rig.droop_margin import droop_margin
from hil.rig.references import Problem
from hil.rig.rigfile import RigError
from instruments.catalog import charger_of, load_model

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
    try:
        check_failsafes(assembly.site)
    except PlanError as error:
        raise RigError([Problem("failsafe_a", "", line) for line in str(error).splitlines()]) from error
    network = assembly.network
    solver = FeederSolver(network.z_ohm, network.v0_v, network.phase)
    rows = first_nodes(network, assembly.customer_of, assembly.tree)
    gain, problems = float("nan"), []
    if rig.bench is not None:
        z_ohm = float(solver.thevenin_ohm[rows[assembly.dut]])
        gain = loop_gain(z_ohm, assembly.evse[assembly.dut].hard_max_a, V_TRIP_PU * U_NOM_V)
        text = refusal(gain, rig.bench.max_loop_gain, rig.bench.charger)
        if text is not None:
            problems.append(Problem("bench.max_loop_gain", f"{rig.bench.max_loop_gain:g}", text))
    falls = -solver.sensitivity_v_per_a()[np.ix_(rows, rows)]
    margin, refused = droop_margin(
        assembly.plan(), falls, rig.law.droop.fairness, rig.law.droop.required_margin_db, assembly.charger_names
    )
    problems += [Problem("law.droop", "", text) for text in refused]
    if problems:
        raise RigError(problems)
    return Margins(network.agreement_pu, gain, margin.lambda_max, margin.critical_lambda, margin.margin_db)


def refuse_switching_on_wires(assembly: Assembly) -> None:
    """Refuse phase switching in real time where a model has no register for it.

    The law would count on a third of what the charger then draws. Virtual time carries it.
    """
    asked = [charger for charger in assembly.rig.charger if charger.switch_phases]
    deaf = [f"{c.name} ({c.model})" for c in asked if charger_of(load_model(c.model)).phase_switch is None]
    if deaf:
        text = "these models have no register that switches phases: use --fast, or leave the key out"
        raise RigError([Problem("charger.switch_phases", ", ".join(deaf), text)])


def refuse_export_on_wires(assembly: Assembly) -> None:
    """Refuse a reserve that exports in real time: no charger of the catalog takes a negative limit on its wire yet.

    The law would count on an export that nobody delivers. Virtual time carries it.
    """
    givers = [name for name, max_a in zip(assembly.charger_names, assembly.export_max_a, strict=True) if max_a > 0.0]
    if assembly.rig.law.reserve_w > 0.0 and givers:
        text = f"{', '.join(givers)} would have to export, and no wire carries that yet: use --fast or other cars"
        raise RigError([Problem("law.reserve_w", f"{assembly.rig.law.reserve_w:g} W", text)])


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
