"""Run a rig in virtual time: world and law in lock-step, no sockets, deterministic by seed.

Between the two stands a model of the wires: every charger is read as often as its register map permits and written
no faster than its pacing, so that the law meets the same ages and delays as on the real links.
"""

from typing import Any, Protocol

import numpy as np

from controller.law import image
from controller.law.decide import decide
from controller.law.names import Quality
from controller.runtime.ledger import LedgerWriter
from hil.rig.assembler import Assembly
from hil.rig.world import World
from instruments import catalog

NS = 1_000_000_000
EPOCH_NS = 1_000 * NS  # the virtual monotonic clock starts well above zero: 0 means "never" in the images


class Recorder(Protocol):
    """Take what a scan saw and decided."""

    def record(self, t_s: float, world: World, inp: Any, out: Any) -> None:
        """Keep one sample; `inp` and `out` are None in an uncontrolled run."""


class Wires:
    """Model the links between the world and the INPUT image, with each device's pacing."""

    def __init__(self, world: World, assembly: Assembly, t_s: float) -> None:
        self.world = world
        self.assembly = assembly
        self.inp_bytes, self.inp = image.allocate("input", assembly.dims)
        parts = [catalog.charger_of(model) for model in assembly.models]
        n = len(parts)
        self.cycle_s = np.array([cycle_s(model) for model in assembly.models])
        self.write_gap_s = np.array([part.timing.write_gap_s for part in parts])
        self.keep_alive_s = np.array([part.watchdog.keep_alive_s or np.inf for part in parts])
        stagger = (np.arange(n) % 7) / 7.0
        self.next_read_s = t_s + stagger * self.cycle_s
        self.next_write_s = np.full(n, -np.inf)
        self.written_s = np.full(n, -np.inf)
        self.sent_a = np.full(n, np.nan)
        self.next_publish_s = t_s
        self.views = [world.fleet.view(i) for i in range(n)]
        self.beat_s = -np.inf
        self.resolution_v = np.array([part.voltage_step_v for part in parts])
        self.first_ns = EPOCH_NS - int(t_s * NS)

    def now_ns(self, t_s: float) -> int:
        """Return the virtual monotonic clock at scenario time `t_s`, ns."""
        return self.first_ns + round(t_s * NS)

    def latch(self, t_s: float, scan: int, random: np.random.Generator) -> Any:
        """Refresh what is due and return the INPUT image for this scan."""
        inp, world = self.inp, self.world
        now_ns = self.now_ns(t_s)
        inp.now_ns[0] = now_ns
        inp.utc_ns[0] = round((self.assembly.start_utc_s + t_s) * NS)
        inp.utc_offset_s[0] = self.assembly.utc_offset_s
        inp.scan[0] = scan
        inp.random_u[:] = random.random(len(inp.random_u))
        if (t_s >= self.next_read_s).any():
            for i in np.flatnonzero(t_s >= self.next_read_s):
                self._read(int(i), t_s, now_ns)
        if t_s >= self.next_publish_s:
            self.next_publish_s = t_s + self.assembly.rig.substation.publish_period_s
            self._publish(now_ns)
        if world.order is not None:
            m = world.order.node
            inp.order_w[m] = world.order.limit_w
            inp.order_from_s[m] = world.order.from_s
            inp.order_to_s[m] = world.order.to_s
        inp.order_quality[:] = Quality.GOOD
        if t_s - self.beat_s >= 1.0:
            self.beat_s = t_s
            inp.order_beat_ns[:] = now_ns
        return inp

    def _read(self, i: int, t_s: float, now_ns: int) -> None:
        """Read charger i, unless its link is cut."""
        inp, fleet = self.inp, self.world.fleet
        self.next_read_s[i] = t_s + self.cycle_s[i]
        if self.world.link_cut[i]:
            inp.charger_link[i] = 0
            inp.charger_quality[i] = Quality.BAD
            return
        view = self.views[i]
        view.touch(t_s)
        step_v = self.resolution_v[i]
        volts = self.world.terminal_v[i]
        inp.charger_v[i] = np.round(volts / step_v) * step_v if step_v > 0 else volts
        inp.charger_a[i] = np.where(np.isnan(volts), np.nan, fleet.drawn_a[i])
        inp.charger_w[i] = np.nansum(volts * fleet.drawn_a[i])
        inp.charger_wh[i] = fleet.session_wh[i]
        inp.charger_state[i] = fleet.state[i]
        inp.charger_limit_a[i] = fleet.applied_a[i]
        inp.session_no[i] = fleet.session_no[i]
        inp.charger_quality[i] = Quality.GOOD
        inp.charger_link[i] = 1
        inp.charger_change_ns[i] = now_ns

    def _publish(self, now_ns: int) -> None:
        """Publish the substation's values, but for what is frozen."""
        inp, world = self.inp, self.world
        volts, amps, watts = world.node_values()
        utc_ns = inp.utc_ns[0]
        rows = np.ones(len(volts), dtype=bool)
        inp.node_v[:] = volts
        inp.node_v_change_ns[:] = now_ns
        inp.node_v_stamp_utc_ns[:] = utc_ns
        inp.node_v_quality[:] = Quality.GOOD
        for name, quantity in world.frozen:
            if quantity == "A":
                rows[0 if name == "transformer" else 1] = False
        inp.node_a[rows] = amps[rows]
        inp.node_w[rows] = watts[rows]
        inp.node_a_change_ns[rows] = now_ns
        inp.node_a_stamp_utc_ns[rows] = utc_ns
        inp.node_a_quality[:] = Quality.GOOD
        inp.node_temp_c[0] = world.temperature_c

    def write(self, t_s: float, out: Any) -> None:
        """Send what changed, or what must be repeated to keep it valid, no faster than the pacing."""
        due = (out.allowed_a != self.sent_a) | (t_s - self.written_s >= self.keep_alive_s)
        due &= (t_s >= self.next_write_s) & ~self.world.link_cut
        if not due.any():
            return
        for i in np.flatnonzero(due):
            self.views[i].set("setpoint_a", float(out.allowed_a[i]), t_s)
            self.views[i].touch(t_s)
            self.sent_a[i] = out.allowed_a[i]
            self.written_s[i] = t_s
            self.next_write_s[i] = t_s + self.write_gap_s[i]


