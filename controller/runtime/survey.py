"""Reach and identify every device of a site once, changing nothing: what `check` shows."""

import asyncio
from dataclasses import dataclass
from typing import Any

from controller.runtime.site import InstrumentPort, Site
from controller.runtime.wires import build_ports
from instruments.catalog import load_model
from instruments.faults import PortFault
from instruments.modbus_adapter import ModbusAdapter
from instruments.scpi_port import ScpiPort


@dataclass(frozen=True, slots=True)
class Finding:
    """Say what answered at an address, or why nothing fitting did (`fault`)."""

    name: str
    role: str
    model: str
    address: str
    identity: str = ""
    fault: str = ""


def survey(site: Site) -> list[Finding]:
    """Return a finding for every device of the site: chargers, substation, and the bench's instruments."""
    found = asyncio.run(_field(site))
    if site.bench is not None:
        found += [_instrument(port) for port in site.bench.instruments()]
    return found


async def _field(site: Site) -> list[Finding]:
    chargers, substation = build_ports(site)
    ports: list[tuple[Any, Any, str]] = [
        (p, client, "charger") for p, client in zip(site.chargers, chargers, strict=True)
    ]
    if site.substation is not None:
        ports.append((site.substation, substation, "substation"))
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


def _instrument(port: InstrumentPort) -> Finding:
    """Identify one instrument; nothing is set, so its outputs stay as they are."""
    model = load_model(port.model)
    scpi = model.scpi
    device = ModbusAdapter(port.name, model, port.address) if scpi is None else ScpiPort(port.name, scpi, port.address)
    identity = fault = ""
    try:
        identity = device.open()
    except PortFault as error:
        fault = str(error)
    finally:
        device.close()
    return Finding(port.name, port.role, port.model, port.address, identity, fault)
