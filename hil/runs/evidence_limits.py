"""Say which limit a contract set at which measuring point and when, from its file and the site's clock alone.

Nothing that the controller decided is read here: the limit that proves it right or wrong is reckoned anew, from the
contract, the clock and the orders as they were received. The floor of section 14a is the formula that the law has too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from controller.law import gzf
from controller.runtime.contract_limits import NOMINAL_V, dimmed_w
from controller.runtime.contract_plan import below, connection_of
from controller.runtime.plan_spec import SiteSpec
from hil.rig.contracts import ContractPart, bind_contracts
from hil.runs.evidence import Limit
from hil.runs.evidence_clock import intervals, window_limits
from profiles.contract import AnyContract
from profiles.contract_calls import Called, FullyVariable
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_group import Shared
from profiles.contract_par14a import Par14a
from profiles.contract_windows import StaticProfile, Windowed

if TYPE_CHECKING:  # a field run needs neither rig nor plant
    from hil.rig.assembler import Assembly
    from hil.rig.rigfile import LoadedRig


@dataclass(frozen=True, slots=True)
class Point:
    """Name a measuring point, the chargers behind it (indices), and its node in the plan (-1 none).

    `dimmed_w` is the floor of section 14a there, +inf under any other kind.
    """

    name: str
    chargers: tuple[int, ...]
    node: int = -1
    dimmed_w: float = np.inf


@dataclass(frozen=True, slots=True)
class Told:
    """Hold a limit that somebody told: from and to (UTC s), W, and at which node or contract ("": everywhere)."""

    from_s: float
    to_s: float
    value_w: float
    subject: str = ""


class Place(Protocol):
    """Say what stands where: the site as it was declared for the plan, the plan, and names in its order."""

    @property
    def site(self) -> SiteSpec:
        """Return nodes and chargers as declared."""

    @property
    def charger_names(self) -> list[str]:
        """Return the chargers' names."""

    @property
    def nodes(self) -> list[str]:
        """Return the nodes' names."""

    def plan(self) -> Any:
        """Return the PLAN views."""


@dataclass(frozen=True, slots=True)
class Held:
    """Hold one contract of a run, how early it is told (s), its zone, the points at which it measures, and orders."""

    contract: AnyContract
    lead_s: float
    zone: ZoneInfo
    points: tuple[Point, ...]
    told: tuple[Told, ...] = ()

    @property
    def name(self) -> str:
        """Return the contract's id."""
        return self.contract.name

    def members(self) -> list[int]:
        """Return the chargers behind all points, sorted."""
        return sorted({i for point in self.points for i in point.chargers})


def contracts_of(loaded: "LoadedRig", assembly: "Assembly") -> list[Held]:
    """Return the contracts of a rig with their measuring points, in the order of the rig file."""
    return held_of(assembly, loaded.rig.contract, loaded.contracts, loaded.rig.rig.timezone)


def held_of(place: Place, parts: Sequence[ContractPart], contracts: Sequence[AnyContract], zone: str) -> list[Held]:
    """Return contracts with the points at which they measure, in the order of the file that names them."""
    site = place.site
    found: list[Held] = []
    for binding in bind_contracts(parts, contracts, site.chargers, site.nodes):
        contract = binding.contract
        points = tuple(_points(contract, binding.chargers, binding.nodes, place))
        held = Held(contract, binding.lead_s, ZoneInfo(contract.timezone or zone), points)
        same = next((k for k, other in enumerate(found) if other.name == held.name), -1)
        if same >= 0:  # one contract file at several connections
            found[same] = replace(found[same], points=found[same].points + points)
        else:
            found.append(held)
    return found


def _points(contract: AnyContract, chosen: Sequence[int], at: Sequence[int], place: Place) -> list[Point]:
    """Group chargers by where the contract measures: at its nodes, each alone, a station, a connection or a group."""
    plan, names, nodes = place.plan(), place.charger_names, place.nodes
    under = {m: below(m, place.site.nodes, place.site.chargers) for m in at}
    if isinstance(contract, Shared):
        where = -1 if contract.constraint is None else nodes.index(contract.constraint)
        return [Point(contract.name if where < 0 else nodes[where], tuple(sorted(chosen)), where)]
    if isinstance(contract, Par14a):
        return _dimmed_points(contract, chosen, place)
    if at:
        return [Point(nodes[m], under[m], m) for m in at]
    each = isinstance(contract, StaticProfile) and contract.other_socket == "each"
    where_of = contract.limit.point
    if each or where_of in ("connector", "par14a_device"):
        return [Point(names[i], (i,)) for i in chosen]
    groups: dict[int, list[int]] = {}
    for i in chosen:
        node = int(plan.charger_node[i])
        groups.setdefault(
            node if where_of == "station" else metered_node(plan, connection_of(node, place.site.nodes)), []
        ).append(i)
    return [Point(nodes[node], tuple(members), node) for node, members in groups.items()]