def cycle_s(model: catalog.Model) -> float:
    """Return how long a complete fresh reading of a charger takes, s: its core polls and one rare poll."""
    part = catalog.modbus_of(model)
    return (len(part.polls.core) + bool(part.polls.rare)) * part.read_gap_s


class Lockstep:
    """Hold one run in virtual time, controlled or not."""

    def __init__(self, assembly: Assembly, t_s: float, *, controlled: bool = True) -> None:
        self.assembly = assembly
        self.controlled = controlled
        self.world = World(assembly, t_s)
        self.wires = Wires(self.world, assembly, t_s)
        self.t_s = t_s
        self.scan = 0
        self.plan = assembly.plan()
        self.state_bytes, self.state = image.allocate("state", assembly.dims)
        self.out_bytes, self.out = image.allocate("output", assembly.dims)
        self.random = np.random.default_rng(assembly.rig.rig.seed)
        self.ledger: LedgerWriter | None = None
        if not controlled:
            self._release()

    def _release(self) -> None:
        """Let every charger give its full current for ever: the street without us."""
        for i, view in enumerate(self.wires.views):
            view.set("failsafe_s", 0.0, self.t_s)
            view.set("setpoint_a", float(self.assembly.evse[i].hard_max_a), self.t_s)

    def run(self, until_s: float, dt_s: float, recorder: Recorder | None = None) -> None:
        """Step to scenario time `until_s` in steps of `dt_s`."""
        steps = round((until_s - self.t_s) / dt_s)
        begin_s = self.t_s
        for k in range(1, steps + 1):
            self.t_s = begin_s + k * dt_s
            self.world.step(self.t_s, dt_s)
            if self.controlled:
                self.scan += 1
                inp = self.wires.latch(self.t_s, self.scan, self.random)
                if self.ledger is not None and self.ledger.due:
                    self.ledger.state(self.scan, self.state_bytes)
                decide(inp, self.plan, self.state, self.out)
                self.wires.write(self.t_s, self.out)
                if self.ledger is not None:
                    self.ledger.scan(self.scan, self.wires.inp_bytes, self.out_bytes)
            if recorder is not None:
                recorder.record(self.t_s, self.world, self.wires.inp, self.out if self.controlled else None)
