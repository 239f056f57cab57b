"""Compute the loop gain of a quasi-static power-hardware-in-the-loop interface, and refuse one that cannot settle.

The bench closes the loop by the voltage-type ideal transformer method (V-ITM): the node's volts go to the source, the
amps read back go into the feeder one step later. With a delay of one step and a resistive loop that converges only
while |Zs / Zh| < 1, Zs the feeder's Thevenin impedance at the node, Zh the small-signal impedance of what stands on
the bench (KIT, Energies 18 (2025) 3773; Viehweider, Lauss, Lehfuss, SMPT 19 (2011) 1699).
"""

import math

import numpy as np


def hardware_ohm(i_max_a: float, v_min_v: float, droop_a_per_v: float = 0.0) -> float:
    """Return the smallest small-signal impedance |dV/dI| of the device under test, ohm per phase.

    A charger with a car keeps its power: |dI/dV| = I / V, largest at the largest current and the lowest voltage. A
    droop of the device's own adds its slope, A/V (the worst case: both act at once). +inf where neither draws.
    """
    if not (math.isfinite(i_max_a) and i_max_a >= 0.0 and math.isfinite(v_min_v) and v_min_v > 0.0):
        raise ValueError(f"{i_max_a:g} A at {v_min_v:g} V: allowed 0 or more amps and more than 0 volts, both finite")
    if not (math.isfinite(droop_a_per_v) and droop_a_per_v >= 0.0):
        raise ValueError(f"droop {droop_a_per_v:g} A/V: allowed 0 or more, finite")
    slope_a_per_v = i_max_a / v_min_v + droop_a_per_v
    return 1.0 / slope_a_per_v if slope_a_per_v > 0.0 else math.inf


def loop_gain(z_thevenin_ohm: float, i_max_a: float, v_min_v: float, droop_a_per_v: float = 0.0) -> float:
    """Return |Zs / Zh| of the explicit V-ITM interface; below 1 it converges.

    z_thevenin_ohm: magnitude of the feeder's impedance at the node per phase, conductor and return, ohm
    i_max_a, v_min_v: largest amps and lowest volts per phase that are possible at the device under test
    droop_a_per_v: steepest slope of a voltage droop that acts without delay, A/V
    """
    if not (math.isfinite(z_thevenin_ohm) and z_thevenin_ohm >= 0.0):
        raise ValueError(f"Thevenin impedance {z_thevenin_ohm:g} ohm: allowed 0 or more, finite")
    return z_thevenin_ohm / hardware_ohm(i_max_a, v_min_v, droop_a_per_v)


def refusal(gain: float, allowed: float, device: str) -> str | None:
    """Return why a loop with this gain must not be closed, or None where it may.

    `allowed` is the largest gain of the rig file; it must leave a margin to 1, else that is the reason.
    """
    if not 0.0 < allowed < 1.0:
        return f"{device}: largest loop gain {allowed:g}; allowed between 0 and 1: correct it in the rig file"
    if math.isfinite(gain) and gain <= allowed:
        return None
    return (
        f"{device}: loop gain |Zs/Zh| = {gain:.3g}, allowed {allowed:g}: the bench would not settle; move the charger"
        " to a stronger node, lower its current, or filter the amps read back"
    )


def explicit_v_itm(gain: float, steps: int, source_v: float = 230.0) -> np.ndarray:
    """Return the node's volts, (steps,), of a resistive loop closed with one step of delay: v[k+1] = V0 - gain v[k].

    It starts at the source's volts, off its fixed point V0 / (1 + gain); what it does from there tells whether the
    loop converges.
    """
    volts = np.empty(steps)
    seen_v = source_v
    for step in range(steps):
        seen_v = source_v - gain * seen_v
        volts[step] = seen_v
    return volts
