"""Play a case: cars that rise fast and fall slowly, chargers with a fail-safe, meters that are late, and the law.

Written apart from the world of the law's own tests, so that one mistake is not made twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from cases.case_file import PHASE, Case

from controller.law import image
from controller.law.decide import decide
from controller.law.names import Cp, Quality
from controller.runtime.clock import LocalTime
from controller.runtime.plan import build_plan

NS = 1_000_000_000
SWITCH_S = 2.0  # a charger's contactors, after another number of phases is asked for
FIRST_NS = 1_000 * NS  # 0 means "never" in the images
NAMED = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


@dataclass(frozen=True)
class Record:
    """Hold what happened: time (T,) s, per charger (T, N) and per node (T, M, 3) or (T, M)."""

    t_s: np.ndarray
    allowed_a: np.ndarray
    drawn_a: np.ndarray
    reason: np.ndarray
    alarm: np.ndarray
    node_a: np.ndarray
    node_w: np.ndarray


class CaseWorld:
    """Hold the images and the physics of one case and step both."""

    def __init__(self, case: Case, controlled: bool = True) -> None:
        self.case, self.setting, self.controlled = case, case.setting, controlled
        self.dims, _, self.plan = build_plan(case.site)
        self.inp = image.allocate("input", self.dims)[1]
        self.zone = ZoneInfo(case.setting.timezone)
        self.local = LocalTime(case.setting.timezone, 0.0)
        self.n, self.m = self.dims.n, self.dims.m
        self.random = np.random.default_rng(case.setting.seed)
        self.used = self.plan.phase_map >= 0
        self.legs = np.array([car.legs for car in case.cars])[:, None] > np.arange(3)
        self.legs &= self.used  # (N, 3) terminals that the car loads
        self.terminal = np.where(self.used, self.plan.phase_map, 0)  # (N, 3) the grid's phase at each terminal, really
        for i, car in enumerate(case.cars):
            for t, letter in enumerate(car.wired):
                self.terminal[i, t] = PHASE[letter]
        self.rows = np.arange(self.n)[:, None]
        self.in_use = self.used.sum(axis=1)  # phases that the charger has switched on
        self.asked_s = np.zeros(self.n)
        self.all_legs = self.legs
        self.wire()
        self.car = {
            name: np.array([getattr(car, name) for car in case.cars]) for name in ("max_a", "floor_a", "noise_a")
        }
        dt_s = case.setting.dt_s
        self.fall = np.array([round(car.fall_s / dt_s) for car in case.cars])
        self.rise = np.array([round(car.rise_s / dt_s) for car in case.cars])
        self.drawn = np.array([car.drawn_a for car in case.cars])
        self.plugged = np.array([car.plugged for car in case.cars])
        self.session = self.plugged.astype(np.int32)
        self.link = np.ones(self.n, bool)
        self.meters = np.ones(self.m, bool)
        self.beating = True
        self.setpoint = self.drawn.copy() if controlled else self.plan.hard_max_a.copy()  # what the charger last heard
        self.master = np.full(self.n, np.nan)  # what another master sets again and again; NaN nobody does
        self.silent_s = np.zeros(self.n)  # time since it last heard of us
        self.limits = np.zeros(
            (round(case.setting.for_s / dt_s) + 1, self.n)
        )  # what was offered to the car, a row a scan
        self.load_a = np.zeros((self.m, 3))
        for name, amps in case.load_a.items():
            self.load_a[case.nodes.index(name)] = amps
        self.volts_v = np.full((self.n, 3), case.setting.volts_v)
        self.forced: dict[str, dict[str, Any]] = {}
        self.t_s, self.scan, self.clock_step_s = 0.0, 0, 0.0
        self.start_law()
        self.inp.order_quality[:] = Quality.GOOD

    def wire(self) -> None:
        """Note which of the grid's phases the cars load, with the phases that their chargers have switched on."""
        self.legs = self.all_legs & (np.arange(3) < self.in_use[:, None])
        self.wired = np.zeros((self.n, 3))  # 1 where the car really loads the grid's phase
        for i, t in zip(*np.nonzero(self.legs), strict=True):
            self.wired[i, self.terminal[i, t]] = 1.0

    def start_law(self) -> None:
        """Start the controller anew: nothing is remembered."""
        self.state, self.out = (image.allocate(table, self.dims)[1] for table in ("state", "output"))

    def below(self, amps: np.ndarray) -> np.ndarray:
        """Return (M, 3) amps of all chargers below every node from those of the chargers (N, 3)."""
        total = np.zeros((self.m, 3))
        np.add.at(total, self.plan.charger_node, amps)
        return self._up(total)

    def _up(self, total: np.ndarray) -> np.ndarray:
        for m in range(self.m - 1, 0, -1):
            total[self.plan.parent[m]] += total[m]
        return total

    def step(self) -> tuple[np.ndarray, np.ndarray]:
        """Let the cars react, the meters be read and one scan pass; return amps (M, 3) and watts (M,) at the nodes."""
        self._cars()
        noise = self.random.normal(0.0, 1.0, (self.m, 3)) * self.setting.load_noise_a
        loads = self._up(np.where(self.load_a != 0.0, self.load_a + noise, 0.0))
        amps = self.below(self.wired * self.drawn[:, None]) + loads
        volts = self.volts_v - self.setting.source_ohm * amps[0]
        node_v = np.full((self.m, 3), self.setting.volts_v) - self.setting.source_ohm * amps[0]
        for i, m in enumerate(self.plan.charger_node):
            node_v[m] = volts[i]
        watts = (amps * node_v).sum(axis=1)
        self._sense(volts, amps, node_v, watts)
        if self.controlled:
            decide(self.inp, self.plan, self.state, self.out)
        self._send()
        self.t_s += self.setting.dt_s
        self.scan += 1
        return amps, watts

    def _cars(self) -> None:
        """Let each charger offer its set-point or fail-safe, and each car follow in its own time."""
        lost = self.silent_s > self.plan.failsafe_s
        offered = np.where(lost, np.minimum(self.plan.failsafe_a, self.setpoint), self.setpoint)
        offered = np.where(np.isnan(self.master), offered, self.master)
        k = self.scan
        self.limits[k] = offered if self.controlled else self.setpoint
        for i in range(self.n):
            most = self.limits[max(k - int(self.fall[i]), 0) : k + 1, i].max()
            risen = self.limits[max(k - int(self.rise[i]), 0), i]
            drawn = min(max(self.drawn[i], risen), most, self.car["max_a"][i])
            self.drawn[i] = drawn if drawn >= self.car["floor_a"][i] - 1e-9 and self.plugged[i] else 0.0

    def _sense(self, volts: np.ndarray, amps: np.ndarray, node_v: np.ndarray, watts: np.ndarray) -> None:
        """Write what links and meters tell into INPUT, each at its own time; then what the case forces."""
        inp, setting = self.inp, self.setting
        now_ns = FIRST_NS + round((self.t_s + self.clock_step_s) * NS)
        utc_s = setting.start_utc_s + self.t_s
        inp.now_ns[0], inp.scan[0] = now_ns, self.scan
        inp.utc_ns[0] = round(utc_s * NS)
        offset = datetime.fromtimestamp(utc_s, self.zone).utcoffset()
        inp.utc_offset_s[0] = offset.total_seconds() if offset is not None else 0.0
        inp.utc_change_ns[0], inp.utc_offset_next_s[0] = self.local.next_change(round(utc_s) * NS)
        inp.random_u[:] = self.random.random(self.n)
        every = max(round(setting.read_s / setting.dt_s), 1)
        read = self.link & ((self.scan + np.arange(self.n)) % every == 0) | (self.link & (self.scan == 0))
        flows = self.legs * self.drawn[:, None]
        noise = self.random.normal(0.0, 1.0, self.n) * self.car["noise_a"]
        inp.charger_a[read] = np.where(self.used, flows + noise[:, None] * (flows > 0), np.nan)[read]
        inp.charger_v[read] = np.where(self.used, volts[self.rows, self.terminal], np.nan)[read]
        inp.charger_w[read] = np.nansum(inp.charger_a * inp.charger_v, axis=1)[read]
        charging = np.where(self.drawn > 0, Cp.C, Cp.B)
        inp.charger_state[read] = np.where(self.plugged, charging, Cp.A)[read]
        inp.charger_phases[read] = self.in_use[read]
        inp.charger_limit_a[read] = self.limits[self.scan, read]
        inp.charger_quality[read] = Quality.GOOD
        inp.charger_change_ns[read] = now_ns
        inp.charger_link[:] = self.link
        inp.session_no[read] = self.session[read]
        if self.scan % max(round(setting.publish_s / setting.dt_s), 1) == 0:
            live = self.meters
            inp.node_a[live], inp.node_v[live], inp.node_w[live] = amps[live], node_v[live], watts[live]
            for kind in ("a", "v"):
                getattr(inp, f"node_{kind}_quality")[live] = Quality.GOOD
                getattr(inp, f"node_{kind}_change_ns")[live] = now_ns
                getattr(inp, f"node_{kind}_stamp_utc_ns")[live] = inp.utc_ns[0]
        if self.beating:
            inp.order_beat_ns[:] = now_ns
        for name, rows in self.forced.items():
            self._force(name, rows)

    def _force(self, name: str, rows: dict[str, Any]) -> None:
        """Overwrite a field of INPUT for some chargers or nodes; a stamp takes seconds relative to UTC now."""
        array = getattr(self.inp, name)
        of_node = name.startswith(("node", "order"))
        for who, value in rows.items():
            number = NAMED.get(value, value)
            if name.endswith("_stamp_utc_ns"):
                number = self.inp.utc_ns[0] + round(float(number) * NS)
            array[(self.case.nodes if of_node else self.case.chargers).index(who)] = number

    def _send(self) -> None:
        """Let the chargers that can be reached hear the decision."""
        if self.controlled:
            self.setpoint = np.where(self.link, self.out.allowed_a, self.setpoint)
            asked = np.where(self.link, self.out.number_phases, 0)
            differ = (asked > 0) & (asked != self.in_use)
            self.asked_s = np.where(differ, self.asked_s + self.setting.dt_s, 0.0)
            for i in np.flatnonzero(self.asked_s > SWITCH_S):
                if self.drawn[i] > 0.0:
                    raise ValueError(f"{self.case.name}: {self.case.chargers[i]} switches its phases under load")
                self.in_use[i] = asked[i]
                self.wire()
        self.silent_s = np.where(self.link, 0.0, self.silent_s + self.setting.dt_s)

    def happen(self, event: dict[str, Any]) -> None:
        """Let one event of the case happen; a ValueError lists the kinds there are."""
        for kind, value in event.items():
            if kind == "t_s":
                continue
            if kind not in EVENTS:
                raise ValueError(f"{self.case.name}: event {kind!r}; known: {', '.join(EVENTS)}")
            EVENTS[kind](self, value)

    def who(self, names: list[str]) -> list[int]:
        """Return the indices of the named chargers; ["*"] are all."""
        return list(range(self.n)) if names == ["*"] else [self.case.chargers.index(name) for name in names]

    def plug(self, names: list[str], plugged: bool = True) -> None:
        """Plug cars in or out."""
        chosen = self.who(names)
        self.plugged[chosen] = plugged
        self.session[chosen] += plugged

    def connect(self, names: list[str], up: bool = True) -> None:
        """Cut or mend links."""
        self.link[self.who(names)] = up

    def measure(self, names: list[str], live: bool = True) -> None:
        """Freeze the meters of nodes, value and stamp, or let them live again."""
        self.meters[[self.case.nodes.index(name) for name in names]] = live

    def order(self, order: dict[str, Any]) -> None:
        """Give a DSO order: node, limit_w, and from_s and to_s in seconds of the case."""
        m, begin_s = self.case.nodes.index(order["node"]), self.setting.start_utc_s
        self.inp.order_w[m] = NAMED.get(order["limit_w"], order["limit_w"])
        self.inp.order_from_s[m] = begin_s + order["from_s"] if "from_s" in order else np.nan
        self.inp.order_to_s[m] = begin_s + order["to_s"] if "to_s" in order else np.nan

    def beat(self, beating: bool) -> None:
        """Let the heartbeat of the orders stop or come back."""
        self.beating = beating

    def give(self, values: dict[str, Any], of: str) -> None:
        """Set a wish, override or need of chargers, by name."""
        for name, value in values.items():
            getattr(self.inp, of)[self.who([name])] = NAMED.get(value, value)

    def cap_cars(self, values: dict[str, float]) -> None:
        """Let cars take no more than so many amps."""
        for name, amps in values.items():
            self.car["max_a"][self.who([name])] = amps

    def overwrite(self, values: dict[str, float]) -> None:
        """Let another master set chargers to so many amps, again and again; nan ends it."""
        for name, amps in values.items():
            self.master[self.who([name])] = amps

    def load(self, values: dict[str, Any]) -> None:
        """Set the uncontrolled load of nodes, A per phase."""
        for name, amps in values.items():
            self.load_a[self.case.nodes.index(name)] = amps

    def volts(self, values: dict[str, float]) -> None:
        """Set the volts without load at chargers ("*" all)."""
        for name, volts in values.items():
            self.volts_v[self.who([name])] = volts

    def step_clock(self, seconds: float) -> None:
        """Let the monotonic clock step, which it must not."""
        self.clock_step_s += seconds


