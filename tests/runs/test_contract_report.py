"""A contract's report: limits that were told, orders of the journal, allowance, meters kept, a FlexPower evening."""

import math
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from controller.runtime.journal import Journal
from controller.runtime.journal_orders import OrderLife
from hil.rig.assembler import assemble
from hil.rig.rigfile import load_rig
from hil.runs.contract_figures import Curtailed
from hil.runs.evidence import Series, over_limit
from hil.runs.evidence_account import ACCOUNT, RECKONED, _longest_day_h, covered_h, taken_of
from hil.runs.evidence_journal import JournalFigures, read_figures
from hil.runs.evidence_limits import Held, Point, contracts_of, limit_of
from hil.runs.evidence_meters import TABLE, load_meters, read_ledger, save_meters
from hil.runs.evidence_orders import with_told
from hil.runs.fast import reference_of, run_fast
from hil.runs.judging import verdict_plan
from hil.runs.promises import PASSED
from hil.runs.verdict import judge
from profiles.contract import load_contract

ZONE = ZoneInfo("Europe/Amsterdam")
START = 1_770_100_000.0
RIGS = Path(__file__).parents[2] / "profiles" / "rigs"


def held(name: str, **point: Any) -> Held:
    return Held(load_contract(name), 0.0, ZONE, (Point("head", (0,), 1, **point),))


def life(subject: str, watts: float, at_s: float, state: str = "accepted", **more: Any) -> OrderLife:
    name, kind = more.get("order_id", f"o{at_s:g}"), more.get("kind", "cap")
    from_s, to_s = START + more.get("from_s", math.nan), START + more.get("to_s", math.nan)
    heard_ns = round((START + at_s) * 1e9)
    direction = more.get("direction", "import")
    return OrderLife(1, "dso", name, 0, kind, subject, direction, watts, from_s, to_s, heard_ns, state)


def limits(contract: Held, times_s: list[float]) -> list[float]:
    return limit_of(contract, START + np.array(times_s), 0.0, 0.0, contract.points[0]).watt_w.tolist()


def test_a_contract_on_call_has_its_capacity_and_less_while_it_is_called():
    contract = held("tdtr")
    capacity_w = contract.contract.capacity_w  # type: ignore[union-attr]
    calls = [
        life("tdtr", 50_000.0, 0.0, from_s=100.0, to_s=300.0, order_id="a"),
        life("tdtr", 40_000.0, 200.0, from_s=100.0, to_s=300.0, order_id="a"),  # replaces it from 200 s on
        life("tdtr", 1_000.0, 0.0, state="refused", from_s=0.0, to_s=400.0),
        life("head", 1_000.0, 0.0, from_s=0.0, to_s=400.0),  # an order to the node is not a call on the contract
    ]
    told = with_told(contract, calls, [], START)
    assert limits(told, [50.0, 150.0, 250.0, 350.0]) == [capacity_w, 50_000.0, 40_000.0, capacity_w]


def test_a_withdrawn_call_ends_and_an_envelope_follows_the_orders_of_its_node():
    calls = [
        life("tdtr", 50_000.0, 0.0, order_id="a", state="withdrawn"),
        life("tdtr", math.nan, 100.0, order_id="a", kind="withdraw"),
    ]
    told = with_told(held("tdtr"), calls, [], START)
    assert limits(told, [50.0, 150.0])[0] == 50_000.0
    assert limits(told, [150.0]) == limits(held("tdtr"), [0.0])
    envelope = held("operating_envelope")
    subscribed_w = limits(envelope, [0.0])[0]
    told = with_told(envelope, [life("head", 7_000.0, 0.0, from_s=0.0, to_s=60.0)], [], START)
    assert limits(told, [30.0, 90.0]) == [7_000.0, subscribed_w]


def test_section_14a_binds_at_the_floor_of_each_point_while_dimmed_and_a_guard_by_its_steps():
    dims = [{"event": "dim", "t_s": 10.0, "for_s": 20.0}]
    assert limits(with_told(held("par14a", dimmed_w=10_500.0), [], dims, START), [5.0, 15.0, 31.0]) == [
        math.inf, 10_500.0, math.inf,
    ]  # fmt: skip
    log = [
        {"event": "lpc_write", "use_case": "lpc", "t_s": 5.0, "limit_w": 9_000.0},
        {"event": "lpc", "use_case": "lpc", "t_s": 8.0, "limit_w": None},
    ]
    assert limits(with_told(held("lpc_guard"), [], log, START), [0.0, 6.0, 9.0]) == [math.inf, 9_000.0, math.inf]


