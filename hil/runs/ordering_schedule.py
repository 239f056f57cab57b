"""Send a schedule of orders from a CSV file: a redispatch schedule, a plan of set-points, limits, calls on contracts.

One row an order: `place` (node, charger or contract), `what` (limit, export or setpoint), `value` with its unit,
`from` and `until` with their dates. New rows are offered first, then those of the same name that are no longer in the
file are withdrawn: nothing lifts in between, and where a row is refused nothing is withdrawn.
"""

import argparse
import csv
import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path

from controller.runtime.journal_orders import OrderLife
from controller.runtime.order import Answer, Direction, Kind, Order
from controller.runtime.site import Site
from hil.runs.ordering_arguments import watts, when_s

COLUMNS = ("place", "what", "value", "from", "until")
WHATS = ("limit", "export", "setpoint")
MOST_ROWS = 1000


def read_schedule(path: Path, site: Site, name: str, source: str, now_s: float) -> list[Order]:
    """Return the orders of a schedule file, sequence 0; a ValueError names the row, what is wrong and what is allowed.

    The name of an order is that of the schedule and a hash of its row, so that an unchanged row is the same order. Rows
    that are over at `now_s` are left out.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"{path}: no column {', '.join(missing)}; needed are {', '.join(COLUMNS)}")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if not 0 < len(rows) <= MOST_ROWS:
        raise ValueError(f"{path}: {len(rows)} rows; allowed are 1 to {MOST_ROWS}")
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            found.append(_order(row, site, name, source, now_s))
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    return list({order.order_id: order for order in found if not order.to_s <= now_s}.values())


def _order(row: dict[str, str], site: Site, name: str, source: str, now_s: float) -> Order:
    place, what, value = (str(row[key]).strip() for key in COLUMNS[:3])
    if what not in WHATS:
        raise ValueError(f"what = {what!r}; allowed are {', '.join(WHATS)}")
    contracts = {port.contract["name"]: port.contract for port in site.contracts}
    kind: Kind = "setpoint" if what == "setpoint" else "cap"
    direction: Direction = "export" if what == "export" else "import"
    places = [*(site.charger_names if kind == "setpoint" else site.node_names), *contracts]
    if place not in places:
        raise ValueError(f"place = {place!r}: nothing there for a {what}; there are {', '.join(places)}")
    steers = place in contracts and contracts[place]["kind"].startswith("steering")
    if place in contracts and steers != (kind == "setpoint"):
        raise ValueError(f"place = {place!r}, what = {what!r}: it takes {'a setpoint' if steers else 'a limit'}")
    from_s, to_s = (_dated_s(row[key].strip(), now_s, site.timezone) for key in ("from", "until"))
    if to_s <= from_s:
        raise ValueError(f"until = {row['until']!r} is not after from = {row['from']!r}")
    text = f"{place}|{what}|{watts(value)!r}|{from_s!r}|{to_s!r}"
    order_id = f"{name}.{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Order(source, order_id, 0, kind, place, direction, watts(value), from_s, to_s)


def _dated_s(text: str, now_s: float, zone: str) -> float:
    """Read a time with its date; empty: at once, or until withdrawn. A bare clock would mean another day tomorrow."""
    if not text:
        return math.nan
    if "T" not in text.upper() and " " not in text:
        raise ValueError(f"{text!r}: write times with their date, 2026-11-23T18:00")
    return when_s(text, now_s, zone)


def bring(
    orders: Iterable[Order],
    name: str,
    source: str,
    lives: Iterable[OrderLife],
    offer: Callable[[Order], Answer],
    tell: Callable[[Order, Answer], None],
) -> list[Answer]:
    """Offer what is new, withdraw what is gone, and return the answers.

    `lives` are the messages that a journal knows; `name` is the schedule's.
    """
    live = {
        life.order_id
        for life in lives
        if life.source == source and not life.over and life.order_id.rpartition(".")[0] == name
    }
    answers = []
    for order in orders:
        if order.order_id in live:
            live.discard(order.order_id)
            continue
        answers.append(offer(order))
        tell(order, answers[-1])
    if all(answer.accepted for answer in answers):
        for order_id in sorted(live):
            gone = Order(source, order_id, 0, "withdraw")
            answers.append(offer(gone))
            tell(gone, answers[-1])
    return answers
