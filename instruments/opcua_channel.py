"""Secure the channel of an OPC UA client: Basic256Sha256, signed and encrypted, to a server that we trust, or nothing.

The server's certificate is judged before anything but a list of endpoints has been asked for, and the password only
ever travels inside the encrypted channel.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import asyncua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import CertProperties

from instruments.opcua_certificate import (
    CertificateError,
    OwnCertificate,
    check_peer,
    load_own,
    load_trust,
    read_secret,
)
from instruments.opcua_security import OpcuaSecurity

ua: Any = asyncua.ua  # its names are not exported to type checkers


def own_pair(security: OpcuaSecurity, now: datetime) -> OwnCertificate:
    """Return our own checked pair; a CertificateError says what is wrong."""
    if not security.certificate or not security.key:
        text = (
            'certificate and key are needed: `voltbench certificate make` makes them; security = "none" talks plainly'
        )
        raise CertificateError(text)
    return load_own(security.certificate, security.key, now)


def password_of(security: OpcuaSecurity) -> str:
    """Return the password of the user that logs in; empty where nobody does."""
    if not security.user:
        return ""
    return read_secret(Path(security.password_file), "password_file").decode().rstrip("\r\n")


async def secure(client: Client, security: OpcuaSecurity, now: datetime) -> OwnCertificate | None:
    """Prepare a client that has not connected yet: own certificate, the server's one judged, user and password.

    Returns our own certificate, None on a plain channel. Errors: CertificateError for what we have or do not trust
    and for a server without the wanted endpoint; those of sockets and asyncua as they are.
    """
    if security.user:
        client.set_user(security.user)
        client.set_password(password_of(security))
    if not security.secured:
        return None
    own = own_pair(security, now)
    trust = load_trust(security.trust)
    client.application_uri = own.uri
    offered = await client.connect_and_get_server_endpoints()
    policy = SecurityPolicyBasic256Sha256
    wanted = ua.MessageSecurityMode.SignAndEncrypt
    endpoint = next((e for e in offered if e.SecurityMode == wanted and e.SecurityPolicyUri == policy.URI), None)
    if endpoint is None:
        found = ", ".join(sorted({f"{e.SecurityPolicyUri.rpartition('#')[2]} {e.SecurityMode.name}" for e in offered}))
        text = f"no endpoint Basic256Sha256 SignAndEncrypt; it offers {found or 'none'}"
        raise CertificateError(text, "BadSecurityPolicyRejected")
    host = client.server_url.hostname or ""
    check_peer(trust, endpoint.ServerCertificate or b"", now, endpoint.Server.ApplicationUri, host)
    await client.set_security(
        policy,
        CertProperties(own.der, "der"),
        CertProperties(own.key_pem, "pem"),
        server_certificate=CertProperties(endpoint.ServerCertificate, "der"),
        mode=wanted,
    )
    return own
