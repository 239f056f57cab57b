"""Name what can go wrong with a charger, and set or clear it in the fleet's state.

Each entry says which column of the state it sets; the kernels do the rest. A reboot is over by itself. What is a
fault of the grid or of the wiring (black-out, swapped phases) lies outside the charger: the world has it.
"""

import math
from typing import Any

from hil.plant.evse import EMERGENCY_STOP, RCD

# kind: (column, value while it lasts); a column of NaN takes the event's own number
FAULTS: dict[str, tuple[str, float]] = {
    "emergency_stop": ("error_code", EMERGENCY_STOP),
    "rcd_trip": ("error_code", RCD),
    "reboot": ("rebooting", 1),
    "ignore_setpoint": ("ignoring", 1),
    "freeze_registers": ("frozen", 1),
    "constant_volts": ("volts_fixed", 1),
    "meter_stuck": ("stuck", 1),
    "meter_offset": ("meter_offset_a", math.nan),
    "meter_scale": ("meter_scale", math.nan),
    "meter_nan": ("meter_scale", math.nan),
}
HEALTHY = {"meter_scale": 1.0}  # every other column is 0
LASTING = {kind for kind in FAULTS if kind != "reboot"}


def set_fault(state: Any, kind: str, value: float = math.nan) -> None:
    """Let a fault begin in one state record; `value` is the offset, A, or the scale, of a wrong meter.

    ValueError for an unknown kind.
    """
    if kind not in FAULTS:
        raise ValueError(f"fault {kind!r}: allowed {', '.join(sorted(FAULTS))}")
    column, given = FAULTS[kind]
    state[column] = value if math.isnan(given) else given


def clear_fault(state: Any, kind: str) -> None:
    """End a fault of one state record; an error that another cause has set meanwhile stays."""
    column, given = FAULTS[kind]
    if column != "error_code" or state[column] == given:
        state[column] = HEALTHY.get(column, 0)
