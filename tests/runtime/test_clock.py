"""The clocks of a run: local time follows the zone while the run goes on."""

from datetime import UTC, datetime

from controller.runtime.clock import NS, LocalTime


def ns(text):
    """Return a UTC time as ns of the epoch."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * NS


def test_the_offset_follows_the_change_to_and_from_summer_time_within_a_run():
    local = LocalTime("Europe/Amsterdam", 3600.0)
    assert local.offset_s(ns("2026-03-29T00:59:59")) == 3600.0
    assert local.offset_s(ns("2026-03-29T01:00:00")) == 7200.0
    assert local.offset_s(ns("2026-10-25T00:59:59")) == 7200.0
    assert local.offset_s(ns("2026-10-25T01:00:00")) == 3600.0
    assert local.offset_s(ns("2026-07-01T00:00:00")) == 7200.0  # a clock that is set back asks anew


def test_a_site_without_a_zone_keeps_its_offset():
    local = LocalTime("", 19800.0)
    assert {local.offset_s(ns(f"2026-{month:02}-01T00:00:00")) for month in range(1, 13)} == {19800.0}
