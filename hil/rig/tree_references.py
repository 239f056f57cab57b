"""Check the tree of a rig file: connections, stations, and the phases that reach a charger.

Works on the file as TOML gave it; see `references`.
"""

from collections import Counter
from typing import Any

from hil.rig.references import Found, Problem, near, number_of, short, tables_of, text_of


def check_tree(label: str, raw: dict[str, Any]) -> list[Problem]:
    """Return connections and stations without chargers or twice, and chargers on phases that are not there."""
    found = [*_connections(raw), *_stations(raw), *_rotations(raw)]
    return [Problem(f"{label}:{where}", value, allowed) for where, value, allowed in found]


def _connections(raw: dict[str, Any]) -> Found:
    chargers = tables_of(raw, "charger")
    used = {number_of(charger, "customer") for charger in chargers}
    counts = Counter(number_of(part, "customer") for part in tables_of(raw, "connection"))
    for k, part in enumerate(tables_of(raw, "connection")):
        customer = number_of(part, "customer")
        if customer is None:
            continue
        if customer not in used:
            yield f"connection[{k}].customer", f"{customer:g}", "no charger stands there; leave the connection out"
        if counts[customer] > 1:
            yield f"connection[{k}].customer", f"{customer:g}", f"stands {counts[customer]} times; once is allowed"
        three = [text_of(c, "name") for c in chargers if number_of(c, "customer") == customer and c.get("phases") == 3]
        if part.get("phases") == 1 and three:
            yield f"connection[{k}].phases", "1", f"{three[0]} has three phases; write phases = 3 or leave it out"


def _stations(raw: dict[str, Any]) -> Found:
    at: dict[str, tuple[float, str]] = {}
    taken = {"transformer", "head"} | {f"poc_{text_of(c, 'name')}" for c in tables_of(raw, "charger")}
    for k, charger in enumerate(tables_of(raw, "charger")):
        name, customer = text_of(charger, "station"), number_of(charger, "customer")
        if not name or customer is None:
            continue
        place, first = at.setdefault(name, (customer, text_of(charger, "name") or f"charger[{k}]"))
        if place != customer:
            text = f"{first}, of the same station, is at customer {place:g}; a station has one connection"
            yield f"charger[{k}].customer", f"{customer:g}", text
        if name in taken or name == f"poc_{customer:g}":
            yield f"charger[{k}].station", short(name), "another node is called so; give the station another name"
    counts = Counter(text_of(part, "name") for part in tables_of(raw, "station"))
    for k, part in enumerate(tables_of(raw, "station")):
        name = text_of(part, "name")
        if name is not None and name not in at:
            text = f"no charger is a socket of it; {near(name, at)}name it at a [[charger]]"
            yield f"station[{k}].name", short(name), text
        if counts[name] > 1:
            yield f"station[{k}].name", short(name), f"stands {counts[name]} times; once is allowed"


def _rotations(raw: dict[str, Any]) -> Found:
    chargers = tables_of(raw, "charger")
    three = {number_of(charger, "customer") for charger in chargers if charger.get("phases") == 3}
    three |= {number_of(part, "customer") for part in tables_of(raw, "connection") if part.get("phases") == 3}
    for k, charger in enumerate(chargers):
        turn = text_of(charger, "phase_rotation")
        customer = number_of(charger, "customer")
        if turn not in (None, "RST") and customer is not None and customer not in three:
            text = f"customer {customer:g} has one phase only; give its [[connection]] phases = 3"
            yield f"charger[{k}].phase_rotation", short(turn), text
