"""Turn contracts whose limits are handed in or shared into what the law keeps: node fields and groups of nodes."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from controller.law import gzf
from controller.runtime.contract_plan import Binding, connection_of
from controller.runtime.plan_check import PlanError
from controller.runtime.plan_groups import GroupRule, GroupSpec
from controller.runtime.plan_spec import INF, ChargerSpec, NodeSpec
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_group import AnmLifo, AnmProRata, Shared
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a

GUARD_MAX_AGE_S = 5.0  # the machine of an energy guard is asked in every scan: longer than that, it is dead
NOMINAL_V = 230.0


def with_limits(
    bindings: Iterable[Binding], nodes: Sequence[NodeSpec], chargers: Sequence[ChargerSpec]
) -> tuple[tuple[NodeSpec, ...], tuple[GroupSpec, ...]]:
    """Return the nodes with what contracts hand in there, and the groups; PlanError where a contract does not fit."""
    found, groups = list(nodes), []
    for binding in bindings:
        contract = binding.contract
        at = measured_at(binding, nodes, chargers)
        if isinstance(contract, OperatingEnvelope):
            band = contract.limit.kept
            for m in at:
                found[m] = _handed(found[m], contract.max_age_s, band(contract.subscribed_w),
                                   band(contract.subscribed_export_w))  # fmt: skip
        elif isinstance(contract, Lpc):
            failsafe_w = contract.limit.kept(contract.failsafe_w)
            back = contract.limit.direction == "export"
            for m in at:
                found[m] = _handed(found[m], GUARD_MAX_AGE_S, INF if back else failsafe_w, failsafe_w if back else INF)
        elif isinstance(contract, Par14a):
            groups += _par14a(contract, binding, chargers, at)
        elif isinstance(contract, Shared):
            groups.append(_shared(contract, binding, nodes, chargers, at))
    return tuple(found), tuple(groups)


def measured_at(binding: Binding, nodes: Sequence[NodeSpec], chargers: Sequence[ChargerSpec]) -> tuple[int, ...]:
    """Return the nodes at which the limit of a contract is measured: those above the stations, of a connection's."""
    contract = binding.contract
    at = binding.nodes or tuple(dict.fromkeys(chargers[i].node for i in binding.chargers))
    if contract.limit.point == "connection" and isinstance(contract, OperatingEnvelope | Lpc):
        at = tuple(dict.fromkeys(connection_of(m, nodes) for m in at))
    return at


def dimmed_w(contract: Par14a, ratings_w: Sequence[float]) -> float:
    """Return the floor (W) of a section 14a contract over charge points of these ratings and its own devices.

    ValueError where none of them is over 4.2 kW.
    """
    if contract.floor_w is not None:
        return contract.floor_w
    boxes = [gzf.Device("charge_point", rating_w) for rating_w in ratings_w]
    return gzf.floor_w([*boxes, *(gzf.Device(device.kind, device.power_w) for device in contract.device)])


def _handed(node: NodeSpec, max_age_s: float, subscribed_w: float, subscribed_export_w: float) -> NodeSpec:
    """Return the node with the lowest of what it had and what another contract hands in."""
    return replace(
        node,
        doe_max_age_s=min(node.doe_max_age_s, max_age_s),
        subscribed_w=min(node.subscribed_w, subscribed_w),
        subscribed_export_w=min(node.subscribed_export_w, subscribed_export_w),
    )


def _par14a(contract: Par14a, binding: Binding, chargers: Sequence[ChargerSpec], at: Sequence[int]) -> list[GroupSpec]:
    """Return the group that keeps the floor of an EMS, or one for each device that is dimmed directly.

    Undimmed, it has no limit; dimming hands one in (`group_w`). Storage, heat pumps and cooling are not controlled
    here: what they may draw while dimmed is out of what the charge points share.
    """
    ratings_w = [_rating_w(chargers[i]) for i in binding.chargers]
    try:
        floor_w = dimmed_w(contract, ratings_w)
    except ValueError as error:
        raise PlanError(f"contract {contract.name}: device = {error}; allowed is one device over 4.2 kW") from error
    if contract.mode == "direct":
        return [
            GroupSpec(f"{contract.name}/{chargers[i].name}", (chargers[i].node,), dimmed_w=gzf.FLOOR_W)
            for i in binding.chargers
        ]
    others_w = sum(min(device.power_w, gzf.direct_floor_w(gzf.Device(device.kind, device.power_w)))
                   for device in contract.device)  # fmt: skip
    kept_w = contract.limit.kept(max(floor_w - others_w, 0.0))
    limit_w = kept_w if contract.dimmed else INF
    name = f"{contract.name}/{chargers[binding.chargers[0]].name}" if binding.chargers else contract.name
    return [GroupSpec(name, tuple(at), limit_w=limit_w, dimmed_w=kept_w)]


def _rating_w(charger: ChargerSpec) -> float:
    return charger.hard_max_a * NOMINAL_V * sum(phase >= 0 for phase in charger.phase_map)


def _shared(
    contract: Shared, binding: Binding, nodes: Sequence[NodeSpec], chargers: Sequence[ChargerSpec], at: Sequence[int]
) -> GroupSpec:
    """Return the group of a cluster or of active network management."""
    rule: GroupRule = "lifo" if isinstance(contract, AnmLifo) else "cluster"
    rule = "pro_rata" if isinstance(contract, AnmProRata) else rule
    dates = {member.charger: member for member in contract.member}
    names = {chargers[i].node: chargers[i].name for i in reversed(binding.chargers)}
    wrong = sorted(set(dates).symmetric_difference(chargers[i].name for i in binding.chargers)) if dates else []
    if wrong:
        text = "a [[member]] for each charger that the contract binds, and for no other"
        raise PlanError(f"contract {contract.name}: member = {', '.join(wrong)}; allowed is {text}")
    places = {node.name: m for m, node in enumerate(nodes)}
    if contract.constraint is not None and contract.constraint not in places:
        known = ", ".join(places)
        raise PlanError(f"contract {contract.name}: constraint = {contract.constraint!r}; allowed is {known}")
    members = tuple(at)
    order = sorted(members, key=lambda m: (dates[names[m]].date, m)) if dates else list(members)
    value_w = contract.limit.kept(contract.limit_w)
    back = contract.limit.direction == "export"
    return GroupSpec(
        contract.name,
        members,
        rule,
        limit_w=INF if back else value_w,
        export_w=value_w if back else INF,
        node=-1 if contract.constraint is None else places[contract.constraint],
        whole=contract.limit.point == "connection",
        stack=tuple(order.index(m) for m in members) if dates else (),
        firm_w=tuple(dates[names[m]].firm_w for m in members) if dates else (),
    )
