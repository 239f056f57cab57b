"""Calls on contracts: notice, allowance, floor, several at once, withdrawal, restart, summer time."""

import math
from datetime import datetime
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydantic import ValidationError

from controller.law.names import Reason, Step
from controller.runtime.contract_book import ContractBook
from controller.runtime.contract_plan import Binding
from controller.runtime.journal import Journal, JournalError, read_entries
from controller.runtime.order import Order
from profiles.contract import READER, bundled_contracts, load_contract
from profiles.contract_common import Allowance

ZONE = ZoneInfo("Europe/Amsterdam")
GUARD = 0.99


def at(*parts: int) -> float:
    return datetime(*parts, tzinfo=ZONE).timestamp()


def call(
    number: int, contract: str, watts: float, start: float, end: float, sequence: int = 0, kind: str = "cap"
) -> Order:
    return Order("dso", f"call-{number}", sequence, kind, contract, "import", watts, start, end)


@pytest.fixture
def kept():
    return []


@pytest.fixture
def make(kept):
    def book(*names: str, **changes: object) -> ContractBook:
        bindings = [Binding(load_contract(name).model_copy(update=changes), (0, 1), (0,), 60.0) for name in names]
        rows = {name: (k,) for k, name in enumerate(names)}

        def keep(kind: str, **fields: object) -> int:
            kept.append((kind, fields))
            return len(kept)

        return ContractBook(bindings, rows, "Europe/Amsterdam", keep)

    return book


def test_a_call_in_time_holds_from_its_lead_to_its_end_less_the_guard_band(make):
    book, begin, end = make("tdtr"), at(2026, 2, 3, 16), at(2026, 2, 3, 20)
    answer = book.offer(call(1, "tdtr", 50_000.0, begin, end), at(2026, 2, 2, 8, 30))
    assert answer.accepted and answer.why == ""
    assert book.limits_w(begin - 61)["tdtr"] == math.inf
    assert book.limits_w(begin - 60)["tdtr"] == book.limits_w(end - 1)["tdtr"] == 50_000.0 * GUARD
    assert book.limits_w(end)["tdtr"] == math.inf
    state = book.states(end)["tdtr"]
    assert (state["hours"], state["calls"], state["late_calls"], state["calls_beyond"]) == (4.0, 1, 0, 0)
    assert state["shortest_notice_s"] == 31.5 * 3600


def test_a_late_call_is_obeyed_and_flagged_or_refused_as_the_contract_says(make, kept):
    begin, end, told = at(2026, 2, 3, 14), at(2026, 2, 3, 16), at(2026, 2, 2, 8, 31)
    obeyed = make("tdtr").offer(call(1, "tdtr", 0.0, begin, end), told)
    assert obeyed.accepted and obeyed.why.startswith("late by 60 s")
    assert kept[-1][0] == "accepted" and kept[-1][1]["late"] is True
    book = make("cbc_a")
    refused = book.offer(call(1, "cbc_a", 0.0, begin, end), told)
    assert not refused.accepted and not refused.obeyed and "late by 1860 s" in refused.why
    assert book.limits_w(begin)["cbc_a"] == math.inf
    assert book.states(end)["cbc_a"]["calls"] == 0


def test_a_call_beyond_the_hours_of_the_year_is_obeyed_and_flagged(make):
    book = make("tdtr")
    first, limit_h = at(2026, 1, 2), 0.15 * 8760
    assert book.offer(call(1, "tdtr", 0.0, first, first + (limit_h - 1) * 3600), at(2026, 1, 1, 8)).why == ""
    again = at(2026, 6, 2, 16)
    assert book.offer(call(2, "tdtr", 0.0, again, again + 3600), at(2026, 6, 1, 8)).why == ""
    more = book.offer(call(3, "tdtr", 0.0, again + 3600, again + 5400), at(2026, 6, 1, 8))
    assert more.obeyed and "1314.50 h of 2026, allowed 1314 h" in more.why
    assert book.states(again)["tdtr"]["calls_beyond"] == 1
    new_year = at(2027, 1, 5)
    assert book.offer(call(4, "tdtr", 0.0, new_year, new_year + 3600), at(2027, 1, 4, 8)).why == ""


