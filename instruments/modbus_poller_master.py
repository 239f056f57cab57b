"""Tell a second master by what a charger does above our order: pure bookkeeping, the clock is handed in.

Two signs: the limit in force was ours once and is above it now; or the amps are over our order for longer than the
charger takes to obey. Below our order it may do what it likes: heat, cable and car lower it too.
"""

import math

from instruments.modbus_pacing import NS, TAKEN_A

OVER_A = 1.0  # a meter's and a car's slack above the order
OVER_SHARE = 0.05
CALM_S = 60.0  # without a sign for so long, the other master counts as gone


class MasterWatch:
    """Watch one charger. `over_a` is what another master was seen to set or what is drawn, A; NaN: nobody."""

    __slots__ = ("_accepted", "_obey_ns", "_order_a", "_order_ns", "_over_ns", "_sign_ns", "_taken_a",
                 "_told_ns", "over_a")  # fmt: skip

    def __init__(self, obey_s: float, taken_a: float = TAKEN_A) -> None:
        """Take the time after which a lower order is drawn, s, and how much above it a limit may read, A."""
        self._obey_ns = round(obey_s * NS)
        self._taken_a = taken_a
        self._order_a = math.nan
        self._order_ns = 0
        self._over_ns = 0
        self._sign_ns = 0
        self._told_ns = 0
        self._accepted = False
        self.over_a = math.nan

    def ordered(self, order_a: float, now_ns: int) -> None:
        """Take an acknowledged order, A (NaN: what the device was told is unknown again)."""
        if order_a != self._order_a:
            self._order_a, self._order_ns, self._over_ns = order_a, now_ns, 0
            self._accepted = False

    def limit(self, limit_a: float, now_ns: int) -> bool:
        """Take the limit that the charger says it applies, A; return whether it just left ours for a higher one."""
        if abs(limit_a - self._order_a) <= self._taken_a:
            self._accepted = True
        elif self._accepted and limit_a > self._order_a:
            return self._sign(limit_a, now_ns)
        return False

    def drawn(self, most_a: float, now_ns: int) -> bool:
        """Take the largest of the phases' amps, A; tell if they are too many for too long, again and again."""
        if not most_a > self._order_a + max(OVER_A, OVER_SHARE * self._order_a):  # false on NaN
            self._over_ns = self._told_ns = 0
            if self._sign_ns and now_ns - self._sign_ns > CALM_S * NS:
                self._sign_ns, self.over_a = 0, math.nan
            return False
        if self._over_ns == 0:
            self._over_ns = now_ns
        if now_ns - max(self._over_ns, self._order_ns) <= self._obey_ns:
            return False
        self._sign(most_a, now_ns)
        if self._told_ns and now_ns - self._told_ns <= self._obey_ns:
            return False
        self._told_ns = now_ns
        return True

    def _sign(self, amps: float, now_ns: int) -> bool:
        first = self._sign_ns == 0
        self._sign_ns = now_ns
        self.over_a = amps if math.isnan(self.over_a) else max(amps, self.over_a)
        return first
