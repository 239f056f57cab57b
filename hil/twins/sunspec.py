"""Emulate a SunSpec device: a chain of models with scale factors, and model 704's limit that reverts by itself."""

import math
from collections.abc import Callable

from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer, NoAnswer
from instruments.sunspec import END, MARK, MODELS
from instruments.sunspec_models import REGISTERS

LIMIT = "WMaxLimPct"
STARTS = (LIMIT, f"{LIMIT}Ena", f"{LIMIT}RvrtTms")  # a write of one of these starts the timer anew


class SunSpecTwin:
    """Serve one device; `server` is its Modbus TCP server.

    Parameters
    ----------
    models: model number to its points in their units, scale factors (``W_SF``) as powers of ten; the chain's order. A
        point that is missing is not implemented
    clock_s: clock of the revert timer, s
    """

    __slots__ = ("_at", "_base", "_clock_s", "_end", "_until_s", "_words", "server", "unit_id")

    def __init__(
        self,
        models: dict[int, dict[str, float]],
        clock_s: Callable[[], float],
        *,
        base: int = 40000,
        unit_id: int = 1,
    ) -> None:
        self.unit_id = unit_id
        self._clock_s = clock_s
        self._base = base
        self._at: dict[int, int] = {}
        self._until_s = math.inf
        self._words = list(MARK)
        for model, values in models.items():
            self._at[model] = len(self._words)
            self._words += [model, REGISTERS[model] - 2] + [0] * (REGISTERS[model] - 2)
            for name in MODELS[model]:
                self._put(model, name, self._raw(model, name, values))
        self._words += [END, 0]
        self.server = ModbusServer(self.handle)

    def value(self, model: int, name: str) -> float:
        """Return a point's raw number now; NaN where it is not implemented."""
        self._revert()
        point = MODELS[model][name]
        at = self._at[model] + point.offset
        return point.decode(self._words[at : at + point.count])

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Answer functions 3, 6 and 16: exception 2 outside the chain, and for a write of anything but whole points."""
        if unit_id != self.unit_id:
            raise NoAnswer
        if function not in (3, 6, 16):
            raise ModbusException(ExceptionCode.FUNCTION)
        first = address - self._base
        if not 0 <= first < first + count <= len(self._words):
            raise ModbusException(ExceptionCode.ADDRESS)
        self._revert()
        if values is None:
            return self._words[first : first + count]
        names = self._written(first, count)
        self._words[first : first + count] = values
        if any(name in STARTS for name in names):
            self._start()
        return []

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections."""
        await self.server.stop()

    def _raw(self, model: int, name: str, values: dict[str, float]) -> float:
        scale = MODELS[model][name].scale
        return values.get(name, math.nan) / 10.0 ** values.get(scale, 0.0) if scale else values.get(name, math.nan)

    def _put(self, model: int, name: str, raw: float) -> None:
        point = MODELS[model][name]
        at = self._at[model] + point.offset
        self._words[at : at + point.count] = point.encode(raw)

    def _written(self, first: int, count: int) -> list[str]:
        names, left = [], set(range(first, first + count))
        for model, at in self._at.items():
            for point in MODELS[model].values():
                own = set(range(at + point.offset, at + point.offset + point.count))
                if "w" in point.access and own <= left:
                    left -= own
                    names.append(point.name)
        if left:
            raise ModbusException(ExceptionCode.ADDRESS)
        return names

    def _start(self) -> None:
        for_s = self.value(704, f"{LIMIT}RvrtTms")
        runs = self.value(704, f"{LIMIT}Ena") == 1.0 and for_s > 0.0
        self._until_s = self._clock_s() + for_s if runs else math.inf
        self._put(704, f"{LIMIT}RvrtRem", for_s if runs else 0.0)

    def _revert(self) -> None:
        if math.isinf(self._until_s):
            return
        left_s = self._until_s - self._clock_s()
        self._put(704, f"{LIMIT}RvrtRem", max(0.0, math.ceil(left_s)))
        if left_s <= 0.0:
            self._until_s = math.inf
            self._put(704, LIMIT, self.value(704, f"{LIMIT}Rvrt"))
            self._put(704, f"{LIMIT}Ena", self.value(704, f"{LIMIT}EnaRvrt"))
