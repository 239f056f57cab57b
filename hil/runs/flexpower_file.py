"""Reckon the FlexPower indicators of a file of transactions: what each would have got under windows and without.

Every transaction stands alone at its station: what the other socket does is not in the file. A car whose power ended
before it left wanted what it took; one that was still charging would have taken more. Its amps and phases are those of
its class, by the highest power in the file; 230 V.
"""

from collections.abc import Callable
from zoneinfo import ZoneInfo

import numpy as np

from hil.runs.evidence_clock import window_limits
from hil.runs.flexpower import CHARGING_W, Session
from profiles.contract_windows import Windowed
from profiles.errors import ProfileError
from profiles.session import Sessions, vehicle_of_power
from profiles.vehicle import Vehicle

U_NOM_V = 230.0
STEP_S = 60.0
STILL_CHARGING_S = 300.0  # power until so shortly before the end: it was not done
WH_PER_WS = 1.0 / 3600.0


def sessions_of_file(
    found: Sessions,
    contract: Windowed,
    vehicles: dict[str, Vehicle],
    zone: ZoneInfo,
    start_utc_s: float,
    baseline_a: float,
) -> list[Session]:
    """Return every transaction under the contract's windows and under `baseline_a` amps per phase.

    `start_utc_s` is second 0 of the file. ProfileError where the contract is not in amps, or no power is in the file.
    """
    if contract.limit.quantity != "A":
        raise ProfileError(f"contract {contract.name}: limits in {contract.limit.quantity}: allowed A per phase")
    if not np.isfinite(found.max_w).any():
        raise ProfileError("transactions: no highest power in the file, by which a car's phases and amps are known")
    first = np.floor(found.arrive_s / STEP_S).astype(np.int64)
    origin = int(first.min(initial=0))
    grid_s = start_utc_s + STEP_S * np.arange(origin, int(np.max(found.leave_s, initial=0.0) // STEP_S) + 2)
    limits_a = window_limits(contract, grid_s, zone)
    known = np.flatnonzero(np.isfinite(found.max_w) & (found.max_w > CHARGING_W) & (found.need_wh > 0.0))
    rows = []
    for k in known:
        name = vehicle_of_power(float(found.max_w[k]))
        stay_s = float(found.leave_s[k] - found.arrive_s[k])
        done = np.isfinite(found.charge_s[k]) and found.charge_s[k] < stay_s - STILL_CHARGING_S
        begin, count = int(first[k]) - origin, int(stay_s // STEP_S) + 1
        dt_s = np.full(count, STEP_S)
        dt_s[-1] = stay_s - STEP_S * (count - 1)
        limit_a = limits_a[begin : begin + count]
        want_wh = float(found.need_wh[k]) if done else np.inf
        power_w = _power_of(vehicles[name])
        got_wh, busy_s = _charge(power_w(limit_a), dt_s, want_wh)
        free_wh, free_s = _charge(power_w(np.full(count, baseline_a)), dt_s, want_wh)
        rows.append(Session(name, float(found.need_wh[k]), got_wh, free_wh, busy_s, free_s))
    return rows


def _power_of(car: Vehicle) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from the amps allowed (T,) to the watts that a car takes; 0 below its floor."""
    floor_a = car.floor_1p_a if car.phases == 1 else car.floor_3p_a

    def power_w(limit_a: np.ndarray) -> np.ndarray:
        amps = np.minimum(limit_a, car.max_a)
        return np.asarray(np.where(amps >= floor_a, amps, 0.0) * car.phases * U_NOM_V)

    return power_w


def _charge(power_w: np.ndarray, dt_s: np.ndarray, want_wh: float) -> tuple[float, float]:
    """Return energy taken (Wh) and time that it took (s) of a car that wants `want_wh`."""
    each_wh = power_w * dt_s * WH_PER_WS
    before_wh = np.cumsum(each_wh) - each_wh
    taken_wh = np.clip(want_wh - before_wh, 0.0, each_wh)
    share = np.divide(taken_wh, each_wh, out=np.zeros(len(each_wh)), where=each_wh > 0.0)
    return float(taken_wh.sum()), float((share * dt_s).sum())
