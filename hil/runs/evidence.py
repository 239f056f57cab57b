"""Reckon what a contract asks proof of, from amps that a meter saw and limits that were in force. Pure.

Arrays have T samples; columns of three are the grid's phases. A sample stands until the next one. NaN is what nobody
measured: it counts as missing, never as obeyed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WH_PER_WS = 1.0 / 3600.0
WHOLE = 0.9  # share of an averaging interval that must lie in the run for its mean to be judged
SETTLE_SAMPLES = 2  # a limit is obeyed once so many samples in a row are under it: one alone may be a car's dip


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Hold what one meter says of one measuring point: amps and volts, (T, 3) each, 0 A where a phase is not used.

    `power_w` (T,) is the power in the direction that is limited, where amps times volts do not tell it: an export.
    """

    t_s: np.ndarray
    amp_a: np.ndarray
    volt_v: np.ndarray
    power_w: np.ndarray | None = None

    def watt_w(self) -> np.ndarray:
        """Return the active power (T,) W; NaN where an amp or volt of a phase in use is not known."""
        if self.power_w is not None:
            return self.power_w
        idle = self.amp_a == 0.0
        return np.asarray(np.where(idle, 0.0, self.amp_a * self.volt_v).sum(axis=1))

    def known(self) -> np.ndarray:
        """Return where the meter was believed, (T,) bool."""
        return np.asarray(np.isfinite(self.watt_w()))

    def dt_s(self) -> np.ndarray:
        """Return how long each sample stands, (T,) s; the last one has no length."""
        return np.diff(self.t_s, append=self.t_s[-1:])


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """Hold the limit in force at a measuring point: A per phase and W over all, (T,) each, +inf none.

    Means over `averaging_s` are compared (0: every sample), and only what is beyond the tolerance counts as over.
    `interval` (T,) numbers the averaging interval of each sample; without it they are cut from time 0 on.
    """

    amp_a: np.ndarray
    watt_w: np.ndarray
    averaging_s: float = 0.0
    tolerance_a: float = 0.0
    tolerance_w: float = 0.0
    interval: np.ndarray | None = None

    def in_force(self) -> np.ndarray:
        """Return where there is a limit, (T,) bool."""
        return np.asarray(np.isfinite(self.amp_a) | np.isfinite(self.watt_w))


@dataclass(frozen=True, slots=True)
class Over:
    """Hold what went beyond a limit: energy (Wh), time (s), highest excess (A per phase, W), time not measured (s).

    `unjudged_s` is the time under a limit for which no mean can be had, see `judged`. Where nothing at all was both
    judged and measured while there was a limit, the first four are NaN: nobody knows.
    """

    energy_wh: float
    seconds: float
    highest_a: float
    highest_w: float
    missing_s: float
    unjudged_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Compliance:
    """Hold one fall of a limit: when (s), from and to what (A or W), seconds until the meter was under it.

    `took_s` is 0 where it was under it already, +inf where it was not before the limit rose again or the run ended.
    """

    at_s: float
    from_value: float
    to_value: float
    unit: str
    took_s: float


def averaged(series: Series, limit: Limit) -> Series:
    """Return a series whose values are means over the averaging intervals of a limit; the same one where it has none.

    An interval with less than half of its time measured is NaN: a mean of a rest is none.
    """
    if limit.averaging_s <= 0.0 or len(series.t_s) < 2:
        return series
    group = _groups(series, limit)
    dt_s = series.dt_s()
    whole_s = np.bincount(group, dt_s)

    def mean(values: np.ndarray) -> np.ndarray:
        columns = []
        for k in range(values.shape[1]):
            good = np.isfinite(values[:, k])
            weight = np.bincount(group, dt_s * good)
            total = np.bincount(group, np.where(good, values[:, k], 0.0) * dt_s)
            enough = (weight >= 0.5 * whole_s) & (weight > 0.0)
            columns.append(np.divide(total, weight, out=np.full(len(weight), np.nan), where=enough)[group])
        return np.stack(columns, axis=1)

    power_w = None if series.power_w is None else mean(series.power_w[:, None])[:, 0]
    return Series(series.t_s, mean(series.amp_a), mean(series.volt_v), power_w)


def judged(series: Series, limit: Limit) -> np.ndarray:
    """Return where a limit can be judged, (T,) bool: in averaging intervals in which it is one and the same throughout.

    A mean over a time of which a part stood under another limit, or before or after the run, proves neither: a call
    that fills no interval is not judged at all.
    """
    if limit.averaging_s <= 0.0 or len(series.t_s) < 2:
        return np.ones(len(series.t_s), dtype=bool)
    group = _groups(series, limit)
    _, first = np.unique(group, return_index=True)
    same = (limit.amp_a == limit.amp_a[first][group]) & (limit.watt_w == limit.watt_w[first][group])
    alike = np.bincount(group, ~same) == 0
    whole = np.bincount(group, series.dt_s()) >= WHOLE * limit.averaging_s
    return np.asarray((alike & whole)[group])


