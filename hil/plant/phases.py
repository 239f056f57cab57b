"""Switch a charger between all its phases and the first alone: suspend, wait with the contactor open, switch, resume.

Some cars take harm from a phase that appears under load, so the pause is the charger's own, whatever it was asked.
Source: pause 10 s, no return to three phases before 600 s (EVerest defaults, V); KEBA suspends, switches and resumes
(Modbus guide, register 5052, V). That a reboot goes back to all phases is an assumption.
"""

import math
from typing import Any

from hil.plant.kernel import kernel
from hil.plant.watchdog import EPS_S


@kernel
def start_phases(p: Any, s: Any) -> None:
    """Begin with all phases, after a boot."""
    s.phases_set = p.phases
    s.phases_in_use = p.phases
    s.switch_at_s = math.nan


@kernel
def switching(p: Any, s: Any, now_s: float) -> bool:
    """Say whether one charger has to keep its pilot off because it changes its phases; an early way up waits."""
    if s.phases_set == s.phases_in_use:
        return False
    return bool(s.phases_set < s.phases_in_use or now_s - s.switched_at_s >= p.switch_dwell_s - EPS_S)


@kernel
def switch_phases(p: Any, s: Any, now_s: float) -> None:
    """Change the phases of one charger once its contactor was open, with the pilot off, for `switch_pause_s`."""
    if not switching(p, s, now_s) or s.contactor or s.pwm_a != 0.0:
        s.switch_at_s = math.nan
    elif math.isnan(s.switch_at_s):
        s.switch_at_s = now_s
    elif now_s - s.switch_at_s >= p.switch_pause_s - EPS_S:
        s.phases_in_use = s.phases_set
        s.switched_at_s = now_s
        s.switch_at_s = math.nan
