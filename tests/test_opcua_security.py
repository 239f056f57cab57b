"""Who is let in over a secured OPC UA channel, who is not, and what he is told; over real sockets."""

import asyncio
import dataclasses
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncua import Client, ua
from opcua_pairs import pair, trusts

from hil.twins.substation import MODEL, USER, SubstationTwin
from instruments.catalog import load_model
from instruments.faults import PortFault
from instruments.opcua_certificate import CertificateError, check_peer, load_own, load_trust, make_certificate
from instruments.opcua_security import PLAIN, SECURED, OpcuaSecurity
from instruments.opcua_substation import SubstationClient


class Town:
    """Keep one secured station in one event loop, with pairs of those who come to it."""

    def __init__(self, folder: Path) -> None:
        self.station, self.ours, self.stranger = (pair(folder, name) for name in ("station", "ours", "stranger"))
        self.old = pair(folder, "old", age_days=400.0)
        trusts(self.station, self.ours, self.old)
        for who in (self.ours, self.stranger, self.old):
            trusts(who, self.station)
        self.password = folder / "password"
        self.password.write_text("open sesame\n")
        self.password.chmod(0o600)
        self.told: list[tuple[str, dict[str, str]]] = []
        self.runner = asyncio.Runner()
        self.twin = SubstationTwin(
            {"head": 1},
            security=self.station,
            password="open sesame",
            tell=lambda kind, **f: self.told.append((kind, f)),
        )
        self.port = self.runner.run(self.twin.start())

    def client(self, security: OpcuaSecurity, **changes: str) -> SubstationClient:
        """Return a client with some of its security changed."""
        told = dataclasses.replace(security, **changes)
        clocks = {"clock_ns": time.monotonic_ns, "utc_ns": time.time_ns}
        model, address = load_model(MODEL), f"opc.tcp://127.0.0.1:{self.port}"
        return SubstationClient("sub", model, address, {"head": [0]}, 1, security=told, **clocks)

    def open(self, security: OpcuaSecurity, **changes: str) -> str:
        """Open and close a client; return who answered."""

        async def scene() -> str:
            client = self.client(security, **changes)
            try:
                return await client.open()
            finally:
                await client.close()

        return self.runner.run(scene())

    def close(self) -> None:
        """Stop the station."""
        self.runner.run(self.twin.stop())
        self.runner.close()


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    found = Town(tmp_path_factory.mktemp("town"))
    yield found
    found.close()


def test_who_is_trusted_talks_signed_and_encrypted_with_or_without_a_name(town):
    assert town.open(town.ours) == "voltbench substation 1"
    assert town.open(town.ours, user=USER, password_file=str(town.password)) == "voltbench substation 1"


def test_a_stranger_learns_nothing_and_the_operator_learns_which_certificate_it_was(town):
    town.told.clear()
    with pytest.raises(PortFault, match=r"BadSecurityChecksFailed.*let the server trust our certificate"):
        town.open(town.stranger)
    [(kind, fields)] = town.told
    assert kind == "opcua_refused"
    assert "certificate 'stranger'" in fields["text"]
    kept = list((Path(town.station.trust).parent / "rejected").glob("*.der"))
    assert Path(town.stranger.certificate).read_bytes() in [path.read_bytes() for path in kept]


def test_we_send_no_password_to_a_server_that_we_do_not_trust(town, tmp_path):
    alone = pair(tmp_path, "alone")
    trusts(town.station, alone)
    with pytest.raises(PortFault, match=r"certificate 'station' \(SHA-1 [0-9a-f]{40}\) is not trusted; compare"):
        town.open(alone, user=USER, password_file=str(town.password))


def test_an_expired_certificate_is_told_before_it_is_used(town):
    with pytest.raises(PortFault, match=r"old\.der has expired: valid .* now is .*; renew it"):
        town.open(town.old)


def test_a_server_refuses_an_expired_certificate_that_it_trusts(town):
    trust = load_trust(town.station.trust)
    with pytest.raises(CertificateError, match="has expired") as caught:
        check_peer(trust, Path(town.old.certificate).read_bytes(), datetime.now(UTC))
    assert caught.value.status == "BadCertificateTimeInvalid"


