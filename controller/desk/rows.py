"""Turn what the window shows into rows and lines: pure, so that tests read the same text as the operator."""

import math
from typing import Any

import numpy as np

from controller.desk.text import Cell, Column, Row, age, clean, clock, kilowatts, micros, number, triple
from controller.law.names import Alarm, Comfort, Cp, Quality, Reason, Step, Trust
from controller.runtime.window import Window

CHARGERS = (
    Column("charger", 14, False),
    Column("node", 12, False),
    Column("CP", 3, False),
    Column("U pu", 6),
    Column("drawn A", 8),
    Column("allowed A", 10),
    Column("bound by", 36, False),
    Column("trust", 9, False),
    Column("age", 6),
    Column("link", 5, False),
)
FEEDER = (
    Column("node", 16, False),
    Column("limit A", 7),
    Column("measured A  a b c", 17),
    Column("uncontrolled A", 17),
    Column("reserved A", 17),
    Column("headroom A", 17),
    Column("trust", 8, False),
    Column("cap kW", 6),
    Column("order in force", 24, False),
)
PORTS = (
    Column("port", 14, False),
    Column("link", 5, False),
    Column("errors", 7),
    Column("round p50", 10),
    Column("p99", 9),
    Column("age p99", 9),
    Column("obey max", 9),
    Column("fault", 60, False),
)
TRUST_TONE = {Trust.BELIEVED: "", Trust.HELD: "warn", Trust.DESIGN: "bad"}
NORMAL = {Reason.WISH, Reason.NO_CAR, Reason.HARDWARE, Reason.CAR}
SERIOUS = {Reason.BRAKE, Reason.LINK_LOST, Reason.ORDER_LOST, Reason.UNTRUSTED}
BARS = " ▁▂▃▄▅▆▇█"
BINS_A_BAR = 5


def _name(kind: Any, code: int) -> str:
    """Return the name of a code in lower case; an unknown code is shown as it is."""
    try:
        return str(kind(code).name).lower().replace("_", " ")
    except ValueError:
        return f"code {code}"


def charger_rows(window: Window) -> list[Row]:
    """Return one row a charger, in the plan's order."""
    return [_charger_row(window, i) for i in range(len(window.site.charger_names))]


def _charger_row(window: Window, i: int) -> Row:
    inp, out, site = window.input, window.output, window.site
    linked, trust = bool(inp.charger_link[i]), int(out.charger_trust[i])
    drawn_a = inp.charger_a[i][np.isfinite(inp.charger_a[i])]
    reason = int(out.reason[i])
    age_s = (int(inp.now_ns[0]) - int(inp.charger_change_ns[i])) / 1e9 if inp.charger_change_ns[i] else math.nan
    low_pu = float(out.volt_pu[i]) if np.isfinite(out.volt_pu[i]) else _lowest_pu(window, i)
    allowed_a, most_a = float(out.allowed_a[i]), float(drawn_a.max()) if drawn_a.size else math.nan
    over = most_a > allowed_a + 0.5
    tone = "bad" if reason in SERIOUS else "" if reason in NORMAL else "warn"
    cells = (
        Cell(clean(site.charger_names[i])),
        Cell(clean(site.node_names[int(window.plan.charger_node[i])]), "dim"),
        Cell(Cp(int(inp.charger_state[i])).name if -1 <= inp.charger_state[i] <= 5 else "?"),
        Cell(number(low_pu, 3), "bad" if low_pu < float(window.plan.alarm_pu[0]) else ""),
        Cell(number(most_a), "warn" if over else ""),
        Cell(number(allowed_a), "dim" if allowed_a == 0.0 else "head"),
        Cell(_bound_by(window, i, reason), tone),
        Cell(_name(Trust, trust), TRUST_TONE.get(Trust(trust) if trust <= 2 else Trust.DESIGN, "bad")),
        Cell(age(age_s), "warn" if age_s > float(window.plan.max_age_s[i]) else ""),
        Cell("up" if linked else "LOST", "good" if linked else "bad"),
    )
    fault = not linked or trust != Trust.BELIEVED or reason in SERIOUS or inp.charger_quality[i] != Quality.GOOD
    return Row(f"c{i}", cells, bool(fault))


