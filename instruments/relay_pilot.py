"""Play a car's side of the control pilot with relays: each switches a resistor. Blocking calls; one owner, one thread.

The resistors of state B stay while those of C or D come and go, so that the line never shows a state in between that
nobody asked for. The duty cycle comes from the card's DAQ register, or from whoever measures it by hand.
"""

from instruments.faults import FaultKind, PortFault
from instruments.modbus_adapter import CABLES_A, STATES
from instruments.modbus_relay import ModbusRelay

PLUGGED = "pilot_b"
ASKING = {2: "pilot_c", 3: "pilot_d"}


class RelayPilot:
    """Hold the card whose relays stand between a charger's control pilot and the resistors of a car.

    Attributes: `shown` is the state that was last switched and read back, -1 none yet; `seen` stays -1, for relays do
    not look at the line.
    """

    __slots__ = ("card", "name", "seen", "shown")

    def __init__(self, card: ModbusRelay) -> None:
        self.card = card
        self.name = card.name
        self.shown = self.seen = -1

    @property
    def measures(self) -> bool:
        """Tell whether the card measures the duty cycle."""
        return self.card.part.duty is not None

    def open(self) -> str:
        """Connect and read all coils; return what answered. A PortFault INTERLOCK where the record lacks `pilot_b`."""
        for coil in (PLUGGED, ASKING[2]):
            self._need(coil)
        return self.card.open()

    def hurry(self) -> None:
        """Wait no longer than the record says from here on."""
        self.card.hurry()

    def read_duty(self) -> float:
        """Measure the duty cycle of the control pilot, share 0..1; 1 where there is no PWM."""
        return self.card.duty()

    def assert_cp(self, state: int) -> None:
        """Switch to a control-pilot state (0 A, 1 B, 2 C, 3 D), each coil read back; what lowers it goes first."""
        if state not in STATES:
            detail = f"{state!r}; allowed: 0 (A), 1 (B), 2 (C), 3 (D)"
            raise PortFault(FaultKind.RANGE, self.name, "pilot", detail)
        wanted = {PLUGGED: state > 0} | {coil: state == which for which, coil in ASKING.items()}
        if ASKING.get(state) is not None:
            self._need(ASKING[state])
        known = self.card.read()
        falls = [coil for coil in (*ASKING.values(), PLUGGED) if known.get(coil) and not wanted[coil]]
        rises = [coil for coil in (PLUGGED, *ASKING.values()) if wanted[coil] and not known.get(coil)]
        for coil in (*falls, *rises):
            self.card.write(coil, wanted[coil])
        self.shown = state

    def set_cable(self, amps: float) -> None:
        """Show the proximity resistor of a cable for so many amps, all others released first and read back."""
        if amps not in CABLES_A:
            raise PortFault(FaultKind.RANGE, self.name, "cable", f"{amps!r} A; allowed: 13, 20, 32, 63 A")
        wanted = f"cable_{amps:g}a"
        self._need(wanted)
        for coil, on in self.card.read().items():
            if coil.startswith("cable_") and coil != wanted and on:
                self.card.write(coil, False)
        self.card.write(wanted, True)

    def close(self) -> None:
        """Drop the connection; the record says whether the card keeps its coils."""
        self.card.close()

    def _need(self, coil: str) -> None:
        if coil not in [one.name for one in self.card.part.coils]:
            raise PortFault(FaultKind.INTERLOCK, self.name, coil, "its record has no such coil", "wire and declare it")
