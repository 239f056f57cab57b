"""Read the keys of those who may send orders, and check their signatures: HMAC-SHA256 or Ed25519.

A key file holds one line: ``hmac:`` and the secret in hexadecimal, or a PEM block (Ed25519 public key to check with,
private key to sign with). A shared secret lets either end make an order; a public key only its owner.
"""

import hmac
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from controller.runtime.order import Order

LEAST_SECRET = 16  # bytes


class KeyFileError(ValueError):
    """Report a key file that cannot be read: where, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Key:
    """Hold one source's key: a shared `secret`, or an Ed25519 key (`public` checks, `private` signs)."""

    secret: bytes = b""
    public: Any = None
    private: Any = None

    def sign(self, order: Order) -> Order:
        """Return the order with its signature; a KeyFileError where this key can only check."""
        if self.secret:
            return order.signed(self.secret)
        if self.private is None:
            raise KeyFileError("this is a public key: it checks signatures, its private key makes them")
        return replace(order, signature=self.private.sign(order.message()).hex())

    def signed(self, order: Order) -> bool:
        """Say whether the order's signature is of this key."""
        return self.made(order.message(), order.signature)

    def made(self, message: bytes, signature: str) -> bool:
        """Say whether `signature` (hexadecimal) over the bytes of `message` is of this key."""
        if self.secret:
            made = hmac.new(self.secret, message, "sha256").hexdigest()
            return hmac.compare_digest(made.encode(), signature.encode(errors="replace"))
        try:
            self.public.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True


def load_key(path: Path) -> Key:
    """Read a key file; a KeyFileError names it and says what it may hold."""
    try:
        data = path.read_bytes().strip()
    except OSError as error:
        raise KeyFileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        if data.startswith(b"hmac:"):
            secret = bytes.fromhex(data[5:].decode("ascii"))
            if len(secret) < LEAST_SECRET:
                raise KeyFileError(f"{path}: a secret of {len(secret)} bytes; give {LEAST_SECRET} or more")
            return Key(secret=secret)
        if b"PRIVATE KEY" in data:
            private = load_pem_private_key(data, password=None)
            if isinstance(private, Ed25519PrivateKey):
                return Key(public=private.public_key(), private=private)
        elif b"PUBLIC KEY" in data:
            public = load_pem_public_key(data)
            if isinstance(public, Ed25519PublicKey):
                return Key(public=public)
    except KeyFileError:
        raise
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: not a key: {error}") from error
    raise KeyFileError(f"{path}: allowed are one line `hmac:<hexadecimal secret>` or an Ed25519 key in PEM")
