"""Play an S2 energy manager (CEM): it takes one resource, selects envelopes, and sends what a test tells it to.

Messages are made by hand, not by the library that the other end uses, so that an error of it is not mirrored here.
"""

import asyncio
import json
import uuid
from typing import Any

import websockets

QUANTITY = "ELECTRIC.POWER.3_PHASE_SYMMETRIC"


class CemTwin:
    """Serve on 127.0.0.1 at a free port; use it as an async context. `heard` keeps every message of the resource."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.news = asyncio.Condition()
        self._link: Any = None
        self._server: Any = None

    async def __aenter__(self) -> "CemTwin":
        """Begin to serve."""
        self._server = await websockets.serve(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Return the address."""
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return what was heard of one message type."""
        return [message for message in self.heard if message["message_type"] == kind]

    async def wait(self, kind: str, count: int = 1, timeout_s: float = 30.0) -> dict[str, Any]:
        """Wait until so many messages of a type were heard; return the last one."""
        async with asyncio.timeout(timeout_s), self.news:
            await self.news.wait_for(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    async def say(self, kind: str, **fields: Any) -> str:
        """Send a message; return its id."""
        name = str(uuid.uuid4())
        await self._link.send(json.dumps({"message_type": kind, "message_id": name} | fields))
        return name

    async def instruct(self, start: str, elements: list[tuple[int, float, float]], **fields: Any) -> str:
        """Send a PEBC instruction of (ms, lower W, upper W); return the instruction's id."""
        constraints = self.of("PEBC.PowerConstraints")[-1]["id"]
        parts = [{"duration": ms, "lower_limit": low, "upper_limit": high} for ms, low, high in elements]
        envelope = {"id": str(uuid.uuid4()), "commodity_quantity": QUANTITY, "power_envelope_elements": parts}
        told = {"id": str(uuid.uuid4()), "execution_time": start, "abnormal_condition": False}
        told |= {"power_constraints_id": constraints, "power_envelopes": [envelope]}
        await self.say("PEBC.Instruction", **(told | fields))
        return str((told | fields)["id"])

    async def drop(self) -> None:
        """End the link as a network does."""
        self._link.transport.abort()

    async def _serve(self, link: Any) -> None:
        self._link = link
        async for text in link:
            message = json.loads(text)
            if message["message_type"] == "Handshake":
                await self.say("Handshake", role="CEM", supported_protocol_versions=["0.0.2-beta"])
                await self.say("HandshakeResponse", selected_protocol_version=message["supported_protocol_versions"][0])
            elif message["message_type"] == "ResourceManagerDetails":
                await self.say("SelectControlType", control_type="POWER_ENVELOPE_BASED_CONTROL")
            async with self.news:
                self.heard.append(message)
                self.news.notify_all()