def test_an_export_is_judged_by_what_flows_back():
    zeros = np.zeros((3, 3))
    series = Series(3600.0 * np.arange(3), zeros, zeros, np.array([5_000.0, 1_000.0, 0.0]))
    cap = replace(limit_of(held("group_cluster"), START + series.t_s, 0.0, 0.0), watt_w=np.full(3, 2_000.0))
    assert over_limit(series, cap, np.ones(3, dtype=bool)).energy_wh == pytest.approx(3_000.0)


def test_the_allowance_takes_the_account_of_the_journal_and_says_what_it_had_to_reckon():
    contract = with_told(held("tdtr"), [life("tdtr", 5e4, 0.0, from_s=0.0, to_s=7200.0)], [], START)
    costs, span = [Curtailed("run", 2.0, 1.0, 3_000.0, 0.0)], (START, START + 3600.0)
    reckoned = {row.what: row for row in taken_of(contract, JournalFigures(), costs, span)}
    assert reckoned["hours called in the year"].value == pytest.approx(1.0)  # the run saw one of the two hours
    assert reckoned["hours called in the year"].allowed == pytest.approx(0.15 * 8760)
    assert (reckoned["energy curtailed in the year"].value, reckoned["calls in the year"].source) == (3.0, RECKONED)
    account = JournalFigures(account={"year": 2026, "hours": 1400.0, "calls": 7, "curtailed_kwh": 12.0})
    taken = {row.what: row for row in taken_of(contract, account, costs, span)}
    assert (taken["hours called in the year"].within, taken["hours called in the year"].source) == (False, ACCOUNT)
    assert covered_h([(0.0, 3600.0), (1800.0, 5400.0), (9.0, 9.0)]) == pytest.approx(1.5)


def test_every_kind_has_an_account_of_its_own_with_what_was_told_or_what_the_clock_set():
    costs, span = [Curtailed("run", 2.0, 1.0, 3_000.0, 0.0)], (START, START + 3600.0)
    steps = [
        {"event": "lpc_write", "use_case": "lpc", "t_s": 600.0, "limit_w": 9_000.0},
        {"event": "lpc", "use_case": "lpc", "t_s": 2400.0, "limit_w": None},
    ]
    dims = [{"event": "dim", "t_s": at_s, "for_s": 900.0} for at_s in (0.0, 1200.0, 7200.0)]
    for name, log, hours, times in (
        ("lpc_guard", steps, ("hours limited", 0.5), ("limits told", 1.0)),
        ("par14a", dims, ("hours dimmed", 0.5), ("times dimmed", 2.0)),
        ("flexpower_1", [], ("hours limited", 2.0), None),
        ("anm_lifo", [], ("hours limited", 2.0), None),
    ):
        contract = with_told(held(name), [], log, START)
        taken = {
            row.what.removesuffix(" in the year"): row for row in taken_of(contract, JournalFigures(), costs, span)
        }
        assert taken[hours[0]].value == pytest.approx(hours[1]), name
        assert times is None or taken[times[0]].value == times[1], name
        assert taken["energy curtailed"].value == 3.0, name
        assert len(taken) >= 2 + (times is not None), name


def test_a_contract_that_nobody_called_on_curtailed_nothing_by_its_capacity():
    costs = [Curtailed("run", 2.0, 1.0, 3_000.0, 0.0)]
    taken = taken_of(held("tdtr"), JournalFigures(), costs, (START, START + 3600.0))
    assert {row.what: row.value for row in taken} == {
        "hours called in the year": 0.0, "calls in the year": 0.0, "energy curtailed in the year": 0.0,
    }  # fmt: skip


