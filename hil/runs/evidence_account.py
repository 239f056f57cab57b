"""Say what was taken of a contract, against its allowance: from the account in the journal, else reckoned."""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from controller.runtime.contract_account import Account, Call
from hil.runs.contract_figures import Curtailed
from hil.runs.evidence_journal import JournalFigures
from hil.runs.evidence_limits import Held
from profiles.contract import AnyContract
from profiles.contract_calls import Called, SteeringCall
from profiles.contract_common import Allowance
from profiles.contract_doe import OperatingEnvelope
from profiles.contract_lpc import Lpc
from profiles.contract_par14a import Par14a

Span = tuple[float, float]
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
    is of this run. A contract without an allowance has an account too, and nothing in it is bounded.
    """
    allowance = getattr(held.contract, "allowance", Allowance())
    year = datetime.fromtimestamp(span_s[1], UTC).astimezone(held.zone).year
    year_h = 24.0 * (366 if calendar.isleap(year) else 365)
    account = figures.account if figures.account.get("year") == year else {}
    spans = [(max(told.from_s, span_s[0]), min(told.to_s, span_s[1])) for told in held.told]
    spans = [span for span in spans if span[1] > span[0]]
    share_h = year_h * allowance.max_share_of_year if allowance.max_share_of_year is not None else np.inf
    most_h = min(share_h, np.inf if allowance.max_hours_per_year is None else allowance.max_hours_per_year)
    hours, times = _words(held.contract)
    rows: list[tuple[str, str, float, float | None, str]] = [
        (f"{hours} in the year", "hours", _hours(held, spans, costs), most_h, "h"),
        (f"{times} in the year", "calls", _times(held, figures, spans), allowance.max_calls_per_year, "1"),
        ("energy curtailed in the year", "curtailed_kwh", _held_kwh(held, costs), allowance.max_kwh_per_year, "kWh"),
    ]
    found = [
        Taken(
            what, float(account.get(key, reckoned)), np.inf if most is None else float(most), unit,
            ACCOUNT if key in account else RECKONED,
        )
        for what, key, reckoned, most, unit in rows if times or key != "calls"
    ]  # fmt: skip
    if allowance.max_hours_per_day is not None:
        found.append(
            Taken(f"longest day, {hours}", _longest_day_h(held, spans), allowance.max_hours_per_day, "h", RECKONED)
        )
    return found


def _words(contract: AnyContract) -> tuple[str, str]:
    """Return what the hours of a kind are called, and its times ("": nobody tells it anything)."""
    if isinstance(contract, Called | SteeringCall):
        return "hours called", "calls"
    if isinstance(contract, Par14a):
        return "hours dimmed", "" if contract.dimmed else "times dimmed"
    return "hours limited", "limits told" if isinstance(contract, Lpc | OperatingEnvelope) else ""


def _hours(held: Held, spans: Sequence[Span], costs: Sequence[Curtailed]) -> float:
    """Return the hours that were told, or those of the limit where the clock or the file alone sets it."""
    told = isinstance(held.contract, Called | SteeringCall | Lpc | OperatingEnvelope | Par14a)
    if spans or (told and not getattr(held.contract, "dimmed", False)):
        return covered_h(spans)
    return sum(row.limited_h for row in costs)


def _times(held: Held, figures: JournalFigures, spans: Sequence[Span]) -> float:
    """Return how many calls were taken on; of what is handed in, how many limits."""
    if isinstance(held.contract, Called | SteeringCall):
        taken = {
            (call.life.source, call.life.order_id)
            for call in figures.calls
            if not call.life.state.startswith("refused")
        }
        return float(len(taken))
    return float(len(spans))


def _held_kwh(held: Held, costs: Sequence[Curtailed]) -> float:
    """Return the energy held back, kWh; the capacity that holds without a call curtails nothing."""
    if isinstance(held.contract, Called) and not held.told:
        return 0.0
    return sum(row.held_wh for row in costs) / 1e3


def covered_h(spans: Sequence[Span]) -> float:
    """Return the hours that the union of some spans covers."""
    total_s, reached_s = 0.0, -np.inf
    for from_s, to_s in sorted(span for span in spans if span[1] > span[0]):
        total_s += max(to_s - max(from_s, reached_s), 0.0)
        reached_s = max(reached_s, to_s)
    return total_s / HOUR_S


def _longest_day_h(held: Held, spans: Sequence[Span]) -> float:
    """Return the most hours of calls on one local day; calls that overlap count once, as in the account."""
    calls = [Call(from_s, from_s, to_s, np.nan) for from_s, to_s in spans]
    taken = Account(held.zone, {("", ""): calls})
    days = {day for from_s, to_s in spans for day in taken.day_spans(from_s, to_s)}
    return round(max((taken.hours(*day) for day in days), default=0.0), 9)  # two hours are no more than two hours
