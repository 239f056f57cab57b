"""Show, check, export and forget what a journal holds: `voltbench journal`."""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.runtime.events import plain
from controller.runtime.evidence import HANDED, STATION
from controller.runtime.journal import NAME, Entry, Journal, JournalError, read_entries, verify
from controller.runtime.journal_orders import OrderLife, lives
from controller.runtime.order_keys import KeyFileError, load_key
from hil.rig.rigfile import RigError
from hil.runs.exits import FAILED, OK, USAGE
from hil.runs.ordering import find_site

NS = 1_000_000_000
YEAR_S = 365.25 * 86_400.0
RETENTION_YEARS = 2.0
SEEN = (STATION, HANDED)  # limits that the watcher noted: nobody restores them
VERBS = ("show", "entries", "verify", "export", "forget")


def run(arguments: argparse.Namespace) -> int:
    """Do what `voltbench journal` was asked; a JournalError (exit 3) where there is no readable journal."""
    if arguments.what not in VERBS:  # `voltbench journal RUN`
        if arguments.run is not None:
            print(f"voltbench: journal {arguments.what!r}: allowed are {', '.join(VERBS)}", file=sys.stderr)
            return USAGE
        arguments.what, arguments.run = "show", arguments.what
    path = find_journal(arguments.run)
    if arguments.what == "verify":
        return check(path, arguments)
    if arguments.what == "forget":
        return forget(path, arguments)
    entries: Iterable[Entry] = read_entries(path)
    if arguments.what == "show":  # from all entries: a withdrawal names its order, not its subject
        found, wanted = lives(entries), arguments.connection
        show([life for life in found if wanted in (None, life.subject)], as_json=arguments.json)
        return OK
    if arguments.connection is not None:
        entries = [entry for entry in entries if entry.subject == arguments.connection]
    if arguments.what == "export" or arguments.json:
        for entry in entries:  # a line an entry: a journal of two years does not fit in one value
            print(json.dumps(plain(asdict(entry)), ensure_ascii=False))
    else:
        for entry in entries:
            print(f"{entry.no:6} {clock(entry.utc_ns)}  {entry.kind:9} {entry.source:10} {entry.order_id:14} "
                  f"{entry.subject:14} {_short(entry.body)}")  # fmt: skip
    return OK


def find_journal(given: str | None) -> Path:
    """Return a journal: the file itself, or that of a run folder or of the newest run of a rig or site."""
    if given is not None and Path(given).is_file() and not given.endswith(".toml"):
        return Path(given)
    if given is not None and (Path(given) / NAME).is_file():
        return Path(given) / NAME
    return find_site(given).journal()


def check(path: Path, arguments: argparse.Namespace) -> int:
    """Follow the chain; return 0 where nothing is wrong, 1 where an entry is, named on stdout."""
    try:
        key = b"" if arguments.key is None else load_key(Path(arguments.key)).secret
    except KeyFileError as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return USAGE
    count, findings = verify(path, key)
    if arguments.json:
        print(json.dumps({"journal": str(path), "entries": count, "findings": [asdict(found) for found in findings]}))
    else:
        print(f"{path}: {count} entries, {len(findings) or 'nothing'} wrong")
        for found in findings:
            print(f"  entry {found.no}: {found.what}")
    return FAILED if findings else OK


def forget(path: Path, arguments: argparse.Namespace) -> int:
    """Delete the bodies of a connection's entries older than a date; the chain stays provable."""
    if arguments.connection is None or arguments.before is None:
        print("voltbench: forget needs --connection NAME and --before DATE", file=sys.stderr)
        return USAGE
    try:
        before = datetime.fromisoformat(arguments.before)
    except ValueError:
        print(f"voltbench: --before {arguments.before!r}: write a date: 2026-11-23", file=sys.stderr)
        return USAGE
    before_s, now_s = (before if before.tzinfo is not None else before.replace(tzinfo=UTC)).timestamp(), time.time()
    years = retention_years(arguments.run)
    if arguments.why is None and before_s > now_s - years * YEAR_S:
        text = f"--before {arguments.before}: contracts ask for {years:g} years of evidence; say --why it goes earlier"
        print(f"voltbench: {text}", file=sys.stderr)
        return USAGE
    live = [
        life
        for life in lives(read_entries(path))
        if life.subject == arguments.connection and not (life.over or life.to_s <= now_s or life.source in SEEN)
    ]
    kept_from_s = min((life.received_utc_ns / NS for life in live), default=before_s)
    if kept_from_s < before_s:
        raise JournalError(f"{path}: {live[0].order_id} of {arguments.connection} still holds: it cannot be forgotten")
    journal = Journal(path)
    gone = journal.redact(arguments.connection, round(before_s * NS), arguments.why or "retention ended")
    journal.close()
    print(f"{path}: {gone} entries of {arguments.connection} forgotten")
    return OK


def retention_years(given: str | None) -> float:
    """Return how long evidence is to be kept, by the contracts on call of a run's site where they say so; else two."""
    try:
        ports = [] if given is not None and Path(given).is_file() else find_site(given).contracts
    except RigError:
        ports = []
    said = [port.contract.get("terms", {}).get("evidence_years") for port in ports]
    return max((float(years) for years in said if years is not None), default=RETENTION_YEARS)


def show(found: list[OrderLife], *, as_json: bool) -> None:
    """Print a row an order: what it was, and when it was received, decided, sent, accepted and obeyed."""
    if as_json:
        print(json.dumps(plain([life.to_dict() for life in found])))
        return
    print(f"{'order':20} {'subject':14} {'limit':>11} {'received':23} {'decided':>8} {'sent':>8} {'accepted':>8} "
          f"{'obeyed':>8}  state")  # fmt: skip
    for life in found:
        kw = f"{life.value_w / 1e3:.1f} kW" if life.value_w == life.value_w else ""
        arrow = {"import": "<=", "export": ">="}.get(life.direction, "") if life.kind != "setpoint" else "="
        arrow = "withdraws" if life.kind == "withdraw" else arrow
        print(f"{life.source + ' ' + life.order_id:20} {life.subject:14} {arrow + ' ' + kw:>11} "
              f"{clock(life.received_utc_ns)} {_s(life.decided_s)} {_s(life.sent_s)} {_s(life.accepted_s)} "
              f"{_s(life.obeyed_s)}  {life.state}{': ' + life.why if life.why else ''}")  # fmt: skip


def clock(utc_ns: int) -> str:
    """Return a time as text, UTC with milliseconds."""
    return datetime.fromtimestamp(utc_ns / NS, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def _s(value: float) -> str:
    return f"{value:7.2f}s" if value == value else f"{'-':>8}"


def _short(body: dict[str, Any] | None) -> str:
    if body is None:
        return "(forgotten)"
    flat = body | body.pop("order", {}) if "order" in body else body
    skip = ("source", "order_id", "subject", "signature")
    return " ".join(f"{key}={value}" for key, value in flat.items() if key not in skip)
