"""Run the bench as the process that it is: started, energised, ended by SIGTERM; and refused by name."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scpi_helpers import LOAD, SOURCE, Served, serving

from controller.runtime import stores
from controller.runtime.bench import build
from controller.runtime.bench_images import MEAS_NAME, SET_NAME, BenchState, MeasuredView, WantedWriter
from controller.runtime.events import NAME as EVENTS
from controller.runtime.events import read_events
from controller.runtime.site import BenchPort, InstrumentPort, Site
from hil.twins.modbus_adapter import ModbusAdapterTwin
from instruments.catalog import load_model
from instruments.faults import PortFault

TICK_S = 0.05
PATIENCE_S = 90.0


def site_of(folder: Path, source: str, load: str, adapter: str) -> Site:
    """Write the site file of a bench and return it."""
    site = Site(
        name="bench",
        stage="bench",
        period_s=0.1,
        utc_minus_mono_ns=0,
        utc_offset_s=0.0,
        store_dir=str(folder),
        run_dir=str(folder),
        seed=1,
        dims=(1, 2, 0, 2),
        charger_names=["cp01"],
        node_names=["transformer", "poc"],
        chargers=[],
        bench=BenchPort(
            charger=0,
            source=InstrumentPort(
                name="grid", model=SOURCE, role="ac_source", address=source, hard_max_v=255.0, hard_max_a=40.0
            ),
            load=InstrumentPort(name="car", model=LOAD, role="ac_load", address=load, hard_max_a=35.0),
            adapter=InstrumentPort(name="pilot", model="cp-adapter", role="ev_adapter", address=adapter),
            car_max_a=32.0,
        ),
    )
    stores.prepare(site)
    (folder / "site.json").write_text(site.model_dump_json())
    return site


class World:
    """Step the twins and beat for plant and scan in a thread, in real time."""

    def __init__(self, folder: Path, site: Site, source: Served, load: Served) -> None:
        self.site, self.source, self.load = site, source, load
        self.cp = 0
        self.scan_beats = True
        self.writer = WantedWriter(folder / SET_NAME)
        self._output = stores.attach(site, "output.img")
        self._image = np.zeros(self._output.nbytes, dtype=np.uint8)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(TICK_S):
            self.source.loop.call(self._step)
            now_ns = time.monotonic_ns()
            self.writer.write(np.array([230.0, 0.0, 0.0]), True, now_ns)
            if self.scan_beats:
                self._output.write(self._image, now_ns)

    def _step(self) -> None:
        source, load = self.source.twin, self.load.twin
        source.step(0.0, TICK_S)
        load.step(0.0, TICK_S)
        volts = float(source.actual_v[0]) if self.cp == 2 else 0.0
        amps = load.set_a if volts else 0.0
        source.set_measured([amps, 0.0, 0.0])
        load.set_measured(volts, amps)


@contextmanager
def running(folder: Path) -> Iterator[tuple[World, subprocess.Popen[bytes]]]:
    """Serve the twins, run the bench process, and leave nothing behind."""
    with serving(SOURCE, LOAD, clock=time.monotonic) as (source, load):
        box: list[World] = []
        adapter = ModbusAdapterTwin(load_model("cp-adapter"), lambda: 16.0 / 60.0, lambda cp: setattr(box[0], "cp", cp))
        pilot = f"modbus+tcp://127.0.0.1:{source.loop.do(adapter.start())}"
        world = World(folder, site_of(folder, source.address, load.address, pilot), source, load)
        box.append(world)
        world.start()
        process = bench_process(folder)
        try:
            yield world, process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()
            world.stop()
            source.loop.do(adapter.stop())


def bench_process(folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "VOLTBENCH_PARENT": str(os.getpid())}
    command = [sys.executable, "-m", "controller.runtime.bench", str(folder / "site.json")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)


def record_when(folder: Path, reached: Any, process: subprocess.Popen[bytes]) -> Any:
    """Return the bench's record once it is as wanted; the test fails where the process ends before."""
    until_s = time.monotonic() + PATIENCE_S
    tick = threading.Event()
    view: MeasuredView | None = None
    while time.monotonic() < until_s and process.poll() is None:
        if view is None and (folder / MEAS_NAME).exists() and stores.Heartbeat(folder / MEAS_NAME).written_ns():
            view = MeasuredView(folder / MEAS_NAME)
        record = view.read() if view is not None else None
        if record is not None and reached(record):
            return record.copy()
        tick.wait(0.02)
    raise AssertionError(f"never reached; exit {process.poll()}: {process.stderr.read() if process.poll() else ''}")


def test_the_process_energises_draws_and_ends_safe_on_sigterm_while_ctrl_c_is_left_to_the_supervisor(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as (world, process):
        record = record_when(tmp_path, lambda record: record["amp_a"][0] > 10.0, process)
        assert record["state"] == BenchState.RUNNING and record["cp"] == 2 and record["source_on"]
        process.send_signal(signal.SIGINT)
        cycles = int(record["cycles"])
        record_when(tmp_path, lambda record: record["cycles"] > cycles + 3, process)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
        assert not world.source.twin.output_on and not world.load.twin.input_on and world.cp == 0
    kinds = [event["kind"] for event in read_events(tmp_path / EVENTS)]
    assert kinds[:4] == ["identified"] * 3 + ["bench_ready"] and kinds[-1] == "bench_off"
    assert (tmp_path / "bench.json").exists()


def test_a_scan_that_hangs_makes_the_process_switch_off_and_exit_3(tmp_path: Path) -> None:
    with running(tmp_path) as (world, process):
        record_when(tmp_path, lambda record: record["state"] == BenchState.RUNNING, process)
        world.scan_beats = False
        assert process.wait(PATIENCE_S) == 3
        assert not world.source.twin.output_on and not world.load.twin.input_on
    fault = [event for event in read_events(tmp_path / EVENTS) if event["kind"] == "fault"]
    assert "scan" in fault[0]["text"] and fault[0]["source_off_confirmed"]


def test_a_wrong_box_at_the_sources_address_ends_with_3_and_both_names(tmp_path: Path) -> None:
    with serving(SOURCE, LOAD) as (_, load):
        site_of(tmp_path, load.address, load.address, "modbus+tcp://127.0.0.1:9")
        process = bench_process(tmp_path)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert b"grid" in stderr and b"wrong identity" in stderr and b"IT8625" in stderr and b"Chroma" in stderr


def test_a_load_too_small_for_the_car_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    site = site_of(tmp_path, "TCPIP::127.0.0.1::9::SOCKET", "TCPIP::127.0.0.1::9::SOCKET", "modbus+tcp://127.0.0.1:9")
    assert site.bench is not None
    small = site.bench.load.model_copy(update={"hard_max_a": 16.0})
    weak = site.model_copy(update={"bench": site.bench.model_copy(update={"load": small})})
    with pytest.raises(PortFault, match="car:hard_max_a: interlock: 16 A; allowed 32 A"):
        build(weak, lambda kind, **fields: None, lambda: False)
