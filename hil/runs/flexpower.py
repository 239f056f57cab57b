"""Reckon the FlexPower indicators: charging power, energy, and the share of sessions that got more or less, by class.

The three indicators are those of the FlexPower Amsterdam trial (Bons et al., WEVJ 2020, 11(1), 21). What it calls
an affected session is not in what we could read; ours: a session is affected positively (negatively) where its energy
is more than `AFFECTED_SHARE` above (below) what the same session got without the windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hil.rig.sessions import Stay
from hil.runs.trace import Trace
from profiles.vehicle import Vehicle

AFFECTED_SHARE = 0.01
CHARGING_W = 100.0  # above it a car charges
ALL, NEW, OLD = "all", "new_generation", "first_generation"
NEW_ABOVE_A = 16.0
WH_PER_WS = 1.0 / 3600.0


@dataclass(frozen=True, slots=True)
class Session:
    """Hold one whole session in both runs: class of car, Wh wanted, served and served without, charging time (s)."""

    vehicle: str
    wanted_wh: float
    served_wh: float
    reference_wh: float
    charging_s: float
    reference_charging_s: float

    @property
    def change(self) -> float:
        """Return by how much it got more than without the windows, as a share of the greater; 0 where neither did."""
        most = max(self.served_wh, self.reference_wh)
        return (self.served_wh - self.reference_wh) / most if most > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Indicator:
    """Hold the indicators of one group of cars, and of the same sessions without the windows."""

    group: str
    sessions: int
    power_w: float
    reference_power_w: float
    energy_wh: float
    reference_energy_wh: float
    positive_share: float
    negative_share: float

    def to_dict(self) -> dict[str, float | int | str]:
        """Return the indicators by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def generation(car: Vehicle) -> str:
    """Return whether a car charges as those of the first years did: on one phase with at most 16 A."""
    return OLD if car.phases == 1 and car.max_a <= NEW_ABOVE_A else NEW


def sessions_of(stays: Sequence[Stay], run: Trace, reference: Trace) -> list[Session]:
    """Return the sessions that came and went within both runs, from scenario time 0 on."""
    end_s = min(float(run.t_s[-1]), float(reference.t_s[-1]))
    whole = [stay for stay in stays if stay.arrive_s >= 0.0 and stay.leave_s <= end_s]
    names = {name: i for i, name in enumerate(run.charger_names)}
    served, free = _Counter(run), _Counter(reference)
    found = []
    for stay in whole:
        i = names[stay.charger]
        got_wh, busy_s = served.between(i, stay.arrive_s, stay.leave_s)
        free_wh, free_s = free.between(i, stay.arrive_s, stay.leave_s)
        found.append(Session(stay.vehicle, stay.wanted_wh, got_wh, free_wh, busy_s, free_s))
    return found


class _Counter:
    """Count energy and charging time between two moments of a run."""

    __slots__ = ("_busy_s", "_energy_wh", "_t_s")

    def __init__(self, trace: Trace) -> None:
        watt_w, dt_s = np.nan_to_num(trace.power_w()), trace.dt_s()[:, None]
        zero = np.zeros((1, watt_w.shape[1]))
        self._t_s = trace.t_s
        self._energy_wh = np.concatenate([zero, np.cumsum(watt_w * dt_s, axis=0)[:-1] * WH_PER_WS])
        self._busy_s = np.concatenate([zero, np.cumsum((watt_w > CHARGING_W) * dt_s, axis=0)[:-1]])

    def between(self, i: int, from_s: float, to_s: float) -> tuple[float, float]:
        """Return energy (Wh) and charging time (s) of charger i."""
        ends = np.array([from_s, to_s])
        wh, busy_s = (np.interp(ends, self._t_s, values[:, i]) for values in (self._energy_wh, self._busy_s))
        return float(wh[1] - wh[0]), float(busy_s[1] - busy_s[0])


def indicators(
    sessions: Sequence[Session], vehicles: dict[str, Vehicle], affected: float = AFFECTED_SHARE
) -> list[Indicator]:
    """Return the indicators of all sessions, of the two generations, and of each class of car that came."""
    groups: dict[str, list[Session]] = {ALL: list(sessions), OLD: [], NEW: []}
    for session in sessions:
        groups[generation(vehicles[session.vehicle])].append(session)
    for name in sorted({session.vehicle for session in sessions}):
        groups[name] = [session for session in sessions if session.vehicle == name]
    return [_indicator(name, found, affected) for name, found in groups.items() if found]


def _indicator(group: str, found: Sequence[Session], affected: float) -> Indicator:
    change = np.array([session.change for session in found])
    sums = {
        key: float(sum(getattr(session, key) for session in found))
        for key in ("served_wh", "reference_wh", "charging_s", "reference_charging_s")
    }

    def mean_w(energy_wh: float, seconds: float) -> float:
        return energy_wh * 3600.0 / seconds if seconds > 0.0 else float("nan")

    return Indicator(
        group=group,
        sessions=len(found),
        power_w=mean_w(sums["served_wh"], sums["charging_s"]),
        reference_power_w=mean_w(sums["reference_wh"], sums["reference_charging_s"]),
        energy_wh=sums["served_wh"],
        reference_energy_wh=sums["reference_wh"],
        positive_share=float((change > affected).mean()),
        negative_share=float((change < -affected).mean()),
    )
