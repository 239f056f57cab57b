"""Measure the nodes of a rig's tree in the world: busbar, feeder head, connections and stations."""

import numpy as np

from hil.rig.network import Network
from hil.rig.tree import CONNECTION_NODE, Tree

PHASES = 3


class NodeMeters:
    """Gather volts (M, 3), amps (M, 3) and watts (M,) at the nodes of the tree; phases without connection NaN.

    A connection's meter sees household and chargers together, a station's its sockets alone. Watts are those at unity
    power factor: volts times the amps with their sign.
    """

    __slots__ = ("_amps", "_at", "_charger", "_connection", "_first_station", "_node", "_row", "_volts", "_watts")

    def __init__(self, network: Network, tree: Tree, charger: np.ndarray) -> None:
        """Take the network, the tree and the charger (K,) of each wired terminal."""
        wired = [network.nodes_of(int(customer)) for customer in tree.connections]
        rows = np.repeat(CONNECTION_NODE + np.arange(len(wired)), [len(nodes) for nodes in wired])
        self._node = np.concatenate([np.array(nodes) for nodes in wired])
        self._connection = (rows, network.phase[self._node])
        self._first_station = CONNECTION_NODE + len(wired)
        self._charger = np.flatnonzero(tree.node_of[charger] >= self._first_station)  # terminals of sockets
        self._row = tree.node_of[charger[self._charger]]
        sockets = [(m, nodes) for m, nodes in enumerate(
            [network.nodes_of(int(customer)) for customer in tree.station_customer], self._first_station
        )]  # fmt: skip
        station_row = np.array([m for m, nodes in sockets for _ in nodes], dtype=np.int64)
        station_node = np.array([node for _, nodes in sockets for node in nodes], dtype=np.int64)
        self._at = (station_row, network.phase[station_node], station_node)
        m = len(tree.nodes)
        self._volts, self._amps = np.full((m, PHASES), np.nan), np.full((m, PHASES), np.nan)
        self._watts = np.zeros(m)

    def read(
        self, each_v: np.ndarray, each_a: np.ndarray, bus_v: np.ndarray, head_a: np.ndarray, head_w: float,
        phase_at: np.ndarray, flat_a: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """Return volts, amps and watts; the next call overwrites them.

        `each_v` and `each_a` are volts and amps at the network's nodes, `phase_at` and `flat_a` the grid phase and
        the amps of each wired terminal.
        """
        volts, amps, watts = self._volts, self._amps, self._watts
        volts[:CONNECTION_NODE], amps[:CONNECTION_NODE] = bus_v, head_a
        watts[:] = 0.0
        watts[:CONNECTION_NODE] = head_w
        node_v, node_a = each_v[self._node], each_a[self._node]
        volts[self._connection] = node_v
        amps[self._connection] = node_a
        np.add.at(watts, self._connection[0], node_v * node_a)
        if len(self._row):
            row, phase, node = self._at
            volts[row, phase] = each_v[node]
            amps[row, phase] = 0.0
            drawn_a, at = flat_a[self._charger], phase_at[self._charger]
            np.add.at(amps, (self._row, at), drawn_a)
            np.add.at(watts, self._row, volts[self._row, at] * drawn_a)
        return volts, amps, watts
