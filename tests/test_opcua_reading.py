"""What a substation's values become, with the clock in the test's hand: ages, heartbeats, torn orders, breaks."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from instruments.substation_reading import StationModel, quality_of, seconds_of, stamp_of

S = 1_000_000_000
NOON = datetime(2026, 1, 13, 12, tzinfo=UTC)
NOON_NS = stamp_of(NOON)
NULL = datetime(1601, 1, 1, tzinfo=UTC)
UNCERTAIN, BAD = 0x40000000, 0x80000000


class Feed:
    """Hand values to a station of one head node; our clock starts at 1000 s when it is noon."""

    def __init__(self) -> None:
        self.station = StationModel({"head": [1]}, 2)
        self.reading = self.station.reading

    def give(self, name: str, value, at_s: float, stamp_s: float | None = None, status: int = 0) -> None:
        """Take `value` at `at_s` seconds after noon, stamped `stamp_s` (the same where not given)."""
        stamp = NOON + timedelta(seconds=at_s if stamp_s is None else stamp_s)
        now_ns = 1000 * S + round(at_s * S)
        self.station.take(name, "head", value, status, stamp, now_ns, NOON_NS + round(at_s * S))

    def order(self, limit_w: float, at_s: float, stamp_s: float | None = None) -> None:
        """Give the four parts of an order without an end."""
        self.give("order_from", [NULL], at_s, stamp_s)
        self.give("order_to", [NULL], at_s, stamp_s)
        self.give("order_export_w", [math.inf], at_s, stamp_s)
        self.give("order_w", [limit_w], at_s, stamp_s)


@pytest.mark.parametrize(
    ("status", "quality"), [(0, 0), (0x00960000, 0), (0x40900000, 1), (0x808B0000, 2), (0xC0000000, 2)]
)
def test_severity_of_a_status_code_is_the_quality(status, quality):
    assert quality_of(status) == quality


def test_dates_are_exact_to_the_microsecond_and_null_is_open():
    assert seconds_of(NOON + timedelta(microseconds=250_001)) == NOON.timestamp() + 0.250001
    assert math.isnan(seconds_of(NULL))


def test_age_counts_from_the_change_of_the_source_stamp_not_from_its_arrival():
    feed = Feed()
    feed.give("volts", [230.0] * 3, at_s=5.0, stamp_s=2.0)
    assert feed.reading.node_v_change_ns[1] == 1002 * S  # first seen: as old as it says
    feed.give("volts", [231.0] * 3, at_s=6.0, stamp_s=2.0)
    assert feed.reading.node_v_change_ns[1] == 1002 * S
    feed.give("volts", [231.0] * 3, at_s=7.0, stamp_s=3.0)
    assert feed.reading.node_v_change_ns[1] == 1007 * S


def test_a_first_stamp_from_the_future_makes_nothing_younger_than_now():
    feed = Feed()
    feed.give("volts", [230.0] * 3, at_s=5.0, stamp_s=90.0)
    assert feed.reading.node_v_change_ns[1] == 1005 * S
    assert feed.reading.node_v_stamp_utc_ns[1] == NOON_NS + 90 * S


def test_after_a_break_a_value_is_as_old_as_its_stamp_and_an_unchanged_one_no_younger():
    feed = Feed()
    feed.give("volts", [230.0] * 3, at_s=1.0)
    feed.station.lost()
    assert feed.reading.node_v_quality[1] == 2
    feed.give("volts", [230.0] * 3, at_s=60.0, stamp_s=1.0)
    assert feed.reading.node_v_change_ns[1] == 1001 * S
    feed.station.lost()
    feed.give("volts", [230.0] * 3, at_s=90.0, stamp_s=70.0)
    assert feed.reading.node_v_change_ns[1] == 1070 * S


@pytest.mark.parametrize(
    "value", [None, [230.0] * 2, [], "230", ["a", "b", "c"], [None] * 3, [[1.0], [2.0, 3.0]], NOON]
)
def test_a_value_of_another_shape_or_type_is_bad_and_unknown(value):
    feed = Feed()
    feed.give("volts", [230.0] * 3, at_s=1.0)
    feed.give("volts", value, at_s=2.0)
    assert feed.reading.node_v_quality[1] == 2
    assert math.isnan(feed.reading.node_v[1, 0])


@pytest.mark.parametrize("name", ["order_from", "order_to", "order_w", "order_export_w"])
@pytest.mark.parametrize("value", [[None], ["now"], "now", [[1.0], [2.0, 3.0]], {"a": 1}])
def test_an_order_of_another_type_leaves_the_one_in_force_and_is_bad(name, value):
    feed = Feed()
    feed.order(5000.0, at_s=1.0)
    feed.order(9000.0, at_s=2.0)
    feed.give(name, value, at_s=2.0)
    assert feed.reading.order_quality[1] == 2
    assert feed.reading.order_w[1] == 9000.0
    feed.order(4000.0, at_s=3.0)
    assert (feed.reading.order_quality[1], feed.reading.order_w[1]) == (0, 4000.0)


@pytest.mark.parametrize("value", ["1", True, -1, 1 << 32, 1.5, [1]])
def test_a_heartbeat_that_is_no_count_is_none(value):
    feed = Feed()
    feed.give("heartbeat", 7, at_s=1.0)
    feed.give("heartbeat", value, at_s=2.0)
    assert feed.reading.order_beat_ns[1] == 1001 * S


def test_amps_and_watts_share_the_older_age_and_the_worse_quality():
    feed = Feed()
    feed.give("amps", [10.0] * 3, at_s=1.0)
    assert feed.reading.node_a_quality[1] == 2  # watts are not there yet
    feed.give("watts", [6900.0], at_s=2.0, status=UNCERTAIN)
    assert (feed.reading.node_a_quality[1], feed.reading.node_a_change_ns[1]) == (1, 1001 * S)
    feed.give("amps", [11.0] * 3, at_s=9.0)
    assert feed.reading.node_a_change_ns[1] == 1002 * S


def test_a_heartbeat_lives_by_its_count_not_by_its_stamp():
    feed = Feed()
    feed.give("heartbeat", 7, at_s=1.0)
    feed.give("heartbeat", 7, at_s=5.0)
    assert feed.reading.order_beat_ns[1] == 1001 * S
    feed.give("heartbeat", None, at_s=6.0, status=BAD)
    feed.give("heartbeat", 7, at_s=7.0)
    assert feed.reading.order_beat_ns[1] == 1001 * S
    feed.give("heartbeat", 8, at_s=8.0)
    assert feed.reading.order_beat_ns[1] == 1008 * S


def test_a_torn_order_leaves_the_old_one_and_is_distrusted_after_a_while():
    feed = Feed()
    feed.order(40_000.0, at_s=1.0)
    feed.give("order_w", [90_000.0], at_s=2.0)
    assert (feed.reading.order_w[1], feed.reading.order_quality[1]) == (40_000.0, 0)
    feed.station.tick(1002 * S + S // 2)
    assert feed.reading.order_quality[1] == 0
    feed.station.tick(1004 * S)
    assert feed.reading.order_quality[1] == 2
    feed.order(30_000.0, at_s=5.0)
    feed.station.tick(1009 * S)
    assert (feed.reading.order_w[1], feed.reading.order_quality[1]) == (30_000.0, 0)


def test_a_lost_link_leaves_the_order_as_it_was():
    feed = Feed()
    feed.order(0.0, at_s=1.0)
    feed.station.lost()
    assert (feed.reading.order_w[1], feed.reading.order_quality[1]) == (0.0, 2)
    assert (feed.reading.order_w[0], feed.reading.order_quality[0]) == (math.inf, 2)


def test_a_node_measured_by_two_groups_is_refused():
    with pytest.raises(ValueError, match="one group only"):
        StationModel({"head": [1], "poc": [0, 1]}, 2)
