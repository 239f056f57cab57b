"""Carry out the commands of the command line: one function a command, errors turned into exit codes in one place."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from controller.runtime.journal import JournalError
from controller.runtime.ledger_error import LedgerError
from controller.runtime.store import StoreError
from hil.rig.network_error import NetworkError
from hil.rig.rigfile import RigError, load_rig
from hil.runs.certifying import certificate
from hil.runs.exits import DEVICE, FAILED, INTERRUPTED, OK, USAGE
from instruments.catalog import CatalogError, all_models, load_model
from instruments.faults import PortFault
from profiles.errors import ProfileError

if TYPE_CHECKING:
    from controller.runtime.replay import ReplayResult


def dispatch(arguments: argparse.Namespace) -> int:
    """Run the command that the arguments name and return its exit code."""
    try:
        code = COMMANDS[arguments.command](arguments)
        if arguments.command in LISTS:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        if arguments.command not in LISTS:  # a device or process of ours may have gone: never passed over
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # its reader has seen enough (`| head`)
        return OK
    except RigError as error:
        count = len(error.problems)
        print(f"voltbench: {count} problem{'s' if count > 1 else ''}, nothing was started", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        return USAGE
    except (ProfileError, CatalogError, LedgerError, StoreError) as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return USAGE
    except (PortFault, NetworkError, JournalError) as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return DEVICE
    except KeyboardInterrupt:
        return INTERRUPTED


def run(arguments: argparse.Namespace) -> int:
    """Run a rig, judge it and write its run folder."""
    from hil.runs.main_job import run_rig

    return run_rig(arguments)


def check(arguments: argparse.Namespace) -> int:
    """Read a rig, reach and identify every device, compute margins; change nothing."""
    from hil.runs.checking import check_rig

    return check_rig(load_rig(arguments.rig), as_json=arguments.json)


def emulate(arguments: argparse.Namespace) -> int:
    """Serve the twins of a rig until interrupted."""
    from hil.runs.emulating import emulate_rig

    return emulate_rig(load_rig(arguments.rig), as_json=arguments.json, for_s=arguments.for_s, out=arguments.out)


def control(arguments: argparse.Namespace) -> int:
    """Control a site of real devices."""
    from hil.runs import field

    return field.control(arguments)


def commission(arguments: argparse.Namespace) -> int:
    """Step the chargers of a site and propose what its file should say."""
    from hil.runs import commissioning

    return commissioning.commission(arguments)


def desk(arguments: argparse.Namespace) -> int:
    """Attach the desk to a run that goes on."""
    import subprocess

    from hil.rig.store_dir import SITE
    from hil.runs.folder import find_run_dir

    run_dir = find_run_dir(arguments.run)
    argv = [sys.executable, "-m", "controller.desk", str(run_dir / SITE)]
    return subprocess.call(argv + (["--read-only"] if arguments.read_only else []))


def replay(arguments: argparse.Namespace) -> int:
    """Decide a run again from its ledger and compare every OUTPUT bit."""
    from controller.runtime.replay import replay as replay_run  # compiles the law
    from hil.runs.folder import find_run_dir

    run_dir = find_run_dir(arguments.run)
    result = replay_run(run_dir)
    if arguments.json:
        first = result.first_difference
        summary = {"run": str(run_dir), "scans": result.scans, "identical": result.identical}
        print(json.dumps(summary | {"first_difference": None if first is None else str(first)}))
    else:
        print(f"{run_dir}: {result.scans} scans decided again, {result.different} differ")
        for line in replay_remarks(result):
            print(f"  {line}")
    return OK if result.identical else FAILED


def replay_remarks(result: "ReplayResult") -> list[str]:
    """Say in lines what a replay met besides equal bits."""
    lines = list(result.notes)
    if result.first_difference is not None:
        found = result.first_difference
        lines.append(
            f"first difference: scan {found.scan}, {found.field}[{found.index}]: was {found.was!r}, now {found.now!r}"
        )
    if result.gaps:
        lines.append(f"{result.gaps} gaps in the ledger; {result.skipped} scans behind them could not be decided again")
    if result.left_bytes:
        lines.append(f"{result.left_bytes} bytes of a torn tail were left unread")
    return lines


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a finished run anew, or the evidence of one of its contracts."""
    from hil.runs.folder import find_run_dir, is_field

    if arguments.transactions is not None:
        from hil.runs.flexpower_job import report_transactions

        file, out = Path(arguments.transactions), arguments.out
        for path in report_transactions(file, arguments.windows, arguments.baseline, out):
            print(path)
        return OK
    run_dir = find_run_dir(arguments.run)
    if arguments.contract is not None or is_field(run_dir):
        from hil.runs.contract_report import contracts_in, write_contract_report

        site = None if arguments.site is None else Path(arguments.site)
        for name in [arguments.contract] if arguments.contract is not None else contracts_in(run_dir, site):
            for path in write_contract_report(run_dir, name, arguments.by, site):
                print(path)
        return OK
    from hil.runs.main_job import rewrite_report

    print(rewrite_report(run_dir))
    return OK


