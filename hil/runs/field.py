"""Control a site in the field: the controller's processes and nothing emulated, until somebody ends them."""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from rich.console import Console

from controller.runtime import stores
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import Events, read_events
from controller.runtime.figures import write_timing
from controller.runtime.handed_keys import HandedPort
from controller.runtime.held_back import View
from controller.runtime.journal import Journal
from controller.runtime.processes import STOP_BENCH, controller_processes
from controller.runtime.shadow import ShadowJournal
from controller.runtime.site import Site
from controller.runtime.supervisor import Outcome, ProcessSpec, Supervisor
from hil.rig.contracts import bind_contracts, contract_ports
from hil.rig.handed_part import handed_port
from hil.rig.orders_check import check_order_links, check_orders
from hil.rig.site_file import LoadedSite, load_site
from hil.rig.site_margin import site_margin
from hil.rig.store_dir import PLAN, SITE, make_store_dir
from hil.runs.evidence_meters import save_meters
from hil.runs.exits import INTERRUPTED, OK
from hil.runs.folder import RUNS, add_identities, keep_contracts, make_run_dir, software
from hil.runs.summary import finite
from instruments.catalog import charger_of, load_model
from profiles.contract import load_contract

LINE_S = 10.0


def control(arguments: argparse.Namespace) -> int:
    """Control the site that the arguments name until SIGINT or SIGTERM (or `--for`) and return the exit code."""
    say = Console(stderr=True, highlight=False)
    loaded = load_site(arguments.site)
    say.print(site_margin(loaded), markup=False)
    run_dir = make_run_dir(arguments.out, loaded.file.site.name)
    write_site_manifest(run_dir, loaded, shadow=arguments.shadow)
    store_dir = make_store_dir()
    events = Events(run_dir / EVENTS, "supervisor")
    try:
        site = write_field_site(loaded, store_dir, run_dir, shadow=arguments.shadow)
        with Supervisor(run_dir, events) as supervisor:
            outcome = _supervised(supervisor, site, arguments, say)
        timing = write_timing(site)
    finally:
        events.close()
        shutil.rmtree(store_dir, ignore_errors=True)
    add_identities(run_dir)
    if loaded.file.contract:
        save_meters(run_dir)
    if outcome.exit_code not in (OK, INTERRUPTED):
        say.print(f"voltbench: {outcome.who_died or 'control'}: {outcome.text}", markup=False)
    summary = {"run": str(run_dir), "exit": outcome.exit_code, "shadow": arguments.shadow, "timing": timing}
    if arguments.json:
        print(json.dumps(finite(summary)))
    else:
        print(run_dir)
    if outcome.exit_code == INTERRUPTED:
        say.print("interrupted: nothing is written any more, the chargers fall to their fail-safes by themselves")
    return outcome.exit_code


def field_site(loaded: LoadedSite, store_dir: str, run_dir: str, *, shadow: bool) -> Site:
    """Return what the controller's processes need to know of a loaded site."""
    head, now = loaded.file.site, datetime.now(UTC)
    contracts = [load_contract(part.file) for part in loaded.file.contract]
    nodes = [node.name for node in loaded.file.node]
    check_order_links(loaded.path.name, loaded.file.openadr, loaded.file.s2, nodes, contracts)
    journal = RUNS / f"{head.name}.journal" if not loaded.file.orders.journal else Path(loaded.file.orders.journal)
    check_orders(loaded.path.name, loaded.file.orders.source, None if shadow else journal)
    offset = now.astimezone(ZoneInfo(head.timezone)).utcoffset()
    return Site(
        name=head.name,
        stage="field",
        period_s=head.scan_period_s,
        utc_minus_mono_ns=time.time_ns() - time.monotonic_ns(),
        utc_offset_s=offset.total_seconds() if offset is not None else 0.0,
        timezone=head.timezone,
        store_dir=store_dir,
        run_dir=run_dir,
        seed=head.seed,
        dims=(*loaded.dims,),
        charger_names=[part.name for part in loaded.file.charger],
        node_names=[node.name for node in loaded.file.node],
        chargers=loaded.charger_ports(),
        csms=loaded.csms_port(),
        substation=loaded.substation_port(),
        meters=loaded.meter_ports(),
        opcua=loaded.opcua_port(),
        shadow=shadow,
        journal_dir="" if shadow else str(Path(loaded.file.orders.journal or RUNS / f"{head.name}.journal").absolute()),
        order_sources=loaded.file.orders.source,
        contracts=contract_ports(loaded.file.contract, contracts, loaded.spec, head.timezone),
        openadr=loaded.file.openadr,
        s2=loaded.file.s2,
        handed=_handed(loaded, Path(run_dir)),
    )


def _handed(loaded: LoadedSite, run_dir: Path) -> HandedPort | None:
    """Return what hands limits in by the site's contracts."""
    parts, spec = loaded.file.contract, loaded.spec
    contracts = [load_contract(part.file) for part in parts]
    bound = bind_contracts(parts, contracts, spec.chargers, spec.nodes)
    keyed = [(f"contract[{k}]", parts[k], each) for k, each in enumerate(bound)]
    return handed_port(loaded.path.name, keyed, spec, loaded.file.site.timezone, run_dir)


