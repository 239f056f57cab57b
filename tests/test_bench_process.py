"""Run the bench against twins over real sockets in a time that only the test moves: order, duty, stops, faults."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scpi_helpers import LOAD, SOURCE, Clock, Served, part_of, serving

from controller.runtime.bench import figures
from controller.runtime.bench_images import (
    BENCH_MEAS,
    MEAS_NAME,
    SET_NAME,
    BenchState,
    Measured,
    MeasuredView,
    Wanted,
    WantedWriter,
)
from controller.runtime.bench_loop import Bench
from controller.runtime.load_bank import LoadBank
from controller.runtime.played_car import CarSpec, PlayedCar
from controller.runtime.store import Store
from instruments.ac_load import AcLoad
from instruments.ac_source import AcSource
from instruments.faults import FaultKind, PortFault
from instruments.scpi_port import ScpiPort

TICK_S = 0.1  # a plant step


class Street:
    """Stand for plant, charger, adapter and scan; every pause of the bench moves it on."""

    def __init__(self, folder: Path, source: Served, load: Served, clock: Clock) -> None:
        self.clock = clock
        self.source, self.load = source, load
        self.writer = WantedWriter(folder / SET_NAME)
        self.volt_v = np.array([230.0, 0.0, 0.0])
        self.plugged = True
        self.duty = 16.0 / 60.0
        self.cp = 0
        self.contactor = self.weld = False
        self.scan_beats = self.plant_beats = True
        self.scan_s = clock.now_s
        self.told: list[dict[str, Any]] = []
        self.done: list[str] = []  # what was done to whom, in order
        self.duty_fault: PortFault | None = None
        self.stop_at_s = float("inf")
        self.next_s = clock.now_s + TICK_S
        source.tap = lambda message: self.done.append(f"source {message.decode()}")
        load.tap = lambda message: self.done.append(f"load {message.decode()}")

    def pause(self, seconds: float) -> None:
        self.clock.now_s += seconds
        while self.clock.now_s >= self.next_s:
            self.next_s += TICK_S
            self.source.loop.call(self.step)

    def step(self) -> None:
        source, load = self.source.twin, self.load.twin
        source.step(self.clock.now_s, TICK_S)
        load.step(self.clock.now_s, TICK_S)
        closes = self.cp == 2 and self.duty < 1.0
        self.contactor = (closes or (self.weld and self.contactor)) and source.actual_v[0] > 100.0
        volts = float(source.actual_v[0]) if self.contactor else 0.0
        amps = load.set_a if volts > 0.0 else 0.0
        source.set_measured([amps, 0.0, 0.0])
        load.set_measured(volts, amps)
        if self.plant_beats:
            self.writer.write(self.volt_v, self.plugged, self.clock.ns())
        if self.scan_beats:
            self.scan_s = self.clock.now_s

    def tell(self, kind: str, **fields: Any) -> None:
        self.told.append({"kind": kind, **fields})

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.told]


class Pilot:
    """Stand for the control-pilot adapter."""

    seen = -1

    def __init__(self, street: Street) -> None:
        self.street = street
        self.shown = -1

    def read_duty(self) -> float:
        """Return the street's duty cycle, or fail as it says."""
        if self.street.duty_fault is not None:
            raise self.street.duty_fault
        return self.street.duty

    def assert_cp(self, state: int) -> None:
        """Show a state to the charger."""
        self.street.cp = state
        self.street.done.append(f"cp {'ABC'[state]}")
        self.shown = state

    def set_cable(self, amps: float) -> None:
        """Show no cable."""

    def close(self) -> None:
        """Close nothing."""


@pytest.fixture
def street(tmp_path: Path) -> Iterator[tuple[Bench, Street, MeasuredView]]:
    clock = Clock()
    with serving(SOURCE, LOAD, clock=clock) as (source, load):
        street = Street(tmp_path, source, load, clock)
        ports = [
            ScpiPort("grid", part_of(SOURCE), source.address, timeout_s=1.0),
            ScpiPort("car", part_of(LOAD), load.address, timeout_s=1.0),
        ]
        for port in ports:
            port.open()
        store = Store.create(tmp_path / MEAS_NAME, BENCH_MEAS.itemsize)
        limits = {"hard_max_v": 255.0, "hard_max_a": 40.0, "slew_v_per_s": 200.0}
        bench = Bench(
            source=AcSource(ports[0], phases=1, clock_s=clock, pause=street.pause, **limits),
            load=LoadBank([AcLoad(ports[1], hard_max_a=35.0, pause=street.pause)]),
            adapter=Pilot(street),
            wanted=Wanted.attach(tmp_path / SET_NAME, 0.0),
            measured=Measured(store),
            car=PlayedCar(CarSpec(max_a=32.0)),
            period_s=0.1,
            scan_age_s=lambda: clock.now_s - street.scan_s if street.scan_s > 1000.0 else float("nan"),
            tell=street.tell,
            stop_asked=lambda: clock.now_s >= street.stop_at_s,
            pause=street.pause,
            clock_ns=clock.ns,
        )
        yield bench, street, MeasuredView(tmp_path / MEAS_NAME)
        for port in ports:
            port.close()


