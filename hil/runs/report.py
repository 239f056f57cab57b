"""Write report.html: verdicts first, both runs side by side, who was held back by what, and the scan's time.

One file without any address in it: it opens from a mail, a CI artefact or a USB stick, and prints.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from hil.runs import bench_figures, figures
from hil.runs.bench_trace import load_bench
from hil.runs.indicators import Held, curtailed_wh, flexpower, held_back, order_to_ampere, worst_customer
from hil.runs.page import Raw, badge, figure, fold, number, page, section, table, text, tiles
from hil.runs.picture import mark_key
from hil.runs.promises import Mark, Verdict
from hil.runs.rules import scan_figures
from hil.runs.trace import Trace
from hil.runs.verdict import exit_code

MOST_EVENTS = 400
EVENT_FRAME = ("t_s", "mono_ns", "kind", "process")


class RigInfo(TypedDict):
    """Say what the report cannot know from the traces; only `title` is required."""

    title: str
    facts: NotRequired[Mapping[str, object]]  # shown as they are: seed, stage, feeder, agreement, versions
    marks: NotRequired[Sequence[Mark]]  # labelled moments of the scenario
    voltage_min_v: NotRequired[float]
    head_limit_a: NotRequired[float]
    obey_s: NotRequired[Sequence[float]]  # (N,) promised obey times
    tolerance_a: NotRequired[float]
    start_mono_ns: NotRequired[int]  # monotonic clock at scenario time 0, to place the events


def write_report(
    run_dir: Path,
    rig_info: RigInfo,
    controlled: Trace,
    uncontrolled: Trace | None,
    verdicts: Sequence[Verdict],
    timing: Mapping[str, Any] | None,
    events: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `report.html` into the run folder and return its path.

    `timing` is the content of timing.json (TimingView.to_dict, with `bins` for the histograms and `ports` for the
    port table where they are known), None in fast mode; `events` are the lines of events.jsonl.
    """
    parts = [
        _verdict_section(verdicts),
        _key_figures(controlled, uncontrolled, timing),
        _street_section(rig_info, controlled, uncontrolled),
        _charger_section(rig_info, controlled, uncontrolled),
        _held_section(controlled, uncontrolled),
        _obey_section(rig_info, controlled),
        _timing_section(timing),
        _port_section(timing),
        _readings_section(rig_info, load_bench(run_dir)),
        _bench_section(timing),
        _event_section(rig_info, events),
        _fact_section(rig_info),
    ]
    path = run_dir / "report.html"
    path.write_text(page(rig_info["title"], _result(verdicts), [part for part in parts if part]), encoding="utf-8")
    return path


def _result(verdicts: Sequence[Verdict]) -> Raw:
    state = {0: "passed", 1: "failed", 4: "inconclusive"}[exit_code(verdicts)]
    passed = sum(verdict.state == "passed" for verdict in verdicts)
    return Raw(f"{badge(state)}<span>{passed} of {len(verdicts)} verdicts passed</span>")


def _verdict_section(verdicts: Sequence[Verdict]) -> Raw:
    rows = [
        (v.name.replace("_", " "), badge(v.state), _figure(v.value, v.unit), _figure(v.limit, v.unit), v.text)
        for v in verdicts
    ]
    note = (
        "Each promise of the scenario is measured at the amps drawn, after the devices' own pacing, and must fail in "
        "the run without control; otherwise it is not exercised."
    )
    return section("Verdicts", note, table(("promise", "verdict", "value", "limit", "how"), rows, (2, 3)))


def _figure(value: float, unit: str) -> str:
    digits = {"pu": 4, "V": 1, "A": 2, "s": 1, "W": 0, "1": 4}.get(unit, 2)
    return number(value, digits, "" if unit == "1" else unit)


def _key_figures(controlled: Trace, uncontrolled: Trace | None, timing: Mapping[str, Any] | None) -> Raw:
    low_v = float(np.nanmin(controlled.charger_customer_v()))
    peak_kw = float(np.nanmax(controlled.head_w)) / 1e3
    free = uncontrolled
    entries = [
        (
            "lowest volts",
            number(low_v, 1, "V"),
            f"without control {number(float(np.nanmin(free.charger_customer_v())) if free else None, 1, 'V')}",
        ),
        (
            "feeder-head peak",
            number(peak_kw, 1, "kW"),
            f"without control {number(float(np.nanmax(free.head_w)) / 1e3 if free else None, 1, 'kW')}",
        ),
    ]
    if free is not None:
        flex = flexpower(controlled, free)
        saved = f"without control {number(flex.energy_uncontrolled_wh / 1e3, 2, 'kWh')}"
        shares = f"{number(100 * flex.positive_share, 0)} % better, of {flex.sessions} sessions"
        entries += [
            ("energy transferred", number(flex.energy_wh / 1e3, 2, "kWh"), saved),
            ("average charging power", number(flex.average_power_w / 1e3, 2, "kW"), "per charging car"),
            ("sessions worse off", number(100 * flex.negative_share, 0, "%"), shares),
        ]
    if timing:
        scan = scan_figures(timing)
        wake_ms = (scan["wake"]["p99_us"] or np.nan) / 1e3
        late = f"{scan['misses'] + scan['skipped']} of {scan['scans'] + scan['skipped']} periods missed"
        entries.append(("scan wake-up, p99", number(wake_ms, 2, "ms"), late))
    return tiles(entries)


