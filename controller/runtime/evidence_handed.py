"""See in the scans which limits that were handed in are in force: energy guards, operating envelopes, dimmed groups.

Reckoned from INPUT and PLAN by the rules of `controller.law.doe`, beside the law. Pure.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

NS = 1_000_000_000
IMPORT, EXPORT = "import", "export"


class HandedLimit(NamedTuple):
    """Hold a limit that is in force from now on: at a node, or of a group of nodes (`group` from 0; else -1).

    `node` is the node, of a group its first member; `limit_w` is +inf where none is in force any more.
    """

    node: int
    group: int
    direction: str
    limit_w: float


class HandedLimits:
    """Tell changes of the limits in force, scan by scan."""

    __slots__ = ("_groups", "_held", "_last", "_nodes", "_plan")

    def __init__(self, plan: Any) -> None:
        self._plan = plan
        self._nodes = np.flatnonzero(np.isfinite(plan.doe_max_age_s))  # somebody hands in there
        self._groups = {int(g): np.flatnonzero(plan.group_of == g) for g in np.unique(plan.group_of) if g >= 0}
        self._held: dict[int, tuple[float, float, float, int]] = {}  # of a node: import and export, until, when it came
        self._last: dict[tuple[int, int, str], float] = {}

    def members(self, group: int) -> np.ndarray:
        """Return the nodes of a group."""
        return self._groups[group]

    def changes(self, inp: Any) -> Iterator[HandedLimit]:
        """Yield what is in force otherwise than in the scan before."""
        for found in self._in_force(inp):
            name = (found.node, found.group, found.direction)
            if found.limit_w != self._last.get(name, np.inf):
                self._last[name] = found.limit_w
                yield found

    def _in_force(self, inp: Any) -> Iterator[HandedLimit]:
        now_ns, utc_s, plan = int(inp.now_ns[0]), int(inp.utc_ns[0]) / NS, self._plan
        for m in self._nodes.tolist():
            if inp.doe_ns[m] > 0 and not (np.isnan(inp.doe_w[m]) or np.isnan(inp.doe_export_w[m])):
                self._held[m] = float(inp.doe_w[m]), float(inp.doe_export_w[m]), inp.doe_to_s[m], int(inp.doe_ns[m])
            *each_w, to_s, came_ns = self._held.get(m, (np.inf, np.inf, -np.inf, 0))
            over = utc_s >= to_s  # false on NaN: until another one comes
            holds = not over and 0 <= now_ns - came_ns <= plan.doe_max_age_s[m] * NS
            subscribed_w = plan.doe_subscribed_w[m], plan.doe_subscribed_export_w[m]
            for direction, one_w, else_w in zip((IMPORT, EXPORT), each_w, subscribed_w, strict=True):
                limit_w = np.inf if over else max(one_w, 0.0)
                yield HandedLimit(m, -1, direction, limit_w if holds else min(limit_w, float(else_w)))
        for group, members in self._groups.items():
            told_w = float(inp.group_w[group])
            yield HandedLimit(int(members[0]), group, IMPORT, told_w if told_w > 0.0 else 0.0)  # NaN allows nothing