def _lowest_pu(window: Window, i: int) -> float:
    volts = window.input.charger_v[i][window.plan.phase_map[i] >= 0]
    volts = volts[np.isfinite(volts)]
    return float(volts.min()) / float(window.plan.u_nom_v[0]) if volts.size else math.nan


def _bound_by(window: Window, i: int, reason: int) -> str:
    """Return reason, value and source of what binds a charger."""
    value_a, source = float(window.output.reason_a[i]), int(window.output.reason_node[i])
    text = _name(Reason, reason)
    if math.isfinite(value_a):
        text += f" {number(value_a)} A"
    if source >= 0:
        names = window.site.node_names
        at_node = reason != Reason.WINDOW and source < len(names)
        text += f" @ {clean(names[source])}" if at_node else f" #{source}"
    rules = [str(rule.name).lower().replace("_", " ") for rule in Comfort if rule & int(window.output.broken[i])]
    return f"{text}, breaks {', '.join(rules)}" if rules else text


def chain_line(window: Window, i: int) -> str:
    """Return the chain of caps of one charger, in the law's order."""
    caps = [f"{step.name.lower()} {number(float(window.output.chain[i][step]))}" for step in Step]
    reserved_a = number(float(window.output.reserved_a[i]))
    return f"{clean(window.site.charger_names[i])}: {' > '.join(caps)} A; reserved {reserved_a} A"


def feeder_rows(window: Window) -> list[Row]:
    """Return one row a node, parents above their children, indented by depth."""
    parent = window.plan.parent
    children: dict[int, list[int]] = {}
    for node, above in enumerate(parent.tolist()):
        children.setdefault(above, []).append(node)
    rows: list[Row] = []
    stack = [(node, 0) for node in reversed(children.get(-1, []))]
    while stack:
        node, depth = stack.pop()
        rows.append(_node_row(window, node, depth))
        stack += [(child, depth + 1) for child in reversed(children.get(node, []))]
    return rows


def _node_row(window: Window, m: int, depth: int) -> Row:
    inp, out, plan = window.input, window.output, window.plan
    metered, trust = bool(plan.node_metered[m]), int(out.node_trust[m])
    limit_a = plan.node_limit_a[m]
    over = bool((inp.node_a[m] > limit_a).any())
    short = bool((out.node_headroom_a[m] < 0.0).any())
    trust_cell = (
        Cell(_name(Trust, trust), TRUST_TONE.get(Trust(min(trust, 2)), "")) if metered else Cell("no meter", "dim")
    )
    order, order_tone = _order(window, m)
    cells = (
        Cell("  " * depth + clean(window.site.node_names[m])),
        Cell(number(float(limit_a.min()), 0)),
        Cell(triple(inp.node_a[m].tolist()), "bad" if over else ""),
        Cell(triple(out.node_other_a[m].tolist()), "dim"),
        Cell(triple(out.node_reserved_a[m].tolist()), "dim"),
        Cell(triple(out.node_headroom_a[m].tolist()), "warn" if short else ""),
        trust_cell,
        Cell(kilowatts(float(out.node_cap_w[m]))),
        Cell(order, order_tone),
    )
    return Row(f"n{m}", cells, over or short or (metered and trust != Trust.BELIEVED) or order_tone == "bad")