def _until(end_s: str) -> Callable[[CaseWorld, dict[str, float]], None]:
    def give(world: CaseWorld, values: dict[str, float]) -> None:
        world.give({name: world.setting.start_utc_s + at_s for name, at_s in values.items()}, end_s)

    return give


EVENTS: dict[str, Callable[[CaseWorld, Any], None]] = {
    "plug": CaseWorld.plug,
    "unplug": lambda world, names: world.plug(names, False),
    "cut": lambda world, names: world.connect(names, False),
    "mend": CaseWorld.connect,
    "freeze": lambda world, names: world.measure(names, False),
    "thaw": CaseWorld.measure,
    "order": CaseWorld.order,
    "order_quality": lambda world, name: world.inp.order_quality.fill(Quality[name]),
    "heartbeat": CaseWorld.beat,
    "restart": lambda world, _: world.start_law(),
    "wish_a": lambda world, values: world.give(values, "wish_a"),
    "override_a": lambda world, values: world.give(values, "override_a"),
    "override_until_s": _until("override_until_s"),
    "need_wh": lambda world, values: world.give(values, "need_wh"),
    "departure_s": _until("departure_s"),
    "car_max_a": CaseWorld.cap_cars,
    "master_a": CaseWorld.overwrite,
    "load_a": CaseWorld.load,
    "volts_v": CaseWorld.volts,
    "clock_step_s": CaseWorld.step_clock,
    "force": lambda world, fields: world.forced.update(fields),
    "release": lambda world, names: [world.forced.pop(name) for name in names],
}


def play(case: Case, controlled: bool = True) -> Record:
    """Play a case to its end; uncontrolled, every charger offers its ceiling."""
    world = CaseWorld(case, controlled)
    events = list(case.events)
    rows: list[tuple[Any, ...]] = []
    while world.t_s < case.setting.for_s - 1e-9:
        while events and events[0]["t_s"] <= world.t_s + 1e-9:
            world.happen(events.pop(0))
        t_s = world.t_s
        amps, watts = world.step()
        out = world.out
        allowed = out.allowed_a.copy() if controlled else world.setpoint.copy()
        rows.append((t_s, allowed, world.drawn.copy(), out.reason.copy(), int(out.alarm[0]), amps, watts))
    if events:
        raise ValueError(f"{case.name}: event at {events[0]['t_s']} s is after the end, {case.setting.for_s} s")
    return Record(*(np.array(column) for column in zip(*rows, strict=True)))
