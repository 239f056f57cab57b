"""Play a sender of operating envelopes: which schedule goes out when, as the bytes of the file that it would write."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.runtime.envelope import Envelopes
from controller.runtime.envelope_file import parse_schedule
from hil.rig.assembler import Assembly
from hil.rig.contracts import ContractPart
from hil.rig.envelope_keys import EnvelopePart
from hil.rig.schema import Rig
from profiles.contract import load_contract
from profiles.contract_doe import OperatingEnvelope

FILE = "envelopes.json"  # in the run folder, in real time


def played_contract(rig: Rig) -> tuple[ContractPart, OperatingEnvelope] | None:
    """Return the contract whose sender the rig plays; None where it plays none, or has no such contract."""
    for part in rig.contract if rig.envelope is not None else ():
        contract = load_contract(part.file)
        if isinstance(contract, OperatingEnvelope) and not part.envelope:
            return part, contract
    return None


class EnvelopeSender:
    """Say what goes out; `log` takes it down with scenario times. The clock is handed in."""

    __slots__ = ("_log", "_node", "_part", "_sent", "_start_utc_s")

    def __init__(self, part: EnvelopePart, node: str, start_utc_s: float, log: list[dict[str, Any]]) -> None:
        self._part, self._node, self._start_utc_s, self._log = part, node, start_utc_s, log
        self._sent: int | None = None

    def due(self, t_s: float) -> bytes | None:
        """Return the schedule that goes out at scenario time `t_s`; None where none is due."""
        part = self._part
        number = math.floor(t_s / part.every_s + 1e-9)
        at_s = number * part.every_s
        if number == self._sent or any(each.from_s <= at_s < each.until_s for each in part.silent):
            return None
        self._sent = number
        rows = []
        for k in range(number, number + part.ahead):
            watts = part.import_w[min(max(k, 0), len(part.import_w) - 1)]
            rows.append((k * part.every_s, (k + 1) * part.every_s, watts))
        self._log.append({"t_s": t_s, "event": "envelope", "node": self._node, "intervals": rows})
        told = [
            {"node": self._node, "from": self._iso(from_s), "to": self._iso(to_s), "import_w": watts}
            for from_s, to_s, watts in rows
        ]
        return json.dumps({"issued": self._iso(t_s), "intervals": told}).encode()

    def _iso(self, t_s: float) -> str:
        return datetime.fromtimestamp(self._start_utc_s + t_s, UTC).isoformat()


def sender_of(assembly: Assembly, log: list[dict[str, Any]]) -> EnvelopeSender | None:
    """Return the sender that a rig plays; None where it plays none."""
    found = played_contract(assembly.rig)
    if found is None or assembly.rig.envelope is None:
        return None
    return EnvelopeSender(assembly.rig.envelope, found[0].nodes[0], assembly.start_utc_s, log)


class PlayedEnvelopes:
    """Hold sender and listener in virtual time."""

    __slots__ = ("_envelopes", "_sender", "_start_utc_s")

    def __init__(self, sender: EnvelopeSender, assembly: Assembly) -> None:
        found = played_contract(assembly.rig)
        assert found is not None  # there is a sender
        part, contract = found
        nodes = {name: assembly.nodes.index(name) for name in part.nodes}
        self._envelopes = Envelopes(contract, nodes, assembly.plan().node_obey_s)
        self._sender, self._start_utc_s = sender, assembly.start_utc_s

    def play(self, t_s: float, now_ns: int, inp: Any) -> None:
        """Send and read what is due, and hand the limits in force to INPUT."""
        data = self._sender.due(t_s)
        if data is not None:
            self._envelopes.take(parse_schedule(data, FILE, as_csv=False), now_ns)
        self._envelopes.fill(inp, self._start_utc_s + t_s)


def write_schedule(run_dir: Path, data: bytes) -> None:
    """Put a schedule into the run folder, in the place of the one before it."""
    half = run_dir / f".{FILE}"
    half.write_bytes(data)
    half.replace(run_dir / FILE)