def after(street: Street, seconds: float) -> float:
    """Ask for a stop so many seconds from now, scan beating."""
    street.scan_s = max(street.scan_s, street.clock.now_s)
    street.stop_at_s = street.clock.now_s + seconds
    return street.stop_at_s


def index(done: list[str], what: str) -> int:
    """Return where something was done last."""
    return len(done) - 1 - done[::-1].index(what)


def test_nothing_is_energised_before_the_scan_beats(street: Any) -> None:
    bench, world, view = street
    world.scan_beats = False
    world.stop_at_s = world.clock.now_s + 3.0
    assert bench.run() == 0
    assert not any("OUTP ON" in what or "INP ON" in what or what.startswith("cp") for what in world.done)
    assert world.kinds() == ["bench_ready", "bench_off"]
    assert view.read()["state"] == BenchState.OFF


def test_it_energises_in_order_and_stops_in_order(street: Any) -> None:
    bench, world, view = street
    after(world, 10.0)
    assert bench.run() == 0
    released = index(world.done, "source TRIG OFF")  # off once more, then back to local control
    done = world.done[:released]
    first_volts = next(k for k, what in enumerate(done) if what.startswith("source VOLT:AC 230.0;"))
    starts = [
        first_volts,
        done.index("source OUTP ON"),
        done.index("load INP ON"),
        done.index("cp B"),
        done.index("cp C"),
    ]
    assert starts == sorted(starts)
    zero = max(k for k, what in enumerate(done[: index(done, "cp B")]) if what.startswith("load CURR 0.000;"))
    stops = [
        zero,
        index(done, "cp B"),
        index(done, "cp A"),
        index(done, "source OUTP OFF"),
        index(done, "load INP OFF"),
    ]
    assert stops == sorted(stops)
    assert done[-5:] == ["source OUTP?", "source OUTP:REL OFF", "source OUTP:REL?", "load INP OFF", "load INP?"]
    assert [what for what in world.done[released:] if "SYST:LOC" in what] == ["source SYST:LOC", "load SYST:LOC"]
    assert not world.source.twin.output_on and not world.load.twin.input_on
    assert {"kind": "bench_contactor", "opened": True, "allowed_s": 5.0} in world.told
    assert view.read()["state"] == BenchState.OFF


def test_the_load_follows_the_measured_duty_and_the_amps_are_read_back_at_the_source(street: Any) -> None:
    bench, world, view = street
    seen: dict[int, float] = {}  # amps read back after each cycle

    def watch() -> bool:
        record = view.read()
        if record is not None and record["state"] == BenchState.RUNNING:
            seen[int(record["cycles"])] = float(record["amp_a"][0])
        world.duty = 16.0 / 60.0 if world.clock.now_s < 1008.0 else 1.0
        return world.clock.now_s >= world.stop_at_s

    bench.stop_asked = watch
    after(world, 13.0)
    assert bench.run() == 0
    amps = np.array([seen[cycle] for cycle in sorted(seen)])
    assert amps.max() == pytest.approx(16.0, abs=0.01)
    assert amps[-1] == 0.0  # 100 % duty: no pilot, nothing drawn
    rise = np.diff(amps)
    assert 0.0 < rise.max() <= 5.0 * 0.2 + 0.01  # 5 A/s over a cycle or two, never a jump
    assert world.done.count("cp C") == 1
    record = view.read()
    assert record["cycles"] == figures(bench)["counters"]["cycles"] > 50
    assert record["set_seq"] > 0 and record["loop_ns"] >= 0
    json.dumps(figures(bench))


def test_volts_that_jump_are_reached_at_the_slew_rate(street: Any) -> None:
    bench, world, _ = street
    seen: list[float] = []

    def watch() -> bool:
        seen.append(float(world.source.twin.values["volt_ac_v"][0]))
        if world.clock.now_s > 1003.0:
            world.volt_v = np.array([200.0, 0.0, 0.0])
        return world.clock.now_s >= world.stop_at_s

    bench.stop_asked = watch
    after(world, 6.0)
    assert bench.run() == 0
    ramp = [volts for volts in seen if 200.0 < volts < 230.0]
    assert len(ramp) > 3 and bench.measured.record["slewing"] > 0
    assert np.all(np.abs(np.diff(ramp)) <= 200.0 * 0.1 + 0.1)


