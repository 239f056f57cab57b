"""Model the links between the world and the controller in virtual time, with each device's own pacing.

What the clients of `instruments` do on real sockets is done here in steps: a charger's values are read one after the
other and dated by the oldest of them, orders go through the same `WriteGate` (a KEBA P30 resumes with two writes, the
current first), set-points are repeated where their validity asks for it, and after a mended link the client
identifies first, then sends the order, then reads a complete new set. A request takes no time.
"""

import math
from typing import Any

import numpy as np

from controller.law import image
from controller.law.names import Quality
from controller.runtime.clock import LocalTime
from hil.plant.kernel import kernel
from hil.rig.assembler import Assembly
from hil.rig.energy_guard import EnergyGuard
from hil.rig.envelope_sender import PlayedEnvelopes, sender_of
from hil.rig.meter_links import MeterLinks
from hil.rig.world import World
from instruments import catalog
from instruments.modbus_charger import BACKOFF_FIRST_S, BACKOFF_LAST_S
from instruments.modbus_pacing import TAKEN_A, WriteGate, rewrite_s

NS = 1_000_000_000
EPOCH_NS = 1_000 * NS  # the virtual monotonic clock starts well above zero: 0 means "never" in the images
NEVER_NS = np.iinfo(np.int64).max
BEAT_NS = NS
GOOD = int(Quality.GOOD)
FLOAT_STEP = 2.0**-16  # what a float32 register resolves of 230 V; a finer meter shows no more than that


@kernel
def take(
    good: int, taken_a: float, now_ns: int, polled: Any,
    poll_ns: Any, cycle_ns: Any, grid_ns: Any, next_poll_ns: Any, next_read_ns: Any,
    fresh: Any, step_v: Any, step_a: Any, told_a: Any, terminal_v: Any, drawn_a: Any,
    session_wh: Any, state: Any, applied_a: Any, session_no: Any, phases: Any, tells_phases: Any, soc: Any,
    tells_soc: Any, charger_v: Any, charger_a: Any, charger_w: Any, charger_wh: Any, charger_state: Any,
    charger_limit_a: Any, seen_no: Any, charger_phases: Any, charger_soc: Any, quality: Any, link: Any, change_ns: Any,
) -> bool:  # fmt: skip
    """Take the values of the `polled` chargers whose cycle is complete, at the resolution of their registers.

    Every poll moves the reading's date: that of its oldest part. Returns whether one applies more than it was told.
    """
    # constants of other modules come as arguments: numba's cache does not notice when they change
    over = False
    for i in range(len(polled)):
        if not polled[i]:
            continue
        next_poll_ns[i] = now_ns + poll_ns[i]
        if now_ns >= next_read_ns[i]:
            next_read_ns[i] = now_ns + cycle_ns[i] - (now_ns - grid_ns[i]) % cycle_ns[i]
            watts = 0.0
            for k in range(3):
                volts = np.rint(terminal_v[i, k] / step_v[i]) * step_v[i]
                amps = np.rint(drawn_a[i, k] / step_a[i]) * step_a[i]
                wired = not math.isnan(volts)
                charger_v[i, k] = volts
                charger_a[i, k] = amps if wired else math.nan
                watts += volts * amps if wired else 0.0
            charger_w[i] = watts
            charger_wh[i] = session_wh[i]
            charger_state[i] = state[i]
            charger_limit_a[i] = applied_a[i]
            seen_no[i] = session_no[i]
            charger_phases[i] = phases[i] if tells_phases[i] else -1
            charger_soc[i] = soc[i] if tells_soc[i] and state[i] != 0 else math.nan
            quality[i] = good
            link[i] = 1
            fresh[i] = True
            over = over or applied_a[i] > told_a[i] + taken_a
        if fresh[i]:
            change_ns[i] = now_ns - cycle_ns[i] + poll_ns[i]
    return over