def test_a_call_outside_the_agreed_moments_or_over_their_number_is_refused(make):
    book = make("cbc_a")
    night = book.offer(call(1, "cbc_a", 60_000.0, at(2026, 2, 3, 2), at(2026, 2, 3, 4)), at(2026, 2, 1))
    assert not night.obeyed and "outside the agreed moments" in night.why
    allowance = load_contract("cbc_a").allowance.model_copy(update={"max_calls_per_year": 1})
    book = make("cbc_a", allowance=allowance)
    answers = [
        book.offer(call(d, "cbc_a", 60_000.0, at(2026, 2, d, 14), at(2026, 2, d, 16)), at(2026, 2, 1)) for d in (3, 4)
    ]
    assert answers[0].accepted and not answers[1].obeyed and "2 calls of 2026, allowed 1" in answers[1].why


def test_a_call_under_the_floor_is_held_at_the_floor_and_a_fully_variable_one_gives_up_to_its_most(make):
    book, begin = make("cbc_a", "nfa"), at(2026, 2, 3, 14)
    floor = book.offer(call(1, "cbc_a", 0.0, begin, begin + 3600), at(2026, 2, 1))
    assert floor.accepted and floor.why == "0 W is held at 50000 W, the least that the contract gives"
    most = book.offer(call(2, "nfa", 500_000.0, begin, begin + 3600), at(2026, 2, 1))
    assert "held at 200000 W, the most" in most.why
    assert book.limits_w(begin) == {"cbc_a": 50_000.0 * GUARD, "nfa": 200_000.0 * GUARD}


def test_calls_at_once_combine_by_the_lowest_and_hours_count_once(make):
    book, begin = make("tdtr"), at(2026, 2, 3, 14)
    for number, watts in ((1, 80_000.0), (2, 30_000.0)):
        book.offer(call(number, "tdtr", watts, begin, begin + 7200), at(2026, 2, 1))
    assert book.limits_w(begin)["tdtr"] == 30_000.0 * GUARD
    assert book.states(begin)["tdtr"]["hours"] == 2.0
    withdrawn = Order("dso", "call-2", 1, "withdraw")
    assert book.offer(withdrawn, begin + 1800).accepted
    assert book.limits_w(begin + 1801)["tdtr"] == 80_000.0 * GUARD


def test_a_doubled_call_counts_once_and_one_for_the_wrong_direction_is_refused(make):
    book, begin = make("tdtr"), at(2026, 2, 3, 14)
    order = call(1, "tdtr", 0.0, begin, begin + 3600)
    assert book.offer(order, at(2026, 2, 1)).accepted and book.offer(order, at(2026, 2, 1, 1)).accepted
    assert book.states(begin)["tdtr"]["calls"] == 1
    export = Order("dso", "x", 0, "cap", "tdtr", "export", 0.0, begin, begin + 3600)
    assert "limits import" in book.offer(export, at(2026, 2, 1)).why


def test_a_call_over_the_change_to_summer_time_has_the_hours_that_pass(make):
    book = make("tdtr")
    book.offer(call(1, "tdtr", 0.0, at(2026, 3, 28, 22), at(2026, 3, 29, 6)), at(2026, 3, 27))
    assert book.states(at(2026, 3, 29))["tdtr"]["hours"] == 7.0


def test_a_restart_has_the_calls_the_flags_and_the_energy_of_before(tmp_path, make):
    now = [at(2026, 2, 2, 9)]
    journal = Journal(tmp_path / "journal.sqlite", utc_ns=lambda: round(now[0] * 1e9))
    begin = at(2026, 2, 3, 14)
    before = make("tdtr")
    before.orders._keep = journal.append
    assert before.offer(call(1, "tdtr", 10_000.0, begin, begin + 7200), now[0]).why.startswith("late")
    before.accounts["tdtr"].curtail(begin, 12_500.0)
    journal.append("account", source="orders", subject="tdtr", **before.states(begin)["tdtr"])
    journal.close()
    after = make("tdtr")
    assert after.restore(read_entries(tmp_path / "journal.sqlite")) == 1
    assert after.limits_w(begin) == before.limits_w(begin)
    assert after.states(begin) == before.states(begin)
    assert after.states(begin)["tdtr"]["late_calls"] == 1


def test_a_steering_call_is_shared_among_the_chargers_that_have_a_car(make):
    book, begin = make("csc_a"), at(2026, 2, 3, 14)
    book.offer(call(1, "csc_a", 9_000.0, begin, begin + 3600, kind="setpoint"), at(2026, 2, 1))
    inp = SimpleNamespace(charger_state=np.array([2, 0]), wish_w=np.full(2, np.inf), window_call_w=np.full(1, np.inf))
    book.fill(inp, begin - 1)
    assert np.isinf(inp.wish_w).all()
    book.fill(inp, begin)
    assert inp.wish_w.tolist() == [9_000.0, math.inf]


