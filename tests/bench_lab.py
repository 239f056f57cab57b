"""Build an AC bench around the emulated charger of a rig, in a time that only the test moves; no process, no plant."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scpi_helpers import Clock, Loop

from controller.runtime.bench_images import SET_NAME, BenchState, Measured, MeasuredView, Wanted
from controller.runtime.bench_loop import Bench
from controller.runtime.load_bank import LoadBank
from controller.runtime.played_car import CarSpec, PlayedCar
from hil.rig.assembler import Assembly
from hil.rig.bench_twins import AcBenchTwins
from hil.rig.world import World
from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource
from instruments.analyzer import Analyzer
from instruments.scpi_port import ScpiPort

TICK_S = 0.1


class Pilot:
    """Stand for the control-pilot adapter, wired straight to the emulated charger."""

    seen = -1

    def __init__(self, twins: AcBenchTwins, said: list[str]) -> None:
        self._twins, self._said = twins, said
        self.shown = -1

    def read_duty(self) -> float:
        return self._twins._duty()

    def assert_cp(self, state: int) -> None:
        self._said.append(f"pilot {'ABCD'[state]}")
        self._twins._assert_cp(state)
        self.shown = state

    def set_cable(self, amps: float) -> None:
        """Show no cable."""

    def hurry(self) -> None:
        """Answer at once as before."""

    def close(self) -> None:
        """Close nothing."""


class NotedPort(ScpiPort):
    """Note every message that sets something, in order, in a list that the lab shares."""

    __slots__ = ("said",)

    def send(self, message: str) -> None:
        self.said.append(f"{self.name} {message}")
        super().send(message)


class AcLab:
    """Hold world, twins and bench; every pause of the bench moves all of them on by plant steps."""

    def __init__(self, assembly: Assembly, folder: Path, loop: Loop, car_a: float = 16.0) -> None:
        self.clock, self.loop = Clock(), loop
        self.assembly, self.world = assembly, World(assembly, 0.0)
        self.dut = assembly.dut
        self.world.drop_sessions_until(0.0)
        self.world.view(self.dut).set("setpoint_a", car_a, 0.0)
        self.world.fleet.applied_a[self.dut] = car_a
        self.twins = AcBenchTwins(assembly, self.world, self.clock)
        self.site: Any = SimpleNamespace(store=lambda name: folder / name)
        self.next_s = self.clock.now_s
        self.stop_at_s = float("inf")
        self.told: list[dict[str, Any]] = []
        self.rows: list[Any] = []  # the bench's records while it ran
        self.each: Callable[[], None] = lambda: None
        self.step()
        rig = self.twins.rig
        self.addresses = {name: address for name, (address, _) in loop.do(self.twins.start()).items()}
        self.ports: list[ScpiPort] = []
        self.said: list[str] = []  # what was set at which instrument, and what the pilot was told
        assert rig.source is not None
        analyzer = Analyzer(self.open("analyzer"), phases=rig.phases) if rig.analyzer is not None else None
        keys = [key for key in ("load", "load_l2", "load_l3") if key in self.twins.twins]
        parts: Any = rig.parts()
        self.bench = Bench(
            source=AcSource(
                self.open("source"),
                phases=rig.phases,
                hard_max_v=rig.source.hard_max_v,
                hard_max_a=rig.source.hard_max_a,
                slew_v_per_s=rig.source.slew_v_per_s,
                clock_s=self.clock,
                pause=self.pause,
            ),
            load=LoadBank(
                [AcLoad(self.open(key), hard_max_a=parts[key].hard_max_a, pause=self.pause) for key in keys],
                assembly.ev[self.dut].phases,
            ),
            adapter=Pilot(self.twins, self.said),
            car=PlayedCar(CarSpec(max_a=car_a, dead_time_s=0.2, rise_a_per_s=50.0, fall_a_per_s=50.0)),
            phase_map=tuple("abc".index(letter) for letter in rig.phase_map) if rig.phases == 3 else (0, 1, 2),
            analyzer=analyzer,
            wanted=Wanted.attach(folder / SET_NAME, 0.0),
            measured=Measured.create(self.site),
            period_s=0.1,
            scan_age_s=lambda: 0.0,
            tell=lambda kind, **fields: self.told.append({"kind": kind, **fields}),
            stop_asked=self.asked,
            pause=self.pause,
            clock_ns=self.clock.ns,
        )
        self.view = MeasuredView(folder / "bench_meas.img")

    def open(self, key: str) -> ScpiPort:
        part = self.twins.rig.parts()[key]
        port = NotedPort(part.name, self.twins.twins[key].part, self.addresses[part.name], timeout_s=1.0)
        port.said = self.said
        port.open()
        self.ports.append(port)
        return port

    def asked(self) -> bool:
        self.each()
        record = self.view.read()
        if record is not None and record["state"] == BenchState.RUNNING:
            self.rows.append(record.copy())
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

    def off(self) -> bool:
        """Tell whether every output is off."""
        return not any(self.twins.outputs().values())

    def last(self, name: str) -> np.ndarray:
        """Return a field of the last record of the running bench."""
        return np.asarray(self.rows[-1][name])


@contextmanager
def ac_lab(assembly: Assembly, folder: Path, car_a: float = 16.0) -> Iterator[AcLab]:
    """Make a lab and close every socket at the end."""
    loop = Loop()
    lab = AcLab(assembly, folder, loop, car_a)
    try:
        yield lab
    finally:
        for port in lab.ports:
            port.close()
        loop.do(lab.twins.stop())
        loop.close()
