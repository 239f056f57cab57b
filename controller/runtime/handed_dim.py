"""Dim the groups of section 14a contracts when a contact says so, over a local socket: on, off, or on for a time.

One JSON object a line: `{"type": "dim", "active": true, "for_s": 3600}`; `for_s` null or left out: until it is lifted.
Who is silent changes nothing, and what was said last is journaled: a restart lifts nothing. Where the disk is full,
dimming is obeyed and not acknowledged, and nothing is lifted.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from controller.runtime.handed_keys import DimPort
from controller.runtime.journal import Entry

SOURCE = "dim"
LONGEST_S = 366 * 86400.0  # longer is until it is lifted
SHADOW = "a run in shadow decides and journals, and dims nothing"


class Dimming:
    """Hold whether the groups are dimmed, and until when (UTC epoch s; +inf until it is lifted).

    `keep` journals an entry and says whether it is on the disk; `publish` writes the image that the scan reads.
    """

    __slots__ = ("_keep", "_port", "_publish", "_shadow", "_utc_s", "until_s")

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
        self.until_s = -math.inf

    def recall(self, entry: Entry) -> None:
        """Take over what a journal says; called with every entry, oldest first."""
        if entry.kind == "decided" and entry.source == SOURCE and entry.body is not None:
            self.until_s = float(entry.body.get("until_utc_s", math.inf))

    def take(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take one message and return the answer; what is no message moves nothing."""
        active, for_s = message.get("active"), message.get("for_s")
        number = isinstance(for_s, int | float) and not isinstance(for_s, bool) and 0.0 < for_s <= LONGEST_S
        if message.get("type") != SOURCE or not isinstance(active, bool) or not (for_s is None or number):
            return _result(
                False, "no message of a contact: type dim, active true or false, for_s over 0 to a year or null"
            )
        until_s = self._utc_s() + (math.inf if for_s is None else float(for_s)) if active else -math.inf
        raises = until_s < self.until_s and self._utc_s() < self.until_s
        if not raises:  # in force before it is told
            self.until_s = until_s
            self._publish()
        kept = self._keep("decided", source=SOURCE, mono_ns=time.monotonic_ns(), until_utc_s=until_s, waits=not raises)
        if not kept:
            why = "cannot be kept, so it is not lifted" if raises else "dimmed, but cannot be kept, so not acknowledged"
            return _result(False, f"{why}: free space on the disk")
        if raises:
            self.until_s = until_s
            self._publish()
        return _result(False, SHADOW) if self._shadow else _result(True, "")

    def carry(self, record: Any) -> None:
        """Take over what one before us in this run had in force, where that was longer: it may not be on the disk."""
        self.until_s = max(self.until_s, float(record["dim_until_s"]))

    def fill(self, inp: Any, utc_s: float) -> None:
        """Hand the limits of the groups to the image, and until when they hold."""
        inp["dim_until_s"] = self.until_s
        dimmed = utc_s < self.until_s
        for group, watts in self._port.groups.items():
            inp.group_w[group] = watts if dimmed else math.inf


def _result(ack: bool, why: str) -> dict[str, Any]:
    return {"type": "result", "ack": ack, "why": why}
