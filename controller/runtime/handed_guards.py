"""Listen to the energy guards of a site: a state machine behind a local socket each, journaled at every step.

What a write did is in the image that the scan reads before the guard has its answer. A process that begins anew begins
in Init, on the fail-safe side; only the fail-safe values outlive it (rule 044).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.runtime.events import Events
from controller.runtime.handed_keys import GuardPort
from controller.runtime.lpc_link import Listener, LocalSocket
from controller.runtime.lpc_system import USE_CASES, ControllableSystem, machine_settings
from controller.runtime.site import Site

SHADOW = "a run in shadow decides and journals, and limits nothing"
Keep = Callable[..., object]


class Guard:
    """Hold the machine of one node with its listener; `publish` writes the image, `keep` the journal."""

    __slots__ = ("_events", "_keep", "_node", "_publish", "_shadow", "listener", "system")

    def __init__(self, site: Site, port: GuardPort, events: Events, keep: Keep, publish: Callable[[], None]) -> None:
        uses = {use: contract for contract in port.contracts for use, way in USE_CASES.items()
                if way == contract.limit.direction}  # fmt: skip
        self._node, self._shadow = site.node_names[port.node], site.shadow
        self._events, self._keep, self._publish = events, keep, publish
        settings = {use: machine_settings(contract) for use, contract in uses.items()}
        store = site.journal().parent / f"guard-{quote(self._node, safe='')}.json"  # by name: an index may move
        self.system = ControllableSystem(port.node, settings, time.monotonic_ns(), store)
        sock = LocalSocket(site.socket(port.socket), lambda: self.system.connect(time.monotonic_ns()))
        beat_s = min(contract.heartbeat_s for contract in port.contracts)
        self.listener = Listener(self.system, sock, beat_s=beat_s, answered=self._answered, mute=site.shadow)
        for use in settings:
            told = {"use_case": use, "rule": "901", "before": "", "after": "INIT", "limit_w": self.system.limit_w(use)}
            keep("decided", source=use, subject=self._node, mono_ns=time.monotonic_ns(), **told)
            events.write("lpc", node=self._node, **told)

    def look(self) -> None:
        """Journal the transitions taken since the last call."""
        for taken in list(self.system.taken):
            change = taken.transition
            told = {"use_case": taken.use_case, "rule": change.rule, "before": change.before.name,
                    "after": change.after.name, "limit_w": taken.limit_w}  # fmt: skip
            self._keep("decided", source=taken.use_case, subject=self._node, mono_ns=taken.now_ns, **told)
            self._events.write("lpc", node=self._node, **told)
        self.system.taken.clear()

    def _answered(self, message: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
        """Publish what a write did, journal it, and return the answer: nothing is acknowledged before it holds."""
        self._publish()
        if self._shadow and answer["ack"]:
            answer = answer | {"ack": False, "why": SHADOW}
        use = message.get("use_case")
        known = use if isinstance(use, str) and use in USE_CASES else ""
        what = {key: message.get(key) for key in ("what", "value_w", "active", "duration_s")}
        said = {"ack": answer["ack"], "rule": answer.get("rule", ""), "why": answer["why"]}
        kind = "accepted" if answer["ack"] else "refused"
        now_ns = time.monotonic_ns()
        limit_w = self.system.limit_w(known)
        self._keep(kind, source=known or "guard", subject=self._node, mono_ns=now_ns, write=what, limit_w=limit_w,
                   **said)  # fmt: skip
        self._events.write("lpc_write", node=self._node, use_case=known, limit_w=limit_w, **what, **said)
        self.look()
        return answer


def check_socket(path: Path) -> str:
    """Return what is wrong with the path of a local socket; empty where nothing is."""
    size = len(str(path).encode())
    return f"{path}: {size} bytes; a local socket's path has at most 107: give a shorter one" if size > 107 else ""
