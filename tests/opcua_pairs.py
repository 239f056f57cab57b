"""Make certificate pairs and trust folders for tests of secured OPC UA."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from instruments.opcua_certificate import make_certificate
from instruments.opcua_security import SECURED, OpcuaSecurity


def pair(folder: Path, name: str, age_days: float = 0.0, uri: str = "", days: int = 365) -> OpcuaSecurity:
    """Make a pair `name` in its own folder, made `age_days` ago, with an empty trust folder beside it."""
    now = datetime.now(UTC) - timedelta(days=age_days)
    certificate, key = make_certificate(folder / name, name, uri or f"urn:test:{name}", ["127.0.0.1"], now, days)
    trust = folder / name / "trusted"
    trust.mkdir()
    return OpcuaSecurity(SECURED, str(certificate), str(key), str(trust))


def trusts(who: OpcuaSecurity, *others: OpcuaSecurity) -> None:
    """Put the certificates of others into the trust folder of `who`."""
    for other in others:
        path = Path(other.certificate)
        (Path(who.trust) / path.name).write_bytes(path.read_bytes())