class ChargerLinks:
    """Read and write the chargers of a world, filling the charger fields of an INPUT image.

    Arrays are (N,); `up` says where the client has its connection, `told_a` what the device acknowledged last (A, NaN
    unknown).
    """

    def __init__(self, world: World, assembly: Assembly, inp: Any, now_ns: int) -> None:
        self.world, self.inp = world, inp
        self.names = assembly.charger_names
        self.views = [world.view(i) for i in range(world.n)]
        parts = [catalog.charger_of(model) for model in assembly.models]
        wires = [_Wire(model) for model in assembly.models]
        self._no_volts = np.array(["voltage_l1_v" not in wire.quantity.values() for wire in wires])
        self._no_limit = np.array(["limit_a" not in wire.quantity.values() for wire in wires])
        self._feeds = [(i, part.watchdog) for i, part in enumerate(parts) if part.watchdog.feed]
        self._feed_ns = np.full(world.n, now_ns)
        self._step_v = np.array([part.voltage_step_v or FLOAT_STEP for part in parts])
        self._step_a = np.array([part.current_step_a or FLOAT_STEP for part in parts])
        self._poll_ns = _ns([wire.poll_s for wire in wires])
        self._cycle_ns = _ns([cycle_s(model) for model in assembly.models])
        self._core_ns = _ns([wire.core_s for wire in wires])
        self._grid_ns = now_ns + (np.arange(world.n) % 7) * self._cycle_ns // 7  # not all in the same scan
        self._next_poll_ns = np.full(world.n, now_ns)
        self._next_read_ns = np.full(world.n, now_ns)
        self._fresh = np.zeros(world.n, dtype=bool)  # a complete set was read in this connection
        self.up = np.ones(world.n, dtype=bool)
        self._retry_ns = np.zeros(world.n, dtype=np.int64)
        self._backoff_s = np.full(world.n, BACKOFF_FIRST_S)
        rewrites_s = [rewrite_s(part, evse.failsafe_s) for part, evse in zip(parts, assembly.evse, strict=True)]
        self._gates = [WriteGate(part, again_s) for part, again_s in zip(parts, rewrites_s, strict=True)]
        self._quantity = [wire.quantity for wire in wires]
        self._gap_ns = _ns([part.timing.write_gap_s for part in parts])
        self._again_ns = np.array([round(again_s * NS) if again_s > 0.0 else NEVER_NS for again_s in rewrites_s])
        self._free_ns = np.zeros(world.n, dtype=np.int64)  # the pacing lets the next write out
        self._repeat_ns = np.full(world.n, NEVER_NS)
        self._asked_a = np.full(world.n, np.nan)
        self._switches = np.array([spec.switch_phases for spec in assembly.evse])
        self._two_way = np.array([give_a > 0.0 for give_a in assembly.export_max_a])
        self._phases_told = np.zeros(world.n, dtype=np.uint8)  # 0 nothing yet in this connection
        self._open = np.ones(world.n, dtype=bool)  # part of the order may still have to be sent
        self.told_a = np.full(world.n, np.nan)

    def read(self, t_s: float, now_ns: int) -> None:
        """Take what the polls of this scan bring, and follow links that fall or come back."""
        if self.world.link_cut.any() or not self.up.all() or not self.world.fleet.power_on.all():
            self._follow(t_s, now_ns)
        polled = (now_ns >= self._next_poll_ns) & self.up
        if not polled.any():
            return
        self.world.fleet.touch(polled, t_s)
        self._feed(t_s, now_ns)
        inp, fleet = self.inp, self.world.fleet
        over = take(
            GOOD, TAKEN_A, now_ns, polled,
            self._poll_ns, self._cycle_ns, self._grid_ns, self._next_poll_ns, self._next_read_ns,
            self._fresh, self._step_v, self._step_a, self.told_a, fleet.shown_v, fleet.shown_a,
            fleet.shown_session_wh, fleet.shown_state, fleet.shown_applied_a, fleet.shown_session_no,
            fleet.shown_phases, self._switches, fleet.shown_soc, self._two_way, inp.charger_v, inp.charger_a,
            inp.charger_w, inp.charger_wh, inp.charger_state, inp.charger_limit_a, inp.session_no,
            inp.charger_phases, inp.charger_soc, inp.charger_quality, inp.charger_link, inp.charger_change_ns,
        )  # fmt: skip
        inp.charger_v[polled & self._no_volts] = np.nan
        inp.charger_limit_a[polled & self._no_limit] = np.nan
        for k, dc in self.world.dc.items():
            if polled[k]:  # it shows watts of its DC side: no mains volts, and amps by the catalog's rule
                inp.charger_v[k], inp.charger_limit_a[k] = np.nan, np.nan
                inp.charger_a[k] = dc.output.power_w / dc.output.spec.watts_per_amp
                inp.charger_w[k] = dc.output.mains_w
        if over:
            for i in np.flatnonzero(polled & (inp.charger_limit_a > self.told_a + TAKEN_A)):
                self._open[i] |= self._gates[i].observe(float(inp.charger_limit_a[i]), now_ns)

    def write(self, t_s: float, now_ns: int, allowed_a: np.ndarray) -> None:
        """Send what changed, what is left of an order, or what must be repeated, no faster than the pacing."""
        due = (allowed_a != self._asked_a) | self._open | (now_ns >= self._repeat_ns)
        due &= (now_ns >= self._free_ns) & self.up & ~self.world.rejecting
        if due.any():
            for i in np.flatnonzero(due):
                self._order(int(i), float(allowed_a[i]), t_s, now_ns)

    def switch(self, t_s: float, now_ns: int, number_phases: np.ndarray) -> None:
        """Ask those that can for another number of phases (N,), 0 no request, no faster than the pacing."""
        due = self._switches & (number_phases > 0) & (number_phases != self._phases_told)
        for i in np.flatnonzero(due & (now_ns >= self._free_ns) & self.up):
            self.views[i].set("phases_set", float(number_phases[i]), t_s)
            self._phases_told[i] = number_phases[i]
            self._free_ns[i] = now_ns + self._gap_ns[i]

    def _export(self, i: int, want_a: float, t_s: float, now_ns: int) -> None:
        """Ask charger i for export: no register of the catalog does, so this is the set-point of ISO 15118 or OCPP."""
        self.views[i].set("enable", 1.0, t_s)
        self.views[i].set("setpoint_a", want_a, t_s)
        self._gates[i].forget()
        self.told_a[i], self._open[i] = want_a, False
        self._free_ns[i] = now_ns + self._gap_ns[i]
        if self._again_ns[i] != NEVER_NS:
            self._repeat_ns[i] = now_ns + self._again_ns[i]

    def _feed(self, t_s: float, now_ns: int) -> None:
        """Write the life bits and tokens that are due, as the client does."""
        for i, dog in self._feeds:
            if self.up[i] and now_ns >= self._feed_ns[i]:
                self.views[i].set(self._quantity[i][dog.feed], dog.feed_value, t_s)
                self._feed_ns[i] = now_ns + round(dog.feed_s * NS)

    def _order(self, i: int, want_a: float, t_s: float, now_ns: int) -> None:
        """Send the next part of an order to charger i; RuntimeError for one that its client would refuse."""
        gate = self._gates[i]
        if want_a < 0.0 and self._two_way[i]:
            self._asked_a[i] = want_a
            self._export(i, want_a, t_s, now_ns)
            return
        if why := gate.check(want_a):
            raise RuntimeError(f"{self.names[i]}: the law ordered {why}")
        self._asked_a[i] = want_a
        write = gate.next(want_a, now_ns)
        self._open[i] = write is not None
        if write is None:
            return
        quantity = self._quantity[i][write.register]
        self.views[i].set(quantity, write.value, t_s)
        gate.done(write, now_ns)
        self.told_a[i] = gate.sent_a
        self._free_ns[i] = now_ns + self._gap_ns[i]
        if quantity == "setpoint_a" and self._again_ns[i] != NEVER_NS:
            self._repeat_ns[i] = now_ns + self._again_ns[i]

    def _follow(self, t_s: float, now_ns: int) -> None:
        """Lose the links that were cut; try the lost ones again with the client's back-off."""
        cut, inp = self.world.link_cut | ~self.world.fleet.power_on, self.inp  # no supply, no answer
        for i in np.flatnonzero(cut | ~self.up):
            if self.up[i]:
                self.up[i] = self._fresh[i] = False
                inp.charger_link[i] = 0
                inp.charger_quality[i] = Quality.BAD
                self._backoff_s[i] = BACKOFF_FIRST_S
            elif now_ns < self._retry_ns[i]:
                continue
            elif not cut[i]:
                self._reopen(int(i), t_s, now_ns)
                continue
            self._retry_ns[i] = now_ns + round(self._backoff_s[i] * NS)
            self._backoff_s[i] = min(2.0 * self._backoff_s[i], BACKOFF_LAST_S)

    def _reopen(self, i: int, t_s: float, now_ns: int) -> None:
        """Connect anew: identify, then the order, then a complete set of readings; nothing told before counts."""
        self.up[i] = self._open[i] = True
        self._gates[i].forget()
        self.told_a[i], self._phases_told[i] = np.nan, 0
        self.inp.charger_link[i] = 1
        self.views[i].touch(t_s)
        self._next_poll_ns[i] = now_ns + self._poll_ns[i]
        self._next_read_ns[i] = now_ns + self._core_ns[i]


