"""Write a contract's evidence of a run: `contract-<id>.html`, `.json` and `.csv` in the run folder.

The limits are reckoned anew from the contract's file and the site's clock, the amps are what three kinds of meter saw;
where two of them disagree the report shows by how much.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.journal import NAME as JOURNAL
from controller.runtime.journal import read_entries
from controller.runtime.ledger_format import LedgerError
from hil.rig.assembler import Assembly, assemble
from hil.rig.references import Problem
from hil.rig.rigfile import LoadedRig, RigError, load_rig
from hil.rig.schema import Rig
from hil.rig.sessions import NAME as SESSIONS
from hil.rig.sessions import Stay, read_stays
from hil.runs.contract_figures import Curtailed, Kept, Meter, Served, by_connection, curtailed, fairness, kept, worst
from hil.runs.evidence_limits import Held, contracts_of, with_calls
from hil.runs.evidence_meters import (
    CONNECTION,
    MEANING,
    OWN,
    TRUTH,
    WITNESS,
    alone_at,
    connection_series,
    own_series,
    read_ledger,
    read_witnesses,
    truth_series,
)
from hil.runs.flexpower import sessions_of
from hil.runs.flexpower_page import FlexReport, flex_json
from hil.runs.summary import finite
from hil.runs.trace import CONTROLLED, UNCONTROLLED, Trace, load_samples
from profiles.published import load_published

SAMPLES = "samples.parquet"
WHOLE = (
    "The limit is that of the whole connection: its own meter has households and all else behind it, the chargers' "
    "meters and the emulated cars show the chargers' part alone."
)
BY = ("run", "day", "week", "month", "year")


def write_contract_report(run_dir: Path, contract_id: str, by: str = "run") -> list[Path]:
    """Write the three files of one contract and return their paths.

    `by` is the period of a row: the whole run, or local days, weeks, months, years. RigError where the run has no
    such contract, or the folder does not hold what a report needs.
    """
    from hil.runs.contract_page import contract_page

    evidence = gather(run_dir, contract_id, by)
    base = run_dir / f"contract-{contract_id}"
    written = [base.with_suffix(suffix) for suffix in (".html", ".json", ".csv")]
    written[0].write_text(contract_page(evidence), encoding="utf-8")
    written[1].write_text(json.dumps(finite(as_json(evidence)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_csv(written[2], evidence)
    return written


def rig_of(run_dir: Path) -> tuple[LoadedRig, Assembly]:
    """Return the rig that a run folder keeps, put together with that run's seed; RigError where it keeps none."""
    try:
        manifest = json.loads((run_dir / "manifest.json").read_text())
        path, seed, for_s = run_dir / manifest["rig_file"], int(manifest["seed"]), float(manifest["for_s"])
    except (OSError, KeyError, ValueError) as error:
        raise RigError([Problem(str(run_dir / "manifest.json"), "", f"names no rig of a run ({error})")]) from error
    loaded = load_rig(str(path))
    quiet = replace(loaded, rig=loaded.rig.model_copy(update={"sessions": None}))  # who came stands in sessions.csv
    return loaded, assemble(quiet, seed, for_s)


class Evidence:
    """Hold everything that one contract's report shows."""

    __slots__ = (
        "assembly", "by", "curtailed", "fairness", "flex", "held", "journal", "kept", "loaded", "meters", "notes",
        "reference", "run", "run_dir", "served", "stays", "worst",
    )  # fmt: skip

    def __init__(self, run_dir: Path, contract_id: str, by: str) -> None:
        self.run_dir, self.by = run_dir, by
        self.loaded, self.assembly = rig_of(run_dir)
        held = find_contract(contracts_of(self.loaded, self.assembly), contract_id, run_dir)
        path = run_dir / JOURNAL
        self.held, self.journal = with_calls(held, read_entries(path) if path.is_file() else ())
        if not (run_dir / SAMPLES).is_file():
            raise RigError([Problem(str(run_dir / SAMPLES), "", "not there: the run was not finished")])
        traces = load_samples(run_dir / SAMPLES)
        self.run: Trace = traces[CONTROLLED]
        self.reference: Trace | None = traces.get(UNCONTROLLED)
        self.notes: list[str] = []
        if any(point.node >= 0 for point in self.held.points):
            self.notes.append(WHOLE)
        self.meters: list[Meter] = meters_of(self)
        self.kept: list[Kept] = []
        self.curtailed: list[Curtailed] = []
        self.served: list[Served] = []
        self.worst: Served | None = None
        self.fairness = float("nan")
        path = run_dir / SESSIONS
        self.stays: list[Stay] = read_stays(path) if path.is_file() else []
        self.flex: FlexReport | None = flex_report(self)


