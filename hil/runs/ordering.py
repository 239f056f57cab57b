"""Send an order to a running controller from the command line and print its answer."""

import argparse
import json
import math
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from controller.runtime.clock import NS, SiteClock
from controller.runtime.journal import JournalError, read_entries
from controller.runtime.journal_orders import lives
from controller.runtime.order import Answer, Order
from controller.runtime.order_intake import Intake, IntakeError
from controller.runtime.order_keys import KeyFileError, load_key
from controller.runtime.site import Site, read_site
from hil.rig.references import Problem
from hil.rig.rigfile import RigError
from hil.rig.store_dir import SITE
from hil.runs.exits import DEVICE, FAILED, OK, USAGE
from hil.runs.folder import RUNS
from hil.runs.ordering_arguments import when_s
from hil.runs.ordering_schedule import bring, read_schedule


def send(arguments: argparse.Namespace) -> int:
    """Offer the order that the arguments say; return 0 accepted, 1 refused, 2 bad arguments, 3 not acknowledged."""
    site = find_site(arguments.run)
    if arguments.schedule is not None:
        return send_schedule(arguments, site)
    try:
        order = build_order(arguments, site)
        if arguments.key is not None:
            order = load_key(Path(arguments.key)).sign(order)
    except (ValueError, KeyFileError) as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return USAGE
    try:
        intake = Intake(site)
        answer = intake.offer(order)
        intake.close()
    except (IntakeError, OSError) as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return DEVICE
    tell(order, answer, as_json=arguments.json)
    return code_of(answer)


def code_of(answer: Answer) -> int:
    """Return the exit code that stands for an answer."""
    return OK if answer.accepted else DEVICE if answer.obeyed or "cannot be kept" in answer.why else FAILED


def send_schedule(arguments: argparse.Namespace, site: Site) -> int:
    """Bring the book to a schedule file, row by row; return the worst of the answers' codes, as `send`."""
    path = Path(arguments.schedule)
    name, now_s = arguments.order_id or path.stem, SiteClock(site.utc_minus_mono_ns).utc_ns() / NS
    told = [f"--{key}" for key in ("node", "charger", "contract", "for_s") if getattr(arguments, key) is not None]
    sequence = time.time_ns() // 1_000_000 if arguments.sequence is None else arguments.sequence
    try:
        if told or arguments.export or arguments.from_text != "now":
            raise ValueError("--schedule: the file says place, direction and times; leave the other options out")
        key = None if arguments.key is None else load_key(Path(arguments.key))
        orders = read_schedule(path, site, name, arguments.source, now_s)
    except (ValueError, KeyFileError) as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return USAGE

    def offer(order: Order) -> Answer:
        numbered = replace(order, sequence=sequence)
        return intake.offer(numbered if key is None else key.sign(numbered))

    try:
        intake = Intake(site)
        known = lives(read_entries(site.journal()))
        answers = bring(orders, name, arguments.source, known, offer, lambda o, a: tell(o, a, as_json=arguments.json))
        intake.close()
    except (IntakeError, JournalError, OSError) as error:
        print(f"voltbench: {error}", file=sys.stderr)
        return DEVICE
    if not answers and not arguments.json:
        print(f"{name} of {arguments.source}: nothing new; {len(orders)} rows hold or will")
    return max((code_of(answer) for answer in answers), default=OK)


def build_order(arguments: argparse.Namespace, site: Site) -> Order:
    """Return the order that the arguments say; a ValueError says what is missing or wrong."""
    now_s = SiteClock(site.utc_minus_mono_ns).utc_ns() / NS
    sequence = time.time_ns() // 1_000_000 if arguments.sequence is None else arguments.sequence
    if arguments.withdraw is not None:
        return Order(arguments.source, arguments.withdraw, sequence, "withdraw")
    cap = arguments.limit_w is not None
    subject, export = arguments.node if cap else arguments.charger, arguments.export
    if arguments.contract is not None:
        subject, export = _called_on(arguments, site)
    if subject is None:
        place, names = ("--node", site.node_names) if cap else ("--charger", site.charger_names)
        raise ValueError(f"{place} is missing: say which; there are {', '.join(names)}")
    from_s = when_s(arguments.from_text, now_s, site.timezone)
    begin_s = now_s if math.isnan(from_s) else from_s
    return Order(
        source=arguments.source,
        order_id=arguments.order_id or f"cli-{secrets.token_hex(4)}",
        sequence=sequence,
        kind="cap" if cap else "setpoint",
        subject=subject,
        direction="export" if export else "import",
        value_w=arguments.limit_w if cap else arguments.setpoint_w,
        from_s=from_s,
        to_s=math.nan if arguments.for_s is None else begin_s + arguments.for_s,
    )


def _called_on(arguments: argparse.Namespace, site: Site) -> tuple[str, bool]:
    """Return the contract that is called on, and whether it limits export; a ValueError says what does not fit."""
    contracts = {port.contract["name"]: port.contract for port in site.contracts}
    name = arguments.contract
    if arguments.node or arguments.charger or arguments.export:
        raise ValueError(
            "--contract with --node, --charger or --export: the contract says where it binds, and which way"
        )
    if name not in contracts:
        known = ", ".join(contracts) or "none"
        raise ValueError(f"--contract {name}: no contract on call of {site.name}; it has {known}")
    steers = contracts[name]["kind"].startswith("steering")
    if steers != (arguments.limit_w is None):
        raise ValueError(f"--contract {name}: it takes {'--setpoint' if steers else '--limit'}")
    return name, contracts[name]["limit"]["direction"] == "export"


def tell(order: Order, answer: Answer, *, as_json: bool) -> None:
    """Print the answer: one line, or a JSON object."""
    state = "accepted" if answer.accepted else "obeyed, not acknowledged" if answer.obeyed else "refused"
    if as_json:
        facts = {"source": order.source, "order_id": order.order_id, "sequence": order.sequence, "state": state}
        print(json.dumps(facts | {"accepted": answer.accepted, "obeyed": answer.obeyed, "why": answer.why}))
    else:
        print(f"{order.order_id} of {order.source}: {state}{': ' + answer.why if answer.why else ''}")


def find_site(given: str | None) -> Site:
    """Return the site of a run folder, of the newest run of a rig or site by name, or of the newest run at all."""
    if given is not None and (Path(given) / SITE).is_file():
        return read_site(Path(given) / SITE)
    name = None if given is None else Path(given).stem if given.endswith(".toml") else given
    for site in _newest_first():
        if name is None or site.name == name:
            return site
    what = (
        "no run in real time" if given is None else f"neither a run folder nor the name of a rig or site below {RUNS}/"
    )
    raise RigError([Problem("RUN", given or "", what)])


def _newest_first() -> Iterator[Site]:
    for path in sorted(RUNS.glob(f"*/{SITE}"), key=lambda found: found.stat().st_mtime, reverse=True):
        yield read_site(path)