def _order(window: Window, m: int) -> tuple[str, str]:
    """Return the DSO's order of a node and its tone; a Bad order node says so."""
    inp = window.input
    limit_w, utc_s, offset_s = float(inp.order_w[m]), int(inp.utc_ns[0]) / 1e9, float(inp.utc_offset_s[0])
    if math.isinf(limit_w):
        return "", ""
    bad = inp.order_quality[m] != Quality.GOOD
    from_s, to_s = float(inp.order_from_s[m]), float(inp.order_to_s[m])
    doubt = "? " if bad else ""
    if from_s > utc_s:
        return f"{doubt}{kilowatts(limit_w)} kW from {clock(from_s, offset_s)}", "bad" if bad else "dim"
    if to_s <= utc_s:
        return f"{doubt}{kilowatts(limit_w)} kW, over", "bad" if bad else "dim"
    until = f" until {clock(to_s, offset_s)}" if math.isfinite(to_s) else ""
    return f"{doubt}{kilowatts(limit_w)} kW{until}", "bad" if bad else "warn"


def port_rows(window: Window) -> list[Row]:
    """Return one row a port of the wires; none while they have not reported."""
    if window.ports is None:
        return []
    rows = []
    for k, port in enumerate(window.ports):
        link, fault = bool(port["link"]), clean(port["fault"].decode(errors="replace"))
        over_a = float(port["overwritten_a"])
        over = over_a > 0.0  # false on NaN: nobody
        if over:
            fault = f"overwritten: {over_a:.1f} A by another master  {fault}".rstrip()
        trip, aged, obeyed = (window.histogram(port[name]) for name in ("round_trip", "age", "obey"))
        cells = (
            Cell(clean(port["name"].decode(errors="replace"))),
            Cell("up" if link else "LOST", "good" if link else "bad"),
            Cell(str(int(port["errors"])), "warn" if port["errors"] else "dim"),
            Cell(micros(trip.percentile(50.0))),
            Cell(micros(trip.percentile(99.0))),
            Cell(micros(aged.percentile(99.0))),
            Cell(micros(obeyed.max_s)),
            Cell(fault, "bad" if over or not link else "dim"),
        )
        rows.append(Row(f"p{k}", cells, over or not link))
    return rows


def loop_lines(window: Window) -> list[list[Cell]]:
    """Return the lines of the loop screen: counters, percentiles and histograms of the scan."""
    view = window.timing
    if view is None or view.scans == 0:
        return [[Cell("no timing figures yet: the scan publishes them once it runs", "dim")]]
    late = view.misses + view.skipped
    lines = [
        [
            Cell(f"scan {int(window.output.scan[0])}   period {micros(view.period_s)}   scans {view.scans}   "),
            Cell(f"missed {view.misses} (host {view.misses_host})   skipped {view.skipped}", "bad" if late else "good"),
        ],
        [],
        [Cell(f"{'':10}{'p50':>10}{'p99':>10}{'p99.9':>10}{'max':>10}   1 us ... 10 s, ten bars a decade", "dim")],
    ]
    for title, histogram in (("wake-up", view.wake), ("busy", view.busy), ("decide", view.decide)):
        figures = [histogram.percentile(q) for q in (50.0, 99.0, 99.9)] + [histogram.max_s]
        text = f"{title:10}" + "".join(f"{micros(figure):>10}" for figure in figures)
        lines.append([Cell(text + "   "), Cell(bars(histogram.counts), "good")])
    return lines


def bars(counts: np.ndarray) -> str:
    """Return counts as bars on a logarithmic scale, so that the one miss in a thousand is seen."""
    inner = counts[1:-1]
    sums = inner.reshape(-1, BINS_A_BAR).sum(axis=1)
    sums[0] += counts[0]
    sums[-1] += counts[-1]
    top = max(math.log1p(float(sums.max())), 1e-9)
    return "".join(BARS[0 if n == 0 else max(1, round(8 * math.log1p(float(n)) / top))] for n in sums)


def alarm_names(window: Window) -> list[str]:
    """Return the names of the alarms of the newest scan."""
    raised = int(window.output.alarm[0])
    found = [str(bit.name).lower().replace("_", " ") for bit in Alarm if bit and raised & bit]
    found += ["order unkept"] if window.unkept() else []
    return [*found, "clock set"] if window.clock_off_s() else found
