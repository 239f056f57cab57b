"""Do the main job: run a rig in virtual or real time, beside its uncontrolled twin, judge it, write everything down."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import read_events
from controller.runtime.site import read_site
from hil.rig.assembler import Assembly, assemble
from hil.rig.orders_check import check_order_links, check_orders
from hil.rig.precheck import precheck, refuse_export_on_wires, refuse_switching_on_wires
from hil.rig.realtime import SITE, emulates
from hil.rig.references import Problem
from hil.rig.rigfile import LoadedRig, RigError, load_rig
from hil.runs.contract_job import plays_calls, run_calls
from hil.runs.evidence_meters import save_meters
from hil.runs.exits import DEVICE, INTERRUPTED, OK
from hil.runs.fast import LONG_S, UncontrolledTwin, default_step_s, reference_of, run_fast, write_log
from hil.runs.folder import add_identities, make_run_dir, write_manifest
from hil.runs.indicators import flexpower
from hil.runs.judging import fault_marks, verdict_plan
from hil.runs.junit import write_junit
from hil.runs.metered import INFO, LAYOUT, layout_of, trace_of_ledger
from hil.runs.operator import require_operator
from hil.runs.promises import Mark, Verdict, VerdictPlan
from hil.runs.report import RigInfo, write_report
from hil.runs.summary import load_verdicts, save_verdicts, summary, summary_json
from hil.runs.trace import CONTROLLED, Trace, load_samples, save_samples
from hil.runs.verdict import exit_code, judge, marks_of

SAMPLES = "samples.parquet"


def run_rig(arguments: argparse.Namespace) -> int:
    """Run the rig that the arguments name and return the exit code of the run."""
    say = Console(stderr=True, highlight=False)
    loaded = load_rig(arguments.rig)
    rig = loaded.rig
    for_s = arguments.for_s if arguments.for_s is not None else rig.scenario.for_s
    if arguments.step_s is not None and not (arguments.fast and arguments.step_s <= for_s):
        text = f"only with --fast, and at most the run's {for_s:g} s"
        raise RigError([Problem("--step", f"{arguments.step_s:g} s", text)])
    if plays_calls(loaded, for_s):
        return run_calls(arguments, say, loaded, for_s)
    assembly = assemble(loaded, arguments.seed, for_s)
    for line in precheck(assembly):
        say.print(line)
    if not arguments.fast:
        refuse_export_on_wires(assembly)
        refuse_switching_on_wires(assembly)
        require_operator(loaded, desk=arguments.desk)
        check_order_links(loaded.path.name, rig.openadr, rig.s2, assembly.nodes, loaded.contracts)
        check_orders(loaded.path.name, rig.orders.source)
    run_dir = make_run_dir(arguments.out, rig.rig.name)
    write_manifest(run_dir, loaded, assembly, {"stage": "fast" if arguments.fast else "bench", "for_s": for_s})
    if arguments.fast:
        step_s = arguments.step_s or default_step_s(assembly, for_s)
        say.print(f"virtual time: {for_s:g} s in steps of {step_s:g} s, with and without control")
        reference = reference_of(loaded, assembly.rig.rig.seed, for_s)
        with UncontrolledTwin(assembly, for_s, step_s, reference) as twin:
            found = run_fast(assembly, for_s, step_s, ledger_dir=run_dir)
            write_log(run_dir / EVENTS, found.log)
            free = twin.trace()
        return _finish(arguments, say, loaded, assembly, run_dir, for_s, found.trace, free, None, found.log, OK)
    if for_s > LONG_S:
        say.print(f"real time: this takes {for_s / 60:.0f} minutes; --for shortens it, --fast plays it in virtual time")
    return _run_live(arguments, say, loaded, assembly, run_dir, for_s)


def _run_live(
    arguments: argparse.Namespace, say: Console, loaded: LoadedRig, assembly: Assembly, run_dir: Path, for_s: float
) -> int:
    """Run in real time with a progress line, and judge what was recorded."""
    from hil.runs.live import run_live

    early = rig_info(assembly, verdict_plan(assembly, [], for_s), [])
    (run_dir / INFO).write_text(json.dumps(_plain(early) | {LAYOUT: layout_of(assembly)}, indent=1))
    columns = TextColumn("[progress.description]{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    quiet = arguments.desk or not say.is_terminal
    with Progress(*columns, console=say, transient=True, disable=quiet) as progress:
        task = progress.add_task("run", total=for_s, text="")
        bar = _progress(progress, task) if not quiet else _plain_progress(say, silent=arguments.desk)
        live = run_live(assembly, run_dir, for_s, desk=arguments.desk, say=say.print, bar=bar)
    add_identities(run_dir)
    end = live.outcome.exit_code
    if end != OK:
        who = live.outcome.who_died
        say.print(f"voltbench: {who + ': ' if who else ''}{live.outcome.text}", markup=False)
    if live.trace is None or len(live.trace.t_s) < 2 or (end == DEVICE and live.trace.t_s[-1] < 0):
        return end or DEVICE
    ran_s = for_s if end == OK else max(float(live.trace.t_s[-1]), 0.0)
    free = None
    if emulates(assembly):
        say.print("the same scenario without control, in virtual time")
        kept = reference_of(loaded, assembly.rig.rig.seed, for_s)
        free = run_fast(assembly, ran_s, default_step_s(assembly, ran_s), controlled=False, reference=kept).trace
    return _finish(arguments, say, loaded, assembly, run_dir, ran_s, live.trace, free, live.timing, live.log, end)


def _progress(progress: Progress, task: Any) -> Callable[[float, float, str], None]:
    def bar(t_s: float, for_s: float, text: str) -> None:
        progress.update(task, completed=max(t_s, 0.0), description=f"{t_s:5.1f} of {for_s:g} s", text=text)

    return bar


def _plain_progress(say: Console, *, silent: bool) -> Callable[[float, float, str], None]:
    """Print a line every ten seconds where there is no terminal to draw on."""
    last = [-1e9]

    def bar(t_s: float, for_s: float, text: str) -> None:
        if not silent and t_s - last[0] >= 10.0:
            last[0] = t_s
            say.print(f"{t_s:6.1f} of {for_s:g} s  {text}")

    return bar


def _finish(
    arguments: argparse.Namespace,
    say: Console,
    loaded: LoadedRig,
    assembly: Assembly,
    run_dir: Path,
    ran_s: float,
    controlled: Trace,
    uncontrolled: Trace | None,
    timing: dict[str, Any] | None,
    log: list[dict[str, Any]],
    end: int,
) -> int:
    """Judge the run beside its uncontrolled twin, write samples, verdicts, JUnit and report, print the summary."""
    plan = verdict_plan(assembly, log, ran_s)
    verdicts = judge(plan, controlled, uncontrolled, timing)
    code = exit_code(verdicts) if end == OK else end
    marks = sorted([*marks_of(plan, assembly.charger_names), *fault_marks(log)], key=lambda mark: mark.t_s)
    save_samples(run_dir / SAMPLES, [controlled] if uncontrolled is None else [controlled, uncontrolled])
    if assembly.rig.contract or assembly.rig.guard is not None:
        save_meters(run_dir)  # a ledger is read by the version that wrote it alone; evidence is asked for in two years
    save_verdicts(run_dir, code, verdicts, marks)
    write_junit(run_dir, assembly.rig.rig.name, verdicts, ran_s, {"seed": assembly.rig.rig.seed})
    info = rig_info(assembly, plan, marks)
    if (run_dir / SITE).is_file():  # only a run in real time has one
        info["start_mono_ns"] = round(assembly.start_utc_s * 1e9) - read_site(run_dir / SITE).utc_minus_mono_ns
    (run_dir / INFO).write_text(json.dumps(_plain(info) | {LAYOUT: layout_of(assembly)}, indent=1))
    write_report(run_dir, info, controlled, uncontrolled, verdicts, timing, list(read_events(run_dir / EVENTS)))
    flex = None if uncontrolled is None else flexpower(controlled, uncontrolled)
    if arguments.json:
        print(json.dumps(summary_json(run_dir, code, verdicts, timing)))
        say.print(summary(run_dir, verdicts, timing, flex))
    else:
        Console(highlight=False).print(summary(run_dir, verdicts, timing, flex))
    if end == INTERRUPTED:
        say.print("interrupted: outputs are off")
    return code


def rig_info(assembly: Assembly, plan: VerdictPlan, marks: list[Mark]) -> RigInfo:
    """Return what the report says of the rig beside the traces."""
    rig = assembly.rig
    models = sorted({model.model.name for model in assembly.models})
    return {
        "title": rig.rig.title or rig.rig.name,
        "facts": {
            "seed": rig.rig.seed,
            "feeder": rig.feeder.name,
            "agreement of the two load-flow solutions (pu)": f"{assembly.network.agreement_pu:.1e}",
            "chargers": f"{len(assembly.evse)}: {', '.join(models)}",
            "device under test": assembly.charger_names[assembly.dut] if assembly.dut >= 0 else "none",
            **_bench_facts(assembly),
            "scan period (s)": rig.rig.scan_period_s,
            "plant period (s)": rig.rig.plant_period_s,
        },
        "marks": marks,
        "voltage_min_v": float("nan") if rig.verdict.voltage_min_pu is None else rig.verdict.voltage_min_pu * 230.0,
        "head_limit_a": rig.feeder.head_a,
        "obey_s": [float(s) for s in plan.obey_s],
        "tolerance_a": rig.verdict.tolerance_a,
    }


def _bench_facts(assembly: Assembly) -> dict[str, object]:
    """Return what stands on the bench, and how a DC charger's watts and mains amps go together."""
    bench, dc = assembly.rig.bench, assembly.dc.get(assembly.dut)
    facts: dict[str, object] = {}
    if bench is not None:
        facts["bench"] = ", ".join(f"{key} {part.model or 'by hand'}" for key, part in bench.parts().items())
    if dc is not None:
        spec = dc.converter
        facts["DC charger"] = (
            f"efficiency {spec.efficiency:g}; {spec.watts_per_amp:.0f} W at its output for a mains amp"
        )
    return facts


