"""Make the promises of an energy guard, of section 14a and of contracts at stations out of a rig and of its run."""

import math
from functools import partial
from typing import Any

import numpy as np

from controller.law import lpc
from controller.runtime.contract_plan import below
from hil.rig.assembler import Assembly
from hil.rig.envelope_sender import played_contract
from hil.runs.evidence_limits import held_of, limit_of
from hil.runs.promises import ContractRule, DimRule, EnvelopeRule, GuardRule
from profiles.contract import load_contract
from profiles.contract_windows import Windowed

THREE_PHASES_W = 3 * 6.0 * 253.0  # the least that a charge point of three phases takes, at 1.1 of 230 V


def guard_rule(assembly: Assembly, log: list[dict[str, Any]]) -> GuardRule | None:
    """Return what the energy guard of a rig asks for; None where it has none."""
    part = assembly.rig.guard
    if part is None:
        return None
    told = [entry for entry in log if entry["event"] in ("lpc", "lpc_write")]
    steps = tuple((entry["t_s"], float("inf") if entry["limit_w"] is None else entry["limit_w"]) for entry in told)
    changes = [entry for entry in told if entry["event"] == "lpc" and entry["rule"] != "901"]
    walked = tuple(dict.fromkeys(f"{e['rule']} {e['before']} to {e['after']}" for e in changes))
    every = tuple(f"{rule} {before.name} to {after.name}" for rule, before, after in lpc.TRANSITIONS)
    wrong = tuple(
        f"{entry['what']} at {entry['t_s']:g} s: {'ACK' if entry['ack'] else 'NACK ' + str(entry['rule'])}"
        for entry in log
        if entry["event"] in ("lpc_write", "lpc_answer") and entry["wanted"] not in (None, entry["ack"])
    )
    whole = not any(entry["event"] == "lpc_restart_left_out" for entry in log)  # real time walks what it can
    return GuardRule(steps, walked, every if part.every_transition and whole else (), wrong)


def dim_rule(assembly: Assembly, log: list[dict[str, Any]], for_s: float) -> DimRule | None:
    """Return what the dimmed groups of a rig keep, from the first time that they were dimmed."""
    dims = [entry for entry in log if entry["event"] == "dim"]
    groups = [group for group in assembly.site.groups if group.dimmed_w < float("inf")]
    if not dims or not groups:
        return None
    chargers = assembly.site.chargers
    members = tuple(
        (group.name, tuple(i for i, charger in enumerate(chargers) if charger.node in group.members), group.dimmed_w)
        for group in groups
    )
    fits = [max(int(floor_w / THREE_PHASES_W), 1) for _, _, floor_w in members]
    slots = max(math.ceil(len(rows) / fit) for (_, rows, _), fit in zip(members, fits, strict=True)) + 1  # one is torn
    turns_s = slots * assembly.rig.law.rotation_s
    return DimRule(members, dims[0]["t_s"], min(dims[0]["t_s"] + dims[0]["for_s"], for_s), turns_s)


def envelope_rule(assembly: Assembly, log: list[dict[str, Any]]) -> EnvelopeRule | None:
    """Return what a connection keeps by the envelopes that the rig's sender sent; None where it plays none."""
    found = played_contract(assembly.rig)
    if found is None:
        return None
    part, contract = found
    sent = sorted(
        (entry["t_s"], tuple(map(tuple, entry["intervals"]))) for entry in log if entry["event"] == "envelope"
    )
    spec = assembly.site
    at = [node.name for node in spec.nodes].index(part.nodes[0])
    members = below(at, spec.nodes, spec.chargers)
    return EnvelopeRule(part.nodes[0], tuple(members), tuple(sent), contract.subscribed_w, contract.max_age_s)


def contract_rules(assembly: Assembly, obey_s: np.ndarray) -> tuple[ContractRule, ...]:
    """Return a promise for each contract of windows at a station of several sockets: what they draw together.

    Chargers that stand alone are judged one by one (`window_obeyed`); behind a connection there are households too.
    """
    rig, plan = assembly.rig, assembly.plan()
    contracts = [load_contract(part.file) for part in rig.contract]
    rules = []
    for held in held_of(assembly, rig.contract, contracts, rig.rig.timezone):
        stations = held.contract.limit.point == "station" and any(len(point.chargers) > 1 for point in held.points)
        if not stations or not isinstance(held.contract, Windowed):
            continue
        limit_at = partial(limit_of, held, tolerance_a=rig.verdict.tolerance_a, tolerance_w=rig.verdict.tolerance_w)
        late_s = max(float(obey_s[held.members()].max()) - held.lead_s, 0.0)
        points = tuple((point.name, point.chargers) for point in held.points)
        rules.append(ContractRule(held.name, points, np.asarray(plan.phase_map), limit_at, late_s))
    return tuple(rules)
