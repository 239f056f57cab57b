"""Write the page of a contract's evidence: what was promised, what was kept by which meter, who paid for it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from hil.runs.contract_orders_page import journal_sections
from hil.runs.contract_pictures import contract_picture, served_picture
from hil.runs.evidence_meters import CONNECTION, MEANING, OWN, TRUTH, WITNESS
from hil.runs.flexpower_page import flex_sections
from hil.runs.page import Raw, figure, fold, number, page, section, table, text, tiles
from profiles.contract_windows import Windowed

if TYPE_CHECKING:
    from hil.runs.contract_report import Evidence

ORDER = (WITNESS, CONNECTION, OWN, TRUTH)  # the meter that is nobody's own speaks first


def contract_page(evidence: Evidence) -> str:
    """Return the whole page."""
    title = f"Contract {evidence.held.name}"
    subtitle = Raw(f"<span>{escape(evidence.run_dir.name)}: {escape(evidence.setting.title)}</span>")
    parts = [
        _tiles(evidence),
        _promise(evidence),
        _picture(evidence),
        _kept(evidence),
        _compare(evidence),
        _curtailed(evidence),
        _served(evidence),
        *(flex_sections(evidence.flex) if evidence.flex is not None else ()),
        *journal_sections(evidence),
        _notes(evidence),
    ]
    return page(title, subtitle, [part for part in parts if part])


def _tiles(evidence: Evidence) -> Raw:
    """Show the figures that a reader looks for first, by the meter that is nobody's own where there is one."""
    rows = {name: [row for row in evidence.kept if row.meter == name] for name in ORDER}
    name = next((name for name in ORDER if rows[name]), TRUTH)
    known_wh = [row.over.energy_wh for row in rows[name] if np.isfinite(row.over.energy_wh)]
    over_wh = sum(known_wh) if known_wh else np.nan
    took = [s for row in rows[name] for s in row.took_s]
    missing_s = sum(row.over.missing_s for row in rows[name])
    worst = evidence.worst
    held_wh = sum(row.held_wh for row in evidence.curtailed)
    net_wh = sum(row.net_wh for row in evidence.curtailed)
    return tiles(
        [
            ("energy over the limit", number(over_wh / 1e3, 3, "kWh"), f"by {MEANING[name]}"),
            ("longest time to comply", number(max(took, default=np.nan), 1, "s"), f"{len(took)} falls of the limit"),
            (
                "limited", number(max((row.limited_h for row in evidence.curtailed), default=np.nan), 2, "h"),
                "under what holds without the contract",
            ),
            ("held back then", number(held_wh / 1e3, 2, "kWh"), f"in the end {number(net_wh / 1e3, 2, 'kWh')}"),
            ("Jain's index", number(evidence.fairness, 3), "of energy served over wanted, per connection"),
            (
                "worst connection", number(100 * worst.share if worst else None, 1, "%"),
                f"{worst.connection}: served of wanted" if worst else "nothing was wanted",
            ),
            ("not measured", number(missing_s, 0, "s"), f"while a limit was in force, by {MEANING[name]}"),
        ]
    )  # fmt: skip


def _promise(evidence: Evidence) -> Raw:
    """Say what the contract's file says: limit, how it is measured, windows or calls, allowance."""
    held, contract, (tolerance_a, tolerance_w) = evidence.held, evidence.held.contract, evidence.setting.tolerance
    limit = contract.limit
    how = "every sample" if limit.averaging_s <= 0 else f"means over {limit.averaging_s:g} s"
    spare = f", {100 * limit.tolerance:g} % of the limit" if limit.tolerance else ""
    note = (
        f"{contract.title}. {limit.direction.capitalize()}, {limit.quantity} ({limit.phases}) at each {limit.point}; "
        f"{how}, within {tolerance_a:g} A per phase and {tolerance_w:g} W{spare}; "
        f"told {held.lead_s:g} s early. "
        f"Local time of {held.zone.key}. {len(held.points)} measuring points. Source: {contract.source} "
        f"[{contract.verified}]."
    )
    said = contract.model_dump(mode="json", exclude={"limit", "window", "name", "title", "source", "verified"})
    terms = [(key.replace("_", " "), text(value)) for key, value in _flat(said) if value not in (None, [], "as_any")]
    parts = [] if not isinstance(contract, Windowed) else [_windows(contract)]
    return section("What was agreed", note, *parts, fold("every other key of the file", table(("key", "value"), terms)))


