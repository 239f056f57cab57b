"""Read a VISA resource string and say by which kind of wire it leads to a device.

The grammar is that of VPP-4.3 section 4.3.1 as far as pyvisa-py serves it, with its two additions: a port behind the
host of a VXI-11 device (no port mapper is asked then), and a serial line behind a socket:// or loop:// address.
"""

import re
from dataclasses import dataclass

HOST = r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)"
ID = r"(?:0[xX][0-9A-Fa-f]{1,4}|\d{1,5})"
GRAMMAR: dict[str, tuple[str, str]] = {
    "socket": (rf"TCPIP\d*::{HOST}::(?P<port>\d+)::SOCKET", "TCPIP::host::port::SOCKET"),
    "hislip": (
        rf"TCPIP\d*::{HOST}::(?P<device>hislip\d+)(?:,(?P<port>\d+))?::INSTR",
        "TCPIP::host::hislip0[,port]::INSTR",
    ),
    "vxi11": (
        rf"TCPIP\d*::{HOST}(?:,(?P<port>\d+))?(?:::(?P<device>(?!hislip)[A-Za-z]\w*(?:,\d+)*))?::INSTR",
        "TCPIP::host[,port][::inst0]::INSTR",
    ),
    "usb": (
        rf"USB\d*::(?P<vendor>{ID})::(?P<product>{ID})::[^:]+(?:::\d+)?::(?:INSTR|RAW)",
        "USB::vendor::product::serial[::interface]::INSTR",
    ),
    "serial": (
        r"ASRL(?:\d+|/[\w/.:-]+|COM\d+|(?:socket|loop|rfc2217)://[\w.:/-]*?)::INSTR",
        "ASRL/dev/ttyUSB0::INSTR",
    ),
    "gpib": (r"GPIB\d*::(?P<primary>\d{1,2})(?:::(?P<secondary>\d{1,2}))?::INSTR", "GPIB::primary[::secondary]::INSTR"),
}
ALLOWED = ", ".join(example for _, example in GRAMMAR.values())
HIGHEST = {"port": 65535, "primary": 30, "secondary": 30}
HISLIP_PORT = 4880


@dataclass(frozen=True, slots=True)
class Address:
    """Hold a resource string that has been checked; host and port only where the wire has them (0: its own)."""

    text: str
    kind: str
    host: str = ""
    port: int = 0


def parse(text: str) -> Address:
    """Return the address that a resource string means; a ValueError says what is wrong and which forms are allowed."""
    for kind, (pattern, example) in GRAMMAR.items():
        found = re.fullmatch(pattern, text, re.IGNORECASE)
        if found is None:
            continue
        numbers = {name: int(value) for name, value in found.groupdict().items() if name in HIGHEST and value}
        for name, value in numbers.items():
            low = 1 if name == "port" else 0
            if not low <= value <= HIGHEST[name]:
                raise ValueError(f"{text!r}: {name} {value}; allowed {low}..{HIGHEST[name]} in {example}")
        port = numbers.get("port", HISLIP_PORT if kind == "hislip" else 0)
        return Address(text, kind, found.groupdict().get("host") or "", port)
    raise ValueError(f"{text!r}; allowed: {ALLOWED}")
