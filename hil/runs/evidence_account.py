"""Set what was taken of a contract on call against its allowance: from the account in the journal, else reckoned."""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hil.runs.contract_figures import Curtailed
from hil.runs.evidence_journal import JournalFigures
from hil.runs.evidence_limits import Held
from profiles.contract_common import Allowance

HOUR_S = 3600.0
ACCOUNT, RECKONED = "the account in the journal", "reckoned from this run alone"


@dataclass(frozen=True, slots=True)
class Taken:
    """Hold one figure against its allowance (+inf: not bounded), in `unit`, and where the figure is from."""

    what: str
    value: float
    allowed: float
    unit: str
    source: str

    @property
    def within(self) -> bool:
        """Tell whether it is within the allowance; an unknown figure is not, where there is a bound."""
        return self.allowed == np.inf or self.value <= self.allowed


def taken_of(
    held: Held, figures: JournalFigures, costs: Sequence[Curtailed], span_s: tuple[float, float]
) -> list[Taken]:
    """Return hours, longest day, calls and kWh curtailed of the run's last local year against the allowance.

    `span_s` are the UTC times of the run. The account spans the whole year and every run of a site; what is reckoned
    is of this run. Nothing where the contract has no allowance.
    """
    allowance = getattr(held.contract, "allowance", None)
    if not isinstance(allowance, Allowance):
        return []
    year = datetime.fromtimestamp(span_s[1], UTC).astimezone(held.zone).year
    year_h = 24.0 * (366 if calendar.isleap(year) else 365)
    account = figures.account if figures.account.get("year") == year else {}
    spans = [(max(told.from_s, span_s[0]), min(told.to_s, span_s[1])) for told in held.told]
    calls = len({(call.life.source, call.life.order_id) for call in figures.calls if call.life.state != "refused"})
    held_kwh = sum(row.held_wh for row in costs) / 1e3
    share_h = year_h * allowance.max_share_of_year if allowance.max_share_of_year is not None else np.inf
    most_h = min(share_h, np.inf if allowance.max_hours_per_year is None else allowance.max_hours_per_year)
    rows: list[tuple[str, str, float, float | None, str]] = [
        ("hours called in the year", "hours", covered_h(spans), most_h, "h"),
        ("calls in the year", "calls", float(calls), allowance.max_calls_per_year, "1"),
        ("energy curtailed in the year", "curtailed_kwh", held_kwh, allowance.max_kwh_per_year, "kWh"),
    ]
    found = [
        Taken(
            what, float(account.get(key, reckoned)), np.inf if most is None else float(most), unit,
            ACCOUNT if key in account else RECKONED,
        )
        for what, key, reckoned, most, unit in rows
    ]  # fmt: skip
    if allowance.max_hours_per_day is not None:
        found.append(
            Taken("longest day of calls", _longest_day_h(held, spans), allowance.max_hours_per_day, "h", RECKONED)
        )
    return found


def covered_h(spans: Sequence[tuple[float, float]]) -> float:
    """Return the hours that the union of some spans covers."""
    total_s, reached_s = 0.0, -np.inf
    for from_s, to_s in sorted(span for span in spans if span[1] > span[0]):
        total_s += max(to_s - max(from_s, reached_s), 0.0)
        reached_s = max(reached_s, to_s)
    return total_s / HOUR_S


def _longest_day_h(held: Held, spans: Sequence[tuple[float, float]]) -> float:
    """Return the most hours of calls on one local day, by the minute."""
    minutes: dict[Any, int] = {}
    seen = sorted({int(at_s) for from_s, to_s in spans for at_s in np.arange(from_s, to_s, 60.0)})
    for at_s in seen:
        day = datetime.fromtimestamp(at_s, UTC).astimezone(held.zone).date()
        minutes[day] = minutes.get(day, 0) + 1
    return max(minutes.values(), default=0) / 60.0
