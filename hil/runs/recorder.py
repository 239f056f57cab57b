"""Collect a trace sample by sample: the plant's truth beside what the controller decided."""

from typing import Any

import numpy as np

from hil.rig.assembler import Assembly
from hil.rig.truth import fill, truth_dtype
from hil.rig.world import World
from hil.runs.trace import COLUMNS, Trace, blank

COPIED = (
    "customer_v",
    "drawn_a",
    "volt_v",
    "drawn_w",
    "pwm_a",
    "state",
    "failsafe_active",
    "head_a",
    "head_w",
    "order_w",
)


class TraceRecorder:
    """Fill a trace of at most `capacity` samples; `trace` cuts it to what was recorded."""

    def __init__(self, assembly: Assembly, name: str, capacity: int) -> None:
        self.assembly = assembly
        self.count = 0
        self._truth = np.zeros((), dtype=truth_dtype(len(assembly.evse), len(assembly.customer_names)))
        self._whole = blank(
            name, np.arange(capacity, dtype=float), assembly.charger_names, assembly.customer_names, assembly.nodes
        )
        self._copied = [(getattr(self._whole, name), self._truth[name]) for name in COPIED]  # views of the record
        self._link_cut, self._truth_wh = self._truth["link_cut"], self._truth["session_wh"]
        self._last_s = -np.inf
        self._energy_wh = np.zeros(len(assembly.evse))
        self._session_wh = np.zeros(len(assembly.evse))
        self._gained_wh = np.zeros(len(assembly.evse))

    def record(self, t_s: float, world: World, inp: Any, out: Any) -> None:
        """Keep one sample of a run in virtual time."""
        fill(self._truth, t_s, world)
        self._keep(inp if out is not None else None, out)

    def add(self, truth: np.ndarray, inp: Any, out: Any) -> None:
        """Keep one sample: a truth record, and the INPUT and OUTPUT images of the scan (None without control)."""
        self._truth[...] = truth
        self._keep(inp, out)

    def _keep(self, inp: Any, out: Any) -> None:
        """Copy the present truth and images; a sample that is no later than the last, or one too many, is dropped."""
        k, whole = self.count, self._whole
        t_s = float(self._truth["t_s"])
        if k >= len(whole.t_s) or (k and t_s <= self._last_s):
            return
        self._last_s = t_s
        whole.t_s[k] = t_s
        whole.utc_s[k] = self.assembly.start_utc_s + t_s
        for column, source in self._copied:
            column[k] = source
        np.logical_not(self._link_cut, out=whole.link[k])
        if out is not None:
            whole.allowed_a[k] = out.allowed_a
            whole.reason[k] = out.reason
            whole.node_a_trust[k] = out.node_trust
            whole.link[k] &= inp.charger_link.view(bool)
        self._count_energy()
        self.count = k + 1

    def _count_energy(self) -> None:
        """Add what the sessions took since the last sample; one that counts less than before is a new one."""
        np.subtract(self._truth_wh, self._session_wh, out=self._gained_wh)
        fresh = self._gained_wh < 0.0
        if fresh.any():
            self._gained_wh[fresh] = self._truth_wh[fresh]
        self._energy_wh += self._gained_wh
        self._session_wh[:] = self._truth_wh

    def trace(self) -> Trace:
        """Return the recorded part as a trace."""
        whole, k = self._whole, self.count
        cut = {column.name: getattr(whole, column.name)[:k] for column in COLUMNS}
        rest = {name: getattr(whole, name) for name in whole.__slots__ if name not in cut}
        rest["charger_customer"] = self.assembly.customer_of.astype(np.int32)
        used = zip(self.assembly.evse, self.assembly.ev, strict=True)
        rest["phases"] = np.array([min(evse.phases, ev.phases) for evse, ev in used], dtype=np.int8)
        rest["energy_wh"] = self._energy_wh.copy()
        rest["need_wh"] = self._truth["need_wh"].copy()
        return Trace(**(rest | cut))