def export(arguments: argparse.Namespace) -> int:
    """Write a run's samples in another format and print the files written."""
    from hil.runs.export import ExportError, export_samples
    from hil.runs.folder import find_run_dir
    from hil.runs.trace import TraceError

    out = Path(arguments.out) if arguments.out is not None else None
    try:
        written = export_samples(find_run_dir(arguments.run), arguments.to, out)
    except (ExportError, TraceError) as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return USAGE
    for path in written:
        print(path)
    return OK


def order(arguments: argparse.Namespace) -> int:
    """Send an order to a running controller and print its answer."""
    from hil.runs import ordering

    return ordering.send(arguments)


def journal(arguments: argparse.Namespace) -> int:
    """Show, check, export or forget what a journal holds."""
    from hil.runs import journaling

    return journaling.run(arguments)


def latency(arguments: argparse.Namespace) -> int:
    """Measure what this machine can promise."""
    from controller.runtime.latency import measure
    from hil.runs.summary import finite

    figures = measure()
    if arguments.json:
        print(json.dumps(finite(figures)))
        return OK
    for title in ("decide", "copy"):
        for n, found in figures[title].items():
            print(f"{title:6} {n:>7} chargers  p50 {found['p50_us']:10.1f} us  p99 {found['p99_us']:10.1f} us")
    wake = figures["wake"]
    print(
        f"wake-up late  p50 {wake['p50_us']:.0f}  p99 {wake['p99_us']:.0f}  p99.9 {wake['p999_us']:.0f}"
        f"  max {wake['max_us']:.0f} us"
    )
    print(f"honest scan period: {figures['honest_period_ms']} ms")
    return OK


def catalog(arguments: argparse.Namespace) -> int:
    """List the device models or the bundled contracts, or show one model whole."""
    if arguments.contracts:
        from hil.runs.contract_table import bundled_lines

        for line in bundled_lines():
            print(line)
        return OK
    if arguments.model is not None:
        print(load_model(arguments.model).model_dump_json(indent=1, exclude_defaults=True))
        return OK
    for model in all_models():
        head = model.model
        print(f"{head.name:22} {head.role:20} {head.protocol:7} {head.verified}  {head.vendor} {head.family}")
        print(f"{'':4}{head.source} [{model.marks}]")
        if head.undriven:
            print(f"{'':4}not driven: {head.undriven}")
    print(
        "verified: V vendor document, D public driver, S second-hand, R recall, P our own parameter; [..] by block",
        file=sys.stderr,
    )
    return OK


def schema(arguments: argparse.Namespace) -> int:
    """Print the JSON Schema of a rig file, or of a site file."""
    from hil.rig.schema import Rig
    from hil.rig.site_schema import SiteFile

    print(json.dumps((SiteFile if arguments.site else Rig).model_json_schema(), indent=1))
    return OK


LISTS = ("catalog", "schema", "journal")  # print and do nothing else
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "check": check,
    "emulate": emulate,
    "control": control,
    "commission": commission,
    "desk": desk,
    "replay": replay,
    "report": report,
    "export": export,
    "order": order,
    "journal": journal,
    "certificate": certificate,
    "latency": latency,
    "catalog": catalog,
    "schema": schema,
}
