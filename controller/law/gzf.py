"""Guarantee the least power that a dimmed connection keeps: section 14a EnWG, with its simultaneity factors.

Source: BNetzA BK6-22-300, Anlage 1, Ziff. 2.4.1, 2.4.2, 4.5.1 and 4.5.2 (facts B1, V; vector of ten figures C). Watts.

The trap: with two devices and more the guarantee is less than 6 A on three phases for each (3.78 kW at n = 2, 2.15 kW
at n = 9, of 4.14 kW at 230 V). An equal share then charges nobody; who runs must rotate, or go to one phase (`admit`,
`phases`). And 6 A on three phases fit the 4.2 kW of one device only below 233.3 V.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

FLOOR_W = 4200.0  # P_min of one device, and the size above which a device counts
LARGE_W = 11_000.0  # heat pumps and cooling above it keep a share of their power
LARGE_SHARE = 0.4
FACTORS = (0.80, 0.75, 0.70, 0.65, 0.60, 0.55, 0.50, 0.45)  # n = 2 .. 8, and 9 or more

DeviceKind = Literal["charge_point", "storage", "heat_pump", "cooling"]


class Device(NamedTuple):
    """Name a device behind the connection and its rated power from the grid, W."""

    kind: DeviceKind
    power_w: float


def simultaneity_factor(count: int) -> float:
    """Return the GZF of `count` controllable devices, 2 or more; 1 for a single one. ValueError below 1."""
    if count < 1:
        raise ValueError(f"{count} devices: the simultaneity factor is for 1 and more")
    return 1.0 if count == 1 else FACTORS[min(count, 9) - 2]


def floor_w(devices: Sequence[Device]) -> float:
    """Return the least power (W) that an EMS may draw for its devices while it is dimmed.

    Heat pumps count together as one device, and so does cooling, each only where their sum is over 4.2 kW. ValueError
    where nothing counts: such a connection cannot be dimmed under section 14a.
    """
    base_w, count = FLOOR_W, 0
    for kind in ("heat_pump", "cooling"):
        sum_w = sum(device.power_w for device in devices if device.kind == kind)
        count += 1 if sum_w > FLOOR_W else 0
        if sum_w > LARGE_W:
            base_w = max(base_w, LARGE_SHARE * sum_w)
    count += sum(1 for device in devices if device.kind in ("charge_point", "storage") and device.power_w > FLOOR_W)
    if count == 0:
        raise ValueError("no device over 4200 W: section 14a EnWG does not apply")
    return base_w + (count - 1) * simultaneity_factor(count) * FLOOR_W


def direct_floor_w(device: Device) -> float:
    """Return the least power (W) of a device, or group of heat pumps or cooling, that is dimmed directly."""
    large = device.kind in ("heat_pump", "cooling") and device.power_w > LARGE_W
    return LARGE_SHARE * device.power_w if large else FLOOR_W
