"""Fill the PLAN image from what a site declares: nodes, chargers, droop and contract windows.

One builder for fast, bench and field, so that the law is handed the same bytes whoever describes the site.
"""

from typing import Any

import numpy as np

from controller.law import image
from controller.law.names import Fairness
from controller.law.preset import Preset
from controller.runtime.plan_check import PlanError, check_site
from controller.runtime.plan_groups import GroupSpec, fill_groups
from controller.runtime.plan_spec import (
    ChargerSpec,
    DroopSpec,
    ExportSpec,
    NodeSpec,
    ReserveSpec,
    SiteSpec,
    WindowSpec,
)

__all__ = [
    "ChargerSpec",
    "DroopSpec",
    "ExportSpec",
    "GroupSpec",
    "NodeSpec",
    "PlanError",
    "ReserveSpec",
    "SiteSpec",
    "WindowSpec",
    "build_plan",
    "dims_of",
    "droop_of",
]


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
    "node_failsafe_export_w": "failsafe_export_w",
    "node_export_w": "export_w",
    "node_export_a": "export_a",
    "node_design_export_a": "design_export_a",
    "doe_max_age_s": "doe_max_age_s",
    "doe_subscribed_w": "subscribed_w",
    "doe_subscribed_export_w": "subscribed_export_w",
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
    "limit_slack_a",
    "failsafe_a",
    "failsafe_s",
    "ramp_up_a_per_s",
    "raise_band_a",
    "car_margin_a",
    "car_shrink_s",
    "random_delay_s",
    "volt_source",
    "wish_exempt",
    "switch_phases",
    "switch_floor_a",
    "switch_dwell_s",
    "switch_pause_s",
)
SITE_FIELDS = (
    "period_s",
    "rotation_s",
    "min_on_s",
    "min_off_s",
    "grace_s",
    "alarm_pu",
    "brake_pu",
    "brake_high_pu",
    "brake_over",
    "brake_delay_s",
    "brake_release_s",
    "brake_lost_s",
    "fcr_nominal_hz",
    "fcr_deadband_hz",
    "fcr_full_hz",
    "fcr_max_age_s",
    "switch_margin_w",
)


def droop_of(preset: Preset, fairness: Fairness = Fairness.LOCAL) -> DroopSpec:
    """Return the droop of a named charging curve."""
    return DroopSpec(
        preset.points,
        preset.tau_s,
        preset.deadband_pu,
        preset.hysteresis_pu,
        preset.pause_pu,
        preset.resume_pu,
        fairness,
    )


def dims_of(site: SiteSpec) -> image.Dims:
    """Return the sizes of the images of a site."""
    points = [len(c.droop.points) for c in site.chargers if c.droop is not None]
    points += [len(c.export.points) for c in site.chargers if c.export is not None]
    return image.Dims(len(site.chargers), len(site.nodes), len(site.windows), max(points, default=2))


def build_plan(site: SiteSpec) -> tuple[image.Dims, np.ndarray, Any]:
    """Return the sizes, the PLAN buffer (uint8) and its views; PlanError where a declaration cannot be used."""
    check_site(site)
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
        if charger.export is not None:
            _fill_export(plan, i, charger.export)
        if charger.reserve is not None:
            plan.fcr_w[i] = charger.reserve.power_w
            plan.fcr_base_a[i] = charger.reserve.base_a
    for w, window in enumerate(site.windows):
        plan.window_charger[w] = window.charger
        plan.window_node[w] = window.node
        plan.window_from_s[w] = window.from_s
        plan.window_to_s[w] = window.to_s
        plan.window_days[w] = window.days
        plan.window_a[w] = window.limit_a
        plan.window_w[w] = window.limit_w
        plan.window_export_w[w] = window.export_w
        plan.window_lead_s[w] = window.lead_s
    _fill_calendars(plan, site)
    fill_groups(plan, site.groups)
    _fill_obey(plan)
    _fill_fairness(plan, site)
    return dims, buffer, plan


def _fill_calendars(plan: Any, site: SiteSpec) -> None:
    """Write each set of dates once; a date behind the last one given is every window's."""
    plan.calendar_day[0] = site.calendar_day
    rows = list(dict.fromkeys(window.dates for window in site.windows if window.dates))
    for row, dates in enumerate(rows):
        plan.calendar_bits[row, : len(dates)] = np.frombuffer(dates, dtype=np.uint8)
    for w, window in enumerate(site.windows):
        plan.window_calendar[w] = rows.index(window.dates) if window.dates else -1


def _fill_droop(plan: Any, i: int, droop: DroopSpec) -> None:
    """Write one charger's charging curve."""
    _fill_curve(plan.droop_pu[i], plan.droop_share[i], droop.points)
    plan.droop_tau_s[i] = droop.tau_s
    plan.droop_deadband_pu[i] = droop.deadband_pu
    plan.droop_hysteresis_pu[i] = droop.hysteresis_pu
    plan.droop_pause_pu[i] = droop.pause_pu
    plan.droop_resume_pu[i] = droop.resume_pu


def _fill_export(plan: Any, i: int, export: ExportSpec) -> None:
    """Write what one charger may export; without points its volts do not limit it."""
    plan.export_max_a[i] = export.max_a
    plan.export_min_a[i] = export.min_a
    plan.soc_floor[i] = export.soc_floor
    plan.soc_band[i] = export.soc_band
    if export.points:
        plan.export_tau_s[i] = export.tau_s
        _fill_curve(plan.export_pu[i], plan.export_share[i], export.points)


def _fill_curve(volts: np.ndarray, share: np.ndarray, points: tuple[tuple[float, float], ...]) -> None:
    """Write a curve; one with fewer points than the image has places repeats its last."""
    padded = list(points) + [points[-1]] * (len(volts) - len(points))
    volts[:] = [volt for volt, _ in padded]
    share[:] = [part for _, part in padded]


def _fill_fairness(plan: Any, site: SiteSpec) -> None:
    """Group the common droops by their root; start the equalised ones earlier, the less their nominal drop is.

    The charger with the largest nominal drop keeps the curve as it is declared, so that equalising never lets the
    volts at the end of the line fall lower than the curve says.
    """
    mode = [Fairness.LOCAL if c.droop is None else c.droop.fairness for c in site.chargers]
    drops = [c.nominal_drop_pu for c, m in zip(site.chargers, mode, strict=True) if m == Fairness.EQUALISED]
    for i, charger in enumerate(site.chargers):
        if mode[i] == Fairness.EQUALISED:
            plan.droop_shift_pu[i] = charger.nominal_drop_pu - max(drops)
        if mode[i] == Fairness.COMMON:
            root = charger.node
            while site.nodes[root].parent >= 0:
                root = site.nodes[root].parent
            plan.droop_group[i] = root


def _fill_obey(plan: Any) -> None:
    """Give every node the longest obey time of the chargers below it."""
    for i, node in enumerate(plan.charger_node):
        m = int(node)
        while m >= 0:
            plan.node_obey_s[m] = max(plan.node_obey_s[m], plan.obey_s[i])
            m = int(plan.parent[m])
