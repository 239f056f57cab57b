"""Judge a record by what a case expects; every failure is a sentence with name, time, value and bound."""

from typing import Any

import numpy as np
from cases.case_file import Case
from cases.case_world import Record

from controller.law.names import Alarm, Reason

WHEN = {"at_s", "from_s", "to_s", "tolerance_a"}
HAIR_A = 1e-6


def judge(case: Case, record: Record) -> list[str]:
    """Return what was expected and did not happen; [] where all is as expected."""
    failures = []
    for k, expected in enumerate(case.expect):
        begin_s = expected.get("at_s", expected.get("from_s", 0.0))
        end_s = expected.get("at_s", expected.get("to_s", case.setting.for_s))
        span = np.flatnonzero((record.t_s >= begin_s - 1e-6) & (record.t_s <= end_s + 1e-6))
        kinds = [kind for kind in expected if kind not in WHEN]
        if not len(span) or not kinds:
            raise ValueError(f"{case.name}: expect[{k}] has no scan or no bound in {begin_s}..{end_s} s")
        for kind in kinds:
            if kind not in JUDGES:
                raise ValueError(f"{case.name}: expect[{k}].{kind}; known: {', '.join(JUDGES)}")
            said = JUDGES[kind](case, record, span, expected[kind], expected.get("tolerance_a", 0.05))
            failures += [f"expect[{k}] {begin_s:g}..{end_s:g} s: {text}" for text in said]
    return failures


def _who(case: Case, names: Any) -> dict[int, Any]:
    """Return {index: value} of a table by charger name; "*" is everybody."""
    if isinstance(names, list):
        names = dict.fromkeys(names)
    every = dict.fromkeys(range(len(case.chargers)), names["*"]) if "*" in names else {}
    return every | {case.chargers.index(name): value for name, value in names.items() if name != "*"}


def _level(values: str, worst: str) -> Any:
    """Return a judge of chargers' amps: equal to, at most or at least a value in every scan of the span."""

    def judge_level(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
        said = []
        for i, bound in _who(case, expected).items():
            amps = getattr(record, values)[span, i]
            off = {"is": np.abs(amps - bound), "at_most": amps - bound, "at_least": bound - amps}[worst]
            k = int(off.argmax())
            if off[k] > tolerance_a:
                when = f"at {record.t_s[span[k]]:.1f} s"
                said.append(f"{case.chargers[i]} {values} {amps[k]:.3f} A {when}, expected {worst} {bound} A")
        return said

    return judge_level


def _node(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    said = []
    for name, bound_a in expected.items():
        amps = record.node_a[span, case.nodes.index(name)]
        k, p = np.unravel_index(int(amps.argmax()), amps.shape)
        if amps[k, p] > bound_a + tolerance_a:
            when = f"at {record.t_s[span[k]]:.1f} s"
            said.append(f"{name} phase {'abc'[p]} carries {amps[k, p]:.2f} A {when}, at most {bound_a} A")
    return said


def _node_w(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    said = []
    for name, bound_w in expected.items():
        watts = record.node_w[span, case.nodes.index(name)]
        k = int(watts.argmax())
        if watts[k] > bound_w + 230.0 * tolerance_a:
            said.append(f"{name} carries {watts[k]:.0f} W at {record.t_s[span[k]]:.1f} s, at most {bound_w} W")
    return said


def _used(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    said = []
    for name, bound_a in expected.items():
        amps = record.node_a[span, case.nodes.index(name)].max(axis=1)
        if amps.min() < bound_a - tolerance_a:
            at_s = record.t_s[span[int(amps.argmin())]]
            said.append(f"{name} carries only {amps.min():.2f} A at {at_s:.1f} s, at least {bound_a} A")
    return said


def _rises(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    said = []
    for i in _who(case, expected):
        amps = record.allowed_a[span, i]
        up = np.diff(amps)
        if len(up) and up.max() > HAIR_A:
            k = int(up.argmax())
            said.append(
                f"{case.chargers[i]} rises {amps[k]:.3f} -> {amps[k + 1]:.3f} A at {record.t_s[span[k + 1]]:.1f} s"
            )
    return said


def _changes(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    said = []
    for i, most in _who(case, expected).items():
        amps = record.allowed_a[span, i]
        count = int((np.abs(np.diff(amps)) > HAIR_A).sum())
        if count > most:
            said.append(
                f"{case.chargers[i]} got {count} new set-points ({amps.min():.2f}..{amps.max():.2f} A), at most {most}"
            )
    return said


def _switches(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    said = []
    for i, most in _who(case, expected).items():
        count = int((np.diff(record.allowed_a[span, i] > 0.0)).sum())
        if count > most:
            said.append(f"{case.chargers[i]} was switched {count} times, at most {most}")
    return said


def _reasons(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    said = []
    for i, name in _who(case, expected).items():
        seen = {Reason(int(code)).name for code in np.unique(record.reason[span, i])}
        if seen != {Reason[name].name}:
            said.append(f"{case.chargers[i]} reason {sorted(seen)}, expected {name}")
    return said


def _alarms(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    missing = [name for name in expected if not (record.alarm[span] & Alarm[name] > 0).all()]
    return [f"alarm {name} is not raised throughout" for name in missing]


def _fair(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    """Bound the least-served charger's ampere hours by the best-served one's."""
    served = record.drawn_a[span].sum(axis=0)
    ratio = float(served.min() / served.max()) if served.max() > 0.0 else 0.0
    return [] if ratio >= expected else [f"least over most served {ratio:.2f}, at least {expected}"]


def _running(case: Case, record: Record, span: np.ndarray, expected: Any, tolerance_a: float) -> list[str]:
    count = (record.allowed_a[span] > 0.0).sum(axis=1)
    return [] if (count == expected).all() else [f"{count.min()}..{count.max()} chargers run, expected {expected}"]


JUDGES: dict[str, Any] = {
    "allowed_a": _level("allowed_a", "is"),
    "allowed_at_most_a": _level("allowed_a", "at_most"),
    "allowed_at_least_a": _level("allowed_a", "at_least"),
    "drawn_at_most_a": _level("drawn_a", "at_most"),
    "drawn_at_least_a": _level("drawn_a", "at_least"),
    "node_at_most_a": _node,
    "node_at_most_w": _node_w,
    "node_at_least_a": _used,
    "never_rises": _rises,
    "set_points_at_most": _changes,
    "switches_at_most": _switches,
    "reason": _reasons,
    "alarm": _alarms,
    "least_over_most_served": _fair,
    "chargers_running": _running,
}
