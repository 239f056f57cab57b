"""Run the DC bench against the supply's twin and the emulated charger, in a time that only the test moves."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scpi_helpers import Clock, Loop

from controller.runtime.bench_dc import STILL_A, DcBench
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


def test_a_lower_limit_is_obeyed_and_the_volts_follow_the_battery(tmp_path: Path) -> None:
    with lab_of(tmp_path) as lab:
        rows: list[tuple[float, float, float]] = []

        def lower() -> None:
            record = lab.seen.read()
            if record is not None and record["state"] == BenchState.RUNNING:
                rows.append((lab.clock.now_s, float(record["dc_a"]), float(record["dc_v"])))
            if lab.clock.now_s >= 1010.0:
                lab.loop.call(lambda: lab.view.set("setpoint_a", 8.0, lab.next_s - 1000.0))

        lab.each = lower
        assert lab.run(20.0) == 0
        before = next(row for row in reversed(rows) if row[0] < 1009.5)
        after = rows[-1]
        assert after[1] * after[2] == pytest.approx(0.5 * before[1] * before[2], rel=0.03)
        assert before[2] - after[2] == pytest.approx(0.1 * (before[1] - after[1]), abs=0.3)  # 0.1 ohm


def test_a_planned_stop_takes_the_current_first_then_the_contactor_then_the_supply(tmp_path: Path) -> None:
    with lab_of(tmp_path) as lab:
        supply = lab.twins.supply
        seen: dict[str, tuple[float, bool]] = {}

        def note(kind: str, **fields: Any) -> None:
            lab.told.append({"kind": kind, **fields})
            seen[kind + str(fields.get("state", ""))] = (abs(float(supply.amp_a[0])), supply.output_on)

        lab.bench.tell = note
        assert lab.run(15.0) == 0
        assert seen["bench_cpB"][0] > 20.0 and seen["bench_cpB"][1]  # asked to stop: it still flows
        assert seen["bench_contactor"][0] < STILL_A and seen["bench_contactor"][1]  # stopped, the supply still on
        assert not seen["bench_off"][1]
        told = {event["kind"]: event for event in lab.told}
        assert told["bench_contactor"]["opened"] and lab.kinds()[-1] == "bench_off"
        lab.pause(2.0)
        assert not lab.world.fleet.contactor[0] and not supply.output_on


def test_a_silent_plant_switches_the_supply_off_at_once(tmp_path: Path) -> None:
    with lab_of(tmp_path) as lab:
        publish = lab.twins.publish

        def quiet(*arguments: Any, **named: Any) -> None:
            if lab.clock.now_s < 1008.0:
                publish(*arguments, **named)

        lab.twins.publish = quiet  # type: ignore[method-assign]
        assert lab.run(30.0) == 3
        fault = next(event for event in lab.told if event["kind"] == "fault")
        assert "plant has been silent" in fault["text"] and fault["source_off_confirmed"]
        assert lab.clock.now_s < 1012.5 and not lab.twins.supply.output_on


def test_a_supply_that_cannot_take_the_current_trips_on_the_volts_of_the_charger(tmp_path: Path) -> None:
    with lab_of(tmp_path) as lab:
        lab.bench.sink_a = 10.0  # less than the charger drives
        assert lab.run(20.0) == 3
        fault = next(event for event in lab.told if event["kind"] == "fault")
        assert fault["device"] == "battery" and "off by itself" in fault["text"]
        assert lab.world.dc[0].output.volt_v > 450.0 or not lab.twins.supply.output_on
        assert "OVP" in lab.twins.supply.tripped


def test_a_car_that_leaves_takes_its_demand_along(tmp_path: Path) -> None:
    with lab_of(tmp_path) as lab:

        def leave() -> None:
            if lab.clock.now_s >= 1008.0:
                lab.loop.call(lambda: lab.world.dc[0].plug(None))

        lab.each = leave
        assert lab.run(12.0) == 0
        states = [event["state"] for event in lab.told if event["kind"] == "bench_cp"]
        assert states[:2] == ["C", "A"] and abs(lab.world.dc[0].output.amp_a) < STILL_A


def test_the_feeder_carries_what_the_supply_reads_and_the_losses(tmp_path: Path) -> None:
    with lab_of(tmp_path) as lab:
        rows: list[Any] = []
        lab.each = lambda: rows.append((np.array(lab.world.bench_feeder_a), lab.seen.read()))
        lab.run(15.0)
        running = [(amps, row) for amps, row in rows if row is not None and row["state"] == BenchState.RUNNING]
        amps, row = running[-1]
        volts = lab.world.bench_node_v()
        assert float(amps @ volts) == pytest.approx(float(row["dc_w"]) / 0.95, rel=0.02) and np.ptp(amps) == 0.0
