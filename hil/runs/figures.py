"""Draw a run: both runs side by side, every charger with what bound it, and the scan's time. All return SVG.

Colours mean one thing throughout; a hatch tells apart reasons that share one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from controller.law.names import Reason
from hil.runs.indicators import worst_customer
from hil.runs.picture import (
    BLUE,
    GREEN,
    GREY,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    STYLE,
    YELLOW,
    band,
    mark_labels,
    mark_lines,
    svg,
    thin,
    time_of,
    time_unit,
)
from hil.runs.promises import Mark
from hil.runs.trace import Trace

PHASES = (("a", BLUE, "-"), ("b", ORANGE, "-"), ("c", GREEN, "-"))
REASON_LOOKS: dict[int, tuple[str, str]] = {
    Reason.WISH: (GRID, ""),
    Reason.NO_CAR: ("none", ""),
    Reason.HARDWARE: (GRID, "////"),
    Reason.CAR: (GRID, "...."),
    Reason.OVERRIDE: (INK, ""),
    Reason.VOLTAGE: (BLUE, ""),
    Reason.HYSTERESIS: (SKY, ""),
    Reason.WINDOW: (ORANGE, ""),
    Reason.GROUP: (ORANGE, "////"),
    Reason.ORDER: (RED, ""),
    Reason.ORDER_LOST: (RED, "////"),
    Reason.HEADROOM: (GREEN, ""),
    Reason.RESERVED: (GREEN, "////"),
    Reason.UNBALANCE: (GREEN, "xxxx"),
    Reason.ADMIT: (PURPLE, ""),
    Reason.FLOOR: (PURPLE, "////"),
    Reason.DWELL: (PURPLE, "...."),
    Reason.RAMP: (YELLOW, ""),
    Reason.SWITCH: (YELLOW, "...."),
    Reason.QUANTISE: (YELLOW, "////"),
    Reason.UNTRUSTED: (GREY, ""),
    Reason.LINK_LOST: (GREY, "xxxx"),
    Reason.OVERRULED: (GREY, "...."),
    Reason.BRAKE: (INK, "////"),
}
MOST_CHARGERS = 48


def street(
    controlled: Trace,
    uncontrolled: Trace | None,
    marks: Sequence[Mark],
    *,
    voltage_min_v: float = np.nan,
    head_limit_a: float = np.nan,
) -> str:
    """Draw volts at the worst customer, feeder-head amps per phase and watts, both runs side by side, as SVG."""
    runs = [run for run in (controlled, uncontrolled) if run is not None]
    worst = worst_customer(runs[-1])
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "street", "text.parse_math": False}):
        figure = Figure(figsize=(11.0, 7.2), layout="constrained")
        axes = figure.subplots(3, len(runs), sharex=True, sharey="row", squeeze=False)
        for column, run in enumerate(runs):
            _volts(axes[0, column], run, worst, voltage_min_v)
            _head_amps(axes[1, column], run, head_limit_a)
            _head_watts(axes[2, column], run)
            for ax in axes[:, column]:
                mark_lines(ax, marks, run)
            mark_labels(axes[0, column], marks, run)
            title = "With control" if run.name == "controlled" else "Without control, same seed"
            axes[0, column].set_title(title, fontweight="bold", pad=30, fontsize=11)
            axes[2, column].set_xlabel(f"scenario time ({time_unit(run)[0]})")
        _legends(axes)
        customer = controlled.customer_names[worst]
        axes[0, 0].set_ylabel(f"volts at {customer}\n(V, line to neutral)")
        axes[1, 0].set_ylabel("feeder head\n(A per phase)")
        axes[2, 0].set_ylabel("feeder head (kW)")
        return svg(figure, "Volts, amps and watts of both runs")


def _legends(axes: np.ndarray) -> None:
    """Explain each row once, in the left picture; amps and watts start at zero in both."""
    axes[0, 0].legend(loc="best")
    for row, columns in ((1, 4), (2, 2)):
        axes[row, 0].set_ylim(bottom=0)  # only now: a limit set earlier would freeze the scale at the first run
        axes[row, 0].legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=columns, borderaxespad=0)


def _volts(ax: Axes, run: Trace, customer: int, minimum_v: float) -> None:
    t = time_of(run)
    volts = run.charger_customer_v()
    ax.fill_between(
        *band(t, volts), color=SKY, alpha=0.3, linewidth=0, label="all customers with a charger", step="post"
    )
    ax.plot(*thin(t, run.customer_v[:, customer]), color=BLUE, label="worst customer")
    if np.isfinite(minimum_v):
        ax.axhline(minimum_v, color=RED, linewidth=1, linestyle=(0, (5, 2)), label=f"minimum {minimum_v:.1f} V")


def _head_amps(ax: Axes, run: Trace, limit_a: float) -> None:
    t = time_of(run)
    for k, (phase, colour, style) in enumerate(PHASES):
        ax.plot(*thin(t, run.head_a[:, k]), color=colour, linestyle=style, label=f"phase {phase}")
    if np.isfinite(limit_a):
        ax.axhline(limit_a, color=RED, linewidth=1, linestyle=(0, (5, 2)), label=f"capacity {limit_a:g} A")


def _head_watts(ax: Axes, run: Trace) -> None:
    t = time_of(run)
    ax.plot(*thin(t, run.head_w / 1e3), color=INK, label="load")
    order_kw = np.where(np.isfinite(run.order_w), run.order_w / 1e3, np.nan)
    if np.isfinite(order_kw).any():
        ax.plot(t, order_kw, color=RED, linestyle=(0, (5, 2)), drawstyle="steps-post", label="DSO order")


def chargers(controlled: Trace, uncontrolled: Trace | None, marks: Sequence[Mark], curtailed_wh: np.ndarray) -> str:
    """Draw amps allowed and drawn of every charger over a band of reasons, as SVG.

    `curtailed_wh` (N,) orders the choice where more than MOST_CHARGERS are there: the most curtailed are shown.
    """
    shown = np.arange(len(controlled.charger_names))
    if len(shown) > MOST_CHARGERS:
        shown = np.sort(np.argsort(-np.nan_to_num(curtailed_wh), kind="stable")[:MOST_CHARGERS])
    rows = -(-len(shown) // 4)
    top_a = max(float(np.nanmax(a, initial=10.0)) for a in (controlled.drawn_a, controlled.pwm_a)) * 1.06
    if uncontrolled is not None:
        top_a = max(top_a, float(np.nanmax(uncontrolled.drawn_a, initial=10.0)) * 1.06)
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "chargers", "axes.titlesize": 8.5, "text.parse_math": False}):
        figure = Figure(figsize=(11.0, 0.9 + 1.45 * rows), layout="constrained")
        axes = figure.subplots(rows, 4, sharex=True, sharey=True, squeeze=False).ravel()
        seen: set[int] = set()
        for ax, i in zip(axes, shown, strict=False):
            seen |= _charger(ax, controlled, uncontrolled, int(i), top_a)
            mark_lines(ax, marks, controlled)
            ax.set_title(controlled.charger_names[i], fontweight="bold", pad=3)
            if np.isfinite(curtailed_wh[i]):
                ax.set_title(_gain(-curtailed_wh[i]), loc="right", fontsize=8, color=MUTED, pad=3)
        for ax in axes[len(shown) :]:
            ax.set_axis_off()
        figure.supxlabel(f"scenario time ({time_unit(controlled)[0]})", fontsize=8.5)
        figure.supylabel("amps per phase (A)", fontsize=8.5)
        _charger_legend(figure, seen, uncontrolled is not None)
        return svg(figure, "Amps allowed and drawn of every charger, and what bound it")


def _gain(wh: float) -> str:
    shown = f"{wh:+.0f} Wh" if abs(wh) < 1000 else f"{wh / 1e3:+.2f} kWh"
    return shown.replace("-", "−")


def _charger(ax: Axes, run: Trace, other: Trace | None, i: int, top_a: float) -> set[int]:
    t = time_of(run)
    if other is not None:
        ax.plot(*thin(time_of(other), other.drawn_a[:, i], 400), color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.2)))
    x, drawn = thin(t, run.drawn_a[:, i], 500)
    ax.fill_between(x, 0, drawn, color=SKY, alpha=0.55, linewidth=0)
    ax.plot(x, drawn, color=BLUE, linewidth=0.9)
    allowed = np.where(np.isfinite(run.allowed_a[:, i]), run.allowed_a[:, i], np.nan)
    ax.plot(*thin(t, allowed, 500), color=INK, linewidth=1.0, drawstyle="steps-post")
    seen = set()
    starts = np.flatnonzero(np.diff(run.reason[:, i], prepend=255))
    ends = np.append(starts[1:], len(t) - 1)
    for code in np.unique(run.reason[starts, i]).tolist():
        colour, hatch = REASON_LOOKS.get(code, (GREY, "||||"))
        seen.add(code)
        mine = run.reason[starts, i] == code
        bars = [(t[start], t[end] - t[start]) for start, end in zip(starts[mine], ends[mine], strict=True)]
        ax.broken_barh(bars, (-0.19 * top_a, 0.13 * top_a), facecolor=colour, edgecolor=INK, hatch=hatch, linewidth=0)
    ax.set_ylim(-0.21 * top_a, top_a)
    ax.set_yticks([a for a in (0, 6, 16, 32, 63) if a < top_a])
    return seen


def _charger_legend(figure: Figure, seen: set[int], compared: bool) -> None:
    handles: list[Any] = [
        Line2D([], [], color=INK, label="allowed"),
        Patch(facecolor=SKY, edgecolor=BLUE, label="drawn"),
    ]
    if compared:
        handles.append(Line2D([], [], color=MUTED, linestyle=(0, (1, 1.2)), label="without control"))
    for code in sorted(seen):
        colour, hatch = REASON_LOOKS.get(code, (GREY, "||||"))
        handles.append(Patch(facecolor=colour, edgecolor=INK, hatch=hatch, linewidth=0, label=reason_name(code)))
    figure.legend(handles=handles, loc="outside upper left", ncols=9, handlelength=1.6, columnspacing=1.4)


def timing(bins: Mapping[str, Sequence[float]], period_ms: float) -> str:
    """Draw the scan's wake-up lateness and busy time on logarithmic bins, as SVG.

    `bins` is TimingView.bins(): `edges_us` (the lower edge of each bin) and counts `wake` and `busy`.
    """
    lower_ms = np.asarray(bins["edges_us"], dtype=float) / 1e3
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "timing"}):
        figure = Figure(figsize=(11.0, 2.7), layout="constrained")
        pair = figure.subplots(1, 2, sharey=True)
        for ax, name, colour, title in (
            (pair[0], "wake", BLUE, "Wake-up lateness: deadline to awake"),
            (pair[1], "busy", GREEN, "Busy time: awake to done"),
        ):
            counts = np.asarray(bins[name], dtype=float)
            left, width, grouped = _group(lower_ms, counts, 5)
            ax.bar(left, grouped, width=width, align="edge", color=colour, linewidth=0)
            ax.axvline(period_ms, color=RED, linewidth=1, linestyle=(0, (5, 2)))
            ax.annotate(f"period {period_ms:g} ms", (period_ms, 1), xycoords=("data", "axes fraction"), ha="right",
                        va="top", xytext=(-4, -2), textcoords="offset points", color=RED, fontsize=8)  # fmt: skip
            ax.set_xscale("log")
            ax.set_yscale("symlog", linthresh=1)
            ax.set_xlim(1e-3, max(1e3, period_ms * 3))
            ax.set_title(title, fontweight="bold")
            ax.set_xlabel("time (ms)")
        pair[0].set_ylim(bottom=0)  # after both, since they share it
        pair[0].set_ylabel("scans")
        return svg(figure, "Histograms of the scan's wake-up lateness and busy time")


def _group(lower_ms: np.ndarray, counts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left edges, widths and counts of `size` bins put together; the open first and last bin are kept in."""
    starts = np.arange(0, len(counts), size)
    left = np.maximum(lower_ms[starts], 0.5e-3)
    right = np.append(left[1:], lower_ms[-1] * 1.3)
    return left, right - left, np.add.reduceat(counts, starts)


def reason_name(code: int) -> str:
    """Return a reason in words."""
    return Reason(code).name.lower().replace("_", " ") if code in list(Reason) else f"reason {code}"
