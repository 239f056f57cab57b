"""The margin of the droop loop against the published tables and against the roots themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.law.stability import (
    MarginError,
    broadcast_sensitivities,
    critical_lambda,
    require_margin,
    stability_margin,
)

DELAYS = (0, 1, 2, 3, 5, 10)
TABLE = {  # critical lambda, rounded to three figures
    1.0: (1.00, 1.00, 1.00, 1.00, 1.00, 1.00),
    0.5: (3.00, 2.00, 1.56, 1.36, 1.19, 1.07),
    0.3: (5.67, 3.33, 2.37, 1.92, 1.52, 1.21),
    0.2: (9.00, 5.00, 3.39, 2.65, 1.97, 1.41),
    0.1: (19.0, 10.0, 6.47, 4.86, 3.36, 2.11),
    0.05: (39.0, 20.0, 12.6, 9.30, 6.19, 3.58),
    0.02: (99.0, 50.0, 31.2, 22.6, 14.7, 8.04),
    0.01: (199.0, 100.0, 62.1, 44.9, 29.0, 15.5),
}


@pytest.mark.parametrize("alpha", TABLE)
def test_table_of_critical_gains(alpha: float) -> None:
    got = [critical_lambda(alpha, delay) for delay in DELAYS]
    assert got == pytest.approx(TABLE[alpha], rel=6e-3)


@pytest.mark.parametrize("alpha", [0.9, 0.33, 0.07])
@pytest.mark.parametrize("delay", [0, 1, 4, 17])
def test_roots_leave_the_unit_circle_there(alpha: float, delay: int) -> None:
    def radius(gain: float) -> float:
        polynomial = np.zeros(delay + 2)
        polynomial[0] = 1.0
        polynomial[1] -= 1.0 - alpha
        polynomial[-1] += alpha * gain
        return float(np.abs(np.roots(polynomial)).max())

    critical = critical_lambda(alpha, delay)
    assert radius(critical * 0.999) < 1.0 < radius(critical * 1.001)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.02, 1.0), st.integers(0, 30), st.floats(-np.pi, np.pi))
def test_roots_leave_the_unit_circle_there_at_every_angle(alpha: float, delay: int, angle_rad: float) -> None:
    """Load on another phase moves the volts by resistance and reactance: the feeder's eigenvalues are complex."""

    def radius(gain: float) -> float:
        polynomial = np.zeros(delay + 2, complex)
        polynomial[0] = 1.0
        polynomial[1] -= 1.0 - alpha
        polynomial[-1] += alpha * gain * np.exp(1j * angle_rad)
        return float(np.abs(np.roots(polynomial)).max())

    critical = critical_lambda(alpha, delay, angle_rad)
    assert radius(critical * 0.99) < 1.0 + 1e-9
    assert radius(critical * 1.01) > 1.0


def test_load_that_lifts_the_volts_oscillates_at_one() -> None:
    """The filter helps nothing there: what is lowered lowers the volts, and is lowered for it again."""
    margin = stability_margin([1.0], [[-0.9]], 0.1, 0)
    assert (margin.lambda_max, margin.critical_lambda) == pytest.approx((0.9, 1.0))
    with pytest.raises(MarginError, match=r"margin 0\.9 dB.*allowed none at this slope"):
        require_margin(margin)


def test_the_eigenvalue_with_the_least_margin_counts_not_the_largest() -> None:
    margin = stability_margin([1.0, 1.0], [[2.0, 0.0], [0.0, -0.8]], 0.1, 0)
    assert margin.lambda_max == pytest.approx(0.8)
    turned = stability_margin([1.0, 1.0], [[0.0, 2.0], [-2.0, 0.0]], 0.1, 0)  # +-2j: unstable from sqrt(19)
    assert turned.critical_lambda == pytest.approx(np.sqrt(19.0))


def test_a_common_droop_has_a_row_that_is_pulled_down_most_and_one_that_is_lifted_most() -> None:
    field, slopes = np.array([[0.3, 0.1, 0.1], [0.1, 0.2, -0.5], [0.1, -0.3, 0.4]]), [1.0, 1.0, 3.0]
    pulled = stability_margin(slopes, broadcast_sensitivities(field, slopes), 0.1, 0)
    lifted = stability_margin(slopes, broadcast_sensitivities(field, slopes, lifted=True), 0.1, 0)
    assert (pulled.lambda_max, pulled.critical_lambda) == pytest.approx((1.0, 19.0))
    assert (lifted.lambda_max, lifted.critical_lambda) == pytest.approx((1.2, 1.0))


def worked_feeder() -> np.ndarray:
    """Return S of ten nodes 30 m apart, 0.206 ohm/km, 10 mohm source, three-phase load [pu/kW]."""
    ohm = 0.010 + 0.206 * 0.030 * np.minimum.outer(np.arange(1, 11), np.arange(1, 11))
    return ohm * 1000.0 / (3 * 230.0) / 230.0


@pytest.mark.parametrize(("band", "gain"), [(0.05, 0.50), (0.02, 1.26), (0.01, 2.51)])
def test_worked_feeder(band: float, gain: float) -> None:
    margin = stability_margin(np.full(10, 11.0 / band), worked_feeder(), 0.1, 2)
    assert margin.lambda_max == pytest.approx(gain, rel=0.02)
    assert margin.margin_db == pytest.approx(20 * np.log10(6.47 / gain), abs=0.2)


def test_plan_under_the_required_margin_is_refused_with_the_figure() -> None:
    margin = stability_margin([11.0 / 0.01], [[0.00228]], 0.5, 1)
    with pytest.raises(MarginError, match=r"margin -2.0 dB, required 6 dB"):
        require_margin(margin)
    require_margin(stability_margin([0.0], [[0.00228]], 0.5, 1))


@pytest.mark.parametrize(("alpha", "delay"), [(0.0, 1), (1.1, 1), (0.5, -1), (0.5, 1.5)])
def test_wrong_parameters_are_refused(alpha: float, delay: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        critical_lambda(alpha, delay)  # type: ignore[arg-type]
