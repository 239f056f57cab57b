"""Draw a contract's evidence: amps against the limit, power with and without, energy per connection. All return SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hil.runs.contract_figures import Served
from hil.runs.evidence_limits import limit_of
from hil.runs.evidence_meters import CONNECTION, OWN, TRUTH, WITNESS
from hil.runs.picture import BLUE, GREEN, GREY, INK, MUTED, ORANGE, RED, SKY, STYLE, svg, thin, time_of, time_unit

if TYPE_CHECKING:
    from hil.runs.contract_report import Evidence

COLOURS = {WITNESS: GREEN, CONNECTION: BLUE, OWN: ORANGE, TRUTH: INK}
MOST_BARS = 60


def contract_picture(evidence: Evidence) -> str:
    """Draw the highest amps at any point against the limit, and the power of all points, over the run."""
    run, free, held = evidence.run, evidence.reference, evidence.held
    unit, per_s = time_unit(run)
    members = held.members()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "contract", "text.parse_math": False}):
        made = Figure(figsize=(11.0, 5.6), layout="constrained")
        against, watts = made.subplots(2, 1, sharex=True)
        _against_limit(against, evidence, per_s)
        if free is not None:
            watts.plot(*thin(time_of(free), free.power_w()[:, members].sum(axis=1) / 1e3), color=MUTED, label="without")
        watts.plot(
            *thin(time_of(run), run.power_w()[:, members].sum(axis=1) / 1e3), color=BLUE, label="with the contract"
        )
        watts.set_ylim(bottom=0)
        watts.set_ylabel("all points (kW)")
        watts.set_xlabel(f"scenario time ({unit})")
        watts.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0)
        return svg(made, "Amps against the limit, and power with and without the contract")


def _against_limit(ax: Axes, evidence: Evidence, per_s: float) -> None:
    """Draw what each kind of meter saw at the point nearest its limit, and that limit, in the contract's quantity."""
    run, held = evidence.run, evidence.held
    in_amps = held.contract.limit.quantity == "A"
    top = 10.0
    for meter in evidence.meters:
        if not meter.series:
            continue
        series = list(meter.series.values())
        values = [s.amp_a.max(axis=1) if in_amps else s.watt_w() / 1e3 for s in series]
        highest = np.fmax.reduce(values)
        top = max(top, float(np.nanmax(highest, initial=0.0)))
        ax.plot(*thin(series[0].t_s / per_s, highest), color=COLOURS[meter.name], label=meter.name, linewidth=1.0)
    limit = limit_of(held, run.utc_s, 0.0, 0.0)
    value = limit.amp_a if in_amps else limit.watt_w / 1e3
    shown = np.where(value <= 1.5 * top, value, np.nan)
    ax.plot(*thin(time_of(run), shown), color=RED, linestyle=(0, (5, 2)), drawstyle="steps-post", label="limit")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("highest point\n(A per phase)" if in_amps else "highest point\n(kW)")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=4, borderaxespad=0)


def served_picture(served: Sequence[Served]) -> str:
    """Draw energy wanted and served per connection, the worst share first."""
    ranked = sorted(served, key=lambda row: (np.isnan(row.share), row.share))[:MOST_BARS]
    place = np.arange(len(ranked))
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "served", "text.parse_math": False}):
        made = Figure(figsize=(11.0, 2.8), layout="constrained")
        ax = made.subplots()
        wanted, got, without = (
            np.array([getattr(row, name) for row in ranked]) / 1e3
            for name in ("wanted_wh", "served_wh", "reference_wh")
        )
        ax.bar(place, wanted, color="none", edgecolor=GREY, label="wanted")
        ax.bar(place, got, color=SKY, edgecolor=BLUE, linewidth=0.6, label="served")
        ax.plot(place, without, linestyle="none", marker="_", color=INK, label="served without")
        ax.set_xticks(place, [row.connection for row in ranked], rotation=90, fontsize=7)
        ax.set_ylabel("energy (kWh)")
        ax.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=3, borderaxespad=0)
        return svg(made, "Energy wanted and served per connection")
