"""Show what a charger's registers say: the truth, or what a fault of meter or registers makes of it."""

import math
from typing import Any

from hil.plant.kernel import kernel

FIXED_V = 230.0  # what a charger without a voltmeter reports


@kernel
def show(s: Any, volt_v: Any, drawn_a: Any, shown_v: Any, shown_a: Any) -> None:
    """Write the volts and amps (3,) that one charger reports, and its state; frozen registers stand still."""
    if s.frozen:
        return
    for k in range(3):
        volt = volt_v[k]
        shown_v[k] = FIXED_V if s.volts_fixed and not math.isnan(volt) else volt
        if not s.stuck:
            off_a = s.meter_offset_a if not math.isnan(volt) else 0.0
            shown_a[k] = drawn_a[k] * s.meter_scale + off_a
    s.shown_state = s.state
    s.shown_pwm = s.pwm_a != 0.0
    s.shown_contactor = s.contactor
    s.shown_connected = s.connected
    s.shown_applied_a = s.applied_a
    s.shown_phases = s.phases_in_use
    s.shown_session_no = s.session_no
    s.shown_session_wh = s.session_wh
    s.shown_energy_wh = s.energy_wh
    s.shown_soc = s.soc
