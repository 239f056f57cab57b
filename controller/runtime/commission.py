"""Step one charger at a time, the others held where they stood, and record what its meter and the nodes' say.

Nothing is raised above what every node on its way carries now; a node over its limit, a meter or a link that is lost,
volts under the brake's or a signal end it, and every charger is told what stood before. Only then is it left to its
own fail-safe, which was programmed as the site file says before the first step.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from controller.law.names import Quality
from controller.runtime.commission_measure import Finding, Level, Samples, measure
from instruments.charger_port import ChargerPort

NS = 1_000_000_000
TICK_S = 0.1
CALM_A = 0.3  # amps that move less than this over the quiet time have arrived
CALM_S = 3.0
MARGIN = 0.9  # share of the room at a node that a step may use
HIGH_V = 253.0  # EN 50160: 230 V + 10 %, for watts from amps
LOST_S = 5.0  # a node's meter may be older than its max_age by this before the step is ended
RESTORE_S = 20.0
FIRST_S = 30.0
STEP_LEAST_A = 2.0


class CommissionStopped(Exception):
    """Report why the stepping was ended before its time; every charger has been told what stood before."""


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Say how one charger is to be stepped: low and high order, A; `why` tells why not at all."""

    charger: int
    low_a: float = math.nan
    high_a: float = math.nan
    why: str = ""


