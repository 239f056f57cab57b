"""Declare, check and fill groups of nodes that share a capacity: clusters of stations, active network management."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from controller.law.names import Group

INF = math.inf
GroupRule = Literal["cluster", "lifo", "pro_rata"]
RULES: dict[str, int] = {"cluster": Group.CLUSTER, "lifo": Group.LIFO, "pro_rata": Group.PRO_RATA}


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """Declare a group: some nodes, none below another, and the most that they import and export together, W.

    `stack` gives each member's place by its date (the highest is curtailed first) and `firm_w` what it is served
    before others get more; both empty or as long as `members`. `node` is a node of the tree whose room bounds the
    group too, -1 none. `whole` connections count with all that they draw, otherwise their stations alone.
    """

    name: str
    members: tuple[int, ...]
    rule: GroupRule = "cluster"
    limit_w: float = INF
    export_w: float = INF
    node: int = -1
    whole: bool = False
    stack: tuple[int, ...] = ()
    firm_w: tuple[float, ...] = ()
    dimmed_w: float = INF  # what dimming hands in (section 14a); the plan does not hold it


def check_groups(groups: Sequence[GroupSpec], parents: Sequence[int]) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the groups of a site: where, value with unit, what is allowed."""
    taken: dict[int, str] = {}
    if len(groups) > len(parents):
        yield "groups", str(len(groups)), f"no more than there are nodes, {len(parents)}"
    for group in groups:
        at = f"group {group.name}"
        if not group.members:
            yield f"{at}: members", "none", "one node or more"
        for key in ("limit_w", "export_w"):
            if not getattr(group, key) >= 0.0:
                yield f"{at}: {key}", f"{getattr(group, key):g} W", "a number from 0"
        if group.rule not in RULES:
            yield f"{at}: rule", repr(group.rule), ", ".join(RULES)
        if not -1 <= group.node < len(parents):
            yield f"{at}: node", str(group.node), f"-1 or a node, 0 to {len(parents) - 1}"
        for key in ("stack", "firm_w"):
            if getattr(group, key) and len(getattr(group, key)) != len(group.members):
                yield f"{at}: {key}", f"{len(getattr(group, key))} numbers", f"one a member, {len(group.members)}"
        if not all(0.0 <= firm_w < INF for firm_w in group.firm_w):
            yield f"{at}: firm_w", str(group.firm_w), "finite numbers of W from 0"
        if group.rule == "lifo" and not group.stack:
            yield f"{at}: stack", "none", "a place for each member: last in, first out goes by it"
        for m in group.members:
            if not 0 <= m < len(parents):
                yield f"{at}: members", str(m), f"nodes 0 to {len(parents) - 1}"
                continue
            if m in taken:
                yield f"{at}: members", f"node {m}", f"a node is a member of one group only; it is of {taken[m]}"
            taken[m] = group.name
    for m in taken:
        above, hops = parents[m], 0
        while above >= 0 and hops < len(parents):
            if above in taken:
                yield f"group {taken[m]}: members", f"node {m}", f"not below another member, node {above}"
            above, hops = parents[above], hops + 1


def fill_groups(plan: Any, groups: Sequence[GroupSpec]) -> None:
    """Write the groups into the PLAN image; group k is row k of the arrays of groups."""
    for k, group in enumerate(groups):
        plan.group_rule[k] = RULES[group.rule]
        plan.group_limit_w[k] = group.limit_w
        plan.group_export_w[k] = group.export_w
        plan.group_node[k] = group.node
        plan.group_whole[k] = group.whole
        for j, m in enumerate(group.members):
            plan.group_of[m] = k
            plan.anm_stack[m] = group.stack[j] if group.stack else 0
            plan.anm_firm_w[m] = group.firm_w[j] if group.firm_w else 0.0
