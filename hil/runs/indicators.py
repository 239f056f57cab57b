"""Count what a run did to the drivers: energy, who was held back, by what, how much, and how fast orders arrived.

The session indicators are those of the FlexPower Amsterdam trials: average charging power, energy transferred, and
the share of sessions affected positively or negatively against the same sessions without the limits
(WEVJ 2021, 12(2), 82). Here the comparison is the uncontrolled run of the same seed, not a control group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.law.names import Reason
from hil.runs.trace import Trace

FREE = (Reason.WISH, Reason.NO_CAR, Reason.HARDWARE, Reason.CAR)
AFFECTED_SHARE = 0.01  # a session is affected where its energy differs by more than this
CHARGING_W = 100.0  # above it a car charges


@dataclass(frozen=True, slots=True)
class FlexPower:
    """Hold the session indicators of one run: W while charging, Wh in the run, shares of sessions with energy."""

    average_power_w: float
    energy_wh: float
    energy_uncontrolled_wh: float
    sessions: int
    positive_share: float
    negative_share: float

    def to_dict(self) -> dict[str, float | int]:
        """Return the indicators by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Held:
    """Say how long one reason held one charger back (s) and what that cost against no control (Wh, may be < 0)."""

    charger: str
    reason: Reason
    first_s: float
    seconds: float
    lowest_a: float
    curtailed_wh: float


@dataclass(frozen=True, slots=True)
class Obeyed:
    """Hold how long a charger drew more than it was allowed: the longest single stretch and how many there were.

    `limit_s` is its promised obey time. A stretch that the end of the run cut short counts up to there.
    """

    charger: str
    orders: int
    longest_s: float
    at_s: float
    limit_s: float


def flexpower(controlled: Trace, uncontrolled: Trace) -> FlexPower:
    """Return the FlexPower indicators of a run from scenario time 0 on; NaN where there was no session."""
    end_s = min(controlled.t_s[-1], uncontrolled.t_s[-1])
    run_wh, free_wh = _energy_wh(controlled, end_s), _energy_wh(uncontrolled, end_s)
    session = np.isfinite(free_wh) & np.isfinite(run_wh) & ((free_wh > 0) | (run_wh > 0))
    base = np.fmax(free_wh, run_wh)[session]
    change = (run_wh - free_wh)[session] / base
    charging = controlled.power_w()[controlled.t_s >= 0]
    count = int(session.sum())
    return FlexPower(
        average_power_w=float(charging[charging > CHARGING_W].mean()) if (charging > CHARGING_W).any() else np.nan,
        energy_wh=float(np.nansum(run_wh)),
        energy_uncontrolled_wh=float(np.nansum(free_wh)),
        sessions=count,
        positive_share=float((change > AFFECTED_SHARE).mean()) if count else np.nan,
        negative_share=float((change < -AFFECTED_SHARE).mean()) if count else np.nan,
    )


def curtailed_wh(controlled: Trace, uncontrolled: Trace) -> np.ndarray:
    """Return how much less each charger got than without control from scenario time 0 on, (N,) Wh."""
    end_s = min(controlled.t_s[-1], uncontrolled.t_s[-1])
    return np.asarray(_energy_wh(uncontrolled, end_s) - _energy_wh(controlled, end_s))


def held_back(controlled: Trace, uncontrolled: Trace | None) -> list[Held]:
    """Return who was held back, by what and for how long, the greatest curtailed energy first.

    Energy is the difference to the uncontrolled run in the same seconds (NaN without that run): a car that catches
    up later shows a negative figure under the reason that held then.
    """
    t_s, dt_s = controlled.t_s, controlled.dt_s()
    lost_w = np.full(controlled.drawn_a.shape, np.nan)
    if uncontrolled is not None:
        lost_w = _at(uncontrolled, t_s) - controlled.power_w()
    rows = []
    for i, charger in enumerate(controlled.charger_names):
        for code in np.unique(controlled.reason[t_s >= 0, i]):
            if code in FREE:
                continue
            bound = (controlled.reason[:, i] == code) & (t_s >= 0)
            lost_wh = lost_w[bound, i] * dt_s[bound] / 3600.0
            curtailed_wh = float(np.nansum(lost_wh)) if np.isfinite(lost_wh).any() else np.nan
            lowest_a = float(np.min(controlled.allowed_a[bound, i]))
            first_s, seconds = float(t_s[bound][0]), float(dt_s[bound].sum())
            rows.append(Held(charger, Reason(code), first_s, seconds, lowest_a, curtailed_wh))
    return sorted(rows, key=lambda row: (-np.nan_to_num(row.curtailed_wh), row.charger, row.reason))


def order_to_ampere(controlled: Trace, obey_s: Sequence[float] | np.ndarray, tolerance_a: float) -> list[Obeyed]:
    """Return per charger the time from a lower limit to the amps drawn under it, at scenario time 0 or later."""
    rows = []
    t_s = controlled.t_s
    over = (controlled.drawn_a > controlled.allowed_a + tolerance_a) & (t_s >= 0)[:, None]
    for i, charger in enumerate(controlled.charger_names):
        edges = np.diff(over[:, i].astype(np.int8), prepend=0, append=0)
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        lengths = t_s[np.minimum(ends, len(t_s) - 1)] - t_s[starts]
        if len(lengths) == 0:
            rows.append(Obeyed(charger, 0, 0.0, np.nan, float(obey_s[i])))
            continue
        k = int(np.argmax(lengths))
        rows.append(Obeyed(charger, len(lengths), float(lengths[k]), float(t_s[starts[k]]), float(obey_s[i])))
    return rows


def worst_customer(trace: Trace) -> int:
    """Return the index of the customer with a charger whose volts fell lowest; the first one where none is known."""
    candidates = np.unique(trace.charger_customer)
    lowest_v = np.nanmin(np.where(np.isnan(trace.customer_v), np.inf, trace.customer_v)[:, candidates], axis=0)
    return int(candidates[np.argmin(lowest_v)])


def _energy_wh(trace: Trace, end_s: float) -> np.ndarray:
    run = (trace.t_s >= 0) & (trace.t_s < end_s)
    return np.asarray((trace.power_w()[run] * trace.dt_s()[run, None]).sum(axis=0) / 3600.0)


def _at(trace: Trace, t_s: np.ndarray) -> np.ndarray:
    """Return a run's watts per charger at other times; NaN before its start and after its end."""
    power_w = trace.power_w()
    columns = [np.interp(t_s, trace.t_s, power_w[:, i], left=np.nan, right=np.nan) for i in range(power_w.shape[1])]
    return np.stack(columns, axis=1)