class Links:
    """Hold every link of a site in virtual time, and the INPUT image that they fill."""

    def __init__(self, world: World, assembly: Assembly, t_s: float) -> None:
        self.world = world
        self.assembly = assembly
        self._local = LocalTime(assembly.rig.rig.timezone, assembly.utc_offset_s)
        self.inp_bytes, self.inp = image.allocate("input", assembly.dims)
        self._first_ns = EPOCH_NS - int(t_s * NS)
        self.chargers = ChargerLinks(world, assembly, self.inp, self.now_ns(t_s))
        part = assembly.rig.guard
        self.guard = None if part is None else EnergyGuard(part, self.now_ns(t_s), world.log)
        sender = sender_of(assembly, world.log)
        self.envelopes = None if sender is None else PlayedEnvelopes(sender, assembly)
        self.meters = MeterLinks(world, assembly)
        self._publish_ns = round(assembly.rig.substation.publish_period_s * NS)
        self._next_publish_ns = self._next_beat_ns = self.now_ns(t_s)

    def now_ns(self, t_s: float) -> int:
        """Return the virtual monotonic clock at scenario time `t_s`, ns."""
        return self._first_ns + round(t_s * NS)

    def latch(self, t_s: float, scan: int, random: np.random.Generator) -> Any:
        """Refresh what is due and return the INPUT image for this scan."""
        inp = self.inp
        now_ns = self.now_ns(t_s)
        inp.now_ns[0] = now_ns
        inp.utc_ns[0] = round((self.assembly.start_utc_s + t_s) * NS)
        inp.utc_offset_s[0] = self._local.offset_s(int(inp.utc_ns[0]))
        inp.utc_change_ns[0], inp.utc_offset_next_s[0] = self._local.next_change(int(inp.utc_ns[0]))
        inp.scan[0] = scan
        random.random(out=inp.random_u)
        inp.frequency_hz[0] = self.world.frequency_hz  # measured beside the controller in every scan
        inp.frequency_quality[0] = Quality.GOOD
        inp.frequency_change_ns[0] = now_ns
        self.chargers.read(t_s, now_ns)
        if now_ns >= self._next_publish_ns:
            self._next_publish_ns = now_ns + self._publish_ns
            self._publish(now_ns)
        self.meters.latch(now_ns, inp)
        if now_ns >= self._next_beat_ns and self.world.beats:
            self._next_beat_ns = now_ns + BEAT_NS
            inp.order_beat_ns[:] = now_ns
            inp.order_quality[:] = Quality.GOOD
        if self.guard is not None:
            self.guard.play(t_s, now_ns, inp)
        if self.envelopes is not None:
            self.envelopes.play(t_s, now_ns, inp)
        for k, group in enumerate(self.assembly.site.groups):
            inp.group_w[k] = group.dimmed_w if self.world.dimmed else np.inf
        return inp

    def write(self, t_s: float, out: Any) -> None:
        """Send the chargers what the law allowed."""
        now_ns = self.now_ns(t_s)
        self.chargers.switch(t_s, now_ns, out.number_phases)
        self.chargers.write(t_s, now_ns, np.where(out.allowed_min_a < 0.0, out.allowed_min_a, out.allowed_a))

    def _publish(self, now_ns: int) -> None:
        """Publish the substation's values, but for what is frozen, and its order."""
        inp, order = self.inp, self.world.order
        volts, amps, watts = self.world.node_values()
        utc_ns = inp.utc_ns[0]
        inp.node_v_quality[:] = Quality.GOOD
        inp.node_a_quality[:] = Quality.GOOD
        inp.node_temp_c[0] = self.world.temperature_c
        live = self._live("PhV")
        inp.node_v[live] = volts[live]
        inp.node_v_change_ns[live] = now_ns
        inp.node_v_stamp_utc_ns[live] = utc_ns
        live = self._live("A")
        inp.node_a[live] = amps[live]
        inp.node_w[live] = watts[live]
        inp.node_a_change_ns[live] = now_ns
        inp.node_a_stamp_utc_ns[live] = utc_ns
        if order is not None:
            inp.order_w[order.node] = order.limit_w
            inp.order_from_s[order.node] = order.from_s
            inp.order_to_s[order.node] = order.to_s

    def _live(self, quantity: str) -> Any:
        """Return the nodes whose values of a quantity move, as an index."""
        frozen = {0 if name == "transformer" else 1 for name, what in self.world.frozen if what == quantity}
        return [m for m in range(self.assembly.dims.m) if m not in frozen] if frozen else slice(None)


class _Wire:
    """Hold what the pacing of one charger's protocol comes to: of Modbus its polls, of OCPP its meter values."""

    __slots__ = ("core_s", "poll_s", "quantity")

    def __init__(self, model: catalog.Model) -> None:
        if model.ocpp is not None:
            self.poll_s = self.core_s = float(model.ocpp.meter_interval_s)
            setpoint = catalog.charger_of(model).setpoint.register_name
            self.quantity = {setpoint: "setpoint_a", "volts": "voltage_l1_v", "limit": "limit_a"}
            return
        part = catalog.modbus_of(model)
        self.poll_s, self.core_s = part.read_every_s, len(part.polls.core) * part.read_every_s
        self.quantity = {register.name: register.quantity for register in part.registers}


def cycle_s(model: catalog.Model) -> float:
    """Return how long a complete fresh reading of a charger takes, s: its core polls and one rare poll."""
    if model.ocpp is not None:
        return float(model.ocpp.meter_interval_s)
    part = catalog.modbus_of(model)
    return (len(part.polls.core) + bool(part.polls.rare)) * part.read_every_s


def _ns(times_s: list[float]) -> np.ndarray:
    return np.array([round(time_s * NS) for time_s in times_s], dtype=np.int64)