@pytest.mark.parametrize(("who", "allowed_s"), [("scan", 1.0), ("plant", 3.0)])
def test_a_silent_scan_or_plant_ends_all_traffic_but_the_switching_off(street: Any, who: str, allowed_s: float) -> None:
    bench, world, view = street

    def watch() -> bool:
        if world.clock.now_s > 1005.0:
            setattr(world, f"{who}_beats", False)
        return False

    bench.stop_asked = watch
    world.scan_s = world.clock.now_s + 1e-3
    assert bench.run() == 3
    assert allowed_s - 0.2 < world.clock.now_s - 1005.0 < allowed_s + 0.3
    assert world.done[-8:] == [
        "source TRIG OFF",
        "source OUTP OFF",
        "source OUTP?",
        "source OUTP:REL OFF",
        "source OUTP:REL?",
        "load INP OFF",
        "load INP?",
        "cp A",
    ]
    assert not world.source.twin.output_on
    assert who in world.told[-1]["text"] and world.told[-1]["source_off_confirmed"]
    assert view.read()["state"] == BenchState.FAULT and view.read()["fault"] == FaultKind.INTERLOCK


def at(world: Street, now_s: float, act: Any) -> Any:
    """Return a stop_asked that does something once at a time."""
    done: list[int] = []

    def watch() -> bool:
        if world.clock.now_s >= now_s and not done:
            done.append(1)
            act()
        return world.clock.now_s >= world.stop_at_s

    return watch


def test_a_lost_reply_is_survived_with_the_session_opened_anew(street: Any) -> None:
    bench, world, _ = street
    bench.stop_asked = at(world, 1005.0, world.source.server.lose_reply)
    after(world, 8.0)
    assert bench.run() == 0
    assert bench.measured.record["timeouts"] == 1 and world.kinds().count("bench_timeout") == 1


def test_a_cut_source_ends_in_a_fault_stop_that_is_honest_about_what_it_could_not_confirm(street: Any) -> None:
    bench, world, view = street
    bench.stop_asked = at(world, 1005.0, lambda: world.source.loop.do(world.source.server.cut()))
    after(world, 8.0)
    assert bench.run() == 3
    assert not world.load.twin.input_on and world.cp == 0  # everything else is made safe nevertheless
    assert view.read()["source_on"] == 1 and not world.told[-1]["source_off_confirmed"]


def test_a_trip_of_the_source_ends_the_run_and_is_not_cleared(street: Any) -> None:
    bench, world, view = street
    bench.stop_asked = at(world, 1005.0, lambda: world.source.twin.trip("OTP"))
    after(world, 8.0)
    assert bench.run() == 3
    assert view.read()["fault"] == FaultKind.PROTECTION
    assert world.source.twin.tripped == {"OTP"} and not any("CLE" in what for what in world.done)


def test_volts_beyond_the_hard_limit_are_never_sent(street: Any) -> None:
    bench, world, view = street
    bench.stop_asked = at(world, 1005.0, lambda: setattr(world, "volt_v", np.array([256.0, 0.0, 0.0])))
    after(world, 8.0)
    assert bench.run() == 3
    assert view.read()["fault"] == FaultKind.RANGE
    assert not any("VOLT:AC 256" in what for what in world.done)


def test_a_lost_pilot_switches_the_source_off_first(street: Any) -> None:
    bench, world, _ = street
    lost = PortFault(FaultKind.CLOSED, "pilot", "duty", "gone")
    bench.stop_asked = at(world, 1005.0, lambda: setattr(world, "duty_fault", lost))
    after(world, 8.0)
    assert bench.run() == 3
    assert world.told[-1]["device"] == "pilot"
    assert not world.source.twin.output_on


def test_an_error_of_our_own_switches_off_before_it_is_shown(street: Any) -> None:
    bench, world, view = street

    def broken() -> None:
        bench.car = None

    bench.stop_asked = at(world, 1005.0, broken)
    after(world, 8.0)
    with pytest.raises(AttributeError):
        bench.run()
    assert not world.source.twin.output_on and not world.load.twin.input_on
    assert view.read()["state"] == BenchState.FAULT


def test_a_scan_that_falls_silent_during_the_stop_ends_the_wait_for_the_contactor(street: Any) -> None:
    bench, world, view = street
    after(world, 8.0)
    world.weld = True

    def watch() -> bool:
        world.scan_beats = world.clock.now_s < world.stop_at_s - 0.5
        return world.clock.now_s >= world.stop_at_s

    bench.stop_asked = watch
    assert bench.run() == 3
    assert world.clock.now_s < world.stop_at_s + 1.0
    assert not world.source.twin.output_on and view.read()["fault"] == FaultKind.INTERLOCK


def test_a_contactor_that_stays_closed_is_told_and_the_source_goes_off_anyway(street: Any) -> None:
    bench, world, _ = street
    after(world, 8.0)
    world.weld = True
    assert bench.run() == 0
    assert {"kind": "bench_contactor", "opened": False, "allowed_s": 5.0} in world.told
    assert not world.source.twin.output_on
