"""Emulate a SunSpec device: a chain of models with scale factors, set-points and curves that revert by themselves."""

import math
from collections.abc import Callable

from hil.twins.modbus_server import ExceptionCode, ModbusException, ModbusServer, NoAnswer
from instruments.sunspec import END, MARK
from instruments.sunspec_points import HEAD, MODELS, Point

# model 704: what each enable starts and its timer takes back; WSet and WSetPct share both
CONTROLS = {"WMaxLimPct": ("WMaxLimPct",), "WSet": ("WSet", "WSetPct"), "VarSet": ("VarSet", "VarSetPct"),
            "PFWInj": ("PFWInj.PF", "PFWInj.Ext"), "PFWAbs": ("PFWAbs.PF", "PFWAbs.Ext")}  # fmt: skip
COMPLETED, FAILED = 1.0, 2.0  # AdptCrvRslt


class SunSpecTwin:
    """Serve one device; `server` is its Modbus TCP server.

    Parameters
    ----------
    models: model number to its points in their units, scale factors (``W_SF``) as powers of ten, counts of groups
        (``NCrv``); the chain's order. A point that is missing is not implemented
    clock_s: clock of the revert timers, s
    """

    __slots__ = ("_at", "_base", "_clock_s", "_points", "_until_s", "_words", "powered", "server", "unit_id")

    def __init__(
        self,
        models: dict[int, dict[str, float]],
        clock_s: Callable[[], float],
        *,
        base: int = 40000,
        unit_id: int = 1,
    ) -> None:
        self.unit_id = unit_id
        self.powered = True
        self._clock_s = clock_s
        self._base = base
        self._at: dict[int, int] = {}
        self._points: dict[int, dict[str, Point]] = {}
        self._until_s: dict[tuple[int, str], float] = {}  # running timers, by model and control
        self._words = list(MARK)
        for model, values in models.items():
            size = MODELS[model].registers(values)
            self._at[model], self._points[model] = len(self._words), MODELS[model].points(values)
            self._words += [model, size - HEAD] + [0] * (size - HEAD)
            for point in self._points[model].values():
                scale = values.get(point.scale, 0.0) if point.scale else 0.0
                self._put(model, point, values.get(point.name, math.nan) / 10.0**scale)
        self._words += [END, 0]
        self.server = ModbusServer(self.handle, admit=self.admit)

    def value(self, model: int, name: str) -> float:
        """Return a point's raw number now; NaN where it is not implemented."""
        self._revert()
        return self._raw(model, name)

    def show(self, model: int, values: dict[str, float]) -> None:
        """Let points show values in their units, at the device's own scale factors; NaN is not implemented."""
        for name, value in values.items():
            point = self._points[model][name]
            power = self._raw(model, point.scale) if point.scale else 0.0
            self._put(model, point, value / 10.0**power)

    def unscaled(self, model: int, name: str) -> float:
        """Return a point's value now in its unit; NaN where it or its scale factor is not implemented."""
        scale = self._points[model][name].scale
        return self.value(model, name) * (10.0 ** self._raw(model, scale) if scale else 1.0)

    def handle(self, unit_id: int, function: int, address: int, count: int, values: list[int] | None) -> list[int]:
        """Answer functions 3, 6 and 16: exception 2 outside the chain, and for a write of anything but whole points."""
        self.admit(unit_id, function)
        first = address - self._base
        if not 0 <= first < first + count <= len(self._words):
            raise ModbusException(ExceptionCode.ADDRESS)
        self._revert()
        if values is None:
            return self._words[first : first + count]
        written = self._written(first, count)
        self._words[first : first + count] = values
        for model, name in written:
            self._obey(model, name)
        return []

    def admit(self, unit_id: int, function: int) -> None:
        """Refuse what is not for this device or is no function of its own, whatever else the request says."""
        if unit_id != self.unit_id or not self.powered:
            raise NoAnswer
        if function not in (3, 6, 16):
            raise ModbusException(ExceptionCode.FUNCTION)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen and return the port."""
        return await self.server.start(host, port)

    async def stop(self) -> None:
        """End all connections."""
        await self.server.stop()

    def _raw(self, model: int, name: str) -> float:
        point = self._points[model][name]
        at = self._at[model] + point.offset
        return point.decode(self._words[at : at + point.count])

    def _put(self, model: int, point: Point, raw: float) -> None:
        at = self._at[model] + point.offset
        self._words[at : at + point.count] = point.encode(raw)

    def _set(self, model: int, name: str, raw: float) -> None:
        if name in self._points[model]:
            self._put(model, self._points[model][name], raw)

    def _written(self, first: int, count: int) -> list[tuple[int, str]]:
        names, left = [], set(range(first, first + count))
        for model, at in self._at.items():
            for point in self._points[model].values():
                own = set(range(at + point.offset, at + point.offset + point.count))
                if "w" in point.access and own <= left and not self._read_only(model, point.name):
                    left -= own
                    names.append((model, point.name))
        if left:
            raise ModbusException(ExceptionCode.ADDRESS)
        return names

    def _read_only(self, model: int, name: str) -> bool:
        """Return whether a point lies in a curve that the device marks as read-only."""
        curve, dot, _ = name.partition(".")
        return bool(dot) and curve.startswith("Crv[") and self._raw(model, f"{curve}.ReadOnly") == 1.0

    def _obey(self, model: int, name: str) -> None:
        """Do what a write asks for: start a control's timer anew, or adopt a curve."""
        if model == 704:
            for control, names in CONTROLS.items():
                if name in (*names, f"{control}Ena", f"{control}RvrtTms"):
                    self._start(model, control)
        elif name == "AdptCrvReq":
            adopted = self._adopt(model, self._raw(model, name))
            self._set(model, "AdptCrvRslt", COMPLETED if adopted else FAILED)
        if model != 704 and name in ("AdptCrvReq", "Ena", "RvrtTms") and "RvrtTms" in self._points[model]:
            self._start(model, "")

    def _adopt(self, model: int, number: float) -> bool:
        """Copy a curve over the first one, which is in force; False where there is no such curve."""
        source = f"Crv[{number:.0f}]."
        wanted = [p for p in self._points[model].values() if p.name.startswith(source)] if number >= 2.0 else []
        for point in wanted:
            if not point.name.endswith(".ReadOnly"):
                self._set(model, "Crv[1]." + point.name.removeprefix(source), self._raw(model, point.name))
        return bool(wanted)

    def _start(self, model: int, control: str) -> None:
        for_s = self._raw(model, f"{control}RvrtTms")
        runs = self._raw(model, f"{control}Ena") == 1.0 and for_s > 0.0  # false on NaN
        self._until_s.pop((model, control), None)
        if runs:
            self._until_s[model, control] = self._clock_s() + for_s
        self._set(model, f"{control}RvrtRem", for_s if runs else 0.0)

    def _revert(self) -> None:
        for (model, control), until_s in list(self._until_s.items()):
            left_s = until_s - self._clock_s()
            self._set(model, f"{control}RvrtRem", max(0.0, math.ceil(left_s)))
            if left_s > 0.0:
                continue
            del self._until_s[model, control]
            if model != 704:
                self._adopt(model, self._raw(model, "RvrtCrv"))
                continue
            for name in CONTROLS[control]:
                parent, dot, leaf = name.partition(".")
                self._set(model, name, self._raw(model, f"{parent}Rvrt{dot}{leaf}"))
            self._set(model, f"{control}Ena", self._raw(model, f"{control}EnaRvrt"))
