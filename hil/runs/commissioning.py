"""Commission a site: step each charger in turn and say what the site file should say. Nothing is changed by itself."""

import argparse
import asyncio
import json
import math
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from controller.law import image
from controller.runtime.commission import Commission, CommissionStopped
from controller.runtime.commission_measure import Finding
from controller.runtime.compose import put_meter
from controller.runtime.meter_ports import meter_ports
from controller.runtime.wires import build_ports
from hil.rig.references import Problem, near, short
from hil.rig.rigfile import RigError
from hil.rig.site_file import COARSE_V, LoadedSite, load_site
from hil.runs.exits import DEVICE, FAILED, INCONCLUSIVE, INTERRUPTED, OK
from hil.runs.field import field_site
from hil.runs.summary import finite
from instruments.modbus_poller import Buses
from instruments.substation_reading import SubstationReading

ASK_S = 0.1
FOLLOW_S = 0.05  # how often the meters' newest sets are taken over
SPARE = 1.2  # an obey time is proposed with this much to spare over the longest seen
GOOD, BAD, UNCLEAR, NEW = "agrees", "differs", "unclear", "measured"  # NEW: the site file says nothing of it


@dataclass(frozen=True, slots=True)
class Row:
    """Hold one quantity of one charger: measured, as the site file has it, and whether they agree."""

    charger: str
    quantity: str
    measured: str
    configured: str
    verdict: str


def commission(arguments: argparse.Namespace) -> int:
    """Step the chargers of a site, print what they show and a proposal for the site file; return the exit code.

    0 all agrees; 1 something differs or a charger does not obey; 3 a device or node failed and everything was put
    back; 4 nothing could be measured; 130 interrupted, after putting everything back.
    """
    say = Console(stderr=True, highlight=False)
    loaded = load_site(arguments.site)
    names = [part.name for part in loaded.file.charger]
    for name in arguments.only or []:
        if name not in names:
            text = f"no charger of this name; {near(name, names)}give the name of a [[charger]]"
            raise RigError([Problem("--only", short(name), text)])
    chosen = [i for i, name in enumerate(names) if not arguments.only or name in arguments.only]
    if not arguments.yes and not sys.stdin.isatty():
        raise RigError([Problem("--yes", "", "is needed without a terminal: chargers are stepped, ask their users")])
    return asyncio.run(_Session(loaded, chosen, arguments, say).run())


