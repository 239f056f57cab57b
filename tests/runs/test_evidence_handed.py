"""Limits that were handed in, from the journal; and what no meter said, which is never taken for obeyed."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controller.runtime.journal import Entry
from hil.runs.contract_figures import Meter, kept
from hil.runs.evidence import Limit, Series, over_limit
from hil.runs.evidence_handed import handed_entries
from hil.runs.evidence_limits import Held, Point, limit_of
from hil.runs.evidence_meters import Readings, _scan, bridged, read_witnesses
from hil.runs.evidence_orders import with_told
from profiles.contract import load_contract

ZONE = ZoneInfo("Europe/Berlin")
START = 1_770_100_000.0
INF, NAN = math.inf, math.nan


def held(name: str, *points: str, **point: Any) -> Held:
    return Held(load_contract(name), 0.0, ZONE, tuple(Point(p, (0,), 1, **point) for p in points or ("head",)))


def entry(kind: str, source: str, at_s: float, subject: str = "", mono_ns: int = 0, **body: Any) -> Entry:
    return Entry(1, round((START + at_s) * 1e9), mono_ns, kind, source, "", subject, body)


def limits(contract: Held, entries: list[Entry], times_s: list[float], point: int = 0) -> list[float]:
    told = with_told(contract, [], [], START, handed_entries(entries))
    return limit_of(told, START + np.array(times_s), 0.0, 0.0, told.points[point]).watt_w.tolist()


def test_a_guards_limit_follows_its_transitions_and_writes_at_its_own_node_only():
    said = [
        entry("decided", "lpc", 0.0, "head", rule="901", limit_w=40e3),
        entry("accepted", "lpc", 10.0, "head", limit_w=5e3),
        entry("accepted", "lpc", 12.0, "other", limit_w=1e3),
        entry("refused", "lpc", 15.0, "head", limit_w=5e3),
        entry("decided", "lpp", 16.0, "head", limit_w=2e3),
        entry("accepted", "lpc", 20.0, "head", limit_w="inf"),
    ]
    times = [-1.0, 5.0, 11.0, 17.0, 25.0]
    assert limits(held("lpc_guard", "head", "other"), said, times) == [INF, 40e3, 5e3, 5e3, INF]
    assert limits(held("lpc_guard", "head", "other"), said, times, 1) == [INF, INF, INF, 1e3, 1e3]


def test_a_contact_dims_until_its_time_or_the_next_word():
    said = [
        entry("decided", "dim", 0.0, until_utc_s=START + 60.0),
        entry("decided", "dim", 30.0, until_utc_s="-inf"),
        entry("decided", "dim", 40.0, until_utc_s="inf"),
    ]
    found = limits(held("par14a", dimmed_w=4200.0), said, [-1.0, 10.0, 35.0, 50.0, 1e6])
    assert found == [INF, 4200.0, INF, 4200.0, 4200.0]


def schedule(at_s: float, rows: list[tuple[float, float, float]], renewed_s: float | None = None) -> list[Entry]:
    """Return the entries of a schedule for head: from, to and W."""
    stamp = {"mono_ns": round(at_s * 1e9), "renewed_s": START + (at_s if renewed_s is None else renewed_s)}
    return [
        entry("received", "envelope", at_s, "head", from_s=START + a, to_s=START + b, import_w=w, export_w=INF, **stamp)
        for a, b, w in rows
    ]


def test_an_envelope_holds_from_its_coming_until_another_takes_its_place():
    said = [
        *schedule(0.0, [(-100.0, 100.0, 3e3), (100.0, 300.0, 8e3)]),
        *schedule(150.0, [(100.0, 200.0, 6e3), (200.0, 300.0, INF)]),
        entry("received", "envelope", 250.0, "head", mono_ns=250, intervals=0),
    ]
    times = [-50.0, 50.0, 120.0, 160.0, 220.0, 260.0]
    assert limits(held("operating_envelope"), said, times) == [11e3, 3e3, 8e3, 6e3, INF, 11e3]


def test_a_lost_envelope_leaves_the_lower_of_both():
    said = schedule(0.0, [(0.0, 5000.0, 20e3), (5000.0, 9000.0, 3e3)], renewed_s=-100.0)  # lost 800 s after it came
    assert limits(held("operating_envelope"), said, [10.0, 790.0, 810.0, 6000.0]) == [20e3, 20e3, 11e3, 3e3]


def test_a_limit_with_nothing_measured_under_it_was_kept_by_nobodys_knowledge():
    meter = Series(np.arange(4.0), np.full((4, 3), NAN), np.full((4, 3), NAN))
    cap = Limit(np.full(4, INF), np.full(4, 5e3))
    over = over_limit(meter, cap, np.ones(4, dtype=bool))
    assert math.isnan(over.energy_wh)
    assert math.isnan(over.highest_w)
    assert over.missing_s == 3.0
    told = with_told(held("lpc_guard"), [], [], START, [entry("decided", "lpc", -1.0, "head", limit_w=5e3)])
    [row] = kept(told, Meter("charger", {"head": meter}), START, "run", (0.5, 250.0))
    assert math.isnan(row.over.energy_wh)
    assert math.isnan(row.energy_wh)


def readings(times: list[float], watts: float = 1000.0) -> Readings:
    t, one = np.array(times), np.full((len(times), 1), watts, dtype="f4")
    three = np.full((len(times), 1, 3), 5.0, dtype="f4")
    return Readings(t, three, three + 225, one, three, three + 225, one, one, one.astype("u1"))


def test_a_time_without_scans_is_not_measured():
    found = bridged(readings([START + k for k in (0, 1, 2, 3, 600, 601)]))
    assert (found.utc_s - START).tolist() == [0, 1, 2, 3, 8, 600, 601]
    assert np.isnan(found.charger_w[:, 0]).tolist() == [False] * 4 + [True] + [False] * 2
    assert bridged(readings([START, START + 30, START + 60])).utc_s.size == 3  # steps of virtual time


@pytest.mark.parametrize(
    ("change", "lost"),
    [({}, ""), ({"charger_change_ns": [10]}, "charger"), ({"charger_link": [0]}, "charger"),
     ({"charger_quality": [1]}, "charger"), ({"node_a_change_ns": [10]}, "node"),
     ({"node_v_change_ns": [10]}, "volts")],
)  # fmt: skip
def test_a_reading_that_stands_still_or_is_not_good_is_not_measured(change, lost):
    now = 100_000_000_000
    base = {name: [now] for name in ("now_ns", "charger_change_ns", "node_a_change_ns", "node_v_change_ns")}
    base |= {"charger_quality": [0], "charger_link": [1], "node_a_quality": [0], "node_v_quality": [0]}
    base |= {"charger_w": [700.0], "node_w": [800.0]}
    base |= {name: [[5.0] * 3] for name in ("charger_a", "charger_v", "node_a", "node_v")}
    inp = SimpleNamespace(**{name: np.array(value) for name, value in (base | change).items()})
    out = SimpleNamespace(allowed_a=np.array([6.0]), reason=np.array([1]))
    plan = SimpleNamespace(phase_map=np.array([[0, -1, -1]]), max_age_s=np.array([9.0]), node_max_age_s=np.array([9.0]))
    where = (np.array([0]), np.array([0]), np.array([0]))
    _, amps, _, watts, node_a, node_v, node_w, _, _ = _scan(START, inp, out, where, plan)
    unknown = {"charger": np.isnan(watts[0]), "node": np.isnan(node_w[0]), "volts": np.isnan(node_v[0, 0])}
    assert [name for name, is_so in unknown.items() if is_so] == ([lost] if lost else [])
    assert np.isnan(amps[0]).tolist() == [lost == "charger", False, False]
    assert np.isnan(node_a[0, 0]) == (lost == "node")


def test_a_witness_that_died_says_nothing_of_the_rest_of_the_run(tmp_path):
    head = "utc_s,meter,node,use,a_v,b_v,c_v,a_a,b_a,c_a,power_w,energy_wh,export_wh,quality\n"
    rows = [f"{START + k:.3f},w,head,evidence,230,230,230,5,5,5,3450,1,0,0\n" for k in (10, 11, 12, 13)]
    (tmp_path / "meters.csv").write_text(
        head + "".join([*rows, rows[-1].replace(",0\n", ",2\n").replace("13.", "14.")])
    )
    series = read_witnesses(tmp_path, START, START + 1000.0)["head"]
    cap = Limit(np.full(series.t_s.size, INF), np.full(series.t_s.size, 5e3))
    over = over_limit(series, cap, np.ones(series.t_s.size, dtype=bool))
    assert over.missing_s == pytest.approx(10.0 + 986.0)
    (tmp_path / "meters.csv").write_text(head + "".join(rows))  # killed: nobody wrote that it was lost
    series = read_witnesses(tmp_path, START, START + 1000.0)["head"]
    cap = replace(cap, amp_a=np.full(series.t_s.size, INF), watt_w=np.full(series.t_s.size, 5e3))
    assert over_limit(series, cap, np.ones(series.t_s.size, dtype=bool)).missing_s == pytest.approx(10.0 + 982.0)
