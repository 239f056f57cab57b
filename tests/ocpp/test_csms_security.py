"""Hold the CSMS's door: basic authentication, TLS with a certificate of the test's own, files that others may read."""

import asyncio
import base64
import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest

pytest.importorskip("websockets", reason="the extra ocpp is not installed")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from csms_helpers import IDENTITY, quick
from scripted_point import ScriptedPoint
from websockets.exceptions import InvalidMessage, InvalidStatus

from instruments.ocpp_charger import OcppCharger
from instruments.ocpp_csms import Csms
from instruments.ocpp_security import Security, SecurityError, hash_password, load_passwords


def basic(user: str, password: str) -> dict[str, dict[str, str]]:
    """Return the header of a basic authentication as an option of the client."""
    coded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"additional_headers": {"Authorization": f"Basic {coded}"}}


def password_file(folder: Path, mode: int = 0o600) -> str:
    """Write a password file for the one identity and return its path."""
    path = folder / "passwords"
    path.write_text(f"{IDENTITY}:{hash_password('secret')}\n")
    path.chmod(mode)
    return str(path)


def certificate(folder: Path) -> tuple[str, str]:
    """Write a self-signed server certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "csms")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    none = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, none))
    return str(pem), str(private)


async def serve(security: Security) -> Csms:
    """Start a CSMS that expects one charger."""
    csms = Csms("127.0.0.1", 0, security)
    csms.expect(OcppCharger("cp1", quick("ocpp1.6"), IDENTITY, csms, failsafe_a=6.0, failsafe_s=9.0))
    await csms.start()
    return csms


def test_only_the_password_of_the_identity_lets_in(tmp_path: Path) -> None:
    async def play() -> None:
        csms = await serve(Security(1, password_file(tmp_path)))
        try:
            url = f"{csms.url}/CP%201"
            for wrong in ({}, basic(IDENTITY, "guess"), basic("other", "secret")):
                with pytest.raises(InvalidStatus, match="401"):
                    await ScriptedPoint().dial(url, **wrong)
            point = ScriptedPoint()
            await point.dial(url, **basic(IDENTITY, "secret"))
            assert (await point.boot())["status"] == "Accepted"
        finally:
            await csms.close()

    asyncio.run(play())


def test_tls_is_spoken_and_plain_refused(tmp_path: Path) -> None:
    async def play() -> None:
        pem, key = certificate(tmp_path)
        csms = await serve(Security(2, password_file(tmp_path), pem, key))
        try:
            assert csms.url.startswith("wss://")
            url = f"{csms.url}/CP%201"
            with pytest.raises((InvalidMessage, OSError)):
                await ScriptedPoint().dial(url.replace("wss", "ws"), **basic(IDENTITY, "secret"))
            with pytest.raises(ssl.SSLCertVerificationError):
                await ScriptedPoint().dial(url, ssl=ssl.create_default_context(), **basic(IDENTITY, "secret"))
            point = ScriptedPoint()
            trusted = ssl.create_default_context(cafile=pem)
            await point.dial(url, ssl=trusted, **basic(IDENTITY, "secret"))
            assert (await point.boot())["status"] == "Accepted"
        finally:
            await csms.close()

    asyncio.run(play())


def test_a_password_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="mode 0644; others may not read it: chmod 600"):
        load_passwords(Security(1, password_file(tmp_path, 0o644)))


def test_profile_3_is_said_to_be_missing() -> None:
    with pytest.raises(SecurityError, match=r"client certificates \(3\) are missing"):
        load_passwords(Security(3))
