"""Draw charging sessions from ElaadNL-derived tables, or load real transactions from ElaadNL and Trondheim files.

Source of the tables: ev2gym 2.0.0 (MIT; see profiles/sessions/NOTICE): share of arrivals per quarter of an hour, stay
and energy by the share of events that exceed them, mean stay by hour of arrival. The tables say how the stay hangs
together with the arrival by its mean only, and nothing of the energy, which is therefore drawn on its own.

The stay keeps the distribution of its table. Its percentile leans towards long stays for the arrivals whose mean is
long (a Gaussian copula), just so much that the arrival explains the share of the variance which it has in the tables:
scaling every stay by its mean would count that share twice. Evening stays come out within 10 % of their mean, the
short ones of the morning up to twice as long: two tables do not say more. Without a mean it is drawn on its own.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from statistics import NormalDist
from zoneinfo import ZoneInfo

import numpy as np

from profiles.errors import ProfileError

HERE = Path(__file__).parent / "sessions"
KINDS = ("private", "public", "workplace")
DAY_S = 86400.0
QUARTER_S = 900.0
QUARTERS = 96
LONGEST_H = 72.0  # end of the table of stays
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Sessions:
    """Hold sessions, shapes (K,), sorted by arrival: charger index, arrival and departure (s), energy wanted (Wh).

    Seconds have passed since midnight, local time, of the first day (over a change to or from summer time the clock
    on the wall jumps, they do not). A car that stood there at that midnight arrived before 0. `incomplete` counts
    transactions of a file that were left out because a time or the energy in them is marked NA.
    """

    charger: np.ndarray
    arrive_s: np.ndarray
    leave_s: np.ndarray
    need_wh: np.ndarray
    incomplete: int = 0


@dataclass(frozen=True, slots=True)
class Tables:
    """Hold the tables of one kind of charger: shares by quarter (96,), None for no arrivals, and two quantiles (101,).

    `lean` (96,) is the mean's place among the arrivals, in standard deviations, NaN without a mean; `tie` is how much
    of the stay's place it makes up, 0..1.
    """

    weekday: np.ndarray
    weekend: np.ndarray | None
    stay_h: np.ndarray
    energy_wh: np.ndarray
    lean: np.ndarray
    tie: float

    def stay_s(self, quarter: int, place: float) -> float:
        """Return the stay of an arrival in a quarter (0..95) for a random `place` from a standard normal, s."""
        if np.isfinite(self.lean[quarter]):
            place = self.tie * float(self.lean[quarter]) + (1.0 - self.tie**2) ** 0.5 * place
        exceeded = 100.0 * NORMAL.cdf(-place)
        return max(QUARTER_S, 3600.0 * float(np.interp(exceeded, np.arange(len(self.stay_h)), self.stay_h)))


def _column(name: str, kind: str) -> np.ndarray | None:
    """Return a kind's column of a table, empty cells NaN; None where the table has none."""
    with (HERE / name).open(newline="") as file:
        header, *rows = csv.reader(file)
    found = [k for k, title in enumerate(header) if title.startswith(f"{kind}_")]
    if not found:
        return None
    return np.array([float(row[found[0]]) if row[found[0]] else np.nan for row in rows])


def _needed(name: str, kind: str) -> np.ndarray:
    column = _column(name, kind)
    if column is None:
        raise ProfileError(f"{name}: no column of kind {kind}")
    return column


def read_tables(kind: str) -> Tables:
    """Read the tables of a kind of charger; ProfileError for an unknown kind."""
    if kind not in KINDS:
        raise ProfileError(f"sessions kind = {kind!r}: allowed: {', '.join(KINDS)}")
    weekday = _needed("elaad_arrival.csv", kind)
    stay_h = _needed("elaad_connection_time.csv", kind)
    mean_h = np.repeat(_needed("elaad_mean_stay.csv", kind), 2)
    known = np.flatnonzero(np.isfinite(mean_h) & (weekday > 0.0))
    share = weekday[known] / weekday[known].sum()
    order = np.argsort(mean_h[known], kind="stable")
    middle = np.cumsum(share[order]) - share[order] / 2.0  # the place of an arrival's mean among all of them
    lean = np.full(QUARTERS, np.nan)
    lean[known[order]] = [NORMAL.inv_cdf(float(p)) for p in middle]
    within = (stay_h[1:] + stay_h[:-1]) / 2.0
    between = float(share @ (mean_h[known] - share @ mean_h[known]) ** 2)
    return Tables(
        weekday=weekday / weekday.sum(),
        weekend=None if (weekend := _column("elaad_arrival_weekend.csv", kind)) is None else weekend / weekend.sum(),
        stay_h=stay_h,
        energy_wh=1000.0 * _needed("elaad_energy_demand.csv", kind),
        lean=lean,
        tie=min(1.0, (between / float(within.var())) ** 0.5),
    )