def flex_report(evidence: Evidence) -> FlexReport | None:
    """Return the FlexPower indicators of the contract's chargers; None without a reference run or whole sessions."""
    if evidence.reference is None:
        return None
    held, rig = evidence.held, evidence.loaded.rig
    names = {evidence.assembly.charger_names[i] for i in held.members()}
    mine = [stay for stay in evidence.stays if stay.charger in names]
    found = sessions_of(mine, evidence.run, evidence.reference)
    if not found:
        return None
    told = load_published().get(held.name)
    return FlexReport(f"Contract {held.name}", found, evidence.loaded.vehicles, told, assumed_of(rig, held.name))


def assumed_of(rig: Rig, name: str) -> list[str]:
    """Return in words what a rig's sessions rest upon."""
    part = rig.sessions
    reference = next((part.reference for part in rig.contract if Path(part.file).stem == name and part.reference), None)
    said = [
        f"The reference run has the same sessions (seed {rig.rig.seed}) "
        + (f"under {reference} instead." if reference else "and no control at all.")
    ]
    if part is None:
        return [*said, f"Every charger has a car from the start, at {100 * rig.scenario.arrival_soc:g} % of charge."]
    tables = f"arrival, stay and energy from the {part.profile} tables (ElaadNL by way of ev2gym)"
    source = tables if part.file is None else f"sessions of {Path(part.file).name}, {part.draw.replace('_', ' ')}"
    said.append(f"Sessions: {source}" + ("" if part.draw == "as_is" and part.file else f", {part.per_day:g} a day."))
    fleet = ", ".join(f"{100 * share.share:.3g} % {share.vehicle}" for share in part.fleet)
    said.append(f"Cars: {fleet or 'by the highest power of the transaction, else as the charger says'}.")
    said.append("A car asks for at most 95 % of its battery; sessions that came and went within the run are counted.")
    return said


def find_contract(held: Sequence[Held], contract_id: str, run_dir: Path) -> Held:
    """Return the contract of that name; RigError lists those that the run had."""
    for contract in held:
        if contract.name == contract_id:
            return contract
    known = ", ".join(contract.name for contract in held) or "none"
    raise RigError([Problem("--contract", contract_id, f"no contract of the run in {run_dir}; it had: {known}")])


def gather(run_dir: Path, contract_id: str, by: str) -> Evidence:
    """Reckon one contract's figures of a run."""
    evidence = Evidence(run_dir, contract_id, by)
    held, assembly, bounds = evidence.held, evidence.assembly, evidence.loaded.rig.verdict
    for meter in evidence.meters:
        tolerance = (bounds.tolerance_a, bounds.tolerance_w)
        evidence.kept += kept(held, meter, assembly.start_utc_s, by, tolerance)
    free_a = max(float(assembly.evse[i].hard_max_a) for i in held.members())
    evidence.curtailed = curtailed(held, evidence.run, evidence.reference, by, free_a)
    evidence.served = served(evidence)
    evidence.worst, evidence.fairness = worst(evidence.served), fairness(evidence.served)
    return evidence


def meters_of(evidence: Evidence) -> list[Meter]:
    """Return what every kind of meter read at the contract's points; notes say what could not be read."""
    held, assembly = evidence.held, evidence.assembly
    wiring = np.asarray(assembly.plan().phase_map)
    truth = Meter(TRUTH, {point.name: truth_series(evidence.run, point, wiring) for point in held.points})
    try:
        readings = read_ledger(evidence.run_dir, assembly.start_utc_s)
    except LedgerError as error:
        evidence.notes.append(f"the meters' readings are not known: {error}")
        return [truth]
    own = Meter(OWN, {point.name: own_series(readings, point) for point in held.points})
    witnesses = read_witnesses(evidence.run_dir, assembly.start_utc_s)
    series, absent, seen = {}, {}, {}
    for point in held.points:
        node, why = alone_at(assembly, held, point)
        if node < 0:
            absent[point.name] = why
            continue
        series[point.name] = connection_series(readings, node)
        if assembly.nodes[node] in witnesses:
            seen[point.name] = witnesses[assembly.nodes[node]]
    return [*([Meter(WITNESS, seen)] if seen else []), own, Meter(CONNECTION, series, absent), truth]


