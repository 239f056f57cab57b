"""Collect a trace sample by sample: the plant's truth beside what the controller decided."""

from typing import Any

import numpy as np

from hil.rig.assembler import Assembly
from hil.rig.truth import fill, truth_dtype
from hil.rig.world import World
from hil.runs.trace import COLUMNS, Trace, blank

COPIED = ("customer_v", "drawn_a", "volt_v", "pwm_a", "state", "failsafe_active", "head_a", "head_w", "order_w")


class TraceRecorder:
    """Fill a trace of at most `capacity` samples; `trace` cuts it to what was recorded."""

    def __init__(self, assembly: Assembly, name: str, capacity: int) -> None:
        self.assembly = assembly
        self.count = 0
        self._truth = np.zeros((), dtype=truth_dtype(len(assembly.evse), len(assembly.customer_names)))
        self._whole = blank(
            name, np.arange(capacity, dtype=float), assembly.charger_names, assembly.customer_names, assembly.nodes
        )
        self._energy_wh = np.zeros(len(assembly.evse))
        self._session_wh = np.zeros(len(assembly.evse))
        self._need_wh = np.zeros(len(assembly.evse))

    def record(self, t_s: float, world: World, inp: Any, out: Any) -> None:
        """Keep one sample of a run in virtual time."""
        fill(self._truth, t_s, world)
        self.add(self._truth, inp if out is not None else None, out)

    def add(self, truth: np.ndarray, inp: Any, out: Any) -> None:
        """Keep one sample: a truth record, and the INPUT and OUTPUT images of the scan (None without control)."""
        k = self.count
        whole = self._whole
        if k >= len(whole.t_s) or (k and truth["t_s"] <= whole.t_s[k - 1]):
            return
        whole.t_s[k] = truth["t_s"]
        whole.utc_s[k] = self.assembly.start_utc_s + truth["t_s"]
        for name in COPIED:
            getattr(whole, name)[k] = truth[name]
        whole.link[k] = ~truth["link_cut"]
        if out is not None:
            whole.allowed_a[k] = out.allowed_a
            whole.reason[k] = out.reason
            whole.node_a_trust[k] = out.node_trust
            whole.link[k] &= inp.charger_link.astype(bool)
        wh = truth["session_wh"]
        fresh = wh < self._session_wh  # a new session started counting from zero
        self._energy_wh += np.where(fresh, wh, wh - self._session_wh)
        self._session_wh[:] = wh
        self._need_wh[:] = truth["need_wh"]
        self.count = k + 1

    def trace(self) -> Trace:
        """Return the recorded part as a trace."""
        whole, k = self._whole, self.count
        cut = {column.name: getattr(whole, column.name)[:k] for column in COLUMNS}
        rest = {name: getattr(whole, name) for name in whole.__slots__ if name not in cut}
        rest["charger_customer"] = self.assembly.customer_of.astype(np.int32)
        rest["energy_wh"] = self._energy_wh.copy()
        rest["need_wh"] = self._need_wh.copy()
        return Trace(**(rest | cut))
