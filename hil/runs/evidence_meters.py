"""Read what each meter of a run said of a measuring point: the chargers' own, the connection's, and the plant's truth.

The charger's own meter and the connection's are what the controller read (ledger, INPUT); of a bad reading the value is
not known. The connection's meter proves a point independently only where nothing else is connected behind it. The
plant's truth exists in emulation alone and has what the samples hold.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from controller.law.names import Quality
from controller.runtime.ledger import LedgerReader
from controller.runtime.ledger_error import LedgerError
from controller.runtime.meter_log import NAME as WITNESSES
from hil.runs.evidence import Series
from hil.runs.evidence_limits import Held, Point, metered_node
from hil.runs.trace import CONTROLLED, Trace, blank

if TYPE_CHECKING:  # a field run saves its meters and needs neither rig nor plant
    from hil.runs.evidence_setting import Setting

NS = 1e9
PHASES = 3
TABLE, FORMAT = "meters.parquet", "voltbench-meters-1"
STANDS_S, STANDS_TIMES = 5.0, 5.0  # a sample stands for the next one so long at the most, the longer of both
BLOCK = 5000  # scans held in memory at a time
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

    `charger_a` and `charger_v` (T, N, 3), `charger_w` (T, N), `node_a` and `node_v` (T, M, 3), `node_w` (T, M); NaN
    where the quality was not Good, 0 A on a phase that the charger is not connected to. `allowed_a` and `reason`
    (T, N) are what was decided.
    """

    utc_s: np.ndarray
    charger_a: np.ndarray
    charger_v: np.ndarray
    charger_w: np.ndarray
    node_a: np.ndarray
    node_v: np.ndarray
    node_w: np.ndarray
    allowed_a: np.ndarray
    reason: np.ndarray


def read_meters(run_dir: Path) -> Readings:
    """Return what the meters said, scan by scan, from `meters.parquet`, else from the ledger.

    The ledger is read by the version that wrote it alone, the table by any. LedgerError where there is neither. Where
    scans are missing nobody knows anything.
    """
    path = run_dir / TABLE
    return bridged(load_meters(path) if path.is_file() else read_ledger(run_dir))


def bridged(readings: Readings) -> Readings:
    """Return readings with an unknown scan wherever none was taken for longer than a reading stands."""
    before, at_s = breaks(readings.utc_s)
    if not before.size:
        return readings
    values = {name: getattr(readings, name) for name in Readings.__slots__}
    for name, each in values.items():
        unknown = each[before] if name in ("allowed_a", "reason") else np.full_like(each[before], np.nan)
        values[name] = np.insert(each, before + 1, at_s if name == "utc_s" else unknown, axis=0)
    return Readings(**values)


def breaks(t_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return after which samples (indices) the next is missing, and until when (s) each of them stands."""
    dt_s = np.diff(t_s)
    stands_s = max(STANDS_S, STANDS_TIMES * float(np.median(dt_s))) if dt_s.size else STANDS_S
    before = np.flatnonzero(dt_s > stands_s)
    return before, t_s[before] + stands_s


def read_ledger(run_dir: Path) -> Readings:
    """Return what a ledger holds; a LedgerError tells a folder without a readable one."""
    parts = list(_blocks(run_dir))
    if not parts:
        raise LedgerError(f"{run_dir}: its ledger holds no scan")
    return Readings(*(np.concatenate([getattr(part, name) for part in parts]) for name in Readings.__slots__))


def save_meters(run_dir: Path) -> Path | None:
    """Write `meters.parquet` from a run's ledger, a block of scans at a time; None where no scan was taken."""
    path, writer = run_dir / TABLE, None
    try:
        for block in _blocks(run_dir):
            table = _table(block)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
    return None if writer is None else path


class MeterTable:
    """Write `meters.parquet` scan by scan, for a run that keeps no ledger; `plan` are its PLAN views."""

    __slots__ = ("_parts", "_path", "_plan", "_where", "_writer")

    def __init__(self, run_dir: Path, plan: Any) -> None:
        self._path, self._plan, self._where = run_dir / TABLE, plan, _wires(plan)
        self._parts: list[tuple[Any, ...]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, utc_s: float, inp: Any, out: Any) -> None:
        """Take one scan: INPUT and OUTPUT views, for the time that begins at `utc_s`."""
        self._parts.append(_scan(utc_s, inp, out, self._where, self._plan))
        if len(self._parts) == BLOCK:
            self._flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        if self._parts:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        table = _table(_stacked(self._parts))
        self._parts = []
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)


