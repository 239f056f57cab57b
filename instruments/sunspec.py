"""Find a SunSpec device's models and read and write their points by name, scale factors applied.

The device begins with `SunS` at 40000, 50000 or 0; a chain of models follows, each with its ID and length, up to ID
0xFFFF. A point that is not implemented is NaN. Models and points are those of `sunspec_points`.
"""

import math

from instruments.faults import FaultKind, PortFault
from instruments.modbus_link import exception_fault, split_address
from instruments.modbus_poller import Bus, Buses, refusal
from instruments.modbus_poller_frames import read_pdu, words_of, write_pdu
from instruments.sunspec_points import MODELS, Point

MARK = (0x5375, 0x6E53)  # SunS
BASES = (40000, 50000, 0)
END = 0xFFFF
MAX_READ = 125
MAX_MODELS = 64


class SunSpec:
    """Own the connection to one device. Use it from one task. `chain` maps a model to its address and registers.

    Parameters
    ----------
    name: in the rig file, for faults
    address: ``modbus+tcp://host:port``
    unit_id: of the device
    timeout_s: longest wait for an answer
    buses: shared connections; None: one of its own
    """

    __slots__ = ("_bus", "_laid", "_timeout_s", "_unit_id", "address", "chain", "name")

    def __init__(
        self, name: str, address: str, *, unit_id: int = 1, timeout_s: float = 1.0, buses: Buses | None = None
    ) -> None:
        self.name = name
        self.address = address
        self._unit_id = unit_id
        self._timeout_s = timeout_s
        place = split_address(name, address)
        self._bus = buses.at(*place) if buses else Bus(*place)
        self._bus.join(0.0)
        self.chain: dict[int, tuple[int, int]] = {}
        self._laid: dict[int, dict[str, Point]] = {}

    @property
    def connected(self) -> bool:
        """Return whether the connection stands as far as we know."""
        return self._bus.up

    async def open(self) -> list[int]:
        """Connect, find the mark, walk the chain; return the models in their order. WRONG_IDENTITY without the mark."""
        if why := await self._bus.open(self._timeout_s):
            raise refusal(self.name, self.address, why)
        at = await self._base() + 2
        self.chain, self._laid = {}, {}
        for _ in range(MAX_MODELS):
            (model,) = await self._words("chain", at, 1)
            if model == END:
                return list(self.chain)
            (length,) = await self._words("chain", at + 1, 1)
            self.chain.setdefault(model, (at, length + 2))
            at += length + 2
        raise PortFault(FaultKind.PROTOCOL, self.name, "chain", f"no end after {MAX_MODELS} models")

    async def read(self, model: int, *names: str) -> dict[str, float]:
        """Return numbers in their units by point, all of the model without a name; NaN where not implemented."""
        every, words = await self._whole(model)
        raws = {name: p.decode(words[p.offset : p.offset + p.count]) for name, p in every.items() if not p.is_text}
        values = {}
        for point in self._chosen(model, every, names):
            if point.is_text:
                continue
            power = raws.get(point.scale, math.nan) if point.scale else 0.0
            raw = raws[point.name]
            values[point.name] = raw * 10.0**power if power >= 0.0 else raw / 10.0**-power
        return values

    async def texts(self, model: int) -> dict[str, str]:
        """Return the texts of a model by point."""
        every, words = await self._whole(model)
        return {name: p.text(words[p.offset : p.offset + p.count]) for name, p in every.items() if p.is_text}

    async def write(self, model: int, name: str, value: float) -> None:
        """Write one point in its unit; RANGE where it is read-only, not finite, or does not fit: nothing is sent."""
        every = await self._points(model)
        (point,) = self._chosen(model, every, (name,))
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
        """Leave the connection; the last device on it ends it."""
        self._bus.leave()

    def _place(self, model: int) -> tuple[int, int]:
        """Return address and registers of a model that is known and there."""
        if model not in self.chain or model not in MODELS:
            has = ", ".join(str(m) for m in self.chain if m in MODELS) or "none"
            raise PortFault(FaultKind.RANGE, self.name, str(model), f"no such model; known and there: {has}")
        return self.chain[model]

    def _chosen(self, model: int, every: dict[str, Point], names: tuple[str, ...]) -> list[Point]:
        if missing := [name for name in names if name not in every]:
            raise PortFault(FaultKind.RANGE, self.name, missing[0], f"no such point of model {model} here")
        return [every[name] for name in names or every]

    async def _points(self, model: int) -> dict[str, Point]:
        """Return the points of a model as it is laid out here: the first read of it tells how often groups repeat."""
        if model not in self._laid:
            await self._whole(model)
        return self._laid[model]

    async def _whole(self, model: int) -> tuple[dict[str, Point], list[int]]:
        """Return the points and the words of a model; a point beyond the device's own length is left out."""
        at, size = self._place(model)
        words: list[int] = []
        while len(words) < size:
            words += await self._words(str(model), at + len(words), min(MAX_READ, size - len(words)))
        if model not in self._laid:
            told = [p for p in MODELS[model].counts if p.offset + p.count <= size]
            counts = {p.name: p.decode(words[p.offset : p.offset + p.count]) for p in told}
            if max(counts.values(), default=0.0) > size:  # more of them than registers: no device says that
                raise PortFault(FaultKind.PROTOCOL, self.name, str(model), f"repeats groups {counts}, of {size} words")
            points = MODELS[model].points(counts)
            self._laid[model] = {name: p for name, p in points.items() if p.offset + p.count <= size}
        return self._laid[model], words

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
