"""Give the households' power at any time of the week: linear between the samples, the week repeats."""

from typing import Protocol

import numpy as np


class Week(Protocol):
    """Describe what a series is made from: samples every step_s from Monday 00:00, p_w and q_var (T, C)."""

    @property
    def step_s(self) -> int: ...

    @property
    def p_w(self) -> np.ndarray: ...

    @property
    def q_var(self) -> np.ndarray: ...


class HouseholdSeries:
    """Interpolate the customers' complex power. ValueError where samples are missing or not finite."""

    __slots__ = ("_index", "_out", "_slope", "_start", "_step_s", "_va", "period_s")

    def __init__(self, week: Week) -> None:
        va = week.p_w + 1j * week.q_var
        if va.ndim != 2 or len(va) < 1 or not np.isfinite(va).all() or not week.step_s > 0:
            raise ValueError(f"p_w and q_var {va.shape} must be finite (T, C) and step_s = {week.step_s} s over 0")
        self._va = va
        self._step_s = float(week.step_s)
        self.period_s = self._step_s * len(va)
        self._index = -1
        self._start = va[0].copy()
        self._slope = np.zeros(va.shape[1], dtype=complex)
        self._out = np.zeros(va.shape[1], dtype=complex)

    def at(self, t_s: float) -> np.ndarray:
        """Return the power (C,) complex VA at `t_s` seconds after Monday 00:00; the next call overwrites it."""
        k, rest_s = divmod(t_s % self.period_s, self._step_s)
        index = int(k) % len(self._va)
        if index != self._index:
            self._index = index
            self._start = self._va[index]
            self._slope = (self._va[(index + 1) % len(self._va)] - self._start) / self._step_s
        np.multiply(self._slope, rest_s, out=self._out)
        self._out += self._start
        return self._out
