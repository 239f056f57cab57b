"""Turn a matplotlib figure into SVG that stands in a page: style, thinning, time axis, marks. No network, no fonts.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers; ink, muted and grid are placeholders
that become CSS variables, so that a picture follows its page into dark or print.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hil.runs.promises import Mark
from hil.runs.trace import Trace

INK, MUTED, GRID, PAGE = "#101112", "#707172", "#d0d1d2", "#fdfefd"
BLUE, SKY, ORANGE, RED = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREEN, PURPLE, YELLOW, GREY = "#009E73", "#CC79A7", "#F0E442", "#888888"
CSS_COLOURS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAGE: "var(--bg)",
    BLUE.lower(): "var(--blue)",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.1,
    "hatch.linewidth": 0.7,
    "legend.facecolor": PAGE,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8,
}
MOST_POINTS = 1600
FEW_MARKS = 5  # labels of more run into each other


def time_unit(trace: Trace) -> tuple[str, float]:
    """Return the unit of a picture's time axis and its length in s: s, min or h by the span of the run."""
    span_s = float(trace.t_s[-1] - trace.t_s[0])
    if span_s <= 600:
        return "s", 1.0
    return ("min", 60.0) if span_s <= 3 * 3600 else ("h", 3600.0)


def time_of(trace: Trace) -> np.ndarray:
    return trace.t_s / time_unit(trace)[1]


def mark_lines(ax: Axes, marks: Sequence[Mark], run: Trace) -> None:
    for mark in marks:
        ax.axvline(mark.t_s / time_unit(run)[1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0.5)


def mark_labels(ax: Axes, marks: Sequence[Mark], run: Trace) -> None:
    """Name the marks above a picture; more than a few get numbers, which `mark_key` explains."""
    for k, mark in enumerate(sorted(marks, key=lambda m: m.t_s)):
        place = (mark.t_s / time_unit(run)[1], 1.0)
        offset = (1, 3 + 11 * (k % 2))
        text = mark.label if len(marks) <= FEW_MARKS else str(k + 1)
        ax.annotate(text, place, xycoords=("data", "axes fraction"), xytext=offset, fontsize=7.5,
                    textcoords="offset points", color=MUTED, annotation_clip=False)  # fmt: skip


def mark_key(marks: Sequence[Mark], run: Trace) -> str:
    """Return what the numbers of `mark_labels` stand for, with their times; "" where the labels stand there."""
    if len(marks) <= FEW_MARKS:
        return ""
    unit, length_s = time_unit(run)
    inorder = enumerate(sorted(marks, key=lambda m: m.t_s), 1)
    told = [f"({k}) {mark.label} at {mark.t_s / length_s:.3g} {unit}" for k, mark in inorder]
    return f"Dotted lines: {', '.join(told)}."


def thin(t: np.ndarray, y: np.ndarray, points: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `points` samples that keep the lowest and highest value of every bucket, in their order."""
    if len(t) <= points:
        return t, y
    width = -(-len(t) // (points // 2))
    starts = np.arange(0, len(t), width)
    known = np.full(len(starts) * width, np.nan)
    known[: len(t)] = y
    buckets = known.reshape(-1, width)
    low = starts + np.where(np.isnan(buckets), np.inf, buckets).argmin(axis=1)  # a bucket of NaN gives its start
    high = starts + np.where(np.isnan(buckets), -np.inf, buckets).argmax(axis=1)
    rows = np.unique(np.concatenate([[0], low, high, [len(t) - 1]]))
    return t[rows], y[rows]


def band(t: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return time, lowest and highest over the columns, thinned by whole buckets."""
    step = max(1, -(-len(t) // (MOST_POINTS // 2)))
    starts = np.arange(0, len(t), step)
    low = np.fmin.reduceat(np.fmin.reduce(values, axis=1), starts)
    high = np.fmax.reduceat(np.fmax.reduce(values, axis=1), starts)
    return t[starts], low, high


def svg(figure: Figure, label: str) -> str:
    """Return a figure as an SVG element to stand in HTML: no address, no font of its own, colours from the page."""
    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{label}">', text)
    text = re.sub(r"font: (?:(\d{3}) )?([\d.]+px)[^;\"]*", _font, text)
    used = set(re.findall(r"#([\w-]+)[\")]", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found.group(0) if found.group(1) in used else "", text)
    for placeholder, colour in CSS_COLOURS.items():
        text = text.replace(placeholder, colour)
    return re.sub(r"\n\s*", "\n", text)


def _font(found: re.Match[str]) -> str:
    weight = f"font-weight: {found.group(1)}; " if found.group(1) else ""
    return f"{weight}font-size: {found.group(2)}"
