"""Guard the CSMS's door: OCPP security profiles 0 (open), 1 (basic authentication) and 2 (the same over TLS).

Passwords are kept as scrypt hashes in a file of their own that only its owner may read. Profile 3 (client
certificates) is missing.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


class SecurityError(Exception):
    """Report what is wrong with passwords, certificate or profile: where, value, allowed, what to do."""


@dataclass(frozen=True, slots=True)
class Security:
    """Say how charge points are let in: the profile and, from 1 on, the files that it needs."""

    profile: int = 0
    passwords: str = ""
    certificate: str = ""
    key: str = ""

    @property
    def scheme(self) -> str:
        """Return the scheme of the URL that points dial."""
        return "wss" if self.profile == 2 else "ws"


def hash_password(password: str) -> str:
    """Return the hash of a password as it stands in the password file after `identity:`."""
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${_derived(password.encode(), salt).hex()}"


def _derived(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, **SCRYPT)


def load_passwords(security: Security) -> dict[str, str]:
    """Return {identity: hash} of the password file; a SecurityError names file, line and what to do."""
    if security.profile == 0:
        return {}
    if security.profile not in (1, 2):
        raise SecurityError(
            f"csms.security = {security.profile}: allowed 0, 1 or 2; client certificates (3) are missing"
        )
    path = Path(security.passwords)
    if not security.passwords or not path.is_file():
        raise SecurityError(
            f"csms.passwords = {security.passwords!r}: no such file; security {security.profile} needs one"
        )
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise SecurityError(f"csms.passwords = {path}: mode {mode:04o}; others may not read it: chmod 600 {path}")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        identity, _, hashed = line.strip().partition(":")
        kind, _, rest = hashed.partition("$")
        salt, _, digest = rest.partition("$")
        if kind != "scrypt" or not _is_hex(salt) or not _is_hex(digest):
            raise SecurityError(f"{path}:{number}: identity:scrypt$<salt>$<hash> is needed, no password in clear")
        found[identity] = hashed
    return found


def _is_hex(text: str) -> bool:
    try:
        return bool(bytes.fromhex(text))
    except ValueError:
        return False


def admits(passwords: dict[str, str], identity: str, header: str | None) -> bool:
    """Say whether a basic Authorization header belongs to `identity`; takes some 50 ms, as a password hash should."""
    given = _basic(header)
    hashed = passwords.get(identity)
    if given is None or given[0] != identity or hashed is None:
        return False
    return matches(hashed, given[1])


def matches(hashed: str, password: bytes) -> bool:
    """Say whether a password belongs to a hash of `hash_password`."""
    _, salt, digest = hashed.split("$")
    return hmac.compare_digest(_derived(password, bytes.fromhex(salt)), bytes.fromhex(digest))


def _basic(header: str | None) -> tuple[str, bytes] | None:
    """Return user and password (bytes: 2.x allows any) of a basic Authorization header; None for another one."""
    kind, _, coded = (header or "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(coded, validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def server_context(security: Security) -> ssl.SSLContext | None:
    """Return the TLS context of profile 2, from 1.2 on; None for the others. A SecurityError names a broken file."""
    if security.profile != 2:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(security.certificate, security.key or None)
    except (OSError, ssl.SSLError) as error:
        detail = f"csms.certificate = {security.certificate!r}, key = {security.key!r}: {error}"
        raise SecurityError(f"{detail}; give the server's certificate and key as PEM files") from error
    return context
