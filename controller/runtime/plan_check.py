"""Refuse a site that no plan can be built from, with every figure that is wrong."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from controller.law import image
from controller.law.names import Fairness, VoltSource
from controller.runtime.plan_groups import check_groups
from controller.runtime.plan_spec import ChargerSpec, NodeSpec, SiteSpec, WindowSpec

MAX_SLOPE = 100.0  # share of the ceiling per pu: a band of 1 % of the volts oscillates on an ordinary feeder (facts A5)
MAX_HYSTERESIS_PU = 0.1
MAX_DROP_PU = 0.1  # EN 50160: a larger nominal drop leaves no band to regulate in
DAY_S = 86_400.0

Found = Iterator[tuple[str, str, str]]  # key, value with unit, what is allowed


class PlanError(ValueError):
    """Report declarations that cannot become a plan, a line for each: where, value with unit, what is allowed."""


def check_site(site: SiteSpec) -> None:
    """Check every declaration of a site; PlanError names all that cannot be used."""
    found = list(_check_scalars(site))
    for m, node in enumerate(site.nodes):
        found += [(f"node {node.name}: {key}", value, allowed) for key, value, allowed in _check_node(node, m)]
    for charger in site.chargers:
        given = [*_check_charger(charger, len(site.nodes)), *_check_droop(charger), *_check_export(charger)]
        found += [(f"charger {charger.name}: {key}", value, allowed) for key, value, allowed in given]
    for w, window in enumerate(site.windows):
        given = list(_check_window(window, len(site.chargers), len(site.nodes)))
        found += [(f"window {w}: {key}", value, allowed) for key, value, allowed in given]
    found += check_groups(site.groups, [node.parent for node in site.nodes])
    found += _check_calendars(site.windows)
    if found:
        raise PlanError("\n".join(f"{where} = {value}; allowed is {allowed}" for where, value, allowed in found))


def _bounds(part: Any, names: str, unit: str, *, above: bool = False, finite: bool = False) -> Found:
    """Check numbers: at least 0 (above: more than 0), not NaN, and finite where that is said."""
    for name in names.split():
        value = float(getattr(part, name))
        fine = (value > 0.0 if above else value >= 0.0) and (math.isfinite(value) or not finite)  # false on NaN
        if not fine:
            text = ("a number over 0" if above else "a number from 0") + (", finite" if finite else "")
            yield name, f"{value:g} {unit}".strip(), text


def _check_scalars(site: SiteSpec) -> Found:
    """Check the parameters of the whole site."""
    yield from _bounds(site, "period_s rotation_s", "s", above=True, finite=True)
    yield from _bounds(site, "min_on_s min_off_s grace_s brake_delay_s brake_release_s", "s", finite=True)
    yield from _bounds(site, "brake_lost_s fcr_max_age_s", "s", above=True)
    yield from _bounds(site, "fcr_nominal_hz fcr_full_hz", "Hz", above=True, finite=True)
    yield from _bounds(site, "fcr_deadband_hz", "Hz", finite=True)
    yield from _bounds(site, "switch_margin_w", "W", finite=True)
    if site.fcr_deadband_hz >= site.fcr_full_hz:
        yield "fcr_deadband_hz", f"{site.fcr_deadband_hz:g} Hz", f"under fcr_full_hz, {site.fcr_full_hz:g} Hz"
    if not 0.0 <= site.alarm_pu <= 1.0:
        yield "alarm_pu", f"{site.alarm_pu:g} pu", "from 0, no alarm, to 1"
    if not 0.0 <= site.brake_pu < 1.0:
        yield "brake_pu", f"{site.brake_pu:g} pu", "from 0 to under 1"
    if not site.brake_high_pu > 1.0:
        yield "brake_high_pu", f"{site.brake_high_pu:g} pu", "over 1: it ends exports at volts that are too high"
    if not site.brake_over >= 1.0:
        yield "brake_over", f"{site.brake_over:g}", "1 and over: a brake within the limit would take the law's place"


def _check_node(node: NodeSpec, m: int) -> Found:
    """Check one node."""
    if not -1 <= node.parent < m:
        yield "parent", str(node.parent), f"-1 or a node before it, here under {m}"
    yield from _bounds(node, "limit_a design_a export_a design_export_a unbalance_a", "A")
    yield from _bounds(node, "limit_w failsafe_w export_w failsafe_export_w subscribed_w subscribed_export_w", "W")
    yield from _bounds(node, "growth_a_per_s", "A/s")
    yield from _bounds(node, "tau_s hold_s", "s")
    yield from _bounds(node, "max_age_s beat_timeout_s doe_max_age_s", "s", above=True)


def _check_charger(charger: ChargerSpec, nodes: int) -> Found:
    """Check one charger's place, device and comfort rules."""
    if not 0 <= charger.node < nodes:
        yield "node", str(charger.node), f"0 to {nodes - 1}"
    used = [p for p in charger.phase_map if p >= 0]
    if not used or len(set(used)) < len(used) or any(not -1 <= p <= 2 for p in charger.phase_map):
        yield "phase_map", str(tuple(charger.phase_map)), "0, 1, 2 (a, b, c) once each, -1 unused, at least one used"
    yield from _bounds(charger, "hard_max_a floor_a step_a failsafe_a switch_floor_a limit_slack_a", "A", finite=True)
    yield from _bounds(charger, "raise_band_a", "A", finite=True)
    yield from _bounds(charger, "car_margin_a", "A", above=True)  # else who is shrunk cannot show that it wants more
    yield from _bounds(charger, "car_shrink_s", "s")
    yield from _bounds(charger, "obey_s hold_s random_delay_s", "s", finite=True)
    if charger.switch_phases and len(used) < 2:
        yield "switch_phases", "true", "only with two or three phases in phase_map"
    yield from _bounds(charger, "switch_dwell_s switch_pause_s", "s", finite=True)
    yield from _bounds(charger, "failsafe_s", "s")
    yield from _bounds(charger, "max_age_s", "s", above=True, finite=True)
    yield from _bounds(charger, "weight", "", above=True, finite=True)
    yield from _bounds(charger, "ramp_up_a_per_s", "A/s", above=True)


