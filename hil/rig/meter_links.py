"""Read the meters for the law in virtual time, at their pace; their nodes are theirs, whatever the substation says."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from controller.law.names import Quality
from hil.rig.assembler import Assembly
from hil.rig.world import World

NS = 1_000_000_000


@dataclass(slots=True)
class _Row:
    """Hold one meter: its node, its pace, and the last set that was read."""

    name: str
    node: int
    read_ns: int
    due_ns: int = 0
    change_ns: int = 0
    utc_ns: int = 0
    quality: int = int(Quality.BAD)
    volts: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    amps: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    watts: float = float("nan")


class MeterLinks:
    """Hold the meters of a rig that the law reads. Resolution and phase map are the twins' part, not played here."""

    __slots__ = ("_rows", "_world")

    def __init__(self, world: World, assembly: Assembly) -> None:
        self._world = world
        self._rows = [
            _Row(part.name, assembly.nodes.index(part.node), round(part.read_s * NS))
            for part in assembly.rig.meter
            if part.use == "law"
        ]

    def latch(self, now_ns: int, inp: Any) -> None:
        """Read what is due and write the rows of INPUT; a cut link is Bad, its last values stand and grow old."""
        for row in self._rows:
            cut = row.name in self._world.meter_cut
            if cut:
                row.quality = int(Quality.BAD)
            elif now_ns >= row.due_ns:
                volts, amps, watts = self._world.node_values()
                m = row.node
                row.volts, row.amps, row.watts = volts[m].copy(), amps[m].copy(), float(watts[m])
                row.change_ns, row.utc_ns, row.quality = now_ns, int(inp.utc_ns[0]), int(Quality.GOOD)
                row.due_ns = now_ns + row.read_ns
            inp.node_v[row.node], inp.node_a[row.node], inp.node_w[row.node] = row.volts, row.amps, row.watts
            for what in ("node_v", "node_a"):
                getattr(inp, f"{what}_quality")[row.node] = row.quality
                getattr(inp, f"{what}_change_ns")[row.node] = row.change_ns
                getattr(inp, f"{what}_stamp_utc_ns")[row.node] = row.utc_ns
