"""Reckon what contracts hold back from their chargers, from the scan's own images.

It is an estimate and an upper bound: what a charger with a car was allowed before the contract, less what it is
allowed with it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from controller.law import image
from controller.law.names import Cp, Reason, Step
from controller.runtime import stores
from controller.runtime.site import Site

COUNT_S = 1.0  # between two looks
MOST_S = 5.0  # a gap longer than this is nobody's curtailment
ACCOUNT_S = 300.0  # between two entries of an account in the journal
CALLED = (
    Reason.WINDOW, Reason.ORDER, Reason.ADMIT, Reason.FLOOR, Reason.HEADROOM, Reason.RESERVED, Reason.QUANTISE,
    Reason.RAMP, Reason.DWELL,
)  # fmt: skip
DIMMED = (*CALLED, Reason.GROUP)


def held_back_w(chargers: Sequence[int], inp: Any, out: Any, reasons: Sequence[Reason] = CALLED) -> float:
    """Return the watts held back from some chargers for these reasons in one scan, by its INPUT and OUTPUT."""
    of = np.array(chargers, dtype=int)
    held = np.isin(out.reason[of], reasons) & (inp.charger_state[of] >= Cp.B)
    amps = np.maximum(out.chain[of, Step.VOLTAGE] - out.allowed_a[of], 0.0)
    volts = np.nansum(inp.charger_v[of], axis=1)
    return float((amps * volts * held).sum())


class View:
    """Look at the newest inputs and outputs of the scan."""

    __slots__ = ("_in_bytes", "_latched", "_out_bytes", "_output", "inp", "out")

    def __init__(self, site: Site) -> None:
        dims = site.image_dims()
        self._in_bytes, self.inp = image.allocate("input", dims)
        self._out_bytes, self.out = image.allocate("output", dims)
        self._latched, self._output = stores.attach(site, "latched.img"), stores.attach(site, "output.img")

    @property
    def scanned(self) -> bool:
        """Say whether the scan has ever published."""
        return self._output.sequence > 0 and self._latched.sequence > 0

    def fresh(self) -> "View":
        """Copy what is newest."""
        if self.scanned:
            self._latched.read(self._in_bytes)
            self._output.read(self._out_bytes)
        return self
