"""Make and judge application certificates of OPC UA: own pair, trust list, what is refused and why.

A trust list is a folder: `*.der`, `*.pem` and `*.crt` are certificates that are trusted (a peer's own, or an authority
that issued it), `*.crl` are revocation lists. Nothing is trusted that does not lie there.
"""

import hashlib
import ipaddress
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_BITS = 2048
LEAST_BITS, MOST_BITS = 2048, 4096  # of Basic256Sha256, OPC UA Part 7
WARN_DAYS = 30
SUFFIXES = (".der", ".pem", ".crt", ".cer")
PEM = b"-----BEGIN"
REJECTED_KEPT = 20  # a peer that nobody knows may not fill the disk


class CertificateError(Exception):
    """Report a certificate, key or password that cannot be used: file, what is wrong, what to do.

    `status` is the name of the OPC UA status code that says the same to the peer (Part 4, 6.1.3).
    """

    def __init__(self, text: str, status: str = "BadCertificateInvalid") -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """Hold a checked certificate (DER) and its private key (PEM), with the application URI that it is made out to."""

    der: bytes
    key_pem: bytes
    uri: str
    expires: datetime

    def days_left(self, now: datetime) -> float:
        """Return the days until it expires."""
        return (self.expires - now) / timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TrustList:
    """Hold what is trusted: certificates, and the serial numbers that their issuers revoked."""

    folder: Path
    certificates: tuple[x509.Certificate, ...]
    revocations: tuple[x509.CertificateRevocationList, ...]


def make_certificate(
    folder: Path, name: str, uri: str, hosts: Iterable[str], now: datetime, days: int = 365
) -> tuple[Path, Path]:
    """Make a key (`name.key.pem`, mode 0600) and a self-signed certificate (`name.der`); return their paths.

    `uri` is the application URI and stands in the subject alternative name beside `hosts` (OPC UA Part 6, 6.2.2). It
    replaces nothing: a CertificateError names a file that is there.
    """
    certificate_path, key_path = folder / f"{name}.der", folder / f"{name}.key.pem"
    for path in (certificate_path, key_path):
        if path.exists():
            raise CertificateError(f"{path}: is there already; move it away first, it may be in use")
    if ":" not in uri:
        raise CertificateError(f"application URI {uri!r}: give a URI that is yours alone, e.g. urn:dso.example:room1")
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    der = _self_signed(key, name, uri, hosts, now, days).public_bytes(serialization.Encoding.DER)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    certificate_path.write_bytes(der)
    return certificate_path, key_path


def _self_signed(
    key: rsa.RSAPrivateKey, name: str, uri: str, hosts: Iterable[str], now: datetime, days: int
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternative: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), *map(_host, hosts)]
    # an authority of its own, so that it may stand in a trust list by itself (Part 6, 6.2.2)
    usage = {"digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_cert_sign"}
    every = usage | {"key_agreement", "crl_sign", "encipher_only", "decipher_only"}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # a peer's clock may be a little behind ours
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**{bit: bit in usage for bit in every}), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def load_own(certificate: str, key: str, now: datetime) -> OwnCertificate:
    """Return our own certificate and key, checked; a CertificateError says what is wrong and what to do."""
    found = read_certificate(Path(certificate), "certificate")
    pem = read_secret(Path(key), "key")
    try:
        private = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise CertificateError(f"key = {key!r}: is no private key in PEM without a password: {error}") from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != found.public_key().public_bytes(*form):
        raise CertificateError(f"key = {key!r}: does not belong to certificate = {certificate!r}")
    uris = uris_of(found)
    if not uris:
        text = f"certificate = {certificate!r}: no application URI in its subject alternative name"
        raise CertificateError(text, "BadCertificateUriInvalid")
    check_times(found, now, certificate)
    return OwnCertificate(found.public_bytes(serialization.Encoding.DER), pem, uris[0], found.not_valid_after_utc)


def read_certificate(path: Path, what: str) -> x509.Certificate:
    """Read a certificate in DER or PEM; `what` is its key in the site file, for the CertificateError."""
    if not path.is_file():
        raise CertificateError(f"{what} = {str(path)!r}: no such file; `voltbench certificate make` makes a pair")
    return _certificate(path.read_bytes(), str(path))


