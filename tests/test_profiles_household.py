"""Household load: the same seed gives the same street, and the week is followed without a step."""

from pathlib import Path

import numpy as np
import pytest

from hil.plant.household import HouseholdSeries
from profiles.errors import ProfileError
from profiles.household import DAY_STEPS, HERE, WEEK_STEPS, Households, Spread, load_households

NAME = "simbench_h0_winter_week"


@pytest.fixture(scope="module")
def street() -> Households:
    return load_households(NAME, 55, seed=7)


def small_week(step_s: int = 900) -> Households:
    p_w = np.array([[0.0, 100.0], [900.0, 100.0], [0.0, 400.0]])
    return Households(step_s, p_w, p_w / 2, ("x", "x"), np.zeros(2))


def test_the_seed_decides_and_nothing_else(street: Households) -> None:
    again, other = load_households(NAME, 55, seed=7), load_households(NAME, 55, seed=8)
    assert (again.p_w == street.p_w).all() and (again.q_var == street.q_var).all()
    assert (other.p_w != street.p_w).any()


def test_fifty_five_customers_are_fifty_five_different_ones(street: Households) -> None:
    assert street.p_w.shape == street.q_var.shape == (WEEK_STEPS, 55)
    assert len(np.unique(street.p_w, axis=1).T) == 55
    assert len(set(street.shape)) == 5


def test_their_energy_is_that_of_the_source() -> None:
    many = load_households(NAME, 3000, seed=1)
    assert many.yearly_wh.mean() == pytest.approx(2.352e6, rel=0.03)  # mean of the 28,777 customers of SimBench
    assert many.yearly_wh.min() > 0.4e6
    week_wh = many.p_w.sum(axis=0).mean() * 0.25
    assert 1.0 < week_wh / (many.yearly_wh.mean() / 52) < 1.6  # January is over the mean of the year


def test_the_evening_is_over_the_night_and_power_over_what_a_street_can_draw_is_absent(street: Households) -> None:
    by_step = street.p_w.sum(axis=1).reshape(7, DAY_STEPS).mean(axis=0)
    assert by_step[4 * 18 : 4 * 21].mean() > 1.5 * by_step[4 * 2 : 4 * 5].mean()
    assert street.p_w.min() >= 0 and street.p_w.max() < 15e3


def test_without_spread_a_customer_shows_its_shape_as_it_is() -> None:
    plain = load_households(NAME, 20, 3, Spread(shift_sd_s=0.0, exchange_days=False))
    mixed = load_households(NAME, 20, 3, Spread(shift_sd_s=0.0))
    for customer in range(20):
        same = [k for k in range(20) if plain.shape[k] == plain.shape[customer]]
        scaled = plain.p_w[:, same] / plain.yearly_wh[same]
        assert scaled == pytest.approx(scaled[:, :1] * np.ones(len(same)), rel=1e-5)
    days = mixed.p_w.reshape(7, DAY_STEPS, 20)
    shape_days = plain.p_w.reshape(7, DAY_STEPS, 20)
    assert mixed.shape[0] == plain.shape[0]
    found = [[k for k in range(7) if np.allclose(days[day, :, 0], shape_days[k, :, 0])] for day in range(7)]
    assert all(len(match) == 1 for match in found)
    assert sorted(k for (k,) in found[:5]) == [0, 1, 2, 3, 4]  # working days stay working days


def test_a_shape_without_q_gets_it_from_the_power_factor(tmp_path: Path) -> None:
    week = ["t_s,S_p_pu", *(f"{900 * k},0.5" for k in range(WEEK_STEPS))]
    (tmp_path / "own.csv").write_text("\n".join(week))
    (tmp_path / "own.customers.csv").write_text("shape,p_nominal_w,q_nominal_var,yearly_wh,customers\nS,2000,0,1,1\n")
    own = load_households(str(tmp_path / "own.csv"), 1, 1, power_factor=0.8)
    assert own.p_w == pytest.approx(1000.0)
    assert own.q_var == pytest.approx(750.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("\n900,", "\n901,", 1), r"own.csv: t_s must run from 0 s in steps of 900 s"),
        (lambda text: text.replace("\n900,0.5", "\n900,nan", 1), r"own.csv: columns \['S_p_pu'\] hold values"),
        (lambda text: text.replace("\n900,0.5", "\n900,much", 1), r"own.csv:3: S_p_pu = 'much'"),
        (lambda text: text.rsplit("\n", 1)[0], r"own.csv: t_s must run"),
        (lambda text: text.replace("S_p_pu", "T_p_pu"), r"own.csv:1: columns \['S_p_pu'\] are missing"),
    ],
)
def test_a_broken_week_is_refused(tmp_path: Path, change, words: str) -> None:
    week = "\n".join(["t_s,S_p_pu", *(f"{900 * k},0.5" for k in range(WEEK_STEPS))])
    (tmp_path / "own.csv").write_text(change(week))
    (tmp_path / "own.customers.csv").write_text("shape,p_nominal_w,q_nominal_var,yearly_wh,customers\nS,2000,0,1,1\n")
    with pytest.raises(ProfileError, match=words):
        load_households(str(tmp_path / "own.csv"), 1, 1)


@pytest.mark.parametrize(
    ("name", "count", "power_factor", "words"),
    [
        ("simbench", 55, 0.95, f"bundled: {NAME}$"),
        (NAME, 0, 0.95, "n_customers = 0"),
        (NAME, 1, 0.0, "power_factor = 0"),
    ],
)
def test_a_wrong_request_is_refused(name: str, count: int, power_factor: float, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        load_households(name, count, 1, power_factor=power_factor)


def test_the_database_licence_stands_beside_the_data() -> None:
    text = (HERE / "NOTICE").read_text()
    assert "Open Database License" in text and "SimBench" in text


def test_power_runs_straight_from_sample_to_sample_and_the_week_repeats() -> None:
    series = HouseholdSeries(small_week())
    assert series.period_s == 2700.0
    assert series.at(0.0).tolist() == [0j, 100 + 50j]
    assert series.at(300.0).tolist() == [300 + 150j, 100 + 50j]
    assert series.at(900.0).tolist() == [900 + 450j, 100 + 50j]
    assert series.at(2250.0).tolist() == [0j, 250 + 125j]  # from the last sample to the first
    for t_s in (0.0, 300.0, 2250.0):
        now = series.at(t_s).copy()
        assert (series.at(t_s + 2700.0) == now).all()
        assert (series.at(t_s - 5400.0) == now).all()


def test_the_buffer_is_reused() -> None:
    series = HouseholdSeries(small_week())
    assert series.at(10.0) is series.at(1000.0)


def test_samples_that_are_missing_or_not_finite_are_refused() -> None:
    broken = small_week()
    broken.p_w[1, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        HouseholdSeries(broken)
    with pytest.raises(ValueError, match="step_s = 0"):
        HouseholdSeries(small_week(step_s=0))
