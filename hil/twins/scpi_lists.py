"""Run a list of levels behind a trigger: armed, triggered, stepped by its dwell times, aborted.

The names are the records' canonical ones: `list_volt_v`, `list_dwell_s`, `list_count`, `volt_mode`,
`trigger_source`, events `initiate` and `abort`. Lists are of equal length or of length 1, checked when initiated
(Keysight N6700 guide: error 307; AMETEK Sequoia manual: -226).
"""

import math

from hil.twins import scpi_parameters as read
from hil.twins.scpi_errors import ScpiError
from instruments.scpi_catalog import ScpiPart

LISTS = ("list_volt_v", "list_dwell_s")
POINTS = 512  # N6700 guide; AMETEK takes 100: a parameter
IDLE, ARMED, RUNNING = range(3)


class Transient:
    """Hold the lists of one device and where a run of them stands."""

    __slots__ = ("_part", "left_s", "lists", "place", "rounds", "state")

    def __init__(self, part: ScpiPart) -> None:
        self._part = part
        self.lists = {name: [float(part.quantities[name].default)] for name in LISTS if name in part.quantities}
        self.state = IDLE
        self.place = self.rounds = 0
        self.left_s = 0.0

    def _own(self, code: int, standard: int) -> ScpiError:
        """Return the vendor's own error where the record has it, else the standard one."""
        return ScpiError(code if str(code) in self._part.parser.error_codes else standard)

    def take(self, name: str, texts: list[str]) -> None:
        """Take a list; 308 while it is initiated, -222 for a point out of range, -223 for too many."""
        if self.state != IDLE:
            raise self._own(308, -284)
        if not texts:
            raise ScpiError(-109)
        if len(texts) > POINTS:
            raise ScpiError(-223)
        quantity = self._part.quantities[name]
        values = [read.number(text, quantity.unit, self._part.parser.units_in_numbers) for text in texts]
        low, high = (bound if bound is not None else math.inf for bound in (quantity.min, quantity.max))
        if not all(low <= value <= high for value in values):
            raise ScpiError(-222)
        self.lists[name] = values

    def initiate(self, mode: str, at_once: bool) -> None:
        """Arm it, or start at once; refuses a fixed mode, unequal lengths and a run that is under way."""
        if self.state != IDLE:
            raise ScpiError(-213)
        if "list_volt_v" not in self.lists or not mode.upper().startswith("LIST"):
            raise self._own(309, -221)
        if len({len(values) for values in self.lists.values() if len(values) > 1}) > 1:
            raise self._own(307, -226)
        self.state = ARMED
        if at_once:
            self.start()

    def start(self) -> None:
        """Run from the first point; -211 where nothing is armed."""
        if self.state != ARMED:
            raise ScpiError(-211)
        self.state, self.place, self.rounds = RUNNING, 0, 0
        self.left_s = self._dwell()

    def abort(self) -> None:
        """Stop where it is."""
        self.state = IDLE

    def _points(self) -> int:
        return max(len(values) for values in self.lists.values())

    def _at(self, name: str, missing: float) -> float:
        values = self.lists.get(name, [missing])
        return values[min(self.place, len(values) - 1)]

    def _dwell(self) -> float:
        return self._at("list_dwell_s", math.inf)

    def step(self, dt_s: float, count: float) -> float | None:
        """Move on by `dt_s` seconds; return the level to set now, None while nothing runs. It ends on its last."""
        if self.state != RUNNING:
            return None
        self.left_s -= dt_s
        level = self._at("list_volt_v", 0.0)
        while self.state == RUNNING and self.left_s <= 1e-9:
            self.place += 1
            if self.place >= self._points():
                self.rounds += 1
                self.place = 0
                if self.rounds >= count:
                    self.state = IDLE
                    break
            level = self._at("list_volt_v", 0.0)
            self.left_s += max(self._dwell(), 1e-3)
        return level