def _dimmed_points(contract: Par14a, chosen: Sequence[int], place: Place) -> list[Point]:
    """Return the points of section 14a with their floors: the devices of a connection together, or each alone."""
    names, chargers = place.charger_names, place.site.chargers
    if contract.mode == "direct":
        return [Point(names[i], (i,), dimmed_w=gzf.FLOOR_W) for i in chosen]
    ratings_w = [
        chargers[i].hard_max_a * NOMINAL_V * sum(phase >= 0 for phase in chargers[i].phase_map) for i in chosen
    ]
    others = [gzf.Device(device.kind, device.power_w) for device in contract.device]
    others_w = sum(min(device.power_w, gzf.direct_floor_w(device)) for device in others)
    floor_w = max(dimmed_w(contract, ratings_w) - others_w, 0.0)
    return [Point(f"{contract.name} at {names[chosen[0]]}", tuple(sorted(chosen)), dimmed_w=floor_w)]


def metered_node(plan: Any, node: int) -> int:
    """Return the nearest node with a meter at or above `node`; -1 where there is none."""
    while node >= 0 and not plan.node_metered[node]:
        node = int(plan.parent[node])
    return node


def limit_of(
    held: Held, utc_s: np.ndarray, tolerance_a: float, tolerance_w: float, point: Point | None = None
) -> Limit:
    """Return the limit of a contract at (T,) UTC times at one of its points; without one the lowest of all points.

    A tolerance is the greater of the site's and the contract's. Volt-amperes are taken as watts: cars charge at unity
    power factor. A steering contract asks for a set-point and has no limit.
    """
    contract = held.contract
    points = held.points if point is None else (point,)
    value = np.min([_told(held, here, _base(held, here, utc_s), utc_s) for here in points], axis=0)
    none = np.full(len(utc_s), np.inf)
    top = float(np.min(value, initial=np.inf))
    allowed = contract.limit.tolerance * top if np.isfinite(top) else 0.0
    in_amps = contract.limit.quantity == "A"
    return Limit(
        amp_a=value if in_amps else none,
        watt_w=none if in_amps else value,
        averaging_s=contract.limit.averaging_s,
        tolerance_a=max(tolerance_a, allowed) if in_amps else tolerance_a,
        tolerance_w=tolerance_w if in_amps else max(tolerance_w, allowed),
        interval=intervals(utc_s, contract.limit.averaging_s, held.zone),
    )


def _base(held: Held, point: Point, utc_s: np.ndarray) -> np.ndarray:
    """Return what holds at a point when nobody has called, dimmed or sent anything, (T,)."""
    contract, none = held.contract, np.full(len(utc_s), np.inf)
    if isinstance(contract, Windowed):
        return window_limits(contract, utc_s, held.zone)
    if isinstance(contract, Called):
        return np.full(len(utc_s), contract.capacity_w)
    if isinstance(contract, Shared):
        return np.full(len(utc_s), contract.limit_w)
    if isinstance(contract, OperatingEnvelope):
        back = contract.limit.direction == "export"
        return np.full(len(utc_s), contract.subscribed_export_w if back else contract.subscribed_w)
    return np.full(len(utc_s), point.dimmed_w) if isinstance(contract, Par14a) and contract.dimmed else none


def _told(held: Held, point: Point, value: np.ndarray, utc_s: np.ndarray) -> np.ndarray:
    """Return the limit (T,) with what was told: a call, a dimming, an envelope; of several at a time the lowest."""
    contract = held.contract
    lowest, said = np.full(len(utc_s), np.inf), np.zeros(len(utc_s), dtype=bool)
    for told in held.told:
        if told.subject in ("", contract.name, point.name):
            here = (utc_s >= told.from_s) & (utc_s < told.to_s)
            said |= here
            lowest[here] = np.minimum(lowest[here], point.dimmed_w if isinstance(contract, Par14a) else told.value_w)
    if isinstance(contract, Called):
        most_w = contract.max_w if isinstance(contract, FullyVariable) else contract.capacity_w
        return np.where(said, np.clip(lowest, contract.floor_w, most_w), value)
    return np.where(said, lowest, value)  # an interval that says no limit lifts what holds without one
