"""Hold the arithmetic of orders: one decimal rounded down, watts from measured volts, nothing made of silence."""

import math

import pytest

from instruments.ocpp_profiles import LOW_V, amps_of, composite, order_of, tenths_down

VOLTS = (228.0, 231.0, 233.0)


@pytest.mark.parametrize(("value", "written"), [(8.19, 8.1), (8.1, 8.1), (0.3, 0.3), (16.0, 16.0), (-8.19, -8.1)])
def test_a_limit_is_written_with_one_decimal_and_never_raised(value: float, written: float) -> None:
    assert tenths_down(value) == written


def test_watts_are_amps_times_the_volts_measured() -> None:
    assert order_of(10.0, "W", VOLTS, 3).limit == 6920.0
    assert order_of(10.0, "W", VOLTS, 1).limit == 2280.0  # the lowest phase: a car on one of them
    assert order_of(10.0, "W", (math.nan,) * 3, 3).limit == 30 * LOW_V
    assert amps_of(6920.0, "W", VOLTS, 3) == pytest.approx(10.0)


def test_a_negative_composite_limit_says_nothing() -> None:
    assert math.isnan(amps_of(-1.0, "A", VOLTS, 3))


@pytest.mark.parametrize("answer", [{"status": "Rejected"}, {"status": "Accepted"}])
def test_an_answer_without_a_schedule_is_none(answer: dict[str, str]) -> None:
    assert composite("ocpp1.6", answer) is None