def test_energy_held_back_is_what_chargers_with_a_car_would_have_been_allowed(make):
    book, begin = make("tdtr"), at(2026, 2, 3, 14)
    book.offer(call(1, "tdtr", 0.0, begin, begin + 3600), at(2026, 2, 1))
    chain = np.full((2, len(Step)), 16.0)
    inp = SimpleNamespace(charger_state=np.array([2, 0]), charger_v=np.array([[230.0, np.nan, np.nan]] * 2))
    out = SimpleNamespace(reason=np.full(2, Reason.ORDER), chain=chain, allowed_a=np.array([6.0, 0.0]))
    book.count(inp, out, 1800.0, begin - 3600)
    book.count(inp, out, 1800.0, begin)
    assert book.states(begin)["tdtr"]["curtailed_kwh"] == pytest.approx(10.0 * 230.0 * 0.5 / 1e3)


def test_every_bundled_contract_can_be_read_and_names_its_source():
    sources = {name: load_contract(name).source for name in bundled_contracts()}
    assert {"flexpower_1", "flexpower_2", "tdtr", "tbtr", "nfa", "cbc_a", "cbc_t", "csc_a"} <= set(sources)
    assert all(sources.values())


@pytest.mark.parametrize(("start", "end"), [(1e300, math.nan), (math.nan, 1e300), (math.inf, math.nan), (1e12, 1e13)])
def test_a_call_for_an_impossible_time_is_refused_and_ends_nobody(make, start, end):
    answer = make("tdtr").offer(call(1, "tdtr", 50_000.0, start, end), at(2026, 2, 2, 8))
    assert not answer.obeyed and "before the year 2100" in answer.why


@pytest.mark.parametrize(
    ("allowed", "what"),
    [
        (Allowance(max_hours_per_year=10.0, beyond="refuse"), "12.00 h of 2026, allowed 10 h"),
        (Allowance(max_calls_per_year=2, beyond="refuse"), "3 calls of 2026, allowed 2"),
    ],
)
def test_a_name_that_is_used_again_does_not_renew_the_allowance(make, allowed, what):
    book = make("tdtr", allowance=allowed)
    for day in (3, 4):
        told = at(2026, 2, day - 1, 21)
        assert book.offer(call(1, "tdtr", 50e3, at(2026, 2, day, 16), at(2026, 2, day, 20), day), told).accepted
    third = call(1, "tdtr", 50e3, at(2026, 2, 5, 16), at(2026, 2, 5, 20), 5)
    answer = book.offer(third, at(2026, 2, 4, 21))
    assert not answer.obeyed and what in answer.why


def test_a_call_that_is_changed_while_it_holds_is_one_call_and_keeps_its_hours(make):
    book = make("tdtr", allowance=Allowance(max_hours_per_year=5.0, max_calls_per_year=1, beyond="refuse"))
    begin = at(2026, 2, 3, 16)
    assert book.offer(call(1, "tdtr", 50e3, begin, begin + 4 * 3600, 1), at(2026, 2, 2, 8)).accepted
    assert book.offer(call(1, "tdtr", 40e3, math.nan, begin + 5 * 3600, 2), begin + 3600).accepted
    state = book.states(begin + 7200)["tdtr"]
    assert (state["calls"], state["hours"]) == (1, 5.0)
    answer = book.offer(call(1, "tdtr", 40e3, math.nan, begin + 6 * 3600, 3), begin + 4.5 * 3600)
    assert "6.00 h of 2026, allowed 5 h" in answer.why


def test_a_call_over_new_year_is_one_of_the_year_in_which_it_begins(make):
    book = make("tdtr", allowance=Allowance(max_calls_per_year=1, beyond="refuse"))
    night = at(2026, 12, 31, 22), at(2027, 1, 1, 2)
    assert book.offer(call(1, "tdtr", 50e3, at(2027, 3, 1, 16), at(2027, 3, 1, 20)), at(2026, 12, 1)).accepted
    assert book.offer(call(2, "tdtr", 50e3, *night), at(2026, 12, 30, 8)).accepted
    state = book.states(at(2027, 1, 2))["tdtr"]
    assert (state["calls"], state["hours"]) == (1, 6.0)