def _certificate(raw: bytes, where: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(raw) if raw.startswith(PEM) else x509.load_der_x509_certificate(raw)
    except ValueError as error:
        raise CertificateError(f"{where}: is no certificate in DER or PEM: {error}") from error


def read_secret(path: Path, what: str) -> bytes:
    """Read a key or password file that only its owner may read; a CertificateError says what is wrong."""
    if not path.is_file():
        raise CertificateError(f"{what} = {str(path)!r}: no such file")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise CertificateError(f"{what} = {path}: mode {mode:04o}; others may not read it: chmod 600 {path}")
    return path.read_bytes()


def load_trust(folder: str) -> TrustList:
    """Return the trust list of a folder; a CertificateError names a missing folder or a broken file."""
    path = Path(folder)
    if not folder or not path.is_dir():
        raise CertificateError(f"trust = {folder!r}: no such folder; make it and put the peer's certificate into it")
    files = sorted(path.iterdir())
    found = [_certificate(file.read_bytes(), str(file)) for file in files if file.suffix.lower() in SUFFIXES]
    lists = [_revocations(file) for file in files if file.suffix.lower() == ".crl"]
    return TrustList(path, tuple(found), tuple(lists))


def _revocations(path: Path) -> x509.CertificateRevocationList:
    raw = path.read_bytes()
    try:
        return x509.load_pem_x509_crl(raw) if raw.startswith(PEM) else x509.load_der_x509_crl(raw)
    except ValueError as error:
        raise CertificateError(f"{path}: is no revocation list in DER or PEM: {error}") from error


def check_peer(trust: TrustList, der: bytes, now: datetime, uri: str = "", host: str = "") -> x509.Certificate:
    """Return a peer's certificate that is trusted, in its time, and made out to `uri` (and `host`) where given.

    A certificate that lies in the trust list itself needs no host name; one that an authority there issued does. Of a
    chain the first counts. CertificateError carries the status code in the order of Part 4, 6.1.3.
    """
    certificate = _first(der)
    name = described(certificate)
    issuer = None
    if certificate not in trust.certificates:
        issuer = next((known for known in trust.certificates if _issued(certificate, known)), None)
        if issuer is None:
            kept = _keep_rejected(trust, certificate)
            hint = f"compare the thumbprint with the peer, then copy {kept} into {trust.folder}"
            raise CertificateError(f"{name} is not trusted; {hint}", "BadCertificateUntrusted")
    check_times(certificate, now, name)
    if issuer is not None:
        check_times(issuer, now, described(issuer))
    for revoked in trust.revocations:
        if _signed(revoked, trust) and revoked.get_revoked_certificate_by_serial_number(certificate.serial_number):
            raise CertificateError(f"{name} is revoked by its issuer", "BadCertificateRevoked")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not LEAST_BITS <= key.key_size <= MOST_BITS:
        allowed = f"allowed: RSA, {LEAST_BITS} to {MOST_BITS} bits"
        raise CertificateError(f"{name}: {allowed}", "BadCertificatePolicyCheckFailed")
    if uri and uri not in uris_of(certificate):
        made_out = ", ".join(uris_of(certificate)) or "nobody"
        raise CertificateError(f"{name} is made out to {made_out}, not to {uri}", "BadCertificateUriInvalid")
    if issuer is not None and host and host not in hosts_of(certificate):
        made_out = ", ".join(hosts_of(certificate)) or "no host"
        raise CertificateError(f"{name} is made out to {made_out}, not to {host}", "BadCertificateHostNameInvalid")
    return certificate


def check_times(certificate: x509.Certificate, now: datetime, where: str) -> None:
    """Refuse a certificate that has expired or is not valid yet, with its dates."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now <= ends:
        when = f"valid {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC, now is {now:%Y-%m-%d %H:%M}"
        told = "has expired" if now > ends else "is not valid yet (check the clock)"
        raise CertificateError(f"{where} {told}: {when}; renew it", "BadCertificateTimeInvalid")


def _first(der: bytes) -> x509.Certificate:
    """Return the first certificate of a chain: DER says its own length."""
    if len(der) < 4 or der[0] != 0x30 or der[1] != 0x82:
        raise CertificateError("the peer sent no certificate")
    return _certificate(der[: 4 + int.from_bytes(der[2:4], "big")], "the peer's certificate")


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        if not authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        certificate.verify_directly_issued_by(authority)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return True


def _signed(revoked: x509.CertificateRevocationList, trust: TrustList) -> bool:
    """Say whether a revocation list is that of one of the trusted authorities."""
    for known in trust.certificates:
        key = known.public_key()
        if known.subject == revoked.issuer and isinstance(key, rsa.RSAPublicKey) and revoked.is_signature_valid(key):
            return True
    return False


def _keep_rejected(trust: TrustList, certificate: x509.Certificate) -> Path:
    """Put a refused certificate aside for the operator to look at, a few at the most; return where it lies."""
    folder = trust.folder.parent / "rejected"
    path = folder / f"{thumbprint(certificate)}.der"
    try:
        folder.mkdir(exist_ok=True)
        if not path.exists() and len(list(folder.iterdir())) < REJECTED_KEPT:
            path.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    except OSError:
        return Path("its file")  # a read-only folder: the operator brings the certificate himself
    return path


def described(certificate: x509.Certificate) -> str:
    """Return name and thumbprint of a certificate."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"certificate {str(names[0].value) if names else '?'!r} (SHA-1 {thumbprint(certificate)})"


def thumbprint(certificate: x509.Certificate) -> str:
    """Return the SHA-1 of the DER form, as OPC UA names certificates (Part 4, 7.3); it is no protection by itself."""
    return hashlib.sha1(certificate.public_bytes(serialization.Encoding.DER), usedforsecurity=False).hexdigest()


def uris_of(certificate: x509.Certificate) -> list[str]:
    """Return the URIs of the subject alternative name; OPC UA allows one only."""
    return _names(certificate, x509.UniformResourceIdentifier)


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses of the subject alternative name."""
    return [*_names(certificate, x509.DNSName), *map(str, _names(certificate, x509.IPAddress))]


def _names(certificate: x509.Certificate, kind: type) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return found.get_values_for_type(kind)


def utc_now() -> datetime:
    """Return the time of the machine's clock: certificates are of this world, not of a scenario."""
    return datetime.now(UTC)
