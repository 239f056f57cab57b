"""Find a SunSpec device's models and read and write their points by name, scale factors applied.

The device begins with `SunS` at 40000, 50000 or 0; a chain of models follows, each with its ID and length, up to ID
0xFFFF. A point that is not implemented is NaN. The points that are known stand in `sunspec_models`.
"""

import math
import struct
from dataclasses import dataclass

from instruments.faults import FaultKind, PortFault
from instruments.modbus_link import exception_fault, split_address
from instruments.modbus_poller import Bus, refusal
from instruments.modbus_poller_frames import read_pdu, words_of, write_pdu
from instruments.sunspec_models import POINTS

MARK = (0x5375, 0x6E53)  # SunS
BASES = (40000, 50000, 0)
END = 0xFFFF
MAX_READ = 125
MAX_MODELS = 64
FORMATS = {"int16": ">h", "uint16": ">H", "enum16": ">H", "sunssf": ">h", "int32": ">i", "uint32": ">I", "acc32": ">I",
           "bitfield32": ">I", "uint64": ">Q"}  # fmt: skip
UNKNOWN = {"int16": -0x8000, "uint16": 0xFFFF, "enum16": 0xFFFF, "sunssf": -0x8000, "int32": -0x80000000,
           "uint32": 0xFFFFFFFF, "acc32": 0, "bitfield32": 0xFFFFFFFF, "uint64": 0xFFFFFFFFFFFFFFFF}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """Describe one point of a model; `offset` counts from the model's ID register."""

    name: str
    offset: int
    type: str
    scale: str
    access: str

    @property
    def count(self) -> int:
        """Return how many registers the point takes."""
        return struct.calcsize(FORMATS[self.type]) // 2

    def decode(self, words: list[int]) -> float:
        """Return the raw number; NaN where the point is not implemented."""
        (raw,) = struct.unpack(FORMATS[self.type], struct.pack(f">{len(words)}H", *words))
        return math.nan if raw == UNKNOWN[self.type] else float(raw)

    def encode(self, raw: float) -> list[int]:
        """Return the words of a raw number, NaN as not implemented; ValueError where it does not fit the type."""
        number = UNKNOWN[self.type] if math.isnan(raw) else round(raw)
        try:
            packed = struct.pack(FORMATS[self.type], number)
        except struct.error as error:
            raise ValueError(f"{self.name}: {number} does not fit a {self.type}") from error
        return list(struct.unpack(f">{self.count}H", packed))


def _points(text: str) -> dict[str, Point]:
    rows = (line.split() for line in text.split("\n") if line)
    return {row[0]: Point(row[0], int(row[1]), row[2], row[3].strip("-"), row[4]) for row in rows}


MODELS: dict[int, dict[str, Point]] = {model: _points(text) for model, text in POINTS.items()}


