"""Windows and calls of contracts: calendars, changes of summer time, midnight, the lowest of several, lost calls."""

import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.law import contract, contract_windows, image
from controller.law.names import Reason
from controller.runtime.clock import LocalTime
from controller.runtime.contract_calendar import EPOCH, day_number, pack
from controller.runtime.contract_plan import Binding, plan_contracts
from controller.runtime.plan import ChargerSpec, NodeSpec, SiteSpec, WindowSpec, build_plan
from hil.runs.evidence_clock import window_limits
from profiles.contract import READER

NS = 1_000_000_000
ZONE = ZoneInfo("Europe/Amsterdam")
LIMIT_W, WINDOW_W = 20_000.0, 5_000.0


class Clock:
    """Hold one node with windows, and read its limit at local or UTC times."""

    def __init__(self, *windows: WindowSpec, first: date = date(2026, 1, 1)) -> None:
        node = NodeSpec("poc", -1, limit_w=LIMIT_W)
        charger = ChargerSpec("cp", 0, (0, -1, -1), 32.0, 15.0, 5.0, 0.0, math.inf, 0.1)
        dims, _, plan = build_plan(SiteSpec((node,), (charger,), windows, calendar_day=day_number(first)))
        self.images = tuple(image.allocate(t, dims)[1] for t in ("input", "plan", "state", "output"))
        for target, source in zip(self.images[1], plan, strict=True):
            target[...] = source
        self.inp = self.images[0]
        self.local = LocalTime("Europe/Amsterdam", 0.0)

    def watts(self, when: datetime) -> float:
        """Return the node's import limit, W, at a time with its zone."""
        utc_ns = int(when.timestamp()) * NS
        self.inp.utc_ns[0] = utc_ns
        self.inp.utc_offset_s[0] = self.local.offset_s(utc_ns)
        self.inp.utc_change_ns[0], self.inp.utc_offset_next_s[0] = self.local.next_change(utc_ns)
        flat = tuple(array for part in self.images for array in part)
        contract.orders(flat)
        contract_windows.windows(flat)
        return float(self.images[2].node_cap[0, 3])


def clock(hour: float) -> float:
    return hour * 3600.0


def local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=ZONE)


def row(start: float, end: float, watts: float = WINDOW_W, **keys: object) -> WindowSpec:
    return WindowSpec(clock(start), clock(end), node=0, limit_w=watts, **keys)


def test_the_lowest_of_several_contracts_holds_and_says_so():
    site = Clock(row(8, 20, 7000.0), row(10, 12, 3000.0), row(9, 13, 4000.0))
    assert site.watts(local(2026, 3, 3, 8, 30)) == 7000.0
    assert site.watts(local(2026, 3, 3, 11, 0)) == 3000.0
    assert site.images[2].node_cap_why[0, 3] == Reason.WINDOW
    assert site.watts(local(2026, 3, 3, 12, 30)) == 4000.0
    assert site.watts(local(2026, 3, 3, 21, 0)) == LIMIT_W


@pytest.mark.parametrize(("day", "opens_utc"), [(date(2026, 3, 29), 1), (date(2026, 3, 28), 2)])
def test_a_start_at_the_hour_that_spring_skips_is_issued_early_all_the_same(day, opens_utc):
    site = Clock(row(3, 6, lead_s=60.0))
    start = datetime(day.year, day.month, day.day, opens_utc, tzinfo=UTC)  # 03:00 local: 01:00 UTC on the 29th
    assert site.watts(start - timedelta(seconds=61)) == LIMIT_W
    assert site.watts(start - timedelta(seconds=60)) == WINDOW_W
    assert site.watts(start + timedelta(hours=2, minutes=59)) == WINDOW_W
    assert site.watts(start + timedelta(hours=3)) == LIMIT_W


def test_a_window_over_both_changes_keeps_local_time():
    site = Clock(row(22, 6))
    for day, hours in ((date(2026, 3, 28), 7), (date(2026, 10, 24), 9), (date(2026, 6, 1), 8)):
        begin = local(day.year, day.month, day.day, 22).astimezone(UTC)
        assert site.watts(begin - timedelta(seconds=1)) == LIMIT_W
        for quarter in range(4 * hours):
            assert site.watts(begin + timedelta(minutes=15 * quarter)) == WINDOW_W
        assert site.watts(begin + timedelta(hours=hours)) == LIMIT_W


def test_a_window_over_midnight_belongs_to_the_date_on_which_it_begins():
    last = date(2026, 3, 31)  # the season's last day: its window ends on 1 April at 06:00
    first = date(2026, 1, 1)
    dates = pack(first + timedelta(days=k) <= last for k in range(1024))
    site = Clock(row(22, 6, dates=dates), first=first)
    assert site.watts(local(2026, 3, 31, 23, 0)) == WINDOW_W
    assert site.watts(local(2026, 4, 1, 5, 59)) == WINDOW_W
    assert site.watts(local(2026, 4, 1, 6, 0)) == LIMIT_W
    assert site.watts(local(2026, 4, 1, 23, 0)) == LIMIT_W