def _street_section(info: RigInfo, controlled: Trace, uncontrolled: Trace | None) -> Raw:
    svg = figures.street(
        controlled,
        uncontrolled,
        info.get("marks", ()),
        voltage_min_v=info.get("voltage_min_v", np.nan),
        head_limit_a=info.get("head_limit_a", np.nan),
    )
    worst = controlled.customer_names[worst_customer(uncontrolled or controlled)]
    caption = (
        f"Volts at {worst} (lowest without control) over the band of all customers with a charger; feeder-head amps "
        "per phase and active power of all customers. Both columns share their scales."
    )
    caption = " ".join(filter(None, (caption, mark_key(info.get("marks", ()), controlled))))
    return section("The feeder", figure(svg, caption))


def _charger_section(info: RigInfo, controlled: Trace, uncontrolled: Trace | None) -> Raw:
    lost_wh = np.full(len(controlled.charger_names), np.nan)
    if uncontrolled is not None:
        lost_wh = curtailed_wh(controlled, uncontrolled)
    svg = figures.chargers(controlled, uncontrolled, info.get("marks", ()), lost_wh)
    caption = (
        "Line: amps allowed; filled: amps drawn; dotted: amps drawn without control. The band below names what bound "
        "the charger. The figure at the right is its energy against the run without control."
    )
    shown = min(len(controlled.charger_names), figures.MOST_CHARGERS)
    if shown < len(controlled.charger_names):
        caption += f" The {shown} chargers with the most curtailed energy of {len(controlled.charger_names)}."
    return section("Every charger", figure(svg, caption))


def _held_section(controlled: Trace, uncontrolled: Trace | None) -> Raw:
    held = held_back(controlled, uncontrolled)
    if not held:
        return section("Who was held back, by what, and by how much", "Nobody was held back.")
    total_wh = float(np.nansum([row.curtailed_wh for row in held])) if uncontrolled is not None else np.nan
    note = f"Energy against the run without control in the same seconds; together {number(total_wh, 1, 'Wh')}."
    by_reason = []
    for reason in sorted({row.reason for row in held}):
        group = [row for row in held if row.reason == reason]
        first = min(row.first_s for row in group)
        spent = sum(row.seconds for row in group)
        lost_wh = sum(row.curtailed_wh for row in group)
        name, count = figures.reason_name(reason), len({row.charger for row in group})
        by_reason.append((name, count, number(first, 1), number(spent, 1), number(lost_wh, 1)))
    headers = ("held back by", "chargers", "first at (s)", "charger-seconds (s)", "curtailed (Wh)")
    return section(
        "Who was held back, by what, and by how much",
        note,
        table(headers, by_reason, (1, 2, 3, 4)),
        fold(f"{len(held)} rows, one a charger and reason", _held_table(held)),
    )


def _held_table(held: Sequence[Held]) -> Raw:
    rows = [
        (
            row.charger,
            figures.reason_name(row.reason),
            number(row.first_s, 1),
            number(row.seconds, 1),
            number(row.lowest_a, 1),
            number(row.curtailed_wh, 1),
        )
        for row in held
    ]
    headers = ("charger", "held back by", "first at (s)", "for (s)", "lowest allowed (A)", "curtailed (Wh)")
    return table(headers, rows, (2, 3, 4, 5))


def _obey_section(info: RigInfo, controlled: Trace) -> Raw:
    obey_s = info.get("obey_s", [np.nan] * len(controlled.charger_names))
    rows = [
        (row.charger, row.orders, number(row.longest_s, 1), number(row.at_s, 1), number(row.limit_s, 1))
        for row in order_to_ampere(controlled, obey_s, info.get("tolerance_a", 0.5))
    ]
    note = "From a limit that falls below the amps drawn until the amps are under it: write pacing, pilot and car."
    headers = ("charger", "times lowered", "longest (s)", "that one at (s)", "promised (s)")
    return section("From order to ampere", note, table(headers, rows, (1, 2, 3, 4)))


def _timing_section(timing: Mapping[str, Any] | None) -> Raw:
    if not timing:
        return section("Real time", "This run was in virtual time: there is no deadline to keep.")
    scan = scan_figures(timing)
    parts: list[object] = []
    bins = timing.get("bins") or scan.get("bins")
    if bins:
        caption = "Counts on logarithmic bins; the vertical scale is linear up to 1 and logarithmic above."
        parts.append(figure(figures.timing(bins, float(scan["period_ms"])), caption))
    rows = [(name, *_percentiles(scan[name])) for name in ("wake", "busy", "decide") if name in scan]
    headers = ("", "count", "p50 (ms)", "p99 (ms)", "p99.9 (ms)", "max (ms)")
    parts.append(table(headers, rows, range(1, 6)))
    note = (
        f"Period {scan['period_ms']:g} ms; {scan['scans']} scans, {scan['misses']} missed ({scan['misses_host']} of "
        f"them by the host), {scan['skipped']} periods skipped."
    )
    return section("Real time", note, *parts)


