"""Say for every instrument that carries power what limits it, what switches it off, in which order, who guards it."""

from typing import Any

from controller.runtime.guarding import guards_of, require_guards
from controller.runtime.site import InstrumentPort, Site
from hil.rig.schema import Rig
from instruments.catalog import load_model
from instruments.faults import PortFault
from instruments.scpi_catalog import ScpiPart
from instruments.scpi_role import WATCHDOG_S

HEADS = ("instrument", "limits programmed", "watchdog", "safe-off order", "guarded by")


def guard_rows(site: Site) -> list[dict[str, Any]]:
    """Return a row for each instrument of the bench, the first to be switched off first; keys as in HEADS."""
    if site.bench is None:
        return []
    return [
        dict(zip(HEADS, (port.name, _limits(port), _watchdog(port), _order(port), guards.text), strict=True))
        for port, guards in zip(site.bench.energising(), guards_of(site), strict=True)
    ]


def guard_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the rows as aligned lines under their heads; none for none."""
    if not rows:
        return []
    cells = [HEADS, *(tuple(row[head] for head in HEADS) for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(HEADS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def hardware_lines(rig: Rig) -> list[str]:
    """Return what the rig file says of the hardware that protects people; nothing on an emulated bench."""
    if rig.bench is None or all(part.twin for part in rig.bench.devices().values()):
        return []
    safety = rig.safety
    return [
        "real instruments energise this bench and software is no safety function; the rig file says: emergency stop "
        f"{'there' if safety.emergency_stop else 'MISSING'}, RCD {safety.rcd}, N-PE bond {safety.n_pe_bond}"
    ]


def unguarded(site: Site) -> list[str]:
    """Return, as at most one line, the instrument that nothing would switch off, and what is missing."""
    try:
        require_guards(site)
    except PortFault as fault:
        return [str(fault)]
    return []


def _scpi(port: InstrumentPort) -> ScpiPart | None:
    return load_model(port.model).scpi


def _limits(port: InstrumentPort) -> str:
    """Return the hard limits that are written into the instrument's own protection before its first output-on."""
    part = _scpi(port)
    names = [] if part is None else next((r.protection.limits for n, r in part.roles.items() if n == port.role), [])
    values = {"volt_limit_v": (port.hard_max_v, "V"), "current_limit_a": (port.hard_max_a, "A")}
    values["sink_limit_a"] = (port.hard_sink_a, "A sink")
    told = [f"{values[name][0]:g} {values[name][1]}" for name in names if name in values]
    return ", ".join(told) or "none"


def _watchdog(port: InstrumentPort) -> str:
    """Return what the instrument's own watchdog does and after which time."""
    part = _scpi(port)
    if part is None or part.watchdog.kind == "none":
        return "none"
    dog = part.watchdog
    effect = f"{WATCHDOG_S:g} s, {dog.on_expiry.replace('_', ' ')}"
    return effect if dog.trusted else f"{effect} (not verified: {dog.verified})"


def _order(port: InstrumentPort) -> str:
    """Return the messages of its safe-off in order."""
    part = _scpi(port)
    return "none" if part is None else ", ".join(step.send for step in part.safe_off.steps)
