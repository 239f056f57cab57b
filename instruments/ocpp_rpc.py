"""Carry OCPP-J calls both ways over one connection: one call of ours outstanding, schemas checked in both directions.

An answer that comes late, or to no call of ours, is counted and dropped. A call that comes twice with the same id is
answered twice with the same answer and handled once.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from ocpp.messages import get_validator

from instruments.faults import FaultKind, PortFault

CALL, RESULT, ERROR = 2, 3, 4
REMEMBERED = 32  # calls whose answers are kept for a repetition
NUMBERS = {"ocpp1.6": "1.6", "ocpp2.0.1": "2.0.1", "ocpp2.1": "2.1"}
DECIMAL = {(CALL, "SetChargingProfile"), (CALL, "RemoteStartTransaction"), (RESULT, "GetCompositeSchedule")}
Handler = Callable[[str, dict[str, Any]], dict[str, Any]]


class CallRefused(Exception):
    """Carry the code and text with which a call of the point is answered by a CALLERROR."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


def schema_fault(version: str, kind: int, action: str, payload: Any) -> str:
    """Return what breaks the schema of a call (2) or result (3), or an empty text; KeyError for an unknown action."""
    exact = version == "ocpp1.6" and (kind, action) in DECIMAL  # limits have one decimal, which binary floats have not
    number = Decimal if exact else float
    try:
        validator = get_validator(kind, action, NUMBERS[version], parse_float=number)
    except OSError as error:
        raise KeyError(action) from error
    seen = json.loads(json.dumps(payload), parse_float=Decimal) if exact else payload
    fault = next(validator.iter_errors(seen), None)
    return "" if fault is None else f"{'.'.join(map(str, fault.absolute_path)) or action}: {fault.message[:160]}"


class OcppRpc:
    """Own the messages of one connection of a charge point.

    Parameters
    ----------
    device: name of the charger, for faults
    version: subprotocol that was agreed, e.g. ``ocpp1.6``
    send: writes one text message
    handle: answers a call of the point; it may raise CallRefused
    timeout_s: longest wait for an answer, s
    """

    __slots__ = ("_answered", "_device", "_handle", "_lock", "_number", "_pending", "_send", "_timeout_s", "_wanted",
                 "dropped", "repeated", "version")  # fmt: skip

    def __init__(
        self,
        device: str,
        version: str,
        send: Callable[[str], Awaitable[None]],
        handle: Handler,
        timeout_s: float,
    ) -> None:
        self._device, self.version, self._send, self._handle = device, version, send, handle
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._number = 0
        self._wanted = ""
        self._pending: asyncio.Future[Any] | None = None
        self._answered: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self.dropped = 0  # messages that were no answer of a call of ours, or no message at all
        self.repeated = 0

    async def call(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Send one call and return the payload of its result.

        Errors: PortFault PROTOCOL (a schema is broken, by us or by the point), REJECTED (CALLERROR), TIMEOUT, CLOSED.
        """
        if broken := schema_fault(self.version, CALL, action, payload):
            raise PortFault(FaultKind.RANGE, self._device, action, f"not sent: {broken}")
        async with self._lock:
            self._number += 1
            self._wanted = f"vb-{self._number}"
            self._pending = asyncio.get_running_loop().create_future()
            try:
                await self._send(json.dumps([CALL, self._wanted, action, payload]))
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._pending
            except TimeoutError as error:
                detail = f"no answer within {self._timeout_s:g} s"
                raise PortFault(FaultKind.TIMEOUT, self._device, action, detail) from error
            finally:
                self._pending, self._wanted = None, ""
        if isinstance(answer, str):
            raise PortFault(FaultKind.REJECTED, self._device, action, answer)
        broken = schema_fault(self.version, RESULT, action, answer)
        if broken:
            raise PortFault(FaultKind.PROTOCOL, self._device, action, f"its answer breaks the schema at {broken}")
        return dict(answer)

    async def take(self, raw: str | bytes) -> None:
        """Take one received message: answer a call, or hand an answer to the call that waits for it."""
        try:
            message = json.loads(raw)
        except ValueError:
            message = None
        fits = isinstance(message, list) and len(message) >= 3 and isinstance(message[1], str)
        if fits and message[0] == CALL and len(message) == 4 and isinstance(message[2], str):
            await self._answer(str(raw), message)
        elif fits and message[0] in (RESULT, ERROR) and message[1] == self._wanted and self._pending is not None:
            if not self._pending.done():
                said = message[2] if message[0] == RESULT else " ".join(str(part) for part in message[2:4]).strip()
                self._pending.set_result(said)
        else:
            self.dropped += 1

    def close(self) -> None:
        """End a waiting call: the connection is gone."""
        if self._pending is not None and not self._pending.done():
            detail = "the connection ended before the answer"
            self._pending.set_exception(PortFault(FaultKind.CLOSED, self._device, "", detail))

    async def _answer(self, raw: str, message: list[Any]) -> None:
        _, unique_id, action, payload = message
        before = self._answered.get(unique_id)
        if before is not None and before[0] == raw:
            self.repeated += 1
            await self._send(before[1])
            return
        try:
            answer = [RESULT, unique_id, self._handled(action, payload)]
        except CallRefused as refused:
            answer = [ERROR, unique_id, refused.code, str(refused)[:255], {}]
        text = json.dumps(answer)
        self._answered[unique_id] = (raw, text)
        if len(self._answered) > REMEMBERED:
            self._answered.popitem(last=False)
        await self._send(text)

    def _handled(self, action: str, payload: Any) -> dict[str, Any]:
        try:
            broken = schema_fault(self.version, CALL, action, payload)
        except KeyError as error:
            raise CallRefused("NotImplemented", f"{action} is not known here") from error
        if broken:
            code = "FormationViolation" if self.version == "ocpp1.6" else "FormatViolation"
            raise CallRefused(code, broken)
        return self._handle(action, payload)
