"""Open the control-pilot adapter of a bench: registers, relays, or the operator's hands."""

import time

from controller.runtime.hand_pilot import HandPilot
from controller.runtime.prompts import Asker
from controller.runtime.site import HAND, InstrumentPort, Site
from instruments.catalog import Model, load_model, modbus_of, relay_of
from instruments.modbus_adapter import ModbusAdapter
from instruments.modbus_relay import ModbusRelay
from instruments.relay_pilot import RelayPilot
from instruments.scpi_port import OPENING_S

BY_HAND = "by hand: the operator is asked at the terminal of the run"

Pilot = ModbusAdapter | RelayPilot | HandPilot


def wired_pilot(port: InstrumentPort, timeout_s: float = float("inf")) -> ModbusAdapter | RelayPilot:
    """Return the client of an adapter that has a socket, not opened, with at most this time-out once it hurries."""
    model = quick(load_model(port.model), timeout_s)
    if model.relay is None:
        return ModbusAdapter(port.name, model, port.address, opening_s=OPENING_S)
    return RelayPilot(ModbusRelay(port.name, model, port.address, places=port.places, opening_s=OPENING_S))


def open_pilot(site: Site, port: InstrumentPort, timeout_s: float) -> tuple[Pilot, str]:
    """Open the adapter of a bench and return it with what it is; PortFaults as its client has them."""

    def hand(relays: RelayPilot | None) -> HandPilot:
        return HandPilot(
            name=port.name,
            asker=Asker(site),
            answer_s=port.answer_s,
            valid_s=port.valid_s,
            clock_s=time.monotonic,
            relays=relays,
        )

    if port.address == HAND:
        return hand(None), BY_HAND
    wired = wired_pilot(port, timeout_s)
    identity = wired.open()
    if isinstance(wired, RelayPilot) and not wired.measures:
        return hand(wired), f"{identity}; duty cycle {BY_HAND}"
    return wired, identity


def asks_operator(port: InstrumentPort | None) -> bool:
    """Tell whether somebody has to sit at the terminal for this adapter."""
    if port is None:
        return False
    relay = None if port.address == HAND else load_model(port.model).relay
    return port.address == HAND or (relay is not None and relay.duty is None)


def quick(model: Model, timeout_s: float) -> Model:
    """Return an adapter's record with a time-out that stays under the guard's patience."""
    if model.relay is not None:
        relay = relay_of(model)
        return model.model_copy(
            update={"relay": relay.model_copy(update={"timeout_s": min(relay.timeout_s, timeout_s)})}
        )
    part = modbus_of(model)
    return model.model_copy(update={"modbus": part.model_copy(update={"timeout_s": min(part.timeout_s, timeout_s)})})
