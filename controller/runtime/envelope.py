"""Say which operating envelope of a schedule is in force at each node, and hand it to INPUT. No clock is read here.

A lower limit that is to come, the end of an interval with nothing behind it included, is handed in early by the obey
time of the node. What the law does when a schedule runs out or is not renewed stands in `controller.law.doe`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from controller.runtime.envelope_file import Interval, Schedule
from profiles.contract_doe import OperatingEnvelope

OVER_S = 0.0  # an end that has passed: the subscribed capacity holds


class Piece(NamedTuple):
    """Hold what is handed in for a node: W, W, end (UTC epoch s), and when it was renewed (monotonic ns)."""

    import_w: float
    export_w: float
    to_s: float
    renewed_ns: int


class Envelopes:
    """Hold the schedule of one contract for its `nodes` (name -> index); `lead_s` is their obey time by index."""

    __slots__ = ("_contract", "_intervals", "_lead_s", "_nodes", "_renewed_ns", "_said", "_subscribed")

    def __init__(self, contract: OperatingEnvelope, nodes: Mapping[str, int], lead_s: Any) -> None:
        self._contract, self._nodes, self._lead_s = contract, dict(nodes), lead_s
        band = contract.limit.kept
        self._subscribed = band(contract.subscribed_w), band(contract.subscribed_export_w)
        self._intervals: dict[int, list[Interval]] = {}
        self._renewed_ns = 0
        self._said: dict[int, Piece] = {}

    def take(self, schedule: Schedule, renewed_ns: int) -> list[str]:
        """Put a schedule in the place of the one before it; return the names that are no node of this contract."""
        found: dict[int, list[Interval]] = {m: [] for m in self._nodes.values()}
        for interval in schedule.intervals:
            if interval.node in self._nodes:
                found[self._nodes[interval.node]].append(interval)
        self._intervals, self._renewed_ns = found, max(renewed_ns, 1)
        return sorted({interval.node for interval in schedule.intervals} - set(self._nodes))

    def piece(self, m: int, utc_s: float) -> Piece | None:
        """Return what is handed in for node `m` now; None where no schedule ever came."""
        if not self._renewed_ns:
            return None
        import_w, export_w, to_s = self._lowest(self._intervals[m], utc_s, utc_s + float(self._lead_s[m]))
        before = self._said.get(m)
        if before is None or before[:3] != (import_w, export_w, to_s) or self._renewed_ns > before.renewed_ns:
            stamp_ns = self._renewed_ns  # the law takes what has another stamp than the last
            if before is not None and stamp_ns <= before.renewed_ns:
                stamp_ns = before.renewed_ns + 1
            self._said[m] = Piece(import_w, export_w, to_s, stamp_ns)
        return self._said[m]

    def in_force(self, m: int, utc_s: float, now_ns: int) -> tuple[float, float]:
        """Return import and export limit of node `m` as the law would keep them, for whoever combines them, W."""
        piece = self.piece(m, utc_s)
        if piece is None or utc_s >= piece.to_s:
            return self._subscribed
        if now_ns - piece.renewed_ns > self._contract.max_age_s * 1e9:
            return min(piece.import_w, self._subscribed[0]), min(piece.export_w, self._subscribed[1])
        return piece.import_w, piece.export_w

    def fill(self, inp: Any, utc_s: float) -> None:
        """Hand what is in force to INPUT."""
        for m in self._nodes.values():
            piece = self.piece(m, utc_s)
            if piece is not None:
                inp.doe_w[m], inp.doe_export_w[m], inp.doe_to_s[m], inp.doe_ns[m] = piece

    @property
    def nodes(self) -> list[int]:
        """Return the indices of its nodes."""
        return list(self._nodes.values())

    def _lowest(self, intervals: list[Interval], utc_s: float, until_s: float) -> tuple[float, float, float]:
        """Return the lowest limits from now until `until_s`, and the end of what holds now."""
        band = self._contract.limit.kept
        now = [each for each in intervals if each.from_s <= utc_s < each.to_s]
        soon = [each for each in intervals if utc_s < each.from_s <= until_s]
        values = [(band(each.import_w), band(each.export_w)) for each in now + soon]
        ends = [each.to_s for each in now] or [each.to_s for each in soon]
        if not now or _gap(now + soon, until_s):
            values.append(self._subscribed)
        if not ends:
            return *self._subscribed, OVER_S
        return min(value[0] for value in values), min(value[1] for value in values), min(ends)


def _gap(intervals: list[Interval], until_s: float) -> bool:
    """Say whether intervals, of which the first has begun, leave a time before `until_s` without one."""
    covered_s = -math.inf
    for each in sorted(intervals, key=lambda each: each.from_s):
        if covered_s > -math.inf and each.from_s > covered_s:
            return True
        covered_s = max(covered_s, each.to_s)
    return covered_s <= until_s
