"""Write a contract's evidence of a run: `contract-<id>.html`, `.json` and `.csv` in the run folder.

The limits are reckoned anew from the contract's file and the site's clock, the amps are what three kinds of meter saw;
where two of them disagree the report shows by how much.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import read_events
from controller.runtime.ledger_error import LedgerError
from hil.rig.references import Problem
from hil.rig.rigfile import RigError
from hil.rig.schema import Rig
from hil.rig.sessions import NAME as SESSIONS
from hil.rig.sessions import Stay, read_stays
from hil.runs.contract_figures import Curtailed, Kept, Meter, Served, curtailed, fairness, kept, served, worst
from hil.runs.evidence_account import Taken, taken_of
from hil.runs.evidence_journal import STEPS, JournalFigures, figures_json, read_figures
from hil.runs.evidence_limits import Held
from hil.runs.evidence_meters import (
    CONNECTION,
    MEANING,
    OWN,
    TABLE,
    TRUTH,
    WITNESS,
    Readings,
    alone_at,
    connection_series,
    own_series,
    read_meters,
    read_witnesses,
    trace_of_meters,
)
from hil.runs.evidence_orders import with_told
from hil.runs.evidence_setting import Setting, setting_of
from hil.runs.flexpower import sessions_of
from hil.runs.flexpower_page import FlexReport, flex_json
from hil.runs.rules_contract import truth_series
from hil.runs.summary import finite
from hil.runs.trace import CONTROLLED, UNCONTROLLED, Trace, load_samples
from profiles.contract_calls import Called
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a
from profiles.published import load_published

SAMPLES = "samples.parquet"
BY = ("run", "day", "week", "month", "year")
TOLD_KINDS = (Called, OperatingEnvelope, Par14a, Lpc)  # whose limits are told while it runs


def write_contract_report(
    run_dir: Path, contract_id: str, by: str = "run", site_file: Path | None = None
) -> list[Path]:
    """Write the three files of one contract and return their paths.

    `by` is the period of a row: the whole run, or local days, weeks, months, years. RigError where the run has no
    such contract, or the folder does not hold what a report needs.
    """
    from hil.runs.contract_page import contract_page

    evidence = gather(run_dir, contract_id, by, site_file)
    base = run_dir / f"contract-{contract_id}"
    written = [base.with_suffix(suffix) for suffix in (".html", ".json", ".csv")]
    written[0].write_text(contract_page(evidence), encoding="utf-8")
    written[1].write_text(json.dumps(finite(as_json(evidence)), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_csv(written[2], evidence)
    return written


def contracts_in(run_dir: Path, site_file: Path | None = None) -> list[str]:
    """Return the contracts of a run; RigError where it had none."""
    names = [held.name for held in setting_of(run_dir, site_file).held]
    if not names:
        raise RigError([Problem(str(run_dir), "", "its file names no [[contract]], so there is no limit to prove")])
    return names


class Evidence:
    """Hold everything that one contract's report shows."""

    __slots__ = (
        "by", "curtailed", "fairness", "flex", "held", "journal", "kept", "meters", "notes", "reference", "run",
        "run_dir", "sampled", "served", "setting", "start_utc_s", "stays", "taken", "worst",
    )  # fmt: skip

    def __init__(self, run_dir: Path, contract_id: str, by: str, site_file: Path | None) -> None:
        self.run_dir, self.by = run_dir, by
        self.setting = setting_of(run_dir, site_file)
        self.notes: list[str] = []
        self.sampled = True
        bare = find_contract(self.setting.held, contract_id, run_dir)
        readings = self._readings()
        self.start_utc_s = self.setting.start_utc_s
        if readings is not None and not np.isfinite(self.start_utc_s):
            self.start_utc_s = float(readings.utc_s[0])
        self.run, self.reference = self._traces(readings)
        span_s = (float(self.run.utc_s[0]), float(self.run.utc_s[-1]))
        self.journal, lives = read_figures(run_dir, bare.name, nodes_of(self.setting, bare), span_s)
        log = [event for event in read_events(run_dir / EVENTS) if "event" in event]
        self.held: Held = with_told(bare, lives, log, self.start_utc_s, self.journal.handed)
        if not self.held.told and isinstance(bare.contract, TOLD_KINDS):
            self.notes.append(untold(self.journal, field=self.setting.assembly is None))
        self.meters: list[Meter] = self._meters(readings)
        self.kept: list[Kept] = []
        self.curtailed: list[Curtailed] = []
        self.taken: list[Taken] = []
        self.served: list[Served] = []
        self.worst: Served | None = None
        self.fairness = float("nan")
        path = run_dir / SESSIONS
        self.stays: list[Stay] = read_stays(path) if path.is_file() else []
        self.flex: FlexReport | None = flex_report(self)

    def _readings(self) -> Readings | None:
        try:
            return read_meters(self.run_dir)
        except LedgerError as error:
            self.notes.append(f"The meters' readings are not known: {error}")
            return None

    def _traces(self, readings: Readings | None) -> tuple[Trace, Trace | None]:
        """Return the run and the one to compare with: from the samples, in the field from the meters."""
        path = self.run_dir / SAMPLES
        if path.is_file():
            traces = load_samples(path)
            return traces[CONTROLLED], traces.get(UNCONTROLLED)
        if readings is None or not (self.setting.assembly is None or (self.run_dir / TABLE).is_file()):
            why = "; ".join(["not there: the run was not finished", *self.notes])
            raise RigError([Problem(str(path), "", why)])
        self.sampled = False
        self.notes.append("Told by the meters alone: nobody knows what it would have been without the contract.")
        return trace_of_meters(readings, self.setting, self.start_utc_s), None

    def _meters(self, readings: Readings | None) -> list[Meter]:
        """Return what every kind of meter read at the contract's points."""
        held, setting, begin_s = self.held, self.setting, self.start_utc_s
        back, found = held.contract.limit.direction == "export", []
        if readings is not None:
            own = {point.name: own_series(readings, point, begin_s, back=back) for point in held.points}
            witnesses = {} if back else read_witnesses(self.run_dir, begin_s, float(readings.utc_s[-1]))
            series, absent, seen = {}, {}, {}
            for point in held.points:
                node, why = alone_at(setting, held, point)
                if node < 0:
                    absent[point.name] = why
                    continue
                series[point.name] = connection_series(readings, node, begin_s, back=back)
                if setting.place.nodes[node] in witnesses:
                    seen[point.name] = witnesses[setting.place.nodes[node]]
            found += [Meter(WITNESS, seen)] if seen else []
            found += [Meter(OWN, own), Meter(CONNECTION, series, absent)]
        if setting.assembly is not None and self.sampled:
            wiring = np.asarray(setting.place.plan().phase_map)
            truth = {p.name: truth_series(self.run, p.chargers, wiring, back=back) for p in held.points}
            found.append(Meter(TRUTH, truth))
        if any(meter.name == OWN for meter in found) and held.contract.limit.point == "connection":
            self.notes.append("The limit is the connection's: chargers' own meters show their part of it only.")
        return found


