"""Serve a rig's emulated meters, each showing the node of the tree that it sits at."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hil.rig.assembler import Assembly
from hil.rig.listening import HOST, listen
from hil.rig.meter_keys import MeterPart
from hil.rig.world import World
from hil.twins.modbus_meter import ModbusMeterTwin
from hil.twins.sunspec_meter import SunSpecMeterTwin
from instruments import catalog

WH_PER_WS = 1.0 / 3600.0
UNLIMITED_A = 1000.0  # what a meter shows where its node has no limit


class Shown:
    """Hold what one meter shows, by quantity of its record; amps are magnitudes, watts have the meter's sign."""

    __slots__ = ("_phases", "_sign", "node", "values")

    def __init__(self, part: MeterPart, node: int) -> None:
        self.node = node
        self._phases = ["abc".index(letter) for letter in part.phase_map]
        self._sign = part.ct_sign
        self.values: dict[str, float] = {"frequency_hz": 50.0, "energy_wh": 0.0, "export_wh": 0.0, "power_w": 0.0}
        self.take(np.full(3, np.nan), np.full(3, np.nan), 0.0, 50.0, 0.0)

    def get(self, quantity: str) -> float:
        """Return a quantity, SI; NaN for one that the plant does not know."""
        return self.values.get(quantity, float("nan"))

    def take(self, volts: np.ndarray, amps: np.ndarray, watts: float, hz: float, dt_s: float) -> None:
        """Take volts (3,), signed amps (3,) and watts of the node, `dt_s` after the last time."""
        for k, p in enumerate(self._phases, start=1):
            self.values[f"voltage_l{k}_v"] = float(volts[p])
            self.values[f"current_l{k}_a"] = abs(float(amps[p]))
            self.values[f"power_l{k}_w"] = self._sign * float(volts[p] * amps[p])
        self.values["power_w"] = self._sign * watts
        self.values["frequency_hz"] = hz
        key = "energy_wh" if self._sign * watts >= 0.0 else "export_wh"
        self.values[key] += abs(watts) * dt_s * WH_PER_WS


class MeterTwins:
    """Hold the emulated meters of a rig, by name; empty where it has none."""

    def __init__(self, assembly: Assembly, world: World) -> None:
        self._world = world
        self._parts = {part.name: part for part in assembly.rig.meter if part.twin}
        self.shown = {name: Shown(part, assembly.nodes.index(part.node)) for name, part in self._parts.items()}
        self.twins: dict[str, Any] = {
            name: _twin(part, self.shown[name].get, assembly.site.nodes[self.shown[name].node].limit_a)
            for name, part in self._parts.items()
        }
        self._cut: set[str] = set()
        self._last_s = float("nan")

    async def start(self) -> dict[str, tuple[str, int | None]]:
        """Open every socket and return {name: (address, unit id)}."""
        found: dict[str, tuple[str, int | None]] = {}
        for name, twin in self.twins.items():
            wanted = self._parts[name].port
            port = await listen(name, wanted, twin.start(HOST, wanted))
            found[name] = (f"modbus+tcp://{HOST}:{port}", twin.unit_id)
        return found

    async def follow(self, t_s: float) -> None:
        """Show the world as it is at `t_s`; cut and mend links as the scenario says."""
        dt_s, self._last_s = t_s - self._last_s, t_s
        if not self.twins:
            return
        volts, amps, watts = self._world.node_values()
        for shown in self.shown.values():
            m = shown.node
            shown.take(volts[m], amps[m], float(watts[m]), self._world.frequency_hz, dt_s if dt_s > 0.0 else 0.0)
        for name in (self._world.meter_cut ^ self._cut) & self.twins.keys():
            server = self.twins[name].server
            await (server.cut() if name in self._world.meter_cut else server.restore())
        self._cut = set(self._world.meter_cut)

    async def stop(self) -> None:
        """Close every socket."""
        for twin in self.twins.values():
            await twin.stop()


def _twin(part: MeterPart, get: Callable[[str], float], limit_a: float) -> Any:
    model = catalog.load_model(part.model).at(1, part.unit)
    if model.sunspec is not None:
        return SunSpecMeterTwin(model, get, limit_a if math.isfinite(limit_a) else UNLIMITED_A)
    return ModbusMeterTwin(model, get)
