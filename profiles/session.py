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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
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
    transactions of a file that were left out because a time or the energy in them is marked NA. Of a file also:
    `max_w` the highest power seen, `charge_s` how long power flowed (NaN where nobody noted it), `first_day` the date
    of second 0.
    """

    charger: np.ndarray
    arrive_s: np.ndarray
    leave_s: np.ndarray
    need_wh: np.ndarray
    incomplete: int = 0
    max_w: np.ndarray = field(default_factory=lambda: np.zeros(0))
    charge_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    first_day: date | None = None

    def __post_init__(self) -> None:
        """Fill in what nobody noted."""
        for name in ("max_w", "charge_s"):
            if len(getattr(self, name)) != len(self.charger):
                object.__setattr__(self, name, np.full(len(self.charger), np.nan))

    def part(self, kept: np.ndarray, shift_s: float = 0.0) -> "Sessions":
        """Return the sessions `kept` (K,) bool, `shift_s` earlier, their chargers numbered anew as they appear."""
        order = np.flatnonzero(kept)
        numbers: dict[int, int] = {}
        charger = np.array([numbers.setdefault(int(i), len(numbers)) for i in self.charger[order]], dtype=np.int64)
        arrive_s, leave_s = self.arrive_s[order] - shift_s, self.leave_s[order] - shift_s
        rest = (self.need_wh[order], self.incomplete, self.max_w[order], self.charge_s[order])
        return Sessions(charger, arrive_s, leave_s, *rest)


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


def resample(
    found: Sessions, seed: int, n_chargers: int, days: int, per_day: float = 0.8, first_weekday: int = 0
) -> Sessions:
    """Draw sessions for `n_chargers` from those of a file: any transaction of a like day, at any charger.

    Arrival, stay, energy and power of a transaction stay together; working days and weekends are kept apart. As in
    `draw_sessions` a charger has a session a day with the probability `per_day`, and none while the last one stands.
    ProfileError where the file's date is not known, or it has no transaction for one of both.
    """
    if found.first_day is None:
        raise ProfileError("sessions: a file whose first day is known is needed to draw from")
    day, second = np.divmod(found.arrive_s, DAY_S)
    at_weekend = (found.first_day.weekday() + day) % 7 >= 5
    pools = [np.flatnonzero(at_weekend == weekend) for weekend in (False, True)]
    if not all(len(pool) for pool in pools):
        raise ProfileError("sessions: the file has no transaction of a working day, or none of a weekend")
    random = np.random.default_rng([seed, 6])
    rows: list[tuple[float, float, int, float, float, float]] = []
    for i in range(n_chargers):
        free_s = -np.inf
        for d in range(-round(LONGEST_H / 24.0), days):
            wanted, place = random.random(), random.random()
            pool = pools[(first_weekday + d) % 7 >= 5]
            k = int(pool[int(place * len(pool))])
            arrive_s = d * DAY_S + float(second[k])
            if wanted > per_day or arrive_s < free_s:
                continue
            free_s = arrive_s + float(found.leave_s[k] - found.arrive_s[k])
            if free_s > 0.0:
                values = (float(found.need_wh[k]), float(found.max_w[k]), float(found.charge_s[k]))
                rows.append((arrive_s, free_s, i, *values))
    return _sessions(sorted(rows))


# upper end of the power of a class of cars, W: one phase 16 A, one phase 32 A, three phases 16 A, three of 32 A
CLASS_W = ((4_200.0, "phev_1p_16a"), (8_000.0, "bev_1p_29a"), (13_000.0, "bev_3p_16a"), (np.inf, "bev_3p_32a_zoe"))


def vehicle_of_power(max_w: float) -> str:
    """Return the class of car whose charger gives `max_w` at most; an empty text where it is not known.

    A car of two phases 16 A looks like one of one phase 32 A.
    """
    return "" if np.isnan(max_w) else next(name for top_w, name in CLASS_W if max_w <= top_w)


def _sessions(found: Sequence[tuple[float, ...]], incomplete: int = 0, first_day: date | None = None) -> Sessions:
    arrive, leave, charger, need, *rest = (
        np.array([row[k] for row in found]) for k in range(len(found[0]) if found else 4)
    )
    noted = dict(zip(("max_w", "charge_s"), rest, strict=False))
    return Sessions(charger.astype(np.int64), arrive, leave, need, incomplete, **noted, first_day=first_day)


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
    max_kw: str = ""  # column of the highest power; not in every format
    charge_h: str = ""  # column of the time that power flowed

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
        max_kw="MaxPower",
        charge_h="ChargeTime",
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
    parsed: list[tuple[datetime, datetime, str, float, float, float]] = []
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
        ((a - first).total_seconds(), (b - first).total_seconds(), numbers.setdefault(c, len(numbers)), *rest)
        for a, b, c, *rest in parsed
    ]
    return _sessions(sorted(found), incomplete, earliest.date())


def _transaction(row: dict[str, str], known: TransactionFormat) -> tuple[datetime, datetime, str, float, float, float]:
    """Read one row, times in UTC, Wh, W and s; ValueError says which column holds what."""

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
    max_w, charge_s = (_noted(row, name) * unit for name, unit in ((known.max_kw, 1000.0), (known.charge_h, 3600.0)))
    # the hour that summer time skips may turn begin and end round
    return begin, max(begin, end), plug, energy_kwh * 1000.0, max_w, charge_s


def _noted(row: dict[str, str], column: str) -> float:
    """Return a number that not every file has; NaN where it is missing, empty or marked NA."""
    text = row.get(column) or "NA"
    return float("nan") if text == "NA" else float(text.replace(",", "."))
