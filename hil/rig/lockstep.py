"""Run a rig in virtual time: world and law in lock-step, no sockets, deterministic by seed.

Between the two stand the links (`hil.rig.links`): every charger is read as often as its register map permits and
written no faster than its pacing, so that the law meets the same ages and delays as on real sockets.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from controller.law import image
from controller.law.decide import decide
from controller.runtime.ledger import LedgerWriter
from hil.rig.assembler import Assembly
from hil.rig.links import Links
from hil.rig.world import World


class Recorder(Protocol):
    """Take what a scan saw and decided."""

    def record(self, t_s: float, world: World, inp: Any, out: Any) -> None:
        """Keep one sample; `inp` and `out` are None in an uncontrolled run."""


class Lockstep:
    """Hold one run in virtual time, controlled or not."""

    def __init__(self, assembly: Assembly, t_s: float, *, controlled: bool = True) -> None:
        self.assembly = assembly
        self.controlled = controlled
        self.world = World(assembly, t_s)
        self.links = Links(self.world, assembly, t_s)
        self.t_s = t_s
        self.scan = 0
        self.plan = assembly.plan()
        self.state_bytes, self.state = image.allocate("state", assembly.dims)
        self.out_bytes, self.out = image.allocate("output", assembly.dims)
        self.random = np.random.default_rng(assembly.rig.rig.seed)
        self.ledger: LedgerWriter | None = None
        self.fill: Callable[[Any, float], None] | None = None  # writes calls into INPUT at a UTC epoch time, s
        if not controlled:
            self._release()

    def _release(self) -> None:
        """Let every charger give its full current for ever: the street without us."""
        for i, view in enumerate(self.links.chargers.views):
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
                inp = self.links.latch(self.t_s, self.scan, self.random)
                if self.fill is not None:
                    self.fill(inp, self.assembly.start_utc_s + self.t_s)
                if self.ledger is not None and self.ledger.due:
                    self.ledger.state(self.scan, self.state_bytes)
                decide(inp, self.plan, self.state, self.out)
                self.links.write(self.t_s, self.out)
                if self.ledger is not None:
                    self.ledger.scan(self.scan, self.links.inp_bytes, self.out_bytes)
            if recorder is not None:
                recorder.record(self.t_s, self.world, self.links.inp, self.out if self.controlled else None)
