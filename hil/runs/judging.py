"""Make the promises of a scenario out of its rig and of what happened in the run."""

from typing import Any

import numpy as np

from hil.rig.assembler import Assembly
from hil.rig.scenario_keys import CHARGER_FAULTS
from hil.runs.judging_limits import contract_rules, dim_rule, envelope_rule, guard_rule
from hil.runs.promises import CutRule, DeadlineBudget, Mark, OrderRule, SilenceRule, StaleRule, VerdictPlan, WindowRule
from instruments.catalog import charger_of

DAY_S = 86400.0
REACT_S = 1.0  # from an order's arrival to the first lower limit: publishing, subscription and one scan


def verdict_plan(assembly: Assembly, log: list[dict[str, Any]], for_s: float) -> VerdictPlan:
    """Return what this run must keep: windows from the contracts, the rest from the events that took place.

    `log` is what the plant wrote down (which charger was cut, what was measured at the order).
    """
    rig = assembly.rig
    plan = assembly.plan()
    site_obey_s = np.array([charger.obey_s for charger in assembly.site.chargers]) + REACT_S
    bounds = rig.verdict
    order = stale = silence = None
    cuts: list[CutRule] = []
    for entry in log:
        if entry["event"] == "order" and order is None:
            until_s = min([entry["t_s"] + entry["for_s"], *(e["t_s"] for e in log if e["event"] == "silence")])
            pause = len(rig.charger) > 1  # a single charger is to fall, not to stop
            order = OrderRule(entry["t_s"], entry["limit_w"], until_s, needs_pause=pause)
        elif entry["event"] == "cut_link":
            i = assembly.charger_names.index(entry["charger"])
            timing = charger_of(assembly.models[i]).timing
            fall_s = timing.pwm_gap_s + timing.car_s
            end_s = entry["t_s"] + entry["for_s"]
            failsafe_s, failsafe_a = float(plan.failsafe_s[i]), float(plan.failsafe_a[i])
            cuts.append(CutRule(i, entry["t_s"], failsafe_s, failsafe_a, fall_s, end_s))
        elif entry["event"] == "freeze" and stale is None:
            known_s = entry["t_s"] + rig.substation.max_age_s  # before that it is late, not stale
            stale = StaleRule(known_s, min(entry["t_s"] + entry["for_s"], for_s))
        elif entry["event"] == "silence" and silence is None and rig.substation.failsafe_w is not None:
            wait_s = rig.substation.heartbeat_timeout_s
            silence = SilenceRule(entry["t_s"], wait_s, rig.substation.failsafe_w, entry["t_s"] + entry["for_s"])
    return VerdictPlan(
        obey_s=site_obey_s,
        voltage_min_pu=bounds.voltage_min_pu,
        window=_window(assembly, for_s),
        order=order,
        cuts=tuple(cuts),
        stale=stale,
        silence=silence,
        guard=guard_rule(assembly, log),
        dim=dim_rule(assembly, log, for_s),
        envelope=envelope_rule(assembly, log),
        contracts=contract_rules(assembly, site_obey_s),
        deadlines=DeadlineBudget(bounds.missed_max_share, bounds.wake_p99_max_share),
        tolerance_a=bounds.tolerance_a,
        tolerance_w=bounds.tolerance_w,
    )


def fault_marks(log: list[dict[str, Any]]) -> list[Mark]:
    """Return a mark for every fault of a charger that took place, where it began."""
    told = [(entry["t_s"], entry["event"], entry["chargers"]) for entry in log if entry["event"] in CHARGER_FAULTS]
    return [Mark(t_s, f"{kind.replace('_', ' ')} {', '.join(names[:3])}") for t_s, kind, names in told]


def _window(assembly: Assembly, for_s: float) -> WindowRule | None:
    """Return the first contract window that begins within the run and lowers the limit."""
    start_s = assembly.week_s % DAY_S
    found: dict[tuple[float, float, float], list[int]] = {}
    for window in assembly.site.windows:
        begin_s = (window.from_s - start_s) % DAY_S
        ceiling_a = max(c.hard_max_a for c in assembly.site.chargers)
        weekday = int((assembly.week_s + begin_s) // DAY_S) % 7
        due = begin_s <= for_s and window.days >> weekday & 1
        if due and window.limit_a < ceiling_a and window.charger >= 0:
            length_s = (window.to_s - window.from_s) % DAY_S
            found.setdefault((begin_s, window.limit_a, begin_s + length_s), []).append(window.charger)
    if not found:
        return None
    (begin_s, limit_a, until_s), chargers = min(found.items())
    return WindowRule(tuple(chargers), begin_s, limit_a, until_s)
