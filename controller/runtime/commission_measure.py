"""Make of one charger's recorded steps what its site file should say: phases, sign, times, volts per amp.

Pure: samples in, findings out. Each step gives a difference of two levels that were waited for, so that neither the
houses' slow changes nor a meter's offset count; what the steps do not agree on is unclear, and says so.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import t as student

STEP_MIN_A = 2.0  # an edge that moved less says nothing
ANSWERS = 0.5  # a phase of the node belongs to the charger where it takes at least this share of its amps
CLEAR = 2.0  # the best pairing of volts must beat the second by so many standard errors
NEAR_A, NEAR_SHARE = 0.5, 0.1  # amps count as arrived within this of where they end
TAKEN_A = 0.25
LETTERS = "abc"


@dataclass(slots=True)
class Samples:
    """Hold what was read while one charger was stepped; times are monotonic ns, amps A, volts V, phases a, b, c.

    `order_a` is what we had told it, `limit_a` what it said it applies; `read_ns` and `node_ns` date the readings.
    """

    now_ns: list[int] = field(default_factory=list)
    order_a: list[float] = field(default_factory=list)
    limit_a: list[float] = field(default_factory=list)
    amp_a: list[np.ndarray] = field(default_factory=list)
    volt_v: list[np.ndarray] = field(default_factory=list)
    read_ns: list[int] = field(default_factory=list)
    node_a: list[np.ndarray] = field(default_factory=list)
    node_v: list[np.ndarray] = field(default_factory=list)
    node_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Level:
    """Name one order and the quiet time at its end: ordered at `since_ns`, quiet from `quiet_ns` to `until_ns`."""

    order_a: float
    since_ns: int
    quiet_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold what the steps of one charger show; NaN and None are unknown.

    `phases` are the grid's for the terminals L1.. in use; `answering` the node phases that moved with the charger;
    `sign` +1 or -1 of the node's meter; `obey_s`, `node_obey_s` the longest time until a lower order was drawn, at its
    own meter and at the node's; `v_per_a` the fall of its volts per A with its 95 % half width.
    """

    name: str
    drew: bool = False
    ignores: bool = False
    overwritten: bool = False
    others_a: float = math.nan
    phases: tuple[str, ...] | None = None
    answering: tuple[str, ...] = ()
    sign: int = 0
    obey_s: float = math.nan
    raise_s: float = math.nan
    node_obey_s: float = math.nan
    v_per_a: float = math.nan
    v_per_a_half: float = math.nan
    volt_step_v: float = math.nan
    amp_step_a: float = math.nan
    steps: int = 0
    why: str = ""


def measure(name: str, samples: Samples, levels: list[Level]) -> Finding:
    """Return what the samples of one charger show."""
    arrays = {key: np.array(getattr(samples, key)) for key in Samples.__dataclass_fields__}
    amps = np.nan_to_num(arrays["amp_a"])
    if not amps.size or amps.max() < 1.0:
        return Finding(name, why="no car draws: plug one in, and let it be far from full")
    quiet = [_quiet(arrays, level) for level in levels]
    overwritten, others_a = _overwritten(arrays, levels)
    base: dict[str, Any] = {
        "drew": True,
        "overwritten": overwritten,
        "others_a": others_a,
        "volt_step_v": _smallest_step(arrays["volt_v"]),
        "amp_step_a": _smallest_step(arrays["amp_a"]),
    }
    moved = [
        (a, b)
        for a, b in itertools.pairwise(range(len(levels)))
        if abs(_largest(quiet[b]["amp"]) - _largest(quiet[a]["amp"])) >= STEP_MIN_A
    ]
    if not moved:
        over_a = max(_largest(q["amp"]) - level.order_a for q, level in zip(quiet, levels, strict=True))
        if overwritten:
            return Finding(name, **base, why=f"another master holds it at {others_a:g} A: end that one first")
        if over_a > NEAR_A:
            why = f"it drew up to {over_a:.1f} A over our order: it ignores set-points, or another master holds it"
            return Finding(name, **base, ignores=True, why=why)
        return Finding(name, **base, why="its car takes no more than the lower step: nothing moved")
    answering, sign = _answering(quiet, moved)
    v_per_a, half = _volts_per_amp(quiet, answering)
    return Finding(
        name,
        **base,
        phases=_phases(quiet, moved, answering),
        answering=tuple(LETTERS[p] for p in answering),
        sign=sign,
        obey_s=_worst_s(arrays, quiet, levels, moved, node=-1, falls=True),
        raise_s=_worst_s(arrays, quiet, levels, moved, node=-1, falls=False),
        node_obey_s=_worst_s(arrays, quiet, levels, moved, node=answering[0] if answering else -2, falls=True),
        v_per_a=v_per_a,
        v_per_a_half=half,
        steps=len(moved),
    )


def _quiet(arrays: dict[str, np.ndarray], level: Level) -> dict[str, np.ndarray]:
    """Return means of terminals and node over the quiet end of a level: amp, volt, node_a, node_v, (3,) each."""
    rows = (arrays["now_ns"] >= level.quiet_ns) & (arrays["now_ns"] <= level.until_ns)
    names = {"amp": "amp_a", "volt": "volt_v", "node_a": "node_a", "node_v": "node_v"}
    return {short: arrays[name][rows].mean(axis=0) for short, name in names.items()}


def _largest(amps: np.ndarray) -> float:
    return float(np.nan_to_num(amps).max())


