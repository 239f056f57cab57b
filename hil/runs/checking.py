"""Check a rig before it runs: margins, every device reached and identified, what guards what. Changes nothing."""

import shutil
import time
from pathlib import Path
from tempfile import mkdtemp

from rich.console import Console
from rich.text import Text

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events
from controller.runtime.site import Site
from controller.runtime.supervisor import Supervisor
from controller.runtime.survey import Finding, survey
from hil.rig import realtime
from hil.rig.assembler import Assembly, assemble
from hil.rig.precheck import precheck
from hil.rig.rigfile import LoadedRig, devices
from hil.runs.exits import DEVICE, OK
from hil.runs.fast import settle
from instruments.catalog import load_model

NS = 1_000_000_000


def check_rig(loaded: LoadedRig) -> int:
    """Print margins, identities and guards of a rig on stdout; return 0, or 3 where a device does not answer."""
    out = Console(highlight=False, soft_wrap=True)
    assembly = assemble(loaded)
    for line in precheck(assembly):
        out.print(line)
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
    for line in _table(findings) + _guards(assembly, site) + _failsafes(assembly):
        out.print(line, markup=False)
    faults = [finding for finding in findings if finding.fault]
    for finding in faults:
        out.print(Text(finding.fault, style="red"))
    out.print(f"{len(findings) - len(faults)} of {len(findings)} devices answered as their catalog says")
    return DEVICE if faults else OK


def _table(findings: list[Finding]) -> list[str]:
    """Return aligned rows: device, role, model and how well it is verified, address, what answered."""
    rows = [("device", "role", "model", "", "address", "identity")]
    rows += [
        (f.name, f.role, f.model, load_model(f.model).model.verified, f.address, f.identity or "NO ANSWER")
        for f in findings
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows]


def _guards(assembly: Assembly, site: Site) -> list[str]:
    """Say for every energising instrument what switches it off when all else is broken."""
    bench = site.bench
    if bench is None:
        return []
    lines = []
    for port in bench.energising():
        scpi = load_model(port.model).scpi
        watchdog = scpi is not None and scpi.watchdog.kind != "none"
        what = "its own watchdog and a second client for the guard" if watchdog else "a second client for the guard"
        limits = f"at most {port.hard_max_v:g} V, {port.hard_max_a:g} A"
        lines.append(f"{port.name}: {limits}; guarded by {what}")
    part = assembly.rig.bench
    if part is not None and not all(instrument.twin for instrument in part.parts().values()):
        lines.append(
            "real instruments energise this bench: software is no safety function. Needed besides: a hardware "
            "emergency stop, an RCD, and the N-PE bond of an isolated source"
        )
    return lines


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
