"""Step the emulated street: households, cars and chargers on the feeder. No sockets, no clock: time is an argument.

The same world runs in virtual time (`lockstep`) and behind real sockets (`plant_process`); what differs is who
writes the set-points and where the device under test draws its current.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.plant.feeder import FeederSolver
from hil.plant.fleet import Fleet
from hil.plant.household import HouseholdSeries
from hil.plant.kernel import kernel
from hil.plant.transformer import Transformer
from hil.plant.view import EvseView
from hil.rig import faults
from hil.rig.assembler import Assembly
from hil.rig.dc_charger import DcCharger, Driven
from hil.rig.node_meters import NodeMeters
from hil.rig.plant_parts import ev_of
from hil.rig.sessions import SessionEvent

PHASES = 3
NOMINAL_HZ = 50.0


@kernel
def signed(volts: complex, amps: complex) -> float:
    """Return the amps with the sign of their power: + flows from the grid."""
    return abs(amps) if volts.real * amps.real + volts.imag * amps.imag >= 0.0 else -abs(amps)


@kernel
def meter(v_v: Any, current_a: Any, phase: Any, customer_v: Any, customer_a: Any, bus_v: Any, head_a: Any) -> float:
    """Write volts and amps of customers, busbar and feeder head from complex node values; return the head's watts.

    Amps have the sign of their power.
    """
    customers = len(customer_v)  # with the further phases of those that have three
    head = np.zeros(PHASES, dtype=np.complex128)
    for i in range(len(v_v)):
        head[phase[i]] += current_a[i]
        if i < customers:
            customer_v[i] = abs(v_v[i])
            customer_a[i] = signed(v_v[i], current_a[i])
    watts = 0.0
    for k in range(PHASES):
        volts = v_v[len(v_v) - PHASES + k]
        bus_v[k] = abs(volts)
        head_a[k] = signed(volts, head[k])
        watts += volts.real * head[k].real + volts.imag * head[k].imag
    return watts


def _wired(nodes: tuple[int, ...], turn: int, phases: int) -> tuple[int, ...]:
    """Return the network's nodes at a charger's terminals, where its L1 is `turn` phases behind the connection's."""
    return (nodes[turn:] + nodes[:turn])[:phases]


@dataclass(slots=True)
class ActiveOrder:
    """Hold the DSO order in force: node index, watts, and its validity in UTC epoch seconds."""

    node: int
    limit_w: float
    from_s: float
    to_s: float