class SunSpec:
    """Own the connection to one device. Use it from one task. `chain` maps a model to its address and registers.

    Parameters
    ----------
    name: in the rig file, for faults
    address: ``modbus+tcp://host:port``
    unit_id: of the device
    timeout_s: longest wait for an answer
    """

    __slots__ = ("_bus", "_timeout_s", "_unit_id", "address", "chain", "name")

    def __init__(self, name: str, address: str, *, unit_id: int = 1, timeout_s: float = 1.0) -> None:
        self.name = name
        self.address = address
        self._unit_id = unit_id
        self._timeout_s = timeout_s
        self._bus = Bus(*split_address(name, address))
        self.chain: dict[int, tuple[int, int]] = {}

    async def open(self) -> list[int]:
        """Connect, find the mark, walk the chain; return the models in their order. WRONG_IDENTITY without the mark."""
        if why := await self._bus.open(self._timeout_s):
            raise refusal(self.name, self.address, why)
        at = await self._base() + 2
        self.chain = {}
        for _ in range(MAX_MODELS):
            (model,) = await self._words("chain", at, 1)
            if model == END:
                return list(self.chain)
            (length,) = await self._words("chain", at + 1, 1)
            self.chain.setdefault(model, (at, length + 2))
            at += length + 2
        raise PortFault(FaultKind.PROTOCOL, self.name, "chain", f"no end after {MAX_MODELS} models")

    async def read(self, model: int, *names: str) -> dict[str, float]:
        """Return points in their units by name, all of the model without a name; NaN where not implemented."""
        points = self._known(model, names)
        at, size = self.chain[model]
        words: list[int] = []
        while len(words) < size:
            words += await self._words(str(model), at + len(words), min(MAX_READ, size - len(words)))
        every = MODELS[model]
        raws = {
            name: p.decode(words[p.offset : p.offset + p.count])
            for name, p in every.items()
            if p.offset + p.count <= size
        }
        values = {}
        for point in points:
            power = raws.get(point.scale, math.nan) if point.scale else 0.0
            raw = raws.get(point.name, math.nan)
            values[point.name] = raw * 10.0**power if power >= 0.0 else raw / 10.0**-power
        return values

    async def write(self, model: int, name: str, value: float) -> None:
        """Write one point in its unit; RANGE where it is read-only, not finite, or does not fit: nothing is sent."""
        (point,) = self._known(model, (name,))
        if "w" not in point.access or not math.isfinite(value):
            raise PortFault(FaultKind.RANGE, self.name, name, f"{value:g} cannot be written; access {point.access}")
        power = (await self.read(model, point.scale))[point.scale] if point.scale else 0.0
        if math.isnan(power):
            raise PortFault(FaultKind.RANGE, self.name, name, f"its scale factor {point.scale} is not implemented")
        try:
            words = point.encode(value / 10.0**power)
        except ValueError as error:
            raise PortFault(FaultKind.RANGE, self.name, name, str(error)) from error
        pdu = write_pdu(16, self.chain[model][0] + point.offset, words)
        if (answer := await self._ask(name, pdu)) != pdu[:5]:
            raise PortFault(FaultKind.PROTOCOL, self.name, name, f"acknowledged {answer.hex(' ')}, not what was asked")

    def close(self) -> None:
        """End the connection."""
        self._bus.close()

    def _known(self, model: int, names: tuple[str, ...]) -> list[Point]:
        if model not in self.chain or model not in MODELS:
            has = ", ".join(str(m) for m in self.chain if m in MODELS) or "none"
            raise PortFault(FaultKind.RANGE, self.name, str(model), f"no such model; known and there: {has}")
        if missing := [name for name in names if name not in MODELS[model]]:
            raise PortFault(FaultKind.RANGE, self.name, missing[0], f"no such point of model {model}")
        return [MODELS[model][name] for name in names or MODELS[model]]

    async def _base(self) -> int:
        for base in BASES:
            try:
                if tuple(await self._words("SunS", base, 2)) == MARK:
                    return base
            except PortFault as fault:
                if fault.kind is not FaultKind.REJECTED:
                    raise
        detail = f"{self.address} has no SunS at {', '.join(map(str, BASES))}"
        raise PortFault(FaultKind.WRONG_IDENTITY, self.name, "SunS", detail)

    async def _words(self, channel: str, address: int, count: int) -> list[int]:
        answer = await self._ask(channel, read_pdu(3, address, count))
        if len(answer) != 2 + 2 * count:
            raise PortFault(FaultKind.PROTOCOL, self.name, channel, f"{len(answer) - 2} bytes, {2 * count} asked for")
        return list(words_of(answer[2:]))

    async def _ask(self, channel: str, pdu: bytes) -> bytes:
        try:
            answer = await self._bus.ask(self._unit_id, pdu, self._timeout_s)
        except TimeoutError as error:
            raise PortFault(FaultKind.TIMEOUT, self.name, channel, f"no answer within {self._timeout_s:g} s") from error
        except ConnectionError as error:
            raise PortFault(FaultKind.CLOSED, self.name, channel, f"{self.address}: {error}") from error
        if answer[0] & 0x80:
            raise exception_fault(self.name, channel, answer[1] if len(answer) > 1 else 0)
        return answer