@pytest.mark.parametrize("user", ["nobody", "admin"])
def test_an_unknown_user_is_refused_and_told_what_to_check(town, user):
    with pytest.raises(PortFault, match=r"BadUserAccessDenied\); check user and password_file"):
        town.open(town.ours, user=user, password_file=str(town.password))


def test_plain_is_refused_by_a_secured_server_and_by_a_secured_client(town):
    with pytest.raises(PortFault, match=r"BadSecurityModeInsufficient\); the server wants security"):
        town.open(town.ours, mode=PLAIN)
    with pytest.raises(PortFault, match=r'certificate and key are needed: .*; security = "none" talks plainly'):
        town.open(OpcuaSecurity(SECURED))


def test_a_session_may_not_show_another_certificate_than_its_channel(town):
    """asyncua judges the certificate that the session names, if it names one: a stranger could name a trusted one."""

    async def scene():
        client = Client(f"opc.tcp://127.0.0.1:{town.port}")
        security = town.ours
        await client.set_security_string(f"Basic256Sha256,SignAndEncrypt,{security.certificate},{security.key}")
        client.application_uri = "urn:test:ours"
        shown = Path(town.stranger.certificate).read_bytes()
        await client.connect_sessionless()
        try:
            for certificate in (shown, None):
                params = ua.CreateSessionParameters(ClientCertificate=certificate, ClientNonce=b"0" * 32)
                params.ClientDescription = ua.ApplicationDescription(ApplicationUri="urn:test:ours")
                params.EndpointUrl = client.server_url.geturl()
                with pytest.raises(ua.UaStatusCodeError, match="BadSecurityChecksFailed"):
                    await client.uaclient.create_session(params)
        finally:
            await client.disconnect_sessionless()

    town.runner.run(scene())


def test_a_certificate_of_a_trusted_authority_needs_the_right_host(tmp_path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    now = datetime.now(UTC)
    key, root = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])

    def issue(public, name, extensions):
        builder = x509.CertificateBuilder(subject, name, public, 7, now - timedelta(1), now + timedelta(1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(root, hashes.SHA256())

    authority = issue(root.public_key(), subject, [x509.BasicConstraints(True, None)])
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:a"), x509.DNSName("station.example")])
    leaf = issue(key.public_key(), x509.Name([]), [names]).public_bytes(serialization.Encoding.DER)
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    trust = load_trust(str(tmp_path / "trusted"))
    assert check_peer(trust, leaf, now, "urn:a", "station.example").serial_number == 7
    for uri, host, status in (
        ("urn:b", "", "BadCertificateUriInvalid"),
        ("urn:a", "elsewhere", "BadCertificateHostNameInvalid"),
    ):
        with pytest.raises(CertificateError) as caught:
            check_peer(trust, leaf, now, uri, host)
        assert caught.value.status == status
    crl = x509.CertificateRevocationListBuilder(subject, now, now + timedelta(1))
    gone = x509.RevokedCertificateBuilder(7, now).build()
    signed = crl.add_revoked_certificate(gone).sign(root, hashes.SHA256())
    (tmp_path / "trusted" / "ca.crl").write_bytes(signed.public_bytes(serialization.Encoding.DER))
    with pytest.raises(CertificateError, match="is revoked"):
        check_peer(load_trust(str(tmp_path / "trusted")), leaf, now)


def test_keys_are_kept_from_others_and_never_overwritten(tmp_path):
    certificate, key = make_certificate(tmp_path, "a", "urn:a", ["host", "10.0.0.1"], datetime.now(UTC))
    assert key.stat().st_mode & 0o777 == 0o600
    own = load_own(str(certificate), str(key), datetime.now(UTC))
    assert own.uri == "urn:a"
    assert 364.0 < own.days_left(datetime.now(UTC)) <= 365.0
    with pytest.raises(CertificateError, match="is there already"):
        make_certificate(tmp_path, "a", "urn:a", [], datetime.now(UTC))
    key.chmod(0o644)
    with pytest.raises(CertificateError, match="mode 0644; others may not read it: chmod 600"):
        load_own(str(certificate), str(key), datetime.now(UTC))
    other = pair(tmp_path, "b")
    with pytest.raises(CertificateError, match="does not belong to"):
        load_own(str(certificate), other.key, datetime.now(UTC))
