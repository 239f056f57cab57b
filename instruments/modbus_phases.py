"""Tell a charger to charge on one phase or on three, as its record says, and read back what it does.

The law has it at 0 A before and until the new number is reported (`controller.law.phases`), so that no car is switched
under load. What a charger was told before a lost link counts no more: it may have restarted on all of its phases.
"""

from collections.abc import Awaitable, Callable

from instruments.charger_catalog import PhaseSwitch
from instruments.modbus_pacing import NS

LOOK_S = 10.0  # how often the phases in use are read
AGAIN_S = 30.0  # a number that it does not show is asked for again
UNKNOWN = -1


class PhaseSwitching:
    """Hold what was asked of one charger and what it shows. `in_use` 1 or 3; -1 not known."""

    __slots__ = ("_asked", "_asked_ns", "_looked_ns", "_pace_ns", "_prepared", "_switch", "_wanted", "in_use")

    def __init__(self, switch: PhaseSwitch | None, write_gap_s: float) -> None:
        """Take the record's section, None where the family cannot switch."""
        self._switch = switch
        self._pace_ns = round(max(AGAIN_S, 3 * write_gap_s) * NS)
        self._wanted = 0
        self.forget()

    def forget(self) -> None:
        """Forget what the device was told and what it showed."""
        self._asked = 0
        self._asked_ns = self._looked_ns = 0
        self._prepared = False
        self.in_use = UNKNOWN

    def ask(self, number: int) -> bool:
        """Take the wanted number, 0 no request; return whether that is news for a charger that can switch."""
        news = self._switch is not None and number != self._wanted
        self._wanted = number if number in (0, 1, 3) else 0
        return news

    def due(self, now_ns: int) -> bool:
        """Say whether something is to be written or read now; the caller keeps the pacing."""
        if self._switch is None or self._wanted == 0:
            return False
        return self._looks(now_ns) or self._writes(now_ns)

    async def step(
        self,
        put: Callable[[str, float], Awaitable[None]],
        get: Callable[[str], Awaitable[float]],
        now_ns: int,
    ) -> None:
        """Make one access: what is in use is read before anything is written. Errors: PortFault, of the link."""
        switch = self._switch
        if switch is None:
            return
        if self._looks(now_ns):
            self._looked_ns = now_ns
            code = await get(switch.read)
            self.in_use = {float(switch.read_one): 1, float(switch.read_three): 3}.get(code, UNKNOWN)
        elif switch.prepare and not self._prepared:
            await put(switch.prepare, switch.prepare_value)
            self._prepared = True
        else:
            self._asked, self._asked_ns, self._prepared = self._wanted, now_ns, False
            await put(switch.register_name, float(switch.one if self._wanted == 1 else switch.three))

    def _looks(self, now_ns: int) -> bool:
        switch = self._switch
        if switch is None or not switch.read:
            return False
        return self._looked_ns == 0 or now_ns - self._looked_ns >= LOOK_S * NS

    def _writes(self, now_ns: int) -> bool:
        """Say whether the wanted number is to be asked for: news, or not shown for long, and never where it stands."""
        if self._wanted == self.in_use:
            return False
        waited = self._asked_ns == 0 or now_ns - self._asked_ns >= self._pace_ns
        return self._asked != self._wanted or (waited and self.in_use != UNKNOWN)