def write_field_site(loaded: LoadedSite, store_dir: Path, run_dir: Path, *, shadow: bool) -> Site:
    """Write site file and plan, make every shared image, and return the site."""
    site = field_site(loaded, str(store_dir), str(run_dir), shadow=shadow)
    stores.prepare(site)
    loaded.plan_bytes.tofile(site.store(PLAN))
    for folder in (store_dir, run_dir):
        (folder / SITE).write_text(site.model_dump_json(indent=1))
    shutil.copy(site.store(PLAN), run_dir / PLAN)
    return site


def write_site_manifest(run_dir: Path, loaded: LoadedSite, *, shadow: bool) -> None:
    """Write manifest.json and copies of the site file and its contracts: what this run was."""
    text = loaded.path.read_bytes()
    facts = {
        "site": loaded.file.site.name,
        "site_file": loaded.path.name,
        "sha256": {loaded.path.name: hashlib.sha256(text).hexdigest()}
        | keep_contracts(run_dir, (part.file for part in loaded.file.contract)),
        "stage": "field",
        "shadow": shadow,
        "seed": loaded.file.site.seed,
        **software(),
    }
    (run_dir / "manifest.json").write_text(json.dumps(facts, indent=1) + "\n")
    (run_dir / loaded.path.name).write_bytes(text)


def _supervised(supervisor: Supervisor, site: Site, arguments: argparse.Namespace, say: Console) -> Outcome:
    """Start the controller, watch it, and stop it in order."""
    supervisor.beat_on(site.store(stores.BEAT))
    what = "reading and deciding, writing nothing" if site.shadow else "controlling"
    say.print(f"{site.name}: {len(site.chargers)} chargers, {what}; Ctrl-C ends it")
    failed = supervisor.start(controller_processes(site.store(SITE), site))
    if failed is not None:
        supervisor.stop()
        return supervisor.outcome or failed
    if arguments.desk:
        argv = _desk_argv(site)
        supervisor.start([ProcessSpec("desk", argv, stop_order=STOP_BENCH, critical=False, new_session=False)])
    say.print("every device has answered, the scan runs")
    for told in read_events(Path(site.run_dir) / EVENTS):
        if told["kind"] == "volts_unseen":
            what = f"node {told['node']} shows volts on {told['seen']}, none on its {told['phases']}"
            say.print(f"{told['device']} is paused: {what}; `voltbench commission` finds the phase_map", markup=False)
    fed = [port.name for port in site.chargers if charger_of(load_model(port.model)).watchdog.kind == "any_traffic"]
    if site.shadow and fed:
        say.print(f"{', '.join(fed)}: any traffic feeds their fail-safe timers, and so do our reads")
    until_s = float("inf") if arguments.for_s is None else time.monotonic() + arguments.for_s
    tick = [_Line(site, say).show] if not arguments.desk else []

    def done() -> bool:
        return time.monotonic() >= until_s

    if not site.shadow:
        outcome = supervisor.watch(done, lambda: _each(tick))
    else:
        with closing(Journal(site.journal())) as journal:
            shadow = ShadowJournal(site, journal)
            tick.append(lambda: shadow.look(time.monotonic_ns()))
            outcome = supervisor.watch(done, lambda: _each(tick))
            shadow.close()
            say.print(
                f"shadow: {shadow.decided} decisions; {shadow.sent} writes and {shadow.repeats} repeats of them"
                " would have been sent, none was"
            )
    supervisor.stop()
    return supervisor.outcome or outcome


def _each(acts: list[Callable[[], None]]) -> None:
    for act in acts:
        act()


def _desk_argv(site: Site) -> list[str]:
    return [sys.executable, "-m", "controller.desk", str(site.store(SITE))]


class _Line:
    """Print a line now and then: chargers linked, amps allowed and drawn, the load of the topmost measured node."""

    __slots__ = ("_names", "_next_s", "_say", "_start_s", "_view")

    def __init__(self, site: Site, say: Console) -> None:
        self._view, self._names, self._say = View(site), site.node_names, say
        self._start_s, self._next_s = time.monotonic(), 0.0

    def show(self) -> None:
        """Print the line where it is due."""
        now_s = time.monotonic()
        if now_s < self._next_s or not self._view.fresh().scanned:
            return
        self._next_s = now_s + LINE_S
        inp, out = self._view.inp, self._view.out
        drawn_a = np.nansum(np.nanmax(np.nan_to_num(inp.charger_a), axis=1))
        known = np.flatnonzero(np.isfinite(inp.node_w))
        load = f"{self._names[known[0]]} {inp.node_w[known[0]] / 1e3:6.1f} kW" if len(known) else "no node measured"
        self._say.print(
            f"{now_s - self._start_s:8.0f} s  {int((inp.charger_link == 1).sum())}/{len(inp.charger_link)} linked"
            f"  allowed {float(np.sum(out.allowed_a)):6.1f} A  drawn {float(drawn_a):6.1f} A  {load}"
        )
