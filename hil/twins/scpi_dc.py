"""Play DC supplies, bidirectional supplies and DC loads behind their sockets: each output one terminal of a DC node.

The plant asks every terminal what it does (`terminal`), finds the operating point (`hil.plant.dc_wire`) and hands
volts and amps back (`set_measured`); the twin says how it regulates, moves its volts by the slew rate, and trips.
"""

import math
from collections.abc import Callable

from hil.plant.dc_wire import Device, Draw, Regulator
from hil.twins.scpi_terminals import TerminalTwin
from instruments.scpi_catalog import ScpiPart

NEAR = 0.005  # a regulation is told when within so much of its set value: a parameter
LOADS = {"ac_load", "dc_load"}


class DcTwin(TerminalTwin):
    """Hold one DC device; lists have an entry per channel.

    Amps of `set_measured` are those delivered into the node, so a load's are negative; what the device shows has the
    sign that its role says.
    """

    __slots__ = ("actual_v", "amp_a", "volt_v")

    def __init__(self, part: ScpiPart, clock_s: Callable[[], float], role: str = "") -> None:
        count = max(part.parser.channels, *(one.can.channels for one in part.roles.values()))
        self.actual_v = [0.0] * count  # what it regulates to, on its way to the set volts
        self.volt_v = [0.0] * count
        self.amp_a = [0.0] * count
        super().__init__(part, clock_s, role)

    @property
    def is_load(self) -> bool:
        """Tell whether the terminals only take power in."""
        return self.energises == "input"

    def on(self, at: int = 0) -> bool:
        """Tell whether a terminal is switched on."""
        return self.is_on(self.energises, at, missing=False)

    @property
    def output_on(self) -> bool:
        """Tell whether any terminal is switched on."""
        return self.terminals_on

    @property
    def input_on(self) -> bool:
        """Tell whether any terminal is switched on: the word for loads."""
        return self.terminals_on

    # ------------------------------------------------------------------ to the plant and back
    def terminal(self, at: int = 0) -> Device | None:
        """Return what this terminal does to its node; None where it is switched off."""
        if not self.on(at):
            return None
        if self.is_load:
            return self._load(at)
        return Regulator(
            set_v=self.actual_v[at],
            source_a=self.ours("set_a", at, self.role.rating.max_a),
            sink_a=self.ours("sink_a", at, self.role.rating.sink_max_a),
            source_w=self.ours("set_w", at, self.role.rating.max_va),
            sink_w=self.ours("sink_w", at, self.role.rating.sink_max_va or math.inf),
        )

    def _load(self, at: int) -> Device:
        """Return what a load does in its function: the selected one, or all its set values together."""
        most_a, most_w = self.role.rating.max_a, self.role.rating.max_va
        function = self.function
        if function == "CC":
            return Draw(amp_a=min(self.ours("set_a", at), most_a), power_w=most_w, min_v=self._begins_v(at))
        if function == "CP":
            return Draw(amp_a=most_a, power_w=min(self.ours("set_w", at), most_w), min_v=self._begins_v(at))
        if function == "CR":
            ohm = max(self.ours("set_ohm", at), 1e-6)
            return Draw(amp_a=most_a, power_w=most_w, ohm=ohm, min_v=self._begins_v(at))
        sink_a = most_a if function == "CV" else self.ours("set_a", at, most_a)
        sink_w = most_w if function == "CV" else self.ours("set_w", at, most_w)
        return Regulator(self.ours("set_v", at, 0.0), 0.0, sink_a, 0.0, sink_w)

    def _begins_v(self, at: int) -> float:
        """Return the volts at which a load begins to draw."""
        return self.ours("volt_on_v", at, 0.0)

    @property
    def function(self) -> str:
        """Return CC, CP, CR or CV where one is selected, else an empty word: all set values bound together."""
        word = str(self.values.get("function", "")).upper()
        starts = (("CURR", "CC"), ("POW", "CP"), ("RES", "CR"), ("VOLT", "CV"))
        found = next((mode for start, mode in starts if word.startswith(start)), "")
        return found or (word[:2] if word[:2] in ("CC", "CP", "CR", "CV") else "")

    def set_measured(self, volt_v: float, amp_a: float, at: int = 0) -> None:
        """Take volts and delivered amps at a terminal."""
        self.volt_v[at] = volt_v
        self.amp_a[at] = amp_a

    # ------------------------------------------------------------------ time
    def step(self, now_s: float, dt_s: float) -> None:
        """Move the regulated volts for `dt_s` seconds and watch the protections; `now_s` is the plant's time."""
        self.begin()
        if self.transient.lists:
            self.run_list(dt_s, "set_v")
        for at in range(len(self.volt_v)):
            if not self.on(at):
                self.actual_v[at] = self.amp_a[at] = 0.0
            else:
                reach = self.ours("volt_slew", at) * dt_s
                wanted = self.ours("set_v", at, 0.0)
                self.actual_v[at] += min(max(wanted - self.actual_v[at], -reach), reach)
            self._protect(at, dt_s)
        self._tell()
        self.finish(now_s)

    def _protect(self, at: int, dt_s: float) -> None:
        """Compare one terminal with the record's limits."""
        source_a, sink_a = max(0.0, self.amp_a[at]), max(0.0, -self.amp_a[at])
        delivered_w = self.volt_v[at] * self.amp_a[at]
        if self.is_load:
            source_a, sink_a, delivered_w = sink_a, source_a, -delivered_w
        delay_s = self.ours("current_delay_s", at, 0.0)
        checks = (
            ("volt", "volt_limit_v", self.volt_v[at], 0.0),
            ("current", "current_limit_a", source_a, delay_s),
            ("sink", "sink_limit_a", sink_a, delay_s),
            ("power", "power_limit_w", delivered_w, 0.0),
            ("power", "sink_limit_w", -delivered_w, 0.0),
        )
        for kind, limit, value, delay in checks:
            if self.trips(limit):
                over = self.enabled(limit) and value > self.ours(limit, at)
                self.protect(kind, over, dt_s, delay, key=f"{limit}_{at}")
        if "current_protection" in self.values and "current_limit_a" not in self.part.quantities:
            limiting = self.mode(at) == "CC" and self.is_on("current_protection", at)  # N6700 guide p187
            self.protect("regulation", limiting, dt_s, delay_s, key=f"regulation_{at}")

    def mode(self, at: int = 0) -> str:
        """Return how a terminal regulates: CV, CC, CP, CR; an empty word while it is off or not settled yet."""
        if not self.on(at):
            return ""
        if self.is_load and self.function:
            return self.function
        amp_a = self.amp_a[at]
        sinking = amp_a < 0.0
        most_a = self.ours("sink_a" if sinking and not self.is_load else "set_a", at, self.role.rating.max_a)
        most_w = self.ours("sink_w" if sinking and not self.is_load else "set_w", at, self.role.rating.max_va)
        held_v = self.ours("set_v", at, 0.0) if self.is_load else self.actual_v[at]
        if abs(self.volt_v[at] - held_v) <= NEAR * max(held_v, 1.0) and abs(amp_a) < most_a * (1.0 + NEAR):
            return "CV"
        if abs(self.volt_v[at] * amp_a) >= most_w * (1.0 - NEAR) and abs(amp_a) < most_a * (1.0 - NEAR):
            return "CP"
        return "CC" if abs(amp_a) >= most_a * (1.0 - NEAR) else ""

    def _tell(self) -> None:
        """Show how the first terminal regulates in the operation register."""
        mode = self.mode()
        states = {name: mode == name for name in ("CV", "CC", "CP", "CR")}
        self.show("operation", {**states, "CW": mode == "CP", "OFF": not self.on(), "SINK": self.amp_a[0] < 0.0})

    def pending(self) -> bool:
        """Tell whether volts are still on their way, where the record lists them as overlapped."""
        if super().pending():
            return True
        return "set_v" in self.part.parser.overlapped and any(
            self.on(at) and abs(self.ours("set_v", at, 0.0) - self.actual_v[at]) > 1e-6
            for at in range(len(self.actual_v))
        )

    def measure(self) -> dict[str, float]:
        """Return volts, amps and watts per terminal in the sign of the role."""
        sign = -1.0 if self.role.sign == "absorbed" else 1.0
        shown: dict[str, float] = {}
        for at, (volt, delivered) in enumerate(zip(self.volt_v, self.amp_a, strict=True)):
            amp = sign * delivered if delivered else 0.0
            shown |= {f"volt_{at}": volt, f"amp_{at}": amp, f"power_{at}": volt * amp}
        return shown

    def reading(self, name: str, at: int) -> float | str:
        """Return what the meters show: of the selected channel where the record's query names none."""
        if len(self.volt_v) > 1 and not self.part.quantities[name].per_channel:
            at = int(self.values.get("channel", 1)) - 1
        return super().reading(name, at)

    def changed(self, name: str, targets: list[int]) -> None:
        """Stop at once what is switched off."""
        super().changed(name, targets)
        if name and name == self.energises:
            for at in range(len(self.amp_a)):
                if not self.on(at):
                    self.amp_a[at] = self.actual_v[at] = 0.0
