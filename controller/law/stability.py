"""Tell how far a plan's voltage droop is from oscillating, before it is used.

Each charger filters its volts with weight alpha per scan and follows a curve; the feeder answers with its
sensitivities; `delay` whole scans pass in measuring, sending and obeying. With K = diag(slopes), S the sensitivities
and lambda an eigenvalue of K S, the loop has the characteristic polynomial

    z^(d+1) - (1 - alpha) z^d + alpha lambda = 0

which leaves the unit circle at the critical lambda: 2 / alpha - 1 without delay. Under |lambda| < 1 it is stable with
any delay. A lambda that is not real (load on another phase moves the volts by a resistance and a reactance) or negative
(it lifts them) is critical earlier, at 1 where it is negative: it has its own critical magnitude. Source: facts A5,
derived there and checked against its tables; after Farivar, Zhou, Chen and Low (2015) and the filtered update of the
Jahangiri/Aliprantis volt-VAr chapter, Eq. 3.4.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

HALVINGS = 80
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Margin:
    """Hold the loop gain, the gain at which it would oscillate, and their ratio in dB (+inf: no droop at all).

    `alpha` and `delay` (scans) are what they were computed for, `slope` the steepest slope, in the unit it was given,
    `angle_rad` the angle of the eigenvalue.
    """

    lambda_max: float
    critical_lambda: float
    margin_db: float
    alpha: float = math.nan
    delay: int = 0
    slope: float = math.nan
    angle_rad: float = 0.0


class MarginError(ValueError):
    """Report a plan whose margin is under the required one."""


def critical_lambda(alpha: float, delay: int, angle_rad: float = 0.0) -> float:
    """Return the magnitude of an eigenvalue at which the loop begins to oscillate, for a filter weight and a delay.

    `delay` in scans, `angle_rad` the eigenvalue's angle: 0 where load lowers the volts, pi where it lifts them. Without
    delay and angle the closed form 2 / alpha - 1; otherwise the first crossing z = exp(j w) of the unit circle, where
    the phases d w + arg(z - (1 - alpha)) add up to pi - |angle|.
    """
    if not 0.0 < alpha <= 1.0:
        raise ValueError(f"alpha: {alpha}; allowed is over 0 to 1 (scan period / filter time constant)")
    if delay < 0 or delay != int(delay):
        raise ValueError(f"delay: {delay} scans; allowed is a whole number from 0")
    crossing = math.pi - abs(angle_rad)
    if not crossing >= 0.0:
        raise ValueError(f"angle: {angle_rad} rad; allowed is -pi to pi")
    if delay == 0 and angle_rad == 0.0:
        return 2.0 / alpha - 1.0
    low, high = 0.0, math.pi
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        phase = delay * middle + math.atan2(math.sin(middle), math.cos(middle) - (1.0 - alpha))
        low, high = (middle, high) if phase < crossing else (low, middle)
    return math.hypot(math.cos(low) - (1.0 - alpha), math.sin(low)) / alpha


def stability_margin(slopes: ArrayLike, sensitivities: ArrayLike, alpha: float, delay: int) -> Margin:
    """Return the margin of the droop loop.

    `slopes` (N): steepest slope of each charger's curve [A/V, or W/pu in the unit of the sensitivities], not negative;
    `sensitivities` (N, N): fall of the volts at i per amp (watt) drawn at j [V/A, or pu/W], positive where load lowers
    the volts; `alpha`: weight of a new value in the filter, period / tau (0 to 1]; `delay`: whole scans between a
    voltage and the amps that follow it. The figures are those of the eigenvalue with the least margin.
    """
    gain = np.asarray(slopes, dtype=np.float64).reshape(-1)
    field = np.asarray(sensitivities, dtype=np.float64)
    if field.shape != (gain.size, gain.size):
        raise ValueError(f"sensitivities: shape {field.shape}, expected {(gain.size, gain.size)}")
    if not (np.isfinite(gain).all() and (gain >= 0.0).all()):
        raise ValueError(f"slopes: {gain.tolist()}; allowed are finite numbers from 0")
    if not np.isfinite(field).all():
        raise ValueError("sensitivities: not finite; take them from the impedance matrix or a measured step")
    steepest = float(gain.max()) if gain.size else 0.0
    worst = Margin(0.0, critical_lambda(alpha, delay), math.inf, alpha, int(delay), steepest)
    for mode in np.linalg.eigvals(gain[:, None] * field) if gain.any() else ():
        size, angle = float(abs(mode)), _angle_rad(mode)
        critical = critical_lambda(alpha, delay, angle)
        margin = 20.0 * math.log10(critical / size) if size > 0.0 else math.inf
        if margin < worst.margin_db:
            worst = Margin(size, critical, margin, alpha, int(delay), steepest, angle)
    return worst


def _angle_rad(mode: complex) -> float:
    """Return the angle of an eigenvalue, 0 where rounding alone made it complex."""
    return float(np.angle(mode)) if abs(mode.imag) > ROUNDING * abs(mode) or mode.real < 0.0 else 0.0


def broadcast_sensitivities(
    sensitivities: ArrayLike, slopes: ArrayLike | None = None, lifted: bool = False
) -> NDArray[np.float64]:
    """Return the sensitivities (N, N) of a common droop: everybody follows the worst node.

    Which node is the worst may change, so it is the one that all chargers together pull down the most, each by its
    slope (N; alike if not given); with `lifted` the one that they pull down the least. The loop gain of a common droop
    is the sum of its row: never under that of the local one on one phase; load on another phase lifts these volts, so
    over three phases it may be, and a row that load lifts on the whole has a negative gain, critical at 1.
    """
    field = np.asarray(sensitivities, dtype=np.float64)
    gain = np.ones(len(field)) if slopes is None else np.asarray(slopes, dtype=np.float64)
    pull = field @ gain
    worst = field[int(np.argmin(pull) if lifted else np.argmax(pull))]
    return np.tile(worst, (len(field), 1))


def longest_delay(lambda_max: float, alpha: float, required_db: float = 6.0, angle_rad: float = 0.0) -> float:
    """Return the longest delay in scans that keeps the margin: +inf where any does, -1 where not even none does."""
    needed = lambda_max * 10.0 ** (required_db / 20.0)
    if needed <= 1.0:  # the critical gain falls towards 1 with the delay, and never under it
        return math.inf
    if critical_lambda(alpha, 0, angle_rad) < needed:
        return -1.0
    low, high = 0, 1
    while critical_lambda(alpha, high, angle_rad) >= needed:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if critical_lambda(alpha, middle, angle_rad) >= needed else (low, middle)
    return float(low)


def require_margin(margin: Margin, required_db: float = 6.0, name: str = "voltage droop") -> None:
    """Refuse a plan under the required margin (MarginError with its name and the figures: margin, slope and delay)."""
    if margin.margin_db >= required_db:
        return
    text = (
        f"{name}: margin {margin.margin_db:.1f} dB, required {required_db:g} dB (loop gain"
        f" {margin.lambda_max:.3g}, oscillates at {margin.critical_lambda:.3g}); make the curve flatter, the"
        " filter slower or the delay shorter"
    )
    if 0.0 < margin.alpha <= 1.0:
        fits = margin.slope * 10.0 ** ((margin.margin_db - required_db) / 20.0)
        longest = longest_delay(margin.lambda_max, margin.alpha, required_db, margin.angle_rad)
        allowed = f"up to {longest:g} scans" if longest >= 0.0 else "none at this slope"
        text += f" (slope {margin.slope:.3g}, allowed up to {fits:.3g}; delay {margin.delay} scans, allowed {allowed})"
    raise MarginError(text)


def require_hysteresis(
    gap_pu: float, step_a: float, sensitivity_v_per_a: float, u_nom_v: float = 230.0, name: str = "hysteresis"
) -> None:
    """Refuse a gap of volts that the charger's own step of amps would cross (MarginError with the figure).

    `gap_pu` is the hysteresis, or from pause to resume, as `name` says; `step_a` the amps by which the charger jumps,
    0 to its floor or the step of its set-point; `sensitivity_v_per_a` the fall of the volts at the charger per amp that
    it draws. Source: facts A4, A5 (C).
    """
    step_pu = step_a * abs(sensitivity_v_per_a) / u_nom_v
    if not gap_pu > step_pu:
        raise MarginError(
            f"voltage droop: {name} {gap_pu:.4f} pu, required over {step_pu:.4f} pu: a step of {step_a:g} A moves the"
            f" charger's own volts by that; make the {name} wider"
        )


def require_gaps(
    points: ArrayLike,
    hard_max_a: float,
    floor_a: float,
    step_a: float,
    hysteresis_pu: float,
    pause_pu: float,
    resume_pu: float,
    sensitivity_v_per_a: float,
    u_nom_v: float = 230.0,
    still_a: float = 0.25,
) -> None:
    """Refuse the droop of one charger whose own steps would make it hunt (MarginError with the figure).

    It jumps between 0 and its floor where the volts pause it, or where its curve (K, 2: pu, share) falls under the
    floor; and by `step_a`, where raises under `still_a` are not skipped anyway. A curve that stays over the floor and
    pauses nobody (AS/NZS 4777.2, 20 % of 32 A) needs no hysteresis for the former.
    """
    least_a = float(np.min(np.asarray(points, dtype=np.float64)[:, 1])) * hard_max_a
    field = (sensitivity_v_per_a, u_nom_v)
    if pause_pu > 0.0:
        require_hysteresis(resume_pu - pause_pu, floor_a, *field, name="gap from pause_pu to resume_pu")
    if pause_pu > 0.0 or least_a < floor_a:
        require_hysteresis(hysteresis_pu, floor_a, *field)
    if step_a > still_a:
        require_hysteresis(hysteresis_pu, step_a, *field)
