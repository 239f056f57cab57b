"""Drive a fleet in small steps of virtual time, for the tests of the plant."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hil.plant.fleet import EvseSpec, EvSpec, Fleet

U_V = 230.0
QUICK_EV = EvSpec("quick", max_a=32.0, dead_time_s=0.5, fall_a_per_s=20.0, rise_a_per_s=20.0, efficiency=1.0)
PLAIN_EVSE = EvseSpec("plain", boot_limit_a=16.0)


class Driver:
    """Step one charger and its car; `volt_v` (1, 3) may be changed between steps."""

    def __init__(
        self, dt_s: float = 0.1, evse: EvseSpec = PLAIN_EVSE, ev: EvSpec = QUICK_EV, **changes: object
    ) -> None:
        """Build it with fields of `evse` and `ev` (prefix ``ev_``) replaced by `changes`."""
        car = {key[3:]: value for key, value in changes.items() if key.startswith("ev_")}
        box = {key: value for key, value in changes.items() if not key.startswith("ev_")}
        self.fleet = Fleet([replace(evse, **box)], [replace(ev, **car)])
        self.view = self.fleet.view(0)
        self.dt_s = dt_s
        self.count = 0
        self.volt_v = np.full((1, 3), np.nan)
        self.volt_v[0, : self.fleet.evse[0].phases] = U_V

    @property
    def now_s(self) -> float:
        """Return the plant's time, s."""
        return self.count * self.dt_s

    @property
    def amps(self) -> float:
        """Return the amps on L1."""
        return float(self.fleet.drawn_a[0, 0])

    def plug_in(self, soc: float = 0.3, need_wh: float = float("inf")) -> None:
        """Plug the car in now."""
        self.fleet.plug_in(0, self.now_s, soc, need_wh)

    def allow(self, amps: float) -> None:
        """Send a set-point now."""
        self.view.set("setpoint_a", amps, self.now_s)

    def run(self, seconds: float, each: Callable[[], None] | None = None) -> None:
        """Step for so many seconds; `each` is called after every step."""
        for _ in range(round(seconds / self.dt_s)):
            self.count += 1
            self.fleet.step(self.now_s, self.dt_s, self.volt_v)
            if each is not None:
                each()

    def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Step until the condition holds; return how long that took, s. AssertionError after `limit_s`."""
        begin_s = self.now_s
        while not condition():
            assert self.now_s - begin_s < limit_s, f"not within {limit_s:g} s"
            self.run(self.dt_s)
        return self.now_s - begin_s


def charging(**changes: object) -> Driver:
    """Return a driver whose car charges at the boot limit of 16 A since a while."""
    driver = Driver(**changes)  # type: ignore[arg-type]
    driver.plug_in()
    driver.run(15.0)
    return driver