class Commission:
    """Own the orders of all chargers while one of them is stepped.

    Parameters
    ----------
    plan: views on the PLAN image of the site
    ports: charger clients in the plan's order; they must be polled meanwhile, with `want_a(i)` as their order
    nodes: newest node fields of INPUT (a substation's reading); None where nothing measures the nodes
    measured: (N,) index of the node whose meter sees each charger, -1 none
    node_names: in the plan's order, for those who read why
    clock_ns, sleep: monotonic clock and how to wait
    step_a, cycles: A over a charger's floor; how often it goes up and down
    """

    def __init__(
        self,
        plan: Any,
        ports: list[ChargerPort],
        nodes: Any | None,
        measured: list[int],
        node_names: list[str],
        *,
        clock_ns: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        step_a: float = 8.0,
        cycles: int = 2,
    ) -> None:
        self._plan, self._ports, self._nodes, self._measured = plan, ports, nodes, measured
        self._node_names = node_names
        self._clock_ns, self._sleep = clock_ns, sleep
        self._step_a, self._cycles = step_a, cycles
        self._want_a = [math.nan] * len(ports)
        self.stood_a = [math.nan] * len(ports)
        self.stop_asked = False

    def want_a(self, i: int) -> float:
        """Return what charger `i` is to be told now, A; NaN nothing yet."""
        return self._want_a[i]

    async def hold(self) -> None:
        """Wait for a reading of every charger, and hold each at what stands; a limit not told counts as its fail-safe.

        CommissionStopped where one does not read well in time, or a node is over its limit already.
        """
        until_ns = self._clock_ns() + round(FIRST_S * NS)
        while any(port.reading.quality != Quality.GOOD for port in self._ports) or self._blind():
            if self._clock_ns() > until_ns:
                late = [port.name for port in self._ports if port.reading.quality != Quality.GOOD] or ["a node's meter"]
                raise CommissionStopped(f"no good reading of {', '.join(late)} in {FIRST_S:g} s")
            await self._tick()
        for i, port in enumerate(self._ports):
            stands_a = float(port.reading.limit_a)
            self.stood_a[i] = self._orderable(
                i, stands_a if math.isfinite(stands_a) else float(self._plan.failsafe_a[i])
            )
            self._want_a[i] = self.stood_a[i]
        self._watch()

    def plan_step(self, i: int) -> StepPlan:
        """Return low and high order of one charger, within the room that every node on its way has now."""
        plan = self._plan
        floor_a, top_a = float(plan.floor_a[i]), float(plan.hard_max_a[i])
        for w in range(len(plan.window_charger)):
            if plan.window_charger[w] == i:
                top_a = min(top_a, float(plan.window_a[w]))  # at any time of the day: a step is no reason to break one
        drawn_a = max(float(np.nan_to_num(self._ports[i].reading.amp_a).max()), 0.0)
        room_a, where = self._room_a(i, drawn_a)
        high_a = self._orderable(i, min(top_a, floor_a + self._step_a, drawn_a + MARGIN * room_a))
        if high_a < floor_a + STEP_LEAST_A:
            text = f"no room: {where} leaves {room_a:.1f} A" if drawn_a + MARGIN * room_a < top_a else "its limits"
            return StepPlan(i, why=f"{text}; a step needs {floor_a + STEP_LEAST_A:g} A")
        return StepPlan(i, self._orderable(i, floor_a), high_a)

    async def run(self, i: int) -> Finding:
        """Step one charger up and down and return what it shows; it is back at what stood before, whatever happens."""
        step = self.plan_step(i)
        name = self._ports[i].name
        if step.why:
            return Finding(name, why=step.why)
        samples, levels = Samples(), []
        try:
            for order_a in [step.low_a, *[step.high_a, step.low_a] * self._cycles]:
                levels.append(await self._level(i, order_a, samples))
                if len(levels) == 2 and np.nan_to_num(self._ports[i].reading.amp_a).max() < 1.0:
                    break  # no car draws: the rest would show nothing either
        finally:
            self._want_a[i] = self.stood_a[i]
        return measure(name, samples, levels)

    async def restore(self) -> list[str]:
        """Tell every charger what stood before and return the names of those that did not take it in time."""
        self._want_a = list(self.stood_a)
        until_ns = self._clock_ns() + round(RESTORE_S * NS)
        while self._clock_ns() < until_ns and self._unrestored():
            await self._sleep(TICK_S)
        return self._unrestored()

    def _unrestored(self) -> list[str]:
        pairs = zip(self._ports, self.stood_a, strict=True)
        return [p.name for p, a in pairs if math.isfinite(a) and not abs(p.reading.sent_a - a) < 0.01]

    async def _level(self, i: int, order_a: float, samples: Samples) -> Level:
        """Order one level and record until the amps stand still, or the time that this may take is over."""
        since_ns = self._clock_ns()
        self._want_a[i] = order_a
        calm_ns = round(max(CALM_S, float(self._plan.max_age_s[i])) * NS)
        patience_s = 2.5 * float(self._plan.obey_s[i]) + float(self._plan.max_age_s[i]) + CALM_S
        first = len(samples.now_ns)
        while True:
            await self._tick()
            self._record(i, order_a, samples)
            now_ns = samples.now_ns[-1]
            if now_ns - since_ns > patience_s * NS:
                return Level(order_a, since_ns, now_ns - calm_ns, now_ns)
            recent = [k for k in range(first, len(samples.now_ns)) if samples.now_ns[k] >= now_ns - calm_ns]
            if now_ns - since_ns < 2 * calm_ns or samples.read_ns[recent[0]] <= since_ns:
                continue
            amps = np.nan_to_num(np.array([samples.amp_a[k] for k in recent])).max(axis=1)
            arrived = amps[-1] > order_a - max(1.0, 0.1 * order_a) and amps[-1] <= order_a + 0.5
            if arrived and float(np.ptp(amps)) <= CALM_A:
                return Level(order_a, since_ns, now_ns - calm_ns, now_ns)

    def _record(self, i: int, order_a: float, samples: Samples) -> None:
        reading, m = self._ports[i].reading, self._measured[i]
        unknown = np.full(3, np.nan)
        measured = self._nodes is not None and m >= 0
        samples.now_ns.append(self._clock_ns())
        samples.order_a.append(order_a)
        samples.limit_a.append(float(reading.limit_a))
        samples.amp_a.append(np.array(reading.amp_a, dtype=float))
        samples.volt_v.append(np.array(reading.volt_v, dtype=float))
        samples.read_ns.append(int(reading.change_ns))
        samples.node_a.append(np.array(self._nodes.node_a[m]) if measured and self._nodes is not None else unknown)
        samples.node_v.append(np.array(self._nodes.node_v[m]) if measured and self._nodes is not None else unknown)
        samples.node_ns.append(int(self._nodes.node_a_change_ns[m]) if measured and self._nodes is not None else 0)

    async def _tick(self) -> None:
        """Wait a moment and look whether all is well; CommissionStopped where it is not."""
        await self._sleep(TICK_S)
        if self.stop_asked:
            raise CommissionStopped("interrupted")
        if math.isfinite(self.stood_a[-1]):
            self._watch()

    def _blind(self) -> bool:
        """Say whether a metered node has no good reading."""
        if self._nodes is None:
            return False
        rows = self._plan.node_metered.astype(bool)
        return bool((self._nodes.node_a_quality[rows] != Quality.GOOD).any())

    def _watch(self) -> None:
        """Raise CommissionStopped for a link or meter that was lost, a node over its limit, volts too low."""
        plan, nodes, names, now_ns = self._plan, self._nodes, self._node_names, self._clock_ns()
        for port in self._ports:
            if not port.reading.link:
                raise CommissionStopped(f"{port.name}: its link is lost ({port.reading.fault or 'closed'})")
        if nodes is None:
            return
        for m in np.flatnonzero(plan.node_metered).tolist():
            age_s = (now_ns - int(nodes.node_a_change_ns[m])) / NS
            lost = nodes.node_a_quality[m] == Quality.BAD or not np.isfinite(nodes.node_a[m]).any()
            if lost or age_s > float(plan.node_max_age_s[m]) + LOST_S:
                raise CommissionStopped(f"{names[m]}: its meter is lost (age {age_s:.1f} s)")
            load_w, cap_w = self._load_w(m), self._cap_w(m)
            if load_w > cap_w:
                raise CommissionStopped(f"{names[m]}: {load_w:.0f} W, its limit or order is {cap_w:.0f} W")
            over_a = np.abs(nodes.node_a[m]) - plan.node_limit_a[m]
            if float(np.nanmax(over_a)) > 0.0:
                raise CommissionStopped(f"{names[m]}: a phase is {float(np.nanmax(over_a)):.1f} A over its limit")
            volts = nodes.node_v[m]
            low_v = float(plan.brake_pu[0]) * 230.0
            if np.isfinite(volts).any() and float(np.nanmin(volts)) < low_v:
                raise CommissionStopped(
                    f"{names[m]}: {float(np.nanmin(volts)):.1f} V, the brake acts under {low_v:.1f} V"
                )

    def _room_a(self, i: int, drawn_a: float) -> tuple[float, str]:
        """Return by how many A per phase the charger may rise, and the node that says so."""
        plan, nodes = self._plan, self._nodes
        room_a, where, m = math.inf, "no node", int(plan.charger_node[i])
        while m >= 0:
            limit_a, cap_w = plan.node_limit_a[m], self._cap_w(m)
            if nodes is not None and plan.node_metered[m]:
                amps = np.abs(nodes.node_a[m])
                known = np.isfinite(amps).any()  # a meter that tells nothing leaves nothing
                here_a = float(np.nanmin(limit_a - amps)) if known else 0.0
                here_a = min(here_a, (cap_w - self._load_w(m)) / (3 * HIGH_V))
            else:  # nobody measures: what is not ours is taken at its design load, the others at what holds them
                others_a = sum(self.stood_a[k] for k in range(len(self._ports)) if k != i and self._below(k, m))
                load_a = float(np.max(plan.node_design_a[m])) + others_a + drawn_a
                here_a = min(float(limit_a.min()) - load_a, cap_w / (3 * HIGH_V) - load_a)
            if here_a < room_a:
                room_a, where = here_a, self._node_names[m]
            m = int(plan.parent[m])
        return room_a, where

    def _load_w(self, m: int) -> float:
        """Return the watts of a metered node; where it tells none, those of its amps at high volts."""
        nodes = self._nodes
        if nodes is None:
            return math.nan
        load_w = float(nodes.node_w[m])
        return load_w if math.isfinite(load_w) else float(np.nansum(np.abs(nodes.node_a[m]))) * HIGH_V

    def _cap_w(self, m: int) -> float:
        """Return the watts that a node may take: its own limit, an order that is not over, the fail-safe without."""
        plan, nodes = self._plan, self._nodes
        cap_w = float(plan.node_limit_w[m])
        if nodes is None:
            return min(cap_w, float(plan.node_failsafe_w[m]))
        if nodes.order_quality[m] == Quality.BAD:
            cap_w = min(cap_w, float(plan.node_failsafe_w[m]))
        order_w = float(nodes.order_w[m])
        return cap_w if math.isnan(order_w) else min(cap_w, order_w)

    def _below(self, k: int, m: int) -> bool:
        at = int(self._plan.charger_node[k])
        while at >= 0 and at != m:
            at = int(self._plan.parent[at])
        return at == m

    def _orderable(self, i: int, amps: float) -> float:
        """Return the largest order that charger `i` takes and that is not above `amps`: 0, or whole steps."""
        step_a, floor_a = float(self._plan.step_a[i]), float(self._plan.floor_a[i])
        amps = min(amps, float(self._plan.hard_max_a[i]))
        whole_a = math.floor(amps / step_a + 1e-6) * step_a
        return whole_a if whole_a >= floor_a - 1e-9 else 0.0
