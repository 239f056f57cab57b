"""Translate between the duty cycle of the control pilot and the amps it advertises.

Source: IEC 61851-1 Annex A as printed in the manuals of Fluke FEV300 (p. 11-12) and Gossen M525B, both read; the
standard itself was not. Duty cycles are shares 0..1 of the 1 kHz period.
"""

from enum import IntEnum

MIN_PILOT_A = 6.0  # the table has no smaller current
KNEE_A, GAP_A = 51.0, 52.5  # 0.6 A per % up to the knee (85 %), 2.5 A per % above; between them the table jumps
MAX_PILOT_A = 80.0
DIGITAL_DUTY = 0.05  # announces ISO 15118; the limit is told in its messages
# coding resistor of a cable's plug, ohm, and what the cable carries, A [V partly, facts C2]
CABLE_A = {1500: 13.0, 680: 20.0, 220: 32.0, 100: 63.0}
CABLE_TOLERANCE = 0.1  # [R?]: the bands of the resistors do not touch


class Pilot(IntEnum):
    """Name the control-pilot states of IEC 61851-1, as the images of the controller number them."""

    A = 0  # no vehicle, 12 V
    B = 1  # connected, 9 V
    C = 2  # asks for energy, 6 V
    D = 3  # asks for energy with ventilation, 3 V
    E = 4  # EVSE without supply, 0 V
    F = 5  # EVSE not available, -12 V


def amps_of_duty(duty: float) -> float:
    """Return the amps per phase that a duty cycle (share 0..1) advertises; 0 where the car may not charge.

    3..7 % announces digital communication and advertises no amps of its own: 0. ValueError outside 0..1.
    """
    if not 0.0 <= duty <= 1.0:
        raise ValueError(f"duty cycle {duty!r}: allowed 0..1 (share of the period)")
    percent = round(100.0 * duty, 9)  # 0.85 * 100 must stay on its side of the table's edge
    if percent < 8.0 or percent > 97.0:
        return 0.0
    if percent < 10.0:
        return MIN_PILOT_A
    if percent <= 85.0:
        return 0.6 * percent
    if percent <= 96.0:
        return 2.5 * (percent - 64.0)
    return MAX_PILOT_A


def amps_of_cable(ohm: float) -> float:
    """Return the amps that a cable with this proximity-pilot resistor, ohm, carries; 0 where none of them is near."""
    return next((amps for mark, amps in CABLE_A.items() if abs(ohm - mark) <= CABLE_TOLERANCE * mark), 0.0)


def duty_of_amps(amps: float) -> float:
    """Return the duty cycle (share 0..1) that advertises `amps` per phase; 1.0 (no PWM) for 0 A.

    No duty cycle says 51 < amps <= 52.5; the answer there is 85 % (51 A), never more than asked. ValueError for other
    than 0 or 6..80 A.
    """
    if amps == 0.0:
        return 1.0
    if not MIN_PILOT_A <= amps <= MAX_PILOT_A:
        raise ValueError(f"pilot current {amps!r} A: allowed 0 (no PWM) or {MIN_PILOT_A:g}..{MAX_PILOT_A:g} A")
    return min(amps, KNEE_A) / 60.0 if amps <= GAP_A else amps / 250.0 + 0.64
