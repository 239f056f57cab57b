"""Keep the accounts of the section 14a contracts that a contact dims, and judge a dimming by their allowances.

Times dimmed and their hours follow from what the journal says was decided, so they survive a restart; the energy is
read from the last `account` entry. All contracts of a site are dimmed by one contact: one that is beyond the allowance
is refused where every one of them refuses, and otherwise obeyed and flagged. No account ends a dimming. No clock in
here.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from controller.runtime.contract_account import HOUR_S, Account, Call
from controller.runtime.contract_terms import over_allowance
from controller.runtime.handed_keys import DimmedContract
from controller.runtime.held_back import DIMMED, held_back_w
from controller.runtime.journal import Entry

SOURCE = "dim"
NAME = (SOURCE, "")  # a contact has one word
OPEN_S = 60.0  # a dimming without an end is judged by its first minute, and then by the time that it lasts


class DimAccounts:
    """Hold one account a contract; times are UTC epoch s, an end +inf is unknown."""

    __slots__ = ("_contracts", "accounts")

    def __init__(self, contracts: Sequence[DimmedContract]) -> None:
        self._contracts = {each.contract.name: each for each in contracts}
        self.accounts = {name: Account(ZoneInfo(each.zone)) for name, each in self._contracts.items()}

    def restore(self, entry: Entry) -> None:
        """Take over what a journal says; called with every entry, oldest first."""
        body = entry.body
        if body is None:  # forgotten on demand
            return
        if entry.kind == "account" and entry.subject in self.accounts:
            account = self.accounts[entry.subject]
            account.curtailed_wh[int(body["year"])] = 1e3 * float(body["curtailed_kwh"])
            for call in account.calls.get(NAME, [])[-1:]:
                call.beyond = call.beyond or body.get("beyond", "")
        elif entry.kind == "decided" and entry.source == SOURCE and "until_utc_s" in body:
            from_s = float(body.get("from_utc_s", entry.utc_ns * 1e-9))  # a full disk writes it later
            self.enter(from_s, float(body["until_utc_s"]), body.get("beyond", {}))

    def judge(self, now_s: float, until_s: float) -> tuple[dict[str, str], bool]:
        """Return of which contract's allowance a dimming from now on is beyond, with the figures; is it refused?"""
        end_s = now_s + OPEN_S if until_s == math.inf else until_s
        found: dict[str, str] = {}
        refusing = []
        for name, account in self.accounts.items():
            allowance = self._contracts[name].contract.allowance
            if over := over_allowance(allowance, _with(account, now_s, end_s), now_s, end_s):
                found[name] = "; ".join(over)
                refusing.append(allowance.beyond == "refuse")
        return found, len(refusing) == len(self.accounts) > 0 and all(refusing)

    def enter(self, now_s: float, until_s: float, beyond: Mapping[str, str]) -> None:
        """Write down that it is dimmed from now until then, or no longer where that is not later than now."""
        for name, account in self.accounts.items():
            _enter(account, now_s, until_s, beyond.get(name, ""))

    def flag(self, now_s: float) -> dict[str, str]:
        """Return of which allowance the dimming in force has become beyond by now, but for what was flagged before."""
        found: dict[str, str] = {}
        for name, account in self.accounts.items():
            for call in account.calls.get(NAME, [])[-1:]:
                if call.to_s > now_s and not call.beyond:
                    allowance = self._contracts[name].contract.allowance
                    call.beyond = "; ".join(over_allowance(allowance, account.until(now_s), call.from_s, now_s))
                    found |= {name: call.beyond} if call.beyond else {}
        return found

    def count(self, inp: Any, out: Any, dt_s: float, now_s: float) -> None:
        """Add what dimming held back over `dt_s`, by the scan's INPUT and OUTPUT."""
        for name, account in self.accounts.items():
            account.curtail(now_s, held_back_w(self._contracts[name].chargers, inp, out, DIMMED) * dt_s / HOUR_S)

    def states(self, now_s: float) -> dict[str, dict[str, Any]]:
        """Return each contract's account of its present local year and day, up to now."""
        found = {}
        for name, account in self.accounts.items():
            taken, day = account.until(now_s), datetime.fromtimestamp(now_s, account.zone).date()
            ((from_s, to_s),) = taken.day_spans(now_s, now_s + 1e-3)[:1]
            state = taken.state(taken.year(now_s))
            del state["shortest_notice_s"]  # nobody announces a dimming
            found[name] = state | {"day": day.isoformat(), "hours_of_day": taken.hours(from_s, to_s)}
            for call in taken.calls.get(NAME, [])[-1:]:
                found[name] |= {"beyond": call.beyond} if call.beyond else {}
        return found


def _with(account: Account, now_s: float, until_s: float) -> Account:
    """Return the account as it would be if it were dimmed from now until then; this one stays as it is."""
    found = account.until(math.inf)
    _enter(found, now_s, until_s, "")
    return found


def _enter(account: Account, now_s: float, until_s: float, beyond: str) -> None:
    """Prolong or shorten the dimming in force, or begin one: who repeats his word does not dim twice."""
    made = account.calls.setdefault(NAME, [])
    if made and made[-1].to_s > now_s:
        made[-1].to_s = max(until_s, now_s)
        made[-1].beyond = made[-1].beyond or beyond
    elif until_s > now_s:
        made.append(Call(now_s, now_s, until_s, math.nan, beyond=beyond))
