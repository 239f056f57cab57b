"""Read what is typed to `voltbench order`: watts with their unit, and times of day or of a calendar."""

import argparse
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

WATTS = {"w": 1.0, "kw": 1e3, "mw": 1e6}
POWER = re.compile(r"(?P<value>[+-]?\d+(\.\d+)?)\s*(?P<unit>[a-zA-Z]*)")
CLOCK = re.compile(r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<second>\d{2}))?")


def watts(text: str) -> float:
    """Read a power like 52kW, 4200W or -3kW, W; argparse's error names what is allowed."""
    found = POWER.fullmatch(text.strip())
    unit = "" if found is None else found["unit"].lower()
    if found is None or unit not in WATTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a power; write it with its unit: 52kW, 4200W, -3kW")
    return float(found["value"]) * WATTS[unit]


def when_s(text: str, now_s: float, zone: str) -> float:
    """Read a time as UTC epoch s: `now`, 18:00 (the next one at the site) or 2026-11-23T18:00 (at the site, or +01:00).

    `now_s` is the site's UTC now, `zone` its IANA name (empty: UTC). Raises ValueError, which says what is allowed.
    """
    here = ZoneInfo(zone) if zone else UTC
    now = datetime.fromtimestamp(now_s, UTC).astimezone(here)
    if text == "now":
        return math.nan
    clock = CLOCK.fullmatch(text)
    try:
        if clock is not None:
            hour, minute, second = int(clock["hour"]), int(clock["minute"]), int(clock["second"] or 0)
            at = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            if at <= now:
                at = at + timedelta(days=1)  # the same time on the wall, also across a change of summer time
            return at.timestamp()
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time: write now, 18:00 or 2026-11-23T18:00") from error
    return (at if at.tzinfo is not None else at.replace(tzinfo=here)).timestamp()


def add_commands(commands: Any, duration: Callable[[str], float]) -> None:
    """Add `order` and `journal` to the parser; `duration` reads 60s, 1h."""
    order = commands.add_parser("order", help="send an order to a running controller and print its answer")
    order.add_argument("run", nargs="?", help="run folder, or the name of its rig or site; default the newest run")
    order.add_argument("--node", help="the node that --limit binds; `head` of a rig")
    order.add_argument("--charger", help="the charger that --setpoint drives")
    order.add_argument("--contract", metavar="ID", help="call on this contract instead of naming node or charger")
    what = order.add_mutually_exclusive_group(required=True)
    what.add_argument("--limit", dest="limit_w", type=watts, metavar="52kW", help="not more than this")
    what.add_argument(
        "--setpoint", dest="setpoint_w", type=watts, metavar="2kW", help="this, + from the grid; =-3kW exports"
    )
    what.add_argument("--withdraw", metavar="ID", help="end an order of the same source")
    what.add_argument("--schedule", metavar="FILE", help="orders of a CSV file: place, what, value, from, until")
    order.add_argument("--export", action="store_true", help="the limit is one of export")
    order.add_argument("--from", dest="from_text", default="now", metavar="18:00", help="at the site, or ISO 8601")
    order.add_argument("--for", dest="for_s", type=duration, metavar="1h", help="default until it is withdrawn")
    order.add_argument("--id", dest="order_id", metavar="ID", help="its name; the same name again replaces it")
    order.add_argument("--sequence", type=int, metavar="N", help="counts the messages about it; default the time")
    order.add_argument("--source", default="operator", help="who orders; default operator")
    order.add_argument("--key", metavar="FILE", help="sign it with this key: hmac:<hex>, or an Ed25519 private key")
    order.add_argument("--json", action="store_true")

    journal = commands.add_parser("journal", help="orders and what was done about them; verify, export, forget")
    journal.add_argument(
        "what", nargs="?", default="show", metavar="WHAT", help="show (default), entries, verify, export or forget"
    )
    journal.add_argument("run", nargs="?", help="run folder, name of its rig or site, or a journal file")
    journal.add_argument("--connection", metavar="NAME", help="node or charger: export or forget its entries")
    journal.add_argument("--before", metavar="DATE", help="forget what is older; 2026-11-23")
    journal.add_argument(
        "--why", help="kept in the journal beside what was forgotten; needed before the retention ends"
    )
    journal.add_argument("--key", metavar="FILE", help="of a chain that is keyed: hmac:<hex>")
    journal.add_argument("--json", action="store_true")