def test_the_journal_tells_orders_of_the_contract_and_its_nodes_and_a_changed_row_is_named(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", utc_ns=lambda: round(START * 1e9))
    order = {"source": "dso", "order_id": "c", "sequence": 0, "kind": "cap", "direction": "import", "subject": "tdtr",
             "value_w": 5e4, "from_s": START + 60.0, "to_s": START + 600.0}  # fmt: skip
    no = journal.append(
        "accepted", source="dso", subject="tdtr", order_id="c", order=order, late=True, flags="late by 9 s"
    )
    journal.append("obeyed", source="evidence", subject="tdtr", order_id="c", order_no=no, after_s=4.5)
    journal.append("refused", source="dso", subject="elsewhere", order_id="x", order=order | {"subject": "elsewhere"})
    journal.append("account", source="orders", subject="tdtr", year=2026, hours=0.15)
    journal.close()
    figures, everything = read_figures(tmp_path, "tdtr", ["head"], (START - 10.0, START + 900.0))
    assert (len(everything), figures.counts()["received"], figures.counts()["not as agreed"]) == (2, 1, 1)
    assert figures.spans_s("obeyed_s") == (4.5, 4.5, 4.5)
    assert (figures.calls[0].notice_s, figures.account["hours"]) == (pytest.approx(60.0), 0.15)
    assert figures.faults == ()
    assert read_figures(tmp_path / "none", "tdtr", [], (0.0, 1.0))[0].path is None


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Play 40 minutes around 17:00 at eight stations of the rig file, a car a day and socket."""
    folder = tmp_path_factory.mktemp("evening")
    text = (RIGS / "flexpower.toml").read_text()
    text = text[: text.rindex("[[connection]]\ncustomer = 9\n")]
    for old, new in (
        ("2018-01-15T00:00:00", "2018-01-15T16:40:00"), ("count = 78", "count = 16"), ('"1-39"', '"1-8"'),
        ("per_day = 0.71", "per_day = 1.0"), ("settle_s = 1800.0", "settle_s = 300.0"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    path = folder / "evening.toml"
    path.write_text(text)
    loaded = load_rig(str(path))
    rig = assemble(loaded, 1, 2400.0)
    run = run_fast(rig, 2400.0, 30.0, ledger_dir=folder)
    reference = reference_of(loaded, 1, 2400.0)
    free = run_fast(rig, 2400.0, 30.0, controlled=False, reference=reference).trace
    return folder, loaded, rig, run, free


def test_stations_keep_their_windows_from_the_start_of_the_hour_on(evening):
    _, loaded, rig, run, free = evening
    (verdict,) = judge(verdict_plan(rig, run.log, 2400.0), run.trace, free, None)
    assert (verdict.name, verdict.state) == ("contract_kept_flexpower_1", PASSED), verdict.text
    (contract,) = contracts_of(loaded, rig)
    assert [len(point.chargers) for point in contract.points] == [2] * 8
    drawing = run.trace.drawn_a[run.trace.t_s > 1300.0].max()
    assert 5.0 < drawing <= 6.5  # they charge on in the window: the brake did not put them to sleep


def test_meters_outlive_the_ledger(evening):
    folder = evening[0]
    read = read_ledger(folder)
    assert save_meters(folder) == folder / TABLE
    kept = load_meters(folder / TABLE)
    for name in type(read).__slots__:
        np.testing.assert_array_equal(getattr(kept, name), getattr(read, name))
    assert kept.charger_a.shape[1:] == (16, 3)


@pytest.mark.parametrize(
    ("spans", "hours"),
    [
        ([(0.0, 29.0)], 29.0 / 3600.0),
        ([(0.0, 7200.0)], 2.0),
        ([(0.0, 3600.0), (30.0, 3630.0)], 3630.0 / 3600.0),
        ([(-1800.0, 5400.0)], 1.5),
        ([], 0.0),
    ],
)
def test_the_longest_day_is_to_the_second_and_counts_what_overlaps_once(spans, hours):
    zone = ZoneInfo("Europe/Berlin")
    midnight_s = datetime(2026, 1, 13, tzinfo=zone).timestamp()
    found = _longest_day_h(SimpleNamespace(zone=zone), [(midnight_s + a, midnight_s + b) for a, b in spans])
    assert found == pytest.approx(hours, abs=1e-8)
    assert found <= max(hours, 2.0)