def _check_curve(points: tuple[tuple[float, float], ...], *, rising: bool) -> Found:
    """Check a curve's points: volts rise, shares go one way, no slope over the steepest allowed."""
    if len(points) < 2:
        yield "points", str(points), "two points or more"
        return
    for volt, share in points:
        if not (0.5 < volt < 1.5 and 0.0 <= share <= 1.0):
            yield "points", f"({volt:g} pu, {share:g})", "volts 0.5 to 1.5 pu, share 0 to 1"
    for (v0, s0), (v1, s1) in itertools.pairwise(points):
        if not v1 > v0:
            yield "points", f"{v0:g} then {v1:g} pu", "volts that rise from point to point"
        elif (s1 < s0) if rising else (s1 > s0):
            yield "points", f"share {s0:g} then {s1:g}", f"a share that does not {'fall' if rising else 'rise'}"
        elif abs(s1 - s0) / (v1 - v0) > MAX_SLOPE:
            slope = abs(s1 - s0) / (v1 - v0)
            yield "slope", f"{slope:.1f} of the ceiling per pu", f"up to {MAX_SLOPE:g}; spread the points"


def _check_droop(charger: ChargerSpec) -> Found:
    """Check one charger's charging curve."""
    droop = charger.droop
    if droop is None:
        return
    for key, value, allowed in _check_curve(droop.points, rising=True):
        yield f"droop.{key}", value, allowed
    yield from _bounds(droop, "tau_s", "s", finite=True)
    yield from _bounds(droop, "deadband_pu hysteresis_pu pause_pu resume_pu", "pu", finite=True)
    if droop.hysteresis_pu >= MAX_HYSTERESIS_PU:
        yield "droop.hysteresis_pu", f"{droop.hysteresis_pu:g} pu", f"under {MAX_HYSTERESIS_PU:g}"
    if droop.pause_pu > droop.resume_pu:
        yield "droop.resume_pu", f"{droop.resume_pu:g} pu", f"droop.pause_pu ({droop.pause_pu:g}) or over"
    if droop.fairness == Fairness.EQUALISED and not 0.0 <= charger.nominal_drop_pu <= MAX_DROP_PU:
        yield "nominal_drop_pu", f"{charger.nominal_drop_pu:g} pu", f"0 to {MAX_DROP_PU:g}"


def _check_export(charger: ChargerSpec) -> Found:
    """Check what one charger may export and the reserve that it offers."""
    export, reserve = charger.export, charger.reserve
    if export is not None:
        yield from _bounds(export, "max_a min_a", "A", finite=True)
        if export.min_a > export.max_a:
            yield "export.min_a", f"{export.min_a:g} A", f"export.max_a ({export.max_a:g} A) or under"
        yield from _bounds(export, "tau_s", "s", finite=True)
        for name in ("soc_floor", "soc_band"):
            if not 0.0 <= getattr(export, name) <= 1.0:
                yield f"export.{name}", f"{getattr(export, name):g}", "0 to 1"
        if export.points:
            for key, value, allowed in _check_curve(export.points, rising=False):
                yield f"export.{key}", value, allowed
            if charger.volt_source == VoltSource.NONE:
                yield "export.points", "a curve", "only with a volt_source: nobody reads the volts"
    if reserve is not None:
        yield from _bounds(reserve, "power_w", "W", finite=True)
        least = 0.0 if export is None else -export.max_a
        if not least <= reserve.base_a <= charger.hard_max_a:
            yield "reserve.base_a", f"{reserve.base_a:g} A", f"{least:g} to {charger.hard_max_a:g} A"


def _check_calendars(windows: tuple[WindowSpec, ...]) -> Found:
    """Check that the sets of dates fit into the plan."""
    sets = {window.dates for window in windows if window.dates}
    if len(sets) > image.CALENDARS:
        text = f"up to {image.CALENDARS}: give windows with the same season and holidays the same days"
        yield "windows: different sets of dates", str(len(sets)), text
    longest = max(map(len, sets), default=0)
    if longest > image.CALENDAR_BYTES:
        yield "windows: dates", f"{longest} bytes", f"up to {image.CALENDAR_BYTES}, eight dates each"


def _check_window(window: WindowSpec, chargers: int, nodes: int) -> Found:
    """Check one contract window."""
    on_charger, on_node = 0 <= window.charger < chargers, 0 <= window.node < nodes
    if not ((on_charger and window.node == -1) or (on_node and window.charger == -1)):
        yield "charger, node", f"{window.charger}, {window.node}", "one of them in range, the other -1"
    for name in ("from_s", "to_s"):
        if not 0.0 <= getattr(window, name) <= DAY_S:
            yield name, f"{getattr(window, name):g} s", f"0 to {DAY_S:g} s of the local day"
    yield from _bounds(window, "limit_a", "A")
    yield from _bounds(window, "limit_w export_w", "W")
    yield from _bounds(window, "lead_s", "s", finite=True)
    if not 0 < window.days <= 127:
        yield "days", str(window.days), "1 to 127, bit 0 Monday"
