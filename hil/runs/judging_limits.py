"""Make the promises of an energy guard and of section 14a out of a rig and of what happened in its run."""

from typing import Any

from controller.law import lpc
from hil.rig.assembler import Assembly
from hil.runs.promises import DimRule, GuardRule


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
    return DimRule(members, dims[0]["t_s"], min(dims[0]["t_s"] + dims[0]["for_s"], for_s))
