"""Judge a call by its contract: whether it was made in time, and whether the allowance covers it. No clock in here."""

import calendar
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.runtime.contract_account import Account, Call, Name
from controller.runtime.contract_calendar import begins_on
from controller.runtime.order import Order
from profiles.contract_calls import Called, FullyVariable, SteeringCall
from profiles.contract_common import Allowance, ContractBase, Notice, Span

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """Say what of a call is not as agreed: `late`, `beyond` (why each, empty: it is as agreed), refused or obeyed.

    `bounded` says at what it is held instead, where it asks for less or more than the contract gives.
    """

    late: str = ""
    beyond: str = ""
    refused: str = ""
    bounded: str = ""

    @property
    def flags(self) -> str:
        """Return what is not as agreed in one line."""
        return "; ".join(text for text in (self.late, self.beyond, self.bounded) if text)


def span_of(order: Order, now_s: float) -> tuple[float, float]:
    """Return when a call holds, UTC epoch s; one without an end is taken for a day."""
    from_s = max(order.from_s, now_s) if order.from_s == order.from_s else now_s
    return from_s, order.to_s if order.to_s == order.to_s else from_s + DAY_S


def judge(contract: Called | SteeringCall, account: Account, order: Order, now_s: float) -> Judgement:
    """Judge a call (a cap or a set-point, no withdrawal) made now, UTC epoch s."""
    from_s, to_s = span_of(order, now_s)
    late = _late(contract.notice, account, from_s, now_s)
    beyond = _beyond(contract, account, (order.source, order.order_id), Call(now_s, from_s, to_s, order.value_w))
    refused = late if late and contract.notice.late == "refuse" else ""
    if beyond and contract.allowance.beyond == "refuse":
        refused = "; ".join(text for text in (refused, beyond) if text)
    return Judgement(late, beyond, refused, _bounded(contract, order.value_w))


def bounds_w(contract: Called | SteeringCall) -> tuple[float, float]:
    """Return the least and the most that a call may ask for, W; beyond them it is held there."""
    if isinstance(contract, SteeringCall):
        return contract.least_w, contract.most_w
    return contract.floor_w, contract.max_w if isinstance(contract, FullyVariable) else contract.capacity_w


def _bounded(contract: Called | SteeringCall, value_w: float) -> str:
    least_w, most_w = bounds_w(contract)
    if least_w <= value_w <= most_w:
        return ""
    bound, word = (least_w, "least") if value_w < least_w else (most_w, "most")
    return f"{value_w:g} W is held at {bound:g} W, the {word} that the contract gives"


def deadline_s(notice: Notice, account: Account, from_s: float) -> float:
    """Return until when a call for `from_s` may be made, UTC epoch s."""
    until_s = from_s - notice.min_notice_s
    if notice.announce_by is not None:
        day = datetime.fromtimestamp(from_s, account.zone).date() - timedelta(days=notice.days_before)
        until_s = min(until_s, datetime.combine(day, notice.announce_by, account.zone).timestamp())
    return until_s


def _late(notice: Notice, account: Account, from_s: float, now_s: float) -> str:
    until_s = deadline_s(notice, account, from_s)
    if now_s <= until_s:
        return ""
    clock = datetime.fromtimestamp(until_s, account.zone).strftime("%Y-%m-%d %H:%M")
    return f"late by {now_s - until_s:.0f} s: it had to be made by {clock} local time"


def _beyond(contract: Called | SteeringCall, account: Account, name: Name, call: Call) -> str:
    taken = account.with_call(name, call)  # what an earlier call of this name has used stays used
    found = over_allowance(contract.allowance, taken, call.from_s, call.to_s)
    if contract.moment and not _in_a_moment(contract, account, call.from_s, call.to_s):
        found.append("outside the agreed moments")
    return "; ".join(found)


def over_allowance(allowance: Allowance, taken: Account, from_s: float, to_s: float) -> list[str]:
    """Return what of an account is over its allowance in the local years and days of an interval (UTC epoch s)."""
    found = []
    for year in range(taken.year(from_s), taken.year(to_s) + 1):
        hours = taken.hours(*taken.year_span(year))
        most = allowance.max_hours_per_year if allowance.max_hours_per_year is not None else math.inf
        if allowance.max_share_of_year is not None:
            most = min(most, allowance.max_share_of_year * 24 * (366 if calendar.isleap(year) else 365))
        if hours > most + 1e-9:
            found.append(f"{hours:.2f} h of {year}, allowed {most:g} h")
        calls = taken.calls_in(year)
        begins = year == taken.year(from_s)
        if allowance.max_calls_per_year is not None and begins and calls > allowance.max_calls_per_year:
            found.append(f"{calls} calls of {year}, allowed {allowance.max_calls_per_year}")
        energy_kwh = taken.curtailed_wh.get(year, 0.0) / 1e3
        if allowance.max_kwh_per_year is not None and energy_kwh >= allowance.max_kwh_per_year:
            found.append(f"{energy_kwh:.1f} kWh curtailed in {year}, allowed {allowance.max_kwh_per_year:g} kWh")
    if allowance.max_hours_per_day is not None:
        for day in taken.day_spans(from_s, to_s):
            hours = taken.hours(*day)
            if hours > allowance.max_hours_per_day + 1e-9:
                found.append(f"{hours:.2f} h of a day, allowed {allowance.max_hours_per_day:g} h")
                break
    return found


def _in_a_moment(contract: Called | SteeringCall, account: Account, from_s: float, to_s: float) -> bool:
    """Say whether one of the agreed moments holds the whole call."""
    return any(covers(span, contract, account, from_s, to_s) for span in contract.moment)


def covers(span: Span, contract: ContractBase, account: Account, from_s: float, to_s: float) -> bool:
    """Say whether a span of the local day, begun on the day of `from_s` or the day before, holds an interval."""
    begin, end = (datetime.fromtimestamp(at_s, account.zone) for at_s in (from_s, to_s))
    closed = frozenset(contract.holidays)
    length_s = (span.to_s - span.from_s) % DAY_S or DAY_S
    for back in (0, 1):
        day = begin.date() - timedelta(days=back)
        if not begins_on(span, day, closed):
            continue
        midnight = datetime.combine(day, datetime.min.time())
        since = [(at.replace(tzinfo=None) - midnight).total_seconds() - span.from_s for at in (begin, end)]
        if since[0] >= 0.0 and since[1] <= length_s:
            return True
    return False
