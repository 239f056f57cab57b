"""Reckon a contract's figures of a run: limits kept, time to comply, curtailment, service per connection, by meter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from controller.law.names import Reason
from hil.rig.sessions import Stay
from hil.runs.evidence import Compliance, Over, Series, falls, jain, over_limit, percentile_s
from hil.runs.evidence_clock import periods
from hil.runs.evidence_limits import Held, limit_of
from hil.runs.trace import Trace
from profiles.contract_group import Shared
from profiles.contract_par14a import Par14a

WH_PER_WS = 1.0 / 3600.0
CONTRACT_REASONS = (Reason.WINDOW, Reason.ORDER, Reason.ORDER_LOST)
GROUP_REASONS = (Reason.GROUP, Reason.ADMIT, Reason.FLOOR)  # of chargers that share a sum


@dataclass(frozen=True, slots=True, eq=False)
class Meter:
    """Hold one kind of meter at every point of a contract: `series` by the point's name, and why it has none."""

    name: str
    series: dict[str, Series]
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """Hold how one meter saw a contract's limits kept in one period, over all its points.

    `over` adds energy and time of all points; its highest excess is that of one. `took_s` are the exercised falls
    (something was drawn over the new limit when it fell), +inf where one was not obeyed; `idle_falls` the others.
    """

    period: str
    meter: str
    points: int
    over: Over
    took_s: tuple[float, ...]
    idle_falls: int
    energy_wh: float

    def spans_s(self) -> tuple[float, float, float]:
        """Return p50, p99 and the longest time to comply, s; NaN without an exercised fall."""
        longest = max(self.took_s, default=float("nan"))
        return percentile_s(self.took_s, 0.5), percentile_s(self.took_s, 0.99), longest

    def late(self, response_s: float | None) -> float:
        """Return how many falls took longer than the contract's response time; NaN where it states none."""
        return float("nan") if response_s is None else float(sum(took_s > response_s for took_s in self.took_s))


@dataclass(frozen=True, slots=True)
class Curtailed:
    """Hold what a contract cost in one period.

    `limited_h` hours with a limit under the reference in force (of one point, the longest), `binding_h` charger-hours
    in which the contract was what bound a charger, `held_wh` energy missing then against the reference run, `net_wh`
    the same over the whole period, with what was caught up (NaN without a reference run).
    """

    period: str
    limited_h: float
    binding_h: float
    held_wh: float
    net_wh: float


@dataclass(frozen=True, slots=True)
class Served:
    """Hold what one connection's cars got: energy wanted and served (Wh), the same in the reference run, sessions."""

    connection: str
    sessions: int
    wanted_wh: float
    served_wh: float
    reference_wh: float

    @property
    def share(self) -> float:
        """Return served over wanted, NaN where nothing was wanted."""
        return self.served_wh / self.wanted_wh if self.wanted_wh > 0.0 else float("nan")


def kept(held: Held, meter: Meter, start_utc_s: float, by: str, tolerance: tuple[float, float]) -> list[Kept]:
    """Return how a meter saw the contract's limits kept, a row a period; nothing where it shows no point.

    `tolerance` is the site's, A per phase and W.
    """
    rows: dict[str, list[tuple[Over, list[Compliance], int, float]]] = {}
    points = {point.name: point for point in held.points}
    for name, series in meter.series.items():
        limit = limit_of(held, start_utc_s + series.t_s, *tolerance, points[name])
        watt_w, dt_s = series.watt_w(), series.dt_s()
        for period, chosen in periods(start_utc_s + series.t_s, held.zone, by):
            chosen = chosen & (series.t_s >= 0.0) & (dt_s > 0.0)
            if not chosen.any():
                continue
            found = falls(series, limit, chosen)
            real = [fall for fall in found if _exercised(series, fall)]
            known = chosen & np.isfinite(watt_w)
            energy_wh = float((watt_w[known] * dt_s[known]).sum() * WH_PER_WS) if known.any() else float("nan")
            row = (over_limit(series, limit, chosen), real, len(found) - len(real), energy_wh)
            rows.setdefault(period, []).append(row)
    return [_together(period, meter.name, found) for period, found in rows.items()]


def _exercised(series: Series, fall: Compliance) -> bool:
    """Tell whether something was drawn over the new limit when it fell: else there was nothing to obey."""
    before = max(int(np.searchsorted(series.t_s, fall.at_s)) - 1, 0)
    value = series.amp_a[before].max() if fall.unit == "A" else series.watt_w()[before]
    return not value <= fall.to_value  # NaN counts: nobody knows


