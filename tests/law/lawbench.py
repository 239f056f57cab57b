"""Build small sites and play the world around the law: cars that fall slowly and rise fast, meters, links."""

from typing import Any

import numpy as np

from controller.law import image
from controller.law.decide import decide
from controller.law.names import Cp, VoltSource
from controller.runtime.plan import ChargerSpec, DroopSpec, NodeSpec, SiteSpec, WindowSpec, build_plan

START_NS = 1_000_000_000_000
UTC_NS = 1_763_913_590_000_000_000  # Sunday 2025-11-23 15:59:50 UTC
OFFSET_S = 3600.0
INF = float("inf")
EU_DROOP = DroopSpec(((0.92, 0.2), (0.96, 1.0)), tau_s=5.0, pause_pu=0.915, resume_pu=0.935)


def node(name: str = "head", parent: int = -1, **given: Any) -> NodeSpec:
    """Return a metered node with generous defaults."""
    return NodeSpec(name, parent, **({"limit_a": 100.0, "metered": True, "design_a": 60.0} | given))


def charger(k: int = 0, at: int = 0, **given: Any) -> ChargerSpec:
    """Return a single-phase 32 A charger on phase k mod 3."""
    defaults: dict[str, Any] = {
        "name": f"cp{k}",
        "node": at,
        "phase_map": (k % 3, -1, -1),
        "hard_max_a": 32.0,
        "obey_s": 15.0,
        "max_age_s": 5.0,
        "failsafe_a": 0.0,
        "failsafe_s": 10.0,
        "step_a": 0.001,
    }
    return ChargerSpec(**(defaults | given))


def site(
    nodes: list[NodeSpec], chargers: list[ChargerSpec], windows: tuple[WindowSpec, ...] = (), **given: Any
) -> SiteSpec:
    """Return a site of these parts."""
    return SiteSpec(tuple(nodes), tuple(chargers), windows, **given)


class World:
    """Hold the images of a site and a plant: `drawn` (N) amps, `other` (M, 3) uncontrolled amps per node."""

    def __init__(
        self, spec: SiteSpec, drawn: float | np.ndarray = 0.0, other: float = 0.0, volts: float = 230.0
    ) -> None:
        self.dims, _, self.plan = build_plan(spec)
        self.inp, self.state, self.out = (image.allocate(t, self.dims)[1] for t in ("input", "state", "output"))
        n, m = self.dims.n, self.dims.m
        self.drawn = np.zeros(n) + drawn
        self.limit = self.drawn.copy()
        self.other = np.full((m, 3), other)
        self.volts = np.full((n, 3), volts)
        self.link = np.ones(n, bool)
        self.node_fresh = np.ones(m, bool)
        self.plugged = np.ones(n, bool)
        self.scan = 0
        self.now_ns = START_NS
        self.jumped_ns = 0
        self.inp.utc_offset_s[0] = OFFSET_S
        self.inp.order_quality[:] = 0
        self.inp.random_u[:] = 0.5

    def uses(self) -> np.ndarray:
        """Return (N, 3) 1 where a charger uses a grid phase."""
        table = np.zeros((self.dims.n, 3))
        for i, row in enumerate(self.plan.phase_map):
            table[i, row[row >= 0]] = 1
        return table

    def node_sum(self, amps: np.ndarray) -> np.ndarray:
        """Return (M, 3) amps of the chargers below every node."""
        total = np.zeros((self.dims.m, 3))
        np.add.at(total, self.plan.charger_node, self.uses() * amps[:, None])
        for m in range(self.dims.m - 1, 0, -1):
            total[self.plan.parent[m]] += total[m]
        return total

    def sense(self) -> None:
        """Write what the meters say now into INPUT."""
        inp = self.inp
        inp.now_ns[0] = self.now_ns
        inp.utc_ns[0] = UTC_NS + self.now_ns - self.jumped_ns - START_NS
        inp.scan[0] = self.scan
        used = self.plan.phase_map >= 0
        link = self.link
        inp.charger_v[link] = np.where(used, self.volts, np.nan)[link]
        inp.charger_a[link] = np.where(used, self.drawn[:, None], np.nan)[link]
        inp.charger_w[link] = (used * self.volts).sum(axis=1)[link] * self.drawn[link]
        inp.charger_state[link] = np.where(self.plugged, np.where(self.drawn > 0, Cp.C, Cp.B), Cp.A)[link]
        inp.charger_limit_a[link] = self.limit[link]
        inp.charger_quality[link] = 0
        inp.charger_change_ns[link] = self.now_ns
        inp.charger_link[:] = link
        fresh = self.node_fresh
        inp.node_a[fresh] = (self.node_sum(self.drawn) + self.other)[fresh]
        inp.node_w[fresh] = (inp.node_a[fresh] * 230.0).sum(axis=1)
        inp.node_v[fresh] = 230.0
        for kind in ("v", "a"):
            getattr(inp, f"node_{kind}_quality")[fresh] = 0
            getattr(inp, f"node_{kind}_change_ns")[fresh] = self.now_ns
            getattr(inp, f"node_{kind}_stamp_utc_ns")[fresh] = inp.utc_ns[0]

    def step(self, dt_s: float = 0.1, follow: bool = True, sense: bool = True) -> np.ndarray:
        """Let one scan pass; with `follow` the cars take what is allowed at once. Return a copy of allowed_a."""
        if sense:
            self.sense()
        decide(self.inp, self.plan, self.state, self.out)
        if follow:
            self.drawn = np.where(self.link & self.plugged, self.out.allowed_a, self.drawn)
            self.limit = self.drawn.copy()
        self.scan += 1
        self.now_ns += int(dt_s * 1e9)
        return self.out.allowed_a.copy()

    def jump(self, seconds: float) -> None:
        """Let the monotonic clock jump, which it must not; the UTC clock, cars and links go on as they are."""
        self.now_ns += int(seconds * 1e9)
        self.jumped_ns += int(seconds * 1e9)

    def run(self, seconds: float, dt_s: float = 0.1) -> np.ndarray:
        """Let some time pass; return the last allowed_a."""
        allowed = self.out.allowed_a.copy()
        for _ in range(round(seconds / dt_s)):
            allowed = self.step(dt_s)
        return allowed


__all__ = ["EU_DROOP", "INF", "VoltSource", "World", "charger", "node", "site"]
