"""Lay out a rig's capacity tree: transformer, feeder head, a connection a customer with chargers, its stations.

A charger hangs at its station, or at its connection where it stands by itself. The emulated substation measures
transformer, head and connections; a station has a meter of its own, which the same gateway publishes.
"""

from dataclasses import dataclass, replace

import numpy as np

from controller.runtime.plan import NodeSpec
from hil.rig.meter_keys import with_meters
from hil.rig.schema import Rig
from hil.rig.tree_keys import TURNS, ConnectionPart

CONNECTION_NODE = 2  # nodes 0 and 1 are the transformer and the feeder's head
INF = float("inf")


@dataclass(frozen=True)
class Tree:
    """Hold the tree of N chargers at P connections and S stations; nodes: transformer, head, P connections, S stations.

    node_of (N,) node of each charger, connections (P,) and station_customer (S,) index of the customer, phases: of each
    customer with chargers, turn (N,) phases that L1 of each charger is behind the connection's first one.
    """

    nodes: tuple[NodeSpec, ...]
    node_of: np.ndarray
    connections: np.ndarray
    station_customer: np.ndarray
    phases: dict[int, int]
    turn: np.ndarray
    no_household: list[int]

    @property
    def groups(self) -> dict[str, list[int]]:
        """Return the measuring groups of the substation: name -> nodes."""
        first = CONNECTION_NODE + len(self.connections)
        stations = list(range(first, len(self.nodes)))
        found = {"transformer": [0], "head": [1], "poc": list(range(CONNECTION_NODE, first))}
        return found | ({"station": stations} if stations else {})


def connections_of(customer_of: np.ndarray) -> np.ndarray:
    """Return the customers that have chargers (P,), in the order of their first charger: that of the nodes."""
    customers, first = np.unique(customer_of, return_index=True)
    ordered: np.ndarray = customers[np.argsort(first)]
    return ordered


def build_tree(rig: Rig) -> Tree:
    """Return the tree of a checked rig."""
    customer_of = np.array([charger.customer - 1 for charger in rig.charger])
    connections = connections_of(customer_of)
    row_of = {int(customer): CONNECTION_NODE + p for p, customer in enumerate(connections)}
    stations = dict.fromkeys(charger.station for charger in rig.charger if charger.station)
    station_customer = {charger.station: charger.customer - 1 for charger in rig.charger if charger.station}
    station_row = {name: CONNECTION_NODE + len(connections) + s for s, name in enumerate(stations)}
    rows = [station_row[c.station] if c.station else row_of[c.customer - 1] for c in rig.charger]
    told = {part.customer - 1: part for part in rig.connection}
    return Tree(
        nodes=with_meters(
            [*_feeder(rig), *_connections(rig, connections, told), *_stations(rig, station_customer, row_of)], rig.meter
        ),
        node_of=np.array(rows),
        connections=connections,
        station_customer=np.array([station_customer[name] for name in stations], dtype=np.int64),
        phases={int(customer): _phases(rig, int(customer), told) for customer in connections},
        turn=np.array([TURNS[charger.phase_rotation] for charger in rig.charger]),
        no_household=[customer for customer, part in told.items() if not part.household],
    )


def _phases(rig: Rig, customer: int, told: dict[int, ConnectionPart]) -> int:
    given = told[customer].phases if customer in told else None
    return given or max(charger.phases for charger in rig.charger if charger.customer - 1 == customer)


def _metered(rig: Rig, name: str, parent: int, limit_a: float, design_a: float, unbalance_a: float = INF) -> NodeSpec:
    sub, law = rig.substation, rig.law
    failsafe_w = INF if sub.failsafe_w is None else sub.failsafe_w
    return NodeSpec(
        name=name,
        parent=parent,
        limit_a=limit_a,
        metered=True,
        design_a=design_a,
        growth_a_per_s=law.growth_a_per_s if design_a > 0.0 else 0.0,
        tau_s=law.filter_s,
        max_age_s=sub.max_age_s,
        hold_s=sub.hold_s,
        unbalance_a=unbalance_a,
        failsafe_w=failsafe_w if parent == 0 else INF,
        beat_timeout_s=sub.heartbeat_timeout_s,
    )


def _feeder(rig: Rig) -> list[NodeSpec]:
    design_a = rig.law.design_a
    return [
        _metered(rig, "transformer", -1, rig.feeder.transformer_a, design_a),
        _metered(rig, "head", 0, rig.feeder.head_a, design_a),
    ]


def _connections(rig: Rig, connections: np.ndarray, told: dict[int, ConnectionPart]) -> list[NodeSpec]:
    """Declare the connections; one charger names its connection, several leave it the customer's number."""
    houses = sum(1 for customer in connections if int(customer) not in told or told[int(customer)].household)
    share_a = rig.law.design_a / max(houses, 1)
    apart_a = INF if rig.feeder.unbalance_a is None else rig.feeder.unbalance_a
    found = []
    for customer in map(int, connections):
        names = [charger.name for charger in rig.charger if charger.customer - 1 == customer]
        name = f"poc_{names[0]}" if len(names) == 1 else f"poc_{customer + 1}"
        part = told.get(customer)
        limit_a = rig.feeder.connection_a if part is None or part.limit_a is None else part.limit_a
        design_a = share_a if part is None or part.household else 0.0
        found.append(_metered(rig, name, 1, limit_a, design_a, apart_a))
    return found


def _stations(rig: Rig, customer_of: dict[str, int], row_of: dict[int, int]) -> list[NodeSpec]:
    limits = {part.name: INF if part.limit_a is None else part.limit_a for part in rig.station}
    bare = [_metered(rig, name, row_of[at], limits.get(name, INF), 0.0) for name, at in customer_of.items()]
    return [replace(node, station=True) for node in bare]
