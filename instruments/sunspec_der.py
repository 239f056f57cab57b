"""Command a SunSpec DER by model 704: a limit or a set-point that the device takes back unless it is renewed.

The device's own reversion timer is the fail-safe: it is programmed before the first order and every order goes out
again at a third of its time. Signs: the DER counts generation as positive; here, as everywhere, + flows from the grid
into the device, so that a set-point of -5 kW generates and `export_w` limits what is generated.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from instruments.catalog import CatalogError, Model, sunspec_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_poller import Buses
from instruments.sunspec import SunSpec

MEASURED, CAPACITY, CONTROLS = 701, 702, 704
LIMIT, SET = "WMaxLimPct", "WSet"
WATTS = 1.0  # WSetMod
RENEWALS = 3  # orders go out so often within the reversion time
FAULTY_S = 1.0
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class DerOrder:
    """Hold what a DER is to do: the most that it may generate (W from 0; +inf no limit), and W to take (NaN free)."""

    export_w: float = math.inf
    set_w: float = math.nan


@dataclass(slots=True)
class DerReading:
    """Hold what a DER says: W into the device (+ from the grid), Hz, Wh of both directions; what holds until when.

    `export_w` and `set_w` are what it applies now (+inf, NaN: nothing); `revert_s` until the sooner reversion of those
    in force. `change_ns` is when the first request of the set was sent, 0 never. `reverted` counts orders that the
    device had taken back before we renewed them.
    """

    power_w: float = math.nan
    frequency_hz: float = math.nan
    imported_wh: float = math.nan
    exported_wh: float = math.nan
    export_w: float = math.inf
    set_w: float = math.nan
    revert_s: float = math.nan
    change_ns: int = 0
    link: bool = False
    errors: int = 0
    fault: str = ""
    reverted: int = 0


class SunSpecDer:
    """Own one DER. Use it from one task. `w_max` is its setting WMax, to which percentages refer, after `open`.

    Parameters
    ----------
    name: in the site file, for faults
    model: its catalog record, role der; `Model.at` sets the unit id
    address: ``modbus+tcp://host:port``
    clock_ns: monotonic clock, ns
    revert_s: after so long without renewal the device takes an order back
    revert_export_w: what it may generate then, W; a set-point is given up then
    buses: shared connections; None: one of its own
    """

    __slots__ = ("_clock_ns", "_device", "_order", "_part", "_revert_export_w", "_revert_s", "_sent_ns", "name",
                 "reading", "w_max")  # fmt: skip

    def __init__(
        self,
        name: str,
        model: Model,
        address: str,
        *,
        clock_ns: Callable[[], int],
        revert_s: float = 60.0,
        revert_export_w: float = 0.0,
        buses: Buses | None = None,
    ) -> None:
        if model.model.role != "der":
            raise CatalogError(f"{model.model.name}: has the role {model.model.role}; a der is needed")
        if not (3.0 <= revert_s <= 86400.0 and revert_export_w >= 0.0):
            detail = f"{revert_s:g} s, {revert_export_w:g} W; allowed: 3 s to a day, 0 W or more"
            raise PortFault(FaultKind.RANGE, name, "revert", detail)
        self.name = name
        self._part = sunspec_of(model)
        self._clock_ns = clock_ns
        self._revert_s = float(math.floor(revert_s))
        self._revert_export_w = revert_export_w
        self._order = DerOrder()
        self._sent_ns = 0
        self._device = SunSpec(name, address, unit_id=self._part.unit_id, timeout_s=self._part.timeout_s, buses=buses)
        self.w_max = math.nan
        self.reading = DerReading()

    async def open(self) -> str:
        """Connect, find the models, learn the setting WMax; return one line on what answered.

        Errors: PortFault of the link, WRONG_IDENTITY where a model or the rating is missing.
        """
        chain = await self._device.open()
        missing = [number for number in self._part.all_of if number not in chain]
        if missing:
            detail = f"has no model {', '.join(map(str, missing))}; it has {', '.join(map(str, chain)) or 'none'}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, "chain", detail)
        capacity = await self._device.read(CAPACITY, "WMax", "WMaxRtg")
        self.w_max = capacity["WMax"] if capacity["WMax"] > 0.0 else capacity["WMaxRtg"]  # false on NaN
        if not self.w_max > 0.0:
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, "WMax", "is not implemented, and neither is WMaxRtg")
        self.reading.link = True
        return f"SunSpec DER of {self.w_max:g} W, models {', '.join(map(str, chain))}"

    async def program_failsafe(self) -> None:
        """Program what the device falls back to and after how long, and read it back.

        Errors: PortFault READBACK, RANGE where it has no such point, or of the link.
        """
        share = 100.0 * min(self._revert_export_w / self.w_max, 1.0)
        wanted = {f"{LIMIT}Rvrt": await self._down(f"{LIMIT}Rvrt", share), f"{LIMIT}EnaRvrt": 1.0,
                  f"{LIMIT}RvrtTms": self._revert_s, f"{SET}EnaRvrt": 0.0, f"{SET}RvrtTms": self._revert_s}  # fmt: skip
        for name, value in wanted.items():
            await self._device.write(CONTROLS, name, value)
        found = await self._device.read(CONTROLS, *wanted)
        for name, value in wanted.items():
            if not math.isclose(found[name], value, rel_tol=1e-9, abs_tol=1e-9):
                raise PortFault(FaultKind.READBACK, self.name, name, f"{found[name]:g}, {value:g} was written")

    async def command(self, order: DerOrder) -> None:
        """Send an order, enabled after its value, and start the reversion anew; RANGE for one that cannot be sent.

        A limit at or above WMax and a set-point of NaN disable what held before. A limit is rounded down.
        """
        if not order.export_w >= 0.0 or abs(order.set_w) > self.w_max:
            detail = f"export {order.export_w:g} W, set-point {order.set_w:g} W; WMax is {self.w_max:g} W"
            raise PortFault(FaultKind.RANGE, self.name, "order", detail)
        limited = order.export_w < self.w_max
        if limited:
            await self._device.write(CONTROLS, LIMIT, await self._down(LIMIT, 100.0 * order.export_w / self.w_max))
        await self._device.write(CONTROLS, f"{LIMIT}Ena", float(limited))
        told = not math.isnan(order.set_w)
        if told:
            await self._device.write(CONTROLS, f"{SET}Mod", WATTS)
            await self._device.write(CONTROLS, SET, -order.set_w)
        if told or not math.isnan(self._order.set_w):
            await self._device.write(CONTROLS, f"{SET}Ena", float(told))
        self._order, self._sent_ns = order, self._clock_ns()

    async def read(self) -> DerReading:
        """Fetch one set and return it; a PortFault of the link leaves the last one standing."""
        stamp_ns = self._clock_ns()
        ac = await self._device.read(MEASURED, "W", "Hz", "TotWhInj", "TotWhAbs")
        held = await self._device.read(CONTROLS, LIMIT, f"{LIMIT}Ena", f"{LIMIT}RvrtRem", SET, f"{SET}Ena",
                                       f"{SET}RvrtRem")  # fmt: skip
        limited, told = held[f"{LIMIT}Ena"] == 1.0, held[f"{SET}Ena"] == 1.0
        reading = self.reading
        reading.power_w, reading.frequency_hz = -ac["W"], ac["Hz"]
        reading.imported_wh, reading.exported_wh = ac["TotWhAbs"], ac["TotWhInj"]
        reading.export_w = held[LIMIT] / 100.0 * self.w_max if limited else math.inf
        reading.set_w = -held[SET] if told else math.nan
        left = [held[f"{name}RvrtRem"] for name, on in ((LIMIT, limited), (SET, told)) if on]
        reading.revert_s = min(left, default=math.nan)
        reading.change_ns, reading.link, reading.fault = stamp_ns, True, ""
        return reading

    async def run(
        self, order: Callable[[], DerOrder | None], may_talk: Callable[[], bool], read_s: float = 1.0
    ) -> None:
        """Read, and send orders on change and before the device takes them back, until cancelled.

        `order` returns None while nothing is to be written; `may_talk` False stops all I/O, and the device reverts.
        Faults are kept in `reading`.
        """
        due_ns = 0
        while True:
            await asyncio.sleep(LOOK_S if self.reading.link else FAULTY_S)
            if not may_talk():
                continue
            try:
                if not (self.reading.link and self._device.connected):
                    await self.open()
                    await self.program_failsafe()
                    self._sent_ns = 0
                await self._renew(order())
                if self._clock_ns() >= due_ns:
                    due_ns = self._clock_ns() + round(read_s * 1e9)
                    await self.read()
            except PortFault as fault:
                self.reading.errors += 1
                self.reading.fault, self.reading.link = str(fault), False

    async def close(self) -> None:
        """Leave the connection; what holds is taken back by the device itself."""
        self._device.close()

    async def _renew(self, order: DerOrder | None) -> None:
        """Send an order that is new or due; count one that the device has taken back by then."""
        if order is None:
            return
        new = repr(order) != repr(self._order) or not self._sent_ns  # NaN is not equal to itself
        if not new and (self._clock_ns() - self._sent_ns) * 1e-9 < self._revert_s / RENEWALS:
            return
        if not new:
            held = await self._device.read(CONTROLS, f"{LIMIT}Ena", f"{LIMIT}RvrtRem", f"{SET}Ena")
            lost = order.export_w < self.w_max and not held[f"{LIMIT}RvrtRem"] > 0.0
            self.reading.reverted += lost or (not math.isnan(order.set_w) and held[f"{SET}Ena"] != 1.0)
        await self.command(order)

    async def _down(self, name: str, percent: float) -> float:
        """Return percents at the resolution of a point, rounded down: a limit may not be higher than it was meant."""
        scale = (await self._device.read(CONTROLS, f"{LIMIT}_SF"))[f"{LIMIT}_SF"]
        if math.isnan(scale):
            raise PortFault(FaultKind.RANGE, self.name, name, f"its scale factor {LIMIT}_SF is not implemented")
        step = math.pow(10.0, scale)
        return math.floor(percent / step + 1e-9) * step
