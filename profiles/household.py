"""Load household power: a week of 15 min means for every customer, spread by seed from a few shapes.

Source, licence and method: `profiles/households/README.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profiles.errors import ProfileError
from profiles.table import at_least, read_table

HERE = Path(__file__).parent / "households"
STEP_S = 900
DAY_STEPS = 86_400 // STEP_S
WEEK_STEPS = 7 * DAY_STEPS
WORKING_DAYS = 5
DEFAULT_POWER_FACTOR = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """Set how customers of one shape differ: standard deviation and bound of their time shift, exchange of days.

    The numbers are parameters without a source: no data of the same households is in the profile.
    """

    shift_sd_s: float = 1800.0
    shift_max_s: float = 5400.0
    exchange_days: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Households:
    """Hold the customers' week from Monday 00:00 local: p_w (T, C), q_var (T, C) at the start of each step.

    shape (C,) names and yearly_wh (C,) say what was drawn.
    """

    step_s: int
    p_w: np.ndarray
    q_var: np.ndarray
    shape: tuple[str, ...]
    yearly_wh: np.ndarray


def load_households(
    name: str,
    n_customers: int,
    seed: int,
    spread: Spread | None = None,
    power_factor: float = DEFAULT_POWER_FACTOR,
) -> Households:
    """Return `n_customers` households of a bundled profile (or CSV file); the same seed gives the same week.

    `power_factor` (lagging) makes Q for shapes without one; SimBench's have their own. ProfileError (file:row) where a
    file is missing or broken, or the numbers are out of range.
    """
    if n_customers < 1:
        raise ProfileError(f"n_customers = {n_customers}: allowed 1 or more")
    if not 0 < power_factor <= 1:
        raise ProfileError(f"power_factor = {power_factor:g}: allowed over 0, up to 1")
    path = Path(name) if name.endswith(".csv") else HERE / f"{name}.csv"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in HERE.glob("*.csv") if "." not in p.stem))
        raise ProfileError(f"no household profile {name!r}; bundled: {known}")
    shapes, counts = _read_customers(path.with_suffix(".customers.csv"))
    p_pu, q_pu = _read_week(path, sorted({shape for shape, *_ in shapes}))
    spread = Spread() if spread is None else spread
    rng = np.random.default_rng([seed, 1])  # 1: a stream apart from the sessions'
    drawn = rng.choice(len(shapes), size=n_customers, p=counts / counts.sum())
    tan = np.sqrt(1.0 / power_factor**2 - 1.0)
    p_w = np.empty((WEEK_STEPS, n_customers))
    q_var = np.empty((WEEK_STEPS, n_customers))
    for customer, row in enumerate(drawn):
        shape, p_nominal_w, q_nominal_var, _ = shapes[row]
        order = _shuffle(rng, spread)
        p_w[:, customer] = p_nominal_w * p_pu[shape][order]
        q_own = q_pu.get(shape)
        q_var[:, customer] = p_w[:, customer] * tan if q_own is None else q_nominal_var * q_own[order]
    return Households(
        step_s=STEP_S,
        p_w=p_w,
        q_var=q_var,
        shape=tuple(shapes[row][0] for row in drawn),
        yearly_wh=np.array([shapes[row][3] for row in drawn]),
    )


def _shuffle(rng: np.random.Generator, spread: Spread) -> np.ndarray:
    """Return which step of the shape each step of the customer's week shows, (T,)."""
    days = np.arange(7)
    if spread.exchange_days:
        days = np.concatenate([rng.permutation(WORKING_DAYS), WORKING_DAYS + rng.permutation(7 - WORKING_DAYS)])
    order = (days[:, None] * DAY_STEPS + np.arange(DAY_STEPS)).ravel()
    shift_s = np.clip(rng.normal(0.0, spread.shift_sd_s), -spread.shift_max_s, spread.shift_max_s)
    return np.roll(order, round(shift_s / STEP_S))


def _read_customers(path: Path) -> tuple[list[tuple[str, float, float, float]], np.ndarray]:
    """Return (shape, nominal W, nominal var, yearly Wh) of each kind of customer, and how many there are (K,)."""
    columns: dict[str, Callable[[str], Any]] = {
        "shape": str,
        "p_nominal_w": at_least(0, "W"),
        "q_nominal_var": at_least(0, "var"),
        "yearly_wh": at_least(0, "Wh"),
        "customers": at_least(0, "customers"),
    }
    table = read_table(path, columns)
    counts = np.array(table.pop("customers"))
    if not counts.sum() > 0:
        raise ProfileError(f"{path.name}: no customers")
    return list(zip(*table.values(), strict=True)), counts


def _read_week(path: Path, shapes: list[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return active and reactive power of each shape (T,) in units of the nominal; shapes without Q are not in it."""
    with path.open() as file:
        header = file.readline().strip().split(",")
    with_q = [shape for shape in shapes if f"{shape}_q_pu" in header]
    columns: dict[str, Callable[[str], Any]] = {"t_s": float}
    columns |= {f"{shape}_p_pu": float for shape in shapes} | {f"{shape}_q_pu": float for shape in with_q}
    table = {key: np.array(values) for key, values in read_table(path, columns).items()}
    if not np.array_equal(table["t_s"], STEP_S * np.arange(WEEK_STEPS)):
        raise ProfileError(f"{path.name}: t_s must run from 0 s in steps of {STEP_S} s over one week")
    broken = [key for key, values in table.items() if not np.isfinite(values).all()]
    if broken:
        raise ProfileError(f"{path.name}: columns {broken} hold values that are not finite")
    return {s: table[f"{s}_p_pu"] for s in shapes}, {s: table[f"{s}_q_pu"] for s in with_q}