class _Session:
    """Own the ports of a site while it is commissioned."""

    def __init__(self, loaded: LoadedSite, chosen: list[int], arguments: argparse.Namespace, say: Console) -> None:
        self.loaded, self.chosen, self.arguments, self.say = loaded, chosen, arguments, say
        self.site = field_site(loaded, "", "", shadow=False)
        buses = Buses()
        self.ports, self.station = build_ports(self.site, buses=buses)
        self.meters = meter_ports(self.site, buses)
        self.nodes = self.station.reading if self.station is not None else None
        if self.nodes is None and self.meters:
            self.nodes = SubstationReading.empty(loaded.dims.m)
        self.plan = image.views("plan", loaded.dims, loaded.plan_bytes)
        self.work = Commission(
            self.plan,
            self.ports,
            self.nodes,
            loaded.measured,
            self.site.node_names,
            clock_ns=time.monotonic_ns,
            step_a=arguments.step_a,
            cycles=arguments.cycles,
        )
        self.findings: list[Finding] = []

    async def run(self) -> int:
        """Open, ask, step, put back, report."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        others = [*([self.station] if self.station is not None else []), *self.meters]
        try:
            for answer in await asyncio.gather(*(port.open() for port in [*self.ports, *others])):
                self.say.print(f"reached {answer}", markup=False)
            if not await self._agreed():
                self.say.print("nothing was written")
                return INTERRUPTED if self.work.stop_asked else INCONCLUSIVE
            await asyncio.gather(*(port.program_failsafe() for port in self.ports))
            why = await self._step_all(others)
        finally:
            await asyncio.gather(*(port.close() for port in [*self.ports, *others]), return_exceptions=True)
        return self._report(why)

    def _interrupt(self) -> None:
        self.work.stop_asked = True

    async def _agreed(self) -> bool:
        """Say what will be done and ask for it."""
        step = f"up to {self.arguments.step_a:g} A over its floor, {self.arguments.cycles} times"
        self.say.print(
            f"{len(self.ports)} chargers get the fail-safes of the site file and are held at what stands; then "
            f"{', '.join(self.ports[i].name for i in self.chosen)}: one after the other stepped {step}"
        )
        if self.arguments.yes:
            return True
        self.say.print("go on? [y/N] ", end="", markup=False)
        loop, said = asyncio.get_running_loop(), list[str]()
        loop.add_reader(sys.stdin.fileno(), lambda: said.append(sys.stdin.readline()))
        while not said and not self.work.stop_asked:  # a thread that reads would outlive Ctrl-C
            await asyncio.sleep(ASK_S)
        loop.remove_reader(sys.stdin.fileno())
        return bool(said) and said[0].strip().lower() in ("y", "yes")

    async def _follow_meters(self) -> None:
        """Let the nodes show what their meters read."""
        while True:
            for keys, meter in zip(self.site.meters, self.meters, strict=True):
                if keys.use == "law":
                    put_meter(self.nodes, keys.node, meter.reading, self.site.utc_minus_mono_ns)
            await asyncio.sleep(FOLLOW_S)

    async def _step_all(self, others: list[Any]) -> str:
        """Step the chosen chargers, put back what stood, and return why it ended early, or nothing."""
        why = ""
        tasks = [
            asyncio.ensure_future(port.run(lambda i=i: self.work.want_a(i), lambda: True))
            for i, port in enumerate(self.ports)
        ] + [asyncio.ensure_future(port.run(lambda: True)) for port in others]
        tasks.append(asyncio.ensure_future(self._follow_meters()))
        try:
            await self.work.hold()
            for i in self.chosen:
                step = self.work.plan_step(i)
                text = step.why or f"{step.low_a:g} A and {step.high_a:g} A; the others stay"
                self.say.print(f"{self.ports[i].name}: {text}", markup=False)
                self.findings.append(await self.work.run(i))
        except CommissionStopped as stopped:
            why = str(stopped)
        finally:
            left = await self.work.restore()
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for name in left:
            self.say.print(f"{name}: did not take back what stood; its own fail-safe acts now", markup=False)
        for result in ended:
            if isinstance(result, Exception):
                raise result
        return why

    def _report(self, why: str) -> int:
        """Print table and proposal and return the exit code."""
        rows = [row for finding in self.findings for row in rows_of(self.loaded, finding)]
        code = OK if rows else INCONCLUSIVE
        if any(row.verdict not in (GOOD, UNCLEAR, NEW) for row in rows):
            code = FAILED
        elif rows and all(row.verdict == UNCLEAR for row in rows):
            code = INCONCLUSIVE
        if why:
            code = INTERRUPTED if why == "interrupted" else DEVICE
            self.say.print(f"voltbench: {why}; every charger was told what stood before", markup=False)
        self.say.print(_table(rows))
        if self.arguments.json:
            found = [asdict(finding) for finding in self.findings]
            print(json.dumps(finite({"exit": code, "why": why, "findings": found, "rows": [asdict(r) for r in rows]})))
        else:
            print(proposal(self.loaded, self.findings), end="")
        return code


def rows_of(loaded: LoadedSite, finding: Finding) -> list[Row]:
    """Compare what one charger shows with its site file, a row a quantity."""
    i = [part.name for part in loaded.file.charger].index(finding.name)
    part, spec = loaded.file.charger[i], loaded.spec.chargers[i]
    rows: list[Row] = []

    def add(quantity: str, measured: str, configured: str, verdict: str) -> None:
        rows.append(Row(finding.name, quantity, measured, configured, verdict))

    if not finding.drew:
        return [Row(finding.name, "steps", finding.why, "", UNCLEAR)]
    held = finding.why or ("as ordered" if not finding.overwritten else f"moved to {finding.others_a:g} A by another")
    if finding.ignores:
        add("set-points", held, "obeyed", "ignored")
    elif finding.overwritten:
        add("set-points", held, "obeyed", "overwritten")
    else:
        add("set-points", held, "obeyed", UNCLEAR if finding.why else GOOD)
    if finding.steps == 0:
        return rows
    add(*_phase_row(finding, part.phase_map))
    sign = {1: "+ into the charger", -1: "reversed"}.get(finding.sign, "no meter or no answer")
    add("CT sign at its node", sign, "+ into the charger", {1: GOOD, -1: "inverted"}.get(finding.sign, UNCLEAR))
    slow = {True: GOOD, False: "slower"}[not finding.obey_s > spec.obey_s]
    add("obey time", _s(finding.obey_s), _s(spec.obey_s), UNCLEAR if math.isnan(finding.obey_s) else slow)
    add("  at the node's meter", _s(finding.node_obey_s), "", NEW if finding.node_obey_s > 0 else UNCLEAR)
    add(*_volts_row(finding, part.voltage_v_per_a))
    coarse = finding.volt_step_v > COARSE_V
    add(
        "resolution of volts",
        f"{finding.volt_step_v:.3g} V",
        "",
        "coarse" if coarse and loaded.measured[i] < 0 else GOOD,
    )
    return rows


def _phase_row(finding: Finding, phase_map: list[Any]) -> tuple[str, str, str, str]:
    configured = " ".join(phase_map)
    if finding.phases is None:
        return "phase map", f"{' '.join(finding.answering) or 'none'} answer, order unclear", configured, UNCLEAR
    same = list(finding.phases) == list(phase_map[: len(finding.phases)])
    return "phase map", " ".join(finding.phases), configured, GOOD if same else BAD


def _volts_row(finding: Finding, configured: float | None) -> tuple[str, str, str, str]:
    half = finding.v_per_a_half
    measured = f"{finding.v_per_a:.3f} +- {half:.3f} V/A"
    told = "" if configured is None else f"{configured:.3f} V/A"
    if not half < abs(finding.v_per_a):  # NaN: a single step
        return "volts at its connection", measured, told, UNCLEAR
    if configured is None:
        return "volts at its connection", measured, told, NEW
    within = abs(configured - finding.v_per_a) <= max(half, 0.1 * finding.v_per_a)
    return "volts at its connection", measured, told, GOOD if within else BAD


def proposal(loaded: LoadedSite, findings: Iterable[Finding]) -> str:
    """Return the lines of the site file that the findings ask for, as TOML; a comment where a hand is needed."""
    parts = {part.name: part for part in loaded.file.charger}
    specs = {spec.name: spec for spec in loaded.spec.chargers}
    reversed_at: list[str] = []
    lines = [f"# measured by voltbench commission at {time.strftime('%Y-%m-%d %H:%M %Z')}; nothing was changed"]
    for finding in findings:
        lines += ["", "[[charger]]", f'name = "{finding.name}"']
        if finding.why:
            lines.append(f"# {finding.why}")
        if finding.overwritten:
            lines.append("# another master writes its set-point: end that, or reserve its largest current")
        node = parts[finding.name].node
        if finding.sign < 0:
            reversed_at.append(node)
            lines.append(f"# the current transformer of node {node} is reversed: turn it")
        if finding.phases is not None and len(finding.phases) == len(parts[finding.name].phase_map):
            lines.append("phase_map = [" + ", ".join(f'"{letter}"' for letter in finding.phases) + "]")
        if finding.obey_s > specs[finding.name].obey_s:
            lines.append(f"obey_s = {math.ceil(finding.obey_s * SPARE * 2) / 2:g}  # seen {finding.obey_s:.1f} s")
        if finding.v_per_a_half < abs(finding.v_per_a) and finding.v_per_a > 0.0:
            lines.append(f"voltage_v_per_a = {finding.v_per_a:.4f}  # +- {finding.v_per_a_half:.4f}")
    for meter in loaded.file.meter:
        if meter.use == "law" and meter.node in reversed_at:
            lines += ["", "[[meter]]", f'name = "{meter.name}"', f"ct_sign = {-meter.ct_sign}  # instead of turning it"]
    return "\n".join(lines) + "\n"


def _s(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.1f} s"


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("charger", "quantity", "measured", "site file", "verdict"):
        table.add_column(title, overflow="fold")
    for row in rows:
        style = {GOOD: "green", NEW: "green", UNCLEAR: "yellow"}.get(row.verdict, "bold red")
        table.add_row(row.charger, row.quantity, row.measured, row.configured, f"[{style}]{row.verdict}[/]")
    return table