class World:
    """Hold the physics of one rig and step it.

    Arrays after a step: `customer_v` (C,) volts, `customer_a` (C,) amps of household and car together (of a customer
    with three phases: on its first), `head_a` (3,) amps, `bus_v` (3,) volts at the low-voltage busbar, `head_w` watts,
    `drawn_a` (N,) the largest phase amps of a charger, `terminal_v` (N, 3) volts at the chargers' terminals; amps and
    watts are negative where power flows back. The bench hands in `bench_terminal_v`, what stands at the device under
    test, and `bench_feeder_a`, its amps as read back: (3,) or one number for all its phases, NaN while it does not run.
    """

    def __init__(self, assembly: Assembly, t_s: float) -> None:
        self.assembly = assembly
        network = assembly.network
        self.n = len(assembly.evse)
        self.customers = len(assembly.customer_names)
        self.customer_of = assembly.customer_of
        self.fleet = Fleet(assembly.evse, assembly.ev)
        self.fleet.now_s = t_s
        self.dc = {i: DcCharger(part, self.fleet, i) for i, part in assembly.dc.items()}
        self.solver = FeederSolver(network.z_ohm, network.v0_v, network.phase)
        self.households = HouseholdSeries(assembly.households)
        self.transformer = Transformer()
        self._phase = network.phase
        wired = [_wired(network.nodes_of(int(customer)), int(turn), spec.phases) for customer, turn, spec in zip(
            self.customer_of, assembly.tree.turn, assembly.evse, strict=True)]  # fmt: skip
        self.charger = np.repeat(np.arange(self.n), [len(nodes) for nodes in wired])
        self._terminal = np.concatenate([np.arange(len(nodes)) for nodes in wired])
        self._node = np.concatenate([np.array(nodes) for nodes in wired])
        self.feed = self._node.copy()  # node at each terminal; a fault of the wiring turns them
        self._dut_row = np.flatnonzero(self.charger == assembly.dut)
        self._dut_node = self._node[self._dut_row]
        self._meters = NodeMeters(network, assembly.tree, self.charger)
        self._further = [(customer, nodes[1:]) for customer, nodes in network.terminals.items()]
        self._flat_a = np.zeros(len(self._node))  # amps at the terminals, as `charger` and `feed` list them
        self._ev_a = np.zeros(len(network.phase))
        self._load_va = np.zeros(len(network.phase), dtype=complex)
        self._each_v = np.abs(network.v0_v[:-PHASES]).astype(float)  # customers and their further phases
        self._each_a = np.zeros(len(self._each_v))
        self.customer_v, self.customer_a = self._each_v[: self.customers], self._each_a[: self.customers]
        self.bus_v = np.abs(network.v0_v[-PHASES:]).astype(float)
        self.head_a = np.zeros(PHASES)
        self.head_w = 0.0
        self.temperature_c = assembly.rig.feeder.ambient_c
        self.drawn_a = np.zeros(self.n)
        self.terminal_v = np.full((self.n, PHASES), np.nan)
        self.terminal_v[self.charger, self._terminal] = self._each_v[self._node]
        self.converged = True
        self.bench_terminal_v: float | np.ndarray = float("nan")
        self.bench_feeder_a: float | np.ndarray = float("nan")
        self.order: ActiveOrder | None = None
        self.link_cut = np.zeros(self.n, dtype=bool)
        self.rejecting = np.zeros(self.n, dtype=bool)  # OCPP points that refuse every charging profile
        self.fallen = np.zeros(self.n, dtype=bool)  # OCPP points that their own profiles lowered while offline
        self.dark = np.zeros(self.n, dtype=bool)  # chargers without supply
        self.frozen: set[tuple[str, str]] = set()
        self.meter_cut: set[str] = set()  # meters whose link is cut
        self.beats = True  # the DSO's heartbeat
        self.dimmed = False  # section 14a
        self.frequency_hz = NOMINAL_HZ
        self.log: list[dict[str, Any]] = []
        self.eventful = True  # False: the scenario's events do not happen (twins served alone)
        self._events = sorted(assembly.rig.scenario.events, key=lambda event: event.at_s)
        self._ends: list[tuple[float, Callable[[], None]]] = []  # when an event is over, and what undoes it
        self._sessions = list(assembly.sessions)
        self.wanted_wh = np.zeros(self.n)

    def step(self, t_s: float, dt_s: float) -> None:
        """Advance the world by `dt_s` to scenario time `t_s` (0 = start of the scenario)."""
        self._sessions_until(t_s)
        self.terminal_v[self.charger, self._terminal] = self._each_v[self.feed]
        dut, on_bench = self.assembly.dut, slice(0, len(self._dut_node))
        if dut >= 0 and np.all(np.isfinite(self.bench_terminal_v)):
            self.terminal_v[dut, on_bench] = np.broadcast_to(self.bench_terminal_v, PHASES)[on_bench]
        if self.dark.any():
            self.terminal_v[self.dark] *= 0.0  # NaN stays: no such terminal
        for i, charger in self.dc.items():
            charger.before(dt_s, self.terminal_v[i])
        amps = self.fleet.step(t_s, dt_s, self.terminal_v)
        for charger in self.dc.values():
            charger.after(dt_s)
        np.maximum.reduce(amps, axis=1, out=self.drawn_a)
        np.copyto(self.drawn_a, amps.min(axis=1), where=self.drawn_a + amps.min(axis=1) < 0.0)
        self._flat_a = amps[self.charger, self._terminal]
        if dut >= 0 and np.all(np.isfinite(self.bench_feeder_a)):
            self._flat_a[self._dut_row] = np.broadcast_to(self.bench_feeder_a, PHASES)[on_bench]
        # several chargers may hang at one node: their amps add up
        self._ev_a[:] = np.bincount(self.feed, weights=self._flat_a, minlength=len(self._ev_a))
        self._load_va[: self.customers] = self.households.at(self.assembly.week_s + t_s)
        self._load_va[self.assembly.tree.no_household] = 0.0
        solution = self.solver.solve(self._load_va, self._ev_a)
        self.converged = solution.converged
        self.head_w = meter(
            solution.v_v, self.solver.current_a, self._phase, self._each_v, self._each_a, self.bus_v, self.head_a
        )
        load_pu = float(np.abs(self.head_a).max()) / self.assembly.rig.feeder.transformer_a
        self.temperature_c = self.transformer.step(load_pu, self.assembly.rig.feeder.ambient_c, dt_s)
        self._events_until(t_s)

    def view(self, i: int) -> EvseView:
        """Return what the registers of charger i are made of."""
        view = self.fleet.view(i)
        if i in self.dc:
            view.dc = self.dc[i].output
        return view

    def node_values(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return volts (M, 3), amps (M, 3) and watts (M,) at the nodes of the plan; phases without connection NaN.

        The next call overwrites them.
        """
        return self._meters.read(
            self._each_v, self._each_a, self.bus_v, self.head_a, self.head_w, self._phase[self.feed], self._flat_a
        )

    def lowest_v(self) -> np.ndarray:
        """Return the lowest volts of each customer's phases, (C,)."""
        volts: np.ndarray = self.customer_v.copy()
        for customer, nodes in self._further:
            volts[customer] = min(volts[customer], *(self._each_v[node] for node in nodes))
        return volts

    def charger_w(self) -> np.ndarray:
        """Return the watts that every charger draws, (N,); negative where a car gives back."""
        amps = self.fleet.drawn_a
        return np.asarray(np.where(amps == 0.0, 0.0, amps * self.terminal_v).sum(axis=1))

    def bench_node_v(self) -> np.ndarray:
        """Return the volts of the feeder at the device under test, (3,) at its terminals; 0 where it has none."""
        volts = np.zeros(PHASES)
        volts[: len(self._dut_node)] = self._each_v[self._dut_node]
        return volts

    def bench_soc(self) -> float:
        """Return the state of charge of the car at the device under test, 0..1; NaN where none is plugged in."""
        charger = self.dc.get(self.assembly.dut)
        return float(self.fleet.soc[self.assembly.dut]) if charger is not None and charger.plugged else float("nan")

    def bench_plugged(self) -> bool:
        """Tell whether a car stands at the device under test; on an AC bench the played car always does."""
        charger = self.dc.get(self.assembly.dut)
        return charger is None or charger.plugged

    def drive_dc(self, measured: Any, volt_v: float | None = None) -> None:
        """Take what the bench of a DC charger read: watts, what the battery asks for, its state of charge.

        `volt_v` are the volts at the charger's output, those read where None. The feeder gets what the watts read
        back are on the mains side.
        """
        charger = self.dc[self.assembly.dut]
        on = bool(measured["source_on"])
        volts = float(np.nan_to_num(measured["dc_v"])) if volt_v is None else volt_v
        demand_a = float(np.nan_to_num(measured["demand_a"]))
        charger.driven = Driven(volts if on else 0.0, demand_a if on else 0.0, float(measured["soc"]))
        watts = float(np.nan_to_num(measured["dc_w"])) / charger.output.spec.efficiency if on else 0.0
        total_v = float(self._each_v[self._dut_node].sum())
        self.bench_feeder_a = np.full(PHASES, watts / total_v) if total_v > 0.0 else np.zeros(PHASES)

    def drop_sessions_until(self, t_s: float) -> None:
        """Forget the sessions up to `t_s`: the fleet's snapshot holds them already."""
        while self._sessions and self._sessions[0].at_s <= t_s:
            session = self._sessions.pop(0)
            self.wanted_wh[session.charger] += session.need_wh
            self._bring(session)
            self._plug_dc(session)

    def _sessions_until(self, t_s: float) -> None:
        """Plug cars in and out whose time has come."""
        while self._sessions and self._sessions[0].at_s <= t_s:
            session = self._sessions.pop(0)
            self._plug_dc(session)
            if session.need_wh > 0:
                self._bring(session)
                self.fleet.plug_in(session.charger, t_s, session.soc, session.need_wh)
                self.wanted_wh[session.charger] += session.need_wh
            else:
                self.fleet.unplug(session.charger, t_s)

    def _bring(self, session: SessionEvent) -> None:
        """Let the session's car be the one at its charger, where it is of another class than the charger's own."""
        i = session.charger
        if session.vehicle and i not in self.dc:
            part, car = self.assembly.rig.charger[i], self.assembly.vehicles[session.vehicle]
            self.fleet.bring(i, ev_of(part, self.assembly.models[i], car))

    def _plug_dc(self, session: SessionEvent) -> None:
        if session.charger in self.dc:
            self.dc[session.charger].plug(session.soc if session.need_wh > 0 else None)

    def _events_until(self, t_s: float) -> None:
        """Let the scenario's events happen whose time has come, and end those that are over."""
        for end in [end for end in self._ends if end[0] <= t_s]:
            self._ends.remove(end)
            end[1]()
        while self.eventful and self._events and self._events[0].at_s <= t_s:
            event = self._events.pop(0)
            if event.kind == "order" and event.limit_w is not None:
                self._order(t_s, event.node, event.limit_w, event.for_s)
            elif event.kind == "cut_link":
                self._cut(t_s, event.chargers, event.for_s)
            elif event.kind == "cut_meter":
                self._cut_meters(t_s, event.meters, event.for_s)
            elif event.kind == "silence":
                self._silence(t_s, event.for_s)
            elif event.kind == "dim":
                self._dim(t_s, event.for_s)
            elif event.kind == "frequency" and event.hz is not None:
                self._frequency(t_s, event.hz, event.for_s)
            elif event.kind in faults.CHARGER_FAULTS:
                self._ends.append((t_s + event.for_s, faults.begin(self, event, t_s)))
            else:
                self._freeze(t_s, event.node, event.quantity, event.for_s)

    def _order(self, t_s: float, name: str, limit_w: float, for_s: float) -> None:
        node = 0 if name == "transformer" else 1
        utc_s = self.assembly.start_utc_s + t_s
        self.order = ActiveOrder(node, limit_w, utc_s, utc_s + for_s)
        self.log.append(
            {"t_s": t_s, "event": "order", "limit_w": limit_w, "node": node, "for_s": for_s, "measured_w": self.head_w}
        )

    def _freeze(self, t_s: float, name: str, quantity: str, for_s: float) -> None:
        """Let a substation's quantity stand still, value and time stamp."""
        self.frozen.add((name, quantity))
        self._ends.append((t_s + for_s, lambda: self.frozen.discard((name, quantity))))
        self.log.append({"t_s": t_s, "event": "freeze", "node": name, "quantity": quantity, "for_s": for_s})

    def _cut_meters(self, t_s: float, names: list[str], for_s: float) -> None:
        """Cut the links of meters."""
        self.meter_cut.update(names)
        self._ends.append((t_s + for_s, lambda: self.meter_cut.difference_update(names)))
        self.log.append({"t_s": t_s, "event": "cut_meter", "meters": names, "for_s": for_s})

    def _silence(self, t_s: float, for_s: float) -> None:
        """Stop the DSO's heartbeat."""
        self.beats = False

        def resume() -> None:
            self.beats = True

        self._ends.append((t_s + for_s, resume))
        self.log.append({"t_s": t_s, "event": "silence", "for_s": for_s, "measured_w": self.head_w})

    def _dim(self, t_s: float, for_s: float) -> None:
        """Dim the devices of section 14a contracts."""
        self.dimmed = True

        def brighten() -> None:
            self.dimmed = False

        self._ends.append((t_s + for_s, brighten))
        self.log.append({"t_s": t_s, "event": "dim", "for_s": for_s})

    def _frequency(self, t_s: float, hz: float, for_s: float) -> None:
        """Move the grid's frequency; the feeder itself does not depend on it."""
        self.frequency_hz = hz

        def settle() -> None:
            self.frequency_hz = NOMINAL_HZ

        self._ends.append((t_s + for_s, settle))
        self.log.append({"t_s": t_s, "event": "frequency", "hz": hz, "for_s": for_s})

    def _cut(self, t_s: float, names: list[str], for_s: float) -> None:
        """Cut the link of the first of the named chargers that still charges, or of the first of all."""
        indices = [self.assembly.charger_names.index(name) for name in names]
        charging = [i for i in indices if self.drawn_a[i] > 1.0]
        chosen = charging[0] if charging else indices[0]
        self.link_cut[chosen] = True

        def mend() -> None:
            self.link_cut[chosen] = False

        self._ends.append((t_s + for_s, mend))
        self.log.append(
            {
                "t_s": t_s,
                "event": "cut_link",
                "charger": self.assembly.charger_names[chosen],
                "for_s": for_s,
                "drawn_a": float(self.drawn_a[chosen]),
            }
        )
