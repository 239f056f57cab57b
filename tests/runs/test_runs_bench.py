"""Keep and compare what the bench's instruments read: file, units, differences between meters."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from controller.runtime.bench_images import MEAS_NAME, BenchState, Measured
from hil.runs import bench_figures
from hil.runs.bench_trace import NAME, BenchRecorder, load_bench
from hil.runs.promises import Mark, SilenceRule, Verdict, VerdictPlan
from hil.runs.trace import CONTROLLED, UNCONTROLLED, Trace, blank
from hil.runs.verdict import judge

NS = 1_000_000_000


def recorded(folder: Path, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Write records as the bench does, one a second from scenario time 0, and return what the run folder keeps."""
    site: Any = SimpleNamespace(store=lambda name: folder / name, bench=object(), utc_minus_mono_ns=90 * NS)
    recorder = BenchRecorder(site, start_utc_s=100.0)  # scenario time 0 is 10 s of the monotonic clock
    recorder.sample()  # nothing is there yet
    measured = Measured.create(site)
    assert (folder / MEAS_NAME).exists()
    for k, row in enumerate(rows):
        measured.set(**row)
        measured.publish(BenchState.RUNNING, (10 + k) * NS)
        recorder.sample()
        recorder.sample()  # the same record again
    recorder.save(folder)
    return load_bench(folder)


def ac(amps: float, analyzer_a: float) -> dict[str, Any]:
    return {
        "volt_v": np.array([230.0, 231.0, 0.0]),
        "amp_a": np.array([amps, 0.0, 0.0]),
        "analyzer_v": np.array([230.5, 231.0, 0.0]),
        "analyzer_a": np.array([analyzer_a, 0.0, 0.0]),
        "duty": 0.5,
    }


def test_every_record_is_kept_once_with_its_scenario_time_and_units(tmp_path: Path) -> None:
    bench = recorded(tmp_path, [ac(6.0, 6.1), ac(10.0, 10.3)])
    assert bench["t_s"].tolist() == [0.0, 1.0] and bench["l1.amp_a"].tolist() == [6.0, 10.0]
    schema = pq.read_schema(tmp_path / NAME)
    assert schema.field("l1.amp_a").metadata[b"unit"] == b"A" and schema.field("dc_v").metadata[b"unit"] == b"V"
    assert load_bench(tmp_path / "none") == {}


def test_the_difference_of_source_and_analyzer_is_taken_while_current_flows(tmp_path: Path) -> None:
    ramp = [ac(0.0, 5.0)] * 8 + [ac(3.0, 5.0)]
    bench = recorded(tmp_path, [*ramp, *[ac(6.0, 6.1)] * 13, *[ac(10.0, 10.3)] * 13])
    rows = {(terminal, unit): values for terminal, unit, *values in bench_figures.differences(bench)}
    meter, analyzer, mean, largest = rows["L1", "A"]
    count6, count10 = 13 - 5 - 5, 13 - 5  # five samples beside a step are left out
    assert meter == pytest.approx((6.0 * count6 + 10.0 * count10) / (count6 + count10), abs=0.4)
    assert analyzer - meter == pytest.approx(-mean) and -0.3 <= mean <= -0.1
    assert largest == pytest.approx(-0.3)
    assert rows["L1", "V"][2] == pytest.approx(-0.5)
    assert ("L1", "W") not in rows and ("L2", "A") not in rows  # no watts were read, no current flowed


def test_without_an_analyzer_nothing_is_compared(tmp_path: Path) -> None:
    row = ac(6.0, 6.0) | {"analyzer_v": np.full(3, np.nan), "analyzer_a": np.full(3, np.nan)}
    assert bench_figures.differences(recorded(tmp_path, [row])) == []


def test_both_kinds_of_bench_are_drawn(tmp_path: Path) -> None:
    alternating = recorded(tmp_path, [ac(6.0, 6.1), ac(10.0, 10.3)])
    picture = bench_figures.draw(alternating, [Mark(0.5, "order")])
    assert "L2, source" in picture and "L3, source" not in picture and "duty cycle" in picture
    (tmp_path / "dc").mkdir()
    row = {"dc_v": 350.0, "dc_a": 20.0, "dc_w": 7000.0, "soc": 0.4, "demand_a": 50.0}
    direct = recorded(tmp_path / "dc", [row, row])
    assert bench_figures.is_dc(direct) and not bench_figures.is_dc(alternating)
    assert "state of charge" in bench_figures.draw(direct, [])


def headed(watts: list[float], name: str) -> Trace:
    """Return a trace of one charger, a sample a second from -1 s, with these watts at the feeder head."""
    trace = blank(name, np.arange(len(watts)) - 1.0, ["cp"], ["home"], ["transformer", "head", "poc"])
    trace.head_w[:] = watts
    return trace


def heartbeat(watts: list[float], free: list[float] | None = None) -> Verdict:
    """Judge a run whose DSO falls silent at 0 s: 30 kW after 5 s of silence, 4 s to obey, 1 s between beats."""
    plan = VerdictPlan(obey_s=np.array([4.0]), silence=SilenceRule(0.0, 5.0, 30e3), tolerance_w=500.0)
    without = headed([40e3] * len(watts) if free is None else free, UNCONTROLLED)
    return next(v for v in judge(plan, headed(watts, CONTROLLED), without, None) if v.name == "heartbeat_failsafe")


def test_the_fall_to_the_fail_safe_watts_is_judged_from_the_last_beat() -> None:
    found = heartbeat([40e3] * 8 + [30e3] * 8)
    assert found.state == "passed" and found.value == 7.0 and found.limit == 10.0
    assert heartbeat([40e3] * 13 + [30e3] * 8).state == "failed"  # 12 s
    assert heartbeat([40e3] * 8 + [30e3] * 4 + [40e3] * 4).state == "failed"  # it did not stay


def test_a_fall_that_proves_nothing_is_not_exercised() -> None:
    assert heartbeat([30e3] * 16).state == "not_exercised"  # it was down when the beats ended
    assert "before the time-out" in heartbeat([40e3] * 3 + [30e3] * 14).text
    assert heartbeat([40e3] * 8 + [30e3] * 8, free=[40e3] * 8 + [30e3] * 8).state == "not_exercised"
    assert heartbeat([40e3] * 6).state == "not_exercised"  # too short
    assert heartbeat([40e3] * 8 + [np.nan] * 8).state == "inconclusive"