def test_an_order_that_raises_is_late_at_its_start_and_early_at_its_end(make):
    book, begin = make("nfa", capacity_w=50e3), at(2026, 2, 3, 14)
    told = at(2026, 2, 1)
    book.offer(call(1, "nfa", 80e3, begin, begin + 900), told)
    book.offer(call(2, "nfa", 90e3, begin + 900, begin + 1800), told)
    book.offer(call(3, "nfa", 30e3, begin + 7200, begin + 9000), told)

    def kw(after_s: float) -> float:
        return book.limits_w(begin + after_s)["nfa"] / GUARD / 1e3

    assert [kw(after_s) for after_s in (-61, -60, -1, 0, 839, 841, 900, 1739, 1740, 1799)] == [
        math.inf, 50.0, 50.0, 80.0, 80.0, 80.0, 90.0, 90.0, 50.0, 50.0
    ]  # fmt: skip
    assert [kw(after_s) for after_s in (1800, 7139, 7140, 8999, 9000)] == [math.inf, math.inf, 30.0, 30.0, math.inf]


def test_an_order_that_raises_and_cannot_be_kept_is_not_obeyed(make):
    book, begin = make("nfa", capacity_w=50e3), at(2026, 2, 3, 14)

    def full(kind: str, **fields: object) -> None:
        raise JournalError("no room")

    book.orders._keep = full
    assert not book.offer(call(1, "nfa", 80e3, begin, begin + 900), begin).obeyed
    assert book.offer(call(2, "nfa", 40e3, begin, begin + 900), begin).obeyed
    assert book.limits_w(begin)["nfa"] == 40e3 * GUARD


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("operating_envelope", {"max_age_s": math.inf}),  # the law takes it for a node that is handed nothing
        ("lpc_guard", {"heartbeat_timeout_s": math.inf}),
        ("tdtr", {"notice": {"min_notice_s": math.inf}}),
        ("tdtr", {"floor_w": math.inf, "capacity_w": math.inf}),
        ("tdtr", {"capacity_w": math.nan}),
        ("tdtr", {"capacity_w": math.inf, "limit": load_contract("tdtr").limit.model_dump() | {"direction": "export"}}),
    ],
)
def test_a_number_that_would_switch_a_limit_off_is_refused_where_it_is_written(name, change):
    told = load_contract(name).model_dump(by_alias=True)
    assert READER.validate_python(told).name == name
    with pytest.raises(ValidationError):
        READER.validate_python(told | change)


def test_a_call_that_could_not_be_kept_is_lifted_by_its_own_sender_alone(make):
    book, begin = make("tdtr", "cbc_a"), at(2026, 2, 3, 14)
    book.carry(call(1, "tdtr", 10e3, begin, begin + 3600), begin)
    assert book.offer(call(2, "cbc_a", 60e3, begin, begin + 3600), at(2026, 2, 1)).accepted
    assert book.offer(Order("dso", "call-2", 1, "withdraw"), begin).accepted
    assert book.offer(call(3, "tdtr", 90e3, begin, begin + 3600), begin).accepted
    assert book.limits_w(begin)["tdtr"] == 10e3 * GUARD and book.states(begin)["tdtr"]["hours"] == 1.0
    assert book.offer(Order("dso", "call-1", 1, "withdraw"), begin).accepted
    assert book.limits_w(begin)["tdtr"] == 90e3 * GUARD


def test_a_contract_of_another_zone_counts_notice_days_and_years_by_its_own_clock(make):
    """New York, in the fortnight in which its clock has changed and Amsterdam's has not: five hours between them."""
    there = ZoneInfo("America/New_York")
    agreed = Allowance(max_hours_per_day=4.0, beyond="refuse")
    book = make("tdtr", timezone="America/New_York", allowance=agreed)
    begin = datetime(2026, 3, 10, 21, tzinfo=there).timestamp()  # 02:00 of the 11th in Amsterdam
    late = book.offer(call(1, "tdtr", 0.0, begin, begin + 3600), datetime(2026, 3, 9, 8, 31, tzinfo=there).timestamp())
    assert "late by 60 s" in late.why and "2026-03-09 08:30 local time" in late.why
    told = at(2026, 3, 1)
    assert book.offer(call(2, "tdtr", 0.0, begin - 3 * 3600, begin), told).accepted  # with that four hours of the 10th
    assert book.offer(call(3, "tdtr", 0.0, begin + 3 * 3600, begin + 7 * 3600), told).accepted  # of the 11th
    refused = book.offer(call(4, "tdtr", 0.0, begin + 3600, begin + 7200), told)
    assert not refused.accepted and "5.00 h of a day, allowed 4 h" in refused.why
    eve = datetime(2026, 12, 31, 20, tzinfo=there).timestamp()  # the new year in Amsterdam
    assert book.states(eve)["tdtr"]["year"] == 2026 == book.states(eve + 3 * 3600)["tdtr"]["year"]
    assert book.states(eve + 4 * 3600)["tdtr"]["year"] == 2027
