"""Draw charging sessions from ElaadNL-derived tables, or load real transactions from ElaadNL and Trondheim files.

Source of the tables: ev2gym 2.0.0 (MIT; see profiles/sessions/NOTICE): share of arrivals per quarter of an hour, stay
and energy by the share of events that exceed them, mean stay by hour of arrival. Arrival, stay and energy are drawn
one by one: the tables do not say how they hang together, but for the mean stay by arrival, which the drawn stay is
scaled to.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from profiles.errors import ProfileError

HERE = Path(__file__).parent / "sessions"
KINDS = ("private", "public", "workplace")
DAY_S = 86400.0
QUARTER_S = 900.0
LONGEST_H = 72.0


@dataclass(frozen=True, slots=True)
class Sessions:
    """Hold sessions, shapes (K,), sorted by arrival: charger index, arrival and departure (s), energy wanted (Wh).

    Seconds count from midnight of the first day, local time. `incomplete` counts transactions of a file that were
    left out because a time or the energy in them is marked NA.
    """

    charger: np.ndarray
    arrive_s: np.ndarray
    leave_s: np.ndarray
    need_wh: np.ndarray
    incomplete: int = 0


def _column(name: str, column: int) -> np.ndarray:
    """Return a column of a table; empty cells are NaN."""
    with (HERE / name).open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([float(row[column]) if row[column] else np.nan for row in rows])


def draw_sessions(
    seed: int, n_chargers: int, days: int, kind: str = "private", per_day: float = 0.8, first_weekday: int = 0
) -> Sessions:
    """Draw sessions for `n_chargers` over `days` days, starting on `first_weekday` (0 Monday).

    Each charger has a session a day with the probability `per_day` (a parameter; Trondheim's private users plug in
    about that often); one that would begin before the last has left is dropped. ProfileError for an unknown kind.
    """
    if kind not in KINDS:
        raise ProfileError(f"sessions kind = {kind!r}: allowed: {', '.join(KINDS)}")
    random = np.random.default_rng([seed, 3])
    column = KINDS.index(kind) + 1
    arrivals = (_column("elaad_arrival.csv", column), _column("elaad_arrival_weekend.csv", column))
    stay_h, energy_kwh = _column("elaad_connection_time.csv", column), _column("elaad_energy_demand.csv", column)
    mean_h = _column("elaad_mean_stay.csv", column)
    percent = np.arange(len(stay_h))
    found: list[tuple[float, float, int, float]] = []
    for i in range(n_chargers):
        free_s = 0.0
        for day in range(days):
            share = arrivals[(first_weekday + day) % 7 >= 5]
            wanted, quarter = random.random(), int(random.choice(96, p=share / share.sum()))
            within_s, exceeded, energy = random.random() * QUARTER_S, *random.uniform(0, 100, 2)
            arrive_s = day * DAY_S + quarter * QUARTER_S + within_s
            if wanted > per_day or arrive_s < free_s:
                continue
            drawn_h = float(np.interp(exceeded, percent, stay_h))
            mean_then_h = mean_h[quarter // 2]
            scale = mean_then_h / np.nanmean(stay_h) if np.isfinite(mean_then_h) else 1.0
            leave_s = arrive_s + max(QUARTER_S, min(drawn_h * scale, LONGEST_H) * 3600.0)
            found.append((arrive_s, leave_s, i, float(np.interp(energy, percent, energy_kwh)) * 1000.0))
            free_s = leave_s
    found.sort()
    return _sessions(found)


def _sessions(found: list[tuple[float, float, int, float]], incomplete: int = 0) -> Sessions:
    arrive, leave, charger, need = (np.array([row[k] for row in found]) for k in range(4))
    return Sessions(charger.astype(np.int64), arrive, leave, need, incomplete)


@dataclass(frozen=True, slots=True)
class TransactionFormat:
    """Describe a known transaction file: its columns, how it writes times, and how it writes numbers."""

    name: str
    charger: str
    arrive: str
    leave: str
    energy_kwh: str
    time: str


FORMATS = (
    TransactionFormat(
        "ElaadNL", "ChargePoint", "UTCTransactionStart", "UTCTransactionStop", "TotalEnergy", "%d/%m/%Y %H:%M"
    ),
    TransactionFormat("Trondheim", "User_ID", "Start_plugin", "End_plugout", "El_kWh", "%d.%m.%Y %H:%M"),
)


def load_transactions(path: Path) -> Sessions:
    """Load a transaction file of ElaadNL (UTC) or Trondheim (local time); chargers are numbered as they appear.

    Both write semicolons and decimal commas. A ProfileError lists every row that cannot be used: file:row, column,
    value; a file of neither format is refused with the columns it has.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=";")
        header = reader.fieldnames or []
        known = next((f for f in FORMATS if {f.charger, f.arrive, f.leave, f.energy_kwh} <= set(header)), None)
        if known is None:
            names = ", ".join(f.name for f in FORMATS)
            raise ProfileError(f"{path.name}:1: no transaction file known here ({names}); columns: {header}")
        rows = list(reader)
    problems: list[str] = []
    parsed: list[tuple[datetime, datetime, str, float]] = []
    incomplete = 0
    for k, row in enumerate(rows, start=2):
        if "NA" in (row[known.arrive], row[known.leave], row[known.energy_kwh]):
            incomplete += 1
            continue
        try:
            parsed.append(_transaction(row, known))
        except ValueError as error:
            problems.append(f"{path.name}:{k}: {error}")
    if problems:
        raise ProfileError("\n".join(problems))
    if not parsed:
        raise ProfileError(f"{path.name}: no transactions in it")
    first = min(row[0] for row in parsed).replace(hour=0, minute=0, second=0)
    numbers: dict[str, int] = {}
    found = [
        ((a - first).total_seconds(), (b - first).total_seconds(), numbers.setdefault(c, len(numbers)), wh)
        for a, b, c, wh in parsed
    ]
    return _sessions(sorted(found), incomplete)


def _transaction(row: dict[str, str], known: TransactionFormat) -> tuple[datetime, datetime, str, float]:
    """Read one row; ValueError says which column holds what."""

    def read(column: str, convert: Callable[[str], datetime | float]) -> datetime | float:
        try:
            return convert(row[column])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{column} = {row[column]!r}: {error}") from error

    arrive = read(known.arrive, lambda text: datetime.strptime(text, known.time))
    leave = read(known.leave, lambda text: datetime.strptime(text, known.time))
    energy_kwh = read(known.energy_kwh, lambda text: float(text.replace(",", ".")))
    if not (isinstance(arrive, datetime) and isinstance(leave, datetime) and isinstance(energy_kwh, float)):
        raise ValueError("a cell of another kind")
    if leave < arrive:
        raise ValueError(f"{known.leave} = {row[known.leave]!r}: before {known.arrive} = {row[known.arrive]!r}")
    if not 0.0 <= energy_kwh < 1000.0:
        raise ValueError(f"{known.energy_kwh} = {energy_kwh:g} kWh: allowed 0 to 1000")
    return arrive, leave, row[known.charger], energy_kwh * 1000.0
