"""Name everything that can go wrong between us and a device: one closed list for Modbus, SCPI and OPC UA.

Exceptions of the protocol libraries are mapped to a `PortFault` at the port and never travel further, so that the
runtime decides by kind and the operator always reads the same five things: what, where, the value, what is allowed,
what to do.
"""

from enum import IntEnum


class FaultKind(IntEnum):
    """Number the kinds of fault; 0 is none, so that an image field can carry the code."""

    NONE = 0
    REFUSED = 1  # nothing listens at the address, or it does not take our connection
    TIMEOUT = 2  # no answer in time; the link must be opened anew before it is used again
    CLOSED = 3  # the device ended the connection
    WRONG_IDENTITY = 4  # it answers, but it is not what the site file says
    PROTOCOL = 5  # its answer breaks the protocol
    RANGE = 6  # we were asked to write a value that is not finite or not allowed; nothing was sent
    REJECTED = 7  # the device answered with an error
    BUSY = 8  # the device is there but takes no command now (pacing, another master, local control)
    READBACK = 9  # the value read back is not the one written
    INTERLOCK = 10  # a precondition of ours is missing; nothing was sent
    PROTECTION = 11  # the device tripped its own protection


ADVICE: dict[FaultKind, str] = {
    FaultKind.NONE: "",
    FaultKind.REFUSED: "check power, address and port, and that no other master holds the last connection",
    FaultKind.TIMEOUT: "check the link and that the device is not overloaded",
    FaultKind.CLOSED: "check that no other master is connected and that the device did not restart",
    FaultKind.WRONG_IDENTITY: "correct model or address in the rig or site file",
    FaultKind.PROTOCOL: "check model and firmware in the catalog",
    FaultKind.RANGE: "correct the limit in the rig or site file",
    FaultKind.REJECTED: "check that remote control is enabled and that the value suits the device's settings",
    FaultKind.BUSY: "wait, or release the device from its other master",
    FaultKind.READBACK: "check who else writes to the device",
    FaultKind.INTERLOCK: "bring the device into the required state first",
    FaultKind.PROTECTION: "find the cause at the device, then clear the protection there",
}


class PortFault(Exception):
    """Report a fault of one port.

    Parameters
    ----------
    kind: what happened, from the closed list
    device: name of the device in the rig or site file
    channel: register, quantity or message that was used; empty for the link as a whole
    detail: the value with its unit and what is allowed
    hint: what to do; by default the usual advice for the kind
    """

    def __init__(self, kind: FaultKind, device: str, channel: str, detail: str, hint: str = "") -> None:
        self.kind = kind
        self.device = device
        self.channel = channel
        self.detail = detail
        self.hint = hint or ADVICE[kind]
        super().__init__(str(self))

    def __str__(self) -> str:
        """Return the fault as one line: device:channel: kind: detail; what to do."""
        where = f"{self.device}:{self.channel}" if self.channel else self.device
        text = f"{where}: {self.kind.name.lower().replace('_', ' ')}: {self.detail}"
        return f"{text}; {self.hint}" if self.hint else text
