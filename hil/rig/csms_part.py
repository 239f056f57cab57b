"""Declare the CSMS of a rig: the server that OCPP charge points dial, and what its emulated points need to dial it."""

import os
import socket
import stat
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from controller.runtime.site import CsmsPort
from instruments.catalog import Model

__all__ = ["CsmsPart", "csms_port", "free_port", "speaks_ocpp", "twin_password", "url_of"]


class CsmsPart(CsmsPort):
    """Say where the CSMS listens, whom it lets in, and which passwords and certificate the twins use."""

    model_config = ConfigDict(strict=True)

    twin_passwords: str = Field(default="", description="file of `identity:password` lines that the twins dial with")
    ca: str = Field(default="", description="PEM that the twins trust; default the certificate itself")


def speaks_ocpp(model: Model) -> bool:
    """Say whether chargers of a family dial us."""
    return model.model.protocol == "ocpp"


def free_port(host: str) -> int:
    """Return a TCP port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def url_of(csms: CsmsPort, port: int, name: str) -> str:
    """Return the URL that a twin dials: its name is its identity."""
    return f"{'wss' if csms.security == 2 else 'ws'}://{csms.host}:{port}/{name}"


def csms_port(csms: CsmsPart, twins: list[str]) -> CsmsPort:
    """Return what the site says of the CSMS; `twins` are the URLs that emulated points dial, with its port."""
    known: dict[str, Any] = {key: getattr(csms, key) for key in CsmsPort.model_fields}
    if twins:
        known["port"] = int(twins[0].rpartition("/")[0].rpartition(":")[2])
    return CsmsPort(**known)


def twin_password(csms: CsmsPart, name: str) -> str:
    """Return the password that a twin dials with; empty where the site asks for none. ValueError says what is wrong."""
    if csms.security == 0:
        return ""
    path = Path(csms.twin_passwords)
    if not path.is_file() or stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        raise ValueError(
            f"csms.twin_passwords = {csms.twin_passwords!r}: a file that only you may read is needed (0600)"
        )
    lines = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    found = {identity: password for identity, _, password in lines}
    if name not in found:
        raise ValueError(f"csms.twin_passwords = {csms.twin_passwords!r}: no line {name}:password")
    return found[name]