def _plain(info: RigInfo) -> dict[str, Any]:
    return dict(info) | {"marks": [{"t_s": mark.t_s, "label": mark.label} for mark in info.get("marks", ())]}


def rewrite_report(run_dir: Path) -> Path:
    """Write report.html again from what the run folder keeps, and return its path.

    A run that was killed has no samples and no verdicts: its report shows what the ledger holds.
    """
    stored = json.loads((run_dir / INFO).read_text())
    info: Any = stored | {"marks": [Mark(**mark) for mark in stored["marks"]]}
    finished = (run_dir / SAMPLES).is_file()
    traces = load_samples(run_dir / SAMPLES) if finished else {CONTROLLED: trace_of_ledger(run_dir)}
    verdicts: list[Verdict] = load_verdicts(run_dir)[0] if (run_dir / "verdict.json").is_file() else []
    if "start_mono_ns" not in info and (run_dir / SITE).is_file():
        info["start_mono_ns"] = round(stored[LAYOUT]["start_utc_s"] * 1e9) - read_site(run_dir / SITE).utc_minus_mono_ns
    timing_path = run_dir / "timing.json"
    timing = json.loads(timing_path.read_text()) if timing_path.is_file() else None
    others = [trace for name, trace in traces.items() if name != CONTROLLED]
    events = list(read_events(run_dir / EVENTS))
    return write_report(run_dir, info, traces[CONTROLLED], others[0] if others else None, verdicts, timing, events)