def draw_sessions(
    seed: int, n_chargers: int, days: int, kind: str = "private", per_day: float = 0.8, first_weekday: int = 0
) -> Sessions:
    """Draw sessions for `n_chargers` over `days` days, starting on `first_weekday` (0 Monday).

    Each charger has a session a day with the probability `per_day` (a parameter; Trondheim's private users plug in
    about that often); one that would begin before the last has left is dropped. The drawing begins as long before as
    the longest stay lasts, so that the first midnight finds cars as any other does. At a workplace nobody arrives at
    the weekend: the source has no such arrivals. ProfileError for an unknown kind.
    """
    tables = read_tables(kind)
    random = np.random.default_rng([seed, 3])
    percent = np.arange(len(tables.energy_wh))
    found: list[tuple[float, float, int, float]] = []
    for i in range(n_chargers):
        free_s = -np.inf
        for day in range(-round(LONGEST_H / 24.0), days):
            share = tables.weekend if (first_weekday + day) % 7 >= 5 else tables.weekday
            wanted, within_s = random.random(), random.random() * QUARTER_S
            place, energy = float(random.standard_normal()), random.uniform(0, 100)
            if share is None:
                continue
            quarter = int(random.choice(QUARTERS, p=share))
            arrive_s = day * DAY_S + quarter * QUARTER_S + within_s
            if wanted > per_day or arrive_s < free_s:
                continue
            free_s = arrive_s + tables.stay_s(quarter, place)
            if free_s > 0.0:
                found.append((arrive_s, free_s, i, float(np.interp(energy, percent, tables.energy_wh))))
    found.sort()
    return _sessions(found)


def _sessions(found: list[tuple[float, float, int, float]], incomplete: int = 0) -> Sessions:
    arrive, leave, charger, need = (np.array([row[k] for row in found]) for k in range(4))
    return Sessions(charger.astype(np.int64), arrive, leave, need, incomplete)


@dataclass(frozen=True, slots=True)
class TransactionFormat:
    """Describe a known transaction file: its columns, how it writes times, in which zone, and where it is from.

    The columns `charger` name one plug together; `zone` is that of the times, `local` that of the place.
    """

    name: str
    charger: tuple[str, ...]
    arrive: str
    leave: str
    energy_kwh: str
    time: str
    zone: tzinfo
    local: tzinfo

    def columns(self) -> set[str]:
        """Return the columns that a file of this format must have."""
        return {*self.charger, self.arrive, self.leave, self.energy_kwh}


FORMATS = (
    TransactionFormat(
        name="ElaadNL",
        charger=("ChargePoint", "Connector"),
        arrive="UTCTransactionStart",
        leave="UTCTransactionStop",
        energy_kwh="TotalEnergy",
        time="%d/%m/%Y %H:%M",
        zone=UTC,
        local=ZoneInfo("Europe/Amsterdam"),
    ),
    TransactionFormat(
        name="Trondheim",
        charger=("User_ID",),
        arrive="Start_plugin",
        leave="End_plugout",
        energy_kwh="El_kWh",
        time="%d.%m.%Y %H:%M",
        zone=ZoneInfo("Europe/Oslo"),
        local=ZoneInfo("Europe/Oslo"),
    ),
)


def load_transactions(path: Path) -> Sessions:
    """Load a transaction file of ElaadNL (times in UTC) or Trondheim (local); seconds count from local midnight.

    Plugs are numbered as they appear: a connector of a charge point is one. Both write semicolons and decimal commas.
    A ProfileError lists every row that cannot be used: file:row, column, value; a file of neither format is refused
    with the columns it has.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=";")
        header = reader.fieldnames or []
        known = next((f for f in FORMATS if f.columns() <= set(header)), None)
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
    earliest = min(row[0] for row in parsed).astimezone(known.local)
    first = earliest.replace(hour=0, minute=0, second=0).astimezone(UTC)
    numbers: dict[str, int] = {}
    found = [
        ((a - first).total_seconds(), (b - first).total_seconds(), numbers.setdefault(c, len(numbers)), wh)
        for a, b, c, wh in parsed
    ]
    return _sessions(sorted(found), incomplete)


def _transaction(row: dict[str, str], known: TransactionFormat) -> tuple[datetime, datetime, str, float]:
    """Read one row, times in UTC; ValueError says which column holds what."""

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
    begin, end = (moment.replace(tzinfo=known.zone).astimezone(UTC) for moment in (arrive, leave))
    plug = "/".join(row[column] for column in known.charger)
    return begin, max(begin, end), plug, energy_kwh * 1000.0  # the hour that summer time skips may turn them round
