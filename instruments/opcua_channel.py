"""Secure the channel of an OPC UA client: Basic256Sha256, signed and encrypted, to a server that we trust, or nothing.

The server's certificate is judged before anything but a list of endpoints has been asked for, and the password only
ever travels inside the encrypted channel.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

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

ua: Any = asyncua.ua  # its names are not exported to type checkers

SECURED: Literal["sign_and_encrypt"] = "sign_and_encrypt"
PLAIN: Literal["none"] = "none"
Mode = Literal["sign_and_encrypt", "none"]


@dataclass(frozen=True, slots=True)
class OpcuaSecurity:
    """Say how a channel is secured.

    Parameters
    ----------
    mode: `sign_and_encrypt` (Basic256Sha256) or `none`, which must be asked for
    certificate, key: our own pair, DER or PEM, and PEM of mode 0600
    trust: folder of the certificates that we trust
    user, password_file: who logs in; the file is of mode 0600. Empty: anonymous
    """

    mode: Mode = SECURED
    certificate: str = ""
    key: str = ""
    trust: str = ""
    user: str = ""
    password_file: str = ""

    @property
    def secured(self) -> bool:
        """Say whether the channel is to be signed and encrypted."""
        return self.mode == SECURED

    def own(self, now: datetime) -> OwnCertificate:
        """Return our own checked pair; a CertificateError says what is wrong."""
        if not self.certificate or not self.key:
            raise CertificateError(
                'certificate and key are needed: `voltbench certificate` makes them; security = "none" talks plainly'
            )
        return load_own(self.certificate, self.key, now)

    def password(self) -> str:
        """Return the password of `user`; empty where nobody logs in."""
        if not self.user:
            return ""
        return read_secret(Path(self.password_file), "password_file").decode().rstrip("\r\n")


async def secure(client: Client, security: OpcuaSecurity, now: datetime) -> OwnCertificate | None:
    """Prepare a client that has not connected yet: own certificate, the server's one judged, user and password.

    Returns our own certificate, None on a plain channel. Errors: CertificateError for what we have or do not trust
    and for a server without the wanted endpoint; those of sockets and asyncua as they are.
    """
    if security.user:
        client.set_user(security.user)
        client.set_password(security.password())
    if not security.secured:
        return None
    own = security.own(now)
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
