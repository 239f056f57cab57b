"""Draw what the bench read, and compare the source's own meter with the analyzer's."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hil.runs.picture import BLUE, GREEN, INK, ORANGE, RED, STYLE, svg, thin
from hil.runs.promises import Mark

PHASES = (("l1", BLUE), ("l2", ORANGE), ("l3", GREEN))
FLOWS_A = 1.0  # less is not compared
STILL_A = 0.1  # a change from one sample to the next
NEAR = 5

Bench = Mapping[str, np.ndarray]


def is_dc(bench: Bench) -> bool:
    """Tell whether a supply stood on the bench."""
    return bool(np.isfinite(bench["dc_v"]).any())


def phases_used(bench: Bench) -> list[str]:
    """Return the terminals that showed volts."""
    return [phase for phase, _ in PHASES if np.nanmax(bench[f"{phase}.volt_v"], initial=0.0) > 1.0]


def draw(bench: Bench, marks: Sequence[Mark]) -> str:
    """Return the bench's own readings over scenario time as SVG: volts, amps, and the car's side."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "bench", "text.parse_math": False}):
        figure = Figure(figsize=(9.6, 5.2), layout="constrained")
        axes = figure.subplots(3, 1, sharex=True)
        (_dc if is_dc(bench) else _ac)(axes, bench)
        for ax in axes:
            for mark in marks:
                ax.axvline(mark.t_s, color=INK, linewidth=0.6, linestyle=(0, (1, 3)))
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
            ax.set_xlim(bench["t_s"][0], bench["t_s"][-1])
        axes[-1].set_xlabel("scenario time (s)")
        return svg(figure, "Volts, amps and the car's side as the bench read them")


def _line(ax: Axes, t_s: np.ndarray, values: np.ndarray, **style: Any) -> None:
    ax.plot(*thin(t_s, values), **style)


def _dc(axes: Sequence[Axes], bench: Bench) -> None:
    t_s = bench["t_s"]
    _line(axes[0], t_s, bench["dc_v"], color=BLUE, label="at the supply")
    axes[0].set_ylabel("battery (V)")
    _line(axes[1], t_s, bench["demand_a"], color=INK, linestyle=(0, (5, 2)), label="asked for by the battery")
    _line(axes[1], t_s, bench["dc_a"], color=ORANGE, label="into the battery")
    axes[1].set_ylabel("current (A)")
    axes[1].set_ylim(bottom=0)
    _line(axes[2], t_s, 100.0 * bench["soc"], color=GREEN, label="state of charge")
    axes[2].set_ylabel("charge (%)")


def _ac(axes: Sequence[Axes], bench: Bench) -> None:
    t_s, used = bench["t_s"], phases_used(bench)
    for phase, colour in PHASES:
        if phase in used:
            _line(axes[0], t_s, bench[f"{phase}.volt_v"], color=colour, label=f"{phase.upper()}, source")
            _line(axes[1], t_s, bench[f"{phase}.amp_a"], color=colour, label=f"{phase.upper()}, source")
    axes[0].set_ylabel("source (V)")
    _line(axes[1], t_s, bench["load_set_a"], color=INK, linestyle=(0, (5, 2)), label="wanted by the car")
    axes[1].set_ylabel("current (A)")
    axes[1].set_ylim(bottom=0)
    _line(axes[2], t_s, 100.0 * bench["duty"], color=RED, label="control pilot")
    axes[2].set_ylabel("duty cycle (%)")


def _steady(amps: np.ndarray) -> np.ndarray:
    """Return where current flows and has not moved within NEAR samples to either side."""
    moved = np.append(np.abs(np.diff(amps, prepend=amps[:1])) >= STILL_A, np.zeros(NEAR, dtype=bool))
    near = np.convolve(moved, np.ones(2 * NEAR + 1), mode="full")[NEAR : NEAR + len(amps)] > 0.0
    return np.asarray((np.abs(amps) > FLOWS_A) & ~near)


def differences(bench: Bench) -> list[tuple[str, str, float, float, float, float]]:
    """Return rows (terminal, unit, meter's mean, analyzer's mean, mean and largest difference).

    The meter is the source's own, or the supply's on a DC bench; rows only where an analyzer gave numbers. Compared is
    where current flows and stands still: the two are read one after the other, and a ramp would count as an error.
    """
    rows = []
    if is_dc(bench):
        pairs = [("DC", "dc_v", "l1.analyzer_v", "V"), ("DC", "dc_a", "l1.analyzer_a", "A")]
        pairs.append(("DC", "dc_w", "l1.analyzer_w", "W"))
        flows = {"DC": _steady(bench["dc_a"])}
    else:
        used = phases_used(bench)
        pairs = [(p.upper(), f"{p}.{what}", f"{p}.analyzer_{unit.lower()}", unit) for p in used
                 for what, unit in (("volt_v", "V"), ("amp_a", "A"), ("power_w", "W"))]  # fmt: skip
        flows = {p.upper(): _steady(bench[f"{p}.amp_a"]) for p in used}
    for terminal, own, other, unit in pairs:
        known = flows[terminal] & np.isfinite(bench[own]) & np.isfinite(bench[other])
        if known.any():
            meter, analyzer = bench[own][known], bench[other][known]
            apart = meter - analyzer
            largest = float(apart[np.argmax(np.abs(apart))])
            rows.append((terminal, unit, float(meter.mean()), float(analyzer.mean()), float(apart.mean()), largest))
    return rows
