"""Make the client of every meter of a site, by the protocol of its model."""

import time
from typing import Any

from controller.runtime.site import MeterPort as MeterKeys
from controller.runtime.site import Site
from instruments.catalog import load_model
from instruments.meter_port import MeterPort
from instruments.modbus_meter import ModbusMeter
from instruments.modbus_poller import Buses
from instruments.sunspec_meter import SunSpecMeter


def meter_ports(site: Site, buses: Buses | None = None) -> list[MeterPort]:
    """Return the meters of a site in its order; `buses` holds the connections that they share with chargers."""
    buses = buses or Buses()
    return [
        MeterPort(_client(port, buses), clock_ns=time.monotonic_ns, read_s=port.read_s, frozen_s=port.frozen_s)
        for port in site.meters
    ]


def _client(port: MeterKeys, buses: Buses) -> Any:
    first, second, third = (phase + 1 for phase in port.phase_map)
    model = load_model(port.model).at(1, port.unit)
    kind = SunSpecMeter if model.sunspec is not None else ModbusMeter
    return kind(
        port.name,
        model,
        port.address,
        clock_ns=time.monotonic_ns,
        phases=(first, second, third),
        ct_sign=port.ct_sign,
        buses=buses,
    )
