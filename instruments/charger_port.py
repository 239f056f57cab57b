"""Say what the wires process asks of the client of one charger, whatever protocol it speaks.

A port owns its connection, its pacing and its back-off; it decides nothing. Obligations: nothing is sent, polls and
keep-alives included, while `may_talk` says no; an order that cannot be sent exactly is refused, never clipped;
a reading is dated by its oldest part; what goes wrong is a `PortFault` and no other exception.
A port that is made with `read_only=True` (a controller in shadow) writes nothing at all: it reads the fail-safe and
compares it, and takes every order as NaN.
"""

from collections.abc import Callable
from typing import Any, Protocol


class ChargerReading(Protocol):
    """Name what is known of a charger now: terminals L1..L3, load reference (+ into the car), NaN unknown.

    `volt_v`, `amp_a` float arrays (3,); `power_w` W; `session_wh` Wh of this session; `state` the IEC 61851 state
    0..5 (A..F), -1 unknown; `limit_a` A per phase that the charger says it applies; `quality` 0 good, 1 uncertain,
    2 bad; `change_ns` monotonic ns of the oldest part of the newest complete set; `link` whether it answers;
    `session_no` counts plug-ins; `sent_a`, `sent_ns` the last acknowledged order (A, monotonic ns); `failsafe_a`,
    `failsafe_s` as read back from the device; `round_trip_ns` of the last exchange; `errors` counts faults, `fault`
    tells the last one; `overwritten_a` A that another master was seen to set or draw above our order, NaN: none.
    """

    volt_v: Any
    amp_a: Any
    power_w: float
    session_wh: float
    state: int
    limit_a: float
    quality: int
    change_ns: int
    link: bool
    session_no: int
    sent_a: float
    sent_ns: int
    failsafe_a: float
    failsafe_s: float
    round_trip_ns: int
    errors: int
    fault: str
    overwritten_a: float


class ChargerPort(Protocol):
    """Own the connection to one charger."""

    name: str

    @property
    def reading(self) -> ChargerReading:
        """Return what is known of the charger now; the same object for the life of the port."""

    async def open(self) -> str:
        """Reach and identify the charger and return one line on what answered; a PortFault otherwise."""

    async def program_failsafe(self) -> None:
        """Make the charger's own fail-safe what the site wants, where it can be told, and read it back.

        Errors: PortFault RANGE, READBACK, or of the link.
        """

    async def run(self, want_a: Callable[[], float], may_talk: Callable[[], bool]) -> None:
        """Poll and write until cancelled.

        `want_a` returns A per phase to allow (0 pauses, NaN nothing to write yet); `may_talk` False stops all I/O.
        Faults are kept in `reading`; only a defect of the program raises.
        """

    def wake(self) -> None:
        """Look at `want_a` and `may_talk` now: one of them changed. A port that looks often enough ignores it."""

    async def close(self) -> None:
        """Drop the connection; the charger's own fail-safe takes over. Never raises a PortFault."""
