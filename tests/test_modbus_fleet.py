"""Join the twin with the plant behind it, in a clock of the test's own: what keeps a fail-safe quiet, what trips it."""

import numpy as np
import pytest
from modbus_helpers import FakeClock

from hil.plant.ev import EvSpec
from hil.plant.evse import EvseSpec
from hil.plant.fleet import Fleet
from hil.twins.modbus_charger import ModbusChargerTwin
from instruments.catalog import charger_of, load_model, modbus_of
from instruments.modbus_codec import decode_words, encode_value

VOLTS = np.array([[230.0, np.nan, np.nan]])
STEP_S = 0.1
FAILSAFE_S = 10.0


class Post:
    """Hold one charging post: fleet of one, its twin, and requests past the socket."""

    def __init__(self, name: str, failsafe_a: float) -> None:
        self.model = load_model(name)
        part = charger_of(self.model)
        self.modbus = modbus_of(self.model)
        evse = EvseSpec(
            name="cp01",
            phases=1,
            hard_max_a=32.0,
            watchdog=part.watchdog.kind,
            failsafe_a=failsafe_a,
            failsafe_s=FAILSAFE_S,
            meter_v_step_v=part.voltage_step_v,
            meter_a_step_a=part.current_step_a,
            boot_limit_a=failsafe_a,
        )
        car = EvSpec(
            name="car",
            phases=1,
            max_a=32.0,
            battery_wh=60e3,
            taper_soc=0.9,
            dead_time_s=1.0,
            fall_a_per_s=10.0,
            rise_a_per_s=10.0,
        )
        self.clock = FakeClock(0.0)
        self.fleet = Fleet([evse], [car])
        self.fleet.plug_in(0, 0.0, 0.4, 20e3)
        self.twin = ModbusChargerTwin(self.model, self.fleet.view(0), self.clock.seconds)
        self.run(1.0)

    def run(self, for_s: float, read_every_s: float = 0.0) -> None:
        for k in range(round(for_s / STEP_S)):
            self.clock.now_s += STEP_S
            if read_every_s and k % round(read_every_s / STEP_S) == 0:
                self.read("current_l1")
            self.fleet.step(self.clock.now_s, STEP_S, VOLTS)

    def read(self, name: str) -> float | str:
        register = self.modbus.register(name)
        words = self.twin.handle(register.unit_id, self.modbus.read_function, register.address, register.count, None)
        return decode_words(self.modbus, register, words)

    def order(self, amps: float) -> None:
        register = self.modbus.register(charger_of(self.model).setpoint.register_name)
        words = encode_value(self.modbus, register, amps)
        self.twin.handle(register.unit_id, 6 if len(words) == 1 else 16, register.address, len(words), words)

    @property
    def drawn_a(self) -> float:
        return float(self.fleet.drawn_a[0, 0])


@pytest.mark.parametrize("name", ["keba-p30", "keba-p40"])
def test_polling_alone_keeps_a_keba_charging_and_silence_lets_it_fall(name):
    post = Post(name, failsafe_a=0.0)
    post.order(16.0)
    post.run(60.0, read_every_s=0.5)
    assert post.drawn_a == pytest.approx(16.0)
    post.run(FAILSAFE_S + 12.0)
    assert post.drawn_a == 0.0
    post.run(20.0, read_every_s=0.5)  # the next command leaves the fail-safe to the last set-point
    assert post.drawn_a == pytest.approx(16.0)


def test_polling_does_not_keep_an_alfen_set_point_alive_only_writing_it_does():
    post = Post("alfen-ng9xx", failsafe_a=6.0)
    for _ in range(12):
        post.order(16.0)
        post.run(5.0, read_every_s=0.5)
    assert post.drawn_a == pytest.approx(16.0)
    assert 0.0 < post.read("valid") < FAILSAFE_S
    post.run(FAILSAFE_S + 12.0, read_every_s=0.5)
    assert post.drawn_a == pytest.approx(6.0)
    assert post.read("limit") == pytest.approx(6.0)


def test_lower_order_is_drawn_within_the_obey_time():
    for name in ("keba-p40", "alfen-ng9xx"):
        post = Post(name, failsafe_a=6.0)
        post.order(32.0)
        post.run(9.0, read_every_s=0.5)
        post.order(8.0)
        part = charger_of(post.model)
        post.run(part.obey_s - part.timing.write_gap_s, read_every_s=0.5)
        assert post.drawn_a == pytest.approx(8.0), name


def test_keba_shows_whole_volts_and_reports_a_car_that_waits_for_current():
    post = Post("keba-p40", failsafe_a=0.0)
    low = np.array([[213.4, np.nan, np.nan]])
    post.fleet.step(post.clock.now_s, STEP_S, low)
    assert post.read("voltage_l1") == 213.0
    post.order(0.0)
    post.run(15.0, read_every_s=0.5)
    assert post.read("state") == 5.0  # interrupted: suspended by the set-point
    assert post.read("limit") == 0.0
