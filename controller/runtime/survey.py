"""Reach and identify every device of a site once, changing nothing: what `check` shows."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from controller.runtime.guard import targets
from controller.runtime.guard_lines import GuardError, Line
from controller.runtime.meter_ports import meter_ports
from controller.runtime.pilots import BY_HAND, asks_operator, wired_pilot
from controller.runtime.site import HAND, EstopPort, InstrumentPort, Site
from controller.runtime.wires import build_ports
from instruments.catalog import load_model
from instruments.faults import PortFault
from instruments.modbus_poller import Buses
from instruments.modbus_relay import ModbusRelay
from instruments.scpi_port import OPENING_S, ScpiPort

UNPOWERED = ("ev_adapter", "analyzer")  # do not hang on the emergency-stop chain


@dataclass(frozen=True, slots=True)
class Finding:
    """Say what answered at an address, or why nothing fitting did (`fault`).

    `dark` says why it cannot answer now though nothing is wrong: it has no supply before a run gives it one.
    """

    name: str
    role: str
    model: str
    address: str
    identity: str = ""
    fault: str = ""
    dark: str = ""


def survey(site: Site) -> list[Finding]:
    """Return a finding for every device of the site: chargers, substation, the bench's instruments and its relay.

    Where the guard shall have a second client, it is opened beside the first and asked who answers, unless that would
    feed a watchdog.
    """
    found = asyncio.run(_field(site))
    if site.bench is None:
        return found
    estop, closed = _estop(site.bench.estop)
    if site.bench.estop is not None:
        found.append(estop)
    lines = {target.name: Line(target) for target in targets(site)}
    for port in site.bench.instruments():
        one = _instrument(port, lines.get(port.name))
        if one.fault and not closed and port.role not in UNPOWERED:
            one = replace(one, fault="", dark=f"no supply: {estop.name} is open until a run closes it")
        found.append(one)
    dut = found[site.bench.charger]
    if dut.fault and not closed:
        found[site.bench.charger] = replace(dut, fault="", dark="no supply until the bench's source is on")
    return found


def _estop(port: EstopPort | None) -> tuple[Finding, bool]:
    """Read the relay of the emergency-stop chain; return its finding and whether the chain is closed."""
    if port is None:
        return Finding("", "", "", ""), True
    identity, fault, closed = "", "", True
    try:
        relay = ModbusRelay(port.name, load_model(port.model), port.address, places=port.places)
        try:
            identity, closed = relay.open(), relay.read()[port.coil]
        finally:
            relay.close()
    except PortFault as error:
        fault = str(error)
    return Finding(port.name, "relay", port.model, port.address, identity, fault), closed


async def _field(site: Site) -> list[Finding]:
    buses = Buses()
    chargers, substation = build_ports(site, buses=buses)
    ports: list[tuple[Any, Any, str]] = [
        (p, client, "charger") for p, client in zip(site.chargers, chargers, strict=True)
    ]
    if site.substation is not None:
        ports.append((site.substation, substation, "substation"))
    ports += [(p, client, "meter") for p, client in zip(site.meters, meter_ports(site, buses), strict=True)]
    found = []
    for port, client, role in ports:
        identity = fault = ""
        try:
            identity = await client.open()
        except PortFault as error:
            fault = str(error)
        finally:
            await client.close()
        found.append(Finding(port.name, role, port.model, port.address, identity, fault))
    return found


def _instrument(port: InstrumentPort, guard: Line | None) -> Finding:
    """Identify one instrument and prove the guard's way to it; nothing is set, so its outputs stay as they are."""
    if port.address == HAND:
        return Finding(port.name, port.role, port.model, port.address, BY_HAND)
    scpi = load_model(port.model).scpi
    device = wired_pilot(port) if scpi is None else ScpiPort(port.name, scpi, port.address, opening_s=OPENING_S)
    identity = fault = ""
    try:
        identity = device.open()
        if asks_operator(port) and port.role == "ev_adapter":
            identity += f"; duty cycle {BY_HAND}"
        if guard is not None:
            guard.prove()
    except (PortFault, GuardError) as error:
        fault = str(error)
    except OSError as error:
        fault = f"{port.name}: no second client for the guard: {error}"
    finally:
        device.close()
        if guard is not None:
            guard.close()
    return Finding(port.name, port.role, port.model, port.address, identity, fault)
