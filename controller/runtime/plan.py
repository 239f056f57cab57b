"""Fill the PLAN image from what a site declares: nodes, chargers, droop and contract windows.

One builder for fast, bench and field, so that the law is handed the same bytes whoever describes the site.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from controller.law import image
from controller.law.names import VoltSource

INF = float("inf")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """Declare a node of the capacity tree; parents stand before their children.

    Amps and watts are capacities per phase and over all phases; `design_a` is the load per phase that is assumed
    for everything not controlled below the node once its meter cannot be believed.
    """

    name: str
    parent: int
    limit_a: float = INF
    limit_w: float = INF
    metered: bool = False
    design_a: float = 0.0
    growth_a_per_s: float = 0.0
    tau_s: float = 1.0
    max_age_s: float = 3.0
    hold_s: float = 30.0
    unbalance_a: float = INF
    failsafe_w: float = INF
    beat_timeout_s: float = INF


@dataclass(frozen=True, slots=True)
class DroopSpec:
    """Declare a voltage droop: points (pu of 230 V, share of the ceiling), filter and hysteresis."""

    points: tuple[tuple[float, float], ...]
    tau_s: float = 10.0
    deadband_pu: float = 0.001
    hysteresis_pu: float = 0.02
    pause_pu: float = 0.0
    resume_pu: float = 0.0


@dataclass(frozen=True, slots=True)
class ChargerSpec:
    """Declare a charger: where it is connected, what it and its device model can do, and its comfort rules."""

    name: str
    node: int
    phase_map: tuple[int, int, int]
    hard_max_a: float
    obey_s: float
    max_age_s: float
    failsafe_a: float
    failsafe_s: float
    step_a: float
    floor_a: float = 6.0
    weight: float = 1.0
    priority: int = 0
    no_pause: bool = False
    hold_s: float = 30.0
    ramp_up_a_per_s: float = INF
    random_delay_s: float = 0.0
    volt_source: VoltSource = VoltSource.NONE
    droop: DroopSpec | None = None


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Declare one contract window for a charger or a node (the other one is -1), in local seconds of the day."""

    from_s: float
    to_s: float
    charger: int = -1
    node: int = -1
    limit_a: float = INF
    limit_w: float = INF
    days: int = 127
    lead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SiteSpec:
    """Hold the declarations of a whole site, from which `build_plan` fills the PLAN image."""

    nodes: tuple[NodeSpec, ...]
    chargers: tuple[ChargerSpec, ...]
    windows: tuple[WindowSpec, ...] = ()
    period_s: float = 0.1
    rotation_s: float = 900.0
    min_on_s: float = 300.0
    min_off_s: float = 300.0
    grace_s: float = 210.0
    brake_pu: float = 0.0
    brake_over: float = INF
    brake_delay_s: float = 5.0
    brake_release_s: float = 60.0


NODE_FIELDS = {
    "node_limit_w": "limit_w",
    "node_metered": "metered",
    "node_growth_a_per_s": "growth_a_per_s",
    "node_tau_s": "tau_s",
    "node_max_age_s": "max_age_s",
    "node_hold_s": "hold_s",
    "node_unbalance_a": "unbalance_a",
    "node_failsafe_w": "failsafe_w",
    "node_beat_timeout_s": "beat_timeout_s",
}
CHARGER_FIELDS = (
    "hard_max_a",
    "floor_a",
    "step_a",
    "weight",
    "priority",
    "no_pause",
    "max_age_s",
    "hold_s",
    "obey_s",
    "failsafe_a",
    "failsafe_s",
    "ramp_up_a_per_s",
    "random_delay_s",
    "volt_source",
)
SITE_FIELDS = (
    "period_s",
    "rotation_s",
    "min_on_s",
    "min_off_s",
    "grace_s",
    "brake_pu",
    "brake_over",
    "brake_delay_s",
    "brake_release_s",
)


def dims_of(site: SiteSpec) -> image.Dims:
    """Return the sizes of the images of a site."""
    points = [len(c.droop.points) for c in site.chargers if c.droop is not None]
    return image.Dims(len(site.chargers), len(site.nodes), len(site.windows), max(points, default=2))


def build_plan(site: SiteSpec) -> tuple[image.Dims, np.ndarray, Any]:
    """Return the sizes, the PLAN buffer (uint8) and its views, filled from the declarations."""
    dims = dims_of(site)
    buffer, plan = image.allocate("plan", dims)
    for name in SITE_FIELDS:
        getattr(plan, name)[0] = getattr(site, name)
    for m, node in enumerate(site.nodes):
        plan.parent[m] = node.parent
        plan.node_limit_a[m] = node.limit_a
        plan.node_design_a[m] = node.design_a
        for target, source in NODE_FIELDS.items():
            getattr(plan, target)[m] = getattr(node, source)
    for i, charger in enumerate(site.chargers):
        plan.charger_node[i] = charger.node
        plan.phase_map[i] = charger.phase_map
        for name in CHARGER_FIELDS:
            getattr(plan, name)[i] = getattr(charger, name)
        if charger.droop is not None:
            _fill_droop(plan, i, charger.droop)
    for w, window in enumerate(site.windows):
        plan.window_charger[w] = window.charger
        plan.window_node[w] = window.node
        plan.window_from_s[w] = window.from_s
        plan.window_to_s[w] = window.to_s
        plan.window_days[w] = window.days
        plan.window_a[w] = window.limit_a
        plan.window_w[w] = window.limit_w
        plan.window_lead_s[w] = window.lead_s
    _fill_obey(plan)
    return dims, buffer, plan


def _fill_droop(plan: Any, i: int, droop: DroopSpec) -> None:
    """Write one charger's curve; a curve with fewer points repeats its last one."""
    k = plan.droop_pu.shape[1]
    points = list(droop.points) + [droop.points[-1]] * (k - len(droop.points))
    plan.droop_pu[i] = [volts for volts, _ in points]
    plan.droop_share[i] = [share for _, share in points]
    plan.droop_tau_s[i] = droop.tau_s
    plan.droop_deadband_pu[i] = droop.deadband_pu
    plan.droop_hysteresis_pu[i] = droop.hysteresis_pu
    plan.droop_pause_pu[i] = droop.pause_pu
    plan.droop_resume_pu[i] = droop.resume_pu


def _fill_obey(plan: Any) -> None:
    """Give every node the longest obey time of the chargers below it."""
    for i, node in enumerate(plan.charger_node):
        m = int(node)
        while m >= 0:
            plan.node_obey_s[m] = max(plan.node_obey_s[m], plan.obey_s[i])
            m = int(plan.parent[m])
