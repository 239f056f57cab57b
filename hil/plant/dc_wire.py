"""Find the operating point of a DC node: regulating supplies, batteries and loads on one pair of wires.

Quasi-static: every call is the steady state of that moment. Each device says what it delivers at given volts; the
node's volts are the highest at which the amps add up to 0. + is delivered into the node, - drawn from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

STEPS = 200  # of a bisection: far below a microvolt
TINY_V = 1e-9
TINY_A = 1e-5  # what a knee may be out of balance: TINY_V across a milliohm, with room


class Device(Protocol):
    """Say what one device delivers: the least and the most amps at some volts; equal but where it regulates volts."""

    @property
    def knee_v(self) -> float:
        """Return the volts that it holds or begins at, V."""

    def delivered(self, volt_v: float) -> tuple[float, float]:
        """Return the amps (least, most) that it delivers into the node at `volt_v` V."""


@dataclass(frozen=True, slots=True)
class Regulator:
    """Hold `set_v` while it delivers at most `source_a`, `source_w` and takes in at most `sink_a`, `sink_w`.

    Constant voltage, constant current and constant power are the same device at different loads.
    """

    set_v: float
    source_a: float
    sink_a: float = 0.0
    source_w: float = math.inf
    sink_w: float = math.inf

    @property
    def knee_v(self) -> float:
        """Return the set volts."""
        return self.set_v

    def delivered(self, volt_v: float) -> tuple[float, float]:
        """Return the most that it may source below its volts, sink above them, and both ends at them."""
        source = min(self.source_a, self.source_w / max(volt_v, TINY_V))
        sink = -min(self.sink_a, self.sink_w / max(volt_v, TINY_V))
        if volt_v < self.set_v - TINY_V:
            return source, source
        if volt_v > self.set_v + TINY_V:
            return sink, sink
        return sink, source


@dataclass(frozen=True, slots=True)
class Battery:
    """Deliver what its open-circuit volts drive through its resistance."""

    emf_v: float
    ohm: float

    @property
    def knee_v(self) -> float:
        """Return the open-circuit volts."""
        return self.emf_v

    def delivered(self, volt_v: float) -> tuple[float, float]:
        """Return the amps out of it; negative charges it."""
        amps = (self.emf_v - volt_v) / self.ohm
        return amps, amps


@dataclass(frozen=True, slots=True)
class Draw:
    """Draw constant amps, watts or ohms, whichever is the least, above its lowest volts."""

    amp_a: float = math.inf
    power_w: float = math.inf
    ohm: float = 0.0
    min_v: float = 0.0

    @property
    def knee_v(self) -> float:
        """Return the volts at which it begins to draw."""
        return self.min_v

    def delivered(self, volt_v: float) -> tuple[float, float]:
        """Return the amps, never above 0; at its lowest volts anything from nothing to its full draw."""
        if volt_v < self.min_v - TINY_V or volt_v <= 0.0:
            return 0.0, 0.0
        by_ohm = volt_v / self.ohm if self.ohm > 0.0 else math.inf
        amps = min(self.amp_a, self.power_w / max(volt_v, TINY_V), by_ohm)
        return -amps, (0.0 if volt_v <= self.min_v + TINY_V else -amps)


class Node(NamedTuple):
    """Give the steady state of the node: volts, and the amps that each device delivers, in the order given."""

    volt_v: float
    amp_a: tuple[float, ...]


def operate(devices: Sequence[Device]) -> Node:
    """Return the operating point of all devices that are connected; no device, or none that sources: 0 V and 0 A."""
    knees = sorted({device.knee_v for device in devices if device.knee_v > 0.0}, reverse=True)
    above = math.inf
    for knee in knees:
        if above < math.inf and _total(devices, above - 2 * TINY_V)[0] < 0.0 < _total(devices, knee + 2 * TINY_V)[1]:
            return _shared(devices, _bisect(devices, knee + 2 * TINY_V, above - 2 * TINY_V))
        low, high = _total(devices, knee)
        if low <= TINY_A and high >= -TINY_A:
            return _shared(devices, knee)
        above = knee
    if knees and _total(devices, 2 * TINY_V)[1] > 0.0:
        return _shared(devices, _bisect(devices, 2 * TINY_V, above - 2 * TINY_V))
    return Node(0.0, (0.0,) * len(devices))


def _total(devices: Sequence[Device], volt_v: float) -> tuple[float, float]:
    """Return the least and the most amps that all deliver together."""
    pairs = [device.delivered(volt_v) for device in devices]
    return math.fsum(low for low, _ in pairs), math.fsum(high for _, high in pairs)


def _bisect(devices: Sequence[Device], low_v: float, high_v: float) -> float:
    """Return the volts between at which the delivered amps change their sign."""
    for _ in range(STEPS):
        middle = 0.5 * (low_v + high_v)
        if _total(devices, middle)[0] > 0.0:
            low_v = middle
        else:
            high_v = middle
        if high_v - low_v < TINY_V:
            break
    return 0.5 * (low_v + high_v)


def _shared(devices: Sequence[Device], volt_v: float) -> Node:
    """Return the node with the balance given to those that have room at these volts, in equal shares of it."""
    pairs = [device.delivered(volt_v) for device in devices]
    least = math.fsum(low for low, _ in pairs)
    room = math.fsum(high - low for low, high in pairs)
    share = min(1.0, max(0.0, -least / room)) if room > 0.0 else 0.0
    return Node(volt_v, tuple(low + share * (high - low) for low, high in pairs))