def _answering(quiet: list[dict[str, np.ndarray]], moved: list[tuple[int, int]]) -> tuple[list[int], int]:
    """Return the node phases that move with the charger, and with which sign."""
    shares = np.array(
        [(quiet[b]["node_a"] - quiet[a]["node_a"]) / (_largest(quiet[b]["amp"]) - _largest(quiet[a]["amp"]))
         for a, b in moved]
    )  # fmt: skip
    share = np.median(shares, axis=0)
    answering = [p for p in range(3) if abs(share[p]) >= ANSWERS]  # false on NaN: no meter
    signs = {int(math.copysign(1, share[p])) for p in answering}
    return answering, signs.pop() if len(signs) == 1 else 0


def _phases(
    quiet: list[dict[str, np.ndarray]], moved: list[tuple[int, int]], answering: list[int]
) -> tuple[str, ...] | None:
    """Pair the terminals that draw with the node phases that answer; by volts where more than one does.

    Volts of a terminal are those of its phase: the pairing with the smallest difference wins where it is clear.
    """
    a, b = moved[0]
    drawing = [k for k in range(3) if abs(quiet[b]["amp"][k] - quiet[a]["amp"][k]) >= STEP_MIN_A / 2]
    if not answering or len(drawing) != len(answering) or drawing != list(range(len(drawing))):
        return None
    if len(drawing) == 1:
        return (LETTERS[answering[0]],)
    away = {}
    for order in itertools.permutations(answering):
        rows = np.array([[q["volt"][k] - q["node_v"][p] for k, p in zip(drawing, order, strict=True)] for q in quiet])
        away[order] = (rows - rows.mean(axis=1, keepdims=True)) ** 2  # the meters' common offset is taken out
    ranked = sorted(away, key=lambda order: float(np.nanmean(away[order])))
    best, second = (away[order].mean(axis=1) for order in ranked[:2])
    apart = second - best
    error = float(apart.std(ddof=1)) / math.sqrt(len(apart)) if len(apart) > 1 else math.inf
    if not float(apart.mean()) > CLEAR * error:
        return None
    return tuple(LETTERS[p] for p in ranked[0])


def _volts_per_amp(quiet: list[dict[str, np.ndarray]], answering: list[int]) -> tuple[float, float]:
    """Return the fall of the volts per A on the charger's own phases and its 95 % half width (NaN under four levels).

    Least squares over the levels with a straight drift beside it: the street's load goes on meanwhile.
    """
    volts = np.array([float(np.mean(q["node_v"][answering])) if answering else math.nan for q in quiet])
    if not np.isfinite(volts).all():
        volts = np.array([float(q["volt"][0]) for q in quiet])
    if not np.isfinite(volts).all():
        return math.nan, math.nan
    amps = np.array([_largest(q["amp"]) for q in quiet])
    terms = np.column_stack([np.ones(len(quiet)), np.arange(len(quiet)), -amps])
    found, *_ = np.linalg.lstsq(terms, volts, rcond=None)
    free = len(quiet) - terms.shape[1]
    if free < 1:
        return float(found[2]), math.nan
    rest = volts - terms @ found
    variance = float(rest @ rest) / free * np.linalg.inv(terms.T @ terms)[2, 2]
    return float(found[2]), float(student.ppf(0.975, free)) * math.sqrt(variance)


def _worst_s(
    arrays: dict[str, np.ndarray],
    quiet: list[dict[str, np.ndarray]],
    levels: list[Level],
    moved: list[tuple[int, int]],
    *,
    node: int,
    falls: bool,
) -> float:
    """Return the longest time from a lower (or higher) order to its amps, s; `node` is a phase, -1 the own meter.

    Dated by the reading's own time. NaN where no such step moved, or no meter was there.
    """
    times = []
    for a, b in moved:
        if (levels[b].order_a < levels[a].order_a) != falls or node < -1:
            continue
        if node < 0:
            seen, stamp, ends = arrays["amp_a"], arrays["read_ns"], quiet[b]["amp"]
            column = int(np.argmax(np.abs(np.nan_to_num(quiet[b]["amp"] - quiet[a]["amp"]))))
            change = quiet[b]["amp"][column] - quiet[a]["amp"][column]
        else:
            seen, stamp, ends, column = arrays["node_a"], arrays["node_ns"], quiet[b]["node_a"], node
            change = ends[column] - quiet[a]["node_a"][column]
        within = np.abs(seen[:, column] - ends[column]) <= max(NEAR_A, NEAR_SHARE * abs(change))
        late = (stamp > levels[b].since_ns) & (stamp <= levels[b].until_ns) & ~within
        after = (stamp > levels[b].since_ns) & (stamp <= levels[b].until_ns) & within
        from_ns = int(stamp[late].max()) if late.any() else levels[b].since_ns
        arrived = stamp[after & (stamp > from_ns)]
        if arrived.size:
            times.append((int(arrived.min()) - levels[b].since_ns) / 1e9)
    return max(times, default=math.nan)


def _overwritten(arrays: dict[str, np.ndarray], levels: list[Level]) -> tuple[bool, float]:
    """Say whether the limit in force left our order after it had been there, and where it went, A."""
    limit = arrays["limit_a"]
    for level in levels:
        rows = (arrays["read_ns"] > level.since_ns) & (arrays["now_ns"] <= level.until_ns) & np.isfinite(limit)
        ours = np.abs(limit - level.order_a) <= TAKEN_A
        first = np.flatnonzero(rows & ours)
        if first.size:
            others = rows & ~ours
            others[: first[0]] = False
            if others.any():
                return True, float(limit[others][-1])
    return False, math.nan


def _smallest_step(values: np.ndarray) -> float:
    """Return the smallest difference between two values of one terminal that were seen; NaN for fewer than two."""
    steps = [np.diff(np.unique(np.round(column[np.isfinite(column)], 6))) for column in values.T]
    found = np.concatenate(steps) if steps else np.zeros(0)
    return float(found.min()) if found.size else math.nan
