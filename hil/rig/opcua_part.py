"""Prepare what a rig or site file says of OPC UA: pairs for emulated stations, and the files that must be there."""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict

from controller.runtime.opcua_keys import OpcuaKeys, OpcuaServerPort
from instruments.opcua_security import SECURED, OpcuaSecurity

if TYPE_CHECKING:
    from hil.rig.schema import Rig

FOLDER = "opcua"
STATION, OURS = "station", "controller"  # the latter is the name that we log in with, too
Found = Iterator[tuple[str, str, str]]


class OpcuaServerPart(OpcuaServerPort):
    """Serve state, reasons and alarms to a control room by OPC UA."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True, slots=True)
class TwinLink:
    """Hold both ends of the link to an emulated station, and the password that the controller logs in with."""

    station: OpcuaSecurity
    ours: OpcuaKeys
    password: str


def make_link(store_dir: Path, hosts: list[str]) -> TwinLink:
    """Make both pairs of a secured link in the run's own folder, each trusting the other; they end with the run."""
    from instruments.opcua_certificate import make_certificate

    password = secrets.token_urlsafe(16)
    now = datetime.now(UTC)
    for name, other in ((STATION, OURS), (OURS, STATION)):
        folder = store_dir / FOLDER / name
        certificate, _ = make_certificate(folder, name, f"urn:voltbench:{name}:{secrets.token_hex(8)}", hosts, now)
        trusted = store_dir / FOLDER / other / "trusted"
        trusted.mkdir(parents=True)
        shutil.copy(certificate, trusted)
    path = store_dir / FOLDER / OURS / "password"
    path.touch(mode=0o600)
    path.write_text(password)
    return TwinLink(OpcuaSecurity(SECURED, **_pair(store_dir, STATION)), link_keys(store_dir), password)


def link_keys(store_dir: Path) -> OpcuaKeys:
    """Return the controller's end of a link that `make_link` made."""
    password = str(store_dir / FOLDER / OURS / "password")
    return OpcuaKeys(**_pair(store_dir, OURS), user=OURS, password_file=password)


def _pair(store_dir: Path, name: str) -> dict[str, Any]:
    folder = store_dir / FOLDER / name
    return {
        "certificate": str(folder / f"{name}.der"),
        "key": str(folder / f"{name}.key.pem"),
        "trust": str(folder / "trusted"),
    }


def check_links(rig: "Rig") -> Found:
    """Check the files of a rig's secured links: of a real substation, and of what is served."""
    if not rig.substation.twin:
        yield from check_keys("substation", rig.substation)
    if rig.opcua is not None:
        yield from check_keys("opcua", rig.opcua)


def check_keys(key: str, keys: OpcuaKeys) -> Found:
    """Check the files that a table names: (key, value, what is allowed) of the first that is wrong."""
    from instruments.opcua_certificate import CertificateError, load_trust, utc_now
    from instruments.opcua_channel import own_pair, password_of

    security = keys.opcua()
    try:
        if security.secured:
            own_pair(security, utc_now())
            load_trust(security.trust)
        password_of(security)
        if isinstance(keys, OpcuaServerPort) and (keys.users or not keys.anonymous):
            from instruments.opcua_accounts import load_accounts

            load_accounts(keys.users)
    except CertificateError as error:
        yield f"{key}.security", "", str(error)