def _groups(series: Series, limit: Limit) -> np.ndarray:
    """Return the number of each sample's averaging interval, (T,), from 0 on."""
    cut = np.floor(series.t_s / limit.averaging_s) if limit.interval is None else limit.interval
    return np.asarray(np.unique(cut, return_inverse=True)[1])


def excess(series: Series, limit: Limit) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a meter is over its limit, sample by sample: (T,) A of the worst phase, (T,) W; 0 where under.

    Watts are the greater of both ways to be over: the sum over the phases of excess amps times volts, and the excess
    over a limit in watts. NaN where the meter is not believed.
    """
    meant = averaged(series, limit)
    over_a = meant.amp_a - limit.amp_a[:, None]
    over_a = np.where(over_a > limit.tolerance_a, over_a, 0.0)
    over_a = np.where(np.isnan(meant.amp_a), np.nan, over_a)
    by_phase_w = np.where(over_a == 0.0, 0.0, over_a * meant.volt_v).sum(axis=1)
    watt_w = meant.watt_w()
    total_w = watt_w - limit.watt_w
    total_w = np.where(total_w > limit.tolerance_w, total_w, 0.0)
    total_w = np.where(np.isnan(watt_w), np.nan, total_w)
    return over_a.max(axis=1), np.maximum(by_phase_w, total_w)


def over_limit(series: Series, limit: Limit, chosen: np.ndarray) -> Over:
    """Return what went beyond a limit in the samples `chosen` (T,) bool."""
    over_a, over_w = excess(series, limit)
    dt_s = np.where(chosen & limit.in_force(), series.dt_s(), 0.0)
    can = judged(series, limit)
    here = (dt_s > 0.0) & can
    known = here & np.isfinite(over_w)
    missing_s, unjudged_s = float(dt_s[here & ~known].sum()), float(dt_s[~can].sum())
    if missing_s + unjudged_s > 0.0 and not known.any():
        return Over(np.nan, np.nan, np.nan, np.nan, missing_s, unjudged_s)
    top_a, top_w = (float(np.max(values[known], initial=0.0)) for values in (over_a, over_w))
    return Over(
        energy_wh=float((over_w[known] * dt_s[known]).sum() * WH_PER_WS),
        seconds=float(dt_s[known & (over_w > 0.0)].sum()),
        highest_a=top_a,
        highest_w=top_w,
        missing_s=missing_s,
        unjudged_s=unjudged_s,
    )


def falls(series: Series, limit: Limit, chosen: np.ndarray) -> list[Compliance]:
    """Return every fall of a limit in the samples `chosen` and how long the meter took to be under it.

    It is under it from the first of SETTLE_SAMPLES samples in a row on; a sample that nobody measured is not under.
    """
    found = []
    for values, tolerance, unit in (
        (limit.amp_a, limit.tolerance_a, "A"),
        (limit.watt_w, limit.tolerance_w, "W"),
    ):
        measured = series.amp_a.max(axis=1) if unit == "A" else series.watt_w()
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        for k in changes[values[changes] < values[changes - 1]]:
            if not chosen[k]:
                continue
            later = changes[changes > k]
            end = int(later[0]) if len(later) else len(values)
            under = measured[k:end] <= values[k:end] + tolerance
            took_s = _first_run(under, series.t_s[k:end] - series.t_s[k])
            found.append(Compliance(float(series.t_s[k]), float(values[k - 1]), float(values[k]), unit, took_s))
    return sorted(found, key=lambda row: row.at_s)


def _first_run(under: np.ndarray, since_s: np.ndarray) -> float:
    """Return when `under` first holds for SETTLE_SAMPLES in a row; one less at the very end counts too; else +inf."""
    held = under.copy()
    for shift in range(1, SETTLE_SAMPLES):
        held[:-shift] &= under[shift:]
    return float(since_s[np.argmax(held)]) if held.any() else float("inf")


def percentile_s(took_s: Sequence[float], share: float) -> float:
    """Return the smallest time within which at least `share` (0..1) of the falls were obeyed; NaN without any."""
    if not took_s:
        return float("nan")
    ranked = np.sort(np.asarray(took_s, dtype=float))
    return float(ranked[max(int(np.ceil(share * len(ranked))) - 1, 0)])


def jain(shares: np.ndarray) -> float:
    """Return Jain's index (sum x)^2 / (n sum x^2) of what each got of what it wanted; NaN without any.

    Source: Jain, Chiu, Hawe, DEC-TR-301 (1984): 1 all alike, 1/n one has everything.
    """
    x = shares[np.isfinite(shares)]
    if len(x) == 0 or not (x > 0.0).any():
        return float("nan")
    return float(x.sum() ** 2 / (len(x) * (x**2).sum()))
