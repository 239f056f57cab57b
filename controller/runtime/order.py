"""Say what an order is: its fields, the bytes that are signed, how it is read from JSON, and the answer to it."""

import hashlib
import hmac
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

NAN = math.nan
Kind = Literal["cap", "setpoint", "withdraw"]
Direction = Literal["import", "export"]


class OrderError(ValueError):
    """Report an order that says something impossible: which field, its value, what is allowed."""


@dataclass(frozen=True, slots=True)
class Order:
    """Hold one message about an order.

    Parameters
    ----------
    source: who sends it; order_id: its name there; sequence: counts the messages about it, a later one replaces
    subject: node that a cap binds, or charger that a set-point drives; empty in a withdrawal
    value_w: W. A cap is 0 or more in its direction; a set-point is signed, + from the grid into the charger
    from_s, to_s: UTC epoch s; NaN at once, NaN until withdrawn
    signature: hexadecimal, of `message()`: HMAC-SHA256 under the source's secret, or Ed25519 (see `order_keys`)
    """

    source: str
    order_id: str
    sequence: int
    kind: Kind
    subject: str = ""
    direction: Direction = "import"
    value_w: float = NAN
    from_s: float = NAN
    to_s: float = NAN
    signature: str = ""

    def message(self) -> bytes:
        """Return the bytes that are signed: all fields but the signature, in a fixed form."""
        fields = asdict(self)
        del fields["signature"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()

    def signed(self, key: bytes) -> "Order":
        """Return the order with its signature under `key`."""
        return replace(self, signature=hmac.new(key, self.message(), hashlib.sha256).hexdigest())


@dataclass(frozen=True, slots=True)
class Answer:
    """Say what became of an order: `accepted` (kept and in the book), else why not; `obeyed` may hold without."""

    accepted: bool
    why: str = ""
    obeyed: bool = False


def parse_order(fields: Mapping[str, Any]) -> Order:
    """Return the order that a JSON object holds; an OrderError names the field that is missing, unknown or wrong."""
    if not isinstance(fields, Mapping):
        raise OrderError(f"a {type(fields).__name__}: an order is a JSON object")
    known = set(Order.__dataclass_fields__)
    if unknown := sorted(set(fields) - known):
        raise OrderError(f"unknown fields {', '.join(unknown)}; allowed are {', '.join(sorted(known))}")
    if missing := [name for name in ("source", "order_id", "sequence", "kind") if name not in fields]:
        raise OrderError(f"{', '.join(missing)} is missing")
    for name, allowed in (("kind", ("cap", "setpoint", "withdraw")), ("direction", ("import", "export"))):
        if fields.get(name, allowed[0]) not in allowed:
            raise OrderError(f"{name} = {fields[name]!r}: allowed are {', '.join(allowed)}")
    try:
        return from_fields(fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise OrderError(f"a number of the order cannot be read: {error}") from error


def from_fields(fields: Mapping[str, Any]) -> Order:
    """Return the order of a record that was written by us."""
    return Order(
        source=str(fields["source"]),
        order_id=str(fields["order_id"]),
        sequence=int(fields["sequence"]),
        kind=fields["kind"],
        subject=str(fields.get("subject", "")),
        direction=fields.get("direction", "import"),
        value_w=float(fields.get("value_w", NAN)),
        from_s=float(fields.get("from_s", NAN)),
        to_s=float(fields.get("to_s", NAN)),
        signature=str(fields.get("signature", "")),
    )
