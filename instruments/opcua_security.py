"""Say how an OPC UA channel is secured; nothing is opened or imported for it here."""

from dataclasses import dataclass
from typing import Literal

SECURED: Literal["sign_and_encrypt"] = "sign_and_encrypt"
PLAIN: Literal["none"] = "none"
Mode = Literal["sign_and_encrypt", "none"]


@dataclass(frozen=True, slots=True)
class OpcuaSecurity:
    """Hold the keys of one end.

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
