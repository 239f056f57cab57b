"""Read what each meter of a run said of a measuring point: the chargers' own, the connection's, and the plant's truth.

The charger's own meter and the connection's are what the controller read (ledger, INPUT); of a bad reading the value is
not known. The connection's meter proves a point independently only where nothing else is connected behind it. The
plant's truth exists in emulation alone and has what the samples hold.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from controller.law.names import Quality
from controller.runtime.ledger import LedgerReader
from controller.runtime.meter_log import NAME as METERS
from hil.rig.assembler import Assembly
from hil.runs.evidence import Series
from hil.runs.evidence_limits import Held, Point, metered_node
from hil.runs.trace import Trace

NS = 1e9
PHASES = 3
OWN, CONNECTION, TRUTH, WITNESS = "charger", "connection", "plant", "witness"
MEANING = {
    WITNESS: "an independent meter, on which no decision depended",
    OWN: "the chargers' own meters, as the controller read them",
    CONNECTION: "the connection's meter, which is none of the charger's",
    TRUTH: "what the emulated cars drew",
}


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """Hold what was read in a run, T scans: amps and volts of N chargers and M nodes on the grid's phases.

    `charger_a` and `charger_v` (T, N, 3), `node_a` and `node_v` (T, M, 3); NaN where the quality was not Good, 0 A on
    a phase that the charger is not connected to.
    """

    t_s: np.ndarray
    charger_a: np.ndarray
    charger_v: np.ndarray
    node_a: np.ndarray
    node_v: np.ndarray


def read_ledger(run_dir: Path, start_utc_s: float) -> Readings:
    """Return what the meters said, scan by scan; a LedgerError tells a folder without a readable ledger."""
    reader = LedgerReader(run_dir)
    wiring = np.asarray(reader.plan.phase_map)
    n, m = len(wiring), len(reader.plan.parent)
    rows, terminals = np.nonzero(wiring >= 0)
    grid = wiring[rows, terminals]
    t_s: list[float] = []
    parts: list[tuple[np.ndarray, ...]] = []
    for entry in reader.entries():
        inp = entry.input
        t_s.append(float(inp.utc_ns[0]) / NS - start_utc_s)
        good = (inp.charger_quality == Quality.GOOD)[:, None]
        amps, volts = np.zeros((n, PHASES), dtype="f4"), np.full((n, PHASES), np.nan, dtype="f4")
        amps[rows, grid] = np.where(good, inp.charger_a, np.nan)[rows, terminals]
        volts[rows, grid] = np.where(good, inp.charger_v, np.nan)[rows, terminals]
        node_a = np.where((inp.node_a_quality == Quality.GOOD)[:, None], inp.node_a, np.nan).astype("f4")
        node_v = np.where((inp.node_v_quality == Quality.GOOD)[:, None], inp.node_v, np.nan).astype("f4")
        parts.append((amps, volts, node_a, node_v))
    columns = [
        np.array([part[k] for part in parts]).reshape(-1, rows_of, PHASES) for k, rows_of in enumerate((n, n, m, m))
    ]
    order = np.array(t_s)
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = np.diff(order) > 0.0  # a clock that stepped back
    return Readings(order[keep], *(column[keep] for column in columns))


def own_series(readings: Readings, point: Point) -> Series:
    """Return what the chargers of a point read together; unknown where one of them is not known."""
    members = list(point.chargers)
    volts = readings.charger_v[:, members]
    known = np.isfinite(volts)
    mean_v = np.divide(
        np.where(known, volts, 0.0).sum(axis=1),
        known.sum(axis=1),
        out=np.full(volts[:, 0].shape, np.nan),
        where=known.any(axis=1),
    )
    return Series(readings.t_s, readings.charger_a[:, members].sum(axis=1).astype(float), mean_v.astype(float))


def connection_series(readings: Readings, node: int) -> Series:
    """Return what a node's meter read; a phase that the connection does not have draws nothing."""
    amps, volts = readings.node_a[:, node].astype(float), readings.node_v[:, node].astype(float)
    return _of_phases(readings.t_s, amps, volts)


def _of_phases(t_s: np.ndarray, amps: np.ndarray, volts: np.ndarray) -> Series:
    """Return a series with 0 A on a phase of which the meter never said anything while it spoke of others."""
    absent = np.isnan(amps).all(axis=0) & np.isnan(volts).all(axis=0) & ~np.isnan(amps).all()
    amps[:, absent] = 0.0
    return Series(t_s, amps, volts)


def read_witnesses(run_dir: Path, start_utc_s: float) -> dict[str, Series]:
    """Return what the meters said that were witnesses only (`use = "evidence"`), by node; none without their table.

    What was not of good quality is not known until the next good set. ValueError tells a table that is none.
    """
    path = run_dir / METERS
    rows: dict[str, list[tuple[float, ...]]] = {}
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["use"] != "evidence" or None in row.values():  # the last row of a killed run may be torn
                continue
            good = row["quality"] == str(int(Quality.GOOD))
            values = (float(row[f"{phase}_{unit}"]) if good else np.nan for unit in "av" for phase in "abc")
            rows.setdefault(row["node"], []).append((float(row["utc_s"]) - start_utc_s, *values))
    found = {}
    for node, sets in rows.items():
        table = np.array(sets)
        rising = np.concatenate([[True], np.diff(np.maximum.accumulate(table[:, 0])) > 0.0])
        found[node] = _of_phases(table[rising, 0], table[rising, 1:4], table[rising, 4:7])
    return found


def truth_series(trace: Trace, point: Point, wiring: np.ndarray) -> Series:
    """Return what the cars at a point drew, by the samples; `wiring` (N, 3) is the grid phase of each terminal."""
    amps = np.zeros((len(trace.t_s), PHASES))
    volts = np.full((len(trace.t_s), PHASES), np.nan)
    for i in point.chargers:
        used = trace.phases_used(i)
        for terminal in range(PHASES):
            phase = int(wiring[i, terminal])
            if phase < 0:
                continue
            on = used > terminal
            amps[:, phase] += np.where(on, trace.drawn_a[:, i], 0.0)
            volts[on, phase] = trace.volt_v[on, i]
    return Series(trace.t_s, amps, volts)


def alone_at(assembly: Assembly, held: Held, point: Point) -> tuple[int, str]:
    """Return the node whose meter shows a point alone, and ""; or -1 and why no meter does.

    A contract that measures at the connection is shown by its meter with whatever else stands there.
    """
    plan = assembly.plan()
    if point.node >= 0:
        return (point.node, "") if plan.node_metered[point.node] else (-1, f"{point.name} has no meter")
    node = metered_node(plan, int(plan.charger_node[point.chargers[0]]))
    if node <= 1:
        return -1, "its connection has no meter"
    if held.contract.limit.point == "connection":
        return node, ""
    beside = [
        i
        for i in range(len(assembly.charger_names))
        if i not in point.chargers and metered_node(plan, int(plan.charger_node[i])) == node
    ]
    if beside:
        return -1, f"{assembly.charger_names[beside[0]]} stands behind the same meter"
    customer = int(assembly.customer_of[point.chargers[0]])
    if customer not in assembly.tree.no_household:
        return -1, "a household stands behind the same meter"
    return node, ""
