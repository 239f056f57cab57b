"""Choose what a control room sees of a running controller: the arrays, the tree and the alarms, from its window.

No wire in here. NaN and +inf go out as they are: unknown, and no limit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from controller.law.names import Alarm, Cp, Reason, Trust
from controller.runtime.site import Site
from controller.runtime.window import Window
from instruments.opcua_controller import Place, Quantity

SILENT_S = 1.0  # a scan that is older, and five periods, is no news
SINGLE_MOST = 200  # chargers and nodes; above, the tree would be a wall of single variables that fill a core
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SCAN_SILENT, CLOCK_SKEW, UNKEPT, CLOCK_SET = "SCAN_SILENT", "STATION_CLOCK", "ORDER_UNKEPT", "CLOCK_SET"
SEVERITY = {
    Alarm.NODE_OVER: 800,
    Alarm.NODE_UNTRUSTED: 500,
    Alarm.CHARGER_UNTRUSTED: 300,
    Alarm.LINK_LOST: 400,
    Alarm.BRAKE: 900,
    Alarm.ORDER_LOST: 700,
    Alarm.VOLTAGE_LOW: 700,
    Alarm.CLOCK_STEP: 500,
    Alarm.CHARGER_OVER: 600,
}
SEVERITIES = {str(alarm.name): severity for alarm, severity in SEVERITY.items()}
SEVERITIES |= {SCAN_SILENT: 1000, CLOCK_SKEW: 500, UNKEPT: 700, CLOCK_SET: 700}
MESSAGES = {
    Alarm.NODE_OVER: "a measured current is over its node's limit",
    Alarm.NODE_UNTRUSTED: "a node's measurement is not believed",
    Alarm.CHARGER_UNTRUSTED: "a charger's readings are not believed",
    Alarm.LINK_LOST: "the link to a charger is lost",
    Alarm.BRAKE: "the emergency brake acts",
    Alarm.ORDER_LOST: "the heartbeat of the orders is lost",
    Alarm.VOLTAGE_LOW: "the volts are below the alarm threshold",
    Alarm.CLOCK_STEP: "a clock stepped",
    Alarm.CHARGER_OVER: "a charger applies more than was ordered",
}
Get = Callable[[Window], Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """Declare an array and where it comes from."""

    quantity: Quantity
    get: Get


def _shown(path: str, kind: str, unit: str, meaning: str, get: Get) -> Shown:
    return Shown(Quantity(path, kind, unit, meaning), get)


def _names(kind: Any, codes: np.ndarray) -> list[str]:
    return [kind(code).name for code in codes.tolist()]


def _reason_source(window: Window) -> list[str]:
    """Return the name of the node that bound each charger; empty where it was the charger itself or a window."""
    nodes, windows = window.site.node_names, (Reason.WINDOW,)
    out = window.output
    rows = zip(out.reason_node.tolist(), out.reason.tolist(), strict=True)
    return [nodes[k] if 0 <= k < len(nodes) and reason not in windows else "" for k, reason in rows]


def _date(utc_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=utc_ns // 1000)


CHARGER = "of each charger, in the order of Names"
NODE = "of each node, in the order of Names"
SHOWN: tuple[Shown, ...] = (
    _shown("State/Scan", "Int64", "", "number of the newest scan", lambda w: [int(w.output.scan[0])]),
    _shown("State/ScanTime", "DateTime", "UTC", "its time", lambda w: [_date(int(w.input.utc_ns[0]))]),
    _shown("State/AlarmBits", "UInt32", "", "bits of the alarms of that scan", lambda w: [int(w.output.alarm[0])]),
    _shown("State/Stage", "String", "", "bench, field or field (shadow)", lambda w: [stage_of(w.site)]),
    _shown("Chargers/Names", "String", "", "names of the chargers", lambda w: w.site.charger_names),
    _shown("Chargers/AllowedA", "Double", "A", f"may draw per phase, {CHARGER}", lambda w: w.output.allowed_a.tolist()),
    _shown(
        "Chargers/AllowedMinA",
        "Double",
        "A",
        f"may export, 0 or negative, {CHARGER}",
        lambda w: w.output.allowed_min_a.tolist(),
    ),
    _shown(
        "Chargers/DrawnA", "Double", "A", f"drawn at L1, L2, L3 {CHARGER}", lambda w: w.input.charger_a.ravel().tolist()
    ),
    _shown("Chargers/PowerW", "Double", "W", f"drawn {CHARGER}", lambda w: w.input.charger_w.tolist()),
    _shown("Chargers/Reason", "String", "", f"what bound it, {CHARGER}", lambda w: _names(Reason, w.output.reason)),
    _shown("Chargers/ReasonA", "Double", "A", f"value of that limit, {CHARGER}", lambda w: w.output.reason_a.tolist()),
    _shown("Chargers/ReasonNode", "String", "", f"node that bound it, {CHARGER}", _reason_source),
    _shown("Chargers/State", "String", "", f"IEC 61851 {CHARGER}", lambda w: _names(Cp, w.input.charger_state)),
    _shown("Chargers/Linked", "Boolean", "", f"answers, {CHARGER}", lambda w: (w.input.charger_link == 1).tolist()),
    _shown(
        "Chargers/Trust", "String", "", f"of its readings, {CHARGER}", lambda w: _names(Trust, w.output.charger_trust)
    ),
    _shown("Nodes/Names", "String", "", "names of the nodes", lambda w: w.site.node_names),
    _shown("Nodes/CapW", "Double", "W", f"import limit in force {NODE}", lambda w: w.output.node_cap_w.tolist()),
    _shown("Nodes/PowerW", "Double", "W", f"measured {NODE}", lambda w: w.input.node_w.tolist()),
    _shown("Nodes/CurrentA", "Double", "A", f"measured on a, b, c {NODE}", lambda w: w.input.node_a.ravel().tolist()),
    _shown("Nodes/VoltageV", "Double", "V", f"measured on a, b, c {NODE}", lambda w: w.input.node_v.ravel().tolist()),
    _shown(
        "Nodes/HeadroomA",
        "Double",
        "A",
        f"left for chargers on a, b, c {NODE}",
        lambda w: w.output.node_headroom_a.ravel().tolist(),
    ),
    _shown("Nodes/OrderW", "Double", "W", f"ordered at the station {NODE}", lambda w: w.input.order_w.tolist()),
    _shown("Nodes/BookW", "Double", "W", f"ordered here and elsewhere {NODE}", lambda w: w.input.book_w.tolist()),
    _shown("Nodes/Trust", "String", "", f"of its amps, {NODE}", lambda w: _names(Trust, w.output.node_trust)),
)
OF_CHARGER = ("AllowedA", "PowerW", "Reason", "State", "Linked")
OF_NODE = ("CapW", "PowerW", "BookW", "Trust")


def stage_of(site: Site) -> str:
    """Return the stage of a site as the control room reads it."""
    return f"{site.stage} (shadow)" if site.shadow else site.stage


def quantities() -> list[Quantity]:
    """Return the declarations of all arrays."""
    return [shown.quantity for shown in SHOWN]


def places(window: Window) -> list[Place]:
    """Return the objects of the tree: nodes below their parents, chargers below their nodes; none on a large site."""
    site, plan = window.site, window.plan
    if len(site.charger_names) + len(site.node_names) > SINGLE_MOST:
        return []
    paths: list[tuple[str, ...]] = []
    found = []
    for m, name in enumerate(site.node_names):
        above = int(plan.parent[m])
        paths.append((*paths[above], name) if above >= 0 else (name,))
        found.append(Place(paths[m], tuple(f"Nodes/{leaf}" for leaf in OF_NODE), m))
    for i, name in enumerate(site.charger_names):
        path = (*paths[int(plan.charger_node[i])], name)
        found.append(Place(path, tuple(f"Chargers/{leaf}" for leaf in OF_CHARGER), i))
    return found


def values(window: Window) -> dict[str, list[Any]]:
    """Return all arrays of the newest scan."""
    return {shown.quantity.path: list(shown.get(window)) for shown in SHOWN}


def fresh(window: Window, now_ns: int) -> bool:
    """Say whether the newest scan is young enough to be news."""
    return window.age_s(now_ns) <= max(SILENT_S, 5 * window.site.period_s)


def skewed(window: Window) -> str:
    """Return what is wrong with the substation's clock; empty where nothing is told."""
    if window.ports is None or window.site.substation is None:
        return ""
    skew_s = float(window.ports["skew_s"][-1])
    if math.isnan(skew_s):
        return ""
    return f"the substation's clock is {abs(skew_s):.2f} s {'ahead of' if skew_s > 0.0 else 'behind'} ours, or drifts"


def alarms(window: Window, now_ns: int, skew: str = "") -> dict[str, str]:
    """Return the active alarms by name, with their messages; `skew` says what is wrong with the station's clock."""
    bits = int(window.output.alarm[0])
    found = {str(alarm.name): MESSAGES[alarm] for alarm in Alarm if alarm and alarm.value & bits}
    if not fresh(window, now_ns):
        found[SCAN_SILENT] = f"no scan for {window.age_s(now_ns):.1f} s: what is shown is old"
    if skew:
        found[CLOCK_SKEW] = skew
    if unkept := window.unkept():
        found[UNKEPT] = f"{unkept} limits are obeyed and not on the disk, so not acknowledged: free space"
    if off_s := window.clock_off_s():
        found[CLOCK_SET] = f"the clock was set by {off_s:+.0f} s after the start: windows and orders do not follow it"
    return found
