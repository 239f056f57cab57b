"""Give a SCPI twin its terminals: what the meters show and how old that is, and protections that trip after a delay.

What a protection is called, whether it has to be switched on and how long it waits comes from the record's canonical
quantities; a limit that only bounds a setting (`bounded_by`) never trips.
"""

import math
from collections.abc import Callable
from typing import Any

from hil.twins.scpi_device import ScpiDevice
from hil.twins.scpi_errors import ScpiError
from hil.twins.scpi_grammar import Unit
from hil.twins.scpi_lists import ARMED, IDLE, RUNNING, Transient
from hil.twins.scpi_session import Message
from instruments.scpi_catalog import Quantity, RolePart, ScpiPart
from instruments.scpi_units import to_ours, to_theirs

BITS = {  # kind of protection: the names that its questionable bit has in the records
    "volt": ("OVP", "OV"),
    "current": ("OCP", "OC", "OC_RMS"),
    "power": ("OPP", "OP"),
    "sink": ("OCP", "OC", "OC_RMS"),
    "regulation": ("OCP", "OC", "OC_RMS"),
}
OVER = 1.05  # a source gives up at 5 % over its rated power: a parameter


class TerminalTwin(ScpiDevice):
    """Hold what flows, what is shown of it and for how long each limit has been exceeded."""

    __slots__ = ("_causes", "_over_s", "_seen_in", "_shown_s", "role", "shown", "transient")

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float], role: str = "") -> None:
        self.role: RolePart = part.roles[role or next(iter(part.roles))]  # type: ignore[index]
        self._over_s: dict[str, float] = {}
        self._causes: set[str] = set()
        self._shown_s = -math.inf
        self.shown: dict[str, float] = {}
        self.transient = Transient(part)
        self._seen_in: Message | None = None
        super().__init__(part, clock_s)

    # ------------------------------------------------------------------ settings in our units
    def ours(self, name: str, at: int = 0, missing: float = math.inf) -> float:
        """Return the magnitude of a setting in our unit; `missing` where the record has no such quantity."""
        quantity = self.part.quantities.get(name)
        if quantity is None:
            return missing
        value = self.values[name]
        return abs(to_ours(float(value[at] if isinstance(value, list) else value), quantity.unit))

    def is_on(self, name: str, at: int = 0, missing: bool = True) -> bool:
        """Tell whether a boolean setting is on; `missing` where the record has no such quantity."""
        value = self.values.get(name, missing)
        return bool(value[at] if isinstance(value, list) else value)

    @property
    def terminals_on(self) -> bool:
        """Tell whether any terminal is switched on."""
        value = self.values.get(self.energises, False)
        return any(value) if isinstance(value, list) else bool(value)

    # ------------------------------------------------------------------ meters
    def measure(self) -> dict[str, float]:
        """Return what the meters would show now, in our units, by name; names end with _<place> per output."""
        raise NotImplementedError

    def meter(self, now_s: float) -> None:
        """Take a new reading where the refresh rate of the record allows one."""
        rate = self.part.meter.refresh_hz
        if not rate or not 0.0 <= now_s - self._shown_s < 1.0 / rate - 1e-9:  # a clock set back starts anew
            self.shown = self.measure()
            self._shown_s = now_s

    def reading(self, name: str, at: int) -> float | str:
        """Return what the meters show in the record's unit."""
        quantity = self.part.quantities[name]
        if not self.part.meter.refresh_hz and self._seen_in is not self._message:
            self.shown = self.measure()  # one acquisition a message
            self._seen_in = self._message
        if name == "array":
            return self._array(at)
        if name == "lock_owner":
            return "REMOTE" if self.remote else "LOCAL" if self._local_only else "NONE"
        value = self.shown.get(f"{name}_{at}", self.shown.get(name))
        if value is None:
            return super().reading(name, at)
        return to_theirs(value, quantity.unit) if quantity.kind == "number" else str(value)

    def _array(self, at: int) -> str:
        """Return volts, amps and watts in one answer, each as its own query would give it."""
        parts: list[str] = []
        for name, unit in (("volt", "V"), ("amp", "A"), ("power", "W")):
            text = self.part.parser.number_format.format(self.shown.get(f"{name}_{at}", 0.0))
            parts.append(f"{text}{unit}" if self.part.parser.units_in_reply else text)
        return ", ".join(parts)

    # ------------------------------------------------------------------ protections
    def bit(self, kind: str) -> str:
        """Return the name of the questionable bit for a kind of protection; its kind where the record has none."""
        named = self.part.status.questionable
        return next((name for name in BITS[kind] if name in named), BITS[kind][0])

    def enabled(self, limit: str) -> bool:
        """Tell whether a protection is switched on: its own switch by name, else it is always on."""
        switch = f"{limit.split('_')[0]}_protection"
        return self.is_on(switch)

    def trips(self, name: str) -> bool:
        """Tell whether a limit of the record trips; one that only bounds settings does not."""
        return name in self.part.quantities and not any(
            name in quantity.bounded_by for quantity in self.part.quantities.values()
        )

    def protect(self, kind: str, exceeded: bool, dt_s: float, delay_s: float = 0.0, key: str = "") -> None:
        """Count how long a limit has been exceeded and trip after its delay, s."""
        key = key or kind
        over_s = self._over_s.get(key, 0.0) + dt_s if exceeded else 0.0
        self._over_s[key] = over_s
        bit = self.bit(kind)
        if exceeded and over_s > delay_s and bit not in self.tripped:
            self.trip(bit)
        if exceeded and (kind == "volt" or self.terminals_on):  # what flows ends with the trip, volts may stay
            self._causes.add(bit)

    def causes(self) -> set[str]:
        """Return the protections whose cause is present: held by somebody, or exceeded in the last step."""
        return super().causes() | self._causes

    def show(self, register: str, states: dict[str, bool]) -> None:
        """Set condition bits by name where the record has them."""
        bits: dict[str, int] = getattr(self.part.status, register)
        group: Any = getattr(self.status, register)
        for name, on in states.items():
            if name in bits:
                group.set(bits[name], on)

    # ------------------------------------------------------------------ lists
    def quantity_unit(self, name: str, quantity: Quantity, unit: Unit) -> str | None:
        """Set or answer one quantity; a list takes and gives several numbers."""
        if name not in self.transient.lists:
            return super().quantity_unit(name, quantity, unit)
        if unit.query:
            return ",".join(self.formatted(quantity, value) for value in self.transient.lists[name])
        if not self.remote:
            raise ScpiError(self.part.parser.local_code)
        self.transient.take(name, list(unit.parameters))
        return None

    def trigger(self) -> None:
        """Start the list that is armed."""
        self.transient.start()

    def changed(self, name: str, targets: list[int]) -> None:
        """Arm and abort the list; clear latches when asked."""
        self._seen_in = None
        if name == "initiate" and self.transient.lists:
            at_once = not str(self.values.get("trigger_source", "IMMediate")).upper().startswith("BUS")
            self.transient.initiate(str(self.values.get("volt_mode", "FIXed")), at_once)
        elif name == "abort":
            self.transient.abort()
        elif name == "protection_clear":
            self.clear_protection()

    def run_list(self, dt_s: float, setting: str) -> None:
        """Move the list on and give its level to a setting; it runs on through a trip (N6700 guide p141)."""
        level = self.transient.step(dt_s, self.ours("list_count", missing=1.0))
        if level is not None:
            value = self.values[setting]
            self.values[setting] = [level] * len(value) if isinstance(value, list) else level
        state = self.transient.state
        self.show("operation", {"WTG_TRAN": state == ARMED, "TRAN": state == RUNNING})

    def pending(self) -> bool:
        """Tell whether a list is armed or runs (IEEE 488.2, 12.5: an armed trigger is pending)."""
        return self.transient.state != IDLE

    # ------------------------------------------------------------------ time
    def step(self, now_s: float, dt_s: float) -> None:
        """Advance by `dt_s` seconds to the plant's time `now_s`; a role adds its physics."""
        self.begin()
        self.finish(now_s)

    def begin(self) -> None:
        """Begin a step: causes are found anew."""
        self._causes.clear()

    def finish(self, now_s: float) -> None:
        """End a step: meters, status, watchdog, and what waited for the step."""
        self.meter(now_s)
        self.show("questionable", {"OUTPUT": self.terminals_on})
        self._watch_io(self._clock_s())
        self.resume()
