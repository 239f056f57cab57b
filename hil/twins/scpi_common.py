"""Give every SCPI device what the standards require of it: common commands, SYSTem and STATus subsystems.

IEEE 488.2 chapter 10; SCPI-99 volume 2 chapters 20 and 21.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from hil.twins import scpi_grammar as grammar
from hil.twins.scpi_grammar import ScpiError, Unit
from hil.twins.scpi_status import OPC, Status, StatusGroup

if TYPE_CHECKING:
    from hil.twins.scpi_device import ScpiDevice

Action = Callable[[Unit], str | None]
GROUP_MAX = 0x7FFFFFFF  # more than the 16 bits of SCPI-99: the IT8200 has a register of 19


def no_parameter(unit: Unit) -> None:
    """Refuse parameters."""
    if unit.parameters:
        raise ScpiError(-108)


def one_parameter(unit: Unit) -> str:
    """Return the only parameter."""
    if not unit.parameters:
        raise ScpiError(-109)
    if len(unit.parameters) > 1:
        raise ScpiError(-108)
    return unit.parameters[0]


def reader(value: Callable[[], str]) -> Action:
    """Return the action of a query without parameters; the same header as a command is undefined."""

    def action(unit: Unit) -> str:
        if not unit.query:
            raise ScpiError(-113)
        no_parameter(unit)
        return value()

    return action


def event(act: Callable[[], object]) -> Action:
    """Return the action of a command without parameters; its query is undefined."""

    def action(unit: Unit) -> None:
        if unit.query:
            raise ScpiError(-113)
        no_parameter(unit)
        act()

    return action


def register(owner: Status | StatusGroup, name: str, highest: int) -> Action:
    """Return the action that sets a mask register, or answers it."""

    def action(unit: Unit) -> str | None:
        if unit.query:
            no_parameter(unit)
            return str(getattr(owner, name))
        value = grammar.number(one_parameter(unit), "", with_unit=False)
        if not 0 <= value <= highest:
            raise ScpiError(-222)
        setattr(owner, name, int(value))
        return None

    return action


def place(act: Callable[[int], object]) -> Action:
    """Return the action of a command whose parameter is the number of a memory."""

    def action(unit: Unit) -> None:
        if unit.query:
            raise ScpiError(-113)
        act(int(grammar.number(one_parameter(unit), "", with_unit=False)))

    return action


def common_commands(device: "ScpiDevice") -> dict[str, Action]:
    """Return the common commands by name, queries with their question mark."""
    status = device.status

    def complete() -> None:
        status.event |= OPC  # nothing overlaps here: all is done when it is read

    def trigger() -> None:
        raise ScpiError(-211)

    return {
        "IDN?": reader(lambda: device.part.identity.sample),
        "TST?": reader(lambda: "0"),
        "OPC?": reader(lambda: "1"),
        "OPC": event(complete),
        "WAI": event(lambda: None),
        "CLS": event(status.clear),
        "RST": event(device.reset),
        "ESR?": reader(lambda: str(status.take_event())),
        "ESE?": register(status, "event_enable", 255),
        "ESE": register(status, "event_enable", 255),
        "SRE?": register(status, "request_enable", 255),
        "SRE": register(status, "request_enable", 255),
        "STB?": reader(lambda: str(status.byte(message=device.has_reply))),
        "SAV": place(device.save),
        "RCL": place(device.recall),
        "TRG": event(trigger),
    }


def required_headers(device: "ScpiDevice") -> dict[str, Action]:
    """Return the SYSTem and STATus commands by their header in SCPI notation."""
    status = device.status

    def preset() -> None:
        status.questionable.preset()
        status.operation.preset()

    headers = {
        "SYSTem:ERRor[:NEXT]": reader(status.errors.pop),
        "SYSTem:ERRor:COUNt": reader(lambda: str(len(status.errors))),
        "SYSTem:VERSion": reader(lambda: "1999.0"),
        "SYSTem:CLEar": event(status.errors.clear),
        "SYSTem:REMote": event(partial(device.take_remote, True)),
        "SYSTem:RWLock": event(partial(device.take_remote, True)),
        "SYSTem:LOCal": event(partial(device.take_remote, False)),
        "STATus:PRESet": event(preset),
    }
    for branch, group in (("QUEStionable", status.questionable), ("OPERation", status.operation)):
        headers |= {
            f"STATus:{branch}[:EVENt]": reader(lambda group=group: str(group.take_event())),  # type: ignore[misc]
            f"STATus:{branch}:CONDition": reader(lambda group=group: str(group.condition)),  # type: ignore[misc]
            f"STATus:{branch}:ENABle": register(group, "enable", GROUP_MAX),
            f"STATus:{branch}:PTRansition": register(group, "positive", GROUP_MAX),
            f"STATus:{branch}:NTRansition": register(group, "negative", GROUP_MAX),
        }
    return headers