def load_meters(path: Path) -> Readings:
    """Read a `meters.parquet`; LedgerError where it is none of ours."""
    table = pq.read_table(path)
    meta = json.loads((table.schema.metadata or {}).get(b"voltbench", b"{}"))
    if meta.get("format") != FORMAT:
        raise LedgerError(f"{path}: format {meta.get('format')!r}, must be {FORMAT!r}; delete it to read the ledger")
    values = []
    for name, shape in meta["shapes"].items():
        column = table.column(name).combine_chunks()
        flat = column.values if len(shape) else column
        values.append(np.asarray(flat).reshape(-1, *shape))
    return Readings(*values)


def _table(block: Readings) -> pa.Table:
    """Return a block as a table: a row a scan, a list of fixed length a quantity; shapes stand in the metadata."""
    arrays, shapes = {}, {}
    for name in Readings.__slots__:
        values = getattr(block, name)
        shapes[name] = list(values.shape[1:])
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        size = int(np.prod(values.shape[1:]))
        arrays[name] = pa.FixedSizeListArray.from_arrays(flat, size) if values.ndim > 1 else flat
    return pa.table(arrays, metadata={"voltbench": json.dumps({"format": FORMAT, "shapes": shapes})})


def _blocks(run_dir: Path) -> Iterator[Readings]:
    """Yield the scans of a ledger in blocks; a scan whose clock stepped back is left out."""
    reader = LedgerReader(run_dir)
    plan = reader.plan
    where = _wires(plan)
    last_s, parts = -np.inf, []
    for entry in reader.entries():
        utc_s = float(entry.input.utc_ns[0]) / NS
        if utc_s <= last_s:
            continue
        last_s = utc_s
        parts.append(_scan(utc_s, entry.input, entry.output, where, plan))
        if len(parts) == BLOCK:
            yield _stacked(parts)
            parts = []
    if parts:
        yield _stacked(parts)


def _wires(plan: Any) -> tuple[np.ndarray, ...]:
    """Return charger, terminal and grid phase of each wire."""
    wiring = np.asarray(plan.phase_map)
    rows, terminals = np.nonzero(wiring >= 0)
    return rows, terminals, wiring[rows, terminals]


def _stacked(parts: list[tuple[Any, ...]]) -> Readings:
    return Readings(*(np.array(column) for column in zip(*parts, strict=True)))


def _scan(utc_s: float, inp: Any, out: Any, where: tuple[np.ndarray, ...], plan: Any) -> tuple[Any, ...]:
    """Return one scan's values in the order of `Readings`; `where` is charger, terminal and grid phase of each wire.

    Measured is what was Good and no older than its device's `max_age`: a value that stands still proves nothing.
    """
    rows, terminals, grid = where
    n = plan.phase_map.shape[0]
    young = _young(inp.charger_change_ns, inp.now_ns, plan.max_age_s)
    good = (inp.charger_quality == Quality.GOOD) & (inp.charger_link == 1) & young
    amps, volts = np.zeros((n, PHASES), dtype="f4"), np.full((n, PHASES), np.nan, dtype="f4")
    amps[rows, grid] = np.where(good[:, None], inp.charger_a, np.nan)[rows, terminals]
    volts[rows, grid] = np.where(good[:, None], inp.charger_v, np.nan)[rows, terminals]
    node_good = (inp.node_a_quality == Quality.GOOD) & _young(inp.node_a_change_ns, inp.now_ns, plan.node_max_age_s)
    volt_good = (inp.node_v_quality == Quality.GOOD) & _young(inp.node_v_change_ns, inp.now_ns, plan.node_max_age_s)
    node_a = np.where(node_good[:, None], inp.node_a, np.nan).astype("f4")
    node_v = np.where(volt_good[:, None], inp.node_v, np.nan).astype("f4")
    watts = np.where(good, inp.charger_w, np.nan).astype("f4")
    node_w = np.where(node_good, inp.node_w, np.nan).astype("f4")
    allowed_a, reason = np.array(out.allowed_a, dtype="f4"), np.array(out.reason, dtype="u1")
    return utc_s, amps, volts, watts, node_a, node_v, node_w, allowed_a, reason


def _young(change_ns: np.ndarray, now_ns: np.ndarray, max_age_s: np.ndarray) -> np.ndarray:
    return np.asarray((now_ns[0] - change_ns) * 1e-9 <= max_age_s)


def own_series(readings: Readings, point: Point, start_utc_s: float, *, back: bool = False) -> Series:
    """Return what the chargers of a point read together; unknown where one is not known. `back`: what they gave."""
    members = list(point.chargers)
    volts = readings.charger_v[:, members]
    known = np.isfinite(volts)
    mean_v = np.divide(
        np.where(known, volts, 0.0).sum(axis=1),
        known.sum(axis=1),
        out=np.full(volts[:, 0].shape, np.nan),
        where=known.any(axis=1),
    )
    amps = readings.charger_a[:, members].sum(axis=1).astype(float)
    given_w = -readings.charger_w[:, members].sum(axis=1).astype(float) if back else None
    return Series(readings.utc_s - start_utc_s, amps, mean_v.astype(float), given_w)