def _flat(said: dict[str, object], head: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in said.items():
        found += _flat(value, f"{head}{key} ") if isinstance(value, dict) else [(head + key, value)]
    return found


def _windows(contract: Windowed) -> Raw:
    unit = contract.limit.quantity
    rows = [
        (
            f"{w.start:%H:%M}", f"{w.until:%H:%M}", number(w.value(unit), 1, unit),
            "every day" if w.day_bits == 127 else " ".join(day[:3].capitalize() for day in w.days),
            "" if w.season is None else f"{w.season.start} to {w.season.until}",
        )
        for w in contract.window
    ]  # fmt: skip
    return table(("from", "until", "limit", "days", "season"), rows, (2,))


def _picture(evidence: Evidence) -> Raw:
    caption = (
        "Highest amps per phase at any measuring point against its limit, and the power of all points together with "
        "and without the contract."
    )
    return section("The run", figure(contract_picture(evidence), caption))


def _kept(evidence: Evidence) -> Raw:
    rows = []
    for row in sorted(evidence.kept, key=lambda row: (row.period, ORDER.index(row.meter))):
        p50_s, p99_s, longest_s = row.spans_s()
        rows.append(
            (
                row.period, row.meter, row.points, number(row.energy_wh / 1e3, 2), number(row.over.energy_wh / 1e3, 4),
                number(row.over.seconds, 0), number(row.over.highest_a, 2), number(row.over.missing_s, 0),
                number(row.over.unjudged_s, 0), len(row.took_s), number(p50_s, 1), number(p99_s, 1),
                number(longest_s, 1),
            )
        )  # fmt: skip
    headers = ("period", "meter", "points", "energy (kWh)", "over (kWh)", "over (s)", "highest over (A)",
               "not measured (s)", "not judged (s)", "falls", "comply p50 (s)", "p99 (s)", "max (s)")  # fmt: skip
    note = (
        "A fall counts where more was drawn than the new limit allows; ∞ is a fall that was not obeyed before the next "
        "change. What nobody measured counts as missing, never as obeyed. Not judged: time under a limit that fills no "
        "averaging interval of the contract, of which no mean can be had."
    )
    terms = evidence.held.contract.terms
    if terms.response_s is not None:
        late = [f"{row.late(terms.response_s):.0f} by {row.meter} ({row.period})" for row in evidence.kept]
        most = "" if terms.violations_to_suspend is None else f"; {terms.violations_to_suspend} violations suspend it"
        note += f" Falls that took longer than the agreed {terms.response_s:g} s: {', '.join(late) or 'none'}{most}."
    return section("Was the limit kept", note, table(headers, rows, range(2, 13)))


def _compare(evidence: Evidence) -> Raw:
    """Show the same figures by two meters and their difference."""
    by_name = {name: {row.period: row for row in evidence.kept if row.meter == name} for name in ORDER}
    rows = []
    for other in (WITNESS, CONNECTION, TRUTH):
        for period, found in by_name[other].items():
            own = by_name[OWN].get(period)
            if own is None or found.points != own.points:
                continue
            energy, over = found.energy_wh - own.energy_wh, found.over.energy_wh - own.over.energy_wh
            longest_s = max(found.took_s, default=np.nan) - max(own.took_s, default=np.nan)
            rows.append(
                (
                    period, other, number(own.energy_wh / 1e3, 3), number(found.energy_wh / 1e3, 3),
                    number(energy / 1e3, 3), number(100 * energy / found.energy_wh if found.energy_wh else None, 2),
                    number(over / 1e3, 4), number(longest_s, 1),
                )
            )  # fmt: skip
    absent = {why for meter in evidence.meters for why in meter.absent.values()}
    count = sum(len(meter.absent) for meter in evidence.meters)
    note = "; ".join(f"{name}: {MEANING[name]}" for name in ORDER) + "."
    if absent:
        note += f" At {count} points the connection's meter proves nothing: {'; '.join(sorted(absent))}."
    if not rows:
        return section("By a meter that is not the charger's own", note)
    headers = ("period", "other meter", "chargers (kWh)", "other (kWh)", "difference (kWh)", "(%)",
               "difference over (kWh)", "difference in longest (s)")  # fmt: skip
    return section("By a meter that is not the charger's own", note, table(headers, rows, range(2, 8)))


def _curtailed(evidence: Evidence) -> Raw:
    rows = [
        (row.period, number(row.limited_h, 2), number(row.binding_h, 2), number(row.held_wh / 1e3, 2),
         number(row.net_wh / 1e3, 2)) for row in evidence.curtailed
    ]  # fmt: skip
    headers = ("period", "limited (h)", "bound (charger-h)", "held back then (kWh)", "in the end (kWh)")
    note = (
        "Limited: hours with a limit under what holds without the contract. Bound: hours in which it was what bound a "
        "charger. Energy against the same sessions without the contract; the last column has what was caught up later."
    )
    return section("Curtailment", note, table(headers, rows, range(1, 5)))


def _served(evidence: Evidence) -> Raw:
    ranked = sorted(evidence.served, key=lambda row: (np.isnan(row.share), row.share))
    rows = [
        (
            row.connection, row.sessions, number(row.wanted_wh / 1e3, 2), number(row.served_wh / 1e3, 2),
            number(100 * row.share, 1), number(row.reference_wh / 1e3, 2),
        )
        for row in ranked
    ]  # fmt: skip
    headers = ("connection", "sessions", "wanted (kWh)", "served (kWh)", "served (%)", "without (kWh)")
    note = "Until the end of the run; a car that still stands there wants more. Worst first."
    return section(
        "Who got what", note, figure(served_picture(evidence.served), "Energy wanted, served, and served without."),
        table(headers, rows, range(1, 6)),
    )  # fmt: skip


def _notes(evidence: Evidence) -> Raw:
    return section("Notes", *evidence.notes) if evidence.notes else Raw("")
