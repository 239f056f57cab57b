"""Make the client of every charger of a site, by the protocol of its model.

OCPP is an optional extra: without it a site that names an OCPP model is refused with what to install.
"""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from controller.runtime.clock import SiteClock
from controller.runtime.site import ChargerPort, Site
from instruments.catalog import load_model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_charger import ModbusCharger
from instruments.modbus_poller import Buses
from instruments.scpi_port import OPENING_S


def charger_ports(site: Site, tell: Callable[..., None] | None = None, buses: Buses | None = None) -> list[Any]:
    """Return the charger clients of a site in its order; `tell` takes what an OCPP server refuses.

    Devices behind one address share its connection: `buses` holds those that other devices share, too.

    Errors: PortFault INTERLOCK where an OCPP model is named and the extra is not installed.
    """
    ocpp = [port for port in site.chargers if load_model(port.model).model.protocol == "ocpp"]
    server = _csms(site, ocpp[0].name, tell) if ocpp else None
    buses = buses or Buses()
    return [_modbus(site, port, buses) if port not in ocpp else _ocpp(site, port, server) for port in site.chargers]


def _modbus(site: Site, port: ChargerPort, buses: Buses) -> Any:
    return ModbusCharger(
        port.name,
        load_model(port.model).at(port.connector, port.unit),
        port.address,
        clock_ns=time.monotonic_ns,
        failsafe_a=port.failsafe_a,
        failsafe_s=port.failsafe_s,
        read_only=site.shadow,
        buses=buses,
        opening_s=OPENING_S,
    )


def _csms(site: Site, name: str, tell: Callable[..., None] | None) -> Any:
    """Return the server that the points of a site dial."""
    try:
        from instruments.ocpp_csms import Csms
        from instruments.ocpp_security import Security
    except ImportError as error:
        detail = f"OCPP is not installed ({error.name})"
        raise PortFault(FaultKind.INTERLOCK, name, "", detail, "pip install voltbench[ocpp]") from error
    csms = site.csms
    security = Security(csms.security, csms.passwords, csms.certificate, csms.key)
    return Csms(csms.host, csms.port, security, tell)


def _ocpp(site: Site, port: ChargerPort, server: Any) -> Any:
    from instruments.ocpp_charger import OcppCharger

    charger = OcppCharger(
        port.name,
        load_model(port.model),
        unquote(urlsplit(port.address).path.rstrip("/").rpartition("/")[2]),
        server,
        clock_ns=time.monotonic_ns,
        utc_ns=SiteClock(site.utc_minus_mono_ns).utc_ns,
        failsafe_a=port.failsafe_a,
        failsafe_s=port.failsafe_s,
        phases=port.phases,
        read_only=site.shadow,
    )
    server.expect(charger)
    return charger
