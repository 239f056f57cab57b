"""Keep a charger's own fail-safe what the site wants: programmed, read back, compared again when the link was lost."""

import math
from collections.abc import Callable

from instruments.catalog import Model
from instruments.faults import FaultKind, PortFault
from instruments.modbus_pacing import NS
from instruments.modbus_poller import Buses
from instruments.modbus_poller_registers import ChargerRegisters

KEEP_LINK = (FaultKind.REJECTED, FaultKind.BUSY, FaultKind.RANGE, FaultKind.READBACK)
SAFE_CURRENT_A = 0.05  # a float register may show the site's value a hair above itself
VALIDITY_S = 2.0
DOG_TRIES = 2  # writes of a fail-safe value before its read-back is a fault
DOG_AGAIN_S = 30.0  # after such a fault


class ChargerFailsafe(ChargerRegisters):
    """Hold what is still to be compared of the fail-safe. The next base of `ModbusCharger`."""

    __slots__ = ("_dog", "_dog_ns", "_dog_tries", "_shown_ns")

    def __init__(
        self,
        name: str,
        model: Model,
        address: str,
        *,
        clock_ns: Callable[[], int],
        failsafe_a: float,
        failsafe_s: float,
        read_only: bool = False,
        buses: Buses | None = None,
        opening_s: float = 0.0,
    ) -> None:
        super().__init__(
            name,
            model,
            address,
            clock_ns=clock_ns,
            failsafe_a=failsafe_a,
            failsafe_s=failsafe_s,
            read_only=read_only,
            buses=buses,
            opening_s=opening_s,
        )
        self._shown_ns = 0
        self._dog: list[tuple[str, str, float]] = []  # fail-safe values to compare again: read, write, wanted
        self._dog_ns = self._dog_tries = 0

    async def program_failsafe(self) -> None:
        """Make the charger's own fail-safe what the site wants, and read it back.

        What already stands is not written again (pacing, and memory wears). Where the family does not take the
        current by Modbus, the one in the device must not be above the site's.
        Errors: PortFault RANGE, READBACK, or of the link.
        """
        self._check_failsafe()
        dog = self._part.watchdog
        if self._read_only:
            await self._look_at_failsafe()
            return
        if dog.current_get:
            self.reading.failsafe_a = await self._programmed(dog.current_get, dog.current_set, self._failsafe_a)
            if not self.reading.failsafe_a <= self._failsafe_a + SAFE_CURRENT_A:
                detail = f"{self.reading.failsafe_a:g} A in the device; allowed: at most {self._failsafe_a:g} A"
                hint = "set it with the maker's installer tool, or correct failsafe_a"
                raise PortFault(FaultKind.READBACK, self.name, dog.current_get, detail, hint)
        if dog.timeout_get:
            self.reading.failsafe_s = await self._programmed(dog.timeout_get, dog.timeout_set, self._failsafe_s)
            if not self._stands(dog.timeout_get, self.reading.failsafe_s, self._failsafe_s):
                detail = (
                    f"{self.reading.failsafe_s:g} s in the device; allowed: over 0 and at most {self._failsafe_s:g} s"
                )
                hint = "set it with the maker's installer tool, or correct failsafe_s"
                raise PortFault(FaultKind.READBACK, self.name, dog.timeout_get, detail, hint)
        for get, put, wanted in self._settings():
            if get not in (dog.current_get, dog.timeout_get):  # what is left: what only can be written, and the arming
                await self._settle(get, put, wanted)

    def _check_failsafe(self) -> None:
        """Refuse a fail-safe that the family does not take, before anything is written."""
        dog, part = self._part.watchdog, self._part
        if dog.timeout_set and not dog.min_s <= self._failsafe_s <= dog.max_s:
            detail = f"failsafe_s {self._failsafe_s:g} s; allowed: {dog.min_s:g}..{dog.max_s:g} s"
            raise PortFault(FaultKind.RANGE, self.name, dog.timeout_set, detail)
        if self._failsafe_a != 0.0 and not part.min_a <= self._failsafe_a <= part.max_a:
            detail = f"failsafe_a {self._failsafe_a:g} A; allowed: 0 or {part.min_a:g}..{part.max_a:g} A"
            raise PortFault(FaultKind.RANGE, self.name, dog.current_set, detail)

    async def _look_at_failsafe(self) -> None:
        """Read the fail-safe and tell where it is not the site's: a run that only reads has to live with it."""
        dog, reading = self._part.watchdog, self.reading
        if dog.current_get:
            reading.failsafe_a = await self._get(dog.current_get)
        if dog.timeout_get:
            reading.failsafe_s = await self._get(dog.timeout_get)
        if reading.failsafe_a > self._failsafe_a + SAFE_CURRENT_A or reading.failsafe_s > self._failsafe_s + VALIDITY_S:
            detail = f"{reading.failsafe_a:g} A after {reading.failsafe_s:g} s in the device; the site says"
            detail += f" {self._failsafe_a:g} A after {self._failsafe_s:g} s"
            self._note(PortFault(FaultKind.READBACK, self.name, dog.current_get or dog.timeout_get, detail))

    def _kept(self) -> list[tuple[str, str, float]]:
        """Return the settings that can be compared at any time: those that are read."""
        return [row for row in self._settings() if row[0]]

    async def _watch_dog(self) -> None:
        """Compare one value of the fail-safe with the site's and write it where it differs, a step a turn."""
        get, put, wanted = self._dog[0]
        if not get:
            await self._put(put, wanted)
            self._dog.pop(0)
            return
        held = await self._get(get)
        kept = math.isclose(held, wanted, abs_tol=1e-3)
        if kept or (not put and self._stands(get, held, wanted)):
            self._dog.pop(0)
            self._dog_tries = 0
        elif put and self._dog_tries < DOG_TRIES:
            self._dog_tries += 1
            await self._put(put, wanted)
        else:
            self._dog_tries, self._dog_ns = 0, self._clock_ns() + round(DOG_AGAIN_S * NS)
            detail = f"{held:g} in the device after the link came back; the site says {wanted:g}"
            self._note(PortFault(FaultKind.READBACK, self.name, get, detail))

    def _stands(self, get: str, held: float, wanted: float) -> bool:
        """Say whether a fail-safe value is as safe as the site's: not more, and a time not 0, which is off."""
        if get == self._part.watchdog.timeout_get:
            return 0.0 < held <= wanted + VALIDITY_S
        return held <= wanted + SAFE_CURRENT_A

    def _free(self, now_ns: int) -> bool:
        """Say whether the pacing lets a read and a write out now."""
        return self._plan.wait_s(now_ns) <= 0.0 and self._gate.wait_s(now_ns) <= 0.0

    def _note(self, fault: PortFault) -> None:
        """Count a fault and tell it; one of the link ends the connection and the trust in the reading."""
        if str(fault) != self.reading.fault:
            self.reading.errors += 1
        self.reading.fault = str(fault)
        self._shown_ns = self._clock_ns()
        if fault.kind not in KEEP_LINK:
            self._link.close()
            self._builder.restart()
            self.reading.link = False
