"""Solve the feeder at its customer nodes: V = V0 - Z I(V), by fixed point, and by Newton where that does not settle.

A node is a (customer, phase) pair. Z and V0 hold everything between the source and the nodes (`hil.rig.network` makes
them), so that a step costs one small matrix-vector product an iteration. Amps flow from the feeder into the customer.

Loads: a household takes constant power down to 0.8 of 230 V and is a constant impedance below; a car takes constant
amps at unity power factor, in phase with its own voltage (a charger is current limited), down to 0.1 of 230 V. So a
collapse has a defined outcome instead of none. Tripping under 0.85 of 230 V is the car's business.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from hil.plant.kernel import kernel

U_NOM_V = 230.0
KNEE_V = 0.8 * U_NOM_V  # below it constant power turns into constant impedance
DEAD_V = 0.1 * U_NOM_V  # below it constant amps turn into constant impedance: no direction at 0 V
TOLERANCE_V = 1e-6
FIXED_POINT_LIMIT = 30
NEWTON_LIMIT = 40
NEWTON_STARTS = (1.0, 0.5, 0.05)  # of the volts without load; the low ones find a collapse
STEP_MIN = 1e-4


class Solution(NamedTuple):
    """Hold the node volts (C,) complex, whether they solve the network, and the iterations it took."""

    v_v: np.ndarray
    converged: bool
    iterations: int


@kernel
def currents(load_va: Any, ev_a: Any, v_v: Any, current_a: Any) -> None:
    """Write the amps at the volts `v_v` into `current_a`; `load_va` holds the conjugate of the power."""
    for i in range(len(v_v)):
        v = v_v[i]
        mag_v = math.sqrt(v.real * v.real + v.imag * v.imag)
        knee_v = max(mag_v, KNEE_V)
        dead_v = max(mag_v, DEAD_V)
        factor = load_va[i] / (knee_v * knee_v) + ev_a[i] / dead_v  # conj(S) V / |V|^2 = conj(S / V)
        current_a[i] = factor * v


@kernel
def iterate(z_ohm: Any, v0_v: Any, load_va: Any, ev_a: Any, v_v: Any, current_a: Any, new_v: Any) -> int:
    """Iterate V <- V0 - Z I(V) in place until no node moves by more than the tolerance; return the iterations.

    The number is negative where it gave up: because the steps do not shrink, or because the limit is reached.
    """
    before = math.inf
    for k in range(1, FIXED_POINT_LIMIT + 1):
        currents(load_va, ev_a, v_v, current_a)
        np.dot(z_ohm, current_a, new_v)
        moved = 0.0
        for i in range(len(v_v)):
            new_v[i] = v0_v[i] - new_v[i]
            step = new_v[i] - v_v[i]
            square = step.real * step.real + step.imag * step.imag
            if square > moved or square != square:  # a NaN stays
                moved = square
            v_v[i] = new_v[i]
        moved = math.sqrt(moved)
        if moved < TOLERANCE_V:
            return k
        if not moved < 2.0 * before:  # diverges, or NaN
            return -k
        before = moved
    return -FIXED_POINT_LIMIT


class FeederSolver:
    """Solve node volts for household power and car amps, starting from the last volts.

    z_ohm (C, C) complex, v0_v (C,) complex volts without load, phase (C,) grid phase 0, 1, 2 of each node.
    After `solve`: v_v (C,) volts and current_a (C,) amps of household and car together, both complex, reused.
    ValueError where shapes or values do not fit.
    """

    __slots__ = (
        "_of_phase",
        "_residual",
        "current_a",
        "ev_a",
        "load_va",
        "thevenin_ohm",
        "v0_v",
        "v_v",
        "z_ohm",
    )

    def __init__(self, z_ohm: np.ndarray, v0_v: np.ndarray, phase: np.ndarray) -> None:
        n = len(v0_v)
        if z_ohm.shape != (n, n) or phase.shape != (n,):
            raise ValueError(f"z_ohm {z_ohm.shape} and phase {phase.shape} do not fit {n} nodes")
        if not (np.isfinite(z_ohm).all() and np.isfinite(v0_v).all() and (np.abs(v0_v) > KNEE_V).all()):
            raise ValueError(f"z_ohm must be finite and v0_v finite and over {KNEE_V:g} V")
        if not np.isin(phase, (0, 1, 2)).all():
            raise ValueError(f"phase {np.unique(phase).tolist()}: allowed 0, 1, 2")
        self.z_ohm = np.ascontiguousarray(z_ohm, dtype=complex)
        self.v0_v = np.array(v0_v, dtype=complex)
        self.thevenin_ohm = np.abs(np.diagonal(z_ohm))
        self.v_v = self.v0_v.copy()
        self.current_a = np.zeros(n, dtype=complex)
        self.load_va = np.zeros(n, dtype=complex)
        self.ev_a = np.zeros(n)
        self._of_phase = np.zeros((3, n))
        self._of_phase[phase, np.arange(n)] = 1.0
        self._residual = np.empty(n, dtype=complex)

    def solve(self, load_va: np.ndarray, ev_a: np.ndarray, out: np.ndarray | None = None) -> Solution:
        """Return the volts for household power `load_va` (C,) complex VA and car amps `ev_a` (C,).

        The volts are written into `out`, or stay in a buffer that the next call overwrites. Where nothing converges
        (loads that are not finite) volts and amps are NaN; the next call starts from no load.
        """
        np.conjugate(load_va, out=self.load_va)
        self.ev_a[:] = ev_a
        converged, iterations = False, 0
        if np.isfinite(self.v_v[0]):
            converged, iterations = self._fixed_point()
        for share in NEWTON_STARTS:
            if converged:
                break
            np.multiply(self.v0_v, share, out=self.v_v)
            converged, more = self._newton()
            iterations += more
        if not converged:
            self.v_v[:] = np.nan
            self.current_a[:] = np.nan
        if out is not None:
            out[:] = self.v_v
        return Solution(self.v_v if out is None else out, converged, iterations)

    def head_a(self) -> np.ndarray:
        """Return the complex amps (3,) through the head of the feeder: the customers' sum per grid phase."""
        amps: np.ndarray = self._of_phase @ self.current_a
        return amps

    def power_va(self) -> np.ndarray:
        """Return the complex power (3,) VA that the customers take, per grid phase (line losses not included)."""
        power: np.ndarray = self._of_phase @ (self.v_v * self.current_a.conj())
        return power

    def sensitivity_v_per_a(self, i_op: int | None = None) -> np.ndarray:
        """Return d|V_i| / dI_j in V/A (C, C) for car amps at the operating point of the last `solve`; own ones < 0.

        With `i_op` only the column of that node, (C,). Exact to first order: the loads' reaction to volts is inside.
        """
        n = len(self.v_v)
        a, b = self._slopes()
        unit = self.v_v / np.abs(self.v_v)
        columns = slice(None) if i_op is None else [i_op]
        right = -(self.z_ohm * unit)[:, columns]
        step = np.linalg.solve(self._jacobian(a, b), np.concatenate([right.real, right.imag]))
        dv = step[:n] + 1j * step[n:]
        slope: np.ndarray = (unit.conj()[:, None] * dv).real
        return slope if i_op is None else slope[:, 0]

    def _fixed_point(self) -> tuple[bool, int]:
        """Iterate V <- V0 - Z I(V) from the last volts."""
        k: int = iterate(self.z_ohm, self.v0_v, self.load_va, self.ev_a, self.v_v, self.current_a, self._residual)
        return k > 0, abs(k)

    def _newton(self) -> tuple[bool, int]:
        """Solve V - V0 + Z I(V) = 0 with halved steps where a whole one does not help."""
        n = len(self.v_v)
        error = self._mismatch()
        size = np.abs(error).max()
        for k in range(1, NEWTON_LIMIT + 1):
            if not np.isfinite(size):
                return False, k
            if size < TOLERANCE_V:
                return True, k
            a, b = self._slopes()
            try:
                step = np.linalg.solve(self._jacobian(a, b), np.concatenate([error.real, error.imag]))
            except np.linalg.LinAlgError:
                return False, k
            dv = step[:n] + 1j * step[n:]
            start, share = self.v_v.copy(), 1.0
            while share > STEP_MIN:
                np.subtract(start, share * dv, out=self.v_v)
                error = self._mismatch()
                now = np.abs(error).max()
                if now < size:
                    break
                share /= 2.0
            else:
                return False, k
            size = now
        return False, NEWTON_LIMIT

    def _mismatch(self) -> np.ndarray:
        currents(self.load_va, self.ev_a, self.v_v, self.current_a)
        error: np.ndarray = self.v_v - self.v0_v + self.z_ohm @ self.current_a
        return error

    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return A, B (C,) with dI = A dV + B conj(dV) at the present volts."""
        v, mag = self.v_v, np.abs(self.v_v)
        low = mag < KNEE_V
        a = np.where(low, self.load_va / KNEE_V**2, 0.0)
        b = np.where(low, 0.0, -self.load_va / v.conj() ** 2)
        dead = mag < DEAD_V
        a += np.where(dead, self.ev_a / DEAD_V, 0.5 * self.ev_a / mag)
        b -= np.where(dead, 0.0, 0.5 * self.ev_a * v**2 / mag**3)
        return a, b

    def _jacobian(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the real (2C, 2C) matrix of V + Z I(V) by real and imaginary part."""
        m = np.eye(len(a)) + self.z_ohm * a
        k = self.z_ohm * b
        return np.block([[m.real + k.real, k.imag - m.imag], [m.imag + k.imag, m.real - k.real]])
