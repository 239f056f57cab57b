"""Refuse a site whose chargers, left alone, would together take more than a node carries: with the sum."""

import math

from controller.runtime.plan_check import PlanError
from controller.runtime.plan_spec import ChargerSpec, SiteSpec

NOMINAL_V = 230.0


def check_failsafes(site: SiteSpec) -> None:
    """Add up what the chargers below each node fall to by themselves; PlanError names every node that is too small.

    It is the sum per phase (A), and over all phases (W at 230 V); the houses' own load is not in it.
    """
    found = []
    for m, node in enumerate(site.nodes):
        below = [charger for charger in site.chargers if charger.failsafe_a > 0.0 and _stands_below(site, charger, m)]
        who = ", ".join(charger.name for charger in below)
        sums_a = [sum(c.failsafe_a for c in below if phase in c.phase_map) for phase in range(3)]
        largest_a = max(sums_a)
        if largest_a > node.limit_a:
            phase = "abc"[sums_a.index(largest_a)]
            text = f"node {node.name}: fail-safes of {who} together = {largest_a:g} A on phase {phase}"
            found.append(f"{text}; allowed is {node.limit_a:g} A, its limit_a: lower failsafe_a")
        total_w = sum(sums_a) * NOMINAL_V
        if math.isfinite(node.limit_w) and total_w > node.limit_w:
            text = f"node {node.name}: fail-safes of {who} together = {total_w:g} W"
            found.append(f"{text}; allowed is {node.limit_w:g} W, its limit_w: lower failsafe_a")
    if found:
        raise PlanError("\n".join(found))


def _stands_below(site: SiteSpec, charger: ChargerSpec, m: int) -> bool:
    at = charger.node
    while at >= 0 and at != m:
        at = site.nodes[at].parent
    return at == m
