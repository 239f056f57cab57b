"""Check a rig before it runs: margins, every device reached and identified, what guards what. Changes nothing."""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console
from rich.text import Text

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.supervisor import Supervisor
from controller.runtime.survey import Finding, survey
from hil.rig import realtime
from hil.rig.assembler import Assembly, assemble
from hil.rig.orders_check import check_orders
from hil.rig.precheck import precheck
from hil.rig.rigfile import LoadedRig, devices
from hil.runs.contract_table import contract_lines, contract_row
from hil.runs.evidence_limits import contracts_of
from hil.runs.exits import DEVICE, OK
from hil.runs.fast import settle
from hil.runs.guard_table import guard_lines, guard_rows, hardware_lines, unguarded
from instruments.catalog import load_model

NS = 1_000_000_000


def check_rig(loaded: LoadedRig, *, as_json: bool = False) -> int:
    """Print margins, identities and guards of a rig; return 0, or 3 where a device fails or nothing guards it.

    The tables go to stdout; with `as_json` they are narration, and stdout gets one object.
    """
    out = Console(highlight=False, soft_wrap=True, stderr=as_json)
    check_orders(loaded.path.name, loaded.rig.orders.source)
    assembly = assemble(loaded)
    contracts = contracts_of(loaded, assembly)
    for line in [*precheck(assembly), *contract_lines(contracts)]:
        out.print(line, markup=False)
    store_dir, run_dir = realtime.make_store_dir(), Path(mkdtemp(prefix="voltbench-check-"))
    events = Events(run_dir / EVENTS, "supervisor")
    try:
        with Supervisor(run_dir, events) as supervisor:
            addresses = {}
            if any(part.twin for _, _, _, part in devices(loaded.rig)):
                warm = settle(assembly)
                seed = realtime.PlantSeed(assembly, warm.world.fleet.snapshot(), warm.t_s, str(store_dir), str(run_dir))
                failed = supervisor.start([realtime.plant_spec(realtime.write_seed(seed))])
                if failed is not None:
                    out.print(f"{failed.who_died}: {failed.text}", markup=False)
                    return failed.exit_code
                addresses = realtime.read_addresses(store_dir)
            clock_ns = round(assembly.start_utc_s * NS) - time.monotonic_ns()
            site = realtime.write_site(assembly, addresses, store_dir, run_dir, clock_ns)
            findings = survey(site)
            supervisor.stop()
    finally:
        events.close()
        shutil.rmtree(store_dir, ignore_errors=True)
        shutil.rmtree(run_dir, ignore_errors=True)
    guarded = guard_rows(site)
    for line in _table(findings) + guard_lines(guarded) + hardware_lines(assembly.rig) + _failsafes(assembly):
        out.print(line, markup=False)
    faults = [finding.fault for finding in findings if finding.fault] + unguarded(site)
    for fault in faults:
        out.print(Text(fault, style="red"))
    well = sum(not (finding.fault or finding.dark) for finding in findings)
    out.print(f"{well} of {len(findings)} devices answered as their catalog says")
    code = DEVICE if faults else OK
    if as_json:
        found = [asdict(finding) for finding in findings]
        agreed = [contract_row(held) for held in contracts]
        print(json.dumps({"exit": code, "devices": found, "guards": guarded, "contracts": agreed, "faults": faults}))
    return code


def _table(findings: list[Finding]) -> list[str]:
    """Return aligned rows: device, role, model and how well it is verified, address, what answered."""
    rows = [("device", "role", "model", "", "address", "identity")]
    rows += [
        (
            f.name,
            f.role,
            f.model,
            load_model(f.model).model.verified if f.model else "",
            f.address,
            f.identity or f.dark or "NO ANSWER",
        )
        for f in findings
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows]


def _failsafes(assembly: Assembly) -> list[str]:
    """Add up what the chargers draw by themselves once every link is lost."""
    plan = assembly.plan()
    total_a = [0.0, 0.0, 0.0]
    for i in range(assembly.dims.n):
        for phase in plan.phase_map[i]:
            if phase >= 0:
                total_a[phase] += float(plan.failsafe_a[i])
    cap_a = assembly.rig.feeder.head_a
    text = " / ".join(f"{amps:g}" for amps in total_a)
    return [f"fail-safes of all chargers together: {text} A on phases a / b / c; the feeder head carries {cap_a:g} A"]
