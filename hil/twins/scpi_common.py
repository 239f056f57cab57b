"""Give every SCPI device what the standards require of it: common commands, SYSTem and STATus subsystems.

IEEE 488.2 chapter 10; SCPI-99 volume 2 chapters 20 and 21.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from hil.twins import scpi_parameters as read
from hil.twins.scpi_errors import ScpiError
from hil.twins.scpi_grammar import Unit
from hil.twins.scpi_settings import one_of
from hil.twins.scpi_status import Status, StatusGroup

if TYPE_CHECKING:
    from hil.twins.scpi_device import ScpiDevice

Action = Callable[[Unit], str | None]
RQS = 64  # *SRE: bit 6 is ignored and reads 0 (IEEE 488.2, 11.3.2.3)


def no_parameter(unit: Unit) -> None:
    """Refuse parameters."""
    if unit.parameters:
        raise ScpiError(-108)


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


def register(owner: Status | StatusGroup, name: str, highest: int, ignored: int = 0) -> Action:
    """Return the action that sets a mask register, or answers it."""

    def action(unit: Unit) -> str | None:
        if unit.query:
            no_parameter(unit)
            return str(getattr(owner, name))
        value = read.integer(one_of(list(unit.parameters)))
        if not 0 <= value <= highest:
            raise ScpiError(-222)
        setattr(owner, name, value & ~ignored)
        return None

    return action


def place(act: Callable[[int], object]) -> Action:
    """Return the action of a command whose parameter is the number of a memory."""

    def action(unit: Unit) -> None:
        if unit.query:
            raise ScpiError(-113)
        act(read.integer(one_of(list(unit.parameters))))

    return action


def common_commands(device: "ScpiDevice") -> dict[str, Action]:
    """Return the common commands by name, queries with their question mark.

    What ``*OPC``, ``*OPC?`` and ``*WAI`` wait for is the device's to say; here they are only recognised.
    """
    status = device.status
    return {
        "IDN?": reader(lambda: device.part.identity.sample),
        "TST?": reader(lambda: "0"),
        "OPC?": reader(lambda: "1"),
        "OPC": event(device.note_completion),
        "WAI": event(lambda: None),
        "CLS": event(device.clear_status),
        "RST": event(device.reset),
        "ESR?": reader(lambda: str(status.take_event())),
        "ESE?": register(status, "event_enable", 255),
        "ESE": register(status, "event_enable", 255),
        "SRE?": register(status, "request_enable", 255, RQS),
        "SRE": register(status, "request_enable", 255, RQS),
        "STB?": reader(lambda: str(status.byte(message=device.has_reply))),
        "SAV": place(device.save),
        "RCL": place(device.recall),
        "TRG": event(device.trigger),
    }


def required_headers(device: "ScpiDevice") -> dict[str, Action]:
    """Return the SYSTem and STATus commands by their header in SCPI notation."""
    status = device.status

    def preset() -> None:
        status.questionable.preset()
        status.operation.preset()

    headers = {
        "SYSTem:VERSion": reader(lambda: "1999.0"),
        "SYSTem:REMote": event(partial(device.take_remote, True)),
        "SYSTem:RWLock": event(partial(device.take_remote, True)),
        "SYSTem:LOCal": event(partial(device.take_remote, False)),
        "STATus:PRESet": event(preset),
        **_error_headers(device),
    }
    for branch, group in (("QUEStionable", status.questionable), ("OPERation", status.operation)):
        headers |= {
            f"STATus:{branch}[:EVENt]": reader(lambda group=group: str(group.take_event())),  # type: ignore[misc]
            f"STATus:{branch}:CONDition": reader(lambda group=group: str(group.condition)),  # type: ignore[misc]
            f"STATus:{branch}:ENABle": register(group, "enable", group.width),
            f"STATus:{branch}:PTRansition": register(group, "positive", group.width),
            f"STATus:{branch}:NTRansition": register(group, "negative", group.width),
        }
    return headers


def _error_headers(device: "ScpiDevice") -> dict[str, Action]:
    """Return the queries of the error queue: SCPI-99's, the vendor's own, or none where there is no queue."""
    query = device.part.parser.error_query
    if query.startswith("*"):
        return {}
    if not query.lstrip(":").upper().startswith("SYST"):
        own = ":".join("STATus" if word == "STAT" else "ERRor" if word == "ERR" else word for word in _words(query))
        return {own: reader(device.next_error)}
    return {
        "SYSTem:ERRor[:NEXT]": reader(device.next_error),
        "SYSTem:ERRor:ALL": reader(device.all_errors),
        "SYSTem:ERRor:COUNt": reader(lambda: str(len(device.status.errors))),
        "SYSTem:CLEar": event(lambda: device.status.errors.clear()),
    }


def _words(query: str) -> list[str]:
    return query.strip(":?").split(":")
