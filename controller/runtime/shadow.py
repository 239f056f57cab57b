"""Keep in the journal what a controller in shadow decides, and each write that it would have sent to a device.

The same gate as the ports' stands behind it: pacing, pausing and the repeats that keep a set-point valid are the
device's own. A write counts as acknowledged, as nobody answers.
"""

import math
from typing import Any

from controller.law import image
from controller.law.names import Reason
from controller.runtime import stores
from controller.runtime.compose import OutputTap
from controller.runtime.journal import Journal
from controller.runtime.site import Site
from instruments.catalog import charger_of, load_model
from instruments.modbus_pacing import WriteGate, rewrite_s

SOURCE = "shadow"
ALIVE_S = 1.0
DECIDED_A = 0.5  # a ramp moves in every scan: it is journaled in steps of this, or where another rule binds


class ShadowJournal:
    """Follow `output.img` of one site and journal what would have been sent; call `look` often, `close` at the end."""

    __slots__ = ("_allowed_a", "_bound", "_gates", "_journal", "_names", "_tap", "decided", "repeats", "sent")

    def __init__(self, site: Site, journal: Journal) -> None:
        dims: image.Dims = site.image_dims()
        self._journal = journal
        self._names = site.charger_names
        self._tap = OutputTap(stores.attach(site, "output.img"), dims, max(ALIVE_S, 5 * site.period_s))
        parts = [charger_of(load_model(port.model)) for port in site.chargers]
        self._gates = [
            WriteGate(part, rewrite_s(part, port.failsafe_s)) for part, port in zip(parts, site.chargers, strict=True)
        ]
        self._allowed_a, self._bound = [math.nan] * dims.n, [-1] * dims.n
        self.decided = self.sent = self.repeats = 0
        journal.append("opened", source=SOURCE, chargers=self._names)

    def look(self, now_ns: int) -> None:
        """Journal the decisions since the last look and the writes that are due at `now_ns` (monotonic ns)."""
        for i, gate in enumerate(self._gates):
            want_a = self._tap.want_a(i, now_ns)
            if math.isnan(want_a):
                continue
            bound = int(self._tap.reason[i])
            if bound != self._bound[i] or not abs(want_a - self._allowed_a[i]) < DECIDED_A:  # NaN: the first
                self._allowed_a[i], self._bound[i] = want_a, bound
                self.decided += 1
                self._keep("decided", i, now_ns, allowed_a=want_a, reason=Reason(bound).name.lower())
            write = None if gate.check(want_a) else gate.next(want_a, now_ns)
            if write is None:
                continue
            again = write.value == gate.sent_a
            gate.done(write, now_ns)
            if again:
                self.repeats += 1
            else:
                self.sent += 1
                self._keep("sent", i, now_ns, register=write.register, value=write.value, would=True)

    def close(self) -> None:
        """Journal the end with the counts: decisions, writes, and repeats that would have kept set-points valid."""
        self._journal.append(
            "closed", source=SOURCE, decisions=self.decided, would_send=self.sent, would_repeat=self.repeats
        )

    def _keep(self, kind: str, i: int, now_ns: int, **body: Any) -> None:
        self._journal.append(kind, source=SOURCE, subject=self._names[i], mono_ns=now_ns, **body)