def test_behind_the_last_date_of_a_calendar_the_limit_holds():
    site = Clock(row(10, 12, dates=bytes(128)), first=date(2026, 1, 1))
    end = date(2026, 1, 1) + timedelta(days=1024)
    assert site.watts(datetime(end.year, end.month, end.day, 11, tzinfo=ZONE) - timedelta(days=1)) == LIMIT_W
    assert site.watts(datetime(end.year, end.month, end.day, 11, tzinfo=ZONE)) == WINDOW_W
    assert site.watts(local(2025, 12, 31, 11)) == WINDOW_W


def test_a_call_takes_the_place_of_the_rows_watts_early_by_the_lead_and_for_its_time():
    site = Clock(row(0, 0, 10_000.0, lead_s=15.0))
    begin = local(2026, 2, 2, 14)
    site.inp.window_call_w[0] = 1_000.0
    site.inp.window_call_from_s[0] = begin.timestamp()
    site.inp.window_call_to_s[0] = begin.timestamp() + 7200.0
    assert site.watts(begin - timedelta(seconds=16)) == 10_000.0
    assert site.watts(begin - timedelta(seconds=15)) == 1_000.0
    assert site.images[2].node_cap_why[0, 3] == Reason.ORDER
    assert site.watts(begin + timedelta(hours=2)) == 10_000.0
    site.inp.window_call_w[0] = 15_000.0  # a fully variable right: a call may give more
    assert site.watts(begin) == 15_000.0


@given(called_w=st.floats(0, 20_000), lost_after_s=st.integers(-600, 7200), at_s=st.integers(-600, 9000))
@settings(max_examples=60, deadline=None)
def test_a_call_that_vanishes_raises_nothing(called_w, lost_after_s, at_s):
    begin = local(2026, 2, 2, 14)
    told, lost = Clock(row(0, 0, 20_000.0)), Clock(row(0, 0, 20_000.0))
    for site in (told, lost):
        site.inp.window_call_w[0] = called_w
        site.inp.window_call_from_s[0] = begin.timestamp()
        site.inp.window_call_to_s[0] = begin.timestamp() + 7200.0
        site.watts(begin + timedelta(seconds=min(at_s, lost_after_s)))
    lost.inp.window_call_w[0] = lost.inp.window_call_from_s[0] = lost.inp.window_call_to_s[0] = np.nan
    when = begin + timedelta(seconds=at_s)
    assert lost.watts(when) == told.watts(when)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 23), st.integers(1, 24), st.floats(0, 15_000), st.integers(1, 127), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    minute=st.integers(0, 365 * 1440),
    odd=st.integers(2, 5),
)
@settings(max_examples=150, deadline=None)
def test_every_minute_of_the_year_has_the_lowest_open_window_of_the_local_clock(rows, minute, odd):
    first = date(2026, 1, 1)
    on = [(first + timedelta(days=k)).toordinal() % odd == 0 for k in range(1024)]
    specs = [
        row(start, (start + length) % 24, watts, days=days, dates=pack(on) if dated else b"")
        for start, length, watts, days, dated in rows
    ]
    when = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)).astimezone(ZONE)
    expected = LIMIT_W
    for start, length, watts, days, dated in rows:
        for shift in (0, 1):
            day = when.date() - timedelta(days=shift)
            since = (when.hour - start + 24 * shift) * 60 + when.minute
            begins = days >> day.weekday() & 1 and (not dated or on[(day - first).days] or day < first)
            if begins and 0 <= since < length * 60:
                expected = min(expected, watts)
    assert Clock(*specs, first=first).watts(when) == expected
    assert EPOCH + timedelta(days=day_number(first)) == first


NIGHT = {"from": "22:00:00", "until": "06:00:00", "limit_w": WINDOW_W, "days": ["monday", "saturday"]}
HOUR = {"from": "02:15:00", "until": "03:30:00", "limit_w": 4_000.0}
CHANGES = (date(2026, 3, 8), date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1), date(2027, 7, 4))


@pytest.mark.parametrize("zone", ["Europe/London", "America/New_York", "Asia/Kolkata", "Europe/Berlin"])
def test_a_contract_of_another_zone_holds_by_its_own_clock_over_the_changes_of_both(zone):
    """Against the judge's own reading of the clock; in an hour that comes twice the limit may hold both times."""
    head = {"name": "x", "title": "x", "source": "test", "verified": "example", "kind": "limitation_fixed"}
    limit = {"point": "connection", "phases": "sum", "quantity": "W"}
    told = READER.validate_python(head | {"timezone": zone, "limit": limit, "window": [NIGHT, HOUR]}, strict=False)
    charger = ChargerSpec("cp", 0, (0, -1, -1), 32.0, 15.0, 5.0, 0.0, math.inf, 0.1)
    made = plan_contracts([Binding(told, (0,), (0,))], (charger,), date(2026, 1, 2), zone="Europe/Amsterdam")
    site = Clock(*made.windows, first=EPOCH + timedelta(days=made.calendar_day))
    longer_h = 0.0
    for day in CHANGES:
        begin_s = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() - 12 * 3600.0
        times = begin_s + 900.0 * np.arange(4 * 48)
        own_w = np.minimum(window_limits(told, times, ZoneInfo(zone)), LIMIT_W)
        kept_w = np.array([site.watts(datetime.fromtimestamp(at_s, UTC)) for at_s in times.tolist()])
        assert (kept_w <= own_w).all()
        longer_h += (kept_w < own_w).sum() / 4
    assert longer_h <= 1.5  # of fourteen windows