def served(evidence: Evidence) -> list[Served]:
    """Return energy wanted and served at every connection of the contract, until the end of the run."""
    assembly, run, free = evidence.assembly, evidence.run, evidence.reference
    groups = by_connection(evidence.held, assembly.customer_names, assembly.customer_of)
    end_s = float(run.t_s[-1])
    begun = [assembly.charger_names.index(stay.charger) for stay in evidence.stays if stay.arrive_s <= end_s]
    return [
        Served(
            connection=name,
            sessions=sum(begun.count(i) for i in members),
            wanted_wh=float(run.need_wh[members].sum()),
            served_wh=float(run.energy_wh[members].sum()),
            reference_wh=float("nan") if free is None else float(free.energy_wh[members].sum()),
        )
        for name, members in groups.items()
    ]


def as_json(evidence: Evidence) -> dict[str, Any]:
    """Return the figures as plain objects, units in the names."""
    names = evidence.assembly.charger_names
    return {
        "contract": evidence.held.contract.model_dump(mode="json", by_alias=True),
        "points": {point.name: [names[i] for i in point.chargers] for point in evidence.held.points},
        "run": str(evidence.run_dir.name),
        "by": evidence.by,
        "kept": [kept_row(row) for row in evidence.kept],
        "curtailed": [asdict(row) for row in evidence.curtailed],
        "connections": [asdict(row) | {"share": row.share} for row in evidence.served],
        "jain": evidence.fairness,
        "worst_connection": None if evidence.worst is None else evidence.worst.connection,
        "meters": {meter.name: MEANING[meter.name] for meter in evidence.meters},
        "without_meter": {m.name: m.absent for m in evidence.meters if m.absent},
        "flexpower": None if evidence.flex is None else flex_json(evidence.flex),
        "journal": evidence.journal,
        "notes": evidence.notes,
    }


def kept_row(row: Kept) -> dict[str, Any]:
    """Return one row of how limits were kept, as the files have it."""
    p50_s, p99_s, longest_s = row.spans_s()
    return {
        "period": row.period,
        "meter": row.meter,
        "points": row.points,
        "energy_kwh": row.energy_wh / 1e3,
        "over_kwh": row.over.energy_wh / 1e3,
        "over_s": row.over.seconds,
        "highest_over_a": row.over.highest_a,
        "highest_over_w": row.over.highest_w,
        "missing_s": row.over.missing_s,
        "falls": len(row.took_s),
        "falls_with_nothing_to_obey": row.idle_falls,
        "not_obeyed": sum(not np.isfinite(s) for s in row.took_s),
        "comply_p50_s": p50_s,
        "comply_p99_s": p99_s,
        "comply_max_s": longest_s,
    }


def write_csv(path: Path, evidence: Evidence) -> None:
    """Write every figure as a row: table, period or connection, meter, figure, value; an empty value is not known."""
    lines: list[tuple[str, str, str, str, Any]] = []
    for row in evidence.kept:
        fields = kept_row(row)
        lines += [("kept", row.period, row.meter, key, value) for key, value in list(fields.items())[2:]]
    for cost in evidence.curtailed:
        fields = asdict(cost)
        lines += [("curtailed", cost.period, "", key, value) for key, value in list(fields.items())[1:]]
    for got in evidence.served:
        fields = asdict(got) | {"share": got.share}
        lines += [("connection", got.connection, "", key, value) for key, value in list(fields.items())[1:]]
    lines.append(("contract", evidence.held.name, "", "jain", evidence.fairness))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("table", "of", "meter", "figure", "value"))
        writer.writerows((*line[:4], "" if finite(line[4]) is None else line[4]) for line in lines)