def _percentiles(histogram: Mapping[str, Any]) -> tuple[object, ...]:
    shown = (histogram.get(key) for key in ("p50_us", "p99_us", "p999_us", "max_us"))
    return (histogram.get("count", 0), *(number(None if us is None else us / 1e3, 3) for us in shown))


def _port_section(timing: Mapping[str, Any] | None) -> Raw:
    ports = (timing or {}).get("ports")
    if not ports:
        return Raw("")
    rows = []
    for name, port in ports.items():
        trip, age, obey = (port.get(key) or {} for key in ("round_trip", "age", "obey"))
        link = "" if "link" not in port else "up" if port["link"] else "lost"
        spans = [number(us if us is None else us / 1e3, 2) for us in (trip.get("p50_us"), trip.get("p99_us"))]
        ages = [number(us if us is None else us / 1e3, 0) for us in (age.get("p50_us"), age.get("p99_us"))]
        slow = obey.get("max_us")
        obeyed = number(None if slow is None else slow / 1e6, 1)
        rows.append((name, link, *spans, *ages, obeyed, port.get("errors", 0), port.get("fault") or ""))
    headers = ("port", "link at end", "round trip p50 (ms)", "p99 (ms)", "age p50 (ms)", "p99 (ms)",
               "slowest obeyed (s)", "errors", "last fault")  # fmt: skip
    return section("Ports", table(headers, rows, range(2, 8)))


def _readings_section(info: RigInfo, bench: Mapping[str, np.ndarray]) -> Raw:
    """Show what the bench's instruments read, and how far source and analyzer are apart."""
    if not bench:
        return Raw("")
    caption = "As the instruments were read, from the first contact to the stop; dotted lines mark the scenario."
    parts: list[object] = [figure(bench_figures.draw(bench, info.get("marks", ())), caption)]
    rows = [
        (terminal, unit, *(number(round(value, 2) + 0.0, 2) for value in values))
        for terminal, unit, *values in bench_figures.differences(bench)
    ]
    if rows:
        own = "supply" if bench_figures.is_dc(bench) else "source"
        headers = ("terminal", "unit", f"{own}, mean", "analyzer, mean", "mean difference", "largest difference")
        parts += [table(headers, rows, range(2, 6)), Raw("<p>Compared where current flows and stands still.</p>")]
    return section("The bench", *parts) if rows else section("The bench", "No analyzer on this bench.", *parts)


def _bench_section(timing: Mapping[str, Any] | None) -> Raw:
    """Show how long the loop through the device under test takes."""
    bench = (timing or {}).get("bench")
    if not bench:
        return Raw("")
    names = {
        "loop": "feeder volts computed to amps read back",
        "cycle": "whole cycle",
        "source": "source: set volts, read amps",
        "load": "load: set amps, read volts and amps",
        "adapter": "pilot adapter: read duty",
        "supply": "supply: set volts, read volts and amps",
        "analyzer": "analyzer: read volts, amps and watts",
    }
    keys = ("p50_us", "p99_us", "p999_us", "max_us")
    rows = [
        (label, *(number(us if us is None else us / 1e3, 2) for us in (bench[name].get(key) for key in keys)))
        for name, label in names.items()
        if name in bench
    ]
    counters = bench.get("counters", {})
    note = (
        f"{counters.get('cycles', 0)} cycles, {counters.get('late', 0)} late, {counters.get('timeouts', 0)} time-outs."
    )
    headers = ("exchange", "p50 (ms)", "p99 (ms)", "p99.9 (ms)", "max (ms)")
    return section("Power-HIL loop", note, table(headers, rows, range(1, 5)))


def _event_section(info: RigInfo, events: Sequence[Mapping[str, Any]]) -> Raw:
    if not events:
        return Raw("")
    zero_ns = info.get("start_mono_ns", events[0].get("mono_ns", 0))
    rows = [
        (_when(event, zero_ns), event.get("process", ""), event.get("kind", ""), _rest(event))
        for event in events[:MOST_EVENTS]
    ]
    shown = f"first {MOST_EVENTS} of {len(events)} events" if len(events) > MOST_EVENTS else f"{len(events)} events"
    parts = table(("time (s)", "process", "event", "what"), rows, (0,))
    return section("Events", fold(f"{shown}, as in events.jsonl", parts))


def _when(event: Mapping[str, Any], zero_ns: int) -> str:
    if "t_s" in event:
        return number(float(event["t_s"]), 2)
    return number((event["mono_ns"] - zero_ns) / 1e9, 2) if "mono_ns" in event else ""


def _rest(event: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in event.items() if key not in EVENT_FRAME)


def _fact_section(info: RigInfo) -> Raw:
    facts = info.get("facts", {})
    if not facts:
        return Raw("")
    rows = [
        (name, value if isinstance(value, str | int | float) else json.dumps(value)) for name, value in facts.items()
    ]
    return section("Rig", table(("fact", "value"), [(name, Raw(text(value))) for name, value in rows]))
