"""Run the DC bench against the supply's twin and the emulated charger, in a time that only the test moves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scpi_helpers import Clock, Loop

from controller.runtime.bench_dc import DcBench
from controller.runtime.bench_images import SET_NAME, BenchState, Measured, MeasuredView, Wanted
from controller.runtime.played_battery import PlayedBattery
from hil.rig.assembler import Assembly, assemble
from hil.rig.dc_bench_twins import DcBenchTwins
from hil.rig.rigfile import load_rig
from hil.rig.world import World
from instruments.dc_supply import BidirectionalSupply
from instruments.scpi_port import ScpiPort

TICK_S = 0.1
FAMILIES = ("ea-psb", "keysight-rp7900/rp7952a")


class Lab:
    """Hold world, twins and bench; every pause of the bench moves all of them on by plant steps."""

    def __init__(self, assembly: Assembly, folder: Path, loop: Loop) -> None:
        self.clock, self.loop = Clock(), loop
        self.world = World(assembly, 0.0)
        self.world.drop_sessions_until(0.0)
        self.world.fleet.plug_in(0, 0.0, 0.35, 1e5)
        self.view = self.world.view(0)
        self.view.set("setpoint_a", 16.0, 0.0)
        self.twins = DcBenchTwins(assembly, self.world, self.clock)
        self.site: Any = SimpleNamespace(store=lambda name: folder / name)
        self.next_s = self.clock.now_s
        self.stop_at_s = float("inf")
        self.told: list[dict[str, Any]] = []
        self.each: Callable[[], None] = lambda: None
        self.step()
        part = assembly.rig.bench
        assert part is not None and part.supply is not None
        self.port = ScpiPort(
            "battery", self.twins.supply.part, loop.do(self.twins.start())["battery"][0], timeout_s=1.0
        )
        self.port.open()
        self.bench = DcBench(
            supply=BidirectionalSupply(
                self.port,
                hard_max_v=part.supply.hard_max_v,
                hard_max_a=part.supply.hard_max_a,
                hard_sink_a=part.supply.hard_sink_a,
                slew_v_per_s=part.supply.slew_v_per_s,
                clock_s=self.clock,
                pause=self.pause,
            ),
            battery=PlayedBattery(assembly.dc[0].battery),
            source_a=part.supply.hard_max_a,
            sink_a=part.supply.hard_sink_a,
            wanted=Wanted.attach(folder / SET_NAME, 0.0),
            measured=Measured.create(self.site),
            period_s=0.1,
            scan_age_s=lambda: 0.0,
            tell=lambda kind, **fields: self.told.append({"kind": kind, **fields}),
            stop_asked=self.asked,
            pause=self.pause,
            clock_ns=self.clock.ns,
        )
        self.seen = MeasuredView(folder / "bench_meas.img")

    def asked(self) -> bool:
        self.each()
        return self.clock.now_s >= self.stop_at_s

    def pause(self, seconds: float) -> None:
        self.clock.now_s += seconds
        while self.clock.now_s >= self.next_s:
            self.loop.call(self.step)

    def step(self) -> None:
        """Do one plant step."""
        t_s = self.next_s - 1000.0
        self.next_s += TICK_S
        self.twins.step(t_s, TICK_S, self.site)
        self.world.step(t_s, TICK_S)
        self.twins.publish(self.site, now_ns=self.clock.ns())

    def run(self, seconds: float) -> int:
        self.stop_at_s = self.clock.now_s + seconds
        return self.bench.run()

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.told]


@contextmanager
def lab_of(folder: Path, family: str = FAMILIES[0]) -> Iterator[Lab]:
    rig = folder / "rig.toml"
    text = (Path(__file__).parents[1] / "profiles" / "rigs" / "bench_dc.toml").read_text()
    rig.write_text(text.replace('model = "ea-psb"', f'model = "{family}"'))
    loop = Loop()
    lab = Lab(assemble(load_rig(str(rig))), folder, loop)
    try:
        yield lab
    finally:
        lab.port.close()
        loop.do(lab.twins.stop())
        loop.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_supply_of_either_dialect_plays_the_battery(tmp_path: Path, family: str) -> None:
    with lab_of(tmp_path, family) as lab:
        seen: list[tuple[float, float, float]] = []

        def note() -> None:
            record = lab.seen.read()
            if record is not None and record["state"] == BenchState.RUNNING:
                seen.append((float(record["dc_v"]), float(record["dc_a"]), float(record["soc"])))

        lab.each = note
        assert lab.run(20.0) == 0
        volts, amps, soc = seen[-1]
        stage = lab.world.assembly.dc[0].converter
        assert volts * amps == pytest.approx(16.0 * stage.watts_per_amp, rel=0.02)  # the limit of 16 A binds
        battery = lab.bench.battery
        assert volts == pytest.approx(battery.terminal_v(amps), abs=0.5)
        assert soc > 0.35 and soc == pytest.approx(lab.world.fleet.soc[0], abs=1e-4)
        assert lab.kinds()[-1] == "bench_off" and not lab.twins.supply.output_on
