"""Drive a control-pilot adapter: read the duty cycle that the charger shows, play the car's states. Blocking calls.

The bench owns it from one thread. After a fault the connection is given up and the next call opens it anew, so that
a late answer is never taken for the next one.
"""

import math

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException

from instruments.catalog import Model, modbus_of
from instruments.faults import FaultKind, PortFault
from instruments.modbus_codec import decode_words, encode_value
from instruments.modbus_identity import check_identity
from instruments.modbus_link import check_answer, split_address, wait_at_most

STATES = (0, 1, 2, 3)  # A no car, B connected, C asks for energy, D asks for energy with ventilation
CABLES_A = (13, 20, 32, 63)


class ModbusAdapter:
    """Own the connection to one adapter.

    Parameters
    ----------
    name: of the adapter in the site file, for faults
    model: its catalog record
    address: ``modbus+tcp://host:port``
    opening_s: longest wait for an answer from the opening until `hurry`, s; by default that of the record

    Attributes: `shown` is the state that was last asserted and read back, `seen` the state on the line at the last
    reading of the duty cycle, which may be E (no supply) or F (not available) by the charger's doing; -1 for none yet.
    """

    __slots__ = ("_client", "_model", "_part", "_timeout_s", "address", "host", "name", "port", "seen", "shown")

    def __init__(self, name: str, model: Model, address: str, *, opening_s: float = 0.0) -> None:
        self.name = name
        self.address = address
        self.host, self.port = split_address(name, address)
        self._model = model
        self._part = modbus_of(model)
        self._timeout_s = max(self._part.timeout_s, opening_s)
        self._client: ModbusTcpClient | None = None
        self.shown = self.seen = -1

    def open(self) -> str:
        """Connect, identify and return what answered; a PortFault REFUSED or WRONG_IDENTITY otherwise."""
        self.close()
        client = ModbusTcpClient(self.host, port=self.port, timeout=self._timeout_s, retries=0, name=self.name)
        if not client.connect():  # type: ignore[no-untyped-call]
            raise PortFault(FaultKind.REFUSED, self.name, "", f"no connection to {self.address}")
        self._client = client
        try:
            return self.identify()
        except PortFault:
            self.close()
            raise

    def hurry(self) -> None:
        """Wait no longer than the record says from here on: called before anything is energised."""
        self._timeout_s = self._part.timeout_s
        if self._client is not None:
            wait_at_most(self._client, self._timeout_s)

    def identify(self) -> str:
        """Compare the identity register with the record; return what answered."""
        name = self._part.identity.register_name
        try:
            return check_identity(self.name, self._model, self.address, self._read(name))
        except PortFault as fault:
            if fault.kind is not FaultKind.REJECTED:
                raise
            detail = f"{fault.detail}; expected {self._model.model.name}"
            raise PortFault(FaultKind.WRONG_IDENTITY, self.name, name, detail) from fault

    def read_duty(self) -> float:
        """Measure the duty cycle of the control pilot, share 0..1, and the state seen; 1 where there is no PWM."""
        duty = self._read("duty")
        self.seen = self.read_state()
        if not isinstance(duty, float) or not 0.0 <= duty <= 1.0:
            raise PortFault(FaultKind.PROTOCOL, self.name, "duty", f"{duty!r}; allowed: a share 0..1")
        return duty

    def read_state(self) -> int:
        """Read the control-pilot state that the adapter sees: 0 A .. 5 F."""
        return round(float(self._read("state_seen")))

    def assert_cp(self, state: int) -> None:
        """Show a control-pilot state to the charger (0 A, 1 B, 2 C, 3 D) and read it back."""
        if state not in STATES:
            raise PortFault(FaultKind.RANGE, self.name, "state_set", f"{state!r}; allowed: 0 (A), 1 (B), 2 (C), 3 (D)")
        self._write("state_set", float(state))
        self.shown = state

    def set_cable(self, amps: float) -> None:
        """Show the proximity resistor of a cable for so many amps and read it back."""
        if amps not in CABLES_A:
            raise PortFault(FaultKind.RANGE, self.name, "pp_set", f"{amps!r} A; allowed: 13, 20, 32, 63 A")
        self._write("pp_set", float(amps))

    def close(self) -> None:
        """Drop the connection; the adapter keeps the state that it shows."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _need(self) -> ModbusTcpClient:
        if self._client is None:
            self.open()
        assert self._client is not None
        return self._client

    def _read(self, name: str) -> float | str:
        register = self._part.register(name)
        client = self._need()
        read = client.read_holding_registers if self._part.read_function == 3 else client.read_input_registers
        try:
            answer = read(register.address, count=register.count, device_id=register.unit_id)
        except (ModbusException, OSError) as error:
            raise self._lost(name, error) from error
        return decode_words(self._part, register, check_answer(self.name, name, answer, register.count))

    def _write(self, name: str, value: float) -> None:
        register = self._part.register(name)
        words = encode_value(self._part, register, value)
        client = self._need()
        try:
            answer = client.write_registers(register.address, words, device_id=register.unit_id)
        except (ModbusException, OSError) as error:
            raise self._lost(name, error) from error
        check_answer(self.name, name, answer, None)
        now = self._read(name)
        if not (isinstance(now, float) and math.isclose(now, value, abs_tol=register.scale / 2)):
            raise PortFault(FaultKind.READBACK, self.name, name, f"{now!r} read back, {value:g} written")

    def _lost(self, name: str, error: Exception) -> PortFault:
        self.close()
        if isinstance(error, (ConnectionException, OSError)):
            return PortFault(FaultKind.CLOSED, self.name, name, f"{self.address} ended the connection")
        detail = f"no answer from {self.address} within {self._timeout_s:g} s"
        return PortFault(FaultKind.TIMEOUT, self.name, name, detail)