def untold(journal: JournalFigures, *, field: bool) -> str:
    """Say that no limit was told, and whether anybody could have known; a rig's scenario always knows."""
    if field and (journal.path is None or journal.why):
        why = journal.why or "there is no journal"
        return f"Nobody knows what was told: {why}. Nothing here proves that it was kept."
    return "Nothing was told in this run: there was no limit of this contract to keep but what holds without a word."


def nodes_of(setting: Setting, held: Held) -> list[str]:
    """Return the names of the nodes at which a contract measures and of those above them: whose orders bind it too."""
    plan, names = setting.place.plan(), setting.place.nodes
    found: list[str] = []
    for point in held.points:
        node = point.node if point.node >= 0 else int(plan.charger_node[point.chargers[0]])
        while node >= 0:
            found.append(names[node])
            node = int(plan.parent[node])
    return list(dict.fromkeys(found))


def flex_report(evidence: Evidence) -> FlexReport | None:
    """Return the FlexPower indicators of the contract's chargers; None without a reference run or whole sessions."""
    held, rig, setting = evidence.held, evidence.setting.rig, evidence.setting
    if evidence.reference is None or rig is None:
        return None
    names = {setting.place.charger_names[i] for i in held.members()}
    mine = [stay for stay in evidence.stays if stay.charger in names]
    found = sessions_of(mine, evidence.run, evidence.reference)
    if not found:
        return None
    told = load_published().get(held.name)
    return FlexReport(f"Contract {held.name}", found, setting.vehicles, told, assumed_of(rig, held.name))


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


