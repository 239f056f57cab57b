"""The twins beside the world: what a step tells the substation, also after its clock was set back."""

import asyncio

import pytest
from commandline import toml_text

from hil.rig.assembler import assemble
from hil.rig.devices import Devices, Pace
from hil.rig.plant_process import may_end
from hil.rig.rigfile import load_rig
from hil.rig.world import ActiveOrder, World


class ToldSubstation:
    """Note what a substation is told."""

    def __init__(self):
        self.beats, self.stamps_ns, self.orders, self.frozen = 0, [], [], []

    async def beat(self):
        self.beats += 1

    async def publish(self, name, volts, amps, watts, stamp_ns):
        if name == "head":
            self.stamps_ns.append(stamp_ns)

    async def set_temperature(self, temp_c, stamp_ns):
        self.temp_c = temp_c

    async def set_frequency(self, frequency_hz, stamp_ns):
        self.frequency_hz = frequency_hz

    async def set_order(self, group, index, limit_w, from_s, to_s):
        self.orders.append((group, limit_w, to_s))

    def freeze(self, name, quantity, on):
        self.frozen.append((name, quantity, on))


@pytest.fixture
def street(hamlet, tmp_path):
    path = tmp_path / "hamlet.toml"
    path.write_text(toml_text(hamlet))
    assembly = assemble(load_rig(str(path)))
    world = World(assembly, -20.0)
    devices = Devices(assembly, world, lambda: 0.0)
    devices.substation = ToldSubstation()
    return devices, world


def test_what_is_due_every_period_is_due_at_once_after_the_clock_was_set_back():
    pace = Pace(1.0)
    assert pace.due(-8.0)
    assert not pace.due(-7.5)
    assert pace.due(-7.0)
    assert pace.due(-13.9)
    assert not pace.due(-13.0)
    assert pace.due(-12.9)


def test_a_substation_goes_on_measuring_and_beating_when_the_scenarios_clock_begins(street):
    devices, _ = street

    async def walk():
        for t_s in (-9.0, -8.0, -14.0, -13.0, -12.0):
            await devices.after(t_s, None)

    asyncio.run(walk())
    assert devices.substation.beats == 5
    stamps_s = [stamp / 1e9 - devices.assembly.start_utc_s for stamp in devices.substation.stamps_ns]
    assert stamps_s == pytest.approx([-9.0, -8.0, -14.0, -13.0, -12.0], abs=1e-3)


def test_an_orphaned_plant_outlives_the_guard_even_where_its_parent_is_still_seen_at_first():
    s = 1_000_000_000
    assert not may_end(0, 10 * s, orphaned=False)
    assert not may_end(10 * s, 10 * s, orphaned=False)
    assert may_end(10 * s, 10 * s + s // 4, orphaned=False)
    assert not may_end(10 * s, 12 * s, orphaned=True)
    assert may_end(10 * s, 13 * s, orphaned=True)


def test_every_order_of_a_scenario_reaches_the_substation_once(street):
    devices, world = street

    async def walk():
        await devices.after(0.0, None)
        for limit_w, steps in ((6000.0, 3), (4000.0, 2)):
            world.order = ActiveOrder(1, limit_w, 0.0, 100.0)
            for _ in range(steps):
                await devices.after(1.0, None)

    asyncio.run(walk())
    assert devices.substation.orders == [("head", 6000.0, 100.0), ("head", 4000.0, 100.0)]
