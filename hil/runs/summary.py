"""Say in a few lines, or in one JSON object, how a run went; and keep the verdicts in its folder."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hil.runs.indicators import FlexPower
from hil.runs.promises import Mark, Verdict
from hil.runs.rules import scan_figures

LOOKS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "not_exercised": ("○", "dim"),
    "inconclusive": ("?", "yellow"),
}


def summary_json(
    run_dir: Path, exit_code: int, verdicts: Sequence[Verdict], timing: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the object that `run --json` prints: run, exit, verdicts and timing; strict JSON, unknown is null."""
    return {
        "run": str(run_dir),
        "exit": exit_code,
        "verdicts": [
            {
                "name": v.name,
                "passed": v.passed,
                "state": v.state,
                "value": finite(v.value),
                "limit": finite(v.limit),
                "unit": v.unit,
            }
            for v in verdicts
        ],
        "timing": finite(timing),
    }


def finite(value: Any) -> Any:
    """Return a value for strict JSON: NaN and infinities become null, numpy numbers and arrays plain ones."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def save_verdicts(run_dir: Path, exit_code: int, verdicts: Sequence[Verdict], marks: Sequence[Mark]) -> Path:
    """Write `verdict.json` into the run folder: exit, verdicts with text and detail, and the scenario's marks."""
    content = {
        "exit": exit_code,
        "verdicts": [
            {
                "name": v.name,
                "passed": v.passed,
                "state": v.state,
                "value": v.value,
                "limit": v.limit,
                "unit": v.unit,
                "text": v.text,
                "detail": v.detail,
            }
            for v in verdicts
        ],
        "marks": [{"t_s": mark.t_s, "label": mark.label} for mark in marks],
    }
    path = run_dir / "verdict.json"
    path.write_text(json.dumps(finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def load_verdicts(run_dir: Path) -> tuple[list[Verdict], list[Mark]]:
    """Read `verdict.json`: the verdicts (null is NaN again) and the scenario's marks.

    FileNotFoundError where the run was not judged; ValueError where the file is none of ours.
    """
    path = run_dir / "verdict.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        verdicts = [
            Verdict(
                name=row["name"],
                state=row["state"],
                value=math.nan if row["value"] is None else row["value"],
                limit=math.nan if row["limit"] is None else row["limit"],
                unit=row["unit"],
                text=row["text"],
                detail=row["detail"],
            )
            for row in content["verdicts"]
        ]
        return verdicts, [Mark(**mark) for mark in content["marks"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a verdict file of this version ({error}); judge the run again") from error


def summary(
    run_dir: Path, verdicts: Sequence[Verdict], timing: Mapping[str, Any] | None, flex: FlexPower | None = None
) -> RenderableType:
    """Return what `run` shows at its end: verdicts, the scan's time, the drivers' energy and the report's path."""
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column, justify in (("verdict", "left"), ("", "left"), ("value", "right"), ("limit", "right"), ("", "left")):
        grid.add_column(column, justify=justify)  # type: ignore[arg-type]
    for v in verdicts:
        symbol, style = LOOKS[v.state]
        state = Text(f"{symbol} {v.state.replace('_', ' ')}", style)
        unit = "" if v.unit == "1" else v.unit
        grid.add_row(Text(v.name), state, Text(_short(v.value)), Text(_short(v.limit)), Text(unit))
    lines: list[RenderableType] = [grid]
    lines += [Text(f"{v.name}: {v.text}", style="yellow") for v in verdicts if v.state != "passed"]
    if timing:
        lines.append(Text(_timing_line(scan_figures(timing))))
    if flex is not None:
        lines.append(Text(_flex_line(flex)))
    lines.append(Text(f"report  {run_dir / 'report.html'}"))
    return Group(*lines)


def _short(value: float) -> str:
    if math.isnan(value):
        return "—"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _timing_line(scan: Mapping[str, Any]) -> str:
    def spans(name: str) -> str:
        figures = [scan[name][key] for key in ("p50_us", "p99_us", "p999_us", "max_us")]
        return " / ".join("—" if us is None else f"{us / 1e3:.2f}" for us in figures)

    missed = f"{scan['misses']} missed, {scan['skipped']} skipped of {scan['scans'] + scan['skipped']}"
    return f"scan    {missed}; ms p50 / p99 / p99.9 / max: wake-up {spans('wake')}, busy {spans('busy')}"


def _flex_line(flex: FlexPower) -> str:
    return (
        f"energy  {flex.energy_wh / 1e3:.2f} kWh of {flex.energy_uncontrolled_wh / 1e3:.2f} kWh without control; "
        f"{flex.average_power_w / 1e3:.2f} kW per charging car; sessions better {100 * flex.positive_share:.0f} %, "
        f"worse {100 * flex.negative_share:.0f} %"
    )