def gather(run_dir: Path, contract_id: str, by: str, site_file: Path | None = None) -> Evidence:
    """Reckon one contract's figures of a run."""
    evidence = Evidence(run_dir, contract_id, by, site_file)
    held, setting, run = evidence.held, evidence.setting, evidence.run
    for meter in evidence.meters:
        evidence.kept += kept(held, meter, evidence.start_utc_s, by, setting.tolerance)
    free_a = float(setting.free_a[held.members()].max())
    evidence.curtailed = curtailed(held, run, evidence.reference, by, free_a)
    span_s = (evidence.start_utc_s, float(run.utc_s[-1]))
    evidence.taken = taken_of(held, evidence.journal, evidence.curtailed, span_s)
    evidence.served = served(held, run, evidence.reference, evidence.stays, setting.connections, setting.connection_of)
    evidence.worst, evidence.fairness = worst(evidence.served), fairness(evidence.served)
    return evidence


def as_json(evidence: Evidence) -> dict[str, Any]:
    """Return the figures as plain objects, units in the names."""
    names = evidence.setting.place.charger_names
    return {
        "contract": evidence.held.contract.model_dump(mode="json", by_alias=True),
        "points": {point.name: [names[i] for i in point.chargers] for point in evidence.held.points},
        "run": str(evidence.run_dir.name),
        "by": evidence.by,
        "kept": [kept_row(row, evidence.held.contract.terms.response_s) for row in evidence.kept],
        "curtailed": [asdict(row) for row in evidence.curtailed],
        "connections": [asdict(row) | {"share": row.share} for row in evidence.served],
        "jain": evidence.fairness,
        "worst_connection": None if evidence.worst is None else evidence.worst.connection,
        "meters": {meter.name: MEANING[meter.name] for meter in evidence.meters},
        "without_meter": {m.name: m.absent for m in evidence.meters if m.absent},
        "flexpower": None if evidence.flex is None else flex_json(evidence.flex),
        "journal": figures_json(evidence.journal),
        "allowance": [asdict(row) | {"within": row.within} for row in evidence.taken],
        "told": [asdict(told) for told in evidence.held.told],
        "notes": evidence.notes,
    }


def kept_row(row: Kept, response_s: float | None = None) -> dict[str, Any]:
    """Return one row of how limits were kept, as the files have it; `response_s` is the contract's."""
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
        "not_judged_s": row.over.unjudged_s,
        "falls": len(row.took_s),
        "falls_with_nothing_to_obey": row.idle_falls,
        "not_obeyed": sum(not np.isfinite(s) for s in row.took_s),
        "later_than_response": row.late(response_s),
        "comply_p50_s": p50_s,
        "comply_p99_s": p99_s,
        "comply_max_s": longest_s,
    }


def write_csv(path: Path, evidence: Evidence) -> None:
    """Write every figure as a row: table, period or connection, meter, figure, value; an empty value is not known."""
    lines: list[tuple[str, str, str, str, Any]] = []
    for row in evidence.kept:
        fields = kept_row(row, evidence.held.contract.terms.response_s)
        lines += [("kept", row.period, row.meter, key, value) for key, value in list(fields.items())[2:]]
    for cost in evidence.curtailed:
        fields = asdict(cost)
        lines += [("curtailed", cost.period, "", key, value) for key, value in list(fields.items())[1:]]
    for got in evidence.served:
        fields = asdict(got) | {"share": got.share}
        lines += [("connection", got.connection, "", key, value) for key, value in list(fields.items())[1:]]
    for taken in evidence.taken:
        lines += [("allowance", taken.what, "", key, getattr(taken, key)) for key in ("value", "allowed")]
    if evidence.journal.path is not None:
        lines += [("journal", "", "", key, value) for key, value in evidence.journal.counts().items()]
        lines += [
            ("journal", "", "", f"{step}_{name}", value)
            for step in STEPS
            for name, value in zip(("p50", "p99", "max"), evidence.journal.spans_s(step), strict=True)
        ]
    lines.append(("contract", evidence.held.name, "", "jain", evidence.fairness))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("table", "of", "meter", "figure", "value"))
        writer.writerows((*line[:4], "" if finite(line[4]) is None else line[4]) for line in lines)