def _together(period: str, meter: str, rows: list[tuple[Over, list[Compliance], int, float]]) -> Kept:
    overs = [row[0] for row in rows]
    return Kept(
        period=period,
        meter=meter,
        points=len(rows),
        over=Over(
            energy_wh=_of_known(sum, [over.energy_wh for over in overs]),
            seconds=_of_known(sum, [over.seconds for over in overs]),
            highest_a=_of_known(max, [over.highest_a for over in overs]),
            highest_w=_of_known(max, [over.highest_w for over in overs]),
            missing_s=sum(over.missing_s for over in overs),
            unjudged_s=sum(over.unjudged_s for over in overs),
        ),
        took_s=tuple(fall.took_s for row in rows for fall in row[1]),
        idle_falls=sum(row[2] for row in rows),
        energy_wh=_of_known(sum, [row[3] for row in rows]),
    )


def _of_known(fold: Callable[[list[float]], float], values: list[float]) -> float:
    """Return the sum or the highest of what is known; NaN where nothing is."""
    known = [value for value in values if np.isfinite(value)]
    return fold(known) if known else float("nan")


def curtailed(held: Held, run: Trace, reference: Trace | None, by: str, free_a: float) -> list[Curtailed]:
    """Return what the contract cost, a row a period; `free_a` is the limit without it (A per phase)."""
    members = held.members()
    limit = limit_of(held, run.utc_s, 0.0, 0.0)
    limited = (limit.amp_a < free_a) | np.isfinite(limit.watt_w)
    dt_s, watts = run.dt_s(), run.power_w()[:, members]
    shared = isinstance(held.contract, Shared | Par14a)
    reasons = (*CONTRACT_REASONS, *(GROUP_REASONS if shared else ()))
    bound = np.isin(run.reason[:, members], [int(reason) for reason in reasons])
    lost_w = np.full(watts.shape, np.nan)
    if reference is not None:
        free_w = reference.power_w()[:, members]
        columns = [
            np.interp(run.t_s, reference.t_s, free_w[:, k], left=np.nan, right=np.nan) for k in range(len(members))
        ]
        lost_w = np.stack(columns, axis=1) - watts
    rows = []
    for period, chosen in periods(run.utc_s, held.zone, by):
        here_s = np.where(chosen & (run.t_s >= 0.0), dt_s, 0.0)
        if not here_s.any():
            continue
        lost_wh = np.where(here_s[:, None] > 0.0, lost_w * here_s[:, None], 0.0) * WH_PER_WS
        rows.append(
            Curtailed(
                period=period,
                limited_h=float(here_s[limited].sum() / 3600.0),
                binding_h=float((here_s[:, None] * bound).sum() / 3600.0),
                held_wh=float(lost_wh[bound].sum()),
                net_wh=float(lost_wh.sum()),
            )
        )
    return rows


def worst(served: Sequence[Served]) -> Served | None:
    """Return the connection that got the smallest share of what it wanted; None where nothing was wanted."""
    known = [row for row in served if np.isfinite(row.share)]
    return min(known, key=lambda row: row.share) if known else None


def served(
    held: Held, run: Trace, reference: Trace | None, stays: Sequence[Stay], names: Sequence[str], of: np.ndarray
) -> list[Served]:
    """Return energy wanted and served at every connection of the contract, until the end of the run.

    `names` are the connections, `of` (N,) which is each charger's.
    """
    end_s, chargers = float(run.t_s[-1]), {name: i for i, name in enumerate(run.charger_names)}
    begun = [chargers[stay.charger] for stay in stays if stay.arrive_s <= end_s]
    return [
        Served(
            connection=name,
            sessions=sum(begun.count(i) for i in members),
            wanted_wh=float(run.need_wh[members].sum()),
            served_wh=float(run.energy_wh[members].sum()),
            reference_wh=float("nan") if reference is None else float(reference.energy_wh[members].sum()),
        )
        for name, members in by_connection(held, names, of).items()
    ]


def fairness(served: Sequence[Served]) -> float:
    """Return Jain's index over the connections' served shares."""
    return jain(np.array([row.share for row in served]))


def by_connection(held: Held, names: Sequence[str], customer_of: np.ndarray) -> dict[str, list[int]]:
    """Return the chargers (indices) of each connection that a contract touches, by the customer's name."""
    groups: dict[str, list[int]] = {}
    for i in held.members():
        groups.setdefault(names[int(customer_of[i])], []).append(i)
    return groups
