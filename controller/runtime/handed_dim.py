"""Dim the groups of section 14a contracts when a contact says so, over a local socket: on, off, or on for a time.

One JSON object a line: `{"type": "dim", "active": true, "for_s": 3600}`; `for_s` null or left out: until it is lifted.
Who is silent changes nothing, and what was said last is journaled: a restart lifts nothing. Where the disk is full,
dimming is obeyed and not acknowledged, and nothing is lifted. What is taken of each contract is kept in its account
(`dim_account`): one dimming more than it allows is obeyed and flagged, or refused.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from controller.runtime.dim_account import SOURCE, DimAccounts
from controller.runtime.handed_keys import DimPort
from controller.runtime.held_back import ACCOUNT_S, COUNT_S, MOST_S, View
from controller.runtime.journal import Entry

LONGEST_S = 366 * 86400.0  # longer is until it is lifted
SHADOW = "a run in shadow decides and journals, and dims nothing"


class Dimming:
    """Hold whether the groups are dimmed, and until when (UTC epoch s; +inf until it is lifted).

    `keep` journals an entry and says whether it is on the disk; `publish` writes the image that the scan reads.
    """

    __slots__ = (
        "_accounts", "_counted_s", "_dimmed", "_keep", "_port", "_publish", "_shadow", "_told_s", "_utc_s", "_written",
        "until_s",
    )  # fmt: skip

    def __init__(
        self,
        port: DimPort,
        keep: Callable[..., bool],
        publish: Callable[[], None],
        utc_s: Callable[[], float],
        *,
        shadow: bool,
    ) -> None:
        self._port, self._keep, self._publish, self._utc_s, self._shadow = port, keep, publish, utc_s, shadow
        self._accounts = DimAccounts(port.contracts)
        self._dimmed, self._counted_s, self._told_s = False, 0.0, 0.0
        self._written: dict[str, dict[str, Any]] = {}
        self.until_s = -math.inf

    def recall(self, entry: Entry) -> None:
        """Take over what a journal says; called with every entry, oldest first."""
        if entry.kind == "decided" and entry.source == SOURCE and entry.body is not None:
            self.until_s = float(entry.body.get("until_utc_s", math.inf))
        self._accounts.restore(entry)

    def take(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take one message and return the answer; what is no message moves nothing."""
        active, for_s = message.get("active"), message.get("for_s")
        number = isinstance(for_s, int | float) and not isinstance(for_s, bool) and 0.0 < for_s <= LONGEST_S
        if message.get("type") != SOURCE or not isinstance(active, bool) or not (for_s is None or number):
            return _result(
                False, "no message of a contact: type dim, active true or false, for_s over 0 to a year or null"
            )
        now_s = self._utc_s()
        until_s = now_s + (math.inf if for_s is None else float(for_s)) if active else -math.inf
        beyond, refused = self._accounts.judge(now_s, until_s) if until_s > self.until_s else ({}, False)
        flags = "; ".join(f"beyond the allowance of {name}: {text}" for name, text in beyond.items())
        if refused:
            self._keep("refused", source=SOURCE, mono_ns=time.monotonic_ns(), why=flags, until_utc_s=until_s)
            return _result(False, flags)
        raises = until_s < self.until_s and now_s < self.until_s
        if not raises:  # in force before it is told
            self._take(now_s, until_s, beyond)
        if not self._decided(now_s, until_s, beyond, waits=not raises):
            why = "cannot be kept, so it is not lifted" if raises else "dimmed, but cannot be kept, so not acknowledged"
            return _result(False, f"{why}: free space on the disk")
        if raises:
            self._take(now_s, until_s, beyond)
        self._account(now_s)
        return _result(False, SHADOW) if self._shadow else _result(True, flags)

    def _decided(self, now_s: float, until_s: float, beyond: dict[str, str], *, waits: bool) -> bool:
        flags = {"beyond": beyond} if beyond else {}
        return self._keep("decided", source=SOURCE, mono_ns=time.monotonic_ns(), from_utc_s=now_s, until_utc_s=until_s,
                          waits=waits, **flags)  # fmt: skip

    def _take(self, now_s: float, until_s: float, beyond: dict[str, str]) -> None:
        self.until_s = until_s
        self._accounts.enter(now_s, until_s, beyond)
        self._publish()

    def look(self, view: View) -> dict[str, str]:
        """Count what is held back, journal the accounts; return which allowance was used up since the last look."""
        now_s = self._utc_s()
        if now_s - self._counted_s < COUNT_S:
            return {}
        gap_s, self._counted_s = min(now_s - self._counted_s, MOST_S), now_s
        was, self._dimmed = self._dimmed, now_s < self.until_s
        if was and self._dimmed and view.fresh().scanned:
            self._accounts.count(view.inp, view.out, gap_s, now_s)
        beyond = self._accounts.flag(now_s)
        if beyond or was != self._dimmed or (self._dimmed and now_s - self._told_s >= ACCOUNT_S):
            self._account(now_s)
        return beyond

    def close(self) -> None:
        """Write the accounts for the last time."""
        self._account(self._utc_s())

    def _account(self, now_s: float) -> None:
        """Journal the accounts that changed; where the disk is full they are written another time."""
        self._told_s = now_s
        for name, state in self._accounts.states(now_s).items():
            if state != self._written.get(name) and self._keep(
                "account", source=SOURCE, subject=name, mono_ns=time.monotonic_ns(), waits=False, **state
            ):
                self._written[name] = state

    def carry(self, record: Any) -> None:
        """Take over what one before us in this run had in force, where that was longer: it may not be on the disk."""
        kept_s = float(record["dim_until_s"])
        if kept_s > self.until_s:
            now_s, self.until_s = self._utc_s(), kept_s
            self._accounts.enter(now_s, kept_s, {})
            self._decided(now_s, kept_s, {}, waits=True)  # the image does not outlive the controller

    def fill(self, inp: Any, utc_s: float) -> None:
        """Hand the limits of the groups to the image, and until when they hold."""
        inp["dim_until_s"] = self.until_s
        dimmed = utc_s < self.until_s
        for group, watts in self._port.groups.items():
            inp.group_w[group] = watts if dimmed else math.inf


def _result(ack: bool, why: str) -> dict[str, Any]:
    return {"type": "result", "ack": ack, "why": why}
