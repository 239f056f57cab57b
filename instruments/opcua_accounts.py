"""Name who may do what on an OPC UA server of ours: accounts with one duty each, passwords kept as hashes.

Duties: `viewer` reads, `operator` reads and acknowledges alarms, `dso` reads and gives orders, `controller` (of an
emulated substation) reads and acknowledges heartbeats.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncua.crypto.permission_rules import User, UserRole

from instruments.ocpp_security import hash_password, matches
from instruments.opcua_certificate import CertificateError, read_secret

DUTIES = ("viewer", "operator", "dso", "controller")
ANONYMOUS = "anonymous"
NOBODY = f"scrypt${'00' * 16}${'00' * 32}"  # no password is known to give it
HASH = re.compile(r"scrypt\$([0-9a-f]{2})+\$([0-9a-f]{2})+")


@dataclass
class Account(User):
    """Name a user that is logged in, with the duty that says what he may do."""

    duty: str = "viewer"


class Accounts:
    """Judge user names and passwords; asyncua asks `get_user`.

    `hashed` maps a name to (duty, hash), `clear` to (duty, password) that only lives in this process. `anonymous` lets
    clients without a name in, as viewers. `tell` hears of each refusal.
    """

    def __init__(
        self,
        hashed: dict[str, tuple[str, str]] | None = None,
        clear: dict[str, tuple[str, str]] | None = None,
        anonymous: bool = False,
        tell: Callable[..., None] | None = None,
    ) -> None:
        self._hashed, self._clear = dict(hashed or {}), dict(clear or {})
        self._anonymous = anonymous
        self._tell = tell

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """Return the account of a name and its password; None where they are not known."""
        if username is None:
            if self._anonymous:
                return Account(UserRole.User, ANONYMOUS, "viewer")
            self._refused(ANONYMOUS)
            return None
        given = (password or "").encode()
        duty, wanted = self._clear.get(username, ("", ""))
        if duty and hmac.compare_digest(given, wanted.encode()):
            return Account(UserRole.User, username, duty)
        duty, hashed = self._hashed.get(username, ("", NOBODY))
        if matches(hashed, given) and duty:  # as much work for a name that is not there
            return Account(UserRole.User, username, duty)
        self._refused(username)
        return None

    def _refused(self, name: str) -> None:
        if self._tell is not None:
            self._tell("opcua_login_refused", user=name[:64], text="unknown name or wrong password")


def load_accounts(path: str) -> dict[str, tuple[str, str]]:
    """Return {name: (duty, hash)} of a file of `name:duty:scrypt$salt$hash` lines, mode 0600.

    CertificateError names file, line and what to do.
    """
    found: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(read_secret(Path(path), "users").decode().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.strip().partition(":")
        duty, _, hashed = rest.partition(":")
        if not name or duty not in DUTIES or not HASH.fullmatch(hashed):
            form = f"name:duty:scrypt$<salt>$<hash>, duty one of {', '.join(DUTIES)}"
            raise CertificateError(f"{path}:{number}: {form}; `voltbench certificate user` makes such a line")
        found[name] = (duty, hashed)
    if not found:
        raise CertificateError(f"users = {path!r}: nobody may log in; add a line name:duty:scrypt$<salt>$<hash>")
    return found


def account_line(name: str, duty: str, password: str) -> str:
    """Return the line of an account file for a user."""
    return f"{name}:{duty}:{hash_password(password)}"
