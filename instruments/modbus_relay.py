"""Switch the relays of a Modbus card and read them back. Blocking calls; one owner, one thread.

After a fault the connection is given up and the next call opens it anew, so that a late answer is never taken for the
next one. A coil that is read back says what the card wants, a mirror contact says what the relay did.
"""

import time
from collections.abc import Callable

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from instruments.catalog import Model, relay_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_link import check_answer, split_address, wait_at_most
from instruments.relay_catalog import Coil, RelayPart


class ModbusRelay:
    """Own the connection to one card.

    Parameters
    ----------
    name: of the card in the rig or site file, for faults
    model: its catalog record
    address: ``modbus+tcp://host:port``
    opening_s: longest wait for an answer from the opening until `hurry`, s; by default that of the record
    places: coil name to channel where the wiring departs from the record
    pause: waits a number of seconds (an argument for the sake of tests)
    """

    __slots__ = ("_client", "_pause", "_timeout_s", "address", "host", "name", "part", "port")

    def __init__(
        self,
        name: str,
        model: Model,
        address: str,
        *,
        places: dict[str, int] | None = None,
        opening_s: float = 0.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.address = address
        self.host, self.port = split_address(name, address)
        try:
            self.part: RelayPart = relay_of(model).moved(places or {})
        except ValueError as error:
            raise PortFault(FaultKind.RANGE, name, "coils", str(error), "correct the coils of the rig file") from error
        self._timeout_s = max(self.part.timeout_s, opening_s)
        self._pause = pause
        self._client: ModbusTcpClient | None = None

    def open(self) -> str:
        """Connect and read all coils once; return what answered. A PortFault REFUSED where nobody listens.

        A card has no identity: one that does not hold as many coils as its record is refused as WRONG_IDENTITY.
        """
        self.close()
        client = ModbusTcpClient(self.host, port=self.port, timeout=self._timeout_s, retries=0, name=self.name)
        if not client.connect():  # type: ignore[no-untyped-call]
            raise PortFault(FaultKind.REFUSED, self.name, "", f"no connection to {self.address}")
        self._client = client
        try:
            on = [name for name, state in self.read().items() if state]
        except PortFault as fault:
            self.close()
            if fault.kind is not FaultKind.REJECTED:
                raise
            detail = f"{fault.detail}; expected a card with {self.part.channels} coils from {self.part.first_coil}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, "coils", detail) from fault
        return f"relay card with {self.part.channels} coils, energised: {', '.join(on) or 'none'}"

    def hurry(self) -> None:
        """Wait no longer than the record says from here on: called before anything is energised."""
        self._timeout_s = self.part.timeout_s
        if self._client is not None:
            wait_at_most(self._client, self._timeout_s)

    def read(self) -> dict[str, bool]:
        """Read every coil of the record in one request; True is energised."""
        part = self.part
        count = part.channels
        bits = self._ask("coils", lambda c: c.read_coils(part.first_coil, count=count, device_id=part.unit_id), count)
        return {coil.name: bits[coil.channel] for coil in part.coils}

    def write(self, name: str, on: bool) -> None:
        """Switch one coil, wait for the contact, read coil and mirror contact back; a PortFault READBACK tells both."""
        coil = self._coil(name)
        part, address = self.part, self.part.first_coil + coil.channel
        if part.write_function == 5:
            self._ask(name, lambda c: c.write_coil(address, on, device_id=part.unit_id))
        else:
            self._ask(name, lambda c: c.write_coils(address, [on], device_id=part.unit_id))
        if part.settle_s:
            self._pause(part.settle_s)
        if self.read()[name] is not on:
            raise self._stuck(name, on, "its coil reads")
        if coil.mirror_input is not None and self.contact(name) is not on:
            raise self._stuck(name, on, "its mirror contact reads")

    def contact(self, name: str) -> bool | None:
        """Read the mirror contact of a relay, True where it follows an energised coil; None where it has none."""
        coil = self._coil(name)
        if coil.mirror_input is None:
            return None
        part, address = self.part, self.part.first_input + coil.mirror_input
        bits = self._ask(name, lambda c: c.read_discrete_inputs(address, count=1, device_id=part.unit_id), 1)
        return bits[0]

    def duty(self) -> float:
        """Measure the duty cycle of the control pilot, share 0..1; only where the record has its register."""
        part = self.part.duty
        if part is None:
            raise PortFault(FaultKind.INTERLOCK, self.name, "duty", "this card measures none", "type it by hand")
        where, unit = part.register_address, self.part.unit_id

        def read(client: ModbusTcpClient) -> ModbusPDU:
            ask = client.read_holding_registers if part.read_function == 3 else client.read_input_registers
            return ask(where, count=1, device_id=unit)

        share = check_answer(self.name, "duty", self._exchange("duty", read), 1)[0] * part.scale
        if not 0.0 <= share <= 1.0:
            raise PortFault(FaultKind.PROTOCOL, self.name, "duty", f"{share:g}; allowed: a share 0..1")
        return share

    def make_safe(self, *names: str) -> None:
        """Put these coils, or all, into their safe state with read-back; one that fails does not stop the others.

        The first fault is raised at the end: whoever gets it must assume that the chain is still closed.
        """
        faults: list[PortFault] = []
        for coil in [self._coil(name) for name in names] or self.part.coils:
            try:
                self.write(coil.name, bool(coil.safe))
            except PortFault as fault:
                faults.append(fault)
        if faults:
            raise faults[0]

    def close(self) -> None:
        """Drop the connection; the record says whether the card keeps its coils."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _coil(self, name: str) -> Coil:
        try:
            return self.part.coil(name)
        except KeyError as error:
            raise PortFault(FaultKind.RANGE, self.name, name, str(error.args[0])) from error

    def _stuck(self, name: str, on: bool, what: str) -> PortFault:
        detail = f"switched {'on' if on else 'off'}, {what} {'off' if on else 'on'}"
        return PortFault(FaultKind.READBACK, self.name, name, detail, "press the emergency stop, then look at the card")

    def _ask(self, channel: str, request: Callable[[ModbusTcpClient], ModbusPDU], count: int = 0) -> list[bool]:
        """Send one request and return `count` bits of its answer; any doubt about it gives the connection up."""
        answer = self._exchange(channel, request)
        if isinstance(answer, ExceptionResponse) or not count:
            check_answer(self.name, channel, answer, None)
            return []
        if len(answer.bits) < count:
            self.close()
            detail = f"{len(answer.bits)} bits in the answer, {count} asked for"
            raise PortFault(FaultKind.PROTOCOL, self.name, channel, detail)
        return [bool(bit) for bit in answer.bits[:count]]

    def _exchange(self, channel: str, request: Callable[[ModbusTcpClient], ModbusPDU]) -> ModbusPDU:
        """Send one request and return its answer; a PortFault where none came."""
        if self._client is None:
            self.open()
        assert self._client is not None
        try:
            return request(self._client)
        except (ConnectionException, OSError) as error:
            self.close()
            raise PortFault(FaultKind.CLOSED, self.name, channel, f"{self.address} ended the connection") from error
        except ModbusException as error:
            self.close()
            detail = f"no answer from {self.address} within {self._timeout_s:g} s"
            raise PortFault(FaultKind.TIMEOUT, self.name, channel, detail) from error