def connection_series(readings: Readings, node: int, start_utc_s: float, *, back: bool = False) -> Series:
    """Return what a node's meter read; a phase that the connection does not have draws nothing."""
    amps, volts = readings.node_a[:, node].astype(float), readings.node_v[:, node].astype(float)
    given_w = -readings.node_w[:, node].astype(float) if back else None
    return _of_phases(readings.utc_s - start_utc_s, amps, volts, given_w)


def _of_phases(t_s: np.ndarray, amps: np.ndarray, volts: np.ndarray, power_w: np.ndarray | None = None) -> Series:
    """Return a series with 0 A on a phase of which the meter never said anything while it spoke of others."""
    absent = np.isnan(amps).all(axis=0) & np.isnan(volts).all(axis=0) & ~np.isnan(amps).all()
    amps[:, absent] = 0.0
    return Series(t_s, amps, volts, power_w)


def read_witnesses(run_dir: Path, start_utc_s: float, end_utc_s: float | None = None) -> dict[str, Series]:
    """Return what the meters said that were witnesses only (`use = "evidence"`), by node; none without their table.

    What was not of good quality is not known until the next good set, and so is what came before the first set, or
    after one that no other followed, up to `end_utc_s`. ValueError tells a table that is none.
    """
    path = run_dir / WITNESSES
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
        table = _whole(table[rising], None if end_utc_s is None else end_utc_s - start_utc_s)
        found[node] = _of_phases(table[:, 0], table[:, 1:4], table[:, 4:7])
    return found


def _whole(table: np.ndarray, end_s: float | None) -> np.ndarray:
    """Return rows (time first) from 0 to `end_s` with unknown ones where nothing was said."""
    rows, unknown = table, np.full(table.shape[1], np.nan)
    if end_s is not None:
        first = [np.concatenate([[0.0], unknown[1:]])] if rows[0, 0] > 0.0 else []
        last = [np.concatenate([[end_s], unknown[1:]])] if rows[-1, 0] < end_s else []
        rows = np.array([*first, *rows, *last])
    before, at_s = breaks(rows[:, 0])
    added = np.tile(unknown, (before.size, 1))
    added[:, 0] = at_s
    return np.insert(rows, before + 1, added, axis=0)


def trace_of_meters(readings: Readings, setting: "Setting", start_utc_s: float) -> Trace:
    """Return the run as its meters saw it, for a site where no plant tells the truth; nobody knows what was wanted."""
    place = setting.place
    trace = blank(CONTROLLED, readings.utc_s - start_utc_s, place.charger_names, setting.connections, place.nodes)
    trace.utc_s[:] = readings.utc_s
    trace.drawn_a[:] = readings.charger_a.max(axis=2)
    trace.volt_v[:] = np.fmin.reduce(readings.charger_v, axis=2)
    trace.drawn_w[:] = readings.charger_w
    trace.allowed_a[:], trace.reason[:] = readings.allowed_a, readings.reason
    trace.charger_customer = setting.connection_of.astype(np.int32)
    dt_s = trace.dt_s()[:, None]
    trace.energy_wh = np.nansum(readings.charger_w * dt_s, axis=0) / 3600.0
    return trace


def alone_at(setting: "Setting", held: Held, point: Point) -> tuple[int, str]:
    """Return the node whose meter shows a point alone, and ""; or -1 and why no meter does.

    A contract that measures at the connection, or at a node, is shown by its meter with whatever else stands there.
    """
    plan, names = setting.place.plan(), setting.place.charger_names
    first = point.node if point.node >= 0 else int(plan.charger_node[point.chargers[0]])
    node = metered_node(plan, first)
    if node < 0 or (node <= 1 and point.node != node):
        return -1, "its connection has no meter"
    if held.contract.limit.point == "connection" and point.node >= 0:
        return (node, "") if node == first or point.node == node else (-1, "its node has no meter")
    beside = [
        i
        for i in range(len(names))
        if i not in point.chargers and metered_node(plan, int(plan.charger_node[i])) == node
    ]
    if beside:
        return -1, f"{names[beside[0]]} stands behind the same meter"
    if setting.assembly is not None:
        customer = int(setting.assembly.customer_of[point.chargers[0]])
        if customer not in setting.assembly.tree.no_household:
            return -1, "a household stands behind the same meter"
    elif node != first:
        return -1, "the meter stands above its node, with whatever else is there"
    return node, ""
