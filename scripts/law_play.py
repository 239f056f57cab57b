"""Play the law on a small site in virtual time, for its pictures: cars take what is allowed, meters tell it at once."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from controller.law import image
from controller.law.decide import decide
from controller.law.names import Cp
from controller.runtime.plan import ChargerSpec, NodeSpec, SiteSpec, build_plan

START_NS, UTC_NS = 1_000_000_000_000, 1_763_913_600_000_000_000  # Sunday 2025-11-23 16:00 UTC, 17:00 local


def charger(name: str, **given: Any) -> ChargerSpec:
    """Return a charger on phase a at node 0."""
    defaults: dict[str, Any] = {"node": 0, "phase_map": (0, -1, -1), "hard_max_a": 32.0, "obey_s": 15.0}
    defaults |= {"max_age_s": 5.0, "failsafe_a": 0.0, "failsafe_s": 10.0, "step_a": 0.001}
    return ChargerSpec(name, **(defaults | given))


def head(**given: Any) -> NodeSpec:
    """Return a metered node without a node above."""
    return NodeSpec("head", -1, **({"limit_a": 60.0, "metered": True, "design_a": 30.0} | given))


class Play:
    """Play the law on a site in virtual time: cars take what is allowed, up to `takes`; meters tell it at once."""

    def __init__(self, nodes: list[NodeSpec], chargers: list[ChargerSpec], drawn: float = 0.0, **given: Any) -> None:
        self.dims, _, self.plan = build_plan(SiteSpec(tuple(nodes), tuple(chargers), **given))
        self.inp, self.state, self.out = (image.allocate(t, self.dims)[1] for t in ("input", "state", "output"))
        self.drawn = np.full(self.dims.n, drawn)
        self.takes = np.full(self.dims.n, np.inf)
        self.plugged = np.ones(self.dims.n, bool)
        self.other, self.volts, self.fresh, self.extra_a = 0.0, np.full(self.dims.n, 230.0), True, 0.0
        self.inp.utc_offset_s[0] = 3600.0
        self.inp.order_quality[:] = 0
        self.inp.random_u[:] = 0.5
        self.inp.charger_soc[:] = 0.8
        self.t_s = 0.0

    def sense(self) -> None:
        """Write what the meters say into INPUT."""
        inp = self.inp
        inp.now_ns[0] = START_NS + round(self.t_s * 1e9)
        inp.utc_ns[0] = UTC_NS + round(self.t_s * 1e9)
        used = self.plan.phase_map >= 0
        asked = np.where(self.out.number_phases > 0, self.out.number_phases, 3)
        live = used & (np.arange(3) < asked[:, None])
        inp.charger_v[:] = np.where(used, self.volts[:, None], np.nan)
        inp.charger_a[:] = np.where(live, self.drawn[:, None], np.where(used, 0.0, np.nan))
        inp.charger_w[:] = self.volts * self.drawn * live.sum(axis=1)
        inp.charger_state[:] = np.where(self.plugged, np.where(self.drawn != 0.0, int(Cp.C), int(Cp.B)), int(Cp.A))
        inp.charger_limit_a[:] = np.maximum(self.drawn, 0.0)
        inp.charger_quality[:], inp.charger_link[:], inp.charger_change_ns[:] = 0, 1, inp.now_ns[0]
        inp.frequency_quality[0], inp.frequency_change_ns[0] = 0, inp.now_ns[0]
        if self.fresh:
            inp.node_a[:] = 0.0
            for p in range(3):
                inp.node_a[:, p] = (self.drawn * (live & (self.plan.phase_map == p)).any(axis=1)).sum()
            inp.node_a[:, 0] += self.other + self.extra_a
            inp.node_w[:], inp.node_v[:] = inp.node_a.sum(axis=1) * 230.0, 230.0
            for kind in ("v", "a"):
                getattr(inp, f"node_{kind}_quality")[:] = 0
                getattr(inp, f"node_{kind}_change_ns")[:] = inp.now_ns[0]

    def steps(self, until_s: float, dt_s: float = 0.5) -> Iterator[float]:
        """Decide scan after scan; yield the time before each."""
        while self.t_s < until_s - 1e-9:
            yield self.t_s
            self.sense()
            decide(self.inp, self.plan, self.state, self.out)
            ordered = np.where(self.out.allowed_min_a < 0.0, self.out.allowed_min_a, self.out.allowed_a)
            self.drawn = np.where(self.plugged, np.minimum(ordered, self.takes), 0.0)
            self.t_s = round(self.t_s + dt_s, 6)


def log(play: Play, until_s: float, read: Callable[[], Any], act: Callable[[float], None], dt_s: float = 0.5) -> Any:
    """Return times and what `read` gave after each scan, from the end of the start's quiet time (20 s) on as 0."""
    rows, times = [], []
    for _ in play.steps(20.0, dt_s):
        act(-1.0)
    for t_s in play.steps(20.0 + until_s, dt_s):
        if rows or t_s > 20.0:
            rows.append(read())
            times.append(t_s - 20.0)
        act(t_s - 20.0)
    return np.array(times), np.array(rows, dtype=float)
