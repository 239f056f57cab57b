"""Play energy guard, dimming contact and sender of envelopes of a rig in real time: over sockets, and by a file.

The plant's process does, so that they outlive the controller. A restart of the controllable system is not theirs to
do: in real time it is left out, and the log says so.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.runtime.handed_keys import GuardPort
from controller.runtime.site import Site
from hil.rig.assembler import Assembly
from hil.rig.energy_guard import acts_of
from hil.rig.envelope_sender import EnvelopeSender, sender_of, write_schedule
from hil.rig.guard_keys import GuardAct

ANSWER_S = 5.0
RETRY_S = 0.2


class LivePlayer:
    """Follow the scenario's clock and say what is due; `log` takes what happened, with scenario times."""

    __slots__ = ("_acts", "_assembly", "_clock_s", "_dimmed", "_log", "_sender", "_world")

    def __init__(self, assembly: Assembly, world: Any, clock_s: Callable[[], float]) -> None:
        self._assembly, self._world, self._clock_s = assembly, world, clock_s
        self._log: list[dict[str, Any]] = world.log
        part = assembly.rig.guard
        self._acts = [] if part is None else acts_of(part)
        self._dimmed = False
        self._sender = sender_of(assembly, self._log)

    async def run(self, site: Site) -> None:
        """Play until cancelled."""
        handed = site.handed
        if handed is None:
            return
        played = []
        if self._acts and handed.guards:
            played.append(self._guard(site, handed.guards[0]))
        if handed.dim is not None:
            played.append(self._contact(site.socket(handed.dim.socket)))
        if self._sender is not None:
            played.append(self._envelopes(self._sender, Path(site.run_dir)))
        await asyncio.gather(*played)

    async def _guard(self, site: Site, port: GuardPort) -> None:
        """Do the acts at their times, over one connection that is opened again where it was lost."""
        link: _Link | None = None
        path = site.socket(port.socket)
        use_case = "lpc" if port.contracts[0].limit.direction == "import" else "lpp"
        for at_s, act in self._acts:
            await asyncio.sleep(max(at_s - self._clock_s(), 0.0))
            if act.do == "restart":
                self._note("lpc_restart_left_out", at_s=at_s)
                continue
            while link is None:
                link = await _open(path)
            answer = await link.say(_message(act, use_case))
            if answer is None:  # the controllable system is gone: the next act finds it again, or not
                link = None
            elif act.do != "heartbeats":
                self._note("lpc_answer", use_case=use_case, what=act.do, value_w=act.value_w, ack=answer.get("ack"),
                           rule=answer.get("rule"), wanted=act.ack)  # fmt: skip
        await asyncio.Event().wait()  # it stays connected: a guard that leaves is another story

    async def _envelopes(self, sender: EnvelopeSender, run_dir: Path) -> None:
        """Write the schedules that are due."""
        while True:
            data = sender.due(self._clock_s())
            if data is not None:
                write_schedule(run_dir, data)
            await asyncio.sleep(RETRY_S / 2)

    async def _contact(self, path: Path) -> None:
        """Say `dim` whenever the world's contact moves, until it is answered."""
        link: _Link | None = None
        while True:
            await asyncio.sleep(RETRY_S)
            wanted = bool(self._world.dimmed)
            if wanted == self._dimmed:
                continue
            link = link or await _open(path)
            answer = await link.say({"type": "dim", "active": wanted, "for_s": None})
            if answer is not None and answer.get("ack"):
                self._dimmed = wanted
            elif answer is None:
                link = None

    def _note(self, event: str, **fields: Any) -> None:
        self._log.append({"t_s": self._clock_s(), "event": event} | fields)


class _Link:
    """Hold one connection to a local socket."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """Send a message and return the result to it; None where the link is lost. A heartbeat has none: {}."""
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
            while message["type"] != "heartbeat":
                line = await asyncio.wait_for(self._reader.readline(), ANSWER_S)
                if not line:
                    return None
                found: dict[str, Any] = json.loads(line)
                if found.get("type") == "result":
                    return found
        except (OSError, ValueError, TimeoutError):
            self._writer.close()
            return None
        return {}


async def _open(path: Path) -> _Link:
    """Return a connection, as soon as somebody listens."""
    while True:
        try:
            return _Link(*await asyncio.open_unix_connection(path))
        except OSError:
            await asyncio.sleep(RETRY_S)


def _message(act: GuardAct, use_case: str) -> dict[str, Any]:
    if act.do == "heartbeats":
        return {"type": "heartbeat"}
    return {"type": "write", "use_case": use_case, "what": act.do, "active": act.active, "value_w": act.value_w,
            "duration_s": act.duration_s}  # fmt: skip
