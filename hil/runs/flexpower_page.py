"""Write the FlexPower indicators: a table for people beside what was published, and the same as JSON and CSV."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hil.runs.flexpower import AFFECTED_SHARE, Indicator, Session, generation, indicators
from hil.runs.page import Raw, figure, number, page, section, table, text
from hil.runs.picture import BLUE, GREY, ORANGE, STYLE, svg
from hil.runs.summary import finite
from profiles.published import Published
from profiles.vehicle import Vehicle

OTHER_BOUNDS = (0.0, 0.05, 0.1)  # how the shares hang on what counts as affected


@dataclass(frozen=True, slots=True)
class FlexReport:
    """Hold what a FlexPower report shows: sessions in both runs, classes of cars, published figures, assumptions."""

    title: str
    sessions: Sequence[Session]
    vehicles: dict[str, Vehicle]
    published: Published | None
    assumed: Sequence[str]

    def table(self) -> list[Indicator]:
        """Return the indicators by group of cars."""
        return indicators(self.sessions, self.vehicles)


def flex_sections(report: FlexReport) -> list[Raw]:
    """Return the sections of a page: indicators beside the published ones, spread of the changes, assumptions."""
    if not report.sessions:
        return [section("FlexPower indicators", "No session came and went within the run.")]
    return [_indicator_section(report), _bound_section(report), _assumed_section(report)]


def _indicator_section(report: FlexReport) -> Raw:
    rows = []
    for row in report.table():
        told = report.published.shares.get(row.group) if report.published else None
        positive, negative = (100 * row.positive_share, 100 * row.negative_share)
        rows.append(
            (
                row.group.replace("_", " "), row.sessions, number(row.power_w / 1e3, 2),
                number(row.reference_power_w / 1e3, 2), number(row.energy_wh / 1e3, 1),
                number(row.reference_energy_wh / 1e3, 1), number(positive, 1), number(negative, 1),
                *(("", "", "", "") if told is None else (
                    number(100 * told[0], 0), number(100 * told[1], 0),
                    number(positive - 100 * told[0], 1), number(negative - 100 * told[1], 1))),
            )
        )  # fmt: skip
    headers = ("cars", "sessions", "power (kW)", "without", "energy (kWh)", "without", "more (%)", "less (%)",
               "published more", "less", "off by (points)", "less by")  # fmt: skip
    note = (
        "Average charging power (energy over the time that power flowed), energy, and the share of sessions that got "
        f"more or less, by over {100 * AFFECTED_SHARE:g} %, than the same session without the windows. First "
        "generation: one phase, at most 16 A; new generation: all others."
    )
    parts: list[object] = [note]
    if report.published:
        parts.append(f"Published: {report.published.title}. {report.published.source} [{report.published.verified}].")
    parts.append(
        figure(_picture(report), "Change of energy of each session, per cent, ranked; sessions per generation.")
    )
    return section("FlexPower indicators", *parts, table(headers, rows, range(1, 12)))


def _bound_section(report: FlexReport) -> Raw:
    """Show how the shares hang on what counts as affected: the publication's bound is not known to us."""
    rows = []
    for bound in sorted({AFFECTED_SHARE, *OTHER_BOUNDS}):
        found = {row.group: row for row in indicators(report.sessions, report.vehicles, bound)}
        cells = [
            number(100 * share, 1)
            for group in ("all", "new_generation")
            for share in (
                (found[group].positive_share, found[group].negative_share) if group in found else (np.nan,) * 2
            )
        ]
        rows.append((f"over {100 * bound:g} %", *cells))
    headers = ("affected means", "all: more (%)", "less (%)", "new generation: more (%)", "less (%)")
    return section("What counts as affected", table(headers, rows, range(1, 5)))


def _assumed_section(report: FlexReport) -> Raw:
    items = "".join(f"<li>{text(line)}</li>" for line in report.assumed)
    return section("What was assumed", Raw(f"<ul>{items}</ul>")) if items else Raw("")


def _picture(report: FlexReport) -> str:
    """Draw the change of every session, ranked, for both generations."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "flexpower", "text.parse_math": False}):
        made = Figure(figsize=(11.0, 2.8), layout="constrained")
        ax = made.subplots()
        kinds = [generation(report.vehicles[session.vehicle]) for session in report.sessions]
        for kind, colour in (("first_generation", ORANGE), ("new_generation", BLUE)):
            change = np.sort([100 * s.change for s, k in zip(report.sessions, kinds, strict=True) if k == kind])
            if len(change):
                share = 100 * (np.arange(len(change)) + 0.5) / len(change)
                ax.plot(share, change, color=colour, label=f"{kind.replace('_', ' ')}, {len(change)} sessions")
        ax.axhline(0.0, color=GREY, linewidth=0.8)
        ax.set_xlabel("sessions, the worst off first (%)")
        ax.set_ylabel("energy against\nwithout (%)")
        ax.set_xlim(0, 100)
        ax.legend(loc="lower right")
        return svg(made, "Change of energy of each session, ranked")


def flex_json(report: FlexReport) -> dict[str, Any]:
    """Return the indicators as plain objects, units in the names."""
    told = report.published
    return {
        "title": report.title,
        "affected_share": AFFECTED_SHARE,
        "indicators": [row.to_dict() for row in report.table()] if report.sessions else [],
        "published": None if told is None else {"source": told.source, "shares": told.shares},
        "assumed": list(report.assumed),
    }


def write_flex_report(base: Path, report: FlexReport) -> list[Path]:
    """Write `<base>.html`, `.json` and `.csv` (a row a session) and return their paths."""
    written = [base.with_name(base.name + suffix) for suffix in (".html", ".json", ".csv")]
    html = page(report.title, Raw(f"<span>{len(report.sessions)} sessions</span>"), flex_sections(report))
    written[0].write_text(html, encoding="utf-8")
    written[1].write_text(json.dumps(finite(flex_json(report)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with written[2].open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = Session.__slots__
        writer.writerow((*names, "generation", "change"))
        for s in report.sessions:
            kind = generation(report.vehicles[s.vehicle])
            writer.writerow((*(getattr(s, name) for name in names), kind, s.change))
    return written
