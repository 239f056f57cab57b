"""Check what a site file says of OCPP: where points dial, who they are, and the credentials of the door."""

import importlib.util
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from controller.runtime.site import CsmsPort
from hil.rig.references import short
from hil.rig.site_schema import SiteCharger, SiteFile
from instruments import catalog
from instruments.ocpp_security import Security, SecurityError, load_passwords, server_context

LEAST_S, MOST_S = 3.0, 86400.0  # whole seconds of an order's duration
Found = Iterator[tuple[str, str, str]]


def dials(part: SiteCharger) -> bool:
    """Say whether a charger of the site is an OCPP point; False for an unknown model."""
    return part.model in catalog.model_names() and catalog.load_model(part.model).model.protocol == "ocpp"


def csms_of(file: SiteFile, folder: Path) -> CsmsPort:
    """Return the [csms] of a site file with the paths of its files made absolute, from the file's own folder."""
    files = {key: getattr(file.csms, key) for key in ("passwords", "certificate", "key")}
    return file.csms.model_copy(update={key: str((folder / name).absolute()) for key, name in files.items() if name})


def check_csms(file: SiteFile, folder: Path) -> Found:
    """Check every OCPP point against [csms]: extra, port, scheme, identity; then password file and certificate."""
    points = {k: part for k, part in enumerate(file.charger) if dials(part)}
    if not points:
        return
    missing = [name for name in ("ocpp", "websockets") if importlib.util.find_spec(name) is None]
    if missing:
        text = f"needs the package{'s' if len(missing) > 1 else ''} {', '.join(missing)}: pip install voltbench[ocpp]"
        yield f"charger[{next(iter(points))}].model", short(next(iter(points.values())).model), text
    seen: dict[str, str] = {}
    for k, part in points.items():
        yield from _check_point(f"charger[{k}]", part, file.csms, seen)
    yield from _check_door(csms_of(file, folder), seen)


def _check_point(key: str, part: SiteCharger, csms: CsmsPort, seen: dict[str, str]) -> Found:
    """Check one point; its identity goes into `seen` with its key."""
    if part.unit is not None:
        yield f"{key}.unit", str(part.unit), "an OCPP point has none; leave it out"
    wired = catalog.ocpp_of(catalog.load_model(part.model)).connector
    if part.connector not in (1, wired):
        text = (
            f"{part.model} commands connector {wired}; a record with connector = {part.connector} in [ocpp] is needed"
        )
        yield f"{key}.connector", str(part.connector), text
    if part.failsafe_s < LEAST_S or part.failsafe_s >= MOST_S:
        yield f"{key}.failsafe_s", f"{part.failsafe_s:g} s", f"an order's duration: {LEAST_S:g} to {MOST_S:g} s"
    try:
        parts = urlsplit(part.address)
        port = parts.port
    except ValueError:  # told with the form of the address
        return
    if port is not None and port != csms.port:
        yield "csms.port", str(csms.port), f"{key} dials port {port}; write port = {port}, where the server listens"
    if parts.scheme in ("ws", "wss") and (parts.scheme == "wss") != (csms.security == 2):
        text = f"csms.security = {csms.security} is {'ws' if parts.scheme == 'wss' else 'wss'}://; 2 is TLS"
        yield f"{key}.address", short(part.address), text
    identity = unquote(parts.path.rstrip("/").rpartition("/")[2])
    if identity and identity in seen:
        yield f"{key}.address", short(part.address), f"identity {identity} is that of {seen[identity]}; one each"
    seen.setdefault(identity, key)


def _check_door(csms: CsmsPort, identities: dict[str, str]) -> Found:
    """Check that the door's files can be used: passwords of every identity, certificate and key."""
    security = Security(csms.security, csms.passwords, csms.certificate, csms.key)
    try:
        known = load_passwords(security)
    except (SecurityError, OSError, UnicodeDecodeError) as error:
        yield "csms.passwords", short(csms.passwords), str(error)
    else:
        for identity, key in identities.items():
            if csms.security and identity and identity not in known:
                yield "csms.passwords", short(csms.passwords), f"no line for {identity}, the identity of {key}"
    try:
        server_context(security)
    except (SecurityError, ssl.SSLError) as error:
        yield "csms.certificate", short(csms.certificate), str(error)
